//! Several statements in one trip to the database.
//!
//! The driver runs statements on a thread of its own, and every trip there and
//! back costs more than most of our statements do. A script gathers statements
//! with their parameters and sends them together; they run in order, and stop
//! at the first that fails.

use sqlx::sqlite::{SqliteArguments, SqliteConnection};
use sqlx::{Arguments as _, AssertSqlSafe};

use super::StoreError;

/// Statements on their way.
#[derive(Default)]
pub(super) struct Script {
    text: String,
    arguments: SqliteArguments,
    /// Parameters so far.
    count: usize,
}

impl std::fmt::Debug for Script {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Script")
            .field("text", &self.text)
            .finish_non_exhaustive()
    }
}

/// A parameter of a statement.
pub(super) enum Parameter {
    Text(String),
    Int(i64),
}

impl From<String> for Parameter {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Parameter {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<i64> for Parameter {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl Script {
    /// Adds a statement; its `$1` is the first of `parameters`, whatever came before.
    pub(super) fn push(
        &mut self,
        statement: &'static str,
        parameters: impl IntoIterator<Item = Parameter>,
    ) {
        let offset = self.count;
        for parameter in parameters {
            let added = match parameter {
                Parameter::Text(text) => self.arguments.add(text),
                Parameter::Int(number) => self.arguments.add(number),
            };
            added.expect("text and numbers always encode");
            self.count += 1;
        }
        // `$3` becomes `$(offset + 3)`: one list of parameters serves all statements.
        let mut parts = statement.trim_end().split('$');
        self.text.push_str(parts.next().unwrap_or_default());
        for part in parts {
            let digits = part.bytes().take_while(u8::is_ascii_digit).count();
            let number: usize = part[..digits].parse().unwrap_or_default();
            self.text.push('$');
            self.text.push_str(&(offset + number).to_string());
            self.text.push_str(&part[digits..]);
        }
        self.text.push_str(";\n");
    }

    /// Runs what was gathered; returns the first column of every row, in order.
    pub(super) async fn run(
        &mut self,
        conn: &mut SqliteConnection,
    ) -> Result<Vec<String>, StoreError> {
        if self.text.is_empty() {
            return Ok(Vec::new());
        }
        let Self {
            text, arguments, ..
        } = std::mem::take(self);
        // The text is made of our own statements only; data travels as parameters.
        let query = sqlx::query_scalar_with::<_, String, _>(AssertSqlSafe(text), arguments);
        Ok(query.fetch_all(conn).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_numbered_through() {
        let mut script = Script::default();
        script.push("select $1, $2", ["a".into(), Parameter::Int(2)]);
        script.push("update t set x = $1", [Parameter::Int(3)]);
        assert_eq!(script.text, "select $1, $2;\nupdate t set x = $3;\n");
    }
}

//! Several statements in one trip to the database.
//!
//! Every trip costs more than most of our statements do: to `SQLite` because
//! its driver runs on a thread of its own, to `PostgreSQL` because it is another
//! process. A script gathers statements with their parameters and sends them
//! together; they run in order, and stop at the first that fails.
//!
//! `SQLite` gets one text with one list of parameters. `PostgreSQL` takes several
//! statements at once only as plain text, which it would have to plan each time;
//! so each is prepared once under its name, and what travels is `execute`.

use std::collections::HashSet;
use std::fmt::Write as _;

use sqlx::Arguments as _;
use sqlx::sqlite::SqliteArguments;

use super::statement::{Dialect, Statement};

/// Statements on their way.
#[derive(Debug, Default)]
pub(super) struct Script {
    steps: Vec<(&'static Statement, Vec<Parameter>)>,
}

/// A parameter of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Parameter {
    Text(String),
    Int(i64),
    Null,
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

impl<T: Into<Parameter>> From<Option<T>> for Parameter {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// A script as `PostgreSQL` takes it.
#[derive(Debug)]
pub(super) struct Executions {
    pub(super) text: String,
    /// What this text prepares on its way.
    pub(super) prepares: Vec<&'static str>,
}

impl Script {
    /// Adds a statement; its `$1` is the first of `parameters`, whatever came before.
    pub(super) fn push(
        &mut self,
        statement: &'static Statement,
        parameters: impl IntoIterator<Item = Parameter>,
    ) {
        self.steps
            .push((statement, parameters.into_iter().collect()));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// One text, whose parameters are numbered through.
    pub(super) fn for_sqlite(self) -> (String, SqliteArguments) {
        let mut text = String::new();
        let mut arguments = SqliteArguments::default();
        let mut offset = 0;
        for (statement, parameters) in self.steps {
            let said = statement.text(Dialect::Sqlite);
            // `$3` becomes `$(offset + 3)`: one list of parameters serves all statements.
            let mut parts = said.split('$');
            text.push_str(parts.next().unwrap_or_default());
            for part in parts {
                let digits = part.bytes().take_while(u8::is_ascii_digit).count();
                let number: usize = part[..digits].parse().unwrap_or_default();
                let _ = write!(text, "${}", offset + number);
                text.push_str(&part[digits..]);
            }
            text.push_str(";\n");
            offset += parameters.len();
            for parameter in parameters {
                let added = match parameter {
                    Parameter::Text(text) => arguments.add(text),
                    Parameter::Int(number) => arguments.add(number),
                    Parameter::Null => arguments.add(None::<i64>),
                };
                added.expect("text and numbers always encode");
            }
        }
        (text, arguments)
    }

    /// Executions of prepared statements; those that `known` lacks are prepared on the way.
    pub(super) fn for_postgres(self, known: &HashSet<&'static str>) -> Executions {
        let mut text = String::new();
        let mut prepares: Vec<&'static str> = Vec::new();
        for (statement, parameters) in self.steps {
            let said = statement.text(Dialect::Postgres);
            if matches!(statement.name, "begin" | "commit" | "rollback") {
                text.push_str(said);
                text.push_str(";\n");
                continue;
            }
            if !known.contains(statement.name) && !prepares.contains(&statement.name) {
                let _ = writeln!(text, "prepare {} as {said};", statement.name);
                prepares.push(statement.name);
            }
            let _ = write!(text, "execute {}", statement.name);
            for (n, parameter) in parameters.iter().enumerate() {
                text.push(if n == 0 { '(' } else { ',' });
                match parameter {
                    Parameter::Text(value) => quote(value, &mut text),
                    Parameter::Int(number) => {
                        let _ = write!(text, "{number}");
                    }
                    Parameter::Null => text.push_str("null"),
                }
            }
            text.push_str(if parameters.is_empty() { ";\n" } else { ");\n" });
        }
        Executions { text, prepares }
    }
}

/// A literal, for a session in which backslashes are nothing special
/// (`standard_conforming_strings`). No text may hold a NUL: it would end the message.
fn quote(value: &str, out: &mut String) {
    out.push('\'');
    for part in value.split_inclusive(['\'', '\0']) {
        if let Some(head) = part.strip_suffix('\'') {
            out.push_str(head);
            out.push_str("''");
        } else if let Some(head) = part.strip_suffix('\0') {
            out.push_str(head);
            out.push('\u{fffd}');
        } else {
            out.push_str(part);
        }
    }
    out.push('\'');
}

#[cfg(test)]
mod tests {
    use super::*;

    static SELECT: Statement = Statement::shared("pick", "select $1, $2");
    static UPDATE: Statement = Statement::shared("put", "update t set x = $1");
    static BEGIN: Statement = Statement::pair("begin", "begin immediate", "begin");

    fn script() -> Script {
        let mut script = Script::default();
        script.push(&BEGIN, []);
        script.push(&SELECT, ["it's".into(), Parameter::Int(2)]);
        script.push(&UPDATE, [Parameter::Null]);
        script
    }

    #[test]
    fn for_sqlite_parameters_are_numbered_through() {
        let (text, _) = script().for_sqlite();
        assert_eq!(
            text,
            "begin immediate;\nselect $1, $2;\nupdate t set x = $3;\n"
        );
    }

    #[test]
    fn for_postgres_what_is_new_is_prepared_once() {
        let first = script().for_postgres(&HashSet::new());
        assert_eq!(
            first.text,
            "begin;\nprepare pick as select $1, $2;\nexecute pick('it''s',2);\n\
             prepare put as update t set x = $1;\nexecute put(null);\n"
        );
        let known = first.prepares.into_iter().collect();
        let again = script().for_postgres(&known);
        assert_eq!(
            again.text,
            "begin;\nexecute pick('it''s',2);\nexecute put(null);\n"
        );
        assert_eq!(again.prepares, Vec::<&str>::new());
    }

    #[test]
    fn no_value_ends_its_quotes_or_the_message() {
        let mut out = String::new();
        quote("a'; drop table runs; --\\' \0 ''", &mut out);
        assert_eq!(out, "'a''; drop table runs; --\\'' \u{fffd} '''''");
    }
}

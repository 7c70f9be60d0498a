//! A statement, and how each database says it.
//!
//! One text serves both databases wherever it can. It is written for `SQLite`;
//! what `PostgreSQL` says differently for the same thing is replaced here, and
//! nothing else is: a statement that needs other means has a second file.
//!
//! | in our files | `SQLite` | `PostgreSQL` |
//! | --- | --- | --- |
//! | `json_rows($1)` | `jsonb_each($1)` | `jsonb_array_elements($1::jsonb)` |
//! | `json_texts($1)` | `jsonb_each($1)` | `jsonb_array_elements_text($1::jsonb)` |
//! | `json_array(…)` | the same | `json_build_array(…)` |
//! | `json_object(…)` | the same | `json_build_object(…)` |
//! | `json_group_array(…)` | the same | `coalesce(json_agg(…), '[]')` |
//! | `cross join` (in this order) | the same | `join` |
//! | `indexed by x` | the same | nothing |
//!
//! What several statements say alike is a fragment: `{claimable}` in a text stands for `sql/fragments/claimable*.sql`.

use std::sync::OnceLock;

/// What stands in a text for what several statements share: its name, and what each database says. Those that
/// refer to others come first.
static FRAGMENTS: [(&str, &str, &str); 4] = [
    (
        "{claimable}",
        include_str!("sql/fragments/claimable.sqlite.sql"),
        include_str!("sql/fragments/claimable.postgres.sql"),
    ),
    (
        "{cancelled}",
        include_str!("sql/fragments/cancelled.sql"),
        include_str!("sql/fragments/cancelled.sql"),
    ),
    (
        "{room}",
        include_str!("sql/fragments/room.sqlite.sql"),
        include_str!("sql/fragments/room.postgres.sql"),
    ),
    (
        "{claim}",
        include_str!("sql/fragments/claim.sqlite.sql"),
        include_str!("sql/fragments/claim.postgres.sql"),
    ),
];

/// Which database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Sqlite,
    Postgres,
}

/// A statement of ours.
#[derive(Debug)]
pub(super) struct Statement {
    /// Also what the prepared statement is called.
    pub(super) name: &'static str,
    text: &'static str,
    /// Where `PostgreSQL` does it by other means.
    postgres: Option<&'static str>,
    /// As each database says it, once asked for.
    said: [OnceLock<String>; 2],
}

impl Statement {
    pub(super) const fn shared(name: &'static str, text: &'static str) -> Self {
        Self {
            name,
            text,
            postgres: None,
            said: [const { OnceLock::new() }; 2],
        }
    }

    pub(super) const fn pair(
        name: &'static str,
        sqlite: &'static str,
        postgres: &'static str,
    ) -> Self {
        Self {
            name,
            text: sqlite,
            postgres: Some(postgres),
            said: [const { OnceLock::new() }; 2],
        }
    }

    /// What to send.
    pub(super) fn text(&'static self, dialect: Dialect) -> &'static str {
        match dialect {
            Dialect::Sqlite => self.said[0].get_or_init(|| {
                let text = expand(self.text.trim_end(), dialect);
                let text = text.replace("json_rows(", "jsonb_each(");
                text.replace("json_texts(", "jsonb_each(")
            }),
            Dialect::Postgres => self.said[1].get_or_init(|| match self.postgres {
                Some(text) => expand(text.trim_end(), dialect),
                None => translate(&expand(self.text.trim_end(), dialect)),
            }),
        }
    }
}

/// Puts the fragments in.
fn expand(text: &str, dialect: Dialect) -> String {
    let mut text = text.to_owned();
    for (name, sqlite, postgres) in FRAGMENTS {
        if text.contains(name) {
            let fragment = match dialect {
                Dialect::Sqlite => sqlite.trim_end().to_owned(),
                Dialect::Postgres => translate(postgres.trim_end()),
            };
            text = text.replace(name, &fragment);
        }
    }
    text
}

fn translate(text: &str) -> String {
    let text = text
        .replace("json_array(", "json_build_array(")
        .replace("json_object(", "json_build_object(")
        .replace("cross join ", "join ");
    let text = aggregate(&text);
    let text = cast_parameter(&text, "json_rows(", "jsonb_array_elements(");
    let text = cast_parameter(&text, "json_texts(", "jsonb_array_elements_text(");
    without_hints(&text)
}

/// `json_group_array(x)` becomes `coalesce(json_agg(x), '[]')`: there, nothing is no list at all.
fn aggregate(text: &str) -> String {
    let mut parts = text.split("json_group_array(");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push_str("coalesce(json_agg(");
        let mut depth = 1;
        let end = part.find(|c| {
            depth += i32::from(c == '(') - i32::from(c == ')');
            depth == 0
        });
        let (inner, rest) = part.split_at(end.unwrap_or(part.len()));
        out.push_str(inner);
        out.push_str("), '[]')");
        out.push_str(rest.strip_prefix(')').unwrap_or(rest));
    }
    out
}

/// `json_rows($2)` becomes `jsonb_array_elements($2::jsonb)`.
fn cast_parameter(text: &str, ours: &str, theirs: &str) -> String {
    let mut parts = text.split(ours);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push_str(theirs);
        match part.split_once(')') {
            Some((parameter, rest)) => {
                out.push_str(parameter);
                out.push_str("::jsonb)");
                out.push_str(rest);
            }
            None => out.push_str(part),
        }
    }
    out
}

/// Drops `indexed by NAME`.
fn without_hints(text: &str) -> String {
    let mut parts = text.split(" indexed by ");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let name = part.find(char::is_whitespace).unwrap_or(part.len());
        out.push_str(&part[name..]);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    static ASKS: Statement = Statement::shared(
        "asks",
        "select json_group_array(json_array(t.a)) from json_rows($1) k \
         cross join t indexed by t_by_a on t.a = k.value ->> 0 and t.b in (select value from json_texts($2))",
    );

    #[test]
    fn sqlite_reads_our_words_for_lists() {
        assert_eq!(
            ASKS.text(Dialect::Sqlite),
            "select json_group_array(json_array(t.a)) from jsonb_each($1) k \
             cross join t indexed by t_by_a on t.a = k.value ->> 0 and t.b in (select value from jsonb_each($2))"
        );
    }

    #[test]
    fn postgres_is_told_the_same_in_its_own_words() {
        assert_eq!(
            ASKS.text(Dialect::Postgres),
            "select coalesce(json_agg(json_build_array(t.a)), '[]') from jsonb_array_elements($1::jsonb) k \
             join t on t.a = k.value ->> 0 and t.b in (select value from jsonb_array_elements_text($2::jsonb))"
        );
    }

    #[test]
    fn a_pair_is_sent_as_written() {
        static PAIR: Statement = Statement::pair("pair", "begin immediate", "begin");
        assert_eq!(PAIR.text(Dialect::Sqlite), "begin immediate");
        assert_eq!(PAIR.text(Dialect::Postgres), "begin");
    }
}

//! Connecting and migrating, and refusing in a sentence what cannot be served.

pub(super) mod postgres;
pub(super) mod sqlite;

use std::borrow::Cow;
use std::path::PathBuf;

use sqlx::migrate::{Migration, MigrationType, Migrator};

/// What a power cut may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// Nothing that was answered: every commit is synced (`synchronous=FULL`).
    #[default]
    Full,
    /// The last commits, never the database itself (`synchronous=NORMAL`).
    Normal,
}

/// Where the truth is kept.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Database {
    /// A file, for one machine.
    Sqlite {
        /// The file; made where it is missing.
        path: PathBuf,
    },
    /// A server, for as many machines as one likes.
    Postgres(PostgresUrl),
}

/// `postgres://user:password@host:port/database`. Shown without its password.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl(String);

impl PostgresUrl {
    /// Takes the URL as it is; whether it can be used shows when it is opened.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self(url.into())
    }

    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Options after `?` may hold secrets too.
        let plain = self.0.split('?').next().unwrap_or_default();
        match plain.split_once("://") {
            Some((scheme, rest)) => match rest.rsplit_once('@') {
                Some((user, place)) => {
                    let user = user.split(':').next().unwrap_or_default();
                    write!(f, "{scheme}://{user}@{place}")
                }
                None => write!(f, "{scheme}://{rest}"),
            },
            None => f.write_str("postgres://…"),
        }
    }
}

impl std::fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PostgresUrl({self})")
    }
}

/// A migration: number, name, text.
type Step = (i64, &'static str, &'static str);

fn migrator(steps: &[Step]) -> Migrator {
    let migrations = steps.iter().map(|(version, name, text)| {
        Migration::new(
            *version,
            Cow::Borrowed(*name),
            MigrationType::Simple,
            sqlx::SqlStr::from_static(text),
            false,
        )
    });
    Migrator {
        migrations: Cow::Owned(migrations.collect()),
        ..Migrator::DEFAULT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_its_secrets() {
        for (url, shown) in [
            ("postgres://me:pa@ss@db:5432/aq", "postgres://me@db:5432/aq"),
            ("postgres://db/aq?password=secret", "postgres://db/aq"),
            ("postgres://me@db/aq", "postgres://me@db/aq"),
            ("secret", "postgres://…"),
        ] {
            assert_eq!(PostgresUrl::new(url).to_string(), shown);
            assert!(!format!("{:?}", PostgresUrl::new(url)).contains("secret"));
        }
    }
}

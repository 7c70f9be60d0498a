//! Connections for questions: they never wait for a write.

use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use sqlx::Row as _;
use sqlx::postgres::PgPool;
use sqlx::sqlite::SqlitePool;

use super::script::Parameter;
use super::statement::{Dialect, Statement};
use super::{StoreError, rows};

/// How long a question waits for a database that cannot be reached.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where questions are asked. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) enum Readers {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

impl Readers {
    /// The first column of every row, as text.
    pub(super) async fn texts(
        &self,
        statement: &'static Statement,
        parameters: impl IntoIterator<Item = Parameter>,
    ) -> Result<Vec<String>, StoreError> {
        let parameters: Vec<Parameter> = parameters.into_iter().collect();
        let asked = Instant::now();
        let mut wait = Duration::from_millis(50);
        loop {
            match self.ask(statement, &parameters).await {
                // An outage that passes within the patience of whoever asks is no failure.
                Err(StoreError::Unreachable { .. }) if asked.elapsed() + wait < PATIENCE => {
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(Duration::from_secs(2));
                }
                answer => return answer,
            }
        }
    }

    async fn ask(
        &self,
        statement: &'static Statement,
        parameters: &[Parameter],
    ) -> Result<Vec<String>, StoreError> {
        // Statements are ours; data travels as parameters.
        match self {
            Self::Sqlite(pool) => {
                let mut query = sqlx::query(statement.text(Dialect::Sqlite));
                for parameter in parameters {
                    query = match parameter {
                        Parameter::Text(text) => query.bind(text.as_str()),
                        Parameter::Int(number) => query.bind(*number),
                        Parameter::Null => query.bind(None::<String>),
                    };
                }
                let found = query.fetch_all(pool).await?;
                let texts = found.iter().map(|row| {
                    let text: Option<String> = row.try_get(0)?;
                    Ok(text.unwrap_or_default())
                });
                texts.collect()
            }
            Self::Postgres(pool) => {
                let mut query = sqlx::query(statement.text(Dialect::Postgres));
                for parameter in parameters {
                    query = match parameter {
                        Parameter::Text(text) => query.bind(text.replace('\0', "\u{fffd}")),
                        Parameter::Int(number) => query.bind(*number),
                        Parameter::Null => query.bind(None::<String>),
                    };
                }
                let found = query.fetch_all(pool).await?;
                let texts = found.iter().map(|row| {
                    // JSON and text look the same on their way.
                    let text: Option<String> = row.try_get_unchecked(0)?;
                    Ok(text.unwrap_or_default())
                });
                texts.collect()
            }
        }
    }

    /// Every row, from the JSON array it answers with.
    pub(super) async fn rows<T: DeserializeOwned>(
        &self,
        statement: &'static Statement,
        parameters: impl IntoIterator<Item = Parameter>,
    ) -> Result<Vec<T>, StoreError> {
        let found = self.texts(statement, parameters).await?;
        found
            .iter()
            .map(|row| rows::parse(row, statement.name))
            .collect()
    }

    pub(super) async fn close(&self) {
        match self {
            Self::Sqlite(pool) => pool.close().await,
            Self::Postgres(pool) => pool.close().await,
        }
    }
}

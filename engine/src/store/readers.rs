//! Connections for questions: they never wait for a write.

use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use sqlx::pool::PoolConnection;
use sqlx::postgres::PgPool;
use sqlx::sqlite::SqlitePool;
use sqlx::{Postgres, Row as _, Sqlite};

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

/// One of the connections, kept by somebody who asks again and again. It goes back when dropped.
#[derive(Debug)]
pub(super) enum Held {
    Sqlite(PoolConnection<Sqlite>),
    Postgres(PoolConnection<Postgres>),
}

impl Readers {
    /// The first column of every row, as text.
    pub(super) async fn texts(
        &self,
        statement: &'static Statement,
        parameters: impl IntoIterator<Item = Parameter>,
    ) -> Result<Vec<String>, StoreError> {
        let parameters: Vec<Parameter> = parameters.into_iter().collect();
        self.texts_over(&mut None, statement, &parameters).await
    }

    /// [`Readers::texts`] over the connection that `held` has, or is given for the next time.
    pub(super) async fn texts_over(
        &self,
        held: &mut Option<Held>,
        statement: &'static Statement,
        parameters: &[Parameter],
    ) -> Result<Vec<String>, StoreError> {
        let asked = Instant::now();
        let mut wait = Duration::from_millis(50);
        loop {
            let answer = match held.take() {
                Some(held) => Ok(held),
                None => self.hold().await,
            };
            let answer = match answer {
                Ok(mut connection) => {
                    let answer = connection.ask(statement, parameters).await;
                    // One that broke is not asked again.
                    *held = answer.is_ok().then_some(connection);
                    answer
                }
                Err(error) => Err(error),
            };
            match answer {
                // An outage that passes within the patience of whoever asks is no failure.
                Err(StoreError::Unreachable { .. }) if asked.elapsed() + wait < PATIENCE => {
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(Duration::from_secs(2));
                }
                answer => return answer,
            }
        }
    }

    async fn hold(&self) -> Result<Held, StoreError> {
        Ok(match self {
            Self::Sqlite(pool) => Held::Sqlite(pool.acquire().await?),
            Self::Postgres(pool) => Held::Postgres(pool.acquire().await?),
        })
    }

    /// Waits until [`Readers::close`] is called.
    pub(super) async fn closing(&self) {
        match self {
            Self::Sqlite(pool) => pool.close_event().await,
            Self::Postgres(pool) => pool.close_event().await,
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

impl Held {
    async fn ask(
        &mut self,
        statement: &'static Statement,
        parameters: &[Parameter],
    ) -> Result<Vec<String>, StoreError> {
        // Statements are ours; data travels as parameters.
        match self {
            Self::Sqlite(connection) => {
                let mut query = sqlx::query(statement.text(Dialect::Sqlite));
                for parameter in parameters {
                    query = match parameter {
                        Parameter::Text(text) => query.bind(text.as_str()),
                        Parameter::Int(number) => query.bind(*number),
                        Parameter::Null => query.bind(None::<String>),
                    };
                }
                let found = query.fetch_all(&mut **connection).await?;
                let texts = found.iter().map(|row| {
                    let text: Option<String> = row.try_get(0)?;
                    Ok(text.unwrap_or_default())
                });
                texts.collect()
            }
            Self::Postgres(connection) => {
                let mut query = sqlx::query(statement.text(Dialect::Postgres));
                for parameter in parameters {
                    query = match parameter {
                        Parameter::Text(text) => query.bind(text.replace('\0', "\u{fffd}")),
                        Parameter::Int(number) => query.bind(*number),
                        Parameter::Null => query.bind(None::<String>),
                    };
                }
                let found = query.fetch_all(&mut **connection).await?;
                let texts = found.iter().map(|row| {
                    // JSON and text look the same on their way.
                    let text: Option<String> = row.try_get_unchecked(0)?;
                    Ok(text.unwrap_or_default())
                });
                texts.collect()
            }
        }
    }
}

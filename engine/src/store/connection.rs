//! The writer's own connection.
//!
//! `SQLite`'s cannot be lost. `PostgreSQL`'s can, in the middle of anything: then
//! nobody knows whether the last commit stands, and everything the writer sends
//! must bear being sent again.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _};

use super::script::Script;
use super::write_ahead::WriteAheadLog;
use super::{StoreError, sql};
use crate::time::{Clock, Timestamp};

/// What others wrote is noticed at the latest after this, doorbell or not.
const SLOW_POLL: Duration = Duration::from_secs(1);

/// Settings of a session that runs our statements. Every plan is by key or by a partial index, whatever
/// the statistics say at the moment.
pub(super) const SESSION: &str = "\
set standard_conforming_strings = on; \
set plan_cache_mode = force_generic_plan; \
set enable_hashjoin = off; set enable_mergejoin = off; set enable_seqscan = off; \
set jit = off; \
set statement_timeout = '60s'; \
set tcp_keepalives_idle = 10; set tcp_keepalives_interval = 3; set tcp_keepalives_count = 3";

/// Where the writer writes.
#[derive(Debug)]
pub(super) enum Connection {
    Sqlite {
        conn: SqliteConnection,
        data_version: i64,
        log: WriteAheadLog,
    },
    Postgres(Box<Postgres>),
}

#[derive(Debug)]
pub(super) struct Postgres {
    /// `None` while it is lost.
    conn: Option<PgConnection>,
    options: PgConnectOptions,
    /// Statements this session knows by name.
    prepared: HashSet<&'static str>,
    /// What a failed text meant to prepare may or may not be there.
    is_unsure: bool,
    looked_at: Instant,
}

impl Connection {
    /// `log` is the file beside the database that takes what is written first.
    pub(super) fn sqlite(conn: SqliteConnection, log: PathBuf) -> Self {
        Self::Sqlite {
            conn,
            data_version: 0,
            log: WriteAheadLog::new(log),
        }
    }

    /// Whether other processes lock rows of the same database.
    pub(super) fn is_shared(&self) -> bool {
        match self {
            Self::Sqlite { .. } => false,
            Self::Postgres(_) => true,
        }
    }

    /// Keeps `SQLite`'s write-ahead log from growing without bound.
    pub(super) async fn bound_log(&mut self) {
        if let Self::Sqlite { conn, log, .. } = self {
            log.bound(conn).await;
        }
    }

    pub(super) fn postgres(conn: PgConnection, options: PgConnectOptions) -> Self {
        Self::Postgres(Box::new(Postgres {
            conn: Some(conn),
            options,
            prepared: HashSet::new(),
            is_unsure: false,
            looked_at: Instant::now(),
        }))
    }

    /// Runs what was gathered; returns the first column of every row, in order.
    pub(super) async fn run(&mut self, script: &mut Script) -> Result<Vec<String>, StoreError> {
        if script.is_empty() {
            return Ok(Vec::new());
        }
        let script = std::mem::take(script);
        match self {
            Self::Sqlite { conn, .. } => {
                let (text, arguments) = script.for_sqlite();
                // The text is made of our own statements only; data travels as parameters.
                let query = sqlx::query_with(AssertSqlSafe(text), arguments);
                let rows = query.fetch_all(conn).await?;
                // A pragma that does something answers with rows of nothing.
                let told = rows.iter().filter(|row| !row.is_empty());
                Ok(told.map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
            }
            Self::Postgres(postgres) => postgres.run(script).await,
        }
    }

    /// Undoes what an unfinished transaction did. The database may have done so by itself.
    pub(super) async fn rollback(&mut self) {
        match self {
            Self::Sqlite { conn, .. } => {
                let _ = sqlx::query("rollback").execute(conn).await;
            }
            Self::Postgres(postgres) => {
                let Some(conn) = &mut postgres.conn else {
                    return;
                };
                let text = if std::mem::take(&mut postgres.is_unsure) {
                    postgres.prepared.clear();
                    "rollback; deallocate all"
                } else {
                    "rollback"
                };
                if sqlx::raw_sql(text).execute(conn).await.is_err() {
                    postgres.conn = None;
                }
            }
        }
    }

    /// Whether the connection is gone, so that what was asked last may or may not stand.
    pub(super) fn is_lost(&self) -> bool {
        match self {
            Self::Sqlite { .. } => false,
            Self::Postgres(postgres) => postgres.conn.is_none(),
        }
    }

    /// One try to get back what was lost.
    pub(super) async fn restore(&mut self, clock: &Clock) -> Result<(), StoreError> {
        match self {
            Self::Sqlite { .. } => Ok(()),
            Self::Postgres(postgres) => {
                postgres.prepared.clear();
                postgres.is_unsure = false;
                let mut conn = session(&postgres.options).await?;
                follow(&mut conn, clock).await?;
                postgres.conn = Some(conn);
                Ok(())
            }
        }
    }

    /// Whether others may have written since the last look.
    pub(super) async fn has_news(&mut self, clock: &Clock) -> Result<bool, StoreError> {
        match self {
            Self::Sqlite {
                conn, data_version, ..
            } => {
                let version = sqlx::query_scalar::<_, i64>(sql::DATA_VERSION)
                    .fetch_one(conn)
                    .await?;
                Ok(std::mem::replace(data_version, version) != version)
            }
            Self::Postgres(postgres) => {
                if postgres.looked_at.elapsed() < SLOW_POLL {
                    return Ok(false);
                }
                postgres.looked_at = Instant::now();
                if let Some(conn) = &mut postgres.conn {
                    follow(conn, clock).await?;
                }
                Ok(true)
            }
        }
    }

    pub(super) async fn close(self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite { conn, .. } => conn.close().await?,
            Self::Postgres(postgres) => {
                if let Some(conn) = postgres.conn {
                    conn.close().await?;
                }
            }
        }
        Ok(())
    }
}

impl Postgres {
    async fn run(&mut self, script: Script) -> Result<Vec<String>, StoreError> {
        let Some(conn) = &mut self.conn else {
            return Err(StoreError::Unreachable {
                detail: "the connection was lost".to_owned(),
            });
        };
        let executions = script.for_postgres(&self.prepared);
        // Our own statements by name; every value is quoted by `script`.
        let rows = sqlx::raw_sql(AssertSqlSafe(executions.text))
            .fetch_all(conn)
            .await;
        match rows {
            Ok(rows) => {
                self.prepared.extend(executions.prepares);
                let texts = rows.iter().map(|row| {
                    // Plain text whatever its type: nothing here travels in binary.
                    let text: Option<String> = row.try_get_unchecked(0)?;
                    Ok(text.unwrap_or_default())
                });
                texts.collect()
            }
            Err(error) => {
                self.is_unsure |= !executions.prepares.is_empty();
                let error = StoreError::from(error);
                if matches!(error, StoreError::Unreachable { .. }) {
                    self.conn = None;
                }
                Err(error)
            }
        }
    }
}

/// A connection that is ready for our statements.
pub(super) async fn session(options: &PgConnectOptions) -> Result<PgConnection, sqlx::Error> {
    let connecting = options.connect();
    let mut conn = tokio::time::timeout(Duration::from_secs(10), connecting)
        .await
        .map_err(|_| sqlx::Error::PoolTimedOut)??;
    sqlx::raw_sql(SESSION).execute(&mut conn).await?;
    Ok(conn)
}

/// Takes over the database's time: machines that share it must agree on when a lease ends.
pub(super) async fn follow(conn: &mut PgConnection, clock: &Clock) -> Result<(), StoreError> {
    let asked = Instant::now();
    let theirs: i64 =
        sqlx::query_scalar("select cast(extract(epoch from clock_timestamp()) * 1000 as bigint)")
            .fetch_one(conn)
            .await?;
    let travel = asked.elapsed();
    // Sooner than the answer's arrival by about half the way there and back.
    if travel < Duration::from_millis(250) {
        clock.follow(Timestamp(theirs).after(travel / 2));
    }
    Ok(())
}

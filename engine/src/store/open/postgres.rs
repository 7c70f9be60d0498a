//! Opening a database on a server.

use std::str::FromStr as _;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _};

use super::super::StoreError;
use super::super::connection::{SESSION, follow, session};
use super::{PostgresUrl, Step, migrator};
use crate::time::Clock;

/// The schema, in order. A file here is never edited once released; a change is a new file.
const MIGRATIONS: &[Step] = &[
    (
        1,
        "engine",
        include_str!("../../../../migrations/postgres/0001_engine.sql"),
    ),
    (
        2,
        "clients",
        include_str!("../../../../migrations/postgres/0002_clients.sql"),
    ),
    (
        3,
        "schedules",
        include_str!("../../../../migrations/postgres/0003_schedules.sql"),
    ),
    (
        4,
        "models",
        include_str!("../../../../migrations/postgres/0004_models.sql"),
    ),
    (
        5,
        "teardowns",
        include_str!("../../../../migrations/postgres/0005_teardowns.sql"),
    ),
];

/// `returning` in a `with`, `skip locked`, generic plans on demand: all there since 12; 14 is the oldest still mended.
const OLDEST: i64 = 140_000;

/// What differs in a session for questions: they differ more than writes do, and none may hold up a vacuum for long.
const QUESTIONS: &str = "\
set plan_cache_mode = auto; set enable_hashjoin = on; set enable_seqscan = on; set statement_timeout = '30s'";

/// Single runs are looked up by key, whatever the planner thinks: a session that is kept for days would go on
/// with the plan it made while there were ten runs, and read all of a hundred thousand for each.
const LOOKUPS: &str = "set statement_timeout = '30s'";

/// Connections that look single runs up, for each process: one for runs, one for runs with their steps.
const MAX_LOOKUPS: u32 = 2;

/// Connections for questions, for each process.
const MAX_READERS: u32 = 6;

/// What is open once it is open.
#[derive(Debug)]
pub(in crate::store) struct Opened {
    pub(in crate::store) conn: PgConnection,
    pub(in crate::store) options: PgConnectOptions,
    pub(in crate::store) readers: PgPool,
    pub(in crate::store) lookups: PgPool,
}

pub(in crate::store) async fn connect(
    url: &PostgresUrl,
    clock: &Clock,
    lease: Duration,
) -> Result<Opened, StoreError> {
    let cannot = |detail: String| StoreError::CannotOpen {
        path: url.to_string(),
        detail,
    };
    // What cannot be parsed is not repeated: it may be all secret.
    let options = PgConnectOptions::from_str(url.expose()).map_err(|_| {
        cannot(
            "it is no URL of a PostgreSQL database; write AQUATINT_DATABASE_URL as \
             postgres://user:password@host:5432/database"
                .to_owned(),
        )
    })?;
    let options = options
        .application_name("aquatint")
        // A process that stands still in the middle of a transaction must not keep its
        // locks for so long that others, who wait for them, lose their leases.
        .options([(
            "idle_in_transaction_session_timeout",
            format!("{}ms", (lease / 3).as_millis().max(200)),
        )])
        .statement_cache_capacity(128)
        .disable_statement_logging();
    let mut conn = session(&options).await.map_err(|error| {
        let detail = explain(&error);
        let is_away = matches!(error, sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut);
        if is_away || matches!(code(&error).as_str(), "57P03" | "53300") {
            let path = url.to_string();
            StoreError::Away { path, detail }
        } else {
            cannot(detail)
        }
    })?;
    check_version(&mut conn).await.map_err(cannot)?;
    migrate(&mut conn, url).await?;
    follow(&mut conn, clock).await?;
    let readers = pool(&options, MAX_READERS, QUESTIONS);
    let lookups = pool(&options, MAX_LOOKUPS, LOOKUPS);
    Ok(Opened {
        conn,
        options,
        readers,
        lookups,
    })
}

/// Connections that are made when they are needed, each set as the writer's is, and then as `own` says.
fn pool(options: &PgConnectOptions, most: u32, own: &'static str) -> PgPool {
    PgPoolOptions::new()
        .max_connections(most)
        .min_connections(0)
        .acquire_timeout(Duration::from_secs(10))
        // One that answered a moment ago is asked straight away; should it be gone, the question is asked again.
        .test_before_acquire(false)
        .before_acquire(|conn, facts| {
            Box::pin(async move {
                if facts.idle_for > Duration::from_secs(1) {
                    conn.ping().await?;
                }
                Ok(true)
            })
        })
        .after_connect(move |conn, _| {
            Box::pin(async move {
                conn.execute(sqlx::raw_sql(SESSION)).await?;
                conn.execute(sqlx::raw_sql(own)).await?;
                Ok(())
            })
        })
        .connect_lazy_with(options.clone())
}

async fn check_version(conn: &mut PgConnection) -> Result<(), String> {
    let number: String = sqlx::query_scalar("select current_setting('server_version_num')")
        .fetch_one(&mut *conn)
        .await
        .map_err(|error| explain(&error))?;
    let number: i64 = number.parse().unwrap_or(0);
    if number < OLDEST {
        let (is, least) = (number / 10_000, OLDEST / 10_000);
        return Err(format!(
            "the server is PostgreSQL {is}; {least} or newer is needed"
        ));
    }
    let is_standby: bool = sqlx::query_scalar("select pg_is_in_recovery()")
        .fetch_one(conn)
        .await
        .map_err(|error| explain(&error))?;
    if is_standby {
        return Err("the server is a read-only standby; name the primary".to_owned());
    }
    Ok(())
}

async fn migrate(conn: &mut PgConnection, url: &PostgresUrl) -> Result<(), StoreError> {
    let known = MIGRATIONS.last().map_or(0, |(version, _, _)| *version);
    let shown = url.to_string();
    // The quick look first: an up-to-date database costs one read.
    let found: Result<Option<i64>, _> =
        sqlx::query_scalar("select max(version) from _sqlx_migrations where success")
            .fetch_one(&mut *conn)
            .await;
    match found {
        Ok(Some(found)) if found == known => return Ok(()),
        Ok(Some(found)) if found > known => {
            return Err(StoreError::Newer {
                path: shown,
                found,
                known,
            });
        }
        // None yet, or older ones; or no such table: an empty database.
        Ok(_) => {}
        Err(error) if code(&error) == "42P01" => {}
        Err(error) => {
            return Err(StoreError::CannotOpen {
                path: shown,
                detail: explain(&error),
            });
        }
    }
    // Nodes that start together take turns by the migrator's own lock; the later ones find the work done.
    let migrated = migrator(MIGRATIONS).run(conn).await;
    migrated.map_err(|error| {
        let detail = match &error {
            sqlx::migrate::MigrateError::Execute(error)
            | sqlx::migrate::MigrateError::ExecuteMigration(error, _) => explain(error),
            other => other.to_string(),
        };
        StoreError::CannotOpen {
            path: shown,
            detail: format!("its schema cannot be brought up to date: {detail}"),
        }
    })
}

fn code(error: &sqlx::Error) -> String {
    error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code)
        .map(std::borrow::Cow::into_owned)
        .unwrap_or_default()
}

/// The server's words, and what to do about them.
fn explain(error: &sqlx::Error) -> String {
    let said = match error {
        sqlx::Error::Database(database) => database.message().to_owned(),
        sqlx::Error::PoolTimedOut => "no answer within 10 s".to_owned(),
        other => other.to_string(),
    };
    let remedy = match code(error).as_str() {
        "28P01" | "28000" => "check user and password in AQUATINT_DATABASE_URL, and pg_hba.conf",
        "3D000" => "create it with `createdb`, or name another in AQUATINT_DATABASE_URL",
        "42501" => "grant the user what it lacks, e.g. `grant create on schema public to …`",
        "53300" => "raise max_connections, or run fewer processes",
        "57P03" => "the server is about to start or stop; try again in a moment",
        _ if matches!(error, sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut) => {
            "check that the server runs and may be reached from here (AQUATINT_DATABASE_URL)"
        }
        _ if matches!(error, sqlx::Error::Tls(_)) => {
            "check its certificate, or set sslmode in AQUATINT_DATABASE_URL"
        }
        _ => "check AQUATINT_DATABASE_URL and the server's log",
    };
    format!("{said}; {remedy}")
}

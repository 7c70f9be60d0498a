//! Opening a database file.

use std::path::Path;
use std::time::Duration;

use sqlx::ConnectOptions as _;
use sqlx::sqlite::{
    SqliteAutoVacuum, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool,
    SqlitePoolOptions, SqliteSynchronous,
};

use super::super::StoreError;
use super::{Durability, Step, migrator};

/// The schema, in order. A file here is never edited once released; a change is a new file.
const MIGRATIONS: &[Step] = &[
    (
        1,
        "engine",
        include_str!("../../../../migrations/sqlite/0001_engine.sql"),
    ),
    (
        2,
        "clients",
        include_str!("../../../../migrations/sqlite/0002_clients.sql"),
    ),
    (
        3,
        "schedules",
        include_str!("../../../../migrations/sqlite/0003_schedules.sql"),
    ),
    (
        4,
        "models",
        include_str!("../../../../migrations/sqlite/0004_models.sql"),
    ),
    (
        5,
        "teardowns",
        include_str!("../../../../migrations/sqlite/0005_teardowns.sql"),
    ),
];

/// How long to wait for another process's transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

pub(in crate::store) async fn connect(
    path: &Path,
    durability: Durability,
) -> Result<(SqliteConnection, SqlitePool), StoreError> {
    let shown = path.display().to_string();
    let cannot = |detail: String| StoreError::CannotOpen {
        path: shown.clone(),
        detail,
    };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|error| {
            cannot(format!("its folder cannot be made: {error}; choose another data directory (AQUATINT_DATA_DIR)"))
        })?;
    }
    let mut options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(match durability {
            Durability::Full => SqliteSynchronous::Full,
            Durability::Normal => SqliteSynchronous::Normal,
        })
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(false)
        .statement_cache_capacity(128)
        .pragma("cache_size", "-8192")
        .pragma("wal_autocheckpoint", "1000")
        .pragma("temp_store", "memory")
        .disable_statement_logging();
    // In a new file, pages that become free can be given back a few at a time. It is said once, before the
    // first page is written: later it changes nothing, and waits for whoever writes.
    let readers = options.clone();
    if std::fs::metadata(path).map_or(true, |file| file.len() == 0) {
        options = options.auto_vacuum(SqliteAutoVacuum::Incremental);
    }
    // For its owner alone; what SQLite puts beside it is as the file itself.
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        let mut making = std::fs::OpenOptions::new();
        let _ = making.write(true).create_new(true).mode(0o600).open(path);
    }
    let mut conn = options
        .connect()
        .await
        .map_err(|error| explain(&shown, &error))?;
    migrate(&mut conn, path).await?;
    let readers = SqlitePoolOptions::new()
        .max_connections(4)
        .min_connections(0)
        .acquire_timeout(Duration::from_secs(30))
        // A file does not go away; to ask whether it did takes as long as most questions.
        .test_before_acquire(false)
        .connect_lazy_with(
            readers
                .pragma("cache_size", "-2048")
                .create_if_missing(false),
        );
    Ok((conn, readers))
}

async fn migrate(conn: &mut SqliteConnection, file: &Path) -> Result<(), StoreError> {
    let path = &file.display().to_string();
    let known = MIGRATIONS.last().map_or(0, |(version, _, _)| *version);
    // The quick look first: an up-to-date database costs one read.
    let found: Result<Option<i64>, _> =
        sqlx::query_scalar("select max(version) from _sqlx_migrations")
            .fetch_one(&mut *conn)
            .await;
    match found {
        Ok(Some(found)) if found == known => return Ok(()),
        Ok(Some(found)) if found > known => {
            return Err(StoreError::Newer {
                path: path.clone(),
                found,
                known,
            });
        }
        Ok(_) => {}
        Err(error) => match StoreError::from(error) {
            // No such table: a fresh file.
            StoreError::Other { detail } if detail.contains("no such table") => {}
            other => return Err(at(path, other)),
        },
    }
    // Processes that start together on an empty folder take turns; the later
    // ones then find the work done.
    let _turn = turn(file).await.map_err(|error| StoreError::CannotOpen {
        path: path.clone(),
        detail: format!("no turn to bring its schema up to date: {error}"),
    })?;
    let migrated = migrator(MIGRATIONS).run(&mut *conn).await;
    migrated.map_err(|error| match error {
        sqlx::migrate::MigrateError::Execute(error)
        | sqlx::migrate::MigrateError::ExecuteMigration(error, _) => {
            at(path, StoreError::from(error))
        }
        other => StoreError::CannotOpen {
            path: path.clone(),
            detail: format!("its schema cannot be brought up to date: {other}"),
        },
    })
}

/// A lock over processes, held until it is dropped: sqlx has none for `SQLite`, and
/// a migration is more than one transaction.
async fn turn(database: &Path) -> std::io::Result<std::fs::File> {
    let path = database.with_extension("migrating");
    let lock = move || {
        let file = std::fs::File::create(path)?;
        file.lock()?;
        Ok(file)
    };
    tokio::task::spawn_blocking(lock)
        .await
        .map_err(std::io::Error::other)?
}

fn explain(path: &str, error: &sqlx::Error) -> StoreError {
    let detail = match error {
        sqlx::Error::Database(database) => database.message().to_owned(),
        other => other.to_string(),
    };
    let remedy = if detail.contains("not a database") {
        "the file is something else; move it away or choose another data directory (AQUATINT_DATA_DIR)"
    } else if detail.contains("locked") {
        "another process holds it; wait for it or end it"
    } else if detail.contains("readonly") || detail.contains("unable to open") {
        "check that the folder exists and may be written"
    } else {
        "choose another data directory (AQUATINT_DATA_DIR) or mend this one"
    };
    StoreError::CannotOpen {
        path: path.to_owned(),
        detail: format!("{detail}; {remedy}"),
    }
}

/// Puts the path into errors met while opening.
fn at(path: &str, error: StoreError) -> StoreError {
    match error {
        StoreError::Other { detail } | StoreError::Corrupt { detail, .. } => {
            explain(path, &sqlx::Error::Protocol(detail))
        }
        other => other,
    }
}

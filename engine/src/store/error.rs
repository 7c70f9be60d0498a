//! What can go wrong between us and the database, in sentences.

use sqlx::postgres::PgDatabaseError;

/// A database error, classed by what can be done about it.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// No such run, worker or definition.
    #[error("no {what} `{id}`")]
    NotFound {
        /// What was looked for.
        what: &'static str,
        /// Under which name.
        id: String,
    },
    /// The same idempotency key was used for another request.
    #[error(
        "idempotency key `{key}` was already used for another request (run {run}); use a fresh key, or repeat the first request unchanged"
    )]
    KeyReused {
        /// The key.
        key: String,
        /// The run it belongs to.
        run: String,
    },
    /// Another process holds the database.
    #[error(
        "the database is locked by another process: {detail}; wait for it, or find it with `fuser`"
    )]
    Locked {
        /// The database's own words.
        detail: String,
    },
    /// The database server does not answer, or is about to start or stop.
    #[error("the database cannot be reached: {detail}; it is tried again by itself")]
    Unreachable {
        /// What was heard last.
        detail: String,
    },
    /// Two processes got in each other's way; nothing was done.
    #[error("another process was at the same rows: {detail}; try again")]
    Raced {
        /// The database's own words.
        detail: String,
    },
    /// No room left.
    #[error(
        "the disk that holds the database is full: {detail}; free some space and try again, nothing accepted so far is lost"
    )]
    Full {
        /// The database's own words.
        detail: String,
    },
    /// It cannot be opened at all.
    #[error("cannot open the database {path}: {detail}")]
    CannotOpen {
        /// Where.
        path: String,
        /// Why, and what to do.
        detail: String,
    },
    /// Its server does not answer: it may in a moment.
    #[error("cannot open the database {path}: {detail}")]
    Away {
        /// Where.
        path: String,
        /// Why, and what to do.
        detail: String,
    },
    /// It was written by a newer program.
    #[error(
        "the database {path} has schema version {found}, newer than this program's {known}; use the newer aquatint that wrote it, or another data directory"
    )]
    Newer {
        /// Where.
        path: String,
        /// Its version.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// A run is pinned to a definition that says what this program does not know.
    #[error(
        "definition version {version} was written by a newer aquatint: {detail}; let workers of that version run it, or upgrade this one"
    )]
    NewerDefinition {
        /// Its version.
        version: String,
        /// What is not known.
        detail: String,
    },
    /// What it holds makes no sense.
    #[error("the database is damaged: {what}: {detail}")]
    Corrupt {
        /// Where.
        what: &'static str,
        /// How.
        detail: String,
    },
    /// Anything else it says.
    #[error("database error: {detail}")]
    Other {
        /// The database's own words.
        detail: String,
    },
    /// A decision panicked; nothing was done.
    #[error("a bug in the engine kept this from being done: {detail}; please report it")]
    Panicked {
        /// What the panic said.
        detail: String,
    },
    /// A run with many tasks was cancelled or has failed a moment ago.
    #[error("run {run} has ended, but its tasks are still being cancelled; try again in a moment")]
    Cancelling {
        /// The run.
        run: String,
    },
    /// The engine has been shut down.
    #[error("the engine is shut down")]
    Closed,
}

impl StoreError {
    /// Whether the same request may succeed later, unchanged.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Locked { .. }
            | Self::Full { .. }
            | Self::Unreachable { .. }
            | Self::Raced { .. }
            | Self::Cancelling { .. } => true,
            Self::NotFound { .. }
            | Self::KeyReused { .. }
            | Self::CannotOpen { .. }
            | Self::Away { .. }
            | Self::Newer { .. }
            | Self::NewerDefinition { .. }
            | Self::Corrupt { .. }
            | Self::Other { .. }
            | Self::Panicked { .. }
            | Self::Closed => false,
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::PoolClosed => Self::Closed,
            sqlx::Error::Database(database) => {
                let detail = database.message().to_owned();
                let code = database.code().unwrap_or_default();
                match database.try_downcast_ref::<PgDatabaseError>() {
                    Some(_) => postgres(&code, detail),
                    None => sqlite(&code, detail),
                }
            }
            // Whoever keeps the answer from arriving, it is not the statement.
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::WorkerCrashed => Self::Unreachable {
                detail: error.to_string(),
            },
            _ => Self::Other {
                detail: error.to_string(),
            },
        }
    }
}

/// `SQLite`'s primary result codes are the low byte of the extended ones.
fn sqlite(code: &str, detail: String) -> StoreError {
    match code.parse::<i32>().map(|code| code & 0xff) {
        Ok(5 | 6) => StoreError::Locked { detail },
        Ok(13) => StoreError::Full { detail },
        Ok(11 | 26) => StoreError::Corrupt {
            what: "file",
            detail,
        },
        _ => StoreError::Other { detail },
    }
}

/// SQLSTATE codes: `PostgreSQL`'s manual, appendix A.
fn postgres(code: &str, detail: String) -> StoreError {
    match code {
        // Disk full.
        "53100" => StoreError::Full { detail },
        // Deadlock, serialization failure, lock not available, unique violation, in-transaction time-out.
        "40P01" | "40001" | "55P03" | "23505" => StoreError::Raced { detail },
        // A time-out of ours ended the session, or a person did; it starts or stops; a standby took over;
        // no more connections.
        "25P03" | "57P01" | "57P02" | "57P03" | "57P05" | "25006" | "53300" => {
            StoreError::Unreachable { detail }
        }
        _ if code.starts_with("08") => StoreError::Unreachable { detail },
        // A statement that took too long may pass when there is less to do.
        "57014" => StoreError::Raced { detail },
        _ if code.starts_with("XX") => StoreError::Corrupt {
            what: "tables",
            detail,
        },
        _ => StoreError::Other { detail },
    }
}

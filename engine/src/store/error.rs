//! What can go wrong between us and the database, in sentences.

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
    /// The engine has been shut down.
    #[error("the engine is shut down")]
    Closed,
}

impl StoreError {
    /// Whether the same request may succeed later, unchanged.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Locked { .. } | Self::Full { .. } => true,
            Self::NotFound { .. }
            | Self::KeyReused { .. }
            | Self::CannotOpen { .. }
            | Self::Newer { .. }
            | Self::Corrupt { .. }
            | Self::Other { .. }
            | Self::Closed => false,
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        if matches!(error, sqlx::Error::PoolClosed) {
            return Self::Closed;
        }
        let detail = match &error {
            sqlx::Error::Database(database) => database.message().to_owned(),
            _ => error.to_string(),
        };
        // SQLite's primary result codes are the low byte of the extended ones.
        let code = error
            .as_database_error()
            .and_then(sqlx::error::DatabaseError::code)
            .and_then(|c| c.parse::<i32>().ok())
            .map(|c| c & 0xff);
        match code {
            Some(5 | 6) => Self::Locked { detail },
            Some(13) => Self::Full { detail },
            Some(11 | 26) => Self::Corrupt {
                what: "file",
                detail,
            },
            _ => Self::Other { detail },
        }
    }
}

//! `SQLite`'s write-ahead log, kept small.
//!
//! Every commit goes into the log first, and a checkpoint carries it over into the database. The one that `SQLite` makes
//! by itself never waits for anybody: while readers overlap, and they do under load, it finds no moment to begin the log
//! anew, and the log grows by whatever is written. Reads search it, so that everything becomes slower with it. Beyond
//! [`LIMIT_BYTES`] the writer therefore makes a checkpoint that waits a moment for readers: those that begin meanwhile
//! read the database alone, so it only waits for those that are under way.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use sqlx::sqlite::SqliteConnection;

/// What the log may take before it is begun anew.
const LIMIT_BYTES: u64 = 64 * 1024 * 1024;

/// How often to look.
const PAUSE: Duration = Duration::from_millis(100);

/// How long to wait for readers. The writer does nothing else meanwhile.
const PATIENCE_MS: u32 = 50;

/// How long to leave it at most, where readers were in the way.
const MAX_PAUSE: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct WriteAheadLog {
    path: PathBuf,
    looked_at: Instant,
    pause: Duration,
}

impl WriteAheadLog {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            looked_at: Instant::now(),
            pause: PAUSE,
        }
    }

    /// Begins the log anew where it has grown too large. To be called between transactions.
    pub(super) async fn bound(&mut self, conn: &mut SqliteConnection) {
        if self.looked_at.elapsed() < self.pause {
            return;
        }
        self.looked_at = Instant::now();
        let size = std::fs::metadata(&self.path).map_or(0, |file| file.len());
        if size < LIMIT_BYTES {
            self.pause = PAUSE;
            return;
        }
        match truncate(conn).await {
            Ok(true) => self.pause = PAUSE,
            // Readers are in the way. To wait longer would cost everybody else more than a larger log does.
            Ok(false) => self.pause = (self.pause * 2).min(MAX_PAUSE),
            Err(error) => {
                self.pause = MAX_PAUSE;
                tracing::warn!(%error, "the write-ahead log could not be begun anew; trying again");
            }
        }
    }
}

/// Carries all of the log over and empties it; false when readers kept it from doing so.
async fn truncate(conn: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    let before: i64 = sqlx::query_scalar("pragma busy_timeout")
        .fetch_one(&mut *conn)
        .await?;
    set_patience(conn, i64::from(PATIENCE_MS)).await?;
    let busy = sqlx::query_scalar::<_, i64>("pragma wal_checkpoint(truncate)")
        .fetch_one(&mut *conn)
        .await;
    set_patience(conn, before).await?;
    Ok(busy? == 0)
}

async fn set_patience(conn: &mut SqliteConnection, ms: i64) -> Result<(), sqlx::Error> {
    let text = sqlx::AssertSqlSafe(format!("pragma busy_timeout = {ms}"));
    sqlx::query(text).execute(conn).await.map(drop)
}

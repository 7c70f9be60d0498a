//! Keeping house: what may go, goes a little at a time, and what somebody needs stays.
//!
//! Invariants:
//! - a run that is under way is never touched, nor one whose own time (`retention`) has not come;
//! - a run that does a step's work is kept as long as the run above it;
//! - a file goes only when no run, and no cached result, refers to it, and after a grace period: an
//!   attempt may be about to name it.

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde::{Deserialize, Serialize};

use super::{Engine, blocking};
use crate::error::EngineError;
use crate::id::{QueueName, RunId};
use crate::store::{Answer, Forget, Op, StoreError};
use crate::time::Timestamp;

/// Runs deleted in one go: they share a commit.
const TOGETHER: usize = 50;
/// Bytes that a database may hold in reserve before they are given back.
const RESERVE_BYTES: u64 = 4 * 1024 * 1024;
/// What waits in Redis for nobody is looked for only so long.
const PATIENCE: Duration = Duration::from_secs(10);

/// What may go.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Upkeep {
    /// Files and folders younger than this stay, whoever refers to them.
    pub grace: Duration,
    /// Finished runs go after this time, where neither they nor their workflow say how long they are
    /// kept; `None` keeps them.
    pub keep_runs: Option<Duration>,
    /// What finished runs wrote down, and their events, go after this time; `None` keeps them.
    pub keep_journals: Option<Duration>,
    /// Cached results go after this time; `None` keeps them as long as their run.
    pub keep_cache: Option<Duration>,
    /// What is known of workers that are gone goes after this time.
    pub keep_workers: Duration,
}

impl Default for Upkeep {
    fn default() -> Self {
        Self {
            grace: Duration::from_secs(24 * 3_600),
            keep_runs: None,
            keep_journals: None,
            keep_cache: None,
            keep_workers: Duration::from_secs(7 * 24 * 3_600),
        }
    }
}

impl Upkeep {
    /// What nobody needs, if it is older than this, and nothing else.
    #[must_use]
    pub fn of(grace: Duration) -> Self {
        Self {
            grace,
            ..Self::default()
        }
    }
}

/// What has gone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Cleaned {
    /// Runs, with all that belonged to them.
    pub runs: u64,
    /// Runs that lost their logs and events, and stay otherwise.
    pub journals: u64,
    /// Cached results.
    pub cached: u64,
    /// Workers that were gone.
    pub workers: u64,
    /// Files that nobody referred to.
    pub files: u64,
    /// Their size.
    pub file_bytes: u64,
    /// Folders of attempts that are over.
    pub scratch: u64,
    /// Lists in Redis that nobody takes from.
    pub tickets: u64,
    /// By how much the database became smaller.
    pub database_bytes: u64,
}

impl Engine {
    /// Forgets what may go.
    ///
    /// Runs go first, then the files that nobody refers to any more. What a crash leaves undone is done
    /// the next time.
    ///
    /// # Errors
    /// A store error, or a folder or bucket that cannot be read.
    pub async fn clean(&self, upkeep: &Upkeep) -> Result<Cleaned, EngineError> {
        let mut cleaned = Cleaned::default();
        let now = self.now();
        let ago = |keep: Duration| {
            let keep_ms = i64::try_from(keep.as_millis()).unwrap_or(i64::MAX);
            Timestamp(now.0.saturating_sub(keep_ms).max(0))
        };
        self.delete_expired(now, &mut cleaned).await?;
        if let Some(keep) = upkeep.keep_runs {
            self.delete_old(ago(keep), &mut cleaned).await?;
        }
        if let Some(keep) = upkeep.keep_journals {
            self.forget_journals(ago(keep), &mut cleaned).await?;
        }
        if let Some(keep) = upkeep.keep_cache {
            cleaned.cached = self.forget_all(Forget::Cache(ago(keep))).await?;
        }
        let gone = Forget::Workers(ago(upkeep.keep_workers));
        cleaned.workers = self.forget_all(gone).await?;
        self.sweep_files(upkeep.grace, &mut cleaned).await?;
        cleaned.tickets = self.tidy_doorbell().await?;
        cleaned.database_bytes = self.give_back().await?;
        Ok(cleaned)
    }

    async fn delete_expired(
        &self,
        now: Timestamp,
        cleaned: &mut Cleaned,
    ) -> Result<(), EngineError> {
        loop {
            let found = self.shared.store.expired_runs(now).await?;
            let gone = self.delete_all(&found).await?;
            cleaned.runs += gone;
            // Somebody else cleans too, or all is done.
            if gone == 0 {
                return Ok(());
            }
        }
    }

    async fn delete_old(
        &self,
        before: Timestamp,
        cleaned: &mut Cleaned,
    ) -> Result<(), EngineError> {
        let mut after = String::new();
        loop {
            let found = self.shared.store.old_runs(before, &after).await?;
            let Some(last) = found.last() else {
                return Ok(());
            };
            after = last.to_string();
            cleaned.runs += self.delete_all(&found).await?;
        }
    }

    /// Deletes runs that were found finished; one that goes on again meanwhile stays.
    async fn delete_all(&self, runs: &[RunId]) -> Result<u64, EngineError> {
        let mut gone = 0;
        for some in runs.chunks(TOGETHER) {
            let deletes = some
                .iter()
                .map(|run| self.shared.store.write(Op::Delete(*run)));
            for deleted in join_all(deletes).await {
                match deleted {
                    Ok(_) => gone += 1,
                    Err(StoreError::NotFound { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            self.shared.store.tear_down().await?;
        }
        Ok(gone)
    }

    async fn forget_journals(
        &self,
        before: Timestamp,
        cleaned: &mut Cleaned,
    ) -> Result<(), EngineError> {
        loop {
            let found = self.shared.store.old_journals(before).await?;
            if found.is_empty() {
                return Ok(());
            }
            cleaned.journals += found.len() as u64;
            for some in found.chunks(TOGETHER) {
                self.forget_all(Forget::Journals(some.to_vec())).await?;
            }
        }
    }

    /// Portion by portion, each followed by a pause of its own length: others write too.
    async fn forget_all(&self, what: Forget) -> Result<u64, EngineError> {
        let mut all = 0;
        loop {
            let began = Instant::now();
            match self.forget_some(what.clone()).await? {
                0 => return Ok(all),
                some => all += some,
            }
            tokio::time::sleep(began.elapsed()).await;
        }
    }

    async fn forget_some(&self, what: Forget) -> Result<u64, EngineError> {
        match self.shared.store.write(Op::Forget(what)).await? {
            Answer::Forgotten(many) => Ok(many),
            other => unreachable!("forgetting is answered by Forgotten, not {other:?}"),
        }
    }

    async fn sweep_files(&self, grace: Duration, cleaned: &mut Cleaned) -> Result<(), EngineError> {
        let (artifacts, store) = (self.shared.artifacts.clone(), self.shared.store.clone());
        let runtime = tokio::runtime::Handle::current();
        let scratch = self.shared.config.data_dir.join("scratch");
        let (folders, swept) = blocking(move || {
            let is_over = |run: RunId| match runtime.block_on(store.run_state(run)) {
                Ok(state) => Ok(state.is_terminal()),
                Err(StoreError::NotFound { .. }) => Ok(true),
                Err(error) => Err(EngineError::from(error)),
            };
            let folders = remove_old_folders(&scratch, grace, is_over)?;
            let swept =
                artifacts.sweep(grace, |digests| -> Result<HashSet<String>, EngineError> {
                    Ok(runtime.block_on(store.needed(digests))?)
                })?;
            Ok::<_, EngineError>((folders, swept))
        })
        .await?;
        cleaned.scratch = folders;
        cleaned.files = swept.files;
        cleaned.file_bytes = swept.bytes;
        Ok(())
    }

    /// Lists of tickets for queues that have neither work nor workers.
    async fn tidy_doorbell(&self) -> Result<u64, EngineError> {
        let Some(doorbell) = &self.shared.doorbell else {
            return Ok(0);
        };
        let queues = self.queues().await?;
        let used: HashSet<QueueName> = queues.into_iter().map(|queue| queue.name).collect();
        // Redis may be away: what lies there is in nobody's way.
        let tidied = tokio::time::timeout(PATIENCE, doorbell.tidy(&used)).await;
        Ok(tidied.unwrap_or_default())
    }

    /// Makes the file of an embedded database smaller, a few pages a commit.
    async fn give_back(&self) -> Result<u64, EngineError> {
        let store = &self.shared.store;
        if !store.is_file() {
            // PostgreSQL's autovacuum makes room for what comes next.
            return Ok(0);
        }
        let (before, mut free) = store.size_bytes().await?;
        while free > RESERVE_BYTES {
            self.forget_some(Forget::Pages).await?;
            let (_, now_free) = store.size_bytes().await?;
            if now_free >= free {
                // A file from before, which can only be made smaller as a whole.
                break;
            }
            free = now_free;
        }
        let (after, _) = store.size_bytes().await?;
        Ok(before.saturating_sub(after))
    }
}

/// Folders of attempts that are over, or whose process is gone.
fn remove_old_folders(
    root: &Path,
    min_age: Duration,
    is_over: impl Fn(RunId) -> Result<bool, EngineError>,
) -> Result<u64, EngineError> {
    let Ok(listing) = std::fs::read_dir(root) else {
        return Ok(0);
    };
    let mut removed = 0;
    for folder in listing {
        let folder = folder?;
        // An attempt that ends meanwhile takes its folder along.
        let Some(modified) = unless_gone(folder.metadata().and_then(|meta| meta.modified()))?
        else {
            continue;
        };
        let age = modified.elapsed().unwrap_or_default();
        // Named after its attempt: the run's id comes first. A long attempt may not touch its folder for days.
        let name = folder.file_name().to_string_lossy().into_owned();
        let run = name.get(..36).and_then(|id| id.parse().ok());
        let is_idle = match run {
            Some(run) if age >= min_age => is_over(run)?,
            Some(_) => false,
            None => age >= min_age,
        };
        if is_idle {
            let is_removed = unless_gone(std::fs::remove_dir_all(folder.path()))?.is_some();
            removed += u64::from(is_removed);
        }
    }
    Ok(removed)
}

/// What was found, unless it is there no more.
fn unless_gone<T>(found: std::io::Result<T>) -> std::io::Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_folder_that_vanishes_while_it_is_looked_at_stops_no_clean_up() {
        let root = tempfile::tempdir().unwrap();
        let folder = |n: u32| {
            root.path()
                .join(format!("01a1fb02-73a2-7000-800d-1fdf1185b4b8-{n}--1-1"))
        };
        (0..20).for_each(|n| std::fs::create_dir(folder(n)).unwrap());
        // All have been listed when the first is asked about, and all go: their attempts ended.
        let is_over = |_: RunId| {
            (0..20).for_each(|n| {
                let _ = std::fs::remove_dir(folder(n));
            });
            Ok(true)
        };
        let removed = remove_old_folders(root.path(), Duration::ZERO, is_over).unwrap();
        assert_eq!(removed, 0);
    }
}

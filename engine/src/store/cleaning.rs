//! What may be forgotten: found from a reader, in portions, and deleted by the writer a little at a time,
//! so that nothing else has to wait for it.

use super::commit::Commit;
use super::op::Answer;
use super::readers::Readers;
use super::runs::{HELD_UP_MS, SET_BACK, first_id_at};
use super::{Store, StoreError, rows, sql};
use crate::id::RunId;
use crate::run::RunState;
use crate::time::Timestamp;

/// Something to forget.
#[derive(Debug, Clone)]
pub(crate) enum Forget {
    /// What finished runs wrote down, and what happened in them, some of it; the runs stay.
    Journals(Vec<RunId>),
    /// Cached results that are older than this, some of them.
    Cache(Timestamp),
    /// Workers that have not been seen since, some of them.
    Workers(Timestamp),
    /// Some of the pages that an embedded database's file holds and nobody needs.
    Pages,
}

impl Commit<'_> {
    pub(super) async fn forget(&mut self, what: &Forget) -> Result<Answer, StoreError> {
        let forgotten = match what {
            Forget::Journals(runs) => {
                return Ok(Answer::Forgotten(self.delete_journals(runs).await?));
            }
            Forget::Cache(before) => {
                let gone = self.ask(&sql::FORGET_CACHE, [before.0.into()]).await?;
                gone.len()
            }
            Forget::Workers(before) => {
                let gone = self.ask(&sql::FORGET_WORKERS, [before.0.into()]).await?;
                gone.len()
            }
            Forget::Pages => {
                self.ask(&sql::GIVE_BACK, []).await?;
                0
            }
        };
        Ok(Answer::Forgotten(forgotten as u64))
    }
}

/// No run that was created at this moment or later has a smaller id.
fn earlier(moment: Timestamp) -> String {
    first_id_at(Timestamp(moment.0.saturating_sub(HELD_UP_MS).max(0)))
}

/// No run that was created before this moment has a greater id.
fn later(moment: Timestamp) -> String {
    first_id_at(moment.after(SET_BACK))
}

impl Store {
    /// Runs whose time has come to be forgotten; some of them.
    pub(crate) async fn expired_runs(&self, now: Timestamp) -> Result<Vec<RunId>, StoreError> {
        self.run_ids(&sql::EXPIRED_RUNS, [now.0.into()]).await
    }

    /// Runs that somebody submitted, that ended before this moment, and of which nobody said how long they
    /// are to be kept; some of them, after this one.
    pub(crate) async fn old_runs(
        &self,
        before: Timestamp,
        after: &str,
    ) -> Result<Vec<RunId>, StoreError> {
        let bounds = [before.0.into(), after.into(), later(before).into()];
        self.run_ids(&sql::OLD_RUNS, bounds).await
    }

    /// Runs that ended before this moment and have a journal; some of them.
    pub(crate) async fn old_journals(&self, before: Timestamp) -> Result<Vec<RunId>, StoreError> {
        let bound = later(before);
        let mut found = Vec::new();
        for statement in [&sql::OLD_LOGS, &sql::OLD_EVENTS] {
            let bounds = [before.0.into(), bound.as_str().into()];
            found.extend(self.run_ids(statement, bounds).await?);
        }
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }

    async fn run_ids(
        &self,
        statement: &'static super::statement::Statement,
        parameters: impl IntoIterator<Item = super::script::Parameter>,
    ) -> Result<Vec<RunId>, StoreError> {
        let found: Vec<String> = self.readers.texts(statement, parameters).await?;
        found
            .into_iter()
            .map(|id| {
                id.parse().map_err(|_| StoreError::Corrupt {
                    what: "runs.id",
                    detail: id,
                })
            })
            .collect()
    }

    /// What the database's clock shows.
    pub(crate) async fn clock(&self) -> Result<Timestamp, StoreError> {
        let found: Vec<i64> = self.readers.rows(&sql::DATABASE_CLOCK, []).await?;
        Ok(Timestamp(found.into_iter().next().unwrap_or_default()))
    }

    /// How runs that began since then have ended: workflow, state, how many.
    pub(crate) async fn ended_since(
        &self,
        since: Timestamp,
    ) -> Result<Vec<(String, RunState, u64)>, StoreError> {
        // An id may be older than its run: its bound is wide, and the run's own time decides.
        let bounds = [earlier(since).into(), since.0.into()];
        self.readers.rows(&sql::ENDED_SINCE, bounds).await
    }

    /// Runs that began since the first moment and were given up since the second, because their work
    /// kills workers: run, workflow, what was said.
    pub(crate) async fn quarantined_since(
        &self,
        begun: Timestamp,
        ended: Timestamp,
    ) -> Result<Vec<(RunId, String, String)>, StoreError> {
        let bounds = [earlier(begun).into(), ended.0.into()];
        let found: Vec<(RunId, String, String)> =
            self.readers.rows(&sql::QUARANTINED_SINCE, bounds).await?;
        let mut given_up = Vec::new();
        for (run, workflow, failure) in found {
            let failure: crate::run::Failure = rows::parse(&failure, "runs.failure")?;
            if failure.class == "quarantined" {
                given_up.push((run, workflow, failure.message));
            }
        }
        Ok(given_up)
    }

    /// Bytes of the database in all, and of those the ones it could give back.
    pub(crate) async fn size_bytes(&self) -> Result<(u64, u64), StoreError> {
        let found: Vec<(u64, u64)> = self.readers.rows(&sql::DATABASE_SIZE, []).await?;
        Ok(found.into_iter().next().unwrap_or_default())
    }

    /// Whether trees of runs are being cancelled or deleted.
    pub(crate) async fn has_teardowns(&self) -> Result<bool, StoreError> {
        let found: Vec<String> = self.readers.texts(&sql::ANY_TEARDOWN, []).await?;
        Ok(!found.is_empty())
    }

    /// Whether it is a file of our own, which can be made smaller.
    pub(crate) fn is_file(&self) -> bool {
        matches!(self.readers, Readers::Sqlite(_))
    }
}

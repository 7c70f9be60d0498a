//! Looking: runs, steps, events, and waiting for them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::Engine;
use crate::error::EngineError;
use crate::id::RunId;
use crate::run::{Event, RunState};
use crate::store::{AttemptView, FeedEntry, Hint, LogView, RunFilter, RunPage, RunView, TaskView};
use crate::task::Progress;
use crate::time::Timestamp;
use crate::workflow::plan::{Plan, StepIndex};

/// How often to look at a run that another process may be working on.
const FOREIGN_POLL: Duration = Duration::from_millis(200);

/// Tells that a run may have changed.
#[derive(Debug, Clone)]
pub struct Watch(watch::Receiver<Hint>);

impl Watch {
    /// Waits until the run may have changed since this was last asked; a lost hint costs `patience`.
    pub async fn changed(&mut self, patience: Duration) {
        let _ = tokio::time::timeout(patience, self.0.changed()).await;
    }
}

impl Engine {
    /// The versions of a workflow that runs were submitted with, newest first, and since when; 100 at most.
    ///
    /// # Errors
    /// A store error.
    pub async fn versions(&self, workflow: &str) -> Result<Vec<(String, Timestamp)>, EngineError> {
        Ok(self.shared.store.versions(workflow).await?)
    }

    /// Waits until a run has ended, whoever works on it.
    ///
    /// # Errors
    /// An unknown run, or a store error.
    pub async fn wait(&self, run: RunId) -> Result<RunView, EngineError> {
        let mut changes = self.shared.store.watch(run);
        let mut is_hinted = false;
        loop {
            let seen = *changes.borrow_and_update();
            // A hint spares the small question, not the answer.
            if is_hinted || self.shared.store.run_state(run).await?.is_terminal() {
                let view = self.shared.store.run(run).await?;
                if view.state.is_terminal() {
                    return Ok(view);
                }
            }
            // A step's end is no reason to look: it would take the time of the next step.
            let tells = |hint: &Hint| {
                (hint.is_over && hint.count != seen.count) || hint.foreign != seen.foreign
            };
            let told = tokio::time::timeout(FOREIGN_POLL, changes.wait_for(tells)).await;
            is_hinted = matches!(told, Ok(Ok(hint)) if hint.is_over);
        }
    }

    /// Waits until something about a run may have changed.
    pub async fn changed(&self, run: RunId) {
        let mut changes = self.shared.store.watch(run);
        let _ = tokio::time::timeout(FOREIGN_POLL, changes.changed()).await;
    }

    /// A run as it is now.
    ///
    /// # Errors
    /// An unknown run, or a store error.
    pub async fn run(&self, run: RunId) -> Result<RunView, EngineError> {
        Ok(self.shared.store.run(run).await?)
    }

    /// Runs, newest first.
    ///
    /// # Errors
    /// A store error.
    pub async fn runs(&self, filter: &RunFilter) -> Result<Vec<RunView>, EngineError> {
        Ok(self.page(filter).await?.runs)
    }

    /// A page of runs, newest first, and where the next one begins.
    ///
    /// # Errors
    /// A store error.
    pub async fn page(&self, filter: &RunFilter) -> Result<RunPage, EngineError> {
        Ok(self.shared.store.list_runs(filter).await?)
    }

    /// Whether any run has not ended.
    ///
    /// # Errors
    /// A store error.
    pub async fn is_busy(&self) -> Result<bool, EngineError> {
        Ok(self.shared.store.is_busy().await?)
    }

    /// How many runs there are in each state.
    ///
    /// # Errors
    /// A store error.
    pub async fn counts(&self) -> Result<Vec<(RunState, u64)>, EngineError> {
        Ok(self.shared.store.counts().await?)
    }

    /// The run a person means: an id, the beginning of one, or `@latest`, the newest
    /// that is no step of another.
    ///
    /// # Errors
    /// When no run, or more than one, is meant.
    pub async fn find(&self, what: &str) -> Result<RunId, EngineError> {
        if what == "@latest" {
            return self
                .shared
                .store
                .latest_run()
                .await?
                .ok_or(EngineError::NoRuns);
        }
        let prefix = what.to_ascii_lowercase();
        let is_prefix =
            prefix.len() >= 4 && prefix.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
        let found = if is_prefix {
            self.shared.store.runs_like(&prefix).await?
        } else {
            Vec::new()
        };
        match found.as_slice() {
            [run] => Ok(*run),
            [] => Err(EngineError::NoSuchRun {
                what: what.to_owned(),
            }),
            [..] => Err(EngineError::Ambiguous {
                what: what.to_owned(),
            }),
        }
    }

    /// The plan a run is pinned to.
    ///
    /// # Errors
    /// An unknown run, or a store error.
    pub async fn plan(&self, run: RunId) -> Result<Arc<Plan>, EngineError> {
        Ok(self.shared.store.plan_of(run).await?)
    }

    /// The steps of a run, and on request the items of mapped steps.
    ///
    /// # Errors
    /// An unknown run, or a store error.
    pub async fn tasks(&self, run: RunId, with_items: bool) -> Result<Vec<TaskView>, EngineError> {
        Ok(self.shared.store.tasks(run, with_items).await?)
    }

    /// A run and its steps, without the items of mapped steps, both as of one moment. Many who ask at
    /// once share a trip to the database.
    ///
    /// # Errors
    /// An unknown run, or a store error.
    pub async fn detail(&self, run: RunId) -> Result<(RunView, Vec<TaskView>), EngineError> {
        Ok(self.shared.store.detail(run).await?)
    }

    /// Items of a mapped step after number `after` (−1 for the first), in order; 1,000 at most.
    ///
    /// # Errors
    /// An unknown run, or a store error.
    pub async fn items(
        &self,
        run: RunId,
        step: StepIndex,
        after: i64,
        limit: u32,
    ) -> Result<Vec<TaskView>, EngineError> {
        let limit = i64::from(limit.min(1_000));
        Ok(self.shared.store.items(run, step, after, limit).await?)
    }

    /// The attempts of a run that have ended, 1,000 at most.
    ///
    /// # Errors
    /// An unknown run, or a store error.
    pub async fn attempts(&self, run: RunId) -> Result<Vec<AttemptView>, EngineError> {
        Ok(self.shared.store.attempts(run).await?)
    }

    /// The log lines of a run, oldest first.
    ///
    /// # Errors
    /// An unknown run, or a store error.
    pub async fn logs(&self, run: RunId) -> Result<Vec<LogView>, EngineError> {
        Ok(self.shared.store.logs(run).await?)
    }

    /// The run's events after number `seq`, oldest first; 1,000 commits' worth at most.
    ///
    /// # Errors
    /// A store error.
    pub async fn events(&self, run: RunId, seq: i64) -> Result<Vec<Event>, EngineError> {
        Ok(self.shared.store.events_after(run, seq).await?)
    }

    /// All runs' events after a position, 1,000 commits' worth at most; in the order they were
    /// committed, more or less: where several processes write, one with a lower position may
    /// show a moment later than one with a higher.
    ///
    /// # Errors
    /// A store error.
    pub async fn feed(&self, position: i64) -> Result<Vec<FeedEntry>, EngineError> {
        Ok(self.shared.store.feed(position, 1_000).await?)
    }

    /// The position of the last event there is; 0 before the first.
    ///
    /// # Errors
    /// A store error.
    pub async fn last_position(&self) -> Result<i64, EngineError> {
        Ok(self.shared.store.last_position().await?)
    }

    /// A receiver that changes whenever any run may have.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.store.watch_all()
    }

    /// A receiver that changes whenever this run may have.
    #[must_use]
    pub fn watch(&self, run: RunId) -> Watch {
        Watch(self.shared.store.watch(run))
    }

    /// What the running attempts of a run last said: step, item (or −1), progress.
    ///
    /// # Errors
    /// A store error.
    pub async fn progress(
        &self,
        run: RunId,
    ) -> Result<Vec<(StepIndex, i32, Progress)>, EngineError> {
        Ok(self.shared.store.progress(run).await?)
    }
}

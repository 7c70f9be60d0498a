//! What a sweep looks for, from a reader: what it finds is decided in the writer, under the same guards as any report.

use super::{Store, StoreError, rows, sql};
use crate::id::{RunId, WorkerId, WorkflowName};
use crate::run::TaskKey;
use crate::time::Timestamp;
use crate::workflow::plan::StepIndex;

impl Store {
    pub(crate) async fn live_workers(&self) -> Result<Vec<(WorkerId, String)>, StoreError> {
        self.readers.rows(&sql::LIVE_WORKERS, []).await
    }

    /// Attempts whose worker is gone, or whose time is long up: key, token, and which of the two.
    pub(crate) async fn overdue(
        &self,
        now: Timestamp,
        grace_ms: i64,
        dead: &[WorkerId],
        leases_before: Timestamp,
    ) -> Result<Vec<(TaskKey, i64, bool)>, StoreError> {
        type Columns = (RunId, StepIndex, i32, i64, i64);
        let which = [
            now.0.into(),
            grace_ms.into(),
            rows::json(dead).into(),
            leases_before.0.into(),
        ];
        let found: Vec<Columns> = self.readers.rows(&sql::OVERDUE_TASKS, which).await?;
        let attempts = found
            .into_iter()
            .map(|(run, step, item, token, lost)| (TaskKey { run, step, item }, token, lost != 0));
        Ok(attempts.collect())
    }

    /// What the store believes a worker to hold since before `since`: key and token.
    pub(crate) async fn held_by(
        &self,
        worker: WorkerId,
        since: Timestamp,
    ) -> Result<Vec<(TaskKey, i64)>, StoreError> {
        type Columns = (RunId, StepIndex, i32, i64);
        let which = [worker.to_string().into(), since.0.into()];
        let found: Vec<Columns> = self.readers.rows(&sql::HELD_BY, which).await?;
        let held = found
            .into_iter()
            .map(|(run, step, item, token)| (TaskKey { run, step, item }, token));
        Ok(held.collect())
    }

    /// Workflows of which runs wait for others of their concurrency key.
    pub(crate) async fn waiting_workflows(&self) -> Result<Vec<WorkflowName>, StoreError> {
        let found = self.readers.texts(&sql::WAITING_WORKFLOWS, []).await?;
        Ok(found
            .iter()
            .filter_map(|name| WorkflowName::new(name).ok())
            .collect())
    }

    /// Whether a run's time is up, or a worker's lease has ended.
    pub(crate) async fn has_late(
        &self,
        now: Timestamp,
        leases_before: Timestamp,
    ) -> Result<bool, StoreError> {
        for (question, before) in [(&sql::LATE_RUNS, now), (&sql::DEAD_WORKERS, leases_before)] {
            if !self
                .readers
                .texts(question, [before.0.into()])
                .await?
                .is_empty()
            {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

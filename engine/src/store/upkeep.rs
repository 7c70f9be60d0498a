//! What attempts say before they end, and what workers leave behind.

use std::collections::HashSet;

use super::commit::Commit;
use super::op::{AttemptReport, Overdue, SweepCounts};
use super::{StoreError, rows, sql};
use crate::id::{RunId, WorkerId};
use crate::run::{AttemptOutcome, TaskKey};
use crate::task::TaskError;
use crate::time::Timestamp;
use crate::transition::{Outcome, Proof, Settlement};

impl Commit<'_> {
    pub(super) fn retire(&mut self, worker: WorkerId, state: &str) {
        let how = [worker.to_string().into(), state.into()];
        self.script.push(&sql::RETIRE_WORKER, how);
    }

    /// A worker that was given up for lost has come back: what it held did not kill it, and must not be given up for good
    /// because of it.
    pub(super) async fn excuse(
        &mut self,
        worker: WorkerId,
        tasks: &[TaskKey],
    ) -> Result<(), StoreError> {
        let mut runs: Vec<RunId> = tasks.iter().map(|key| key.run).collect();
        runs.sort_unstable();
        runs.dedup();
        // Whoever decides about them counts losses, too.
        self.load_runs(&runs).await?;
        let held: Vec<_> = tasks.iter().map(|t| (t.run, t.step, t.item)).collect();
        let which = [worker.to_string().into(), rows::json(&held).into()];
        let excused = self.ask(&sql::EXCUSE_ATTEMPTS, which).await?;
        if !excused.is_empty() {
            let excused = format!("[{}]", excused.join(","));
            self.script.push(&sql::EXCUSE_TASKS, [excused.into()]);
        }
        Ok(())
    }

    pub(super) fn report(&mut self, reports: &[&AttemptReport]) {
        let progress: Vec<_> = reports
            .iter()
            .filter_map(|r| {
                let progress = serde_json::to_string(r.progress.as_ref()?);
                let progress = progress.expect("progress is plain");
                Some((r.key.run, r.key.step, r.key.item, r.token, progress))
            })
            .collect();
        self.push_rows(&sql::SAVE_PROGRESS, &progress);
        let logs: Vec<_> = reports
            .iter()
            .flat_map(|r| {
                let task = (r.key.run, r.key.step, r.key.item, r.attempt);
                r.logs.iter().map(move |(line, at, log)| {
                    let (run, step, item, attempt) = task;
                    (
                        run,
                        step,
                        item,
                        attempt,
                        *line,
                        *at,
                        log.level,
                        &log.message,
                    )
                })
            })
            .collect();
        self.push_rows(&sql::INSERT_LOGS, &logs);
        for report in reports {
            self.after.touched.entry(report.key.run).or_insert(false);
        }
    }

    /// Gives up what a look around found; the same guards as any report, since
    /// the world may have moved on since that look.
    pub(super) async fn sweep(&mut self, overdue: &Overdue) -> Result<SweepCounts, StoreError> {
        let mut counts = SweepCounts::default();
        for worker in &overdue.workers {
            self.retire(*worker, "lost");
        }
        counts.workers = overdue.workers.len() as u64;
        counts.workers += self
            .ask(&sql::LOSE_WORKERS, [overdue.leases_before.0.into()])
            .await?
            .len() as u64;
        let settlements: Vec<Settlement> = overdue
            .attempts
            .iter()
            .map(|&(key, token, worker_lost)| {
                let (outcome, error) = if worker_lost {
                    let what = "the worker vanished while running it";
                    (
                        AttemptOutcome::Lost,
                        TaskError::retryable("worker_lost", what),
                    )
                } else {
                    let what = "the time-out passed, and its worker did not stop it";
                    (
                        AttemptOutcome::TimedOut,
                        TaskError::retryable("timeout", what),
                    )
                };
                Settlement::new(key, Proof::Token(token), Outcome::Failed { outcome, error })
            })
            .collect();
        let unreadable = self.unreadable(&settlements).await?;
        let readable = settlements
            .iter()
            .filter(|s| !unreadable.contains(&s.key.run));
        let batch: Vec<&Settlement> = readable.collect();
        if !batch.is_empty() {
            let (results, parents) = self.settle_once(&batch).await?;
            counts.attempts = results.iter().filter(|r| r.is_ok()).count() as u64;
            self.settle_parents(parents).await?;
        }

        let late = self.ask(&sql::LATE_RUNS, [self.now.0.into()]).await?;
        for run in late {
            let run = run.parse().map_err(|_| StoreError::Corrupt {
                what: "runs.id",
                detail: run,
            })?;
            match self.expire_run(run).await {
                Ok(Ok(())) => counts.runs += 1,
                // It stands still, and so it stays; the others' time is up all the same.
                Ok(Err(_))
                | Err(StoreError::Corrupt { .. } | StoreError::NewerDefinition { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(counts)
    }

    /// Runs whose definition this program cannot read: one must not keep a sweep from the others.
    async fn unreadable(
        &mut self,
        settlements: &[Settlement],
    ) -> Result<HashSet<RunId>, StoreError> {
        let mut ids: Vec<RunId> = settlements.iter().map(|s| s.key.run).collect();
        ids.sort_unstable();
        ids.dedup();
        let mut unreadable = HashSet::new();
        for run in self.load_runs(&ids).await? {
            match self.plan(&run.version).await {
                Ok(_) => {}
                Err(StoreError::Corrupt { .. } | StoreError::NewerDefinition { .. }) => {
                    unreadable.insert(run.id);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(unreadable)
    }

    /// Lets tasks go whose back-off has passed, and notes when the next is due.
    pub(super) async fn promote_due(&mut self) -> Result<(), StoreError> {
        let queues = self.ask(&sql::PROMOTE_DUE, [self.now.0.into()]).await?;
        self.ring_named(&queues);
        let next = self.ask(&sql::NEXT_DUE, []).await?;
        self.after.promoted = true;
        self.after.next_due = next.first().and_then(|at| at.parse().ok()).map(Timestamp);
        Ok(())
    }
}

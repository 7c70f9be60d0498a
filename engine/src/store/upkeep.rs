//! Workers' lives, what they say, and what they leave behind.

use super::commit::Commit;
use super::op::{Answer, AttemptReport, Overdue, SweepCounts, WorkerRow};
use super::{StoreError, rows, sql};
use crate::id::{RunId, WorkerId};
use crate::run::{AttemptOutcome, TaskKey};
use crate::task::TaskError;
use crate::time::Timestamp;
use crate::transition::{Outcome, Proof, Settlement};

impl Commit<'_> {
    pub(super) async fn register(&mut self, worker: &WorkerRow) -> Result<(), StoreError> {
        let queues: serde_json::Map<String, serde_json::Value> = worker
            .queues
            .iter()
            .map(|(q, slots)| (q.to_string(), (*slots).into()))
            .collect();
        sqlx::query(sql::REGISTER_WORKER)
            .bind(worker.id.to_string())
            .bind(&worker.host)
            .bind(i64::from(worker.pid))
            .bind(serde_json::Value::Object(queues).to_string())
            .bind(self.now.0)
            .bind(worker.lease_until.0)
            .execute(&mut *self.conn)
            .await?;
        Ok(())
    }

    /// Renews a worker's lease, and says which of the tasks it believes to hold are no longer its own.
    pub(super) async fn heartbeat(
        &mut self,
        worker: WorkerId,
        lease_until: Timestamp,
        holds: &[(TaskKey, i64)],
    ) -> Result<Answer, StoreError> {
        let renewed = sqlx::query(sql::HEARTBEAT)
            .bind(worker.to_string())
            .bind(lease_until.0)
            .execute(&mut *self.conn)
            .await?
            .rows_affected();
        let held: Vec<_> = holds
            .iter()
            .map(|(key, token)| (key.run, key.step, key.item, token))
            .collect();
        let json: String = sqlx::query_scalar(sql::LOST_TASKS)
            .bind(rows::json(&held))
            .fetch_one(&mut *self.conn)
            .await?;
        let lost: Vec<(RunId, u32, i32)> = rows::parse(&json, "task_runs")?;
        Ok(Answer::Beat {
            is_live: renewed > 0,
            lost: lost
                .into_iter()
                .map(|(run, step, item)| TaskKey { run, step, item })
                .collect(),
        })
    }

    pub(super) async fn retire(&mut self, worker: WorkerId) -> Result<(), StoreError> {
        sqlx::query(sql::RETIRE_WORKER)
            .bind(worker.to_string())
            .bind("stopped")
            .execute(&mut *self.conn)
            .await?;
        Ok(())
    }

    pub(super) async fn report(&mut self, reports: &[&AttemptReport]) -> Result<(), StoreError> {
        let progress: Vec<_> = reports
            .iter()
            .filter_map(|r| {
                let progress =
                    serde_json::to_string(r.progress.as_ref()?).expect("progress is plain");
                Some((r.key.run, r.key.step, r.key.item, r.token, progress))
            })
            .collect();
        if !progress.is_empty() {
            sqlx::query(sql::SAVE_PROGRESS)
                .bind(rows::json(&progress))
                .execute(&mut *self.conn)
                .await?;
        }
        let logs: Vec<_> = reports
            .iter()
            .flat_map(|r| {
                r.logs.iter().map(|(line, at, log)| {
                    (
                        r.key.run,
                        r.key.step,
                        r.key.item,
                        r.attempt,
                        *line,
                        *at,
                        log.level,
                        &log.message,
                    )
                })
            })
            .collect();
        if !logs.is_empty() {
            sqlx::query(sql::INSERT_LOGS)
                .bind(rows::json(&logs))
                .execute(&mut *self.conn)
                .await?;
        }
        self.after.touched.extend(reports.iter().map(|r| r.key.run));
        Ok(())
    }

    /// Gives up what a look around found; the same guards as any report, since
    /// the world may have moved on since that look.
    pub(super) async fn sweep(&mut self, overdue: &Overdue) -> Result<SweepCounts, StoreError> {
        let mut counts = SweepCounts::default();
        for worker in &overdue.workers {
            let lost = sqlx::query(sql::RETIRE_WORKER)
                .bind(worker.to_string())
                .bind("lost");
            counts.workers += lost.execute(&mut *self.conn).await?.rows_affected();
        }
        counts.workers += sqlx::query(sql::LOSE_WORKERS)
            .bind(self.now.0)
            .execute(&mut *self.conn)
            .await?
            .rows_affected();
        let settlements: Vec<Settlement> = overdue
            .attempts
            .iter()
            .map(|&(key, token, worker_lost)| Settlement {
                key,
                proof: Proof::Token(token),
                outcome: if worker_lost {
                    Outcome::Failed {
                        outcome: AttemptOutcome::Lost,
                        error: TaskError::retryable(
                            "worker_lost",
                            "the worker vanished while running it",
                        ),
                    }
                } else {
                    Outcome::Failed {
                        outcome: AttemptOutcome::TimedOut,
                        error: TaskError::retryable(
                            "timeout",
                            "the time-out passed, and its worker did not stop it",
                        ),
                    }
                },
                artifacts: Vec::new(),
                run_output: None,
                cache_key: None,
            })
            .collect();
        counts.attempts = settlements.len() as u64;
        self.settle_parents(settlements).await?;

        let late: Vec<String> = sqlx::query_scalar(sql::LATE_RUNS)
            .bind(self.now.0)
            .fetch_all(&mut *self.conn)
            .await?;
        for run in late {
            let run = run.parse().map_err(|_| StoreError::Corrupt {
                what: "runs.id",
                detail: run,
            })?;
            if self.expire_run(run).await?.is_ok() {
                counts.runs += 1;
            }
        }
        Ok(counts)
    }

    /// Lets tasks go whose back-off has passed, and notes when the next is due.
    pub(super) async fn promote_due(&mut self) -> Result<(), StoreError> {
        let queues: Vec<String> = sqlx::query_scalar(sql::PROMOTE_DUE)
            .bind(self.now.0)
            .fetch_all(&mut *self.conn)
            .await?;
        self.ring_named(queues);
        let next: Option<i64> = sqlx::query_scalar(sql::NEXT_DUE)
            .fetch_one(&mut *self.conn)
            .await?;
        self.after.promoted = true;
        self.after.next_due = next.map(Timestamp);
        Ok(())
    }
}

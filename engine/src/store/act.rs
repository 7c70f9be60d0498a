//! What people and time do to runs.

use super::commit::Commit;
use super::op::{Answer, RunAction};
use super::{StoreError, sql};
use crate::id::{QueueName, RunId};
use crate::transition::{TransitionError, Workset};

impl Commit<'_> {
    /// Cancels, pauses, resumes or retries a run.
    ///
    /// # Errors
    /// A database error. What the run's state forbids is in the answer.
    pub(super) async fn act(
        &mut self,
        run: RunId,
        action: RunAction,
    ) -> Result<Result<Answer, StoreError>, StoreError> {
        let Some(mut work) = self.load_whole(run).await? else {
            return Ok(Err(StoreError::NotFound {
                what: "run",
                id: run.to_string(),
            }));
        };
        let now = self.now;
        let decided = match action {
            RunAction::Cancel => work.cancel(now),
            RunAction::Pause => work.pause(now),
            RunAction::Resume => work.resume(now),
            RunAction::Retry => {
                let hold = self.must_queue(&work).await?;
                let decided = work.retry(hold, now);
                if decided.is_ok() {
                    self.set_queued(run, hold).await?;
                }
                decided
            }
        };
        if let Err(refusal) = decided {
            return Ok(Ok(Answer::Acted(Err(refusal))));
        }
        let state = work.run.state;
        sqlx::query(sql::SAVE_TERMS)
            .bind(run.to_string())
            .bind(i64::from(work.run.paused))
            .bind(work.run.generation)
            .bind(
                matches!(action, RunAction::Retry)
                    .then_some(work.run.deadline_at.map(|at| at.0))
                    .flatten(),
            )
            .bind(i64::from(action == RunAction::Retry))
            .execute(&mut *self.conn)
            .await?;
        self.commit_one(work).await?;
        // Pausing concerns rows by the thousand, so it is a statement, not a decision on each.
        match action {
            RunAction::Pause => {
                sqlx::query(sql::PAUSE_TASKS)
                    .bind(run.to_string())
                    .execute(&mut *self.conn)
                    .await?;
            }
            RunAction::Resume => {
                let queues: Vec<String> = sqlx::query_scalar(sql::RESUME_TASKS)
                    .bind(run.to_string())
                    .fetch_all(&mut *self.conn)
                    .await?;
                self.ring_named(queues);
            }
            RunAction::Cancel | RunAction::Retry => {}
        }
        Ok(Ok(Answer::Acted(Ok(state))))
    }

    /// Fails a run whose time is up.
    pub(super) async fn expire_run(
        &mut self,
        run: RunId,
    ) -> Result<Result<(), TransitionError>, StoreError> {
        let Some(mut work) = self.load_whole(run).await? else {
            return Ok(Err(TransitionError::Stale { state: "gone" }));
        };
        if let Err(refusal) = work.expire(self.now) {
            return Ok(Err(refusal));
        }
        self.commit_one(work).await?;
        Ok(Ok(()))
    }

    async fn load_whole(&mut self, run: RunId) -> Result<Option<Workset>, StoreError> {
        let Some(row) = self.load_runs(&[run]).await?.pop() else {
            return Ok(None);
        };
        let plan = self.plan(&row.version).await?;
        let tasks = self.load_steps(run).await?;
        Ok(Some(Workset::new(plan, row, tasks)))
    }

    async fn commit_one(&mut self, work: Workset) -> Result<(), StoreError> {
        let mut worksets = [work];
        self.save(&worksets).await?;
        let parents = self.perform(&mut worksets).await?;
        self.settle_parents(parents).await
    }

    async fn must_queue(&mut self, work: &Workset) -> Result<bool, StoreError> {
        match (&work.run.concurrency_key, &work.plan.concurrency) {
            (Some(key), Some((_, limit))) => {
                let key = key.clone();
                let active = self.active_runs(work.run.workflow.as_str(), &key).await?;
                Ok(active >= i64::from(*limit))
            }
            _ => Ok(false),
        }
    }

    async fn set_queued(&mut self, run: RunId, queued: bool) -> Result<(), StoreError> {
        sqlx::query(sql::SET_QUEUED)
            .bind(run.to_string())
            .bind(i64::from(queued))
            .execute(&mut *self.conn)
            .await?;
        Ok(())
    }

    /// A run of a concurrency key has ended: the oldest that waits may begin.
    pub(super) async fn release_concurrency(&mut self, ended: &Workset) -> Result<(), StoreError> {
        let Some(key) = ended.run.concurrency_key.clone() else {
            return Ok(());
        };
        let workflow = ended.run.workflow.clone();
        let limit = ended
            .plan
            .concurrency
            .as_ref()
            .map_or(u32::MAX, |(_, limit)| *limit);
        if self.active_runs(workflow.as_str(), &key).await? >= i64::from(limit) {
            return Ok(());
        }
        let next: Option<String> = sqlx::query_scalar(sql::NEXT_QUEUED)
            .bind(workflow.as_str())
            .bind(&*key)
            .fetch_optional(&mut *self.conn)
            .await?;
        let Some(next) = next else { return Ok(()) };
        let next: RunId = next.parse().map_err(|_| StoreError::Corrupt {
            what: "runs.id",
            detail: next,
        })?;
        self.set_queued(next, false).await?;
        let queues: Vec<String> = sqlx::query_scalar(sql::RELEASE_RUN)
            .bind(next.to_string())
            .fetch_all(&mut *self.conn)
            .await?;
        self.ring_named(queues);
        Ok(())
    }

    pub(super) fn ring_named(&mut self, queues: Vec<String>) {
        self.after
            .rings
            .extend(queues.iter().filter_map(|q| QueueName::new(q).ok()));
    }

    /// Forgets a finished run. Its files are swept later, unless others refer to them.
    pub(super) async fn delete(&mut self, run: RunId) -> Result<(), StoreError> {
        let Some(row) = self.load_runs(&[run]).await?.pop() else {
            return Err(StoreError::NotFound {
                what: "run",
                id: run.to_string(),
            });
        };
        if !row.state.is_terminal() {
            return Err(StoreError::NotFound {
                what: "finished run",
                id: run.to_string(),
            });
        }
        for statement in sql::DELETE_RUN {
            sqlx::query(statement)
                .bind(run.to_string())
                .execute(&mut *self.conn)
                .await?;
        }
        Ok(())
    }
}

//! What people and time do to runs.

use super::commit::Commit;
use super::op::{Answer, RunAction};
use super::{StoreError, sql};
use crate::id::RunId;
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
                if !self.cancelling(&[run]).await?.is_empty() {
                    return Ok(Err(StoreError::Cancelling {
                        run: run.to_string(),
                    }));
                }
                let hold = self.must_queue(&work).await?;
                let decided = work.retry(hold, now);
                if decided.is_ok() {
                    let queued = [run.to_string().into(), i64::from(hold).into()];
                    self.script.push(&sql::SET_QUEUED, queued);
                }
                decided
            }
        };
        if let Err(refusal) = decided {
            return Ok(Ok(Answer::Acted(Err(refusal))));
        }
        let state = work.run.state;
        let terms = [
            run.to_string().into(),
            i64::from(work.run.paused).into(),
            work.run.generation.into(),
        ];
        self.script.push(&sql::SAVE_TERMS, terms);
        if action == RunAction::Retry {
            // Zero stands for none: statements here carry text and numbers only.
            let deadline = work.run.deadline_at.map_or(0, |at| at.0);
            self.script.push(
                &sql::SAVE_DEADLINE,
                [run.to_string().into(), deadline.into()],
            );
        }
        self.commit_one(work).await?;
        // Pausing concerns rows by the thousand, so it is a statement, not a decision on each.
        match action {
            RunAction::Pause => self
                .script
                .push(&sql::PAUSE_TASKS, [run.to_string().into()]),
            RunAction::Resume => {
                let queues = self
                    .ask(&sql::RESUME_TASKS, [run.to_string().into()])
                    .await?;
                self.ring_named(&queues);
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
        self.save(&worksets);
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
}

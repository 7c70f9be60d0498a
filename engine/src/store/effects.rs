//! What decisions ask for beside the rows they changed.

use super::commit::Commit;
use super::holdings::Stop;
use super::op::RunAction;
use super::{StoreError, rows, sql};
use crate::id::{QueueName, RunId};
use crate::run::{AttemptOutcome, Held, Parent};
use crate::transition::{ChildOutcome, Effect, Outcome, Proof, Settlement, Workset, item_queue};
use crate::workflow::plan::StepIndex;

impl Commit<'_> {
    /// Performs the effects; returns what they mean to the runs above.
    pub(super) async fn perform(
        &mut self,
        worksets: &mut [Workset],
    ) -> Result<Vec<Settlement>, StoreError> {
        let mut parents = Vec::new();
        for work in worksets {
            let run = work.run.id;
            let mut recount = None;
            self.after.is_picky |= work.plan.is_picky;
            for effect in std::mem::take(&mut work.effects) {
                match effect {
                    Effect::Ring { queue } => {
                        self.after.rings.insert(queue);
                    }
                    Effect::WakeAt { at } => {
                        let known = self.after.wake_at.get_or_insert(at);
                        *known = at.min(*known);
                    }
                    Effect::CancelRest { except } => self.cancel_tasks(run, except, None).await?,
                    Effect::CancelItems { step } => {
                        self.cancel_tasks(run, None, Some(step)).await?;
                    }
                    Effect::ReleaseItem { step, hold } => {
                        let reason = if hold { Held::RUN_LIMIT } else { 0 };
                        let place = [run.to_string().into(), i64::from(step).into()];
                        let how = [reason.into(), self.now.0.into()];
                        self.script
                            .push(&sql::RELEASE_ITEM, place.into_iter().chain(how));
                        self.after.rings.insert(item_queue(&work.plan, step));
                    }
                    Effect::ReleaseTask => {
                        let parameters = [run.to_string().into(), self.now.0.into()];
                        let queues = self.ask(&sql::RELEASE_TASK, parameters).await?;
                        self.ring_named(&queues);
                    }
                    Effect::ResetItems {
                        step,
                        limit,
                        places,
                        hold,
                    } => {
                        let most = |limit: Option<u32>| limit.map_or(i64::MAX, i64::from);
                        let reason = if hold { Held::CONCURRENCY } else { 0 };
                        let parameters = [
                            run.to_string().into(),
                            i64::from(step).into(),
                            most(limit).into(),
                            self.now.0.into(),
                            most(places).into(),
                            reason.into(),
                        ];
                        self.script.push(&sql::RESET_ITEMS, parameters);
                        self.after.rings.insert(item_queue(&work.plan, step));
                    }
                    Effect::RecountPlaces { limit } => recount = Some(limit),
                    Effect::ReleaseConcurrency => self.release_concurrency(work).await?,
                    Effect::SettleParent { parent, outcome } => {
                        parents.push(settlement_of(run, parent, outcome));
                    }
                }
            }
            if let Some(limit) = recount {
                self.recount_places(work, limit).await?;
            }
        }
        Ok(parents)
    }

    /// Counts who holds a place of the run's `max_parallel`, and lets go what there is room for.
    async fn recount_places(&mut self, work: &Workset, limit: u32) -> Result<(), StoreError> {
        let run = work.run.id.to_string();
        let steps = work.plan.steps.iter().enumerate();
        let mapped: Vec<usize> = steps
            .filter(|(_, step)| step.map.is_some())
            .map(|(index, _)| index)
            .collect();
        let which = [run.as_str().into(), rows::json(&mapped).into()];
        let counted = self.ask(&sql::COUNT_PLACES, which).await?;
        let counted = counted.first().map_or("[0, 0]", String::as_str);
        let (active, waiting): (i64, i64) = rows::parse(counted, "task_runs")?;
        let released = waiting.min(i64::from(limit) - active).max(0);
        for _ in 0..released {
            let which = [run.as_str().into(), self.now.0.into()];
            let queues = self.ask(&sql::RELEASE_TASK, which).await?;
            self.ring_named(&queues);
        }
        let counts = [(active + released).into(), (waiting - released).into()];
        let which = [run.into()];
        self.script
            .push(&sql::SET_PLACES, which.into_iter().chain(counts));
        Ok(())
    }

    pub(super) fn ring_named(&mut self, queues: &[String]) {
        let names = queues.iter().filter_map(|q| QueueName::new(q).ok());
        self.after.rings.extend(names);
    }

    /// Stops what has not ended: in the database now, in the workers after the commit.
    async fn cancel_tasks(
        &mut self,
        run: RunId,
        except: Option<StepIndex>,
        only: Option<StepIndex>,
    ) -> Result<(), StoreError> {
        let spared = except.map_or(-1, i64::from);
        let chosen = only.map_or(-1, i64::from);
        let parameters = [run.to_string().into(), chosen.into()];
        let children = self.ask(&sql::LIVE_CHILDREN, parameters).await?;
        for statement in [&sql::CANCEL_ATTEMPTS, &sql::CANCEL_TASKS] {
            let which = [run.to_string().into(), spared.into(), chosen.into()];
            let when = [self.now.0.into()];
            self.script.push(statement, which.into_iter().chain(when));
        }
        self.after.stops.push(Stop { run, only, except });
        self.ring_capped();
        for child in children {
            let child = child.parse().map_err(|_| StoreError::Corrupt {
                what: "task_runs.child_run",
                detail: child,
            })?;
            // Ended already is as good as cancelled.
            let _ = Box::pin(self.act(child, RunAction::Cancel)).await?;
        }
        Ok(())
    }

    /// A run of a concurrency key has ended: the oldest that waits may begin.
    async fn release_concurrency(&mut self, ended: &Workset) -> Result<(), StoreError> {
        let Some(key) = ended.run.concurrency_key.clone() else {
            return Ok(());
        };
        let workflow = ended.run.workflow.clone();
        let limit = ended.plan.concurrency.as_ref();
        let limit = limit.map_or(i64::MAX, |(_, limit)| i64::from(*limit));
        if self.active_runs(workflow.as_str(), &key).await? >= limit {
            return Ok(());
        }
        let which = [workflow.as_str().into(), (&*key).into()];
        let Some(next) = self.ask(&sql::NEXT_QUEUED, which).await?.pop() else {
            return Ok(());
        };
        self.script
            .push(&sql::SET_QUEUED, [next.as_str().into(), 0.into()]);
        let queues = self.ask(&sql::RELEASE_RUN, [next.into()]).await?;
        self.ring_named(&queues);
        Ok(())
    }
}

/// A child run's end, as the report of the step that waits for it.
fn settlement_of(child: RunId, parent: Parent, outcome: ChildOutcome) -> Settlement {
    let attempt = parent.attempt;
    let outcome = match outcome {
        ChildOutcome::Succeeded(output) => Outcome::Succeeded {
            output,
            cached: false,
        },
        ChildOutcome::Failed(error) => Outcome::Failed {
            outcome: AttemptOutcome::Failed,
            error,
        },
    };
    Settlement::new(
        parent.task,
        Proof::Child {
            run: child,
            attempt,
        },
        outcome,
    )
}

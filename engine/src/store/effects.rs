//! What decisions ask for beside the rows they changed.

use super::commit::Commit;
use super::{StoreError, rows, sql};
use crate::id::{QueueName, RunId, WorkflowName};
use crate::run::{AttemptOutcome, Held, Parent};
use crate::transition::{ChildOutcome, Effect, Outcome, Proof, Settlement, Workset, item_queue};

/// Runs of a concurrency key that one commit lets go on at most.
const MAX_ADMITTED: i64 = 100;

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

    /// A run of a concurrency key has ended: the oldest that waits may begin.
    async fn release_concurrency(&mut self, ended: &Workset) -> Result<(), StoreError> {
        let Some(key) = ended.run.concurrency_key.clone() else {
            return Ok(());
        };
        let limit = ended.plan.concurrency.as_ref();
        let limit = limit.map_or(i64::MAX, |(_, limit)| i64::from(*limit));
        let workflow = ended.run.workflow.clone();
        self.admit_key(&workflow, &key, limit).await?;
        Ok(())
    }

    /// A workflow's limit may have been raised since the runs that wait for it were submitted.
    pub(super) async fn admit(
        &mut self,
        workflow: &WorkflowName,
        limit: i64,
    ) -> Result<(), StoreError> {
        let keys = self
            .ask(&sql::WAITING_KEYS, [workflow.as_str().into()])
            .await?;
        for key in keys {
            self.admit_key(workflow, &key, limit).await?;
        }
        Ok(())
    }

    /// Lets runs of a concurrency key go on, those that wait longest first, until its limit is reached; returns how many
    /// are under way then.
    pub(super) async fn admit_key(
        &mut self,
        workflow: &WorkflowName,
        key: &str,
        limit: i64,
    ) -> Result<i64, StoreError> {
        let mut active = self.active_runs(workflow.as_str(), key).await?;
        let most = active.saturating_add(MAX_ADMITTED).min(limit);
        while active < most {
            let which = [workflow.as_str().into(), key.into()];
            let Some(next) = self.ask(&sql::NEXT_QUEUED, which).await?.pop() else {
                break;
            };
            self.script
                .push(&sql::SET_QUEUED, [next.as_str().into(), 0.into()]);
            let queues = self.ask(&sql::RELEASE_RUN, [next.into()]).await?;
            self.ring_named(&queues);
            active += 1;
        }
        Ok(active)
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

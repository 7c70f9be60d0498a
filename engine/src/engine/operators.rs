//! What operators see and say: workers and queues.

use std::collections::BTreeSet;

use super::Engine;
use crate::error::EngineError;
use crate::id::{QueueName, RunId, WorkerId};
use crate::run::TaskState;
use crate::store::{Answer, Op, QueueAction, QueueView, Unserved, WorkerAction, WorkerView};
use crate::workflow::plan::{CONTROL_QUEUE, Plan, PlanStep};

impl Engine {
    /// The worker processes that are live; on request also those that stopped or were
    /// lost within the last day.
    ///
    /// # Errors
    /// A store error.
    pub async fn workers(&self, with_gone: bool) -> Result<Vec<WorkerView>, EngineError> {
        let now = self.shared.config.clock.now();
        Ok(self.shared.store.workers(now, with_gone).await?)
    }

    /// The live worker a person means: its name, its id, or the beginning of that.
    ///
    /// # Errors
    /// When none, or more than one, is meant.
    pub async fn find_worker(&self, what: &str) -> Result<WorkerView, EngineError> {
        let live = self.workers(false).await?;
        let named = |w: &WorkerView| w.name.as_deref() == Some(what);
        let prefix = what.to_ascii_lowercase();
        let begins = |w: &WorkerView| prefix.len() >= 4 && w.id.to_string().starts_with(&prefix);
        let mut found: Vec<WorkerView> =
            live.into_iter().filter(|w| named(w) || begins(w)).collect();
        match found.len() {
            0 => Err(EngineError::NoSuchWorker {
                what: what.to_owned(),
            }),
            1 => Ok(found.remove(0)),
            _ => Err(EngineError::AmbiguousWorker {
                what: what.to_owned(),
            }),
        }
    }

    /// Wants something of a live worker, or of all; each hears of it with its next heartbeat.
    /// Slots can be wanted only of those that serve the queue. Returns which were told.
    ///
    /// # Errors
    /// No such worker, one that does not serve the queue in question, or a store error.
    pub async fn steer_worker(
        &self,
        worker: Option<WorkerId>,
        action: WorkerAction,
    ) -> Result<Vec<WorkerId>, EngineError> {
        let live = self.workers(false).await?;
        let meant: Vec<&WorkerView> = live
            .iter()
            .filter(|w| worker.is_none_or(|id| w.id == id))
            .collect();
        if let (Some(id), true) = (worker, meant.is_empty()) {
            return Err(EngineError::NoSuchWorker {
                what: id.to_string(),
            });
        }
        let WorkerAction::Slots(queue, _) = &action else {
            return self.tell(worker, action).await;
        };
        let serves = |w: &WorkerView| w.queues.iter().any(|q| q.name == *queue);
        let able: Vec<WorkerId> = meant.iter().filter(|w| serves(w)).map(|w| w.id).collect();
        if able.is_empty() {
            let own = |q: &QueueName| q.as_str() == CONTROL_QUEUE;
            let served: BTreeSet<&QueueName> = meant
                .iter()
                .flat_map(|w| w.queues.iter().map(|q| &q.name))
                .filter(|q| !own(q))
                .collect();
            let served: Vec<&str> = served.into_iter().map(QueueName::as_str).collect();
            return Err(EngineError::NotServed {
                who: worker.map_or("any live worker".to_owned(), |id| format!("worker {id}")),
                queue: queue.clone(),
                serves: if served.is_empty() {
                    "nothing".to_owned()
                } else {
                    served.join(", ")
                },
            });
        }
        let mut told = Vec::new();
        for id in able {
            told.extend(self.tell(Some(id), action.clone()).await?);
        }
        Ok(told)
    }

    async fn tell(
        &self,
        worker: Option<WorkerId>,
        action: WorkerAction,
    ) -> Result<Vec<WorkerId>, EngineError> {
        match self.shared.store.write(Op::Steer(worker, action)).await? {
            Answer::Steered(told) => Ok(told),
            other => unreachable!("steering is answered by Steered, not {other:?}"),
        }
    }

    /// Every queue that has unfinished work, a live worker, or an operator's word.
    ///
    /// # Errors
    /// A store error.
    pub async fn queues(&self) -> Result<Vec<QueueView>, EngineError> {
        Ok(self.shared.store.queues().await?)
    }

    /// Gives no more work from this queue, to anybody; what runs may finish.
    ///
    /// # Errors
    /// The engine's own queue, or a store error.
    pub async fn pause_queue(&self, queue: &QueueName) -> Result<(), EngineError> {
        self.act_on_queue(queue, QueueAction::Pause).await
    }

    /// Gives work from this queue again.
    ///
    /// # Errors
    /// The engine's own queue, or a store error.
    pub async fn resume_queue(&self, queue: &QueueName) -> Result<(), EngineError> {
        self.act_on_queue(queue, QueueAction::Resume).await
    }

    /// Lets at most so many of the queue's tasks run at a time, over all workers; `None` lifts it.
    /// What runs beyond it at that moment may finish.
    ///
    /// # Errors
    /// The engine's own queue, a cap of zero, or a store error.
    pub async fn cap_queue(&self, queue: &QueueName, cap: Option<u32>) -> Result<(), EngineError> {
        if cap == Some(0) {
            return Err(EngineError::NoCap {
                queue: queue.clone(),
            });
        }
        self.act_on_queue(queue, QueueAction::Cap(cap)).await
    }

    async fn act_on_queue(
        &self,
        queue: &QueueName,
        action: QueueAction,
    ) -> Result<(), EngineError> {
        not_ours(queue)?;
        let op = Op::Queue(queue.clone(), action);
        self.shared.store.write(op).await?;
        Ok(())
    }

    /// Cancels every run that waits in this queue: one with a task there that is ready, or held
    /// (paused, under a limit, before its next try), and claimed by nobody. The whole run is
    /// cancelled, with what it has running elsewhere; where it is a step of another run, the
    /// one that somebody submitted is, for else the step above would be tried again and be back.
    /// A run that only *runs* in this queue, or that has not got there yet, is not touched.
    ///
    /// In batches, so that a long queue holds nobody up; returns how many runs were cancelled.
    ///
    /// # Errors
    /// The engine's own queue, or a store error: what was cancelled until then stays so.
    pub async fn purge_queue(&self, queue: &QueueName) -> Result<u64, EngineError> {
        not_ours(queue)?;
        let mut purged = 0;
        loop {
            match self.shared.store.write(Op::Purge(queue.clone())).await? {
                Answer::Purged(0) => return Ok(purged),
                Answer::Purged(more) => purged += more,
                other => unreachable!("a purge is answered by Purged, not {other:?}"),
            }
        }
    }

    /// What a workflow needs and no live worker does: it would wait there.
    ///
    /// # Errors
    /// A store error.
    pub async fn unserved_by_plan(&self, plan: &Plan) -> Result<Vec<Unserved>, EngineError> {
        let needs = plan.steps.iter().filter(|s| !is_own(s)).map(need);
        Ok(self.shared.store.unserved(needs).await?)
    }

    /// What an unfinished run waits for now and no live worker does.
    ///
    /// # Errors
    /// An unknown run, or a store error.
    pub async fn unserved(&self, run: RunId) -> Result<Vec<Unserved>, EngineError> {
        let plan = self.plan(run).await?;
        let waits = |state: TaskState| match state {
            TaskState::Ready | TaskState::Retrying => true,
            TaskState::Blocked
            | TaskState::Running
            | TaskState::Succeeded
            | TaskState::Failed
            | TaskState::Skipped
            | TaskState::Cancelled => false,
        };
        let tasks = self.tasks(run, true).await?;
        let needs = tasks
            .iter()
            .filter(|t| waits(t.state) && t.queue.as_str() != CONTROL_QUEUE)
            .filter_map(|t| plan.step(t.step_index))
            .map(need);
        Ok(self.shared.store.unserved(needs).await?)
    }
}

fn need(step: &PlanStep) -> (QueueName, Option<std::sync::Arc<str>>) {
    (step.queue.clone(), step.requires.clone())
}

/// Whether the engine does this step by itself, whatever queue it names.
fn is_own(step: &PlanStep) -> bool {
    !matches!(step.action, crate::workflow::Action::Task(_))
}

fn not_ours(queue: &QueueName) -> Result<(), EngineError> {
    if queue.as_str() == CONTROL_QUEUE {
        return Err(EngineError::OwnQueue {
            queue: queue.clone(),
        });
    }
    Ok(())
}

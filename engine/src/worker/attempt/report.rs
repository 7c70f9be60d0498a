//! What an attempt tells the store in the end: once, by whoever has the word.
//!
//! ```text
//!   handler returns a result ──Word::take──▶ sent from the handler's own thread ──▶ the driver hears the answer
//!   time-out, halt, failure  ──Word::keep──▶ the driver reports, as for all that needs no handler
//! ```
//!
//! Most attempts just succeed. Were each result to travel to the driver and from there to the store, it would
//! wait for one more thread to wake up.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{Product, bad_expression, stored};
use crate::run::{AttemptOutcome, TaskKey};
use crate::store::{Answer, Claim, Halt, Op, StoreError};
use crate::task::{TaskContext, TaskError};
use crate::transition::{Outcome, Proof, Settlement};
use crate::worker::{Shared, meter, scope};
use crate::workflow::expr::Budget;

/// The store's answer to a report.
pub(super) type Said = Result<Answer, StoreError>;

/// The right to report, and the slot that becomes free with it. Whoever takes it reports; nobody else may.
#[derive(Debug)]
pub(super) struct Word(Mutex<State>);

#[derive(Debug)]
enum State {
    /// The handler may report.
    Open(OwnedSemaphorePermit),
    /// Only the driver may.
    Kept(OwnedSemaphorePermit),
    /// It is done, or about to be.
    Taken,
}

impl Word {
    pub(super) fn new(permit: OwnedSemaphorePermit) -> Self {
        Self(Mutex::new(State::Open(permit)))
    }

    /// Whether the handler may report.
    pub(super) fn is_open(&self) -> bool {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(*state, State::Open(_))
    }

    /// From now on the handler comes too late; false when it has reported already.
    pub(super) fn keep(&self) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *state, State::Taken) {
            State::Open(permit) | State::Kept(permit) => {
                *state = State::Kept(permit);
                true
            }
            State::Taken => false,
        }
    }

    /// For the driver: the slot, to give back with the report.
    pub(super) fn take(&self) -> Option<OwnedSemaphorePermit> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *state, State::Taken) {
            State::Open(permit) | State::Kept(permit) => Some(permit),
            State::Taken => None,
        }
    }

    /// For the handler's thread.
    fn take_if_open(&self) -> Option<OwnedSemaphorePermit> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *state, State::Taken) {
            State::Open(permit) => Some(permit),
            kept @ (State::Kept(_) | State::Taken) => {
                *state = kept;
                None
            }
        }
    }
}

/// How a handler came to its end on its own thread.
#[derive(Debug)]
pub(super) enum Finished {
    /// The driver is to make a report of it.
    Returned(Result<Value, TaskError>),
    /// This is on its way to the store.
    Reported(Box<Settlement>),
}

/// A report that was sent from the handler's thread.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) settlement: Settlement,
    pub(super) answer: Answered,
}

#[derive(Debug)]
pub(super) enum Answered {
    Already(Said),
    NotYet(oneshot::Receiver<Said>),
}

/// Sends the report of a handler that has succeeded, from where it ran.
#[derive(Debug)]
pub(super) struct Messenger {
    pub(super) shared: Arc<Shared>,
    pub(super) claim: Arc<Claim>,
    pub(super) ctx: TaskContext,
    pub(super) halt: Halt,
    pub(super) word: Arc<Word>,
    pub(super) cache_key: Option<String>,
    /// Dropped without a word, it makes the driver look at what the handler returned.
    pub(super) reply: oneshot::Sender<Said>,
}

impl Messenger {
    /// Must not wait: the thread belongs to the tasks.
    pub(super) fn tell(self, returned: Result<Value, TaskError>) -> Finished {
        let Ok(value) = &returned else {
            return Finished::Returned(returned);
        };
        // What it said before, and what the run says in the end, is for the driver to see to.
        if self.ctx.has_spoken() || ends_with_outputs(&self.claim) || self.halt.is_disowned() {
            return Finished::Returned(returned);
        }
        let Ok(output) = stored(value, "the output") else {
            return Finished::Returned(returned);
        };
        let product = Product {
            outcome: Outcome::Succeeded {
                output,
                cached: false,
            },
            artifacts: self.ctx.saved(),
            cache_key: self.cache_key,
        };
        let Some(permit) = self.word.take_if_open() else {
            return Finished::Returned(returned);
        };
        let settlement = settlement(&self.claim, product, None);
        remember(&self.shared, &self.claim, &settlement);
        let op = Op::Settle(Box::new(settlement.clone()));
        self.shared.store.tell(op, Some(permit), self.reply);
        Finished::Reported(Box::new(settlement))
    }
}

/// Tells what came of an attempt.
pub(super) async fn tell(
    shared: &Shared,
    claim: &Claim,
    halt: &Halt,
    product: Product,
    permit: Option<OwnedSemaphorePermit>,
) {
    let Product {
        outcome,
        artifacts,
        cache_key,
    } = product;
    let (outcome, run_output) = with_outputs(shared, claim, outcome).await;
    let product = Product {
        outcome,
        artifacts,
        cache_key,
    };
    let settlement = settlement(claim, product, run_output);
    remember(shared, claim, &settlement);
    let op = Op::Settle(Box::new(settlement.clone()));
    let said = shared.store.write_freeing(op, permit).await;
    insist(shared, claim, halt, settlement, said).await;
}

/// Hears what the store says to a report that is under way.
pub(super) async fn hear(shared: &Shared, claim: &Claim, halt: &Halt, told: Told) {
    let said = match told.answer {
        Answered::Already(said) => said,
        Answered::NotYet(answer) => answer.await.unwrap_or(Err(StoreError::Closed)),
    };
    insist(shared, claim, halt, told.settlement, said).await;
}

/// Waits out what passes, since the work is done and must not be lost.
async fn insist(
    shared: &Shared,
    claim: &Claim,
    halt: &Halt,
    settlement: Settlement,
    mut said: Said,
) {
    let mut wait = Duration::from_millis(50);
    loop {
        match said {
            Ok(Answer::Settled(Ok(()))) => {
                meter::settled(true);
                return;
            }
            Ok(Answer::Settled(Err(late))) => {
                meter::settled(false);
                tracing::warn!(run.id = %claim.key.run, attempt = claim.attempt, "{late}; dropped");
                return;
            }
            Ok(_) | Err(StoreError::Closed) => return,
            Err(error) if error.is_passing() && !halt.is_disowned() => {
                tracing::warn!(run.id = %claim.key.run, %error, "a result could not be recorded yet; trying again");
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(Duration::from_secs(5));
            }
            Err(error) => {
                // This result alone cannot be stored: that is a failure of the attempt.
                tracing::error!(run.id = %claim.key.run, %error, "a result could not be recorded");
                let failed = Settlement {
                    outcome: Outcome::Failed {
                        outcome: AttemptOutcome::Failed,
                        error: TaskError::retryable(
                            "store",
                            format!("its result could not be recorded: {error}"),
                        ),
                    },
                    artifacts: Vec::new(),
                    run_output: None,
                    cache_key: None,
                    ..settlement
                };
                let _ = shared.store.write(Op::Settle(Box::new(failed))).await;
                return;
            }
        }
        let op = Op::Settle(Box::new(settlement.clone()));
        said = shared.store.write(op).await;
    }
}

fn settlement(claim: &Claim, product: Product, run_output: Option<Arc<str>>) -> Settlement {
    let outcome = match product.outcome {
        // Whatever it came from: a handler, a layer, a panic.
        Outcome::Failed { outcome, error } => Outcome::Failed {
            outcome,
            error: error.bounded(),
        },
        other => other,
    };
    Settlement {
        key: claim.key,
        proof: Proof::Token(claim.token),
        outcome,
        artifacts: product.artifacts,
        run_output,
        cache_key: product.cache_key,
        plan: Some(Arc::clone(&claim.plan)),
        is_top: claim.run.depth == 0,
    }
}

/// Keeps a result for the successors, before they can ask for it; of no use if the report is refused.
fn remember(shared: &Shared, claim: &Claim, settlement: &Settlement) {
    if let Outcome::Succeeded { output, .. } = &settlement.outcome
        && claim.key.item == TaskKey::WHOLE
        && !claim.plan.steps[claim.key.step as usize]
            .successors
            .is_empty()
        && let Ok(value) = serde_json::from_str::<Value>(output)
    {
        shared.scopes.remember(claim, value);
    }
}

/// Whether the run's outputs are to be evaluated when this task has ended.
fn ends_with_outputs(claim: &Claim) -> bool {
    claim.plan.outputs.is_some() && claim.plan.sink == Some(claim.key.step)
}

/// The run's outputs, when this is its last step: evaluated here, not in the commit.
async fn with_outputs(
    shared: &Shared,
    claim: &Claim,
    outcome: Outcome,
) -> (Outcome, Option<Arc<str>>) {
    let plan = &claim.plan;
    let Some(template) = plan
        .outputs
        .as_ref()
        .filter(|_| plan.sink == Some(claim.key.step))
    else {
        return (outcome, None);
    };
    let own = match &outcome {
        Outcome::Succeeded { output, .. } => serde_json::from_str(output).unwrap_or(Value::Null),
        Outcome::Skipped | Outcome::Failed { .. } => Value::Null,
        Outcome::Mapped(_) | Outcome::Delegated(_) | Outcome::Released => return (outcome, None),
    };
    let name = plan.steps[claim.key.step as usize].name.clone();
    let mut references = template.references().clone();
    references.steps.remove(name.as_str());
    references.contents.remove(name.as_str());
    let evaluated = match scope::load(shared, claim, &references).await {
        Ok(loaded) => {
            let scope = loaded.scope;
            let scope = scope.step(name.as_str(), crate::workflow::expr::Prepared::from(own));
            template
                .evaluate(&scope, &mut Budget::attempt())
                .map_err(|e| bad_expression("outputs", &e))
        }
        Err(error) => Err(error.into_task_error()),
    };
    let bounded = evaluated.and_then(|value| stored(&value, "the run's outputs"));
    match (bounded, &outcome) {
        (Ok(text), _) => (outcome, Some(text)),
        // The step failed anyway: its own reason is the one to tell.
        (Err(_), Outcome::Failed { .. }) => (outcome, None),
        (Err(error), _) => (
            Outcome::Failed {
                outcome: AttemptOutcome::Failed,
                error,
            },
            None,
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::Semaphore;

    use super::Word;

    fn word() -> (Word, Arc<Semaphore>) {
        let slots = Arc::new(Semaphore::new(1));
        let permit = Arc::clone(&slots).try_acquire_owned();
        (Word::new(permit.expect("it is free")), slots)
    }

    #[test]
    fn a_handler_that_has_reported_leaves_nothing_for_the_driver() {
        let (word, slots) = word();
        let permit = word.take_if_open();
        assert!(permit.is_some() && !word.keep());
        assert!(word.take().is_none() && word.take_if_open().is_none());
        drop(permit);
        assert_eq!(slots.available_permits(), 1);
    }

    #[test]
    fn a_driver_that_has_lost_patience_has_the_last_word() {
        let (word, slots) = word();
        assert!(word.keep() && word.keep());
        assert!(word.take_if_open().is_none(), "the handler is too late");
        drop(word.take().expect("the driver gives the slot back"));
        assert!(word.take().is_none());
        assert_eq!(slots.available_permits(), 1);
    }
}

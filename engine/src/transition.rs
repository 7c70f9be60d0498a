//! The heart: every decision about a run, as a function from values to values.
//!
//! A decision gets a [`Workset`] (one run, its pinned plan, and the few rows the
//! decision can touch), a fact, and the time and chance it may use. It changes
//! the rows in memory and notes what else must happen as [`Effect`]s. The store
//! loads before and saves after, all in one commit; nothing here knows how.
//!
//! ```text
//!            predecessors satisfied          claimed            handler returned
//!  Blocked ──────────────────────▶ Ready ─────────────▶ Running ───────────────▶ Succeeded
//!     │                              ▲  ▲                │  │ │
//!     │ `when` false,                │  └──released──────┘  │ └─fatal, or tries spent──▶ Failed
//!     │ predecessor says skip        └──────due── Retrying ◀┘
//!     ▼                                           (retryable; tries left)
//!  Skipped          anything not ended ──run cancelled or failed──▶ Cancelled
//! ```
//!
//! Invariants:
//! - a report counts only while its task is `Running` under the token it was claimed with;
//! - `pending` of a step counts predecessors not yet satisfied, so it reaches 0 exactly once;
//! - a run's `open` counts its steps not yet ended; a mapped step's `open` counts its items;
//! - what was cancelled in bulk can report nothing, whether its row was reached yet or not: its run or its step has ended;
//! - settling touches the task, its step's row and the direct successors, however large the run is.

mod audit;
mod lifecycle;
mod repeat;
mod retry;
mod settle;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::artifact::Artifact;
use crate::id::{QueueName, RunId, StepName};
use crate::run::{
    AttemptOutcome, AttemptRow, Event, EventKind, Failure, Held, NewRun, Parent, RunRow, RunState,
    TaskKey, TaskRow, TaskState,
};
use crate::task::TaskError;
use crate::time::Timestamp;
use crate::workflow::plan::{Action, CONTROL_QUEUE, Plan, PlanStep, StepIndex};

pub use audit::{AuditedEvents, AuditedRun, AuditedTask, audit};
pub use lifecycle::start;
pub use repeat::{kept, repeat};
pub use settle::{rows_for, rows_near};

/// How often a task may lose its worker before it is quarantined.
pub const MAX_LOSSES: i64 = 3;

/// One run under decision: the rows a decision may read and change, and what it did to them.
#[derive(Debug)]
pub struct Workset {
    /// What the run was pinned to.
    pub plan: Arc<Plan>,
    /// The run.
    pub run: RunRow,
    /// The rows loaded for this decision, by step and item.
    pub tasks: BTreeMap<(StepIndex, i32), Loaded>,
    /// Attempts that ended.
    pub attempts: Vec<AttemptRow>,
    /// What happened, in order.
    pub events: Vec<Event>,
    /// What must be done beside saving the rows.
    pub effects: Vec<Effect>,
    /// Whether the run's own row must be saved.
    pub run_changed: bool,
}

/// A row, and whether it must be saved.
#[derive(Debug)]
pub struct Loaded {
    /// The row.
    pub row: TaskRow,
    /// How it differs from what the store holds.
    pub change: Change,
}

/// How a row in memory differs from the store's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Not at all.
    None,
    /// It exists, with other values.
    Updated,
    /// It does not exist yet.
    New,
}

/// What a decision asks for beside the rows it changed.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the fields say what their names say")]
pub enum Effect {
    /// Cancel what has not ended, but for the step that runs when a run fails.
    CancelRest { except: Option<StepIndex> },
    /// Cancel the items of a mapped step that have not ended.
    CancelItems { step: StepIndex },
    /// Let the next item that a mapped step's limit holds go, or leave it to the run-wide limit.
    ReleaseItem { step: StepIndex, hold: bool },
    /// Let the next task that the run-wide limit holds go.
    ReleaseTask,
    /// Put the failed and cancelled items of a mapped step back to the start: the first
    /// `places` of them may go, those up to `limit` wait for a place in the run, the rest
    /// for one in the step; `hold` keeps all of them back while the run waits for its key.
    ResetItems {
        step: StepIndex,
        limit: Option<u32>,
        places: Option<u32>,
        hold: bool,
    },
    /// Items that were cancelled in bulk gave up places that no counter knows: count anew,
    /// and let go what they make room for. To be done last.
    RecountPlaces { limit: u32 },
    /// The run has ended: the next run of the same concurrency key may begin.
    ReleaseConcurrency,
    /// The run has ended: the step that waits for it has its answer.
    SettleParent {
        parent: Parent,
        outcome: ChildOutcome,
    },
    /// Work has become ready in a queue.
    Ring { queue: QueueName },
    /// A task will be due then.
    WakeAt { at: Timestamp },
}

/// What a sub-workflow's run means to the step that began it.
#[derive(Debug, Clone, PartialEq)]
pub enum ChildOutcome {
    /// Its outputs.
    Succeeded(Arc<str>),
    /// Why not.
    Failed(TaskError),
}

/// An attempt's report, or the engine's own finding about a task.
#[derive(Debug, Clone)]
pub struct Settlement {
    /// Which task.
    pub key: TaskKey,
    /// Proof that the reporter holds it.
    pub proof: Proof,
    /// What came of it.
    pub outcome: Outcome,
    /// Files it stored.
    pub artifacts: Vec<Artifact>,
    /// The run's outputs, evaluated by whoever ends its last step.
    pub run_output: Option<Arc<str>>,
    /// Under which key the step cache may keep the result.
    pub cache_key: Option<String>,
    /// The run's plan, where the reporter knows it: saves the store a look.
    pub plan: Option<Arc<Plan>>,
    /// The reporter knows that no run waits for this one: saves the store a look, too.
    pub is_top: bool,
}

impl Settlement {
    /// A report with nothing but an outcome.
    #[must_use]
    pub fn new(key: TaskKey, proof: Proof, outcome: Outcome) -> Self {
        Self {
            key,
            proof,
            outcome,
            artifacts: Vec::new(),
            run_output: None,
            cache_key: None,
            plan: None,
            is_top: false,
        }
    }
}

/// What shows that a report is not late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// The token the task was claimed with.
    Token(i64),
    /// The child run that the task's attempt was handed to.
    Child {
        /// The child.
        run: RunId,
        /// The attempt that began it.
        attempt: i64,
    },
}

/// What came of an attempt.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// The handler returned this JSON.
    Succeeded {
        /// The output, as JSON text.
        output: Arc<str>,
        /// Whether it came out of the step cache.
        cached: bool,
    },
    /// `when` was false.
    Skipped,
    /// The step maps over these items.
    Mapped(Vec<Value>),
    /// The work was handed to a run of another workflow.
    Delegated(Box<NewRun>),
    /// It failed; the policy decides what follows.
    Failed {
        /// Failed, timed out, or lost.
        outcome: AttemptOutcome,
        /// Why.
        error: TaskError,
    },
    /// The worker shuts down.
    Released,
}

/// Why a decision changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransitionError {
    /// The task is no longer the reporter's: it was settled, cancelled or claimed anew.
    #[error("late report: the task is {state} now, and not this attempt's")]
    Stale {
        /// Its present state.
        state: &'static str,
    },
    /// The run is in a state that does not allow it.
    #[error("cannot {action} a run that is {state}")]
    Illegal {
        /// What was asked.
        action: &'static str,
        /// The run's state.
        state: RunState,
    },
}

impl Workset {
    /// A workset over loaded rows.
    #[must_use]
    pub fn new(plan: Arc<Plan>, run: RunRow, rows: impl IntoIterator<Item = TaskRow>) -> Self {
        let tasks = rows
            .into_iter()
            .map(|row| {
                (
                    (row.key.step, row.key.item),
                    Loaded {
                        row,
                        change: Change::None,
                    },
                )
            })
            .collect();
        Self {
            plan,
            run,
            tasks,
            attempts: Vec::new(),
            events: Vec::new(),
            effects: Vec::new(),
            run_changed: false,
        }
    }

    fn row(&self, step: StepIndex, item: i32) -> Option<&TaskRow> {
        self.tasks.get(&(step, item)).map(|l| &l.row)
    }

    /// The row, marked as changed.
    fn row_mut(&mut self, step: StepIndex, item: i32) -> &mut TaskRow {
        let loaded = self
            .tasks
            .get_mut(&(step, item))
            .expect("a decision touches only rows that `rows_for` asked the store to load");
        if loaded.change == Change::None {
            loaded.change = Change::Updated;
        }
        &mut loaded.row
    }

    fn insert(&mut self, row: TaskRow) {
        self.tasks.insert(
            (row.key.step, row.key.item),
            Loaded {
                row,
                change: Change::New,
            },
        );
    }

    fn step(&self, step: StepIndex) -> &PlanStep {
        &self.plan.steps[step as usize]
    }

    fn step_name(&self, step: StepIndex) -> StepName {
        self.step(step).name.clone()
    }

    fn run_mut(&mut self) -> &mut RunRow {
        self.run_changed = true;
        &mut self.run
    }

    fn emit(&mut self, at: Timestamp, kind: EventKind) {
        let run = self.run_mut();
        run.ev_seq += 1;
        let seq = run.ev_seq;
        self.events.push(Event { seq, at, kind });
    }

    /// Whether a row takes one of the run's `max_parallel` places: a mapped
    /// step's own row does not, its items do.
    fn takes_place(&self, step: StepIndex, item: i32) -> bool {
        self.plan.max_parallel.is_some()
            && (item != TaskKey::WHOLE || self.step(step).map.is_none())
    }

    /// Makes a row claimable, or holds it where something forbids.
    fn make_ready(&mut self, step: StepIndex, item: i32, now: Timestamp) {
        let paused = self.run.paused;
        let at_run_limit = self.take_place(step, item);
        let row = self.row_mut(step, item);
        row.state = TaskState::Ready;
        row.due_at = now;
        if paused {
            row.held.add(Held::PAUSED);
        }
        if at_run_limit {
            row.held.add(Held::RUN_LIMIT);
        }
        if !row.held.any() {
            let queue = row.queue.clone();
            self.ring(queue);
        }
    }

    fn ring(&mut self, queue: QueueName) {
        let ring = Effect::Ring { queue };
        if !self.effects.contains(&ring) {
            self.effects.push(ring);
        }
    }

    /// Takes one of the run's `max_parallel` places, or queues for one: then true.
    fn take_place(&mut self, step: StepIndex, item: i32) -> bool {
        if !self.takes_place(step, item) {
            return false;
        }
        let is_full = self
            .plan
            .max_parallel
            .is_some_and(|limit| self.run.active >= i64::from(limit));
        let run = self.run_mut();
        if is_full {
            run.waiting += 1;
        } else {
            run.active += 1;
        }
        is_full
    }

    /// Gives a run-wide place back, or hands it to the next that waits.
    fn leave_place(&mut self, step: StepIndex, item: i32) {
        if !self.takes_place(step, item) {
            return;
        }
        let run = self.run_mut();
        if run.waiting > 0 {
            run.waiting -= 1;
            self.effects.push(Effect::ReleaseTask);
        } else {
            run.active -= 1;
        }
    }

    /// Records how the present attempt of a row ended.
    fn end_attempt(
        &mut self,
        step: StepIndex,
        item: i32,
        outcome: AttemptOutcome,
        error: Option<Failure>,
        now: Timestamp,
    ) {
        let row = self
            .row(step, item)
            .expect("the row under decision is loaded");
        let attempt = AttemptRow {
            key: row.key,
            attempt: row.attempt,
            outcome,
            worker: row.worker,
            started_at: row.started_at,
            finished_at: now,
            error,
        };
        self.attempts.push(attempt);
    }
}

/// Whether a row is the engine's own small work.
fn is_control(step: &PlanStep, item: i32) -> bool {
    match &step.action {
        Action::Workflow(_) | Action::Outputs => true,
        Action::Task(_) => item == TaskKey::WHOLE && step.map.is_some(),
    }
}

/// The queue a step's own row goes to: the engine's own small work has a lane of its own.
fn queue_of(step: &PlanStep, item: i32) -> QueueName {
    if is_control(step, item) {
        QueueName::new(CONTROL_QUEUE).expect("the control queue's name is a name")
    } else {
        step.queue.clone()
    }
}

/// The queue the items of a mapped step go to.
#[must_use]
pub fn item_queue(plan: &Plan, step: StepIndex) -> QueueName {
    queue_of(&plan.steps[step as usize], 0)
}

/// How long one attempt may take, where the engine limits it: waiting for a
/// sub-workflow is bounded by that workflow's own time-outs.
fn timeout_ms(step: &PlanStep) -> Option<i64> {
    match &step.action {
        Action::Task(_) | Action::Outputs => i64::try_from(step.timeout.as_millis()).ok(),
        Action::Workflow(_) => None,
    }
}

/// A `TaskRun` at its beginning.
fn blank(run: &RunRow, plan: &Plan, step: StepIndex, item: i32, now: Timestamp) -> TaskRow {
    let planned = &plan.steps[step as usize];
    // The engine's own small work needs nothing: that is for the task itself.
    let is_work = !is_control(planned, item);
    TaskRow {
        key: TaskKey {
            run: run.id,
            step,
            item,
        },
        state: TaskState::Blocked,
        held: Held::default(),
        pending: i64::try_from(planned.needs.len()).unwrap_or(i64::MAX),
        queue: queue_of(planned, item),
        priority: run.priority.saturating_add(i64::from(planned.priority)),
        timeout_ms: timeout_ms(planned),
        due_at: now,
        attempt: 0,
        tries: 0,
        losses: 0,
        token: None,
        worker: None,
        started_at: None,
        finished_at: None,
        total: 0,
        open: 0,
        failed: 0,
        waiting: 0,
        child: None,
        requires: planned.requires.clone().filter(|_| is_work),
        memory_bytes: planned.memory_bytes.filter(|_| is_work),
        prefers: planned.prefers.clone().filter(|_| is_work),
        input: None,
        output: None,
        error: None,
        cached: false,
        announced: false,
    }
}

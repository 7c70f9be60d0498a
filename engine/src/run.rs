//! What a run is made of, as values: states, keys, and the rows decisions are made on.
//!
//! Pure: no store, no clock, no chance.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::artifact::Artifact;
use crate::id::{QueueName, RunId, StepName, WorkerId, WorkflowName};
use crate::task::TaskError;
use crate::time::Timestamp;
use crate::workflow::plan::{Plan, StepIndex};

macro_rules! states {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            /// Every state, in order of life.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word in the database and on the wire.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    other => Err(format!(
                        "`{other}` is no {}; one of: {}",
                        stringify!($name),
                        [$($text),+].join(", ")
                    )),
                }
            }
        }
    };
}

states! {
    /// Where a run is in its life.
    RunState {
        /// Accepted; no step has started yet.
        Pending = "pending",
        /// At least one step has started.
        Running = "running",
        /// All steps ended well, or ended in a way the definition tolerates.
        Succeeded = "succeeded",
        /// A step failed for good.
        Failed = "failed",
        /// Somebody cancelled it.
        Cancelled = "cancelled",
    }
}

impl RunState {
    /// Whether nothing more will happen, short of a manual retry.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        match self {
            Self::Pending | Self::Running => false,
            Self::Succeeded | Self::Failed | Self::Cancelled => true,
        }
    }
}

states! {
    /// Where one step (or one item of a mapped step) of a run is.
    TaskState {
        /// Waits for predecessors.
        Blocked = "blocked",
        /// Waits for a worker.
        Ready = "ready",
        /// A worker has it, or its items or its child run are under way.
        Running = "running",
        /// Failed, and waits to be tried again.
        Retrying = "retrying",
        /// Ended well.
        Succeeded = "succeeded",
        /// Ended badly, for good.
        Failed = "failed",
        /// Was not needed.
        Skipped = "skipped",
        /// Was stopped, or never begun, because its run ended.
        Cancelled = "cancelled",
    }
}

impl TaskState {
    /// Whether nothing more will happen to it, short of a manual retry.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        match self {
            Self::Blocked | Self::Ready | Self::Running | Self::Retrying => false,
            Self::Succeeded | Self::Failed | Self::Skipped | Self::Cancelled => true,
        }
    }
}

states! {
    /// How one attempt ended.
    AttemptOutcome {
        /// The handler returned.
        Succeeded = "succeeded",
        /// The handler returned an error, or panicked.
        Failed = "failed",
        /// The hard time-out passed.
        TimedOut = "timed_out",
        /// Its run was cancelled.
        Cancelled = "cancelled",
        /// Its worker shut down and gave it back; not counted.
        Released = "released",
        /// Its worker vanished.
        Lost = "lost",
    }
}

/// Names a `TaskRun`: a step of a run, or one item of a mapped step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskKey {
    /// The run.
    pub run: RunId,
    /// The step's place in the run's plan.
    pub step: StepIndex,
    /// The item's index, or [`TaskKey::WHOLE`] for the step itself.
    pub item: i32,
}

impl TaskKey {
    /// The "item" of a row that stands for the step as a whole.
    pub const WHOLE: i32 = -1;

    /// The row that stands for a step as a whole.
    #[must_use]
    pub fn step(run: RunId, step: StepIndex) -> Self {
        Self {
            run,
            step,
            item: Self::WHOLE,
        }
    }

    /// The item's index, in a mapped step.
    #[must_use]
    pub fn item_index(self) -> Option<u32> {
        u32::try_from(self.item).ok()
    }
}

/// Why a task that could run must not be claimed yet: a set of reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Held(pub i64);

impl Held {
    /// The run is paused.
    pub const PAUSED: i64 = 1;
    /// The step's `max_parallel` is reached.
    pub const STEP_LIMIT: i64 = 2;
    /// The run's `max_parallel` is reached.
    pub const RUN_LIMIT: i64 = 4;
    /// The workflow's `concurrency` limit is reached.
    pub const CONCURRENCY: i64 = 8;
    /// Its back-off has not passed.
    pub const NOT_DUE: i64 = 16;

    /// Adds a reason.
    pub fn add(&mut self, reason: i64) {
        self.0 |= reason;
    }

    /// Whether anything holds it.
    #[must_use]
    pub fn any(self) -> bool {
        self.0 != 0
    }
}

/// A `TaskRun` as decisions see it.
#[derive(Debug, Clone, PartialEq)]
#[expect(
    missing_docs,
    reason = "the columns, one to one; migrations/ describes them"
)]
pub struct TaskRow {
    pub key: TaskKey,
    pub state: TaskState,
    pub held: Held,
    pub pending: i64,
    pub queue: QueueName,
    pub priority: i64,
    pub timeout_ms: Option<i64>,
    pub due_at: Timestamp,
    pub attempt: i64,
    pub tries: i64,
    pub losses: i64,
    pub token: Option<i64>,
    pub worker: Option<WorkerId>,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    /// Of a mapped step: items in all, not yet ended, failed, and held by `max_parallel`.
    pub total: i64,
    pub open: i64,
    pub failed: i64,
    pub waiting: i64,
    pub child: Option<RunId>,
    /// JSON list of labels its worker must have; written, never read.
    pub requires: Option<Arc<str>>,
    /// Memory its worker must have free; written, never read.
    pub memory_bytes: Option<u64>,
    /// JSON list of words for what it would like to find loaded.
    pub prefers: Option<Arc<str>>,
    /// The item, where this is one.
    pub input: Option<Arc<str>>,
    pub output: Option<Arc<str>>,
    pub error: Option<Failure>,
    pub cached: bool,
    /// Whether an event tells of the present attempt.
    pub announced: bool,
}

/// A run as decisions see it; what they never look at stays in the store.
#[derive(Debug, Clone, PartialEq)]
#[expect(
    missing_docs,
    reason = "the columns, one to one; migrations/ describes them"
)]
pub struct RunRow {
    pub id: RunId,
    pub workflow: WorkflowName,
    pub version: Arc<str>,
    pub state: RunState,
    pub paused: bool,
    pub generation: i64,
    /// Steps not yet ended; items count in their step's row.
    pub open: i64,
    /// Under a run-wide `max_parallel`: tasks that hold a place, and tasks that wait for one.
    pub active: i64,
    pub waiting: i64,
    pub ev_seq: i64,
    pub priority: i64,
    pub parent: Option<Parent>,
    pub concurrency_key: Option<Arc<str>>,
    pub failure: Option<Failure>,
    /// Written, never read; a first start is kept.
    pub output: Option<Arc<str>>,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    pub deadline_at: Option<Timestamp>,
    pub expires_at: Option<Timestamp>,
}

/// The step of another run that a run does the work of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parent {
    /// The step, or the item of it.
    pub task: TaskKey,
    /// The attempt that began the child: only its result counts.
    pub attempt: i64,
}

/// Why something failed, as stored: read after a crash, by people and programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The step that failed, where it was a step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<StepName>,
    /// The item of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<u32>,
    /// How the last attempt ended.
    pub outcome: AttemptOutcome,
    /// The error's class: `network`, `timeout`, `panic`, `worker_lost`, …
    pub class: String,
    /// A sentence.
    pub message: String,
}

impl Failure {
    /// A failure from a handler's error.
    #[must_use]
    pub fn new(outcome: AttemptOutcome, error: &TaskError) -> Self {
        Self {
            step: None,
            item: None,
            outcome,
            class: error.class.clone(),
            message: error.message.clone(),
        }
    }
}

/// An attempt that did not succeed, as recorded at its end.
#[derive(Debug, Clone, PartialEq)]
#[expect(
    missing_docs,
    reason = "the columns, one to one; migrations/ describes them"
)]
pub struct AttemptRow {
    pub key: TaskKey,
    pub attempt: i64,
    pub outcome: AttemptOutcome,
    pub worker: Option<WorkerId>,
    pub started_at: Option<Timestamp>,
    pub finished_at: Timestamp,
    pub error: Option<Failure>,
}

/// Something that happened to a run: past tense, numbered within the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Counts from 1 within the run, without gaps.
    pub seq: i64,
    /// When it was decided, ms since the epoch.
    pub at: Timestamp,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What can happen to a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields say what their names say")]
pub enum EventKind {
    /// The run was accepted.
    RunSubmitted { workflow: WorkflowName },
    /// A worker began an attempt.
    TaskStarted {
        step: StepName,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        item: Option<u32>,
        attempt: i64,
    },
    /// A step, or an item of one, ended well.
    TaskSucceeded {
        step: StepName,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        item: Option<u32>,
        attempt: i64,
        cached: bool,
    },
    /// An attempt failed; another follows.
    TaskRetrying {
        step: StepName,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        item: Option<u32>,
        attempt: i64,
        due_at: Timestamp,
        class: String,
        message: String,
    },
    /// A step, or an item of one, failed for good.
    TaskFailed {
        step: StepName,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        item: Option<u32>,
        attempt: i64,
        class: String,
        message: String,
    },
    /// A step, or an item of one, was not needed.
    TaskSkipped {
        step: StepName,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        item: Option<u32>,
    },
    /// A worker that shuts down gave an attempt back.
    TaskReleased {
        step: StepName,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        item: Option<u32>,
        attempt: i64,
    },
    /// A mapped step became this many items.
    TaskMapped { step: StepName, items: u64 },
    /// A step's work was handed to a run of another workflow.
    ChildStarted {
        step: StepName,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        item: Option<u32>,
        child: RunId,
    },
    /// No more steps start until it is resumed.
    RunPaused,
    /// Steps start again.
    RunResumed,
    /// The failed steps are tried again.
    RunRetried {
        generation: i64,
        steps: Vec<StepName>,
    },
    /// The run ended well.
    RunSucceeded,
    /// The run failed.
    RunFailed { failure: Failure },
    /// The run was cancelled.
    RunCancelled,
}

impl EventKind {
    /// Whether the run has ended with this.
    #[must_use]
    pub fn ends_run(&self) -> bool {
        matches!(
            self,
            Self::RunSucceeded | Self::RunFailed { .. } | Self::RunCancelled
        )
    }
}

/// A run about to be.
#[derive(Debug, Clone)]
pub struct NewRun {
    /// Its id.
    pub id: RunId,
    /// What it will do.
    pub plan: Arc<Plan>,
    /// The definition, as canonical JSON, to be pinned.
    pub spec: Arc<str>,
    /// Checked inputs, defaults filled in.
    pub inputs: Arc<Value>,
    /// Everything else.
    pub options: RunOptions,
}

/// How a run is to be submitted.
#[derive(Debug, Clone, Default)]
pub struct RunOptions {
    /// A second submit with the same key gives the first run back.
    pub idempotency_key: Option<String>,
    /// Added to each step's priority; higher goes first.
    pub priority: i64,
    /// Ignore the step cache.
    pub no_cache: bool,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// Whose work it does.
    pub parent: Option<Parent>,
    /// How many parents stand above it.
    pub depth: i64,
    /// The evaluated `concurrency.key`.
    pub concurrency_key: Option<Arc<str>>,
    /// Whose it is; a run that does a step's work is its parent's owner's.
    pub owner: Option<String>,
    /// Kept so long after its end, instead of the time its definition says.
    pub retention: Option<std::time::Duration>,
    /// Files its inputs refer to: kept as long as the run is.
    pub attachments: Vec<Artifact>,
    /// What it takes over from another run of the same version.
    pub repeats: Option<Repeat>,
    /// Who is told of its end.
    pub notify: Vec<Notify>,
}

/// Who is told of a run's end.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Notify {
    /// Of which ends; of all, where there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on: Vec<Ending>,
    /// Addresses that get an e-mail.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub email: Vec<String>,
    /// The id of a webhook that is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<String>,
}

/// How a run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// All it was to do is done.
    Succeeded,
    /// A step failed for good.
    Failed,
    /// Somebody ended it.
    Cancelled,
}

impl Notify {
    /// Whether a run in this state is what they want to hear of.
    #[must_use]
    pub fn wants(&self, state: RunState) -> bool {
        let ending = match state {
            RunState::Pending | RunState::Running => return false,
            RunState::Succeeded => Ending::Succeeded,
            RunState::Failed => Ending::Failed,
            RunState::Cancelled => Ending::Cancelled,
        };
        self.on.is_empty() || self.on.contains(&ending)
    }
}

/// A run that begins in the middle of another: the steps it does not repeat count as done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repeat {
    /// The run that went before; it has ended.
    pub run: RunId,
    /// Where to begin: this step is done again, and all that follow it.
    pub from: StepIndex,
}

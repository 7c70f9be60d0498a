//! What reads answer with: runs, steps, attempts and files as people and programs see them.

use serde::Serialize;
use serde_json::Value;

use crate::artifact::Artifact;
use crate::id::{QueueName, RunId, StepName, WorkerId, WorkflowName};
use crate::run::{AttemptOutcome, Event, Failure, Held, Notify, RunState, TaskState};
use crate::task::{LogLevel, Progress};
use crate::time::Timestamp;
use crate::workflow::plan::StepIndex;

/// A run, as people and programs see it.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields say what their names say")]
pub struct RunView {
    pub id: RunId,
    pub workflow: WorkflowName,
    pub version: String,
    pub state: RunState,
    pub paused: bool,
    /// Waits for another run of the same concurrency key.
    pub queued: bool,
    /// How often it was retried by hand.
    pub generation: i64,
    pub open_steps: i64,
    pub priority: i64,
    pub tags: Vec<String>,
    pub parent: Option<RunId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inputs: Option<Value>,
    pub output: Option<Value>,
    pub failure: Option<Failure>,
    pub created_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    pub last_event: i64,
    pub idempotency_key: Option<String>,
    /// The key that submitted it, where keys are in use.
    pub owner: Option<String>,
    /// When it is forgotten, where it will be.
    pub expires_at: Option<Timestamp>,
    /// Who is told of its end; lists leave it out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notify: Vec<Notify>,
}

/// A step of a run, or an item of a mapped step.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields say what their names say")]
pub struct TaskView {
    pub step: StepName,
    #[serde(skip)]
    pub step_index: StepIndex,
    pub item: Option<u32>,
    pub state: TaskState,
    /// Why it may not be claimed though it could run: [`Held`]'s reasons.
    pub held: Held,
    pub queue: QueueName,
    pub attempt: i64,
    /// Of a mapped step: items in all, not yet ended, failed.
    pub items: i64,
    pub open_items: i64,
    pub failed_items: i64,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    pub due_at: Timestamp,
    pub child: Option<RunId>,
    pub output: Option<Value>,
    pub error: Option<Failure>,
    pub cached: bool,
    pub progress: Option<Progress>,
}

/// One attempt that has ended.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields say what their names say")]
pub struct AttemptView {
    pub step: StepName,
    pub item: Option<u32>,
    pub attempt: i64,
    pub outcome: AttemptOutcome,
    pub worker: Option<WorkerId>,
    pub started_at: Option<Timestamp>,
    pub finished_at: Timestamp,
    pub error: Option<Failure>,
}

/// A line of an attempt's log.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields say what their names say")]
pub struct LogView {
    pub step: StepName,
    pub item: Option<u32>,
    pub attempt: i64,
    pub line: i64,
    pub at: Timestamp,
    pub level: LogLevel,
    pub message: String,
}

/// A file that a run's attempts stored.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields say what their names say")]
pub struct ArtifactView {
    pub step: StepName,
    pub item: Option<u32>,
    #[serde(flatten)]
    pub artifact: Artifact,
    pub created_at: Timestamp,
}

/// Which runs to list. Every condition must hold; what says nothing lets everything through.
#[derive(Debug, Clone, Default)]
pub struct RunFilter {
    /// Only runs created before this one.
    pub before: Option<RunId>,
    /// Only runs in one of these states; none means any.
    pub states: Vec<RunState>,
    /// Only runs of this workflow.
    pub workflow: Option<WorkflowName>,
    /// Only runs submitted with this tag.
    pub tag: Option<String>,
    /// Only runs of this owner.
    pub owner: Option<String>,
    /// Only runs with these words somewhere in their id, workflow, tags, inputs or failure; case is ignored.
    pub text: Option<String>,
    /// Only runs created at or after this moment.
    pub created_from: Option<Timestamp>,
    /// Only runs created before this moment.
    pub created_to: Option<Timestamp>,
    /// Only runs that somebody submitted: none that do a step's work for another.
    pub top_only: bool,
    /// At most this many; 0 means 50, and more than 1,000 means 1,000.
    pub limit: u32,
}

/// A page of a list of runs.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct RunPage {
    /// Newest first, without their inputs and outputs.
    pub runs: Vec<RunView>,
    /// Where to go on ([`RunFilter::before`]); `None` at the end. A search looks at so many runs
    /// a page, so that one with few runs, or none, need not be the last.
    pub next: Option<RunId>,
}

/// What the API keeps beside runs: read whole, and written by whoever saw the last revision.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields say what their names say")]
pub struct Record {
    pub id: String,
    pub body: Value,
    /// Counts the changes, from 1.
    pub revision: i64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// Events of one run that were committed together, as all runs' events follow each other.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FeedEntry {
    /// Its place among all runs' events. Rises; the numbers have gaps.
    pub position: i64,
    /// The run.
    pub run: RunId,
    /// What happened, oldest first.
    pub events: Vec<Event>,
}

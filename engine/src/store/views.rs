//! What reads answer with: runs, steps, attempts and files as people and programs see them.

use serde::Serialize;
use serde_json::Value;

use crate::artifact::Artifact;
use crate::id::{QueueName, RunId, StepName, WorkerId, WorkflowName};
use crate::run::{AttemptOutcome, Failure, Held, RunState, TaskState};
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

/// Which runs to list.
#[derive(Debug, Clone, Default)]
pub struct RunFilter {
    /// Only runs created before this one.
    pub before: Option<RunId>,
    /// Only runs in this state.
    pub state: Option<RunState>,
    /// Only runs of this workflow.
    pub workflow: Option<WorkflowName>,
    /// At most this many; 0 means 50.
    pub limit: u32,
}

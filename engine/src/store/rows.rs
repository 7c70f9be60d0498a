//! How rows travel: as JSON arrays, one per row, in the order of the statements.
//!
//! Set-based statements take one JSON parameter, so a batch of any size is one
//! statement; the tuple structs below and the `.sql` files must agree.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::StoreError;
use crate::id::{QueueName, RunId, WorkerId, WorkflowName};
use crate::run::{
    AttemptOutcome, AttemptRow, Failure, Held, NewRun, Parent, RunRow, RunState, TaskKey, TaskRow,
    TaskState,
};
use crate::time::Timestamp;
use crate::workflow::plan::StepIndex;

/// `load_runs.sql`.
#[derive(Deserialize)]
struct LoadedRun(
    RunId,
    WorkflowName,
    Arc<str>,
    RunState,
    i64,
    i64,
    i64,
    i64,
    i64,
    i64,
    i64,
    Option<RunId>,
    Option<StepIndex>,
    Option<i32>,
    Option<i64>,
    Option<Arc<str>>,
    Option<String>,
);

/// `load_tasks.sql`, `load_steps.sql`.
#[derive(Deserialize)]
struct LoadedTask(
    RunId,
    StepIndex,
    i32,
    TaskState,
    i64,
    i64,
    QueueName,
    i64,
    Option<i64>,
    Timestamp,
    i64,
    i64,
    i64,
    Option<i64>,
    Option<WorkerId>,
    Option<Timestamp>,
    i64,
    i64,
    i64,
    i64,
    Option<RunId>,
    i64,
);

pub(super) fn runs(json: &str) -> Result<Vec<RunRow>, StoreError> {
    let rows: Vec<LoadedRun> = parse(json, "runs")?;
    rows.into_iter()
        .map(|r| {
            let parent = match (r.11, r.12, r.13, r.14) {
                (Some(run), Some(step), Some(item), Some(attempt)) => Some(Parent {
                    task: TaskKey { run, step, item },
                    attempt,
                }),
                _ => None,
            };
            let failure = r.16.map(|text| parse(&text, "runs.failure")).transpose()?;
            Ok(RunRow {
                id: r.0,
                workflow: r.1,
                version: r.2,
                state: r.3,
                paused: r.4 != 0,
                generation: r.5,
                open: r.6,
                active: r.7,
                waiting: r.8,
                ev_seq: r.9,
                priority: r.10,
                parent,
                concurrency_key: r.15,
                failure,
                output: None,
                started_at: None,
                finished_at: None,
                deadline_at: None,
                expires_at: None,
            })
        })
        .collect()
}

pub(super) fn tasks(json: &str) -> Result<Vec<TaskRow>, StoreError> {
    let rows: Vec<LoadedTask> = parse(json, "task_runs")?;
    Ok(rows
        .into_iter()
        .map(|t| TaskRow {
            key: TaskKey {
                run: t.0,
                step: t.1,
                item: t.2,
            },
            state: t.3,
            held: Held(t.4),
            pending: t.5,
            queue: t.6,
            priority: t.7,
            timeout_ms: t.8,
            due_at: t.9,
            attempt: t.10,
            tries: t.11,
            losses: t.12,
            token: t.13,
            worker: t.14,
            started_at: t.15,
            finished_at: None,
            total: t.16,
            open: t.17,
            failed: t.18,
            waiting: t.19,
            child: t.20,
            announced: t.21 != 0,
            requires: None,
            memory_bytes: None,
            prefers: None,
            input: None,
            output: None,
            error: None,
            cached: false,
        })
        .collect())
}

pub(super) fn parse<T: serde::de::DeserializeOwned>(
    json: &str,
    what: &'static str,
) -> Result<T, StoreError> {
    serde_json::from_str(json).map_err(|error| StoreError::Corrupt {
        what,
        detail: error.to_string(),
    })
}

/// One JSON array per row; a failure here is a bug in this file, not in the data.
pub(super) fn json<T: Serialize>(rows: &[T]) -> String {
    serde_json::to_string(rows).expect("rows are plain numbers and text")
}

fn text(failure: Option<&Failure>) -> Option<String> {
    failure.map(|f| serde_json::to_string(f).expect("a failure is plain text"))
}

/// `save_tasks.sql`.
#[derive(Serialize)]
pub(super) struct SavedTask<'a>(
    RunId,
    StepIndex,
    i32,
    TaskState,
    i64,
    i64,
    Timestamp,
    i64,
    i64,
    Option<i64>,
    Option<WorkerId>,
    Option<Timestamp>,
    Option<Timestamp>,
    i64,
    i64,
    i64,
    i64,
    Option<RunId>,
    Option<&'a str>,
    Option<String>,
    i64,
    i64,
);

impl<'a> From<&'a TaskRow> for SavedTask<'a> {
    fn from(t: &'a TaskRow) -> Self {
        Self(
            t.key.run,
            t.key.step,
            t.key.item,
            t.state,
            t.held.0,
            t.pending,
            t.due_at,
            t.tries,
            t.losses,
            t.token,
            t.worker,
            t.started_at,
            t.finished_at,
            t.total,
            t.open,
            t.failed,
            t.waiting,
            t.child,
            t.output.as_deref(),
            text(t.error.as_ref()),
            i64::from(t.cached),
            i64::from(t.announced),
        )
    }
}

/// `ready_tasks.sql`: a row that has just become claimable, and was never claimed before.
#[derive(Debug, Serialize)]
pub(super) struct ReadyTask(
    pub(super) RunId,
    pub(super) StepIndex,
    pub(super) i32,
    pub(super) Timestamp,
);

impl ReadyTask {
    /// The short form, where it says all there is to say.
    pub(super) fn of(t: &TaskRow) -> Option<Self> {
        let is_fresh = t.state == TaskState::Ready
            && !t.held.any()
            && t.pending == 0
            && t.attempt == 0
            && (t.tries, t.losses) == (0, 0)
            && (t.total, t.open, t.failed, t.waiting) == (0, 0, 0, 0)
            && t.token.is_none()
            && t.worker.is_none()
            && t.started_at.is_none()
            && t.child.is_none()
            && !t.announced;
        is_fresh.then_some(Self(t.key.run, t.key.step, t.key.item, t.due_at))
    }
}

/// `insert_tasks.sql`.
#[derive(Serialize)]
pub(super) struct NewTask<'a>(
    RunId,
    StepIndex,
    i32,
    TaskState,
    i64,
    i64,
    &'a QueueName,
    i64,
    Option<i64>,
    Timestamp,
    Option<&'a str>,
    Option<&'a str>,
    Option<u64>,
    Option<&'a str>,
);

impl<'a> From<&'a TaskRow> for NewTask<'a> {
    fn from(t: &'a TaskRow) -> Self {
        Self(
            t.key.run,
            t.key.step,
            t.key.item,
            t.state,
            t.held.0,
            t.pending,
            &t.queue,
            t.priority,
            t.timeout_ms,
            t.due_at,
            t.input.as_deref(),
            t.requires.as_deref(),
            t.memory_bytes,
            t.prefers.as_deref(),
        )
    }
}

/// `finish_tasks.sql`: a row that has just ended, and never was more than one task.
#[derive(Serialize)]
pub(super) struct FinishedTask<'a>(
    RunId,
    StepIndex,
    i32,
    TaskState,
    i64,
    Option<Timestamp>,
    Option<&'a str>,
    Option<String>,
    i64,
);

impl<'a> FinishedTask<'a> {
    /// The short form, where it says all there is to say.
    pub(super) fn of(t: &'a TaskRow) -> Option<Self> {
        let is_plain = t.state.is_terminal()
            && t.total == 0
            && t.child.is_none()
            && t.losses == 0
            && t.pending == 0;
        is_plain.then(|| {
            Self(
                t.key.run,
                t.key.step,
                t.key.item,
                t.state,
                t.tries,
                t.finished_at,
                t.output.as_deref(),
                text(t.error.as_ref()),
                i64::from(t.cached),
            )
        })
    }
}

/// `save_runs.sql`.
#[derive(Serialize)]
pub(super) struct SavedRun<'a>(
    RunId,
    RunState,
    i64,
    i64,
    i64,
    i64,
    Option<&'a str>,
    Option<String>,
    Option<Timestamp>,
    Option<Timestamp>,
    Option<Timestamp>,
);

impl<'a> From<&'a RunRow> for SavedRun<'a> {
    fn from(r: &'a RunRow) -> Self {
        Self(
            r.id,
            r.state,
            r.open,
            r.active,
            r.waiting,
            r.ev_seq,
            r.output.as_deref(),
            text(r.failure.as_ref()),
            r.finished_at,
            r.expires_at,
            r.started_at,
        )
    }
}

/// `insert_runs.sql`.
#[derive(Serialize)]
pub(super) struct InsertedRun<'a>(
    RunId,
    &'a WorkflowName,
    &'a str,
    RunState,
    i64,
    i64,
    i64,
    i64,
    i64,
    i64,
    i64,
    Option<RunId>,
    Option<StepIndex>,
    Option<i32>,
    Option<i64>,
    Option<&'a str>,
    i64,
    Option<&'a str>,
    Option<String>,
    Option<String>,
    String,
    Timestamp,
    Option<Timestamp>,
    Option<&'a str>,
    Option<i64>,
    Option<String>,
);

impl<'a> InsertedRun<'a> {
    pub(super) fn new(r: &'a RunRow, new: &'a NewRun, queued: bool, now: Timestamp) -> Self {
        let parent = r.parent;
        let options = &new.options;
        Self(
            r.id,
            &r.workflow,
            &r.version,
            r.state,
            r.open,
            r.active,
            r.waiting,
            r.ev_seq,
            r.priority,
            options.depth,
            i64::from(options.no_cache),
            parent.map(|p| p.task.run),
            parent.map(|p| p.task.step),
            parent.map(|p| p.task.item),
            parent.map(|p| p.attempt),
            r.concurrency_key.as_deref(),
            i64::from(queued),
            options.idempotency_key.as_deref(),
            options.idempotency_key.as_ref().map(|_| digest(new)),
            (!options.tags.is_empty()).then(|| json(&options.tags)),
            new.inputs.to_string(),
            now,
            r.deadline_at,
            options.owner.as_deref(),
            options
                .retention
                .map(|kept| i64::try_from(kept.as_millis()).unwrap_or(i64::MAX)),
            (!options.notify.is_empty()).then(|| json(&options.notify)),
        )
    }
}

/// What a submit under an idempotency key asked for, so that another request
/// under the same key can be told from a repeat.
pub(super) fn digest(new: &NewRun) -> String {
    let asked = format!("{}\n{}", new.plan.name, new.inputs);
    blake3::hash(asked.as_bytes()).to_hex()[..32].to_owned()
}

/// `insert_attempts.sql`.
#[derive(Serialize)]
pub(super) struct SavedAttempt(
    RunId,
    StepIndex,
    i32,
    i64,
    AttemptOutcome,
    Option<WorkerId>,
    Option<Timestamp>,
    Timestamp,
    Option<String>,
);

impl From<&AttemptRow> for SavedAttempt {
    fn from(a: &AttemptRow) -> Self {
        Self(
            a.key.run,
            a.key.step,
            a.key.item,
            a.attempt,
            a.outcome,
            a.worker,
            a.started_at,
            a.finished_at,
            text(a.error.as_ref()),
        )
    }
}

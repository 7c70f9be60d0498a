//! What goes out: runs, steps and lists as clients see them. Times are RFC 3339, UTC, with milliseconds.

use aquatint_engine::artifact::Artifact;
use aquatint_engine::run::{Event, Failure, Held};
use aquatint_engine::store::{ArtifactView, AttemptView, LogView, RunView, TaskView};
use aquatint_engine::task::Progress;
use aquatint_engine::time::Timestamp;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// A moment, RFC 3339 in UTC: `2026-01-31T09:30:00.000Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Time(pub(crate) Timestamp);

impl std::fmt::Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let since_epoch = std::time::Duration::from_millis(u64::try_from(self.0.0).unwrap_or(0));
        humantime::format_rfc3339_millis(std::time::UNIX_EPOCH + since_epoch).fmt(f)
    }
}

impl Serialize for Time {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl utoipa::PartialSchema for Time {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .into()
    }
}

impl ToSchema for Time {}

/// Reads RFC 3339 in UTC, or a date.
pub(crate) fn parse_time(text: &str) -> Option<Timestamp> {
    let full = if text.len() == 10 {
        format!("{text}T00:00:00Z")
    } else {
        text.to_owned()
    };
    let time = humantime::parse_rfc3339(&full).ok()?;
    let since_epoch = time.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(Timestamp(i64::try_from(since_epoch.as_millis()).ok()?))
}

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Page<T> {
    pub(crate) data: Vec<T>,
    /// Give it as `cursor` for the next page; null at the end.
    pub(crate) next_cursor: Option<String>,
    /// Whether there may be more.
    pub(crate) has_more: bool,
}

impl<T> Page<T> {
    pub(crate) fn new(data: Vec<T>, next_cursor: Option<String>) -> Self {
        let has_more = next_cursor.is_some();
        Self {
            data,
            next_cursor,
            has_more,
        }
    }

    pub(crate) fn whole(data: Vec<T>) -> Self {
        Self::new(data, None)
    }
}

/// Why something failed.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Fault {
    /// The step that failed.
    pub(crate) step: Option<String>,
    /// The item of it, in a mapped step.
    pub(crate) item: Option<u32>,
    /// How the last attempt ended: `failed`, `timed_out`, `lost`, …
    pub(crate) outcome: String,
    /// The error's class, for programs: `network`, `timeout`, `worker_lost`, …
    pub(crate) class: String,
    /// What was wrong.
    pub(crate) message: String,
}

impl From<Failure> for Fault {
    fn from(f: Failure) -> Self {
        Self {
            step: f.step.map(|s| s.to_string()),
            item: f.item,
            outcome: f.outcome.to_string(),
            class: f.class,
            message: f.message,
        }
    }
}

/// One execution of a workflow.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Run {
    #[schema(format = Uuid)]
    pub(crate) id: String,
    pub(crate) workflow: String,
    /// The version of the workflow it keeps to: a hash of the definition.
    pub(crate) version: String,
    /// `pending`, `running`, `succeeded`, `failed` or `cancelled`.
    pub(crate) state: String,
    pub(crate) paused: bool,
    /// Waits for another run of the same concurrency key.
    pub(crate) queued: bool,
    /// How often it was retried by hand.
    pub(crate) generation: i64,
    pub(crate) priority: i64,
    pub(crate) tags: Vec<String>,
    /// The run whose step it does the work of.
    pub(crate) parent: Option<String>,
    /// The key that submitted it.
    pub(crate) owner: Option<String>,
    pub(crate) idempotency_key: Option<String>,
    /// Left out in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) inputs: Option<Value>,
    /// What it came to; left out in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) outputs: Option<Value>,
    pub(crate) failure: Option<Fault>,
    pub(crate) created_at: Time,
    pub(crate) started_at: Option<Time>,
    pub(crate) finished_at: Option<Time>,
    /// When it is forgotten, where it will be.
    pub(crate) expires_at: Option<Time>,
    /// The number of its last event.
    pub(crate) last_event: i64,
}

impl From<RunView> for Run {
    fn from(r: RunView) -> Self {
        Self {
            id: r.id.to_string(),
            workflow: r.workflow.to_string(),
            version: r.version,
            state: r.state.to_string(),
            paused: r.paused,
            queued: r.queued,
            generation: r.generation,
            priority: r.priority,
            tags: r.tags,
            parent: r.parent.map(|id| id.to_string()),
            owner: r.owner,
            idempotency_key: r.idempotency_key,
            inputs: r.inputs,
            outputs: r.output,
            failure: r.failure.map(Fault::from),
            created_at: Time(r.created_at),
            started_at: r.started_at.map(Time),
            finished_at: r.finished_at.map(Time),
            expires_at: r.expires_at.map(Time),
            last_event: r.last_event,
        }
    }
}

/// A run with its steps.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RunDetail {
    #[serde(flatten)]
    pub(crate) run: Run,
    pub(crate) steps: Vec<Step>,
}

/// How far something is.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Advance {
    /// From 0 to 100.
    pub(crate) percent: f64,
    pub(crate) message: String,
    /// Items done, where the work can be counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) done: Option<u64>,
    /// Items in all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) total: Option<u64>,
    /// What it will take, if it goes on as it did, ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) remaining_ms: Option<i64>,
    /// What the result may look like: a small picture, there while the attempt runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) preview: Option<Preview>,
}

/// A small picture of what is being made. The next one takes its place.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Preview {
    /// BLAKE3 of the content, 64 hex digits.
    pub(crate) digest: String,
    /// Where its bytes are; gone some time after the attempt has ended.
    pub(crate) url: String,
    pub(crate) media_type: String,
    pub(crate) size_bytes: u64,
}

impl Preview {
    pub(crate) fn new(run: &str, preview: Artifact) -> Self {
        Self {
            url: format!("/api/v1/runs/{run}/artifacts/{}", preview.digest),
            digest: preview.digest,
            media_type: preview.media_type,
            size_bytes: preview.size_bytes,
        }
    }
}

impl Advance {
    pub(crate) fn new(
        run: &str,
        progress: Progress,
        started_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Self {
        let fraction = progress.fraction.clamp(0.0, 1.0);
        let remaining_ms = started_at
            .filter(|_| fraction > 0.02 && fraction < 1.0)
            .map(|at| estimate_ms(now.since_ms(at), fraction));
        Self {
            percent: (fraction * 1000.0).round() / 10.0,
            message: progress.message,
            done: progress.items.map(|(done, _)| done),
            total: progress.items.map(|(_, total)| total),
            remaining_ms,
            preview: progress.preview.map(|preview| Preview::new(run, preview)),
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "an estimate for people"
)]
fn estimate_ms(elapsed_ms: i64, fraction: f64) -> i64 {
    (elapsed_ms.max(0) as f64 * (1.0 - fraction) / fraction).round() as i64
}

/// A step of a run, or one item of a mapped step.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Step {
    pub(crate) step: String,
    /// The item's number, in a mapped step.
    pub(crate) item: Option<u32>,
    /// `blocked`, `ready`, `running`, `retrying`, `succeeded`, `failed`, `skipped` or `cancelled`.
    pub(crate) state: String,
    /// Why it waits though it could run: `paused`, `step_limit`, `run_limit`, `concurrency`, `not_due`.
    pub(crate) held_by: Vec<String>,
    pub(crate) queue: String,
    /// Attempts begun.
    pub(crate) attempt: i64,
    /// Of a mapped step: its items.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) items: Option<ItemCounts>,
    pub(crate) started_at: Option<Time>,
    pub(crate) finished_at: Option<Time>,
    /// When it is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) due_at: Option<Time>,
    /// The run that does its work, where it runs a workflow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) child: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) output: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) failure: Option<Fault>,
    /// Whether an earlier result was taken over.
    pub(crate) cached: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) progress: Option<Advance>,
}

/// How many items a mapped step has.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub(crate) struct ItemCounts {
    pub(crate) total: i64,
    /// Not yet ended.
    pub(crate) open: i64,
    pub(crate) failed: i64,
}

impl Step {
    pub(crate) fn new(run: &str, t: TaskView, now: Timestamp) -> Self {
        let is_retrying = t.state == aquatint_engine::TaskState::Retrying;
        let is_running = t.state == aquatint_engine::TaskState::Running;
        let started_at = t.started_at;
        Self {
            step: t.step.to_string(),
            item: t.item,
            state: t.state.to_string(),
            held_by: reasons(t.held),
            queue: t.queue.to_string(),
            attempt: t.attempt,
            items: (t.items > 0).then_some(ItemCounts {
                total: t.items,
                open: t.open_items,
                failed: t.failed_items,
            }),
            started_at: started_at.map(Time),
            finished_at: t.finished_at.map(Time),
            due_at: is_retrying.then_some(Time(t.due_at)),
            child: t.child.map(|id| id.to_string()),
            output: t.output,
            failure: t.error.map(Fault::from),
            cached: t.cached,
            progress: t
                .progress
                .filter(|_| is_running)
                .map(|p| Advance::new(run, p, started_at, now)),
        }
    }
}

fn reasons(held: Held) -> Vec<String> {
    [
        (Held::PAUSED, "paused"),
        (Held::STEP_LIMIT, "step_limit"),
        (Held::RUN_LIMIT, "run_limit"),
        (Held::CONCURRENCY, "concurrency"),
        (Held::NOT_DUE, "not_due"),
    ]
    .into_iter()
    .filter(|(reason, _)| held.0 & reason != 0)
    .map(|(_, word)| word.to_owned())
    .collect()
}

/// One attempt that has ended.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Attempt {
    pub(crate) step: String,
    pub(crate) item: Option<u32>,
    pub(crate) attempt: i64,
    /// `succeeded`, `failed`, `timed_out`, `cancelled`, `released` or `lost`.
    pub(crate) outcome: String,
    pub(crate) worker: Option<String>,
    pub(crate) started_at: Option<Time>,
    pub(crate) finished_at: Time,
    pub(crate) failure: Option<Fault>,
}

impl From<AttemptView> for Attempt {
    fn from(a: AttemptView) -> Self {
        Self {
            step: a.step.to_string(),
            item: a.item,
            attempt: a.attempt,
            outcome: a.outcome.to_string(),
            worker: a.worker.map(|w| w.to_string()),
            started_at: a.started_at.map(Time),
            finished_at: Time(a.finished_at),
            failure: a.error.map(Fault::from),
        }
    }
}

/// A line of an attempt's log.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LogLine {
    pub(crate) step: String,
    pub(crate) item: Option<u32>,
    pub(crate) attempt: i64,
    pub(crate) line: i64,
    pub(crate) at: Time,
    /// `debug`, `info`, `warn` or `error`.
    #[schema(value_type = String)]
    pub(crate) level: aquatint_engine::task::LogLevel,
    pub(crate) message: String,
}

impl From<LogView> for LogLine {
    fn from(l: LogView) -> Self {
        Self {
            step: l.step.to_string(),
            item: l.item,
            attempt: l.attempt,
            line: l.line,
            at: Time(l.at),
            level: l.level,
            message: l.message,
        }
    }
}

/// A stored file of a run.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct File {
    /// The step that stored it; `inputs` for what came with the run.
    pub(crate) step: String,
    pub(crate) item: Option<u32>,
    /// BLAKE3 of its bytes, 64 hexadecimal digits.
    pub(crate) artifact: String,
    pub(crate) name: String,
    pub(crate) media_type: String,
    pub(crate) size_bytes: u64,
    /// Where its bytes are.
    pub(crate) url: String,
    pub(crate) created_at: Time,
}

impl File {
    pub(crate) fn new(run: &str, view: ArtifactView) -> Self {
        Self {
            step: view.step.to_string(),
            item: view.item,
            url: format!("/api/v1/runs/{run}/artifacts/{}", view.artifact.digest),
            artifact: view.artifact.digest,
            name: view.artifact.name,
            media_type: view.artifact.media_type,
            size_bytes: view.artifact.size_bytes,
            created_at: Time(view.created_at),
        }
    }
}

/// An event as clients see it: the engine's, with its run, and its time as text.
pub(crate) fn event(run: &str, event: &Event) -> Value {
    let mut value = serde_json::to_value(event).expect("an event is plain JSON");
    if let Some(fields) = value.as_object_mut() {
        fields.insert("run".to_owned(), run.into());
        fields.insert("at".to_owned(), Time(event.at).to_string().into());
        if let Some(due) = fields.get("due_at").and_then(Value::as_i64) {
            fields.insert("due_at".to_owned(), Time(Timestamp(due)).to_string().into());
        }
    }
    value
}

/// Something that happened to a run: `kind` says what, and which further fields there are.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "a schema for what `event` makes")]
pub(crate) struct EventDoc {
    /// Counts from 1 within the run.
    seq: i64,
    at: Time,
    /// The run.
    run: String,
    /// `run_submitted`, `task_started`, `task_succeeded`, `task_retrying`, `task_failed`, `task_skipped`,
    /// `task_released`, `task_mapped`, `child_started`, `run_paused`, `run_resumed`, `run_retried`,
    /// `run_succeeded`, `run_failed`, `run_cancelled`.
    kind: String,
}

/// A message of a stream: `data` is an event as JSON, or what `event` says.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "a schema for what streams send")]
pub(crate) struct MessageDoc {
    /// The event's kind; `progress`; `preview`, a small picture of what is being made; or `end` with the run as it ended.
    event: String,
    data: String,
    /// Give the last one as `Last-Event-ID` to go on after it.
    #[schema(required = false)]
    id: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_go_out_and_come_back() {
        let at = Timestamp(1_769_851_800_123);
        assert_eq!(Time(at).to_string(), "2026-01-31T09:30:00.123Z");
        assert_eq!(parse_time("2026-01-31T09:30:00.123Z"), Some(at));
        assert_eq!(parse_time("2026-01-31").map(|t| t.0 % 86_400_000), Some(0));
        for bad in ["", "yesterday", "2026-13-01", "1969-01-01T00:00:00Z"] {
            assert_eq!(parse_time(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_remains_is_estimated_from_what_was() {
        let progress = |fraction| Progress {
            fraction,
            message: String::new(),
            items: None,
            preview: None,
        };
        let start = Some(Timestamp(1_000));
        let advance = Advance::new("run", progress(0.25), start, Timestamp(11_000));
        assert_eq!(
            (advance.percent, advance.remaining_ms),
            (25.0, Some(30_000))
        );
        assert_eq!(
            Advance::new("run", progress(0.0), start, Timestamp(11_000)).remaining_ms,
            None
        );
        assert_eq!(
            Advance::new("run", progress(1.0), start, Timestamp(11_000)).remaining_ms,
            None
        );
    }
}

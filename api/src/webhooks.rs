//! Telling webhooks that runs have ended.
//!
//! ```text
//!   events ──from a kept cursor──▶ who wants to know? ──submit──▶ run of `webhook-delivery` ──▶ receiver
//! ```
//!
//! The delivery is a run like any other: durable, retried with back-off, seen in lists. It is
//! submitted before the cursor moves, under a key made of the webhook, the run and its event:
//! a crash in between, or a second server that reads the same events, submits it again and gets the
//! first one back. The address and the secret stay here; the task looks them up.

use std::time::Duration;

use aquatint_engine::id::RunId;
use aquatint_engine::run::{Event, EventKind};
use aquatint_engine::store::{RunView, StoreError};
use aquatint_engine::time::Timestamp;
use aquatint_engine::{Engine, EngineError, RunState, Submission};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::admission;
use crate::app::App;
use crate::auth;
use crate::feed::{MARGIN, Window, margin};
use crate::problem::Problem;
use crate::routes::batches::TAG as BATCH_TAG;
use crate::wire::{Run, Time};

pub(crate) const KIND: &str = "webhook";
const CURSOR: (&str, &str) = ("cursor", "webhooks");

/// The workflow that delivers.
pub(crate) const DELIVERY: &str = "webhook-delivery";

/// Outputs that are longer, as JSON, are left for the receiver to fetch.
const MAX_OUTPUTS_BYTES: usize = 64 * 1024;

/// How often to look though nothing was heard.
const SLOW_POLL: Duration = Duration::from_secs(2);

/// What a webhook can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) enum EventType {
    #[serde(rename = "run.succeeded")]
    RunSucceeded,
    #[serde(rename = "run.failed")]
    RunFailed,
    #[serde(rename = "run.cancelled")]
    RunCancelled,
    #[serde(rename = "batch.succeeded")]
    BatchSucceeded,
    #[serde(rename = "batch.failed")]
    BatchFailed,
    #[serde(rename = "batch.cancelled")]
    BatchCancelled,
}

impl EventType {
    fn of(kind: &EventKind, is_batch: bool) -> Option<Self> {
        match (kind, is_batch) {
            (EventKind::RunSucceeded, false) => Some(Self::RunSucceeded),
            (EventKind::RunSucceeded, true) => Some(Self::BatchSucceeded),
            (EventKind::RunFailed { .. }, false) => Some(Self::RunFailed),
            (EventKind::RunFailed { .. }, true) => Some(Self::BatchFailed),
            (EventKind::RunCancelled, false) => Some(Self::RunCancelled),
            (EventKind::RunCancelled, true) => Some(Self::BatchCancelled),
            _ => None,
        }
    }
}

/// A webhook, as it is kept.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) url: String,
    pub(crate) secret: String,
    pub(crate) events: Vec<EventType>,
    pub(crate) workflow: Option<String>,
    pub(crate) tag: Option<String>,
    pub(crate) owner: Option<String>,
    /// Its owner sees everybody's runs.
    pub(crate) sees_all: bool,
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kept")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

impl Kept {
    /// Whether its owner wants to be told, and may be.
    fn wants(&self, run: &RunView, kind: EventType) -> bool {
        (self.events.is_empty() || self.events.contains(&kind))
            && self
                .workflow
                .as_ref()
                .is_none_or(|name| run.workflow.as_str() == name)
            && self.tag.as_ref().is_none_or(|tag| run.tags.contains(tag))
            && (self.sees_all || run.owner == self.owner)
    }
}

impl Kept {
    /// Whether a run may name it: its owner's own runs, and whatever its owner may see.
    pub(crate) fn may_hear_of(&self, run: &RunView) -> bool {
        self.sees_all || run.owner == self.owner
    }
}

/// What a webhook that a run names is told of its end.
pub(crate) fn of_run(id: &str, kept: &Kept, run: &RunView, message: &str) -> Submission {
    let is_batch = run.tags.iter().any(|tag| tag == BATCH_TAG);
    let kind = match (run.state, is_batch) {
        (RunState::Succeeded, false) => EventType::RunSucceeded,
        (RunState::Succeeded, true) => EventType::BatchSucceeded,
        (RunState::Cancelled, false) => EventType::RunCancelled,
        (RunState::Cancelled, true) => EventType::BatchCancelled,
        (_, false) => EventType::RunFailed,
        (_, true) => EventType::BatchFailed,
    };
    let at = run.finished_at.unwrap_or(run.created_at);
    delivery(id, message, &event(run, kind, at), kept)
}

/// Every webhook, with when it was made.
pub(crate) async fn read(engine: &Engine) -> Result<Vec<(String, Kept, Timestamp)>, EngineError> {
    let records = engine.records(KIND).await?;
    Ok(records
        .into_iter()
        .filter_map(|record| {
            let kept = serde_json::from_value(record.body);
            let kept = kept.inspect_err(
                |_| tracing::error!(webhook.id = %record.id, "a webhook's record cannot be read"),
            );
            Some((record.id, kept.ok()?, record.created_at))
        })
        .collect())
}

/// Where a webhook is, and what it is signed with.
pub(crate) async fn find(
    engine: &Engine,
    id: &str,
) -> Result<Option<(String, String)>, EngineError> {
    let record = engine.record(KIND, id).await?;
    let kept = record.and_then(|record| serde_json::from_value::<Kept>(record.body).ok());
    // Nothing more is said in the name of a key that was revoked.
    if let Some(owner) = kept.as_ref().and_then(|kept| kept.owner.as_deref())
        && engine.record(auth::KIND, owner).await?.is_none()
    {
        return Ok(None);
    }
    Ok(kept.map(|kept| (kept.url, kept.secret)))
}

pub(crate) async fn keep(app: &App, id: &str, kept: &Kept) -> Result<(), Problem> {
    let body = serde_json::to_value(kept).expect("a webhook is plain JSON");
    // From here on, and from the very first webhook on: what ends before it is kept is not told of.
    let now = app.engine.last_position().await?;
    match app
        .engine
        .keep(CURSOR.0, CURSOR.1, &json!(now), Some(0))
        .await
    {
        Ok(_) | Err(EngineError::Conflict { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    app.engine.keep(KIND, id, &body, Some(0)).await?;
    Ok(())
}

pub(crate) async fn forget(app: &App, id: &str) -> Result<(), Problem> {
    match app.engine.forget(KIND, id, None).await {
        Ok(()) => Ok(()),
        Err(EngineError::Conflict { .. }) => Err(Problem::not_found("webhook", id)),
        Err(error) => Err(error.into()),
    }
}

/// Whether this is `whsec_` and base64 of a length that signs well.
#[must_use]
pub fn is_secret(text: &str) -> bool {
    let bytes = text
        .strip_prefix("whsec_")
        .and_then(|b| BASE64_STANDARD.decode(b).ok());
    bytes.is_some_and(|bytes| (24..=64).contains(&bytes.len()))
}

/// 32 bytes of which 244 bits are random.
pub(crate) fn make_secret() -> String {
    let (a, b) = (uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
    let bytes = [a.into_bytes(), b.into_bytes()].concat();
    format!("whsec_{}", BASE64_STANDARD.encode(bytes))
}

/// Sends a webhook something to try it out.
pub(crate) async fn send_test(app: &App, id: &str, kept: &Kept) -> Result<RunId, Problem> {
    let message = format!("msg_{}", uuid::Uuid::new_v4().simple());
    let event = json!({ "type": "webhook.test", "timestamp": Time(app.engine.now()), "data": {} });
    let submission = delivery(id, &message, &event, kept);
    Ok(admission::submit_own(&app.engine, submission).await?.run)
}

fn delivery(id: &str, message: &str, event: &Value, kept: &Kept) -> Submission {
    Submission {
        idempotency_key: Some(format!("webhook/{message}")),
        owner: kept.owner.clone(),
        tags: vec![format!("aquatint:webhook:{id}")],
        ..Submission::new(
            DELIVERY,
            json!({ "hook": id, "message": message, "event": event }),
        )
    }
}

/// What is told of a run's end.
fn event(run: &RunView, kind: EventType, at: Timestamp) -> Value {
    let mut run = Run::from(run.clone());
    run.inputs = None;
    let is_long = run
        .outputs
        .as_ref()
        .is_some_and(|o| o.to_string().len() > MAX_OUTPUTS_BYTES);
    if is_long {
        run.outputs = None;
    }
    json!({
        "type": kind,
        "timestamp": Time(at),
        "data": { "run": run, "outputs_left_out": is_long, "url": format!("/api/v1/runs/{}", run.id) },
    })
}

/// Tells webhooks of every end. Goes on with the server.
pub(crate) async fn look_after(app: App) {
    let mut changes = app.engine.changes();
    let mut window = Window::default();
    loop {
        match step(&app, &mut window).await {
            // There may be more at once.
            Ok(true) => continue,
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "webhooks are not told for now; trying again"),
        }
        tokio::select! {
            _ = tokio::time::timeout(SLOW_POLL, changes.changed()) => {}
            () = app.stopping.cancelled() => return,
        }
        // Ends come by the hundred: told together, they cost one look.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Tells of one page of events; whether there may be more.
async fn step(app: &App, window: &mut Window) -> Result<bool, EngineError> {
    let hooks = read(&app.engine).await?;
    let kept = app.engine.record(CURSOR.0, CURSOR.1).await?;
    let cursor = kept.as_ref().and_then(|record| record.body.as_i64());
    let Some(cursor) = cursor.filter(|_| !hooks.is_empty()) else {
        // Nobody wants to know what has been, and whoever comes first, only what comes.
        let now = app.engine.last_position().await?;
        if cursor.is_none_or(|cursor| now - cursor > 10_000) || !hooks.is_empty() {
            app.engine
                .keep(CURSOR.0, CURSOR.1, &json!(now), None)
                .await?;
        }
        return Ok(false);
    };
    let from = (cursor - margin(&app.engine)).max(0);
    let entries = app.engine.feed(from).await?;
    let mut newest = cursor;
    for entry in &entries {
        newest = newest.max(entry.position);
        let ends = entry.events.iter().filter(|event| event.kind.ends_run());
        for end in ends {
            // Counted as told only once it is: what fails here is read again.
            if !window.has(entry.position) {
                tell(app, &hooks, entry.run, end).await?;
                window.see(entry.position);
            }
        }
    }
    if newest > cursor {
        app.engine
            .keep(CURSOR.0, CURSOR.1, &json!(newest), None)
            .await?;
        window.forget_before(newest - 2 * MARGIN);
    }
    Ok(entries.len() >= 1_000)
}

async fn tell(
    app: &App,
    hooks: &[(String, Kept, Timestamp)],
    run: RunId,
    end: &Event,
) -> Result<(), EngineError> {
    let run = match app.engine.run(run).await {
        Ok(run) => run,
        // Deleted meanwhile: there is nothing to tell of.
        Err(EngineError::Store(StoreError::NotFound { .. })) => return Ok(()),
        Err(error) => return Err(error),
    };
    let is_own_work = run.parent.is_some() || run.workflow.as_str() == DELIVERY;
    let is_batch = run.tags.iter().any(|tag| tag == BATCH_TAG);
    let Some(kind) = EventType::of(&end.kind, is_batch).filter(|_| !is_own_work) else {
        return Ok(());
    };
    for (id, kept, made_at) in hooks {
        // What ended before somebody wanted to know is not told of.
        if *made_at > end.at || !kept.wants(&run, kind) {
            continue;
        }
        // By the event's own number: a run that was retried meanwhile ends again, and is told of again.
        let message = format!("msg_{id}_{}_{}", run.id, end.seq);
        let told = delivery(id, &message, &event(&run, kind, end.at), kept);
        match admission::submit_own(&app.engine, told).await {
            // Told already, when the run looked otherwise: what was said first stands.
            Ok(_) | Err(EngineError::Store(StoreError::KeyReused { .. })) => {}
            // A delivery that is broken holds nobody up, and least those whose turn comes after.
            Err(error @ (EngineError::Inputs { .. } | EngineError::Library(_))) => {
                tracing::error!(webhook.id = %id, run.id = %run.id, %error, "a webhook could not be told of a run's end");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use aquatint_engine::{EngineConfig, Library, Registry, RunFilter, WorkerConfig};
    use aquatint_engine::{RunAction, id::QueueName};
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::config::ApiConfig;

    const BREAK: &str = "name: break\nsteps:\n  bad: { task: core.fail, retry: { attempts: 1 } }\n";

    /// A server over these definitions, a worker for `default`, and a webhook that wants everything.
    async fn server(folder: &std::path::Path) -> App {
        let mut registry = Registry::new();
        aquatint_tasks::register_all(&mut registry, &aquatint_tasks::Options::default());
        let mut library = Library::new(registry);
        library.add("break", "break.yaml", BREAK);
        let delivery = aquatint_workflows::find(DELIVERY).expect("it ships");
        library.add(DELIVERY, delivery.file_name, delivery.text);
        let engine = Engine::open(EngineConfig::new(folder), library).await;
        let engine = engine.expect("it opens");
        let app = App::new(engine, ApiConfig::default(), None, CancellationToken::new());
        let kept = Kept {
            url: "https://example.org/".to_owned(),
            secret: make_secret(),
            events: Vec::new(),
            workflow: None,
            tag: None,
            owner: None,
            sees_all: true,
        };
        keep(&app, "hook", &kept).await.expect("it is kept");
        app
    }

    async fn deliveries(app: &App) -> Vec<String> {
        let filter = RunFilter {
            workflow: DELIVERY.parse().ok(),
            ..RunFilter::default()
        };
        let runs = app.engine.runs(&filter).await.expect("they are listed");
        let mut keys: Vec<String> = runs.into_iter().filter_map(|r| r.idempotency_key).collect();
        keys.sort();
        keys
    }

    #[tokio::test]
    async fn a_run_that_ends_twice_before_anybody_looks_is_told_of_twice_and_blocks_nobody() {
        let folder = tempfile::tempdir().expect("a folder");
        let app = server(folder.path()).await;
        let queue = QueueName::new("default").expect("a name");
        let worker = app
            .engine
            .start_worker(WorkerConfig::new([(queue, 1)]))
            .await;
        let worker = worker.expect("it serves");
        let first = app
            .engine
            .submit(Submission::new("break", Value::Null))
            .await;
        let first = first.expect("it is accepted").run;
        app.engine.wait(first).await.expect("it ends");
        app.engine
            .act(first, RunAction::Retry)
            .await
            .expect("it failed");
        app.engine.wait(first).await.expect("it ends again");
        let mut window = Window::default();
        step(&app, &mut window).await.expect("both are told of");
        let told = deliveries(&app).await;
        assert_eq!(told.len(), 2, "{told:?}");

        // A server that crashed before it moved the cursor tells again, of a run that goes on meanwhile.
        app.engine
            .act(first, RunAction::Retry)
            .await
            .expect("it failed");
        app.engine.wait(first).await.expect("it ends once more");
        app.engine
            .keep(CURSOR.0, CURSOR.1, &json!(0), None)
            .await
            .expect("it is kept");
        step(&app, &mut Window::default())
            .await
            .expect("what was told blocks nothing");
        assert_eq!(deliveries(&app).await.len(), 3, "one message an end");
        worker.stop().await;
        app.engine.close().await;
    }

    #[tokio::test]
    async fn a_delivery_that_is_broken_holds_up_nothing_that_comes_after() {
        let folder = tempfile::tempdir().expect("a folder");
        let app = server(folder.path()).await;
        let queue = QueueName::new("default").expect("a name");
        let worker = app
            .engine
            .start_worker(WorkerConfig::new([(queue, 1)]))
            .await;
        let worker = worker.expect("it serves");
        let published = async |text: &str| {
            let published = app.engine.publish("webhook-delivery.yaml", text).await;
            published.expect("it can be read");
        };
        published("name: webhook-delivery\nsteps:\n  a: { task: core.echo, with: { value: 1 } }\n")
            .await;
        let end = async || {
            let run = app
                .engine
                .submit(Submission::new("break", Value::Null))
                .await;
            let run = run.expect("it is accepted").run;
            app.engine.wait(run).await.expect("it ends");
        };
        end().await;
        let mut window = Window::default();
        step(&app, &mut window).await.expect("nothing is held up");
        assert!(deliveries(&app).await.is_empty(), "it takes no such inputs");
        let whole = aquatint_workflows::find(DELIVERY).expect("it ships");
        published(whole.text).await;
        end().await;
        step(&app, &mut window).await.expect("it is told");
        assert_eq!(deliveries(&app).await.len(), 1);
        worker.stop().await;
        app.engine.close().await;
    }

    #[test]
    fn a_secret_that_is_made_is_one() {
        assert!(is_secret(&make_secret()));
        for bad in [
            "",
            "whsec_",
            "whsec_!!!",
            "whsec_c2hvcnQ=",
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        ] {
            assert!(!is_secret(bad), "{bad}");
        }
    }
}

//! What happens, as it happens: lists to read again, and streams (Server-Sent Events) to follow.
//!
//! A stream replays what came after `Last-Event-ID` before it goes on, so that a client that lost
//! its connection misses nothing. Hints only say when to look; what is sent is read from the store.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use aquatint_engine::engine::Watch;
use aquatint_engine::id::RunId;
use aquatint_engine::store::FeedEntry;
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::sse::{Event as Message, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures_util::StreamExt as _;
use futures_util::stream::unfold;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::broadcast;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::auth::{Principal, Reader};
use crate::extract::{Params, RunPath};
use crate::feed::{MARGIN, Window, margin};
use crate::problem::Problem;
use crate::wire::{self, Advance, EventDoc, MessageDoc, Page, Preview};

/// How long a stream of one run waits for a hint before it looks by itself.
const PATIENCE: Duration = Duration::from_secs(2);

/// How many runs a stream remembers to be its own, or not.
const MAX_REMEMBERED: usize = 10_000;

pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(of_run))
        .routes(routes!(stream_of_run))
        .routes(routes!(of_all))
        .routes(routes!(stream_of_all))
}

/// From where on.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct AfterParams {
    /// Only what came after this number: of a run, `seq`; of all runs, `next_cursor` of the page before.
    after: Option<i64>,
}

/// What happened to a run, oldest first; 1,000 commits' worth at most.
#[utoipa::path(get, path = "/api/v1/runs/{id}/events", tag = "events", params(("id" = String, Path, format = Uuid), AfterParams), responses((status = 200, body = Page<EventDoc>)))]
async fn of_run(
    Reader(who): Reader,
    State(app): State<App>,
    RunPath(id): RunPath,
    Params(params): Params<AfterParams>,
) -> Result<Json<Page<Value>>, Problem> {
    let run = app.run(&who, id).await?;
    let events = app
        .engine
        .events(id, params.after.unwrap_or(0).max(0))
        .await?;
    let last = events.last().map(|event| event.seq);
    let next = last
        .filter(|&seq| seq < run.last_event)
        .map(|seq| seq.to_string());
    let name = id.to_string();
    let events = events
        .iter()
        .map(|event| wire::event(&name, event))
        .collect();
    Ok(Json(Page::new(events, next)))
}

/// What happened to all runs, oldest first.
#[utoipa::path(get, path = "/api/v1/events", tag = "events", params(AfterParams), responses((status = 200, body = Page<EventDoc>)))]
async fn of_all(
    Reader(who): Reader,
    State(app): State<App>,
    Params(params): Params<AfterParams>,
) -> Result<Json<Page<Value>>, Problem> {
    let entries = app.engine.feed(params.after.unwrap_or(0).max(0)).await?;
    let next = entries.last().map(|entry| entry.position.to_string());
    let mut known = Theirs::new(who);
    let mut events = Vec::new();
    for entry in &entries {
        if known.has(&app, entry.run).await {
            let run = entry.run.to_string();
            events.extend(entry.events.iter().map(|event| wire::event(&run, event)));
        }
    }
    Ok(Json(Page::new(events, next)))
}

/// Where a client's last stream broke off.
fn last_event_id(headers: &HeaderMap, params: &AfterParams) -> Option<i64> {
    let sent = headers.get("last-event-id").and_then(|v| v.to_str().ok());
    sent.and_then(|id| id.trim().parse().ok()).or(params.after)
}

fn message(name: &str, id: Option<i64>, data: &Value) -> Message {
    let message = Message::default().event(name).data(data.to_string());
    match id {
        Some(id) => message.id(id.to_string()),
        None => message,
    }
}

fn kind(event: &Value) -> &str {
    event.get("kind").and_then(Value::as_str).unwrap_or("event")
}

/// A stream as it goes out; it ends when the key that asked for it is revoked.
fn sent<S>(app: &App, who: &Principal, stream: S) -> Response
where
    S: futures_util::Stream<Item = Result<Message, Infallible>> + Send + 'static,
{
    let (app, who) = (app.clone(), who.clone());
    let revoked = async move { app.keys.revoked(&app.engine, &who).await };
    let stream = stream.take_until(revoked);
    let keep_alive = KeepAlive::new().interval(Duration::from_secs(15));
    let mut response = Sse::new(stream).keep_alive(keep_alive).into_response();
    // Proxies that gather before they pass on would make a stream of it that comes by the minute.
    response.headers_mut().insert(
        HeaderName::from_static("x-accel-buffering"),
        HeaderValue::from_static("no"),
    );
    response
}

/// Follows a run: its events, the progress of what runs, previews of what it makes, and `end` when it has ended.
///
/// Events are numbered; after `Last-Event-ID` they are replayed. `progress` and `preview` have no number.
#[utoipa::path(get, path = "/api/v1/runs/{id}/stream", tag = "events",
    params(("id" = String, Path, format = Uuid), AfterParams, ("Last-Event-ID" = Option<String>, Header)),
    responses((status = 200, body = MessageDoc, content_type = "text/event-stream")))]
pub(crate) async fn stream_of_run(
    Reader(who): Reader,
    State(app): State<App>,
    RunPath(id): RunPath,
    Params(params): Params<AfterParams>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    app.run(&who, id).await?;
    let server = app.clone();
    let follower = RunFollower {
        watch: app.engine.watch(id),
        seq: last_event_id(&headers, &params).unwrap_or(0).max(0),
        id,
        name: id.to_string(),
        said: HashMap::new(),
        waiting: VecDeque::new(),
        has_ended: false,
        app,
    };
    let stream = unfold(follower, |mut follower| async {
        let message = follower.next().await?;
        Some((Ok(message), follower))
    });
    Ok(sent(&server, &who, stream))
}

/// One client that follows one run.
struct RunFollower {
    app: App,
    id: RunId,
    name: String,
    watch: Watch,
    /// The last event sent.
    seq: i64,
    /// What was last sent of the progress of each task that runs, and which preview.
    said: HashMap<(u32, i32), (String, String)>,
    waiting: VecDeque<Message>,
    has_ended: bool,
}

impl RunFollower {
    async fn next(&mut self) -> Option<Message> {
        loop {
            if let Some(message) = self.waiting.pop_front() {
                return Some(message);
            }
            if self.has_ended {
                return None;
            }
            if let Err(error) = self.look().await {
                // The client comes again with the number it saw last.
                tracing::warn!(run.id = %self.id, %error, "a stream ends, since its run cannot be read");
                return None;
            }
            if self.waiting.is_empty() && !self.has_ended {
                tokio::select! {
                    () = self.watch.changed(PATIENCE) => {}
                    () = self.app.stopping.cancelled() => return None,
                }
            }
        }
    }

    async fn look(&mut self) -> Result<(), aquatint_engine::EngineError> {
        let events = self.app.engine.events(self.id, self.seq).await?;
        for event in &events {
            self.seq = event.seq;
            let told = wire::event(&self.name, event);
            self.waiting
                .push_back(message(kind(&told), Some(event.seq), &told));
        }
        let has_ended = match events.last() {
            Some(last) => last.kind.ends_run(),
            // A client that comes back after the end has seen its event already.
            None => self.app.engine.run(self.id).await?.state.is_terminal(),
        };
        if has_ended {
            let run = wire::Run::from(self.app.engine.run(self.id).await?);
            let run = serde_json::to_value(run).unwrap_or_default();
            self.waiting.push_back(message("end", None, &run));
            self.has_ended = true;
            return Ok(());
        }
        self.look_at_progress().await
    }

    async fn look_at_progress(&mut self) -> Result<(), aquatint_engine::EngineError> {
        let progress = self.app.engine.progress(self.id).await?;
        if progress.is_empty() {
            return Ok(());
        }
        let plan = self.app.engine.plan(self.id).await?;
        for (step, item, mut progress) in progress {
            let (known, shown) = self.said.entry((step, item)).or_default();
            let preview = progress.preview.take();
            let place = json!({
                "run": self.name,
                "step": plan.step(step).map(|s| s.name.to_string()),
                "item": u32::try_from(item).ok(),
            });
            let said = format!(
                "{}{}{:?}",
                progress.fraction, progress.message, progress.items
            );
            if *known != said {
                *known = said;
                let advance = Advance::new(&self.name, progress, None, self.app.engine.now());
                let told = joined(&place, &advance);
                self.waiting.push_back(message("progress", None, &told));
            }
            if let Some(preview) = preview.filter(|preview| preview.digest != *shown) {
                shown.clone_from(&preview.digest);
                let told = joined(&place, &Preview::new(&self.name, preview));
                self.waiting.push_back(message("preview", None, &told));
            }
        }
        Ok(())
    }
}

/// Two objects' fields, in one.
fn joined(place: &Value, said: &impl serde::Serialize) -> Value {
    let mut told = serde_json::to_value(said).unwrap_or_default();
    if let (Some(fields), Some(place)) = (told.as_object_mut(), place.as_object()) {
        fields.extend(place.clone());
    }
    told
}

/// Follows all runs that whoever asks may see. After `Last-Event-ID` the events are replayed.
///
/// Events of one commit share a number. Where several processes write, an event may come twice
/// after a broken connection: `run` and `seq` tell.
#[utoipa::path(get, path = "/api/v1/stream", tag = "events", params(AfterParams, ("Last-Event-ID" = Option<String>, Header)),
    responses((status = 200, body = MessageDoc, content_type = "text/event-stream")))]
async fn stream_of_all(
    Reader(who): Reader,
    State(app): State<App>,
    Params(params): Params<AfterParams>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    // Before looking back, so that nothing falls between.
    let live = app.feed.listen().await?;
    let after = last_event_id(&headers, &params);
    let server = app.clone();
    let follower = Follower {
        live,
        replay_from: after.map(|after| (after - margin(&app.engine)).max(0)),
        window: Window::default(),
        theirs: Theirs::new(who.clone()),
        waiting: VecDeque::new(),
        app,
    };
    let stream = unfold(follower, |mut follower| async {
        let message = follower.next().await?;
        Some((Ok(message), follower))
    });
    Ok(sent(&server, &who, stream))
}

/// One client that follows everything.
struct Follower {
    app: App,
    live: broadcast::Receiver<Arc<FeedEntry>>,
    /// Where reading from the store goes on; `None` once it has caught up.
    replay_from: Option<i64>,
    window: Window,
    theirs: Theirs,
    waiting: VecDeque<Message>,
}

impl Follower {
    async fn next(&mut self) -> Option<Message> {
        loop {
            if let Some(message) = self.waiting.pop_front() {
                return Some(message);
            }
            if let Some(from) = self.replay_from {
                let entries = self.app.engine.feed(from).await.ok()?;
                self.replay_from = entries.last().map(|entry| entry.position);
                for entry in entries {
                    self.take(&entry).await;
                }
                continue;
            }
            let heard = tokio::select! {
                heard = self.live.recv() => heard,
                () = self.app.stopping.cancelled() => return None,
            };
            match heard {
                Ok(entry) => self.take(&entry).await,
                // The client comes again with the number it saw last, and reads from the store.
                Err(
                    broadcast::error::RecvError::Lagged(_) | broadcast::error::RecvError::Closed,
                ) => return None,
            }
        }
    }

    async fn take(&mut self, entry: &FeedEntry) {
        if !self.window.see(entry.position) {
            return;
        }
        self.window.forget_before(entry.position - 2 * MARGIN);
        if !self.theirs.has(&self.app, entry.run).await {
            return;
        }
        let run = entry.run.to_string();
        for (index, event) in entry.events.iter().enumerate() {
            let told = wire::event(&run, event);
            // The number goes with the last: who breaks off before it gets all of them again.
            let id = (index + 1 == entry.events.len()).then_some(entry.position);
            self.waiting.push_back(message(kind(&told), id, &told));
        }
    }
}

/// Which runs somebody may see, asked once for each.
struct Theirs {
    who: Principal,
    known: HashMap<RunId, bool>,
}

impl Theirs {
    fn new(who: Principal) -> Self {
        Self {
            who,
            known: HashMap::new(),
        }
    }

    async fn has(&mut self, app: &App, run: RunId) -> bool {
        if self.who.sees_all() {
            return true;
        }
        if let Some(known) = self.known.get(&run) {
            return *known;
        }
        let is_theirs = app.run(&self.who, run).await.is_ok();
        if self.known.len() >= MAX_REMEMBERED {
            self.known.clear();
        }
        self.known.insert(run, is_theirs);
        is_theirs
    }
}

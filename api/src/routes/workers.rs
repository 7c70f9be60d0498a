//! Workers: what they are doing, and what operators want of them.

use std::collections::BTreeMap;

use aquatint_engine::WorkerAction;
use aquatint_engine::id::QueueName;
use aquatint_engine::store::{WorkerState, WorkerView};
use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::auth::{Operator, Reader};
use crate::extract::{Body, Params};
use crate::problem::Problem;
use crate::wire::{Advance, Page, Time};

pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(drain))
        .routes(routes!(undrain))
        .routes(routes!(restart))
        .routes(routes!(slots))
}

/// A worker process.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Worker {
    #[schema(format = Uuid)]
    id: String,
    name: Option<String>,
    host: String,
    pid: u32,
    /// Of the program.
    version: String,
    /// `live`, `stopped` or `lost`.
    state: String,
    /// Claims no more.
    draining: bool,
    /// Is to begin anew, and has not yet.
    restarting: bool,
    queues: Vec<Served>,
    labels: Vec<String>,
    /// Models, and whatever else steps say they prefer, of what it ran last: such steps it takes earlier.
    loaded: Vec<String>,
    memory_bytes: Option<u64>,
    /// What the process occupies.
    rss_bytes: Option<u64>,
    /// Attempts it brought to an end.
    finished: u64,
    started_at: Time,
    /// Its last heartbeat.
    seen_at: Time,
    /// What it is doing; 20 at most.
    attempts: Vec<UnderWay>,
}

/// A queue that a worker serves.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Served {
    name: String,
    slots: u32,
    busy: u32,
    /// What operators want instead, where the worker has not followed yet.
    wanted: Option<u32>,
}

/// An attempt under way.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UnderWay {
    run: String,
    workflow: String,
    step: String,
    item: Option<u32>,
    attempt: i64,
    queue: String,
    since: Time,
    progress: Option<Advance>,
}

impl Worker {
    fn new(w: WorkerView, now: aquatint_engine::time::Timestamp) -> Self {
        let state = match w.state {
            WorkerState::Live => "live",
            WorkerState::Stopped => "stopped",
            WorkerState::Lost => "lost",
        };
        let queues = w.queues.into_iter().map(|q| Served {
            name: q.name.to_string(),
            slots: q.slots,
            busy: q.busy,
            wanted: q.wanted,
        });
        let attempts = w.attempts.into_iter().map(|a| UnderWay {
            run: a.run.to_string(),
            workflow: a.workflow.to_string(),
            step: a.step.to_string(),
            item: a.item,
            attempt: a.attempt,
            queue: a.queue.to_string(),
            since: Time(a.since),
            progress: a
                .progress
                .map(|p| Advance::new(&a.run.to_string(), p, Some(a.since), now)),
        });
        Self {
            id: w.id.to_string(),
            name: w.name,
            host: w.host,
            pid: w.pid,
            version: w.version,
            state: state.to_owned(),
            draining: w.draining,
            restarting: w.restarting,
            queues: queues.collect(),
            labels: w.labels,
            loaded: w.loaded,
            memory_bytes: w.memory_bytes,
            rss_bytes: w.rss_bytes,
            finished: w.finished,
            started_at: Time(w.started_at),
            seen_at: Time(w.seen_at),
            attempts: attempts.collect(),
        }
    }
}

/// Which workers to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListParams {
    /// Also those that stopped or were lost within the last day.
    #[serde(default)]
    all: bool,
}

/// The workers, and what they are doing.
#[utoipa::path(get, path = "/api/v1/workers", tag = "operations", params(ListParams), responses((status = 200, body = Page<Worker>)))]
async fn list(
    _who: Reader,
    State(app): State<App>,
    Params(params): Params<ListParams>,
) -> Result<Json<Page<Worker>>, Problem> {
    let now = app.engine.now();
    let workers = app.engine.workers(params.all).await?;
    Ok(Json(Page::whole(
        workers.into_iter().map(|w| Worker::new(w, now)).collect(),
    )))
}

/// Which workers were told.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Told {
    /// Their ids.
    told: Vec<String>,
}

async fn steer(app: &App, worker: &str, action: WorkerAction) -> Result<Json<Told>, Problem> {
    let which = if worker == "all" {
        None
    } else {
        Some(app.engine.find_worker(worker).await?.id)
    };
    let told = app.engine.steer_worker(which, action).await?;
    Ok(Json(Told {
        told: told.iter().map(ToString::to_string).collect(),
    }))
}

/// Lets a worker, or `all`, claim no more, finish what runs, and end.
#[utoipa::path(post, path = "/api/v1/workers/{worker}/drain", tag = "operations", params(("worker" = String, Path, description = "Its name, its id, the beginning of that, or `all`")), responses((status = 200, body = Told)))]
async fn drain(
    _who: Operator,
    State(app): State<App>,
    Path(worker): Path<String>,
) -> Result<Json<Told>, Problem> {
    steer(&app, &worker, WorkerAction::Drain).await
}

/// Lets a worker that drains claim again, where it has not ended yet.
#[utoipa::path(post, path = "/api/v1/workers/{worker}/undrain", tag = "operations", params(("worker" = String, Path)), responses((status = 200, body = Told)))]
async fn undrain(
    _who: Operator,
    State(app): State<App>,
    Path(worker): Path<String>,
) -> Result<Json<Told>, Problem> {
    steer(&app, &worker, WorkerAction::Undrain).await
}

/// Lets a worker finish what runs, and begin anew.
#[utoipa::path(post, path = "/api/v1/workers/{worker}/restart", tag = "operations", params(("worker" = String, Path)), responses((status = 200, body = Told)))]
async fn restart(
    _who: Operator,
    State(app): State<App>,
    Path(worker): Path<String>,
) -> Result<Json<Told>, Problem> {
    steer(&app, &worker, WorkerAction::Restart).await
}

/// Slots by queue: `{"gpu": 2}`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(transparent)]
pub(crate) struct NewSlots(BTreeMap<String, u32>);

/// Changes how many tasks of its queues a worker takes at a time.
#[utoipa::path(put, path = "/api/v1/workers/{worker}/slots", tag = "operations", params(("worker" = String, Path)), request_body = NewSlots, responses((status = 200, body = Told)))]
async fn slots(
    _who: Operator,
    State(app): State<App>,
    Path(worker): Path<String>,
    Body(new): Body<NewSlots>,
) -> Result<Json<Told>, Problem> {
    let mut told = Vec::new();
    for (queue, slots) in new.0 {
        let queue =
            QueueName::new(&queue).map_err(|e| Problem::at(format!("/{queue}"), e.to_string()))?;
        let Json(more) = steer(&app, &worker, WorkerAction::Slots(queue, slots)).await?;
        told.extend(more.told);
    }
    told.sort();
    told.dedup();
    Ok(Json(Told { told }))
}

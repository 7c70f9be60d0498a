//! Queues: how they are doing, and what operators say of them.

use aquatint_engine::id::QueueName;
use aquatint_engine::store::QueueView;
use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::auth::{Operator, Reader};
use crate::extract::Body;
use crate::problem::Problem;
use crate::wire::{Page, Time};

pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(pause))
        .routes(routes!(resume))
        .routes(routes!(cap))
        .routes(routes!(purge))
}

/// A named lane of work.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Queue {
    name: String,
    /// Gives no work.
    paused: bool,
    /// At most so many of its tasks run, over all workers.
    cap: Option<u32>,
    /// Tasks that a worker could take now.
    ready: u64,
    running: u64,
    /// Tasks that wait for their next try, a resume or a limit.
    waiting: u64,
    /// Since when the oldest of those that are ready is.
    oldest_ready_at: Option<Time>,
    /// Live workers that serve it.
    workers: u32,
    /// Their slots together.
    slots: u32,
}

impl From<QueueView> for Queue {
    fn from(q: QueueView) -> Self {
        Self {
            name: q.name.to_string(),
            paused: q.paused,
            cap: q.cap,
            ready: q.ready,
            running: q.running,
            waiting: q.waiting,
            oldest_ready_at: q.oldest_ready_at.map(Time),
            workers: q.workers,
            slots: q.slots,
        }
    }
}

fn name(text: &str) -> Result<QueueName, Problem> {
    QueueName::new(text).map_err(|_| Problem::not_found("queue", text))
}

/// Every queue that has work, workers, or an operator's word.
#[utoipa::path(get, path = "/api/v1/queues", tag = "operations", responses((status = 200, body = Page<Queue>)))]
async fn list(_who: Reader, State(app): State<App>) -> Result<Json<Page<Queue>>, Problem> {
    let queues = app.engine.queues().await?;
    Ok(Json(Page::whole(
        queues.into_iter().map(Queue::from).collect(),
    )))
}

async fn one(app: &App, queue: &QueueName) -> Result<Json<Queue>, Problem> {
    let queues = app.engine.queues().await?;
    let found = queues.into_iter().find(|q| q.name == *queue);
    Ok(Json(found.map_or_else(
        || Queue {
            name: queue.to_string(),
            paused: false,
            cap: None,
            ready: 0,
            running: 0,
            waiting: 0,
            oldest_ready_at: None,
            workers: 0,
            slots: 0,
        },
        Queue::from,
    )))
}

/// Gives no more work from a queue, to anybody; what runs may finish.
#[utoipa::path(post, path = "/api/v1/queues/{queue}/pause", tag = "operations", params(("queue" = String, Path)), responses((status = 200, body = Queue)))]
async fn pause(
    _who: Operator,
    State(app): State<App>,
    Path(queue): Path<String>,
) -> Result<Json<Queue>, Problem> {
    let queue = name(&queue)?;
    app.engine.pause_queue(&queue).await?;
    one(&app, &queue).await
}

/// Gives work from a queue again.
#[utoipa::path(post, path = "/api/v1/queues/{queue}/resume", tag = "operations", params(("queue" = String, Path)), responses((status = 200, body = Queue)))]
async fn resume(
    _who: Operator,
    State(app): State<App>,
    Path(queue): Path<String>,
) -> Result<Json<Queue>, Problem> {
    let queue = name(&queue)?;
    app.engine.resume_queue(&queue).await?;
    one(&app, &queue).await
}

/// How many of a queue's tasks may run.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewCap {
    /// At least 1; null lifts it.
    #[schema(value_type = Option<i64>, minimum = 1, maximum = 4294967295_i64)]
    cap: Option<u32>,
}

/// Lets at most so many of a queue's tasks run at a time, over all workers.
#[utoipa::path(put, path = "/api/v1/queues/{queue}/cap", tag = "operations", params(("queue" = String, Path)), request_body = NewCap, responses((status = 200, body = Queue)))]
async fn cap(
    _who: Operator,
    State(app): State<App>,
    Path(queue): Path<String>,
    Body(new): Body<NewCap>,
) -> Result<Json<Queue>, Problem> {
    let queue = name(&queue)?;
    app.engine.cap_queue(&queue, new.cap).await?;
    one(&app, &queue).await
}

/// How many runs a purge cancelled.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Purged {
    cancelled: u64,
}

/// Cancels every run that waits in a queue and has nothing there that runs.
#[utoipa::path(post, path = "/api/v1/queues/{queue}/purge", tag = "operations", params(("queue" = String, Path)), responses((status = 200, body = Purged)))]
async fn purge(
    _who: Operator,
    State(app): State<App>,
    Path(queue): Path<String>,
) -> Result<Json<Purged>, Problem> {
    let cancelled = app.engine.purge_queue(&name(&queue)?).await?;
    Ok(Json(Purged { cancelled }))
}

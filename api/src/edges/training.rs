//! A model-training service: train in the background or while one waits, and watch.

use aquatint_engine::id::RunId;
use aquatint_engine::store::RunView;
use aquatint_engine::{RunState, Submission};
use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::images::{advance, processing_time};
use super::models;
use crate::admission;
use crate::app::App;
use crate::attachments;
use crate::auth::{Principal, Reader, Submitter};
use crate::extract;
use crate::problem::Problem;
use crate::wire::Time;

/// What the workflows are called.
pub(super) const TRAIN: &str = "train";
pub(super) const TRAIN_ALL: &str = "train-all";

/// Every kind at once.
pub(super) const ALL: &str = "all";

/// How a run says which kind of model it trains.
pub(super) const MODEL_TAG: &str = "aquatint:model:";

pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(train_async))
        .routes(routes!(train))
        .routes(routes!(status))
        .routes(routes!(result))
        .routes(routes!(celery_health))
        .routes(routes!(health))
}

/// How that service refuses: `{"detail": …}`.
#[derive(Debug)]
pub(super) enum Refusal {
    Plain(StatusCode, String),
    Problem(Problem),
}

/// What is wrong.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Detail {
    detail: String,
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<aquatint_engine::EngineError> for Refusal {
    fn from(error: aquatint_engine::EngineError) -> Self {
        Self::Problem(error.into())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Self::Plain(status, detail) => (status, Json(Detail { detail })).into_response(),
            Self::Problem(problem) => problem.into_response(),
        }
    }
}

fn unknown_task() -> Refusal {
    Refusal::Plain(StatusCode::NOT_FOUND, "Task not found".to_owned())
}

/// What to train on, and how long. Everything may be left out: then a thousand made-up houses serve.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
struct TrainRequest {
    /// 1 to 10,000.
    #[schema(value_type = Option<i64>, minimum = 1, maximum = 10000)]
    epochs: Option<u32>,
    /// Further inputs of the workflow `train`: `target`, `rows`, `csv`, `learning_rate`, `batch_size`, `seed`, …
    #[serde(flatten)]
    #[schema(value_type = Object)]
    more: Map<String, Value>,
}

/// An accepted training.
#[derive(Debug, Serialize, ToSchema)]
struct Accepted {
    #[schema(format = Uuid)]
    task_id: String,
    status: String,
    message: String,
}

/// The kinds of model that this installation can train.
pub(super) fn kinds(app: &App) -> Result<Vec<String>, Refusal> {
    let library = app.engine.library();
    if library.source(TRAIN).is_none() {
        return Err(Refusal::Problem(Problem::not_implemented(
            "nothing is trained here: there is no workflow called `train`",
        )));
    }
    let definition = library.get(TRAIN).map_err(Problem::from)?;
    let listed = definition
        .plan
        .inputs
        .schemas()
        .get("model")
        .and_then(|s| s.get("enum")?.as_array());
    Ok(listed
        .into_iter()
        .flatten()
        .filter_map(|kind| kind.as_str().map(str::to_owned))
        .collect())
}

pub(super) fn check_kind(app: &App, kind: &str, with_all: bool) -> Result<(), Refusal> {
    let kinds = kinds(app)?;
    if kinds.iter().any(|known| known == kind) || (with_all && kind == ALL) {
        return Ok(());
    }
    let kind: String = kind.chars().take(80).collect();
    let all = if with_all { ", all" } else { "" };
    Err(Refusal::Plain(
        StatusCode::BAD_REQUEST,
        format!(
            "Unknown model type `{kind}`; one of: {}{all}",
            kinds.join(", ")
        ),
    ))
}

/// A body that may be left out.
pub(super) async fn body<T: serde::de::DeserializeOwned + Default + Send + 'static>(
    app: &App,
    request: Request,
) -> Result<T, Refusal> {
    extract::must_be_json(request.headers())?;
    let bytes = extract::body(request, app).await?;
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(T::default());
    }
    Ok(extract::parsed(app, bytes, extract::parse).await?)
}

async fn submit(
    app: &App,
    who: &Principal,
    kind: &str,
    new: TrainRequest,
) -> Result<RunId, Refusal> {
    check_kind(app, kind, true)?;
    let mut inputs = new.more;
    if let Some(epochs) = new.epochs {
        inputs.insert("epochs".to_owned(), epochs.into());
    }
    let workflow = if kind == ALL {
        TRAIN_ALL
    } else {
        inputs.insert("model".to_owned(), kind.into());
        TRAIN
    };
    let mut inputs = Value::Object(inputs);
    let submission = Submission {
        attachments: attachments::checked(app, who, &mut inputs).await?,
        inputs,
        tags: vec![format!("{MODEL_TAG}{kind}")],
        ..Submission::new(workflow, Value::Null)
    };
    Ok(admission::submit(app, who, submission).await?.run)
}

/// Trains a model in the background: one kind, or `all` of them side by side.
#[utoipa::path(post, path = "/train/{model_type}/async", tag = "compatible: training", params(("model_type" = String, Path, description = "`linear`, `mlp`, `transformer` or `all`")),
    request_body = TrainRequest, responses((status = 200, body = Accepted), (status = 400, body = Detail)))]
async fn train_async(
    Submitter(who): Submitter,
    State(app): State<App>,
    Path(model_type): Path<String>,
    request: Request,
) -> Result<Json<Accepted>, Refusal> {
    check_kind(&app, &model_type, true)?;
    let id = submit(&app, &who, &model_type, body(&app, request).await?).await?;
    Ok(Json(Accepted {
        task_id: id.to_string(),
        status: "PENDING".to_owned(),
        message: format!("Training of {model_type} started"),
    }))
}

/// Trains a model and waits for it. A client that gives up finds the task by its id all the same.
#[utoipa::path(post, path = "/train/{model_type}", tag = "compatible: training", params(("model_type" = String, Path)),
    request_body = TrainRequest, responses((status = 200, body = Value), (status = 400, body = Detail), (status = 500, body = Value)))]
async fn train(
    Submitter(who): Submitter,
    State(app): State<App>,
    Path(model_type): Path<String>,
    request: Request,
) -> Result<Response, Refusal> {
    check_kind(&app, &model_type, true)?;
    let id = submit(&app, &who, &model_type, body(&app, request).await?).await?;
    let run = app.engine.wait(id).await?;
    let status = if run.state == RunState::Succeeded {
        StatusCode::OK
    } else {
        StatusCode::INTERNAL_SERVER_ERROR
    };
    Ok((status, Json(told(&app, &run).await?)).into_response())
}

/// How a training is doing.
#[derive(Debug, Serialize, ToSchema)]
struct Status {
    task_id: String,
    /// PENDING, STARTED, PROGRESS, SUCCESS or FAILURE.
    status: String,
    /// From 0 to 100.
    progress: u8,
    message: String,
    model_type: Option<String>,
    created_at: Time,
    started_at: Option<Time>,
    completed_at: Option<Time>,
    error: Option<String>,
}

/// A run that trains, or trained, a model.
async fn find(app: &App, who: &Principal, id: &str) -> Result<RunView, Refusal> {
    let id: RunId = id.parse().map_err(|_| unknown_task())?;
    match app.run(who, id).await {
        Ok(run) if kind_of(&run).is_some() => Ok(run),
        Ok(_) => Err(unknown_task()),
        Err(problem) if problem.status == StatusCode::NOT_FOUND => Err(unknown_task()),
        Err(problem) => Err(Refusal::Problem(problem)),
    }
}

pub(super) fn kind_of(run: &RunView) -> Option<&str> {
    run.tags.iter().find_map(|tag| tag.strip_prefix(MODEL_TAG))
}

fn word(state: RunState, progress: u8) -> &'static str {
    match state {
        RunState::Pending => "PENDING",
        RunState::Running if progress > 0 => "PROGRESS",
        RunState::Running => "STARTED",
        RunState::Succeeded => "SUCCESS",
        RunState::Failed | RunState::Cancelled => "FAILURE",
    }
}

/// Tells how a training is doing.
#[utoipa::path(get, path = "/task/{id}/status", tag = "compatible: training", params(("id" = String, Path)), responses((status = 200, body = Status), (status = 404, body = Detail)))]
async fn status(
    Reader(who): Reader,
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Json<Status>, Refusal> {
    let run = find(&app, &who, &id).await?;
    // Both as of one moment.
    let (run, steps) = app.engine.detail(run.id).await?;
    let (progress, said) = advance(run.state, &steps);
    let error = run.failure.as_ref().map(|f| f.message.clone());
    let message = match run.state {
        RunState::Pending => "Task is waiting to be processed".to_owned(),
        RunState::Running => said.unwrap_or_else(|| "Training".to_owned()),
        RunState::Succeeded => "Training completed".to_owned(),
        RunState::Failed => error
            .clone()
            .unwrap_or_else(|| "Training failed".to_owned()),
        RunState::Cancelled => "Training was cancelled".to_owned(),
    };
    Ok(Json(Status {
        task_id: run.id.to_string(),
        status: word(run.state, progress).to_owned(),
        progress,
        message,
        model_type: kind_of(&run).map(str::to_owned),
        created_at: Time(run.created_at),
        started_at: run.started_at.map(Time),
        completed_at: run.finished_at.map(Time),
        error,
    }))
}

/// Gives the metrics of what was trained; of a failure, what every attempt came to.
#[utoipa::path(get, path = "/task/{id}/result", tag = "compatible: training", params(("id" = String, Path)), responses((status = 200, body = Value), (status = 404, body = Detail)))]
async fn result(
    Reader(who): Reader,
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Refusal> {
    let run = find(&app, &who, &id).await?;
    Ok(Json(told(&app, &run).await?))
}

/// What came of a training, or that nothing has yet.
async fn told(app: &App, run: &RunView) -> Result<Value, Refusal> {
    let id = run.id.to_string();
    let kind = kind_of(run);
    let seconds = processing_time(run.started_at, run.finished_at);
    match run.state {
        RunState::Succeeded => {
            let result = run.output.clone().unwrap_or_default();
            let metrics = match (kind, kind == Some(ALL)) {
                (_, true) => by_model(&result),
                (Some(kind), false) => json!({ kind: result.get("metrics") }),
                (None, false) => Value::Null,
            };
            Ok(json!({
                "task_id": id, "status": "SUCCESS", "model_type": kind, "training_time": seconds,
                "metrics": metrics, "result": result,
            }))
        }
        RunState::Failed | RunState::Cancelled => {
            let failure = run.failure.as_ref();
            let message = failure.map_or("Training was cancelled", |f| f.message.as_str());
            Ok(json!({
                "task_id": id, "status": "FAILURE", "model_type": kind, "error": message,
                "error_type": failure.map(|f| f.class.clone()), "traceback": trace(app, run).await?,
            }))
        }
        RunState::Pending | RunState::Running => {
            let steps = app.engine.detail(run.id).await?.1;
            let (progress, _) = advance(run.state, &steps);
            Ok(json!({
                "task_id": id, "status": word(run.state, progress), "model_type": kind,
                "message": "Task is not completed yet",
            }))
        }
    }
}

/// Metrics by model, of a comparison of all.
fn by_model(result: &Value) -> Value {
    let ranking = result.get("ranking").and_then(Value::as_array);
    let named = ranking.into_iter().flatten().filter_map(|entry| {
        let name = entry.get("name")?.as_str()?.to_owned();
        Some((
            name,
            json!({ "test": entry.get("metrics"), "beats_baseline": entry.get("beats_baseline") }),
        ))
    });
    Value::Object(named.collect())
}

/// Every attempt that failed, and what was written down: what a traceback is good for.
async fn trace(app: &App, run: &RunView) -> Result<String, Refusal> {
    use std::fmt::Write as _;
    let mut text = String::new();
    for attempt in app.engine.attempts(run.id).await? {
        let Some(error) = attempt.error else { continue };
        let item = attempt
            .item
            .map_or(String::new(), |item| format!("[{item}]"));
        let _ = writeln!(
            text,
            "{} step {}{item}, attempt {}: {}: {}",
            Time(attempt.finished_at),
            attempt.step,
            attempt.attempt,
            error.class,
            error.message
        );
    }
    for line in app
        .engine
        .logs(run.id)
        .await?
        .into_iter()
        .rev()
        .take(100)
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
    {
        let _ = writeln!(text, "{} {} {}", Time(line.at), line.step, line.message);
    }
    Ok(text)
}

/// Whether workers can be reached.
#[derive(Debug, Serialize, ToSchema)]
struct WorkersHealth {
    /// `healthy` or `unhealthy`.
    status: String,
    /// How many workers live.
    workers: usize,
    worker_names: Vec<String>,
    /// Attempts under way.
    active_tasks: usize,
}

/// Are the workers reachable, and how many?
#[utoipa::path(get, path = "/celery/health", tag = "compatible: training", responses((status = 200, body = WorkersHealth), (status = 503, body = WorkersHealth)))]
async fn celery_health(_who: Reader, State(app): State<App>) -> Result<Response, Refusal> {
    let workers = app.engine.workers(false).await?;
    let status = if workers.is_empty() {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::OK
    };
    let health = WorkersHealth {
        status: if workers.is_empty() {
            "unhealthy"
        } else {
            "healthy"
        }
        .to_owned(),
        workers: workers.len(),
        active_tasks: workers.iter().map(|w| w.attempts.len()).sum(),
        worker_names: workers
            .into_iter()
            .map(|w| w.name.unwrap_or_else(|| w.id.to_string()))
            .collect(),
    };
    Ok((status, Json(health)).into_response())
}

/// The service's health.
#[derive(Debug, Serialize, ToSchema)]
struct Health {
    /// `healthy` or `unhealthy`.
    status: String,
    database: String,
    workers: usize,
    models_trained: usize,
}

/// How the service is.
#[utoipa::path(get, path = "/health", tag = "compatible: training", responses((status = 200, body = Health), (status = 503, body = Health)))]
async fn health(Reader(who): Reader, State(app): State<App>) -> Result<Response, Refusal> {
    let workers = app.engine.workers(false).await;
    let models_trained = models::trained(&app, &who)
        .await
        .map_or(0, |models| models.len());
    let is_well = workers.is_ok();
    let health = Health {
        status: if is_well { "healthy" } else { "unhealthy" }.to_owned(),
        database: if is_well { "ok" } else { "error" }.to_owned(),
        workers: workers.map_or(0, |w| w.len()),
        models_trained,
    };
    let status = if is_well {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    Ok((status, Json(health)).into_response())
}

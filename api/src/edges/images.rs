//! An image back end with a database: submit, poll, fetch by URL, cancel.

use aquatint_engine::artifact::Artifact;
use aquatint_engine::store::TaskView;
use aquatint_engine::time::Timestamp;
use aquatint_engine::{EngineError, RunAction, RunState, TaskState};
use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::inline;
use super::order::{self, ErrorBody, Order, Ordered, Picture, Refusal};
use crate::admission;
use crate::app::App;
use crate::auth::{Reader, Submitter};
use crate::extract;
use crate::files::{self, Part};
use crate::problem::Problem;
use crate::wire::Time;

pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(create))
        .routes(routes!(status))
        .routes(routes!(result))
        .routes(routes!(cancel))
        // As their clients write them, and as others would.
        .route("/api/v1/tasks/create", routing::post(create))
        .route("/api/v1/tasks/{id}/status", routing::get(status))
        .route("/api/v1/tasks/{id}/result", routing::get(result))
        .route("/api/v1/tasks/{id}/cancel", routing::post(cancel))
}

pub(crate) fn open_router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(media))
}

/// An accepted task.
#[derive(Debug, Serialize, ToSchema)]
struct Created {
    #[schema(format = Uuid)]
    task_id: String,
    status: String,
    message: String,
    created_at: Time,
}

/// An order as JSON. A form has the same fields; there `image` is a file and `parameters` JSON text.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct JsonOrder {
    /// `image_generation`, `face_swap`, `background_removal`, `object_removal`, `style_transfer` or `image_enhancement`.
    pub(super) task_type: Option<String>,
    /// At most 5,000 characters.
    pub(super) prompt: Option<String>,
    /// Base64.
    pub(super) image: Option<String>,
    /// Base64.
    pub(super) target_image: Option<String>,
    #[schema(value_type = Object)]
    pub(super) parameters: Option<Map<String, Value>>,
}

impl From<JsonOrder> for Order {
    fn from(json: JsonOrder) -> Self {
        let picture = |text: Option<String>| text.filter(|t| !t.is_empty()).map(Picture::Base64);
        Self {
            task_type: json.task_type,
            prompt: json.prompt,
            image: picture(json.image),
            target_image: picture(json.target_image),
            parameters: json.parameters.unwrap_or_default(),
        }
    }
}

/// An order's JSON, or what is wrong with it in the words of those systems.
pub(super) async fn json_order(app: &App, request: Request) -> Result<Order, Refusal> {
    let body = extract::body(request, app).await?;
    let parsed: Result<JsonOrder, Problem> = extract::parsed(app, body, extract::parse).await;
    if let Err(problem) = &parsed
        && !matches!(problem.code, "invalid" | "bad_request")
    {
        return parsed.map(Order::from).map_err(Refusal::Problem);
    }
    parsed
        .map(Order::from)
        .map_err(|problem| match problem.errors.first() {
            Some(mistake) => {
                let field = mistake
                    .pointer
                    .trim_start_matches('/')
                    .split('/')
                    .next()
                    .unwrap_or_default();
                let field = if field.is_empty() {
                    "non_field_errors"
                } else {
                    field
                };
                Refusal::field(field, mistake.message.clone())
            }
            None => Refusal::field("non_field_errors", problem.detail),
        })
}

async fn form_order(app: &App, request: Request) -> Result<Order, Refusal> {
    let parts = match files::form(app, request).await {
        Ok(parts) => parts,
        Err(problem) if problem.status == StatusCode::PAYLOAD_TOO_LARGE => {
            return Err(Refusal::field("image", problem.detail));
        }
        Err(problem) if problem.code == "invalid" => {
            return Err(Refusal::field("image", problem.detail));
        }
        Err(problem) if problem.status == StatusCode::BAD_REQUEST => {
            return Err(Refusal::field("non_field_errors", problem.detail));
        }
        Err(problem) => return Err(Refusal::Problem(problem)),
    };
    let mut order = Order::default();
    for (name, part) in parts {
        match (name.as_str(), part) {
            ("prompt", Part::Text(text)) => order.prompt = Some(text),
            ("task_type", Part::Text(text)) => order.task_type = Some(text.trim().to_owned()),
            ("image", Part::File(file)) => order.image = Some(Picture::Stored(file)),
            ("target_image", Part::File(file)) => order.target_image = Some(Picture::Stored(file)),
            ("parameters", Part::Text(text)) if !text.trim().is_empty() => {
                order.parameters = serde_json::from_str(&text)
                    .map_err(|_| Refusal::field("parameters", "Value must be valid JSON."))?;
            }
            // Whatever else a client sends was never looked at.
            _ => {}
        }
    }
    Ok(order)
}

/// Submits a task.
#[utoipa::path(post, path = "/api/v1/tasks/create/", tag = "compatible: images",
    request_body(content((JsonOrder = "application/json"), (serde_json::Value = "multipart/form-data"))),
    responses((status = 201, body = Created), (status = 400, body = ErrorBody), (status = 501, body = Problem, content_type = "application/problem+json")))]
async fn create(
    Submitter(who): Submitter,
    State(app): State<App>,
    request: Request,
) -> Result<Response, Refusal> {
    let order = if files::is_form(&request) {
        form_order(&app, request).await?
    } else {
        extract::must_be_json(request.headers())?;
        json_order(&app, request).await?
    };
    let (id, _) = order::place(&app, &who, order, None).await?;
    let created = Created {
        task_id: id.to_string(),
        status: "PENDING".to_owned(),
        message: "Task queued successfully".to_owned(),
        created_at: Time(app.engine.run(id).await?.created_at),
    };
    Ok((StatusCode::CREATED, Json(created)).into_response())
}

/// A task's state, in the words of those systems.
pub(super) fn word(state: RunState, is_retrying: bool) -> &'static str {
    match state {
        RunState::Pending => "PENDING",
        RunState::Running if is_retrying => "RETRY",
        RunState::Running => "PROCESSING",
        RunState::Succeeded => "SUCCESS",
        RunState::Failed => "FAILURE",
        RunState::Cancelled => "REVOKED",
    }
}

/// How far the steps of a run are together: from 0 to 100, and what the one that runs says of itself.
pub(super) fn advance(state: RunState, steps: &[TaskView]) -> (u8, Option<String>) {
    if state == RunState::Succeeded {
        return (100, None);
    }
    let share = |step: &TaskView| match step.state {
        TaskState::Succeeded | TaskState::Skipped | TaskState::Failed | TaskState::Cancelled => 1.0,
        TaskState::Running => match (&step.progress, step.items) {
            (Some(progress), _) => progress.fraction.clamp(0.0, 1.0),
            (None, items) if items > 0 => {
                #[expect(clippy::cast_precision_loss, reason = "a share for people")]
                let share = (items - step.open_items) as f64 / items as f64;
                share
            }
            (None, _) => 0.0,
        },
        TaskState::Blocked | TaskState::Ready | TaskState::Retrying => 0.0,
    };
    let done: f64 = steps.iter().map(share).sum();
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of 100"
    )]
    let percent = (done / steps.len().max(1) as f64 * 100.0)
        .floor()
        .clamp(0.0, 99.0) as u8;
    let running = steps.iter().find(|step| step.state == TaskState::Running);
    let message = running.map(|step| {
        let said = step
            .progress
            .as_ref()
            .map(|p| p.message.clone())
            .filter(|m| !m.is_empty());
        said.unwrap_or_else(|| format!("Running {}", step.step))
    });
    (percent, message)
}

/// How a task is doing.
#[derive(Debug, Serialize, ToSchema)]
struct Status {
    task_id: String,
    task_type: String,
    /// PENDING, PROCESSING, SUCCESS, FAILURE, RETRY or REVOKED.
    status: String,
    /// From 0 to 100.
    progress: u8,
    message: String,
    created_at: Time,
    updated_at: Time,
    started_at: Option<Time>,
    completed_at: Option<Time>,
    /// Seconds.
    processing_time: Option<f64>,
    error: Option<String>,
    error_message: Option<String>,
    failed_at: Option<Time>,
    result_url: Option<String>,
    result_available: bool,
}

/// Seconds from a run's start to its end.
pub(super) fn processing_time(
    started: Option<Timestamp>,
    finished: Option<Timestamp>,
) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "ms far below 2^52")]
    let seconds = finished?.since_ms(started?) as f64 / 1000.0;
    Some(seconds)
}

/// Tells how a task is doing.
#[utoipa::path(get, path = "/api/v1/tasks/{id}/status/", tag = "compatible: images", params(("id" = String, Path)),
    responses((status = 200, body = Status), (status = 404, body = ErrorBody)))]
async fn status(
    Reader(who): Reader,
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Status>, Refusal> {
    let Ordered { run, task_type, .. } = order::find(&app, &who, &id).await?;
    // Both as of one moment.
    let (run, steps) = app.engine.detail(run.id).await?;
    let is_retrying = steps.iter().any(|step| step.state == TaskState::Retrying);
    let (progress, said) = advance(run.state, &steps);
    let status = word(run.state, is_retrying);
    let message = match run.state {
        RunState::Pending => "Task is waiting in the queue".to_owned(),
        RunState::Running if is_retrying => "Task failed and will be tried again".to_owned(),
        RunState::Running => said.unwrap_or_else(|| "Task is being processed".to_owned()),
        RunState::Succeeded => "Task completed successfully".to_owned(),
        RunState::Failed => "Task failed".to_owned(),
        RunState::Cancelled => "Task cancelled".to_owned(),
    };
    let times = steps
        .iter()
        .flat_map(|step| [step.started_at, step.finished_at])
        .flatten();
    let updated_at = times
        .chain(run.finished_at)
        .max()
        .unwrap_or(run.created_at)
        .max(run.created_at);
    let is_done = run.state == RunState::Succeeded;
    let failure = run.failure.as_ref().map(|f| f.message.clone());
    Ok(Json(Status {
        result_url: is_done
            .then(|| format!("{}/api/v1/tasks/{}/result/", app.origin(&headers), run.id)),
        task_id: run.id.to_string(),
        task_type,
        status: status.to_owned(),
        progress,
        message,
        created_at: Time(run.created_at),
        updated_at: Time(updated_at),
        started_at: run.started_at.map(Time),
        completed_at: run.finished_at.filter(|_| is_done).map(Time),
        processing_time: processing_time(run.started_at, run.finished_at),
        error: failure.clone(),
        error_message: failure,
        failed_at: run
            .finished_at
            .filter(|_| run.state == RunState::Failed)
            .map(Time),
        result_available: is_done,
    }))
}

/// The picture that a run came to: the first file among its outputs.
pub(super) fn picture(output: &Value) -> Option<Artifact> {
    let named = output.get("image").filter(|v| v.is_object());
    let first = || {
        output
            .as_object()?
            .values()
            .find(|v| v.get("artifact").is_some())
    };
    serde_json::from_value(named.or_else(first)?.clone()).ok()
}

/// Where a picture is to be had without a key: a dated path with a name that nobody can guess.
pub(super) fn media_url(origin: &str, run: &str, at: Timestamp, file: &Artifact) -> String {
    let date = Time(at).to_string();
    let date = date.get(..10).unwrap_or("1970-01-01").replace('-', "/");
    let extension = file.media_type.rsplit('/').next().unwrap_or("bin");
    let extension = if extension.bytes().all(|b| b.is_ascii_alphanumeric()) {
        extension
    } else {
        "bin"
    };
    format!("{origin}/media/{date}/{run}/{}.{extension}", file.digest)
}

/// What the model that made it says of it.
pub(super) fn metadata(run: &aquatint_engine::store::RunView) -> Value {
    let inputs = run.inputs.clone().unwrap_or_default();
    let output = run.output.clone().unwrap_or_default();
    let asked = |name: &str| inputs.get(name).cloned().unwrap_or_default();
    let told = |name: &str| output.get(name).cloned();
    json!({
        "model": told("model"),
        "seed": told("seed").unwrap_or_else(|| asked("seed")),
        "steps": asked("num_inference_steps"),
        "guidance_scale": asked("guidance_scale"),
        "width": told("width").unwrap_or_else(|| asked("width")),
        "height": told("height").unwrap_or_else(|| asked("height")),
        "negative_prompt": told("negative_prompt_used").unwrap_or_else(|| asked("negative_prompt")),
    })
}

/// What a task came to.
#[derive(Debug, Serialize, ToSchema)]
struct TaskResult {
    task_id: String,
    task_type: String,
    status: String,
    prompt: Option<String>,
    /// Absolute.
    #[serde(skip_serializing_if = "Option::is_none")]
    image_url: Option<String>,
    /// Seconds.
    processing_time: Option<f64>,
    completed_at: Option<Time>,
    #[schema(value_type = Object)]
    result: Value,
}

/// Gives what a task came to.
#[utoipa::path(get, path = "/api/v1/tasks/{id}/result/", tag = "compatible: images", params(("id" = String, Path)),
    responses((status = 200, body = TaskResult), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)))]
async fn result(
    Reader(who): Reader,
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<TaskResult>, Refusal> {
    let ordered = order::find(&app, &who, &id).await?;
    let run = &ordered.run;
    if run.state != RunState::Succeeded {
        let steps = app.engine.detail(run.id).await?.1;
        let is_retrying = steps.iter().any(|step| step.state == TaskState::Retrying);
        return Err(Refusal::Plain(format!(
            "Task not completed. Status: {}",
            word(run.state, is_retrying)
        )));
    }
    let output = run.output.clone().unwrap_or_default();
    let file = picture(&output);
    let seconds = processing_time(run.started_at, run.finished_at);
    let prompt = run
        .inputs
        .as_ref()
        .and_then(|i| i.get("prompt")?.as_str())
        .map(str::to_owned);
    let (image_url, result) = if ordered.is_inline {
        (None, inline::result(&app, run, file.as_ref()).await?)
    } else {
        let id = run.id.to_string();
        let url = file.map(|f| media_url(&app.origin(&headers), &id, run.created_at, &f));
        let result = json!({
            "image_url": url,
            "prompt_used": output.get("prompt_used").cloned().unwrap_or_else(|| json!(prompt)),
            "processing_time": seconds,
            "metadata": metadata(run),
        });
        (url, result)
    };
    Ok(Json(TaskResult {
        task_id: run.id.to_string(),
        task_type: ordered.task_type,
        status: "SUCCESS".to_owned(),
        prompt,
        image_url,
        processing_time: seconds,
        completed_at: run.finished_at.map(Time),
        result,
    }))
}

/// That it is done.
#[derive(Debug, Serialize, ToSchema)]
struct Message {
    message: String,
}

/// Cancels a task: one that runs is really stopped, and its slot is free.
#[utoipa::path(post, path = "/api/v1/tasks/{id}/cancel/", tag = "compatible: images", params(("id" = String, Path)),
    responses((status = 200, body = Message), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)))]
async fn cancel(
    Submitter(who): Submitter,
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Json<Message>, Refusal> {
    let ordered = order::find(&app, &who, &id).await?;
    match admission::act(&app.engine, (&who).into(), &ordered.run, RunAction::Cancel).await {
        Ok(_) => Ok(Json(Message {
            message: "Task cancelled".to_owned(),
        })),
        Err(EngineError::Refused(_)) => Err(Refusal::Plain("Task already completed".to_owned())),
        Err(error) => Err(error.into()),
    }
}

/// A picture by its URL. Whoever has the URL may have the picture: nobody can guess it.
#[utoipa::path(get, path = "/media/{year}/{month}/{day}/{task}/{file}", tag = "compatible: images",
    params(("year" = String, Path), ("month" = String, Path), ("day" = String, Path), ("task" = String, Path), ("file" = String, Path)),
    responses((status = 200, body = Vec<u8>, content_type = "*/*"), (status = 206, body = Vec<u8>, content_type = "*/*"), (status = 304), (status = 416)))]
async fn media(
    State(app): State<App>,
    Path(path): Path<(String, String, String, String, String)>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (_, _, _, task, file) = path;
    let digest = file.split('.').next().unwrap_or_default();
    let gone = || Problem::not_found("file", &file);
    let run = task.parse().map_err(|_| gone())?;
    let artifact = app.engine.artifact(run, digest).await?.ok_or_else(gone)?;
    files::send(&app, &artifact, &method, &headers, false).await
}

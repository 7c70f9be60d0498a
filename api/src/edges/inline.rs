//! The same image back end without a disk of its own: pictures travel as base64, results expire.

use aquatint_engine::artifact::Artifact;
use aquatint_engine::store::RunView;
use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::images::{JsonOrder, json_order, metadata};
use super::order::{self, ErrorBody, Refusal};
use crate::app::App;
use crate::auth::Submitter;
use crate::extract;
use crate::problem::Problem;

pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(submit))
        .route("/api/v1/tasks/submit", routing::post(submit))
}

/// An accepted task.
#[derive(Debug, Serialize, ToSchema)]
struct Submitted {
    #[schema(format = Uuid)]
    task_id: String,
    status: String,
    message: String,
}

/// Submits a task whose pictures come, and go out, as base64; its result expires by itself.
#[utoipa::path(post, path = "/api/v1/tasks/submit/", tag = "compatible: images", request_body = JsonOrder,
    responses((status = 201, body = Submitted), (status = 400, body = ErrorBody), (status = 501, body = Problem, content_type = "application/problem+json")))]
async fn submit(
    Submitter(who): Submitter,
    State(app): State<App>,
    request: Request,
) -> Result<Response, Refusal> {
    extract::must_be_json(request.headers())?;
    let order = json_order(&app, request).await?;
    let kept = app.config.inline_retention;
    let (id, kind) = order::place(&app, &who, order, Some(kept)).await?;
    let submitted = Submitted {
        task_id: id.to_string(),
        status: "PENDING".to_owned(),
        message: format!("{} task submitted successfully", kind.as_str()),
    };
    Ok((StatusCode::CREATED, Json(submitted)).into_response())
}

/// What such a task came to: the picture itself, and how it was made.
pub(super) async fn result(
    app: &App,
    run: &RunView,
    file: Option<&Artifact>,
) -> Result<Value, Refusal> {
    let inputs = run.inputs.clone().unwrap_or_default();
    let output = run.output.clone().unwrap_or_default();
    let image_data = match file {
        Some(file) => Some(BASE64_STANDARD.encode(app.engine.read_artifact(file).await?)),
        None => None,
    };
    let original = inputs.get("prompt").cloned().unwrap_or_default();
    let refined = output
        .get("prompt_used")
        .cloned()
        .unwrap_or_else(|| original.clone());
    let is_parameter = |key: &String| !["prompt", "image", "target_image"].contains(&key.as_str());
    let parameters: Map<String, Value> = inputs
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(key, _)| is_parameter(key))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let mut facts = metadata(run);
    if let Some(facts) = facts.as_object_mut() {
        facts.insert("original_prompt".to_owned(), original);
        facts.insert("refined_prompt".to_owned(), refined.clone());
        facts.insert("parameters".to_owned(), Value::Object(parameters));
    }
    Ok(json!({ "image_data": image_data, "prompt_used": refined, "metadata": facts }))
}

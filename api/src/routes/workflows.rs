//! Workflows: what can be run, validated, put.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::auth::{Admin, Reader, Scope};
use crate::extract::{self, Params};
use crate::problem::Problem;
use crate::wire::{Page, Time};

/// The longest definition that is taken.
const MAX_DEFINITION_BYTES: usize = 256 * 1024;

pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(get, put))
        .routes(routes!(versions))
        .routes(routes!(validate))
}

/// Something that can be run.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Summary {
    name: String,
    description: Option<String>,
    /// A hash of the definition.
    version: Option<String>,
    /// What a key must have to run it: `submit`, `operate` or `admin`.
    scope: Option<Scope>,
    /// Why it cannot be run, where its definition has mistakes.
    mistakes: Vec<crate::problem::Mistake>,
}

/// A workflow, its inputs and its steps.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Workflow {
    name: String,
    description: Option<String>,
    version: String,
    /// What a key must have to run it: `submit`, `operate` or `admin`.
    scope: Scope,
    /// JSON Schema by input.
    #[schema(value_type = Object)]
    inputs: Map<String, Value>,
    steps: Vec<PlannedStep>,
    /// The definition as it was written.
    source: String,
    file: String,
}

/// A step of a workflow.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PlannedStep {
    name: String,
    /// The task it names, where it is one.
    task: Option<String>,
    /// The workflow it runs, where it is one.
    workflow: Option<String>,
    queue: String,
    /// Whether it runs once per item of a list.
    mapped: bool,
    /// The steps it waits for.
    needs: Vec<String>,
}

/// The workflows there are, by name.
#[utoipa::path(get, path = "/api/v1/workflows", tag = "workflows", responses((status = 200, body = Page<Summary>)))]
async fn list(_who: Reader, State(app): State<App>) -> Result<Json<Page<Summary>>, Problem> {
    app.engine.refresh_library().await?;
    let library = app.engine.library();
    let all = library
        .names()
        .into_iter()
        .map(|name| match library.get(name) {
            Ok(found) => Summary {
                name: name.to_owned(),
                description: found.workflow.description.clone(),
                version: Some(found.plan.version.clone()),
                scope: Some(library.permission(&found).into()),
                mistakes: Vec::new(),
            },
            Err(error) => Summary {
                name: name.to_owned(),
                description: None,
                version: None,
                scope: None,
                mistakes: Problem::from(error).errors,
            },
        });
    Ok(Json(Page::whole(all.collect())))
}

fn describe(app: &App, name: &str) -> Result<Workflow, Problem> {
    use aquatint_engine::workflow::Action;
    let library = app.engine.library();
    let found = library.get(name)?;
    let (file, source) = library.source(name).unwrap_or_default();
    let plan = &found.plan;
    let name_of = |index: u32| plan.steps[index as usize].name.to_string();
    let steps = plan
        .steps
        .iter()
        .filter(|step| !matches!(step.action, Action::Outputs));
    let steps = steps.map(|step| {
        let (task, workflow) = match &step.action {
            Action::Task(task) => (Some(task.to_string()), None),
            Action::Workflow(workflow) => (None, Some(workflow.to_string())),
            Action::Outputs => (None, None),
        };
        PlannedStep {
            name: step.name.to_string(),
            task,
            workflow,
            queue: step.queue.to_string(),
            mapped: step.map.is_some(),
            needs: step.needs.iter().map(|&index| name_of(index)).collect(),
        }
    });
    Ok(Workflow {
        name: plan.name.to_string(),
        description: found.workflow.description.clone(),
        version: plan.version.clone(),
        scope: library.permission(&found).into(),
        inputs: plan.inputs.schemas().clone(),
        steps: steps.collect(),
        source: source.to_owned(),
        // Where it lies on this machine is nobody's business.
        file: file.rsplit('/').next().unwrap_or_default().to_owned(),
    })
}

/// A workflow.
#[utoipa::path(get, path = "/api/v1/workflows/{name}", tag = "workflows", params(("name" = String, Path)), responses((status = 200, body = Workflow)))]
async fn get(
    _who: Reader,
    State(app): State<App>,
    Path(name): Path<String>,
) -> Result<Json<Workflow>, Problem> {
    app.engine.refresh_library().await?;
    describe(&app, &name).map(Json)
}

/// A version of a workflow that some run keeps to.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Version {
    version: String,
    /// When a run was first submitted with it.
    created_at: Time,
    /// Whether runs submitted now get it.
    current: bool,
}

/// The versions of a workflow that runs were submitted with, newest first.
#[utoipa::path(get, path = "/api/v1/workflows/{name}/versions", tag = "workflows", params(("name" = String, Path)), responses((status = 200, body = Page<Version>)))]
async fn versions(
    _who: Reader,
    State(app): State<App>,
    Path(name): Path<String>,
) -> Result<Json<Page<Version>>, Problem> {
    let current = app
        .engine
        .library()
        .get(&name)
        .ok()
        .map(|found| found.plan.version.clone());
    let found = app.engine.versions(&name).await?;
    if found.is_empty() && current.is_none() {
        return Err(Problem::not_found("workflow", &name));
    }
    let versions = found.into_iter().map(|(version, created_at)| Version {
        current: current.as_deref() == Some(version.as_str()),
        version,
        created_at: Time(created_at),
    });
    Ok(Json(Page::whole(versions.collect())))
}

/// How a definition is written.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct WrittenParams {
    /// `yaml` or `toml`; without it, the content type decides, and then YAML.
    format: Option<String>,
}

/// The name of a file with this definition, of which the parser takes its language.
fn file_name(params: &WrittenParams, media_type: &str) -> Result<&'static str, Problem> {
    match params.format.as_deref() {
        Some("yaml") => Ok("definition.yaml"),
        Some("toml") => Ok("definition.toml"),
        Some(other) => Err(Problem::invalid(
            format!("format: expected yaml or toml, got `{other}`"),
            Vec::new(),
        )),
        None if media_type.ends_with("toml") => Ok("definition.toml"),
        None => Ok("definition.yaml"),
    }
}

async fn definition(
    app: &App,
    params: &WrittenParams,
    request: Request,
) -> Result<(&'static str, String), Problem> {
    let file = file_name(params, &extract::media_type(request.headers()))?;
    let bytes: Bytes = extract::body(request, app).await?;
    if bytes.len() > MAX_DEFINITION_BYTES {
        return Err(Problem::too_large(format!(
            "a definition has {MAX_DEFINITION_BYTES} bytes at most"
        )));
    }
    let text = String::from_utf8(bytes.into())
        .map_err(|_| Problem::bad_request("the definition is no UTF-8 text"))?;
    Ok((file, text))
}

/// What a definition that is right amounts to.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Validated {
    name: String,
    version: String,
    steps: usize,
}

/// Looks whether a definition, as the body, is right; changes nothing.
#[utoipa::path(post, path = "/api/v1/workflows/validate", tag = "workflows", params(WrittenParams),
    request_body(content((String = "application/yaml"), (String = "application/toml"))), responses((status = 200, body = Validated)))]
async fn validate(
    _who: Reader,
    State(app): State<App>,
    Params(params): Params<WrittenParams>,
    request: Request,
) -> Result<Json<Validated>, Problem> {
    let (file, text) = definition(&app, &params, request).await?;
    let library = app.engine.library();
    // Parsing goes through expressions and schemas: not on a thread that serves others.
    let compiled = tokio::task::spawn_blocking(move || library.compile(file, &text)).await;
    let found = compiled
        .map_err(|_| Problem::internal())?
        .map_err(aquatint_engine::library::LibraryError::Invalid)?;
    Ok(Json(Validated {
        name: found.plan.name.to_string(),
        version: found.plan.version.clone(),
        steps: found.workflow.steps.len(),
    }))
}

/// Keeps a definition, as the body, under its name: runs submitted from now on follow it.
#[utoipa::path(put, path = "/api/v1/workflows/{name}", tag = "workflows", params(("name" = String, Path), WrittenParams),
    request_body(content((String = "application/yaml"), (String = "application/toml"))), responses((status = 200, body = Workflow)))]
async fn put(
    _who: Admin,
    State(app): State<App>,
    Path(name): Path<String>,
    Params(params): Params<WrittenParams>,
    request: Request,
) -> Result<Response, Problem> {
    if !app.config.allow_definitions {
        return Err(Problem::forbidden(
            "this server takes no definitions: start it with `allow_definitions = true` under [api], since whoever may define workflows may run what its tasks can do",
        ));
    }
    let (file, text) = definition(&app, &params, request).await?;
    let library = app.engine.library();
    let written = text.clone();
    let compiled = tokio::task::spawn_blocking(move || library.compile(file, &written)).await;
    let found = compiled
        .map_err(|_| Problem::internal())?
        .map_err(aquatint_engine::library::LibraryError::Invalid)?;
    if found.plan.name.as_str() != name {
        return Err(Problem::at(
            "/name",
            format!(
                "the definition is called `{}`, the address says `{name}`",
                found.plan.name
            ),
        ));
    }
    let extension = file.rsplit('.').next().unwrap_or("yaml");
    app.engine
        .publish(&format!("{name}.{extension}"), &text)
        .await?;
    Ok((StatusCode::OK, Json(describe(&app, &name)?)).into_response())
}

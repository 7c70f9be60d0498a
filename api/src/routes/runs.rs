//! Runs: submit, find, watch, steer.

use std::time::Duration;

use aquatint_engine::id::{RunId, WorkflowName};
use aquatint_engine::run::{Ending, Notify};
use aquatint_engine::store::RunView;
use aquatint_engine::{RunAction, RunFilter, RunState, Submission, Submitted};
use axum::Json;
use axum::extract::{FromRequest as _, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::admission;
use crate::app::App;
use crate::attachments;
use crate::auth::{Principal, Reader, Submitter};
use crate::extract::{Body, Params, RunPath, limit, patience};
use crate::files::{self, Part};
use crate::problem::Problem;
use crate::wire::{Page, Run, RunDetail, Step, parse_time};

pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, submit))
        .routes(routes!(get, delete))
        .routes(routes!(cancel))
        .routes(routes!(pause))
        .routes(routes!(resume))
        .routes(routes!(retry))
}

/// What to run, and how.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewRun {
    /// The workflow's name.
    pub(crate) workflow: String,
    /// Its inputs, by name; defaults are filled in. Where an input is a file, give what an upload answered with.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub(crate) inputs: Map<String, Value>,
    /// Added to each step's priority; higher goes first.
    #[serde(default)]
    pub(crate) priority: i32,
    /// Words to find it by: 32 at most, of 1 to 100 bytes.
    #[serde(default)]
    pub(crate) tags: Vec<String>,
    /// Compute everything anew, though an earlier result for the same input may be kept.
    #[serde(default)]
    pub(crate) no_cache: bool,
    /// Forget it so long after its end, as in `24h`; without it, the definition decides.
    #[serde(default)]
    pub(crate) retention: Option<String>,
    /// Who is told of its end, beside those whom the definition names.
    #[serde(default)]
    pub(crate) notify: Vec<NotifyOf>,
}

/// Who is told of a run's end.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NotifyOf {
    /// `succeeded`, `failed`, `cancelled`; all of them, where none is named.
    #[serde(default)]
    pub(crate) on: Vec<EndingOf>,
    /// Addresses that get an e-mail.
    #[serde(default)]
    pub(crate) email: Vec<String>,
    /// The id of a webhook that is called.
    #[serde(default)]
    pub(crate) webhook: Option<String>,
}

/// How a run ends.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum EndingOf {
    Succeeded,
    Failed,
    Cancelled,
}

impl From<NotifyOf> for Notify {
    fn from(given: NotifyOf) -> Self {
        let ending = |ending| match ending {
            EndingOf::Succeeded => Ending::Succeeded,
            EndingOf::Failed => Ending::Failed,
            EndingOf::Cancelled => Ending::Cancelled,
        };
        Self {
            on: given.on.into_iter().map(ending).collect(),
            email: given.email,
            webhook: given.webhook,
        }
    }
}

/// Which of its answers a request waits for.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Wait {
    /// Wait so long for the run to end, as in `30s`; a minute at most. `Prefer: wait=30` says the same.
    pub(crate) wait: Option<String>,
}

/// Submits a run.
///
/// Answers 202 and where the run is to be seen; or, when the request waits for it and it ends in time, 200
/// and the run as it ended. The same `Idempotency-Key` again gives the first run back. As
/// `multipart/form-data`: `workflow`, `inputs` as JSON text, and a file for each input that is one.
#[utoipa::path(
    post, path = "/api/v1/runs", tag = "runs", params(Wait, ("Idempotency-Key" = Option<String>, Header, description = "Names the request: sent again, it gives the first run back")),
    request_body(content((NewRun = "application/json"), (Value = "multipart/form-data"))),
    responses((status = 202, body = Run, description = "Accepted: it is durable", headers(("Location" = String))),
              (status = 200, body = Run, description = "It ended while the request waited"))
)]
pub(crate) async fn submit(
    Submitter(who): Submitter,
    State(app): State<App>,
    Params(wait): Params<Wait>,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    let patience = patience(wait.wait.as_deref(), &headers)?;
    let new = if files::is_form(&request) {
        from_form(files::form(&app, request).await?)?
    } else {
        Body::<NewRun>::from_request(request, &app).await?.0
    };
    let submitted = submit_one(&app, &who, new, idempotency_key(&headers)?).await?;
    match submitted.view().filter(|_| patience.is_zero()) {
        Some(run) => Ok(respond(StatusCode::ACCEPTED, run)),
        None => answer(&app, submitted.run, patience).await,
    }
}

/// The request's `Idempotency-Key`.
pub(crate) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get("idempotency-key") else {
        return Ok(None);
    };
    match value.to_str() {
        Ok(key) if (1..=200).contains(&key.len()) => Ok(Some(key.to_owned())),
        _ => Err(Problem::bad_request(
            "Idempotency-Key: expected 1 to 200 visible ASCII characters, e.g. a UUID",
        )),
    }
}

/// Checks and submits one run for somebody.
pub(crate) async fn submit_one(
    app: &App,
    who: &Principal,
    new: NewRun,
    key: Option<String>,
) -> Result<Submitted, Problem> {
    let retention = new.retention.as_deref().map(duration).transpose()?;
    check_tags(&new.tags)?;
    let mut inputs = Value::Object(new.inputs);
    let submission = Submission {
        attachments: attachments::checked(app, who, &mut inputs).await?,
        inputs,
        idempotency_key: key.map(|key| who.scoped(&key)),
        priority: i64::from(new.priority),
        no_cache: new.no_cache,
        tags: new.tags,
        retention,
        notify: new.notify.into_iter().map(Notify::from).collect(),
        ..Submission::new(new.workflow, Value::Null)
    };
    admission::submit(app, who, submission).await
}

/// Tags by which this server finds its own.
pub(crate) fn check_tags(tags: &[String]) -> Result<(), Problem> {
    match tags.iter().position(|tag| tag.starts_with("aquatint:")) {
        Some(index) => Err(Problem::at(
            format!("/tags/{index}"),
            "tags that begin with `aquatint:` are the server's own",
        )),
        None => Ok(()),
    }
}

/// The longest that a run may ask to be kept; whoever wants it for ever says nothing.
const LONGEST_RETENTION: Duration = Duration::from_secs(10 * 366 * 24 * 3600);

pub(crate) fn duration(text: &str) -> Result<Duration, Problem> {
    let parsed = humantime::parse_duration(text).ok();
    parsed
        .filter(|kept| *kept <= LONGEST_RETENTION)
        .ok_or_else(|| {
            let text: String = text.chars().take(80).collect();
            Problem::at(
                "/retention",
                format!("expected a duration such as 24h, of ten years at most, got `{text}`"),
            )
        })
}

fn from_form(parts: Vec<(String, Part)>) -> Result<NewRun, Problem> {
    let mut new = NewRun::default();
    let mut given = Map::new();
    for (name, part) in parts {
        match (name.as_str(), part) {
            ("workflow", Part::Text(text)) => new.workflow = text,
            ("inputs", Part::Text(text)) => new.inputs = crate::extract::parse(text.as_bytes())?,
            ("priority", Part::Text(text)) => {
                new.priority = text
                    .trim()
                    .parse()
                    .map_err(|_| Problem::at("/priority", "expected a whole number"))?;
            }
            ("tags", Part::Text(text)) => {
                new.tags = text
                    .split(',')
                    .map(|t| t.trim().to_owned())
                    .filter(|t| !t.is_empty())
                    .collect();
            }
            ("retention", Part::Text(text)) => new.retention = Some(text),
            (input, Part::File(file)) => {
                let file = serde_json::to_value(file).expect("a file's facts are plain JSON");
                given.insert(input.to_owned(), file);
            }
            (other, Part::Text(_)) => {
                return Err(Problem::at(
                    format!("/{other}"),
                    "unknown field; a form has workflow, inputs (JSON), priority, tags, retention, and a file for each input that is one",
                ));
            }
        }
    }
    if new.workflow.is_empty() {
        return Err(Problem::at("/workflow", "the workflow's name is missing"));
    }
    new.inputs.extend(given);
    Ok(new)
}

/// A run as accepted, or, when it ends within `patience`, as it ended.
async fn answer(app: &App, id: RunId, patience: Duration) -> Result<Response, Problem> {
    let ended = if patience.is_zero() {
        None
    } else {
        tokio::time::timeout(patience, app.engine.wait(id))
            .await
            .ok()
    };
    let (status, run) = match ended {
        Some(run) => (StatusCode::OK, run?),
        None => (StatusCode::ACCEPTED, app.engine.run(id).await?),
    };
    Ok(respond(status, run))
}

fn respond(status: StatusCode, run: RunView) -> Response {
    let location = format!("/api/v1/runs/{}", run.id);
    (status, [(header::LOCATION, location)], Json(Run::from(run))).into_response()
}

/// Which runs to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListParams {
    /// Only in these states, as in `failed,cancelled`.
    pub(crate) state: Option<String>,
    /// Only of this workflow.
    pub(crate) workflow: Option<String>,
    /// Only submitted with this tag.
    pub(crate) tag: Option<String>,
    /// Only with these words in their id, workflow, tags, inputs or failure.
    pub(crate) q: Option<String>,
    /// Only created at or after this moment (RFC 3339, UTC).
    pub(crate) created_from: Option<String>,
    /// Only created before this moment (RFC 3339, UTC).
    pub(crate) created_to: Option<String>,
    /// Also runs that are steps of others.
    #[serde(default)]
    pub(crate) all: bool,
    /// `next_cursor` of the page before.
    pub(crate) cursor: Option<String>,
    /// At most so many: 1 to 500, 50 where nothing is said.
    #[param(minimum = 1, maximum = 500)]
    pub(crate) limit: Option<u32>,
}

impl ListParams {
    /// What the engine is to look for.
    pub(crate) fn filter(&self, who: &Principal) -> Result<RunFilter, Problem> {
        let wrong = |name: &str, expected: &str, got: &str| {
            let got: String = got.chars().take(80).collect();
            Problem::invalid(
                format!("{name}: expected {expected}, got `{got}`"),
                Vec::new(),
            )
        };
        let mut filter = RunFilter {
            tag: self.tag.clone(),
            owner: who.limited_to(),
            text: self.q.clone().filter(|q| !q.is_empty()),
            top_only: !self.all,
            limit: limit(self.limit, 50, 500)?,
            ..RunFilter::default()
        };
        if filter.text.as_ref().is_some_and(|text| text.len() > 200) {
            return Err(wrong("q", "200 bytes at most", "more"));
        }
        for state in self
            .state
            .iter()
            .flat_map(|s| s.split(','))
            .filter(|s| !s.is_empty())
        {
            let state = state.parse::<RunState>();
            filter.states.push(
                state.map_err(|said| Problem::invalid(format!("state: {said}"), Vec::new()))?,
            );
        }
        if let Some(name) = &self.workflow {
            let name = WorkflowName::new(name);
            filter.workflow = Some(name.map_err(|e| Problem::invalid(e.to_string(), Vec::new()))?);
        }
        for (name, text, slot) in [
            ("created_from", &self.created_from, &mut filter.created_from),
            ("created_to", &self.created_to, &mut filter.created_to),
        ] {
            if let Some(text) = text {
                let at = parse_time(text);
                *slot = Some(
                    at.ok_or_else(|| wrong(name, "a time such as 2026-01-31T09:30:00Z", text))?,
                );
            }
        }
        if let Some(cursor) = &self.cursor {
            let before = cursor.parse().ok().filter(|_| cursor.len() == 36);
            filter.before = Some(
                before.ok_or_else(|| wrong("cursor", "`next_cursor` of another page", cursor))?,
            );
        }
        Ok(filter)
    }
}

/// Lists runs, newest first.
///
/// A search looks at so many runs a page: one with few runs, or none, has a cursor to go on with.
#[utoipa::path(get, path = "/api/v1/runs", tag = "runs", params(ListParams), responses((status = 200, body = Page<Run>)))]
pub(crate) async fn list(
    Reader(who): Reader,
    State(app): State<App>,
    Params(params): Params<ListParams>,
) -> Result<Json<Page<Run>>, Problem> {
    let page = app.engine.page(&params.filter(&who)?).await?;
    let runs = page.runs.into_iter().map(Run::from).collect();
    Ok(Json(Page::new(runs, page.next.map(|id| id.to_string()))))
}

/// A run with its steps.
#[utoipa::path(get, path = "/api/v1/runs/{id}", tag = "runs", params(("id" = String, Path, format = Uuid), Wait), responses((status = 200, body = RunDetail)))]
pub(crate) async fn get(
    Reader(who): Reader,
    State(app): State<App>,
    RunPath(id): RunPath,
    Params(wait): Params<Wait>,
    headers: HeaderMap,
) -> Result<Json<RunDetail>, Problem> {
    let patience = patience(wait.wait.as_deref(), &headers)?;
    if !patience.is_zero()
        && !app.run(&who, id).await?.state.is_terminal()
        && let Ok(ended) = tokio::time::timeout(patience, app.engine.wait(id)).await
    {
        ended?;
    }
    Ok(Json(detail(&app, &who, id).await?))
}

/// A run's own facts and its steps'.
/// A run with its steps, as far as whoever asks may know of it.
async fn detail(app: &App, who: &Principal, id: RunId) -> Result<RunDetail, Problem> {
    let now = app.engine.now();
    app.budget.read(id).await?;
    let (run, steps) = app.engine.detail(id).await?;
    app.check(who, &run)?;
    let name = run.id.to_string();
    let steps = steps
        .into_iter()
        .map(|task| Step::new(&name, task, now))
        .collect();
    Ok(RunDetail {
        run: Run::from(run),
        steps,
    })
}

/// Forgets a run that has ended, and what only it refers to.
#[utoipa::path(delete, path = "/api/v1/runs/{id}", tag = "runs", params(("id" = String, Path, format = Uuid)), responses((status = 204)))]
pub(crate) async fn delete(
    Submitter(who): Submitter,
    State(app): State<App>,
    RunPath(id): RunPath,
) -> Result<StatusCode, Problem> {
    let run = app.run(&who, id).await?;
    if !run.state.is_terminal() {
        return Err(Problem::conflict(format!(
            "run {id} has not ended; cancel it first"
        )));
    }
    admission::delete(&app.engine, (&who).into(), &run).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn act(
    app: &App,
    who: &Principal,
    id: RunId,
    action: RunAction,
) -> Result<Json<Run>, Problem> {
    let run = app.run(who, id).await?;
    admission::act(&app.engine, who.into(), &run, action).await?;
    Ok(Json(app.engine.run(id).await?.into()))
}

/// Cancels a run: at once in the database; what still runs is told to stop.
#[utoipa::path(post, path = "/api/v1/runs/{id}/cancel", tag = "runs", params(("id" = String, Path, format = Uuid)), responses((status = 200, body = Run)))]
pub(crate) async fn cancel(
    Submitter(who): Submitter,
    State(app): State<App>,
    RunPath(id): RunPath,
) -> Result<Json<Run>, Problem> {
    act(&app, &who, id, RunAction::Cancel).await
}

/// Starts no further step of a run; what runs may finish.
#[utoipa::path(post, path = "/api/v1/runs/{id}/pause", tag = "runs", params(("id" = String, Path, format = Uuid)), responses((status = 200, body = Run)))]
pub(crate) async fn pause(
    Submitter(who): Submitter,
    State(app): State<App>,
    RunPath(id): RunPath,
) -> Result<Json<Run>, Problem> {
    act(&app, &who, id, RunAction::Pause).await
}

/// Starts steps of a paused run again.
#[utoipa::path(post, path = "/api/v1/runs/{id}/resume", tag = "runs", params(("id" = String, Path, format = Uuid)), responses((status = 200, body = Run)))]
pub(crate) async fn resume(
    Submitter(who): Submitter,
    State(app): State<App>,
    RunPath(id): RunPath,
) -> Result<Json<Run>, Problem> {
    act(&app, &who, id, RunAction::Resume).await
}

/// From where to try again.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct RetryParams {
    /// Repeat this step and all that follow it, as a new run that takes over what came before; without it,
    /// the failed steps of this run are tried again.
    pub(crate) from: Option<String>,
}

/// Tries the failed steps of an ended run again; or, with `from`, repeats it from a step on as a new run.
#[utoipa::path(post, path = "/api/v1/runs/{id}/retry", tag = "runs", params(("id" = String, Path, format = Uuid), RetryParams),
    responses((status = 200, body = Run, description = "The run goes on"),
              (status = 202, body = Run, description = "A new run begins", headers(("Location" = String)))))]
pub(crate) async fn retry(
    Submitter(who): Submitter,
    State(app): State<App>,
    RunPath(id): RunPath,
    Params(params): Params<RetryParams>,
) -> Result<Response, Problem> {
    let Some(from) = params.from else {
        return Ok(act(&app, &who, id, RunAction::Retry).await?.into_response());
    };
    app.run(&who, id).await?;
    let fresh = admission::repeat(&app, &who, id, &from).await?;
    answer(&app, fresh, Duration::ZERO).await
}

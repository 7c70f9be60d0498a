//! What happened within a run: items, attempts, log lines.

use aquatint_engine::id::RunId;
use aquatint_engine::task::MAX_OUTPUT_BYTES;
use axum::Json;
use axum::extract::Path;
use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::auth::Reader;
use crate::budget::Weight;
use crate::extract::{Params, RunPath, limit};
use crate::problem::Problem;
use crate::wire::{Attempt, LogLine, Page, Step};

pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(items))
        .routes(routes!(attempts))
        .routes(routes!(logs))
}

/// Which items to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ItemParams {
    /// `next_cursor` of the page before.
    cursor: Option<i32>,
    /// At most so many: 1 to 1000, 100 where nothing is said.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
}

/// The items of a mapped step, in order. A page whose outputs are large ends early, with a cursor to go on with.
#[utoipa::path(get, path = "/api/v1/runs/{id}/steps/{step}/items", tag = "runs",
    params(("id" = String, Path, format = Uuid), ("step" = String, Path), ItemParams), responses((status = 200, body = Page<Step>)))]
async fn items(
    Reader(who): Reader,
    State(app): State<App>,
    RunPath(id): RunPath,
    Path((_id, step)): Path<(String, String)>,
    Params(params): Params<ItemParams>,
) -> Result<Json<Page<Step>>, Problem> {
    app.run(&who, id).await?;
    items_of(&app, id, &step, &params).await
}

/// Items are read so many at a time, whatever the page: each may have a large output.
const PORTION: u32 = 100;

/// A page ends early where its outputs have so many bytes.
const PAGE_BYTES: usize = 8_000_000;

/// A page of the items of a mapped step. One with large outputs has fewer than were asked for, and a cursor.
pub(crate) async fn items_of(
    app: &App,
    run: RunId,
    step: &str,
    params: &ItemParams,
) -> Result<Json<Page<Step>>, Problem> {
    let limit = limit(params.limit, 100, 1000)?;
    let plan = app.engine.plan(run).await?;
    let index = plan
        .step_index(step)
        .ok_or_else(|| Problem::not_found("step", step))?;
    let most = limit.min(PORTION) as usize * MAX_OUTPUT_BYTES;
    app.budget.reserve(most).await?;
    let mut after = params.cursor.map_or(-1, i64::from);
    let (mut found, mut bytes, mut is_full) = (Vec::new(), 0, true);
    let now = app.engine.now();
    let name = run.to_string();
    let mut last = None;
    while is_full && found.len() < limit as usize && bytes < PAGE_BYTES {
        let wanted = (limit - u32::try_from(found.len()).unwrap_or(limit)).min(PORTION);
        let portion = app.engine.items(run, index, after, wanted).await?;
        is_full = portion.len() == wanted as usize;
        last = portion.last().and_then(|task| task.item).or(last);
        after = last.map_or(after, i64::from);
        let outputs = portion.iter().filter_map(|task| task.output.as_ref());
        bytes += outputs.map(|o| Weight::of_value(o).bytes()).sum::<usize>();
        found.extend(portion.into_iter().map(|t| Step::new(&name, t, now)));
    }
    let next = last.filter(|_| is_full).map(|item| item.to_string());
    Ok(Json(Page::new(found, next)))
}

/// The attempts of a run that have ended, 1,000 at most.
#[utoipa::path(get, path = "/api/v1/runs/{id}/attempts", tag = "runs", params(("id" = String, Path, format = Uuid)), responses((status = 200, body = Page<Attempt>)))]
async fn attempts(
    Reader(who): Reader,
    State(app): State<App>,
    RunPath(id): RunPath,
) -> Result<Json<Page<Attempt>>, Problem> {
    app.run(&who, id).await?;
    let found = app.engine.attempts(id).await?;
    Ok(Json(Page::whole(
        found.into_iter().map(Attempt::from).collect(),
    )))
}

/// Which log lines to show.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct LogParams {
    /// Only of this step.
    step: Option<String>,
    /// Only of this attempt.
    attempt: Option<i64>,
    /// Only the last so many, 1,000 where nothing is said.
    #[param(minimum = 1, maximum = 10000)]
    tail: Option<usize>,
}

/// The log lines of a run, oldest first.
#[utoipa::path(get, path = "/api/v1/runs/{id}/logs", tag = "runs", params(("id" = String, Path, format = Uuid), LogParams), responses((status = 200, body = Page<LogLine>)))]
async fn logs(
    Reader(who): Reader,
    State(app): State<App>,
    RunPath(id): RunPath,
    Params(params): Params<LogParams>,
) -> Result<Json<Page<LogLine>>, Problem> {
    app.run(&who, id).await?;
    let tail = params.tail.unwrap_or(1_000);
    if !(1..=10_000).contains(&tail) {
        return Err(Problem::invalid(
            format!("tail: expected 1 to 10000, got `{tail}`"),
            Vec::new(),
        ));
    }
    let mut lines: Vec<LogLine> = app
        .engine
        .logs(id)
        .await?
        .into_iter()
        .map(LogLine::from)
        .collect();
    lines.retain(|line| {
        params.step.as_ref().is_none_or(|step| line.step == *step)
            && params.attempt.is_none_or(|attempt| line.attempt == attempt)
    });
    let first = lines.len().saturating_sub(tail);
    Ok(Json(Page::whole(lines.split_off(first))))
}

//! Schedules: what begins by itself, and when.

use aquatint_engine::engine::ScheduleView;
use aquatint_engine::schedule::{
    Firing, Happened, Misfire, Overlap, Schedule, Timing, TimingError,
};
use aquatint_engine::time::Timestamp;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::admission;
use crate::app::App;
use crate::attachments;
use crate::auth::{Operator, Planner, Principal, Reader};
use crate::extract::{Body, Params};
use crate::problem::Problem;
use crate::wire::{Page, Run, Time, parse_time};

pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(times))
        .routes(routes!(get, put, remove))
        .routes(routes!(pause))
        .routes(routes!(resume))
        .routes(routes!(trigger))
        .routes(routes!(backfill))
}

/// What a tick does while the run before it is still under way.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OverlapPolicy {
    /// Nothing.
    #[default]
    Skip,
    /// It waits for its turn.
    Queue,
    /// It cancels the run before it, and begins.
    Cancel,
    /// It begins all the same.
    Allow,
}

/// What becomes of ticks that nobody saw in time.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MisfirePolicy {
    /// They are left out.
    Skip,
    /// One run stands for all of them.
    #[default]
    Once,
    /// Each gets its run, as far back as the window goes.
    CatchUp,
}

/// What a schedule says.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewSchedule {
    /// The workflow it runs.
    workflow: String,
    /// Minute, hour, day of month, month, day of week, as in `30 3 * * 1-5`; with a sixth field first,
    /// seconds; or `@daily`, or `@every 90s`.
    cron: String,
    /// The IANA time zone that cron goes by; UTC, if left out.
    #[serde(default)]
    zone: Option<String>,
    /// What its runs are given; `${{ run.scheduled_at }}` is the time it was due.
    #[serde(default)]
    inputs: Map<String, Value>,
    #[serde(default)]
    overlap: OverlapPolicy,
    #[serde(default)]
    misfire: MisfirePolicy,
    /// How far back `catch_up` goes, seconds.
    #[serde(default = "an_hour")]
    #[schema(minimum = 1, maximum = 31622400, default = 3600)]
    window_seconds: u32,
    /// Ticks are spread over so many seconds.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 86400, default = 0)]
    jitter_seconds: u32,
    /// Added to each step's priority.
    #[serde(default)]
    #[schema(minimum = -1000, maximum = 1000, default = 0)]
    priority: i64,
    #[serde(default)]
    description: Option<String>,
}

fn an_hour() -> u32 {
    3_600
}

/// One tick and what it came to.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Tick {
    /// When it was due; null where somebody asked for it.
    due: Option<Time>,
    at: Time,
    /// `started`, `skipped`, `missed` or `refused`.
    outcome: &'static str,
    /// The run that began.
    run: Option<String>,
    /// Why none began.
    reason: Option<String>,
}

impl From<Firing> for Tick {
    fn from(firing: Firing) -> Self {
        let (outcome, run, reason) = match firing.happened {
            Happened::Started { run } => ("started", Some(run.to_string()), None),
            Happened::Skipped => ("skipped", None, None),
            Happened::Missed => ("missed", None, None),
            Happened::Refused { reason } => ("refused", None, Some(reason)),
        };
        Self {
            due: firing.due.map(Time),
            at: Time(firing.at),
            outcome,
            run,
            reason,
        }
    }
}

/// What begins by itself, and how that goes.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Schedule)]
pub(crate) struct Told {
    id: String,
    workflow: String,
    /// As given.
    cron: String,
    zone: Option<String>,
    /// In words.
    describes: String,
    description: Option<String>,
    inputs: Value,
    overlap: OverlapPolicy,
    misfire: MisfirePolicy,
    window_seconds: u64,
    jitter_seconds: u64,
    priority: i64,
    /// Whether a definition says it: then it is changed there.
    is_defined: bool,
    owner: Option<String>,
    paused: bool,
    /// When it is due next; null while it is paused.
    due_at: Option<Time>,
    /// When that fires: later than it is due where ticks are spread.
    fires_at: Option<Time>,
    /// The next five due times, with the offset of its time zone.
    upcoming: Vec<String>,
    /// How many ticks wait for their turn.
    waiting: usize,
    /// What its last ticks came to, newest first.
    recent: Vec<Tick>,
    started: u64,
    skipped: u64,
    missed: u64,
    refused: u64,
    created_at: Time,
    updated_at: Time,
}

impl From<ScheduleView> for Told {
    fn from(view: ScheduleView) -> Self {
        let says = view.schedule;
        Self {
            id: view.id,
            workflow: says.workflow.to_string(),
            cron: says.timing.expression(),
            zone: says.timing.zone().map(str::to_owned),
            describes: says.timing.describe(),
            description: says.description,
            inputs: says.inputs,
            overlap: match says.overlap {
                Overlap::Skip => OverlapPolicy::Skip,
                Overlap::Queue => OverlapPolicy::Queue,
                Overlap::Cancel => OverlapPolicy::Cancel,
                Overlap::Allow => OverlapPolicy::Allow,
            },
            misfire: match says.misfire {
                Misfire::Skip => MisfirePolicy::Skip,
                Misfire::Once => MisfirePolicy::Once,
                Misfire::CatchUp => MisfirePolicy::CatchUp,
            },
            window_seconds: says.window_ms / 1_000,
            jitter_seconds: says.jitter_ms / 1_000,
            priority: says.priority,
            is_defined: view.is_defined,
            owner: view.owner,
            paused: view.paused,
            due_at: view.due.map(Time),
            fires_at: view.fires_at.map(Time),
            upcoming: view.upcoming,
            waiting: view.waiting.len(),
            recent: view.recent.into_iter().map(Tick::from).collect(),
            started: view.counts.started,
            skipped: view.counts.skipped,
            missed: view.counts.missed,
            refused: view.counts.refused,
            created_at: Time(view.created_at),
            updated_at: Time(view.updated_at),
        }
    }
}

fn wrong_time(error: &TimingError) -> Problem {
    let place = if error.is_zone { "/zone" } else { "/cron" };
    let help = error.help.as_ref().map(|help| format!(" ({help})"));
    Problem::at(
        place,
        format!("{}{}", error.message, help.unwrap_or_default()),
    )
}

/// Whether a schedule is theirs to see.
fn may_see(who: &Principal, view: &ScheduleView) -> bool {
    who.sees_all() || view.owner.is_some() && view.owner == who.key
}

async fn find(app: &App, who: &Principal, id: &str) -> Result<ScheduleView, Problem> {
    let view = app.engine.schedule(id).await?;
    if may_see(who, &view) {
        Ok(view)
    } else {
        Err(Problem::not_found("schedule", id))
    }
}

/// Every schedule, by name.
#[utoipa::path(get, path = "/api/v1/schedules", tag = "schedules", responses((status = 200, body = Page<Told>)))]
async fn list(Reader(who): Reader, State(app): State<App>) -> Result<Json<Page<Told>>, Problem> {
    let all = app.engine.schedules().await?;
    let seen = all.into_iter().filter(|view| may_see(&who, view));
    Ok(Json(Page::whole(seen.map(Told::from).collect())))
}

/// A schedule.
#[utoipa::path(get, path = "/api/v1/schedules/{id}", tag = "schedules", params(("id" = String, Path)), responses((status = 200, body = Told)))]
async fn get(
    Reader(who): Reader,
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Json<Told>, Problem> {
    Ok(Json(find(&app, &who, &id).await?.into()))
}

/// Makes a schedule, or changes one. One that a definition says is changed there.
///
/// Takes the scopes `operate` and `submit`, and whatever its workflow takes.
#[utoipa::path(put, path = "/api/v1/schedules/{id}", tag = "schedules", params(("id" = String, Path)), request_body = NewSchedule,
    responses((status = 200, body = Told), (status = 201, body = Told)))]
async fn put(
    Planner(who): Planner,
    State(app): State<App>,
    Path(id): Path<String>,
    Body(new): Body<NewSchedule>,
) -> Result<Response, Problem> {
    if let Ok(view) = app.engine.schedule(&id).await
        && !may_see(&who, &view)
    {
        return Err(Problem::conflict(format!("the name `{id}` is taken")));
    }
    let timing = Timing::parse(&new.cron, new.zone.as_deref()).map_err(|e| wrong_time(&e))?;
    let definition = app.engine.library().get(&new.workflow)?;
    let mut schedule = Schedule::new(definition.plan.name.clone(), timing);
    schedule.inputs = Value::Object(new.inputs);
    attachments::checked(&app, &who, &mut schedule.inputs).await?;
    schedule.overlap = match new.overlap {
        OverlapPolicy::Skip => Overlap::Skip,
        OverlapPolicy::Queue => Overlap::Queue,
        OverlapPolicy::Cancel => Overlap::Cancel,
        OverlapPolicy::Allow => Overlap::Allow,
    };
    schedule.misfire = match new.misfire {
        MisfirePolicy::Skip => Misfire::Skip,
        MisfirePolicy::Once => Misfire::Once,
        MisfirePolicy::CatchUp => Misfire::CatchUp,
    };
    for (pointer, value, range) in [
        (
            "/window_seconds",
            i64::from(new.window_seconds),
            1..=31_622_400,
        ),
        ("/jitter_seconds", i64::from(new.jitter_seconds), 0..=86_400),
        ("/priority", new.priority, -1_000..=1_000),
    ] {
        if !range.contains(&value) {
            let (min, max) = range.into_inner();
            let wrong = format!("expected {min} to {max}, got {value}");
            return Err(Problem::at(pointer, wrong));
        }
    }
    if new
        .description
        .as_ref()
        .is_some_and(|text| text.len() > 1_000)
    {
        return Err(Problem::at("/description", "expected 1,000 bytes at most"));
    }
    schedule.window_ms = u64::from(new.window_seconds) * 1_000;
    schedule.jitter_ms = u64::from(new.jitter_seconds) * 1_000;
    schedule.priority = new.priority;
    schedule.description = new.description;
    let is_new = admission::put_schedule(&app, &who, &id, schedule).await?;
    let told = Told::from(app.engine.schedule(&id).await?);
    let status = if is_new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok((status, Json(told)).into_response())
}

/// Forgets a schedule; runs that have begun go on.
#[utoipa::path(delete, path = "/api/v1/schedules/{id}", tag = "schedules", params(("id" = String, Path)), responses((status = 204)))]
async fn remove(
    Operator(who): Operator,
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    find(&app, &who, &id).await?;
    app.engine.forget_schedule(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lets a schedule's ticks pass without a run.
#[utoipa::path(post, path = "/api/v1/schedules/{id}/pause", tag = "schedules", params(("id" = String, Path)), responses((status = 200, body = Told)))]
async fn pause(
    Operator(who): Operator,
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Json<Told>, Problem> {
    find(&app, &who, &id).await?;
    Ok(Json(app.engine.pause_schedule(&id).await?.into()))
}

/// Heeds a schedule's ticks again, from the next one on.
#[utoipa::path(post, path = "/api/v1/schedules/{id}/resume", tag = "schedules", params(("id" = String, Path)), responses((status = 200, body = Told)))]
async fn resume(
    Operator(who): Operator,
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Json<Told>, Problem> {
    find(&app, &who, &id).await?;
    Ok(Json(app.engine.resume_schedule(&id).await?.into()))
}

/// Begins a run of a schedule now, whatever its timing says and whatever is under way.
///
/// Takes the scopes `operate` and `submit`, and whatever its workflow takes.
#[utoipa::path(post, path = "/api/v1/schedules/{id}/trigger", tag = "schedules", params(("id" = String, Path)), responses((status = 202, body = Run)))]
async fn trigger(
    Planner(who): Planner,
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    find(&app, &who, &id).await?;
    let run = admission::trigger_schedule(&app, &who, &id).await?;
    let run = Run::from(app.engine.run(run).await?);
    let place = format!("/api/v1/runs/{}", run.id);
    let headers = [(axum::http::header::LOCATION, place)];
    Ok((StatusCode::ACCEPTED, headers, Json(run)).into_response())
}

/// A time that has passed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Range {
    /// RFC 3339 in UTC, or a date.
    from: String,
    /// Now, if left out.
    #[serde(default)]
    until: Option<String>,
}

/// How much is to be made up for.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Waiting {
    /// Ticks that wait for their turn.
    waiting: usize,
}

/// Makes up for the ticks of a time that has passed, one after the other. A tick that has its run gets no
/// second one.
///
/// Takes the scopes `operate` and `submit`, and whatever its workflow takes.
#[utoipa::path(post, path = "/api/v1/schedules/{id}/backfill", tag = "schedules", params(("id" = String, Path)), request_body = Range,
    responses((status = 202, body = Waiting)))]
async fn backfill(
    Planner(who): Planner,
    State(app): State<App>,
    Path(id): Path<String>,
    Body(range): Body<Range>,
) -> Result<Response, Problem> {
    find(&app, &who, &id).await?;
    let time = |pointer: &str, text: &str| -> Result<Timestamp, Problem> {
        parse_time(text).ok_or_else(|| {
            Problem::at(
                pointer,
                "expected a time such as 2026-03-01T09:30:00Z, or a date",
            )
        })
    };
    let from = time("/from", &range.from)?;
    let until = match &range.until {
        Some(text) => time("/until", text)?,
        None => app.engine.now(),
    };
    let waiting = admission::backfill_schedule(&app, &who, &id, from, until).await?;
    Ok((StatusCode::ACCEPTED, Json(Waiting { waiting })).into_response())
}

/// A time to try out.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct When {
    /// As in `30 3 * * 1-5`, `@daily` or `@every 90s`.
    cron: String,
    /// An IANA time zone; UTC, if left out.
    #[serde(default)]
    zone: Option<String>,
}

/// When something would be due.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Times {
    /// In words.
    describes: String,
    /// The next five times, with the offset of the time zone.
    upcoming: Vec<String>,
}

/// When a cron expression or an interval would fire next.
#[utoipa::path(get, path = "/api/v1/schedule-times", tag = "schedules", params(When), responses((status = 200, body = Times)))]
async fn times(
    _who: Reader,
    State(app): State<App>,
    Params(when): Params<When>,
) -> Result<Json<Times>, Problem> {
    let timing = Timing::parse(&when.cron, when.zone.as_deref()).map_err(|e| wrong_time(&e))?;
    let now = app.engine.now();
    let clockwork = timing.clockwork(now).map_err(|e| wrong_time(&e))?;
    let upcoming = clockwork.upcoming(now, 5);
    Ok(Json(Times {
        describes: timing.describe(),
        upcoming: upcoming.into_iter().map(|at| clockwork.local(at)).collect(),
    }))
}

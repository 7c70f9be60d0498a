//! Health as it is and was, and what is wrong.

use std::time::Duration;

use aquatint_engine::alert::{Alert, Severity};
use aquatint_engine::health::{Check, HealthReport, Overall, Status};
use aquatint_engine::time::Timestamp;
use aquatint_engine::{RunFilter, RunState, Submission};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::admission;
use crate::app::App;
use crate::auth::{Operator, Reader};
use crate::extract::Body;
use crate::problem::Problem;
use crate::wire::{Page, Run, Time};

/// The workflow whose runs are the history of health.
const HEALTH_CHECK: &str = "health-check";
/// What can be begun by hand.
const CLEANERS: [&str; 3] = ["clean-up", "emergency-clean-up", HEALTH_CHECK];
/// How far back the history goes.
const REMEMBERED: u32 = 100;
/// A silence is at most this long.
const LONGEST_SILENCE: Duration = Duration::from_secs(30 * 24 * 3_600);

pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(health))
        .routes(routes!(history))
        .routes(routes!(maintain))
        .routes(routes!(list))
        .routes(routes!(silence))
}

/// One thing looked at.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HealthCheck {
    /// `disk`, `memory`, `database`, `redis`, `clock`, `workers`, `queues` or `schedules`.
    name: String,
    /// `ok`, `warning` or `error`.
    status: &'static str,
    message: String,
    /// In figures.
    detail: Value,
}

/// Whether the installation is well.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = InstallationHealth)]
pub(crate) struct Health {
    /// `healthy`, `degraded` or `critical`.
    status: &'static str,
    checked_at: Time,
    /// The machine that looked: disk, memory and clock are its own.
    host: String,
    checks: Vec<HealthCheck>,
}

impl From<HealthReport> for Health {
    fn from(report: HealthReport) -> Self {
        let check = |check: Check| HealthCheck {
            name: check.name,
            status: match check.status {
                Status::Ok => "ok",
                Status::Warning => "warning",
                Status::Error => "error",
            },
            message: check.message,
            detail: check.detail,
        };
        Self {
            status: match report.status {
                Overall::Healthy => "healthy",
                Overall::Degraded => "degraded",
                Overall::Critical => "critical",
            },
            checked_at: Time(Timestamp(report.checked_at_ms)),
            host: report.host,
            checks: report.checks.into_iter().map(check).collect(),
        }
    }
}

/// Looks whether the installation is well: disk, memory, database, Redis, clock, workers, queues, schedules.
#[utoipa::path(get, path = "/api/v1/health", tag = "health", responses((status = 200, body = Health)))]
async fn health(_who: Reader, State(app): State<App>) -> Json<Health> {
    Json(app.engine.health(&app.config.health).await.into())
}

/// What a look of the past came to.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PastHealth {
    /// The run that looked.
    run: String,
    at: Time,
    /// `healthy`, `degraded` or `critical`; null where the look itself failed or is under way.
    status: Option<String>,
    checks: Value,
}

/// What the last hundred looks came to, newest first: runs of `health-check`.
#[utoipa::path(get, path = "/api/v1/health/history", tag = "health", responses((status = 200, body = Page<PastHealth>)))]
async fn history(_who: Reader, State(app): State<App>) -> Result<Json<Page<PastHealth>>, Problem> {
    let filter = RunFilter {
        workflow: HEALTH_CHECK.parse().ok(),
        states: vec![RunState::Succeeded, RunState::Failed],
        limit: REMEMBERED,
        ..RunFilter::default()
    };
    let mut past = Vec::new();
    for found in app.engine.runs(&filter).await? {
        let Ok(run) = app.engine.run(found.id).await else {
            continue;
        };
        let mut output = run.output.unwrap_or_default();
        past.push(PastHealth {
            run: run.id.to_string(),
            at: Time(run.created_at),
            status: output["status"].as_str().map(str::to_owned),
            checks: output["checks"].take(),
        });
    }
    Ok(Json(Page::whole(past)))
}

/// Begins `clean-up`, `emergency-clean-up` or `health-check` now.
#[utoipa::path(post, path = "/api/v1/maintenance/{workflow}", tag = "health", params(("workflow" = String, Path)),
    responses((status = 202, body = Run)))]
async fn maintain(
    Operator(who): Operator,
    State(app): State<App>,
    Path(workflow): Path<String>,
) -> Result<Response, Problem> {
    if !CLEANERS.contains(&workflow.as_str()) {
        return Err(Problem::not_found("maintenance workflow", &workflow));
    }
    let submission = Submission::new(workflow, Value::Null);
    let submitted = admission::submit(&app, &who, submission).await?;
    let run = Run::from(app.engine.run(submitted.run).await?);
    let place = format!("/api/v1/runs/{}", run.id);
    let headers = [(header::LOCATION, place)];
    Ok((StatusCode::ACCEPTED, headers, Json(run)).into_response())
}

/// Something that is wrong.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Alert)]
pub(crate) struct Told {
    /// By which rule.
    rule: String,
    /// What it is wrong with: a queue, a worker, a run.
    subject: String,
    /// The machine whose own trouble it is; null where every machine finds the same.
    host: Option<String>,
    /// `warning` or `critical`.
    severity: &'static str,
    message: String,
    since: Time,
    /// When somebody was told last; null where nobody was yet.
    told_at: Option<Time>,
    told: u32,
}

impl From<Alert> for Told {
    fn from(alert: Alert) -> Self {
        Self {
            rule: alert.rule,
            subject: alert.subject,
            host: alert.host,
            severity: match alert.severity {
                Severity::Warning => "warning",
                Severity::Critical => "critical",
            },
            message: alert.message,
            since: Time(alert.since),
            told_at: alert.told_at.map(Time),
            told: alert.told,
        }
    }
}

/// What is wrong, as schedulers last saw it.
#[utoipa::path(get, path = "/api/v1/alerts", tag = "health", responses((status = 200, body = Page<Told>)))]
async fn list(_who: Reader, State(app): State<App>) -> Result<Json<Page<Told>>, Problem> {
    let alerts = app.engine.alerts().await?;
    Ok(Json(Page::whole(
        alerts.into_iter().map(Told::from).collect(),
    )))
}

/// For how long nobody is to be told.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewSilence {
    /// As in `2h`; thirty days at most, `0s` ends it.
    lasts: String,
}

/// A rule of which nobody is told.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Silence {
    rule: String,
    until: Time,
}

/// Tells nobody of what a rule finds, or `all` of them, for a while; what still counts then is told.
#[utoipa::path(put, path = "/api/v1/alerts/silences/{rule}", tag = "health", params(("rule" = String, Path)), request_body = NewSilence,
    responses((status = 200, body = Silence)))]
async fn silence(
    _who: Operator,
    State(app): State<App>,
    Path(rule): Path<String>,
    Body(new): Body<NewSilence>,
) -> Result<Json<Silence>, Problem> {
    if rule != "all" && !app.config.alert_rules.contains(&rule) {
        return Err(Problem::not_found("alert rule", &rule));
    }
    let lasts = humantime::parse_duration(&new.lasts).ok();
    let lasts = lasts
        .filter(|lasts| *lasts <= LONGEST_SILENCE)
        .ok_or_else(|| {
            Problem::at(
                "/lasts",
                "expected a duration such as 2h, of thirty days at most",
            )
        })?;
    let until = app.engine.now().after(lasts);
    app.engine.silence(&rule, until).await?;
    Ok(Json(Silence {
        rule,
        until: Time(until),
    }))
}

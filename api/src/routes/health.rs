//! Whether this process lives, whether it can serve, and what it counts.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::auth::Reader;
use crate::problem::Problem;

/// How long the database may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// What needs no key: it tells nothing of anybody's work.
pub(crate) fn open_router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(livez))
        .routes(routes!(readyz))
}

pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(metrics))
}

/// Whether this process lives: 200, or 503 when it can do nothing until it is started anew.
#[utoipa::path(get, path = "/livez", tag = "health", responses((status = 200, body = String), (status = 503, body = String)))]
async fn livez(State(app): State<App>) -> (StatusCode, &'static str) {
    if app.engine.has_failed() {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "the writer has failed: restart this process",
        )
    } else {
        (StatusCode::OK, "ok")
    }
}

/// Whether this process can serve.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Ready {
    ready: bool,
    /// `ok`, or what is wrong, of each thing it needs.
    database: String,
    /// Null where there is no Redis.
    redis: Option<String>,
}

/// Whether this process can serve: 200, or 503.
///
/// An absent Redis slows work down and stops nothing, so that it does not count.
#[utoipa::path(get, path = "/readyz", tag = "health", responses((status = 200, body = Ready), (status = 503, body = Ready)))]
async fn readyz(State(app): State<App>) -> Response {
    let asked = tokio::time::timeout(PATIENCE, app.engine.is_busy()).await;
    let database = match asked {
        Ok(Ok(_)) => "ok",
        Ok(Err(_)) => "error",
        Err(_) => "no answer in time",
    };
    let redis = app.engine.doorbell().map(|health| {
        if health.answers() {
            "ok".to_owned()
        } else {
            "away; work goes on at the pace of a slow poll".to_owned()
        }
    });
    let ready = database == "ok" && !app.stopping.is_cancelled();
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let answer = Ready {
        ready,
        database: database.to_owned(),
        redis,
    };
    (status, Json(answer)).into_response()
}

/// What this process counts, and the queues as they are, for Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "health", responses((status = 200, body = String, content_type = "text/plain")))]
async fn metrics(_who: Reader, State(app): State<App>) -> Result<Response, Problem> {
    let Some(handle) = &app.metrics else {
        return Err(Problem::not_implemented("this process counts nothing"));
    };
    let now = app.engine.now();
    for queue in app.engine.queues().await? {
        let name = queue.name.to_string();
        let age_ms = queue
            .oldest_ready_at
            .map_or(0, |at| now.since_ms(at).max(0));
        for (metric, value) in [
            ("aquatint_queue_length", queue.ready),
            ("aquatint_queue_waiting", queue.waiting),
            ("aquatint_tasks_active", queue.running),
            ("aquatint_queue_slots", u64::from(queue.slots)),
            ("aquatint_queue_workers", u64::from(queue.workers)),
            ("aquatint_queue_paused", u64::from(queue.paused)),
        ] {
            #[expect(
                clippy::cast_precision_loss,
                reason = "counts of what waits are far below 2^52"
            )]
            metrics::gauge!(metric, "queue" => name.clone()).set(value as f64);
        }
        #[expect(clippy::cast_precision_loss, reason = "an age in ms is far below 2^52")]
        metrics::gauge!("aquatint_queue_oldest_age_seconds", "queue" => name)
            .set(age_ms as f64 / 1000.0);
    }
    let report = app.engine.health(&app.config.health).await;
    metrics::gauge!("aquatint_health_status").set(f64::from(report.status as u8));
    for check in report.checks {
        if check.name == "schedules" {
            let late = check.detail.as_array().map_or(0, Vec::len);
            #[expect(clippy::cast_precision_loss, reason = "schedules are few")]
            metrics::gauge!("aquatint_schedule_overdue").set(late as f64);
        }
        metrics::gauge!("aquatint_health_check_status", "check" => check.name)
            .set(f64::from(check.status as u8));
    }
    #[expect(clippy::cast_precision_loss, reason = "alerts are few")]
    metrics::gauge!("aquatint_alerts_firing").set(app.engine.alerts().await?.len() as f64);
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], handle.render()).into_response())
}

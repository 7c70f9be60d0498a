//! Bulk actions: the same thing done to every run that fits, in the background.
//!
//! A job is a record with a cursor. It goes down the list a page at a time and keeps the cursor after
//! each, so that whoever takes it over, after a crash or a restart, repeats a page at most; to
//! cancel what is cancelled changes nothing. Two servers that take over the same job at the same
//! moment meet at the record's revision: one of them lets go.

use std::time::Duration;

use aquatint_engine::id::RunId;
use aquatint_engine::store::{Record, RunView, StoreError};
use aquatint_engine::time::Timestamp;
use aquatint_engine::{EngineError, Permission, RunAction, RunFilter};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::runs::ListParams;
use crate::admission::{self, Actor};
use crate::app::App;
use crate::auth::{self, Reader, Submitter};
use crate::extract::Body;
use crate::problem::Problem;
use crate::wire::Time;

const KIND: &str = "job";

/// Runs a page.
const PAGE: u32 = 200;

/// A job that was not heard of for so long is taken over.
const FORSAKEN_MS: i64 = 15_000;

/// How often to look for forsaken jobs.
const LOOK: Duration = Duration::from_secs(5);

pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(submit))
        .routes(routes!(get))
}

/// What is to be done to each run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum BulkAction {
    Cancel,
    Pause,
    Resume,
    Retry,
    Delete,
}

/// The same thing, to be done to every run that fits.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewJob {
    action: BulkAction,
    /// Which runs; at least one condition.
    filter: Filter,
}

/// Which runs: every condition must hold.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Filter {
    /// In these states, as in `failed,cancelled`.
    state: Option<String>,
    /// Of this workflow.
    workflow: Option<String>,
    /// Submitted with this tag.
    tag: Option<String>,
    /// With these words in their id, workflow, tags, inputs or failure.
    q: Option<String>,
    /// Created at or after this moment (RFC 3339, UTC).
    created_from: Option<String>,
    /// Created before this moment (RFC 3339, UTC).
    created_to: Option<String>,
    /// Every run there is, where no other condition is given.
    #[serde(default)]
    everything: bool,
}

impl Filter {
    fn is_empty(&self) -> bool {
        let said = [
            &self.state,
            &self.workflow,
            &self.tag,
            &self.q,
            &self.created_from,
            &self.created_to,
        ];
        said.iter().all(|condition| condition.is_none())
    }

    fn list_params(&self) -> ListParams {
        ListParams {
            state: self.state.clone(),
            workflow: self.workflow.clone(),
            tag: self.tag.clone(),
            q: self.q.clone(),
            created_from: self.created_from.clone(),
            created_to: self.created_to.clone(),
            all: false,
            cursor: None,
            limit: Some(PAGE),
        }
    }
}

/// A job, as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Kept {
    action: BulkAction,
    filter: Filter,
    /// Whose runs, where not everybody's.
    owner: Option<String>,
    asked_by: Option<String>,
    /// What whoever asked might do then.
    #[serde(default)]
    permission: Permission,
    /// Runs submitted later are not meant.
    created_to_ms: i64,
    cursor: Option<RunId>,
    done: u64,
    refused: u64,
    finished: bool,
}

/// A bulk action under way.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Job {
    id: String,
    action: BulkAction,
    /// `running` or `finished`.
    state: String,
    /// Runs it was done to.
    done: u64,
    /// Runs whose state, or whose workflow, did not allow it.
    refused: u64,
    created_at: Time,
    updated_at: Time,
}

impl Job {
    fn new(record: &Record, kept: &Kept) -> Self {
        Self {
            id: record.id.clone(),
            action: kept.action,
            state: if kept.finished { "finished" } else { "running" }.to_owned(),
            done: kept.done,
            refused: kept.refused,
            created_at: Time(record.created_at),
            updated_at: Time(record.updated_at),
        }
    }
}

/// Does the same thing to every run that fits, in the background.
#[utoipa::path(post, path = "/api/v1/runs/bulk", tag = "runs", request_body = NewJob, responses((status = 202, body = Job, headers(("Location" = String)))))]
async fn submit(
    Submitter(who): Submitter,
    State(app): State<App>,
    Body(new): Body<NewJob>,
) -> Result<Response, Problem> {
    if new.filter.is_empty() && !new.filter.everything {
        return Err(Problem::at(
            "/filter",
            "say which runs; `everything: true` where all are meant",
        ));
    }
    // Whatever is wrong with it is told now, not in the background.
    new.filter.list_params().filter(&who)?;
    let kept = Kept {
        action: new.action,
        filter: new.filter,
        owner: who.limited_to(),
        asked_by: who.key.clone(),
        permission: who.permission(),
        created_to_ms: app.engine.now().0,
        cursor: None,
        done: 0,
        refused: 0,
        finished: false,
    };
    let id = uuid::Uuid::new_v4().simple().to_string();
    let body = serde_json::to_value(&kept).expect("a job is plain JSON");
    app.engine.keep(KIND, &id, &body, Some(0)).await?;
    let record = app
        .engine
        .record(KIND, &id)
        .await?
        .ok_or_else(Problem::internal)?;
    let job = Job::new(&record, &kept);
    tokio::spawn(carry_out(app.clone(), record));
    let location = format!("/api/v1/jobs/{id}");
    Ok((
        StatusCode::ACCEPTED,
        [(header::LOCATION, location)],
        Json(job),
    )
        .into_response())
}

/// A bulk action, and how far it is.
#[utoipa::path(get, path = "/api/v1/jobs/{id}", tag = "runs", params(("id" = String, Path)), responses((status = 200, body = Job)))]
async fn get(
    Reader(who): Reader,
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Json<Job>, Problem> {
    let record = app.engine.record(KIND, &id).await?;
    let found = record.and_then(|record| {
        let kept: Kept = serde_json::from_value(record.body.clone()).ok()?;
        (who.sees_all() || kept.asked_by == who.key).then_some((record, kept))
    });
    let (record, kept) = found.ok_or_else(|| Problem::not_found("job", &id))?;
    Ok(Json(Job::new(&record, &kept)))
}

/// Goes on with a job to its end, unless somebody else does.
async fn carry_out(app: App, record: Record) {
    let id = record.id.clone();
    match go_through(&app, record).await {
        Ok(()) | Err(EngineError::Conflict { .. }) => {}
        Err(error) => {
            tracing::warn!(job.id = %id, %error, "a bulk action stands still; it is taken up again");
        }
    }
}

async fn go_through(app: &App, record: Record) -> Result<(), EngineError> {
    let Ok(mut kept) = serde_json::from_value::<Kept>(record.body) else {
        tracing::error!(job.id = %record.id, "a job's record cannot be read");
        return Ok(());
    };
    let mut revision = record.revision;
    while !kept.finished && !app.stopping.is_cancelled() {
        // What a key asked for ends with it.
        if let Some(key) = &kept.asked_by
            && app.engine.record(auth::KIND, key).await?.is_none()
        {
            tracing::info!(job.id = %record.id, "a bulk action ends with the key that asked for it");
            app.engine.forget(KIND, &record.id, Some(revision)).await?;
            return Ok(());
        }
        let Some(filter) = filter(&kept) else {
            tracing::error!(job.id = %record.id, "a job's filter cannot be read");
            return Ok(());
        };
        let page = app.engine.page(&filter).await?;
        for run in &page.runs {
            let actor = Actor {
                key: kept.asked_by.as_deref(),
                permission: kept.permission,
            };
            match act(app, actor, run, kept.action).await {
                Ok(()) => kept.done += 1,
                Err(
                    EngineError::Refused(_)
                    | EngineError::NotPermitted { .. }
                    | EngineError::Store(StoreError::NotFound { .. }),
                ) => {
                    kept.refused += 1;
                }
                Err(error) => return Err(error),
            }
        }
        kept.cursor = page.next;
        kept.finished = page.next.is_none();
        let body = serde_json::to_value(&kept).expect("a job is plain JSON");
        revision = app
            .engine
            .keep(KIND, &record.id, &body, Some(revision))
            .await?;
    }
    Ok(())
}

fn filter(kept: &Kept) -> Option<RunFilter> {
    let everybody = crate::auth::Principal::system();
    let mut filter = kept.filter.list_params().filter(&everybody).ok()?;
    let later = Timestamp(kept.created_to_ms + 1);
    filter.created_to = Some(filter.created_to.map_or(later, |at| at.min(later)));
    filter.owner.clone_from(&kept.owner);
    filter.before = kept.cursor;
    Some(filter)
}

async fn act(
    app: &App,
    actor: Actor<'_>,
    run: &RunView,
    action: BulkAction,
) -> Result<(), EngineError> {
    let action = match action {
        BulkAction::Cancel => RunAction::Cancel,
        BulkAction::Pause => RunAction::Pause,
        BulkAction::Resume => RunAction::Resume,
        BulkAction::Retry => RunAction::Retry,
        BulkAction::Delete => return admission::delete(&app.engine, actor, run).await,
    };
    admission::act(&app.engine, actor, run, action)
        .await
        .map(drop)
}

/// Takes up jobs that nobody goes on with, and ends what revoked keys left. Ends with the server.
pub(crate) async fn look_after(app: App) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = app.stopping.cancelled() => return,
        }
        if let Err(error) = auth::end_orphaned(&app.engine).await {
            tracing::warn!(%error, "what revoked keys left could not be ended; trying again");
        }
        if let Err(error) = app.engine.forget_uploads().await {
            tracing::warn!(%error, "who uploaded what long ago could not be forgotten; trying again");
        }
        let records = match app.engine.records(KIND).await {
            Ok(records) => records,
            Err(error) => {
                tracing::warn!(%error, "jobs cannot be read; trying again");
                continue;
            }
        };
        let now = app.engine.now();
        for record in records {
            let is_forsaken = now.since_ms(record.updated_at) > FORSAKEN_MS;
            let kept: Option<Kept> = serde_json::from_value(record.body.clone()).ok();
            match kept {
                Some(kept) if !kept.finished && is_forsaken => carry_out(app.clone(), record).await,
                // Long done, and told to whoever asked.
                Some(kept) if kept.finished && now.since_ms(record.updated_at) > 24 * 3_600_000 => {
                    let _ = app
                        .engine
                        .forget(KIND, &record.id, Some(record.revision))
                        .await;
                }
                _ => {}
            }
        }
    }
}

//! Webhooks: who wants to be told when runs end.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::auth::{Principal, Submitter};
use crate::extract::Body;
use crate::problem::Problem;
use crate::webhooks::{self, EventType, Kept};
use crate::wire::{Page, Run, Time};

/// Webhooks of one owner at most.
const MAX_WEBHOOKS: usize = 100;

pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, make))
        .routes(routes!(remove))
        .routes(routes!(test))
}

/// Somebody who wants to be told.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewWebhook {
    /// `https://…`, or `http://…`; not within a private network, unless this server is told to allow it.
    url: String,
    /// What to tell of; everything, where none is named.
    #[serde(default)]
    events: Vec<EventType>,
    /// Only of runs of this workflow.
    #[serde(default)]
    workflow: Option<String>,
    /// Only of runs with this tag.
    #[serde(default)]
    tag: Option<String>,
    /// `whsec_` and base64 of 24 to 64 bytes; one is made where none is given.
    #[serde(default)]
    secret: Option<String>,
}

/// A webhook; its secret is shown when it is made, and never again.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Webhook {
    id: String,
    url: String,
    events: Vec<EventType>,
    workflow: Option<String>,
    tag: Option<String>,
    /// Shown this once.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    created_at: Time,
}

impl Webhook {
    fn new(id: String, kept: Kept, created_at: Time, with_secret: bool) -> Self {
        Self {
            id,
            url: kept.url,
            events: kept.events,
            workflow: kept.workflow,
            tag: kept.tag,
            secret: with_secret.then_some(kept.secret),
            created_at,
        }
    }
}

/// The webhooks that whoever asks has made.
#[utoipa::path(get, path = "/api/v1/webhooks", tag = "webhooks", responses((status = 200, body = Page<Webhook>)))]
async fn list(
    Submitter(who): Submitter,
    State(app): State<App>,
) -> Result<Json<Page<Webhook>>, Problem> {
    let all = webhooks::read(&app.engine).await?;
    let own = all.into_iter().filter(|(_, kept, _)| is_own(&who, kept));
    let shown = own.map(|(id, kept, at)| Webhook::new(id, kept, Time(at), false));
    Ok(Json(Page::whole(shown.collect())))
}

fn is_own(who: &Principal, kept: &Kept) -> bool {
    who.sees_all() || kept.owner == who.key
}

/// Wants to be told from now on when runs end.
///
/// Messages follow Standard Webhooks: `webhook-id`, `webhook-timestamp`, `webhook-signature`. Each is
/// delivered by a run of `webhook-delivery`, which is tried again until the receiver takes it.
#[utoipa::path(post, path = "/api/v1/webhooks", tag = "webhooks", request_body = NewWebhook, responses((status = 201, body = Webhook)))]
async fn make(
    Submitter(who): Submitter,
    State(app): State<App>,
    Body(new): Body<NewWebhook>,
) -> Result<Response, Problem> {
    let is_address = (new.url.starts_with("https://") || new.url.starts_with("http://"))
        && new.url.len() <= 2_000
        && new
            .url
            .parse::<axum::http::Uri>()
            .is_ok_and(|uri| uri.host().is_some_and(|host| !host.is_empty()));
    if !is_address || new.url.contains('@') {
        return Err(Problem::at(
            "/url",
            "expected an address such as https://example.org/hook, without a user name",
        ));
    }
    let secret = match new.secret {
        Some(secret) if webhooks::is_secret(&secret) => secret,
        Some(_) => {
            return Err(Problem::at(
                "/secret",
                "expected `whsec_` and base64 of 24 to 64 bytes",
            ));
        }
        None => webhooks::make_secret(),
    };
    let all = webhooks::read(&app.engine).await?;
    if all
        .iter()
        .filter(|(_, kept, _)| kept.owner == who.key)
        .count()
        >= MAX_WEBHOOKS
    {
        return Err(Problem::conflict(format!(
            "there are {MAX_WEBHOOKS} webhooks already; delete one first"
        )));
    }
    let kept = Kept {
        url: new.url,
        secret,
        events: new.events,
        workflow: new.workflow,
        tag: new.tag,
        owner: who.key.clone(),
        sees_all: who.sees_all(),
    };
    let id = uuid::Uuid::new_v4().simple().to_string()[..16].to_owned();
    webhooks::keep(&app, &id, &kept).await?;
    let made = Webhook::new(id, kept, Time(app.engine.now()), true);
    Ok((StatusCode::CREATED, Json(made)).into_response())
}

async fn own(app: &App, who: &Principal, id: &str) -> Result<Kept, Problem> {
    let all = webhooks::read(&app.engine).await?;
    let found = all
        .into_iter()
        .find(|(known, kept, _)| known == id && is_own(who, kept));
    found
        .map(|(_, kept, _)| kept)
        .ok_or_else(|| Problem::not_found("webhook", id))
}

/// Tells a webhook nothing more; what is on its way is given up.
#[utoipa::path(delete, path = "/api/v1/webhooks/{id}", tag = "webhooks", params(("id" = String, Path)), responses((status = 204)))]
async fn remove(
    Submitter(who): Submitter,
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    own(&app, &who, &id).await?;
    webhooks::forget(&app, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sends a webhook a message of the type `webhook.test`; the answer is the run that delivers it.
#[utoipa::path(post, path = "/api/v1/webhooks/{id}/test", tag = "webhooks", params(("id" = String, Path)), responses((status = 202, body = Run)))]
async fn test(
    Submitter(who): Submitter,
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let kept = own(&app, &who, &id).await?;
    let run = webhooks::send_test(&app, &id, &kept).await?;
    let run = Run::from(app.engine.run(run).await?);
    Ok((StatusCode::ACCEPTED, Json(run)).into_response())
}

//! API keys: made, listed, revoked.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::auth::{self, Admin, KeyStatus, NewKey};
use crate::extract::Body;
use crate::problem::Problem;
use crate::wire::Page;

pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, make))
        .routes(routes!(revoke))
}

/// Every key; never its secret.
#[utoipa::path(get, path = "/api/v1/keys", tag = "keys", responses((status = 200, body = Page<KeyStatus>)))]
async fn list(_who: Admin, State(app): State<App>) -> Result<Json<Page<KeyStatus>>, Problem> {
    Ok(Json(Page::whole(auth::list(&app.engine).await?)))
}

/// A key, this once with its secret.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Made {
    id: String,
    /// The whole key. It is shown this once and kept nowhere.
    key: String,
}

/// Makes a key. From the first one on every request needs one, for good: revoking the last opens nothing.
#[utoipa::path(post, path = "/api/v1/keys", tag = "keys", request_body = NewKey, responses((status = 201, body = Made)))]
async fn make(
    Admin(who): Admin,
    State(app): State<App>,
    Body(new): Body<NewKey>,
) -> Result<Response, Problem> {
    if who.key.is_none() && !new.scopes.contains(&auth::Scope::Admin) {
        return Err(Problem::at(
            "/scopes",
            "the first key needs the scope `admin`: without one nobody could make another",
        ));
    }
    let (id, key) = auth::make(&app.engine, &new).await?;
    app.keys.forget();
    Ok((StatusCode::CREATED, Json(Made { id, key })).into_response())
}

/// Revokes a key; within two seconds it is refused everywhere, and its webhooks, schedules and streams have ended.
#[utoipa::path(delete, path = "/api/v1/keys/{id}", tag = "keys", params(("id" = String, Path)), responses((status = 204)))]
async fn revoke(
    Admin(who): Admin,
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    if who.key.as_deref() == Some(id.as_str()) {
        return Err(Problem::conflict(
            "a key cannot revoke itself; use another, or `aquatint keys revoke`",
        ));
    }
    auth::revoke(&app.engine, &id).await?;
    app.keys.forget();
    Ok(StatusCode::NO_CONTENT)
}

//! Files: uploaded, listed, sent.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::auth::{Reader, Submitter};
use crate::extract::{self, Params, RunPath};
use crate::files::{self, Part};
use crate::problem::Problem;
use crate::wire::{File, Page};

pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(upload))
        .routes(routes!(list))
        .routes(routes!(get))
}

/// A stored file: give it, as it is, as a run's input.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Uploaded {
    /// BLAKE3 of its bytes, 64 hexadecimal digits.
    artifact: String,
    name: String,
    /// What it is, by its bytes.
    media_type: String,
    size_bytes: u64,
}

impl From<aquatint_engine::artifact::Artifact> for Uploaded {
    fn from(a: aquatint_engine::artifact::Artifact) -> Self {
        Self {
            artifact: a.digest,
            name: a.name,
            media_type: a.media_type,
            size_bytes: a.size_bytes,
        }
    }
}

/// How to call an upload.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct UploadParams {
    /// A name for people, where the body is the file itself.
    name: Option<String>,
}

/// Stores a file for a run to come: the body itself, or the first file of a form.
///
/// A file that no run refers to is swept away after some time. Until then it is its uploader's to name: what
/// others uploaded or made can only be named by who may see it.
#[utoipa::path(post, path = "/api/v1/uploads", tag = "files", params(UploadParams),
    request_body(content((Vec<u8> = "application/octet-stream"), (serde_json::Value = "multipart/form-data"))),
    responses((status = 201, body = Uploaded)))]
async fn upload(
    Submitter(who): Submitter,
    State(app): State<App>,
    Params(params): Params<UploadParams>,
    request: Request,
) -> Result<Response, Problem> {
    let stored = if files::is_form(&request) {
        let parts = files::form(&app, request).await?;
        let file = parts.into_iter().find_map(|(_, part)| match part {
            Part::File(file) => Some(file),
            Part::Text(_) => None,
        });
        file.ok_or_else(|| Problem::invalid("the form holds no file", Vec::new()))?
    } else {
        let claimed = extract::media_type(request.headers());
        let content: Bytes = extract::body(request, &app).await?;
        files::store(
            &app,
            params.name.as_deref().unwrap_or("upload"),
            &claimed,
            content.into(),
        )
        .await?
    };
    // Others may hold the same bytes: naming them takes having shown them, or a run that has them.
    if let Some(key) = who.key.as_deref().filter(|_| !who.sees_all()) {
        app.engine.note_upload(key, &stored.digest).await?;
    }
    Ok((StatusCode::CREATED, Json(Uploaded::from(stored))).into_response())
}

/// The files of a run, oldest first.
#[utoipa::path(get, path = "/api/v1/runs/{id}/artifacts", tag = "files", params(("id" = String, Path, format = Uuid)), responses((status = 200, body = Page<File>)))]
async fn list(
    Reader(who): Reader,
    State(app): State<App>,
    RunPath(id): RunPath,
) -> Result<Json<Page<File>>, Problem> {
    app.run(&who, id).await?;
    let run = id.to_string();
    let files = app.engine.artifacts(id).await?;
    Ok(Json(Page::whole(
        files
            .into_iter()
            .map(|view| File::new(&run, view))
            .collect(),
    )))
}

/// How to send a file.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct GetParams {
    /// As a download, under its name.
    #[serde(default)]
    download: bool,
    /// Of a picture: a copy of at most so many pixels wide and high, PNG; 16 to 1024.
    #[param(minimum = 16, maximum = 1024)]
    thumbnail: Option<u32>,
}

/// A file of a run: whole or in part (`Range`), or 304 where it is known (`If-None-Match`).
#[utoipa::path(get, path = "/api/v1/runs/{id}/artifacts/{digest}", tag = "files",
    params(("id" = String, Path, format = Uuid), ("digest" = String, Path, description = "BLAKE3, 64 hexadecimal digits"), GetParams),
    responses((status = 200, body = Vec<u8>, content_type = "*/*"),
              (status = 206, body = Vec<u8>, content_type = "*/*"), (status = 304), (status = 416)))]
async fn get(
    Reader(who): Reader,
    State(app): State<App>,
    RunPath(id): RunPath,
    Path((_id, digest)): Path<(String, String)>,
    Params(params): Params<GetParams>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    app.run(&who, id).await?;
    let artifact = app.engine.artifact(id, &digest).await?;
    let artifact = artifact.ok_or_else(|| Problem::not_found("file of this run", &digest))?;
    let Some(side) = params.thumbnail else {
        return files::send(&app, &artifact, &method, &headers, params.download).await;
    };
    if !(16..=1024).contains(&side) {
        return Err(Problem::invalid(
            format!("thumbnail: expected 16 to 1024, got `{side}`"),
            Vec::new(),
        ));
    }
    let png = files::thumbnail(&app, &artifact, side).await?;
    let kept = "private, max-age=31536000, immutable";
    Ok((
        [
            (header::CONTENT_TYPE, "image/png"),
            (header::CACHE_CONTROL, kept),
        ],
        png,
    )
        .into_response())
}

//! What comes in: bodies, queries and ids, each refused with its place when it does not fit.

use std::time::Duration;

use aquatint_engine::id::RunId;
use axum::RequestPartsExt as _;
use axum::body::{Bytes, HttpBody as _};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use http_body_util::BodyExt as _;
use serde::de::DeserializeOwned;

use crate::app::App;
use crate::budget::{Arrival, SMALL, Weight};
use crate::problem::{Mistake, Problem};
use crate::watched::Stalled;

/// The longest a request may wait for a run.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// A JSON body.
#[derive(Debug)]
pub(crate) struct Body<T>(pub(crate) T);

impl<T: DeserializeOwned + Send + 'static> FromRequest<App> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        must_be_json(request.headers())?;
        let bytes = body(request, app).await?;
        parsed(app, bytes, parse).await.map(Self)
    }
}

/// Reads a whole body, as far as the server has room for it.
pub(crate) async fn body(request: Request, app: &App) -> Result<Bytes, Problem> {
    let most = app.config.max_body_bytes;
    let too_large = || Problem::too_large("the body is larger than this server takes");
    let mut body = request.into_body();
    if body.size_hint().lower() > most as u64 {
        return Err(too_large());
    }
    let mut arrival = Arrival::new(&app.budget);
    let mut content = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|error| broken(&error))?.into_data() else {
            continue;
        };
        if content.len() + data.len() > most {
            return Err(too_large());
        }
        arrival.add(data.len()).await?;
        content.extend_from_slice(&data);
    }
    Ok(content.into())
}

/// What a body that ended before its time comes to.
pub(crate) fn broken(error: &axum::Error) -> Problem {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<Stalled>() {
            return Problem::timeout("nothing more came of its body for too long");
        }
        cause = error.source();
    }
    Problem::bad_request(format!("the body cannot be read: {error}"))
}

/// What a JSON text says, once there is room for it. A large one is read on a thread that serves nobody else.
pub(crate) async fn parsed<T: Send + 'static>(
    app: &App,
    text: Bytes,
    parse: impl FnOnce(&[u8]) -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    if text.len() <= SMALL / 4 {
        app.budget.reserve(Weight::of_text(&text).cost()).await?;
        return parse(&text);
    }
    let weighed = text.clone();
    let weight = tokio::task::spawn_blocking(move || Weight::of_text(&weighed)).await;
    let weight = weight.map_err(|_| Problem::internal())?;
    app.budget.reserve(weight.cost()).await?;
    let parsed = tokio::task::spawn_blocking(move || parse(&text)).await;
    parsed.map_err(|_| Problem::internal())?
}

/// Whether a content type means JSON; none at all does, for those who leave it out.
pub(crate) fn must_be_json(headers: &HeaderMap) -> Result<(), Problem> {
    let given = media_type(headers);
    if given.is_empty() || given == "application/json" || given.ends_with("+json") {
        Ok(())
    } else {
        Err(Problem::media_type(format!(
            "expected application/json, got {given}"
        )))
    }
}

/// The media type of a body, without its parameters, in lower case.
pub(crate) fn media_type(headers: &HeaderMap) -> String {
    let given = headers
        .get(header::CONTENT_TYPE)
        .and_then(|v| v.to_str().ok());
    let given = given
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default();
    given.trim().to_ascii_lowercase()
}

/// JSON into what is expected, or the place where it does not fit.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let parsed = serde_path_to_error::deserialize(&mut json);
    let parsed = parsed.map_err(|error| {
        let pointer = pointer(error.path());
        let inner = error.into_inner();
        if inner.is_data() {
            // serde_json adds where in the text it was; the pointer says it better.
            let message = inner.to_string();
            let message = message
                .split(" at line ")
                .next()
                .unwrap_or(&message)
                .to_owned();
            let detail = message.clone();
            Problem::invalid(
                detail,
                vec![Mistake {
                    pointer,
                    message,
                    help: None,
                }],
            )
        } else {
            Problem::bad_request(format!("the body is no JSON: {inner}"))
        }
    })?;
    json.end()
        .map_err(|error| Problem::bad_request(format!("the body is no JSON: {error}")))?;
    Ok(parsed)
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    path.iter()
        .map(|segment| match segment {
            Segment::Seq { index } => format!("/{index}"),
            Segment::Map { key } => format!("/{}", key.replace('~', "~0").replace('/', "~1")),
            Segment::Enum { variant } => format!("/{variant}"),
            Segment::Unknown => String::new(),
        })
        .collect()
}

/// The query of an address.
#[derive(Debug)]
pub(crate) struct Params<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(params)) => Ok(Self(params)),
            Err(error) => {
                let said = error.body_text();
                let said = said
                    .split_once(": ")
                    .map_or(said.as_str(), |(_, rest)| rest);
                Err(Problem::invalid(
                    format!("the query does not fit: {said}"),
                    Vec::new(),
                ))
            }
        }
    }
}

/// A run's id in an address. What is no id is no run's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RunPath(pub(crate) RunId);

impl<S: Send + Sync> FromRequestParts<S> for RunPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let path: Path<std::collections::HashMap<String, String>> = parts
            .extract()
            .await
            .map_err(|_| Problem::bad_request("the address is no text"))?;
        let id = path.get("id").map_or("", String::as_str);
        // Not those with blanks, braces or `urn:`, which a lenient parser takes for ids too.
        let is_plain = id.len() == 36;
        match id.parse() {
            Ok(id) if is_plain => Ok(Self(id)),
            _ => Err(Problem::not_found("run", id)),
        }
    }
}

/// How many of a list are asked for, between 1 and `most`; `usual` where nothing is said.
pub(crate) fn limit(given: Option<u32>, usual: u32, most: u32) -> Result<u32, Problem> {
    let limit = given.unwrap_or(usual);
    if (1..=most).contains(&limit) {
        return Ok(limit);
    }
    let said = format!("limit: expected 1 to {most}, got `{limit}`");
    Err(Problem::invalid(said, Vec::new()))
}

/// How long a request is willing to wait: `?wait=30s`, `?wait=30` or `Prefer: wait=30`; a minute at most.
pub(crate) fn patience(wait: Option<&str>, headers: &HeaderMap) -> Result<Duration, Problem> {
    if let Some(wait) = wait {
        let parsed = match wait.parse::<u64>() {
            Ok(seconds) => Some(Duration::from_secs(seconds)),
            Err(_) => humantime::parse_duration(wait).ok(),
        };
        return parsed.map(|wait| wait.min(MAX_WAIT)).ok_or_else(|| {
            Problem::invalid(
                format!("wait: expected a duration such as 30s, got `{wait}`"),
                Vec::new(),
            )
        });
    }
    let preferred = headers
        .get_all("prefer")
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .find_map(|p| p.trim().strip_prefix("wait=")?.trim().parse::<u64>().ok());
    Ok(Duration::from_secs(preferred.unwrap_or(0)).min(MAX_WAIT))
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;

    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only parsed")]
    struct Order {
        items: Vec<u8>,
    }

    #[test]
    fn a_mistake_in_a_body_has_its_place() {
        let problem = parse::<Order>(br#"{"items": [1, "two"]}"#).expect_err("no number");
        assert_eq!(problem.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(problem.errors[0].pointer, "/items/1");
        let problem = parse::<Order>(br#"{"items": [1]"#).expect_err("no JSON");
        assert_eq!(problem.status, StatusCode::BAD_REQUEST);
        let problem = parse::<Order>(br#"{"items": [1]} trailing"#).expect_err("more than JSON");
        assert_eq!(problem.status, StatusCode::BAD_REQUEST);
    }

    #[test]
    fn patience_is_said_in_three_ways_and_bounded() {
        let none = HeaderMap::new();
        let mut prefer = HeaderMap::new();
        prefer.insert("prefer", "respond-async, wait=7".parse().expect("a header"));
        assert_eq!(patience(None, &none).expect("fits"), Duration::ZERO);
        assert_eq!(
            patience(None, &prefer).expect("fits"),
            Duration::from_secs(7)
        );
        assert_eq!(
            patience(Some("3"), &prefer).expect("fits"),
            Duration::from_secs(3)
        );
        assert_eq!(
            patience(Some("2s"), &none).expect("fits"),
            Duration::from_secs(2)
        );
        assert_eq!(patience(Some("10d"), &none).expect("fits"), MAX_WAIT);
        assert!(patience(Some("soon"), &none).is_err());
    }
}

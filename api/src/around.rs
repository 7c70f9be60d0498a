//! What happens to every request, whatever it asks for.
//!
//! It is one layer on purpose. For each request the router copies all that lies below a layer, once per
//! layer: eight of them cost more than the work between them.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use futures_util::FutureExt as _;
use tracing::{Instrument as _, Span};

use crate::app::App;
use crate::budget::Held;
use crate::edges;
use crate::problem::Problem;
use crate::watched::Watched;

/// What is added to the time of a request, since it may wait for a run for a minute.
const WAITING: Duration = Duration::from_secs(60);

/// Names a request, in its answer and in logs.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// An address, with its query, is this long at most.
const MAX_ADDRESS: usize = 8 * 1024;

/// A client's own name for a request is this long at most; a longer one is not taken over.
const MAX_REQUEST_ID: usize = 200;

/// Admits a request, gives it its time, and counts and logs how it went. What goes wrong in it is its own.
pub(crate) async fn around(State(app): State<App>, request: Request, next: Next) -> Response {
    let seen = Seen::new(&request);
    let span = seen.span(&app, request.headers());
    let answer = answer(&app, request, next).instrument(span.clone());
    let answered = AssertUnwindSafe(answer).catch_unwind().await;
    let mut response = answered.unwrap_or_else(broken);
    let headers = response.headers_mut();
    headers.entry(REQUEST_ID).or_insert(seen.id.clone());
    seen.note(&span, &response);
    response
}

/// What the client is told of a panic; what it was is the log's.
fn broken(_: Box<dyn Any + Send>) -> Response {
    Problem::internal().into_response()
}

async fn answer(app: &App, request: Request, next: Next) -> Response {
    let (mut request, is_read) = Watched::wrap(request);
    DefaultBodyLimit::max(app.config.max_body_bytes).apply(&mut request);
    let mut response = match admit(app, &request) {
        Ok(()) => {
            let held = Arc::new(Held::default());
            let answer = in_time(app, request, next, Arc::clone(&held));
            held.scope(answer).await
        }
        Err(problem) => problem.into_response(),
    };
    // A request that is refused before its body was read leaves a connection of no further use: the client
    // is told so, and need not find out with its next request.
    if !is_read.load(Ordering::Acquire) {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
    response
}

/// Gives a request its time. One that trains a model while its client waits takes as long as that takes.
///
/// What was given to the store is waited for, however long that takes: its client would take the end of its
/// patience for a refusal, and the run would begin all the same.
async fn in_time(app: &App, request: Request, next: Next, held: Arc<Held>) -> Response {
    let route = request.extensions().get::<MatchedPath>();
    if route.is_some_and(|route| route.as_str() == edges::TRAIN_ROUTE) {
        return next.run(request).await;
    }
    let limit = app.config.request_timeout + WAITING;
    let mut answer = pin!(next.run(request));
    if let Ok(response) = tokio::time::timeout(limit, answer.as_mut()).await {
        return response;
    }
    if held.is_committed() {
        return answer.await;
    }
    Problem::timeout("it was not answered in the time this server gives to a request")
        .into_response()
}

/// Keeps pages of other sites from using a server that asks nobody for a key: a browser on this machine
/// would reach it for them.
///
/// A browser says where a request comes from as `Sec-Fetch-Site`, which no page can forge. Where it does not,
/// as older ones, `Origin` counts: forms, and whatever else a page may send unasked, carry it.
fn admit(app: &App, request: &Request) -> Result<(), Problem> {
    let address = request.uri().path_and_query();
    if address.is_some_and(|address| address.as_str().len() > MAX_ADDRESS) {
        return Err(Problem::new(
            StatusCode::URI_TOO_LONG,
            "address_too_long",
            "The address is too long",
            format!("an address has {MAX_ADDRESS} bytes at most; send what is longer as a body"),
        ));
    }
    if !is_text(request.uri().path()) {
        return Err(Problem::not_found("such address:", request.uri().path()));
    }
    let headers = request.headers();
    let host = headers
        .get(header::HOST)
        .and_then(|h| h.to_str().ok())
        .unwrap_or_default();
    if app.config.open_without_keys && !is_own_host(app, host) {
        // A name that an attacker's DNS points at 127.0.0.1.
        return Err(Problem::foreign(format!(
            "this server is not called `{}`; set `public_url` where it is",
            host.escape_default()
        )));
    }
    let is_safe = [Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method());
    let origin = headers.get(header::ORIGIN);
    let is_foreign = match headers.get("sec-fetch-site") {
        Some(site) => site != "same-origin" && site != "none",
        None => origin.is_some_and(|origin| !is_own_origin(app, origin, host)),
    };
    if !is_safe && is_foreign && !is_welcome(app, origin) {
        return Err(Problem::foreign(
            "a page of another site may not do that; list its origin under `cors_origins` where it may",
        ));
    }
    Ok(())
}

/// Whether an address is UTF-8 once its escapes are undone.
fn is_text(path: &str) -> bool {
    // Nothing to undo: it came as text.
    if !path.contains('%') {
        return true;
    }
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        let escape = (byte == b'%').then(|| {
            let digits = [rest.next()?, rest.next()?];
            u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()
        });
        match escape {
            None => bytes.push(byte),
            Some(Some(undone)) => bytes.push(undone),
            Some(None) => return false,
        }
    }
    std::str::from_utf8(&bytes).is_ok()
}

fn is_welcome(app: &App, origin: Option<&HeaderValue>) -> bool {
    let allowed = &app.config.cors_origins;
    let origin = origin.and_then(|o| o.to_str().ok()).unwrap_or_default();
    allowed.iter().any(|o| o == "*" || o == origin)
}

/// Whether a page of this server has this origin. What cannot be read, and `null`, is a stranger's.
fn is_own_origin(app: &App, origin: &HeaderValue, host: &str) -> bool {
    let origin = origin.to_str().unwrap_or_default();
    let Some((scheme, name)) = origin.split_once("://") else {
        return false;
    };
    let public = app.config.public_url.as_deref().unwrap_or_default();
    let is_public = origin.eq_ignore_ascii_case(public.trim_end_matches('/'));
    // The scheme is left aside: whoever ends TLS before this server passes plain HTTP on. Ports that go
    // without saying are left out by browsers, and by the host that they name.
    is_public || (scheme.starts_with("http") && name.eq_ignore_ascii_case(host))
}

fn is_own_host(app: &App, host: &str) -> bool {
    let name = host
        .rsplit_once(':')
        .filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
    let name = name.map_or(host, |(name, _)| name);
    let public = app
        .config
        .public_url
        .as_deref()
        .and_then(|url| url.split_once("://"));
    let is_public =
        public.is_some_and(|(_, rest)| rest.trim_end_matches('/').eq_ignore_ascii_case(host));
    let loopback = name
        .trim_matches(['[', ']'])
        .parse::<std::net::IpAddr>()
        .is_ok_and(|ip| ip.is_loopback());
    // HTTP/1.0 clients and tests send none; browsers always do.
    host.is_empty() || name.eq_ignore_ascii_case("localhost") || loopback || is_public
}

/// A method's name among metrics: anybody may send any word as one, and each would be a series of its own.
fn label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::PATCH => "PATCH",
        Method::OPTIONS => "OPTIONS",
        // As OpenTelemetry calls the rest.
        _ => "_OTHER",
    }
}

/// What is counted and logged of a request: what was asked and how it went, never what was in it.
struct Seen {
    began: Instant,
    /// As a label: one of the few that there are.
    method: &'static str,
    /// The route and not the address: ids and names are no labels.
    route: Option<MatchedPath>,
    id: HeaderValue,
}

impl Seen {
    fn new(request: &Request) -> Self {
        let given = request.headers().get(REQUEST_ID);
        let id = given.filter(|id| id.len() <= MAX_REQUEST_ID).cloned();
        Self {
            began: Instant::now(),
            method: label(request.method()),
            route: request.extensions().get::<MatchedPath>().cloned(),
            id: id.unwrap_or_else(|| {
                let id = uuid::Uuid::new_v4().to_string();
                HeaderValue::try_from(id).expect("a UUID is plain ASCII")
            }),
        }
    }

    fn route(&self) -> &str {
        self.route.as_ref().map_or("none", MatchedPath::as_str)
    }

    fn id(&self) -> &str {
        self.id.to_str().unwrap_or_default()
    }

    fn span(&self, app: &App, headers: &HeaderMap) -> Span {
        let (method, route) = (self.method, self.route());
        let span = tracing::info_span!("request", otel.name = %format_args!("{method} {route}"), otel.kind = "server",
            http.request.method = %method, http.route = %route, http.response.status_code = tracing::field::Empty, request.id = %self.id());
        if let Some(go_on) = app.config.go_on_tracing {
            let header = |name: &str| headers.get(name)?.to_str().ok();
            if let Some(parent) = header("traceparent") {
                go_on(&span, parent, header("tracestate"));
            }
        }
        span
    }

    fn note(&self, span: &Span, response: &Response) {
        let status = response.status();
        span.record("http.response.status_code", status.as_u16());
        let (method, route, took) = (self.method, self.route(), self.began.elapsed());
        let labels = [
            ("method", method.to_string()),
            ("route", route.to_owned()),
            ("status", status.as_str().to_owned()),
        ];
        metrics::counter!("aquatint_http_requests_total", &labels).increment(1);
        metrics::histogram!("aquatint_http_request_duration_seconds", "route" => route.to_owned())
            .record(took.as_secs_f64());
        let duration_ms = took.as_millis();
        let is_ours = status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED;
        if is_ours {
            tracing::warn!(http.method = %method, http.route = %route, http.status = %status.as_u16(), request.id = %self.id(), duration_ms, "a request failed");
        } else {
            tracing::debug!(http.method = %method, http.route = %route, http.status = %status.as_u16(), request.id = %self.id(), duration_ms, "a request was answered");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_no_method_is_no_label_of_its_own() {
        assert_eq!(label(&Method::GET), "GET");
        for word in ["XYZZY", "get", "PROPFIND", "A1"] {
            let method = Method::from_bytes(word.as_bytes()).expect("a token");
            assert_eq!(label(&method), "_OTHER", "{word}");
        }
    }
}

//! The router put together, and served until somebody says stop.

use std::future::{Future, IntoFuture as _};
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use aquatint_engine::Engine;
use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::cors::{AllowOrigin, CorsLayer};
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};
use tracing::Instrument as _;
use utoipa_axum::router::OpenApiRouter;
use utoipa_swagger_ui::SwaggerUi;

use crate::app::App;
use crate::auth::{self, KeyStatus, NewKey};
use crate::config::ApiConfig;
use crate::problem::Problem;
use crate::routes;
use crate::watched::Watched;
use crate::{edges, notices, openapi, webhooks};

/// How long requests may go on after the server was told to stop.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// What is added to the time of a request, since it may wait for a run for a minute.
const WAITING: Duration = Duration::from_secs(60);

/// Why a server does not begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// Whoever can reach it could do everything.
    #[error(
        "listening on {address} would let everybody who can reach it run everything: make a key first (`aquatint keys add NAME --scopes admin`), or listen on 127.0.0.1"
    )]
    Open {
        /// Where it was to listen.
        address: SocketAddr,
    },
    /// The address cannot be had.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Where it was to listen.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// Keys cannot be read or made.
    #[error("{0}")]
    Keys(String),
}

/// An API over an engine.
#[derive(Debug)]
pub struct Api {
    app: App,
}

impl Api {
    /// Routes over this engine; `metrics` renders what this process counts.
    #[must_use]
    pub fn new(engine: Engine, config: ApiConfig, metrics: Option<PrometheusHandle>) -> Self {
        Self {
            app: App::new(engine, config, metrics, CancellationToken::new()),
        }
    }

    /// Takes an address: any on loopback, others only once there is a key.
    ///
    /// # Errors
    /// [`ServeError`] says what is in the way and what mends it.
    pub async fn listen(engine: &Engine, address: SocketAddr) -> Result<TcpListener, ServeError> {
        if !address.ip().is_loopback() {
            let keys = auth::list(engine)
                .await
                .map_err(|error| ServeError::Keys(error.to_string()))?;
            if keys.is_empty() {
                return Err(ServeError::Open { address });
            }
        }
        TcpListener::bind(address)
            .await
            .map_err(|source| ServeError::Listen { address, source })
    }

    /// Every route, ready to be served; with `document`, also the OpenAPI document.
    pub fn router(&self) -> Router {
        let (router, document) = routed();
        let app = self.app.clone();
        let docs = SwaggerUi::new("/docs").url("/openapi.json", document);
        router
            .layer(middleware::from_fn_with_state(app.clone(), auth::identify))
            .merge(open())
            .merge(docs)
            .fallback(|uri: Uri| async move { Problem::not_found("such address:", uri.path()) })
            .method_not_allowed_fallback(|| async {
                Problem::new(
                    StatusCode::METHOD_NOT_ALLOWED,
                    "method_not_allowed",
                    "This address does not take that method",
                    "see /docs for what it takes",
                )
            })
            .layer(DefaultBodyLimit::max(app.config.max_body_bytes))
            .layer(middleware::from_fn_with_state(app.clone(), guard))
            .layer(CompressionLayer::new())
            .layer(cors(&app.config))
            .layer(middleware::from_fn_with_state(app.clone(), in_time))
            .layer(middleware::from_fn(say_when_closing))
            .layer(middleware::from_fn_with_state(app.clone(), observe))
            .layer(CatchPanicLayer::custom(|_| {
                Problem::internal().into_response()
            }))
            .layer(PropagateRequestIdLayer::x_request_id())
            .layer(SetRequestIdLayer::x_request_id(MakeRequestUuid))
            .with_state(app)
    }

    /// The OpenAPI document, as JSON.
    ///
    /// # Errors
    /// Never today: the document is plain data.
    pub fn document() -> Result<String, serde_json::Error> {
        routed().1.to_pretty_json()
    }

    /// Serves until `stop` resolves; then streams end, and requests under way may finish.
    ///
    /// # Errors
    /// When the listener breaks.
    pub async fn serve(
        self,
        listener: TcpListener,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> std::io::Result<()> {
        let router = self.router();
        let stopping = self.app.stopping.clone();
        tokio::spawn(routes::jobs::look_after(self.app.clone()));
        tokio::spawn(webhooks::look_after(self.app.clone()));
        tokio::spawn(notices::look_after(self.app.clone()));
        let told = stopping.clone();
        let stop = async move {
            stop.await;
            told.cancel();
        };
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        let serving = axum::serve(listener, service)
            .with_graceful_shutdown(stop)
            .into_future();
        tokio::select! {
            served = serving => served,
            // A client that holds its connection must not hold the process.
            () = async { stopping.cancelled().await; tokio::time::sleep(STOP_GRACE).await } => Ok(()),
        }
    }

    /// Where a webhook is, and the secret it is signed with; `None` when it is gone.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn webhook(
        engine: &Engine,
        id: &str,
    ) -> Result<Option<(String, String)>, aquatint_engine::EngineError> {
        webhooks::find(engine, id).await
    }

    /// Every key there is, as may be told.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn keys(engine: &Engine) -> Result<Vec<KeyStatus>, ServeError> {
        auth::list(engine)
            .await
            .map_err(|error| ServeError::Keys(error.to_string()))
    }

    /// Makes a key. Its text is given this once and kept nowhere.
    ///
    /// # Errors
    /// A name or scopes that cannot be, or a store error.
    pub async fn make_key(engine: &Engine, new: &NewKey) -> Result<String, ServeError> {
        let made = auth::make(engine, new).await;
        made.map(|(_, key)| key)
            .map_err(|problem| ServeError::Keys(problem.detail))
    }

    /// Revokes a key; within two seconds it is refused everywhere.
    ///
    /// # Errors
    /// No such key, or a store error.
    pub async fn revoke_key(engine: &Engine, id: &str) -> Result<(), ServeError> {
        auth::revoke(engine, id)
            .await
            .map_err(|problem| ServeError::Keys(problem.detail))
    }
}

/// Every route that asks for a key, and the document of all.
fn routed() -> (Router<App>, utoipa::openapi::OpenApi) {
    let router = OpenApiRouter::with_openapi(openapi::base())
        .merge(routes::runs::router())
        .merge(routes::jobs::router())
        .merge(routes::steps::router())
        .merge(routes::artifacts::router())
        .merge(routes::batches::router())
        .merge(routes::events::router())
        .merge(routes::workflows::router())
        .merge(routes::queues::router())
        .merge(routes::schedules::router())
        .merge(routes::alerts::router())
        .merge(routes::workers::router())
        .merge(routes::keys::router())
        .merge(routes::webhooks::router())
        .merge(routes::health::router())
        .merge(edges::router());
    let (router, mut document) = router.split_for_parts();
    document.merge(routes::health::open_router().split_for_parts().1);
    document.merge(edges::open_router().split_for_parts().1);
    openapi::finish(&mut document);
    (router, document)
}

/// What needs no key.
fn open() -> Router<App> {
    let router = routes::health::open_router().merge(edges::open_router());
    router.split_for_parts().0
}

fn cors(config: &ApiConfig) -> CorsLayer {
    let origins: Vec<HeaderValue> = config
        .cors_origins
        .iter()
        .filter_map(|o| o.parse().ok())
        .collect();
    let allowed = if config.cors_origins.iter().any(|o| o == "*") {
        AllowOrigin::any()
    } else {
        AllowOrigin::list(origins)
    };
    CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            HeaderName::from_static("x-api-key"),
            HeaderName::from_static("idempotency-key"),
            HeaderName::from_static("last-event-id"),
            HeaderName::from_static("prefer"),
        ])
        .expose_headers([
            header::LOCATION,
            header::RETRY_AFTER,
            HeaderName::from_static("x-request-id"),
        ])
        .max_age(Duration::from_secs(600))
}

/// Keeps pages of other sites from using a server that asks nobody for a key: a browser on this machine
/// would reach it for them.
async fn guard(State(app): State<App>, request: Request, next: Next) -> Response {
    if !is_text(request.uri().path()) {
        return Problem::not_found("such address:", request.uri().path()).into_response();
    }
    let headers = request.headers();
    let host = headers
        .get(header::HOST)
        .and_then(|h| h.to_str().ok())
        .unwrap_or_default();
    if app.config.open_without_keys && !is_own_host(&app, host) {
        // A name that an attacker's DNS points at 127.0.0.1.
        return Problem::forbidden(format!(
            "this server is not called `{}`; set `public_url` where it is",
            host.escape_default()
        ))
        .into_response();
    }
    let is_safe = [Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method());
    let site = headers.get("sec-fetch-site").and_then(|v| v.to_str().ok());
    let is_foreign = site.is_some_and(|site| site != "same-origin" && site != "none");
    if !is_safe && is_foreign && !is_welcome(&app, headers.get(header::ORIGIN)) {
        return Problem::forbidden("a page of another site may not do that; list its origin under `cors_origins` where it may")
            .into_response();
    }
    next.run(request).await
}

/// Whether an address is UTF-8 once its escapes are undone.
fn is_text(path: &str) -> bool {
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

/// A request that is refused before its body was read leaves a connection of no further use: the client is
/// told so, and need not find out with its next request.
async fn say_when_closing(request: Request, next: Next) -> Response {
    let (request, is_read) = Watched::wrap(request);
    let mut response = next.run(request).await;
    if !is_read.load(Ordering::Acquire) {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
    response
}

/// Gives each request its time. One that trains a model while its client waits takes as long as that takes.
async fn in_time(State(app): State<App>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>();
    if route.is_some_and(|route| route.as_str() == edges::TRAIN_ROUTE) {
        return next.run(request).await;
    }
    let answered =
        tokio::time::timeout(app.config.request_timeout + WAITING, next.run(request)).await;
    answered.unwrap_or_else(|_| {
        Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "timeout",
            "The request took too long",
            "it was not answered in the time this server gives to a request",
        )
        .into_response()
    })
}

/// Counts and logs each request: what was asked and how it went, never what was in it.
async fn observe(State(app): State<App>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let method = request.method().clone();
    // The route and not the address: ids and names are no labels.
    let path = request
        .extensions()
        .get::<MatchedPath>()
        .map(|p| p.as_str().to_owned());
    let id = request
        .headers()
        .get("x-request-id")
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default()
        .to_owned();
    let path = path.unwrap_or_else(|| "none".to_owned());
    let span = tracing::info_span!("request", otel.name = %format!("{method} {path}"), otel.kind = "server",
        http.request.method = %method, http.route = %path, http.response.status_code = tracing::field::Empty, request.id = %id);
    if let Some(go_on) = app.config.go_on_tracing {
        let header = |name: &str| request.headers().get(name)?.to_str().ok();
        if let Some(parent) = header("traceparent") {
            go_on(&span, parent, header("tracestate"));
        }
    }
    let response = next.run(request).instrument(span.clone()).await;
    span.record("http.response.status_code", response.status().as_u16());
    let status = response.status().as_u16().to_string();
    let seconds = began.elapsed().as_secs_f64();
    let labels = [
        ("method", method.to_string()),
        ("route", path.clone()),
        ("status", status.clone()),
    ];
    metrics::counter!("aquatint_http_requests_total", &labels).increment(1);
    metrics::histogram!("aquatint_http_request_duration_seconds", "route" => path.clone())
        .record(seconds);
    let duration_ms = began.elapsed().as_millis();
    let is_ours =
        response.status().is_server_error() && response.status() != StatusCode::NOT_IMPLEMENTED;
    if is_ours {
        tracing::warn!(http.method = %method, http.route = %path, http.status = %status, request.id = %id, duration_ms, "a request failed");
    } else {
        tracing::debug!(http.method = %method, http.route = %path, http.status = %status, request.id = %id, duration_ms, "a request was answered");
    }
    response
}

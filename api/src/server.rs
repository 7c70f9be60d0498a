//! The router put together, and served until somebody says stop.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use aquatint_engine::Engine;
use axum::Router;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{DefaultPredicate, Predicate as _, SizeAbove};
use tower_http::cors::{AllowOrigin, CorsLayer};
use utoipa_axum::router::OpenApiRouter;
use utoipa_swagger_ui::SwaggerUi;

use crate::app::App;
use crate::around::around;
use crate::auth::{self, KeyStatus, NewKey};
use crate::config::ApiConfig;
use crate::problem::Problem;
use crate::routes;
use crate::{connections, edges, notices, openapi, webhooks};

/// How long requests may go on after the server was told to stop.
const STOP_GRACE: Duration = Duration::from_secs(10);

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

    /// Takes an address: any on loopback, others only once there was a key.
    ///
    /// # Errors
    /// [`ServeError`] says what is in the way and what mends it.
    pub async fn listen(engine: &Engine, address: SocketAddr) -> Result<TcpListener, ServeError> {
        if !address.ip().is_loopback() {
            let is_required = auth::is_required(engine)
                .await
                .map_err(|error| ServeError::Keys(error.to_string()))?;
            if !is_required {
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
        // Below one packet there is nothing to win.
        let worthwhile = DefaultPredicate::new().and(SizeAbove::new(1024));
        let docs = SwaggerUi::new("/docs").url("/openapi.json", document);
        let router = router
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
            .layer(CompressionLayer::new().compress_when(worthwhile));
        let router = match cors(&app.config) {
            Some(cors) => router.layer(cors),
            None => router,
        };
        router
            .layer(middleware::from_fn_with_state(app.clone(), around))
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
    pub async fn serve(
        self,
        listener: TcpListener,
        stop: impl Future<Output = ()> + Send + 'static,
    ) {
        let router = self.router();
        let limit = self
            .app
            .config
            .max_connections
            .unwrap_or_else(connections::limit);
        let stopping = self.app.stopping.clone();
        tokio::spawn(routes::jobs::look_after(self.app.clone()));
        tokio::spawn(webhooks::look_after(self.app.clone()));
        tokio::spawn(notices::look_after(self.app.clone()));
        let serving = connections::serve(listener, router, limit, stopping.clone());
        let mut serving = pin!(serving);
        tokio::select! {
            () = serving.as_mut() => return,
            () = stop => stopping.cancel(),
        }
        // A client that holds its connection must not hold the process.
        let _ = tokio::time::timeout(STOP_GRACE, serving).await;
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

    /// Whether every request needs a key: there is one, or there was.
    ///
    /// # Errors
    /// When that cannot be read.
    pub async fn needs_key(engine: &Engine) -> Result<bool, ServeError> {
        auth::is_required(engine)
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

    /// Revokes a key; within two seconds it is refused everywhere, and its webhooks, schedules and streams
    /// have ended.
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

/// What pages of other sites may read and send, where there are any.
fn cors(config: &ApiConfig) -> Option<CorsLayer> {
    if config.cors_origins.is_empty() {
        return None;
    }
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
    let layer = CorsLayer::new()
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
        .max_age(Duration::from_secs(600));
    Some(layer)
}

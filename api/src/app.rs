//! What every route shares.

use std::ops::Deref;
use std::sync::Arc;

use aquatint_engine::Engine;
use aquatint_engine::id::RunId;
use aquatint_engine::store::RunView;
use axum::http::{HeaderMap, header};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio_util::sync::CancellationToken;

use crate::auth::{Keys, Principal};
use crate::budget::Budget;
use crate::config::ApiConfig;
use crate::feed::Feed;
use crate::limits::Limits;
use crate::problem::Problem;

/// The state of the router. Cheap to clone.
#[derive(Clone)]
pub(crate) struct App(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) engine: Engine,
    pub(crate) config: ApiConfig,
    pub(crate) keys: Keys,
    pub(crate) limits: Limits,
    pub(crate) budget: Budget,
    pub(crate) feed: Feed,
    /// Where this process counts, if it does.
    pub(crate) metrics: Option<PrometheusHandle>,
    /// Cancelled when the server is to end: streams end themselves then.
    pub(crate) stopping: CancellationToken,
}

impl Deref for App {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl App {
    pub(crate) fn new(
        engine: Engine,
        config: ApiConfig,
        metrics: Option<PrometheusHandle>,
        stopping: CancellationToken,
    ) -> Self {
        Self(Arc::new(Inner {
            keys: Keys::new(config.open_without_keys),
            limits: Limits::new(config.requests_per_second),
            budget: Budget::new(config.memory_bytes),
            feed: Feed::new(engine.clone(), stopping.clone()),
            engine,
            config,
            metrics,
            stopping,
        }))
    }

    /// A run, as far as whoever asks may know of it.
    pub(crate) async fn run(&self, who: &Principal, id: RunId) -> Result<RunView, Problem> {
        self.budget.read(id).await?;
        let run = self.engine.run(id).await?;
        self.check(who, &run)?;
        Ok(run)
    }

    /// Whether whoever asks may know of this run; to others there is none.
    pub(crate) fn check(&self, who: &Principal, run: &RunView) -> Result<(), Problem> {
        if who.sees(run) {
            Ok(())
        } else {
            Err(Problem::not_found("run", &run.id.to_string()))
        }
    }

    /// What this server is reached by: as configured, or as the request says.
    pub(crate) fn origin(&self, headers: &HeaderMap) -> String {
        if let Some(url) = &self.config.public_url {
            return url.trim_end_matches('/').to_owned();
        }
        let host = headers.get(header::HOST).and_then(|h| h.to_str().ok());
        // Only what can be a host: it ends up in addresses that we give out.
        let is_host = |h: &&str| {
            !h.is_empty()
                && h.len() <= 255
                && h.bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-.:[]".contains(&b))
        };
        format!("http://{}", host.filter(is_host).unwrap_or("localhost"))
    }
}

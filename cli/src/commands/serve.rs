//! `aquatint serve`: the API, and with it, unless told otherwise, a worker: everything in one process.

use std::future::Future;
use std::net::SocketAddr;

use aquatint_api::Api;
use aquatint_engine::Engine;
use clap::Args;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::commands::worker::{self, WorkerArgs};
use crate::context::Context;
use crate::exit::{Exit, Result};
use crate::metrics;

/// What `aquatint serve` takes.
#[derive(Debug, Args)]
#[expect(clippy::doc_markdown, reason = "help texts are no Markdown")]
pub(crate) struct ServeArgs {
    /// Where to listen, as in 127.0.0.1:8000; beyond loopback only with a key [env: AQUATINT_LISTEN]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<String>,
    /// Only answer requests; workers elsewhere do the work
    #[arg(long)]
    no_worker: bool,
    #[command(flatten)]
    pub(crate) worker: WorkerArgs,
}

/// Serves until it is told to stop.
pub(crate) async fn run(context: &Context, args: ServeArgs) -> Result {
    let front = Front {
        works: !args.no_worker,
    };
    worker::serve(context, args.worker, Some(front)).await
}

/// What stands before the worker.
#[derive(Debug)]
pub(crate) struct Front {
    /// Whether there is a worker behind it, in this process.
    pub(crate) works: bool,
}

/// An API that is being served.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) greeting: String,
    stopping: CancellationToken,
    serving: JoinHandle<()>,
}

impl Front {
    /// Begins to answer.
    pub(crate) async fn open(&self, context: &Context, engine: &Engine) -> Result<Server> {
        let settings = &context.settings.api;
        let address: SocketAddr = settings.listen;
        let mut config = settings.config.clone();
        config.open_without_keys = address.ip().is_loopback();
        #[cfg(feature = "otel")]
        {
            config.go_on_tracing = Some(crate::traces::go_on);
        }
        config.health = context.settings.alerts.limits.clone();
        let rules = context.settings.alerts.alerts.iter().flat_map(|a| &a.rules);
        config.alert_rules = rules.map(|rule| rule.name.clone()).collect();
        let refused = |error: aquatint_api::ServeError| Exit::Error(error.to_string());
        let listener = Api::listen(engine, address).await.map_err(refused)?;
        let address = listener.local_addr().unwrap_or(address);
        let api = Api::new(engine.clone(), config, Some(metrics::record()?));
        let stopping = CancellationToken::new();
        let told = stopping.clone();
        let serving = tokio::spawn(api.serve(listener, async move { told.cancelled().await }));
        Ok(Server {
            greeting: format!(
                "listening on http://{address}; the API is told of at http://{address}/docs"
            ),
            stopping,
            serving,
        })
    }
}

impl Server {
    /// Ends streams, lets requests under way finish, and takes no more.
    pub(crate) fn stop(self) -> impl Future<Output = ()> {
        self.stopping.cancel();
        async move {
            // One that panicked has ended too.
            let _ = self.serving.await;
        }
    }
}

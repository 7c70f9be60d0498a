//! The doorbell against a real Redis, which these tests start, stall, stop and fill.
#![expect(clippy::unwrap_used, reason = "tests")]

mod notices;
mod outages;
mod refusals;
mod server;
mod tickets;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Doorbell, Gate, RedisConfig, serve};
use crate::id::QueueName;
use server::Server;

/// What must happen at all happens within this.
const PATIENCE: Duration = Duration::from_secs(20);

fn gpu() -> QueueName {
    QueueName::new("gpu").unwrap()
}

async fn doorbell(server: &Server) -> Doorbell {
    let config = RedisConfig::new(server.url(), "test");
    Doorbell::connect(config).await.unwrap()
}

/// A process that serves a queue: its gate, and what it hears.
struct Process {
    doorbell: Doorbell,
    gate: Arc<AtomicBool>,
    opened: Arc<Notify>,
    heard: mpsc::UnboundedReceiver<()>,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

impl Process {
    /// Serves `gpu` on a doorbell of its own.
    async fn start(server: &Server, is_open: bool) -> Self {
        let (tell, heard) = mpsc::unbounded_channel();
        let on_ticket = move || {
            let tell = tell.clone();
            async move { tell.send(()).unwrap() }
        };
        Self::with(server, is_open, heard, on_ticket).await
    }

    async fn with<F: Future<Output = ()> + Send + 'static>(
        server: &Server,
        is_open: bool,
        heard: mpsc::UnboundedReceiver<()>,
        on_ticket: impl Fn() -> F + Send + Sync + 'static,
    ) -> Self {
        let doorbell = doorbell(server).await;
        let gate = Arc::new(AtomicBool::new(is_open));
        let opened = Arc::new(Notify::new());
        let stop = CancellationToken::new();
        let look = Arc::clone(&gate);
        let is_open = move || look.load(Ordering::SeqCst);
        let rule = Gate::new(is_open, Arc::clone(&opened), on_ticket);
        let (bell, until) = (doorbell.clone(), stop.clone());
        let serving = tokio::spawn(async move { serve(&bell, gpu(), rule, until).await });
        Self {
            doorbell,
            gate,
            opened,
            heard,
            stop,
            serving,
        }
    }

    fn open(&self) {
        self.gate.store(true, Ordering::SeqCst);
        self.opened.notify_one();
    }

    fn close(&self) {
        self.gate.store(false, Ordering::SeqCst);
    }

    /// The next ticket.
    async fn hears(&mut self) {
        within(PATIENCE, "a ticket is heard", self.heard.recv())
            .await
            .unwrap();
    }

    /// A ticket within a second.
    async fn hears_soon(&mut self) {
        within(
            Duration::from_secs(1),
            "a ticket is heard",
            self.heard.recv(),
        )
        .await
        .unwrap();
    }

    fn heard_so_far(&mut self) -> usize {
        std::iter::from_fn(|| self.heard.try_recv().ok()).count()
    }
}

async fn within<T>(limit: Duration, what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(limit, future)
        .await
        .unwrap_or_else(|_| panic!("waited {limit:?}, and not yet: {what}"))
}

/// Waits for a state of the world that nobody tells of.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let looking = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within(PATIENCE, what, looking).await;
}

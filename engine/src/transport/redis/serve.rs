//! Serves a queue: an apalis worker that takes tickets while there is a free slot.

use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use apalis_core::worker::builder::WorkerBuilder;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::Doorbell;
use super::backend::{Delivery, Lane, Tickets};
use super::health::Part;
use super::link::Backoff;
use crate::id::QueueName;

/// A closed gate is looked at this often, in case nobody tells that it opened.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Whether this process can use a ticket, and what it does with one.
pub(crate) struct Gate {
    is_open: Box<dyn Fn() -> bool + Send + Sync>,
    opened: Arc<Notify>,
    on_ticket: Box<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>,
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate")
            .field("is_open", &self.is_open())
            .finish_non_exhaustive()
    }
}

impl Gate {
    /// `is_open` tells whether a slot is free, and is cheap. `opened` may be rung
    /// when one becomes free ([`Notify::notify_one`]), which saves a tenth of a second.
    ///
    /// The next ticket is asked for when what `on_ticket` returns has ended: best
    /// when the claim it leads to has been answered, so that the slot it takes is
    /// taken by then. Whoever finds more work than slots there rings again, for others.
    pub(crate) fn new<F>(
        is_open: impl Fn() -> bool + Send + Sync + 'static,
        opened: Arc<Notify>,
        on_ticket: impl Fn() -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self {
            is_open: Box::new(is_open),
            opened,
            on_ticket: Box::new(move || on_ticket().boxed()),
        }
    }

    pub(super) fn is_open(&self) -> bool {
        (self.is_open)()
    }

    /// Resolves while it is open.
    pub(super) async fn opened(&self) {
        loop {
            let mut opened = pin!(self.opened.notified());
            // Registered before looking: what opens in between is not missed.
            opened.as_mut().enable();
            if self.is_open() {
                return;
            }
            let _ = tokio::time::timeout(LOOK_EVERY, opened).await;
        }
    }
}

/// Serves one queue until `stop`, or until the doorbell closes. Takes tickets only
/// while the gate is open, one at a time, and calls `on_ticket` for each.
pub(crate) async fn serve(
    doorbell: &Doorbell,
    queue: QueueName,
    gate: Gate,
    stop: CancellationToken,
) {
    let shared = Arc::clone(&doorbell.shared);
    let part = Part::Queue(queue.clone());
    let name = format!("tickets-{queue}-{}", shared.link.me);
    let gate = Arc::new(gate);
    // Whichever comes first ends the lane.
    let ending = stop.child_token();
    let closed = shared.stop.clone();
    let served = async {
        let mut backoff = Backoff::new();
        loop {
            let lane = Lane::new(
                Arc::clone(&shared),
                queue.clone(),
                Arc::clone(&gate),
                ending.clone(),
            );
            let gate = Arc::clone(&gate);
            let worker = WorkerBuilder::new(name.as_str())
                .backend(Tickets::new(lane))
                .build(move |taken: Delivery| Box::pin(answer(Arc::clone(&gate), taken)));
            let ended = worker.run().await;
            if ending.is_cancelled() {
                return;
            }
            // Nothing known leads here; if something does, it must not leave the queue unserved.
            tracing::error!(queue.name = %queue, ?ended, "a queue's worker ended; starting it anew");
            if !backoff.wait(&ending).await {
                return;
            }
        }
    };
    let mut served = pin!(served);
    tokio::select! {
        () = &mut served => {}
        () = closed.cancelled() => {
            ending.cancel();
            served.await;
        }
    }
    shared.health.ended(&part);
}

/// One ticket, from hand to claim. A panic is told, and ends nothing.
async fn answer(gate: Arc<Gate>, taken: Delivery) {
    let answered = AssertUnwindSafe(async { (gate.on_ticket)().await });
    if answered.catch_unwind().await.is_err() {
        tracing::error!("what answers a ticket panicked; the next look will make up for it");
    }
    drop(taken);
}

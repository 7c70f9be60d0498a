//! Tickets within one process: an apalis back end over a channel.
//!
//! One apalis worker serves each queue. It delivers; retries, time-outs and
//! state are the engine's, so its handler always succeeds.

use std::convert::Infallible;
use std::future::Future;
use std::task::{Context, Poll};

use apalis_core::backend::finalize::Ephemeral;
use apalis_core::backend::{Backend, BackendConfig};
use apalis_core::task::Task;
use apalis_core::worker::builder::WorkerBuilder;
use apalis_core::worker::context::WorkerContext;
use tokio::sync::mpsc;
use tower::layer::util::Identity;

/// An apalis back end that delivers what is sent into its channel, until the channel closes.
struct Channel<T> {
    inbox: mpsc::UnboundedReceiver<T>,
}

impl<T: Send + 'static> Backend for Channel<T> {
    type Task = Task<T>;
    type Error = Infallible;

    fn poll_ready(
        &mut self,
        _: &mut Context<'_>,
        _: &WorkerContext,
    ) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        _: &WorkerContext,
    ) -> Poll<Option<Result<Task<T>, Infallible>>> {
        self.inbox
            .poll_recv(cx)
            .map(|ticket| ticket.map(|ticket| Ok(Task::new(ticket))))
    }

    fn poll_close(
        &mut self,
        _: &mut Context<'_>,
        _: &WorkerContext,
    ) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }
}

impl<T: Send + 'static> BackendConfig for Channel<T> {
    type Args = T;
    type Id = ();
    type Kind = Ephemeral;
    type Config = ();
    type Layer = Identity;

    fn config(&self) -> &() {
        &()
    }

    fn middleware(&mut self, _: &mut WorkerContext) -> Identity {
        Identity::new()
    }
}

/// Serves a channel of tickets until it closes and the last one is handled.
pub(crate) async fn serve<T, F, Fut>(name: String, inbox: mpsc::UnboundedReceiver<T>, handle: F)
where
    T: Send + Sync + 'static,
    F: Fn(T) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let worker = WorkerBuilder::new(name)
        .backend(Channel { inbox })
        // Boxed: the worker moves the future of an attempt several times, and it is large.
        .build(move |ticket: T| Box::pin(handle(ticket)));
    if let Err(error) = worker.run().await {
        tracing::error!(%error, "a queue's worker stopped");
    }
}

//! An apalis back end that takes tickets from a queue's list, while the gate is open.
//!
//! apalis polls a back end only when its service is ready, but a ticket asked for
//! then may come when the last slot has gone. So the gate is looked at twice:
//! before asking, and when the ticket is there. One ticket is in hand at a time.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use apalis_core::backend::finalize::Ephemeral;
use apalis_core::backend::{Backend, BackendConfig};
use apalis_core::task::Task;
use apalis_core::worker::context::WorkerContext;
use futures_util::Stream;
use futures_util::StreamExt as _;
use futures_util::stream;
use redis::RedisError;
use redis::aio::MultiplexedConnection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tower::layer::util::Identity;

use super::Shared;
use super::health::Part;
use super::link::{ANSWER, Backoff};
use super::serve::Gate;
use super::ticket::{self, Ticket};
use crate::id::QueueName;

/// Redis holds the question open for so long. A process whose last slot has gone
/// stands in line until then, and passes on what it is given.
const WAIT: Duration = Duration::from_secs(2);

/// A ticket that was taken; the next is asked for when it is dropped.
#[derive(Debug)]
pub(super) struct Delivery {
    _in_hand: OwnedSemaphorePermit,
}

/// Where one queue's tickets come from.
pub(super) struct Lane {
    pub(super) shared: Arc<Shared>,
    pub(super) queue: QueueName,
    pub(super) gate: Arc<Gate>,
    pub(super) stop: CancellationToken,
    /// A connection of its own: it is mostly waiting, and what waits behind it would wait, too.
    connection: Option<MultiplexedConnection>,
    backoff: Backoff,
    in_hand: Arc<Semaphore>,
}

impl Lane {
    pub(super) fn new(
        shared: Arc<Shared>,
        queue: QueueName,
        gate: Arc<Gate>,
        stop: CancellationToken,
    ) -> Self {
        Self {
            shared,
            queue,
            gate,
            stop,
            connection: None,
            backoff: Backoff::new(),
            in_hand: Arc::new(Semaphore::new(1)),
        }
    }

    /// The next ticket that this process has a slot for; `None` when it is time to stop.
    async fn next(&mut self) -> Option<Delivery> {
        let stop = self.stop.clone();
        // Stopping drops the connection, whereupon Redis forgets the question.
        stop.run_until_cancelled(self.wanted()).await
    }

    async fn wanted(&mut self) -> Delivery {
        let in_hand = Arc::clone(&self.in_hand).acquire_owned().await;
        let in_hand = in_hand.expect("nobody closes this semaphore");
        let part = Part::Queue(self.queue.clone());
        loop {
            self.gate.opened().await;
            let failure = match self.take().await {
                Ok(None) => None,
                Ok(Some(_)) if self.gate.is_open() => {
                    self.shared.health.works(&part);
                    self.shared.health.taken();
                    self.backoff.reset();
                    return Delivery { _in_hand: in_hand };
                }
                Ok(Some(ticket)) => self.pass_on(ticket).await.err(),
                Err(error) => Some(error),
            };
            if let Some(error) = failure {
                self.connection = None;
                let error = self.shared.link.explain(&error).to_string();
                self.shared.health.failed(&part, error);
                self.backoff.wait(&self.stop).await;
            } else {
                self.shared.health.works(&part);
                self.backoff.reset();
            }
        }
    }

    async fn connected(&mut self) -> Result<&mut MultiplexedConnection, RedisError> {
        if self.connection.is_none() {
            self.connection = Some(self.shared.link.connect(WAIT + ANSWER).await?);
        }
        Ok(self.connection.as_mut().expect("it was just made"))
    }

    async fn take(&mut self) -> Result<Option<Ticket>, RedisError> {
        let mut question = redis::cmd("BLPOP");
        question
            .arg(self.shared.link.tickets(&self.queue))
            .arg(WAIT.as_secs());
        let answer: Option<(String, Vec<u8>)> =
            question.query_async(self.connected().await?).await?;
        Ok(answer.map(|(_, ticket)| Ticket::read(&ticket, &self.queue)))
    }

    /// Puts a ticket back for another process.
    async fn pass_on(&mut self, ticket: Ticket) -> Result<(), RedisError> {
        let Some(next) = ticket.passed_on() else {
            self.shared.health.dropped(1);
            return Ok(());
        };
        let mut pipe = redis::pipe();
        let key = self.shared.link.tickets(&self.queue);
        ticket::push(&mut pipe, &key, &[next.write()]);
        pipe.exec_async(self.connected().await?).await?;
        self.shared.health.passed_on();
        Ok(())
    }
}

/// A lane as apalis wants it.
pub(super) struct Tickets {
    lane: Pin<Box<dyn Stream<Item = Delivery> + Send>>,
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets").finish_non_exhaustive()
    }
}

impl Tickets {
    pub(super) fn new(lane: Lane) -> Self {
        let next = |mut lane: Lane| async { lane.next().await.map(|taken| (taken, lane)) };
        Self {
            lane: Box::pin(stream::unfold(lane, next)),
        }
    }
}

impl Backend for Tickets {
    type Task = Task<Delivery>;
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
        worker: &WorkerContext,
    ) -> Poll<Option<Result<Task<Delivery>, Infallible>>> {
        self.lane.poll_next_unpin(cx).map(|taken| {
            if taken.is_none() {
                // apalis takes the end of a back end for no reason to end the worker.
                let _ = worker.stop();
            }
            taken.map(|taken| Ok(Task::new(taken)))
        })
    }

    fn poll_close(
        &mut self,
        _: &mut Context<'_>,
        _: &WorkerContext,
    ) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }
}

impl BackendConfig for Tickets {
    type Args = Delivery;
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

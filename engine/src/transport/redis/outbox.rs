//! What is to be sent, gathered while the last flight is under way.
//!
//! Nothing here grows without bound: tickets are counted a queue, notices are a
//! set, and a flight that failed goes back to where it came from.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future;
use redis::RedisError;
use redis::aio::MultiplexedConnection;

use super::health::Part;
use super::link::{ANSWER, Backoff};
use super::notice::{Notice, Notices};
use super::ticket::{self, CAP, Ticket};
use super::{LAST_WORDS, Shared};
use crate::id::QueueName;

/// Queues that tickets are kept for. A definition may name any; no sane set of them has as many.
const MAX_QUEUES: usize = 1_024;

/// How long what nobody waits for is gathered: each flight takes time from the work it tells of.
const GATHER: Duration = Duration::from_millis(25);

/// What waits to be sent.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    tickets: BTreeMap<QueueName, usize>,
    notices: Notices,
}

impl Outbox {
    /// Adds a ticket for each; tells how many had no room.
    pub(super) fn ring(&mut self, queues: impl IntoIterator<Item = QueueName>) -> u64 {
        queues.into_iter().map(|queue| self.add(queue, 1)).sum()
    }

    fn add(&mut self, queue: QueueName, count: usize) -> u64 {
        let is_full = self.tickets.len() >= MAX_QUEUES && !self.tickets.contains_key(&queue);
        if is_full {
            return count as u64;
        }
        let waiting = self.tickets.entry(queue).or_default();
        let wanted = *waiting + count;
        *waiting = wanted.min(CAP);
        (wanted - *waiting) as u64
    }

    pub(super) fn publish(&mut self, notice: Notice) {
        self.notices.add(notice);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tickets.is_empty() && self.notices.is_empty()
    }

    /// Takes back what could not be sent; what came since is newer.
    fn take_back(&mut self, unsent: Self) -> u64 {
        let newer = std::mem::replace(&mut self.notices, unsent.notices);
        self.notices.absorb(newer);
        unsent
            .tickets
            .into_iter()
            .map(|(queue, count)| self.add(queue, count))
            .sum()
    }
}

/// Sends what is posted, until it is time to stop.
pub(super) async fn run(shared: Arc<Shared>, connection: Option<MultiplexedConnection>) {
    let mut sender = Sender {
        connection,
        backoff: Backoff::new(),
    };
    while shared
        .stop
        .run_until_cancelled(something_to_send(&shared))
        .await
        .is_some()
    {
        sender.send_all(&shared).await;
    }
    // What was rung last is worth a moment: it may be why the others start to work.
    let load = std::mem::take(&mut *shared.outbox());
    let _ = tokio::time::timeout(LAST_WORDS, sender.flight(&shared, load)).await;
}

/// Resolves at once for what is urgent, and after a while for the rest.
async fn something_to_send(shared: &Shared) {
    tokio::select! {
        () = shared.posted.notified() => {}
        () = shared.mentioned.notified() => {
            let _ = tokio::time::timeout(GATHER, shared.posted.notified()).await;
        }
    }
}

/// Resolves a moment after it was time to stop: what is under way may still arrive.
async fn too_late(shared: &Shared) {
    shared.stop.cancelled().await;
    tokio::time::sleep(LAST_WORDS).await;
}

struct Sender {
    connection: Option<MultiplexedConnection>,
    backoff: Backoff,
}

impl Sender {
    /// Until nothing is left, or it is time to stop.
    async fn send_all(&mut self, shared: &Shared) {
        loop {
            let load = std::mem::take(&mut *shared.outbox());
            if load.is_empty() {
                return;
            }
            let flight = self.flight(shared, load);
            let failure = tokio::select! {
                failure = flight => failure,
                () = too_late(shared) => return,
            };
            match failure {
                None => {
                    self.backoff.reset();
                    shared.health.works(&Part::Sender);
                }
                Some(error) => {
                    self.connection = None;
                    let error = shared.link.explain(&error).to_string();
                    shared.health.failed(&Part::Sender, error);
                    if !self.backoff.wait(&shared.stop).await {
                        return;
                    }
                }
            }
        }
    }

    /// Tickets and notices are two pipelines, side by side: a full Redis takes
    /// no tickets, but still passes notices. What fails goes back to the outbox.
    async fn flight(&mut self, shared: &Shared, mut load: Outbox) -> Option<RedisError> {
        let connection = match self.connection.take() {
            Some(connection) => Ok(connection),
            None => shared.link.connect(ANSWER).await,
        };
        let failure = match connection {
            Err(error) => Some(error),
            Ok(connection) => {
                let (tickets, notices) = future::join(
                    send_tickets(shared, connection.clone(), &load.tickets),
                    send_notices(shared, connection.clone(), &load.notices),
                )
                .await;
                self.connection = Some(connection);
                if tickets.is_ok() {
                    load.tickets.clear();
                }
                if notices.is_ok() {
                    load.notices = Notices::default();
                }
                tickets.and(notices).err()
            }
        };
        if failure.is_some() {
            let dropped = shared.outbox().take_back(load);
            shared.health.dropped(dropped);
        }
        failure
    }
}

async fn send_tickets(
    shared: &Shared,
    mut connection: MultiplexedConnection,
    tickets: &BTreeMap<QueueName, usize>,
) -> Result<(), RedisError> {
    if tickets.is_empty() {
        return Ok(());
    }
    let mut pipe = redis::pipe();
    for (queue, count) in tickets {
        let texts = vec![Ticket::new(queue).write(); *count];
        ticket::push(&mut pipe, &shared.link.tickets(queue), &texts);
    }
    let lengths: Vec<usize> = pipe.query_async(&mut connection).await?;
    for (length, pushed) in lengths.into_iter().zip(tickets.values()) {
        let dropped = length.saturating_sub(CAP).min(*pushed);
        shared.health.sent((pushed - dropped) as u64);
        shared.health.dropped(dropped as u64);
    }
    Ok(())
}

async fn send_notices(
    shared: &Shared,
    mut connection: MultiplexedConnection,
    notices: &Notices,
) -> Result<(), RedisError> {
    let messages = notices.write(&shared.link.me);
    if messages.is_empty() {
        return Ok(());
    }
    let mut pipe = redis::pipe();
    for message in &messages {
        shared.link.publish(&mut pipe, message);
    }
    pipe.exec_async(&mut connection).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(name: &str) -> QueueName {
        QueueName::new(name).expect("a name")
    }

    #[test]
    fn rings_gather_a_queue_up_to_the_cap() {
        let mut outbox = Outbox::default();
        assert_eq!(outbox.ring(vec![queue("gpu"); 10]), 0);
        assert_eq!(outbox.ring(vec![queue("gpu"); 1_000]), 1_010 - CAP as u64);
        assert_eq!(outbox.ring([queue("cpu")]), 0);
        assert_eq!(outbox.tickets.values().sum::<usize>(), CAP + 1);
    }

    #[test]
    fn no_more_than_so_many_queues_are_kept() {
        let mut outbox = Outbox::default();
        let many = (0..MAX_QUEUES + 5).map(|n| queue(&format!("q{n}")));
        assert_eq!(outbox.ring(many), 5);
        assert_eq!(outbox.ring([queue("q0")]), 0);
    }

    #[test]
    fn what_comes_back_is_older_than_what_came_since() {
        let id = crate::id::RunId::new(crate::time::Timestamp(1));
        let mut outbox = Outbox::default();
        outbox.ring(vec![queue("gpu"); CAP]);
        outbox.publish(Notice::Touched(vec![(id, false)]));
        let unsent = std::mem::take(&mut outbox);
        outbox.ring([queue("gpu")]);
        outbox.publish(Notice::Touched(vec![(id, true)]));
        assert_eq!(outbox.take_back(unsent), 1);
        let mut newest = Notices::default();
        newest.add(Notice::Touched(vec![(id, true)]));
        assert_eq!(outbox.notices, newest);
    }
}

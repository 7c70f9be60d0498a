//! Tickets and notices between processes: a doorbell on Redis.
//!
//! ```text
//!   ring(queue) ──▶ outbox ──RPUSH, LTRIM──▶ aquatint:<ns>:tickets:<queue> ──BLPOP, while a slot is free──▶ on_ticket()
//!   publish(n)  ──▶ outbox ──PUBLISH──────▶ aquatint:<ns>:notices ──SUBSCRIBE──▶ listen(), in every other process
//! ```
//!
//! Invariants:
//! - nothing here is the truth: a ticket or notice that is lost, late, doubled or
//!   out of order costs time, and what Redis holds may vanish at any moment;
//! - nobody who rings or publishes ever waits, or hears of a failure;
//! - a process without a free slot asks for no ticket, and passes on one that
//!   comes when the last slot has just gone;
//! - no failure of Redis ends a loop: each waits a little, and connects anew.
//!
//! It must not know what a ticket leads to, nor that there is a database.

mod backend;
mod error;
mod health;
mod link;
mod listener;
mod notice;
mod outbox;
mod serve;
#[cfg(test)]
mod tests;
mod ticket;

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use error::TransportError;
pub use health::{DoorbellHealth, Part, Trouble};
pub(crate) use notice::Notice;
pub(crate) use serve::{Gate, serve};

use crate::id::QueueName;
use health::Health;
use link::Link;
use outbox::Outbox;

/// Notices a slow listener may be behind before it is told that it missed some.
const NOTICES_KEPT: usize = 1_024;

/// How long closing may take to send what was rung last.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Where Redis is, and which of its users share a doorbell.
#[derive(Clone)]
pub struct RedisConfig {
    /// With user name and password: a secret.
    url: String,
    namespace: String,
}

impl RedisConfig {
    /// Processes with the same Redis and namespace hear each other.
    pub fn new(url: impl Into<String>, namespace: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            namespace: namespace.into(),
        }
    }
}

impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConfig")
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

/// Rings at other processes' doors, and hears when they ring. Cheap to clone.
///
/// Never blocks and never fails its caller: what cannot be sent is kept while
/// that is cheap, else dropped and counted.
#[derive(Debug, Clone)]
pub(crate) struct Doorbell {
    shared: Arc<Shared>,
    owner: Arc<Owner>,
}

/// What the doorbell's loops share.
#[derive(Debug)]
struct Shared {
    link: Link,
    outbox: Mutex<Outbox>,
    /// Something was put into the outbox.
    posted: tokio::sync::Notify,
    /// Something that may wait a little was put there.
    mentioned: tokio::sync::Notify,
    notices: broadcast::Sender<Notice>,
    health: Health,
    stop: CancellationToken,
}

impl Shared {
    fn outbox(&self) -> std::sync::MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the loops with the last clone of the doorbell.
#[derive(Debug)]
struct Owner {
    stop: CancellationToken,
    loops: TaskTracker,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Doorbell {
    /// Removes the tickets of queues that are not in use; how many queues' that were. A ticket is a hint:
    /// were one of them in use after all, its work would be found a moment later.
    pub(crate) async fn tidy(&self, used: &HashSet<QueueName>) -> u64 {
        let link = &self.shared.link;
        let Ok(mut connection) = link.connect(link::ANSWER).await else {
            return 0;
        };
        let prefix = format!("{}tickets:", link.prefix());
        let (mut cursor, mut idle) = (0_u64, Vec::new());
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(format!("{prefix}*"));
            scan.arg("COUNT").arg(1_000);
            let Ok((next, keys)) = scan
                .query_async::<(u64, Vec<String>)>(&mut connection)
                .await
            else {
                return 0;
            };
            idle.extend(keys.into_iter().filter(|key| {
                let queue = key.strip_prefix(&prefix).map(QueueName::new);
                !matches!(queue, Some(Ok(queue)) if used.contains(&queue))
            }));
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
        if idle.is_empty() {
            return 0;
        }
        let removed = redis::cmd("UNLINK")
            .arg(&idle)
            .query_async(&mut connection)
            .await;
        removed.unwrap_or(0)
    }

    /// Connects, looks whether this Redis will do, and subscribes.
    ///
    /// Once this has succeeded, later outages are waited out.
    ///
    /// # Errors
    /// [`TransportError`]: the URL, the server, its version or the user's permissions will not do.
    pub(crate) async fn connect(config: RedisConfig) -> Result<Self, TransportError> {
        let link = Link::open(&config)?;
        let connection = link.examine().await?;
        let subscription = link.subscribe().await.map_err(|e| link.explain(&e))?;
        let stop = CancellationToken::new();
        let shared = Arc::new(Shared {
            link,
            outbox: Mutex::default(),
            posted: tokio::sync::Notify::new(),
            mentioned: tokio::sync::Notify::new(),
            notices: broadcast::Sender::new(NOTICES_KEPT),
            health: Health::default(),
            stop: stop.clone(),
        });
        let loops = TaskTracker::new();
        loops.spawn(listener::run(Arc::clone(&shared), subscription));
        loops.spawn(outbox::run(Arc::clone(&shared), connection));
        let owner = Arc::new(Owner { stop, loops });
        Ok(Self { shared, owner })
    }

    /// These queues have work: a ticket for each, soon. A queue named n times gets
    /// n tickets, for n processes to look; more than [`ticket::CAP`] say no more.
    pub(crate) fn ring(&self, queues: impl IntoIterator<Item = QueueName>) {
        let dropped = self.shared.outbox().ring(queues);
        self.shared.health.dropped(dropped);
        self.shared.posted.notify_one();
    }

    /// Tells the other processes; that a run has come a step further, a little later.
    pub(crate) fn publish(&self, notice: Notice) {
        let is_urgent = notice.is_urgent();
        self.shared.outbox().publish(notice);
        if is_urgent {
            self.shared.posted.notify_one();
        } else {
            self.shared.mentioned.notify_one();
        }
    }

    /// What others publish from now on, never our own. A receiver that lags
    /// ([`broadcast::error::RecvError::Lagged`]) takes that for [`Notice::Missed`].
    pub(crate) fn listen(&self) -> broadcast::Receiver<Notice> {
        self.shared.notices.subscribe()
    }

    /// Whether Redis answers, and what was sent and heard so far.
    pub(crate) fn health(&self) -> DoorbellHealth {
        self.shared.health.read()
    }

    /// Sends what was rung last, if that is quick, and ends the loops.
    pub(crate) async fn close(self) {
        self.owner.stop.cancel();
        self.owner.loops.close();
        self.owner.loops.wait().await;
    }
}

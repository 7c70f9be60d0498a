//! One reader of all runs' events, for every stream that wants them.
//!
//! ```text
//!   store ──feed(position)──▶ reader ──broadcast──▶ stream, stream, …
//! ```
//!
//! A stream that begins, or falls behind, reads from the store itself until it has caught up.
//! Positions of concurrent commits may show out of order where several processes write, so the
//! reader keeps looking a little behind the last one it saw, and remembers which it has sent.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::OnceLock;
use std::time::Duration;

use aquatint_engine::Engine;
use aquatint_engine::store::FeedEntry;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

/// How far behind the newest position late ones are looked for.
pub(crate) const MARGIN: i64 = 500;

/// Commits a slow stream may lag behind before it must read from the store.
const ROOM: usize = 2_048;

/// How often to look though nothing was heard.
const SLOW_POLL: Duration = Duration::from_secs(1);

/// How long to gather before looking again.
const PACE: Duration = Duration::from_millis(20);

/// The events of all runs, as they come.
#[derive(Debug)]
pub(crate) struct Feed {
    engine: Engine,
    stopping: CancellationToken,
    /// Begun with the first stream.
    sender: OnceLock<broadcast::Sender<Arc<FeedEntry>>>,
}

impl Feed {
    pub(crate) fn new(engine: Engine, stopping: CancellationToken) -> Self {
        Self {
            engine,
            stopping,
            sender: OnceLock::new(),
        }
    }

    /// What happens from now on.
    pub(crate) fn listen(&self) -> broadcast::Receiver<Arc<FeedEntry>> {
        let sender = self.sender.get_or_init(|| {
            let (sender, _) = broadcast::channel(ROOM);
            let reader = read(self.engine.clone(), sender.clone());
            let stopping = self.stopping.clone();
            tokio::spawn(async move { stopping.run_until_cancelled(reader).await });
            sender
        });
        sender.subscribe()
    }
}

async fn read(engine: Engine, sender: broadcast::Sender<Arc<FeedEntry>>) {
    let mut changes = engine.changes();
    // One process writes in order; of several, one may be numbered first and commit second.
    let margin = if engine.doorbell().is_some() {
        MARGIN
    } else {
        0
    };
    let mut window = Window::default();
    let mut last = None;
    loop {
        let from = match last {
            Some(last) => last,
            None => match engine.last_position().await {
                Ok(now) => now,
                Err(error) => {
                    tracing::warn!(%error, "the events cannot be read; trying again");
                    tokio::time::sleep(SLOW_POLL).await;
                    continue;
                }
            },
        };
        match engine.feed((from - margin).max(0)).await {
            Ok(entries) => {
                let is_full = entries.len() >= 1_000;
                let mut newest = from;
                for entry in entries {
                    newest = newest.max(entry.position);
                    if last.is_none() && entry.position <= from {
                        window.see(entry.position);
                    } else if window.see(entry.position) {
                        // Nobody listening is no reason to stop: somebody may in a moment.
                        let _ = sender.send(Arc::new(entry));
                    }
                }
                last = Some(newest);
                window.forget_before(newest - margin);
                if is_full {
                    continue;
                }
            }
            Err(error) => tracing::warn!(%error, "the events cannot be read; trying again"),
        }
        tokio::time::sleep(PACE).await;
        let _ = tokio::time::timeout(SLOW_POLL, changes.changed()).await;
    }
}

/// Which positions near the newest one have been seen.
#[derive(Debug, Default)]
pub(crate) struct Window {
    seen: BTreeSet<i64>,
}

impl Window {
    /// Whether this one was seen.
    pub(crate) fn has(&self, position: i64) -> bool {
        self.seen.contains(&position)
    }

    /// Whether this one is new.
    pub(crate) fn see(&mut self, position: i64) -> bool {
        self.seen.insert(position)
    }

    pub(crate) fn forget_before(&mut self, position: i64) {
        self.seen = self.seen.split_off(&position);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_shows_late_is_still_new_and_is_new_once() {
        let mut window = Window::default();
        assert!(window.see(10));
        assert!(window.see(12));
        window.forget_before(12 - MARGIN);
        assert!(
            window.see(11),
            "it was committed after 12, though it was numbered before"
        );
        assert!(!window.see(11));
    }
}

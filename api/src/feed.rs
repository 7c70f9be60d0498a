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
use std::time::Duration;

use aquatint_engine::store::FeedEntry;
use aquatint_engine::{Engine, EngineError};
use tokio::sync::{OnceCell, broadcast, watch};
use tokio_util::sync::CancellationToken;

/// How far behind the newest position late ones are looked for.
pub(crate) const MARGIN: i64 = 500;

/// How far back this engine's events may still show: where one process writes, they come in order.
pub(crate) fn margin(engine: &Engine) -> i64 {
    if engine.doorbell().is_some() {
        MARGIN
    } else {
        0
    }
}

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
    sender: OnceCell<broadcast::Sender<Arc<FeedEntry>>>,
}

impl Feed {
    pub(crate) fn new(engine: Engine, stopping: CancellationToken) -> Self {
        Self {
            engine,
            stopping,
            sender: OnceCell::new(),
        }
    }

    /// What is committed from now on: when this returns, the reader knows where to begin.
    ///
    /// # Errors
    /// A store error.
    pub(crate) async fn listen(&self) -> Result<broadcast::Receiver<Arc<FeedEntry>>, EngineError> {
        let begin = async || {
            let reader = Reader::begin(self.engine.clone()).await?;
            let (sender, _) = broadcast::channel(ROOM);
            let (stopping, told) = (self.stopping.clone(), sender.clone());
            tokio::spawn(async move { stopping.run_until_cancelled(reader.run(told)).await });
            Ok::<_, EngineError>(sender)
        };
        Ok(self.sender.get_or_try_init(begin).await?.subscribe())
    }
}

/// Reads on from where it began.
struct Reader {
    engine: Engine,
    changes: watch::Receiver<u64>,
    /// One process writes in order; of several, one may be numbered first and commit second.
    margin: i64,
    last: i64,
    window: Window,
}

impl Reader {
    async fn begin(engine: Engine) -> Result<Self, EngineError> {
        // Before the position, so that nothing between the two goes without a hint.
        let changes = engine.changes();
        let margin = margin(&engine);
        let last = engine.last_position().await?;
        let mut window = Window::default();
        for entry in engine.feed((last - margin).max(0)).await? {
            if entry.position <= last {
                window.see(entry.position);
            }
        }
        Ok(Self {
            engine,
            changes,
            margin,
            last,
            window,
        })
    }

    async fn run(mut self, sender: broadcast::Sender<Arc<FeedEntry>>) {
        loop {
            match self.engine.feed((self.last - self.margin).max(0)).await {
                Ok(entries) => {
                    let is_full = entries.len() >= 1_000;
                    for entry in entries {
                        self.last = self.last.max(entry.position);
                        if self.window.see(entry.position) {
                            // Nobody listening is no reason to stop: somebody may in a moment.
                            let _ = sender.send(Arc::new(entry));
                        }
                    }
                    self.window.forget_before(self.last - self.margin);
                    if is_full {
                        continue;
                    }
                }
                Err(error) => tracing::warn!(%error, "the events cannot be read; trying again"),
            }
            tokio::time::sleep(PACE).await;
            let _ = tokio::time::timeout(SLOW_POLL, self.changes.changed()).await;
        }
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

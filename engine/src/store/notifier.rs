//! Says "look again" to whoever watches a run. A hint, never the data.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

use crate::id::{QueueName, RunId};

/// What is known of a run without looking.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Hint {
    /// Rises whenever the run may have changed.
    pub(crate) count: u64,
    /// Rises when another process wrote something: this run may be concerned, too.
    pub(crate) foreign: u64,
    /// The last change that this process made has ended the run.
    pub(crate) is_over: bool,
}

/// Who watches which run.
#[derive(Debug, Default)]
pub(crate) struct Notifier {
    watched: Mutex<HashMap<RunId, watch::Sender<Hint>>>,
    /// Rises whenever any run may have changed.
    any: watch::Sender<u64>,
}

impl Notifier {
    /// A receiver that changes whenever the run does.
    pub(crate) fn watch(&self, run: RunId) -> watch::Receiver<Hint> {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        if watched.len() > 1_000 {
            watched.retain(|_, sender| sender.receiver_count() > 0);
        }
        watched
            .entry(run)
            .or_insert_with(|| watch::channel(Hint::default()).0)
            .subscribe()
    }

    /// A receiver that changes whenever any run does.
    pub(crate) fn watch_all(&self) -> watch::Receiver<u64> {
        self.any.subscribe()
    }

    fn touched_any(&self) {
        if self.any.receiver_count() > 0 {
            self.any.send_modify(|count| *count += 1);
        }
    }

    /// These runs have changed; with each, whether it is over now.
    pub(crate) fn touched(&self, runs: impl IntoIterator<Item = (RunId, bool)>) {
        self.touched_any();
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        if watched.is_empty() {
            return;
        }
        for (run, is_over) in runs {
            if let Some(sender) = watched.get(&run) {
                if sender.receiver_count() == 0 {
                    watched.remove(&run);
                } else {
                    sender.send_modify(|hint| {
                        hint.count += 1;
                        hint.is_over = is_over;
                    });
                }
            }
        }
    }

    /// Another process wrote something: everybody looks.
    pub(crate) fn foreign(&self) {
        self.touched_any();
        let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        for sender in watched.values() {
            sender.send_modify(|hint| {
                hint.count += 1;
                hint.foreign += 1;
            });
        }
    }
}

/// Tells other processes what this one has committed. Hints: they may get lost.
pub(crate) trait Herald: std::fmt::Debug + Send + Sync {
    /// Must not wait.
    fn tell(&self, tidings: Tidings);
}

/// What others may want to know of a commit.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tidings {
    /// Queues with work that this process does not take.
    pub(crate) queues: Vec<QueueName>,
    /// Runs that have changed; with each, whether it is over now.
    pub(crate) touched: Vec<(RunId, bool)>,
    /// Runs of which running attempts were stopped.
    pub(crate) stopped: Vec<RunId>,
    /// Operators said something to workers or of queues.
    pub(crate) steered: bool,
}

//! Says "look again" to whoever watches a run. A hint, never the data.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

use crate::id::RunId;

/// Who watches which run.
#[derive(Debug, Default)]
pub(crate) struct Notifier {
    watched: Mutex<HashMap<RunId, watch::Sender<u64>>>,
}

impl Notifier {
    /// A receiver that changes whenever the run does.
    pub(crate) fn watch(&self, run: RunId) -> watch::Receiver<u64> {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        if watched.len() > 1_000 {
            watched.retain(|_, sender| sender.receiver_count() > 0);
        }
        watched
            .entry(run)
            .or_insert_with(|| watch::channel(0).0)
            .subscribe()
    }

    pub(crate) fn touched(&self, runs: impl IntoIterator<Item = RunId>) {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        if watched.is_empty() {
            return;
        }
        for run in runs {
            if let Some(sender) = watched.get(&run) {
                if sender.receiver_count() == 0 {
                    watched.remove(&run);
                } else {
                    sender.send_modify(|n| *n += 1);
                }
            }
        }
    }

    /// Another process wrote something: everybody looks.
    pub(crate) fn foreign(&self) {
        let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        for sender in watched.values() {
            sender.send_modify(|n| *n += 1);
        }
    }
}

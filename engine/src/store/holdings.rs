//! What this process holds: attempts under way, and how each is told to stop.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::claim::Claim;
use crate::id::RunId;
use crate::run::TaskKey;
use crate::workflow::MAX_LOADED;
use crate::workflow::plan::StepIndex;

/// Tells an attempt to stop, and why. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Halt {
    pub(crate) token: CancellationToken,
    /// The task is not ours any more: there is nothing to report.
    disowned: Arc<AtomicBool>,
}

impl Halt {
    /// The worker shuts down: stop, and give the task back.
    pub(crate) fn release(&self) {
        self.token.cancel();
    }

    /// The task is not ours any more: stop, and say nothing.
    pub(crate) fn disown(&self) {
        self.disowned.store(true, Ordering::SeqCst);
        self.token.cancel();
    }

    pub(crate) fn is_disowned(&self) -> bool {
        self.disowned.load(Ordering::SeqCst)
    }
}

/// The attempts this process holds. Entered before anybody can be told of the claim.
#[derive(Debug, Default)]
pub(crate) struct Holdings {
    attempts: Mutex<HashMap<TaskKey, Holding>>,
    emptied: tokio::sync::Notify,
    /// Attempts that were held and are no more.
    finished: AtomicU64,
    /// Words for what is loaded, what ran last first.
    loaded: Mutex<Vec<Arc<str>>>,
}

/// One attempt this process holds.
#[derive(Debug)]
struct Holding {
    token: i64,
    /// Which of the worker's lanes it came by.
    lane: usize,
    memory_bytes: u64,
    halt: Halt,
    since: Instant,
    /// Whether the store was told that it is under way.
    is_announced: bool,
}

impl Holdings {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<TaskKey, Holding>> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn enter(&self, claim: &Claim, lane: usize, halt: Halt) {
        let holding = Holding {
            token: claim.token,
            lane,
            memory_bytes: claim.memory_bytes,
            halt,
            since: Instant::now(),
            is_announced: false,
        };
        self.lock().insert(claim.key, holding);
    }

    /// Returns the memory that is free now.
    pub(crate) fn leave(&self, key: TaskKey, token: i64) -> u64 {
        let mut attempts = self.lock();
        let mut freed = 0;
        if attempts.get(&key).is_some_and(|held| held.token == token) {
            freed = attempts.remove(&key).map_or(0, |held| held.memory_bytes);
            self.finished.fetch_add(1, Ordering::Relaxed);
        }
        if attempts.is_empty() {
            self.emptied.notify_waiters();
        }
        freed
    }

    /// How many attempts each lane has under way.
    pub(crate) fn busy(&self, lanes: usize) -> Vec<u32> {
        let mut counts = vec![0; lanes];
        for held in self.lock().values() {
            if let Some(count) = counts.get_mut(held.lane) {
                *count += 1;
            }
        }
        counts
    }

    /// Attempts that came to an end here, whichever.
    pub(crate) fn finished(&self) -> u64 {
        self.finished.load(Ordering::Relaxed)
    }

    /// A task that preferred these has succeeded here, so that they are loaded now.
    pub(super) fn load(&self, words: &[Arc<str>]) {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.retain(|known| !words.contains(known));
        loaded.splice(0..0, words.iter().cloned());
        loaded.truncate(MAX_LOADED);
    }

    /// Words for what is loaded, what ran last first.
    pub(crate) fn loaded(&self) -> Vec<Arc<str>> {
        let loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.clone()
    }

    /// How many attempts are under way.
    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// What the tasks that are held asked for, together.
    pub(super) fn memory_bytes(&self) -> u64 {
        self.lock().values().map(|held| held.memory_bytes).sum()
    }

    pub(crate) fn contains(&self, key: TaskKey, token: i64) -> bool {
        self.lock()
            .get(&key)
            .is_some_and(|held| held.token == token)
    }

    pub(crate) fn has_any_of(&self, run: RunId) -> bool {
        self.lock().keys().any(|key| key.run == run)
    }

    pub(crate) fn list(&self) -> Vec<(TaskKey, i64)> {
        self.lock()
            .iter()
            .map(|(key, held)| (*key, held.token))
            .collect()
    }

    /// Attempts that run for longer than `age`, each told once.
    pub(crate) fn announce(&self, age: Duration) -> Vec<(TaskKey, i64)> {
        let mut attempts = self.lock();
        let fresh = attempts.iter_mut().filter(|(_, held)| !held.is_announced);
        fresh
            .filter(|(_, held)| held.since.elapsed() >= age)
            .map(|(key, held)| {
                held.is_announced = true;
                (*key, held.token)
            })
            .collect()
    }

    pub(crate) fn disown(&self, keys: &[(TaskKey, i64)]) {
        let attempts = self.lock();
        for (key, token) in keys {
            if let Some(held) = attempts.get(key)
                && held.token == *token
            {
                held.halt.disown();
            }
        }
    }

    pub(crate) fn disown_all(&self) {
        self.lock().values().for_each(|held| held.halt.disown());
    }

    pub(crate) fn release_all(&self) {
        self.lock().values().for_each(|held| held.halt.release());
    }

    pub(super) fn stop(&self, stop: Stop) {
        for (key, held) in self.lock().iter() {
            let hit = key.run == stop.run
                && stop.except != Some(key.step)
                && stop
                    .only
                    .is_none_or(|step| key.step == step && key.item >= 0);
            if hit {
                held.halt.disown();
            }
        }
    }

    /// Resolves when nothing is held.
    pub(crate) async fn empty(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.lock().is_empty() {
                return;
            }
            emptied.await;
        }
    }
}

/// Which attempts the store has just stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stop {
    pub(crate) run: RunId,
    /// Only the items of this step.
    pub(crate) only: Option<StepIndex>,
    /// All but this step.
    pub(crate) except: Option<StepIndex>,
}

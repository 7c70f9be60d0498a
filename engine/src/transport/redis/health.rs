//! How the doorbell fares: which of its connections are in trouble, and what went through them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::id::QueueName;

/// A connection of the doorbell, by what it is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Part {
    /// Sends tickets and notices.
    Sender,
    /// Hears notices.
    Listener,
    /// Takes the tickets of a queue.
    Queue(QueueName),
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sender => f.write_str("sending tickets"),
            Self::Listener => f.write_str("hearing notices"),
            Self::Queue(queue) => write!(f, "taking tickets of `{queue}`"),
        }
    }
}

/// Something that does not work now.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Trouble {
    /// Which connection.
    pub part: Part,
    /// How long ago it began.
    pub since: Duration,
    /// The last error, in a sentence.
    pub error: String,
}

/// The doorbell at this moment.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DoorbellHealth {
    /// What does not work now; empty while Redis answers.
    pub troubles: Vec<Trouble>,
    /// The last error there was, though it may be over.
    pub last_error: Option<String>,
    /// Tickets that Redis took.
    pub sent: u64,
    /// Tickets that were not sent, or not kept, since as many were waiting.
    pub dropped: u64,
    /// Tickets that led to a look at the store here.
    pub taken: u64,
    /// Tickets that came when the last slot had just gone.
    pub passed_on: u64,
    /// Notices heard from others.
    pub heard: u64,
    /// Connections made anew after a failure.
    pub reconnections: u64,
}

impl DoorbellHealth {
    /// Whether Redis answers, as far as the last attempts tell.
    #[must_use]
    pub fn answers(&self) -> bool {
        self.troubles.is_empty()
    }
}

/// What the loops report to.
#[derive(Debug, Default)]
pub(super) struct Health {
    state: Mutex<State>,
    sent: AtomicU64,
    dropped: AtomicU64,
    taken: AtomicU64,
    passed_on: AtomicU64,
    heard: AtomicU64,
    reconnections: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    troubles: BTreeMap<Part, (Instant, String)>,
    last_error: Option<String>,
}

impl Health {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a failure; it is logged when it is news.
    pub(super) fn failed(&self, part: &Part, error: String) {
        let mut state = self.state();
        state.last_error = Some(error.clone());
        if let Some((_, last)) = state.troubles.get_mut(part) {
            *last = error;
            return;
        }
        tracing::warn!(%error, "{part} does not work; work goes on at the pace of a slow poll until it does");
        state.troubles.insert(part.clone(), (Instant::now(), error));
    }

    /// Notes that a part works, perhaps again.
    pub(super) fn works(&self, part: &Part) {
        if let Some((since, _)) = self.state().troubles.remove(part) {
            self.reconnections.fetch_add(1, Ordering::Relaxed);
            tracing::info!(
                duration_ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX),
                "{part} works again"
            );
        }
    }

    /// A part that nobody wants any more has no trouble.
    pub(super) fn ended(&self, part: &Part) {
        self.state().troubles.remove(part);
    }

    pub(super) fn sent(&self, count: u64) {
        self.sent.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn dropped(&self, count: u64) {
        self.dropped.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn taken(&self) {
        self.taken.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn passed_on(&self) {
        self.passed_on.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn heard(&self) {
        self.heard.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> DoorbellHealth {
        let state = self.state();
        DoorbellHealth {
            troubles: state
                .troubles
                .iter()
                .map(|(part, (since, error))| Trouble {
                    part: part.clone(),
                    since: since.elapsed(),
                    error: error.clone(),
                })
                .collect(),
            last_error: state.last_error.clone(),
            sent: self.sent.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
            taken: self.taken.load(Ordering::Relaxed),
            passed_on: self.passed_on.load(Ordering::Relaxed),
            heard: self.heard.load(Ordering::Relaxed),
            reconnections: self.reconnections.load(Ordering::Relaxed),
        }
    }
}

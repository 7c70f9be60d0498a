//! The only clock. Everything below the engine's rim takes time as a value.
//!
//! Times are milliseconds since the Unix epoch, in the database and in memory,
//! so that both databases, tests and people compare the same numbers.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use serde::{Deserialize, Serialize};

/// A moment: milliseconds since the Unix epoch, UTC.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// This moment, `duration` later; saturates at the end of time.
    #[must_use]
    pub fn after(self, duration: std::time::Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)),
        )
    }

    /// Milliseconds from `earlier` to this moment; negative when `earlier` is later.
    #[must_use]
    pub fn since_ms(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl std::fmt::Display for Timestamp {
    /// RFC 3339, UTC, to the second: `2026-01-31T09:30:00Z`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let since_epoch = std::time::Duration::from_millis(u64::try_from(self.0).unwrap_or(0));
        let time = std::time::UNIX_EPOCH + since_epoch;
        humantime::format_rfc3339_seconds(time).fmt(f)
    }
}

/// Where "now" comes from: the system, or a test's hand. Copies share it.
#[derive(Debug, Clone)]
pub struct Clock(Source);

#[derive(Debug, Clone)]
enum Source {
    /// The system's, and how far ahead of it the shared database is, in ms.
    System(Arc<AtomicI64>),
    Manual(Arc<AtomicI64>),
}

/// Differences below this are the network's, not the clock's.
const NOTICEABLE_MS: i64 = 20;

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

impl Clock {
    /// The machine's own clock.
    #[must_use]
    pub fn system() -> Self {
        Self(Source::System(Arc::default()))
    }

    /// A clock that stands still until [`Clock::advance`] moves it.
    #[must_use]
    pub fn manual(start: Timestamp) -> Self {
        Self(Source::Manual(Arc::new(AtomicI64::new(start.0))))
    }

    /// The present moment.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::Manual(hand) => Timestamp(hand.load(Ordering::SeqCst)),
            Source::System(ahead) => {
                Timestamp(system_ms().saturating_add(ahead.load(Ordering::Relaxed)))
            }
        }
    }

    /// Moves a manual clock forward; does nothing to the system's.
    pub fn advance(&self, by: std::time::Duration) {
        if let Source::Manual(hand) = &self.0 {
            hand.fetch_add(
                i64::try_from(by.as_millis()).unwrap_or(i64::MAX),
                Ordering::SeqCst,
            );
        }
    }

    /// Goes by another machine's clock from now on, which shows `there` at this
    /// moment; does nothing to a manual one.
    pub(crate) fn follow(&self, there: Timestamp) {
        if let Source::System(ahead) = &self.0 {
            let apart = there.0.saturating_sub(system_ms());
            if (apart - ahead.load(Ordering::Relaxed)).abs() > NOTICEABLE_MS {
                ahead.store(apart, Ordering::Relaxed);
            }
        }
    }

    /// How far the clock that is followed is ahead of this machine's, ms.
    #[must_use]
    pub fn ahead_ms(&self) -> i64 {
        match &self.0 {
            Source::System(ahead) => ahead.load(Ordering::Relaxed),
            Source::Manual(_) => 0,
        }
    }
}

/// Seconds since the epoch by this machine's own clock: for those who sleep until then by it.
pub(crate) fn system_second() -> u64 {
    u64::try_from(system_ms() / 1_000).unwrap_or(0)
}

/// What this machine's own clock shows.
pub(crate) fn system_now() -> Timestamp {
    Timestamp(system_ms())
}

fn system_ms() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}

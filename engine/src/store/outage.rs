//! When the database was last away.
//!
//! While it is away no worker can renew its lease, and when it is back the leases of all of them may be over, though
//! nobody has crashed and nobody could take their work. So whoever sweeps waits, after an outage it has seen, until
//! everybody had a lease's time to come back. A crash in that time shows a lease later, or at once on the same machine.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The last outage this process has seen. Databases in files have none.
#[derive(Debug, Default)]
pub(super) struct Outage(Mutex<Option<Instant>>);

impl Outage {
    /// The database is back.
    pub(super) fn ended(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Whether one has ended less than this ago.
    pub(super) fn was_within(&self, time: Duration) -> bool {
        let ended = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ended.is_some_and(|ended| ended.elapsed() < time)
    }
}

//! When runs begin by themselves: a timing, and what happens when a tick comes late or too soon.
//!
//! Pure: a schedule's next times, and what to do about those that have come, are functions of
//! values. The rim (`scheduler`, `engine/schedules`) reads, decides and commits.
//!
//! ```text
//!   due ──jitter──▶ fires at ──looked at late?──▶ misfire ──still running?──▶ overlap ──▶ a run
//! ```
//!
//! A tick is known by its *due* time, which every process computes alike: jitter is a hash of it,
//! and an interval counts from the moment the schedule was made.

mod decide;
mod timing;

pub use decide::{Counts, Decision, Firing, Happened, Standing, decide};
pub use timing::{Clockwork, Timing, TimingError, moment};

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::id::WorkflowName;
use crate::time::Timestamp;

/// A tick that is looked at within this time is on time, ms.
pub const PUNCTUAL_MS: i64 = 60_000;
/// Due times that may wait for their turn.
pub const MAX_WAITING: usize = 1_000;
/// How far back missed ticks are made up for, unless the schedule says otherwise.
pub const DEFAULT_WINDOW: Duration = Duration::from_secs(3_600);

/// What is to begin by itself, and when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// The workflow that is run.
    pub workflow: WorkflowName,
    /// When.
    pub timing: Timing,
    /// Templates by input; `${{ run.scheduled_at }}` is the due time, RFC 3339.
    #[serde(default = "nothing")]
    pub inputs: Value,
    /// What a tick does while the run before it is still under way.
    #[serde(default)]
    pub overlap: Overlap,
    /// What becomes of ticks that nobody saw in time.
    #[serde(default)]
    pub misfire: Misfire,
    /// How far back `catch_up` goes, ms.
    #[serde(default = "default_window_ms")]
    pub window_ms: u64,
    /// Ticks are spread over this much time after they are due, ms.
    #[serde(default)]
    pub jitter_ms: u64,
    /// Added to each step's priority.
    #[serde(default)]
    pub priority: i64,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

fn nothing() -> Value {
    Value::Object(serde_json::Map::new())
}

fn default_window_ms() -> u64 {
    u64::try_from(DEFAULT_WINDOW.as_millis()).unwrap_or(u64::MAX)
}

impl Schedule {
    /// A workflow at these times, and otherwise the defaults.
    #[must_use]
    pub fn new(workflow: WorkflowName, timing: Timing) -> Self {
        Self {
            workflow,
            timing,
            inputs: nothing(),
            overlap: Overlap::default(),
            misfire: Misfire::default(),
            window_ms: default_window_ms(),
            jitter_ms: 0,
            priority: 0,
            description: None,
        }
    }

    /// How long after it is due this schedule's tick fires: the same wherever it is asked.
    #[must_use]
    pub fn spread_ms(&self, id: &str, due: Timestamp) -> i64 {
        if self.jitter_ms == 0 {
            return 0;
        }
        let hash = blake3::hash(format!("{id}@{}", due.0).as_bytes());
        let (first, _) = hash.as_bytes().split_at(8);
        let number = u64::from_le_bytes(first.try_into().expect("eight bytes are eight"));
        i64::try_from(number % self.jitter_ms).unwrap_or(0)
    }

    /// When a tick fires.
    #[must_use]
    pub fn fires_at(&self, id: &str, due: Timestamp) -> Timestamp {
        Timestamp(due.0.saturating_add(self.spread_ms(id, due)))
    }
}

/// What a tick does while the run before it is still under way.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// Nothing.
    #[default]
    Skip,
    /// It waits for its turn.
    Queue,
    /// It cancels the run before it, and begins.
    Cancel,
    /// It begins all the same.
    Allow,
}

/// What becomes of ticks that nobody saw in time.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Misfire {
    /// They are left out.
    Skip,
    /// One run stands for all of them.
    #[default]
    Once,
    /// Each gets its run, as far back as the window goes.
    CatchUp,
}

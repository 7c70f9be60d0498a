//! Tasks for what is loaded go first, within bounds.
//!
//! A step may name the models it uses (`prefer`). A process remembers the words of
//! what it has just run well, and its claims look at the first of a queue's line for
//! tasks that name the same; what ran last counts most, since there may be room for one
//! model only. Nobody waits for such a task: where there is none, the head of the line
//! is taken.
//!
//! Invariants:
//! - a claim passes over nothing but the first of the line ([`line`]);
//! - every eighth claim of a process from a queue goes by priority and age alone, so
//!   that a task with `p` tasks before it is taken by the time a process has made
//!   `8 (p + 1)` claims, whatever comes after it;
//! - a queue in which no step has named anything is claimed from as ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::claim::Claim;
use super::demand::Demand;
use super::op::Op;
use crate::transition::Outcome;

/// Claims that prefer what is loaded, one after the other.
const IN_A_ROW: u32 = 7;

/// Tasks that a claim looks at, at least.
const LEAST_LINE: i64 = 16;

/// Tasks that it looks at for each one it may take.
const LINE_PER_TASK: i64 = 4;

/// How far down the line a claim of so many looks.
pub(super) fn line(limit: i64) -> i64 {
    limit.saturating_mul(LINE_PER_TASK).max(LEAST_LINE)
}

/// What a lane knows of its tasks' preferences.
#[derive(Debug, Default)]
pub(super) struct Taste {
    /// Whether a task of this lane has ever named anything.
    has_any: AtomicBool,
    /// Claims that preferred, since the last one that did not.
    in_a_row: AtomicU32,
}

impl Taste {
    pub(super) fn learn(&self, claim: &Claim) {
        if names(claim).is_some() {
            self.has_any.store(true, Ordering::Relaxed);
        }
    }

    /// Whether the next claim may.
    pub(super) fn may_prefer(&self) -> bool {
        self.has_any.load(Ordering::Relaxed) && self.in_a_row.load(Ordering::Relaxed) < IN_A_ROW
    }

    /// A claim stands. After one that got less than it asked for, the next one goes by age: what the first of the
    /// line could not give may lie behind them.
    pub(super) fn claimed(&self, has_preferred: bool, is_full: bool) {
        let in_a_row = match (has_preferred, is_full) {
            (false, _) => 0,
            (true, true) => self.in_a_row.load(Ordering::Relaxed).saturating_add(1),
            (true, false) => IN_A_ROW,
        };
        self.in_a_row.store(in_a_row, Ordering::Relaxed);
    }
}

/// Remembers what reports of success say of what is loaded now.
pub(super) fn learn(ops: &[Op], demand: &Demand) {
    for op in ops {
        if let Op::Settle(settlement) = op
            && let Outcome::Succeeded { cached: false, .. } = settlement.outcome
            && let Some(plan) = &settlement.plan
            && let Some(step) = plan.step(settlement.key.step)
            && let Some(list) = &step.prefers
        {
            let words: Vec<Arc<str>> = serde_json::from_str(list).unwrap_or_default();
            demand.held.load(&words);
        }
    }
}

fn names(claim: &Claim) -> Option<&Arc<str>> {
    claim.plan.step(claim.key.step)?.prefers.as_ref()
}

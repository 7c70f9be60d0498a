//! A run that begins in the middle of another one.
//!
//! The other run is not touched: its history stays what it was, and what anybody remembers of its
//! results stays true. The new one takes over the results of the steps before, and does the rest.

use std::collections::BTreeSet;

use super::lifecycle::begin;
use super::{Held, NewRun, StepIndex, TaskKey, TaskState, Timestamp, Workset};
use crate::run::TaskRow;
use crate::workflow::plan::{OnFailure, Plan};

/// The steps that need not be done again: those that stand, and that do not follow one that is done again.
#[must_use]
pub fn kept(plan: &Plan, rows: &[TaskRow], from: StepIndex) -> BTreeSet<StepIndex> {
    let stands = |row: &TaskRow| match row.state {
        TaskState::Succeeded | TaskState::Skipped => true,
        // One whose failure is tolerated has let its successors go.
        TaskState::Failed => plan.steps[row.key.step as usize].on_failure != OnFailure::Fail,
        TaskState::Blocked
        | TaskState::Ready
        | TaskState::Running
        | TaskState::Retrying
        | TaskState::Cancelled => false,
    };
    let standing: BTreeSet<StepIndex> = rows
        .iter()
        .filter(|row| row.key.item == TaskKey::WHOLE && stands(row))
        .map(|row| row.key.step)
        .collect();
    let mut kept = standing.clone();
    let all = (0_u32..).take(plan.steps.len());
    let mut again: Vec<StepIndex> = all
        .filter(|s| *s == from || !standing.contains(s))
        .collect();
    while let Some(step) = again.pop() {
        kept.remove(&step);
        let follow = &plan.steps[step as usize].successors;
        again.extend(follow.iter().filter(|s| kept.contains(s)));
    }
    // What runs when a run fails belongs to the run that failed.
    if let Some(step) = plan.on_failure {
        kept.remove(&step);
    }
    kept
}

/// The first rows of a run that takes over the results of these steps; their own rows are copied, not made.
#[must_use]
pub fn repeat(new: &NewRun, kept: &BTreeSet<StepIndex>, hold: bool, now: Timestamp) -> Workset {
    let mut work = begin(new, kept, hold, now);
    for (index, step) in (0_u32..).zip(&new.plan.steps) {
        let is_begun = kept.contains(&index) || step.needs.is_empty();
        if is_begun || Some(index) == new.plan.on_failure {
            continue;
        }
        let pending = step
            .needs
            .iter()
            .filter(|need| !kept.contains(need))
            .count();
        let row = work.row_mut(index, TaskKey::WHOLE);
        row.pending = i64::try_from(pending).unwrap_or(i64::MAX);
        if pending == 0 {
            if hold {
                row.held.add(Held::CONCURRENCY);
            }
            work.make_ready(index, TaskKey::WHOLE, now);
        }
    }
    work
}

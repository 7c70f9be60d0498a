//! One trip instead of two for a report that was to be expected.
//!
//! A report is decided on rows, and to load them is a trip to the database by itself. Where a commit makes one
//! task ready, and claims it, what the task's report will need is read at the end of that same transaction. The
//! report is then decided on those rows, and its only script begins as ever by locking and loading, but compares
//! what it finds instead of answering with it: any difference fails the script before anything was written.
//!
//! ```text
//!   commit n      … save, claim, load what the claimed task's report will need, commit
//!   commit n + 1  begin, lock and load the same: fail unless it still is, save, claim, load …, commit
//!                   └─ failed: roll back, and decide anew on what is there, in two trips
//! ```
//!
//! Invariants:
//! - nothing is decided that would not have been decided on rows loaded now: all columns that decisions see are
//!   compared, by the statements that load them, under the same locks, in the same order;
//! - what was foreseen serves one report, that of the claim it was read for.

use std::collections::HashSet;
use std::sync::Arc;

use super::commit::Keys;
use super::op::Op;
use super::rows;
use crate::id::RunId;
use crate::run::TaskKey;
use crate::transition::{Proof, Settlement, rows_near};
use crate::workflow::plan::{Plan, StepIndex};

/// Reports foreseen at a time. Beyond that nobody waits for single trips.
const MAX_KNOWN: usize = 8;

/// Commits that look no further after one that was wrong: where others change the same rows all the
/// time, looking ahead would cost more trips than it saves.
const PAUSE: u32 = 16;

/// Steps that a report may touch at most, where it is to be foreseen.
const MAX_STEPS: usize = 32;

/// What a report may read and change: its run, and steps of it.
#[derive(Debug)]
pub(super) struct Question {
    task: TaskKey,
    steps: HashSet<StepIndex>,
    /// The run, as `foresee_run` takes it.
    pub(super) run: String,
    /// The steps, as `foresee_tasks` takes them.
    pub(super) steps_json: String,
}

impl Question {
    /// `None` where too much hangs on the task.
    pub(super) fn new(task: TaskKey, plan: &Plan) -> Option<Self> {
        let near = rows_near(plan, task.step, task.item);
        let is_small =
            near.len() <= MAX_STEPS && near.iter().all(|(_, item)| *item == TaskKey::WHOLE);
        let listed: Vec<StepIndex> = near.iter().map(|(step, _)| *step).collect();
        is_small.then(|| Self {
            task,
            run: task.run.to_string(),
            steps_json: rows::json(&listed),
            steps: listed.into_iter().collect(),
        })
    }

    pub(super) fn is_about(&self, task: TaskKey) -> bool {
        self.task == task
    }
}

/// What was read for a report to come.
#[derive(Debug)]
pub(super) struct Foreseen {
    pub(super) question: Question,
    /// Of the claim whose report this is for.
    token: i64,
    /// As `foresee_run` and `foresee_tasks` answered.
    pub(super) runs: String,
    pub(super) tasks: String,
}

impl Foreseen {
    /// Whether all these rows are among those that were read.
    pub(super) fn covers(&self, runs: &[RunId], rows: &Keys) -> bool {
        let run = self.question.task.run;
        let is_covered = |(of, step, item): &(RunId, StepIndex, i32)| {
            *of == run && *item == TaskKey::WHOLE && self.question.steps.contains(step)
        };
        runs == [run] && rows.iter().all(is_covered)
    }

    fn is_for(&self, settlement: &Settlement) -> bool {
        self.question.is_about(settlement.key)
            && settlement.proof == Proof::Token(self.token)
            && settlement.is_top
    }
}

/// Reports to come.
#[derive(Debug, Default)]
pub(super) struct Foresight {
    known: Vec<Foreseen>,
    /// So many more commits are not to look ahead.
    pause: u32,
    #[cfg(test)]
    pub(super) tally: Arc<Tally>,
}

/// How often reports were as foreseen, and how often not.
#[cfg(test)]
#[derive(Debug, Default)]
pub(super) struct Tally([std::sync::atomic::AtomicU64; 2]);

#[cfg(test)]
impl Tally {
    pub(super) fn read(&self) -> (u64, u64) {
        let [right, wrong] = &self.0;
        let read =
            |count: &std::sync::atomic::AtomicU64| count.load(std::sync::atomic::Ordering::SeqCst);
        (read(right), read(wrong))
    }
}

impl Foresight {
    /// Whether the commit of these requests is to look ahead: only where few share a trip does one trip count.
    pub(super) fn is_worthwhile(&mut self, ops: &[Op]) -> bool {
        if !matches!(ops, [Op::Settle(_) | Op::Submit(_)]) {
            return false;
        }
        let is_paused = self.pause > 0;
        self.pause = self.pause.saturating_sub(1);
        !is_paused
    }

    pub(super) fn keep(&mut self, question: Question, token: i64, runs: String, tasks: String) {
        if self.known.len() >= MAX_KNOWN {
            self.known.remove(0);
        }
        self.known.push(Foreseen {
            question,
            token,
            runs,
            tasks,
        });
    }

    /// What was read for the one report among these requests.
    pub(super) fn take(&mut self, ops: &[Op]) -> Option<Foreseen> {
        if self.known.is_empty() {
            return None;
        }
        let mut settlements = ops.iter().filter_map(|op| match op {
            Op::Settle(settlement) => Some(&**settlement),
            _ => None,
        });
        let (Some(settlement), None) = (settlements.next(), settlements.next()) else {
            return None;
        };
        let index = self.known.iter().position(|f| f.is_for(settlement))?;
        Some(self.known.swap_remove(index))
    }

    /// These runs have changed.
    pub(super) fn forget<'a>(&mut self, runs: impl Iterator<Item = &'a RunId>) {
        if self.known.is_empty() {
            return;
        }
        let changed: HashSet<RunId> = runs.copied().collect();
        self.known
            .retain(|foreseen| !changed.contains(&foreseen.question.task.run));
    }

    /// What was foreseen was so, or not.
    pub(super) fn learn(&mut self, was_right: bool) {
        if !was_right {
            self.pause = PAUSE;
        }
        #[cfg(test)]
        self.tally.0[usize::from(!was_right)].fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    }
}

/// The task that a commit has made ready, where it is the only one.
#[derive(Debug, Default)]
pub(super) enum Next {
    #[default]
    None,
    One(TaskKey, Arc<Plan>),
    Many,
}

impl Next {
    pub(super) fn add(&mut self, task: TaskKey, plan: &Arc<Plan>) {
        *self = match self {
            Self::None => Self::One(task, Arc::clone(plan)),
            Self::One(..) | Self::Many => Self::Many,
        };
    }
}

//! Cancelling and deleting trees of runs, a portion a commit.
//!
//! A run may have a hundred thousand items, and each may be a run of its own. To cancel or delete all of that in one
//! commit would stop everybody else for as long as it takes. So a commit has a budget of rows ([`BUDGET`]); what goes
//! beyond it is written down in `teardowns`, and whoever finds it there goes on (`Engine`'s teardown loop, in every
//! process).
//!
//! ```text
//!   cancel R ── one commit: R is Cancelled, the first rows of it too, the rest is in `teardowns` ──▶ portion ──▶ …
//!   delete R ── one commit: R's own row is gone, what belonged to it is in `teardowns` ────────────▶ portion ──▶ …
//! ```
//!
//! Invariants:
//! - from the first commit on nothing more begins: claims pass over what a row of `teardowns` covers, and what runs
//!   above it (`sql/fragments/cancelled.sql`); reports are stale, since their run, or their step, has ended;
//! - a task is cancelled in the commit that cancels the run which does its work, or notes that it is to be;
//! - runs go from the top down, and each leaves its note in the commit that deletes its row: a crash forgets nothing.

use std::time::{Duration, Instant};

use tokio::sync::{Mutex, Notify};

use super::commit::Commit;
use super::holdings::Stop;
use super::op::{Answer, Op};
use super::{Store, StoreError, rows, sql};
use crate::id::RunId;
use crate::transition::{Effect, Workset};
use crate::workflow::plan::StepIndex;

/// Rows that one commit cancels or deletes in bulk, whatever was asked of it.
pub(super) const BUDGET: i64 = 1_000;

/// Trees looked at in one portion.
const MAX_TREES: i64 = 200;

/// No step and no item has this number, but all have smaller ones.
const END: i64 = i32::MAX as i64;

/// What is still to be cancelled of a run.
#[derive(Debug, Clone, Copy)]
struct Cancellation {
    run: RunId,
    /// Only the items of this step; -1 stands for every step.
    only: i64,
    /// Not this step; -1 stands for none.
    spare: i64,
    /// Rows up to this step and item are done.
    after: (i64, i64),
    /// Whether a row of `teardowns` says so.
    is_kept: bool,
}

impl Cancellation {
    fn of(run: RunId, except: Option<StepIndex>, only: Option<StepIndex>) -> Self {
        Self {
            run,
            only: only.map_or(-1, i64::from),
            spare: except.map_or(-1, i64::from),
            after: (-1, -1),
            is_kept: false,
        }
    }
}

/// `live_tasks.sql`.
type LiveTask = (i64, i64, Option<RunId>, i64);
/// `live_tasks_of_many.sql`.
type LiveTaskOfMany = (RunId, Option<RunId>, i64);

fn parsed<T: serde::de::DeserializeOwned>(found: &[String]) -> Result<Vec<T>, StoreError> {
    found
        .iter()
        .map(|row| rows::parse(row, "teardowns"))
        .collect()
}

impl Commit<'_> {
    /// Stops what has not ended of a run: in the database now, in the workers after the commit.
    pub(super) async fn cancel_tasks(
        &mut self,
        run: RunId,
        except: Option<StepIndex>,
        only: Option<StepIndex>,
    ) -> Result<(), StoreError> {
        self.after.stops.push(Stop { run, only, except });
        self.ring_capped();
        self.cancel_some(Cancellation::of(run, except, only)).await
    }

    /// As much of a cancellation as the budget allows; the rest is written down.
    async fn cancel_some(&mut self, mut left: Cancellation) -> Result<(), StoreError> {
        let run = left.run.to_string();
        let mut children = Vec::new();
        let mut is_done = false;
        if self.rows_left > 0 {
            let which = [run.as_str().into(), left.spare.into(), left.only.into()];
            let after = [
                left.after.0.into(),
                left.after.1.into(),
                self.rows_left.into(),
            ];
            let found = self
                .ask(&sql::LIVE_TASKS, which.into_iter().chain(after))
                .await?;
            let mut found: Vec<LiveTask> = parsed(&found)?;
            is_done = i64::try_from(found.len()).is_ok_and(|count| count < self.rows_left);
            // Runs below go with their tasks where the budget is enough for both: noted down, each would go by itself.
            let share = usize::try_from(self.rows_left / 3).unwrap_or(0).max(1);
            if found.len() > share && found.iter().any(|task| task.2.is_some()) {
                found.truncate(share);
                is_done = false;
            }
            let count = i64::try_from(found.len()).unwrap_or(i64::MAX);
            self.rows_left -= count.max(1);
            let upto = match found.last() {
                Some(last) if !is_done => (last.0, last.1),
                _ => (END, END),
            };
            let statements = [&sql::CANCEL_ATTEMPTS, &sql::CANCEL_TASKS];
            let is_held = found.iter().any(|task| task.3 != 0);
            for statement in &statements[usize::from(!is_held)..] {
                let which = [run.as_str().into(), left.spare.into(), left.only.into()];
                let when = [self.now.0.into(), left.after.0.into(), left.after.1.into()];
                let to = [upto.0.into(), upto.1.into()];
                let all = which.into_iter().chain(when).chain(to);
                self.script.push(statement, all);
            }
            left.after = upto;
            children.extend(found.into_iter().filter_map(|task| task.2));
        }
        if !is_done {
            self.keep_cancellations(&[left]);
        } else if left.is_kept {
            let which = [run.into(), left.only.into()];
            self.script.push(&sql::FORGET_CANCELLATION, which);
        }
        self.cancel_runs(children).await
    }

    /// Cancels runs whose step, in the run above, was cancelled just now, and those below them.
    async fn cancel_runs(&mut self, mut runs: Vec<RunId>) -> Result<(), StoreError> {
        while !runs.is_empty() {
            let mut worksets = Vec::with_capacity(runs.len());
            for row in self.load_runs(&runs).await? {
                let plan = self.plan(&row.version).await?;
                let mut work = Workset::new(plan, row, []);
                // Ended already is as good as cancelled.
                if work.cancel(self.now).is_ok() {
                    // The step that waited for it was cancelled first, and has no use for the answer.
                    work.effects
                        .retain(|effect| matches!(effect, Effect::ReleaseConcurrency));
                    worksets.push(work);
                }
            }
            self.save(&worksets);
            Box::pin(self.perform(&mut worksets)).await?;
            let cancelled: Vec<RunId> = worksets.iter().map(|work| work.run.id).collect();
            runs = self.cancel_tasks_of(&cancelled).await?;
        }
        Ok(())
    }

    /// Stops what has not ended of these runs; returns those that do the work of what was stopped.
    async fn cancel_tasks_of(&mut self, runs: &[RunId]) -> Result<Vec<RunId>, StoreError> {
        if runs.is_empty() {
            return Ok(Vec::new());
        }
        let ids = rows::json(runs);
        let limit = self.rows_left.max(0);
        let which = [ids.as_str().into(), limit.into()];
        let found = self.ask(&sql::LIVE_TASKS_OF_MANY, which).await?;
        let found: Vec<LiveTaskOfMany> = parsed(&found)?;
        let count = i64::try_from(found.len()).unwrap_or(i64::MAX);
        let whole = |run: RunId| Stop {
            run,
            only: None,
            except: None,
        };
        if count >= limit {
            self.rows_left = 0;
            // Not all of them can be seen: each goes by itself, in commits to come.
            let left: Vec<Cancellation> = runs
                .iter()
                .map(|run| Cancellation::of(*run, None, None))
                .collect();
            self.keep_cancellations(&left);
            self.after.stops.extend(runs.iter().copied().map(whole));
            return Ok(Vec::new());
        }
        self.rows_left -= count;
        let mut held: Vec<RunId> = found
            .iter()
            .filter(|task| task.2 != 0)
            .map(|task| task.0)
            .collect();
        held.dedup();
        if !held.is_empty() {
            let how = [ids.as_str().into(), self.now.0.into()];
            self.script.push(&sql::CANCEL_ATTEMPTS_OF_MANY, how);
        }
        let how = [ids.into(), self.now.0.into()];
        self.script.push(&sql::CANCEL_TASKS_OF_MANY, how);
        self.after.stops.extend(held.into_iter().map(whole));
        Ok(found.into_iter().filter_map(|task| task.1).collect())
    }

    fn keep_cancellations(&mut self, left: &[Cancellation]) {
        let kept: Vec<_> = left
            .iter()
            .map(|c| (c.run, c.only, c.spare, c.after.0, c.after.1))
            .collect();
        self.push_rows(&sql::KEEP_CANCELLATIONS, &kept);
        self.after.has_teardowns = true;
    }

    /// Whether something of these runs is still to be cancelled.
    pub(super) async fn cancelling(&mut self, runs: &[RunId]) -> Result<Vec<RunId>, StoreError> {
        let found = self
            .ask(&sql::IS_CANCELLING, [rows::json(runs).into()])
            .await?;
        run_ids(found)
    }

    /// Deletes runs that have ended, with all that do the work of their steps; what goes beyond the budget follows in
    /// commits to come, but the runs themselves are gone. Their files are swept later, unless others refer to them.
    ///
    /// # Errors
    /// A database error. What cannot be deleted is in the answers, which are in order.
    pub(super) async fn delete(
        &mut self,
        runs: &[RunId],
    ) -> Result<Vec<Result<Answer, StoreError>>, StoreError> {
        let found = self.load_runs(runs).await?;
        let mut ended: Vec<RunId> = Vec::with_capacity(runs.len());
        let answers = runs.iter().map(|run| {
            let what = match found.iter().find(|row| row.id == *run) {
                Some(row) if row.state.is_terminal() => {
                    ended.push(*run);
                    return Ok(Answer::Done);
                }
                Some(_) => "finished run",
                None => "run",
            };
            let id = run.to_string();
            Err(StoreError::NotFound { what, id })
        });
        let answers = answers.collect();
        if ended.is_empty() {
            return Ok(answers);
        }
        let waiting = self.cancelling(&ended).await?;
        self.begin_to_delete(&ended);
        ended.retain(|run| !waiting.contains(run));
        self.after.has_teardowns |= !waiting.is_empty();
        self.bury(ended).await?;
        Ok(answers)
    }

    fn begin_to_delete(&mut self, runs: &[RunId]) {
        let ids = rows::json(runs);
        for statement in [
            &sql::KEEP_DELETIONS,
            &sql::DELETE_RUNS,
            &sql::DELETE_TAGS_OF,
        ] {
            self.script.push(statement, [ids.as_str().into()]);
        }
    }

    /// Deletes what is left of deleted runs, as far as the budget goes: what belonged to them, and the runs below.
    async fn bury(&mut self, mut runs: Vec<RunId>) -> Result<(), StoreError> {
        while !runs.is_empty() && self.rows_left > 0 {
            runs = self.bury_once(&runs).await?;
        }
        self.after.has_teardowns |= !runs.is_empty();
        Ok(())
    }

    /// [`Commit::bury`] for one level of the tree; returns the level below.
    async fn bury_once(&mut self, runs: &[RunId]) -> Result<Vec<RunId>, StoreError> {
        let ids = rows::json(runs);
        let limit = self.rows_left;
        let found = self
            .ask(&sql::CHILD_RUNS, [ids.as_str().into(), limit.into()])
            .await?;
        let children: Vec<(RunId, i64)> = parsed(&found)?;
        let (ended, live): (Vec<_>, Vec<_>) =
            children.into_iter().partition(|(_, is_over)| *is_over != 0);
        let ids_of =
            |some: Vec<(RunId, i64)>| some.into_iter().map(|(run, _)| run).collect::<Vec<_>>();
        let (ended, live) = (ids_of(ended), ids_of(live));
        let count = i64::try_from(ended.len() + live.len()).unwrap_or(i64::MAX);
        // To find that nothing is left is work, too.
        self.rows_left -= count.max(1);
        let mut is_done = count < limit && live.is_empty();
        // Nothing above them will ever ask for their results.
        Box::pin(self.cancel_runs(live)).await?;
        if !ended.is_empty() {
            self.begin_to_delete(&ended);
        }
        if self.rows_left > 0 {
            // Each table may take its share of the budget.
            let most = (self.rows_left / 2).max(1);
            self.send().await?;
            for statement in sql::DELETE_BELONGINGS {
                self.script
                    .push(statement, [ids.as_str().into(), most.into()]);
            }
            let deleted = self.send().await?;
            self.rows_left -= i64::try_from(deleted.len()).unwrap_or(i64::MAX);
            // As many as were asked for: there may be more.
            let is_full = deleted
                .chunk_by(|a, b| a == b)
                .any(|of_one_table| i64::try_from(of_one_table.len()).is_ok_and(|n| n >= most));
            is_done &= !is_full;
        } else {
            is_done = false;
        }
        if is_done {
            self.script.push(&sql::FORGET_DELETIONS, [ids.into()]);
        } else {
            self.after.has_teardowns = true;
        }
        Ok(ended)
    }

    /// The next portion of what is being cancelled or deleted: so many rows, more or less.
    pub(super) async fn tear_down(&mut self, most: i64) -> Result<Answer, StoreError> {
        self.rows_left = most;
        let found = self.ask(&sql::CANCELLATIONS, [MAX_TREES.into()]).await?;
        let cancellations: Vec<(RunId, i64, i64, i64, i64)> = parsed(&found)?;
        // All of them at once, and so in the order in which everybody locks.
        let runs: Vec<RunId> = cancellations.iter().map(|c| c.0).collect();
        self.load_runs(&runs).await?;
        let mut is_more = false;
        for (run, only, spare, step, item) in cancellations {
            if self.rows_left <= 0 {
                is_more = true;
                break;
            }
            let left = Cancellation {
                run,
                only,
                spare,
                after: (step, item),
                is_kept: true,
            };
            self.cancel_some(left).await?;
        }
        if self.rows_left > 0 {
            let found = self.ask(&sql::DELETIONS, [MAX_TREES.into()]).await?;
            is_more |= !found.is_empty();
            self.bury(run_ids(found)?).await?;
        }
        Ok(Answer::TornDown {
            rows: u64::try_from(most - self.rows_left).unwrap_or(0),
            is_more: is_more || self.after.has_teardowns,
        })
    }

    /// What finished runs wrote down, and what happened in them; the runs stay. Answers how many rows went: none means
    /// that none are left.
    pub(super) async fn delete_journals(&mut self, runs: &[RunId]) -> Result<u64, StoreError> {
        let ids = rows::json(runs);
        self.send().await?;
        for statement in [&sql::DELETE_LOGS, &sql::DELETE_EVENTS] {
            self.script
                .push(statement, [ids.as_str().into(), BUDGET.into()]);
        }
        Ok(self.send().await?.len() as u64)
    }
}

fn run_ids(found: Vec<String>) -> Result<Vec<RunId>, StoreError> {
    let ids = found.into_iter().map(|id| {
        id.parse().map_err(|_| StoreError::Corrupt {
            what: "runs.id",
            detail: id,
        })
    });
    ids.collect()
}

/// How many rows the first portion of a teardown has, and how few and how many any may have.
const FIRST_PORTION: i64 = 500;
const LEAST_PORTION: i64 = 50;
const MOST_PORTION: i64 = 4_000;

/// A portion that takes longer than this is too large, and one that takes a third of it too small.
const PORTION_TIME: Duration = Duration::from_millis(45);

impl Store {
    /// Cancels and deletes what is left to be, portion by portion, each followed by a pause of its own length: whoever
    /// else writes waits for one portion at most, and has half of the time. Returns once nothing is left, or others are
    /// at all of it.
    pub(crate) async fn tear_down(&self) -> Result<(), StoreError> {
        // Two of them in one process would only wait for each other.
        let _turn = self.teardowns.turn.lock().await;
        let mut most = FIRST_PORTION;
        loop {
            let began = Instant::now();
            let answer = self.write(Op::TearDown(most)).await?;
            let Answer::TornDown { rows, is_more } = answer else {
                unreachable!("a teardown is answered by TornDown, not {answer:?}");
            };
            if rows == 0 || !is_more {
                return Ok(());
            }
            let took = began.elapsed();
            if took > PORTION_TIME {
                most /= 2;
            } else if took < PORTION_TIME / 3 {
                most *= 2;
            }
            most = most.clamp(LEAST_PORTION, MOST_PORTION);
            tokio::time::sleep(took).await;
        }
    }

    /// Something may be left to tear down.
    pub(crate) fn wake_teardown(&self) {
        self.teardowns.wanted.notify_one();
    }

    /// Goes on with teardowns whenever one is left unfinished, until the store is closed.
    pub(crate) async fn run_teardowns(self) {
        loop {
            tokio::select! {
                () = self.readers.closing() => return,
                () = self.teardowns.wanted.notified() => {}
            }
            match self.tear_down().await {
                Ok(()) => {}
                Err(StoreError::Closed) => return,
                Err(error) => {
                    // The next sweep finds it again.
                    tracing::warn!(%error, "a portion of a cancelled or deleted tree failed; it is tried again");
                }
            }
        }
    }
}

/// Who goes on with teardowns in this process, and when.
#[derive(Debug, Default)]
pub(super) struct Teardowns {
    pub(super) wanted: Notify,
    turn: Mutex<()>,
}

//! What follows when an attempt ends.

use super::{
    AttemptOutcome, ChildOutcome, Effect, EventKind, Failure, Held, MAX_LOSSES, Outcome, Proof,
    RunState, Settlement, StepIndex, TaskError, TaskKey, TaskState, Timestamp, TransitionError,
    Workset, blank,
};
use crate::task::Remedy;
use crate::workflow::plan::{Action, FailMode, OnFailure, Plan};

/// Which rows of the run a settlement may touch: `None` means every step's own row.
///
/// Cost is local: the task, its step, the direct successors, and the step that
/// runs when a run fails. Only a failure that skips everything downstream looks further.
pub fn rows_for(plan: &Plan, settlement: &Settlement) -> Option<Vec<(StepIndex, i32)>> {
    let TaskKey { step, item, .. } = settlement.key;
    let skips = plan.steps[step as usize].on_failure == OnFailure::Skip;
    if skips && matches!(settlement.outcome, Outcome::Failed { .. }) {
        return None;
    }
    Some(rows_near(plan, step, item))
}

/// Which rows a settlement of this task may touch, unless it skips what is downstream.
#[must_use]
pub fn rows_near(plan: &Plan, step: StepIndex, item: i32) -> Vec<(StepIndex, i32)> {
    let planned = &plan.steps[step as usize];
    let mut rows = vec![(step, item)];
    if item != TaskKey::WHOLE {
        rows.push((step, TaskKey::WHOLE));
    }
    rows.extend(planned.successors.iter().map(|&s| (s, TaskKey::WHOLE)));
    rows.extend(plan.on_failure.map(|s| (s, TaskKey::WHOLE)));
    rows
}

/// How a step, or an item of one, ended.
enum End {
    Succeeded,
    Skipped,
    Failed(Failure),
}

impl Workset {
    /// Takes an attempt's report.
    ///
    /// `chance` in `0.0..1.0` spreads the back-off.
    ///
    /// # Errors
    /// [`TransitionError::Stale`] when the reporter no longer holds the task; nothing has changed then.
    pub fn settle(
        &mut self,
        settlement: &Settlement,
        now: Timestamp,
        chance: f64,
    ) -> Result<(), TransitionError> {
        let TaskKey { step, item, .. } = settlement.key;
        self.check_proof(settlement.key, settlement.proof)?;
        self.tell_start(settlement.key);
        match &settlement.outcome {
            Outcome::Succeeded { output, cached } => {
                let row = self.row_mut(step, item);
                row.output = Some(output.clone());
                row.cached = *cached;
                let (attempt, cached) = (row.attempt, *cached);
                let name = self.step_name(step);
                self.emit(
                    now,
                    EventKind::TaskSucceeded {
                        step: name,
                        item: settlement.key.item_index(),
                        attempt,
                        cached,
                    },
                );
                self.end_task(settlement, End::Succeeded, now);
            }
            Outcome::Skipped => {
                let name = self.step_name(step);
                self.emit(
                    now,
                    EventKind::TaskSkipped {
                        step: name,
                        item: settlement.key.item_index(),
                    },
                );
                self.end_task(settlement, End::Skipped, now);
            }
            Outcome::Mapped(items) => self.map(settlement, items, now),
            Outcome::Delegated(child) => {
                let id = child.id;
                let row = self.row_mut(step, item);
                row.child = Some(id);
                row.token = None;
                row.worker = None;
                let name = self.step_name(step);
                self.emit(
                    now,
                    EventKind::ChildStarted {
                        step: name,
                        item: settlement.key.item_index(),
                        child: id,
                    },
                );
            }
            Outcome::Released => {
                self.end_attempt(step, item, AttemptOutcome::Released, None, now);
                let paused = self.run.paused;
                let row = self.row_mut(step, item);
                row.state = TaskState::Ready;
                row.token = None;
                row.worker = None;
                row.started_at = None;
                if paused {
                    row.held.add(Held::PAUSED);
                }
                let (attempt, queue) = (row.attempt, row.queue.clone());
                self.ring(queue);
                let name = self.step_name(step);
                self.emit(
                    now,
                    EventKind::TaskReleased {
                        step: name,
                        item: settlement.key.item_index(),
                        attempt,
                    },
                );
            }
            Outcome::Failed { outcome, error } => {
                self.fail_task(settlement, *outcome, error, now, chance);
            }
        }
        Ok(())
    }

    /// Tells that an attempt is under way. Short ones are not told of until they
    /// end: one commit less for each.
    ///
    /// # Errors
    /// [`TransitionError::Stale`] when the attempt is over or was taken away.
    pub fn announce(&mut self, key: TaskKey, token: i64) -> Result<(), TransitionError> {
        self.check_proof(key, Proof::Token(token))?;
        self.tell_start(key);
        Ok(())
    }

    /// The first word of an attempt, dated when it began.
    fn tell_start(&mut self, key: TaskKey) {
        let row = self
            .row(key.step, key.item)
            .expect("the row under decision is loaded");
        if row.announced {
            return;
        }
        let (attempt, began) = (row.attempt, row.started_at.unwrap_or(row.due_at));
        self.row_mut(key.step, key.item).announced = true;
        let run = self.run_mut();
        run.state = RunState::Running;
        run.started_at = Some(began);
        let step = self.step_name(key.step);
        self.emit(
            began,
            EventKind::TaskStarted {
                step,
                item: key.item_index(),
                attempt,
            },
        );
    }

    /// The fence: only the holder's report counts.
    fn check_proof(&self, key: TaskKey, proof: Proof) -> Result<(), TransitionError> {
        let TaskKey { step, item, .. } = key;
        let stale = |state| Err(TransitionError::Stale { state });
        if self.run.state.is_terminal() {
            return stale(self.run.state.as_str());
        }
        let Some(row) = self.row(step, item) else {
            return stale("gone");
        };
        // What ends with its run, or with its step, is cancelled in bulk, and some of it in commits to come: until then
        // its row looks alive.
        let is_last_word = self.plan.on_failure == Some(step);
        let has_step_ended = item != TaskKey::WHOLE
            && self
                .row(step, TaskKey::WHOLE)
                .is_some_and(|group| group.state.is_terminal());
        if has_step_ended || (self.run.failure.is_some() && !is_last_word) {
            return stale(TaskState::Cancelled.as_str());
        }
        let holds = match proof {
            Proof::Token(token) => row.token == Some(token),
            Proof::Child { run, attempt } => row.child == Some(run) && row.attempt == attempt,
        };
        if row.state == TaskState::Running && holds {
            Ok(())
        } else {
            stale(row.state.as_str())
        }
    }

    /// A mapped step becomes its items.
    fn map(&mut self, settlement: &Settlement, items: &[serde_json::Value], now: Timestamp) {
        let step = settlement.key.step;
        let total = i64::try_from(items.len()).unwrap_or(i64::MAX);
        let limit = self
            .step(step)
            .map
            .as_ref()
            .and_then(|m| m.max_parallel)
            .map_or(i64::MAX, i64::from);
        let row = self.row_mut(step, TaskKey::WHOLE);
        row.total = total;
        row.open = total;
        row.failed = 0;
        row.waiting = (total - limit).max(0);
        row.token = None;
        row.worker = None;
        let name = self.step_name(step);
        self.emit(
            now,
            EventKind::TaskMapped {
                step: name,
                items: items.len() as u64,
            },
        );
        if items.is_empty() {
            self.end_step(step, End::Succeeded, settlement, now);
            return;
        }
        for (index, value) in (0_i32..).zip(items) {
            let mut item = blank(&self.run, &self.plan, step, index, now);
            item.pending = 0;
            item.input = Some(value.to_string().into());
            if i64::from(index) >= limit {
                item.state = TaskState::Ready;
                item.held.add(Held::STEP_LIMIT);
                if self.run.paused {
                    item.held.add(Held::PAUSED);
                }
                self.insert(item);
            } else {
                self.insert(item);
                self.make_ready(step, index, now);
            }
        }
    }

    /// Another try, or the end of it.
    fn fail_task(
        &mut self,
        settlement: &Settlement,
        outcome: AttemptOutcome,
        error: &TaskError,
        now: Timestamp,
        chance: f64,
    ) {
        let TaskKey { step, item, .. } = settlement.key;
        let policy = self.step(step).retry.clone();
        let name = self.step_name(step);
        let mut failure = Failure::new(outcome, error);
        failure.step = Some(name.clone());
        failure.item = settlement.key.item_index();
        self.end_attempt(step, item, outcome, Some(failure.clone()), now);

        let paused = self.run.paused;
        let row = self.row_mut(step, item);
        // A lost worker is nobody's failed try, but it has a budget of its own:
        // a task that kills whoever runs it must not go on for ever.
        let wait = if outcome == AttemptOutcome::Lost {
            row.losses += 1;
            (row.losses < MAX_LOSSES).then_some(std::time::Duration::ZERO)
        } else {
            row.tries += 1;
            let tries = u32::try_from(row.tries).unwrap_or(u32::MAX);
            policy.wait(tries, error, chance)
        };
        let attempt = row.attempt;
        row.token = None;
        row.worker = None;
        row.child = None;
        let item_index = settlement.key.item_index();
        if let Some(wait) = wait {
            row.state = TaskState::Retrying;
            row.due_at = now.after(wait);
            row.error = Some(failure.clone());
            if paused {
                row.held.add(Held::PAUSED);
            }
            let (due_at, queue) = (row.due_at, row.queue.clone());
            if wait.is_zero() {
                self.ring(queue);
            } else {
                row.held.add(Held::NOT_DUE);
                self.effects.push(Effect::WakeAt { at: due_at });
            }
            self.emit(
                now,
                EventKind::TaskRetrying {
                    step: name,
                    item: item_index,
                    attempt,
                    due_at,
                    class: failure.class,
                    message: failure.message,
                },
            );
            return;
        }
        if outcome == AttemptOutcome::Lost {
            "quarantined".clone_into(&mut failure.class);
            failure.message = format!(
                "quarantined: {MAX_LOSSES} workers vanished while running it; last: {}",
                failure.message
            );
        }
        row.error = Some(failure.clone());
        self.emit(
            now,
            EventKind::TaskFailed {
                step: name,
                item: item_index,
                attempt,
                class: failure.class.clone(),
                message: failure.message.clone(),
            },
        );
        self.end_task(settlement, End::Failed(failure), now);
    }

    /// A row reaches its last state: a step's own, or an item's.
    fn end_task(&mut self, settlement: &Settlement, end: End, now: Timestamp) {
        let TaskKey { step, item, .. } = settlement.key;
        if item == TaskKey::WHOLE {
            if self.step(step).map.is_none() {
                self.leave_place(step, item);
            }
            self.end_step(step, end, settlement, now);
            return;
        }
        self.close_row(step, item, &end, now);
        self.leave_place(step, item);
        let fail_mode = self
            .step(step)
            .map
            .as_ref()
            .map_or(FailMode::Fast, |m| m.fail);
        let group = self.row_mut(step, TaskKey::WHOLE);
        group.open -= 1;
        if let End::Failed(failure) = end {
            group.failed += 1;
            if fail_mode == FailMode::Fast {
                self.effects.push(Effect::CancelItems { step });
                self.effects.extend(
                    self.plan
                        .max_parallel
                        .map(|limit| Effect::RecountPlaces { limit }),
                );
                self.end_step(step, End::Failed(failure), settlement, now);
                return;
            }
        }
        let group = self.row_mut(step, TaskKey::WHOLE);
        if group.waiting > 0 {
            group.waiting -= 1;
            let hold = self.take_place(step, item);
            self.effects.push(Effect::ReleaseItem { step, hold });
        }
        if self
            .row(step, TaskKey::WHOLE)
            .is_some_and(|group| group.open == 0)
        {
            self.end_step(step, End::Succeeded, settlement, now);
        }
    }

    fn close_row(&mut self, step: StepIndex, item: i32, end: &End, now: Timestamp) {
        let row = self.row_mut(step, item);
        row.state = match end {
            End::Succeeded => TaskState::Succeeded,
            End::Skipped => TaskState::Skipped,
            End::Failed(_) => TaskState::Failed,
        };
        row.error = match end {
            End::Succeeded | End::Skipped => None,
            End::Failed(failure) => Some(failure.clone()),
        };
        row.token = None;
        row.held = Held::default();
        row.finished_at = Some(now);
    }

    /// A step has ended: successors, and perhaps the run.
    fn end_step(&mut self, step: StepIndex, end: End, settlement: &Settlement, now: Timestamp) {
        self.close_row(step, TaskKey::WHOLE, &end, now);
        self.run_mut().open -= 1;
        if settlement.run_output.is_some() && self.plan.sink == Some(step) {
            self.run_mut().output.clone_from(&settlement.run_output);
        }
        if self.plan.on_failure == Some(step) {
            // The last word of a failed run: its own outcome changes nothing.
            let failure = self.run.failure.clone();
            self.finish(failure, now);
            return;
        }
        let successors = self.step(step).successors.clone();
        match end {
            End::Succeeded | End::Skipped => self.satisfy(&successors, now),
            End::Failed(failure) => match self.step(step).on_failure {
                OnFailure::Continue => self.satisfy(&successors, now),
                OnFailure::Skip => self.skip(&successors, now),
                OnFailure::Fail => {
                    self.fail_run(failure, now);
                    return;
                }
            },
        }
        if self.run.open == 0 {
            self.finish(None, now);
        }
    }

    fn satisfy(&mut self, successors: &[StepIndex], now: Timestamp) {
        for &next in successors {
            let row = self.row_mut(next, TaskKey::WHOLE);
            row.pending -= 1;
            if row.pending == 0 && row.state == TaskState::Blocked {
                self.make_ready(next, TaskKey::WHOLE, now);
            }
        }
    }

    /// Skips these and all that follows from them; the step that gathers the outputs still runs.
    fn skip(&mut self, steps: &[StepIndex], now: Timestamp) {
        let mut todo = steps.to_vec();
        while let Some(next) = todo.pop() {
            if matches!(self.step(next).action, Action::Outputs) {
                self.satisfy(&[next], now);
                continue;
            }
            if self
                .row(next, TaskKey::WHOLE)
                .is_none_or(|row| row.state != TaskState::Blocked)
            {
                continue;
            }
            self.close_row(next, TaskKey::WHOLE, &End::Skipped, now);
            self.run_mut().open -= 1;
            let name = self.step_name(next);
            self.emit(
                now,
                EventKind::TaskSkipped {
                    step: name,
                    item: None,
                },
            );
            todo.extend(self.step(next).successors.iter().copied());
        }
    }

    /// A step failed for good: nothing else begins, what runs is stopped, and
    /// the workflow's `on_failure` step has the last word.
    pub(super) fn fail_run(&mut self, failure: Failure, now: Timestamp) {
        let last_word = self.plan.on_failure;
        self.run_mut().failure = Some(failure.clone());
        self.run.waiting = 0;
        self.run.active = 0;
        self.effects.retain(|e| {
            !matches!(
                e,
                Effect::ReleaseTask | Effect::ReleaseItem { .. } | Effect::RecountPlaces { .. }
            )
        });
        self.effects.push(Effect::CancelRest { except: last_word });
        if let Some(step) = last_word {
            self.run_mut().open = 1;
            self.make_ready(step, TaskKey::WHOLE, now);
        } else {
            self.run_mut().open = 0;
            self.finish(Some(failure), now);
        }
    }

    /// The run's end.
    pub(super) fn finish(&mut self, failure: Option<Failure>, now: Timestamp) {
        let retention = self.plan.retention;
        let run = self.run_mut();
        run.finished_at = Some(now);
        // A run that does a step's work is kept as long as the one above it.
        let is_top = run.parent.is_none();
        run.expires_at = retention.filter(|_| is_top).map(|keep| now.after(keep));
        let outcome = match failure {
            None => {
                run.state = RunState::Succeeded;
                ChildOutcome::Succeeded(run.output.clone().unwrap_or_else(|| "null".into()))
            }
            Some(ref failure) => {
                run.state = RunState::Failed;
                run.failure = Some(failure.clone());
                let at = failure
                    .step
                    .as_ref()
                    .map_or(String::new(), |s| format!(" at step `{s}`"));
                ChildOutcome::Failed(TaskError {
                    class: failure.class.clone(),
                    message: format!(
                        "run {} of `{}` failed{at}: {}",
                        run.id, run.workflow, failure.message
                    ),
                    remedy: Remedy::Retry,
                })
            }
        };
        let parent = run.parent;
        match failure {
            None => {
                if let Some(step) = self.plan.on_failure
                    && self
                        .row(step, TaskKey::WHOLE)
                        .is_some_and(|row| row.state == TaskState::Blocked)
                {
                    self.close_row(step, TaskKey::WHOLE, &End::Skipped, now);
                }
                self.emit(now, EventKind::RunSucceeded);
            }
            Some(failure) => self.emit(now, EventKind::RunFailed { failure }),
        }
        self.after_end(parent.map(|p| (p, outcome)));
    }

    pub(super) fn after_end(&mut self, parent: Option<(super::Parent, ChildOutcome)>) {
        if self.run.concurrency_key.is_some() {
            self.effects.push(Effect::ReleaseConcurrency);
        }
        if let Some((parent, outcome)) = parent {
            self.effects.push(Effect::SettleParent { parent, outcome });
        }
    }
}

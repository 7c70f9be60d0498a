//! A person tries a failed run again, from the failed steps on.

use super::{
    Effect, EventKind, Held, RunState, StepIndex, TaskKey, TaskState, Timestamp, TransitionError,
    Workset,
};
use crate::workflow::plan::OnFailure;

impl Workset {
    /// Puts the failed and cancelled steps of an ended run back to the start.
    ///
    /// What succeeded keeps its result. Needs every step's own row.
    ///
    /// # Errors
    /// [`TransitionError::Illegal`] unless the run failed or was cancelled.
    pub fn retry(&mut self, hold: bool, now: Timestamp) -> Result<(), TransitionError> {
        match self.run.state {
            RunState::Failed | RunState::Cancelled => {}
            RunState::Pending | RunState::Running | RunState::Succeeded => {
                return Err(TransitionError::Illegal {
                    action: "retry",
                    state: self.run.state,
                });
            }
        }
        let again: Vec<StepIndex> = (0_u32..)
            .take(self.plan.steps.len())
            .filter(|&step| Some(step) != self.plan.on_failure && self.is_to_repeat(step))
            .collect();
        let names = again.iter().map(|&step| self.step_name(step)).collect();

        let limit = self.plan.timeout;
        let run = self.run_mut();
        run.state = RunState::Running;
        run.generation += 1;
        run.failure = None;
        run.output = None;
        run.finished_at = None;
        run.expires_at = None;
        run.paused = false;
        run.deadline_at = limit.map(|limit| now.after(limit));
        run.open = i64::try_from(again.len()).unwrap_or(i64::MAX);
        run.active = 0;
        run.waiting = 0;
        let generation = run.generation;
        self.emit(
            now,
            EventKind::RunRetried {
                generation,
                steps: names,
            },
        );

        if let Some(step) = self.plan.on_failure {
            self.reset_row(step, 1);
        }
        for &step in &again {
            let pending = self.plan.steps[step as usize]
                .needs
                .iter()
                .filter(|n| again.contains(n))
                .count();
            self.reset_row(step, i64::try_from(pending).unwrap_or(i64::MAX));
        }
        for &step in &again {
            self.restart(step, hold, now);
        }
        Ok(())
    }

    fn is_to_repeat(&self, step: StepIndex) -> bool {
        let Some(row) = self.row(step, TaskKey::WHOLE) else {
            return false;
        };
        match row.state {
            TaskState::Failed => self.step(step).on_failure == OnFailure::Fail,
            TaskState::Cancelled => true,
            TaskState::Blocked | TaskState::Ready | TaskState::Running | TaskState::Retrying => {
                true
            }
            TaskState::Succeeded | TaskState::Skipped => false,
        }
    }

    fn reset_row(&mut self, step: StepIndex, pending: i64) {
        let row = self.row_mut(step, TaskKey::WHOLE);
        row.state = TaskState::Blocked;
        row.pending = pending;
        row.held = Held::default();
        row.tries = 0;
        row.losses = 0;
        row.token = None;
        row.worker = None;
        row.child = None;
        row.error = None;
        row.started_at = None;
        row.finished_at = None;
    }

    /// Begins a step whose predecessors all stand; a mapped one goes on with the items it lacks.
    fn restart(&mut self, step: StepIndex, hold: bool, now: Timestamp) {
        let row = self
            .row(step, TaskKey::WHOLE)
            .expect("retry loads every step's row");
        if row.pending > 0 {
            return;
        }
        let unfinished = row.open + row.failed;
        if self.step(step).map.is_some() && row.total > 0 && unfinished > 0 {
            let limit = self.step(step).map.as_ref().and_then(|m| m.max_parallel);
            let going = limit.map_or(unfinished, |limit| unfinished.min(i64::from(limit)));
            let free = self
                .plan
                .max_parallel
                .map(|all| (i64::from(all) - self.run.active).max(0));
            if let Some(free) = free {
                let run = self.run_mut();
                run.active += going.min(free);
                run.waiting += (going - free).max(0);
            }
            let places = free.map(|free| u32::try_from(free).unwrap_or(u32::MAX));
            let row = self.row_mut(step, TaskKey::WHOLE);
            row.state = TaskState::Running;
            row.open = unfinished;
            row.failed = 0;
            row.waiting = unfinished - going;
            self.effects.push(Effect::ResetItems {
                step,
                limit,
                places,
                hold,
            });
            return;
        }
        if hold {
            self.row_mut(step, TaskKey::WHOLE)
                .held
                .add(Held::CONCURRENCY);
        }
        self.make_ready(step, TaskKey::WHOLE, now);
    }
}

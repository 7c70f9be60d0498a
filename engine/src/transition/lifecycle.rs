//! Beginning a run, and what people do to it from outside.

use super::{
    Action, BTreeMap, Change, ChildOutcome, Effect, EventKind, Held, Loaded, NewRun, RunRow,
    RunState, StepIndex, TaskError, TaskKey, Timestamp, TransitionError, Workset, blank,
};
use crate::task::Remedy;
use std::collections::BTreeSet;

/// A run's first rows and events; `hold` keeps its first steps from being claimed
/// while another run of the same concurrency key goes on.
#[must_use]
pub fn start(new: &NewRun, hold: bool, now: Timestamp) -> Workset {
    begin(new, &BTreeSet::new(), hold, now)
}

/// [`start`] without these steps: they are done already, and their rows come from elsewhere.
pub(super) fn begin(
    new: &NewRun,
    done: &BTreeSet<StepIndex>,
    hold: bool,
    now: Timestamp,
) -> Workset {
    let plan = &new.plan;
    let counted = plan.steps.len() - usize::from(plan.on_failure.is_some()) - done.len();
    let run = RunRow {
        id: new.id,
        workflow: plan.name.clone(),
        version: plan.version.as_str().into(),
        state: RunState::Pending,
        paused: false,
        generation: 0,
        open: i64::try_from(counted).unwrap_or(i64::MAX),
        active: 0,
        waiting: 0,
        ev_seq: 0,
        priority: new.options.priority,
        parent: new.options.parent,
        concurrency_key: new.options.concurrency_key.clone(),
        output: None,
        failure: None,
        started_at: None,
        finished_at: None,
        deadline_at: plan.timeout.map(|limit| now.after(limit)),
        expires_at: None,
    };
    let tasks: BTreeMap<_, _> = (0_u32..)
        .take(plan.steps.len())
        .filter(|step| !done.contains(step))
        .map(|step| {
            let row = blank(&run, plan, step, TaskKey::WHOLE, now);
            (
                (step, TaskKey::WHOLE),
                Loaded {
                    row,
                    change: Change::New,
                },
            )
        })
        .collect();
    let mut work = Workset {
        plan: plan.clone(),
        run,
        tasks,
        attempts: Vec::new(),
        events: Vec::new(),
        effects: Vec::new(),
        run_changed: true,
    };
    let workflow = plan.name.clone();
    work.emit(now, EventKind::RunSubmitted { workflow });
    if let Some(step) = plan.on_failure {
        // It waits for no predecessor but for the run to fail.
        work.row_mut(step, TaskKey::WHOLE).pending = 1;
        work.tasks
            .get_mut(&(step, TaskKey::WHOLE))
            .expect("just made")
            .change = Change::New;
    }
    for &root in plan.roots.iter().filter(|root| !done.contains(root)) {
        if hold {
            work.row_mut(root, TaskKey::WHOLE)
                .held
                .add(Held::CONCURRENCY);
        }
        work.make_ready(root, TaskKey::WHOLE, now);
    }
    work
}

impl Workset {
    /// Cancels the run. Terminal at once: what still runs can report nothing any more.
    ///
    /// # Errors
    /// [`TransitionError::Illegal`] when it has ended already.
    pub fn cancel(&mut self, now: Timestamp) -> Result<(), TransitionError> {
        self.must_be_live("cancel")?;
        let run = self.run_mut();
        run.state = RunState::Cancelled;
        run.finished_at = Some(now);
        run.open = 0;
        run.active = 0;
        run.waiting = 0;
        let parent = run.parent;
        let error = TaskError {
            class: "cancelled".to_owned(),
            message: format!("run {} of `{}` was cancelled", run.id, run.workflow),
            remedy: Remedy::Fail,
        };
        let retention = self.plan.retention.filter(|_| parent.is_none());
        self.run_mut().expires_at = retention.map(|keep| now.after(keep));
        self.effects.push(Effect::CancelRest { except: None });
        self.emit(now, EventKind::RunCancelled);
        self.after_end(parent.map(|p| (p, ChildOutcome::Failed(error))));
        Ok(())
    }

    /// Ends the run as failed because its time is up.
    ///
    /// # Errors
    /// [`TransitionError::Illegal`] when it has ended already, or has failed and is having its last word.
    pub fn expire(&mut self, now: Timestamp) -> Result<(), TransitionError> {
        self.must_be_live("time out")?;
        if self.run.failure.is_some() {
            // To begin the last word again, at every look, would be never to end.
            return Err(TransitionError::Illegal {
                action: "time out",
                state: self.run.state,
            });
        }
        let limit = self.plan.timeout.unwrap_or_default();
        let error = TaskError::fatal(
            "timeout",
            format!(
                "the run took longer than the workflow's timeout of {}",
                humantime::format_duration(limit)
            ),
        );
        let mut failure = crate::run::Failure::new(crate::run::AttemptOutcome::TimedOut, &error);
        failure.step = None;
        self.run_mut().deadline_at = None;
        // A run that never began is not `Running`, but it fails all the same.
        self.run_mut().state = RunState::Running;
        self.fail_run(failure, now);
        Ok(())
    }

    /// Lets no further step start until [`Workset::resume`].
    ///
    /// # Errors
    /// [`TransitionError::Illegal`] when it has ended already.
    pub fn pause(&mut self, now: Timestamp) -> Result<(), TransitionError> {
        self.must_be_live("pause")?;
        if !self.run.paused {
            self.run_mut().paused = true;
            self.emit(now, EventKind::RunPaused);
        }
        Ok(())
    }

    /// Lets steps start again.
    ///
    /// # Errors
    /// [`TransitionError::Illegal`] when it has ended already.
    pub fn resume(&mut self, now: Timestamp) -> Result<(), TransitionError> {
        self.must_be_live("resume")?;
        if self.run.paused {
            self.run_mut().paused = false;
            self.emit(now, EventKind::RunResumed);
        }
        Ok(())
    }

    fn must_be_live(&self, action: &'static str) -> Result<(), TransitionError> {
        if self.run.state.is_terminal() {
            return Err(TransitionError::Illegal {
                action,
                state: self.run.state,
            });
        }
        Ok(())
    }

    /// Whether a step's own row is the engine's small work, for tests and displays.
    #[must_use]
    pub fn is_hidden(&self, step: crate::workflow::plan::StepIndex) -> bool {
        matches!(self.step(step).action, Action::Outputs)
    }
}

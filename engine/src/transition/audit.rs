//! Recounting a run: what must hold between its row, its tasks' rows and its events, whatever happened to it.
//!
//! Every counter that decisions keep is counted anew from the rows it counts, and every row is held against the plan.
//! A finding is a sentence; a run of which nothing is wrong has none.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;

use super::queue_of;
use crate::id::{RunId, WorkflowName};
use crate::run::{Event, EventKind, Held, RunState, TaskKey, TaskState};
use crate::workflow::plan::{OnFailure, Plan, StepIndex};

/// A run and everything the store knows of it, read in one moment.
#[derive(Debug, Clone, Deserialize)]
#[expect(
    missing_docs,
    reason = "the columns, one to one; migrations/ describes them"
)]
pub struct AuditedRun {
    pub id: RunId,
    pub workflow: WorkflowName,
    pub version: String,
    pub state: RunState,
    pub paused: i64,
    pub open: i64,
    pub active: i64,
    pub waiting: i64,
    pub ev_seq: i64,
    pub queued: i64,
    pub finished_at: Option<i64>,
    pub has_output: i64,
    pub has_failure: i64,
    pub parent_run: Option<RunId>,
    pub parent_attempt: Option<i64>,
    /// Of the task above it: its state, the run that does its work, and its attempt.
    pub above_state: Option<TaskState>,
    pub above_child: Option<RunId>,
    pub above_attempt: Option<i64>,
    /// Whether the run above it is there, or is being deleted.
    pub is_above_known: i64,
    /// Whether it is being cancelled or deleted, a portion at a time.
    pub is_torn_down: i64,
    pub tasks: Vec<AuditedTask>,
    /// Bodies of the rows of `events`, in order: JSON lists.
    pub events: Vec<AuditedEvents>,
}

/// A task of it.
#[derive(Debug, Clone, Deserialize)]
#[expect(
    missing_docs,
    reason = "the columns, one to one; migrations/ describes them"
)]
pub struct AuditedTask {
    pub step: StepIndex,
    pub item: i32,
    pub state: TaskState,
    pub held: i64,
    pub pending: i64,
    pub queue: String,
    pub attempt: i64,
    pub token: Option<i64>,
    pub worker_id: Option<String>,
    /// Whether there is such a worker, live or not.
    pub is_worker_known: i64,
    pub total: i64,
    pub open: i64,
    pub failed: i64,
    pub waiting: i64,
    pub child_run: Option<RunId>,
    pub child_state: Option<RunState>,
    pub has_output: i64,
    pub has_error: i64,
    /// How its present attempt is recorded among those that did not succeed.
    pub recorded: Option<String>,
}

/// The events of one commit.
#[derive(Debug, Clone, Deserialize)]
#[expect(
    missing_docs,
    reason = "the columns, one to one; migrations/ describes them"
)]
pub struct AuditedEvents {
    pub seq: i64,
    pub body: String,
}

/// Reasons to hold a task that there are.
const KNOWN_REASONS: i64 =
    Held::PAUSED | Held::STEP_LIMIT | Held::RUN_LIMIT | Held::CONCURRENCY | Held::NOT_DUE;

/// What is wrong with a run, one sentence each.
#[must_use]
pub fn audit(run: &AuditedRun, plan: &Plan) -> Vec<String> {
    let mut audit = Audit {
        run,
        plan,
        steps: BTreeMap::new(),
        items: HashMap::new(),
        found: Vec::new(),
    };
    for task in &run.tasks {
        if task.item == TaskKey::WHOLE {
            audit.steps.insert(task.step, task);
        } else {
            audit.items.entry(task.step).or_default().push(task);
        }
    }
    audit.whole_run();
    audit.events();
    if audit.has_every_step() {
        for task in &run.tasks {
            audit.task(task);
        }
        // What is cancelled a portion at a time is not yet what it will be.
        if run.is_torn_down == 0 {
            audit.counters();
            audit.mapped_steps();
        }
    }
    audit.found
}

struct Audit<'a> {
    run: &'a AuditedRun,
    plan: &'a Plan,
    /// Steps' own rows.
    steps: BTreeMap<StepIndex, &'a AuditedTask>,
    items: HashMap<StepIndex, Vec<&'a AuditedTask>>,
    found: Vec<String>,
}

impl Audit<'_> {
    fn say(&mut self, what: impl std::fmt::Display) {
        self.found.push(format!("run {}: {what}", self.run.id));
    }

    fn say_of(&mut self, task: &AuditedTask, what: impl std::fmt::Display) {
        let step = self.plan.steps.get(task.step as usize);
        let name = step.map_or_else(|| task.step.to_string(), |step| step.name.to_string());
        let item = match task.item {
            TaskKey::WHOLE => String::new(),
            item => format!("[{item}]"),
        };
        self.say(format_args!("step `{name}{item}` {what}"));
    }

    fn is_over(&self) -> bool {
        self.run.state.is_terminal()
    }

    fn whole_run(&mut self) {
        let run = self.run;
        if run.workflow != self.plan.name {
            self.say(format_args!(
                "is of `{}`, but its definition is of `{}`",
                run.workflow, self.plan.name
            ));
        }
        if self.is_over() != run.finished_at.is_some() {
            let when = if run.finished_at.is_some() {
                "an"
            } else {
                "no"
            };
            self.say(format_args!("is {}, with {when} end time", run.state));
        }
        match run.state {
            RunState::Succeeded => {
                if run.has_failure != 0 {
                    self.say("has succeeded with a failure");
                }
                if self.plan.outputs.is_some() && run.has_output == 0 {
                    self.say("has succeeded, but its outputs are gone");
                }
            }
            RunState::Failed if run.has_failure == 0 => {
                self.say("has failed, but nothing says why");
            }
            RunState::Pending | RunState::Running | RunState::Failed | RunState::Cancelled => {}
        }
        if run.parent_run.is_some() {
            self.place_in_tree();
        }
    }

    /// A run that does a step's work is waited for.
    fn place_in_tree(&mut self) {
        let run = self.run;
        if run.is_above_known == 0 {
            return self.say("does the work of a run that is gone");
        }
        if self.is_over() || run.above_state.is_none() {
            return;
        }
        let waits = run.above_state == Some(TaskState::Running)
            && run.above_child == Some(run.id)
            && run.above_attempt == run.parent_attempt;
        if !waits && run.is_torn_down == 0 {
            self.say("goes on, but the step whose work it does no longer waits for it");
        }
    }

    fn events(&mut self) {
        let mut expected = None;
        let mut last: Option<EventKind> = None;
        for row in &self.run.events {
            let Ok(events) = serde_json::from_str::<Vec<Event>>(&row.body) else {
                return self.say(format_args!("its events up to {} cannot be read", row.seq));
            };
            for event in events {
                let is_next = match expected {
                    Some(expected) => event.seq == expected,
                    // The journals of what is over are deleted after a while, the oldest first.
                    None => event.seq == 1 || self.is_over(),
                };
                if !is_next {
                    return self.say(format_args!(
                        "its events have a gap before number {}",
                        event.seq
                    ));
                }
                expected = Some(event.seq + 1);
                last = Some(event.kind);
            }
            if expected != Some(row.seq + 1) {
                return self.say(format_args!(
                    "its events up to {} are not all there",
                    row.seq
                ));
            }
        }
        let (Some(expected), Some(last)) = (expected, last) else {
            if !self.is_over() {
                self.say("has no events");
            }
            return;
        };
        if expected - 1 != self.run.ev_seq {
            let (end, counted) = (expected - 1, self.run.ev_seq);
            self.say(format_args!(
                "its events end with number {end}, its counter says {counted}"
            ));
        } else if last.ends_run() != self.is_over() {
            let how = if last.ends_run() { "end" } else { "no end" };
            self.say(format_args!(
                "is {}, but its last event is {how}",
                self.run.state
            ));
        }
    }

    /// Whether the plan's steps and the rows are the same; without that, nothing can be counted.
    fn has_every_step(&mut self) -> bool {
        let before = self.found.len();
        for (index, step) in (0..).zip(&self.plan.steps) {
            if !self.steps.contains_key(&index) {
                self.say(format_args!("step `{}` has no row", step.name));
            }
        }
        let strange = self
            .run
            .tasks
            .iter()
            .find(|t| t.step as usize >= self.plan.steps.len());
        if let Some(task) = strange {
            self.say(format_args!(
                "has a row of a step {} that its definition does not have",
                task.step
            ));
        }
        self.found.len() == before
    }

    /// What can be seen of one row.
    fn task(&mut self, task: &AuditedTask) {
        let step = &self.plan.steps[task.step as usize];
        let is_mapped = task.item == TaskKey::WHOLE && step.map.is_some();
        if task.queue != queue_of(step, task.item).as_str() {
            self.say_of(task, format_args!("stands in queue `{}`", task.queue));
        }
        if task.item != TaskKey::WHOLE && step.map.is_none() {
            self.say_of(task, "is an item of a step that maps over nothing");
        }
        if self.is_over() && !task.state.is_terminal() && self.run.is_torn_down == 0 {
            self.say_of(
                task,
                format_args!("is {} in a run that is {}", task.state, self.run.state),
            );
        }
        match task.state {
            TaskState::Running => self.running(task, is_mapped),
            TaskState::Blocked | TaskState::Ready | TaskState::Retrying => {
                if task.token.is_some() || task.worker_id.is_some() {
                    self.say_of(task, format_args!("is {} and yet leased", task.state));
                }
            }
            TaskState::Succeeded
            | TaskState::Failed
            | TaskState::Skipped
            | TaskState::Cancelled => {
                if task.token.is_some() {
                    self.say_of(task, format_args!("is {} and yet leased", task.state));
                }
            }
        }
        match task.state {
            TaskState::Succeeded => {
                if !is_mapped && task.has_output == 0 {
                    self.say_of(task, "has succeeded, but its output is gone");
                }
                if task
                    .recorded
                    .as_deref()
                    .is_some_and(|outcome| outcome != "released")
                    && task.attempt > 0
                {
                    self.say_of(
                        task,
                        "has succeeded, but its last attempt is recorded as one that did not",
                    );
                }
            }
            TaskState::Failed => {
                if task.has_error == 0 {
                    self.say_of(task, "has failed, but nothing says why");
                }
                let is_fatal = task.item == TaskKey::WHOLE
                    && step.on_failure == OnFailure::Fail
                    && self.plan.on_failure != Some(task.step);
                if is_fatal && self.run.state == RunState::Succeeded {
                    self.say_of(task, "has failed, and yet the run has succeeded");
                }
            }
            TaskState::Blocked
            | TaskState::Ready
            | TaskState::Running
            | TaskState::Retrying
            | TaskState::Skipped
            | TaskState::Cancelled => {}
        }
        self.held(task);
    }

    fn running(&mut self, task: &AuditedTask, is_mapped: bool) {
        if task.token.is_some() {
            if task.is_worker_known == 0 {
                self.say_of(task, "is leased to a worker that nobody knows");
            }
            return;
        }
        if let Some(child) = task.child_run {
            match task.child_state {
                None => self.say_of(task, format_args!("waits for run {child}, which is gone")),
                Some(state) if state.is_terminal() => {
                    self.say_of(
                        task,
                        format_args!("waits for run {child}, which is {state}"),
                    );
                }
                Some(_) => {}
            }
        } else if !(is_mapped && task.total > 0) {
            self.say_of(task, "is running under no lease, and waits for nothing");
        }
    }

    /// Why a task must not be claimed.
    fn held(&mut self, task: &AuditedTask) {
        let has = |reason| task.held & reason != 0;
        if task.held & !KNOWN_REASONS != 0 {
            self.say_of(
                task,
                format_args!("is held for reasons {} that there are not", task.held),
            );
        }
        match task.state {
            TaskState::Ready | TaskState::Retrying => {
                if has(Held::PAUSED) != (self.run.paused != 0) {
                    let is = if has(Held::PAUSED) { "is" } else { "is not" };
                    self.say_of(task, format_args!("{is} held for a pause, unlike its run"));
                }
                if has(Held::CONCURRENCY) != (self.run.queued != 0) {
                    let is = if has(Held::CONCURRENCY) {
                        "is"
                    } else {
                        "is not"
                    };
                    self.say_of(
                        task,
                        format_args!("{is} held for its concurrency key, unlike its run"),
                    );
                }
                if has(Held::NOT_DUE) && task.state == TaskState::Ready {
                    self.say_of(task, "is held for a back-off that it has not");
                }
                if has(Held::STEP_LIMIT) && task.item == TaskKey::WHOLE {
                    self.say_of(task, "is held for a limit of items, and is none");
                }
            }
            TaskState::Blocked
            | TaskState::Running
            | TaskState::Succeeded
            | TaskState::Failed
            | TaskState::Skipped
            | TaskState::Cancelled => {
                if task.held != 0 {
                    self.say_of(task, format_args!("is {} and yet held", task.state));
                }
            }
        }
    }

    /// The run's own counters, and each step's of its predecessors.
    fn counters(&mut self) {
        let (run, plan) = (self.run, self.plan);
        let is_open = |step: &StepIndex| {
            let is_last_word = plan.on_failure == Some(*step);
            let counts = if run.has_failure != 0 {
                is_last_word
            } else {
                !is_last_word
            };
            counts
                && self
                    .steps
                    .get(step)
                    .is_some_and(|task| !task.state.is_terminal())
        };
        let open = self.steps.keys().filter(|step| is_open(step)).count() as i64;
        let open = if self.is_over() { 0 } else { open };
        if run.open != open {
            self.say(format_args!("open is {}, a recount says {open}", run.open));
        } else if open == 0 && !self.is_over() {
            self.say("nothing is open, but it has not ended");
        }
        let takes_place = |task: &&AuditedTask| {
            task.item != TaskKey::WHOLE || plan.steps[task.step as usize].map.is_none()
        };
        let is_begun = |task: &&AuditedTask| match task.state {
            TaskState::Ready | TaskState::Running | TaskState::Retrying => {
                task.held & Held::STEP_LIMIT == 0
            }
            TaskState::Blocked
            | TaskState::Succeeded
            | TaskState::Failed
            | TaskState::Skipped
            | TaskState::Cancelled => false,
        };
        let placed = run.tasks.iter().filter(takes_place).filter(is_begun);
        let (waiting, active): (Vec<_>, Vec<_>) =
            placed.partition(|task| task.held & Held::RUN_LIMIT != 0);
        let counted = match plan.max_parallel {
            Some(_) if !self.is_over() && run.has_failure == 0 => {
                (active.len() as i64, waiting.len() as i64)
            }
            _ => (0, 0),
        };
        // The step that has the last word takes a place of a run that has none left to give.
        if (run.active, run.waiting) != counted && run.has_failure == 0 {
            let (active, waiting) = counted;
            self.say(format_args!(
                "{} active and {} waiting under max_parallel, a recount says {active} and {waiting}",
                run.active, run.waiting
            ));
        }
        for (index, step) in (0..).zip(&plan.steps) {
            let task = self.steps[&index];
            let pending = if plan.on_failure == Some(index) {
                i64::from(task.state == TaskState::Blocked)
            } else {
                step.needs
                    .iter()
                    .filter(|need| !self.is_satisfied(**need))
                    .count() as i64
            };
            let is_counted = match task.state {
                TaskState::Blocked
                | TaskState::Ready
                | TaskState::Running
                | TaskState::Retrying => {
                    plan.on_failure != Some(index) || task.state == TaskState::Blocked
                }
                TaskState::Succeeded
                | TaskState::Failed
                | TaskState::Skipped
                | TaskState::Cancelled => false,
            };
            if is_counted && task.pending != pending {
                self.say_of(
                    task,
                    format_args!("waits for {}, a recount says {pending}", task.pending),
                );
            } else if is_counted
                && pending == 0
                && task.state == TaskState::Blocked
                && run.has_failure == 0
            {
                self.say_of(task, "waits for nothing, and yet is blocked");
            }
        }
    }

    /// Whether a step has let those go that wait for it.
    fn is_satisfied(&self, step: StepIndex) -> bool {
        match self.steps[&step].state {
            TaskState::Succeeded | TaskState::Skipped => true,
            TaskState::Failed => self.plan.steps[step as usize].on_failure != OnFailure::Fail,
            TaskState::Blocked
            | TaskState::Ready
            | TaskState::Running
            | TaskState::Retrying
            | TaskState::Cancelled => false,
        }
    }

    /// What a mapped step's own row says of its items.
    fn mapped_steps(&mut self) {
        for (index, step) in (0..).zip(&self.plan.steps) {
            if step.map.is_none() {
                continue;
            }
            let group = self.steps[&index];
            let items = self.items.remove(&index).unwrap_or_default();
            let (mut open, mut failed, mut waiting) = (0, 0, 0);
            for (place, item) in (0..).zip(&items) {
                if item.item != place {
                    self.say_of(group, format_args!("lacks its item {place}"));
                    return;
                }
                open += i64::from(!item.state.is_terminal());
                failed += i64::from(item.state == TaskState::Failed);
                waiting += i64::from(item.held & Held::STEP_LIMIT != 0);
            }
            let total = items.len() as i64;
            if group.total != total {
                self.say_of(
                    group,
                    format_args!("has {} items, of which {total} are there", group.total),
                );
            } else if group.state == TaskState::Running
                && group.token.is_none()
                && (group.open, group.failed, group.waiting) != (open, failed, waiting)
            {
                self.say_of(
                    group,
                    format_args!(
                        "has {} items open, {} failed and {} waiting, a recount says {open}, {failed} and {waiting}",
                        group.open, group.failed, group.waiting
                    ),
                );
            }
            if let Some(item) = items.iter().find(|item| item.pending != 0) {
                self.say_of(item, "is an item, and yet waits for other steps");
            }
        }
    }
}

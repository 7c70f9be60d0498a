//! One run's rows on a desk: decisions are taken on them as the store would have
//! them taken, and what they ask for is carried out in memory. No database.

use std::collections::BTreeMap;
use std::sync::Arc;

use aquatint_engine::id::RunId;
use aquatint_engine::run::{
    AttemptOutcome, AttemptRow, Event, Held, NewRun, RunOptions, RunRow, RunState, TaskKey,
    TaskRow, TaskState,
};
use aquatint_engine::task::TaskError;
use aquatint_engine::time::Timestamp;
use aquatint_engine::transition::{
    Change, Effect, Outcome, Proof, Settlement, TransitionError, Workset, rows_for, start,
};
use aquatint_engine::workflow::{AnyCatalog, Plan, Source, Workflow};
use serde_json::json;

pub(crate) const NOW: Timestamp = Timestamp(1_000_000);
/// Lies in the middle, so that jitter changes no wait.
pub(crate) const CHANCE: f64 = 0.5;

pub(crate) struct Desk {
    pub(crate) plan: Arc<Plan>,
    pub(crate) run: RunRow,
    pub(crate) rows: BTreeMap<(u32, i32), TaskRow>,
    pub(crate) attempts: Vec<AttemptRow>,
    pub(crate) events: Vec<Event>,
    pub(crate) effects: Vec<Effect>,
    pub(crate) now: Timestamp,
    next_token: i64,
}

pub(crate) fn plan(definition: &str) -> Arc<Plan> {
    let source = Source {
        file: "test.yaml",
        text: definition,
    };
    let workflow = Workflow::parse(&source, &AnyCatalog).unwrap_or_else(|wrong| panic!("{wrong}"));
    Arc::new(Plan::compile(&workflow).unwrap())
}

pub(crate) fn new_run(plan: &Arc<Plan>, options: RunOptions) -> NewRun {
    NewRun {
        id: RunId::new(NOW),
        plan: Arc::clone(plan),
        spec: "{}".into(),
        inputs: Arc::new(json!({})),
        options,
    }
}

pub(crate) fn succeeded() -> Outcome {
    Outcome::Succeeded {
        output: "1".into(),
        cached: false,
    }
}

pub(crate) fn retryable() -> Outcome {
    Outcome::Failed {
        outcome: AttemptOutcome::Failed,
        error: TaskError::retryable("test", "try again"),
    }
}

pub(crate) fn fatal() -> Outcome {
    Outcome::Failed {
        outcome: AttemptOutcome::Failed,
        error: TaskError::fatal("test", "no use"),
    }
}

pub(crate) fn lost() -> Outcome {
    Outcome::Failed {
        outcome: AttemptOutcome::Lost,
        error: TaskError::retryable("worker_lost", "gone"),
    }
}

pub(crate) fn items(n: i64) -> Outcome {
    Outcome::Mapped((0..n).map(|i| json!(i)).collect())
}

impl Desk {
    pub(crate) fn new(definition: &str) -> Self {
        Self::submitted(definition, RunOptions::default(), false)
    }

    pub(crate) fn submitted(definition: &str, options: RunOptions, hold: bool) -> Self {
        let plan = plan(definition);
        let work = start(&new_run(&plan, options), hold, NOW);
        let mut desk = Self {
            plan,
            run: work.run.clone(),
            rows: BTreeMap::new(),
            attempts: Vec::new(),
            events: Vec::new(),
            effects: Vec::new(),
            now: NOW,
            next_token: 1,
        };
        desk.keep(work);
        desk
    }

    pub(crate) fn index(&self, step: &str) -> u32 {
        self.plan
            .step_index(step)
            .unwrap_or_else(|| panic!("no step `{step}`"))
    }

    pub(crate) fn row(&self, step: &str) -> &TaskRow {
        &self.rows[&(self.index(step), TaskKey::WHOLE)]
    }

    pub(crate) fn item(&self, step: &str, item: i32) -> &TaskRow {
        &self.rows[&(self.index(step), item)]
    }

    pub(crate) fn states(&self) -> Vec<(String, TaskState)> {
        self.rows
            .values()
            .filter(|r| r.key.item < 0)
            .map(|r| {
                (
                    self.plan.steps[r.key.step as usize].name.to_string(),
                    r.state,
                )
            })
            .collect()
    }

    /// Every row that a worker could claim now.
    pub(crate) fn claimable(&self) -> Vec<(String, i32)> {
        self.rows
            .values()
            .filter(|r| matches!(r.state, TaskState::Ready | TaskState::Retrying) && !r.held.any())
            .map(|r| {
                (
                    self.plan.steps[r.key.step as usize].name.to_string(),
                    r.key.item,
                )
            })
            .collect()
    }

    /// As a worker does: attempt + 1, a fresh token, and the run is on its way.
    pub(crate) fn claim(&mut self, step: &str, item: i32) -> i64 {
        let key = (self.index(step), item);
        let token = self.next_token;
        self.next_token += 1;
        let now = self.now;
        let row = self.rows.get_mut(&key).unwrap();
        assert!(
            matches!(row.state, TaskState::Ready | TaskState::Retrying),
            "{step}/{item} is {}",
            row.state
        );
        assert!(!row.held.any(), "{step}/{item} is held by {}", row.held.0);
        row.state = TaskState::Running;
        row.attempt += 1;
        row.token = Some(token);
        row.started_at = Some(now);
        self.run.state = RunState::Running;
        token
    }

    pub(crate) fn settlement(
        &self,
        step: &str,
        item: i32,
        token: i64,
        outcome: Outcome,
    ) -> Settlement {
        Settlement {
            key: TaskKey {
                run: self.run.id,
                step: self.index(step),
                item,
            },
            proof: Proof::Token(token),
            outcome,
            artifacts: Vec::new(),
            run_output: None,
            cache_key: None,
            plan: None,
            is_top: false,
        }
    }

    pub(crate) fn settle(
        &mut self,
        step: &str,
        item: i32,
        token: i64,
        outcome: Outcome,
    ) -> Result<(), TransitionError> {
        let settlement = self.settlement(step, item, token, outcome);
        self.deliver(&settlement)
    }

    /// Claims and settles.
    pub(crate) fn play(&mut self, step: &str, item: i32, outcome: Outcome) {
        let token = self.claim(step, item);
        self.settle(step, item, token, outcome).unwrap();
    }

    /// [`Desk::play`] of a step that is not mapped.
    pub(crate) fn step(&mut self, step: &str, outcome: Outcome) {
        self.play(step, TaskKey::WHOLE, outcome);
    }

    /// Gives a decision exactly the rows it asked for: one that touches more panics.
    pub(crate) fn deliver(&mut self, settlement: &Settlement) -> Result<(), TransitionError> {
        let rows: Vec<TaskRow> = match rows_for(&self.plan, settlement) {
            Some(keys) => keys
                .iter()
                .filter_map(|key| self.rows.get(key).cloned())
                .collect(),
            None => self
                .rows
                .values()
                .filter(|r| r.key.item < 0 || r.key == settlement.key)
                .cloned()
                .collect(),
        };
        let mut work = Workset::new(Arc::clone(&self.plan), self.run.clone(), rows);
        let result = work.settle(settlement, self.now, CHANCE);
        if result.is_err() {
            assert_untouched(&work);
        }
        self.keep(work);
        result
    }

    /// What people and time do to the run as a whole.
    pub(crate) fn act(
        &mut self,
        action: impl FnOnce(&mut Workset, Timestamp) -> Result<(), TransitionError>,
    ) -> Result<(), TransitionError> {
        let rows: Vec<TaskRow> = self
            .rows
            .values()
            .filter(|r| r.key.item < 0)
            .cloned()
            .collect();
        let mut work = Workset::new(Arc::clone(&self.plan), self.run.clone(), rows);
        let result = action(&mut work, self.now);
        if result.is_err() {
            assert_untouched(&work);
        }
        self.keep(work);
        result
    }

    fn keep(&mut self, work: Workset) {
        self.run = work.run;
        for (key, loaded) in work.tasks {
            match loaded.change {
                Change::None => {}
                Change::Updated => assert!(
                    self.rows.insert(key, loaded.row).is_some(),
                    "{key:?} was to exist"
                ),
                Change::New => assert!(
                    self.rows.insert(key, loaded.row).is_none(),
                    "{key:?} existed already"
                ),
            }
        }
        self.attempts.extend(work.attempts);
        for event in work.events {
            assert_eq!(
                event.seq,
                i64::try_from(self.events.len()).unwrap() + 1,
                "events are numbered without gaps"
            );
            self.events.push(event);
        }
        self.effects.clone_from(&work.effects);
        let (last, first): (Vec<_>, Vec<_>) = work
            .effects
            .iter()
            .partition(|e| matches!(e, Effect::RecountPlaces { .. }));
        for effect in first.into_iter().chain(last) {
            self.perform(effect);
        }
    }

    fn perform(&mut self, effect: &Effect) {
        let end = |row: &mut TaskRow| {
            if !row.state.is_terminal() {
                row.state = TaskState::Cancelled;
                row.token = None;
                row.held = Held::default();
            }
        };
        match effect {
            Effect::CancelRest { except } => {
                self.rows
                    .values_mut()
                    .filter(|r| Some(r.key.step) != *except)
                    .for_each(end);
            }
            Effect::CancelItems { step } => {
                self.rows
                    .values_mut()
                    .filter(|r| r.key.step == *step && r.key.item >= 0)
                    .for_each(end);
            }
            Effect::ReleaseItem { step, hold } => {
                let next = self
                    .rows
                    .values_mut()
                    .find(|r| r.key.step == *step && r.held.0 & Held::STEP_LIMIT != 0);
                let row = next.expect("an item waits, as the step's counter says");
                row.held.0 &= !Held::STEP_LIMIT;
                if *hold {
                    row.held.add(Held::RUN_LIMIT);
                }
            }
            Effect::ReleaseTask => {
                let next = self
                    .rows
                    .values_mut()
                    .find(|r| r.held.0 & Held::RUN_LIMIT != 0);
                next.expect("a task waits, as the run's counter says")
                    .held
                    .0 &= !Held::RUN_LIMIT;
            }
            Effect::ResetItems {
                step,
                limit,
                places,
                hold,
            } => {
                let mut place = 0;
                for row in self
                    .rows
                    .values_mut()
                    .filter(|r| r.key.step == *step && r.key.item >= 0)
                {
                    if matches!(row.state, TaskState::Succeeded | TaskState::Skipped) {
                        continue;
                    }
                    place += 1;
                    row.state = TaskState::Ready;
                    row.held = Held(if limit.is_some_and(|limit| place > limit) {
                        Held::STEP_LIMIT
                    } else if places.is_some_and(|places| place > places) {
                        Held::RUN_LIMIT
                    } else {
                        0
                    });
                    if *hold {
                        row.held.add(Held::CONCURRENCY);
                    }
                    row.tries = 0;
                    row.losses = 0;
                }
            }
            Effect::RecountPlaces { limit } => {
                let plan = Arc::clone(&self.plan);
                let takes_place = |r: &&mut TaskRow| {
                    matches!(
                        r.state,
                        TaskState::Ready | TaskState::Running | TaskState::Retrying
                    ) && r.held.0 & Held::STEP_LIMIT == 0
                        && (r.key.item >= 0 || plan.steps[r.key.step as usize].map.is_none())
                };
                let (waiting, holding): (Vec<_>, Vec<_>) = self
                    .rows
                    .values_mut()
                    .filter(takes_place)
                    .partition(|r| r.held.0 & Held::RUN_LIMIT != 0);
                self.run.active = i64::try_from(holding.len()).unwrap();
                self.run.waiting = i64::try_from(waiting.len()).unwrap();
                for row in waiting {
                    if self.run.active < i64::from(*limit) {
                        row.held.0 &= !Held::RUN_LIMIT;
                        self.run.active += 1;
                        self.run.waiting -= 1;
                    }
                }
            }
            Effect::ReleaseConcurrency
            | Effect::SettleParent { .. }
            | Effect::Ring { .. }
            | Effect::WakeAt { .. } => {}
        }
    }
}

/// A refused decision left everything as it was.
pub(crate) fn assert_untouched(work: &Workset) {
    assert!(
        work.tasks
            .values()
            .all(|loaded| loaded.change == Change::None),
        "rows changed"
    );
    assert!(
        work.events.is_empty() && work.effects.is_empty() && work.attempts.is_empty(),
        "something was noted"
    );
    assert!(!work.run_changed, "the run changed");
}

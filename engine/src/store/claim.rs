//! Claiming: the store chooses, for whoever has a free slot.
//!
//! A worker states its demand once: its queues, and a semaphore of slots for
//! each. Every commit that may have made work claimable ends by claiming as
//! much as there are free slots, in the same transaction; so a step's successor
//! starts without a commit of its own, and an idle worker costs nothing.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::commit::Commit;
use super::script::Parameter;
use super::{StoreError, rows, sql};
use crate::id::{QueueName, RunId, WorkerId, WorkflowName};
use crate::run::TaskKey;
use crate::workflow::plan::{Plan, StepIndex};

/// Tasks claimed for one queue in one commit at most.
const MAX_CLAIMS: usize = 256;

/// A task that is ours to run: made only by a successful claim.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) key: TaskKey,
    pub(crate) attempt: i64,
    pub(crate) token: i64,
    /// The item, as JSON text, where the task is one.
    pub(crate) item: Option<String>,
    pub(crate) plan: Arc<Plan>,
    pub(crate) run: Arc<ClaimedRun>,
}

/// What every claim of one run shares.
#[derive(Debug)]
pub(crate) struct ClaimedRun {
    pub(crate) workflow: WorkflowName,
    pub(crate) no_cache: bool,
    pub(crate) depth: i64,
    pub(crate) priority: i64,
    /// As JSON text; `None` when long, to be read apart and kept.
    pub(crate) inputs: Option<String>,
}

/// A claim, the slot it was claimed for, and how it is told to stop.
#[derive(Debug)]
pub(crate) struct Granted {
    pub(crate) claim: Claim,
    pub(crate) permit: OwnedSemaphorePermit,
    pub(crate) halt: Halt,
}

/// Tells an attempt to stop, and why. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Halt {
    pub(crate) token: CancellationToken,
    /// The task is not ours any more: there is nothing to report.
    disowned: Arc<AtomicBool>,
}

impl Halt {
    /// The worker shuts down: stop, and give the task back.
    pub(crate) fn release(&self) {
        self.token.cancel();
    }

    /// The task is not ours any more: stop, and say nothing.
    pub(crate) fn disown(&self) {
        self.disowned.store(true, Ordering::SeqCst);
        self.token.cancel();
    }

    pub(crate) fn is_disowned(&self) -> bool {
        self.disowned.load(Ordering::SeqCst)
    }
}

/// The attempts this process holds. Entered before anybody can be told of the claim.
#[derive(Debug, Default)]
pub(crate) struct Holdings {
    attempts: Mutex<HashMap<TaskKey, Holding>>,
    emptied: tokio::sync::Notify,
}

/// One attempt this process holds.
#[derive(Debug)]
struct Holding {
    token: i64,
    halt: Halt,
    since: Instant,
    /// Whether the store was told that it is under way.
    is_announced: bool,
}

impl Holdings {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<TaskKey, Holding>> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, key: TaskKey, token: i64, halt: Halt) {
        let holding = Holding {
            token,
            halt,
            since: Instant::now(),
            is_announced: false,
        };
        self.lock().insert(key, holding);
    }

    pub(crate) fn leave(&self, key: TaskKey, token: i64) {
        let mut attempts = self.lock();
        if attempts.get(&key).is_some_and(|held| held.token == token) {
            attempts.remove(&key);
        }
        if attempts.is_empty() {
            self.emptied.notify_waiters();
        }
    }

    pub(crate) fn contains(&self, key: TaskKey, token: i64) -> bool {
        self.lock()
            .get(&key)
            .is_some_and(|held| held.token == token)
    }

    pub(crate) fn has_any_of(&self, run: RunId) -> bool {
        self.lock().keys().any(|key| key.run == run)
    }

    pub(crate) fn list(&self) -> Vec<(TaskKey, i64)> {
        self.lock()
            .iter()
            .map(|(key, held)| (*key, held.token))
            .collect()
    }

    /// Attempts that run for longer than `age`, each told once.
    pub(crate) fn announce(&self, age: Duration) -> Vec<(TaskKey, i64)> {
        let mut attempts = self.lock();
        let fresh = attempts.iter_mut().filter(|(_, held)| !held.is_announced);
        fresh
            .filter(|(_, held)| held.since.elapsed() >= age)
            .map(|(key, held)| {
                held.is_announced = true;
                (*key, held.token)
            })
            .collect()
    }

    pub(crate) fn disown(&self, keys: &[(TaskKey, i64)]) {
        let attempts = self.lock();
        for (key, token) in keys {
            if let Some(held) = attempts.get(key)
                && held.token == *token
            {
                held.halt.disown();
            }
        }
    }

    pub(crate) fn disown_all(&self) {
        self.lock().values().for_each(|held| held.halt.disown());
    }

    pub(crate) fn release_all(&self) {
        self.lock().values().for_each(|held| held.halt.release());
    }

    fn stop(&self, stop: Stop) {
        for (key, held) in self.lock().iter() {
            let hit = key.run == stop.run
                && stop.except != Some(key.step)
                && stop
                    .only
                    .is_none_or(|step| key.step == step && key.item >= 0);
            if hit {
                held.halt.disown();
            }
        }
    }

    /// Resolves when nothing is held.
    pub(crate) async fn empty(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.lock().is_empty() {
                return;
            }
            emptied.await;
        }
    }
}

/// Which attempts the store has just stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stop {
    pub(crate) run: RunId,
    /// Only the items of this step.
    pub(crate) only: Option<StepIndex>,
    /// All but this step.
    pub(crate) except: Option<StepIndex>,
}

/// One queue a worker serves.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) queue: QueueName,
    pub(crate) slots: Arc<Semaphore>,
    pub(crate) tickets: mpsc::UnboundedSender<Granted>,
    /// False while the last claim found less than it asked for and nothing has rung since.
    rung: AtomicBool,
    /// Rung when a claim left slots free.
    pub(crate) opened: Arc<Notify>,
}

impl Lane {
    pub(crate) fn new(
        queue: QueueName,
        slots: Arc<Semaphore>,
        tickets: mpsc::UnboundedSender<Granted>,
    ) -> Self {
        Self {
            queue,
            slots,
            tickets,
            rung: AtomicBool::new(true),
            opened: Arc::default(),
        }
    }
}

/// What a worker process can take.
#[derive(Debug)]
pub(crate) struct Demand {
    worker: Mutex<WorkerId>,
    pub(crate) lanes: Vec<Lane>,
    pub(crate) held: Arc<Holdings>,
    closed: AtomicBool,
    /// Its lease is over, and it has not begun anew yet.
    suspended: AtomicBool,
    /// Rung when it should look at once whether what it holds is still its own.
    pub(crate) doubt: Notify,
}

impl Demand {
    pub(crate) fn new(worker: WorkerId, lanes: Vec<Lane>) -> Self {
        Self {
            worker: Mutex::new(worker),
            lanes,
            held: Arc::default(),
            closed: AtomicBool::new(false),
            suspended: AtomicBool::new(false),
            doubt: Notify::new(),
        }
    }

    pub(crate) fn worker(&self) -> WorkerId {
        *self.worker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A worker that was given up for lost goes on under a new name.
    pub(crate) fn rename(&self, worker: WorkerId) {
        *self.worker.lock().unwrap_or_else(PoisonError::into_inner) = worker;
        self.suspended.store(false, Ordering::SeqCst);
    }

    /// Claims nothing until the next [`Demand::rename`].
    pub(crate) fn suspend(&self) {
        self.suspended.store(true, Ordering::SeqCst);
    }

    /// Whether a slot of a lane is free for a task to come.
    pub(crate) fn has_room(&self, lane: usize) -> bool {
        !self.closed.load(Ordering::SeqCst)
            && !self.suspended.load(Ordering::SeqCst)
            && self.lanes[lane].slots.available_permits() > 0
    }

    /// Claims no more.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    /// Whether this process leaves nothing in a queue for others to take, as far as it knows.
    pub(super) fn has_all_of(&self, queue: &QueueName) -> bool {
        let lane = self.lanes.iter().find(|lane| lane.queue == *queue);
        lane.is_some_and(|lane| !lane.rung.load(Ordering::Relaxed))
    }

    pub(super) fn ring_all(&self) {
        for lane in &self.lanes {
            lane.rung.store(true, Ordering::Relaxed);
        }
    }

    pub(super) fn grant(&self, lane: usize, granted: Granted) {
        let claim = &granted.claim;
        self.held
            .enter(claim.key, claim.token, granted.halt.clone());
        // A lane whose worker is gone drops the grant; its lease will show it.
        let _ = self.lanes[lane].tickets.send(granted);
    }

    pub(super) fn stop(&self, stop: Stop) {
        self.held.stop(stop);
    }
}

/// `claim.sql`.
#[derive(Debug, Deserialize)]
pub(super) struct Claimed(
    RunId,
    StepIndex,
    i32,
    i64,
    QueueName,
    Option<String>,
    RunOfClaim,
);

#[derive(Debug, Deserialize)]
struct RunOfClaim(WorkflowName, Arc<str>, i64, i64, i64, Option<String>);

/// Claims on their way: which lanes asked for how many, under which token.
#[derive(Debug)]
pub(super) struct Asked {
    token: i64,
    lanes: Vec<(usize, usize)>,
}

impl Commit<'_> {
    /// Asks for what the worker's free slots can take; `None` when there is nothing to ask for.
    pub(super) fn ask_for_claims(&mut self, demand: &Demand) -> Option<Asked> {
        if demand.closed.load(Ordering::SeqCst) || demand.suspended.load(Ordering::SeqCst) {
            return None;
        }
        let mut asked = Asked {
            token: fastrand::i64(1..i64::MAX),
            lanes: Vec::new(),
        };
        let worker = demand.worker().to_string();
        for (index, lane) in demand.lanes.iter().enumerate() {
            if self.after.rings.contains(&lane.queue) || self.after.looks.contains(&lane.queue) {
                lane.rung.store(true, Ordering::Relaxed);
            }
            let free = lane.slots.available_permits().min(MAX_CLAIMS);
            if free == 0 || !lane.rung.load(Ordering::Relaxed) {
                continue;
            }
            let who = [
                asked.token.into(),
                worker.as_str().into(),
                self.now.0.into(),
            ];
            let limit = i64::try_from(free).unwrap_or(i64::MAX);
            let what = [lane.queue.as_str().into(), limit.into()];
            self.script.push(&sql::CLAIM, who.into_iter().chain(what));
            asked.lanes.push((index, free));
        }
        (!asked.lanes.is_empty()).then_some(asked)
    }
}

impl Asked {
    /// Worker and token, by which these claims are found.
    pub(super) fn proof(&self, demand: &Demand) -> [Parameter; 2] {
        [demand.worker().to_string().into(), self.token.into()]
    }

    /// Hands out what the store gave, once it stands.
    pub(super) fn granted(
        self,
        demand: &Demand,
        found: Vec<Claimed>,
        plans: &HashMap<Arc<str>, Arc<Plan>>,
    ) -> Result<Vec<(usize, Granted)>, StoreError> {
        let mut granted = Vec::with_capacity(found.len());
        let mut counts = vec![0; demand.lanes.len()];
        for Claimed(run, step, item, attempt, queue, input, of) in found {
            let RunOfClaim(workflow, version, no_cache, depth, priority, inputs) = of;
            let lane = self
                .lanes
                .iter()
                .map(|(lane, _)| *lane)
                .find(|lane| demand.lanes[*lane].queue == queue);
            let Some(lane) = lane else {
                return Err(StoreError::Corrupt {
                    what: "task_runs",
                    detail: format!("a claim for `{queue}`, which nobody asked for"),
                });
            };
            counts[lane] += 1;
            let Some(plan) = plans.get(&version) else {
                continue;
            };
            // Only the writer takes slots, so those that were free still are.
            let Ok(permit) = Arc::clone(&demand.lanes[lane].slots).try_acquire_owned() else {
                continue;
            };
            let claim = Claim {
                key: TaskKey { run, step, item },
                attempt,
                token: self.token,
                item: input,
                plan: Arc::clone(plan),
                run: Arc::new(ClaimedRun {
                    workflow,
                    no_cache: no_cache != 0,
                    depth,
                    priority,
                    inputs,
                }),
            };
            let halt = Halt::default();
            granted.push((
                lane,
                Granted {
                    claim,
                    permit,
                    halt,
                },
            ));
        }
        for (lane, asked_for) in self.lanes {
            let may_be_more = counts[lane] == asked_for;
            let lane = &demand.lanes[lane];
            lane.rung.store(may_be_more, Ordering::Relaxed);
            if !may_be_more {
                lane.opened.notify_one();
            }
        }
        Ok(granted)
    }
}

impl Claimed {
    /// Reads the rows that claims answered with.
    pub(super) fn read(rows: &[String]) -> Result<Vec<Self>, StoreError> {
        rows.iter()
            .map(|row| rows::parse(row, "task_runs"))
            .collect()
    }

    /// The version of the definition its run is pinned to.
    pub(super) fn version(&self) -> &Arc<str> {
        &self.6.1
    }
}

//! Claiming: the store chooses, for whoever has a free slot.
//!
//! A worker states its demand once: its queues, and a semaphore of slots for
//! each. Every commit that may have made work claimable ends by claiming as
//! much as there are free slots, in the same transaction; so a step's successor
//! starts without a commit of its own, and an idle worker costs nothing.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::commit::Commit;
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
    pub(crate) generation: i64,
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
pub(crate) struct Held {
    attempts: Mutex<HashMap<TaskKey, (i64, Halt)>>,
    emptied: tokio::sync::Notify,
}

impl Held {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<TaskKey, (i64, Halt)>> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, key: TaskKey, token: i64, halt: Halt) {
        self.lock().insert(key, (token, halt));
    }

    pub(crate) fn leave(&self, key: TaskKey, token: i64) {
        let mut attempts = self.lock();
        if attempts.get(&key).is_some_and(|(t, _)| *t == token) {
            attempts.remove(&key);
        }
        if attempts.is_empty() {
            self.emptied.notify_waiters();
        }
    }

    pub(crate) fn list(&self) -> Vec<(TaskKey, i64)> {
        self.lock()
            .iter()
            .map(|(key, (token, _))| (*key, *token))
            .collect()
    }

    pub(crate) fn disown(&self, keys: &[(TaskKey, i64)]) {
        let attempts = self.lock();
        for (key, token) in keys {
            if let Some((held, halt)) = attempts.get(key)
                && held == token
            {
                halt.disown();
            }
        }
    }

    pub(crate) fn disown_all(&self) {
        self.lock().values().for_each(|(_, halt)| halt.disown());
    }

    pub(crate) fn release_all(&self) {
        self.lock().values().for_each(|(_, halt)| halt.release());
    }

    fn stop(&self, stop: Stop) {
        for (key, (_, halt)) in self.lock().iter() {
            let hit = key.run == stop.run
                && stop.except != Some(key.step)
                && stop
                    .only
                    .is_none_or(|step| key.step == step && key.item >= 0);
            if hit {
                halt.disown();
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
        }
    }
}

/// What a worker process can take.
#[derive(Debug)]
pub(crate) struct Demand {
    worker: Mutex<WorkerId>,
    pub(crate) lanes: Vec<Lane>,
    pub(crate) held: Arc<Held>,
    closed: AtomicBool,
}

impl Demand {
    pub(crate) fn new(worker: WorkerId, lanes: Vec<Lane>) -> Self {
        Self {
            worker: Mutex::new(worker),
            lanes,
            held: Arc::default(),
            closed: AtomicBool::new(false),
        }
    }

    pub(crate) fn worker(&self) -> WorkerId {
        *self.worker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A worker that was given up for lost goes on under a new name.
    pub(crate) fn rename(&self, worker: WorkerId) {
        *self.worker.lock().unwrap_or_else(PoisonError::into_inner) = worker;
    }

    /// Claims no more.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
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
#[derive(Deserialize)]
struct Claimed(
    RunId,
    StepIndex,
    i32,
    i64,
    #[expect(dead_code, reason = "the statement's column")] QueueName,
    #[expect(dead_code, reason = "the statement's column")] Option<i64>,
    Option<String>,
);

/// `claimed_runs.sql`.
#[derive(Deserialize)]
struct RunOfClaim(
    RunId,
    WorkflowName,
    Arc<str>,
    i64,
    i64,
    i64,
    i64,
    Option<String>,
);

impl Commit<'_> {
    /// Claims what the worker's free slots can take.
    pub(super) async fn claim(
        &mut self,
        demand: &Demand,
    ) -> Result<Vec<(usize, Granted)>, StoreError> {
        if demand.closed.load(Ordering::SeqCst) {
            return Ok(Vec::new());
        }
        let token = fastrand::i64(1..i64::MAX);
        let worker = demand.worker().to_string();
        let mut claimed = Vec::new();
        let mut permits = Vec::new();
        for (index, lane) in demand.lanes.iter().enumerate() {
            if self.after.rings.contains(&lane.queue) {
                lane.rung.store(true, Ordering::Relaxed);
            }
            let free = lane.slots.available_permits().min(MAX_CLAIMS);
            if free == 0 || !lane.rung.load(Ordering::Relaxed) {
                continue;
            }
            let found: Vec<String> = sqlx::query_scalar(sql::CLAIM)
                .bind(token)
                .bind(&worker)
                .bind(self.now.0)
                .bind(lane.queue.as_str())
                .bind(i64::try_from(free).unwrap_or(i64::MAX))
                .fetch_all(&mut *self.conn)
                .await?;
            lane.rung.store(found.len() == free, Ordering::Relaxed);
            for row in found {
                let Ok(permit) = Arc::clone(&lane.slots).try_acquire_owned() else {
                    // Slots were taken away meanwhile; the worker's heartbeat will give the task back.
                    break;
                };
                claimed.push(rows::parse::<Claimed>(&row, "task_runs")?);
                permits.push((index, permit));
            }
        }
        if claimed.is_empty() {
            return Ok(Vec::new());
        }
        let runs = self.runs_of(&claimed).await?;
        let mut granted = Vec::with_capacity(claimed.len());
        for (task, (lane, permit)) in claimed.into_iter().zip(permits) {
            let (plan, run) = runs
                .get(&task.0)
                .cloned()
                .ok_or_else(|| StoreError::Corrupt {
                    what: "task_runs",
                    detail: format!("a task of run {}, which does not exist", task.0),
                })?;
            let claim = Claim {
                key: TaskKey {
                    run: task.0,
                    step: task.1,
                    item: task.2,
                },
                attempt: task.3,
                token,
                item: task.6,
                plan,
                run,
            };
            granted.push((
                lane,
                Granted {
                    claim,
                    permit,
                    halt: Halt::default(),
                },
            ));
        }
        Ok(granted)
    }

    /// What freshly claimed tasks need of their runs. The runs are not touched:
    /// that they have begun is told when the attempt is announced or ends.
    async fn runs_of(
        &mut self,
        claimed: &[Claimed],
    ) -> Result<HashMap<RunId, (Arc<Plan>, Arc<ClaimedRun>)>, StoreError> {
        let mut ids: Vec<RunId> = claimed.iter().map(|task| task.0).collect();
        ids.sort_unstable();
        ids.dedup();
        let found: Vec<String> = sqlx::query_scalar(sql::CLAIMED_RUNS)
            .bind(rows::json(&ids))
            .fetch_all(&mut *self.conn)
            .await?;
        let mut runs = HashMap::with_capacity(found.len());
        for row in found {
            let RunOfClaim(id, workflow, version, no_cache, depth, priority, generation, inputs) =
                rows::parse(&row, "runs")?;
            let plan = self.plan(&version).await?;
            let run = ClaimedRun {
                workflow,
                no_cache: no_cache != 0,
                depth,
                priority,
                generation,
                inputs,
            };
            runs.insert(id, (plan, Arc::new(run)));
        }
        self.after.touched.extend(ids);
        Ok(runs)
    }
}

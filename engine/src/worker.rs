//! A worker process: queues, slots, a lease it renews, and an end in good order.
//!
//! ```text
//!   store ──claims for free slots──▶ lane (one a queue) ──apalis──▶ attempt ──settle──▶ store
//!     ▲                                                                │
//!     └───────────── heartbeat: "alive, and I hold these" ◀────────────┘
//! ```
//!
//! Invariants:
//! - an attempt is entered in [`Holdings`](crate::store) before anybody can be told of it, so a cancel never misses it;
//! - a worker that cannot renew its lease stops its own work before others may begin it again;
//! - shutting down settles or releases every attempt; what is left is a crash, and leases cover that.

mod attempt;
mod handlers;
mod meter;
mod scope;
mod status;
mod sweeps;

pub(crate) use attempt::concurrency_key;
pub(crate) use handlers::Handlers;
pub(crate) use sweeps::sweep;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::join_all;

use tokio::sync::{Semaphore, broadcast, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::artifact::ArtifactStore;
use crate::config::{EngineConfig, WorkerConfig};
use crate::id::{QueueName, WorkerId};
use crate::library::Library;
use crate::run::TaskKey;
use crate::store::{Answer, Demand, Farewell, Granted, Lane, Op, Store, StoreError};
use crate::transition::{Outcome, Proof, Settlement};
use crate::transport::local;
use crate::transport::{self, Doorbell, Gate, Notice};
use crate::workflow::plan::CONTROL_QUEUE;

/// Slots for the engine's own small work: each is an expression and a commit shared with others.
const CONTROL_SLOTS: u32 = 64;

/// An attempt that takes longer than this is told of while it runs; shorter
/// ones are told of with their report, in the same commit.
const ANNOUNCE_AFTER: Duration = Duration::from_millis(50);

/// The part of a lease after which a worker that could not renew it stops its own work: attempts need a moment to stop,
/// and clocks are never quite the same.
const SAFE_PART: f64 = 0.8;

/// What every attempt of a process shares.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) store: Store,
    /// Replaced as a whole when a definition is published.
    pub(crate) library: RwLock<Arc<Library>>,
    pub(crate) artifacts: ArtifactStore,
    pub(crate) config: EngineConfig,
    /// Handlers run apart from the engine's own loops: one that blocks a thread blocks no heartbeat.
    pub(crate) handlers: Handlers,
    pub(crate) scopes: scope::Cache,
    /// Rings at other processes' doors, where there are any.
    pub(crate) doorbell: Option<Doorbell>,
    /// Whether a worker runs: the store claims for one only.
    pub(crate) serving: AtomicBool,
}

impl Shared {
    /// The definitions and tasks known now.
    pub(crate) fn library(&self) -> Arc<Library> {
        Arc::clone(&self.library.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A running worker. Dropping it without [`Worker::stop`] is a crash, which leases repair.
#[derive(Debug)]
pub struct Worker {
    shared: Arc<Shared>,
    demand: Arc<Demand>,
    /// Queues and slots as configured.
    told: Vec<(QueueName, u32)>,
    shutdown_grace: Duration,
    stopping: CancellationToken,
    loops: Vec<JoinHandle<()>>,
    lease_file: Option<LeaseFile>,
}

/// A file this process keeps locked while it lives: on the same machine, its
/// death shows at once, without waiting for the lease.
#[derive(Debug)]
struct LeaseFile {
    path: std::path::PathBuf,
    _lock: std::fs::File,
}

impl LeaseFile {
    fn hold(config: &EngineConfig, worker: WorkerId) -> std::io::Result<Self> {
        let path = lease_path(config, worker);
        std::fs::create_dir_all(path.parent().expect("a lease file has a folder"))?;
        let lock = std::fs::File::create(&path)?;
        lock.try_lock()?;
        Ok(Self { path, _lock: lock })
    }
}

impl Drop for LeaseFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn lease_path(config: &EngineConfig, worker: WorkerId) -> std::path::PathBuf {
    config
        .data_dir
        .join("workers")
        .join(format!("{worker}.lock"))
}

/// Whether a worker of this machine is certainly gone: it left its file unlocked.
fn is_dead(config: &EngineConfig, worker: WorkerId) -> bool {
    let path = lease_path(config, worker);
    let Ok(file) = std::fs::File::open(&path) else {
        // No file proves nothing: it may be about to be made. The lease will tell.
        return false;
    };
    let dead = file.try_lock().is_ok();
    if dead {
        let _ = std::fs::remove_file(&path);
    }
    dead
}

pub(crate) fn host() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

impl Worker {
    /// Registers, and begins to serve.
    pub(crate) async fn start(
        shared: Arc<Shared>,
        config: WorkerConfig,
    ) -> Result<Self, StoreError> {
        meter::begin();
        let id = WorkerId::new(shared.config.clock.now());
        let mut queues = config.queues.clone();
        let control = QueueName::new(CONTROL_QUEUE).expect("the control queue's name is a name");
        if !queues.iter().any(|(queue, _)| *queue == control) {
            queues.push((control, CONTROL_SLOTS));
        }
        let lease_file = LeaseFile::hold(&shared.config, id)
            .map_err(|error| tracing::warn!(%error, "no lease file: a crash of this worker will show only when its lease ends"))
            .ok();
        let identity = status::Identity::new(&config, &queues);
        identity.register(&shared, id).await?;

        let mut lanes = Vec::with_capacity(queues.len());
        let mut inboxes = Vec::with_capacity(queues.len());
        for (queue, slots) in &queues {
            let (tickets, inbox) = mpsc::unbounded_channel();
            let slots = Arc::new(Semaphore::new(*slots as usize));
            let lane = Lane::new(queue.clone(), slots, tickets);
            if let Some(wanted) = config.wanted_slots.get(queue) {
                lane.resize(*wanted);
            }
            lanes.push(lane);
            inboxes.push((queue.clone(), inbox));
        }
        let code = Arc::clone(&shared);
        let layers = config
            .layers
            .around(move |request| attempt::code(&code, request));
        let layers = layers.map(Arc::new);
        let demand = Arc::new(Demand::able(id, lanes, config.abilities()));
        let mut loops = Vec::new();
        for (queue, inbox) in inboxes {
            let shared = Arc::clone(&shared);
            let held = Arc::clone(&demand.held);
            let layers = layers.clone();
            let handle = move |ticket: Granted| {
                let (shared, held) = (Arc::clone(&shared), Arc::clone(&held));
                let driver = attempt::run(shared, held, layers.clone(), ticket);
                // apalis polls all of a queue's drivers in one task, which suits
                // them: they do little, and a task of its own would wake a thread.
                let guarded = AssertUnwindSafe(driver).catch_unwind();
                async move {
                    if guarded.await.is_err() {
                        tracing::error!("an attempt's driver panicked; its lease will show it");
                    }
                }
            };
            loops.push(tokio::spawn(local::serve(
                format!("{queue}-{id}"),
                inbox,
                handle,
            )));
        }
        shared.store.serve(Arc::clone(&demand));

        let stopping = CancellationToken::new();
        if let Some(doorbell) = &shared.doorbell {
            loops.extend(answer_tickets(doorbell, &shared, &demand, &stopping));
            loops.push(tokio::spawn(answer_notices(
                doorbell.listen(),
                Arc::clone(&demand),
                stopping.clone(),
            )));
        }
        loops.push(tokio::spawn(heartbeats(
            Arc::clone(&shared),
            Arc::clone(&demand),
            identity,
            stopping.clone(),
        )));
        loops.push(tokio::spawn(announcements(
            Arc::clone(&shared),
            Arc::clone(&demand),
        )));
        loops.push(tokio::spawn(sweeps::sweeps(
            Arc::clone(&shared),
            Arc::clone(&demand),
            stopping.clone(),
        )));
        Ok(Self {
            shared,
            demand,
            told: config.queues,
            shutdown_grace: config.shutdown_grace,
            stopping,
            loops,
            lease_file,
        })
    }

    /// Stops in good order: no new claims; running attempts may finish within
    /// the grace period; what still runs then is told, dropped, and given back
    /// without counting against it.
    pub async fn stop(mut self) {
        self.demand.close();
        self.last_claims().await;
        let held = &self.demand.held;
        if tokio::time::timeout(self.shutdown_grace, held.empty())
            .await
            .is_err()
        {
            held.release_all();
            let patience = self.shared.config.stop_grace + Duration::from_secs(5);
            if tokio::time::timeout(patience, held.empty()).await.is_err() {
                tracing::warn!(
                    "some attempts could not be given back; they will run again once the lease ends"
                );
            }
        }
        self.stopping.cancel();
        let worker = self.demand.worker();
        if let Err(error) = self.shared.store.write(Op::Retire(worker)).await {
            tracing::warn!(%error, "could not sign off; the lease will end by itself");
        }
        for task in self.loops.drain(..) {
            task.abort();
        }
        drop(self.lease_file.take());
        self.shared.serving.store(false, Ordering::SeqCst);
    }
}

impl Worker {
    /// Resolves when the worker has a reason to end: it was drained, is to begin anew, or
    /// has done what it was to do. Then [`Worker::stop`] it.
    pub async fn farewell(&self) -> Farewell {
        self.demand.farewell().await
    }

    /// Slots that operators asked for, by queue: a process that begins anew is to keep them.
    #[must_use]
    pub fn wanted_slots(&self) -> BTreeMap<QueueName, u32> {
        let lanes = self.demand.lanes.iter();
        let changed = lanes.filter(|lane| {
            let told = self.told.iter().find(|(queue, _)| *queue == lane.queue);
            told.is_some_and(|(_, slots)| *slots != lane.size())
        });
        changed
            .map(|lane| (lane.queue.clone(), lane.size()))
            .collect()
    }

    /// Resolves when no claim is on its way any more: the writer answers in order,
    /// so that what it claims before it learns of the stop is entered by then.
    async fn last_claims(&self) {
        let barrier = Op::Heartbeat {
            worker: self.demand.worker(),
            lease_until: self
                .shared
                .config
                .clock
                .now()
                .after(self.shared.config.lease),
            holds: Vec::new(),
            status: status::of(&self.demand),
        };
        let answered = self.shared.store.write(barrier);
        // A store that hangs claims nothing either.
        let _ = tokio::time::timeout(self.shared.config.stop_grace, answered).await;
    }
}

/// Renews the lease, learns what was taken away, and stops all work when it cannot renew.
async fn heartbeats(
    shared: Arc<Shared>,
    demand: Arc<Demand>,
    mut identity: status::Identity,
    stopping: CancellationToken,
) {
    let lease = shared.config.lease;
    // Its own work stops a moment before others may begin it.
    let safe = lease.mul_f64(SAFE_PART);
    let mut last_renewed = Instant::now();
    // What was claimed under the present name and dropped, since the lease could not be renewed.
    let mut dropped: Option<Vec<(TaskKey, i64)>> = None;
    loop {
        tokio::select! {
            () = stopping.cancelled() => return,
            () = tokio::time::sleep(lease / 5) => {}
            () = demand.doubt.notified() => {}
        }
        let asked = Instant::now();
        let holds = demand.held.list();
        let was_draining = demand.is_draining();
        let beat = Op::Heartbeat {
            worker: demand.worker(),
            lease_until: shared.config.clock.now().after(lease),
            holds: holds.clone(),
            status: status::of(&demand),
        };
        // The store may hang as well as refuse: either way the lease runs out. Once
        // it has, there is nothing left to hurry for, and an answer is worth waiting for.
        let patience = if dropped.is_some() {
            lease
        } else {
            safe.saturating_sub(asked - last_renewed)
        };
        let answer = tokio::time::timeout(patience, shared.store.write(beat)).await;
        match answer {
            Ok(Ok(Answer::Beat {
                is_live: true,
                lost,
                wanted,
            })) if dropped.is_none() => {
                last_renewed = asked;
                identity.obey(wanted, &demand);
                // What was claimed before it was told to drain is known by now.
                if was_draining && demand.is_draining() && demand.held.is_empty() {
                    demand.bid_farewell(Farewell::Drained);
                }
                let lost: Vec<_> = holds
                    .into_iter()
                    .filter(|(key, _)| lost.contains(key))
                    .collect();
                demand.held.disown(&lost);
                // Between two leases nothing could be claimed; and a lost ring costs no more than this.
                shared.store.ring();
            }
            Ok(Ok(_)) => {
                meter::lost_lease();
                tracing::warn!(worker.id = %demand.worker(), "this worker was given up for lost; its work is dropped, and it starts anew");
                let mut held = dropped.take().unwrap_or_default();
                held.extend(demand.held.list());
                demand.held.disown_all();
                let id = WorkerId::new(shared.config.clock.now());
                let old = demand.worker();
                let came_back = async {
                    give_back(&shared.store, old, &held).await?;
                    // A late renewal may have revived the old name.
                    shared.store.write(Op::Retire(old)).await?;
                    identity.register(&shared, id).await
                };
                if came_back.await.is_ok() {
                    demand.rename(id);
                    last_renewed = Instant::now();
                    shared.store.ring();
                } else {
                    dropped = Some(held);
                }
            }
            Ok(Err(StoreError::Closed)) => return,
            Ok(Err(error)) => tracing::warn!(%error, "could not renew the lease; trying again"),
            Err(_) => {}
        }
        if last_renewed.elapsed() >= safe && dropped.is_none() {
            tracing::error!(
                "the lease could not be renewed in time: stopping this worker's own work, since others may begin it soon"
            );
            demand.suspend();
            dropped = Some(demand.held.list());
            demand.held.disown_all();
        }
    }
}

/// A worker that could not renew its lease is back: it did not crash, and neither did what it held. What nobody has taken
/// since is given back without a mark; what was given up for lost is excused.
async fn give_back(
    store: &Store,
    worker: WorkerId,
    held: &[(TaskKey, i64)],
) -> Result<(), StoreError> {
    if held.is_empty() {
        return Ok(());
    }
    let released = held.iter().map(|(key, token)| {
        let proof = Proof::Token(*token);
        let released = Settlement::new(*key, proof, Outcome::Released);
        store.write(Op::Settle(Box::new(released)))
    });
    for answer in join_all(released).await {
        // A report that came too late, or was made meanwhile, changes nothing.
        answer?;
    }
    let tasks = held.iter().map(|(key, _)| *key).collect();
    store.write(Op::Excuse(worker, tasks)).await?;
    Ok(())
}

/// One loop a queue: tickets become claims while a slot is free.
fn answer_tickets(
    doorbell: &Doorbell,
    shared: &Arc<Shared>,
    demand: &Arc<Demand>,
    stopping: &CancellationToken,
) -> Vec<JoinHandle<()>> {
    let lanes = demand.lanes.iter().enumerate();
    let loops = lanes.map(|(index, lane)| {
        let (store, queue) = (shared.store.clone(), lane.queue.clone());
        let room = Arc::clone(demand);
        let gate = Gate::new(
            move || room.has_room(index),
            Arc::clone(&lane.opened),
            move || {
                let (store, queue) = (store.clone(), queue.clone());
                async move { store.look(queue).await }
            },
        );
        let (doorbell, queue) = (doorbell.clone(), lane.queue.clone());
        let stopping = stopping.clone();
        tokio::spawn(async move { transport::serve(&doorbell, queue, gate, stopping).await })
    });
    loops.collect()
}

/// What others say of this worker's business makes it look; the store tells what is true.
async fn answer_notices(
    mut notices: broadcast::Receiver<Notice>,
    demand: Arc<Demand>,
    stopping: CancellationToken,
) {
    loop {
        let heard = tokio::select! {
            () = stopping.cancelled() => return,
            heard = notices.recv() => heard,
        };
        match heard {
            Ok(Notice::Stopped(run)) if !demand.held.has_any_of(run) => {}
            Ok(Notice::Touched(_)) => {}
            Ok(Notice::Stopped(_) | Notice::Control | Notice::Missed)
            | Err(broadcast::error::RecvError::Lagged(_)) => demand.doubt.notify_one(),
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

/// Tells of attempts that are under way for a while. One timer for all of them:
/// one each would wake the thread that keeps the timers at every attempt.
async fn announcements(shared: Arc<Shared>, demand: Arc<Demand>) {
    let mut ticks = tokio::time::interval(ANNOUNCE_AFTER / 2);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        for (key, token) in demand.held.announce(ANNOUNCE_AFTER) {
            shared.store.post(Op::Announce(key, token));
        }
    }
}

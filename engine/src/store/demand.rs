//! What a worker process can take: lanes with slots, and what its machine can do.
//!
//! Slots change while work goes on. Whoever changes them only says how many are
//! wanted; the writer, which alone takes slots, adds what is missing and forgets
//! what is too many as attempts give theirs back. So a slot that was counted as
//! free is free until its claim stands.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, Semaphore, mpsc, watch};

use super::claim::Granted;
use super::holdings::{Holdings, Stop};
use super::preference::Taste;
use crate::id::{QueueName, WorkerId};
use crate::workflow::plan::CONTROL_QUEUE;

/// One queue a worker serves.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) queue: QueueName,
    pub(crate) slots: Arc<Semaphore>,
    pub(crate) tickets: mpsc::UnboundedSender<Granted>,
    /// False while the last claim found less than it asked for and nothing has rung since.
    pub(super) rung: AtomicBool,
    /// Rung when a claim left slots free.
    pub(crate) opened: Arc<Notify>,
    pub(super) taste: Taste,
    /// How many slots there are to be.
    wanted: AtomicU32,
    /// How many there are; the writer's own.
    given: AtomicU32,
}

impl Lane {
    pub(crate) fn new(
        queue: QueueName,
        slots: Arc<Semaphore>,
        tickets: mpsc::UnboundedSender<Granted>,
    ) -> Self {
        let count = u32::try_from(slots.available_permits()).unwrap_or(u32::MAX);
        Self {
            queue,
            slots,
            tickets,
            rung: AtomicBool::new(true),
            opened: Arc::default(),
            taste: Taste::default(),
            wanted: AtomicU32::new(count),
            given: AtomicU32::new(count),
        }
    }

    /// From now on so many attempts at a time; those under way may finish. Ring the store after it.
    pub(crate) fn resize(&self, slots: u32) {
        self.wanted.store(slots, Ordering::SeqCst);
        self.rung.store(true, Ordering::Relaxed);
    }

    /// How many slots there are to be.
    pub(crate) fn size(&self) -> u32 {
        self.wanted.load(Ordering::SeqCst)
    }

    /// Free slots. For the writer only.
    pub(super) fn free(&self) -> usize {
        let (wanted, given) = (self.size(), self.given.load(Ordering::Relaxed));
        if wanted > given {
            self.slots.add_permits((wanted - given) as usize);
            self.given.store(wanted, Ordering::Relaxed);
        } else if wanted < given {
            let gone = self.slots.forget_permits((given - wanted) as usize);
            let gone = u32::try_from(gone).unwrap_or(u32::MAX);
            self.given
                .store(given.saturating_sub(gone), Ordering::Relaxed);
        }
        self.slots.available_permits()
    }

    /// The engine's own small work is no task of anybody's.
    pub(super) fn is_control(&self) -> bool {
        self.queue.as_str() == CONTROL_QUEUE
    }
}

/// What a worker can do, and when it has done enough.
#[derive(Debug, Clone, Default)]
pub(crate) struct Abilities {
    /// JSON list: a task gets only what asks for nothing else.
    pub(crate) labels: Option<String>,
    /// What its tasks may need together.
    pub(crate) memory_bytes: Option<u64>,
    /// After so many tasks it begins anew.
    pub(crate) max_tasks: Option<u64>,
}

/// Why a worker wants to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Farewell {
    /// It was drained: what it had is finished.
    Drained,
    /// An operator asked for a restart.
    Restart,
    /// It has done as many tasks as it was to do.
    TasksDone,
    /// It occupies more memory than it was to.
    TooLarge,
}

/// What a worker process can take.
#[derive(Debug)]
pub(crate) struct Demand {
    worker: Mutex<WorkerId>,
    pub(crate) lanes: Vec<Lane>,
    pub(crate) held: Arc<Holdings>,
    pub(crate) abilities: Abilities,
    closed: AtomicBool,
    /// Its lease is over, and it has not begun anew yet.
    suspended: AtomicBool,
    draining: AtomicBool,
    /// Tasks claimed so far, control aside.
    claimed: AtomicU64,
    farewell: watch::Sender<Option<Farewell>>,
    /// Rung when it should look at once whether what it holds is still its own, and what operators want.
    pub(crate) doubt: Notify,
}

impl Demand {
    pub(crate) fn able(worker: WorkerId, lanes: Vec<Lane>, abilities: Abilities) -> Self {
        Self {
            worker: Mutex::new(worker),
            lanes,
            held: Arc::default(),
            abilities,
            closed: AtomicBool::new(false),
            suspended: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            claimed: AtomicU64::new(0),
            farewell: watch::channel(None).0,
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

    /// Claims no more.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    /// Whether it is to claim no more until it is told otherwise; returns what was before.
    pub(crate) fn drain(&self, draining: bool) -> bool {
        self.draining.swap(draining, Ordering::SeqCst)
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst) || self.closed.load(Ordering::SeqCst)
    }

    /// Operators may have said something: the heartbeat looks at once instead of at its time.
    pub(crate) fn refresh(&self) {
        self.doubt.notify_one();
    }

    /// Whether a slot of a lane is free for a task to come.
    pub(crate) fn has_room(&self, lane: usize) -> bool {
        !self.is_idle_by_choice() && self.lanes[lane].slots.available_permits() > 0
    }

    /// Whether this process leaves nothing in a queue for others to take, as far as it knows.
    pub(super) fn has_all_of(&self, queue: &QueueName) -> bool {
        let lane = self.lanes.iter().find(|lane| lane.queue == *queue);
        lane.is_some_and(|lane| !lane.rung.load(Ordering::Relaxed))
    }

    /// The worker is to end; the first reason counts.
    pub(crate) fn bid_farewell(&self, why: Farewell) {
        self.farewell.send_if_modified(|known| {
            let is_first = known.is_none();
            known.get_or_insert(why);
            is_first
        });
    }

    /// Resolves when the worker is to end.
    pub(crate) async fn farewell(&self) -> Farewell {
        let mut farewell = self.farewell.subscribe();
        let why = farewell.wait_for(Option::is_some).await;
        why.expect("we hold the sender ourselves")
            .expect("it was waited for")
    }

    /// Whether nothing is to be claimed now.
    pub(super) fn is_idle_by_choice(&self) -> bool {
        self.is_draining() || self.suspended.load(Ordering::SeqCst)
    }

    /// How many more tasks it may claim.
    pub(super) fn tasks_left(&self) -> usize {
        let most = self.abilities.max_tasks.unwrap_or(u64::MAX);
        let left = most.saturating_sub(self.claimed.load(Ordering::SeqCst));
        usize::try_from(left).unwrap_or(usize::MAX)
    }

    /// Memory for further tasks; `None` where nobody counts.
    pub(super) fn free_memory(&self) -> Option<u64> {
        let all = self.abilities.memory_bytes?;
        Some(all.saturating_sub(self.held.memory_bytes()))
    }

    pub(super) fn ring_all(&self) {
        for lane in &self.lanes {
            lane.rung.store(true, Ordering::Relaxed);
        }
    }

    pub(super) fn grant(&self, index: usize, granted: Granted) {
        let (claim, lane) = (&granted.claim, &self.lanes[index]);
        self.held.enter(claim, index, granted.halt.clone());
        if !lane.is_control() {
            lane.taste.learn(claim);
            self.claimed.fetch_add(1, Ordering::SeqCst);
            if self.tasks_left() == 0 {
                self.bid_farewell(Farewell::TasksDone);
            }
        }
        // A lane whose worker is gone drops the grant; its lease will show it.
        let _ = lane.tickets.send(granted);
    }

    pub(super) fn stop(&self, stop: Stop) {
        self.held.stop(stop);
    }
}

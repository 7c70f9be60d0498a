//! What operators say of queues: pause, cap, purge; and how queues are doing.
//!
//! Claims read a queue's row themselves (`sql/claim.sql`), so a pause or a cap holds from the commit that sets it
//! on, whatever a process knows. What a process *believes* to be capped decides two lesser things:
//!
//! - whether it takes the queue's lock before it claims. Without it, two processes of a `PostgreSQL` may count at
//!   the same moment and both take the last place;
//! - whether it looks again when one of the queue's tasks ends here.
//!
//! Beliefs are renewed with every heartbeat and by this process' own orders. So a stale one can cost this much:
//! for one heartbeat after a queue got its *first* cap, processes that claim at the very same moment may exceed it
//! by what they took in that moment; and a place that became free is taken a heartbeat later.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;

use super::commit::Commit;
use super::op::{Answer, RunAction};
use super::{Store, StoreError, rows, sql};
use crate::id::{QueueName, RunId, WorkerId};
use crate::time::Timestamp;
use crate::workflow::plan::CONTROL_QUEUE;

/// Runs cancelled in one commit at most.
const PURGED_AT_ONCE: i64 = 50;

/// What operators do to a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum QueueAction {
    /// It gives no more work; what runs may finish.
    Pause,
    /// It gives work again.
    Resume,
    /// At most so many of its tasks run at a time, over all workers; `None` lifts it.
    Cap(Option<u32>),
}

/// A queue, as operators see it.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields say what their names say")]
pub struct QueueView {
    pub name: QueueName,
    pub paused: bool,
    /// At most so many of its tasks run, over all workers.
    pub cap: Option<u32>,
    /// Tasks that a worker could take now.
    pub ready: u64,
    pub running: u64,
    /// Tasks that wait for their next try, a resume or a limit.
    pub waiting: u64,
    /// Since when the oldest of those that are ready is.
    pub oldest_ready_at: Option<Timestamp>,
    /// Live workers that serve it and claim, and their slots together.
    pub workers: u32,
    pub slots: u32,
}

impl QueueView {
    fn new(name: QueueName) -> Self {
        Self {
            name,
            paused: false,
            cap: None,
            ready: 0,
            running: 0,
            waiting: 0,
            oldest_ready_at: None,
            workers: 0,
            slots: 0,
        }
    }
}

impl Commit<'_> {
    /// Learns which queues have a cap.
    pub(super) async fn learn_caps(&mut self) -> Result<(), StoreError> {
        let found = self.ask(&sql::CAPPED_QUEUES, []).await?;
        let names = found.iter().filter_map(|name| QueueName::new(name).ok());
        self.capped = Arc::new(names.collect());
        Ok(())
    }

    /// Nobody else counts the tasks of these queues until we commit. Everybody locks in the same order.
    pub(super) fn lock_capped<'q>(&mut self, queues: impl Iterator<Item = &'q QueueName>) {
        let capped: BTreeSet<&QueueName> = queues
            .filter(|queue| self.capped.contains(*queue))
            .collect();
        for queue in capped {
            self.lock(&format!("queue {queue}"));
        }
    }

    /// Whoever takes the same lock waits until we commit.
    pub(super) fn lock(&mut self, name: &str) {
        self.script.push(&sql::LOCK_NAME, [name.into()]);
    }

    pub(super) async fn act_on_queue(
        &mut self,
        queue: &QueueName,
        action: QueueAction,
    ) -> Result<(), StoreError> {
        let (name, now) = (queue.as_str(), self.now.0);
        let paused = match action {
            QueueAction::Pause => Some(1_i64),
            QueueAction::Resume => Some(0),
            QueueAction::Cap(_) => None,
        };
        match (paused, action) {
            (Some(paused), _) => {
                let row = [name.into(), paused.into(), now.into()];
                self.script.push(&sql::PAUSE_QUEUE, row);
            }
            (None, QueueAction::Cap(cap)) => {
                let row = [name.into(), cap.map(i64::from).into(), now.into()];
                self.script.push(&sql::CAP_QUEUE, row);
            }
            (None, QueueAction::Pause | QueueAction::Resume) => {}
        }
        self.script.push(&sql::FORGET_QUEUE, [name.into()]);
        self.after.rings.insert(queue.clone());
        self.after.is_steered = true;
        self.learn_caps().await
    }

    /// Cancels some of the runs that wait in a queue; answers how many, and whether to go on.
    pub(super) async fn purge(&mut self, queue: &QueueName) -> Result<Answer, StoreError> {
        let which = [queue.as_str().into(), PURGED_AT_ONCE.into()];
        let found = self.ask(&sql::WAITING_RUNS, which).await?;
        let mut seen = BTreeSet::new();
        let mut purged = 0;
        let mut runs = Vec::with_capacity(found.len());
        for id in &found {
            runs.push(id.parse::<RunId>().map_err(|_| StoreError::Corrupt {
                what: "task_runs.run_id",
                detail: id.clone(),
            })?);
        }
        // All of them at once, and so in the order in which everybody locks.
        self.load_runs(&runs).await?;
        for (id, run) in found.iter().zip(runs) {
            let Some(root) = self.root_of(run).await? else {
                continue;
            };
            if !seen.insert(root) {
                continue;
            }
            // The runs' rows are ours now, and so are the tasks that still wait: nobody claims them meanwhile.
            let which = [id.as_str().into(), queue.as_str().into()];
            if self.ask(&sql::LOCK_WAITING, which).await?.is_empty() {
                continue;
            }
            match self.act(root, RunAction::Cancel).await {
                Ok(Ok(Answer::Acted(Ok(_)))) => purged += 1,
                // It ended meanwhile, or this program cannot read it: it must not keep us from the others.
                Ok(_) | Err(StoreError::Corrupt { .. } | StoreError::NewerDefinition { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Answer::Purged(purged))
    }

    /// The run that somebody submitted, of which this one is a step, or a step's step. Locks all between.
    async fn root_of(&mut self, run: RunId) -> Result<Option<RunId>, StoreError> {
        let mut root = None;
        let mut next = Some(run);
        while let Some(id) = next {
            let Some(row) = self.load_runs(&[id]).await?.pop() else {
                break;
            };
            root = Some(id);
            next = row.parent.map(|parent| parent.task.run);
        }
        Ok(root)
    }

    /// A place under a cap may be free again.
    pub(super) fn ring_capped(&mut self) {
        let capped = Arc::clone(&self.capped);
        self.after.rings.extend(capped.iter().cloned());
    }
}

impl Store {
    /// Every queue that has work, a worker, or an operator's word; looks at nothing that has ended.
    pub(crate) async fn queues(&self) -> Result<Vec<QueueView>, StoreError> {
        let mut queues = BTreeMap::new();
        let control = |name: &QueueName| name.as_str() == CONTROL_QUEUE;
        fn entry(queues: &mut BTreeMap<QueueName, QueueView>, name: QueueName) -> &mut QueueView {
            let view = QueueView::new(name.clone());
            queues.entry(name).or_insert(view)
        }
        let orders: Vec<(QueueName, i64, Option<u32>)> =
            self.readers.rows(&sql::QUEUE_ORDERS, []).await?;
        for (name, paused, cap) in orders {
            let view = entry(&mut queues, name);
            (view.paused, view.cap) = (paused != 0, cap);
        }
        let ready: Vec<(QueueName, u64, Timestamp)> =
            self.readers.rows(&sql::QUEUES_READY, []).await?;
        for (name, count, oldest) in ready {
            let view = entry(&mut queues, name);
            (view.ready, view.oldest_ready_at) = (count, Some(oldest));
        }
        let counted: Vec<(QueueName, u64)> = self.readers.rows(&sql::QUEUES_RUNNING, []).await?;
        for (name, count) in counted {
            entry(&mut queues, name).running = count;
        }
        let counted: Vec<(QueueName, u64)> = self.readers.rows(&sql::QUEUES_WAITING, []).await?;
        for (name, count) in counted {
            entry(&mut queues, name).waiting = count;
        }
        for server in self.served().await? {
            for (name, slots) in server.slots {
                let view = entry(&mut queues, name);
                if !server.draining && slots > 0 {
                    view.workers += 1;
                    view.slots += slots;
                }
            }
        }
        // What the engine does for itself is nobody's business.
        Ok(queues.into_values().filter(|q| !control(&q.name)).collect())
    }

    /// Of each live worker, what it serves.
    async fn served(&self) -> Result<Vec<Server>, StoreError> {
        type Row = (WorkerId, String, i64, String);
        let found: Vec<Row> = self.readers.rows(&sql::SERVED, []).await?;
        let served = found.into_iter().map(|(_, queues, draining, labels)| {
            Ok(Server {
                slots: rows::parse(&queues, "workers.queues")?,
                draining: draining != 0,
                labels: rows::parse(&labels, "workers.labels")?,
            })
        });
        served.collect()
    }

    /// Of these needs, those that no live worker meets: a queue, and a JSON list of labels.
    pub(crate) async fn unserved(
        &self,
        needs: impl IntoIterator<Item = (QueueName, Option<Arc<str>>)>,
    ) -> Result<Vec<Unserved>, StoreError> {
        let servers = self.served().await?;
        let mut unserved = Vec::new();
        for (queue, requires) in needs {
            let requires = requires.map(|list| rows::parse(&list, "task_runs.requires"));
            let labels: BTreeSet<String> = requires.transpose()?.unwrap_or_default();
            let need = Unserved { queue, labels };
            if !servers.iter().any(|server| server.meets(&need)) && !unserved.contains(&need) {
                unserved.push(need);
            }
        }
        Ok(unserved)
    }
}

/// What a live worker serves.
#[derive(Debug)]
struct Server {
    slots: BTreeMap<QueueName, u32>,
    draining: bool,
    labels: BTreeSet<String>,
}

impl Server {
    fn meets(&self, need: &Unserved) -> bool {
        let slots = self.slots.get(&need.queue).copied().unwrap_or(0);
        !self.draining && slots > 0 && need.labels.is_subset(&self.labels)
    }
}

/// What no live worker does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Unserved {
    /// The queue that waits for somebody.
    pub queue: QueueName,
    /// And what that somebody must have.
    pub labels: BTreeSet<String>,
}

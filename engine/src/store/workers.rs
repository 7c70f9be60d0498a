//! Workers' rows: their lives, how they are doing, and what operators want of them.
//!
//! Operators write a wish into a worker's row; the worker reads it with its next
//! heartbeat and acts on it by itself. So steering needs no way from the
//! operator to the process but the database.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::commit::Commit;
use super::op::{Answer, WorkerRow};
use super::read::maybe;
use super::{Store, StoreError, rows, sql};
use crate::id::{QueueName, RunId, StepName, WorkerId, WorkflowName};
use crate::run::TaskKey;
use crate::task::Progress;
use crate::time::Timestamp;
use crate::workflow::plan::StepIndex;

/// How long a worker that is gone is shown.
const SHOWN_FOR: Duration = Duration::from_hours(24);
/// How long it is remembered.
const KEPT_FOR: Duration = Duration::from_hours(24 * 7);
/// Attempts shown of each worker at most.
const SHOWN_ATTEMPTS: i64 = 20;

/// What operators want of a worker; what they never spoke of is as its process was told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Wanted {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) slots: BTreeMap<QueueName, u32>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) drain: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) restart: bool,
}

impl Wanted {
    fn add(&mut self, action: &WorkerAction) {
        match action {
            WorkerAction::Slots(queue, slots) => {
                self.slots.insert(queue.clone(), *slots);
            }
            WorkerAction::Drain => self.drain = true,
            WorkerAction::Undrain => self.drain = false,
            WorkerAction::Restart => self.restart = true,
        }
    }
}

/// What operators do to a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WorkerAction {
    /// So many tasks of a queue at a time; zero gives the queue up for now.
    Slots(QueueName, u32),
    /// Claim no more, finish what runs, and end.
    Drain,
    /// Claim again, where it has not ended yet.
    Undrain,
    /// Finish what runs, and begin anew.
    Restart,
}

/// How a worker is doing, as it says itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct WorkerStatus {
    /// Slots by queue, as they are to be; none says that they are as registered.
    pub(crate) queues: BTreeMap<QueueName, u32>,
    pub(crate) busy: BTreeMap<QueueName, u32>,
    pub(crate) rss_bytes: Option<u64>,
    pub(crate) finished: u64,
    pub(crate) draining: bool,
    /// Words for what it has loaded, what it ran last first.
    pub(crate) loaded: Vec<Arc<str>>,
}

/// Where a worker is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerState {
    /// It renews its lease.
    Live,
    /// It signed off.
    Stopped,
    /// It was not heard of any more.
    Lost,
}

/// A worker process, as operators see it.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields say what their names say")]
pub struct WorkerView {
    pub id: WorkerId,
    /// What people call it.
    pub name: Option<String>,
    pub host: String,
    pub pid: u32,
    /// Of the program.
    pub version: String,
    pub state: WorkerState,
    /// Claims no more.
    pub draining: bool,
    /// Operators asked for a restart that has not come yet.
    pub restarting: bool,
    pub queues: Vec<WorkerQueue>,
    pub labels: Vec<String>,
    /// Models, and whatever else steps say they prefer, of what it ran last.
    pub loaded: Vec<String>,
    /// What its tasks may need together.
    pub memory_bytes: Option<u64>,
    /// What the process occupies.
    pub rss_bytes: Option<u64>,
    /// Attempts it brought to an end.
    pub finished: u64,
    pub started_at: Timestamp,
    /// Its last heartbeat.
    pub seen_at: Timestamp,
    /// What it is doing, what began first first; 20 at most.
    pub attempts: Vec<WorkerAttempt>,
}

/// A queue that a worker serves.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields say what their names say")]
pub struct WorkerQueue {
    pub name: QueueName,
    pub slots: u32,
    pub busy: u32,
    /// What operators want instead, where the worker has not followed yet.
    pub wanted: Option<u32>,
}

/// An attempt under way.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields say what their names say")]
pub struct WorkerAttempt {
    pub run: RunId,
    pub workflow: WorkflowName,
    pub step: StepName,
    pub item: Option<u32>,
    pub attempt: i64,
    pub queue: QueueName,
    pub since: Timestamp,
    pub progress: Option<Progress>,
}

/// `WORKERS_LIVE`, `WORKERS_GONE`.
#[derive(Deserialize)]
struct Columns(
    WorkerId,
    String,
    u32,
    Option<String>,
    String,
    String,
    String,
    String,
    Option<u64>,
    Option<u64>,
    u64,
    i64,
    Option<String>,
    WorkerState,
    Timestamp,
    Timestamp,
    Option<String>,
);

fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("names and numbers are always JSON")
}

fn number(bytes: Option<u64>) -> Option<i64> {
    bytes.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX))
}

impl Commit<'_> {
    pub(super) async fn register(&mut self, worker: &WorkerRow) -> Result<(), StoreError> {
        let queues: BTreeMap<_, _> = worker.queues.iter().cloned().collect();
        let wanted = (worker.wanted != Wanted::default()).then(|| json(&worker.wanted));
        let row = [
            worker.id.to_string().into(),
            worker.host.as_str().into(),
            i64::from(worker.pid).into(),
            worker.name.clone().into(),
            env!("CARGO_PKG_VERSION").into(),
            json(&queues).into(),
            worker.labels.as_deref().unwrap_or("[]").into(),
            number(worker.memory_bytes).into(),
            wanted.into(),
            self.now.0.into(),
            worker.lease_until.0.into(),
        ];
        self.script.push(&sql::REGISTER_WORKER, row);
        let kept_ms = i64::try_from(KEPT_FOR.as_millis()).unwrap_or(i64::MAX);
        let long_ago = self.now.0.saturating_sub(kept_ms);
        self.script.push(&sql::FORGET_WORKERS, [long_ago.into()]);
        self.learn_caps().await
    }

    /// Renews a worker's lease, and says which of the tasks it believes to hold are no longer its own.
    pub(super) async fn heartbeat(
        &mut self,
        worker: WorkerId,
        lease_until: Timestamp,
        holds: &[(TaskKey, i64)],
        status: &WorkerStatus,
    ) -> Result<Answer, StoreError> {
        let queues = (!status.queues.is_empty()).then(|| json(&status.queues));
        let beat = [
            worker.to_string().into(),
            lease_until.0.into(),
            self.now.0.into(),
            queues.into(),
            json(&status.busy).into(),
            number(status.rss_bytes).into(),
            i64::try_from(status.finished).unwrap_or(i64::MAX).into(),
            i64::from(status.draining).into(),
            (!status.loaded.is_empty())
                .then(|| json(&status.loaded))
                .into(),
        ];
        let renewed = self.ask(&sql::HEARTBEAT, beat).await?;
        let held: Vec<_> = holds
            .iter()
            .map(|(key, token)| (key.run, key.step, key.item, token))
            .collect();
        let found = self
            .ask(&sql::LOST_TASKS, [rows::json(&held).into()])
            .await?;
        let lost: Vec<(RunId, u32, i32)> =
            rows::parse(found.first().map_or("[]", String::as_str), "task_runs")?;
        self.learn_caps().await?;
        let lost = lost.into_iter();
        let wanted = renewed.first().filter(|wanted| !wanted.is_empty());
        Ok(Answer::Beat {
            is_live: !renewed.is_empty(),
            lost: lost
                .map(|(run, step, item)| TaskKey { run, step, item })
                .collect(),
            wanted: maybe(wanted.cloned(), "workers.wanted")?.unwrap_or_default(),
        })
    }

    pub(super) async fn steer(
        &mut self,
        worker: Option<WorkerId>,
        action: &WorkerAction,
    ) -> Result<Answer, StoreError> {
        // Two operators at the same moment must not undo each other's wishes.
        self.lock("workers");
        let which = worker.map(|id| id.to_string());
        let found = self.ask(&sql::WISHES, [which.into()]).await?;
        let mut told = Vec::new();
        for row in &found {
            let (id, wanted): (WorkerId, String) = rows::parse(row, "workers")?;
            let mut wanted: Wanted = rows::parse(&wanted, "workers.wanted")?;
            wanted.add(action);
            let wish = [id.to_string().into(), json(&wanted).into()];
            self.script.push(&sql::WISH, wish);
            told.push(id);
        }
        self.after.is_steered = true;
        Ok(Answer::Steered(told))
    }
}

impl Store {
    /// Workers, live ones first; those that are gone only on request, and for a day.
    pub(crate) async fn workers(
        &self,
        now: Timestamp,
        with_gone: bool,
    ) -> Result<Vec<WorkerView>, StoreError> {
        let mut found: Vec<Columns> = self.readers.rows(&sql::WORKERS_LIVE, []).await?;
        found.sort_by_key(|columns| columns.0);
        if with_gone {
            let shown_ms = i64::try_from(SHOWN_FOR.as_millis()).unwrap_or(i64::MAX);
            let since = now.0.saturating_sub(shown_ms);
            let gone: Vec<Columns> = self
                .readers
                .rows(&sql::WORKERS_GONE, [since.into()])
                .await?;
            found.extend(gone);
        }
        let mut views = Vec::with_capacity(found.len());
        for columns in found {
            views.push(view(columns)?);
        }
        let mut working = self.working().await?;
        for view in &mut views {
            view.attempts = working.remove(&view.id).unwrap_or_default();
        }
        Ok(views)
    }

    /// What each worker is doing.
    async fn working(&self) -> Result<HashMap<WorkerId, Vec<WorkerAttempt>>, StoreError> {
        type Row = (
            WorkerId,
            RunId,
            WorkflowName,
            String,
            StepIndex,
            i32,
            i64,
            QueueName,
            Timestamp,
            Option<String>,
        );
        let found: Vec<Row> = self
            .readers
            .rows(&sql::WORKING, [SHOWN_ATTEMPTS.into()])
            .await?;
        let mut working: HashMap<WorkerId, Vec<WorkerAttempt>> = HashMap::new();
        for (worker, run, workflow, version, step, item, attempt, queue, since, progress) in found {
            let plan = self.plan_of_version(&version).await?;
            let Some(planned) = plan.step(step) else {
                continue;
            };
            working.entry(worker).or_default().push(WorkerAttempt {
                run,
                workflow,
                step: planned.name.clone(),
                item: u32::try_from(item).ok(),
                attempt,
                queue,
                since,
                progress: maybe(progress, "task_runs.progress")?,
            });
        }
        Ok(working)
    }
}

fn view(c: Columns) -> Result<WorkerView, StoreError> {
    let slots: BTreeMap<QueueName, u32> = rows::parse(&c.5, "workers.queues")?;
    let busy: BTreeMap<QueueName, u32> = rows::parse(&c.6, "workers.busy")?;
    let wanted: Wanted = maybe(c.12, "workers.wanted")?.unwrap_or_default();
    let queues = slots.into_iter().map(|(name, slots)| WorkerQueue {
        slots,
        busy: busy.get(&name).copied().unwrap_or(0),
        wanted: wanted.slots.get(&name).copied().filter(|n| *n != slots),
        name,
    });
    Ok(WorkerView {
        id: c.0,
        host: c.1,
        pid: c.2,
        name: c.3,
        version: c.4,
        queues: queues.collect(),
        labels: rows::parse(&c.7, "workers.labels")?,
        loaded: match (c.13, c.16) {
            (WorkerState::Live, Some(list)) => rows::parse(&list, "workers.loaded")?,
            // What is gone has nothing loaded.
            (WorkerState::Live | WorkerState::Stopped | WorkerState::Lost, _) => Vec::new(),
        },
        memory_bytes: c.8,
        rss_bytes: c.9,
        finished: c.10,
        draining: c.11 != 0,
        restarting: wanted.restart && c.13 == WorkerState::Live,
        state: c.13,
        started_at: c.14,
        seen_at: c.15,
        attempts: Vec::new(),
    })
}

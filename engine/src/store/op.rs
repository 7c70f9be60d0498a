//! What can be asked of the writer, and what it answers.

use std::sync::Arc;

use super::cleaning::Forget;
use super::queues::QueueAction;
use super::records::{Fire, Keep};
use super::workers::{Wanted, WorkerAction, WorkerStatus};
use crate::id::{QueueName, RunId, WorkerId, WorkflowName};
use crate::run::{RunState, TaskKey};
use crate::task::{LogLine, Progress};
use crate::time::Timestamp;
use crate::transition::{Settlement, TransitionError};

/// A change to the store.
#[derive(Debug)]
pub(crate) enum Op {
    /// Accept a run.
    Submit(Arc<crate::run::NewRun>),
    /// Take an attempt's report.
    Settle(Box<Settlement>),
    /// Do something to a run.
    Act(RunId, RunAction),
    /// Remember what an attempt says before it ends.
    Report(AttemptReport),
    /// A worker process begins.
    Register(WorkerRow),
    /// A worker is alive, believes to hold these, and tells how it goes.
    Heartbeat {
        worker: WorkerId,
        lease_until: Timestamp,
        holds: Vec<(TaskKey, i64)>,
        status: WorkerStatus,
    },
    /// Want something of a live worker, or of all that serve the queue in question.
    Steer(Option<WorkerId>, WorkerAction),
    /// Pause, resume or cap a queue.
    Queue(QueueName, QueueAction),
    /// Cancel some of the runs that wait in a queue.
    Purge(QueueName),
    /// A worker process ends in good order.
    Retire(WorkerId),
    /// A worker that was given up for lost is there after all: what it held did not kill it.
    Excuse(WorkerId, Vec<TaskKey>),
    /// A workflow's concurrency limit is this now: of each key, as many runs as it allows may go on.
    Admit(WorkflowName, i64),
    /// A bug in a decision.
    #[cfg(test)]
    Panic,
    /// Tell that an attempt is under way.
    Announce(TaskKey, i64),
    /// Another process says that this queue has work.
    Look(QueueName),
    /// Give up what nobody looks after any more.
    Sweep(Overdue),
    /// Forget a finished run and all that belongs to it.
    Delete(RunId),
    /// Go on with the trees that are being cancelled or deleted, for so many rows.
    TearDown(i64),
    /// Keep, change or forget a record.
    Keep(Keep),
    /// Forget what nobody needs any more.
    Forget(Forget),
    /// Somebody was told how a run ended, in this generation of it.
    Told(RunId, i64),
    /// Begin runs as a record moves on.
    Fire(Box<Fire>),
}

impl Op {
    /// Whether it finds for itself which runs it changes, and so must not share a commit with others.
    pub(super) fn is_alone(&self) -> bool {
        matches!(self, Self::Purge(_) | Self::Sweep(_) | Self::TearDown(_))
    }
}

/// What a look around found: workers that are gone, and attempts that are overdue.
#[derive(Debug, Clone)]
pub(crate) struct Overdue {
    /// Leases that ended before this are over: now, or never while workers could not renew them.
    pub(crate) leases_before: Timestamp,
    pub(crate) workers: Vec<WorkerId>,
    /// With the token each attempt was claimed with, and whether its worker is gone.
    pub(crate) attempts: Vec<(TaskKey, i64, bool)>,
}

/// What people do to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RunAction {
    /// End it now.
    Cancel,
    /// Start no further step.
    Pause,
    /// Start steps again.
    Resume,
    /// Try the failed steps again.
    Retry,
}

/// A worker process, as registered.
#[derive(Debug, Clone)]
pub(crate) struct WorkerRow {
    pub(crate) id: WorkerId,
    pub(crate) host: String,
    pub(crate) pid: u32,
    pub(crate) name: Option<String>,
    pub(crate) queues: Vec<(QueueName, u32)>,
    /// JSON list.
    pub(crate) labels: Option<String>,
    pub(crate) memory_bytes: Option<u64>,
    /// What operators wanted of this process under another id.
    pub(crate) wanted: Wanted,
    pub(crate) lease_until: Timestamp,
}

/// What an attempt says before it ends.
#[derive(Debug, Clone)]
pub(crate) struct AttemptReport {
    pub(crate) key: TaskKey,
    pub(crate) attempt: i64,
    pub(crate) token: i64,
    pub(crate) progress: Option<Progress>,
    pub(crate) logs: Vec<(i64, Timestamp, LogLine)>,
}

/// A run as it was inserted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Accepted {
    pub(crate) at: Timestamp,
    pub(crate) state: RunState,
    pub(crate) queued: bool,
    pub(crate) open: i64,
    pub(crate) last_event: i64,
}

/// What the writer answers.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The run, and whether it is a new one.
    Submitted {
        run: RunId,
        is_new: bool,
        /// `None` where the run, or what became of it, is not this commit's.
        accepted: Option<Accepted>,
    },
    /// Whether the report counted.
    Settled(Result<(), TransitionError>),
    /// The run's state after the action.
    Acted(Result<RunState, TransitionError>),
    /// Whether the worker is still known as live, and which tasks are no longer its own.
    /// And what operators want of it.
    Beat {
        is_live: bool,
        lost: Vec<TaskKey>,
        wanted: Wanted,
    },
    /// Which workers were told.
    Steered(Vec<WorkerId>),
    /// How many runs were cancelled; none means that nothing waits any more.
    Purged(u64),
    /// Attempts given up, workers declared lost, runs whose time was up.
    Swept(SweepCounts),
    /// The record's revision, 0 once it is gone; `None` when it is not as the writer saw it.
    Kept(Option<i64>),
    /// Rows that a portion of a teardown took, and whether there is more to do.
    TornDown { rows: u64, is_more: bool },
    /// How much was forgotten, where it is counted.
    Forgotten(u64),
    /// The runs begun, and whether each is a new one; `None` when the record was not as seen.
    Fired(Option<Vec<(RunId, bool)>>),
    /// It is done.
    Done,
}

/// What a sweep found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SweepCounts {
    /// Workers declared lost.
    pub workers: u64,
    /// Attempts given up.
    pub attempts: u64,
    /// Runs that took too long.
    pub runs: u64,
}

//! The truth: everything that must survive, in SQL.
//!
//! Writes go through one writer that shares commits (`writer`); reads have a
//! pool of their own and never wait for a write. Nothing above this module
//! knows that there is a database.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `open`, `connection`, `readers` | connecting, migrating, refusing what cannot be served; who writes and who reads |
//! | `writer` | the queue of requests, and how many share one commit |
//! | `commit`, `foresight` | one transaction: load, decide, save; and what it need not load |
//! | `submit`, `claim`, `act`, `effects`, `upkeep` | the rest of what a transaction can do |
//! | `overdue` | what a sweep looks for |
//! | `outage` | when the database was last away |
//! | `write_ahead` | the log of an embedded database, kept small |
//! | `grants` | claimed rows become work, or go back |
//! | `teardown` | trees of runs, cancelled or deleted a portion at a time |
//! | `demand`, `holdings` | what this process can take, and what it has |
//! | `workers`, `queues` | what operators see and say |
//! | `script`, `thread` | several statements in one trip; the thread that makes it |
//! | `read`, `lookup`, `runs`, `views` | questions, single runs many in one trip, lists of runs, and their answers |
//! | `check` | recounting a database |
//! | `records` | what the API keeps beside runs |
//! | `rows`, `sql`, `statement` | how rows travel, every statement, and how each database says it |

mod act;
mod check;
mod claim;
mod cleaning;
mod commit;
#[cfg(test)]
mod conformance;
mod connection;
mod demand;
mod effects;
mod error;
mod foresight;
mod grants;
mod holdings;
mod lookup;
mod notices;
mod notifier;
mod op;
mod open;
mod outage;
mod overdue;
#[cfg(test)]
mod plan_tests;
mod plans;
mod preference;
mod queues;
mod read;
mod readers;
mod records;
mod rows;
mod runs;
mod script;
mod sql;
mod statement;
mod submit;
mod teardown;
mod thread;
mod upkeep;
mod views;
mod workers;
mod write_ahead;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};

pub use demand::Farewell;
pub use error::StoreError;
pub use op::{RunAction, SweepCounts};
pub use open::{Database, Durability, PostgresUrl};
pub use queues::{QueueAction, QueueView, Unserved};
pub use views::{
    ArtifactView, AttemptView, FeedEntry, LogView, Record, RunFilter, RunPage, RunView, TaskView,
};
pub use workers::{WorkerAction, WorkerAttempt, WorkerQueue, WorkerState, WorkerView};

pub(crate) use claim::{Claim, Granted};
pub(crate) use cleaning::Forget;
pub(crate) use demand::{Abilities, Demand, Lane};
pub(crate) use holdings::{Halt, Holdings};
pub(crate) use notifier::{Herald, Hint, Tidings};
pub(crate) use op::{Accepted, Answer, AttemptReport, Op, Overdue, WorkerRow};
pub(crate) use records::{Fire, Keep};
pub(crate) use workers::{Wanted, WorkerStatus};

use connection::Connection;
use lookup::Lookup;
use outage::Outage;
use plans::Plans;
use readers::Readers;
use teardown::Teardowns;

use crate::config::EngineConfig;
use crate::id::{QueueName, RunId};
use crate::time::Clock;
use notifier::Notifier;
use writer::{Message, Request, Writer};

/// The store. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    outbox: mpsc::UnboundedSender<Message>,
    readers: Readers,
    /// Where the next two ask.
    lookups: Readers,
    /// Runs.
    runs: Lookup,
    /// Runs with their steps.
    details: Lookup,
    plans: Plans,
    notifier: Arc<Notifier>,
    teardowns: Arc<Teardowns>,
    outage: Arc<Outage>,
    /// Whether the writer's thread is gone for good.
    failed: Arc<watch::Sender<bool>>,
    #[cfg(test)]
    foreseen: Arc<foresight::Tally>,
    #[cfg(test)]
    races: Arc<std::sync::atomic::AtomicU64>,
}

impl Store {
    /// Opens the database, making and migrating what is needed, and starts the writer.
    pub(crate) async fn open(
        config: &EngineConfig,
        herald: Option<Arc<dyn Herald>>,
    ) -> Result<Self, StoreError> {
        let clock = config.clock.clone();
        match &config.database {
            Database::Sqlite { path } => {
                let (conn, readers) = open::sqlite::connect(path, config.durability).await?;
                let log = PathBuf::from(format!("{}-wal", path.display()));
                let conn = Connection::sqlite(conn, log);
                let readers = Readers::Sqlite(readers);
                Ok(Self::over(conn, readers.clone(), readers, clock, herald))
            }
            Database::Postgres(url) => {
                let opened = open::postgres::connect(url, &clock, config.lease).await?;
                let conn = Connection::postgres(opened.conn, opened.options);
                let readers = Readers::Postgres(opened.readers);
                let lookups = Readers::Postgres(opened.lookups);
                Ok(Self::over(conn, readers, lookups, clock, herald))
            }
        }
    }

    /// A store over connections that are ready.
    fn over(
        conn: Connection,
        readers: Readers,
        lookups: Readers,
        clock: Clock,
        herald: Option<Arc<dyn Herald>>,
    ) -> Self {
        let (outbox, inbox) = mpsc::unbounded_channel();
        let plans = Plans::default();
        let notifier = Arc::new(Notifier::default());
        let teardowns = Arc::new(Teardowns::default());
        let outage = Arc::new(Outage::default());
        let writer = Writer {
            conn,
            inbox,
            plans: plans.clone(),
            clock,
            notifier: Arc::clone(&notifier),
            teardowns: Arc::clone(&teardowns),
            outage: Arc::clone(&outage),
            demand: None,
            capped: Arc::default(),
            wake_at: None,
            looked_at: tokio::time::Instant::now(),
            has_misclaimed: false,
            waiting: std::collections::VecDeque::new(),
            doubtful: None,
            foresight: foresight::Foresight::default(),
            unreadable: writer::NOTHING.into(),
            to_return: Vec::new(),
            #[cfg(test)]
            races: Arc::default(),
            is_closing: false,
            herald,
        };
        #[cfg(test)]
        let foreseen = Arc::clone(&writer.foresight.tally);
        #[cfg(test)]
        let races = Arc::clone(&writer.races);
        let failed = Arc::new(watch::channel(false).0);
        let fail = Arc::clone(&failed);
        thread::run("aquatint-writer", writer.run(), move |detail| {
            tracing::error!(%detail, "the writer's thread panicked: this process can write nothing any more and must end; this is a bug, please report it");
            fail.send_replace(true);
        });
        Self {
            outbox,
            readers,
            runs: Lookup::start(lookups.clone(), &sql::RUN_VIEWS),
            details: Lookup::start(lookups.clone(), &sql::RUN_DETAILS),
            lookups,
            plans,
            notifier,
            teardowns,
            outage,
            failed,
            #[cfg(test)]
            foreseen,
            #[cfg(test)]
            races,
        }
    }

    /// Asks the writer, and waits until the answer is durable.
    pub(crate) async fn write(&self, op: Op) -> Result<Answer, StoreError> {
        self.write_freeing(op, None).await
    }

    /// [`Store::write`], giving a slot back with it.
    pub(crate) async fn write_freeing(
        &self,
        op: Op,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Result<Answer, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.tell(op, permit, reply);
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// [`Store::write_freeing`] for those who do not wait: the answer goes to `reply`, which is dropped
    /// when the store is closed.
    pub(crate) fn tell(
        &self,
        op: Op,
        permit: Option<OwnedSemaphorePermit>,
        reply: oneshot::Sender<Result<Answer, StoreError>>,
    ) {
        let request = Box::new(Request { op, permit, reply });
        let _ = self.outbox.send(Message::Request(request));
    }

    /// Asks the writer without waiting: for what may be lost with the process.
    pub(crate) fn post(&self, op: Op) {
        let (reply, _) = oneshot::channel();
        self.tell(op, None, reply);
    }

    /// From now on, claim for this worker whenever it has free slots.
    pub(crate) fn serve(&self, demand: Arc<Demand>) {
        let _ = self.outbox.send(Message::Serve(demand));
        self.ring();
    }

    /// Something may have become claimable, or a slot free.
    pub(crate) fn ring(&self) {
        let _ = self.outbox.send(Message::Ring);
    }

    /// Claims what free slots of this queue can take; resolves when that is done.
    pub(crate) async fn look(&self, queue: QueueName) {
        // Whatever keeps it from looking now, it looks again by itself.
        let _ = self.write(Op::Look(queue)).await;
    }

    /// Whether workers may have been unable to renew their leases within this time, for the database was away.
    pub(crate) fn was_away_within(&self, time: std::time::Duration) -> bool {
        self.outage.was_within(time)
    }

    /// Another process says that these runs have changed.
    pub(crate) fn heard(&self, runs: Vec<(RunId, bool)>) {
        self.notifier.touched(runs);
    }

    /// Other processes may have said something that was not heard.
    pub(crate) fn missed(&self) {
        self.notifier.foreign();
        self.ring();
    }

    /// Changes whenever the run does: a hint to look again.
    pub(crate) fn watch(&self, run: RunId) -> tokio::sync::watch::Receiver<Hint> {
        self.notifier.watch(run)
    }

    /// Changes whenever any run does: a hint to look again.
    pub(crate) fn watch_all(&self) -> tokio::sync::watch::Receiver<u64> {
        self.notifier.watch_all()
    }

    /// How often a commit of ours met another process's and was tried again.
    #[cfg(test)]
    fn races(&self) -> u64 {
        self.races.load(std::sync::atomic::Ordering::SeqCst)
    }

    /// Whether nothing can be written any more, until this process ends.
    pub(crate) fn has_failed(&self) -> bool {
        *self.failed.borrow()
    }

    /// Resolves when nothing can be written any more.
    pub(crate) async fn failed(&self) {
        // We hold the sender ourselves.
        let _ = self.failed.subscribe().wait_for(|failed| *failed).await;
    }

    /// Finishes what is queued and closes the database.
    pub(crate) async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.outbox.send(Message::Close(done)).is_ok() {
            let _ = closed.await;
        }
        tokio::join!(self.readers.close(), self.lookups.close());
    }
}

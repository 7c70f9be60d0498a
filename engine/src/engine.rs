//! The only public door: submit, steer and read runs.

mod alerts;
mod files;
mod health;
mod operators;
mod published;
mod read;
mod records;
mod schedules;
mod submit;
mod upkeep;

pub use alerts::Looked;
pub(crate) use published::refresh;
pub use read::Watch;
pub use schedules::{SCHEDULE_TAG, ScheduleError, ScheduleView, Ticked};
pub use submit::{Submission, Submitted};
pub use upkeep::{Cleaned, Upkeep};

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};

use tokio::sync::broadcast;

use crate::artifact::ArtifactStore;
use crate::config::{EngineConfig, WorkerConfig};
use crate::error::EngineError;
use crate::id::RunId;
use crate::library::Library;
use crate::run::RunState;
use crate::store::{Answer, Herald, Op, RunAction, RunView, Store, SweepCounts, Tidings};
use crate::time::Timestamp;
use crate::transport::{Doorbell, DoorbellHealth, Notice};
use crate::worker::{Handlers, Shared, Worker, sweep};

/// Durable workflows over one data directory. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

/// What [`Engine::check`] looked at and found wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct CheckReport {
    /// Broken promises of the database, one sentence each.
    pub broken: Vec<String>,
    /// Files that a run refers to and that are not there.
    pub missing: Vec<String>,
}

impl CheckReport {
    /// Whether all is well.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.broken.is_empty() && self.missing.is_empty()
    }
}

impl Engine {
    /// Opens a data directory, making it as needed.
    ///
    /// # Errors
    /// A sentence that says what is in the way and what mends it.
    pub async fn open(config: EngineConfig, library: Library) -> Result<Self, EngineError> {
        let folder = |what: &str, error: &std::io::Error| EngineError::Folder {
            path: config.data_dir.join(what),
            reason: error.to_string(),
        };
        make_private(&config.data_dir).map_err(|error| folder("", &error))?;
        let artifacts = ArtifactStore::open_at(&config.artifacts, &config.data_dir).await?;
        let doorbell = match &config.doorbell {
            Some(doorbell) => Some(Doorbell::connect(doorbell.clone()).await?),
            None => None,
        };
        let herald = doorbell.clone().map(|d| Arc::new(d) as Arc<dyn Herald>);
        let store = Store::open(&config, herald).await?;
        if let Some(doorbell) = &doorbell {
            tokio::spawn(pass_on_notices(doorbell.listen(), store.clone()));
        }
        tokio::spawn(store.clone().run_teardowns());
        let handlers = Handlers::start().map_err(|e| folder("", &e))?;
        let shared = Shared {
            store,
            library: RwLock::new(Arc::new(library)),
            artifacts,
            config,
            handlers,
            doorbell,
            scopes: Default::default(),
            serving: AtomicBool::new(false),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Begins to serve queues in this process.
    ///
    /// # Errors
    /// When there is one already, or it cannot be registered.
    pub async fn start_worker(&self, config: WorkerConfig) -> Result<Worker, EngineError> {
        if self.shared.serving.swap(true, Ordering::SeqCst) {
            return Err(EngineError::AlreadyServing);
        }
        let started = Worker::start(Arc::clone(&self.shared), config).await;
        if started.is_err() {
            self.shared.serving.store(false, Ordering::SeqCst);
        }
        Ok(started?)
    }

    /// The definitions and tasks this engine knows.
    #[must_use]
    pub fn library(&self) -> Arc<Library> {
        self.shared.library()
    }

    /// Cancels, pauses, resumes or retries a run; returns its state afterwards.
    ///
    /// # Errors
    /// An unknown run, or a state that does not allow it.
    pub async fn act(&self, run: RunId, action: RunAction) -> Result<RunState, EngineError> {
        match self.shared.store.write(Op::Act(run, action)).await? {
            Answer::Acted(result) => Ok(result?),
            other => unreachable!("an action is answered by Acted, not {other:?}"),
        }
    }

    /// Deletes a finished run; its files go with the next sweep, unless another run refers to them.
    ///
    /// Of a large tree of runs the rest goes in the background ([`Engine::finish_teardowns`]).
    ///
    /// # Errors
    /// An unknown run, or one that has not ended.
    pub async fn delete(&self, run: RunId) -> Result<(), EngineError> {
        self.shared.store.write(Op::Delete(run)).await?;
        Ok(())
    }

    /// Waits until what was cancelled or deleted is so to the last row. Processes that stay do that by themselves;
    /// one that is about to end leaves the rest to workers.
    ///
    /// # Errors
    /// A store error.
    pub async fn finish_teardowns(&self) -> Result<(), EngineError> {
        Ok(self.shared.store.tear_down().await?)
    }

    /// Some of the runs that ended, and of whose end those whom they name were not told yet.
    ///
    /// # Errors
    /// A store error.
    pub async fn untold(&self) -> Result<Vec<RunView>, EngineError> {
        Ok(self.shared.store.untold().await?)
    }

    /// Remembers that those whom a run names were told of its end; one that was retried meanwhile ends again.
    ///
    /// # Errors
    /// A store error.
    pub async fn told(&self, run: RunId, generation: i64) -> Result<(), EngineError> {
        self.shared.store.write(Op::Told(run, generation)).await?;
        Ok(())
    }

    /// The time, as everybody who shares the database sees it.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.shared.config.clock.now()
    }

    /// Finds what nobody looks after any more, once; workers do so all the time.
    ///
    /// # Errors
    /// A store error.
    pub async fn sweep(&self) -> Result<SweepCounts, EngineError> {
        Ok(sweep(&self.shared.store, &self.shared.config, None).await?)
    }

    /// How the doorbell fares; `None` where there is none.
    #[must_use]
    pub fn doorbell(&self) -> Option<DoorbellHealth> {
        self.shared.doorbell.as_ref().map(Doorbell::health)
    }

    /// Recounts everything: promises of the database, and files that should be there.
    ///
    /// # Errors
    /// A store error, or a bucket that does not answer.
    pub async fn check(&self) -> Result<CheckReport, EngineError> {
        let broken = self.shared.store.check().await?;
        let referenced = self.shared.store.referenced().await?;
        let artifacts = self.shared.artifacts.clone();
        let gone = blocking(move || artifacts.missing(referenced)).await?;
        let missing = gone
            .iter()
            .map(|a| format!("artifact {} (`{}`) is missing", a.digest, a.name))
            .collect();
        Ok(CheckReport { broken, missing })
    }

    /// Whether a bug has ended the thread that writes: nothing works any more until this process is started anew.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.shared.store.has_failed()
    }

    /// Resolves when [`Engine::has_failed`] becomes true. A program that serves should end then.
    pub async fn failed(&self) {
        self.shared.store.failed().await;
    }

    /// Finishes what is being written and closes the database. Stop workers first.
    pub async fn close(&self) {
        self.shared.store.close().await;
        if let Some(doorbell) = self.shared.doorbell.clone() {
            doorbell.close().await;
        }
    }
}

/// Makes the data directory for its owner alone: it holds secrets of webhooks, and everybody's inputs. One
/// that is there stays as its owner wants it.
fn make_private(folder: &Path) -> std::io::Result<()> {
    let mut making = std::fs::DirBuilder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt as _;
        making.mode(0o700);
    }
    making.recursive(true).create(folder)
}

/// What other processes say of runs, for those who wait here. Ends with the doorbell.
async fn pass_on_notices(mut notices: broadcast::Receiver<Notice>, store: Store) {
    loop {
        match notices.recv().await {
            Ok(Notice::Touched(runs)) => store.heard(runs),
            Ok(Notice::Missed) | Err(broadcast::error::RecvError::Lagged(_)) => store.missed(),
            Ok(Notice::Stopped(_) | Notice::Control) => {}
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

impl Herald for Doorbell {
    fn tell(&self, tidings: Tidings) {
        if !tidings.queues.is_empty() {
            self.ring(tidings.queues);
        }
        if tidings.steered {
            self.publish(Notice::Control);
        }
        for run in tidings.stopped {
            self.publish(Notice::Stopped(run));
        }
        let (over, going_on): (Vec<_>, Vec<_>) = tidings
            .touched
            .into_iter()
            .partition(|(_, is_over)| *is_over);
        for touched in [over, going_on] {
            if !touched.is_empty() {
                self.publish(Notice::Touched(touched));
            }
        }
    }
}

/// Runs work that waits for disks or the network off the async threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Only a runtime that is ending takes work back, and nothing waits on it any more.
            Err(_) => std::future::pending().await,
        },
    }
}

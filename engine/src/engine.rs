//! The only public door: submit, steer and read runs.

mod operators;
mod published;
mod records;

pub(crate) use published::refresh;

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{broadcast, watch};

use crate::artifact::{Artifact, ArtifactStore, Location, Swept};
use crate::config::{EngineConfig, WorkerConfig};
use crate::error::EngineError;
use crate::id::RunId;
use crate::library::{Definition, Library};
use crate::run::{Event, NewRun, Repeat, RunOptions, RunState};
use crate::store::{
    Answer, ArtifactView, AttemptView, FeedEntry, Herald, Hint, LogView, Op, RunAction, RunFilter,
    RunPage, RunView, Store, SweepCounts, TaskView, Tidings,
};
use crate::task::Progress;
use crate::time::Timestamp;
use crate::transition::TransitionError;
use crate::transport::{Doorbell, DoorbellHealth, Notice};
use crate::worker::{Handlers, Shared, Worker, concurrency_key, sweep};
use crate::workflow::plan::{Plan, StepIndex};

/// An idempotency key is at most this long.
const MAX_KEY_BYTES: usize = 255;

/// Words to find a run by: so many at most, and so long.
const MAX_TAGS: usize = 32;
const MAX_TAG_BYTES: usize = 100;

/// How often to look at a run that another process may be working on.
const FOREIGN_POLL: Duration = Duration::from_millis(200);

/// Durable workflows over one data directory. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

/// What to run, and how.
#[derive(Debug, Clone, Default)]
pub struct Submission {
    /// The workflow's name.
    pub workflow: String,
    /// Its inputs, a JSON object; defaults are filled in.
    pub inputs: Value,
    /// A second submit with the same key gives the first run back.
    pub idempotency_key: Option<String>,
    /// Added to each step's priority; higher goes first.
    pub priority: i64,
    /// Ignore the step cache.
    pub no_cache: bool,
    /// Words to find it by: 32 at most, of 1 to 100 bytes each.
    pub tags: Vec<String>,
    /// Whose it is.
    pub owner: Option<String>,
    /// Kept so long after its end, instead of the time its definition says.
    pub retention: Option<Duration>,
    /// Stored files that the inputs refer to: kept as long as the run is.
    pub attachments: Vec<Artifact>,
}

impl Submission {
    /// A workflow with its inputs, and otherwise the defaults.
    pub fn new(workflow: impl Into<String>, inputs: Value) -> Self {
        Self {
            workflow: workflow.into(),
            inputs,
            ..Self::default()
        }
    }
}

/// An accepted run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Submitted {
    /// Its id.
    pub run: RunId,
    /// False when an idempotency key gave back a run submitted earlier.
    pub is_new: bool,
}

/// Tells that a run may have changed.
#[derive(Debug, Clone)]
pub struct Watch(watch::Receiver<Hint>);

impl Watch {
    /// Waits until the run may have changed since this was last asked; a lost hint costs `patience`.
    pub async fn changed(&mut self, patience: Duration) {
        let _ = tokio::time::timeout(patience, self.0.changed()).await;
    }
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

    /// Accepts a run: when this returns, it is durable.
    ///
    /// # Errors
    /// Unknown workflow, refused inputs, a key used for another request, or a store error.
    pub async fn submit(&self, submission: Submission) -> Result<Submitted, EngineError> {
        let definition = self.library().get(&submission.workflow)?;
        self.submit_definition(&definition, submission).await
    }

    /// Accepts a run of a definition that need not be in the library: when this returns, it is durable.
    /// What [`Submission::workflow`] says does not count.
    ///
    /// # Errors
    /// Refused inputs or tags, a key used for another request, or a store error.
    pub async fn submit_definition(
        &self,
        definition: &Definition,
        submission: Submission,
    ) -> Result<Submitted, EngineError> {
        let new = self.prepare(definition, submission)?;
        match self.shared.store.write(Op::Submit(Box::new(new))).await? {
            Answer::Submitted { run, is_new } => Ok(Submitted { run, is_new }),
            other => unreachable!("submit is answered by Submitted, not {other:?}"),
        }
    }

    /// Everything about a submit that needs no store.
    fn prepare(
        &self,
        definition: &Definition,
        submission: Submission,
    ) -> Result<NewRun, EngineError> {
        let workflow = definition.plan.name.to_string();
        let given = if submission.inputs.is_null() {
            Value::Object(serde_json::Map::new())
        } else {
            submission.inputs
        };
        let inputs =
            definition
                .plan
                .inputs
                .check(given)
                .map_err(|problems| EngineError::Inputs {
                    workflow: workflow.clone(),
                    problems,
                })?;
        let concurrency_key = concurrency_key(&definition.plan, &inputs).map_err(|error| {
            EngineError::ConcurrencyKey {
                workflow,
                reason: error.message,
            }
        })?;
        check_tags(&submission.tags)?;
        if let Some(key) = &submission.idempotency_key {
            let is_plain = !key.is_empty() && !key.contains(char::is_control);
            if !is_plain || key.len() > MAX_KEY_BYTES {
                return Err(EngineError::Key { key: key.clone() });
            }
        }
        Ok(NewRun {
            id: RunId::new(self.shared.config.clock.now()),
            plan: Arc::clone(&definition.plan),
            spec: Arc::clone(&definition.spec),
            inputs: Arc::new(inputs),
            options: RunOptions {
                idempotency_key: submission.idempotency_key,
                priority: submission.priority,
                no_cache: submission.no_cache,
                tags: submission.tags,
                concurrency_key,
                owner: submission.owner,
                retention: submission.retention,
                attachments: submission.attachments,
                ..RunOptions::default()
            },
        })
    }

    /// Submits a run that takes over the results of one that has ended, up to a step, and does that
    /// step and all that follow it again. The earlier run stays as it is.
    ///
    /// # Errors
    /// An unknown run or step, a run that has not ended, or a store error.
    pub async fn repeat(
        &self,
        earlier: RunId,
        from: &str,
        owner: Option<String>,
    ) -> Result<RunId, EngineError> {
        let store = &self.shared.store;
        let run = store.run(earlier).await?;
        if !run.state.is_terminal() {
            return Err(EngineError::Refused(TransitionError::Illegal {
                action: "repeat",
                state: run.state,
            }));
        }
        let plan = store.plan_of_version(&run.version).await?;
        let known = plan
            .step_index(from)
            .filter(|s| Some(*s) != plan.on_failure);
        let from = known.ok_or_else(|| EngineError::NoSuchStep {
            run: earlier,
            step: from.to_owned(),
        })?;
        let inputs = run.inputs.unwrap_or_default();
        let concurrency_key =
            concurrency_key(&plan, &inputs).map_err(|error| EngineError::ConcurrencyKey {
                workflow: plan.name.to_string(),
                reason: error.message,
            })?;
        let new = NewRun {
            id: RunId::new(self.shared.config.clock.now()),
            spec: store.spec(&run.version).await?.into(),
            plan,
            inputs: Arc::new(inputs),
            options: RunOptions {
                priority: run.priority,
                tags: run.tags,
                concurrency_key,
                owner: owner.or(run.owner),
                // Whoever asks for it again wants it done, not remembered.
                no_cache: true,
                repeats: Some(Repeat { run: earlier, from }),
                ..RunOptions::default()
            },
        };
        match store.write(Op::Submit(Box::new(new))).await? {
            Answer::Submitted { run, .. } => Ok(run),
            other => unreachable!("submit is answered by Submitted, not {other:?}"),
        }
    }

    /// The versions of a workflow that runs were submitted with, newest first, and since when; 100 at most.
    ///
    /// # Errors
    /// A store error.
    pub async fn versions(&self, workflow: &str) -> Result<Vec<(String, Timestamp)>, EngineError> {
        Ok(self.shared.store.versions(workflow).await?)
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

    /// Forgets a finished run; its files go with the next sweep, unless another run refers to them.
    ///
    /// # Errors
    /// An unknown run, or one that has not ended.
    pub async fn delete(&self, run: RunId) -> Result<(), EngineError> {
        self.shared.store.write(Op::Delete(run)).await?;
        Ok(())
    }

    /// Waits until a run has ended, whoever works on it.
    ///
    /// # Errors
    /// An unknown run, or a store error.
    pub async fn wait(&self, run: RunId) -> Result<RunView, EngineError> {
        let mut changes = self.shared.store.watch(run);
        let mut is_hinted = false;
        loop {
            let seen = *changes.borrow_and_update();
            // A hint spares the small question, not the answer.
            if is_hinted || self.shared.store.run_state(run).await?.is_terminal() {
                let view = self.shared.store.run(run).await?;
                if view.state.is_terminal() {
                    return Ok(view);
                }
            }
            // A step's end is no reason to look: it would take the time of the next step.
            let tells = |hint: &Hint| {
                (hint.is_over && hint.count != seen.count) || hint.foreign != seen.foreign
            };
            let told = tokio::time::timeout(FOREIGN_POLL, changes.wait_for(tells)).await;
            is_hinted = matches!(told, Ok(Ok(hint)) if hint.is_over);
        }
    }

    /// Waits until something about a run may have changed.
    pub async fn changed(&self, run: RunId) {
        let mut changes = self.shared.store.watch(run);
        let _ = tokio::time::timeout(FOREIGN_POLL, changes.changed()).await;
    }

    /// A run as it is now.
    ///
    /// # Errors
    /// An unknown run, or a store error.
    pub async fn run(&self, run: RunId) -> Result<RunView, EngineError> {
        Ok(self.shared.store.run(run).await?)
    }

    /// Runs, newest first.
    ///
    /// # Errors
    /// A store error.
    pub async fn runs(&self, filter: &RunFilter) -> Result<Vec<RunView>, EngineError> {
        Ok(self.page(filter).await?.runs)
    }

    /// A page of runs, newest first, and where the next one begins.
    ///
    /// # Errors
    /// A store error.
    pub async fn page(&self, filter: &RunFilter) -> Result<RunPage, EngineError> {
        Ok(self.shared.store.list_runs(filter).await?)
    }

    /// Whether any run has not ended.
    ///
    /// # Errors
    /// A store error.
    pub async fn is_busy(&self) -> Result<bool, EngineError> {
        Ok(self.shared.store.is_busy().await?)
    }

    /// How many runs there are in each state.
    ///
    /// # Errors
    /// A store error.
    pub async fn counts(&self) -> Result<Vec<(RunState, u64)>, EngineError> {
        Ok(self.shared.store.counts().await?)
    }

    /// The run a person means: an id, the beginning of one, or `@latest`, the newest
    /// that is no step of another.
    ///
    /// # Errors
    /// When no run, or more than one, is meant.
    pub async fn find(&self, what: &str) -> Result<RunId, EngineError> {
        if what == "@latest" {
            return self
                .shared
                .store
                .latest_run()
                .await?
                .ok_or(EngineError::NoRuns);
        }
        let prefix = what.to_ascii_lowercase();
        let is_prefix =
            prefix.len() >= 4 && prefix.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
        let found = if is_prefix {
            self.shared.store.runs_like(&prefix).await?
        } else {
            Vec::new()
        };
        match found.as_slice() {
            [run] => Ok(*run),
            [] => Err(EngineError::NoSuchRun {
                what: what.to_owned(),
            }),
            [..] => Err(EngineError::Ambiguous {
                what: what.to_owned(),
            }),
        }
    }

    /// The plan a run is pinned to.
    ///
    /// # Errors
    /// An unknown run, or a store error.
    pub async fn plan(&self, run: RunId) -> Result<Arc<Plan>, EngineError> {
        Ok(self.shared.store.plan_of(run).await?)
    }

    /// The steps of a run, and on request the items of mapped steps.
    ///
    /// # Errors
    /// An unknown run, or a store error.
    pub async fn tasks(&self, run: RunId, with_items: bool) -> Result<Vec<TaskView>, EngineError> {
        Ok(self.shared.store.tasks(run, with_items).await?)
    }

    /// Items of a mapped step after number `after` (−1 for the first), in order; 1,000 at most.
    ///
    /// # Errors
    /// An unknown run, or a store error.
    pub async fn items(
        &self,
        run: RunId,
        step: StepIndex,
        after: i64,
        limit: u32,
    ) -> Result<Vec<TaskView>, EngineError> {
        let limit = i64::from(limit.min(1_000));
        Ok(self.shared.store.items(run, step, after, limit).await?)
    }

    /// The attempts of a run that have ended, 1,000 at most.
    ///
    /// # Errors
    /// An unknown run, or a store error.
    pub async fn attempts(&self, run: RunId) -> Result<Vec<AttemptView>, EngineError> {
        Ok(self.shared.store.attempts(run).await?)
    }

    /// The log lines of a run, oldest first.
    ///
    /// # Errors
    /// An unknown run, or a store error.
    pub async fn logs(&self, run: RunId) -> Result<Vec<LogView>, EngineError> {
        Ok(self.shared.store.logs(run).await?)
    }

    /// The files a run stored, oldest first.
    ///
    /// # Errors
    /// An unknown run, or a store error.
    pub async fn artifacts(&self, run: RunId) -> Result<Vec<ArtifactView>, EngineError> {
        Ok(self.shared.store.artifacts(run).await?)
    }

    /// A file of this run by its digest; `None` when it is none of this run's.
    ///
    /// # Errors
    /// A store error.
    pub async fn artifact(
        &self,
        run: RunId,
        digest: &str,
    ) -> Result<Option<Artifact>, EngineError> {
        Ok(self.shared.store.artifact_of(run, digest).await?)
    }

    /// Stores a file that inputs are to refer to. Name it in [`Submission::attachments`]: what
    /// no run refers to is swept away some time later.
    ///
    /// # Errors
    /// When the disk or the bucket refuses.
    pub async fn upload(
        &self,
        name: &str,
        media_type: &str,
        content: Vec<u8>,
    ) -> Result<Artifact, EngineError> {
        let store = self.shared.artifacts.clone();
        let (name, media_type) = (name.to_owned(), media_type.to_owned());
        Ok(blocking(move || store.put(&name, &media_type, &content)).await?)
    }

    /// Makes sure that these files are there, and keeps sweeps from them until a run refers to
    /// them; the first that is not there, if any.
    ///
    /// # Errors
    /// Never today; where a bucket does not answer, a file counts as missing.
    pub async fn attach(&self, files: &[Artifact]) -> Result<Option<Artifact>, EngineError> {
        let (store, files) = (self.shared.artifacts.clone(), files.to_vec());
        Ok(blocking(move || files.into_iter().find(|file| !store.renew(file))).await)
    }

    /// The path of an artifact's bytes; `None` where they lie in a bucket.
    #[must_use]
    pub fn artifact_path(&self, artifact: &Artifact) -> Option<std::path::PathBuf> {
        self.shared.artifacts.path(artifact)
    }

    /// Where an artifact is: a path, or an address within a bucket.
    #[must_use]
    pub fn artifact_location(&self, artifact: &Artifact) -> Option<Location> {
        self.shared.artifacts.location(artifact)
    }

    /// Opens a local file with an artifact's bytes, fetched first where they lie elsewhere.
    ///
    /// # Errors
    /// When it is missing or damaged, or the bucket does not answer.
    pub async fn open_artifact(&self, artifact: &Artifact) -> Result<std::fs::File, EngineError> {
        let (store, artifact) = (self.shared.artifacts.clone(), artifact.clone());
        Ok(blocking(move || store.open_file(&artifact)).await?)
    }

    /// The run's events after number `seq`, oldest first; 1,000 commits' worth at most.
    ///
    /// # Errors
    /// A store error.
    pub async fn events(&self, run: RunId, seq: i64) -> Result<Vec<Event>, EngineError> {
        Ok(self.shared.store.events_after(run, seq).await?)
    }

    /// All runs' events after a position, 1,000 commits' worth at most; in the order they were
    /// committed, more or less: where several processes write, one with a lower position may
    /// show a moment later than one with a higher.
    ///
    /// # Errors
    /// A store error.
    pub async fn feed(&self, position: i64) -> Result<Vec<FeedEntry>, EngineError> {
        Ok(self.shared.store.feed(position, 1_000).await?)
    }

    /// The position of the last event there is; 0 before the first.
    ///
    /// # Errors
    /// A store error.
    pub async fn last_position(&self) -> Result<i64, EngineError> {
        Ok(self.shared.store.last_position().await?)
    }

    /// A receiver that changes whenever any run may have.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.store.watch_all()
    }

    /// A receiver that changes whenever this run may have.
    #[must_use]
    pub fn watch(&self, run: RunId) -> Watch {
        Watch(self.shared.store.watch(run))
    }

    /// The time, as everybody who shares the database sees it.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.shared.config.clock.now()
    }

    /// What the running attempts of a run last said: step, item (or −1), progress.
    ///
    /// # Errors
    /// A store error.
    pub async fn progress(
        &self,
        run: RunId,
    ) -> Result<Vec<(StepIndex, i32, Progress)>, EngineError> {
        Ok(self.shared.store.progress(run).await?)
    }

    /// Finds what nobody looks after any more, once; workers do so all the time.
    ///
    /// # Errors
    /// A store error.
    pub async fn sweep(&self) -> Result<SweepCounts, EngineError> {
        Ok(sweep(&self.shared.store, &self.shared.config, None).await?)
    }

    /// Deletes expired runs, files nobody refers to that are older than
    /// `min_age`, and scratch folders that old.
    ///
    /// # Errors
    /// A store error, or a folder that cannot be read.
    pub async fn clean(&self, min_age: Duration) -> Result<Swept, EngineError> {
        let store = &self.shared.store;
        for run in store.expired_runs(self.shared.config.clock.now()).await? {
            store.write(Op::Delete(run)).await?;
        }
        let (artifacts, store) = (self.shared.artifacts.clone(), store.clone());
        let runtime = tokio::runtime::Handle::current();
        let scratch = self.shared.config.data_dir.join("scratch");
        blocking(move || {
            remove_old_folders(&scratch, min_age)?;
            artifacts.sweep(min_age, |digests| -> Result<HashSet<String>, EngineError> {
                Ok(runtime.block_on(store.needed(digests))?)
            })
        })
        .await
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

    /// Finishes what is being written and closes the database. Stop workers first.
    pub async fn close(&self) {
        self.shared.store.close().await;
        if let Some(doorbell) = self.shared.doorbell.clone() {
            doorbell.close().await;
        }
    }
}

fn check_tags(tags: &[String]) -> Result<(), EngineError> {
    let is_plain =
        |t: &String| (1..=MAX_TAG_BYTES).contains(&t.len()) && !t.contains(char::is_control);
    match tags.iter().find(|tag| !is_plain(tag)) {
        Some(bad) => Err(EngineError::Tag {
            tag: bad.chars().take(120).collect(),
        }),
        None if tags.len() > MAX_TAGS => Err(EngineError::TooManyTags { count: tags.len() }),
        None => Ok(()),
    }
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

fn remove_old_folders(root: &Path, min_age: Duration) -> Result<(), EngineError> {
    let Ok(listing) = std::fs::read_dir(root) else {
        return Ok(());
    };
    for folder in listing {
        let folder = folder?;
        let age = folder.metadata()?.modified()?.elapsed().unwrap_or_default();
        if age >= min_age {
            std::fs::remove_dir_all(folder.path())?;
        }
    }
    Ok(())
}

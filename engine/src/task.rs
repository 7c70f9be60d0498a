//! What a step's code is, and what it sees of the world: [`Task`] and [`TaskContext`].
//!
//! A task sees its inputs, its artifacts, a scratch folder, and ways to report;
//! never the store, the queue or the network of the engine.

use std::any::Any;
mod report;

use std::future::Future;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::artifact::{Artifact, ArtifactError, ArtifactStore};
use crate::id::{RunId, StepName, TaskName, WorkflowName};
use crate::permission::Permission;
use crate::text;

pub use report::{LogLevel, LogLine, Progress, Report};

/// The largest output a task may return as JSON; what is larger belongs in an artifact.
pub const MAX_OUTPUT_BYTES: usize = 256 * 1024;

/// How much is kept of an error's message, and of a log line.
pub const MAX_MESSAGE_BYTES: usize = 8 * 1024;

/// How much is kept of what an attempt says about its progress.
pub const MAX_PROGRESS_BYTES: usize = 1024;

/// How much is kept of an error's class.
const MAX_CLASS_BYTES: usize = 64;

/// The largest preview: a small picture for people, of what is not done yet.
pub const MAX_PREVIEW_BYTES: usize = 64 * 1024;

/// The least time between two previews of an attempt.
const PREVIEW_EVERY: Duration = Duration::from_millis(250);

/// Code that a step can name.
///
/// A task may run more than once for one step (a worker can vanish after the
/// work and before the report), so its effects should be idempotent;
/// [`TaskContext::idempotency_key`] stays the same over such repeats.
pub trait Task: Send + Sync + 'static {
    /// What definitions call it: `image.generate`.
    const NAME: &'static str;
    /// Raised whenever the same input would give another output: the step cache asks.
    const VERSION: u32;
    /// One sentence for `aquatint tasks` and the dashboard.
    const DESCRIPTION: &'static str;
    /// What running a workflow with it takes. More than the least for what acts on the installation
    /// or speaks in its name.
    const PERMISSION: Permission = Permission::Submit;
    /// What `with:` must evaluate to. Refuse unknown fields (`#[serde(deny_unknown_fields)]`).
    type Input: DeserializeOwned + JsonSchema + Send;
    /// What later steps see as `steps.name`.
    type Output: Serialize + JsonSchema + Send;

    /// Does the work of one attempt.
    ///
    /// The future is dropped at the hard time-out and a grace period after a
    /// cancel; work inside [`TaskContext::blocking`] must ask
    /// [`TaskContext::check`] now and then, since a thread cannot be dropped.
    fn run(
        &self,
        ctx: TaskContext,
        input: Self::Input,
    ) -> impl Future<Output = Result<Self::Output, TaskError>> + Send;
}

/// Why an attempt did not succeed, and whether another try may help.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct TaskError {
    /// A short machine-readable word, `snake_case`: `network`, `rate_limit`, `invalid_input`.
    pub class: String,
    /// A sentence: what was wrong, with which value, and what to do.
    pub message: String,
    /// What the engine should do about it.
    pub remedy: Remedy,
}

/// What may help against a [`TaskError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Remedy {
    /// Another try, after the step's back-off.
    Retry,
    /// Another try, not before this many milliseconds have passed (a service's `Retry-After`).
    RetryAfterMs(u64),
    /// Nothing: the same input will fail again.
    Fail,
    /// None needed: the attempt stopped because it was told to.
    Cancelled,
}

impl TaskError {
    /// An error that another try may cure.
    pub fn retryable(class: &str, message: impl Into<String>) -> Self {
        Self {
            class: class.to_owned(),
            message: message.into(),
            remedy: Remedy::Retry,
        }
    }

    /// An error that another try may cure after `wait`.
    pub fn retry_after(wait: Duration, class: &str, message: impl Into<String>) -> Self {
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        Self {
            class: class.to_owned(),
            message: message.into(),
            remedy: Remedy::RetryAfterMs(wait_ms),
        }
    }

    /// An error that no further try will cure.
    pub fn fatal(class: &str, message: impl Into<String>) -> Self {
        Self {
            class: class.to_owned(),
            message: message.into(),
            remedy: Remedy::Fail,
        }
    }

    /// The error as it is stored: its texts cut to what people read.
    pub(crate) fn bounded(mut self) -> Self {
        self.class = text::bounded(self.class, MAX_CLASS_BYTES);
        self.message = text::bounded(self.message, MAX_MESSAGE_BYTES);
        self
    }

    /// What a panic of a task's code is, seen from outside.
    pub(crate) fn panic(task: &TaskName, panic: &(dyn Any + Send)) -> Self {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        let text = text.unwrap_or("with a value that is no text");
        Self::retryable("panic", format!("task `{task}` panicked: {text}"))
    }

    /// What a task returns when it stops because [`TaskContext::is_cancelled`] says so.
    #[must_use]
    pub fn cancelled() -> Self {
        Self {
            class: "cancelled".to_owned(),
            message: "the attempt was told to stop".to_owned(),
            remedy: Remedy::Cancelled,
        }
    }
}

impl From<std::io::Error> for TaskError {
    fn from(error: std::io::Error) -> Self {
        Self::retryable("io", error.to_string())
    }
}

/// Which attempt this is: what a handler may want to write into its files or requests.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct AttemptInfo {
    /// The run.
    pub run: RunId,
    /// The workflow's name.
    pub workflow: WorkflowName,
    /// The workflow's content hash.
    pub workflow_version: String,
    /// The step.
    pub step: StepName,
    /// The item's index, in a mapped step.
    pub item: Option<u32>,
    /// Counts from 1.
    pub attempt: u32,
    /// The run's inputs, defaults filled in.
    pub run_inputs: Arc<Value>,
}

impl AttemptInfo {
    /// Describes a first attempt; tests and the engine build these.
    #[must_use]
    pub fn new(run: RunId, workflow: WorkflowName, step: StepName) -> Self {
        Self {
            run,
            workflow,
            workflow_version: String::new(),
            step,
            item: None,
            attempt: 1,
            run_inputs: Arc::new(Value::Object(serde_json::Map::new())),
        }
    }
}

/// An attempt's view of the world. Cheap to clone.
#[derive(Debug, Clone)]
pub struct TaskContext {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    info: AttemptInfo,
    cancel: CancellationToken,
    soft_timeout: CancellationToken,
    scratch: PathBuf,
    artifacts: ArtifactStore,
    reports: tokio::sync::mpsc::UnboundedSender<Report>,
    saved: Mutex<Vec<Artifact>>,
    has_spoken: AtomicBool,
    /// When the last preview was shown.
    previewed: Mutex<Option<Instant>>,
}

/// What the engine keeps of a [`TaskContext`] it made.
#[derive(Debug)]
pub struct ContextParts {
    /// Who the attempt is.
    pub info: AttemptInfo,
    /// Cancelled when the attempt must stop.
    pub cancel: CancellationToken,
    /// Cancelled at the soft time-out.
    pub soft_timeout: CancellationToken,
    /// The attempt's own folder; made when first asked for.
    pub scratch: PathBuf,
    /// Where artifacts go.
    pub artifacts: ArtifactStore,
    /// Where progress and log lines go.
    pub reports: tokio::sync::mpsc::UnboundedSender<Report>,
}

impl TaskContext {
    /// Builds a context; for the engine, and for tests of tasks.
    #[must_use]
    pub fn new(parts: ContextParts) -> Self {
        let ContextParts {
            info,
            cancel,
            soft_timeout,
            scratch,
            artifacts,
            reports,
        } = parts;
        let saved = Mutex::default();
        Self {
            shared: Arc::new(Shared {
                info,
                cancel,
                soft_timeout,
                scratch,
                artifacts,
                reports,
                saved,
                has_spoken: AtomicBool::new(false),
                previewed: Mutex::default(),
            }),
        }
    }

    /// Which attempt this is.
    #[must_use]
    pub fn info(&self) -> &AttemptInfo {
        &self.shared.info
    }

    /// The same for every try of this step in this run: hand it to services that de-duplicate.
    #[must_use]
    pub fn idempotency_key(&self) -> String {
        let info = self.info();
        match info.item {
            Some(item) => format!("{}/{}/{item}", info.run, info.step),
            None => format!("{}/{}", info.run, info.step),
        }
    }

    /// Says how far the work is; `fraction` in `0.0..=1.0`.
    ///
    /// Of the message, [`MAX_PROGRESS_BYTES`] are kept.
    pub fn progress(&self, fraction: f64, message: impl Into<String>) {
        self.report(Report::Progress(Progress {
            fraction: if fraction.is_finite() {
                fraction.clamp(0.0, 1.0)
            } else {
                0.0
            },
            message: text::bounded(message.into(), MAX_PROGRESS_BYTES),
            items: None,
            preview: None,
        }));
    }

    /// Says how many items of how many are done.
    pub fn progress_items(&self, done: u64, total: u64, message: impl Into<String>) {
        #[expect(clippy::cast_precision_loss, reason = "a share for people")]
        let fraction = if total == 0 {
            1.0
        } else {
            (done as f64 / total as f64).clamp(0.0, 1.0)
        };
        self.report(Report::Progress(Progress {
            fraction,
            message: text::bounded(message.into(), MAX_PROGRESS_BYTES),
            items: Some((done, total)),
            preview: None,
        }));
    }

    /// Whether a preview would be shown now: a few a second are, and those between are not worth making.
    #[must_use]
    pub fn wants_preview(&self) -> bool {
        let shown = self.shared.previewed.lock();
        let shown = shown.unwrap_or_else(PoisonError::into_inner);
        shown.is_none_or(|at| at.elapsed() >= PREVIEW_EVERY)
    }

    /// Shows what the result may look like, from within [`TaskContext::blocking`]: a small picture that people see
    /// while the attempt runs, until the next one or its end. What comes too soon after the last is not shown.
    ///
    /// # Errors
    /// Fatal, class `preview_too_large`, beyond [`MAX_PREVIEW_BYTES`]; else as [`TaskContext::save_blocking`].
    pub fn preview_blocking(&self, media_type: &str, content: &[u8]) -> Result<(), TaskError> {
        if content.len() > MAX_PREVIEW_BYTES {
            return Err(TaskError::fatal(
                "preview_too_large",
                format!(
                    "a preview of {} bytes; {MAX_PREVIEW_BYTES} are the most: make it smaller",
                    content.len()
                ),
            ));
        }
        if !self.wants_preview() {
            return Ok(());
        }
        let preview = self.shared.artifacts.put("preview", media_type, content)?;
        let now = Some(Instant::now());
        *self
            .shared
            .previewed
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = now;
        self.report(Report::Preview(preview));
        Ok(())
    }

    /// Adds a line to the attempt's log, of which [`MAX_MESSAGE_BYTES`] are kept.
    pub fn log(&self, level: LogLevel, message: impl Into<String>) {
        let message = text::bounded(message.into(), MAX_MESSAGE_BYTES);
        self.report(Report::Log(LogLine { level, message }));
    }

    /// Resolves when the attempt must stop: its run was cancelled, its time is
    /// up, or its worker is going away.
    pub async fn cancelled(&self) {
        self.shared.cancel.cancelled().await;
    }

    /// Whether the attempt must stop.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.shared.cancel.is_cancelled()
    }

    /// `?` this between pieces of blocking work.
    ///
    /// # Errors
    /// [`TaskError::cancelled`] once the attempt must stop.
    pub fn check(&self) -> Result<(), TaskError> {
        if self.is_cancelled() {
            Err(TaskError::cancelled())
        } else {
            Ok(())
        }
    }

    /// Resolves at the soft time-out: time to finish early or clean up.
    pub async fn soft_timeout(&self) {
        self.shared.soft_timeout.cancelled().await;
    }

    /// Whether the soft time-out has passed.
    #[must_use]
    pub fn is_soft_timeout(&self) -> bool {
        self.shared.soft_timeout.is_cancelled()
    }

    /// Runs CPU-bound or blocking work off the async threads.
    ///
    /// # Errors
    /// What `work` returns. A panic in it panics here, and fails the attempt.
    pub async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, TaskError> + Send + 'static,
    ) -> Result<T, TaskError> {
        let ctx = self.clone();
        match tokio::task::spawn_blocking(move || work(&ctx)).await {
            Ok(result) => result,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(TaskError::cancelled()),
            },
        }
    }

    /// The attempt's own folder, empty at first and deleted at its end.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn scratch(&self) -> Result<&Path, TaskError> {
        std::fs::create_dir_all(&self.shared.scratch)?;
        Ok(&self.shared.scratch)
    }

    /// A path below the scratch folder.
    ///
    /// # Errors
    /// Fatal, class `outside_scratch`, when `relative` would lead out of it.
    pub fn scratch_file(&self, relative: impl AsRef<Path>) -> Result<PathBuf, TaskError> {
        let relative = relative.as_ref();
        let stays = relative
            .components()
            .all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
        if !stays || relative.as_os_str().is_empty() {
            return Err(outside_scratch(relative));
        }
        Ok(self.scratch()?.join(relative))
    }

    /// Stores bytes as an artifact of this attempt.
    ///
    /// # Errors
    /// Retryable, class `io` or `artifact_store`, when the disk refuses or the bucket does not
    /// answer; fatal, class `artifact_store`, when the bucket lets nobody in.
    pub async fn save(
        &self,
        name: &str,
        media_type: &str,
        content: Vec<u8>,
    ) -> Result<Artifact, TaskError> {
        let (name, media_type) = (name.to_owned(), media_type.to_owned());
        self.blocking(move |ctx| ctx.save_blocking(&name, &media_type, &content))
            .await
    }

    /// [`TaskContext::save`], from within [`TaskContext::blocking`].
    ///
    /// # Errors
    /// Retryable, class `io` or `artifact_store`, when the disk refuses or the bucket does not
    /// answer; fatal, class `artifact_store`, when the bucket lets nobody in.
    pub fn save_blocking(
        &self,
        name: &str,
        media_type: &str,
        content: &[u8],
    ) -> Result<Artifact, TaskError> {
        let artifact = self.shared.artifacts.put(name, media_type, content)?;
        self.remember(&artifact);
        Ok(artifact)
    }

    /// Stores a file from the scratch folder as an artifact of this attempt.
    ///
    /// # Errors
    /// Fatal, class `outside_scratch`, when the file (links followed) lies elsewhere.
    pub async fn save_file(
        &self,
        name: &str,
        media_type: &str,
        path: &Path,
    ) -> Result<Artifact, TaskError> {
        let (name, media_type, path) = (name.to_owned(), media_type.to_owned(), path.to_owned());
        self.blocking(move |ctx| {
            let scratch = ctx.scratch()?.canonicalize()?;
            let real = path.canonicalize()?;
            if !real.starts_with(&scratch) {
                return Err(outside_scratch(&path));
            }
            let artifact = ctx.shared.artifacts.put_file(&name, &media_type, &real)?;
            ctx.remember(&artifact);
            Ok(artifact)
        })
        .await
    }

    /// Reads an artifact that an input names.
    ///
    /// # Errors
    /// Fatal, class `missing_artifact`, when it is not there or damaged; retryable,
    /// class `artifact_store`, when it lies in a bucket that does not answer.
    pub async fn read(&self, artifact: &Artifact) -> Result<Vec<u8>, TaskError> {
        let artifact = artifact.clone();
        self.blocking(move |ctx| {
            let content = ctx.shared.artifacts.read(&artifact);
            content.map_err(|error| about(&artifact, error))
        })
        .await
    }

    /// Writes an artifact that an input names into a new file in the scratch folder,
    /// a piece at a time: for what is large, and for programs that want a path.
    ///
    /// # Errors
    /// Fatal, class `outside_scratch`, when `relative` would lead out of the folder;
    /// as [`TaskContext::read`]; and retryable, class `io`, when the file cannot be written.
    pub async fn place(
        &self,
        artifact: &Artifact,
        relative: impl AsRef<Path>,
    ) -> Result<PathBuf, TaskError> {
        let path = self.scratch_file(relative)?;
        let artifact = artifact.clone();
        self.blocking(move |ctx| {
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder)?;
            }
            let placed = ctx.shared.artifacts.copy_to(&artifact, &path);
            placed.map_err(|error| about(&artifact, error))?;
            Ok(path)
        })
        .await
    }

    /// What this attempt has saved so far, oldest first.
    #[must_use]
    pub fn saved(&self) -> Vec<Artifact> {
        self.shared
            .saved
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn remember(&self, artifact: &Artifact) {
        self.shared
            .saved
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(artifact.clone());
    }

    /// Whether it has told of progress or written to its log.
    pub(crate) fn has_spoken(&self) -> bool {
        self.shared.has_spoken.load(Ordering::Acquire)
    }

    fn report(&self, report: Report) {
        self.shared.has_spoken.store(true, Ordering::Release);
        // Nobody listens once the attempt is over; what it says then is late.
        let _ = self.shared.reports.send(report);
    }
}

/// A failure to have an artifact, with its name.
fn about(artifact: &Artifact, error: ArtifactError) -> TaskError {
    let mut error = TaskError::from(error);
    error.message = format!(
        "artifact `{}` ({}): {}",
        artifact.name, artifact.digest, error.message
    );
    error
}

fn outside_scratch(path: &Path) -> TaskError {
    TaskError::fatal(
        "outside_scratch",
        format!(
            "`{}` leads out of the attempt's scratch folder; write below `ctx.scratch()`",
            path.display()
        ),
    )
}

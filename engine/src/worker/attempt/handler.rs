//! Runs a task's own code: apart from our loops, under its time-outs, stopped when told.

use std::any::Any;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::super::handlers::Pool;
use super::super::{Shared, scope};
use super::report::{Answered, Finished, Messenger, Said, Told, Word};
use super::{Course, Outcome, Product, store_trouble, stored, unknown_task};
use crate::id::TaskName;
use crate::layer::{Attempt, AttemptRequest, AttemptService};
use crate::registry::Code;
use crate::run::AttemptOutcome;
use crate::store::{AttemptReport, Claim, Halt, Op, StoreError};
use crate::task::{
    AttemptInfo, ContextParts, LogLevel, LogLine, MAX_MESSAGE_BYTES, MAX_PROGRESS_BYTES, Progress,
    Remedy, Report, TaskContext, TaskError,
};
use crate::text;
use crate::transition::Settlement;
use crate::workflow::plan::PlanStep;

/// How often progress and log lines are stored while an attempt runs.
const REPORT_EVERY: Duration = Duration::from_millis(200);

/// Log lines of one attempt at most; what follows is dropped, with a note.
const MAX_LOG_LINES: i64 = 10_000;

/// How long a handler that is dropped may take to let its thread go.
const DROP_PATIENCE: Duration = Duration::from_millis(100);

type Handle = JoinHandle<Finished>;

/// What a handler is to do, and for whom.
pub(super) struct Job<'a> {
    pub(super) claim: &'a Arc<Claim>,
    pub(super) step: &'a PlanStep,
    pub(super) task: &'a TaskName,
    pub(super) input: Value,
    /// Under which key the result may be kept.
    pub(super) cache_key: Option<String>,
    pub(super) halt: &'a Halt,
    pub(super) word: &'a Arc<Word>,
    /// What stands around the task's code, where anything does.
    pub(super) layers: Option<&'a AttemptService>,
}

/// Runs the handler.
pub(super) async fn run(shared: &Arc<Shared>, job: Job<'_>) -> Course {
    let Job {
        claim,
        step,
        task,
        input,
        cache_key,
        halt,
        word,
        layers,
    } = job;
    let inputs = match scope::inputs(shared, claim).await {
        Ok(inputs) => inputs,
        Err(error) => return Course::Over(Product::failed(store_trouble(&error))),
    };
    let mut info = AttemptInfo::new(claim.key.run, claim.run.workflow.clone(), step.name.clone());
    info.workflow_version.clone_from(&claim.plan.version);
    info.item = claim.key.item_index();
    info.attempt = u32::try_from(claim.attempt).unwrap_or(u32::MAX);
    info.run_inputs = Arc::clone(&inputs.json);

    let folder = shared.config.data_dir.join("scratch").join(format!(
        "{}-{}-{}-{}",
        claim.key.run, claim.key.step, claim.key.item, claim.attempt
    ));
    let scratch = Scratch(Some(folder.clone()));
    let stop = CancellationToken::new();
    let soft = CancellationToken::new();
    let (reports, inbox) = mpsc::unbounded_channel();
    let ctx = TaskContext::new(ContextParts {
        info,
        cancel: stop.clone(),
        soft_timeout: soft.clone(),
        scratch: folder,
        artifacts: shared.artifacts.clone(),
        reports,
    });
    let library = shared.library();
    let registry = library.registry();
    let attempt = match layers {
        None => registry.start(task.as_str(), ctx.clone(), input),
        Some(layers) if registry.spec(task.as_str()).is_some() => {
            let failures = match failures(shared, claim).await {
                Ok(failures) => failures,
                Err(error) => return Course::Over(Product::failed(store_trouble(&error))),
            };
            let plan = Arc::clone(&claim.plan);
            let attempt = Attempt::new(ctx.clone(), task.clone(), plan, claim.key.step, failures);
            Some(layered(layers, AttemptRequest::new(attempt, input)))
        }
        Some(_) => None,
    };
    let Some(attempt) = attempt else {
        return Course::Over(Product::failed(unknown_task(task)));
    };
    let (reply, mut answer) = oneshot::channel();
    let messenger = word.is_open().then(|| Messenger {
        shared: Arc::clone(shared),
        claim: Arc::clone(claim),
        ctx: ctx.clone(),
        halt: halt.clone(),
        word: Arc::clone(word),
        cache_key: cache_key.clone(),
        reply,
    });
    let may_tell = messenger.is_some();
    let attempt = async move {
        let returned = attempt.await;
        match messenger {
            Some(messenger) => messenger.tell(returned),
            None => Finished::Returned(returned),
        }
    };
    let mut journal = Journal {
        shared,
        claim,
        inbox,
        lines: 0,
        logs: Vec::new(),
        progress: Progress::default(),
        has_news: false,
    };
    let (handle, pool) = shared.handlers.spawn(attempt);
    let running = Running {
        handle,
        pool,
        answer: may_tell.then_some(&mut answer),
        said: None,
        word,
    };
    let end = drive(
        running,
        step,
        halt,
        &stop,
        &soft,
        shared.config.stop_grace,
        &mut journal,
    )
    .await;
    journal.drain();
    journal.store();
    scratch.remove().await;

    let product = match end {
        End::Told(settlement, said) => {
            let answer = said.map_or(Answered::NotYet(answer), Answered::Already);
            return Course::Told(Told {
                settlement: *settlement,
                answer,
            });
        }
        End::Returned(Ok(output)) => {
            match stored(&output, &format!("the output of task `{task}`")) {
                Ok(output) => Product {
                    outcome: Outcome::Succeeded {
                        output,
                        cached: false,
                    },
                    artifacts: ctx.saved(),
                    cache_key,
                },
                Err(error) => Product::failed(error),
            }
        }
        End::Returned(Err(error))
            if halt.token.is_cancelled() && error.remedy == Remedy::Cancelled =>
        {
            Product::plain(Outcome::Released)
        }
        End::Returned(Err(error)) => Product::failed(error),
        End::Panicked(panic) => Product::failed(TaskError::panic(task, &*panic)),
        End::TimedOut => {
            let limit = humantime::format_duration(step.timeout);
            let error = TaskError::retryable(
                "timeout",
                format!("task `{task}` took longer than its timeout of {limit}"),
            );
            Product::plain(Outcome::Failed {
                outcome: AttemptOutcome::TimedOut,
                error,
            })
        }
        End::Stopped => Product::plain(Outcome::Released),
    };
    if halt.is_disowned() {
        return Course::Dropped;
    }
    Course::Over(product)
}

/// Hands a request to the layers, from within the attempt: a panic of theirs is its own.
fn layered(layers: &AttemptService, request: AttemptRequest) -> Code {
    let layers = layers.clone();
    Box::pin(async move { layers.oneshot(request).await })
}

/// How often the task has failed before. Attempts are counted beyond that: some were given back, or lost.
async fn failures(shared: &Shared, claim: &Claim) -> Result<u32, StoreError> {
    if claim.attempt <= 1 {
        return Ok(0);
    }
    let tries = shared.store.tries(claim.key).await?;
    Ok(u32::try_from(tries).unwrap_or(0))
}

/// A handler under way.
struct Running<'a> {
    handle: Handle,
    pool: Pool,
    /// What the store says to a report from the handler's thread; closed when there is none after all.
    answer: Option<&'a mut oneshot::Receiver<Said>>,
    /// That, once it is here.
    said: Option<Said>,
    word: &'a Word,
}

impl Shared {
    /// Drops a handler. Its slot stays taken until it is clear whether its thread is free.
    async fn end(&self, mut handle: Handle, pool: Pool) {
        handle.abort();
        if tokio::time::timeout(DROP_PATIENCE, &mut handle)
            .await
            .is_err()
        {
            self.handlers.give_up(pool);
        }
    }
}

impl Running<'_> {
    /// The handler's own end. May be dropped and asked for again.
    async fn end(&mut self) -> End {
        if let Some(answer) = &mut self.answer {
            // The thread's end is not looked at: whoever has reported need not wake us before there is an answer.
            let said = (&mut **answer).await;
            self.said = Some(said.unwrap_or(Err(StoreError::Closed)));
            self.answer = None;
        }
        let done = (&mut self.handle).await;
        ended(done, self.said.take())
    }
}

/// How a handler came to its end.
enum End {
    /// It has reported from its own thread; with the answer, where there is one already.
    Told(Box<Settlement>, Option<Said>),
    Returned(Result<Value, TaskError>),
    Panicked(Box<dyn Any + Send>),
    TimedOut,
    /// It was told to stop and did, or was dropped after the grace period.
    Stopped,
}

/// Waits for the handler, or ends it.
async fn drive(
    mut running: Running<'_>,
    step: &PlanStep,
    halt: &Halt,
    stop: &CancellationToken,
    soft: &CancellationToken,
    grace: Duration,
    journal: &mut Journal<'_>,
) -> End {
    let began = Instant::now();
    let hard_limit = tokio::time::sleep_until(began + step.timeout);
    let soft_limit = tokio::time::sleep_until(began + step.soft_timeout.unwrap_or(step.timeout));
    tokio::pin!(hard_limit, soft_limit);
    let mut store_at: Option<Instant> = None;
    // The first word is stored at once, the others now and then.
    let mut next_store = began;
    loop {
        tokio::select! {
            biased;
            end = running.end() => return end,
            () = halt.token.cancelled() => break,
            () = &mut hard_limit => {
                stop.cancel();
                if !running.word.keep() {
                    return ended(running.handle.await, running.said);
                }
                // A moment for those who listen, to clean up; the verdict stands.
                if tokio::time::timeout(grace.min(Duration::from_millis(500)), &mut running.handle).await.is_err() {
                    journal.shared.end(running.handle, running.pool).await;
                }
                return End::TimedOut;
            }
            () = &mut soft_limit, if !soft.is_cancelled() => soft.cancel(),
            Some(report) = journal.inbox.recv() => {
                journal.take(report);
                store_at.get_or_insert(next_store);
            }
            () = tokio::time::sleep_until(store_at.unwrap_or(began)), if store_at.is_some() => {
                journal.store();
                store_at = None;
                next_store = Instant::now() + REPORT_EVERY;
            }
        }
    }
    stop.cancel();
    if !running.word.keep() {
        return ended(running.handle.await, running.said);
    }
    match tokio::time::timeout(grace, &mut running.handle).await {
        // It finished after all, just in time: its result counts if the store still wants it.
        Ok(done) => match ended(done, None) {
            End::Returned(Err(error)) if error.remedy == Remedy::Cancelled => End::Stopped,
            end => end,
        },
        Err(_) => {
            journal.shared.end(running.handle, running.pool).await;
            End::Stopped
        }
    }
}

fn ended(done: Result<Finished, JoinError>, said: Option<Said>) -> End {
    match done {
        Ok(Finished::Reported(settlement)) => End::Told(settlement, said),
        Ok(Finished::Returned(result)) => End::Returned(result),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => End::Panicked(panic),
            Err(_) => End::Stopped,
        },
    }
}

/// What an attempt says before it ends, on its way to the store.
struct Journal<'a> {
    shared: &'a Arc<Shared>,
    claim: &'a Claim,
    inbox: mpsc::UnboundedReceiver<Report>,
    lines: i64,
    logs: Vec<(i64, crate::time::Timestamp, LogLine)>,
    /// What it said last, with the last preview, and whether that is news.
    progress: Progress,
    has_news: bool,
}

impl Journal<'_> {
    fn take(&mut self, report: Report) {
        match report {
            Report::Progress(mut progress) => {
                progress.message = text::bounded(progress.message, MAX_PROGRESS_BYTES);
                progress.preview = self.progress.preview.take();
                self.progress = progress;
                self.has_news = true;
            }
            Report::Preview(preview) => {
                self.progress.preview = Some(preview);
                self.has_news = true;
            }
            Report::Log(mut line) => {
                self.lines += 1;
                if self.lines == MAX_LOG_LINES {
                    line = LogLine {
                        level: LogLevel::Warn,
                        message: format!("more than {MAX_LOG_LINES} lines; the rest is dropped"),
                    };
                }
                if self.lines <= MAX_LOG_LINES {
                    line.message = text::bounded(line.message, MAX_MESSAGE_BYTES);
                    self.logs
                        .push((self.lines, self.shared.config.clock.now(), line));
                }
            }
        }
    }

    fn drain(&mut self) {
        while let Ok(report) = self.inbox.try_recv() {
            self.take(report);
        }
    }

    /// Hands over what has gathered, without waiting: the report that follows will be stored after it.
    fn store(&mut self) {
        let has_news = std::mem::take(&mut self.has_news);
        let progress = has_news.then(|| self.progress.clone());
        let logs = std::mem::take(&mut self.logs);
        if progress.is_none() && logs.is_empty() {
            return;
        }
        let report = AttemptReport {
            key: self.claim.key,
            attempt: self.claim.attempt,
            token: self.claim.token,
            progress,
            logs,
        };
        self.shared.store.post(Op::Report(report));
    }
}

/// The attempt's own folder; gone when the attempt is. Removing a large one takes its time, which
/// the threads that carry heartbeats do not have.
struct Scratch(Option<PathBuf>);

impl Scratch {
    async fn remove(mut self) {
        if let Some(removal) = self.begin() {
            // A panic while removing: what is left, a sweep removes.
            let _ = removal.await;
        }
    }

    fn begin(&mut self) -> Option<JoinHandle<()>> {
        // Most attempts never made one.
        let folder = self.0.take().filter(|folder| folder.exists())?;
        let runtime = tokio::runtime::Handle::try_current().ok()?;
        Some(runtime.spawn_blocking(move || {
            if let Err(error) = std::fs::remove_dir_all(&folder)
                && error.kind() != std::io::ErrorKind::NotFound
            {
                tracing::warn!(%error, "a scratch folder stays behind; a sweep will remove it");
            }
        }))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nobody waits: the attempt itself was dropped.
        let _ = self.begin();
    }
}

//! Runs a task's own code: apart from our loops, under its time-outs, stopped when told.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::super::handlers::Pool;
use super::super::{Shared, scope};
use super::{Outcome, Product, bounded, store_trouble};
use crate::id::TaskName;
use crate::run::AttemptOutcome;
use crate::store::{AttemptReport, Claim, Halt, Op};
use crate::task::{
    AttemptInfo, ContextParts, LogLevel, LogLine, Progress, Remedy, Report, TaskContext, TaskError,
};
use crate::workflow::plan::PlanStep;

/// How often progress and log lines are stored while an attempt runs.
const REPORT_EVERY: Duration = Duration::from_millis(200);

/// Log lines of one attempt at most; what follows is dropped, with a note.
const MAX_LOG_LINES: i64 = 10_000;

/// How long a handler that is dropped may take to let its thread go.
const DROP_PATIENCE: Duration = Duration::from_millis(100);

type Handle = JoinHandle<Result<Value, TaskError>>;

/// Runs the handler; `None` when the task is not ours any more.
pub(super) async fn run(
    shared: &Arc<Shared>,
    claim: &Claim,
    step: &PlanStep,
    task: &TaskName,
    input: Value,
    halt: &Halt,
) -> Option<Product> {
    let inputs = match scope::inputs(shared, claim).await {
        Ok(inputs) => inputs,
        Err(error) => return Some(Product::failed(store_trouble(&error))),
    };
    let mut info = AttemptInfo::new(claim.key.run, claim.run.workflow.clone(), step.name.clone());
    info.workflow_version.clone_from(&claim.plan.version);
    info.item = claim.key.item_index();
    info.attempt = u32::try_from(claim.attempt).unwrap_or(u32::MAX);
    info.run_inputs = Arc::clone(&inputs.json);

    let scratch = Scratch(shared.config.data_dir.join("scratch").join(format!(
        "{}-{}-{}-{}",
        claim.key.run, claim.key.step, claim.key.item, claim.attempt
    )));
    let stop = CancellationToken::new();
    let soft = CancellationToken::new();
    let (reports, inbox) = mpsc::unbounded_channel();
    let ctx = TaskContext::new(ContextParts {
        info,
        cancel: stop.clone(),
        soft_timeout: soft.clone(),
        scratch: scratch.0.clone(),
        artifacts: shared.artifacts.clone(),
        reports,
    });
    let library = shared.library();
    let Some(attempt) = library.registry().start(task.as_str(), ctx.clone(), input) else {
        let message = format!("this worker has no task `{task}`; run a program that registers it");
        return Some(Product::failed(TaskError::fatal("unknown_task", message)));
    };
    let mut journal = Journal {
        shared,
        claim,
        inbox,
        lines: 0,
        logs: Vec::new(),
        progress: None,
    };
    let end = drive(
        shared.handlers.spawn(attempt),
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
    drop(scratch);

    let product = match end {
        End::Returned(Ok(output)) => {
            match bounded(output.to_string(), &format!("the output of task `{task}`")) {
                Ok(output) => Product {
                    outcome: Outcome::Succeeded {
                        output,
                        cached: false,
                    },
                    artifacts: ctx.saved(),
                    cache_key: None,
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
        End::Panicked(message) => Product::failed(TaskError::retryable(
            "panic",
            format!("task `{task}` panicked: {message}"),
        )),
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
    (!halt.is_disowned()).then_some(product)
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

/// How a handler came to its end.
enum End {
    Returned(Result<Value, TaskError>),
    Panicked(String),
    TimedOut,
    /// It was told to stop and did, or was dropped after the grace period.
    Stopped,
}

/// Waits for the handler, or ends it.
async fn drive(
    (mut handle, pool): (Handle, Pool),
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
            done = &mut handle => return ended(done),
            () = halt.token.cancelled() => break,
            () = &mut hard_limit => {
                stop.cancel();
                // A moment for those who listen, to clean up; the verdict stands.
                if tokio::time::timeout(grace.min(Duration::from_millis(500)), &mut handle).await.is_err() {
                    journal.shared.end(handle, pool).await;
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
    match tokio::time::timeout(grace, &mut handle).await {
        // It finished after all, just in time: its result counts if the store still wants it.
        Ok(done) => match ended(done) {
            End::Returned(Err(error)) if error.remedy == Remedy::Cancelled => End::Stopped,
            end => end,
        },
        Err(_) => {
            journal.shared.end(handle, pool).await;
            End::Stopped
        }
    }
}

fn ended(done: Result<Result<Value, TaskError>, JoinError>) -> End {
    match done {
        Ok(result) => End::Returned(result),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => {
                let text = panic
                    .downcast_ref::<&str>()
                    .map(|s| (*s).to_owned())
                    .or_else(|| panic.downcast_ref::<String>().cloned());
                End::Panicked(text.unwrap_or_else(|| "with a value that is no text".to_owned()))
            }
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
    progress: Option<Progress>,
}

impl Journal<'_> {
    fn take(&mut self, report: Report) {
        match report {
            Report::Progress(progress) => self.progress = Some(progress),
            Report::Log(mut line) => {
                self.lines += 1;
                if self.lines == MAX_LOG_LINES {
                    line = LogLine {
                        level: LogLevel::Warn,
                        message: format!("more than {MAX_LOG_LINES} lines; the rest is dropped"),
                    };
                }
                if self.lines <= MAX_LOG_LINES {
                    line.message = line.message.replace('\0', "\u{fffd}");
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
        let (progress, logs) = (self.progress.take(), std::mem::take(&mut self.logs));
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

/// The attempt's own folder; gone when the attempt is.
struct Scratch(std::path::PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // Most attempts never made one.
        if let Err(error) = std::fs::remove_dir_all(&self.0)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "a scratch folder stays behind; a sweep will remove it");
        }
    }
}

//! A layer of closures: told of attempts, and in no one's way.
//!
//! | what happens to an attempt | hooks, in this order |
//! | --- | --- |
//! | it begins | `on_start` |
//! | it succeeds | `on_success`, `on_end` |
//! | it fails, or panics, and will be tried again | `on_retry`, `on_end` |
//! | it fails, or panics, for good | `on_failure`, `on_end` |
//! | it stops because it was told to | `on_end` |
//! | it is dropped: time is up, or it would not stop | `on_end` |
//!
//! A closure that panics fails the attempt, as any layer's code does; except while it is being dropped.

use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use serde_json::Value;
use tower::{Layer, Service};

use super::{Attempt, AttemptRequest, AttemptService};
use crate::task::{Remedy, TaskError};

/// How an attempt ended, as far as its worker can know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ended {
    /// With a result.
    Succeeded,
    /// With an error, and will be tried again.
    WillRetry,
    /// With an error, for good.
    Failed,
    /// It was told to stop, and did.
    Stopped,
    /// In the middle: its time was up, or it was told to stop and did not.
    Dropped,
}

/// No hooks yet; add some, and hand them to [`WorkerConfig::layer`](crate::WorkerConfig::layer).
#[must_use]
pub fn hooks() -> Hooks {
    Hooks::default()
}

type Started = dyn Fn(&Attempt, &Value) + Send + Sync;
type Succeeded = dyn Fn(&Attempt, &Value) + Send + Sync;
type Failed = dyn Fn(&Attempt, &TaskError) + Send + Sync;
type Retried = dyn Fn(&Attempt, &TaskError, Option<Duration>) + Send + Sync;
type End = dyn Fn(&Attempt, Ended, Duration) + Send + Sync;

/// Closures that are told of attempts. Several of a kind are called in the order they were added in.
///
/// They run on the attempt's thread: what takes long belongs elsewhere.
#[derive(Clone, Default)]
pub struct Hooks {
    start: Vec<Arc<Started>>,
    success: Vec<Arc<Succeeded>>,
    failure: Vec<Arc<Failed>>,
    retry: Vec<Arc<Retried>>,
    end: Vec<Arc<End>>,
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks")
            .field("start", &self.start.len())
            .field("success", &self.success.len())
            .field("failure", &self.failure.len())
            .field("retry", &self.retry.len())
            .field("end", &self.end.len())
            .finish()
    }
}

impl Hooks {
    /// Before the task's code: with its input.
    #[must_use]
    pub fn on_start(mut self, hook: impl Fn(&Attempt, &Value) + Send + Sync + 'static) -> Self {
        self.start.push(Arc::new(hook));
        self
    }

    /// After a success: with the output.
    #[must_use]
    pub fn on_success(mut self, hook: impl Fn(&Attempt, &Value) + Send + Sync + 'static) -> Self {
        self.success.push(Arc::new(hook));
        self
    }

    /// After a failure that no other try follows.
    #[must_use]
    pub fn on_failure(
        mut self,
        hook: impl Fn(&Attempt, &TaskError) + Send + Sync + 'static,
    ) -> Self {
        self.failure.push(Arc::new(hook));
        self
    }

    /// After a failure that another try follows: with the wait until then, where it is no matter of chance.
    #[must_use]
    pub fn on_retry(
        mut self,
        hook: impl Fn(&Attempt, &TaskError, Option<Duration>) + Send + Sync + 'static,
    ) -> Self {
        self.retry.push(Arc::new(hook));
        self
    }

    /// In the end, whatever it was: with the time since the start.
    #[must_use]
    pub fn on_end(
        mut self,
        hook: impl Fn(&Attempt, Ended, Duration) + Send + Sync + 'static,
    ) -> Self {
        self.end.push(Arc::new(hook));
        self
    }

    /// Tells of a failure; how the attempt ended by it.
    fn failed(&self, attempt: &Attempt, error: &TaskError) -> Ended {
        if error.remedy == Remedy::Cancelled {
            return Ended::Stopped;
        }
        if attempt.is_tried_again_after(error) {
            let delay = attempt.delay_after(error);
            self.retry
                .iter()
                .for_each(|hook| hook(attempt, error, delay));
            Ended::WillRetry
        } else {
            self.failure.iter().for_each(|hook| hook(attempt, error));
            Ended::Failed
        }
    }
}

impl Layer<AttemptService> for Hooks {
    type Service = Hooked;

    fn layer(&self, inner: AttemptService) -> Hooked {
        Hooked {
            hooks: Arc::new(self.clone()),
            inner,
        }
    }
}

/// A service that is told of by [`Hooks`].
#[derive(Debug, Clone)]
pub struct Hooked {
    hooks: Arc<Hooks>,
    inner: AttemptService,
}

impl Service<AttemptRequest> for Hooked {
    type Response = Value;
    type Error = TaskError;
    type Future = Pin<Box<dyn Future<Output = Result<Value, TaskError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TaskError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: AttemptRequest) -> Self::Future {
        let hooks = Arc::clone(&self.hooks);
        let attempt = request.attempt().clone();
        for hook in &hooks.start {
            hook(&attempt, &request.input);
        }
        let mut watch = Watch {
            hooks,
            attempt,
            began: Instant::now(),
            is_over: false,
        };
        let code = AssertUnwindSafe(self.inner.call(request)).catch_unwind();
        Box::pin(async move {
            let Watch { hooks, attempt, .. } = &watch;
            let (ended, answer) = match code.await {
                Ok(Ok(output)) => {
                    hooks.success.iter().for_each(|hook| hook(attempt, &output));
                    (Ended::Succeeded, Ok(Ok(output)))
                }
                Ok(Err(error)) => (hooks.failed(attempt, &error), Ok(Err(error))),
                Err(panic) => {
                    let error = TaskError::panic(attempt.task(), &*panic);
                    (hooks.failed(attempt, &error), Err(panic))
                }
            };
            watch.is_over = true;
            watch.tell(ended);
            // The worker sees a panic as it saw it without us.
            answer.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

/// Tells of the end of an attempt, even of one that is dropped.
struct Watch {
    hooks: Arc<Hooks>,
    attempt: Attempt,
    began: Instant,
    is_over: bool,
}

impl Watch {
    fn tell(&self, ended: Ended) {
        let took = self.began.elapsed();
        let hooks = self.hooks.end.iter();
        hooks.for_each(|hook| hook(&self.attempt, ended, took));
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        // A hook that panics here, perhaps after another did, must not take the process with it.
        let told = std::panic::catch_unwind(AssertUnwindSafe(|| self.tell(Ended::Dropped)));
        if told.is_err() {
            tracing::error!(run.id = %self.attempt.run(), task.step = %self.attempt.step(), "a hook panicked while its attempt was dropped");
        }
    }
}

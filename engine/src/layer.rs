//! What a program may put around every attempt of its worker: layers, as [`tower`] has them.
//!
//! ```text
//!   worker ──request──▶ first layer ──▶ second layer ──▶ … ──▶ the task's code
//!   report ◀──answer─── first layer ◀── second layer ◀── … ◀───┘
//! ```
//!
//! A layer may look at a request, change its input, hold it back, refuse it, try it again by itself, time it, and
//! change the answer: what the first layer returns is what is stored. It runs where the task's code
//! runs: its errors and panics are the attempt's, the attempt's time-outs are its own, and it is dropped
//! where the attempt is dropped. Results out of the step cache, steps that are skipped and the engine's own steps
//! are no attempts, and pass no layer.
//!
//! [`hooks`] makes a layer of closures, for those who only want to know.
//!
//! ```
//! use aquatint_engine::WorkerConfig;
//! use aquatint_engine::layer::hooks;
//! use tower::limit::GlobalConcurrencyLimitLayer;
//!
//! fn with_layers(config: WorkerConfig) -> WorkerConfig {
//!     let told = hooks().on_failure(|attempt, error| {
//!         eprintln!("{} of {}: {error}", attempt.step(), attempt.run());
//!     });
//!     config.layer(told).layer(GlobalConcurrencyLimitLayer::new(2))
//! }
//! ```

mod hooks;

pub use hooks::{Ended, Hooks, hooks};

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tower::util::BoxCloneSyncService;
use tower::{Layer, Service, ServiceExt as _};

use crate::id::{QueueName, RunId, StepName, TaskName, WorkflowName};
use crate::retry::RetryPolicy;
use crate::task::{AttemptInfo, TaskContext, TaskError};
use crate::workflow::plan::{Plan, StepIndex};

/// What carries an attempt out: the task's code, or layers around it.
pub type AttemptService = BoxCloneSyncService<AttemptRequest, Value, TaskError>;

/// An attempt that is to be made.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct AttemptRequest {
    /// What the task is given: the step's `with`, evaluated. What reaches the task in the end counts, though
    /// the step cache knows a result by what stands in the definition.
    pub input: Value,
    attempt: Attempt,
}

impl AttemptRequest {
    pub(crate) fn new(attempt: Attempt, input: Value) -> Self {
        Self { input, attempt }
    }

    /// Which attempt it is.
    #[must_use]
    pub fn attempt(&self) -> &Attempt {
        &self.attempt
    }
}

/// Which attempt, of what. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Attempt {
    ctx: TaskContext,
    task: TaskName,
    queue: QueueName,
    plan: Arc<Plan>,
    step: StepIndex,
    /// Failures of this step, or item, before this attempt.
    failures: u32,
}

impl Attempt {
    pub(crate) fn new(
        ctx: TaskContext,
        task: TaskName,
        plan: Arc<Plan>,
        step: StepIndex,
        failures: u32,
    ) -> Self {
        let queue = plan.steps[step as usize].queue.clone();
        Self {
            ctx,
            task,
            queue,
            plan,
            step,
            failures,
        }
    }

    /// What the task's code sees: artifacts, progress, its log, whether it is to stop.
    #[must_use]
    pub fn ctx(&self) -> &TaskContext {
        &self.ctx
    }

    /// All that the task's code knows of the attempt.
    #[must_use]
    pub fn info(&self) -> &AttemptInfo {
        self.ctx.info()
    }

    /// The run.
    #[must_use]
    pub fn run(&self) -> RunId {
        self.info().run
    }

    /// The workflow's name.
    #[must_use]
    pub fn workflow(&self) -> &WorkflowName {
        &self.info().workflow
    }

    /// The step.
    #[must_use]
    pub fn step(&self) -> &StepName {
        &self.info().step
    }

    /// The item's index, in a mapped step.
    #[must_use]
    pub fn item(&self) -> Option<u32> {
        self.info().item
    }

    /// The task's name.
    #[must_use]
    pub fn task(&self) -> &TaskName {
        &self.task
    }

    /// The queue it was claimed from.
    #[must_use]
    pub fn queue(&self) -> &QueueName {
        &self.queue
    }

    /// Counts from 1; those count too that were given back, or lost with their worker.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.info().attempt
    }

    /// How many more tries the step has, should this one fail.
    #[must_use]
    pub fn tries_left(&self) -> u32 {
        let tried = self.failures.saturating_add(1);
        self.policy().attempts.saturating_sub(tried)
    }

    /// Whether the step will be tried again after this error. The run may be cancelled meanwhile.
    #[must_use]
    pub fn is_tried_again_after(&self, error: &TaskError) -> bool {
        self.wait(error, 0.0).is_some()
    }

    /// How long the next try will wait after this error; `None` where chance will decide (`jitter`), or
    /// where there is none.
    #[must_use]
    pub fn delay_after(&self, error: &TaskError) -> Option<Duration> {
        let (shortest, longest) = (self.wait(error, 0.0)?, self.wait(error, 1.0)?);
        (shortest == longest).then_some(shortest)
    }

    fn wait(&self, error: &TaskError, chance: f64) -> Option<Duration> {
        let failures = self.failures.saturating_add(1);
        self.policy().wait(failures, error, chance)
    }

    fn policy(&self) -> &RetryPolicy {
        &self.plan.steps[self.step as usize].retry
    }
}

type Wrap = Arc<dyn Fn(AttemptService) -> AttemptService + Send + Sync>;

/// Layers in their order: the first one added is the outermost.
#[derive(Clone, Default)]
pub struct Layers(Vec<Wrap>);

impl fmt::Debug for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Layers({})", self.0.len())
    }
}

impl Layers {
    /// Puts a layer within those that are here already.
    ///
    /// Errors that are no [`TaskError`] (those of tower's own layers) count as passing, under the class `layer`.
    pub fn add<L>(&mut self, layer: L)
    where
        L: Layer<AttemptService> + Send + Sync + 'static,
        L::Service: Service<AttemptRequest, Response = Value> + Clone + Send + Sync + 'static,
        <L::Service as Service<AttemptRequest>>::Error: Into<Box<dyn Error + Send + Sync>>,
        <L::Service as Service<AttemptRequest>>::Future: Send + 'static,
    {
        self.0.push(Arc::new(move |inner| {
            let service = layer.layer(inner);
            AttemptService::new(service.map_err(|error| told(error.into())))
        }));
    }

    /// The layers around a task's code; nothing where there are none.
    pub(crate) fn around<F, Fut>(&self, code: F) -> Option<AttemptService>
    where
        F: Fn(AttemptRequest) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<Value, TaskError>> + Send + 'static,
    {
        let code = || AttemptService::new(tower::service_fn(code));
        let layers = self.0.iter().rev();
        (!self.0.is_empty()).then(|| layers.fold(code(), |inner, layer| layer(inner)))
    }
}

fn told(error: Box<dyn Error + Send + Sync>) -> TaskError {
    match error.downcast::<TaskError>() {
        Ok(error) => *error,
        Err(error) => TaskError::retryable("layer", format!("a layer of the worker: {error}")),
    }
}

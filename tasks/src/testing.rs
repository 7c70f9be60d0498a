//! A context for tests: a temporary folder, and an ear for what the task reports.

use std::sync::Arc;

use aquatint_engine::artifact::ArtifactStore;
use aquatint_engine::id::{RunId, StepName, WorkflowName};
use aquatint_engine::task::{
    AttemptInfo, ContextParts, LogLine, Progress, Report, Task, TaskContext, TaskError,
};
use aquatint_engine::time::Timestamp;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

/// What a test holds of an attempt.
pub(crate) struct Bench {
    pub(crate) ctx: TaskContext,
    pub(crate) cancel: CancellationToken,
    pub(crate) soft_timeout: CancellationToken,
    reports: tokio::sync::mpsc::UnboundedReceiver<Report>,
    _folder: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    /// A bench whose attempt a test describes further.
    pub(crate) fn with(describe: impl FnOnce(&mut AttemptInfo)) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (sender, reports) = tokio::sync::mpsc::unbounded_channel();
        let cancel = CancellationToken::new();
        let soft_timeout = CancellationToken::new();
        let mut info = AttemptInfo::new(
            RunId::new(Timestamp(1_700_000_000_000)),
            WorkflowName::new("test-workflow").expect("a name"),
            StepName::new("step").expect("a name"),
        );
        info.workflow_version = "abc123".to_owned();
        info.run_inputs = Arc::new(serde_json::json!({ "prompt": "a lake" }));
        describe(&mut info);
        let ctx = TaskContext::new(ContextParts {
            info,
            cancel: cancel.clone(),
            soft_timeout: soft_timeout.clone(),
            scratch: folder.path().join("scratch"),
            artifacts: ArtifactStore::open(&folder.path().join("artifacts")).expect("a store"),
            reports: sender,
        });
        Self {
            ctx,
            cancel,
            soft_timeout,
            reports,
            _folder: folder,
        }
    }

    /// Runs a task on JSON, as the registry does.
    pub(crate) async fn run<T: Task>(&self, task: T, input: Value) -> Result<Value, TaskError> {
        self.start(task, input).await
    }

    /// Begins an attempt that can be spawned, and dropped.
    pub(crate) fn start<T: Task>(
        &self,
        task: T,
        input: Value,
    ) -> impl Future<Output = Result<Value, TaskError>> + Send + use<T> {
        let mut registry = aquatint_engine::registry::Registry::new();
        registry.register(task);
        registry
            .start(T::NAME, self.ctx.clone(), input)
            .expect("just registered")
    }

    /// The next line that the task logs.
    pub(crate) async fn next_log(&mut self) -> String {
        loop {
            if let Report::Log(line) = self
                .reports
                .recv()
                .await
                .expect("the bench holds a context")
            {
                return line.message;
            }
        }
    }

    /// The first progress whose message begins so.
    pub(crate) async fn progress_at(&mut self, message: &str) -> Progress {
        loop {
            if let Report::Progress(progress) = self
                .reports
                .recv()
                .await
                .expect("the bench holds a context")
                && progress.message.starts_with(message)
            {
                return progress;
            }
        }
    }

    fn reports(&mut self) -> Vec<Report> {
        std::iter::from_fn(|| self.reports.try_recv().ok()).collect()
    }

    /// What the task has said of its progress since the last look.
    pub(crate) fn progress(&mut self) -> Vec<Progress> {
        let of = |report| match report {
            Report::Progress(progress) => Some(progress),
            _ => None,
        };
        self.reports().into_iter().filter_map(of).collect()
    }

    /// What the task has logged since the last look.
    pub(crate) fn log(&mut self) -> Vec<LogLine> {
        let of = |report| match report {
            Report::Log(line) => Some(line),
            _ => None,
        };
        self.reports().into_iter().filter_map(of).collect()
    }
}

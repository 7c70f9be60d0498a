//! An engine over a temporary folder, and tasks that do as they are told.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test program uses its own part"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aquatint_engine::id::{QueueName, RunId};
use aquatint_engine::run::EventKind;
use aquatint_engine::store::{RunView, TaskView};
use aquatint_engine::{
    Engine, EngineConfig, Library, Registry, Submission, Task, TaskContext, TaskError, Worker,
    WorkerConfig,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

/// What tests and their tasks tell each other.
#[derive(Debug)]
pub struct Signals {
    /// A permit for each `test.hold` that has begun.
    pub begun: Semaphore,
    /// Each permit lets one `test.hold` end.
    pub go: Semaphore,
    /// A `test.hold` was told to stop.
    pub stopped: AtomicUsize,
    /// How often any task of ours ran.
    pub runs: AtomicUsize,
    /// How many `test.hold` are running, and the most that ever were.
    pub now: AtomicUsize,
    pub most: AtomicUsize,
}

impl Default for Signals {
    fn default() -> Self {
        let zero = AtomicUsize::default;
        Self {
            begun: Semaphore::new(0),
            go: Semaphore::new(0),
            stopped: zero(),
            runs: zero(),
            now: zero(),
            most: zero(),
        }
    }
}

impl Signals {
    async fn may_go(&self) {
        self.go.acquire().await.expect("never closed").forget();
    }
}

#[derive(Deserialize, JsonSchema)]
pub struct Anything {
    #[serde(flatten)]
    pub fields: serde_json::Map<String, Value>,
}

/// Returns its input.
pub struct Echo(pub Arc<Signals>);

impl Task for Echo {
    const NAME: &'static str = "test.echo";
    const VERSION: u32 = 1;
    const DESCRIPTION: &'static str = "Returns its input.";
    type Input = Anything;
    type Output = Value;

    async fn run(&self, _: TaskContext, input: Anything) -> Result<Value, TaskError> {
        self.0.runs.fetch_add(1, Ordering::SeqCst);
        Ok(Value::Object(input.fields))
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FailInput {
    /// The first attempt that succeeds.
    #[serde(default)]
    until: Option<u32>,
    #[serde(default)]
    fatal: bool,
    #[serde(default)]
    panic: bool,
    #[serde(default)]
    class: Option<String>,
    /// Fails only then.
    #[serde(default)]
    when: Option<bool>,
    #[serde(default)]
    retry_after_ms: Option<u64>,
    /// The length of what it says: as progress, in its log, and in its error.
    #[serde(default)]
    verbose: usize,
}

/// Fails as it is told.
pub struct Fail(pub Arc<Signals>);

impl Task for Fail {
    const NAME: &'static str = "test.fail";
    const VERSION: u32 = 1;
    const DESCRIPTION: &'static str = "Fails as it is told.";
    type Input = FailInput;
    type Output = Value;

    async fn run(&self, ctx: TaskContext, input: FailInput) -> Result<Value, TaskError> {
        self.0.runs.fetch_add(1, Ordering::SeqCst);
        let attempt = ctx.info().attempt;
        if input.when == Some(false) || input.until.is_some_and(|until| attempt >= until) {
            return Ok(json!({ "attempt": attempt }));
        }
        assert!(!input.panic, "told to panic");
        let class = input.class.as_deref().unwrap_or("test");
        if input.verbose > 0 {
            let words = "é".repeat(input.verbose / 2);
            ctx.progress(0.5, words.clone());
            ctx.log(aquatint_engine::task::LogLevel::Info, words.clone());
            return Err(TaskError::fatal(class, words));
        }
        Err(match input.retry_after_ms {
            Some(ms) => TaskError::retry_after(Duration::from_millis(ms), class, "told to wait"),
            None if input.fatal => TaskError::fatal(class, "told to fail"),
            None => TaskError::retryable(class, "told to fail"),
        })
    }
}

#[derive(Deserialize, JsonSchema)]
pub struct HoldInput {
    #[serde(default)]
    deaf: bool,
    /// Blocks its thread for good.
    #[serde(default)]
    hang: bool,
    #[serde(default)]
    value: Value,
}

/// Runs until it is let go, or told to stop.
pub struct Hold(pub Arc<Signals>);

impl Task for Hold {
    const NAME: &'static str = "test.hold";
    const VERSION: u32 = 1;
    const DESCRIPTION: &'static str = "Runs until it is let go.";
    type Input = HoldInput;
    type Output = Value;

    async fn run(&self, ctx: TaskContext, input: HoldInput) -> Result<Value, TaskError> {
        let signals = &self.0;
        signals.runs.fetch_add(1, Ordering::SeqCst);
        let now = signals.now.fetch_add(1, Ordering::SeqCst) + 1;
        signals.most.fetch_max(now, Ordering::SeqCst);
        struct Leave<'a>(&'a Signals);
        impl Drop for Leave<'_> {
            fn drop(&mut self) {
                self.0.now.fetch_sub(1, Ordering::SeqCst);
            }
        }
        let _leave = Leave(signals);
        signals.begun.add_permits(1);
        if input.hang {
            loop {
                std::thread::park();
            }
        }
        if input.deaf {
            signals.may_go().await;
            return Ok(json!({ "value": input.value }));
        }
        tokio::select! {
            () = signals.may_go() => Ok(json!({ "value": input.value })),
            () = ctx.cancelled() => {
                signals.stopped.fetch_add(1, Ordering::SeqCst);
                Err(TaskError::cancelled())
            }
            () = ctx.soft_timeout() => Ok(json!({ "soft": true })),
        }
    }
}

#[derive(Deserialize, JsonSchema)]
pub struct WriteInput {
    text: String,
    #[serde(default)]
    escape: Option<String>,
    #[serde(default)]
    bytes: usize,
}

#[derive(Serialize, JsonSchema)]
pub struct WriteOutput {
    file: aquatint_engine::artifact::Artifact,
    padding: String,
}

/// Stores its text as an artifact.
pub struct Write(pub Arc<Signals>);

impl Task for Write {
    const NAME: &'static str = "test.write";
    const VERSION: u32 = 1;
    const DESCRIPTION: &'static str = "Stores its text.";
    type Input = WriteInput;
    type Output = WriteOutput;

    async fn run(&self, ctx: TaskContext, input: WriteInput) -> Result<WriteOutput, TaskError> {
        self.0.runs.fetch_add(1, Ordering::SeqCst);
        ctx.log(
            aquatint_engine::task::LogLevel::Info,
            format!("writing {}", input.text),
        );
        ctx.progress(0.5, "half");
        let file = if let Some(path) = input.escape {
            let path = ctx.scratch_file(&path)?;
            std::fs::write(&path, &input.text)?;
            ctx.save_file("note.txt", "text/plain", &path).await?
        } else {
            ctx.save("note.txt", "text/plain", input.text.into_bytes())
                .await?
        };
        Ok(WriteOutput {
            file,
            padding: "x".repeat(input.bytes),
        })
    }
}

#[derive(Deserialize, JsonSchema)]
pub struct ChatterInput {
    #[serde(default)]
    lines: usize,
    #[serde(default)]
    steps: u32,
}

/// Says much, and does little.
pub struct Chatter;

impl Task for Chatter {
    const NAME: &'static str = "test.chatter";
    const VERSION: u32 = 1;
    const DESCRIPTION: &'static str = "Says much, and does little.";
    type Input = ChatterInput;
    type Output = Value;

    async fn run(&self, ctx: TaskContext, input: ChatterInput) -> Result<Value, TaskError> {
        for n in 0..input.lines {
            ctx.log(aquatint_engine::task::LogLevel::Info, format!("line {n}"));
        }
        for n in 0..input.steps {
            ctx.progress(f64::from(n) / f64::from(input.steps), "on it");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(Value::Null)
    }
}

#[derive(Deserialize, JsonSchema)]
pub struct ShowInput {
    /// What it shows, one after the other, each until it is let go.
    pictures: Vec<String>,
}

/// Shows what its result may look like.
pub struct Show(pub Arc<Signals>);

impl Task for Show {
    const NAME: &'static str = "test.show";
    const VERSION: u32 = 1;
    const DESCRIPTION: &'static str = "Shows previews.";
    type Input = ShowInput;
    type Output = Value;

    async fn run(&self, ctx: TaskContext, input: ShowInput) -> Result<Value, TaskError> {
        for picture in input.pictures {
            while !ctx.wants_preview() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            ctx.blocking(move |ctx| {
                ctx.preview_blocking("text/plain", picture.as_bytes())?;
                // Too soon: it is not shown, nor kept.
                ctx.preview_blocking("text/plain", b"too soon")
            })
            .await?;
            ctx.progress(0.5, "half");
            self.0.begun.add_permits(1);
            self.0.may_go().await;
        }
        Ok(Value::Null)
    }
}

/// An engine, its worker, and a folder of its own.
pub struct Bench {
    pub engine: Engine,
    pub worker: Option<Worker>,
    pub signals: Arc<Signals>,
    pub folder: Arc<tempfile::TempDir>,
}

pub fn library(signals: &Arc<Signals>, definitions: &[&str]) -> Library {
    let mut registry = Registry::new();
    registry.register(Echo(Arc::clone(signals)));
    registry.register(Fail(Arc::clone(signals)));
    registry.register(Hold(Arc::clone(signals)));
    registry.register(Write(Arc::clone(signals)));
    registry.register(Chatter);
    registry.register(Show(Arc::clone(signals)));
    let mut library = Library::new(registry);
    for text in definitions {
        let name = text
            .lines()
            .find_map(|l| l.strip_prefix("name: "))
            .expect("a definition has a name");
        library.add(name.trim(), format!("{name}.yaml"), (*text).to_owned());
    }
    library
}

impl Bench {
    pub async fn new(definitions: &[&str]) -> Self {
        Self::with(definitions, |_| {}).await
    }

    pub async fn with(definitions: &[&str], change: impl FnOnce(&mut EngineConfig)) -> Self {
        let mut bench = Self::idle(definitions, change).await;
        bench.start_worker(8).await;
        bench
    }

    /// Without a worker.
    pub async fn idle(definitions: &[&str], change: impl FnOnce(&mut EngineConfig)) -> Self {
        let folder = Arc::new(tempfile::tempdir().expect("a temporary folder"));
        Self::over(folder, definitions, change).await
    }

    pub async fn over(
        folder: Arc<tempfile::TempDir>,
        definitions: &[&str],
        change: impl FnOnce(&mut EngineConfig),
    ) -> Self {
        let signals = Arc::new(Signals::default());
        let mut config = EngineConfig::new(folder.path());
        config.stop_grace = Duration::from_millis(300);
        change(&mut config);
        let engine = Engine::open(config, library(&signals, definitions))
            .await
            .expect("the engine opens");
        Self {
            engine,
            worker: None,
            signals,
            folder,
        }
    }

    pub async fn start_worker(&mut self, slots: u32) {
        self.start_worker_with(slots, Duration::from_millis(200))
            .await;
    }

    pub async fn start_worker_with(&mut self, slots: u32, shutdown_grace: Duration) {
        let queue = QueueName::new("default").expect("a name");
        let mut config = WorkerConfig::new([(queue, slots)]);
        config.shutdown_grace = shutdown_grace;
        self.worker = Some(
            self.engine
                .start_worker(config)
                .await
                .expect("the worker starts"),
        );
    }

    pub async fn submit(&self, workflow: &str, inputs: Value) -> RunId {
        self.engine
            .submit(Submission::new(workflow, inputs))
            .await
            .expect("accepted")
            .run
    }

    pub async fn run(&self, workflow: &str, inputs: Value) -> RunView {
        let run = self.submit(workflow, inputs).await;
        self.wait(run).await
    }

    pub fn let_go(&self) {
        self.signals.go.add_permits(1);
    }

    /// Waits for the end of a run; a test that would wait for ever fails instead.
    pub async fn wait(&self, run: RunId) -> RunView {
        match tokio::time::timeout(Duration::from_secs(30), self.engine.wait(run)).await {
            Ok(view) => view.expect("the run exists"),
            Err(_) => panic!(
                "run {run} does not end: {:#?}",
                self.engine.tasks(run, true).await
            ),
        }
    }

    pub async fn begun(&self) {
        let begun = tokio::time::timeout(Duration::from_secs(30), self.signals.begun.acquire());
        begun
            .await
            .expect("a held task begins")
            .expect("never closed")
            .forget();
    }

    pub async fn tasks(&self, run: RunId) -> Vec<TaskView> {
        self.engine.tasks(run, true).await.expect("the run exists")
    }

    pub async fn task(&self, run: RunId, step: &str) -> TaskView {
        let tasks = self.engine.tasks(run, false).await.expect("the run exists");
        tasks
            .into_iter()
            .find(|t| t.step.as_str() == step)
            .expect("the step exists")
    }

    /// The run's story: kinds of events with their steps, `TaskStarted` left out.
    pub async fn story(&self, run: RunId) -> Vec<String> {
        let events = self.engine.events(run, 0).await.expect("the run exists");
        let numbers: Vec<i64> = events.iter().map(|e| e.seq).collect();
        assert_eq!(
            numbers,
            (1..=i64::try_from(events.len()).expect("few")).collect::<Vec<_>>(),
            "events are numbered without gaps"
        );
        events
            .iter()
            .filter(|e| !matches!(e.kind, EventKind::TaskStarted { .. }))
            .map(|e| {
                let value = serde_json::to_value(&e.kind).expect("JSON");
                let step = value
                    .get("step")
                    .and_then(Value::as_str)
                    .unwrap_or_default();
                let item = value
                    .get("item")
                    .and_then(Value::as_u64)
                    .map_or(String::new(), |i| format!("[{i}]"));
                format!(
                    "{} {step}{item}",
                    value["kind"].as_str().unwrap_or_default()
                )
                .trim()
                .to_owned()
            })
            .collect()
    }

    /// Ends with a recount: every test's last word.
    pub async fn finish(mut self) {
        let report = self.engine.check().await.expect("the check runs");
        assert!(report.is_clean(), "{report:#?}");
        if let Some(worker) = self.worker.take() {
            worker.stop().await;
        }
        self.engine.close().await;
    }
}

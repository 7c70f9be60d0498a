//! What is measured.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use aquatint_engine::config::RedisConfig;
use aquatint_engine::id::QueueName;
use aquatint_engine::{
    Database, Durability, Engine, EngineConfig, Library, PostgresUrl, Registry, RunState,
    Submission, Task, TaskContext, TaskError, Worker, WorkerConfig,
};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::Options;
use crate::process::{Place, Process};
use crate::schema::Schema;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Does nothing, at once.
struct Noop;

#[derive(Deserialize, JsonSchema)]
struct NoopInput {
    #[serde(default)]
    #[expect(dead_code, reason = "what a predecessor returned: read, and dropped")]
    previous: Value,
}

impl Task for Noop {
    const NAME: &'static str = "bench.noop";
    const VERSION: u32 = 1;
    const DESCRIPTION: &'static str = "Does nothing.";
    type Input = NoopInput;
    type Output = Value;

    async fn run(&self, _: TaskContext, _: NoopInput) -> std::result::Result<Value, TaskError> {
        Ok(json!({ "value": 1 }))
    }
}

/// Counts what it is given: the finalize of a fan-out.
struct Count;

#[derive(Deserialize, JsonSchema)]
struct CountInput {
    results: Vec<Value>,
}

impl Task for Count {
    const NAME: &'static str = "bench.count";
    const VERSION: u32 = 1;
    const DESCRIPTION: &'static str = "Counts results.";
    type Input = CountInput;
    type Output = Value;

    async fn run(
        &self,
        _: TaskContext,
        input: CountInput,
    ) -> std::result::Result<Value, TaskError> {
        let good = input
            .results
            .iter()
            .filter(|r| r["status"] == "succeeded")
            .count();
        Ok(json!({ "count": good }))
    }
}

const SINGLE: &str = "name: single\nsteps:\n  only: { task: bench.noop, queue: bench }\n";

const FAN: &str = "name: fan
inputs: { items: { type: array } }
steps:
  each: { task: bench.noop, queue: bench, foreach: '${{ inputs.items }}', with: { previous: '${{ item }}' } }
  all: { task: bench.count, queue: bench, with: { results: '${{ steps.each }}' } }
outputs: { count: '${{ steps.all.count }}' }
";

fn chain(length: usize) -> String {
    let mut text =
        format!("name: chain-{length}\nsteps:\n  s0: {{ task: bench.noop, queue: bench }}\n");
    for n in 1..length {
        text += &format!(
            "  s{n}: {{ task: bench.noop, queue: bench, with: {{ previous: '${{{{ steps.s{}.value }}}}' }} }}\n",
            n - 1
        );
    }
    text
}

/// What every process of a measurement knows.
pub(crate) fn library() -> Library {
    let mut registry = Registry::new();
    registry.register(Noop);
    registry.register(Count);
    let mut library = Library::new(registry);
    library.add("single", "single.yaml", SINGLE);
    library.add("fan", "fan.yaml", FAN);
    for length in [3, 10, 50, 1_000] {
        library.add(
            &format!("chain-{length}"),
            format!("chain-{length}.yaml"),
            chain(length),
        );
    }
    library
}

/// Works for the measured queue, in this process.
pub(crate) async fn serve(engine: &Engine, slots: u32) -> Result<Worker> {
    let queue = QueueName::new("bench")?;
    Ok(engine
        .start_worker(WorkerConfig::new([(queue, slots)]))
        .await?)
}

/// Whoever does the work: this process, or others.
enum Workers {
    Here(Worker),
    There(Vec<Process>),
}

/// An engine over a fresh folder or schema, and who works for it.
pub(crate) struct Rig {
    engine: Engine,
    workers: Workers,
    _folder: tempfile::TempDir,
    schema: Option<Schema>,
    database: std::path::PathBuf,
}

impl Rig {
    pub(crate) async fn start(options: &Options) -> Result<Self> {
        let folder = match &options.dir {
            Some(dir) => tempfile::tempdir_in(dir)?,
            None => tempfile::tempdir()?,
        };
        let mut config = EngineConfig::new(folder.path());
        if options.normal {
            config.durability = Durability::Normal;
        }
        let schema = match &options.postgres {
            Some(server) => Some(Schema::create(server).await?),
            None => None,
        };
        if let Some(schema) = &schema {
            config.database = Database::Postgres(PostgresUrl::new(schema.url()));
        }
        let workers = match (&schema, &options.redis) {
            (Some(schema), Some(redis)) => {
                let place = Place {
                    database: schema.url(),
                    redis: redis.clone(),
                    namespace: schema.name().to_owned(),
                    data_dir: folder.path().to_owned(),
                    slots: options.slots,
                };
                config.doorbell = Some(RedisConfig::new(redis, &place.namespace));
                // The schema is made before several need it.
                Engine::open(config.clone(), library()).await?.close().await;
                let processes = (0..options.workers).map(|_| Process::start(&place));
                Some(processes.collect::<Result<Vec<_>>>()?)
            }
            _ => None,
        };
        let engine = Engine::open(config, library()).await?;
        let workers = match workers {
            Some(processes) => Workers::There(processes),
            None => Workers::Here(serve(&engine, options.slots).await?),
        };
        let database = folder.path().join("aquatint.db");
        let rig = Self {
            engine,
            workers,
            _folder: folder,
            database,
            schema,
        };
        // Statements prepared, definitions compiled: the steady state is what counts.
        for (name, inputs) in [("single", json!({})), ("fan", json!({"items": [1, 2]}))] {
            rig.finish(name, inputs).await?;
        }
        Ok(rig)
    }

    /// Runs until the database's log has its lasting size: on a log file that still
    /// grows, each sync costs about twice as much (`W3 … on a fresh store` shows it).
    pub(crate) async fn settle_log(&self) -> Result<()> {
        for _ in 0..6 {
            self.finish("chain-50", json!({})).await?;
        }
        Ok(())
    }

    pub(crate) async fn stop(self) -> Result<()> {
        match self.workers {
            Workers::Here(worker) => worker.stop().await,
            Workers::There(processes) => {
                for process in processes {
                    process.stop()?;
                }
            }
        }
        self.engine.close().await;
        if let Some(schema) = self.schema
            && let Err(error) = schema.drop().await
        {
            eprintln!("the schema of this measurement stays behind: {error}");
        }
        Ok(())
    }

    /// Submits one run and waits until its result is in hand.
    async fn finish(&self, workflow: &str, inputs: Value) -> Result<Value> {
        let run = self
            .engine
            .submit(Submission::new(workflow, inputs))
            .await?
            .run;
        let view = self.engine.wait(run).await?;
        if view.state != RunState::Succeeded {
            return Err(format!("{workflow} ended as {}: {:?}", view.state, view.failure).into());
        }
        Ok(view.output.unwrap_or_default())
    }

    /// Submits `count` runs from many clients at once, and waits until all have ended well.
    async fn finish_many(&self, workflow: &str, inputs: &Value, count: usize) -> Result<()> {
        let done_before = self.succeeded().await?;
        let mut submits: FuturesUnordered<_> = (0..count)
            .map(|_| {
                self.engine
                    .submit(Submission::new(workflow, inputs.clone()))
            })
            .collect();
        while let Some(submitted) = submits.next().await {
            submitted?;
        }
        // Looking costs the database something, too.
        while self.engine.is_busy().await? {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let done = self.succeeded().await? - done_before;
        if done != count as u64 {
            return Err(format!("{done} of {count} runs succeeded").into());
        }
        Ok(())
    }

    fn worker_mb(&self) -> Option<f64> {
        match &self.workers {
            Workers::Here(_) => None,
            Workers::There(processes) => {
                let worst = processes.iter().map(|p| resident_mb(&p.id().to_string()));
                worst.reduce(f64::max)
            }
        }
    }

    async fn succeeded(&self) -> Result<u64> {
        let counts = self.engine.counts().await?;
        Ok(counts
            .iter()
            .find(|(state, _)| *state == RunState::Succeeded)
            .map_or(0, |(_, n)| *n))
    }

    async fn fan(&self, width: usize) -> Result<()> {
        let items: Vec<usize> = (0..width).collect();
        let output = self.finish("fan", json!({ "items": items })).await?;
        if output != json!({ "count": width }) {
            return Err(format!("the finalize saw {output}, not {width} results").into());
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) value: f64,
    pub(crate) p99: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    PerSecond,
    Seconds,
    Millis,
    MicrosPerTask,
}

impl Unit {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::PerSecond => "tasks/s",
            Self::Seconds => "s",
            Self::Millis => "ms",
            Self::MicrosPerTask => "µs/task",
        }
    }

    pub(crate) fn show(self, value: f64) -> String {
        match self {
            Self::PerSecond => format!("{value:.0} {}", self.name()),
            Self::Seconds | Self::Millis => format!("{value:.3} {}", self.name()),
            Self::MicrosPerTask => format!("{value:.1} {}", self.name()),
        }
    }
}

type Measured<'a> = Pin<Box<dyn Future<Output = Result<Sample>> + 'a>>;

pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) unit: Unit,
    pub(crate) floor: Option<f64>,
    pub(crate) goal: Option<f64>,
    /// On a store nobody has worked with yet.
    pub(crate) is_fresh: bool,
    pub(crate) run: for<'a> fn(&'a Rig) -> Measured<'a>,
}

macro_rules! workload {
    ($name:literal, $unit:ident, $floor:expr, $goal:expr, |$rig:ident| $body:block) => {
        workload!($name, $unit, $floor, $goal, false, |$rig| $body)
    };
    ($name:literal, $unit:ident, $floor:expr, $goal:expr, $is_fresh:expr, |$rig:ident| $body:block) => {
        Workload {
            name: $name,
            unit: Unit::$unit,
            floor: $floor,
            goal: $goal,
            is_fresh: $is_fresh,
            run: |$rig| Box::pin(async move $body),
        }
    };
}

async fn timed(work: impl Future<Output = Result<()>>) -> Result<Duration> {
    let start = Instant::now();
    work.await?;
    Ok(start.elapsed())
}

#[expect(clippy::unnecessary_wraps, reason = "the workloads' common shape")]
fn rate(tasks: usize, took: Duration) -> Result<Sample> {
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    let value = tasks as f64 / took.as_secs_f64();
    Ok(Sample { value, p99: None })
}

#[expect(clippy::unnecessary_wraps, reason = "the workloads' common shape")]
fn plain(value: f64) -> Result<Sample> {
    Ok(Sample { value, p99: None })
}

async fn latencies(rig: &Rig, count: usize, submit_only: bool) -> Result<Vec<f64>> {
    let mut micros = Vec::with_capacity(count);
    for _ in 0..count {
        let start = Instant::now();
        if submit_only {
            rig.engine
                .submit(Submission::new("single", json!({})))
                .await?;
            micros.push(start.elapsed().as_secs_f64() * 1e6);
            while rig.engine.is_busy().await? {
                tokio::task::yield_now().await;
            }
        } else {
            rig.finish("single", json!({})).await?;
            micros.push(start.elapsed().as_secs_f64() * 1e6);
        }
    }
    micros.sort_by(f64::total_cmp);
    Ok(micros)
}

async fn chain_of_50(rig: &Rig) -> Result<Sample> {
    let took = timed(async { rig.finish("chain-50", json!({})).await.map(drop) }).await?;
    plain(took.as_secs_f64() * 1e3 / 50.0)
}

pub(crate) const ALL: &[Workload] = &[
    workload!(
        "W1 10,000 one-task runs",
        PerSecond,
        Some(15_000.0),
        Some(40_000.0),
        |rig| {
            rate(
                10_000,
                timed(rig.finish_many("single", &json!({}), 10_000)).await?,
            )
        }
    ),
    workload!(
        "W2 fan-out 1,000 + finalize",
        Seconds,
        Some(0.15),
        Some(0.06),
        |rig| { plain(timed(rig.fan(1_000)).await?.as_secs_f64()) }
    ),
    workload!(
        "W2 100 fan-outs of 10",
        PerSecond,
        Some(15_000.0),
        Some(40_000.0),
        |rig| {
            let items: Vec<usize> = (0..10).collect();
            rate(
                1_100,
                timed(rig.finish_many("fan", &json!({ "items": items }), 100)).await?,
            )
        }
    ),
    workload!(
        "W2 fan-out 10,000 + finalize",
        Seconds,
        Some(1.5),
        Some(0.5),
        |rig| { plain(timed(rig.fan(10_000)).await?.as_secs_f64()) }
    ),
    workload!(
        "W3 chain of 50, per hop",
        Millis,
        Some(0.8),
        Some(0.25),
        |rig| { chain_of_50(rig).await }
    ),
    workload!(
        "W3 chain of 50 on a fresh store",
        Millis,
        None,
        None,
        true,
        |rig| { chain_of_50(rig).await }
    ),
    workload!("W3 chain of 1,000, per hop", Millis, None, None, |rig| {
        plain(
            timed(async { rig.finish("chain-1000", json!({})).await.map(drop) })
                .await?
                .as_secs_f64(),
        )
    }),
    workload!(
        "W4 1,000 three-step pipelines",
        PerSecond,
        Some(15_000.0),
        Some(40_000.0),
        |rig| {
            rate(
                3_000,
                timed(rig.finish_many("chain-3", &json!({}), 1_000)).await?,
            )
        }
    ),
    workload!(
        "W5 submit → result, p50",
        Millis,
        Some(1.5),
        Some(0.8),
        |rig| {
            let micros = latencies(rig, 200, false).await?;
            Ok(Sample {
                value: micros[100] / 1e3,
                p99: Some(micros[198] / 1e3),
            })
        }
    ),
    workload!(
        "flat: fan-in of 10 (×100), per task",
        MicrosPerTask,
        None,
        None,
        |rig| {
            let took = timed(async {
                for _ in 0..100 {
                    rig.fan(10).await?;
                }
                Ok(())
            });
            plain(took.await?.as_secs_f64() * 1e6 / 1_000.0)
        }
    ),
    workload!(
        "flat: fan-in of 1,000 (×5), per task",
        MicrosPerTask,
        None,
        None,
        |rig| {
            let took = timed(async {
                for _ in 0..5 {
                    rig.fan(1_000).await?;
                }
                Ok(())
            });
            plain(took.await?.as_secs_f64() * 1e6 / 5_000.0)
        }
    ),
    workload!(
        "flat: fan-in of 10,000, per task",
        MicrosPerTask,
        None,
        None,
        |rig| { plain(timed(rig.fan(10_000)).await?.as_secs_f64() * 1e6 / 10_000.0) }
    ),
    workload!(
        "flat: chain of 10, per hop",
        MicrosPerTask,
        None,
        None,
        |rig| {
            plain(
                timed(async { rig.finish("chain-10", json!({})).await.map(drop) })
                    .await?
                    .as_secs_f64()
                    * 1e6
                    / 10.0,
            )
        }
    ),
];

/// What a store full of finished runs costs those to come.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Backlog {
    pub(crate) runs: usize,
    pub(crate) submit_before_us: f64,
    pub(crate) submit_after_us: f64,
    pub(crate) result_before_us: f64,
    pub(crate) result_after_us: f64,
    pub(crate) bytes_per_run: f64,
    pub(crate) idle_mb: f64,
    pub(crate) end_mb: f64,
    /// Of a worker process of its own.
    pub(crate) worker_mb: Option<f64>,
}

pub(crate) async fn backlog(rig: &Rig, runs: usize) -> Result<Backlog> {
    let idle_mb = resident_mb("self");
    let submit_before = latencies(rig, 500, true).await?;
    let result_before = latencies(rig, 500, false).await?;
    let mut left = runs;
    while left > 0 {
        let batch = left.min(10_000);
        rig.finish_many("single", &json!({}), batch).await?;
        left -= batch;
    }
    let submit_after = latencies(rig, 500, true).await?;
    let result_after = latencies(rig, 500, false).await?;
    let size = match &rig.schema {
        Some(schema) => schema.size_bytes().await?,
        None => std::fs::metadata(&rig.database)?.len(),
    };
    #[expect(clippy::cast_precision_loss, reason = "sizes far below 2^52")]
    let bytes_per_run = size as f64 / runs as f64;
    Ok(Backlog {
        runs,
        submit_before_us: submit_before[250],
        submit_after_us: submit_after[250],
        result_before_us: result_before[250],
        result_after_us: result_after[250],
        bytes_per_run,
        idle_mb,
        end_mb: resident_mb("self"),
        worker_mb: rig.worker_mb(),
    })
}

/// Resident memory of a process, MB; 0 where the system does not tell.
fn resident_mb(process: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status
        .lines()
        .find(|l| l.starts_with("VmRSS:"))
        .unwrap_or_default();
    let kilobytes: f64 = line
        .split_whitespace()
        .nth(1)
        .and_then(|n| n.parse().ok())
        .unwrap_or(0.0);
    kilobytes / 1024.0
}

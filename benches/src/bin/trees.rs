//! What others notice while large trees of runs are cancelled and deleted.
//!
//! Some runs with very many sub-workflows are built; then all of them are cancelled, and deleted by a clean-up, while a
//! client submits a run every few milliseconds. What counts is what that client waits: `cargo run --release
//! -p aquatint-benches --bin trees`, and with `--postgres URL` on a server. Ends with a failure where a submit waits
//! longer than it may, a worker loses its lease, or something is left.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aquatint_engine::engine::Upkeep;
use aquatint_engine::id::QueueName;
use aquatint_engine::store::{Database, PostgresUrl, WorkerState};
use aquatint_engine::{
    Engine, EngineConfig, Library, Registry, RunAction, RunState, Submission, Task, TaskContext,
    TaskError, WorkerConfig,
};
use clap::Parser;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

#[path = "../schema.rs"]
#[expect(dead_code, reason = "the other benchmark asks more of it")]
mod schema;

use schema::Schema;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// The program's own, so that the figures are the program's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What a submit may wait meanwhile: 99 of a hundred, and each.
const MAX_P99: Duration = Duration::from_millis(250);
const MAX_WAIT: Duration = Duration::from_secs(1);
/// What `SQLite`'s write-ahead log may grow to.
const MAX_LOG_BYTES: u64 = 256 << 20;

/// Cancelling and deleting large trees under load.
#[derive(Debug, Parser)]
struct Options {
    /// How many trees.
    #[arg(long, default_value_t = 20)]
    trees: usize,
    /// Runs below each.
    #[arg(long, default_value_t = 10_000)]
    children: usize,
    /// Measure on this PostgreSQL instead of a file, in a schema that is dropped afterwards.
    #[arg(long)]
    postgres: Option<String>,
}

const LEAF: &str = "name: leaf\nsteps:\n  wait: { task: bench.noop, queue: nowhere }\n";
const TREE: &str = "name: tree\ninputs: { children: integer }\nsteps:\n  all: { workflow: leaf, foreach: '${{ range(inputs.children) }}' }\n";
const SINGLE: &str = "name: single\nsteps:\n  only: { task: bench.noop, queue: bench }\n";

struct Noop;

#[derive(Deserialize, JsonSchema)]
struct Nothing {}

impl Task for Noop {
    const NAME: &'static str = "bench.noop";
    const VERSION: u32 = 1;
    const DESCRIPTION: &'static str = "Does nothing.";
    type Input = Nothing;
    type Output = Value;

    async fn run(&self, _: TaskContext, _: Nothing) -> std::result::Result<Value, TaskError> {
        Ok(Value::Null)
    }
}

/// What a client waited for its submits.
struct Waits(Vec<Duration>);

impl Waits {
    /// What so many of a hundred waited at most.
    fn at(&self, percent: usize) -> Duration {
        let place = self.0.len() * percent / 100;
        self.0[place.min(self.0.len() - 1)]
    }
}

/// Submits a run every few milliseconds while `work` goes on.
async fn beside<T>(engine: &Engine, work: impl Future<Output = Result<T>>) -> Result<(T, Waits)> {
    let stop = Arc::new(AtomicBool::new(false));
    let (client, stopped) = (engine.clone(), Arc::clone(&stop));
    let submits = tokio::spawn(async move {
        let mut waits = Vec::new();
        while !stopped.load(Ordering::SeqCst) {
            let asked = Instant::now();
            let submitted = client.submit(Submission::new("single", json!({}))).await;
            submitted.map_err(|error| error.to_string())?;
            waits.push(asked.elapsed());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        waits.sort_unstable();
        Ok::<_, String>(Waits(waits))
    });
    let done = work.await?;
    stop.store(true, Ordering::SeqCst);
    Ok((done, submits.await??))
}

fn bytes(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |file| file.len())
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::parse();
    let folder = tempfile::tempdir()?;
    let mut config = EngineConfig::new(folder.path());
    let schema = match &options.postgres {
        Some(server) => Some(Schema::create(server).await?),
        None => None,
    };
    if let Some(schema) = &schema {
        config.database = Database::Postgres(PostgresUrl::new(schema.url()));
    }
    let mut registry = Registry::new();
    registry.register(Noop);
    let mut library = Library::new(registry);
    for (name, text) in [("leaf", LEAF), ("tree", TREE), ("single", SINGLE)] {
        library.add(name, format!("{name}.yaml"), text);
    }
    let engine = Engine::open(config, library).await?;
    let bench = QueueName::new("bench")?;
    let worker = engine.start_worker(WorkerConfig::new([(bench, 4)])).await?;
    let (file, log) = (
        folder.path().join("aquatint.db"),
        folder.path().join("aquatint.db-wal"),
    );

    let began = Instant::now();
    let mut trees = Vec::new();
    for _ in 0..options.trees {
        let inputs = json!({ "children": options.children });
        trees.push(engine.submit(Submission::new("tree", inputs)).await?.run);
    }
    let all = (options.trees * (options.children + 1)) as u64;
    loop {
        let counts = engine.counts().await?;
        if counts.iter().map(|(_, count)| count).sum::<u64>() >= all {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    println!("{all} runs built in {:.1} s", began.elapsed().as_secs_f64());

    let mut wrong = Vec::new();
    let mut most_log = bytes(&log);
    let mut told = |what: &str, took: Duration, waits: &Waits| {
        let (p50, p99, worst) = (waits.at(50), waits.at(99), waits.at(100));
        println!(
            "{what:<28} {:>7.1} s; {} submits meanwhile waited p50 {:.1}, p99 {:.1}, at most {:.1} ms",
            took.as_secs_f64(),
            waits.0.len(),
            p50.as_secs_f64() * 1e3,
            p99.as_secs_f64() * 1e3,
            worst.as_secs_f64() * 1e3,
        );
        most_log = most_log.max(bytes(&log));
        if p99 > MAX_P99 || worst > MAX_WAIT {
            wrong.push(format!("submits wait too long while: {what}"));
        }
    };

    let ((), waits) = beside(&engine, async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        Ok(())
    })
    .await?;
    told("nothing else", Duration::from_secs(3), &waits);

    let began = Instant::now();
    let (first, waits) = beside(&engine, async {
        for tree in &trees {
            engine.act(*tree, RunAction::Cancel).await?;
        }
        let first = began.elapsed();
        engine.finish_teardowns().await?;
        Ok(first)
    })
    .await?;
    told("cancelled", began.elapsed(), &waits);
    println!("  (accepted after {:.0} ms)", first.as_secs_f64() * 1e3);

    let before = bytes(&file);
    let began = Instant::now();
    let mut upkeep = Upkeep::of(Duration::ZERO);
    upkeep.keep_runs = Some(Duration::ZERO);
    let (cleaned, waits) = beside(&engine, async { Ok(engine.clean(&upkeep).await?) }).await?;
    told("deleted by a clean-up", began.elapsed(), &waits);
    println!(
        "  ({} runs; the file is {} MB, was {} MB; its log at most {} MB)",
        cleaned.runs,
        bytes(&file) >> 20,
        before >> 20,
        most_log >> 20
    );

    if schema.is_none() && bytes(&file) * 2 > before {
        wrong.push("the file has not become smaller".to_owned());
    }
    if most_log > MAX_LOG_BYTES {
        wrong.push(format!("the log grew to {most_log} bytes"));
    }
    let workers = engine.workers(true).await?;
    if workers
        .iter()
        .any(|worker| worker.state == WorkerState::Lost)
    {
        wrong.push("a worker lost its lease".to_owned());
    }
    let left = engine.counts().await?.into_iter();
    let left: u64 = left
        .filter(|(state, _)| *state == RunState::Cancelled)
        .map(|(_, n)| n)
        .sum();
    if left > 0 {
        wrong.push(format!("{left} cancelled runs are left"));
    }
    wrong.extend(engine.check().await?.broken);
    worker.stop().await;
    engine.close().await;
    if let Some(schema) = schema {
        schema.drop().await?;
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(wrong.join("; ").into())
    }
}

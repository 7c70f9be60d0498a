//! Orchestration benchmarks on the embedded store: no-op tasks, so that only the engine is timed.
//!
//! A task counts as done when it was submitted durably, claimed, run, settled,
//! its successor unlocked, its run finished, its events recorded and its result
//! readable. `cargo run --release -p aquatint-benches` prints a table;
//! `--json FILE` writes the figures too.

mod process;
mod report;
mod schema;
mod workloads;

use std::path::PathBuf;

use clap::Parser;

use report::Report;
use workloads::Rig;

/// The program's own, so that the figures are the program's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Benchmarks of the embedded engine.
#[derive(Debug, Parser)]
struct Options {
    /// Where the database lies while measuring; a temporary folder by default.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Write the figures as JSON to this file.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Only workloads whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// Slots of the queue that is measured.
    #[arg(long, default_value_t = 256)]
    slots: u32,
    /// Sync less: a power cut may take the last commits.
    #[arg(long)]
    normal: bool,
    /// Measure a cluster, with worker processes: `AQUATINT_TEST_POSTGRES` and `AQUATINT_TEST_REDIS` name
    /// the servers (`scripts/services run -- …` sets them)
    #[arg(long)]
    cluster: bool,
    /// Measure on this PostgreSQL instead of a file; each workload gets a schema of its own, dropped afterwards.
    #[arg(long)]
    postgres: Option<String>,
    /// With --postgres: workers are processes of their own, woken through this Redis.
    #[arg(
        long,
        requires = "postgres",
        env = "AQUATINT_BENCH_REDIS",
        hide_env_values = true
    )]
    redis: Option<String>,
    /// How many worker processes, with --redis.
    #[arg(long, default_value_t = 1)]
    workers: usize,
    /// Repeat each workload and take the median.
    #[arg(long, default_value_t = 3)]
    repeat: usize,
    /// Finished runs to put into the store before measuring what a full store costs.
    #[arg(long, default_value_t = 100_000)]
    backlog: usize,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    if let Some(place) = process::place()? {
        return runtime.block_on(process::work(place));
    }
    let mut options = Options::parse();
    if options.cluster {
        let named = |variable: &str| {
            std::env::var(variable).map_err(|_| {
                format!("--cluster: {variable} is not set; run this as `scripts/services run -- COMMAND`")
            })
        };
        options.postgres = Some(named("AQUATINT_TEST_POSTGRES")?);
        options.redis = Some(named("AQUATINT_TEST_REDIS")?);
    }
    runtime.block_on(run(&options))
}

async fn run(options: &Options) -> Result<(), Box<dyn std::error::Error>> {
    let mut report = Report::new(options);
    report.header();
    let wanted = |name: &str| name.contains(&options.only);
    for workload in workloads::ALL {
        if !wanted(workload.name) {
            continue;
        }
        let mut samples = Vec::with_capacity(options.repeat);
        for _ in 0..options.repeat.max(1) {
            let rig = Rig::start(options).await?;
            if !workload.is_fresh {
                rig.settle_log().await?;
            }
            samples.push((workload.run)(&rig).await?);
            rig.stop().await?;
        }
        report.add(workload, samples);
    }
    if wanted("full store") {
        let rig = Rig::start(options).await?;
        report.add_backlog(&workloads::backlog(&rig, options.backlog).await?);
        rig.stop().await?;
    }
    if let Some(path) = &options.json {
        std::fs::write(path, report.json())?;
    }
    Ok(())
}

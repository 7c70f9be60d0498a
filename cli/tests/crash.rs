//! `kill -9` of the real program, again and again, under load: every run ends,
//! nothing is recorded twice, and no file is left that nobody names.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::HashSet;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use aquatint_engine::id::RunId;
use aquatint_engine::run::{AttemptOutcome, EventKind};
use aquatint_engine::{Engine, EngineConfig, Library, Registry, RunState, Submission};
use serde_json::{Value, json};

/// A chain, a fan-out with a finalize, a batch of sub-workflows, and pictures on disk.
const DEFINITIONS: &[(&str, &str)] = &[
    (
        "hops",
        "name: hops
inputs: { n: integer }
steps:
  a: { task: core.echo, with: { value: '${{ inputs.n }}' } }
  b: { task: core.sleep, needs: [a], with: { duration: 25ms } }
  c: { task: core.echo, needs: [b], with: { value: '${{ steps.a.value + 1 }}' } }
outputs: { n: '${{ steps.c.value }}' }
",
    ),
    (
        "fan",
        "name: fan
inputs: { n: integer }
steps:
  each: { task: core.echo, foreach: '${{ range(12) }}', max_parallel: 5, with: { value: '${{ item + inputs.n }}' } }
  all: { task: core.echo, with: { value: '${{ steps.each.map(r, r.output.value) }}' } }
outputs: { values: '${{ steps.all.value }}' }
",
    ),
    (
        "nest",
        "name: nest
inputs: { n: integer }
steps:
  sub: { workflow: hops, foreach: '${{ [1, 2] }}', with: { n: '${{ inputs.n + item }}' } }
outputs: { values: '${{ steps.sub.map(r, r.output.n) }}' }
",
    ),
    (
        "picture",
        "name: picture
inputs: { n: integer }
steps:
  paint: { task: image.generate, with: { prompt: a lake at dawn, seed: '${{ inputs.n }}', width: 64, height: 64 } }
  twice: { task: image.upscale, with: { image: '${{ steps.paint.image }}' } }
outputs: { width: '${{ steps.twice.width }}' }
",
    ),
];

fn expected(workflow: &str, n: i64) -> Value {
    match workflow {
        "hops" => json!({ "n": n + 1 }),
        "fan" => json!({ "values": (0..12).map(|item| item + n).collect::<Vec<_>>() }),
        "nest" => json!({ "values": [n + 2, n + 3] }),
        _ => json!({ "width": 128 }),
    }
}

/// A generator of the test's own, so that a printed seed repeats it.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

fn worker(data: &Path, definitions: &Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_aquatint"))
        .args([
            "worker",
            "--no-scheduler",
            "--queues",
            "default:6,cpu:2,gpu:2",
        ])
        .env("AQUATINT_DATA_DIR", data)
        .env("AQUATINT_DEFINITIONS", definitions)
        .env("AQUATINT_LEASE", "3s")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

async fn open(data: &Path) -> Engine {
    let mut registry = Registry::new();
    aquatint_tasks::register_all(&mut registry, &aquatint_tasks::Options::default());
    let mut library = Library::new(registry);
    for (name, text) in DEFINITIONS {
        library.add(name, format!("{name}.yaml"), *text);
    }
    Engine::open(EngineConfig::new(data), library)
        .await
        .unwrap()
}

async fn submit(engine: &Engine, runs: &mut Vec<(RunId, &'static str, i64)>, count: i64) {
    for _ in 0..count {
        let n = i64::try_from(runs.len()).unwrap();
        let (workflow, _) = DEFINITIONS[runs.len() % DEFINITIONS.len()];
        let submission = Submission::new(workflow, json!({ "n": n }));
        let run = engine.submit(submission).await.unwrap().run;
        runs.push((run, workflow, n));
    }
}

/// Runs that have begun and not ended.
async fn under_way(engine: &Engine) -> Vec<RunId> {
    let filter = aquatint_engine::RunFilter {
        states: vec![RunState::Running],
        limit: 1_000,
        ..Default::default()
    };
    let runs = engine.runs(&filter).await.unwrap();
    runs.into_iter().map(|run| run.id).collect()
}

async fn are_over(engine: &Engine, runs: &[RunId]) -> bool {
    let going = under_way(engine).await;
    !runs.iter().any(|run| going.contains(run))
}

async fn ended(engine: &Engine) -> u64 {
    let counts = engine.counts().await.unwrap();
    let ended = counts.iter().filter(|(state, _)| state.is_terminal());
    ended.map(|(_, n)| n).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_every_run_ends_and_nothing_is_recorded_twice() {
    let folder = tempfile::tempdir().unwrap();
    let (data, definitions) = (
        folder.path().join("data"),
        folder.path().join("definitions"),
    );
    std::fs::create_dir_all(&definitions).unwrap();
    for (name, text) in DEFINITIONS {
        std::fs::write(definitions.join(format!("{name}.yaml")), text).unwrap();
    }
    let seed = std::env::var("AQUATINT_TEST_SEED")
        .ok()
        .and_then(|s| s.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
    println!("AQUATINT_TEST_SEED={seed}");
    let mut dice = Dice(seed);

    let engine = open(&data).await;
    let mut runs = Vec::new();
    let mut hit = Vec::new();
    for _ in 0..12 {
        submit(&engine, &mut runs, 24).await;
        let ended_before = ended(&engine).await;
        let mut victim = worker(&data, &definitions);
        // One that is killed before it has begun shows nothing; and what the last kill hit is finished
        // before the next, however busy the machine is: a task that loses three workers is
        // quarantined, rightly.
        let began = Instant::now();
        while ended(&engine).await == ended_before || !are_over(&engine, &hit).await {
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "the worker does not get on"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        submit(&engine, &mut runs, 24).await;
        // At a moment nobody chose.
        let patience = Duration::from_millis(dice.roll(300));
        tokio::time::sleep(patience).await;
        victim.kill().unwrap();
        victim.wait().unwrap();
        hit = under_way(&engine).await;
    }

    let mut survivor = worker(&data, &definitions);
    let deadline = Instant::now() + Duration::from_secs(120);
    while engine.is_busy().await.unwrap() {
        assert!(
            Instant::now() < deadline,
            "runs do not end: {:?}",
            engine.counts().await
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    survivor.kill().unwrap();
    survivor.wait().unwrap();

    let mut lost = 0;
    for (run, workflow, n) in &runs {
        let view = engine.run(*run).await.unwrap();
        assert_eq!(
            view.state,
            RunState::Succeeded,
            "{workflow} {n}: {:?}",
            view.failure
        );
        assert_eq!(view.output, Some(expected(workflow, *n)), "{workflow} {n}");
        let events = engine.events(*run, 0).await.unwrap();
        let ends = events.iter().filter(|e| e.kind.ends_run()).count();
        assert_eq!(ends, 1, "{workflow} {n} ended {ends} times");
        let mut done = HashSet::new();
        for event in &events {
            if let EventKind::TaskSucceeded { step, item, .. } = &event.kind {
                assert!(
                    done.insert((step.clone(), *item)),
                    "{workflow} {n}: {step} succeeded twice"
                );
            }
        }
        let attempts = engine.attempts(*run).await.unwrap();
        lost += attempts
            .iter()
            .filter(|a| a.outcome == AttemptOutcome::Lost)
            .count();
    }
    assert!(
        lost > 0,
        "no kill hit an attempt: this test has shown nothing"
    );

    let report = engine.check().await.unwrap();
    assert!(report.is_clean(), "{report:#?}");
    engine
        .clean(&aquatint_engine::engine::Upkeep::of(Duration::ZERO))
        .await
        .unwrap();
    let mut named = HashSet::new();
    let everything = aquatint_engine::RunFilter {
        limit: 1_000,
        ..Default::default()
    };
    for run in engine.runs(&everything).await.unwrap() {
        for view in engine.artifacts(run.id).await.unwrap() {
            named.insert(engine.artifact_path(&view.artifact).unwrap());
        }
    }
    let mut there = HashSet::new();
    for shelf in std::fs::read_dir(data.join("artifacts")).unwrap() {
        for file in std::fs::read_dir(shelf.unwrap().path()).unwrap() {
            there.insert(file.unwrap().path());
        }
    }
    there.remove(&data.join("artifacts/tmp/.lock"));
    assert_eq!(
        there, named,
        "files on disk are exactly those that runs name"
    );
    let left = std::fs::read_dir(data.join("scratch")).map_or(0, Iterator::count);
    assert_eq!(left, 0, "scratch folders are gone");
    println!("{} runs, 12 kills, {lost} attempts lost", runs.len());
    engine.close().await;
}

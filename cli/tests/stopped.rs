//! The real program, stopped (`SIGSTOP`) past its lease while another takes its
//! place: when it goes on, what it reports late changes nothing, and it is of
//! use again.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use aquatint_engine::id::RunId;
use aquatint_engine::registry::Registry;
use aquatint_engine::run::{AttemptOutcome, Event};
use aquatint_engine::{Engine, EngineConfig, Library, RunState, Submission};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

const CHAIN: &str = "name: chain
inputs: { n: integer }
steps:
  a: { task: core.echo, with: { value: '${{ inputs.n }}' } }
  b: { task: core.echo, with: { value: '${{ steps.a.value + 1 }}' } }
  c: { task: core.echo, with: { value: '${{ steps.b.value + 1 }}' } }
outputs: { n: '${{ steps.c.value }}' }
";

const NAP: &str = "name: nap
steps:
  sleep: { task: core.sleep, with: { duration: 1500ms } }
outputs: { slept: '${{ steps.sleep.slept_ms }}' }
";

const DEFINITIONS: [(&str, &str); 2] = [("chain", CHAIN), ("nap", NAP)];

/// A data directory, definitions, and an engine that submits and looks but does no work.
struct Site {
    folder: tempfile::TempDir,
    engine: Engine,
}

impl Site {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let definitions = folder.path().join("definitions");
        std::fs::create_dir(&definitions).unwrap();
        let mut registry = Registry::new();
        aquatint_tasks::register_all(&mut registry, &aquatint_tasks::Options::default());
        let mut library = Library::new(registry);
        for (name, text) in DEFINITIONS {
            std::fs::write(definitions.join(format!("{name}.yaml")), text).unwrap();
            library.add(name, format!("{name}.yaml"), text);
        }
        let config = EngineConfig::new(folder.path().join("data"));
        let engine = Engine::open(config, library).await.unwrap();
        Self { folder, engine }
    }

    fn worker(&self) -> Process {
        let mut child = Command::new(env!("CARGO_BIN_EXE_aquatint"))
            .args(["worker", "--no-scheduler", "--queues", "default:4"])
            .env("AQUATINT_DATA_DIR", self.folder.path().join("data"))
            .env(
                "AQUATINT_DEFINITIONS",
                self.folder.path().join("definitions"),
            )
            .env("AQUATINT_LEASE", "2s")
            .current_dir(self.folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.starts_with("serving") {
            line.clear();
            assert!(
                said.read_line(&mut line).unwrap() > 0,
                "the worker ended before it served"
            );
        }
        // Somebody must read on, or the worker would stand before a full pipe.
        std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
        Process(child)
    }

    /// Stops a worker, but not amid a commit: then it would hold the database
    /// itself, and nobody could take its place.
    async fn stop(&self, worker: &Process) {
        let path = self.folder.path().join("data/aquatint.db");
        let options = SqliteConnectOptions::new()
            .filename(path)
            .busy_timeout(Duration::from_millis(100));
        for _ in 0..50 {
            worker.signal(Signal::STOP);
            let mut conn = options.connect().await.unwrap();
            if let Ok(lock) = conn.begin_with("begin immediate").await {
                lock.rollback().await.unwrap();
                return;
            }
            worker.signal(Signal::CONT);
        }
        panic!("the worker is always amid a commit");
    }

    async fn submit(&self, workflow: &str, inputs: Value) -> RunId {
        let submission = Submission::new(workflow, inputs);
        self.engine.submit(submission).await.unwrap().run
    }

    async fn events(&self, run: RunId) -> Vec<Event> {
        self.engine.events(run, 0).await.unwrap()
    }

    async fn wait(&self, run: RunId) -> aquatint_engine::store::RunView {
        let waited = tokio::time::timeout(Duration::from_secs(60), self.engine.wait(run)).await;
        match waited {
            Ok(view) => view.unwrap(),
            Err(_) => panic!(
                "run {run} does not end: {:#?}",
                self.engine.tasks(run, true).await
            ),
        }
    }
}

/// A program that does not outlive its test.
struct Process(Child);

impl Process {
    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.0.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_stopped_past_its_lease_changes_nothing_when_it_goes_on() {
    let site = Site::new().await;
    let sleeper = site.worker();
    let mut runs = Vec::new();
    for _ in 0..4 {
        runs.push(site.submit("nap", json!({})).await);
    }
    // All four are under way, which a worker tells after a moment.
    let begun = Instant::now();
    for run in &runs {
        while site.engine.run(*run).await.unwrap().state != RunState::Running {
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "they do not begin"
            );
            site.engine.changed(*run).await;
        }
    }
    site.stop(&sleeper).await;
    let other = site.worker();
    let mut stories = Vec::new();
    for run in &runs {
        let view = site.wait(*run).await;
        assert_eq!(
            (view.state, view.output),
            (RunState::Succeeded, Some(json!({ "slept": 1500 })))
        );
        let outcomes: Vec<_> = site
            .engine
            .attempts(*run)
            .await
            .unwrap()
            .iter()
            .map(|a| a.outcome)
            .collect();
        assert_eq!(outcomes, [AttemptOutcome::Lost, AttemptOutcome::Succeeded]);
        stories.push(site.events(*run).await);
    }
    drop(other);
    sleeper.signal(Signal::CONT);
    // It does fresh work only once it has reported the old, been refused, and begun anew.
    for _ in 0..8 {
        let run = site.submit("chain", json!({ "n": 1 })).await;
        assert_eq!(site.wait(run).await.state, RunState::Succeeded);
    }
    let run = site.submit("nap", json!({})).await;
    let view = site.wait(run).await;
    assert_eq!(view.state, RunState::Succeeded, "{:?}", view.failure);
    for (run, story) in runs.iter().zip(stories) {
        assert_eq!(site.events(*run).await, story, "a late report left a trace");
    }
    let report = site.engine.check().await.unwrap();
    assert!(report.is_clean(), "{report:#?}");
}

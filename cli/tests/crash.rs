//! The real program, killed and stopped at bad moments: nothing accepted is
//! lost, nothing is recorded twice, nothing half-written stays behind.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeSet, HashMap};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use aquatint_engine::artifact::ArtifactStore;
use aquatint_engine::id::RunId;
use aquatint_engine::registry::Registry;
use aquatint_engine::run::{AttemptOutcome, Event, EventKind};
use aquatint_engine::{Engine, EngineConfig, Library, RunState, Submission};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

const CHAIN: &str = "name: chain
inputs: { n: integer }
steps:
  a: { task: core.echo, with: { value: '${{ inputs.n }}' } }
  b: { task: core.echo, with: { value: '${{ steps.a.value + 1 }}' } }
  c: { task: core.echo, with: { value: '${{ steps.b.value + 1 }}' } }
outputs: { n: '${{ steps.c.value }}' }
";

const BATCH: &str = "name: batch
inputs: { items: { type: array } }
steps:
  each: { task: core.sleep, foreach: '${{ inputs.items }}', max_parallel: 4, with: { duration: '${{ item }}' } }
  finalize: { task: core.echo, with: { value: '${{ steps.each.map(r, r.output.slept_ms) }}' } }
outputs: { slept: '${{ steps.finalize.value }}' }
";

const NESTED: &str = "name: nested
inputs: { n: integer }
steps:
  both: { workflow: chain, foreach: '${{ [inputs.n, inputs.n + 10] }}', with: { n: '${{ item }}' } }
outputs: { ns: '${{ steps.both.map(r, r.output.n) }}' }
";

const PICTURE: &str = "name: picture
inputs: { seed: integer }
steps:
  paint: { task: image.generate, with: { prompt: a harbour, width: 64, height: 64, seed: '${{ inputs.seed }}' } }
outputs: { image: '${{ steps.paint.image }}' }
";

const NAP: &str = "name: nap
steps:
  sleep: { task: core.sleep, with: { duration: 1500ms } }
outputs: { slept: '${{ steps.sleep.slept_ms }}' }
";

const DEFINITIONS: [(&str, &str); 5] = [
    ("chain", CHAIN),
    ("batch", BATCH),
    ("nested", NESTED),
    ("picture", PICTURE),
    ("nap", NAP),
];

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

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_aquatint"));
        command
            .args(arguments)
            .arg("--data-dir")
            .arg(self.data())
            .arg("--definitions")
            .arg(self.folder.path().join("definitions"))
            .current_dir(self.folder.path())
            .env("HOME", self.folder.path())
            .env("AQUATINT_LEASE", "2s");
        command
    }

    fn worker(&self) -> Process {
        let mut child = self
            .command(&["worker", "--queues", "default:4,gpu:2,cpu:2"])
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

    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Numbers that look like chance and can be had again from the seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        // SplitMix64 (Steele, Lea, Flood 2014).
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }
}

fn seed() -> u64 {
    let given = std::env::var("CRASH_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    given.unwrap_or_else(|| u64::from(std::process::id()))
}

/// A wave of runs, and what each must come to.
async fn wave(site: &Site, dice: &mut Dice, expected: &mut HashMap<RunId, Option<Value>>) {
    for _ in 0..30 {
        let n = dice.roll(1_000);
        let (workflow, inputs, output) = match dice.roll(10) {
            0..=4 => ("chain", json!({ "n": n }), Some(json!({ "n": n + 2 }))),
            5..=7 => {
                let naps: Vec<u64> = (0..dice.roll(8)).map(|_| 1 + dice.roll(40)).collect();
                let items: Vec<String> = naps.iter().map(|ms| format!("{ms}ms")).collect();
                (
                    "batch",
                    json!({ "items": items }),
                    Some(json!({ "slept": naps })),
                )
            }
            8 => (
                "nested",
                json!({ "n": n }),
                Some(json!({ "ns": [n + 2, n + 12] })),
            ),
            _ => ("picture", json!({ "seed": n }), None),
        };
        expected.insert(site.submit(workflow, inputs).await, output);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_again_and_again_loses_nothing_and_repeats_nothing() {
    let seed = seed();
    eprintln!("CRASH_SEED={seed}");
    let mut dice = Dice(seed);
    let site = Site::new().await;
    let mut expected = HashMap::new();
    let mut lost = 0;
    for _ in 0..12 {
        let worker = site.worker();
        wave(&site, &mut dice, &mut expected).await;
        // Sometimes amid the submits' own work, sometimes when nearly all is done.
        tokio::time::sleep(Duration::from_millis(20 + dice.roll(900))).await;
        worker.kill();
    }
    let worker = site.worker();
    for (run, output) in &expected {
        let view = site.wait(*run).await;
        assert_eq!(view.state, RunState::Succeeded, "{run}: {:?}", view.failure);
        if let Some(output) = output {
            assert_eq!(view.output.as_ref(), Some(output), "{run}");
        }
        lost += look_for_doubles(&site, *run).await;
    }
    eprintln!(
        "{} runs; {lost} attempts were lost with their workers",
        expected.len()
    );
    assert!(lost > 0, "no kill hit anything: the test shows nothing");
    worker.kill();

    let check = site.command(&["check"]).output().unwrap();
    assert!(
        check.status.success(),
        "{}",
        String::from_utf8_lossy(&check.stdout)
    );
    let clean = site
        .command(&["clean", "--min-age", "0s"])
        .output()
        .unwrap();
    assert!(
        clean.status.success(),
        "{}",
        String::from_utf8_lossy(&clean.stderr)
    );
    only_what_is_named(&site, expected.keys()).await;
    let check = site.command(&["check"]).output().unwrap();
    assert!(
        check.status.success(),
        "{}",
        String::from_utf8_lossy(&check.stdout)
    );
}

/// Each task succeeded once, in a story without gaps; returns how many attempts were lost.
async fn look_for_doubles(site: &Site, run: RunId) -> usize {
    let events = site.events(run).await;
    let numbers: Vec<i64> = events.iter().map(|e| e.seq).collect();
    assert_eq!(
        numbers,
        (1..=i64::try_from(events.len()).unwrap()).collect::<Vec<_>>()
    );
    let mut done = BTreeSet::new();
    for event in &events {
        if let EventKind::TaskSucceeded { step, item, .. } = &event.kind {
            assert!(
                done.insert((step.clone(), *item)),
                "{run}: {step}/{item:?} succeeded twice"
            );
        }
    }
    assert_eq!(events.iter().filter(|e| e.kind.ends_run()).count(), 1);
    let attempts = site.engine.attempts(run).await.unwrap();
    attempts
        .iter()
        .filter(|a| a.outcome == AttemptOutcome::Lost)
        .count()
}

/// What lies in the artifacts' folder is what runs name, whole; nothing temporary is left.
async fn only_what_is_named(site: &Site, runs: impl Iterator<Item = &RunId>) {
    let store = ArtifactStore::open(&site.data().join("artifacts")).unwrap();
    let mut named = BTreeSet::new();
    for run in runs {
        for view in site.engine.artifacts(*run).await.unwrap() {
            store.read(&view.artifact).unwrap();
            named.insert(store.path(&view.artifact).unwrap());
        }
    }
    assert!(
        !named.is_empty(),
        "no picture was painted: the test shows nothing"
    );
    let lock = site.data().join("artifacts/tmp/.lock");
    let there: BTreeSet<PathBuf> = files(&site.data().join("artifacts"))
        .into_iter()
        .filter(|file| *file != lock)
        .collect();
    assert_eq!(there, named);
    assert_eq!(files(&site.data().join("scratch")), Vec::<PathBuf>::new());
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(listing) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let paths = listing.map(|entry| entry.unwrap().path());
    paths
        .flat_map(|path| {
            if path.is_dir() {
                files(&path)
            } else {
                vec![path]
            }
        })
        .collect()
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
    sleeper.signal(Signal::STOP);
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
    other.kill();
    sleeper.signal(Signal::CONT);
    // It does fresh work only once it has reported the old, been refused, and begun anew.
    for _ in 0..8 {
        let run = site.submit("chain", json!({ "n": 1 })).await;
        assert_eq!(site.wait(run).await.state, RunState::Succeeded);
    }
    let run = site.submit("nap", json!({})).await;
    assert_eq!(site.wait(run).await.state, RunState::Succeeded);
    for (run, story) in runs.iter().zip(stories) {
        assert_eq!(site.events(*run).await, story, "a late report left a trace");
    }
    let report = site.engine.check().await.unwrap();
    assert!(report.is_clean(), "{report:#?}");
}

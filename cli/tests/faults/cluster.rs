//! One trial's cluster: a client in this process, workers in their own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use aquatint_engine::config::RedisConfig;
use aquatint_engine::id::RunId;
use aquatint_engine::{
    Database, Engine, EngineConfig, Library, PostgresUrl, Registry, RunState, Submission,
};
use serde_json::{Value, json};

use crate::load::{DEFINITIONS, ENDLESS, PROGRAMS, SLOW, TICK};
use crate::servers::{LOOK, Servers};
use crate::skew::Skew;

/// How long a silent worker keeps its tasks, here.
pub(crate) const LEASE: Duration = Duration::from_secs(3);

/// Slots of each worker for work that takes its time.
const GPU_SLOTS: usize = 6;

/// After this, what has not ended counts as lost.
const PATIENCE: Duration = Duration::from_secs(90);

/// A run that was accepted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Accepted {
    pub(crate) id: RunId,
    pub(crate) workflow: &'static str,
    pub(crate) n: i64,
}

/// A client, and the workers it does not know.
pub(crate) struct Cluster<'a> {
    pub(crate) servers: &'a Servers,
    pub(crate) engine: Engine,
    pub(crate) workers: Vec<Child>,
    pub(crate) runs: Vec<Accepted>,
    pub(crate) name: String,
    /// What clients saw that must not be.
    pub(crate) wrong: Vec<String>,
    database: String,
    folder: tempfile::TempDir,
    lease: Duration,
}

impl<'a> Cluster<'a> {
    pub(crate) async fn start(servers: &'a Servers) -> Self {
        Self::with_lease(servers, LEASE).await
    }

    pub(crate) async fn with_lease(servers: &'a Servers, lease: Duration) -> Self {
        let name = format!("f{:x}", fresh());
        let database = servers.schema(&name).await;
        let folder = tempfile::tempdir().unwrap();
        let definitions = folder.path().join("definitions");
        std::fs::create_dir_all(&definitions).unwrap();
        let mut registry = Registry::new();
        aquatint_tasks::register_all(&mut registry, &aquatint_tasks::Options::default());
        let mut library = Library::new(registry);
        for (name, text) in DEFINITIONS.into_iter().chain([ENDLESS, SLOW, TICK]) {
            library.add(name, format!("{name}.yaml"), text);
            std::fs::write(definitions.join(format!("{name}.yaml")), text).unwrap();
        }
        let mut config = EngineConfig::new(folder.path().join("data"));
        config.database = Database::Postgres(PostgresUrl::new(&database));
        config.doorbell = Some(RedisConfig::new(&servers.redis, &name));
        config.lease = lease;
        let engine = Engine::open(config, library).await.unwrap();
        let mut cluster = Self {
            servers,
            engine,
            workers: Vec::new(),
            runs: Vec::new(),
            name,
            wrong: Vec::new(),
            database,
            folder,
            lease,
        };
        for _ in 0..2 {
            cluster.start_worker();
        }
        cluster
    }

    /// Artifacts are shared, as on a network drive.
    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Where servers leave what they say.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn start_worker(&mut self) {
        let mut worker = self.program(&["worker"]);
        self.workers.push(worker.spawn().unwrap());
    }

    /// One whose clock is so many seconds ahead.
    pub(crate) fn start_skewed_worker(&mut self, seconds: i64) -> Skew {
        let skew = Skew::build(self.folder.path());
        let mut worker = self.program(&["worker"]);
        skew.put(&mut worker, seconds);
        self.workers.push(worker.spawn().unwrap());
        skew
    }

    /// The program as one of this cluster's processes.
    pub(crate) fn program(&self, arguments: &[&str]) -> Command {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.path().join("workers.log"))
            .unwrap();
        let mut program = Command::new(env!("CARGO_BIN_EXE_aquatint"));
        program
            .args(arguments)
            .args(["--queues", "default:6,cpu:2,gpu:6"])
            .env("AQUATINT_DATABASE_URL", &self.database)
            .env("AQUATINT_REDIS_URL", &self.servers.redis)
            .env("AQUATINT_NAMESPACE", &self.name)
            .env("AQUATINT_DATA_DIR", self.data())
            .env(
                "AQUATINT_DEFINITIONS",
                self.folder.path().join("definitions"),
            )
            .env("AQUATINT_LEASE", format!("{}s", self.lease.as_secs()))
            .env("AQUATINT_TASKS_COMMAND_ALLOWED_PROGRAMS", PROGRAMS)
            .env("AQUATINT_LOG", "aquatint_engine=info")
            .stdout(Stdio::null())
            .stderr(log);
        program
    }

    pub(crate) fn signal(&self, worker: usize, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.workers[worker].id()).unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// `kill -9`, and another takes its place.
    pub(crate) fn kill_worker(&mut self, worker: usize) {
        let mut victim = self.workers.remove(worker);
        victim.kill().unwrap();
        victim.wait().unwrap();
        self.start_worker();
    }

    pub(crate) async fn submit(&mut self, count: usize) {
        for _ in 0..count {
            let (workflow, _) = DEFINITIONS[self.runs.len() % DEFINITIONS.len()];
            self.submit_one(workflow, json!({}), 0).await;
        }
    }

    async fn submit_one(
        &mut self,
        workflow: &'static str,
        mut inputs: Value,
        priority: i64,
    ) -> RunId {
        let n = i64::try_from(self.runs.len()).unwrap();
        inputs["n"] = json!(n);
        let mut submission = Submission::new(workflow, inputs);
        submission.priority = priority;
        let id = self.engine.submit(submission).await.unwrap().run;
        self.runs.push(Accepted { id, workflow, n });
        id
    }

    /// Work that takes a while.
    pub(crate) async fn submit_slow(&mut self, count: usize, took: Duration) -> Vec<RunId> {
        let mut submitted = Vec::new();
        for _ in 0..count {
            let inputs = json!({ "seconds": took.as_secs_f64() });
            submitted.push(self.submit_one(SLOW.0, inputs, 100).await);
        }
        submitted
    }

    /// As much work as all workers can take, under way for longer than a lease.
    pub(crate) async fn begin_slow(&mut self) -> Vec<RunId> {
        let count = self.workers.len() * GPU_SLOTS;
        let begun = self
            .submit_slow(count, LEASE + Duration::from_secs(2))
            .await;
        self.all_begun(&begun).await;
        begun
    }

    /// Waits until all of these, each of one step, are under way.
    pub(crate) async fn all_begun(&self, runs: &[RunId]) {
        let began = Instant::now();
        loop {
            let workers = self.engine.workers(false).await.unwrap();
            let attempts = workers.iter().flat_map(|w| &w.attempts);
            if attempts.filter(|a| runs.contains(&a.run)).count() == runs.len() {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "nothing begins: {}", self.log());
            tokio::time::sleep(LOOK).await;
        }
    }

    /// A run that is not to be accounted for.
    pub(crate) async fn submit_beside(&self, workflow: &str) -> RunId {
        let submission = Submission::new(workflow, json!({ "n": 1 }));
        self.engine.submit(submission).await.unwrap().run
    }

    /// Where a queue's tickets lie.
    pub(crate) fn ticket_key(&self, queue: &str) -> String {
        format!("aquatint:{}:tickets:{queue}", self.name)
    }

    /// Where processes tell each other what has changed.
    pub(crate) fn notice_channel(&self) -> String {
        format!("aquatint:{}:notices", self.name)
    }

    /// How many of our runs have ended.
    pub(crate) async fn ended(&self) -> u64 {
        let counts = self.engine.counts().await.unwrap();
        let ended = counts.iter().filter(|(state, _)| state.is_terminal());
        ended.map(|(_, n)| n).sum()
    }

    /// Waits until work is well under way.
    pub(crate) async fn warm_up(&self, ended: u64) {
        let began = Instant::now();
        while self.ended().await < ended {
            assert!(
                began.elapsed() < PATIENCE,
                "the workers do not work: {}",
                self.log()
            );
            tokio::time::sleep(LOOK).await;
        }
    }

    /// How long a run that is submitted now takes.
    pub(crate) async fn probe(&mut self) -> Duration {
        let began = Instant::now();
        // What waits already is no measure of whether work goes through.
        let id = self.submit_one("hops", json!({}), 100).await;
        let ended = tokio::time::timeout(PATIENCE, self.engine.wait(id)).await;
        if ended.is_err() {
            eprintln!("the probe did not end: {}", self.log());
        }
        began.elapsed()
    }

    /// Whether everything ends in time.
    /// Lets nothing begin by itself any more; returns once every tick that was due has its run.
    pub(crate) async fn stop_ticking(&self) -> bool {
        let began = Instant::now();
        // A brief fault is over before the first tick, and would show nothing.
        while !matches!(self.engine.schedule(TICK.0).await, Ok(s) if s.counts.started >= 3) {
            if began.elapsed() > PATIENCE {
                eprintln!("nothing begins by itself\n{}", self.log());
                return false;
            }
            tokio::time::sleep(LOOK).await;
        }
        self.engine.pause_schedule(TICK.0).await.unwrap();
        while !self
            .engine
            .schedule(TICK.0)
            .await
            .unwrap()
            .waiting
            .is_empty()
        {
            if began.elapsed() > PATIENCE {
                eprintln!("ticks wait for their turn\n{}", self.log());
                return false;
            }
            tokio::time::sleep(LOOK).await;
        }
        true
    }

    pub(crate) async fn settles(&self) -> bool {
        let began = Instant::now();
        while self.engine.is_busy().await.unwrap() {
            if began.elapsed() > PATIENCE {
                eprintln!(
                    "runs do not end: {:?}\n{}",
                    self.engine.counts().await,
                    self.log()
                );
                return false;
            }
            tokio::time::sleep(LOOK).await;
        }
        true
    }

    pub(crate) async fn state(&self, run: RunId) -> RunState {
        self.engine.run(run).await.unwrap().state
    }

    /// The last words of the workers.
    pub(crate) fn log(&self) -> String {
        let text =
            std::fs::read_to_string(self.folder.path().join("workers.log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// Files on disk that no run names, once all workers are gone and leftovers were swept.
    pub(crate) async fn orphans(&self) -> usize {
        self.engine
            .clean(&aquatint_engine::engine::Upkeep::of(Duration::ZERO))
            .await
            .unwrap();
        let mut named = std::collections::HashSet::new();
        let filter = aquatint_engine::RunFilter {
            limit: 1_000,
            ..Default::default()
        };
        for run in self.engine.runs(&filter).await.unwrap() {
            for view in self.engine.artifacts(run.id).await.unwrap() {
                named.insert(self.engine.artifact_path(&view.artifact).unwrap());
            }
        }
        let mut left = 0;
        for shelf in std::fs::read_dir(self.data().join("artifacts")).unwrap() {
            for file in std::fs::read_dir(shelf.unwrap().path()).unwrap() {
                let file = file.unwrap().path();
                let is_lock = file.file_name().is_some_and(|name| name == ".lock");
                left += usize::from(!is_lock && !named.contains(&file));
            }
        }
        left
    }

    pub(crate) async fn stop(mut self) {
        self.end_workers();
        self.engine.close().await;
        self.servers
            .execute(&format!("drop schema {} cascade", self.name))
            .await;
    }

    pub(crate) fn end_workers(&mut self) {
        for mut worker in self.workers.drain(..) {
            let _ = worker.kill();
            let _ = worker.wait();
        }
    }
}

impl Drop for Cluster<'_> {
    fn drop(&mut self) {
        self.end_workers();
    }
}

fn fresh() -> u128 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_micros()
}

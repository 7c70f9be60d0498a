//! A worker's life: its slots, its lease, its end, and what its tasks may say meanwhile.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use aquatint_engine::id::RunId;
use aquatint_engine::run::AttemptOutcome;
use aquatint_engine::{EngineConfig, RunState, TaskState};
use serde_json::json;
use sqlx::{ConnectOptions as _, Connection as _};
use support::{Bench, Signals};
use tokio::sync::{mpsc, oneshot};

const HELD: &str = "name: held
inputs: { deaf: { type: boolean, default: false } }
steps:
  a: { task: test.hold, with: { deaf: '${{ inputs.deaf }}', value: 1 } }
outputs: { value: '${{ steps.a.value }}' }
";

const ECHO: &str =
    "name: echo\nsteps:\n  a: { task: test.echo }\n  b: { task: test.echo, needs: [a] }\n";

async fn other_connection(bench: &Bench) -> sqlx::sqlite::SqliteConnection {
    let path = bench.folder.path().join("aquatint.db");
    sqlx::sqlite::SqliteConnectOptions::new()
        .filename(path)
        .disable_statement_logging()
        .connect()
        .await
        .unwrap()
}

/// Polls what has no event to wait for; fails rather than wait for ever.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "{what}: not within 30 s"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_within_the_grace_period_is_recorded_as_ever() {
    let mut bench = Bench::idle(&[HELD], |_| {}).await;
    bench.start_worker_with(1, Duration::from_secs(30)).await;
    let run = bench.submit("held", json!({})).await;
    bench.begun().await;
    let stop = bench.worker.take().unwrap().stop();
    let (_, ()) = tokio::join!(stop, async {
        bench.let_go();
        bench.wait(run).await;
    });
    let outcomes: Vec<_> = bench
        .engine
        .attempts(run)
        .await
        .unwrap()
        .iter()
        .map(|a| a.outcome)
        .collect();
    assert_eq!(outcomes, [AttemptOutcome::Succeeded]);
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_shutdown_cuts_short_keeps_all_its_tries() {
    let mut bench = Bench::idle(&[HELD], |_| {}).await;
    // The step has one try: were a release counted, the second round would fail it.
    let run = bench.submit("held", json!({ "deaf": true })).await;
    for _ in 0..3 {
        bench.start_worker(1).await;
        bench.begun().await;
        bench.worker.take().unwrap().stop().await;
        assert_eq!(bench.task(run, "a").await.state, TaskState::Ready);
    }
    bench.start_worker(1).await;
    bench.begun().await;
    bench.let_go();
    assert_eq!(bench.wait(run).await.state, RunState::Succeeded);
    let outcomes: Vec<_> = bench
        .engine
        .attempts(run)
        .await
        .unwrap()
        .iter()
        .map(|a| a.outcome)
        .collect();
    assert_eq!(
        outcomes,
        [
            AttemptOutcome::Released,
            AttemptOutcome::Released,
            AttemptOutcome::Released,
            AttemptOutcome::Succeeded
        ]
    );
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_has_stopped_leaves_nothing_running_behind() {
    let mut bench = Bench::idle(&[ECHO], |_| {}).await;
    let mut runs = Vec::new();
    for round in 0..40_u64 {
        for _ in 0..20 {
            runs.push(bench.submit("echo", json!({})).await);
        }
        bench.start_worker(4).await;
        // A different moment each time: at once, amid the claims, near the end.
        tokio::time::sleep(Duration::from_micros(round * 150)).await;
        bench.worker.take().unwrap().stop().await;
        let mut other = other_connection(&bench).await;
        let running: i64 =
            sqlx::query_scalar("select count(*) from task_runs where state = 'running'")
                .fetch_one(&mut other)
                .await
                .unwrap();
        assert_eq!(
            running, 0,
            "round {round}: it signed off with work in its hands"
        );
    }
    bench.start_worker(8).await;
    for run in runs {
        assert_eq!(bench.wait(run).await.state, RunState::Succeeded);
    }
    bench.finish().await;
}

const HUNG: &str =
    "name: hung\nsteps:\n  a: { task: test.hold, timeout: 300ms, with: { hang: true } }\n";

#[tokio::test(flavor = "multi_thread")]
async fn handlers_that_block_their_threads_for_good_cost_their_attempts_and_not_the_worker() {
    let mut bench = Bench::idle(&[HUNG, ECHO], |_| {}).await;
    let slots = u32::try_from(std::thread::available_parallelism().unwrap().get()).unwrap() + 2;
    bench.start_worker(slots).await;
    let mut runs = Vec::new();
    for _ in 0..slots {
        runs.push(bench.submit("hung", json!({})).await);
    }
    for run in runs {
        assert_eq!(bench.wait(run).await.failure.unwrap().class, "timeout");
    }
    // The slots are free, and there are threads to use them.
    assert_eq!(
        bench.run("echo", json!({})).await.state,
        RunState::Succeeded
    );
    let stopping = Instant::now();
    bench.finish().await;
    assert!(
        stopping.elapsed() < Duration::from_secs(5),
        "stopping waits for no handler that will never end"
    );
}

/// An engine with a runtime of its own, which can be made to stand still as a
/// stopped process does. Its handlers have threads of their own, and go on.
struct Frozen {
    freezes: mpsc::UnboundedSender<Freeze>,
    signals: Arc<Signals>,
    thread: std::thread::JoinHandle<()>,
}

struct Freeze {
    /// Told once the runtime stands still.
    stands: oneshot::Sender<()>,
    thaw: std::sync::mpsc::Receiver<()>,
}

impl Frozen {
    async fn start(
        folder: Arc<tempfile::TempDir>,
        definitions: &'static [&'static str],
        change: fn(&mut EngineConfig),
    ) -> Self {
        let (freezes, mut inbox) = mpsc::unbounded_channel::<Freeze>();
        let (ready, started) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let mut bench = Bench::over(folder, definitions, change).await;
                bench.start_worker(1).await;
                ready.send(Arc::clone(&bench.signals)).unwrap();
                while let Some(freeze) = inbox.recv().await {
                    freeze.stands.send(()).unwrap();
                    // Blocks this runtime's only thread, on purpose.
                    freeze.thaw.recv().unwrap();
                }
                bench.finish().await;
            });
        });
        let signals = started.await.unwrap();
        Self {
            freezes,
            signals,
            thread,
        }
    }

    async fn begun(&self) {
        let begun = self.signals.begun.acquire();
        let begun = tokio::time::timeout(Duration::from_secs(30), begun).await;
        begun.expect("its task begins").unwrap().forget();
    }

    /// Stands still from now until the returned end is used.
    async fn freeze(&self) -> std::sync::mpsc::Sender<()> {
        let (thaw, thawed) = std::sync::mpsc::channel();
        let (stands, stood) = oneshot::channel();
        let freeze = Freeze {
            stands,
            thaw: thawed,
        };
        self.freezes.send(freeze).ok().unwrap();
        stood.await.unwrap();
        thaw
    }

    async fn finish(self) {
        drop(self.freezes);
        let ended = tokio::task::spawn_blocking(|| self.thread.join()).await;
        ended.unwrap().unwrap();
    }
}

/// The first attempt was lost, the last one succeeded. On a machine so busy that
/// a lease this short is missed once more, one more may be lost between.
/// A worker that was away for longer than its lease has crashed nothing: what it held was taken from it, and is not counted
/// as lost.
async fn taken_then_succeeded(bench: &Bench, run: RunId) {
    until("the worker is back and excused", async || {
        let attempts = bench.engine.attempts(run).await.unwrap();
        let outcomes: Vec<_> = attempts.iter().map(|a| a.outcome).collect();
        let (last, before) = outcomes.split_last().unwrap();
        let is_taken = before.iter().all(|o| *o == AttemptOutcome::Released);
        *last == AttemptOutcome::Succeeded && is_taken && !before.is_empty()
    })
    .await;
}

fn short_lease(config: &mut EngineConfig) {
    config.lease = Duration::from_millis(600);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_stood_still_past_its_lease_changes_nothing_when_it_comes_back() {
    let mut alive = Bench::idle(&[HELD], short_lease).await;
    let frozen = Frozen::start(Arc::clone(&alive.folder), &[HELD], short_lease).await;
    let run = alive.submit("held", json!({ "deaf": true })).await;
    frozen.begun().await;
    let thaw = frozen.freeze().await;
    // Its work is done while it stands still, and another has taken its place.
    frozen.signals.go.add_permits(1);
    alive.start_worker(1).await;
    alive.begun().await;
    let before = alive.story(run).await;
    thaw.send(()).unwrap();
    until("it knows that it was given up", async || {
        frozen.signals.now.load(Ordering::SeqCst) == 0
    })
    .await;
    // A fresh run tells that the worker is back, under a new name.
    let next = alive.submit("held", json!({})).await;
    frozen.begun().await;
    frozen.signals.go.add_permits(1);
    assert_eq!(alive.wait(next).await.state, RunState::Succeeded);
    assert_eq!(
        alive.story(run).await,
        before,
        "the late report left no trace"
    );
    alive.let_go();
    assert_eq!(alive.wait(run).await.state, RunState::Succeeded);
    taken_then_succeeded(&alive, run).await;
    frozen.finish().await;
    alive.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_cannot_renew_its_lease_stops_its_own_work() {
    let bench = Bench::with(&[HELD], short_lease).await;
    let run = bench.submit("held", json!({})).await;
    bench.begun().await;
    let mut other = other_connection(&bench).await;
    let lock = other.begin_with("begin immediate").await.unwrap();
    until("the handler is told to stop", async || {
        bench.signals.stopped.load(Ordering::SeqCst) == 1
    })
    .await;
    lock.rollback().await.unwrap();
    bench.begun().await;
    bench.let_go();
    assert_eq!(bench.wait(run).await.state, RunState::Succeeded);
    taken_then_succeeded(&bench, run).await;
    bench.finish().await;
}

const CHATTER: &str = "name: chatter
inputs: { lines: { type: integer, default: 0 }, steps: { type: integer, default: 0 } }
steps:
  a: { task: test.chatter, with: { lines: '${{ inputs.lines }}', steps: '${{ inputs.steps }}' } }
";

#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_an_attempt_ends_at_ten_thousand_lines_with_a_note() {
    let bench = Bench::new(&[CHATTER]).await;
    let run = bench.run("chatter", json!({ "lines": 10_500 })).await;
    let logs = bench.engine.logs(run.id).await.unwrap();
    assert_eq!(
        (logs.len(), logs[9_998].message.as_str()),
        (10_000, "line 9998")
    );
    assert!(
        logs[9_999].message.contains("dropped"),
        "{}",
        logs[9_999].message
    );
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_is_stored_now_and_then_however_often_it_is_told() {
    let bench = Bench::new(&[CHATTER]).await;
    let mut other = other_connection(&bench).await;
    sqlx::raw_sql(
        "create table written (fraction real);
        create trigger count_progress after update of progress on task_runs when new.progress is not null
        begin insert into written values (new.progress ->> 'fraction'); end",
    )
    .execute(&mut other)
    .await
    .unwrap();
    let begun = Instant::now();
    let run = bench.run("chatter", json!({ "steps": 300 })).await;
    let rounds = i64::try_from(begun.elapsed().as_millis() / 200).unwrap();
    assert_eq!(run.state, RunState::Succeeded);
    let written: i64 = sqlx::query_scalar("select count(*) from written")
        .fetch_one(&mut other)
        .await
        .unwrap();
    assert!(
        (1..=rounds + 2).contains(&written),
        "300 words of progress were written {written} times in {rounds} rounds of 200 ms"
    );
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_word_of_progress_is_seen_while_the_task_runs() {
    let bench = Bench::new(&[CHATTER]).await;
    let run = bench.submit("chatter", json!({ "steps": 400 })).await;
    until("progress shows", async || {
        !bench.engine.progress(run).await.unwrap().is_empty()
    })
    .await;
    assert!(!bench.engine.run(run).await.unwrap().state.is_terminal());
    bench.wait(run).await;
    bench.finish().await;
}

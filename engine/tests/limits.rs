//! What bounds a run: sizes, places, keys, time, and what is refused at the door.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::sync::atomic::Ordering;
use std::time::Duration;

use aquatint_engine::{RunAction, RunState, Submission};
use serde_json::json;
use support::Bench;

const CHAIN: &str = "name: chain
inputs:
  word: string
steps:
  a: { task: test.echo, with: { word: '${{ inputs.word }}' } }
";

const LIMITS: &str = "name: limits
inputs: { bytes: { type: integer, default: 0 }, escape: { type: [string, 'null'], default: null } }
steps:
  a: { task: test.write, with: { text: hello, bytes: '${{ inputs.bytes }}', escape: '${{ inputs.escape }}' } }
";

#[tokio::test(flavor = "multi_thread")]
async fn too_much_output_and_paths_out_of_the_scratch_folder_fail_the_attempt() {
    let bench = Bench::new(&[LIMITS]).await;
    for (inputs, class) in [
        (json!({"bytes": 300_000}), "output_too_large"),
        (json!({"escape": "../../evil.txt"}), "outside_scratch"),
        (json!({"escape": "/etc/passwd"}), "outside_scratch"),
    ] {
        let run = bench.run("limits", inputs).await;
        assert_eq!(run.failure.unwrap().class, class);
    }
    let good = bench.run("limits", json!({"escape": "fine.txt"})).await;
    assert_eq!(good.state, RunState::Succeeded, "{:?}", good.failure);
    let logs = bench.engine.logs(good.id).await.unwrap();
    assert_eq!(
        logs.iter().map(|l| l.message.as_str()).collect::<Vec<_>>(),
        ["writing hello"]
    );
    assert_eq!(
        std::fs::read_dir(bench.folder.path().join("scratch"))
            .unwrap()
            .count(),
        0,
        "scratch folders are gone"
    );
    bench.finish().await;
}

const PLACES: &str = "name: places
max_parallel: 2
steps:
  a: { task: test.hold, foreach: '${{ [1, 2, 3] }}' }
  b: { task: test.hold, foreach: '${{ [1, 2, 3] }}' }
";

#[tokio::test(flavor = "multi_thread")]
async fn a_run_wide_limit_holds_over_all_its_steps() {
    let bench = Bench::new(&[PLACES]).await;
    let run = bench.submit("places", json!({})).await;
    for _ in 0..6 {
        bench.begun().await;
        bench.let_go();
    }
    assert_eq!(bench.wait(run).await.state, RunState::Succeeded);
    assert!(bench.signals.most.load(Ordering::SeqCst) <= 2);
    bench.finish().await;
}

const ONE_AT_A_TIME: &str = "name: single
inputs: { who: string }
concurrency: { key: '${{ inputs.who }}', limit: 1 }
steps:
  a: { task: test.hold }
";

#[tokio::test(flavor = "multi_thread")]
async fn runs_of_one_concurrency_key_wait_for_each_other() {
    let bench = Bench::new(&[ONE_AT_A_TIME]).await;
    let first = bench.submit("single", json!({"who": "me"})).await;
    bench.begun().await;
    let second = bench.submit("single", json!({"who": "me"})).await;
    let other = bench.submit("single", json!({"who": "you"})).await;
    bench.begun().await;
    assert!(
        !bench.engine.run(other).await.unwrap().queued,
        "another key does not wait"
    );
    let waiting = bench.engine.run(second).await.unwrap();
    assert_eq!((waiting.state, waiting.queued), (RunState::Pending, true));
    bench.engine.act(first, RunAction::Cancel).await.unwrap();
    bench.begun().await;
    bench.engine.act(second, RunAction::Cancel).await.unwrap();
    bench.engine.act(other, RunAction::Cancel).await.unwrap();
    bench.finish().await;
}

const LATE: &str = "name: late
timeout: 100ms
steps:
  a: { task: test.hold }
";

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_takes_too_long_fails() {
    let bench = Bench::with(&[LATE], |config| config.lease = Duration::from_millis(800)).await;
    let run = bench.run("late", json!({})).await;
    assert_eq!(run.failure.unwrap().class, "timeout");
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_inputs_name_the_field_and_submit_nothing() {
    let bench = Bench::new(&[CHAIN]).await;
    let refusal = bench
        .engine
        .submit(Submission::new("chain", json!({"word": 3})))
        .await
        .unwrap_err()
        .to_string();
    assert!(refusal.contains("word"), "{refusal}");
    let refusal = bench
        .engine
        .submit(Submission::new("chian", json!({})))
        .await
        .unwrap_err()
        .to_string();
    assert!(refusal.contains("did you mean `chain`"), "{refusal}");
    assert!(
        bench
            .engine
            .runs(&Default::default())
            .await
            .unwrap()
            .is_empty()
    );
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_has_one_worker_at_a_time() {
    let mut bench = Bench::new(&[CHAIN]).await;
    let queue = aquatint_engine::id::QueueName::new("default").unwrap();
    let config = || aquatint_engine::WorkerConfig::new([(queue.clone(), 1)]);
    let refusal = bench.engine.start_worker(config()).await.unwrap_err();
    assert!(refusal.to_string().contains("stop it first"), "{refusal}");
    bench.worker.take().unwrap().stop().await;
    bench.start_worker(1).await;
    bench.run("chain", json!({"word": "x"})).await;
    bench.finish().await;
}

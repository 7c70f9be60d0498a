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

const WIDE: &str = "name: wide
inputs: { items: integer, bytes: integer }
steps:
  each: { task: test.write, foreach: '${{ range(inputs.items) }}', with: { text: hello, bytes: '${{ inputs.bytes }}' } }
  count: { task: test.echo, with: { n: '${{ size(steps.each) }}' } }
  words: { task: test.echo, when: size(steps.each) > 1000, with: { n: '${{ steps.each.size() }}' } }
  all: { task: test.echo, on_failure: continue, with: { states: '${{ steps.each.map(r, r.status) }}' } }
outputs: { counted: '${{ steps.count.n }}', n: '${{ size(steps.each) }}', all: '${{ steps.all }}' }
";

#[tokio::test(flavor = "multi_thread")]
async fn large_results_of_a_mapped_step_can_be_counted_and_are_refused_where_they_are_read() {
    let mut bench = Bench::idle(&[WIDE], |_| {}).await;
    bench.start_worker(16).await;
    // 66 MiB.
    let run = bench
        .run("wide", json!({ "items": 350, "bytes": 198_000 }))
        .await;
    assert_eq!(run.state, RunState::Succeeded, "{:?}", run.failure);
    let outputs = run.output.unwrap();
    assert_eq!(outputs, json!({ "counted": 350, "n": 350, "all": null }));
    let all = bench.task(run.id, "all").await;
    let failure = all.error.unwrap();
    assert_eq!(failure.class, "results_too_large");
    for part in ["`each`", "350 results", "66.", "64 MiB", "size(steps.each)"] {
        assert!(failure.message.contains(part), "{}", failure.message);
    }
    // What fits is read, the same step of the same definition.
    let run = bench
        .run("wide", json!({ "items": 20, "bytes": 198_000 }))
        .await;
    let states = run.output.unwrap()["all"]["states"].clone();
    assert_eq!(states, json!(vec!["succeeded"; 20]));
    bench.finish().await;
}

const VERBOSE: &str = "name: verbose
inputs: { class: { type: string, default: test } }
steps:
  a: { task: test.fail, with: { verbose: 3000000, class: '${{ inputs.class }}' } }
";

#[tokio::test(flavor = "multi_thread")]
async fn what_an_attempt_says_is_kept_short() {
    let bench = Bench::new(&[VERBOSE]).await;
    let run = bench
        .run("verbose", json!({ "class": "c".repeat(5_000) }))
        .await;
    let failure = run.failure.unwrap();
    let left_out = |text: &str, most: usize| {
        assert!(text.len() < most + 40, "{} bytes", text.len());
        assert!(text.ends_with(" bytes more)"), "{text}");
    };
    left_out(&failure.message, aquatint_engine::task::MAX_MESSAGE_BYTES);
    left_out(&failure.class, 64);
    let task = bench.task(run.id, "a").await;
    left_out(
        &task.error.unwrap().message,
        aquatint_engine::task::MAX_MESSAGE_BYTES,
    );
    let logs = bench.engine.logs(run.id).await.unwrap();
    left_out(&logs[0].message, aquatint_engine::task::MAX_MESSAGE_BYTES);
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_concurrency_key_is_short_and_of_characters_that_every_database_holds() {
    let bench = Bench::new(&[ONE_AT_A_TIME]).await;
    for (who, why) in [("x".repeat(513), "513 bytes"), ("a\0b".to_owned(), "NUL")] {
        let submission = Submission::new("single", json!({ "who": who }));
        let refusal = bench.engine.submit(submission).await.unwrap_err();
        let told = format!("{refusal}");
        assert!(told.contains(why), "{told}");
    }
    let longest = bench
        .submit("single", json!({ "who": "x".repeat(512) }))
        .await;
    bench.begun().await;
    bench.engine.act(longest, RunAction::Cancel).await.unwrap();
    bench.finish().await;
}

const DEEP: &str = "name: deep
steps:
  a: { task: test.echo, with: { x: '${{ [1].map(a, [a])$LINKS }}' } }
";

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_read_again_is_not_stored() {
    let shallow = DEEP.replace("$LINKS", &".map(a, [a])".repeat(40));
    let chained = "name: chained
steps:
  a: { task: test.echo, with: { x: '${{ [1]$LINKS }}' } }
  b: { task: test.echo, with: { x: '${{ [steps.a]$LINKS }}' } }
  c: { task: test.echo, with: { x: '${{ [steps.b]$LINKS }}' } }
"
    .replace("$LINKS", &".map(a, [a])".repeat(40));
    let bench = Bench::new(&[&shallow, &chained]).await;
    assert_eq!(
        bench.run("deep", json!({})).await.state,
        RunState::Succeeded
    );
    let failure = bench.run("chained", json!({})).await.failure.unwrap();
    assert!(
        failure.message.contains("nests deeper than 96"),
        "{}",
        failure.message
    );
    bench.finish().await;
}

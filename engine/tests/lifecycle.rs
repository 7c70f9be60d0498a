//! A run's life, as its user sees it.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::sync::atomic::Ordering;
use std::time::Duration;

use aquatint_engine::{RunAction, RunState, Submission, TaskState};
use serde_json::json;
use support::Bench;

const CHAIN: &str = "name: chain
inputs:
  word: string
steps:
  a: { task: test.echo, with: { word: '${{ inputs.word }}' } }
  b: { task: test.echo, with: { word: '${{ steps.a.word }}b' } }
  c: { task: test.echo, with: { word: '${{ steps.b.word }}c' } }
outputs:
  word: ${{ steps.c.word }}
";

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_hands_results_on_and_evaluates_its_outputs() {
    let bench = Bench::new(&[CHAIN]).await;
    let run = bench.run("chain", json!({"word": "a"})).await;
    assert_eq!(run.state, RunState::Succeeded);
    assert_eq!(run.output, Some(json!({"word": "abc"})));
    assert_eq!(
        bench.story(run.id).await,
        [
            "run_submitted",
            "task_succeeded a",
            "task_succeeded b",
            "task_succeeded c",
            "run_succeeded"
        ]
    );
    bench.finish().await;
}

const DIAMOND: &str = "name: diamond
steps:
  a: { task: test.echo, with: { n: 1 } }
  b: { task: test.echo, with: { n: '${{ steps.a.n + 1 }}' } }
  c: { task: test.echo, with: { n: '${{ steps.a.n + 2 }}' } }
  d: { task: test.echo, with: { n: '${{ steps.b.n + steps.c.n }}' } }
outputs: { n: '${{ steps.d.n }}', first: '${{ steps.a.n }}' }
";

#[tokio::test(flavor = "multi_thread")]
async fn a_join_runs_once_with_all_its_inputs() {
    let bench = Bench::new(&[DIAMOND]).await;
    let run = bench.run("diamond", json!({})).await;
    assert_eq!(run.output, Some(json!({"n": 5, "first": 1})));
    assert_eq!(bench.signals.runs.load(Ordering::SeqCst), 4);
    bench.finish().await;
}

const BATCH: &str = "name: batch
inputs:
  items: { type: array }
steps:
  each: { task: test.fail, foreach: '${{ inputs.items }}', fail: tolerate, with: { when: '${{ item.bad }}', fatal: true } }
  all: { task: test.echo, with: { results: '${{ steps.each }}' } }
outputs:
  total: ${{ size(steps.all.results) }}
  good: ${{ size(steps.all.results.filter(r, r.status == 'succeeded')) }}
  order: ${{ steps.all.results.map(r, r.index) }}
";

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_item_does_not_sink_a_tolerant_batch_and_the_finalize_sees_every_result_in_order() {
    let bench = Bench::new(&[BATCH]).await;
    let items: Vec<_> = (0..50).map(|n| json!({"bad": n % 10 == 3})).collect();
    let run = bench.run("batch", json!({"items": items})).await;
    let order: Vec<_> = (0..50).collect();
    assert_eq!(run.state, RunState::Succeeded, "{:?}", run.failure);
    assert_eq!(
        run.output,
        Some(json!({"total": 50, "good": 45, "order": order}))
    );
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_batch_still_runs_its_finalize() {
    let bench = Bench::new(&[BATCH]).await;
    let run = bench.run("batch", json!({"items": []})).await;
    assert_eq!(
        run.output,
        Some(json!({"total": 0, "good": 0, "order": []}))
    );
    bench.finish().await;
}

const STRICT: &str = "name: strict
inputs: { items: { type: array } }
steps:
  each: { task: test.fail, foreach: '${{ inputs.items }}', max_parallel: 2, with: { when: '${{ item }}', fatal: true } }
  after: { task: test.echo, with: { results: '${{ steps.each }}' } }
";

#[tokio::test(flavor = "multi_thread")]
async fn a_strict_batch_fails_fast_and_cancels_the_rest() {
    let bench = Bench::new(&[STRICT]).await;
    let items: Vec<bool> = (0..200).map(|n| n == 5).collect();
    let run = bench.run("strict", json!({ "items": items })).await;
    assert_eq!(run.state, RunState::Failed);
    let failure = run.failure.unwrap();
    assert_eq!(
        (failure.step.unwrap().as_str(), failure.item),
        ("each", Some(5))
    );
    assert!(
        bench.signals.runs.load(Ordering::SeqCst) < 20,
        "the rest was cancelled"
    );
    assert_eq!(
        bench.task(run.id, "after").await.state,
        TaskState::Cancelled
    );
    bench.finish().await;
}

const LIMITED: &str = "name: limited
inputs: { n: integer }
steps:
  each: { task: test.hold, foreach: '${{ [1, 2, 3, 4, 5, 6, 7] }}', max_parallel: 3, with: { value: '${{ item }}' } }
outputs: { values: '${{ steps.each.map(r, r.output.value) }}' }
";

#[tokio::test(flavor = "multi_thread")]
async fn max_parallel_bounds_the_items_under_way() {
    let bench = Bench::new(&[LIMITED]).await;
    let run = bench.submit("limited", json!({"n": 1})).await;
    for _ in 0..7 {
        bench.begun().await;
        bench.let_go();
    }
    let run = bench.wait(run).await;
    assert_eq!(run.output, Some(json!({"values": [1, 2, 3, 4, 5, 6, 7]})));
    assert!(bench.signals.most.load(Ordering::SeqCst) <= 3);
    bench.finish().await;
}

const FLAKY: &str = "name: flaky
inputs: { until: { type: integer }, class: { type: string, default: test } }
steps:
  a: { task: test.fail, with: { until: '${{ inputs.until }}', class: '${{ inputs.class }}' }, retry: { attempts: 3, delay: 10ms, backoff: fixed, on: [test] } }
outputs: { attempt: '${{ steps.a.attempt }}' }
";

#[tokio::test(flavor = "multi_thread")]
async fn a_retryable_error_is_tried_again_and_the_last_try_is_final() {
    let bench = Bench::new(&[FLAKY]).await;
    let good = bench.run("flaky", json!({"until": 3})).await;
    assert_eq!(good.output, Some(json!({"attempt": 3})));
    let bad = bench.run("flaky", json!({"until": 4})).await;
    assert_eq!(bad.state, RunState::Failed);
    assert_eq!(
        bench.story(bad.id).await,
        [
            "run_submitted",
            "task_retrying a",
            "task_retrying a",
            "task_failed a",
            "run_failed"
        ]
    );
    assert_eq!(bench.engine.attempts(bad.id).await.unwrap().len(), 3);
    let other = bench
        .run("flaky", json!({"until": 2, "class": "other"}))
        .await;
    assert_eq!(
        other.state,
        RunState::Failed,
        "an error class that the policy does not name is not retried"
    );
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manual_retry_goes_on_from_the_failed_step() {
    let bench = Bench::new(&[FLAKY]).await;
    let run = bench.run("flaky", json!({"until": 5})).await;
    assert_eq!(run.state, RunState::Failed);
    assert_eq!(
        bench.engine.act(run.id, RunAction::Retry).await.unwrap(),
        RunState::Running
    );
    let run = bench.wait(run.id).await;
    assert_eq!((run.state, run.generation), (RunState::Succeeded, 1));
    assert_eq!(run.output, Some(json!({"attempt": 5})));
    bench.finish().await;
}

const PANICKY: &str = "name: panicky
steps:
  a: { task: test.fail, with: { panic: true } }
";

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_fails_its_attempt_and_not_the_worker() {
    let bench = Bench::new(&[PANICKY, CHAIN]).await;
    let run = bench.run("panicky", json!({})).await;
    let failure = run.failure.unwrap();
    assert_eq!(failure.class, "panic");
    assert!(
        failure.message.contains("told to panic"),
        "{}",
        failure.message
    );
    assert_eq!(
        bench.run("chain", json!({"word": "x"})).await.state,
        RunState::Succeeded
    );
    bench.finish().await;
}

const HELD: &str = "name: held
steps:
  a: { task: test.hold }
  b: { task: test.echo, needs: [a] }
";

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_stops_the_running_handler_and_frees_its_slot() {
    let mut bench = Bench::idle(&[HELD, CHAIN], |_| {}).await;
    bench.start_worker(1).await;
    let run = bench.submit("held", json!({})).await;
    bench.begun().await;
    assert_eq!(
        bench.engine.act(run, RunAction::Cancel).await.unwrap(),
        RunState::Cancelled
    );
    // The one slot is free again: another run can pass.
    assert_eq!(
        bench.run("chain", json!({"word": "x"})).await.state,
        RunState::Succeeded
    );
    assert_eq!(bench.signals.stopped.load(Ordering::SeqCst), 1);
    assert_eq!(bench.task(run, "b").await.state, TaskState::Cancelled);
    assert!(
        bench
            .engine
            .act(run, RunAction::Cancel)
            .await
            .unwrap_err()
            .to_string()
            .contains("cancelled")
    );
    bench.finish().await;
}

const DEAF: &str = "name: deaf
steps:
  a: { task: test.hold, with: { deaf: true }, timeout: 100ms }
";

#[tokio::test(flavor = "multi_thread")]
async fn the_hard_timeout_stops_a_handler_that_does_not_listen() {
    let bench = Bench::new(&[DEAF]).await;
    let run = bench.run("deaf", json!({})).await;
    assert_eq!(run.failure.unwrap().class, "timeout");
    assert_eq!(
        bench.signals.now.load(Ordering::SeqCst),
        0,
        "the handler was dropped"
    );
    bench.finish().await;
}

const SOFT: &str = "name: soft
steps:
  a: { task: test.hold, timeout: 20s, soft_timeout: 50ms }
outputs: { soft: '${{ steps.a.soft }}' }
";

#[tokio::test(flavor = "multi_thread")]
async fn the_soft_timeout_lets_a_handler_finish_early() {
    let bench = Bench::new(&[SOFT]).await;
    let run = bench.run("soft", json!({})).await;
    assert_eq!(run.output, Some(json!({"soft": true})));
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_run_starts_nothing_until_it_is_resumed() {
    let bench = Bench::new(&[HELD]).await;
    let run = bench.submit("held", json!({})).await;
    bench.begun().await;
    bench.engine.act(run, RunAction::Pause).await.unwrap();
    bench.let_go();
    while bench.task(run, "a").await.state != TaskState::Succeeded {
        bench.engine.changed(run).await;
    }
    let b = bench.task(run, "b").await;
    assert_eq!((b.state, b.held.any()), (TaskState::Ready, true));
    bench.engine.act(run, RunAction::Resume).await.unwrap();
    assert_eq!(bench.wait(run).await.state, RunState::Succeeded);
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shutting_down_gives_running_work_back_without_counting_it() {
    let mut bench = Bench::new(&[HELD]).await;
    let run = bench.submit("held", json!({})).await;
    bench.begun().await;
    bench.worker.take().unwrap().stop().await;
    let a = bench.task(run, "a").await;
    assert_eq!(a.state, TaskState::Ready);
    assert!(
        bench
            .story(run)
            .await
            .contains(&"task_released a".to_owned())
    );
    bench.start_worker(1).await;
    bench.begun().await;
    bench.let_go();
    assert_eq!(bench.wait(run).await.state, RunState::Succeeded);
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_key_gives_the_first_run_back_and_another_request_is_refused() {
    let bench = Bench::new(&[CHAIN]).await;
    let submit = |word: &str| {
        let mut submission = Submission::new("chain", json!({ "word": word }));
        submission.idempotency_key = Some("key-1".to_owned());
        bench.engine.submit(submission)
    };
    let first = submit("x").await.unwrap();
    let second = submit("x").await.unwrap();
    assert_eq!(
        (second.run, first.is_new, second.is_new),
        (first.run, true, false)
    );
    assert!(submit("y").await.unwrap_err().to_string().contains("key-1"));
    bench.wait(first.run).await;
    bench.finish().await;
}

const PARENT: &str = "name: parent
inputs: { words: { type: array } }
steps:
  sub: { workflow: chain, foreach: '${{ inputs.words }}', max_parallel: 2, with: { word: '${{ item }}' } }
  one: { workflow: chain, with: { word: '${{ steps.sub[0].output.word }}' } }
outputs: { words: '${{ steps.sub.map(s, s.output.word) }}', one: '${{ steps.one.word }}' }
";

#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_can_be_a_step_and_be_mapped() {
    let bench = Bench::new(&[PARENT, CHAIN]).await;
    let run = bench.run("parent", json!({"words": ["x", "y", "z"]})).await;
    assert_eq!(run.state, RunState::Succeeded, "{:?}", run.failure);
    assert_eq!(
        run.output,
        Some(json!({"words": ["xbc", "ybc", "zbc"], "one": "xbcbc"}))
    );
    bench.finish().await;
}

const OUTER: &str = "name: outer
steps:
  sub: { workflow: held }
";

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_a_parent_cancels_its_children() {
    let bench = Bench::new(&[OUTER, HELD]).await;
    let run = bench.submit("outer", json!({})).await;
    bench.begun().await;
    let child = bench.task(run, "sub").await.child.unwrap();
    bench.engine.act(run, RunAction::Cancel).await.unwrap();
    assert_eq!(bench.wait(child).await.state, RunState::Cancelled);
    bench.finish().await;
}

const SKIPS: &str = "name: skips
inputs: { go: { type: boolean } }
steps:
  maybe: { task: test.echo, when: inputs.go, with: { word: yes } }
  after: { task: test.echo, with: { word: '${{ steps.maybe == null ? \"none\" : steps.maybe.word }}' } }
outputs: { word: '${{ steps.after.word }}' }
";

#[tokio::test(flavor = "multi_thread")]
async fn when_skips_a_step_and_successors_see_null() {
    let bench = Bench::new(&[SKIPS]).await;
    assert_eq!(
        bench.run("skips", json!({"go": true})).await.output,
        Some(json!({"word": "yes"}))
    );
    let skipped = bench.run("skips", json!({"go": false})).await;
    assert_eq!(skipped.output, Some(json!({"word": "none"})));
    assert_eq!(
        bench.task(skipped.id, "maybe").await.state,
        TaskState::Skipped
    );
    bench.finish().await;
}

const FALLBACK: &str = "name: fallback
steps:
  bad: { task: test.fail, with: { fatal: true }, on_failure: skip }
  next: { task: test.echo, with: { x: '${{ steps.bad }}' } }
  side: { task: test.fail, with: { fatal: true }, on_failure: continue }
  last: { task: test.echo, with: { side: '${{ steps.side }}' } }
outputs: { last: '${{ steps.last }}', next: '${{ steps.next }}' }
";

#[tokio::test(flavor = "multi_thread")]
async fn a_tolerated_failure_skips_or_continues_as_its_step_says() {
    let bench = Bench::new(&[FALLBACK]).await;
    let run = bench.run("fallback", json!({})).await;
    assert_eq!(run.state, RunState::Succeeded, "{:?}", run.failure);
    assert_eq!(
        run.output,
        Some(json!({"last": {"side": null}, "next": null}))
    );
    assert_eq!(bench.task(run.id, "next").await.state, TaskState::Skipped);
    bench.finish().await;
}

const ALARM: &str = "name: alarm
steps:
  a: { task: test.fail, with: { fatal: true } }
  b: { task: test.echo, needs: [a] }
on_failure: { task: test.echo, with: { step: '${{ failure.step }}', why: '${{ failure.message }}' } }
";

#[tokio::test(flavor = "multi_thread")]
async fn the_last_word_of_a_failed_run_knows_why_it_failed() {
    let bench = Bench::new(&[ALARM]).await;
    let run = bench.run("alarm", json!({})).await;
    assert_eq!(run.state, RunState::Failed);
    assert_eq!(
        bench.task(run.id, "on_failure").await.output,
        Some(json!({"step": "a", "why": "told to fail"}))
    );
    assert_eq!(
        bench.story(run.id).await,
        [
            "run_submitted",
            "task_failed a",
            "task_succeeded on_failure",
            "run_failed"
        ]
    );
    bench.finish().await;
}

const CACHED: &str = "name: cached
inputs: { a: string, b: string }
steps:
  one: { task: test.write, cache: true, with: { text: '${{ inputs.a }}' } }
  two: { task: test.echo, cache: true, with: { file: '${{ steps.one.file }}', b: '${{ inputs.b }}' } }
outputs: { file: '${{ steps.two.file }}', b: '${{ steps.two.b }}' }
";

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_parameter_runs_only_what_depends_on_it() {
    let bench = Bench::new(&[CACHED]).await;
    let runs = || bench.signals.runs.load(Ordering::SeqCst);
    let first = bench.run("cached", json!({"a": "x", "b": "1"})).await;
    assert_eq!(runs(), 2);
    let same = bench.run("cached", json!({"a": "x", "b": "1"})).await;
    assert_eq!((runs(), &same.output), (2, &first.output));
    bench.run("cached", json!({"a": "x", "b": "2"})).await;
    assert_eq!(runs(), 3, "only the second step depends on b");
    let mut fresh = Submission::new("cached", json!({"a": "x", "b": "1"}));
    fresh.no_cache = true;
    let fresh = bench.engine.submit(fresh).await.unwrap().run;
    bench.wait(fresh).await;
    assert_eq!(runs(), 5);
    // The cached run refers to the file too, so it outlives the run that made it.
    bench.engine.delete(first.id).await.unwrap();
    bench
        .engine
        .clean(&aquatint_engine::engine::Upkeep::of(Duration::ZERO))
        .await
        .unwrap();
    assert_eq!(bench.engine.artifacts(same.id).await.unwrap().len(), 1);
    bench.finish().await;
}

const ONE_AT_A_TIME: &str = "name: turns
inputs: { n: { type: integer, default: 7 } }
concurrency: { key: '${{ string(inputs.n) }}', limit: 1 }
notify: [{ on: [failed], email: [kiln@example.org] }]
steps:
  a: { task: test.echo, with: { word: hi } }
";

/// Whoever submits is told of the run without another look; what they are told must be what is stored.
#[tokio::test(flavor = "multi_thread")]
async fn a_submit_answers_with_the_run_as_it_is_stored() {
    let bench = Bench::idle(&[CHAIN, ONE_AT_A_TIME], |_| {}).await;
    let plain = Submission::new("chain", json!({"word": "a"}));
    let turn = Submission {
        idempotency_key: Some("first".to_owned()),
        priority: -3,
        tags: vec!["red".to_owned(), "round".to_owned()],
        owner: Some("somebody".to_owned()),
        retention: Some(Duration::from_secs(3600)),
        ..Submission::new("turns", json!({}))
    };
    let next = Submission::new("turns", json!({}));
    let mut told = Vec::new();
    for submission in [plain, turn.clone(), next] {
        let submitted = bench.engine.submit(submission).await.unwrap();
        let stored = bench.engine.run(submitted.run).await.unwrap();
        let view = submitted.view().unwrap();
        assert_eq!(
            serde_json::to_value(&view).unwrap(),
            serde_json::to_value(&stored).unwrap()
        );
        told.push(view);
    }
    let queued: Vec<bool> = told.iter().map(|run| run.queued).collect();
    assert_eq!(queued, [false, false, true]);
    assert_eq!(told[1].inputs, Some(json!({"n": 7})));
    // One that was submitted before may be anywhere by now.
    let again = bench.engine.submit(turn).await.unwrap();
    assert_eq!((again.run, again.is_new), (told[1].id, false));
    assert!(again.view().is_none());
    bench.finish().await;
}

//! What a program puts around attempts: sees them in order, may change them, and never takes the worker with it.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aquatint_engine::id::QueueName;
use aquatint_engine::layer::{AttemptRequest, AttemptService, Ended, hooks};
use aquatint_engine::store::RunView;
use aquatint_engine::{RunState, TaskError, TaskState, WorkerConfig};
use serde_json::{Value, json};
use support::Bench;
use tower::{BoxError, Layer, ServiceExt as _, layer::layer_fn};

const ECHO: &str = "name: echo
inputs: { value: { default: 1 }, cached: { type: boolean, default: false } }
steps:
  a: { task: test.echo, with: { value: '${{ inputs.value }}' } }
outputs: { value: '${{ steps.a }}' }
";

const FAIL: &str = "name: fail
inputs:
  until: { type: integer, default: 9 }
  fatal: { type: boolean, default: false }
  panic: { type: boolean, default: false }
  class: { type: string, default: test }
  wait: { type: [integer, 'null'], default: null }
steps:
  a:
    task: test.fail
    retry: { attempts: 3, delay: 10ms, backoff: linear, jitter: false, on: [test, panic] }
    with: { until: '${{ inputs.until }}', fatal: '${{ inputs.fatal }}', panic: '${{ inputs.panic }}', class: '${{ inputs.class }}', retry_after_ms: '${{ inputs.wait }}' }
";

const HELD: &str = "name: held
steps:
  a: { task: test.hold, timeout: 200ms, retry: { attempts: 2, delay: 1ms, jitter: true } }
";

fn config() -> WorkerConfig {
    let mut config = WorkerConfig::new([(QueueName::new("default").unwrap(), 2)]);
    config.shutdown_grace = Duration::ZERO;
    config
}

/// What was seen, in order.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<String>>>);

impl Seen {
    fn note(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// A layer made of a function: gets the request and what is within.
fn around<F, Fut>(
    f: F,
) -> impl Layer<
    AttemptService,
    Service = impl tower::Service<
        AttemptRequest,
        Response = Value,
        Error = TaskError,
        Future = impl Future<Output = Result<Value, TaskError>> + Send + 'static,
    > + Clone
              + Send
              + Sync
              + 'static,
> + Send
+ Sync
+ 'static
where
    F: Fn(AttemptService, AttemptRequest) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<Value, TaskError>> + Send + 'static,
{
    layer_fn(move |inner: AttemptService| {
        let f = f.clone();
        tower::service_fn(move |request| f(inner.clone(), request))
    })
}

async fn bench(definitions: &[&str], config: WorkerConfig) -> Bench {
    let mut bench = Bench::idle(definitions, |_| {}).await;
    bench.worker = Some(bench.engine.start_worker(config).await.unwrap());
    bench
}

fn why(run: &RunView) -> (String, String) {
    let failure = run.failure.as_ref().unwrap();
    (failure.class.clone(), failure.message.clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_layer_sees_the_request_first_and_the_answer_last() {
    let seen = Seen::default();
    let noted = |name: &'static str, add: i64| {
        let seen = seen.clone();
        around(move |inner, mut request| {
            let seen = seen.clone();
            async move {
                let input = request.input["value"].as_i64().unwrap();
                seen.note(format!("{name} asks with {input}"));
                request.input["value"] = json!(input * 10 + add);
                let mut answer = inner.oneshot(request).await?;
                let output = answer["value"].as_i64().unwrap();
                seen.note(format!("{name} hears {output}"));
                answer["value"] = json!(output * 10 + add);
                Ok(answer)
            }
        })
    };
    let bench = bench(
        &[ECHO],
        config().layer(noted("one", 1)).layer(noted("two", 2)),
    )
    .await;
    let run = bench.run("echo", json!({ "value": 7 })).await;
    assert_eq!(
        seen.take(),
        [
            "one asks with 7",
            "two asks with 71",
            "two hears 712",
            "one hears 7122"
        ]
    );
    // What comes out in the end is what is stored, and what the run says.
    assert_eq!(run.output.unwrap(), json!({ "value": { "value": 71221 } }));
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_says_which_attempt_of_what_it_is() {
    let seen = Seen::default();
    let ear = seen.clone();
    let hooks = hooks().on_start(move |attempt, input| {
        let item = attempt.item();
        ear.note(format!(
            "{} {} {item:?} {} {} {} {} {input}",
            attempt.workflow(),
            attempt.step(),
            attempt.task(),
            attempt.queue(),
            attempt.number(),
            attempt.tries_left(),
        ));
        assert_eq!(attempt.run(), attempt.ctx().info().run);
    });
    let mapped = "name: mapped
steps:
  a: { task: test.echo, foreach: '${{ [5] }}', with: { value: '${{ item }}' }, retry: { attempts: 4 } }
";
    let bench = bench(&[mapped], config().layer(hooks)).await;
    bench.run("mapped", json!({})).await;
    assert_eq!(
        seen.take(),
        ["mapped a Some(0) test.echo default 1 3 {\"value\":5}"]
    );
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_refuses_fails_the_attempt_with_its_error() {
    let refuse = around(|_, _| async { Err(TaskError::fatal("closed", "not on a Sunday")) });
    let bench = bench(&[ECHO], config().layer(refuse)).await;
    let run = bench.run("echo", json!({})).await;
    assert_eq!(run.state, RunState::Failed);
    assert_eq!(
        why(&run),
        ("closed".to_owned(), "not on a Sunday".to_owned())
    );
    assert_eq!(
        bench.signals.runs.load(Ordering::SeqCst),
        0,
        "the task's code was not asked"
    );
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_of_tower_itself_will_do() {
    let bench = bench(
        &[ECHO, HELD],
        config()
            .layer(tower::timeout::TimeoutLayer::new(Duration::from_millis(50)))
            .layer(tower::limit::GlobalConcurrencyLimitLayer::new(1)),
    )
    .await;
    let run = bench.run("echo", json!({ "value": 7 })).await;
    assert_eq!(run.state, RunState::Succeeded);
    let run = bench.run("held", json!({})).await;
    let (class, message) = why(&run);
    assert!(
        class == "layer" && message.contains("timed out"),
        "{class}: {message}"
    );
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_ours_is_known_again_behind_a_layer_that_boxes_it() {
    let boxed = layer_fn(|inner: AttemptService| inner.map_err(BoxError::from));
    let bench = bench(&[FAIL], config().layer(boxed)).await;
    let run = bench
        .run("fail", json!({ "fatal": true, "class": "special" }))
        .await;
    assert_eq!(why(&run), ("special".to_owned(), "told to fail".to_owned()));
    bench.finish().await;
}

fn telling(seen: &Seen) -> WorkerConfig {
    let ear = || seen.clone();
    let (start, success, failure, retry, end) = (ear(), ear(), ear(), ear(), ear());
    config().layer(
        hooks()
            .on_start(move |attempt, _| start.note(format!("start {}", attempt.number())))
            .on_success(move |_, output| success.note(format!("success {output}")))
            .on_failure(move |_, error| failure.note(format!("failure {}", error.class)))
            .on_retry(move |attempt, error, delay| {
                let left = attempt.tries_left();
                retry.note(format!("retry {} in {delay:?}, {left} left", error.class));
            })
            .on_end(move |_, ended, took| {
                assert!(took < Duration::from_secs(30));
                end.note(format!("end {ended:?}"));
            }),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn hooks_tell_a_failure_that_is_tried_again_from_one_that_is_not() {
    let seen = Seen::default();
    let bench = bench(&[FAIL], telling(&seen)).await;
    bench.run("fail", json!({ "until": 3 })).await;
    assert_eq!(
        seen.take(),
        [
            "start 1",
            "retry test in Some(10ms), 2 left",
            "end WillRetry",
            "start 2",
            "retry test in Some(20ms), 1 left",
            "end WillRetry",
            "start 3",
            "success {\"attempt\":3}",
            "end Succeeded"
        ]
    );
    bench.run("fail", json!({})).await;
    let told = seen.take();
    assert_eq!(
        told[6..],
        ["start 3", "failure test", "end Failed"],
        "its tries are spent"
    );
    for (inputs, class) in [
        (json!({ "fatal": true }), "test"),
        (json!({ "class": "other" }), "other"),
    ] {
        bench.run("fail", inputs).await;
        assert_eq!(
            seen.take(),
            ["start 1", &format!("failure {class}"), "end Failed"]
        );
    }
    bench.run("fail", json!({ "until": 2, "wait": 15 })).await;
    assert_eq!(
        seen.take()[1],
        "retry test in Some(15ms), 2 left",
        "the service's wish counts"
    );
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hooks_hear_of_panics_and_the_attempt_fails_by_them() {
    let seen = Seen::default();
    let bench = bench(&[FAIL], telling(&seen)).await;
    let run = bench.run("fail", json!({ "panic": true })).await;
    let told = seen.take();
    assert_eq!(
        told[..3],
        [
            "start 1",
            "retry panic in Some(10ms), 2 left",
            "end WillRetry"
        ]
    );
    assert_eq!(told[6..], ["start 3", "failure panic", "end Failed"]);
    let (class, message) = why(&run);
    assert_eq!(
        (class.as_str(), message.as_str()),
        ("panic", "task `test.fail` panicked: told to panic")
    );
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_a_layer_is_the_attempts_and_not_the_workers() {
    let panics = around(|inner, request| {
        assert!(request.input["value"] != json!("call"), "in the call");
        async move {
            assert!(request.input["value"] != json!("future"), "in the future");
            inner.oneshot(request).await
        }
    });
    let hooks = hooks()
        .on_start(|_, input| assert!(input["value"] != json!("start"), "in a hook"))
        .on_success(|_, output| assert!(output["value"] != json!("success"), "in a hook"))
        .on_end(|_, ended, _| assert!(ended != Ended::Dropped, "twice"));
    let bench = bench(&[ECHO], config().layer(hooks).layer(panics)).await;
    for value in ["call", "future", "start", "success"] {
        let run = bench.run("echo", json!({ "value": value })).await;
        let (class, message) = why(&run);
        assert!(
            class == "panic" && message.contains(": in "),
            "{value}: {message}"
        );
    }
    let run = bench.run("echo", json!({ "value": "well" })).await;
    assert_eq!(run.state, RunState::Succeeded, "the worker goes on");
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_dropped_in_the_middle_has_an_end_too() {
    let seen = Seen::default();
    let deaf = HELD.replace("test.hold,", "test.hold, with: { deaf: true },");
    let bench = bench(&[&deaf], telling(&seen)).await;
    let run = bench.run("held", json!({})).await;
    assert_eq!(why(&run).0, "timeout");
    assert_eq!(
        seen.take(),
        ["start 1", "end Dropped", "start 2", "end Dropped"]
    );
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_was_given_back_costs_no_try() {
    let seen = Seen::default();
    let mut bench = bench(&[HELD], telling(&seen)).await;
    let run = bench.submit("held", json!({})).await;
    bench.begun().await;
    bench.worker.take().unwrap().stop().await;
    assert_eq!(bench.task(run, "a").await.state, TaskState::Ready);
    assert_eq!(seen.take(), ["start 1", "end Stopped"]);
    let left = Seen::default();
    let ear = left.clone();
    let count =
        hooks().on_start(move |a, _| ear.note(format!("{}: {}", a.number(), a.tries_left())));
    bench.worker = Some(
        bench
            .engine
            .start_worker(config().layer(count))
            .await
            .unwrap(),
    );
    bench.begun().await;
    bench.let_go();
    assert_eq!(bench.wait(run).await.state, RunState::Succeeded);
    assert_eq!(left.take(), ["2: 1"]);
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_known_already_passes_no_layer() {
    let seen = Seen::default();
    let cached =
        "name: cached\nsteps:\n  a: { task: test.echo, cache: true, with: { value: 1 } }\n";
    let bench = bench(&[cached], telling(&seen)).await;
    bench.run("cached", json!({})).await;
    assert_eq!(seen.take().len(), 3);
    assert_eq!(
        bench.run("cached", json!({})).await.state,
        RunState::Succeeded
    );
    assert!(seen.take().is_empty());
    bench.finish().await;
}

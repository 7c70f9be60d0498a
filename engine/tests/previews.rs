//! What people see of a result that is being made.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::time::{Duration, Instant};

use aquatint_engine::RunState;
use aquatint_engine::artifact::Artifact;
use aquatint_engine::id::RunId;
use aquatint_engine::task::MAX_PREVIEW_BYTES;
use serde_json::json;
use support::Bench;

const SHOW: &str = "name: show
inputs: { pictures: { type: array } }
steps:
  a: { task: test.show, with: { pictures: '${{ inputs.pictures }}' } }
";

/// The preview of a run's only task, once it is another than `known`.
async fn preview(bench: &Bench, run: RunId, known: Option<&Artifact>) -> Artifact {
    let begun = Instant::now();
    loop {
        let said = bench.engine.progress(run).await.unwrap();
        let shown = said.into_iter().find_map(|(.., progress)| progress.preview);
        if let Some(shown) = shown.filter(|shown| Some(shown) != known) {
            return shown;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "nothing is shown"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn content(bench: &Bench, artifact: &Artifact) -> Option<String> {
    let path = bench.engine.artifact_path(artifact).unwrap();
    std::fs::read_to_string(path).ok()
}

/// Removes what nobody names, however young.
async fn clean(bench: &Bench) {
    let all = aquatint_engine::engine::Upkeep::of(Duration::ZERO);
    bench.engine.clean(&all).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_is_there_until_the_next_one_and_until_the_attempt_ends() {
    let bench = Bench::new(&[SHOW]).await;
    let run = bench
        .submit("show", json!({ "pictures": ["sky", "land"] }))
        .await;
    let sky = preview(&bench, run, None).await;
    clean(&bench).await;
    assert_eq!(content(&bench, &sky).as_deref(), Some("sky"));
    let found = bench.engine.artifact(run, &sky.digest).await.unwrap();
    assert_eq!(found.as_ref(), Some(&sky), "it is one of the run's files");
    let listed = bench.engine.artifacts(run).await.unwrap();
    assert_eq!(listed.len(), 0, "but no result");

    bench.signals.go.add_permits(1);
    let land = preview(&bench, run, Some(&sky)).await;
    let said = bench.engine.progress(run).await.unwrap().remove(0).2;
    assert_eq!((said.fraction, said.message.as_str()), (0.5, "half"));
    clean(&bench).await;
    assert_eq!(content(&bench, &sky), None);
    assert_eq!(content(&bench, &land).as_deref(), Some("land"));

    bench.signals.go.add_permits(1);
    assert_eq!(bench.wait(run).await.state, RunState::Succeeded);
    let found = bench.engine.artifact(run, &land.digest).await.unwrap();
    assert_eq!(found, None, "what is done shows itself");
    clean(&bench).await;
    assert_eq!(content(&bench, &land), None, "nothing stays behind");
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_that_is_too_large_fails_its_attempt_and_says_so() {
    let bench = Bench::new(&[SHOW]).await;
    let large = "x".repeat(MAX_PREVIEW_BYTES + 1);
    let run = bench.run("show", json!({ "pictures": [large] })).await;
    assert_eq!(run.state, RunState::Failed);
    let failure = run.failure.unwrap();
    assert_eq!(failure.class, "preview_too_large");
    assert!(
        failure.message.contains("65536 are the most"),
        "{failure:?}"
    );
    bench.finish().await;
}

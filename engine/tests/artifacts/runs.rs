//! Whole runs whose files lie in a bucket.

use std::sync::Arc;
use std::time::Duration;

use aquatint_engine::{RunState, artifact::Location};
use serde_json::json;

use crate::service::Service;
use crate::support::Bench;

const WRITE: &str = "name: write
inputs: { text: string }
steps:
  a: { task: test.write, with: { text: '${{ inputs.text }}' } }
";

const PATIENT: &str = "name: patient
inputs: { text: string }
defaults: { retry: { attempts: 20, backoff: fixed, delay: 100ms, jitter: false } }
steps:
  a: { task: test.write, with: { text: '${{ inputs.text }}' } }
";

const CACHED: &str = "name: cached
inputs: { text: string }
steps:
  a: { task: test.write, cache: true, with: { text: '${{ inputs.text }}' } }
";

async fn bench(service: &Service, definitions: &[&str]) -> Bench {
    let place = service.place("s3://pictures/runs");
    Bench::with(definitions, |config| config.artifacts = place).await
}

fn objects(service: &Service) -> usize {
    let Ok(shelves) = std::fs::read_dir(service.bucket().join("runs")) else {
        return 0;
    };
    shelves
        .flat_map(|shelf| std::fs::read_dir(shelf.unwrap().path()).unwrap())
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_stores_in_the_bucket_and_check_and_clean_look_there() {
    let service = Service::start().await;
    let bench = bench(&service, &[WRITE]).await;
    let mine = bench.run("write", json!({ "text": "mine" })).await;
    let keeper = bench.run("write", json!({ "text": "kept" })).await;
    assert_eq!((mine.state, objects(&service)), (RunState::Succeeded, 2));
    let files = bench.engine.artifacts(mine.id).await.unwrap();
    let location = bench.engine.artifact_location(&files[0].artifact).unwrap();
    assert!(matches!(&location, Location::Url(url) if url.starts_with("s3://pictures/runs/")));
    bench.engine.delete(mine.id).await.unwrap();
    bench
        .engine
        .clean(&aquatint_engine::engine::Upkeep::of(Duration::ZERO))
        .await
        .unwrap();
    assert_eq!(objects(&service), 1);
    assert!(bench.engine.check().await.unwrap().is_clean());
    let kept = &bench.engine.artifacts(keeper.id).await.unwrap()[0].artifact;
    let path = format!("runs/{}/{}.txt", &kept.digest[..2], kept.digest);
    let path = service.bucket().join(path);
    let content = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let report = bench.engine.check().await.unwrap();
    assert!(report.missing[0].contains(&kept.digest), "{report:?}");
    std::fs::write(&path, content).unwrap();
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_waits_out_a_service_that_is_down() {
    let mut service = Service::start().await;
    let bench = bench(&service, &[PATIENT]).await;
    service.stop().await;
    let run = bench.submit("patient", json!({ "text": "later" })).await;
    while bench.engine.attempts(run).await.unwrap().is_empty() {
        bench.engine.changed(run).await;
    }
    let attempts = bench.engine.attempts(run).await.unwrap();
    let error = attempts[0].error.as_ref().unwrap();
    assert_eq!(error.class, "artifact_store");
    assert!(
        error.message.contains("cannot be reached"),
        "{}",
        error.message
    );
    service.start_again().await;
    assert_eq!(bench.wait(run).await.state, RunState::Succeeded);
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_worker_stored_and_never_named_is_swept() {
    let service = Service::start().await;
    let mut bench = bench(&service, &[WRITE]).await;
    let run = bench
        .engine
        .submit(aquatint_engine::Submission::new(
            "write",
            json!({ "text": "x" }),
        ))
        .await
        .unwrap()
        .run;
    assert_eq!(bench.wait(run).await.state, RunState::Succeeded);
    let orphan = {
        let place = service.place("s3://pictures/runs");
        let data = tempfile::tempdir().unwrap();
        let store = aquatint_engine::artifact::ArtifactStore::open_at(&place, data.path())
            .await
            .unwrap();
        tokio::task::block_in_place(|| store.put("o", "text/plain", b"stored, then killed"))
            .unwrap()
    };
    assert_eq!(objects(&service), 2);
    bench.worker.take().unwrap().stop().await;
    bench.engine.close().await;
    let place = service.place("s3://pictures/runs");
    let again = Bench::over(Arc::clone(&bench.folder), &[WRITE], |c| c.artifacts = place).await;
    again
        .engine
        .clean(&aquatint_engine::engine::Upkeep::of(Duration::from_hours(
            1,
        )))
        .await
        .unwrap();
    assert_eq!(objects(&service), 2, "a step may be about to name it");
    assert_eq!(
        again
            .engine
            .clean(&aquatint_engine::engine::Upkeep::of(Duration::ZERO))
            .await
            .unwrap()
            .file_bytes,
        orphan.size_bytes
    );
    assert_eq!(objects(&service), 1);
    again.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_result_counts_only_while_its_file_is_in_the_bucket() {
    let service = Service::start().await;
    let bench = bench(&service, &[CACHED]).await;
    let first = bench.run("cached", json!({ "text": "same" })).await;
    let again = bench.run("cached", json!({ "text": "same" })).await;
    assert!(bench.task(again.id, "a").await.cached);
    assert_eq!(first.output, again.output);
    for run in [first.id, again.id] {
        bench.engine.delete(run).await.unwrap();
    }
    bench
        .engine
        .clean(&aquatint_engine::engine::Upkeep::of(Duration::ZERO))
        .await
        .unwrap();
    assert_eq!(objects(&service), 0);
    let anew = bench.run("cached", json!({ "text": "same" })).await;
    assert!(!bench.task(anew.id, "a").await.cached);
    assert_eq!(objects(&service), 1);
    bench.finish().await;
}

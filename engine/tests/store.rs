//! What the database promises, seen through the engine's door.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aquatint_engine::{Engine, EngineConfig, RunAction, RunFilter, RunState, Submission};
use futures_util::future::join_all;
use serde_json::json;
use sqlx::{ConnectOptions as _, Connection as _};
use support::{Bench, library};

const CHAIN: &str = "name: chain
inputs: { n: { type: integer, default: 0 } }
steps:
  a: { task: test.echo, with: { n: '${{ inputs.n }}' } }
  b: { task: test.echo, with: { n: '${{ steps.a.n + 1 }}' } }
  c: { task: test.echo, with: { n: '${{ steps.b.n + 1 }}' } }
outputs: { n: '${{ steps.c.n }}' }
";

const BAD: &str = "name: bad\nsteps:\n  a: { task: test.fail, with: { fatal: true } }\n";

async fn other_connection(bench: &Bench) -> sqlx::sqlite::SqliteConnection {
    let path = bench.folder.path().join("aquatint.db");
    sqlx::sqlite::SqliteConnectOptions::new()
        .filename(path)
        .disable_statement_logging()
        .connect()
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_share_five_hundred_runs_and_nothing_runs_twice() {
    let one = Bench::new(&[CHAIN]).await;
    let mut two = Bench::over(Arc::clone(&one.folder), &[CHAIN], |_| {}).await;
    two.start_worker(8).await;
    let submits = (0..500_i64).map(|n| {
        let engine = if n % 2 == 0 { &one.engine } else { &two.engine };
        engine.submit(Submission::new("chain", json!({ "n": n })))
    });
    let runs: Vec<_> = join_all(submits)
        .await
        .into_iter()
        .map(|s| s.unwrap().run)
        .collect();
    for (n, run) in runs.iter().enumerate() {
        let view = two.wait(*run).await;
        assert_eq!(
            (view.state, view.output),
            (RunState::Succeeded, Some(json!({ "n": n + 2 })))
        );
    }
    let shares = [
        one.signals.runs.load(Ordering::SeqCst),
        two.signals.runs.load(Ordering::SeqCst),
    ];
    assert_eq!(
        shares.iter().sum::<usize>(),
        1_500,
        "each of 1,500 tasks ran once: {shares:?}"
    );
    assert!(
        shares.iter().all(|share| *share > 0),
        "both did some of the work: {shares:?}"
    );
    two.finish().await;
    one.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_submits_of_one_key_at_once_are_one_run() {
    let bench = Bench::new(&[CHAIN]).await;
    let answers = join_all((0..100).map(|_| {
        let mut submission = Submission::new("chain", json!({}));
        submission.idempotency_key = Some("once".to_owned());
        bench.engine.submit(submission)
    }))
    .await;
    let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
    assert_eq!(answers.iter().filter(|a| a.is_new).count(), 1);
    assert_eq!(
        answers.iter().map(|a| a.run).collect::<HashSet<_>>().len(),
        1
    );
    bench.wait(answers[0].run).await;
    assert_eq!(bench.signals.runs.load(Ordering::SeqCst), 3);
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_are_listed_newest_first_and_found_by_state_workflow_and_page() {
    let bench = Bench::new(&[CHAIN, BAD]).await;
    let mut runs = Vec::new();
    for n in 0..12 {
        let mut submission = Submission::new(if n % 3 == 0 { "bad" } else { "chain" }, json!({}));
        submission.priority = n;
        submission.tags = vec![format!("n{n}"), "all".to_owned()];
        runs.push(bench.engine.submit(submission).await.unwrap().run);
    }
    for run in &runs {
        bench.wait(*run).await;
    }
    runs.reverse();
    let ids = async |filter: RunFilter| -> Vec<_> {
        bench
            .engine
            .runs(&filter)
            .await
            .unwrap()
            .iter()
            .map(|r| r.id)
            .collect()
    };
    assert_eq!(ids(RunFilter::default()).await, runs);
    assert_eq!(
        ids(RunFilter {
            limit: 5,
            ..RunFilter::default()
        })
        .await,
        runs[..5]
    );
    assert_eq!(
        ids(RunFilter {
            before: Some(runs[4]),
            limit: 5,
            ..RunFilter::default()
        })
        .await,
        runs[5..10]
    );
    let failed = ids(RunFilter {
        states: vec![RunState::Failed],
        ..RunFilter::default()
    })
    .await;
    let bad = ids(RunFilter {
        workflow: Some("bad".parse().unwrap()),
        ..RunFilter::default()
    })
    .await;
    assert_eq!((failed.len(), &failed), (4, &bad));
    assert!(
        ids(RunFilter {
            states: vec![RunState::Running],
            ..RunFilter::default()
        })
        .await
        .is_empty()
    );
    let view = bench.engine.run(runs[0]).await.unwrap();
    assert_eq!(
        (view.priority, view.tags.as_slice()),
        (11, ["n11".to_owned(), "all".to_owned()].as_slice())
    );

    assert_eq!(bench.engine.find("@latest").await.unwrap(), runs[0]);
    assert_eq!(
        bench
            .engine
            .find(&runs[3].to_string().to_uppercase())
            .await
            .unwrap(),
        runs[3]
    );
    assert!(
        bench
            .engine
            .find(&runs[3].to_string()[..4])
            .await
            .unwrap_err()
            .to_string()
            .contains("more than one")
    );
    assert!(
        bench
            .engine
            .find("zzzz")
            .await
            .unwrap_err()
            .to_string()
            .contains("no run `zzzz`")
    );
    let counts = bench.engine.counts().await.unwrap();
    assert_eq!(counts, [(RunState::Failed, 4), (RunState::Succeeded, 8)]);
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_submitted_while_another_process_holds_the_database_waits_and_is_not_lost() {
    let bench = Bench::new(&[CHAIN]).await;
    bench.run("chain", json!({})).await;
    let mut other = other_connection(&bench).await;
    let lock = other.begin_with("begin immediate").await.unwrap();
    let submits = join_all((0..50).map(|n| {
        bench
            .engine
            .submit(Submission::new("chain", json!({ "n": n })))
    }));
    let (submitted, ()) = tokio::join!(submits, async {
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        lock.rollback().await.unwrap();
    });
    for submitted in submitted {
        assert_eq!(
            bench.wait(submitted.unwrap().run).await.state,
            RunState::Succeeded
        );
    }
    assert_eq!(bench.signals.runs.load(Ordering::SeqCst), 3 * 51);
    bench.finish().await;
}

const WRITE: &str = "name: write
inputs: { text: string }
steps:
  a: { task: test.write, with: { text: '${{ inputs.text }}' } }
";

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_run_is_gone_with_its_files_unless_another_names_them() {
    let bench = Bench::new(&[WRITE]).await;
    let files = || {
        std::fs::read_dir(bench.folder.path().join("artifacts"))
            .unwrap()
            .flat_map(|d| std::fs::read_dir(d.unwrap().path()).unwrap())
            .filter(|f| f.as_ref().unwrap().file_name() != ".lock")
            .count()
    };
    let mine = bench.run("write", json!({ "text": "mine" })).await.id;
    let shared = bench.run("write", json!({ "text": "shared" })).await.id;
    let keeper = bench.run("write", json!({ "text": "shared" })).await.id;
    assert_eq!(files(), 2, "the same bytes are stored once");
    for run in [mine, shared] {
        bench.engine.delete(run).await.unwrap();
        assert!(
            bench
                .engine
                .run(run)
                .await
                .unwrap_err()
                .to_string()
                .contains("no run")
        );
        assert!(bench.engine.events(run, 0).await.unwrap().is_empty());
        assert!(bench.engine.delete(run).await.is_err());
    }
    bench
        .engine
        .clean(&aquatint_engine::engine::Upkeep::of(Duration::ZERO))
        .await
        .unwrap();
    assert_eq!(
        (files(), bench.engine.artifacts(keeper).await.unwrap().len()),
        (1, 1)
    );
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_has_not_ended_cannot_be_deleted() {
    let bench = Bench::idle(&[CHAIN], |_| {}).await;
    let run = bench.submit("chain", json!({})).await;
    assert!(
        bench
            .engine
            .delete(run)
            .await
            .unwrap_err()
            .to_string()
            .contains("finished run")
    );
    bench.engine.act(run, RunAction::Cancel).await.unwrap();
    bench.engine.delete(run).await.unwrap();
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_cannot_serve_is_refused_in_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let foreign = folder.path().join("foreign");
    std::fs::create_dir(&foreign).unwrap();
    std::fs::write(foreign.join("aquatint.db"), "no database ".repeat(1_000)).unwrap();
    for (data_dir, word) in [
        (file, "another data directory"),
        (foreign, "not a database"),
        ("/proc/nowhere".into(), "another data directory"),
    ] {
        let opened =
            Engine::open(EngineConfig::new(&data_dir), library(&Arc::default(), &[])).await;
        let said = opened.expect_err("it cannot serve").to_string();
        assert!(
            said.contains(word) && said.contains(data_dir.to_str().unwrap()),
            "{said}"
        );
    }
}

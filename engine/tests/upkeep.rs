//! Keeping house: what may go goes, and what somebody needs stays.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::time::Duration;

use aquatint_engine::alert::{Alerts, Rule, Severity, When};
use aquatint_engine::engine::Upkeep;
use aquatint_engine::health::{Limits, Overall, Status};
use aquatint_engine::{RunAction, RunFilter, Submission};
use proptest::prelude::*;
use serde_json::json;
use support::Bench;

const WRITE: &str = "name: write\ninputs:\n  text: string\nsteps:\n  w: { task: test.write, with: { text: \"${{ inputs.text }}\" } }\noutputs: { file: \"${{ steps.w.file }}\" }\n";
const SHORT: &str = "name: short\nretention: 1h\ninputs:\n  text: string\nsteps:\n  w: { task: test.write, with: { text: \"${{ inputs.text }}\" } }\noutputs: { file: \"${{ steps.w.file }}\" }\n";
/// Alone, it would be gone at once.
const BRIEF: &str = "name: brief\nretention: 1ms\ninputs:\n  text: string\nsteps:\n  w: { task: test.write, with: { text: \"${{ inputs.text }}\" } }\noutputs: { file: \"${{ steps.w.file }}\" }\n";
/// Its result names the file of such a run.
const OVER: &str = "name: over\ninputs:\n  text: string\nsteps:\n  s: { workflow: brief, with: { text: \"${{ inputs.text }}\" } }\noutputs: { file: \"${{ steps.s.file }}\" }\n";
const HOLD: &str = "name: hold\ninputs:\n  text: string\nsteps:\n  w: { task: test.write, with: { text: \"${{ inputs.text }}\" } }\n  h: { task: test.hold, needs: [w] }\n";

const HOUR: Duration = Duration::from_secs(3_600);

/// Waits out what a run's own retention says, without waiting: it was submitted with none to speak of.
async fn expired(bench: &Bench, text: &str) -> aquatint_engine::id::RunId {
    let submission = Submission {
        retention: Some(Duration::ZERO),
        ..Submission::new("write", json!({ "text": text }))
    };
    let run = bench.engine.submit(submission).await.unwrap().run;
    bench.wait(run).await;
    run
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Kept,
    Expired,
    Over,
    Held,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12 * ProptestConfig::default().cases / 256, max_shrink_iters: 20, ..ProptestConfig::default() })]

    /// Whatever lies about, and however eagerly it is cleaned: what is under way, and every result that
    /// nobody gave up, is whole afterwards, with its files; what has expired is gone.
    #[test]
    fn nothing_that_somebody_needs_is_deleted(
        kinds in prop::collection::vec(prop::sample::select(vec![Kind::Kept, Kind::Expired, Kind::Over, Kind::Held]), 1..10),
        shared in any::<bool>(),
        journals in any::<bool>(),
        times in 1_usize..3,
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let mut bench = Bench::idle(&[WRITE, BRIEF, OVER, HOLD], |_| {}).await;
            bench.start_worker(16).await;
            let mut runs = Vec::new();
            for (n, kind) in kinds.iter().enumerate() {
                // The same text is the same file: deleted with one run, it is still needed by the other.
                let text = if shared { "the same".to_owned() } else { format!("text {n}") };
                let inputs = json!({ "text": text });
                let run = match kind {
                    Kind::Expired => expired(&bench, &text).await,
                    Kind::Kept => bench.run("write", inputs).await.id,
                    Kind::Over => bench.run("over", inputs).await.id,
                    Kind::Held => bench.submit("hold", inputs).await,
                };
                if *kind == Kind::Held {
                    bench.begun().await;
                }
                runs.push((*kind, run));
            }
            let mut upkeep = Upkeep::of(Duration::ZERO);
            upkeep.keep_journals = journals.then_some(Duration::ZERO);
            upkeep.keep_cache = Some(Duration::ZERO);
            for _ in 0..times {
                bench.engine.clean(&upkeep).await.unwrap();
            }
            for (kind, run) in &runs {
                let found = bench.engine.run(*run).await;
                if *kind == Kind::Expired {
                    assert!(found.is_err(), "{run} had expired");
                    continue;
                }
                let found = found.unwrap();
                if *kind == Kind::Held {
                    assert!(!found.state.is_terminal(), "{kind:?}");
                } else {
                    let digest = found.output.as_ref().unwrap()["file"]["artifact"].as_str().unwrap().to_owned();
                    let everything = bench.engine.runs(&RunFilter { limit: 1_000, ..RunFilter::default() }).await.unwrap();
                    let mut named = false;
                    for one in everything {
                        let files = bench.engine.artifacts(one.id).await.unwrap();
                        named |= files.iter().any(|file| file.artifact.digest == digest);
                    }
                    assert!(named, "{kind:?}: the file of a kept result is named by somebody");
                }
            }
            let report = bench.engine.check().await.unwrap();
            assert!(report.is_clean(), "{report:#?}");
            // Those under way end as if nobody had cleaned.
            for (kind, run) in runs {
                if kind == Kind::Held {
                    bench.let_go();
                    let ended = bench.wait(run).await;
                    assert_eq!(ended.state, aquatint_engine::RunState::Succeeded);
                }
            }
            bench.finish().await;
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn old_runs_go_only_where_somebody_said_so_and_take_their_inner_runs_along() {
    let bench = Bench::new(&[WRITE, BRIEF, SHORT, OVER]).await;
    let over = bench.run("over", json!({ "text": "x" })).await.id;
    let own = bench.run("short", json!({ "text": "y" })).await.id;
    let cleaned = bench
        .engine
        .clean(&Upkeep::of(Duration::ZERO))
        .await
        .unwrap();
    assert_eq!(
        cleaned.runs, 0,
        "nobody said how long they are kept, or not for so short"
    );
    let mut eager = Upkeep::of(Duration::ZERO);
    eager.keep_runs = Some(Duration::ZERO);
    tokio::time::sleep(Duration::from_millis(5)).await;
    let cleaned = bench.engine.clean(&eager).await.unwrap();
    assert_eq!(cleaned.runs, 1);
    assert!(bench.engine.run(over).await.is_err());
    assert!(
        bench.engine.run(own).await.is_ok(),
        "it says itself that it is kept for an hour"
    );
    let left = bench.engine.runs(&RunFilter::default()).await.unwrap();
    assert_eq!(left.len(), 1, "the inner run went with the one above it");
    assert_eq!(cleaned.files, 1);
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_a_long_attempt_stays_and_one_of_nobody_goes() {
    let bench = Bench::new(&[HOLD]).await;
    let run = bench.submit("hold", json!({ "text": "x" })).await;
    bench.begun().await;
    let scratch = bench.folder.path().join("scratch");
    let live = scratch.join(format!("{run}-1--1-1"));
    let over = scratch.join("01a1fb02-73a2-7000-800d-1fdf1185b4b8-0--1-1");
    for folder in [&live, &over] {
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(folder.join("part"), "x").unwrap();
    }
    let cleaned = bench
        .engine
        .clean(&Upkeep::of(Duration::ZERO))
        .await
        .unwrap();
    assert_eq!(cleaned.scratch, 1);
    assert!(live.is_dir() && !over.exists());
    bench.engine.act(run, RunAction::Cancel).await.unwrap();
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_gives_back_what_it_needs_no_more() {
    let mut bench = Bench::idle(&[WRITE], |_| {}).await;
    bench.start_worker(8).await;
    let text = "x".repeat(400_000);
    for _ in 0..40 {
        let submission = Submission {
            retention: Some(Duration::ZERO),
            ..Submission::new("write", json!({ "text": text }))
        };
        let run = bench.engine.submit(submission).await.unwrap().run;
        bench.wait(run).await;
    }
    let cleaned = bench.engine.clean(&Upkeep::of(HOUR)).await.unwrap();
    assert_eq!(cleaned.runs, 40);
    assert!(cleaned.database_bytes > 8_000_000, "{cleaned:?}");
    assert!(bench.engine.check().await.unwrap().is_clean());
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_judged_by_what_there_is() {
    let bench = Bench::idle(&[WRITE], |_| {}).await;
    let report = bench.engine.health(&Limits::default()).await;
    let status = |name: &str| report.check(name).map(|check| check.status);
    assert_eq!(status("database"), Some(Status::Ok), "{report:?}");
    assert_eq!(status("workers"), Some(Status::Warning), "{report:?}");
    assert_eq!(status("redis"), None, "there is none to look at");
    bench.submit("write", json!({ "text": "x" })).await;
    let report = bench.engine.health(&Limits::default()).await;
    assert_eq!(
        report.status,
        Overall::Critical,
        "work, and nobody to do it: {report:?}"
    );
    bench.engine.close().await;
    let report = bench.engine.health(&Limits::default()).await;
    assert_eq!(
        report.check("database").map(|c| c.status),
        Some(Status::Error)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_that_fails_too_often_is_told_of() {
    const BAD: &str = "name: bad\ninputs:\n  fatal: boolean\nsteps:\n  f: { task: test.fail, with: { fatal: \"${{ inputs.fatal }}\", when: \"${{ inputs.fatal }}\" } }\n";
    let bench = Bench::new(&[BAD]).await;
    let mut alerts = Alerts::default();
    alerts.rules = vec![Rule {
        name: "failures".to_owned(),
        when: When::FailureRate {
            workflow: None,
            over: 0.4,
            within: HOUR,
            at_least: 3,
        },
        severity: Severity::Warning,
        hold: Duration::ZERO,
    }];
    for (fatal, expected) in [(true, 0), (false, 0), (false, 0), (true, 1)] {
        bench.run("bad", json!({ "fatal": fatal })).await;
        let looked = bench.engine.watch_alerts(&alerts).await.unwrap();
        assert_eq!(looked.firing, expected);
    }
    let standing = bench.engine.alerts().await.unwrap();
    assert!(
        standing[0].message.contains("2 of 4 runs of bad failed"),
        "{standing:?}"
    );
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_processes_that_look_at_once_one_tells() {
    let bench = Bench::idle(&[WRITE], |_| {}).await;
    bench.submit("write", json!({ "text": "x" })).await;
    let mut alerts = Alerts::default();
    alerts.rules = vec![Rule {
        name: "nobody".to_owned(),
        when: When::Health(Overall::Critical),
        severity: Severity::Critical,
        hold: Duration::ZERO,
    }];
    let looks = (0..8).map(|_| {
        let (engine, alerts) = (bench.engine.clone(), alerts.clone());
        tokio::spawn(async move { engine.watch_alerts(&alerts).await.unwrap().told })
    });
    let mut told = 0;
    for look in looks.collect::<Vec<_>>() {
        told += look.await.unwrap();
    }
    assert_eq!(told, 1);
    let standing = bench.engine.alerts().await.unwrap();
    assert_eq!((standing.len(), standing[0].told), (1, 1));
    bench.engine.close().await;
}

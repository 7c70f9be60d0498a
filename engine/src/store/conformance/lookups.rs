//! Single runs, asked for by many at once.

use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::join_all;

use super::*;
use crate::run::TaskState;
use crate::store::RunAction;
use crate::store::statement::Statement;

async fn each_hears_of_the_run_it_asked_for(base: Base) {
    let mut house = House::new(&base).await;
    let mut runs = Vec::new();
    // More than one trip takes.
    for n in 0..150 {
        let options = RunOptions {
            tags: vec![format!("run \"{n}\""), "[odd]".to_owned()],
            ..RunOptions::default()
        };
        let definition = if n % 2 == 0 { ONE } else { CHAIN };
        runs.push(house.submit_with(definition, options).await);
    }
    house.serve();
    let granted = house.next().await;
    let begun = granted.claim.key.run;
    let unknown = RunId::new(house.clock.now());
    let store = &house.store;
    let asked = runs.iter().chain([&unknown]).chain(&runs[..10]).copied();
    let answers = join_all(asked.map(|id| async move {
        let (run, detail) = tokio::join!(store.run(id), store.detail(id));
        (id, run, detail)
    }))
    .await;
    assert_eq!(answers.len(), 161);
    for (n, (id, run, detail)) in answers.into_iter().enumerate() {
        if id == unknown {
            assert!(matches!(run, Err(StoreError::NotFound { .. })), "{run:?}");
            assert!(
                matches!(detail, Err(StoreError::NotFound { .. })),
                "{detail:?}"
            );
            continue;
        }
        let n = if n > 150 { n - 151 } else { n };
        let (run, (same, steps)) = (run.unwrap(), detail.unwrap());
        assert_eq!((run.id, same.id), (id, id));
        assert_eq!(run.tags, [format!("run \"{n}\""), "[odd]".to_owned()]);
        assert_eq!(
            serde_json::to_value(&run).unwrap(),
            serde_json::to_value(&same).unwrap()
        );
        let names: Vec<&str> = steps.iter().map(|step| step.step.as_str()).collect();
        let expected: &[&str] = if n % 2 == 0 { &["a"] } else { &["a", "b"] };
        assert_eq!(names, expected);
        assert_eq!(steps[0].state == TaskState::Running, id == begun);
    }
    house.settle(granted, succeeded()).await.unwrap();
    house.finish().await;
}

async fn an_answer_is_no_older_than_its_question(base: Base) {
    let house = House::new(&base).await;
    let known = house.submit(ONE).await;
    let idle = AtomicBool::new(false);
    let others = async {
        // So that there is always a trip under way that began before.
        while !idle.load(Ordering::Relaxed) {
            join_all((0..20).map(|_| house.store.run(known))).await;
        }
    };
    let ours = async {
        for _ in 0..100 {
            let run = house.submit(ONE).await;
            let (seen, steps) = house.store.detail(run).await.unwrap();
            assert_eq!((seen.id, steps.len()), (run, 1));
            house.act(run, RunAction::Cancel).await.unwrap();
            let state = house.store.run(run).await.unwrap().state;
            assert_eq!(state, RunState::Cancelled);
        }
        idle.store(true, Ordering::Relaxed);
    };
    tokio::join!(others, ours);
    house.finish().await;
}

async fn whoever_goes_away_holds_up_nobody(base: Base) {
    let house = House::new(&base).await;
    let run = house.submit(ONE).await;
    for _ in 0..20 {
        let mut asked: Vec<_> = (0..30).map(|_| Box::pin(house.store.run(run))).collect();
        for question in &mut asked {
            // Asked, and not waited for.
            assert!(futures_util::poll!(question).is_pending());
        }
        let last = asked.pop().unwrap();
        drop(asked);
        assert_eq!(last.await.unwrap().id, run);
    }
    house.finish().await;
}

async fn a_store_that_closes_leaves_nobody_waiting(base: Base) {
    let house = House::new(&base).await;
    let run = house.submit(ONE).await;
    let asked = join_all((0..200).map(|_| house.store.run(run)));
    let (answers, ()) =
        tokio::time::timeout(PATIENCE, async { tokio::join!(asked, house.store.close()) })
            .await
            .unwrap();
    // Answered, or told why not.
    assert!(answers.into_iter().flatten().all(|seen| seen.id == run));
    let late = tokio::time::timeout(PATIENCE, house.store.run(run)).await;
    assert!(late.unwrap().is_err());
}

/// A session that is kept must not go on with the plan it made while there were ten runs.
#[tokio::test]
async fn on_postgres_no_plan_may_read_all_runs_to_find_one() {
    static SCANS: Statement =
        Statement::shared("scans", "select current_setting('enable_seqscan')");
    static JOINS: Statement =
        Statement::shared("joins", "select current_setting('enable_hashjoin')");
    let house = House::new(&Base::postgres().await).await;
    for setting in [&SCANS, &JOINS] {
        assert_eq!(
            house.store.lookups.texts(setting, []).await.unwrap(),
            ["off"]
        );
        // Lists may.
        assert_eq!(
            house.store.readers.texts(setting, []).await.unwrap(),
            ["on"]
        );
    }
    house.finish().await;
}

on_both! {
    each_hears_of_the_run_it_asked_for,
    an_answer_is_no_older_than_its_question,
    whoever_goes_away_holds_up_nobody,
    a_store_that_closes_leaves_nobody_waiting,
}

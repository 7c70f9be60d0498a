//! Concurrency keys and pauses: what may not be claimed though it could run.

use super::*;
use crate::store::RunAction;

const LIMITED: &str =
    "name: limited\nconcurrency: { key: k, limit: 2 }\nsteps:\n  a: { task: t }\n";

fn keyed() -> RunOptions {
    RunOptions {
        concurrency_key: Some("k".into()),
        ..RunOptions::default()
    }
}

async fn runs_of_one_key_go_as_many_at_a_time_as_allowed_and_in_order(base: Base) {
    let mut house = House::with_slots(&base, 10).await;
    house.serve();
    let mut runs = Vec::new();
    for _ in 0..6 {
        runs.push(house.submit_with(LIMITED, keyed()).await);
    }
    let mut order = Vec::new();
    let mut held = vec![house.next().await, house.next().await];
    while !held.is_empty() {
        assert!(house.is_quiet().await, "two at a time");
        let granted = held.remove(0);
        order.push(granted.claim.key.run);
        house.settle(granted, succeeded()).await.unwrap();
        if order.len() + held.len() < runs.len() {
            held.push(house.next().await);
        }
    }
    assert_eq!(order, runs);
    house.finish().await;
}

async fn a_raised_limit_lets_those_that_wait_go_on(base: Base) {
    let mut house = House::with_slots(&base, 10).await;
    house.serve();
    let mut runs = Vec::new();
    for _ in 0..5 {
        runs.push(house.submit_with(LIMITED, keyed()).await);
    }
    let mut held = vec![house.next().await, house.next().await];
    assert!(house.is_quiet().await, "two at a time");

    let name = crate::id::WorkflowName::new("limited").unwrap();
    assert_eq!(
        house.store.waiting_workflows().await.unwrap(),
        std::slice::from_ref(&name)
    );
    house.store.write(Op::Admit(name.clone(), 4)).await.unwrap();

    held.extend([house.next().await, house.next().await]);
    assert!(house.is_quiet().await, "four at a time now");
    let order: Vec<RunId> = held.iter().map(|granted| granted.claim.key.run).collect();
    assert_eq!(order, runs[..4], "those that waited longest");
    house.store.write(Op::Admit(name, i64::MAX)).await.unwrap();
    held.push(house.next().await);
    assert_eq!(house.store.waiting_workflows().await.unwrap(), []);
    for granted in held {
        house.settle(granted, succeeded()).await.unwrap();
    }
    house.finish().await;
}

async fn submits_in_one_commit_share_the_limit_too(base: Base) {
    let mut house = House::with_slots(&base, 10).await;
    let submits =
        futures_util::future::join_all((0..5).map(|_| house.try_submit(LIMITED, keyed()))).await;
    house.serve();
    let (one, two) = (house.next().await, house.next().await);
    assert!(house.is_quiet().await);
    drop((one, two));
    assert_eq!(submits.len(), 5);
    house.finish().await;
}

/// `PostgreSQL` only: `SQLite` has one writer at a time.
#[tokio::test]
async fn whoever_submits_under_a_key_waits_for_another_that_counts_its_runs() {
    let base = Base::postgres().await;
    let house = House::new(&base).await;
    let mut other = stranger(&base).await;
    let lock =
        "begin; select pg_advisory_xact_lock(hashtextextended('limited' || chr(10) || 'k', 7))";
    execute(&mut other, lock).await;
    let mut look = stranger(&base).await;
    let waiting = "select count(*) from pg_locks where locktype = 'advisory' and not granted";
    let mut submit = Box::pin(house.submit_with(LIMITED, keyed()));
    let watch = async {
        while number(&mut look, waiting).await == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = &mut submit => panic!("it did not wait"),
        () = watch => {}
    }
    execute(&mut other, "commit").await;
    let _ = submit.await;
    house.finish().await;
}

async fn every_way_to_end_hands_the_key_on(base: Base) {
    let mut house = House::with_slots(&base, 10).await;
    house.serve();
    let mut runs = Vec::new();
    for _ in 0..7 {
        runs.push(house.submit_with(LIMITED, keyed()).await);
    }
    let (first, second) = (house.next().await, house.next().await);
    house
        .settle(first, failed(TaskError::fatal("test", "no")))
        .await
        .unwrap();
    let third = house.next().await;
    house
        .act(second.claim.key.run, RunAction::Cancel)
        .await
        .unwrap();
    drop(second.permit);
    let fourth = house.next().await;
    house.settle(third, succeeded()).await.unwrap();
    let fifth = house.next().await;
    // Cancelling one that waits frees nothing.
    house.act(runs[5], RunAction::Cancel).await.unwrap();
    assert!(house.is_quiet().await);
    house.settle(fourth, succeeded()).await.unwrap();
    let seventh = house.next().await;
    assert_eq!(
        (fifth.claim.key.run, seventh.claim.key.run),
        (runs[4], runs[6])
    );
    house.settle(fifth, succeeded()).await.unwrap();
    house.settle(seventh, succeeded()).await.unwrap();
    house.finish().await;
}

async fn a_mapped_run_that_is_retried_waits_for_its_key(base: Base) {
    let mut house = House::with_slots(&base, 10).await;
    house.serve();
    let definition = "name: limited\nconcurrency: { key: k, limit: 1 }\nsteps:\n  a: { task: t, foreach: '${{ [1] }}' }\n";
    let mut two = House::beside(&house.base, house.clock.clone(), &[("control", 4)]).await;
    two.serve();
    let first = house.submit_with(definition, keyed()).await;
    let mapped = two.next().await;
    two.settle(mapped, Outcome::Mapped(vec![json!(1), json!(2)]))
        .await
        .unwrap();
    let (one, other) = (house.next().await, house.next().await);
    drop(other.permit);
    house
        .settle(one, failed(TaskError::fatal("test", "no")))
        .await
        .unwrap();
    assert_eq!(house.state(first).await, RunState::Failed);

    let second = house
        .submit_with(
            ONE.replace(
                "name: one\n",
                "name: limited\nconcurrency: { key: k, limit: 1 }\n",
            )
            .as_str(),
            keyed(),
        )
        .await;
    let holder = house.next().await;
    assert_eq!(holder.claim.key.run, second);
    house.act(first, RunAction::Retry).await.unwrap();
    assert!(house.is_quiet().await, "another run holds the key");
    house.settle(holder, succeeded()).await.unwrap();
    house.work_off(&[first]).await;
    two.store.close().await;
    house.finish().await;
}

async fn pausing_holds_what_is_ready_and_resuming_lets_it_go(base: Base) {
    let mut house = House::new(&base).await;
    let run = house.submit(CHAIN).await;
    house.act(run, RunAction::Pause).await.unwrap();
    house.serve();
    assert!(house.is_quiet().await);
    house.act(run, RunAction::Resume).await.unwrap();
    house.work_off(&[run]).await;
    house.finish().await;
}

on_both! {
    runs_of_one_key_go_as_many_at_a_time_as_allowed_and_in_order,
    a_raised_limit_lets_those_that_wait_go_on,
    submits_in_one_commit_share_the_limit_too,
    every_way_to_end_hands_the_key_on,
    a_mapped_run_that_is_retried_waits_for_its_key,
    pausing_holds_what_is_ready_and_resuming_lets_it_go,
}

//! Who gets what, and in which order.

use std::collections::HashSet;

use super::*;

async fn what_matters_most_is_claimed_first_and_among_equals_what_waits_longest(base: Base) {
    let mut house = House::new(&base).await;
    let mut runs = Vec::new();
    for priority in [0, 5, 0, -3, 5, 100] {
        house.clock.advance(Duration::from_millis(10));
        runs.push(
            house
                .submit_with(
                    ONE,
                    RunOptions {
                        priority,
                        ..RunOptions::default()
                    },
                )
                .await,
        );
    }
    house.serve();
    let mut order = Vec::new();
    for _ in &runs {
        let granted = house.next().await;
        order.push(
            runs.iter()
                .position(|run| *run == granted.claim.key.run)
                .unwrap(),
        );
        house.settle(granted, succeeded()).await.unwrap();
    }
    assert_eq!(order, [5, 1, 4, 0, 2, 3]);
    house.finish().await;
}

async fn a_steps_own_priority_counts_on_top_of_its_runs(base: Base) {
    let mut house = House::new(&base).await;
    let low = house
        .submit_with(
            &ONE.replace("task: t", "task: t, priority: -8"),
            RunOptions {
                priority: 10,
                ..RunOptions::default()
            },
        )
        .await;
    let high = house
        .submit_with(
            ONE,
            RunOptions {
                priority: 3,
                ..RunOptions::default()
            },
        )
        .await;
    house.serve();
    for expected in [high, low] {
        let granted = house.next().await;
        assert_eq!(granted.claim.key.run, expected);
        house.settle(granted, succeeded()).await.unwrap();
    }
    house.finish().await;
}

async fn no_more_is_claimed_than_there_are_free_slots(base: Base) {
    let mut house = House::with_slots(&base, 3).await;
    let mut runs = Vec::new();
    for _ in 0..10 {
        runs.push(house.submit(ONE).await);
    }
    house.serve();
    let mut held = vec![house.next().await, house.next().await, house.next().await];
    assert!(house.is_quiet().await);
    house
        .settle(held.pop().unwrap(), succeeded())
        .await
        .unwrap();
    held.push(house.next().await);
    assert!(house.is_quiet().await);
    for granted in held {
        house.settle(granted, succeeded()).await.unwrap();
    }
    house.work_off(&runs).await;
    house.finish().await;
}

async fn a_worker_gets_only_what_its_queues_hold(base: Base) {
    let mut house = House::new(&base).await;
    house
        .submit(&ONE.replace("task: t", "task: t, queue: gpu"))
        .await;
    let mine = house.submit(ONE).await;
    house.serve();
    let granted = house.next().await;
    assert_eq!(granted.claim.key.run, mine);
    house.settle(granted, succeeded()).await.unwrap();
    assert!(house.is_quiet().await);
    house.finish().await;
}

async fn a_claim_counts_the_attempt_and_is_told_once_whether_announced_or_settled_first(
    base: Base,
) {
    for is_announced in [true, false] {
        let mut house = House::new(&base).await;
        let run = house.submit(ONE).await;
        assert_eq!(house.state(run).await, RunState::Pending);
        house.serve();
        let granted = house.next().await;
        assert_eq!((granted.claim.key, granted.claim.attempt), (key(run), 1));
        if is_announced {
            let (key, token) = (granted.claim.key, granted.claim.token);
            house
                .store
                .write(Op::Announce(key, token + 1))
                .await
                .unwrap();
            assert_eq!(
                house.state(run).await,
                RunState::Pending,
                "not with that token"
            );
            for _ in 0..2 {
                house.store.write(Op::Announce(key, token)).await.unwrap();
                assert_eq!(house.state(run).await, RunState::Running);
            }
        }
        house.settle(granted, succeeded()).await.unwrap();
        let events = house.store.events_after(run, 0).await.unwrap();
        let told: Vec<_> = events
            .iter()
            .map(|e| {
                (
                    e.seq,
                    serde_json::to_value(&e.kind).unwrap()["kind"].clone(),
                )
            })
            .collect();
        let kinds = [
            "run_submitted",
            "task_started",
            "task_succeeded",
            "run_succeeded",
        ];
        assert_eq!(told, (1..).zip(kinds.map(|k| json!(k))).collect::<Vec<_>>());
        house.finish().await;
    }
}

async fn a_successor_is_claimed_in_the_commit_that_readies_it(base: Base) {
    let mut house = House::new(&base).await;
    house.serve();
    let run = house.submit(CHAIN).await;
    let first = house.next().await;
    house.settle(first, succeeded()).await.unwrap();
    let second = house
        .inbox
        .try_recv()
        .expect("it was granted before the report was answered");
    assert_eq!((second.claim.key.run, second.claim.key.step), (run, 1));
    house.settle(second, succeeded()).await.unwrap();
    house.finish().await;
}

async fn two_processes_never_claim_the_same_task(base: Base) {
    let mut one = House::with_slots(&base, 4).await;
    let mut two = House::beside(&one.base, one.clock.clone(), &[("default", 4)]).await;
    let mut runs = HashSet::new();
    for _ in 0..300 {
        runs.insert(one.submit(ONE).await);
    }
    one.serve();
    two.serve();
    let mut claimed = Vec::new();
    while claimed.len() < runs.len() {
        tokio::select! {
            granted = one.next() => { claimed.push(granted.claim.key.run); one.settle(granted, succeeded()).await.unwrap(); }
            granted = two.next() => { claimed.push(granted.claim.key.run); two.settle(granted, succeeded()).await.unwrap(); }
        }
    }
    assert_eq!(
        claimed.len(),
        claimed.iter().collect::<HashSet<_>>().len(),
        "each exactly once"
    );
    assert!(one.is_quiet().await && two.is_quiet().await);
    assert_eq!(
        one.store.counts().await.unwrap(),
        [(RunState::Succeeded, 300)]
    );
    two.store.close().await;
    one.finish().await;
}

async fn another_processs_work_is_found_without_a_word_even_by_one_that_never_rests(base: Base) {
    let busy = House::with_slots(&base, 1).await;
    let mut idle_lane = House::over(
        busy.store.clone(),
        &busy.base,
        busy.clock.clone(),
        &[("other", 1)],
    )
    .await;
    idle_lane.serve();
    // Requests without end, as from tasks that log much: the writer never naps.
    let chatter = tokio::spawn({
        let (store, worker, clock) = (busy.store.clone(), busy.demand.worker(), busy.clock.clone());
        async move {
            loop {
                let beat = Op::Heartbeat {
                    worker,
                    lease_until: clock.now().after(LEASE),
                    holds: Vec::new(),
                    status: WorkerStatus::default(),
                };
                if store.write(beat).await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    });
    let elsewhere = House::beside(&busy.base, busy.clock.clone(), &[]).await;
    let run = elsewhere
        .submit(&ONE.replace("task: t", "task: t, queue: other"))
        .await;
    let found = tokio::time::timeout(Duration::from_secs(5), idle_lane.next()).await;
    chatter.abort();
    let granted = found.expect("found while requests go on");
    assert_eq!(granted.claim.key.run, run);
    idle_lane.settle(granted, succeeded()).await.unwrap();
    elsewhere.finish().await;
}

async fn what_waits_for_its_next_try_is_claimed_when_it_is_due_and_not_before(base: Base) {
    let mut house = House::new(&base).await;
    house.serve();
    let run = house
        .submit(&ONE.replace(
            "task: t",
            "task: t, retry: { attempts: 2, delay: 1h, jitter: false }",
        ))
        .await;
    let first = house.next().await;
    house
        .settle(first, failed(TaskError::retryable("test", "again")))
        .await
        .unwrap();
    house.clock.advance(Duration::from_secs(3_599));
    assert!(house.is_quiet().await);
    house.clock.advance(Duration::from_secs(2));
    let second = house.next().await;
    assert_eq!((second.claim.key.run, second.claim.attempt), (run, 2));
    house.settle(second, succeeded()).await.unwrap();
    house.finish().await;
}

async fn what_an_earlier_process_left_waiting_is_woken_by_the_next(base: Base) {
    let mut first = House::new(&base).await;
    first.serve();
    first
        .submit(&ONE.replace(
            "task: t",
            "task: t, retry: { attempts: 2, delay: 1h, jitter: false }",
        ))
        .await;
    let granted = first.next().await;
    first
        .settle(granted, failed(TaskError::retryable("test", "again")))
        .await
        .unwrap();
    first.store.close().await;
    first.clock.advance(Duration::from_secs(3_000));
    let mut second = House::beside(&first.base, first.clock.clone(), &[("default", 1)]).await;
    second.serve();
    assert!(second.is_quiet().await);
    second.clock.advance(Duration::from_secs(601));
    second.beat().await;
    let granted = second.next().await;
    second.settle(granted, succeeded()).await.unwrap();
    second.finish().await;
}

on_both! {
    what_matters_most_is_claimed_first_and_among_equals_what_waits_longest,
    a_steps_own_priority_counts_on_top_of_its_runs,
    no_more_is_claimed_than_there_are_free_slots,
    a_worker_gets_only_what_its_queues_hold,
    a_claim_counts_the_attempt_and_is_told_once_whether_announced_or_settled_first,
    a_successor_is_claimed_in_the_commit_that_readies_it,
    two_processes_never_claim_the_same_task,
    another_processs_work_is_found_without_a_word_even_by_one_that_never_rests,
    what_waits_for_its_next_try_is_claimed_when_it_is_due_and_not_before,
    what_an_earlier_process_left_waiting_is_woken_by_the_next,
}

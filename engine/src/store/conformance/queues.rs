//! What operators say of queues holds for every process, from the commit on that says it.

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use super::*;
use crate::store::{QueueAction, QueueView, RunAction};

async fn say(house: &House, action: QueueAction) {
    let queue = QueueName::new("default").unwrap();
    house.store.write(Op::Queue(queue, action)).await.unwrap();
}

async fn view(house: &House) -> QueueView {
    let mut views = house.store.queues().await.unwrap();
    views.retain(|view| view.name.as_str() == "default");
    views.pop().unwrap()
}

async fn purge(house: &House) -> u64 {
    let queue = QueueName::new("default").unwrap();
    match house.store.write(Op::Purge(queue)).await.unwrap() {
        Answer::Purged(runs) => runs,
        other => panic!("{other:?}"),
    }
}

async fn a_paused_queue_gives_nothing_to_anybody_until_it_is_resumed(base: Base) {
    let mut one = House::with_slots(&base, 2).await;
    let mut two = House::beside(&base, one.clock.clone(), &[("default", 2)]).await;
    let operator = House::beside(&base, one.clock.clone(), &[]).await;
    one.serve();
    two.serve();
    let first = one.submit(ONE).await;
    let running = tokio::select! { g = one.next() => g, g = two.next() => g };
    say(&operator, QueueAction::Pause).await;
    let second = one.submit(ONE).await;
    assert!(one.is_quiet().await && two.is_quiet().await);
    assert!(view(&one).await.paused);

    // What runs may finish, and what follows from it waits.
    assert_eq!(running.claim.key.run, first);
    one.settle(running, succeeded()).await.unwrap();
    assert_eq!(one.state(first).await, RunState::Succeeded);
    assert!(one.is_quiet().await && two.is_quiet().await);

    say(&operator, QueueAction::Resume).await;
    let granted = tokio::select! { g = one.next() => g, g = two.next() => g };
    assert_eq!(granted.claim.key.run, second);
    one.settle(granted, succeeded()).await.unwrap();
    let left = texts(&mut stranger(&base).await, "select name from queues").await;
    assert_eq!(
        left,
        Vec::<String>::new(),
        "nobody says anything of it any more"
    );
    two.store.close().await;
    operator.store.close().await;
    one.finish().await;
}

async fn other_queues_go_on_beside_a_paused_one(base: Base) {
    let clock = Clock::manual(Timestamp(1_700_000_000_000));
    let mut house = House::beside(&base, clock, &[("default", 1), ("gpu", 1)]).await;
    house.serve();
    say(&house, QueueAction::Pause).await;
    house.submit(ONE).await;
    let other = house
        .submit(&ONE.replace("task: t", "task: t, queue: gpu"))
        .await;
    let granted = house.next().await;
    assert_eq!(granted.claim.key.run, other);
    house.settle(granted, succeeded()).await.unwrap();
    assert!(house.is_quiet().await);
    house.finish().await;
}

async fn a_cap_counts_over_all_processes_and_a_place_that_is_free_again_is_taken(base: Base) {
    let mut one = House::with_slots(&base, 4).await;
    let mut two = House::beside(&base, one.clock.clone(), &[("default", 4)]).await;
    say(&one, QueueAction::Cap(Some(3))).await;
    let mut runs = Vec::new();
    for _ in 0..6 {
        runs.push(one.submit(ONE).await);
    }
    one.serve();
    let mut held = vec![one.next().await, one.next().await, one.next().await];
    two.serve();
    assert!(one.is_quiet().await && two.is_quiet().await);
    assert_eq!((view(&one).await.running, view(&one).await.ready), (3, 3));

    one.settle(held.pop().unwrap(), succeeded()).await.unwrap();
    let next = one.inbox.try_recv();
    held.push(next.expect("granted in the commit that made room"));
    two.store.ring();
    assert!(two.is_quiet().await);

    // A process that is full elsewhere leaves the place to the others.
    for slot in &one.demand.lanes {
        slot.resize(0);
    }
    one.settle(held.pop().unwrap(), succeeded()).await.unwrap();
    let granted = two.next().await;
    two.settle(granted, succeeded()).await.unwrap();
    for granted in held {
        one.settle(granted, succeeded()).await.unwrap();
    }
    two.work_off(&runs).await;
    two.store.close().await;
    one.finish().await;
}

async fn a_cap_is_exact_when_many_processes_claim_at_once(base: Base) {
    let first = House::with_slots(&base, 8).await;
    say(&first, QueueAction::Cap(Some(3))).await;
    let mut runs = Vec::new();
    for _ in 0..120 {
        runs.push(first.submit(ONE).await);
    }
    let mut houses = vec![first];
    for _ in 0..4 {
        houses.push(House::beside(&base, houses[0].clock.clone(), &[("default", 8)]).await);
    }
    let (most, done) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicUsize::new(0)));
    let total = runs.len();
    let mut working = Vec::new();
    for mut house in houses {
        house.serve();
        let (most, done) = (Arc::clone(&most), Arc::clone(&done));
        let mut look = stranger(&base).await;
        working.push(tokio::spawn(async move {
            while done.load(Ordering::SeqCst) < total {
                let patience = Duration::from_millis(20);
                let Ok(granted) = tokio::time::timeout(patience, house.inbox.recv()).await else {
                    house.store.ring();
                    continue;
                };
                let running = "select count(*) from task_runs where state = 'running'";
                most.fetch_max(number(&mut look, running).await, Ordering::SeqCst);
                house.settle(granted.unwrap(), succeeded()).await.unwrap();
                done.fetch_add(1, Ordering::SeqCst);
            }
            house
        }));
    }
    let mut houses = Vec::new();
    for working in working {
        houses.push(working.await.unwrap());
    }
    assert_eq!(
        most.load(Ordering::SeqCst),
        3,
        "never more, and all of it is used"
    );
    for run in &runs {
        assert_eq!(houses[0].state(*run).await, RunState::Succeeded);
    }
    for house in houses {
        house.finish().await;
    }
}

/// `PostgreSQL` only: `SQLite` has one writer at a time.
#[tokio::test]
async fn whoever_claims_under_a_cap_waits_for_another_that_has_counted_already() {
    let base = Base::postgres().await;
    let mut house = House::with_slots(&base, 4).await;
    say(&house, QueueAction::Cap(Some(1))).await;
    let first = house.submit(ONE).await;
    house.submit(ONE).await;
    // Another process: it has counted and claimed, and is about to commit.
    let mut other = stranger(&base).await;
    let claim = format!(
        "begin; select pg_advisory_xact_lock(hashtextextended('queue default', 11)); \
         update task_runs set state = 'running', attempt = 1, token = 1 where run_id = '{first}'"
    );
    execute(&mut other, &claim).await;
    house.serve();
    let mut look = stranger(&base).await;
    let waiting = "select count(*) from pg_locks where locktype = 'advisory' and not granted";
    let begun = std::time::Instant::now();
    while number(&mut look, waiting).await == 0 {
        assert!(house.inbox.try_recv().is_err(), "it did not wait");
        assert!(begun.elapsed() < PATIENCE, "nobody waits, nobody claims");
    }
    execute(&mut other, "commit").await;
    assert!(house.is_quiet().await, "the only place is taken");
    execute(
        &mut other,
        "update task_runs set state = 'ready', attempt = 0, token = null where state = 'running'",
    )
    .await;
    house.store.ring();
    let granted = house.next().await;
    house.settle(granted, succeeded()).await.unwrap();
    let granted = house.next().await;
    house.settle(granted, succeeded()).await.unwrap();
    house.finish().await;
}

async fn a_cap_that_is_lifted_lets_all_go_on_and_a_lower_one_takes_nothing_back(base: Base) {
    let mut house = House::with_slots(&base, 4).await;
    house.serve();
    for _ in 0..6 {
        house.submit(ONE).await;
    }
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(house.next().await);
    }
    say(&house, QueueAction::Cap(Some(1))).await;
    for _ in 0..3 {
        house
            .settle(held.pop().unwrap(), succeeded())
            .await
            .unwrap();
        assert!(house.is_quiet().await, "one runs still");
    }
    assert_eq!(view(&house).await.cap, Some(1));
    say(&house, QueueAction::Cap(None)).await;
    let (fifth, sixth) = (house.next().await, house.next().await);
    for granted in [held.pop().unwrap(), fifth, sixth] {
        house.settle(granted, succeeded()).await.unwrap();
    }
    house.finish().await;
}

async fn a_cap_counts_no_task_whose_run_was_cancelled(base: Base) {
    let mut house = House::with_slots(&base, 4).await;
    house.serve();
    say(&house, QueueAction::Cap(Some(1))).await;
    let first = house.submit(ONE).await;
    let second = house.submit(ONE).await;
    let stopped = house.next().await;
    assert!(house.is_quiet().await);
    house.act(first, RunAction::Cancel).await.unwrap();
    let granted = house.inbox.try_recv();
    let granted = granted.expect("granted in the commit that made room");
    assert_eq!(granted.claim.key.run, second);
    assert!(stopped.halt.is_disowned());
    house.settle(granted, succeeded()).await.unwrap();
    house.finish().await;
}

async fn a_purge_cancels_what_waits_in_the_queue_and_nothing_else(base: Base) {
    let clock = Clock::manual(Timestamp(1_700_000_000_000));
    let mut house = House::beside(&base, clock, &[("default", 1), ("gpu", 1)]).await;
    house.serve();
    let running = house.submit(ONE).await;
    let held = house.next().await;
    // Runs elsewhere, and comes to this queue later.
    let later = "name: later\nsteps:\n  a: { task: t, queue: gpu }\n  b: { task: t, needs: [a] }\n";
    let later = house.submit(later).await;
    let elsewhere = house.next().await;
    let waiting = house.submit(ONE).await;
    let paused = house.submit(ONE).await;
    house.act(paused, RunAction::Pause).await.unwrap();
    // Waits here with one step while another runs elsewhere: it waits here.
    let both = "name: both\nsteps:\n  a: { task: t }\n  b: { task: t, queue: cpu }\n";
    let both = house.submit(both).await;

    assert_eq!(purge(&house).await, 3);
    assert_eq!(purge(&house).await, 0);
    for run in [waiting, paused, both] {
        assert_eq!(house.state(run).await, RunState::Cancelled);
    }
    assert!(!house.state(running).await.is_terminal());
    assert!(!house.state(later).await.is_terminal());
    house.settle(held, succeeded()).await.unwrap();
    house.settle(elsewhere, succeeded()).await.unwrap();
    house.work_off(&[later]).await;
    assert_eq!(house.state(running).await, RunState::Succeeded);
    house.finish().await;
}

async fn a_purge_goes_on_in_batches_until_nothing_waits(base: Base) {
    let house = House::new(&base).await;
    for _ in 0..120 {
        house.submit(ONE).await;
    }
    let mut batches = Vec::new();
    loop {
        match purge(&house).await {
            0 => break,
            runs => batches.push(runs),
        }
    }
    assert_eq!(batches.iter().sum::<u64>(), 120);
    assert!(batches.len() > 1, "{batches:?}");
    assert_eq!(
        house.store.counts().await.unwrap(),
        [(RunState::Cancelled, 120)]
    );
    house.finish().await;
}

async fn queues_tell_what_waits_runs_and_serves_and_nothing_of_what_is_over(base: Base) {
    let clock = Clock::manual(Timestamp(1_700_000_000_000));
    let queues = [("default", 2), ("gpu", 1)];
    let mut house = House::beside(&base, clock, &queues).await;
    house.serve();
    let done = house.submit(ONE).await;
    house.work_off(&[done]).await;
    for _ in 0..2 {
        house.submit(ONE).await;
    }
    let held = [house.next().await, house.next().await];
    house.clock.advance(Duration::from_secs(5));
    let oldest = house.clock.now();
    house.submit(ONE).await;
    house.clock.advance(Duration::from_secs(1));
    house.submit(ONE).await;
    let paused = house.submit(ONE).await;
    house.act(paused, RunAction::Pause).await.unwrap();
    house
        .submit(&ONE.replace("task: t", "task: t, queue: odd"))
        .await;
    let seen: Vec<_> = house.store.queues().await.unwrap();
    let seen: Vec<_> = seen
        .iter()
        .map(|q| {
            (
                q.name.as_str(),
                q.ready,
                q.running,
                q.waiting,
                q.workers,
                q.slots,
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            ("default", 2, 2, 1, 1, 2),
            ("gpu", 0, 0, 0, 1, 1),
            ("odd", 1, 0, 0, 0, 0)
        ]
    );
    assert_eq!(view(&house).await.oldest_ready_at, Some(oldest));
    for granted in held {
        house.settle(granted, succeeded()).await.unwrap();
    }
    house.finish().await;
}

on_both! {
    a_paused_queue_gives_nothing_to_anybody_until_it_is_resumed,
    other_queues_go_on_beside_a_paused_one,
    a_cap_counts_over_all_processes_and_a_place_that_is_free_again_is_taken,
    a_cap_is_exact_when_many_processes_claim_at_once,
    a_cap_that_is_lifted_lets_all_go_on_and_a_lower_one_takes_nothing_back,
    a_cap_counts_no_task_whose_run_was_cancelled,
    a_purge_cancels_what_waits_in_the_queue_and_nothing_else,
    a_purge_goes_on_in_batches_until_nothing_waits,
    queues_tell_what_waits_runs_and_serves_and_nothing_of_what_is_over,
}

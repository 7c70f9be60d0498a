//! What workers tell of themselves, what operators want of them, and who may take what.

use super::*;
use crate::store::{Farewell, RunAction, WorkerAction, WorkerState};

fn queue(name: &str) -> QueueName {
    QueueName::new(name).unwrap()
}

fn labels(list: &str) -> Abilities {
    Abilities {
        labels: Some(list.to_owned()),
        ..Abilities::default()
    }
}

async fn able(base: &Base, slots: usize, abilities: Abilities) -> House {
    let clock = Clock::manual(Timestamp(1_700_000_000_000));
    let store = base.open(clock.clone()).await.unwrap();
    House::able(store, base, clock, &[("default", slots)], abilities).await
}

async fn told(house: &House, status: WorkerStatus) -> Wanted {
    let beat = Op::Heartbeat {
        worker: house.demand.worker(),
        lease_until: house.clock.now().after(LEASE),
        holds: Vec::new(),
        status,
    };
    match house.store.write(beat).await.unwrap() {
        Answer::Beat { wanted, .. } => wanted,
        other => panic!("{other:?}"),
    }
}

async fn steer(house: &House, worker: Option<WorkerId>, action: WorkerAction) -> Vec<WorkerId> {
    match house.store.write(Op::Steer(worker, action)).await.unwrap() {
        Answer::Steered(told) => told,
        other => panic!("{other:?}"),
    }
}

async fn a_worker_is_seen_with_its_slots_and_with_what_it_is_doing(base: Base) {
    let mut house = able(&base, 30, labels(r#"["a100","fp16"]"#)).await;
    house.serve();
    for _ in 0..24 {
        house.submit(CHAIN).await;
    }
    let mut held = Vec::new();
    for _ in 0..24 {
        held.push(house.next().await);
    }
    let status = WorkerStatus {
        queues: [(queue("default"), 30)].into(),
        busy: [(queue("default"), 24)].into(),
        rss_bytes: Some(5_000_000_000),
        finished: 7,
        draining: true,
        loaded: vec!["sdxl".into(), "clip".into()],
    };
    house.clock.advance(Duration::from_secs(1));
    told(&house, status).await;
    let now = house.clock.now();
    let seen = house.store.workers(now, false).await.unwrap().remove(0);
    assert_eq!(
        (
            seen.id,
            seen.state,
            seen.draining,
            seen.finished,
            seen.seen_at
        ),
        (house.demand.worker(), WorkerState::Live, true, 7, now)
    );
    assert_eq!(
        (seen.labels.join(" "), seen.rss_bytes),
        ("a100 fp16".to_owned(), Some(5_000_000_000))
    );
    assert_eq!(seen.loaded, ["sdxl", "clip"]);
    let lane = &seen.queues[0];
    assert_eq!(
        (lane.name.as_str(), lane.slots, lane.busy),
        ("default", 30, 24)
    );
    assert_eq!(seen.attempts.len(), 20, "not all of them");
    let first = &seen.attempts[0];
    assert_eq!(
        (
            first.run,
            first.workflow.as_str(),
            first.step.as_str(),
            first.attempt
        ),
        (held[0].claim.key.run, "chain", "a", 1)
    );
    for granted in held {
        house.settle(granted, succeeded()).await.unwrap();
    }
    house.finish().await;
}

async fn workers_that_are_gone_are_seen_for_a_day_on_request(base: Base) {
    let live = House::new(&base).await;
    let stopped = House::beside(&base, live.clock.clone(), &[]).await;
    stopped
        .store
        .write(Op::Retire(stopped.demand.worker()))
        .await
        .unwrap();
    let lost = House::beside(&base, live.clock.clone(), &[]).await;
    live.clock.advance(LEASE + Duration::from_secs(1));
    let again = WorkerId::new(live.clock.now());
    live.register(again).await;
    live.demand.rename(again);
    live.sweep().await;
    let see = async |with_gone| {
        let views = live
            .store
            .workers(live.clock.now(), with_gone)
            .await
            .unwrap();
        views.iter().map(|v| (v.id, v.state)).collect::<Vec<_>>()
    };
    assert_eq!(see(false).await, [(again, WorkerState::Live)]);
    let all = see(true).await;
    assert_eq!(all[0], (again, WorkerState::Live), "live ones first");
    assert!(all.contains(&(stopped.demand.worker(), WorkerState::Stopped)));
    assert!(all.contains(&(lost.demand.worker(), WorkerState::Lost)));
    live.clock.advance(Duration::from_hours(25));
    assert_eq!(see(true).await.len(), 1);
    live.clock.advance(Duration::from_hours(24 * 8));
    live.register(WorkerId::new(live.clock.now())).await;
    let mut stranger = stranger(&base).await;
    let gone = "select count(*) from workers where state <> 'live'";
    assert_eq!(number(&mut stranger, gone).await, 0, "and then forgotten");
    stopped.store.close().await;
    lost.store.close().await;
    live.finish().await;
}

async fn what_an_operator_wants_is_heard_with_the_heartbeat_and_wishes_add_up(base: Base) {
    let house = House::with_slots(&base, 2).await;
    let other = House::beside(&base, house.clock.clone(), &[("default", 1)]).await;
    let (mine, its) = (house.demand.worker(), other.demand.worker());
    assert_eq!(
        told(&house, WorkerStatus::default()).await,
        Wanted::default()
    );
    let slots = WorkerAction::Slots(queue("default"), 5);
    assert_eq!(steer(&other, Some(mine), slots).await, [mine]);
    assert_eq!(steer(&other, Some(mine), WorkerAction::Drain).await, [mine]);
    let wanted = told(&house, WorkerStatus::default()).await;
    assert_eq!(
        (wanted.slots.get("default"), wanted.drain, wanted.restart),
        (Some(&5), true, false)
    );
    assert_eq!(
        told(&other, WorkerStatus::default()).await,
        Wanted::default()
    );
    let seen = house.store.workers(house.clock.now(), false).await.unwrap();
    let lane = seen.iter().find(|w| w.id == mine).unwrap().queues[0].clone();
    assert_eq!((lane.slots, lane.wanted), (2, Some(5)), "not followed yet");

    steer(&other, Some(mine), WorkerAction::Undrain).await;
    let mut all = steer(&house, None, WorkerAction::Restart).await;
    all.sort();
    assert_eq!(all, [mine, its]);
    let wanted = told(&house, WorkerStatus::default()).await;
    assert_eq!((wanted.drain, wanted.restart), (false, true));
    assert!(told(&other, WorkerStatus::default()).await.restart);
    let gone = WorkerId::new(house.clock.now());
    assert!(
        steer(&house, Some(gone), WorkerAction::Drain)
            .await
            .is_empty()
    );
    other.store.close().await;
    house.finish().await;
}

async fn slots_grow_at_once_and_shrink_as_attempts_end(base: Base) {
    let mut house = House::with_slots(&base, 2).await;
    house.serve();
    for _ in 0..12 {
        house.submit(ONE).await;
    }
    let mut held = vec![house.next().await, house.next().await];
    house.demand.lanes[0].resize(4);
    house.store.ring();
    held.extend([house.next().await, house.next().await]);
    assert!(house.is_quiet().await);

    house.demand.lanes[0].resize(1);
    for _ in 0..3 {
        house
            .settle(held.pop().unwrap(), succeeded())
            .await
            .unwrap();
        assert!(
            house.is_quiet().await,
            "there are still as many as there may be"
        );
    }
    house
        .settle(held.pop().unwrap(), succeeded())
        .await
        .unwrap();
    held.push(house.next().await);
    assert!(house.is_quiet().await);

    house.demand.lanes[0].resize(0);
    house
        .settle(held.pop().unwrap(), succeeded())
        .await
        .unwrap();
    assert!(house.is_quiet().await);
    house.demand.lanes[0].resize(3);
    house.store.ring();
    for _ in 0..3 {
        held.push(house.next().await);
    }
    assert!(house.is_quiet().await);
    for granted in held {
        house.settle(granted, succeeded()).await.unwrap();
    }
    house.finish().await;
}

async fn a_draining_worker_claims_nothing_until_it_is_told_to_go_on(base: Base) {
    let mut house = House::new(&base).await;
    house.serve();
    house.submit(CHAIN).await;
    let first = house.next().await;
    house.demand.drain(true);
    house.settle(first, succeeded()).await.unwrap();
    assert!(house.is_quiet().await);
    house.demand.drain(false);
    house.store.ring();
    let second = house.next().await;
    house.settle(second, succeeded()).await.unwrap();
    house.finish().await;
}

async fn a_worker_takes_no_more_tasks_than_it_was_to_do(base: Base) {
    let abilities = Abilities {
        max_tasks: Some(3),
        ..Abilities::default()
    };
    let mut house = able(&base, 2, abilities).await;
    house.serve();
    for _ in 0..5 {
        house.submit(ONE).await;
    }
    for _ in 0..3 {
        let granted = house.next().await;
        house.settle(granted, succeeded()).await.unwrap();
    }
    assert_eq!(house.demand.farewell().await, Farewell::TasksDone);
    assert!(house.is_quiet().await);
    house.finish().await;
}

async fn a_task_goes_only_to_a_worker_with_the_labels_it_requires(base: Base) {
    let mut plain = House::with_slots(&base, 4).await;
    let store = base.open(plain.clock.clone()).await.unwrap();
    let lanes = [("default", 4)];
    let abilities = labels(r#"["a100","fp16"]"#);
    let mut able = House::able(store, &base, plain.clock.clone(), &lanes, abilities).await;
    let requires = |list: &str| ONE.replace("task: t", &format!("task: t, requires: {list}"));
    let fp16 = plain.submit(&requires("fp16")).await;
    let both = plain.submit(&requires("[fp16, a100]")).await;
    let none = plain.submit(&requires("[a100, h100]")).await;
    let anybody = plain.submit(ONE).await;
    plain.serve();
    let granted = plain.next().await;
    assert_eq!(
        granted.claim.key.run, anybody,
        "what is not for it is passed over"
    );
    plain.settle(granted, succeeded()).await.unwrap();
    assert!(plain.is_quiet().await);
    able.serve();
    let granted = [able.next().await, able.next().await];
    assert_eq!(granted.each_ref().map(|g| g.claim.key.run), [fp16, both]);
    for granted in granted {
        able.settle(granted, succeeded()).await.unwrap();
    }
    assert!(able.is_quiet().await);
    assert_eq!(plain.state(none).await, RunState::Pending);
    able.store.close().await;
    plain.finish().await;
}

async fn the_engines_own_part_of_a_mapped_step_requires_nothing(base: Base) {
    let clock = Clock::manual(Timestamp(1_700_000_000_000));
    let mut house = House::beside(&base, clock, &[("control", 1), ("default", 1)]).await;
    house.serve();
    let mapped =
        "name: m\nsteps:\n  a: { task: t, requires: a100, memory: 1GB, foreach: '${{ [1] }}' }\n";
    house.submit(mapped).await;
    let whole = house.next().await;
    assert_eq!(whole.claim.key.item, -1);
    let items = Outcome::Mapped(vec![json!(1)]);
    house.settle(whole, items).await.unwrap();
    assert!(house.is_quiet().await, "the item does");
    house.finish().await;
}

async fn tasks_that_say_what_memory_they_need_run_beside_each_other_only_where_they_fit(
    base: Base,
) {
    let abilities = Abilities {
        memory_bytes: Some(16_000_000_000),
        ..Abilities::default()
    };
    let mut house = able(&base, 8, abilities).await;
    let needs = |size: &str| ONE.replace("task: t", &format!("task: t, memory: {size}"));
    let too_large = house.submit(&needs("17GB")).await;
    let ten = house.submit(&needs("10GB")).await;
    let eight = house.submit(&needs("8GB")).await;
    house.serve();
    let first = house.next().await;
    assert_eq!(first.claim.key.run, ten);
    assert!(house.is_quiet().await, "8 do not fit beside 10");
    let small = house.submit(&needs("6GB")).await;
    let second = house.next().await;
    assert_eq!(second.claim.key.run, small, "but 6 do");
    let free = house.submit(ONE).await;
    let third = house.next().await;
    assert_eq!(
        third.claim.key.run, free,
        "and what says nothing counts nothing"
    );
    house.settle(first, succeeded()).await.unwrap();
    house.store.ring();
    let fourth = house.next().await;
    assert_eq!(fourth.claim.key.run, eight);
    for granted in [second, third, fourth] {
        house.settle(granted, succeeded()).await.unwrap();
    }
    assert!(house.is_quiet().await);
    house.act(too_large, RunAction::Cancel).await.unwrap();
    house.finish().await;
}

on_both! {
    a_worker_is_seen_with_its_slots_and_with_what_it_is_doing,
    workers_that_are_gone_are_seen_for_a_day_on_request,
    what_an_operator_wants_is_heard_with_the_heartbeat_and_wishes_add_up,
    slots_grow_at_once_and_shrink_as_attempts_end,
    a_draining_worker_claims_nothing_until_it_is_told_to_go_on,
    a_worker_takes_no_more_tasks_than_it_was_to_do,
    a_task_goes_only_to_a_worker_with_the_labels_it_requires,
    the_engines_own_part_of_a_mapped_step_requires_nothing,
    tasks_that_say_what_memory_they_need_run_beside_each_other_only_where_they_fit,
}

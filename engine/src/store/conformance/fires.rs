//! Runs that begin as a record moves on: both or neither, and by one alone.

use super::*;
use crate::store::{Fire, Keep};

fn keep(body: &str, seen: i64, due_at: Option<i64>) -> Keep {
    Keep {
        kind: "schedule",
        id: "nightly".to_owned(),
        body: Some(body.to_owned()),
        seen: Some(seen),
        due_at: due_at.map(Timestamp),
    }
}

fn run(house: &House, key: &str) -> NewRun {
    let (plan, spec) = plan(ONE);
    NewRun {
        id: RunId::new(house.clock.now()),
        plan,
        spec,
        inputs: Arc::new(json!({})),
        options: RunOptions {
            idempotency_key: Some(key.to_owned()),
            ..RunOptions::default()
        },
    }
}

async fn fire(house: &House, keep: Keep, runs: Vec<NewRun>) -> Option<Vec<(RunId, bool)>> {
    let fire = Op::Fire(Box::new(Fire { keep, runs }));
    match house.store.write(fire).await.unwrap() {
        Answer::Fired(begun) => begun,
        other => panic!("{other:?}"),
    }
}

async fn a_tick_begins_its_runs_as_its_record_moves_on_or_not_at_all(base: Base) {
    let house = House::with_slots(&base, 1).await;
    house
        .store
        .write(Op::Keep(keep("1", 0, Some(5))))
        .await
        .unwrap();
    let (first, second) = (run(&house, "a"), run(&house, "b"));
    let ids = [first.id, second.id];
    let begun = fire(&house, keep("2", 1, Some(9)), vec![first, second]).await;
    assert_eq!(begun, Some(vec![(ids[0], true), (ids[1], true)]));
    // Whoever saw the record before that is too late, whatever it wants to begin.
    let late = run(&house, "c");
    let late_id = late.id;
    assert_eq!(fire(&house, keep("2", 1, Some(9)), vec![late]).await, None);
    assert!(house.store.run(late_id).await.is_err());
    // A tick that has its run gets no second one, and the record moves on all the same.
    let again = run(&house, "a");
    let begun = fire(&house, keep("3", 2, None), vec![again]).await;
    assert_eq!(begun, Some(vec![(ids[0], false)]));
    let kept = house
        .store
        .record("schedule", "nightly")
        .await
        .unwrap()
        .unwrap();
    assert_eq!((kept.body, kept.revision), (json!(3), 3));
    house.finish().await;
}

async fn due_records_are_found_when_they_are_due(base: Base) {
    let house = House::with_slots(&base, 1).await;
    let due = async |now: i64| {
        let found = house
            .store
            .due_records("schedule", Timestamp(now), 10)
            .await;
        found.unwrap().len()
    };
    house
        .store
        .write(Op::Keep(keep("1", 0, Some(50))))
        .await
        .unwrap();
    assert_eq!((due(49).await, due(50).await), (0, 1));
    house
        .store
        .write(Op::Keep(keep("2", 1, Some(60))))
        .await
        .unwrap();
    assert_eq!((due(59).await, due(60).await), (0, 1));
    house
        .store
        .write(Op::Keep(keep("3", 2, None)))
        .await
        .unwrap();
    assert_eq!(due(i64::MAX / 2).await, 0, "never");
    house.finish().await;
}

on_both!(
    a_tick_begins_its_runs_as_its_record_moves_on_or_not_at_all,
    due_records_are_found_when_they_are_due,
);

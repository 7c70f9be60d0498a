//! Workers that vanish, come late, or come back.

use super::*;
use crate::run::TaskState;
use crate::store::{AttemptReport, RunAction};
use crate::task::{LogLevel, LogLine, Progress};

/// Lets the lease of a house's worker run out, and gives it a new name.
async fn lose(house: &House) -> super::super::SweepCounts {
    house.clock.advance(LEASE + Duration::from_secs(1));
    let counts = house.sweep().await;
    let again = WorkerId::new(house.clock.now());
    house.register(again).await;
    house.demand.rename(again);
    house.store.ring();
    counts
}

async fn what_a_vanished_worker_held_is_given_to_another_and_its_late_report_changes_nothing(
    base: Base,
) {
    let mut lost = House::new(&base).await;
    lost.serve();
    let run = lost.submit(CHAIN).await;
    let late = lost.next().await;
    let mut other = House::beside(&lost.base, lost.clock.clone(), &[("default", 1)]).await;
    other.clock.advance(LEASE + Duration::from_secs(1));
    let alive = WorkerId::new(other.clock.now());
    other.register(alive).await;
    other.demand.rename(alive);
    let counts = other.sweep().await;
    assert_eq!(
        (counts.attempts, counts.workers),
        (1, 2),
        "both first leases are over"
    );
    other.serve();
    let second = other.next().await;
    assert_eq!(
        (second.claim.key, second.claim.attempt),
        (late.claim.key, 2)
    );

    let before = other.store.events_after(run, 0).await.unwrap().len();
    let refused = lost.settle(late, succeeded()).await;
    assert_eq!(refused, Err(TransitionError::Stale { state: "running" }));
    let events = other.store.events_after(run, 0).await.unwrap();
    assert_eq!(events.len(), before, "not even an event");
    other.settle(second, succeeded()).await.unwrap();
    let attempts: Vec<_> = other
        .store
        .attempts(run)
        .await
        .unwrap()
        .iter()
        .map(|a| (a.attempt, a.outcome))
        .collect();
    assert_eq!(
        attempts,
        [(1, AttemptOutcome::Lost), (2, AttemptOutcome::Succeeded)]
    );
    other.finish().await;
}

async fn three_lost_workers_quarantine_a_task(base: Base) {
    let mut house = House::new(&base).await;
    house.serve();
    let run = house.submit(ONE).await;
    for attempt in 1..=3 {
        let granted = house.next().await;
        assert_eq!(granted.claim.attempt, attempt);
        assert_eq!(lose(&house).await.attempts, 1);
    }
    let view = house.store.run(run).await.unwrap();
    assert_eq!(
        (view.state, view.failure.unwrap().class.as_str()),
        (RunState::Failed, "quarantined")
    );
    assert!(house.is_quiet().await);
    house.finish().await;
}

async fn a_heartbeat_keeps_a_lease_and_a_silent_worker_loses_it(base: Base) {
    let mut house = House::new(&base).await;
    house.serve();
    house.submit(ONE).await;
    let granted = house.next().await;
    for _ in 0..5 {
        house.clock.advance(LEASE - Duration::from_secs(1));
        let beat = Op::Heartbeat {
            worker: house.demand.worker(),
            lease_until: house.clock.now().after(LEASE),
            holds: vec![(granted.claim.key, granted.claim.token)],
            status: WorkerStatus::default(),
        };
        let Answer::Beat { is_live, lost, .. } = house.store.write(beat).await.unwrap() else {
            panic!("no beat")
        };
        assert!(is_live && lost.is_empty());
        assert_eq!(house.sweep().await.attempts, 0);
    }
    house.clock.advance(LEASE + Duration::from_secs(1));
    assert_eq!(house.sweep().await.attempts, 1);
    house.finish().await;
}

async fn a_heartbeat_of_nobody_we_know_is_told_so_and_which_tasks_it_does_not_hold(base: Base) {
    let mut house = House::new(&base).await;
    house.serve();
    let run = house.submit(ONE).await;
    let granted = house.next().await;
    let stranger = WorkerId::new(house.clock.now());
    let unknown = TaskKey::step(RunId::new(house.clock.now()), 0);
    let holds = vec![(granted.claim.key, granted.claim.token), (unknown, 5)];
    let beat = Op::Heartbeat {
        worker: stranger,
        lease_until: house.clock.now().after(LEASE),
        holds: holds.clone(),
        status: WorkerStatus::default(),
    };
    let Answer::Beat { is_live, lost, .. } = house.store.write(beat).await.unwrap() else {
        panic!("no beat")
    };
    assert_eq!((is_live, lost), (false, vec![unknown]));

    house.act(run, RunAction::Cancel).await.unwrap();
    let beat = Op::Heartbeat {
        worker: house.demand.worker(),
        lease_until: house.clock.now().after(LEASE),
        holds,
        status: WorkerStatus::default(),
    };
    let Answer::Beat { is_live, lost, .. } = house.store.write(beat).await.unwrap() else {
        panic!("no beat")
    };
    assert_eq!(
        (is_live, lost.len()),
        (true, 2),
        "a cancelled task is nobody's"
    );
    house.finish().await;
}

async fn a_worker_that_signed_off_or_was_declared_lost_is_not_revived_by_a_heartbeat(base: Base) {
    let house = House::new(&base).await;
    let worker = house.demand.worker();
    house.store.write(Op::Retire(worker)).await.unwrap();
    let beat = Op::Heartbeat {
        worker,
        lease_until: house.clock.now().after(LEASE),
        holds: Vec::new(),
        status: WorkerStatus::default(),
    };
    let Answer::Beat { is_live, .. } = house.store.write(beat).await.unwrap() else {
        panic!("no beat")
    };
    assert!(!is_live);
    house.finish().await;
}

async fn an_attempt_long_past_its_time_is_taken_from_a_worker_that_lives(base: Base) {
    let mut house = House::new(&base).await;
    house.serve();
    let run = house
        .submit(&ONE.replace("task: t", "task: t, timeout: 5s"))
        .await;
    let granted = house.next().await;
    house.clock.advance(Duration::from_millis(5_500));
    assert_eq!(
        house.sweep().await.attempts,
        0,
        "its worker has a moment to see to it itself"
    );
    house.clock.advance(Duration::from_secs(1));
    assert_eq!(house.sweep().await.attempts, 1);
    assert_eq!(
        house.store.run(run).await.unwrap().failure.unwrap().outcome,
        AttemptOutcome::TimedOut
    );
    assert!(house.settle(granted, succeeded()).await.is_err());
    house.finish().await;
}

async fn progress_and_log_lines_are_kept_and_late_progress_is_not(base: Base) {
    let mut house = House::new(&base).await;
    house.serve();
    let run = house
        .submit(&ONE.replace("task: t", "task: t, retry: { attempts: 5 }"))
        .await;
    let Granted {
        claim: first,
        permit,
        ..
    } = house.next().await;
    drop(permit);
    let said = |token, text: &str| {
        let line = LogLine {
            level: LogLevel::Info,
            message: text.to_owned(),
        };
        let progress = Progress {
            preview: None,
            fraction: 0.5,
            message: text.to_owned(),
            items: None,
        };
        Op::Report(AttemptReport {
            key: key(run),
            attempt: 1,
            token,
            progress: Some(progress),
            logs: vec![(1, Timestamp(1), line)],
        })
    };
    house.store.write(said(first.token, "mine")).await.unwrap();
    house
        .store
        .write(said(first.token, "mine, twice"))
        .await
        .unwrap();
    lose(&house).await;
    let second = house.next().await;
    house.store.write(said(first.token, "late")).await.unwrap();
    assert_eq!(
        house.store.progress(run).await.unwrap(),
        [],
        "the second attempt has said nothing yet"
    );
    let lines: Vec<_> = house
        .store
        .logs(run)
        .await
        .unwrap()
        .into_iter()
        .map(|l| l.message)
        .collect();
    assert_eq!(lines, ["mine"], "a line of an attempt is written once");
    house.settle(second, succeeded()).await.unwrap();
    house.finish().await;
}

async fn sweeping_twice_or_by_two_processes_loses_an_attempt_once(base: Base) {
    let mut house = House::new(&base).await;
    house.serve();
    let run = house.submit(ONE).await;
    house.next().await;
    let other = House::beside(&house.base, house.clock.clone(), &[]).await;
    house.demand.close();
    house.clock.advance(LEASE + Duration::from_secs(1));
    let sweeps = tokio::join!(house.sweep(), other.sweep(), house.sweep(), other.sweep());
    assert_eq!(
        sweeps.0.attempts + sweeps.1.attempts + sweeps.2.attempts + sweeps.3.attempts,
        1
    );
    let task = house.store.tasks(run, false).await.unwrap().remove(0);
    assert_eq!(task.state, TaskState::Retrying);
    assert_eq!(house.store.attempts(run).await.unwrap().len(), 1);
    house.finish().await;
}

/// Between a look and its report, an attempt may have been given up by somebody else and begun anew.
/// A worker that was away and is back did not crash: what it held loses no more than the time.
async fn a_worker_that_comes_back_is_excused(base: Base) {
    let mut house = House::with_slots(&base, 8).await;
    house.serve();
    let run = house.submit(ONE).await;
    for _ in 0..5 {
        let held = house.next().await;
        let worker = house.demand.worker();
        assert_eq!(lose(&house).await.attempts, 1);
        // It is another's already, and is under way there.
        let again = house.next().await;
        let excuse = Op::Excuse(worker, vec![held.claim.key]);
        house.store.write(excuse).await.unwrap();
        house.settle(again, Outcome::Released).await.unwrap();
        drop(held);
    }
    assert_eq!(house.state(run).await, RunState::Running, "nobody crashed");
    let outcomes = house.store.attempts(run).await.unwrap();
    assert!(
        outcomes
            .iter()
            .all(|a| a.outcome == AttemptOutcome::Released),
        "{outcomes:?}"
    );
    let last = house.next().await;
    house.settle(last, succeeded()).await.unwrap();
    house.finish().await;
}

async fn a_look_from_before_takes_nothing_that_was_claimed_since(base: Base) {
    let mut house = House::new(&base).await;
    house.serve();
    let run = house.submit(ONE).await;
    let first = house.next().await;
    house.clock.advance(LEASE + Duration::from_secs(1));
    let now = house.clock.now();
    let seen = house.store.overdue(now, 1_000, &[], now).await.unwrap();
    assert_eq!(seen, [(first.claim.key, first.claim.token, true)]);
    drop(first);
    assert_eq!(lose(&house).await.attempts, 1);
    let second = house.next().await;
    assert_eq!(second.claim.attempt, 2);
    let late = super::super::Overdue {
        leases_before: now,
        workers: Vec::new(),
        attempts: seen,
    };
    match house.store.write(Op::Sweep(late)).await.unwrap() {
        Answer::Swept(counts) => assert_eq!(counts.attempts, 0),
        other => panic!("{other:?}"),
    }
    house.settle(second, succeeded()).await.unwrap();
    assert_eq!(house.state(run).await, RunState::Succeeded);
    house.finish().await;
}

async fn a_run_whose_time_is_up_fails_once_and_its_last_word_is_had_once(base: Base) {
    let mut house = House::new(&base).await;
    house.serve();
    let run = house
        .submit("name: late\ntimeout: 5s\nsteps:\n  a: { task: t }\non_failure: { task: t }\n")
        .await;
    let first = house.next().await;
    house.clock.advance(Duration::from_secs(6));
    assert_eq!(house.sweep().await.runs, 1);
    assert!(house.settle(first, succeeded()).await.is_err());
    let last = house.next().await;
    assert_eq!(last.claim.key.step, 1);
    assert_eq!(house.sweep().await.runs, 0);
    assert!(house.is_quiet().await, "the last word is not begun again");
    house.settle(last, succeeded()).await.unwrap();
    let view = house.store.run(run).await.unwrap();
    assert_eq!(
        (view.state, view.failure.unwrap().class.as_str()),
        (RunState::Failed, "timeout")
    );
    house.finish().await;
}

async fn a_worker_given_up_for_lost_claims_nothing_until_it_begins_anew(base: Base) {
    let mut house = House::new(&base).await;
    house.serve();
    assert!(house.is_quiet().await);
    house.clock.advance(LEASE + Duration::from_secs(1));
    let run = house.submit(ONE).await;
    assert!(house.inbox.try_recv().is_err(), "its lease is over");
    house.sweep().await;
    house.store.ring();
    assert!(house.is_quiet().await, "it is lost");
    let again = WorkerId::new(house.clock.now());
    house.register(again).await;
    house.demand.rename(again);
    house.store.ring();
    let granted = house.next().await;
    assert_eq!((granted.claim.key.run, granted.claim.attempt), (run, 1));
    house.settle(granted, succeeded()).await.unwrap();
    house.finish().await;
}

on_both! {
    what_a_vanished_worker_held_is_given_to_another_and_its_late_report_changes_nothing,
    three_lost_workers_quarantine_a_task,
    a_heartbeat_keeps_a_lease_and_a_silent_worker_loses_it,
    a_heartbeat_of_nobody_we_know_is_told_so_and_which_tasks_it_does_not_hold,
    a_worker_that_signed_off_or_was_declared_lost_is_not_revived_by_a_heartbeat,
    an_attempt_long_past_its_time_is_taken_from_a_worker_that_lives,
    progress_and_log_lines_are_kept_and_late_progress_is_not,
    sweeping_twice_or_by_two_processes_loses_an_attempt_once,
    a_worker_that_comes_back_is_excused,
    a_look_from_before_takes_nothing_that_was_claimed_since,
    a_run_whose_time_is_up_fails_once_and_its_last_word_is_had_once,
    a_worker_given_up_for_lost_claims_nothing_until_it_begins_anew,
}

//! Reports that were foreseen, and what others may have done in between.

use super::*;
use crate::run::TaskState;
use crate::store::{QueueAction, RunAction};

const LINE: &str = "name: line\nsteps:
  a: { task: t }
  b: { task: t, needs: [a] }
  c: { task: t, needs: [b] }
  d: { task: t, needs: [c] }\n";

/// Reports as workers do: with what spares the store its questions.
pub(super) async fn tell(
    house: &House,
    granted: Granted,
    outcome: Outcome,
) -> Result<(), TransitionError> {
    let Granted { claim, permit, .. } = granted;
    house.demand.held.leave(claim.key, claim.token);
    let mut settlement = report(&claim, outcome);
    settlement.plan = Some(Arc::clone(&claim.plan));
    settlement.is_top = claim.run.depth == 0;
    let op = Op::Settle(Box::new(settlement));
    match house.store.write_freeing(op, Some(permit)).await.unwrap() {
        Answer::Settled(result) => result,
        other => panic!("{other:?}"),
    }
}

/// How often a report was as foreseen, and how often not.
fn tally(house: &House) -> (u64, u64) {
    house.store.foreseen.read()
}

/// A run of [`LINE`] whose first task is claimed, and foreseen.
async fn begun(base: &Base) -> (House, RunId, Granted) {
    let mut house = House::new(base).await;
    house.serve();
    let run = house.submit(LINE).await;
    let granted = house.next().await;
    (house, run, granted)
}

async fn states(house: &House, run: RunId) -> Vec<TaskState> {
    let tasks = house.store.tasks(run, false).await.unwrap();
    tasks.into_iter().map(|task| task.state).collect()
}

async fn a_chain_is_foreseen_from_its_submit_to_its_end(base: Base) {
    let (mut house, run, first) = begun(&base).await;
    tell(&house, first, succeeded()).await.unwrap();
    for step in 1..4 {
        let granted = house.next().await;
        assert_eq!((granted.claim.key.step, granted.claim.attempt), (step, 1));
        tell(&house, granted, succeeded()).await.unwrap();
    }
    assert_eq!(tally(&house), (4, 0));
    assert_eq!(house.state(run).await, RunState::Succeeded);
    assert_eq!(house.store.attempts(run).await.unwrap().len(), 4);
    house.finish().await;
}

async fn a_failure_is_decided_on_what_was_foreseen_too(base: Base) {
    let (mut house, run, first) = begun(&base).await;
    let error = TaskError::fatal("broken", "it is");
    tell(&house, first, failed(error)).await.unwrap();
    assert_eq!(tally(&house), (1, 0));
    assert_eq!(house.state(run).await, RunState::Failed);
    assert!(house.is_quiet().await);
    house.finish().await;
}

async fn a_run_that_another_process_paused_meanwhile_stays_paused(base: Base) {
    let (mut house, run, first) = begun(&base).await;
    let other = House::beside(&base, house.clock.clone(), &[]).await;
    other.act(run, RunAction::Pause).await.unwrap();
    tell(&house, first, succeeded()).await.unwrap();
    assert_eq!(tally(&house), (0, 1));
    assert!(house.is_quiet().await, "the next step waits");
    other.act(run, RunAction::Resume).await.unwrap();
    house.beat().await;
    let granted = house.next().await;
    assert_eq!(granted.claim.key.step, 1);
    tell(&house, granted, succeeded()).await.unwrap();
    house.work_off(&[run]).await;
    other.finish().await;
    house.finish().await;
}

async fn a_run_that_another_process_cancelled_meanwhile_takes_no_report(base: Base) {
    let (mut house, run, first) = begun(&base).await;
    let other = House::beside(&base, house.clock.clone(), &[]).await;
    other.act(run, RunAction::Cancel).await.unwrap();
    let refused = tell(&house, first, succeeded()).await.unwrap_err();
    assert!(
        matches!(refused, TransitionError::Stale { .. }),
        "{refused}"
    );
    assert_eq!(tally(&house), (0, 1));
    assert_eq!(states(&house, run).await, [TaskState::Cancelled; 4]);
    assert!(house.is_quiet().await);
    other.finish().await;
    house.finish().await;
}

async fn a_task_that_was_taken_away_takes_no_report(base: Base) {
    let (house, run, first) = begun(&base).await;
    let mut other = stranger(&base).await;
    // The run's own row stays as it was: what counts here is the task's.
    execute(
        &mut other,
        &format!("update task_runs set token = token + 1 where run_id = '{run}' and step = 0"),
    )
    .await;
    let refused = tell(&house, first, succeeded()).await.unwrap_err();
    assert!(
        matches!(refused, TransitionError::Stale { .. }),
        "{refused}"
    );
    assert_eq!(tally(&house), (0, 1));
    assert_eq!(states(&house, run).await[0], TaskState::Running);
    house.store.close().await;
}

async fn a_successor_that_changed_meanwhile_is_seen_as_it_is(base: Base) {
    let (mut house, run, first) = begun(&base).await;
    let mut other = stranger(&base).await;
    execute(
        &mut other,
        &format!("update task_runs set pending = 2 where run_id = '{run}' and step = 1"),
    )
    .await;
    tell(&house, first, succeeded()).await.unwrap();
    assert_eq!(tally(&house), (0, 1));
    assert_eq!(states(&house, run).await[1], TaskState::Blocked);
    assert!(house.is_quiet().await);
    house.store.close().await;
}

async fn what_was_foreseen_serves_one_report_only(base: Base) {
    let (mut house, run, first) = begun(&base).await;
    let mut again = report(&first.claim, succeeded());
    again.plan = Some(Arc::clone(&first.claim.plan));
    again.is_top = true;
    tell(&house, first, succeeded()).await.unwrap();
    let answer = house.store.write(Op::Settle(Box::new(again))).await;
    assert!(
        matches!(
            answer,
            Ok(Answer::Settled(Err(TransitionError::Stale { .. })))
        ),
        "{answer:?}"
    );
    assert_eq!(tally(&house), (1, 0));
    house.work_off(&[run]).await;
    house.finish().await;
}

async fn after_a_wrong_guess_none_is_made_for_a_while(base: Base) {
    let (mut house, run, first) = begun(&base).await;
    let other = House::beside(&base, house.clock.clone(), &[]).await;
    other.act(run, RunAction::Pause).await.unwrap();
    other.act(run, RunAction::Resume).await.unwrap();
    tell(&house, first, succeeded()).await.unwrap();
    for _ in 1..4 {
        let granted = house.next().await;
        tell(&house, granted, succeeded()).await.unwrap();
    }
    assert_eq!(tally(&house), (0, 1));
    assert_eq!(house.state(run).await, RunState::Succeeded);
    let mut steps = 0;
    while tally(&house).0 == 0 {
        assert!(steps < 40, "it looks ahead again some time");
        let run = house.submit(LINE).await;
        for _ in 0..4 {
            let granted = house.next().await;
            assert_eq!(granted.claim.key.run, run);
            tell(&house, granted, succeeded()).await.unwrap();
            steps += 1;
        }
    }
    other.finish().await;
    house.finish().await;
}

async fn a_successor_does_not_jump_the_line(base: Base) {
    let (mut house, run, first) = begun(&base).await;
    let other = House::beside(&base, house.clock.clone(), &[]).await;
    let urgent = RunOptions {
        priority: 10,
        ..RunOptions::default()
    };
    let urgent = other.submit_with(ONE, urgent).await;
    tell(&house, first, succeeded()).await.unwrap();
    let granted = house.next().await;
    assert_eq!(granted.claim.key.run, urgent);
    tell(&house, granted, succeeded()).await.unwrap();
    let granted = house.next().await;
    assert_eq!((granted.claim.key.run, granted.claim.key.step), (run, 1));
    tell(&house, granted, succeeded()).await.unwrap();
    house.work_off(&[run]).await;
    other.finish().await;
    house.finish().await;
}

async fn a_successor_in_a_queue_that_another_process_paused_waits(base: Base) {
    let (mut house, run, first) = begun(&base).await;
    let other = House::beside(&base, house.clock.clone(), &[]).await;
    let queue = QueueName::new("default").unwrap();
    let order = |action| Op::Queue(queue.clone(), action);
    other.store.write(order(QueueAction::Pause)).await.unwrap();
    tell(&house, first, succeeded()).await.unwrap();
    assert_eq!(tally(&house), (1, 0));
    assert!(house.is_quiet().await);
    assert_eq!(states(&house, run).await[1], TaskState::Ready);
    other.store.write(order(QueueAction::Resume)).await.unwrap();
    house.beat().await;
    let granted = house.next().await;
    assert_eq!((granted.claim.key.step, granted.claim.attempt), (1, 1));
    tell(&house, granted, succeeded()).await.unwrap();
    house.work_off(&[run]).await;
    other.finish().await;
    house.finish().await;
}

async fn a_worker_given_up_for_lost_is_not_handed_the_successor(base: Base) {
    let (mut house, run, first) = begun(&base).await;
    let mut other = stranger(&base).await;
    execute(&mut other, "update workers set state = 'lost'").await;
    tell(&house, first, succeeded()).await.unwrap();
    assert!(house.is_quiet().await);
    assert_eq!(states(&house, run).await[1], TaskState::Ready);
    house.finish().await;
}

on_both! {
    a_chain_is_foreseen_from_its_submit_to_its_end,
    a_failure_is_decided_on_what_was_foreseen_too,
    a_run_that_another_process_paused_meanwhile_stays_paused,
    a_run_that_another_process_cancelled_meanwhile_takes_no_report,
    a_task_that_was_taken_away_takes_no_report,
    a_successor_that_changed_meanwhile_is_seen_as_it_is,
    what_was_foreseen_serves_one_report_only,
    after_a_wrong_guess_none_is_made_for_a_while,
    a_successor_does_not_jump_the_line,
    a_successor_in_a_queue_that_another_process_paused_waits,
    a_worker_given_up_for_lost_is_not_handed_the_successor,
}

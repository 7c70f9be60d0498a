//! Trees of runs that are too large for one commit: cancelled and deleted a portion at a time.

use serde_json::Value;

use super::super::teardown::BUDGET;
use super::*;
use crate::run::Parent;
use crate::store::RunAction;
use crate::workflow::plan::CONTROL_QUEUE;

const WIDE: &str = "name: wide\nsteps:\n  all: { foreach: \"${{ [1] }}\", task: t }\n";
const TREE: &str = "name: tree\nsteps:\n  all: { foreach: \"${{ [1] }}\", workflow: one }\n";
const TOLERANT: &str = "name: tolerant\nsteps:\n  all: { foreach: \"${{ [1] }}\", task: t, on_failure: continue }\n  after: { task: t, needs: [all] }\n";

/// More tasks than one commit cancels.
fn many() -> usize {
    usize::try_from(BUDGET).unwrap() * 5 / 2
}

/// A process that maps and delegates, and as yet does nothing else.
async fn house(base: &Base) -> House {
    let clock = Clock::manual(Timestamp(1_700_000_000_000));
    let house = House::beside(base, clock, &[("default", 0), (CONTROL_QUEUE, 5_000)]).await;
    house.serve();
    house
}

/// From now on it takes so many tasks of the default queue at a time.
fn serve_tasks(house: &House, slots: u32) {
    house.demand.lanes[0].resize(slots);
    house.store.ring();
}

/// A run of so many items, all of which could begin.
async fn wide(house: &mut House, definition: &str, items: usize) -> RunId {
    let run = house.submit(definition).await;
    let mapping = house.next().await;
    let items = (0..items).map(Value::from).collect();
    house.settle(mapping, Outcome::Mapped(items)).await.unwrap();
    run
}

/// A run of so many items, each of which is a run of its own with a task that could begin.
async fn tree(house: &mut House, items: usize) -> (RunId, Vec<RunId>) {
    let run = wide(house, TREE, items).await;
    let (plan, spec) = plan(ONE);
    let mut granted = Vec::with_capacity(items);
    while granted.len() < items {
        // A commit claims so many and no more; the next one is this.
        if granted.len().is_multiple_of(200) {
            house.beat().await;
        }
        granted.push(house.next().await);
    }
    let mut children = Vec::with_capacity(items);
    let reports: Vec<_> = granted
        .into_iter()
        .map(|granted| {
            let child = NewRun {
                id: RunId::new(house.clock.now()),
                plan: Arc::clone(&plan),
                spec: Arc::clone(&spec),
                inputs: Arc::new(json!({})),
                options: RunOptions {
                    depth: 1,
                    parent: Some(Parent {
                        task: granted.claim.key,
                        attempt: granted.claim.attempt,
                    }),
                    ..RunOptions::default()
                },
            };
            children.push(child.id);
            house.settle(granted, Outcome::Delegated(Box::new(child)))
        })
        .collect();
    for settled in futures_util::future::join_all(reports).await {
        settled.unwrap();
    }
    (run, children)
}

async fn live_tasks(look: &mut Stranger) -> i64 {
    let live =
        "select count(*) from task_runs where state in ('blocked', 'ready', 'running', 'retrying')";
    number(look, live).await
}

async fn a_wide_run_is_cancelled_in_portions_and_gives_no_task_meanwhile(base: Base) {
    let mut house = house(&base).await;
    let run = wide(&mut house, WIDE, many()).await;
    let mut look = stranger(&base).await;

    assert_eq!(
        house.act(run, RunAction::Cancel).await,
        Ok(RunState::Cancelled)
    );

    let left = live_tasks(&mut look).await;
    assert!(left > 0, "one commit cancels so much and no more");
    serve_tasks(&house, 10);
    assert!(house.is_quiet().await, "what is cancelled was begun");
    house.store.tear_down().await.unwrap();
    assert_eq!(live_tasks(&mut look).await, 0);
    assert_eq!(number(&mut look, "select count(*) from teardowns").await, 0);
    house.finish().await;
}

async fn a_tree_is_cancelled_in_portions_and_gives_no_task_meanwhile(base: Base) {
    let mut house = house(&base).await;
    let (run, children) = tree(&mut house, many()).await;
    let other = house.submit(ONE).await;

    assert_eq!(
        house.act(run, RunAction::Cancel).await,
        Ok(RunState::Cancelled)
    );

    let mut states = Vec::new();
    for child in [children[0], children[children.len() - 1]] {
        states.push(house.state(child).await);
    }
    assert!(
        states.contains(&RunState::Pending),
        "one commit cancels so much and no more"
    );
    serve_tasks(&house, 10);
    let granted = house.next().await;
    assert_eq!(granted.claim.key.run, other, "what is cancelled was begun");
    house.settle(granted, succeeded()).await.unwrap();
    assert!(house.is_quiet().await, "what is cancelled was begun");
    house.store.tear_down().await.unwrap();
    for child in children {
        assert_eq!(house.state(child).await, RunState::Cancelled);
    }
    house.finish().await;
}

/// A child that its portion has not reached yet goes on as far as it is under way, and begins nothing more.
async fn a_child_that_still_runs_begins_nothing_more_once_the_tree_is_cancelled(base: Base) {
    let mut house = house(&base).await;
    let (run, children) = tree(&mut house, many()).await;
    // The last of all: its turn comes last.
    let mut look = stranger(&base).await;
    let last = children.last().unwrap();
    execute(
        &mut look,
        &format!("update task_runs set priority = 9 where run_id = '{last}'"),
    )
    .await;
    serve_tasks(&house, 1);
    let granted = house.next().await;
    assert_eq!(granted.claim.key.run, *last);
    house.act(run, RunAction::Cancel).await.unwrap();

    house.settle(granted, succeeded()).await.unwrap();

    assert_eq!(
        house.state(*last).await,
        RunState::Succeeded,
        "its portion had not come"
    );
    assert!(house.is_quiet().await);
    house.store.tear_down().await.unwrap();
    assert_eq!(house.state(run).await, RunState::Cancelled);
    house.finish().await;
}

async fn items_of_a_step_that_failed_fast_report_nothing_though_their_portion_has_not_come(
    base: Base,
) {
    let mut house = house(&base).await;
    let run = wide(&mut house, TOLERANT, many()).await;
    let held = u32::try_from(many()).unwrap() - 100;
    serve_tasks(&house, held);
    let mut granted = Vec::new();
    for count in 0..held {
        if count.is_multiple_of(200) {
            house.beat().await;
        }
        granted.push(house.next().await);
    }
    granted.sort_by_key(|granted| granted.claim.key.item);
    let last = granted.pop().unwrap();
    let first = granted.remove(0);

    house
        .settle(first, failed(TaskError::fatal("x", "no")))
        .await
        .unwrap();
    let late = house.settle(last, succeeded()).await;

    assert!(
        matches!(late, Err(TransitionError::Stale { .. })),
        "{late:?}"
    );
    drop(granted);
    house.store.tear_down().await.unwrap();
    let after = house.next().await;
    assert_eq!(
        after.claim.key,
        TaskKey::step(run, 1),
        "none of its items was given again"
    );
    house.settle(after, succeeded()).await.unwrap();
    assert_eq!(house.state(run).await, RunState::Succeeded);
    house.finish().await;
}

async fn a_run_that_is_still_being_cancelled_cannot_be_retried(base: Base) {
    let mut house = house(&base).await;
    let run = wide(&mut house, WIDE, many()).await;
    house.act(run, RunAction::Cancel).await.unwrap();
    let refused = house.store.write(Op::Act(run, RunAction::Retry)).await;
    assert!(
        matches!(refused, Err(StoreError::Cancelling { .. })),
        "{refused:?}"
    );
    house.store.tear_down().await.unwrap();
    assert_eq!(
        house.act(run, RunAction::Retry).await,
        Ok(RunState::Running)
    );
    serve_tasks(&house, 1);
    assert_eq!(house.next().await.claim.key.item, 0);
    house.store.close().await;
}

async fn a_tree_is_deleted_in_portions_and_its_root_at_once(base: Base) {
    let mut house = house(&base).await;
    let (run, children) = tree(&mut house, many()).await;
    house.act(run, RunAction::Cancel).await.unwrap();
    let mut look = stranger(&base).await;

    // While it is still being cancelled: that comes first.
    house.store.write(Op::Delete(run)).await.unwrap();

    assert!(matches!(
        house.store.run_state(run).await,
        Err(StoreError::NotFound { .. })
    ));
    let last = children.last().unwrap();
    assert!(
        house.store.run_state(*last).await.is_ok(),
        "one commit deletes so much and no more"
    );
    serve_tasks(&house, 10);
    assert!(house.is_quiet().await, "what is deleted was begun");
    assert_eq!(house.store.check().await.unwrap(), Vec::<String>::new());
    house.store.tear_down().await.unwrap();
    for table in [
        "runs",
        "task_runs",
        "attempts",
        "events",
        "run_tags",
        "teardowns",
    ] {
        let count = format!("select count(*) from {table}");
        assert_eq!(number(&mut look, &count).await, 0, "{table}");
    }
    house.finish().await;
}

async fn what_others_go_on_with_is_not_done_twice(base: Base) {
    let mut house = house(&base).await;
    let run = wide(&mut house, WIDE, many() * 2).await;
    let beside = House::beside(&base, house.clock.clone(), &[("default", 0)]).await;
    house.act(run, RunAction::Cancel).await.unwrap();
    let (here, there) = tokio::join!(house.store.tear_down(), beside.store.tear_down());
    here.unwrap();
    there.unwrap();
    house.store.tear_down().await.unwrap();
    let mut look = stranger(&base).await;
    assert_eq!(live_tasks(&mut look).await, 0);
    beside.finish().await;
    house.finish().await;
}

on_both!(
    a_wide_run_is_cancelled_in_portions_and_gives_no_task_meanwhile,
    a_tree_is_cancelled_in_portions_and_gives_no_task_meanwhile,
    a_child_that_still_runs_begins_nothing_more_once_the_tree_is_cancelled,
    items_of_a_step_that_failed_fast_report_nothing_though_their_portion_has_not_come,
    a_run_that_is_still_being_cancelled_cannot_be_retried,
    a_tree_is_deleted_in_portions_and_its_root_at_once,
    what_others_go_on_with_is_not_done_twice,
);

/// `PostgreSQL` only: `SQLite` has one writer at a time.
#[tokio::test]
async fn who_cancels_a_tree_and_who_reports_in_it_never_wait_for_each_other_in_a_circle() {
    let base = Base::postgres().await;
    let mut house = house(&base).await;
    let mut beside = House::beside(&base, house.clock.clone(), &[("default", 40)]).await;
    for _ in 0..15 {
        let (run, children) = tree(&mut house, 20).await;
        let (second, more) = tree(&mut house, 20).await;
        beside.serve();
        beside.store.ring();
        let mut granted = Vec::new();
        while granted.len() < children.len() + more.len() {
            granted.push(beside.next().await);
        }
        let reports = futures_util::future::join_all(
            granted
                .into_iter()
                .map(|granted| beside.settle(granted, succeeded())),
        );
        let cancels = async {
            tokio::join!(
                house.act(run, RunAction::Cancel),
                house.act(second, RunAction::Cancel)
            )
        };
        let (_, _) = tokio::join!(reports, cancels);
    }
    assert_eq!((house.store.races(), beside.store.races()), (0, 0));
    beside.finish().await;
    house.finish().await;
}

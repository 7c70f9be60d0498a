//! What a recount finds: every way in which rows may contradict each other, made by hand.

use super::*;
use crate::run::Parent;
use crate::store::RunAction;
use crate::workflow::plan::CONTROL_QUEUE;

const WORKFLOW: &str = "name: damaged\nmax_parallel: 10\nsteps:\n  first: { task: t }\n  all: { foreach: \"${{ [1] }}\", task: t, max_parallel: 3, needs: [first] }\n  last: { task: t, needs: [all] }\n";
const CALLING: &str =
    "name: calling\nsteps:\n  call: { workflow: one }\n  then: { task: t, needs: [call] }\n";
const ANSWERING: &str =
    "name: answering\nsteps:\n  a: { task: t }\noutputs:\n  x: \"${{ steps.a.x }}\"\n";

/// Runs in every state that matters, with nothing wrong: one in the middle of its items, one that waits for another, one
/// that has succeeded, one that has failed, one that is paused.
async fn populated(base: &Base) -> House {
    let clock = Clock::manual(Timestamp(1_700_000_000_000));
    let mut house = House::beside(base, clock, &[("default", 2), (CONTROL_QUEUE, 9)]).await;
    house.serve();
    let done = house.submit(ONE).await;
    house.work_off(&[done]).await;
    let answering = house.submit(ANSWERING).await;
    let Granted { claim, permit, .. } = house.next().await;
    let mut last = report(&claim, succeeded());
    last.run_output = Some("{\"x\": 1}".into());
    house.demand.held.leave(claim.key, claim.token);
    let last = Op::Settle(Box::new(last));
    house.store.write_freeing(last, Some(permit)).await.unwrap();
    assert_eq!(house.state(answering).await, RunState::Succeeded);
    let broken = house.submit(CHAIN).await;
    let granted = house.next().await;
    let error = TaskError::fatal("x", "no");
    house.settle(granted, failed(error)).await.unwrap();
    assert_eq!(house.state(broken).await, RunState::Failed);

    house.submit(CALLING).await;
    let granted = house.next().await;
    let (plan, spec) = plan(ONE);
    let child = NewRun {
        id: RunId::new(house.clock.now()),
        plan,
        spec,
        inputs: Arc::new(json!({})),
        options: RunOptions {
            depth: 1,
            parent: Some(Parent {
                task: granted.claim.key,
                attempt: granted.claim.attempt,
            }),
            tags: vec!["word".to_owned()],
            ..RunOptions::default()
        },
    };
    let delegated = Outcome::Delegated(Box::new(child));
    house.settle(granted, delegated).await.unwrap();
    // It keeps one slot, and so has a lease to lose.
    std::mem::forget(house.next().await);

    let wide = house.submit(WORKFLOW).await;
    let granted = house.next().await;
    house.settle(granted, succeeded()).await.unwrap();
    let mapping = house.next().await;
    let items = (0..6).map(serde_json::Value::from).collect();
    house.settle(mapping, Outcome::Mapped(items)).await.unwrap();
    let item = house.next().await;
    assert_eq!(item.claim.key.run, wide);
    house.settle(item, succeeded()).await.unwrap();
    std::mem::forget(house.next().await);
    let paused = house.submit(ONE).await;
    house.act(paused, RunAction::Pause).await.unwrap();
    house
}

const OF_WIDE: &str = "run_id in (select id from runs where workflow = 'damaged')";
const OF_CALLING: &str = "run_id in (select id from runs where workflow = 'calling')";

/// What is done to the database, and a word of what is to be said of it.
fn corruptions() -> Vec<(String, &'static str)> {
    let of = |statement: &str| {
        statement
            .replace("WIDE", OF_WIDE)
            .replace("CALLING", OF_CALLING)
    };
    let done = "(select id from runs where workflow = 'one' and state = 'succeeded')";
    [
        ("update task_runs set pending = 2 where WIDE and step = 2", "recount says 1"),
        ("update task_runs set pending = 0 where WIDE and step = 2", "recount says 1"),
        ("delete from task_runs where WIDE and step = 1 and item = 4", "lacks its item 4"),
        ("delete from task_runs where WIDE and step = 1 and item = 5", "has 6 items, of which 5"),
        ("delete from task_runs where WIDE and step = 2", "`last` has no row"),
        ("update task_runs set output = null where WIDE and step = 0", "output is gone"),
        ("update runs set output = null where workflow = 'answering'", "outputs are gone"),
        ("update task_runs set state = 'failed', error = '{}' where step = 0 and run_id in DONE", "yet the run has succeeded"),
        ("delete from runs where parent_run is not null", "which is gone"),
        ("update task_runs set child_run = null where CALLING and step = 0", "waits for nothing"),
        ("update runs set state = 'succeeded', finished_at = 5, open = 0 where parent_run is not null", "which is succeeded"),
        ("delete from runs where workflow = 'calling'", "run that is gone"),
        ("delete from workflow_versions where name = 'chain'", "cannot be read"),
        ("update workflow_versions set spec = replace(spec, '\"all\"', '\"any\"') where name = 'damaged'", "cannot be read"),
        ("delete from runs where workflow = 'answering'", "rows in task_runs of run"),
        ("delete from runs where workflow = 'chain'", "rows in events of run"),
        ("update task_runs set token = null where WIDE and state = 'running' and item >= 0", "under no lease"),
        ("update task_runs set worker_id = null where WIDE and state = 'running' and item >= 0", "nobody knows"),
        ("update task_runs set worker_id = 'nobody' where WIDE and state = 'running' and item >= 0", "nobody knows"),
        ("update task_runs set token = 5 where WIDE and step = 0", "yet leased"),
        ("update task_runs set held = 1 where WIDE and state = 'ready' and held = 0", "held for a pause"),
        ("update task_runs set held = 0 where held = 1", "not held for a pause"),
        ("update task_runs set held = 64 where WIDE and state = 'ready' and held = 0", "that there are not"),
        ("update task_runs set held = 8 where WIDE and state = 'ready' and held = 0", "concurrency key"),
        ("update runs set active = active + 1 where workflow = 'damaged'", "under max_parallel"),
        ("update runs set waiting = 2 where workflow = 'damaged'", "under max_parallel"),
        ("update task_runs set open = open - 1 where WIDE and step = 1 and item = -1", "items open"),
        ("update task_runs set waiting = waiting + 1 where WIDE and step = 1 and item = -1", "waiting, a recount"),
        ("update task_runs set failed = 1 where WIDE and step = 1 and item = -1", "1 failed"),
        ("update task_runs set total = 7 where WIDE and step = 1 and item = -1", "has 7 items"),
        ("delete from events where position in (select min(position) + 1 from events e where e.WIDE)", "gap"),
        ("delete from events where position in (select max(position) from events e where e.WIDE)", "its counter says"),
        ("update events set body = '[]' where position in (select max(position) from events e where e.WIDE)", "not all there"),
        ("update runs set ev_seq = ev_seq + 1 where workflow = 'damaged'", "its counter says"),
        ("update runs set open = open + 1 where workflow = 'damaged'", "open is"),
        ("update runs set state = 'running' where workflow = 'answering'", "end time"),
        ("update runs set state = 'running', finished_at = null where workflow = 'answering'", "has not ended"),
        ("update runs set failure = null where workflow = 'chain'", "nothing says why"),
        ("update task_runs set error = null where state = 'failed'", "nothing says why"),
        ("update task_runs set state = 'ready' where state = 'cancelled'", "in a run that is failed"),
        ("update task_runs set queue = 'other' where WIDE and step = 2", "queue `other`"),
        ("update task_runs set item = 100 where WIDE and step = 1 and item = 5", "lacks its item 5"),
        ("insert into attempts (run_id, step, item, attempt, outcome, finished_at) select id, 0, 7, 1, 'failed', 1 from runs where workflow = 'chain'", "at a task that is not there"),
    ]
    .into_iter()
    .map(|(statement, word)| (of(statement).replace("DONE", done), word))
    .collect()
}

/// Each of them alone, undone before the next.
async fn every_contradiction_is_found(base: Base) {
    let house = populated(&base).await;
    assert_eq!(house.store.check().await.unwrap(), Vec::<String>::new());
    let mut other = stranger(&base).await;
    let tables = [
        "runs",
        "task_runs",
        "events",
        "attempts",
        "workflow_versions",
    ];
    for table in tables {
        execute(
            &mut other,
            &format!("create table kept_{table} as select * from {table}"),
        )
        .await;
    }
    let position = match other {
        Stranger::Sqlite(_) => "",
        Stranger::Postgres(_) => " overriding system value",
    };
    let mut missed = Vec::new();
    for (statement, word) in corruptions() {
        execute(&mut other, &statement).await;
        let found = house.store.check().await.unwrap();
        if !found.iter().any(|said| said.contains(word)) {
            missed.push(format!("{statement}: {found:?}"));
        }
        for table in tables {
            let how = if table == "events" { position } else { "" };
            let back =
                format!("delete from {table}; insert into {table}{how} select * from kept_{table}");
            execute(&mut other, &back).await;
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
    assert_eq!(house.store.check().await.unwrap(), Vec::<String>::new());
    house.store.close().await;
}

on_both!(every_contradiction_is_found);

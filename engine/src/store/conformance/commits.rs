//! What one transaction does whole, or not at all.

use super::super::open;
use super::super::readers::Readers;
use super::*;
use crate::artifact::Artifact;
use crate::run::TaskState;
use crate::store::{AttemptReport, RunAction};
use crate::task::{LogLevel, LogLine};

async fn the_same_report_twice_in_one_commit_counts_once(base: Base) {
    let mut house = House::new(&base).await;
    house.serve();
    let run = house.submit(CHAIN).await;
    let Granted { claim, permit, .. } = house.next().await;
    let settle = || {
        house
            .store
            .write(Op::Settle(Box::new(report(&claim, succeeded()))))
    };
    let answers = tokio::join!(settle(), settle(), settle());
    let counted = [answers.0, answers.1, answers.2]
        .into_iter()
        .filter(|a| matches!(a, Ok(Answer::Settled(Ok(())))))
        .count();
    assert_eq!(counted, 1);
    drop(permit);
    house.store.ring();
    house.work_off(&[run]).await;
    house.finish().await;
}

async fn a_report_and_a_cancel_at_once_leave_one_story(base: Base) {
    for _ in 0..20 {
        let mut house = House::new(&base).await;
        house.serve();
        let run = house.submit(CHAIN).await;
        let granted = house.next().await;
        let (claim, token) = (granted.claim.key, granted.claim.token);
        let (settled, cancelled) = tokio::join!(
            house.settle(granted, succeeded()),
            house.act(run, RunAction::Cancel)
        );
        cancelled.unwrap();
        assert_eq!(house.state(run).await, RunState::Cancelled);
        let first = house.store.tasks(run, false).await.unwrap().remove(0);
        let expected = if settled.is_ok() {
            TaskState::Succeeded
        } else {
            TaskState::Cancelled
        };
        assert_eq!((first.state, claim.step, token != 0), (expected, 0, true));
        assert!(
            house.act(run, RunAction::Cancel).await.is_err(),
            "a second cancel finds nothing to do"
        );
        house.finish().await;
    }
}

async fn one_poisonous_result_fails_alone(base: Base) {
    let mut house = House::with_slots(&base, 40).await;
    let mut other = stranger(&house.base).await;
    let trigger = match &house.base.database {
        Database::Sqlite { .. } => {
            "create trigger poison before update on task_runs when new.output like '%poison%' begin select raise(abort, 'poisoned'); end"
        }
        Database::Postgres(_) => {
            "create function poison() returns trigger language plpgsql as $$ begin raise exception 'poisoned'; end $$;
             create trigger poison before update on task_runs for each row when (new.output like '%poison%') execute function poison()"
        }
    };
    execute(&mut other, trigger).await;
    for _ in 0..40 {
        house.submit(ONE).await;
    }
    house.serve();
    let mut claims = Vec::new();
    for _ in 0..40 {
        claims.push(house.next().await.claim);
    }
    let answers = futures_util::future::join_all(claims.iter().enumerate().map(|(n, claim)| {
        let output = if n == 17 { "\"poison\"" } else { "1" };
        house.store.write(Op::Settle(Box::new(report(
            claim,
            Outcome::Succeeded {
                output: output.into(),
                cached: false,
            },
        ))))
    }))
    .await;
    for (n, answer) in answers.iter().enumerate() {
        match answer {
            Ok(Answer::Settled(Ok(()))) => assert_ne!(n, 17),
            Err(StoreError::Other { detail }) => {
                assert!(n == 17 && detail.contains("poisoned"), "{n}: {detail}");
            }
            other => panic!("{n}: {other:?}"),
        }
    }
    assert!(
        !house.state(claims[17].key.run).await.is_terminal(),
        "nothing of it was kept"
    );
    // The attempt can still be reported in other words.
    let words = report(
        &claims[17],
        failed(TaskError::fatal("store", "it could not be recorded")),
    );
    assert!(matches!(
        house.store.write(Op::Settle(Box::new(words))).await,
        Ok(Answer::Settled(Ok(())))
    ));
    assert_eq!(
        house.store.counts().await.unwrap(),
        [(RunState::Failed, 1), (RunState::Succeeded, 39)]
    );
    house.finish().await;
}

async fn text_that_databases_choke_on_comes_back_as_it_was(base: Base) {
    let mut house = House::new(&base).await;
    house.serve();
    for text in [
        "\u{1}\u{7f}\u{fffd}",
        "a\u{0}b",
        "'; drop table runs; --",
        "🎨 \u{202e}x",
        "\"\\u0000\\",
        "$1 ?1 :a @b",
    ] {
        let run = house
            .submit_with(
                ONE,
                RunOptions {
                    tags: vec![text.to_owned()],
                    ..RunOptions::default()
                },
            )
            .await;
        let granted = house.next().await;
        let output: Arc<str> = json!({ "text": text }).to_string().into();
        house
            .settle(
                granted,
                Outcome::Succeeded {
                    output,
                    cached: false,
                },
            )
            .await
            .unwrap();
        let task = house.store.tasks(run, false).await.unwrap().remove(0);
        assert_eq!(task.output, Some(json!({ "text": text })), "{text:?}");
        assert_eq!(house.store.run(run).await.unwrap().tags, [text]);

        let run = house.submit(ONE).await;
        let granted = house.next().await;
        house
            .settle(granted, failed(TaskError::fatal("test", text)))
            .await
            .unwrap();
        assert_eq!(
            house.store.run(run).await.unwrap().failure.unwrap().message,
            text
        );
    }
    house.finish().await;
}

#[tokio::test]
async fn nobody_is_told_of_work_whose_commit_did_not_stand() {
    let base = Base::sqlite();
    let (conn, readers) = open::sqlite::connect(base.path(), Durability::Normal)
        .await
        .unwrap();
    let mut conn = Stranger::Sqlite(conn);
    // A promise that breaks only at the very end, in `commit` itself.
    execute(&mut conn, "create table nobody (id text primary key);
        create table promises (id text references nobody (id) deferrable initially deferred);
        create trigger promise after update on task_runs when new.state = 'running' begin insert into promises values ('broken'); end;
        pragma foreign_keys = on").await;
    let clock = Clock::manual(Timestamp(1_700_000_000_000));
    let readers = Readers::Sqlite(readers);
    let lookups = readers.clone();
    let store = Store::over(conn.writer(), readers, lookups, clock.clone(), None);
    let mut house = House::over(store, &base, clock, &[("default", 1)]).await;
    let run = house.submit(ONE).await;
    house.serve();
    for _ in 0..5 {
        house.store.ring();
        assert!(
            house.is_quiet().await,
            "a task was granted that the database does not know to be running"
        );
    }
    assert_eq!(house.state(run).await, RunState::Pending);
    assert_eq!(house.demand.held.list(), []);
    // Once commits stand again, the same work is granted.
    let mut other = stranger(&base).await;
    execute(&mut other, "drop trigger promise").await;
    house.store.ring();
    house.work_off(&[run]).await;
    house.finish().await;
}

async fn a_hundred_submits_of_one_key_from_two_processes_are_one_run(base: Base) {
    let house = Arc::new(House::new(&base).await);
    let other = Arc::new(House::beside(&house.base, house.clock.clone(), &[]).await);
    let submits = (0..100).map(|n| {
        let house = Arc::clone(if n % 2 == 0 { &house } else { &other });
        tokio::spawn(async move {
            let options = RunOptions {
                idempotency_key: Some("the key".to_owned()),
                ..RunOptions::default()
            };
            house.try_submit(ONE, options).await.unwrap()
        })
    });
    let answers: Vec<_> = futures_util::future::join_all(submits)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert_eq!(answers.iter().filter(|(_, is_new)| *is_new).count(), 1);
    assert!(answers.iter().all(|(run, _)| *run == answers[0].0));
    assert_eq!(
        house.store.counts().await.unwrap(),
        [(RunState::Pending, 1)]
    );
    let other_request = house
        .try_submit(
            CHAIN,
            RunOptions {
                idempotency_key: Some("the key".to_owned()),
                ..RunOptions::default()
            },
        )
        .await;
    assert!(matches!(other_request, Err(StoreError::KeyReused { .. })));
}

async fn keys_are_told_apart_to_the_last_character(base: Base) {
    let house = House::new(&base).await;
    for key in ["a", "a ", "A", "a'b", "a\\'b", "🎨"] {
        let options = RunOptions {
            idempotency_key: Some(key.to_owned()),
            ..RunOptions::default()
        };
        let (first, is_new) = house.try_submit(ONE, options.clone()).await.unwrap();
        assert!(is_new, "{key:?} was taken for another");
        assert_eq!(
            house.try_submit(ONE, options).await.unwrap(),
            (first, false),
            "{key:?} was not found again"
        );
    }
    house.finish().await;
}

async fn deleting_a_run_leaves_no_row_of_it_anywhere(base: Base) {
    let mut house = House::new(&base).await;
    house.serve();
    let keep = house.submit(ONE).await;
    let granted = house.next().await;
    house.settle(granted, succeeded()).await.unwrap();
    let run = house.submit(CHAIN).await;
    let granted = house.next().await;
    assert!(
        matches!(
            house.store.write(Op::Delete(run)).await,
            Err(StoreError::NotFound { .. })
        ),
        "it has not ended"
    );
    let line = LogLine {
        level: LogLevel::Info,
        message: "x".to_owned(),
    };
    let said = AttemptReport {
        key: key(run),
        attempt: 1,
        token: granted.claim.token,
        progress: None,
        logs: vec![(1, Timestamp(1), line)],
    };
    house.store.write(Op::Report(said)).await.unwrap();
    let mut settlement = report(&granted.claim, succeeded());
    settlement.artifacts = vec![Artifact {
        digest: "ab".repeat(32),
        name: "x".to_owned(),
        media_type: "text/plain".to_owned(),
        size_bytes: 1,
    }];
    settlement.cache_key = Some("t:1".to_owned());
    house
        .store
        .write_freeing(Op::Settle(Box::new(settlement)), Some(granted.permit))
        .await
        .unwrap();
    let granted = house.next().await;
    house.settle(granted, succeeded()).await.unwrap();

    house.store.write(Op::Delete(run)).await.unwrap();
    let mut other = stranger(&house.base).await;
    let (tables, columns_of) = match &house.base.database {
        Database::Sqlite { .. } => (
            "select name from sqlite_master where type = 'table' and name not like '\\_%' escape '\\' and name not like 'sqlite%'",
            "select name from pragma_table_info('TABLE')",
        ),
        Database::Postgres(_) => (
            "select table_name::text from information_schema.tables where table_schema = current_schema() and table_name not like '\\_%'",
            "select column_name::text from information_schema.columns where table_schema = current_schema() and table_name = 'TABLE' and data_type = 'text'",
        ),
    };
    let tables = texts(&mut other, tables).await;
    assert!(tables.len() >= 9, "{tables:?}");
    for table in tables {
        let columns = texts(&mut other, &columns_of.replace("TABLE", &table)).await;
        for column in columns {
            let left = number(
                &mut other,
                &format!("select count(*) from \"{table}\" where \"{column}\" = '{run}'"),
            )
            .await;
            assert_eq!(left, 0, "{table}.{column} still speaks of the run");
        }
    }
    assert!(matches!(
        house.store.write(Op::Delete(run)).await,
        Err(StoreError::NotFound { .. })
    ));
    assert_eq!(house.state(keep).await, RunState::Succeeded);
    house.finish().await;
}

async fn a_step_that_was_cancelled_before_it_began_is_as_new_after_a_retry(base: Base) {
    let two = "name: two\nsteps:\n  p: { task: t }\n  q: { task: t }\n";
    let mut house = House::new(&base).await;
    house.serve();
    let run = house.submit(two).await;
    let first = house.next().await;
    let error = TaskError::fatal("broken", "it is");
    house.settle(first, failed(error)).await.unwrap();
    assert_eq!(house.state(run).await, RunState::Failed);
    house.act(run, RunAction::Retry).await.unwrap();
    let tasks = house.store.tasks(run, false).await.unwrap();
    for task in tasks {
        let is_waiting = matches!(task.state, TaskState::Ready | TaskState::Running);
        assert!(is_waiting && !task.held.any(), "{task:?}");
        assert_eq!(task.finished_at, None, "{task:?}");
    }
    house.work_off(&[run]).await;
    assert_eq!(house.state(run).await, RunState::Succeeded);
    house.finish().await;
}

on_both! {
    the_same_report_twice_in_one_commit_counts_once,
    a_report_and_a_cancel_at_once_leave_one_story,
    one_poisonous_result_fails_alone,
    text_that_databases_choke_on_comes_back_as_it_was,
    a_hundred_submits_of_one_key_from_two_processes_are_one_run,
    keys_are_told_apart_to_the_last_character,
    deleting_a_run_leaves_no_row_of_it_anywhere,
    a_step_that_was_cancelled_before_it_began_is_as_new_after_a_retry,
}

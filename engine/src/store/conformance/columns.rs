//! Whatever decisions see is foreseen, and compared: no column is forgotten.
//!
//! The rows below have something in each column that the loading statements read, and
//! the lists of columns must be theirs. Who makes decisions see one more is told here
//! to add it to `foresee_*` and `same_run`.

use std::collections::BTreeSet;

use serde_json::Value;

use super::*;
use crate::store::script::{Parameter, Script};
use crate::store::statement::{Dialect, Statement};
use crate::store::{rows, sql};

/// A column, what is in it, and what else could be.
type Column = (&'static str, &'static str, &'static str);

const RUN: &[Column] = &[
    ("workflow", "'line'", "'other'"),
    ("version", "'v1'", "'v2'"),
    ("state", "'running'", "'failed'"),
    ("paused", "1", "0"),
    ("generation", "2", "3"),
    ("open", "4", "5"),
    ("active", "6", "7"),
    ("waiting", "8", "9"),
    ("ev_seq", "10", "11"),
    ("priority", "12", "13"),
    (
        "parent_run",
        "'019b0000-0000-7000-8000-000000000001'",
        "'019b0000-0000-7000-8000-000000000002'",
    ),
    ("parent_step", "14", "15"),
    ("parent_item", "16", "17"),
    ("parent_attempt", "18", "19"),
    ("concurrency_key", "'one at a time'", "'another'"),
    (
        "failure",
        r#"'{"outcome":"failed","class":"a","message":"b"}'"#,
        r#"'{"outcome":"failed","class":"a","message":"c"}'"#,
    ),
];

const TASK: &[Column] = &[
    ("state", "'running'", "'retrying'"),
    ("held", "1", "2"),
    ("pending", "3", "4"),
    ("queue", "'gpu'", "'cpu'"),
    ("priority", "5", "6"),
    ("timeout_ms", "7", "null"),
    ("due_at", "8", "9"),
    ("attempt", "10", "11"),
    ("tries", "12", "13"),
    ("losses", "14", "15"),
    ("token", "16", "17"),
    (
        "worker_id",
        "'019b0000-0000-7000-8000-000000000003'",
        "'019b0000-0000-7000-8000-000000000004'",
    ),
    ("started_at", "18", "null"),
    ("total", "19", "20"),
    ("open", "21", "22"),
    ("failed", "23", "24"),
    ("waiting", "25", "26"),
    (
        "child_run",
        "'019b0000-0000-7000-8000-000000000005'",
        "null",
    ),
    ("announced", "1", "0"),
];

/// What a loading statement reads of its table.
fn columns_of(statement: &'static Statement, table: &str) -> BTreeSet<String> {
    let text = statement.text(Dialect::Sqlite);
    let listed = text.split("json_array(").last().unwrap();
    let listed = listed.split("from ").next().unwrap();
    let words = listed.split(|c: char| !(c.is_alphanumeric() || "._".contains(c)));
    let names = words.filter_map(|word| word.strip_prefix(table)?.strip_prefix('.'));
    names.map(str::to_owned).collect()
}

fn names(columns: &[Column], key: &[&str]) -> BTreeSet<String> {
    let own = columns.iter().map(|(name, ..)| *name);
    own.chain(key.iter().copied()).map(str::to_owned).collect()
}

/// A session like the writer's.
async fn session_of(base: &Base) -> Connection {
    match &base.database {
        Database::Sqlite { .. } => stranger(base).await.writer(),
        Database::Postgres(url) => {
            let options = url.expose().parse().unwrap();
            Connection::postgres(session(&options).await.unwrap(), options)
        }
    }
}

async fn ask(
    conn: &mut Connection,
    statement: &'static Statement,
    parameters: impl IntoIterator<Item = Parameter>,
) -> Result<String, StoreError> {
    let mut script = Script::default();
    script.push(statement, parameters);
    let answer = conn.run(&mut script).await?;
    Ok(answer.first().cloned().unwrap_or_default())
}

fn read(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

async fn set(other: &mut Stranger, table: &str, key: &str, columns: &[(&str, &str)]) {
    let set: Vec<String> = columns.iter().map(|(c, v)| format!("{c} = {v}")).collect();
    let update = format!("update {table} set {} where {key}", set.join(", "));
    execute(other, &update).await;
}

fn first(columns: &[Column]) -> Vec<(&'static str, &'static str)> {
    columns.iter().map(|(name, one, _)| (*name, *one)).collect()
}

/// A run, its second task, and a way to ask about them.
async fn full(base: &Base) -> (House, RunId, Connection, Stranger) {
    let house = House::new(base).await;
    let run = house.submit(CHAIN).await;
    let mut other = stranger(base).await;
    let whose = format!("id = '{run}'");
    set(&mut other, "runs", &whose, &first(RUN)).await;
    let whose = format!("run_id = '{run}' and step = 1");
    set(&mut other, "task_runs", &whose, &first(TASK)).await;
    (house, run, session_of(base).await, other)
}

fn is_full(row: &Value) -> bool {
    let row = row.as_array().unwrap();
    let nothing = [Value::Null, Value::from(0), Value::from("")];
    row.iter().all(|value| !nothing.contains(value))
}

async fn a_run_is_foreseen_with_all_that_decisions_see_of_it(base: Base) {
    assert_eq!(columns_of(&sql::LOAD_RUNS, "r"), names(RUN, &["id"]));
    let (house, run, mut conn, mut other) = full(&base).await;
    let id = run.to_string();
    let foreseen = ask(&mut conn, &sql::FORESEE_RUN, [id.as_str().into()]).await;
    let foreseen = foreseen.unwrap();
    assert!(is_full(&read(&foreseen)[0]), "{foreseen}");
    for load in [&sql::LOAD_RUNS, &sql::LOAD_TOP_RUNS] {
        let loaded = ask(&mut conn, load, [rows::json(&[run]).into()]).await;
        let loaded = loaded.unwrap();
        assert_eq!(read(&foreseen), read(&loaded), "{}", load.name);
        assert_eq!(rows::runs(&foreseen).unwrap(), rows::runs(&loaded).unwrap());
    }
    let whose = format!("id = '{run}'");
    for (column, one, another) in RUN {
        let known = || [id.as_str().into(), foreseen.as_str().into()];
        set(&mut other, "runs", &whose, &[(column, another)]).await;
        let same = ask(&mut conn, &sql::SAME_RUN, known()).await;
        assert!(same.is_err(), "a change of runs.{column} is not seen");
        conn.rollback().await;
        set(&mut other, "runs", &whose, &[(column, one)]).await;
        let same = ask(&mut conn, &sql::SAME_RUN, known()).await;
        assert!(same.is_ok(), "{column}: {same:?}");
    }
    house.store.close().await;
}

async fn a_task_is_foreseen_with_all_that_decisions_see_of_it(base: Base) {
    let key = ["run_id", "step", "item"];
    for load in [&sql::LOAD_TASKS, &sql::LOAD_STEPS] {
        assert_eq!(columns_of(load, "t"), names(TASK, &key), "{}", load.name);
    }
    let (house, run, mut conn, mut other) = full(&base).await;
    let id = run.to_string();
    let asked = || [id.as_str().into(), "[1]".into()];
    let foreseen = ask(&mut conn, &sql::FORESEE_TASKS, asked()).await.unwrap();
    assert!(is_full(&read(&foreseen)[0]), "{foreseen}");
    let keys = rows::json(&[(run, 1, -1)]);
    let loaded = ask(&mut conn, &sql::LOAD_TASKS, [keys.into()]).await;
    let loaded = loaded.unwrap();
    assert_eq!(read(&foreseen), read(&loaded));
    assert_eq!(
        rows::tasks(&foreseen).unwrap(),
        rows::tasks(&loaded).unwrap()
    );
    let steps = ask(&mut conn, &sql::LOAD_STEPS, [id.as_str().into()]).await;
    let steps = read(&steps.unwrap());
    assert!(steps.as_array().unwrap().contains(&read(&foreseen)[0]));
    let whose = format!("run_id = '{run}' and step = 1");
    for (column, one, another) in TASK {
        let known = || asked().into_iter().chain([foreseen.as_str().into()]);
        set(&mut other, "task_runs", &whose, &[(column, another)]).await;
        let same = ask(&mut conn, &sql::SAME_TASKS, known()).await;
        assert!(same.is_err(), "a change of task_runs.{column} is not seen");
        conn.rollback().await;
        set(&mut other, "task_runs", &whose, &[(column, one)]).await;
        let same = ask(&mut conn, &sql::SAME_TASKS, known()).await;
        assert!(same.is_ok(), "{column}: {same:?}");
    }
    house.store.close().await;
}

on_both! {
    a_run_is_foreseen_with_all_that_decisions_see_of_it,
    a_task_is_foreseen_with_all_that_decisions_see_of_it,
}

//! How the database means to carry out our statements: by key and by index, never by scan.

use sqlx::Row as _;

use super::statement::{Dialect, Statement};
use super::{Durability, open, runs, sql};

/// Statements of the hot path: none may read a table from end to end.
static HOT: &[&Statement] = &[
    &sql::LOAD_RUNS,
    &sql::LOAD_TASKS,
    &sql::SAME_RUN,
    &sql::SAME_TASKS,
    &sql::LOAD_STEPS,
    &sql::SAVE_TASKS,
    &sql::FINISH_TASKS,
    &sql::READY_TASKS,
    &sql::START_TASK,
    &sql::FORESEE_RUN,
    &sql::FORESEE_TASKS,
    &sql::SAVE_RUNS,
    &sql::SAVE_PROGRESS,
    &sql::CLAIM,
    &sql::CLAIM_FITTING,
    &sql::CLAIM_PREFERRING,
    &sql::HEARTBEAT,
    &sql::QUEUES_READY,
    &sql::QUEUES_RUNNING,
    &sql::QUEUES_WAITING,
    &sql::WORKERS_LIVE,
    &sql::WORKERS_GONE,
    &sql::CANCEL_TASKS,
    &sql::RELEASE_ITEM,
    &sql::RELEASE_TASK,
    &sql::PROMOTE_DUE,
    &sql::NEXT_DUE,
    &sql::KNOWN_KEYS,
    &sql::ACTIVE_RUNS,
    &sql::NEXT_QUEUED,
    &sql::LOST_TASKS,
    &sql::OUTPUTS,
    &sql::OUTPUT_SIZES,
    &sql::TRIES,
    &sql::EVENTS_AFTER,
    &sql::RUN_VIEWS,
    &sql::RUN_DETAILS,
    &sql::NEEDED_DIGESTS,
    &sql::FILE_OF_OWNER,
    &sql::PREVIEWS,
    &sql::LATE_RUNS,
    &sql::OVERDUE_TASKS,
    &sql::ANY_UNFINISHED,
    &sql::DUE_RECORDS,
    &sql::UNTOLD,
    &sql::TOLD,
    &sql::EXPIRED_RUNS,
    &sql::OLD_RUNS,
    &sql::OLD_LOGS,
    &sql::OLD_EVENTS,
    &sql::ENDED_SINCE,
    &sql::QUARANTINED_SINCE,
    &sql::LIVE_TASKS,
    &sql::LIVE_TASKS_OF_MANY,
    &sql::CANCEL_ATTEMPTS,
    &sql::CANCEL_ATTEMPTS_OF_MANY,
    &sql::CANCEL_TASKS_OF_MANY,
    &sql::CHILD_RUNS,
    &sql::DELETE_RUNS,
    &sql::DELETE_TAGS_OF,
    &sql::DELETE_TASKS,
    &sql::DELETE_ATTEMPTS,
    &sql::DELETE_EVENTS,
    &sql::DELETE_LOGS,
    &sql::DELETE_CACHE,
    &sql::DELETE_ARTIFACTS,
    &sql::HELD_BY,
    &sql::CLAIMED,
    &sql::DEAD_WORKERS,
    &sql::RETURN_CLAIMS,
    &sql::EXCUSE_ATTEMPTS,
    &sql::EXCUSE_TASKS,
    &sql::NEXT_QUEUED,
    &sql::WORKING,
    &sql::COUNT_PLACES,
];

/// Indexes of what is never much: they may be read from end to end.
const LITTLE_INDEXES: &[&str] = &[
    // Attempts under way: no more than all workers have slots.
    "task_runs_claimed",
    "workers_live",
];

/// Statements that read an index from end to end, and why they may.
const WHOLE_INDEX: &[(&str, &str)] = &[
    // Counts what waits, by queue, from the index alone.
    ("QUEUES_READY", "task_runs_ready"),
    ("QUEUES_WAITING", "task_runs_held"),
    // End with the first they find.
    ("ANY_UNFINISHED", "runs_unfinished"),
    // Holds runs whose end somebody is still to be told.
    ("UNTOLD", "runs_to_tell"),
];

#[tokio::test]
async fn hot_statements_go_by_key_or_index() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (mut conn, _) = open::sqlite::connect(&folder.path().join("plan.db"), Durability::Full)
        .await
        .expect("it opens");
    let mut scans = Vec::new();
    for statement in HOT.iter().copied().chain(runs::all()) {
        let name = statement.name;
        let text = statement.text(Dialect::Sqlite);
        let explain = sqlx::AssertSqlSafe(format!("explain query plan {text}"));
        let rows = sqlx::query(explain)
            .fetch_all(&mut conn)
            .await
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        let plan: Vec<String> = rows
            .iter()
            .map(|row| row.get::<String, _>("detail"))
            .collect();
        for line in &plan {
            // A list in a parameter is read whole, and so is what a sub-query found.
            let little = ["VIRTUAL TABLE", "(subquery", "CONSTANT ROW"];
            let found = line.strip_prefix("SCAN ").unwrap_or_default();
            let index = found.split("INDEX ").nth(1).unwrap_or_default();
            let reads_little = little.iter().any(|word| line.contains(word))
                || LITTLE_INDEXES.contains(&index)
                || WHOLE_INDEX.contains(&(name, index))
                || plan.contains(&format!("MATERIALIZE {found}"));
            // The outer layer reads what the inner one found.
            let is_window = plan.contains(&format!("CO-ROUTINE {found}"));
            let scans_table = line.starts_with("SCAN") && !reads_little && !is_window;
            if scans_table || line.contains("AUTOMATIC") {
                scans.push(format!("{name}: {line}"));
            }
        }
        // Releasing the next of ten thousand held items must not look at those already released.
        if name.starts_with("release_") {
            assert!(
                plan.iter().any(|line| line.contains("task_runs_held")),
                "{name}: {plan:#?}"
            );
        }
    }
    assert!(scans.is_empty(), "{scans:#?}");
}

#[tokio::test]
async fn every_statement_prepares() {
    use sqlx::Executor as _;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (mut conn, _) = open::sqlite::connect(&folder.path().join("all.db"), Durability::Full)
        .await
        .expect("it opens");
    for statement in sql::ALL.iter().copied().chain(runs::all()) {
        let prepared = (&mut conn)
            .prepare(sqlx::SqlStr::from_static(statement.text(Dialect::Sqlite)))
            .await;
        prepared.unwrap_or_else(|e| panic!("{}\n{e}", statement.name));
    }
}

/// Statements that go through whole tables by their nature: a recount, a list of everything.
const WHOLE: &[&str] = &[
    "audit_orphans",
    "ANY_TEARDOWN",
    "cancellations",
    "deletions",
    "COUNTS",
    "REFERENCED",
    "LIVE_WORKERS",
    "EXPIRED_RUNS",
    "CAPPED_QUEUES",
    "QUEUE_ORDERS",
];

#[tokio::test]
async fn postgres_prepares_every_statement_and_scans_no_table_for_the_hot_ones() {
    let (mut conn, _folder) = super::conformance::empty_postgres().await;
    for statement in sql::ALL.iter().copied().chain(runs::all()) {
        let (name, text) = (statement.name, statement.text(Dialect::Postgres));
        let prepare = sqlx::raw_sql(sqlx::AssertSqlSafe(format!("prepare {name} as {text}")));
        if let Err(error) = prepare.execute(&mut conn).await {
            panic!("{name}: {error}\n{text}");
        }
        if WHOLE.contains(&name) {
            continue;
        }
        let parameters = (1..=30).rev().find(|n| text.contains(&format!("${n}")));
        let nulls = vec!["null"; parameters.unwrap_or(0)].join(", ");
        let execute = if nulls.is_empty() {
            format!("explain execute {name}")
        } else {
            format!("explain execute {name}({nulls})")
        };
        let rows = sqlx::raw_sql(sqlx::AssertSqlSafe(execute))
            .fetch_all(&mut conn)
            .await
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        let plan: Vec<String> = rows.iter().map(|row| row.get::<String, _>(0)).collect();
        // `enable_seqscan` is off for these sessions: where a scan is planned all the same, no index serves.
        for line in &plan {
            let forbidden = ["Seq Scan on", "Hash Join", "Merge Join"]
                .iter()
                .any(|word| line.contains(word));
            assert!(!forbidden, "{name} would scan: {}", plan.join("\n"));
        }
        // By the whole key: a run may have ten thousand steps.
        if ["load_tasks", "foresee_tasks", "same_tasks"].contains(&name) {
            let is_by_key = |line: &String| {
                let mut columns = ["run_id =", "step =", "item ="].iter();
                line.contains("Index Cond") && columns.all(|column| line.contains(column))
            };
            assert!(plan.iter().any(is_by_key), "{name}: {}", plan.join("\n"));
        }
    }
}

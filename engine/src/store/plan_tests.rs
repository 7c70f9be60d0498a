//! How the database means to carry out our statements: by key and by index, never by scan.

use sqlx::Row as _;

use super::{Durability, open, sql};

/// Statements of the hot path: none may read a table from end to end.
const HOT: &[(&str, &str)] = &[
    ("load_runs", sql::LOAD_RUNS),
    ("load_tasks", sql::LOAD_TASKS),
    ("load_steps", sql::LOAD_STEPS),
    ("save_tasks", sql::SAVE_TASKS),
    ("finish_tasks", sql::FINISH_TASKS),
    ("save_runs", sql::SAVE_RUNS),
    ("save_progress", sql::SAVE_PROGRESS),
    ("claim", sql::CLAIM),
    ("cancel_tasks", sql::CANCEL_TASKS),
    ("release_item", sql::RELEASE_ITEM),
    ("release_task", sql::RELEASE_TASK),
    ("promote_due", sql::PROMOTE_DUE),
    ("next_due", sql::NEXT_DUE),
    ("known_keys", sql::KNOWN_KEYS),
    ("active_runs", sql::ACTIVE_RUNS),
    ("next_queued", sql::NEXT_QUEUED),
    ("lost_tasks", sql::LOST_TASKS),
    ("outputs", sql::OUTPUTS),
    ("events_after", sql::EVENTS_AFTER),
    ("run_view", sql::RUN_VIEW),
    ("list_runs", sql::LIST_RUNS),
    ("needed_digests", sql::NEEDED_DIGESTS),
    ("late_runs", sql::LATE_RUNS),
    ("overdue_tasks", sql::OVERDUE_TASKS),
    ("any_unfinished", sql::ANY_UNFINISHED),
];

#[tokio::test]
async fn hot_statements_go_by_key_or_index() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (mut conn, _) = open::connect(&folder.path().join("plan.db"), Durability::Full)
        .await
        .expect("it opens");
    for (name, statement) in HOT {
        let explain = sqlx::AssertSqlSafe(format!("explain query plan {statement}"));
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
            let reads_little = ["VIRTUAL TABLE", "USING", "(subquery"]
                .iter()
                .any(|word| line.contains(word));
            let scans_table = line.starts_with("SCAN") && !reads_little;
            assert!(
                !scans_table && !line.contains("AUTOMATIC"),
                "{name} would scan: {plan:#?}"
            );
        }
        // Releasing the next of ten thousand held items must not look at those already released.
        if name.starts_with("release_") {
            assert!(
                plan.iter().any(|line| line.contains("task_runs_held")),
                "{name}: {plan:#?}"
            );
        }
    }
}

#[tokio::test]
async fn every_statement_prepares() {
    use sqlx::Executor as _;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (mut conn, _) = open::connect(&folder.path().join("all.db"), Durability::Full)
        .await
        .expect("it opens");
    for statement in sql::ALL {
        let prepared = (&mut conn)
            .prepare(sqlx::SqlStr::from_static(statement))
            .await;
        prepared.unwrap_or_else(|e| panic!("{statement}\n{e}"));
    }
}

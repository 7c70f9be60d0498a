//! A PostgreSQL and a Redis of this suite's own: it stops and restarts them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use sqlx::Connection as _;

/// Ends them when it is dropped.
#[derive(Debug)]
pub(crate) struct Servers {
    dir: PathBuf,
    pub(crate) postgres: String,
    pub(crate) redis: String,
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/services")
}

impl Servers {
    pub(crate) fn start() -> Self {
        let started = Command::new(script())
            .arg("start")
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        assert!(started.status.success(), "scripts/services start");
        let text = String::from_utf8(started.stdout).unwrap();
        let variable = |name: &str| {
            let line = text
                .lines()
                .find_map(|l| l.strip_prefix("export ")?.strip_prefix(name));
            let value = line.and_then(|l| l.strip_prefix('=')).unwrap();
            // Bash quotes what it prints; there is nothing to quote but backslashes before signs.
            value.replace('\\', "")
        };
        Self {
            dir: variable("AQUATINT_SERVICES_DIR").into(),
            postgres: variable("AQUATINT_TEST_POSTGRES"),
            redis: variable("AQUATINT_TEST_REDIS"),
        }
    }

    fn order(&self, order: &str) {
        let done = Command::new(script())
            .args([order, "--dir"])
            .arg(&self.dir)
            .status()
            .unwrap();
        assert!(done.success(), "scripts/services {order}");
    }

    pub(crate) fn restart_postgres(&self) {
        self.order("restart-postgres");
    }

    pub(crate) fn stop_postgres(&self) {
        self.order("stop-postgres");
    }

    pub(crate) fn start_postgres(&self) {
        self.order("start-postgres");
    }

    pub(crate) fn stop_redis(&self) {
        self.order("stop-redis");
    }

    pub(crate) fn start_redis(&self) {
        self.order("start-redis");
    }

    /// A signal to Redis itself.
    pub(crate) fn signal_redis(&self, signal: rustix::process::Signal) {
        let pid = std::fs::read_to_string(self.dir.join("redis.pid")).unwrap();
        let pid = rustix::process::Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// A word to Redis, as a person would give it.
    pub(crate) fn redis(&self, words: &[&str]) -> String {
        let answer = Command::new("redis-cli")
            .args(["--no-auth-warning", "-u", &self.redis])
            .args(words)
            .output()
            .unwrap();
        assert!(answer.status.success(), "redis-cli {words:?}");
        String::from_utf8(answer.stdout).unwrap()
    }

    /// A schema of a trial's own; the URL that leads there.
    pub(crate) async fn schema(&self, name: &str) -> String {
        self.execute(&format!("create schema {name}")).await;
        format!("{}?options=-csearch_path%3D{name}", self.postgres)
    }

    pub(crate) async fn execute(&self, statement: &str) {
        let mut conn = sqlx::PgConnection::connect(&self.postgres).await.unwrap();
        let statement = sqlx::raw_sql(sqlx::AssertSqlSafe(statement.to_owned()));
        statement.execute(&mut conn).await.unwrap();
        conn.close().await.unwrap();
    }

    /// A number from the database.
    pub(crate) async fn count(&self, query: &str) -> i64 {
        let mut conn = sqlx::PgConnection::connect(&self.postgres).await.unwrap();
        let query = sqlx::query_scalar(sqlx::AssertSqlSafe(query.to_owned()));
        let count = query.fetch_one(&mut conn).await.unwrap();
        conn.close().await.unwrap();
        count
    }

    /// Ends every connection but our own, in the middle of whatever it does.
    pub(crate) async fn drop_connections(&self) {
        self.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity \
             where pid <> pg_backend_pid() and application_name = 'aquatint'",
        )
        .await;
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        let stopped = Command::new(script())
            .args(["stop", "--dir"])
            .arg(&self.dir)
            .status();
        if !stopped.is_ok_and(|status| status.success()) {
            eprintln!(
                "what runs in {} has to be stopped by hand",
                self.dir.display()
            );
        }
    }
}

/// How often to look at something that others change.
pub(crate) const LOOK: Duration = Duration::from_millis(20);

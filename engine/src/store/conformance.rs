//! The store's specification: what any database behind [`Store`] must keep.
//!
//! A [`House`] is a store and a worker that only claims: each test reads the
//! grants itself and says what came of them, so that every order of claims and
//! reports can be played, under a clock that stands still. Every test runs on
//! each database ([`on_both`]), except where it is about one of them.
#![expect(clippy::unwrap_used, reason = "tests")]

/// Runs tests on each database.
macro_rules! on_both {
    ($($test:ident),+ $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test]
            async fn $test() {
                super::$test(super::Base::sqlite()).await;
            })+
        }
        mod on_postgres {
            $(#[tokio::test]
            async fn $test() {
                super::$test(super::Base::postgres().await).await;
            })+
        }
    };
}

mod check;
mod claims;
mod clients;
mod columns;
mod commits;
mod fires;
mod foresight;
mod leases;
mod limits;
mod lookups;
mod outages;
mod preferences;
mod queues;
mod teardowns;
mod trouble;
mod workers;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use sqlx::ConnectOptions as _;
use sqlx::postgres::PgConnection;
use sqlx::sqlite::SqliteConnection;
use tokio::sync::{Semaphore, mpsc};

use super::connection::{Connection, session};
use super::{
    Abilities, Answer, Claim, Database, Demand, Durability, Granted, Lane, Op, PostgresUrl, Store,
    StoreError, Wanted, WorkerRow, WorkerStatus,
};
use crate::config::EngineConfig;
use crate::id::{QueueName, RunId, WorkerId};
use crate::run::{AttemptOutcome, NewRun, RunOptions, RunState, TaskKey};
use crate::task::TaskError;
use crate::time::{Clock, Timestamp};
use crate::transition::{Outcome, Proof, Settlement, TransitionError};
use crate::workflow::{AnyCatalog, Plan, Source, Workflow};

const LEASE: Duration = Duration::from_secs(10);
/// Longer than anything here takes, and shorter than a patient person waits.
const PATIENCE: Duration = Duration::from_secs(20);

const ONE: &str = "name: one\nsteps:\n  a: { task: t }\n";
const CHAIN: &str = "name: chain\nsteps:\n  a: { task: t }\n  b: { task: t, needs: [a] }\n";

/// A store, a worker that only claims, and the clock of both.
struct House {
    store: Store,
    clock: Clock,
    demand: Arc<Demand>,
    inbox: mpsc::UnboundedReceiver<Granted>,
    base: Base,
}

/// A database of a test's own.
#[derive(Clone)]
pub(super) struct Base {
    database: Database,
    _folder: Option<Arc<tempfile::TempDir>>,
}

impl Base {
    fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("test.db");
        Self {
            database: Database::Sqlite { path },
            _folder: Some(Arc::new(folder)),
        }
    }

    /// A schema of its own on the server that the tests were given.
    async fn postgres() -> Self {
        let server = std::env::var("AQUATINT_TEST_POSTGRES").expect(
            "these tests need a PostgreSQL: run them as `scripts/services run -- cargo test`, \
             or name a server in AQUATINT_TEST_POSTGRES",
        );
        let schema = format!("t{}", uuid::Uuid::new_v4().simple());
        let mut conn = session(&server.parse().unwrap()).await.unwrap();
        let create = format!("create schema {schema}");
        sqlx::raw_sql(sqlx::AssertSqlSafe(create))
            .execute(&mut conn)
            .await
            .unwrap();
        let mark = if server.contains('?') { '&' } else { '?' };
        let url = format!("{server}{mark}options=-csearch_path%3D{schema}");
        Self {
            database: Database::Postgres(PostgresUrl::new(url)),
            _folder: None,
        }
    }

    /// What an engine would be told.
    fn config(&self, clock: Clock) -> EngineConfig {
        let mut config = EngineConfig::new("");
        config.database = self.database.clone();
        config.durability = Durability::Normal;
        config.clock = clock;
        config.lease = LEASE;
        config
    }

    async fn open(&self, clock: Clock) -> Result<Store, StoreError> {
        Store::open(&self.config(clock), None).await
    }

    /// The file, where there is one.
    fn path(&self) -> &Path {
        match &self.database {
            Database::Sqlite { path } => path,
            Database::Postgres(_) => panic!("no file"),
        }
    }
}

fn plan(definition: &str) -> (Arc<Plan>, Arc<str>) {
    let source = Source {
        file: "test.yaml",
        text: definition,
    };
    let workflow = Workflow::parse(&source, &AnyCatalog).unwrap_or_else(|wrong| panic!("{wrong}"));
    (
        Arc::new(Plan::compile(&workflow).unwrap()),
        workflow.to_json().into(),
    )
}

fn succeeded() -> Outcome {
    Outcome::Succeeded {
        output: "1".into(),
        cached: false,
    }
}

fn failed(error: TaskError) -> Outcome {
    Outcome::Failed {
        outcome: AttemptOutcome::Failed,
        error,
    }
}

fn report(claim: &Claim, outcome: Outcome) -> Settlement {
    Settlement::new(claim.key, Proof::Token(claim.token), outcome)
}

/// A second connection, as another process would have.
enum Stranger {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

/// A migrated database on the server, and a session as the writer has it.
pub(super) async fn empty_postgres() -> (PgConnection, Base) {
    let base = Base::postgres().await;
    base.open(Clock::system()).await.unwrap().close().await;
    match stranger(&base).await {
        Stranger::Postgres(conn) => (conn, base),
        Stranger::Sqlite(_) => unreachable!("it is a server"),
    }
}

impl Stranger {
    /// Its connection, for a writer to use.
    fn writer(self) -> Connection {
        match self {
            Self::Sqlite(conn) => Connection::sqlite(conn, "/nowhere/test.db-wal".into()),
            Self::Postgres(_) => panic!("not asked for"),
        }
    }
}

async fn stranger(base: &Base) -> Stranger {
    match &base.database {
        Database::Sqlite { path } => {
            let options = sqlx::sqlite::SqliteConnectOptions::new()
                .filename(path)
                .disable_statement_logging();
            Stranger::Sqlite(options.connect().await.unwrap())
        }
        Database::Postgres(url) => {
            let conn = session(&url.expose().parse().unwrap()).await.unwrap();
            Stranger::Postgres(conn)
        }
    }
}

async fn execute(stranger: &mut Stranger, statement: &str) {
    let statement = sqlx::raw_sql(sqlx::AssertSqlSafe(statement.to_owned()));
    match stranger {
        Stranger::Sqlite(conn) => drop(statement.execute(conn).await.unwrap()),
        Stranger::Postgres(conn) => drop(statement.execute(conn).await.unwrap()),
    }
}

async fn texts(stranger: &mut Stranger, query: &str) -> Vec<String> {
    let query = sqlx::AssertSqlSafe(query.to_owned());
    match stranger {
        Stranger::Sqlite(conn) => sqlx::query_scalar(query).fetch_all(conn).await.unwrap(),
        Stranger::Postgres(conn) => sqlx::query_scalar(query).fetch_all(conn).await.unwrap(),
    }
}

async fn number(stranger: &mut Stranger, query: &str) -> i64 {
    let query = sqlx::AssertSqlSafe(query.to_owned());
    match stranger {
        Stranger::Sqlite(conn) => sqlx::query_scalar(query).fetch_one(conn).await.unwrap(),
        Stranger::Postgres(conn) => sqlx::query_scalar(query).fetch_one(conn).await.unwrap(),
    }
}

impl House {
    /// With one slot.
    async fn new(base: &Base) -> Self {
        Self::with_slots(base, 1).await
    }

    async fn with_slots(base: &Base, slots: usize) -> Self {
        let clock = Clock::manual(Timestamp(1_700_000_000_000));
        Self::beside(base, clock, &[("default", slots)]).await
    }

    /// Another process at the same database.
    async fn beside(base: &Base, clock: Clock, queues: &[(&str, usize)]) -> Self {
        let store = base.open(clock.clone()).await.unwrap();
        Self::over(store, base, clock, queues).await
    }

    async fn over(store: Store, base: &Base, clock: Clock, queues: &[(&str, usize)]) -> Self {
        Self::able(store, base, clock, queues, Abilities::default()).await
    }

    async fn able(
        store: Store,
        base: &Base,
        clock: Clock,
        queues: &[(&str, usize)],
        abilities: Abilities,
    ) -> Self {
        let (tickets, inbox) = mpsc::unbounded_channel();
        let lanes = queues
            .iter()
            .map(|(queue, slots)| {
                Lane::new(
                    QueueName::new(queue).unwrap(),
                    Arc::new(Semaphore::new(*slots)),
                    tickets.clone(),
                )
            })
            .collect();
        let worker = WorkerId::new(clock.now());
        let demand = Arc::new(Demand::able(worker, lanes, abilities));
        let house = Self {
            store,
            clock,
            demand,
            inbox,
            base: base.clone(),
        };
        house.register(worker).await;
        house
    }

    fn queues(&self) -> Vec<(QueueName, u32)> {
        let lanes = self.demand.lanes.iter();
        lanes.map(|l| (l.queue.clone(), l.size())).collect()
    }

    async fn register(&self, id: WorkerId) {
        let lease_until = self.clock.now().after(LEASE);
        let row = WorkerRow {
            id,
            host: "here".to_owned(),
            pid: 1,
            name: None,
            queues: self.queues(),
            labels: self.demand.abilities.labels.clone(),
            memory_bytes: self.demand.abilities.memory_bytes,
            wanted: Wanted::default(),
            lease_until,
        };
        self.store.write(Op::Register(row)).await.unwrap();
    }

    /// From now on work is claimed.
    fn serve(&self) {
        self.store.serve(Arc::clone(&self.demand));
    }

    async fn submit(&self, definition: &str) -> RunId {
        self.submit_with(definition, RunOptions::default()).await
    }

    async fn submit_with(&self, definition: &str, options: RunOptions) -> RunId {
        self.try_submit(definition, options).await.unwrap().0
    }

    async fn try_submit(
        &self,
        definition: &str,
        options: RunOptions,
    ) -> Result<(RunId, bool), StoreError> {
        let (plan, spec) = plan(definition);
        let new = NewRun {
            id: RunId::new(self.clock.now()),
            plan,
            spec,
            inputs: Arc::new(json!({})),
            options,
        };
        match self.store.write(Op::Submit(Arc::new(new))).await? {
            Answer::Submitted { run, is_new, .. } => Ok((run, is_new)),
            other => panic!("{other:?}"),
        }
    }

    /// The next task this worker is given.
    async fn next(&mut self) -> Granted {
        match tokio::time::timeout(PATIENCE, self.inbox.recv()).await {
            Ok(granted) => granted.unwrap(),
            Err(_) => panic!("nothing is claimed"),
        }
    }

    /// What a worker does now and then: it renews its lease and looks for work.
    async fn beat(&self) {
        let beat = Op::Heartbeat {
            worker: self.demand.worker(),
            lease_until: self.clock.now().after(LEASE),
            holds: Vec::new(),
            status: WorkerStatus::default(),
        };
        let _ = self.store.write(beat).await;
        self.store.ring();
    }

    /// Whether nothing more is given, once everything asked so far is done.
    async fn is_quiet(&mut self) -> bool {
        // An answered request means that what was asked before it has been announced.
        self.beat().await;
        self.beat().await;
        self.inbox.try_recv().is_err()
    }

    /// Reports, and gives the slot back.
    async fn settle(&self, granted: Granted, outcome: Outcome) -> Result<(), TransitionError> {
        let Granted { claim, permit, .. } = granted;
        self.demand.held.leave(claim.key, claim.token);
        match self
            .store
            .write_freeing(Op::Settle(Box::new(report(&claim, outcome))), Some(permit))
            .await
            .unwrap()
        {
            Answer::Settled(result) => result,
            other => panic!("{other:?}"),
        }
    }

    /// Claims and reports until there is nothing left to do.
    async fn work_off(&mut self, runs: &[RunId]) {
        for run in runs {
            while !self.store.run_state(*run).await.unwrap().is_terminal() {
                let granted = self.next().await;
                self.settle(granted, succeeded()).await.unwrap();
            }
        }
    }

    /// As workers do: a look first, then one request.
    async fn sweep(&self) -> super::SweepCounts {
        // A look, then the report of what was found, as workers do it.
        let now = self.clock.now();
        let overdue = super::Overdue {
            leases_before: now,
            workers: Vec::new(),
            attempts: self.store.overdue(now, 1_000, &[], now).await.unwrap(),
        };
        match self.store.write(Op::Sweep(overdue)).await.unwrap() {
            Answer::Swept(counts) => counts,
            other => panic!("{other:?}"),
        }
    }

    async fn act(&self, run: RunId, action: super::RunAction) -> Result<RunState, TransitionError> {
        match self.store.write(Op::Act(run, action)).await.unwrap() {
            Answer::Acted(result) => result,
            other => panic!("{other:?}"),
        }
    }

    async fn state(&self, run: RunId) -> RunState {
        self.store.run_state(run).await.unwrap()
    }

    /// The last word of every test.
    async fn finish(self) {
        assert_eq!(self.store.check().await.unwrap(), Vec::<String>::new());
        self.store.close().await;
    }
}

fn key(run: RunId) -> TaskKey {
    TaskKey::step(run, 0)
}

//! The store's specification: what any database behind [`Store`] must keep.
//!
//! A [`House`] is a store and a worker that only claims: each test reads the
//! grants itself and says what came of them, so that every order of claims and
//! reports can be played, under a clock that stands still.
#![expect(clippy::unwrap_used, reason = "tests")]

mod claims;
mod commits;
mod leases;
mod limits;
mod trouble;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use sqlx::ConnectOptions as _;
use sqlx::sqlite::SqliteConnection;
use tokio::sync::{Semaphore, mpsc};

use super::{Answer, Claim, Demand, Durability, Granted, Lane, Op, Store, StoreError, WorkerRow};
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
    path: PathBuf,
    _folder: Option<tempfile::TempDir>,
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
async fn stranger(path: &Path) -> SqliteConnection {
    let options = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(path)
        .disable_statement_logging();
    options.connect().await.unwrap()
}

async fn execute(conn: &mut SqliteConnection, statement: &str) {
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement.to_owned()))
        .execute(conn)
        .await
        .unwrap();
}

async fn number(conn: &mut SqliteConnection, query: &str) -> i64 {
    sqlx::query_scalar(sqlx::AssertSqlSafe(query.to_owned()))
        .fetch_one(conn)
        .await
        .unwrap()
}

impl House {
    /// With one slot.
    async fn new() -> Self {
        Self::with_slots(1).await
    }

    async fn with_slots(slots: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("test.db");
        let mut house = Self::beside(
            &path,
            Clock::manual(Timestamp(1_700_000_000_000)),
            &[("default", slots)],
        )
        .await;
        house._folder = Some(folder);
        house
    }

    /// Another process at the same database.
    async fn beside(path: &Path, clock: Clock, queues: &[(&str, usize)]) -> Self {
        let store = Store::open(path, Durability::Normal, clock.clone())
            .await
            .unwrap();
        Self::over(store, path, clock, queues).await
    }

    async fn over(store: Store, path: &Path, clock: Clock, queues: &[(&str, usize)]) -> Self {
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
        let demand = Arc::new(Demand::new(worker, lanes));
        let house = Self {
            store,
            clock,
            demand,
            inbox,
            path: path.to_owned(),
            _folder: None,
        };
        house.register(worker).await;
        house
    }

    async fn register(&self, id: WorkerId) {
        let lease_until = self.clock.now().after(LEASE);
        let row = WorkerRow {
            id,
            host: "here".to_owned(),
            pid: 1,
            queues: Vec::new(),
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
        match self.store.write(Op::Submit(Box::new(new))).await? {
            Answer::Submitted { run, is_new } => Ok((run, is_new)),
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
            workers: Vec::new(),
            attempts: self.store.overdue(now, 1_000, &[]).await.unwrap(),
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

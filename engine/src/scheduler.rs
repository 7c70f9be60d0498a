//! Looks at the schedules every second, for as long as a process lives.
//!
//! The ticks come from apalis-cron; what a tick means is the store's (`engine/schedules`). Every
//! process may have a scheduler, and no two of them begin a run twice: there is no leader.

use std::sync::Arc;
use std::time::Duration;

use apalis_core::worker::builder::WorkerBuilder;
use apalis_cron::{CronScheduler, Tick};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::alert::Alerts;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::library::Library;
use crate::store::StoreError;

/// Looked at this often even if no tick comes.
const SLOW_POLL: Duration = Duration::from_secs(3);
/// What other processes published is looked for this often.
const REFRESH_EVERY: Duration = Duration::from_secs(30);

/// A running scheduler.
#[derive(Debug)]
pub struct Scheduler {
    stopping: CancellationToken,
    looks: JoinHandle<()>,
    ticks: JoinHandle<()>,
    watch: Option<JoinHandle<()>>,
}

/// Every full second, by the system's clock.
#[derive(Debug, Clone)]
struct EverySecond;

impl<Tz> apalis_cron::Schedule<Tz> for EverySecond {
    fn next_tick(&mut self, _: &Tz) -> Option<Tick<Tz>> {
        Some(Tick::new(crate::time::system_second() + 1))
    }
}

impl Engine {
    /// Begins to look after schedules in this process, those of its definitions included, and, where
    /// somebody is to be told of what is wrong, after that.
    #[must_use]
    pub fn start_scheduler(&self, alerts: Option<Alerts>) -> Scheduler {
        let stopping = CancellationToken::new();
        let watch =
            alerts.map(|alerts| tokio::spawn(watch(self.clone(), alerts, stopping.clone())));
        let due = Arc::new(Notify::new());
        let ticks = tokio::spawn(tick(Arc::clone(&due)));
        let looks = tokio::spawn(look(self.clone(), due, stopping.clone()));
        Scheduler {
            stopping,
            looks,
            ticks,
            watch,
        }
    }
}

impl Scheduler {
    /// Ends once what is under way is done.
    pub async fn stop(self) {
        self.stopping.cancel();
        self.ticks.abort();
        for task in [Some(self.looks), self.watch].into_iter().flatten() {
            if task.await.is_err_and(|error| error.is_panic()) {
                tracing::error!("the scheduler panicked");
            }
        }
    }
}

/// Passes on apalis' ticks, and does nothing else: a handler that takes its time ends that worker.
async fn tick(due: Arc<Notify>) {
    loop {
        let due = Arc::clone(&due);
        let worker = WorkerBuilder::new("schedules")
            .backend(CronScheduler::new(EverySecond))
            .build(move |_: Tick| {
                due.notify_one();
                std::future::ready(())
            });
        // A process that was stopped for a while finds its tick in the past, which ends the worker.
        if let Err(error) = worker.run().await {
            tracing::debug!(%error, "the ticks begin anew");
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn look(engine: Engine, due: Arc<Notify>, stopping: CancellationToken) {
    let mut adopted: Option<Arc<Library>> = None;
    let mut refreshed = tokio::time::Instant::now();
    loop {
        match step(&engine, &mut adopted, &mut refreshed).await {
            Ok(()) => {}
            Err(EngineError::Store(StoreError::Closed)) => return,
            Err(error) => tracing::warn!(%error, "schedules cannot be looked at; trying again"),
        }
        tokio::select! {
            _ = tokio::time::timeout(SLOW_POLL, due.notified()) => {}
            () = stopping.cancelled() => return,
        }
    }
}

/// Not a task of a worker: that no worker lives is the first thing worth telling.
async fn watch(engine: Engine, alerts: Alerts, stopping: CancellationToken) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(alerts.look_every) => {}
            () = stopping.cancelled() => return,
        }
        match engine.watch_alerts(&alerts).await {
            Ok(_) => {}
            Err(EngineError::Store(StoreError::Closed)) => return,
            Err(error) => {
                tracing::error!(%error, "cannot look whether anything is wrong; trying again");
            }
        }
    }
}

async fn step(
    engine: &Engine,
    adopted: &mut Option<Arc<Library>>,
    refreshed: &mut tokio::time::Instant,
) -> Result<(), EngineError> {
    if refreshed.elapsed() >= REFRESH_EVERY {
        engine.refresh_library().await?;
        engine.set_schedules_right().await?;
        *refreshed = tokio::time::Instant::now();
    }
    let library = engine.library();
    if adopted
        .as_ref()
        .is_none_or(|known| !Arc::ptr_eq(known, &library))
    {
        engine.adopt_schedules().await?;
        *adopted = Some(library);
    }
    // A crowd that is due at once goes in portions.
    while engine.tick().await?.started >= 100 {}
    Ok(())
}

//! Looks at everything an installation needs.

use std::time::{Duration, Instant};

use super::Engine;
use crate::error::EngineError;
use crate::health::{Facts, HealthReport, Limits, QueueFact, WorkerFact, judge};
use crate::store::{StoreError, WorkerState};
use crate::time::Timestamp;

/// How long the database may take before it counts as gone.
const PATIENCE: Duration = Duration::from_secs(10);
/// A worker that was lost is mentioned for so long, ms.
const REMEMBERED_MS: i64 = 3_600_000;

impl Engine {
    /// Looks at disk, memory, database, Redis, clock, workers, queues and schedules. What cannot be
    /// looked at is an error of that check, never of the whole.
    pub async fn health(&self, limits: &Limits) -> HealthReport {
        judge(&self.facts().await, limits)
    }

    async fn facts(&self) -> Facts {
        let mut facts = Facts {
            host: crate::worker::host(),
            now: self.now(),
            disk: disk(&self.shared.config.data_dir),
            memory: memory(),
            redis: self.doorbell().map(|health| {
                if health.answers() {
                    return Ok(());
                }
                let last = health.last_error.unwrap_or_default();
                Err(last.chars().take(200).collect())
            }),
            ..Facts::default()
        };
        let asked = Instant::now();
        let database = tokio::time::timeout(PATIENCE, self.clock_and_size()).await;
        let found = match database {
            Ok(Ok((clock, bytes))) => {
                let took = asked.elapsed();
                // It answered somewhere between question and answer.
                let half_ms = i64::try_from(took.as_millis() / 2).unwrap_or(0);
                let here = crate::time::system_now();
                facts.skew_ms = Some(clock.0 + half_ms - here.0);
                facts.database = Ok((took, bytes));
                tokio::time::timeout(PATIENCE, self.work(&mut facts)).await
            }
            Ok(Err(error)) => {
                facts.database = Err(said(&error));
                return facts;
            }
            Err(_) => {
                facts.database = Err("no answer within 10 seconds".to_owned());
                return facts;
            }
        };
        match found {
            Ok(Ok(())) => {}
            Ok(Err(error)) => facts.database = Err(error.to_string()),
            Err(_) => facts.database = Err("no answer within 10 seconds".to_owned()),
        }
        facts
    }

    /// What the database's clock shows, and how many bytes it has.
    async fn clock_and_size(&self) -> Result<(Timestamp, u64), StoreError> {
        let clock = self.shared.store.clock().await?;
        let (bytes, _) = self.shared.store.size_bytes().await?;
        Ok((clock, bytes))
    }

    async fn work(&self, facts: &mut Facts) -> Result<(), EngineError> {
        let now = facts.now;
        for worker in self.workers(true).await? {
            let is_lost = worker.state == WorkerState::Lost;
            let is_recent = now.since_ms(worker.seen_at) < REMEMBERED_MS;
            if worker.state == WorkerState::Live || is_lost && is_recent {
                let id = worker.id.to_string();
                let name = worker
                    .name
                    .unwrap_or_else(|| format!("{}@{}", &id[..8], worker.host));
                facts.workers.push(WorkerFact { name, is_lost });
            }
        }
        facts.queues = self
            .queues()
            .await?
            .into_iter()
            .map(|queue| QueueFact {
                name: queue.name.to_string(),
                ready: queue.ready,
                oldest_ms: queue.oldest_ready_at.map_or(0, |at| now.since_ms(at)),
                workers: queue.workers,
                is_paused: queue.paused,
            })
            .collect();
        facts.late_schedules = self.late_schedules(now).await?;
        Ok(())
    }
}

fn said(error: &StoreError) -> String {
    error.to_string().chars().take(300).collect()
}

/// Bytes of the disk that may be used in all, and that are in use: what is kept back for root counts as
/// neither, as df(1) counts.
fn disk(folder: &std::path::Path) -> Option<(u64, u64)> {
    let place = folder.ancestors().find(|path| path.exists())?;
    let stat = rustix::fs::statvfs(place).ok()?;
    let used = stat
        .f_blocks
        .saturating_sub(stat.f_bfree)
        .saturating_mul(stat.f_frsize);
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    Some((used.saturating_add(free), used))
}

/// Bytes of memory in all, and in use: of the container, where there is one with a limit.
fn memory() -> Option<(u64, u64)> {
    let mut system = sysinfo::System::new().ok()?;
    system.refresh_memory();
    let limit = system
        .cgroup_limits()
        .filter(|limits| limits.total_memory < system.total_memory());
    let (total, used) = match limit {
        Some(limits) => (
            limits.total_memory,
            limits.total_memory.saturating_sub(limits.free_memory),
        ),
        None => (
            system.total_memory(),
            system
                .total_memory()
                .saturating_sub(system.available_memory()),
        ),
    };
    (total > 0).then_some((total, used))
}

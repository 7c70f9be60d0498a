//! What a worker tells of itself with each heartbeat, and how it follows what operators want.

use std::collections::BTreeMap;

use super::Shared;
use crate::config::WorkerConfig;
use crate::id::{QueueName, WorkerId};
use crate::store::{Demand, Farewell, Op, StoreError, Wanted, WorkerRow, WorkerStatus};

/// What a worker registers with, under whatever id.
#[derive(Debug)]
pub(super) struct Identity {
    name: Option<String>,
    queues: Vec<(QueueName, u32)>,
    labels: Option<String>,
    memory_bytes: Option<u64>,
    max_rss_bytes: Option<u64>,
    /// What operators want of it, as far as it knows.
    wanted: Wanted,
}

impl Identity {
    pub(super) fn new(config: &WorkerConfig, queues: &[(QueueName, u32)]) -> Self {
        Self {
            name: config.name.clone(),
            queues: queues.to_vec(),
            labels: config.abilities().labels,
            memory_bytes: config.memory_bytes,
            max_rss_bytes: config.max_rss_bytes,
            wanted: Wanted {
                slots: config.wanted_slots.clone(),
                ..Wanted::default()
            },
        }
    }

    pub(super) async fn register(&self, shared: &Shared, id: WorkerId) -> Result<(), StoreError> {
        let mut queues = self.queues.clone();
        for (queue, slots) in &mut queues {
            *slots = self.wanted.slots.get(queue).copied().unwrap_or(*slots);
        }
        let row = WorkerRow {
            id,
            host: super::host(),
            pid: std::process::id(),
            name: self.name.clone(),
            queues,
            labels: self.labels.clone(),
            memory_bytes: self.memory_bytes,
            wanted: self.wanted.clone(),
            lease_until: shared.config.clock.now().after(shared.config.lease),
        };
        shared.store.write(Op::Register(row)).await.map(|_| ())
    }

    /// Does what operators want. The heartbeat rings the store after it.
    pub(super) fn obey(&mut self, wanted: Wanted, demand: &Demand) {
        for lane in &demand.lanes {
            if let Some(slots) = wanted.slots.get(&lane.queue)
                && *slots != lane.size()
            {
                tracing::info!(queue.name = %lane.queue, "an operator wants {slots} slots instead of {}", lane.size());
                lane.resize(*slots);
            }
        }
        if demand.drain(wanted.drain) != wanted.drain {
            let what = if wanted.drain {
                "claims no more"
            } else {
                "claims again"
            };
            tracing::info!(worker.id = %demand.worker(), "as an operator wants, this worker {what}");
            if wanted.drain {
                // So that the end is seen soon where nothing runs.
                demand.refresh();
            }
        }
        if wanted.restart {
            demand.bid_farewell(Farewell::Restart);
        }
        // One that is too large before it has done anything would be so again, without end.
        if let (Some(most), Some(bytes)) = (self.max_rss_bytes, rss_bytes())
            && bytes >= most
            && demand.held.finished() > 0
        {
            demand.bid_farewell(Farewell::TooLarge);
        }
        self.wanted = wanted;
    }
}

/// How a worker is doing.
pub(super) fn of(demand: &Demand) -> WorkerStatus {
    let names = || demand.lanes.iter().map(|lane| lane.queue.clone());
    let slots = demand.lanes.iter().map(super::Lane::size);
    let busy = demand.held.busy(demand.lanes.len());
    let busy: BTreeMap<_, _> = names().zip(busy).filter(|(_, count)| *count > 0).collect();
    WorkerStatus {
        queues: names().zip(slots).collect(),
        busy,
        rss_bytes: rss_bytes(),
        finished: demand.held.finished(),
        draining: demand.is_draining(),
        loaded: demand.held.loaded(),
    }
}

/// What this process occupies, where the system says so (Linux).
fn rss_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

//! Claiming: the store chooses, for whoever has a free slot.
//!
//! A worker states its demand once: its queues, and a semaphore of slots for
//! each. Every commit that may have made work claimable ends by claiming as
//! much as there are free slots, in the same transaction; so a step's successor
//! starts without a commit of its own, and an idle worker costs nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::Deserialize;
use tokio::sync::OwnedSemaphorePermit;

use super::commit::Commit;
use super::demand::Demand;
use super::holdings::Halt;
use super::script::Parameter;
use super::{StoreError, preference, rows, sql};
use crate::id::{QueueName, RunId, WorkflowName};
use crate::run::TaskKey;
use crate::workflow::plan::{Plan, StepIndex};

/// Tasks claimed for one queue in one commit at most.
const MAX_CLAIMS: usize = 256;

/// A task that is ours to run: made only by a successful claim.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) key: TaskKey,
    pub(crate) attempt: i64,
    pub(crate) token: i64,
    /// The item, as JSON text, where the task is one.
    pub(crate) item: Option<String>,
    /// What its step says it needs.
    pub(crate) memory_bytes: u64,
    pub(crate) plan: Arc<Plan>,
    pub(crate) run: Arc<ClaimedRun>,
}

/// What every claim of one run shares.
#[derive(Debug)]
pub(crate) struct ClaimedRun {
    pub(crate) workflow: WorkflowName,
    pub(crate) no_cache: bool,
    pub(crate) depth: i64,
    pub(crate) priority: i64,
    /// As JSON text; `None` when long, to be read apart and kept.
    pub(crate) inputs: Option<String>,
}

/// A claim, the slot it was claimed for, and how it is told to stop.
#[derive(Debug)]
pub(crate) struct Granted {
    pub(crate) claim: Claim,
    pub(crate) permit: OwnedSemaphorePermit,
    pub(crate) halt: Halt,
}

/// `claim.sql`.
#[derive(Debug, Deserialize)]
pub(super) struct Claimed(
    RunId,
    StepIndex,
    i32,
    i64,
    QueueName,
    Option<String>,
    RunOfClaim,
    Option<u64>,
);

#[derive(Debug, Deserialize)]
struct RunOfClaim(WorkflowName, Arc<str>, i64, i64, i64, Option<String>);

/// Claims on their way: which lanes asked for how many, under which token.
#[derive(Debug)]
pub(super) struct Asked {
    token: i64,
    lanes: Vec<(usize, usize)>,
    /// Those of them that prefer what is loaded.
    preferring: Vec<usize>,
    /// A lane was left out, though it may have work: ask again.
    pub(super) is_partial: bool,
    /// The lane that is asked for one certain task.
    started: Option<usize>,
}

impl Commit<'_> {
    /// Asks for what the worker's free slots can take; `None` when there is nothing to ask for.
    pub(super) fn ask_for_claims(&mut self, demand: &Demand) -> Option<Asked> {
        if demand.is_idle_by_choice() {
            return None;
        }
        let mut asked = Asked {
            token: fastrand::i64(1..i64::MAX),
            lanes: Vec::new(),
            preferring: Vec::new(),
            is_partial: false,
            started: None,
        };
        let memory = demand.free_memory();
        if let Some(lane) = self.lane_to_start(demand)
            && let Some((task, queue)) = self.starting.take()
        {
            asked.started = Some(lane);
            asked.lanes.push((lane, demand.lanes[lane].free()));
            let who = [asked.token.into(), demand.worker().to_string().into()];
            let place = [
                self.now.0.into(),
                queue.as_str().into(),
                task.0.to_string().into(),
            ];
            let rest = [i64::from(task.1), i64::from(task.2), task.3.0].map(Parameter::from);
            let all = who.into_iter().chain(place).chain(rest);
            self.script.push(&sql::START_TASK, all);
        }
        self.make_ready();
        for (index, lane) in demand.lanes.iter().enumerate() {
            if asked.started == Some(index) {
                continue;
            }
            if self.after.rings.contains(&lane.queue) || self.after.looks.contains(&lane.queue) {
                lane.rung.store(true, Ordering::Relaxed);
            }
            let mut free = lane.free().min(MAX_CLAIMS);
            if !lane.is_control() {
                free = free.min(demand.tasks_left());
            }
            if free == 0 || !lane.rung.load(Ordering::Relaxed) {
                continue;
            }
            // Two lanes cannot know what memory the other is about to take.
            if memory.is_some() && !asked.lanes.is_empty() {
                asked.is_partial = true;
                break;
            }
            asked.lanes.push((index, free));
        }
        let chosen = asked
            .lanes
            .iter()
            .filter(|(lane, _)| asked.started != Some(*lane));
        let chosen: Vec<(usize, usize)> = chosen.copied().collect();
        self.lock_capped(chosen.iter().map(|(lane, _)| &demand.lanes[*lane].queue));
        let worker = demand.worker().to_string();
        let loaded = demand.held.loaded();
        for (index, free) in &chosen {
            let who = [
                asked.token.into(),
                worker.as_str().into(),
                self.now.0.into(),
            ];
            let limit = i64::try_from(*free).unwrap_or(i64::MAX);
            let what = [
                demand.lanes[*index].queue.as_str().into(),
                limit.into(),
                demand.abilities.labels.as_deref().unwrap_or("[]").into(),
            ];
            let claim = who
                .into_iter()
                .chain(what)
                .chain([(&*self.unreadable).into()]);
            if !loaded.is_empty() && demand.lanes[*index].taste.may_prefer() {
                let bytes = memory.map_or(i64::MAX, |m| i64::try_from(m).unwrap_or(i64::MAX));
                let line = preference::line(limit);
                let claim = claim.chain([bytes.into(), rows::json(&loaded).into(), line.into()]);
                self.script.push(&sql::CLAIM_PREFERRING, claim);
                asked.preferring.push(*index);
                continue;
            }
            match memory {
                None => self.script.push(&sql::CLAIM, claim),
                Some(bytes) => {
                    let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
                    let claim = claim.chain([bytes.into()]);
                    self.script.push(&sql::CLAIM_FITTING, claim);
                }
            }
        }
        (!asked.lanes.is_empty()).then_some(asked)
    }

    /// The lane that may take the one task which is about to become ready without a look at what else there
    /// is: when it was last looked at there was nothing, and nobody has said otherwise.
    fn lane_to_start(&self, demand: &Demand) -> Option<usize> {
        let (_, queue) = self.starting.as_ref()?;
        if self.after.looks.contains(queue) || self.capped.contains(queue) || self.after.promoted {
            return None;
        }
        let index = demand.lanes.iter().position(|lane| lane.queue == *queue)?;
        let lane = &demand.lanes[index];
        let is_known = !lane.rung.load(Ordering::Relaxed) && demand.free_memory().is_none();
        let has_room = lane.free() > 0 && (lane.is_control() || demand.tasks_left() > 0);
        (is_known && has_room).then_some(index)
    }

    /// Saves what has become ready and is not started right away.
    pub(super) fn make_ready(&mut self) {
        if let Some((task, _)) = self.starting.take() {
            self.push_rows(&sql::READY_TASKS, &[task]);
        }
    }
}

impl Asked {
    pub(super) fn token(&self) -> i64 {
        self.token
    }

    /// Worker and token, by which these claims are found.
    pub(super) fn proof(&self, demand: &Demand) -> [Parameter; 2] {
        [demand.worker().to_string().into(), self.token.into()]
    }

    /// Whether the one task that was to be started stands in line instead.
    pub(super) fn has_started_none(&self, demand: &Demand, found: &[Claimed]) -> bool {
        let lane = self.started.map(|lane| &demand.lanes[lane].queue);
        lane.is_some_and(|queue| found.iter().all(|task| task.4 != *queue))
    }

    /// Whether a lane that prefers got less than it asked for: others may have been quicker with what it looked at.
    pub(super) fn is_short(&self, demand: &Demand, found: &[Claimed]) -> bool {
        let preferring = self.lanes.iter();
        let preferring = preferring.filter(|(lane, _)| self.preferring.contains(lane));
        let mut short = preferring.filter(|(lane, asked_for)| {
            let queue = &demand.lanes[*lane].queue;
            found.iter().filter(|task| task.4 == *queue).count() < *asked_for
        });
        short.next().is_some()
    }

    /// Hands out what the store gave, once it stands.
    pub(super) fn granted(
        self,
        demand: &Demand,
        found: Vec<Claimed>,
        plans: &HashMap<Arc<str>, Arc<Plan>>,
    ) -> Result<Vec<(usize, Granted)>, StoreError> {
        let mut granted = Vec::with_capacity(found.len());
        let mut counts = vec![0; demand.lanes.len()];
        for Claimed(run, step, item, attempt, queue, input, of, memory_bytes) in found {
            let RunOfClaim(workflow, version, no_cache, depth, priority, inputs) = of;
            let lane = self
                .lanes
                .iter()
                .map(|(lane, _)| *lane)
                .find(|lane| demand.lanes[*lane].queue == queue);
            let Some(lane) = lane else {
                return Err(StoreError::Corrupt {
                    what: "task_runs",
                    detail: format!("a claim for `{queue}`, which nobody asked for"),
                });
            };
            counts[lane] += 1;
            let Some(plan) = plans.get(&version) else {
                continue;
            };
            // Only the writer takes slots, so those that were free still are.
            let Ok(permit) = Arc::clone(&demand.lanes[lane].slots).try_acquire_owned() else {
                continue;
            };
            let claim = Claim {
                key: TaskKey { run, step, item },
                attempt,
                token: self.token,
                item: input,
                memory_bytes: memory_bytes.unwrap_or(0),
                plan: Arc::clone(plan),
                run: Arc::new(ClaimedRun {
                    workflow,
                    no_cache: no_cache != 0,
                    depth,
                    priority,
                    inputs,
                }),
            };
            let halt = Halt::default();
            granted.push((
                lane,
                Granted {
                    claim,
                    permit,
                    halt,
                },
            ));
        }
        for (lane, asked_for) in self.lanes {
            // A task that was not started stands in line now.
            let is_left = self.started == Some(lane) && counts[lane] == 0;
            let is_full = counts[lane] == asked_for;
            let has_preferred = self.preferring.contains(&lane);
            let may_be_more = is_full || is_left || has_preferred;
            let lane = &demand.lanes[lane];
            lane.taste.claimed(has_preferred, is_full);
            lane.rung.store(may_be_more, Ordering::Relaxed);
            if !may_be_more {
                lane.opened.notify_one();
            }
        }
        Ok(granted)
    }
}

impl Claimed {
    /// Reads the rows that claims answered with.
    pub(super) fn read(rows: &[String]) -> Result<Vec<Self>, StoreError> {
        rows.iter()
            .filter(|row| !row.is_empty())
            .map(|row| rows::parse(row, "task_runs"))
            .collect()
    }

    pub(super) fn key(&self) -> TaskKey {
        TaskKey {
            run: self.0,
            step: self.1,
            item: self.2,
        }
    }

    /// The version of the definition its run is pinned to.
    pub(super) fn version(&self) -> &Arc<str> {
        &self.6.1
    }
}

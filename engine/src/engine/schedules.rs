//! Schedules: kept as records, moved on by whoever looks first.
//!
//! ```text
//!   tick ─▶ records due ─▶ decide (pure) ─▶ one commit: the record moves on AND the runs begin
//! ```
//!
//! Invariants:
//! - a tick's run begins in the commit that moves its schedule on, so a crash leaves both or neither,
//!   and of ten nodes that look at once, one is quicker and the others begin nothing;
//! - a run carries schedule and due time as its idempotency key, which a range made up for twice meets;
//! - a due time only goes forward: a clock that was set back fires nothing again.

mod tick;

use serde::{Deserialize, Serialize};

use super::Engine;
use super::submit::must_suffice;
use crate::error::EngineError;
use crate::id::RunId;
use crate::permission::Permission;
use crate::schedule::{
    Clockwork, Counts, Firing, Happened, MAX_WAITING, PUNCTUAL_MS, Schedule, Standing,
};
use crate::store::{Answer, Fire, Keep, Op, Record};
use crate::time::Timestamp;

const KIND: &str = "schedule";

/// The tag of every run of a schedule: this, and its id.
pub const SCHEDULE_TAG: &str = "aquatint:schedule:";

/// A schedule, as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Kept {
    schedule: Schedule,
    standing: Standing,
    /// Whether a definition file says it.
    #[serde(default)]
    is_defined: bool,
    #[serde(default)]
    owner: Option<String>,
    /// What whoever set it might do then; its runs may do no more.
    #[serde(default)]
    permission: Option<Permission>,
}

/// A schedule, and how it stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ScheduleView {
    /// Its name.
    pub id: String,
    /// What it says.
    pub schedule: Schedule,
    /// Whether it comes from a workflow's definition: then that is where it is changed.
    pub is_defined: bool,
    /// Whose its runs are.
    pub owner: Option<String>,
    /// Whether its ticks pass without a run.
    pub paused: bool,
    /// When it is due next; none while it is paused, or when there is nothing more to come.
    pub due: Option<Timestamp>,
    /// When that fires: later than it is due where ticks are spread.
    pub fires_at: Option<Timestamp>,
    /// The next five due times, as people in its time zone write them.
    pub upcoming: Vec<String>,
    /// Due times that wait for their turn.
    pub waiting: Vec<Timestamp>,
    /// What its last ticks came to, newest first.
    pub recent: Vec<Firing>,
    /// What all of them came to.
    pub counts: Counts,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last moved.
    pub updated_at: Timestamp,
    /// Which change this is.
    pub revision: i64,
}

/// What one look at the schedules came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ticked {
    /// Runs begun.
    pub started: usize,
    /// Schedules that moved on.
    pub moved: usize,
    /// Schedules that another process has moved on meanwhile, or must.
    pub left: usize,
}

/// A schedule cannot be as somebody wants it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScheduleError {
    /// There is none of that name.
    #[error("no schedule `{id}`")]
    Unknown {
        /// The name.
        id: String,
    },
    /// There is one of that name.
    #[error("there is a schedule `{id}` already")]
    Exists {
        /// The name.
        id: String,
    },
    /// A definition says it.
    #[error(
        "schedule `{id}` comes from the definition of workflow `{workflow}`: change it there, or pause it"
    )]
    Defined {
        /// The name.
        id: String,
        /// Where it comes from.
        workflow: String,
    },
    /// A name that is none.
    #[error(
        "`{id}` is no name for a schedule: expected a letter, then letters, digits, `-`, `_` or `.`, 100 at most"
    )]
    Name {
        /// What was given.
        id: String,
    },
    /// The timing is none.
    #[error("{0}")]
    Timing(crate::schedule::TimingError),
    /// Its inputs cannot be made.
    #[error("its inputs: {reason}")]
    Inputs {
        /// Why.
        reason: String,
    },
    /// A range that is none.
    #[error("{reason}")]
    Range {
        /// What is wrong, and what would be right.
        reason: String,
    },
}

impl Kept {
    fn read(record: &Record) -> Option<Self> {
        let kept = serde_json::from_value(record.body.clone());
        kept.inspect_err(
            |error| tracing::error!(schedule.id = %record.id, %error, "a schedule's record cannot be read"),
        )
        .ok()
    }

    /// What its runs may do. Earlier versions kept no note of it: an owner was somebody who might operate.
    fn permission(&self) -> Permission {
        let earlier = if self.owner.is_some() {
            Permission::Operate
        } else {
            Permission::Admin
        };
        self.permission.unwrap_or(earlier)
    }

    fn keep(&self, id: &str, seen: Option<i64>) -> Keep {
        Keep {
            kind: KIND,
            id: id.to_owned(),
            body: Some(serde_json::to_string(self).expect("a schedule is plain")),
            seen,
            due_at: self.standing.look_at(&self.schedule, id),
        }
    }

    fn clockwork(&self) -> Result<Clockwork, ScheduleError> {
        let clockwork = self.schedule.timing.clockwork(self.standing.anchor);
        clockwork.map_err(ScheduleError::Timing)
    }

    fn view(self, record: &Record) -> ScheduleView {
        let due = self.standing.due.filter(|_| !self.standing.paused);
        let upcoming = self.clockwork().ok().map(|clockwork| {
            let later = due.map(|due| clockwork.upcoming(due, 4));
            let all = due.into_iter().chain(later.into_iter().flatten());
            all.map(|at| clockwork.local(at)).collect()
        });
        ScheduleView {
            id: record.id.clone(),
            fires_at: due.map(|due| self.schedule.fires_at(&record.id, due)),
            schedule: self.schedule,
            is_defined: self.is_defined,
            owner: self.owner,
            paused: self.standing.paused,
            due,
            upcoming: upcoming.unwrap_or_default(),
            waiting: self.standing.waiting,
            recent: self.standing.recent,
            counts: self.standing.counts,
            created_at: record.created_at,
            updated_at: record.updated_at,
            revision: record.revision,
        }
    }
}

impl Engine {
    /// Schedules that should have been looked at a minute ago, and for how long, ms. What waits for its
    /// turn is not late.
    pub(super) async fn late_schedules(
        &self,
        now: Timestamp,
    ) -> Result<Vec<(String, i64)>, EngineError> {
        let before = Timestamp(now.0 - PUNCTUAL_MS);
        let due = self.shared.store.due_records(KIND, before, 1_000).await?;
        let late = due.iter().filter_map(|record| {
            let kept = Kept::read(record)?;
            let due = kept.standing.due.filter(|_| !kept.standing.paused)?;
            let late_ms = now.since_ms(kept.schedule.fires_at(&record.id, due));
            (late_ms > PUNCTUAL_MS).then(|| (record.id.clone(), late_ms))
        });
        Ok(late.collect())
    }

    /// Every schedule, by name.
    ///
    /// # Errors
    /// A store error.
    pub async fn schedules(&self) -> Result<Vec<ScheduleView>, EngineError> {
        let records = self.shared.store.records(KIND).await?;
        Ok(records
            .iter()
            .filter_map(|record| Some(Kept::read(record)?.view(record)))
            .collect())
    }

    /// A schedule.
    ///
    /// # Errors
    /// No such schedule, or a store error.
    pub async fn schedule(&self, id: &str) -> Result<ScheduleView, EngineError> {
        let (kept, record) = self.kept(id).await?;
        Ok(kept.view(&record))
    }

    async fn kept(&self, id: &str) -> Result<(Kept, Record), EngineError> {
        let record = self.shared.store.record(KIND, id).await?;
        let kept = record.and_then(|record| Some((Kept::read(&record)?, record)));
        Ok(kept.ok_or_else(|| ScheduleError::Unknown { id: id.to_owned() })?)
    }

    /// Makes a schedule, or changes one; where its timing changed, its next tick is reckoned anew from now.
    /// Returns whether it is a new one.
    ///
    /// # Errors
    /// An unknown workflow, one that takes more than `permission`, inputs it refuses, a schedule that a
    /// definition says, or a store error.
    pub async fn put_schedule(
        &self,
        id: &str,
        schedule: Schedule,
        owner: Option<String>,
        permission: Permission,
    ) -> Result<bool, EngineError> {
        if crate::id::WorkflowName::new(id).is_err() {
            return Err(ScheduleError::Name { id: id.to_owned() }.into());
        }
        if self.library().source(schedule.workflow.as_str()).is_none() {
            // Another process may have published it.
            self.refresh_library().await?;
        }
        self.try_inputs(id, &schedule, owner.clone(), permission)?;
        let found = self.shared.store.record(KIND, id).await?;
        let before = found.as_ref().and_then(Kept::read);
        if before.as_ref().is_some_and(|kept| kept.is_defined) {
            let workflow = schedule.workflow.to_string();
            return Err(ScheduleError::Defined {
                id: id.to_owned(),
                workflow,
            }
            .into());
        }
        let seen = found.as_ref().map_or(0, |record| record.revision);
        let mut kept = renewed(schedule, before, self.now(), false, owner)?;
        kept.permission = Some(permission);
        self.write_kept(&kept, id, seen).await?;
        Ok(seen == 0)
    }

    /// Whether a schedule's run would be accepted, were it due now.
    fn try_inputs(
        &self,
        id: &str,
        schedule: &Schedule,
        owner: Option<String>,
        permission: Permission,
    ) -> Result<(), EngineError> {
        self.run_of(id, schedule, owner, permission, Some(self.now()))
            .map(drop)
    }

    /// Whether somebody may begin this schedule's runs.
    fn may_begin(&self, kept: &Kept, permission: Permission) -> Result<(), EngineError> {
        let definition = self.library().get(kept.schedule.workflow.as_str())?;
        let needs = self.library().permission(&definition);
        must_suffice(permission, needs, definition.plan.name.as_str())
    }

    async fn write_kept(&self, kept: &Kept, id: &str, seen: i64) -> Result<(), EngineError> {
        let answer = self
            .shared
            .store
            .write(Op::Keep(kept.keep(id, Some(seen))))
            .await?;
        match answer {
            Answer::Kept(Some(_)) => Ok(()),
            Answer::Kept(None) => Err(EngineError::Conflict {
                kind: KIND,
                id: id.to_owned(),
            }),
            other => unreachable!("keeping is answered by Kept, not {other:?}"),
        }
    }

    /// Changes a schedule's standing, however often others change it meanwhile.
    async fn restand(
        &self,
        id: &str,
        change: impl Fn(&mut Kept) -> Result<(), EngineError>,
    ) -> Result<ScheduleView, EngineError> {
        loop {
            let (mut kept, record) = self.kept(id).await?;
            change(&mut kept)?;
            match self.write_kept(&kept, id, record.revision).await {
                Ok(()) => return self.schedule(id).await,
                // Each round somebody else has got further.
                Err(EngineError::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Lets its ticks pass without a run from now on; what waits for its turn still gets it.
    ///
    /// # Errors
    /// No such schedule, or a store error.
    pub async fn pause_schedule(&self, id: &str) -> Result<ScheduleView, EngineError> {
        self.restand(id, |kept| {
            kept.standing.paused = true;
            Ok(())
        })
        .await
    }

    /// Heeds its ticks again, from the next one on: those of the pause are not made up for.
    ///
    /// # Errors
    /// No such schedule, or a store error.
    pub async fn resume_schedule(&self, id: &str) -> Result<ScheduleView, EngineError> {
        let now = self.now();
        self.restand(id, |kept| {
            if kept.standing.paused {
                kept.standing.paused = false;
                kept.standing.due = kept.clockwork()?.after(now);
            }
            Ok(())
        })
        .await
    }

    /// Forgets a schedule; runs that have begun go on.
    ///
    /// # Errors
    /// No such schedule, one that a definition says, or a store error.
    pub async fn forget_schedule(&self, id: &str) -> Result<(), EngineError> {
        let (kept, record) = self.kept(id).await?;
        if kept.is_defined {
            // One whose workflow nobody knows any more is a leftover.
            let workflow = kept.schedule.workflow.to_string();
            if self.library().source(&workflow).is_some() {
                return Err(ScheduleError::Defined {
                    id: id.to_owned(),
                    workflow,
                }
                .into());
            }
        }
        self.forget(KIND, id, Some(record.revision)).await
    }

    /// Begins a run of a schedule now, whatever its timing says and whatever is under way. Neither whoever
    /// asks nor whoever set the schedule may lack the permission for it.
    ///
    /// # Errors
    /// No such schedule, an unknown workflow, a lack of permission, inputs it refuses, or a store error.
    pub async fn trigger_schedule(
        &self,
        id: &str,
        permission: Permission,
    ) -> Result<RunId, EngineError> {
        loop {
            let (mut kept, record) = self.kept(id).await?;
            self.may_begin(&kept, permission)?;
            let now = self.now();
            let owner = kept.owner.clone();
            let new = self.run_of(id, &kept.schedule, owner, kept.permission(), None)?;
            let run = new.id;
            kept.standing.note(None, now, Happened::Started { run });
            let fire = Fire {
                keep: kept.keep(id, Some(record.revision)),
                runs: vec![new],
            };
            if let Some(begun) = self.fire(fire).await? {
                return Ok(begun.first().map_or(run, |(run, _)| *run));
            }
        }
    }

    /// Makes up for the ticks of a time that has passed, one after the other: those after `from` and up to
    /// `until`. A tick whose run the store still knows gets no second one. Returns how many wait now.
    ///
    /// # Errors
    /// No such schedule, a lack of permission, a range that is none or holds more than a thousand ticks, or a store error.
    pub async fn backfill_schedule(
        &self,
        id: &str,
        from: Timestamp,
        until: Timestamp,
        permission: Permission,
    ) -> Result<usize, EngineError> {
        self.may_begin(&self.kept(id).await?.0, permission)?;
        let now = self.now();
        if from >= until || until > now {
            let reason = format!(
                "from {from} until {until} is no range of the past: give two times, the earlier first"
            );
            return Err(ScheduleError::Range { reason }.into());
        }
        let view = self.restand(id, |kept| {
            let clockwork = kept.clockwork()?;
            let range = || {
                let start = Timestamp(from.0 - 1);
                let due = std::iter::successors(clockwork.after(start), |due| clockwork.after(*due));
                due.take_while(|due| *due <= until)
            };
            let room = MAX_WAITING - kept.standing.waiting.len().min(MAX_WAITING);
            if range().take(room + 1).count() > room {
                let reason = format!(
                    "from {from} until {until} there are more than {room} ticks: make up for them in shorter ranges"
                );
                return Err(ScheduleError::Range { reason }.into());
            }
            kept.standing.waiting.extend(range());
            kept.standing.waiting.sort();
            kept.standing.waiting.dedup();
            Ok(())
        })
        .await?;
        Ok(view.waiting.len())
    }

    /// Takes over what the definitions of this process say of schedules; what they say no more is forgotten.
    /// A schedule that is paused stays so.
    ///
    /// # Errors
    /// A store error.
    pub async fn adopt_schedules(&self) -> Result<(), EngineError> {
        let library = self.library();
        let records = self.shared.store.records(KIND).await?;
        let mut said = std::collections::BTreeMap::new();
        for name in library.names() {
            // Most have no schedule, and to compile them all delays every start. A word may be written with
            // escapes.
            let text = library.source(name).map_or("", |(_, text)| text);
            if !text.contains("schedule") && !text.contains('\\') {
                continue;
            }
            // One with mistakes has none; those who want to run it are told of the mistakes.
            let Ok(definition) = library.get(name) else {
                continue;
            };
            for (id, schedule) in definition.workflow.scheduled() {
                said.insert(id, schedule);
            }
        }
        for record in &records {
            let Some(kept) = Kept::read(record).filter(|kept| kept.is_defined) else {
                continue;
            };
            let workflow = kept.schedule.workflow.as_str();
            if !said.contains_key(&record.id) && library.get(workflow).is_ok() {
                match self.forget(KIND, &record.id, Some(record.revision)).await {
                    Ok(()) => {
                        tracing::info!(schedule.id = %record.id, "schedule `{}` is in no definition any more", record.id);
                    }
                    Err(EngineError::Conflict { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        for (id, schedule) in said {
            let found = records.iter().find(|record| record.id == id);
            let before = found.and_then(Kept::read);
            if let Some(kept) = &before {
                if !kept.is_defined {
                    tracing::warn!(schedule.id = %id, "a schedule `{id}` was made by hand: what the definition says of it does not count");
                    continue;
                }
                if kept.schedule == schedule {
                    continue;
                }
            }
            let kept = renewed(schedule, before, self.now(), true, None)?;
            match self
                .write_kept(&kept, &id, found.map_or(0, |r| r.revision))
                .await
            {
                // Another process starts at the same moment, from the same definitions.
                Ok(()) | Err(EngineError::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// A schedule that is new, or says something new.
fn renewed(
    schedule: Schedule,
    before: Option<Kept>,
    now: Timestamp,
    is_defined: bool,
    owner: Option<String>,
) -> Result<Kept, EngineError> {
    let clockwork = schedule
        .timing
        .clockwork(now)
        .map_err(ScheduleError::Timing)?;
    let mut standing = Standing::new(&clockwork, now);
    if let Some(before) = &before {
        let old = before.standing.clone();
        let is_same_time = before.schedule.timing == schedule.timing;
        standing = Standing {
            anchor: if is_same_time { old.anchor } else { now },
            due: if is_same_time { old.due } else { standing.due },
            ..old
        };
    }
    Ok(Kept {
        schedule,
        standing,
        is_defined,
        owner: owner.or(before.and_then(|before| before.owner)),
        permission: is_defined.then_some(Permission::Admin),
    })
}

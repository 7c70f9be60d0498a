//! A look at the schedules whose time has come.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::super::{Engine, Submission, refresh};
use super::{KIND, Kept, SCHEDULE_TAG, ScheduleError, Ticked};
use crate::error::EngineError;
use crate::id::RunId;
use crate::permission::Permission;
use crate::run::NewRun;
use crate::schedule::{Happened, Overlap, Schedule, Standing, decide};
use crate::store::{Answer, Fire, Op, Record, RunAction, StoreError};
use crate::time::Timestamp;
use crate::workflow::{Budget, Prepared, Scope, Template};

/// Schedules looked at in one tick at most. Those whose turn has not come stand first in line each time.
const MANY: i64 = 5_000;

impl Engine {
    /// Looks at the schedules whose time has come, once; schedulers do so every second.
    ///
    /// # Errors
    /// A store error.
    pub async fn tick(&self) -> Result<Ticked, EngineError> {
        let mut ticked = Ticked::default();
        let due = self
            .shared
            .store
            .due_records(KIND, self.now(), MANY)
            .await?;
        for record in &due {
            let Some(kept) = Kept::read(record) else {
                continue;
            };
            match self.tick_one(record, kept).await {
                Ok(Some(started)) => {
                    ticked.moved += 1;
                    ticked.started += started;
                }
                Ok(None) => ticked.left += 1,
                Err(error @ EngineError::Store(StoreError::Closed)) => return Err(error),
                Err(error) => {
                    // One must not keep the others from their time.
                    tracing::warn!(schedule.id = %record.id, %error, "schedule `{}` could not be looked at; trying again", record.id);
                    ticked.left += 1;
                }
            }
        }
        Ok(ticked)
    }

    /// Schedules that were seen to while the clock was far ahead go by the present time again; returns how many.
    ///
    /// # Errors
    /// A store error.
    pub async fn set_schedules_right(&self) -> Result<usize, EngineError> {
        let mut mended = 0;
        for record in self.shared.store.records(KIND).await? {
            let Some(mut kept) = Kept::read(&record) else {
                continue;
            };
            let Ok(clockwork) = kept.clockwork() else {
                continue;
            };
            let Some(due) = kept.standing.set_right(&clockwork, self.now()) else {
                continue;
            };
            tracing::warn!(schedule.id = %record.id, "schedule `{}` waited for a time by a clock that was wrong", record.id);
            kept.standing.due = Some(due);
            let keep = kept.keep(&record.id, Some(record.revision));
            // Whoever was quicker has done the same.
            self.shared.store.write(Op::Keep(keep)).await?;
            mended += 1;
        }
        Ok(mended)
    }

    /// How many runs one schedule's ticks began; nothing where it was left as it is.
    async fn tick_one(&self, record: &Record, kept: Kept) -> Result<Option<usize>, EngineError> {
        let id = record.id.as_str();
        let workflow = kept.schedule.workflow.as_str();
        if self.library().source(workflow).is_none() {
            refresh(&self.shared).await?;
            if self.library().source(workflow).is_none() {
                // Another process may know it. That nobody does shows in the health check.
                return Ok(None);
            }
        }
        let clockwork = kept.clockwork()?;
        let under_way = match kept.schedule.overlap {
            // Whether others are under way makes no difference, but to what is made up for.
            Overlap::Allow if kept.standing.waiting.is_empty() => Vec::new(),
            _ => self.under_way(&kept.standing).await?,
        };
        let (now, is_busy) = (self.now(), !under_way.is_empty());
        let decision = decide(&kept.schedule, id, &clockwork, &kept.standing, now, is_busy);
        if decision.start.is_empty() && decision.standing == kept.standing {
            return Ok(None);
        }
        for run in under_way.into_iter().filter(|_| decision.cancel) {
            // Cancelled first, and again if we die before the commit: it was to go either way.
            match self.act(run, RunAction::Cancel).await {
                Ok(_) => {
                    tracing::info!(run.id = %run, schedule.id = %id, "cancelled for the next tick of its schedule");
                }
                // It has just ended.
                Err(EngineError::Refused(_) | EngineError::Store(StoreError::NotFound { .. })) => {}
                Err(error) => return Err(error),
            }
        }
        let mut moved = Kept {
            standing: decision.standing,
            ..kept
        };
        let mut runs = Vec::with_capacity(decision.start.len());
        for due in decision.start {
            let owner = moved.owner.clone();
            match self.run_of(id, &moved.schedule, owner, moved.permission(), Some(due)) {
                Ok(new) => {
                    let run = new.id;
                    moved
                        .standing
                        .note(Some(due), now, Happened::Started { run });
                    runs.push(new);
                }
                Err(error) => {
                    let reason: String = error.to_string().chars().take(500).collect();
                    tracing::error!(schedule.id = %id, "schedule `{id}` began nothing: {reason}");
                    moved
                        .standing
                        .note(Some(due), now, Happened::Refused { reason });
                }
            }
        }
        let started = runs.len();
        let keep = moved.keep(id, Some(record.revision));
        let begun = self.fire(Fire { keep, runs }).await?;
        Ok(begun.map(|_| started))
    }

    /// Of the runs that began last, by a tick or by somebody's wish, those that have not ended.
    async fn under_way(&self, standing: &Standing) -> Result<Vec<RunId>, EngineError> {
        let mut under_way = Vec::new();
        for run in standing.runs() {
            match self.shared.store.run_state(run).await {
                Ok(state) if !state.is_terminal() => under_way.push(run),
                Ok(_) | Err(StoreError::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(under_way)
    }

    pub(super) async fn fire(&self, fire: Fire) -> Result<Option<Vec<(RunId, bool)>>, EngineError> {
        match self.shared.store.write(Op::Fire(Box::new(fire))).await? {
            Answer::Fired(begun) => Ok(begun),
            other => unreachable!("firing is answered by Fired, not {other:?}"),
        }
    }

    /// The run of a tick; without a due time, of somebody's wish.
    pub(super) fn run_of(
        &self,
        id: &str,
        schedule: &Schedule,
        owner: Option<String>,
        permission: Permission,
        due: Option<Timestamp>,
    ) -> Result<NewRun, EngineError> {
        let definition = self.library().get(schedule.workflow.as_str())?;
        let facts = json!({
            "scheduled_at": due.unwrap_or_else(|| self.now()).to_string(),
            "schedule": id,
            "workflow": schedule.workflow.as_str(),
        });
        let inputs = inputs(&schedule.inputs, &facts)?;
        // Whether its owner may read a file was looked at when the schedule was set, and is not any more.
        if owner.is_some() && !digests(&inputs).is_subset(&digests(&schedule.inputs)) {
            let reason = "an expression makes no file: give the file itself".to_owned();
            return Err(ScheduleError::Inputs { reason }.into());
        }
        let submission = Submission {
            idempotency_key: due.map(|due| format!("schedule/{id}/{}", due.0)),
            priority: schedule.priority,
            tags: vec![format!("{SCHEDULE_TAG}{id}")],
            owner,
            permission,
            ..Submission::new(schedule.workflow.to_string(), inputs)
        };
        self.prepare(&definition, submission)
    }
}

/// What a value names as files.
fn digests(value: &Value) -> BTreeSet<&str> {
    let (mut found, mut todo) = (BTreeSet::new(), vec![value]);
    while let Some(value) = todo.pop() {
        match value {
            Value::Array(items) => todo.extend(items),
            Value::Object(fields) => {
                found.extend(fields.get("artifact").and_then(Value::as_str));
                todo.extend(fields.values());
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    found
}

/// A schedule's inputs, its expressions evaluated.
fn inputs(template: &Value, facts: &Value) -> Result<Value, EngineError> {
    let wrong = |error: String| EngineError::from(ScheduleError::Inputs { reason: error });
    let template = Template::parse(template.clone()).map_err(|error| wrong(error.message))?;
    let scope = Scope::new().run(Prepared::from_json(facts));
    template
        .evaluate(&scope, &mut Budget::request())
        .map_err(|error| wrong(error.message))
}

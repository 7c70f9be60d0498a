//! Questions: what runs, steps, attempts and files look like now.

use std::collections::HashSet;
use std::sync::Arc;

use serde::Deserialize;

use super::views::{ArtifactView, AttemptView, LogView, RunFilter, RunView, TaskView};
use super::{Store, StoreError, rows, sql};
use crate::artifact::Artifact;
use crate::id::{QueueName, RunId, StepName, WorkerId, WorkflowName};
use crate::run::{AttemptOutcome, Event, Failure, Held, RunState, TaskKey, TaskState};
use crate::task::{LogLevel, Progress};
use crate::time::Timestamp;
use crate::workflow::plan::{Action, Plan, StepIndex};

#[derive(Deserialize)]
struct RunColumns(
    RunId,
    WorkflowName,
    String,
    RunState,
    i64,
    i64,
    i64,
    i64,
    i64,
    Option<String>,
    Option<RunId>,
    Option<String>,
    Option<String>,
    Option<String>,
    Timestamp,
    Option<Timestamp>,
    Option<Timestamp>,
    i64,
    Option<String>,
);

#[derive(Deserialize)]
struct TaskColumns(
    StepIndex,
    i32,
    TaskState,
    Held,
    QueueName,
    i64,
    i64,
    i64,
    i64,
    Option<Timestamp>,
    Option<Timestamp>,
    Timestamp,
    Option<RunId>,
    Option<String>,
    Option<String>,
    i64,
    Option<String>,
);

/// What a finished step hands to those that refer to it.
#[derive(Debug)]
pub(crate) struct StoredOutput {
    pub(crate) item: i32,
    pub(crate) state: TaskState,
    pub(crate) output: Option<String>,
    pub(crate) error: Option<String>,
}

fn maybe<T: serde::de::DeserializeOwned>(
    text: Option<String>,
    what: &'static str,
) -> Result<Option<T>, StoreError> {
    text.map(|t| rows::parse(&t, what)).transpose()
}

fn run_view(row: &str) -> Result<RunView, StoreError> {
    let r: RunColumns = rows::parse(row, "runs")?;
    Ok(RunView {
        id: r.0,
        workflow: r.1,
        version: r.2,
        state: r.3,
        paused: r.4 != 0,
        generation: r.5,
        open_steps: r.6,
        priority: r.7,
        queued: r.8 != 0,
        tags: maybe(r.9, "runs.tags")?.unwrap_or_default(),
        parent: r.10,
        inputs: maybe(r.11, "runs.inputs")?,
        output: maybe(r.12, "runs.output")?,
        failure: maybe(r.13, "runs.failure")?,
        created_at: r.14,
        started_at: r.15,
        finished_at: r.16,
        last_event: r.17,
        idempotency_key: r.18,
    })
}

impl Store {
    pub(crate) async fn run(&self, id: RunId) -> Result<RunView, StoreError> {
        let row: Option<String> = sqlx::query_scalar(sql::RUN_VIEW)
            .bind(id.to_string())
            .fetch_optional(&self.readers)
            .await?;
        run_view(&row.ok_or_else(|| no_run(id))?)
    }

    pub(crate) async fn run_state(&self, id: RunId) -> Result<RunState, StoreError> {
        let state: Option<String> = sqlx::query_scalar(sql::RUN_STATE)
            .bind(id.to_string())
            .fetch_optional(&self.readers)
            .await?;
        let state = state.ok_or_else(|| no_run(id))?;
        state.parse().map_err(|detail| StoreError::Corrupt {
            what: "runs.state",
            detail,
        })
    }

    pub(crate) async fn list_runs(&self, filter: &RunFilter) -> Result<Vec<RunView>, StoreError> {
        // Greater than any UUID's first digit: no bound.
        let before = filter
            .before
            .map_or_else(|| "g".to_owned(), |id| id.to_string());
        let limit = if filter.limit == 0 {
            50
        } else {
            filter.limit.min(1_000)
        };
        let found: Vec<String> = sqlx::query_scalar(sql::LIST_RUNS)
            .bind(before)
            .bind(filter.state.map(RunState::as_str))
            .bind(filter.workflow.as_ref().map(|w| w.as_str().to_owned()))
            .bind(i64::from(limit))
            .fetch_all(&self.readers)
            .await?;
        found.iter().map(|row| run_view(row)).collect()
    }

    /// Runs whose id begins so; at most three, which is enough to see that it is ambiguous.
    pub(crate) async fn runs_like(&self, prefix: &str) -> Result<Vec<RunId>, StoreError> {
        let ids: Vec<String> = sqlx::query_scalar(sql::RUN_IDS_LIKE)
            .bind(prefix)
            .bind(format!("{prefix}g"))
            .fetch_all(&self.readers)
            .await?;
        Ok(ids.iter().filter_map(|id| id.parse().ok()).collect())
    }

    pub(crate) async fn latest_run(&self) -> Result<Option<RunId>, StoreError> {
        let id: Option<String> = sqlx::query_scalar(sql::LATEST_RUN)
            .fetch_optional(&self.readers)
            .await?;
        Ok(id.and_then(|id| id.parse().ok()))
    }

    /// The plan a run is pinned to.
    pub(crate) async fn plan_of(&self, run: RunId) -> Result<Arc<Plan>, StoreError> {
        let version = self.run(run).await?.version;
        self.plan_of_version(&version).await
    }

    pub(crate) async fn plan_of_version(&self, version: &str) -> Result<Arc<Plan>, StoreError> {
        if let Some(plan) = self.plans.get(version) {
            return Ok(plan);
        }
        let spec = self.spec(version).await?;
        self.plans.compile(version, &spec)
    }

    /// A pinned definition, canonical JSON.
    pub(crate) async fn spec(&self, version: &str) -> Result<String, StoreError> {
        let spec: Option<String> = sqlx::query_scalar(sql::SPEC)
            .bind(version)
            .fetch_optional(&self.readers)
            .await?;
        spec.ok_or_else(|| StoreError::NotFound {
            what: "workflow version",
            id: version.to_owned(),
        })
    }

    pub(crate) async fn tasks(
        &self,
        run: RunId,
        with_items: bool,
    ) -> Result<Vec<TaskView>, StoreError> {
        let plan = self.plan_of(run).await?;
        let found: Vec<String> = sqlx::query_scalar(sql::TASK_ROWS)
            .bind(run.to_string())
            .bind(i64::from(with_items))
            .fetch_all(&self.readers)
            .await?;
        found
            .iter()
            .map(|row| {
                let t: TaskColumns = rows::parse(row, "task_runs")?;
                Ok(TaskView {
                    step: name(&plan, t.0),
                    step_index: t.0,
                    item: u32::try_from(t.1).ok(),
                    state: t.2,
                    held: t.3,
                    queue: t.4,
                    attempt: t.5,
                    items: t.6,
                    open_items: t.7,
                    failed_items: t.8,
                    started_at: t.9,
                    finished_at: t.10,
                    due_at: t.11,
                    child: t.12,
                    output: maybe(t.13, "task_runs.output")?,
                    error: maybe(t.14, "task_runs.error")?,
                    cached: t.15 != 0,
                    progress: maybe(t.16, "task_runs.progress")?,
                })
            })
            // What the engine added for itself is nobody's business.
            .filter(|view: &Result<TaskView, StoreError>| {
                view.as_ref().map_or(true, |v| {
                    !matches!(plan.steps[v.step_index as usize].action, Action::Outputs)
                })
            })
            .collect()
    }

    pub(crate) async fn attempts(&self, run: RunId) -> Result<Vec<AttemptView>, StoreError> {
        type Columns = (
            StepIndex,
            i32,
            i64,
            AttemptOutcome,
            Option<WorkerId>,
            Option<Timestamp>,
            Timestamp,
            Option<String>,
        );
        let plan = self.plan_of(run).await?;
        let found: Vec<String> = sqlx::query_scalar(sql::ATTEMPT_ROWS)
            .bind(run.to_string())
            .fetch_all(&self.readers)
            .await?;
        found
            .iter()
            .map(|row| {
                let a: Columns = rows::parse(row, "attempts")?;
                Ok(AttemptView {
                    step: name(&plan, a.0),
                    item: u32::try_from(a.1).ok(),
                    attempt: a.2,
                    outcome: a.3,
                    worker: a.4,
                    started_at: a.5,
                    finished_at: a.6,
                    error: maybe(a.7, "attempts.error")?,
                })
            })
            .collect()
    }

    pub(crate) async fn logs(&self, run: RunId) -> Result<Vec<LogView>, StoreError> {
        type Columns = (StepIndex, i32, i64, i64, Timestamp, LogLevel, String);
        let plan = self.plan_of(run).await?;
        let found: Vec<String> = sqlx::query_scalar(sql::LOG_ROWS)
            .bind(run.to_string())
            .fetch_all(&self.readers)
            .await?;
        found
            .iter()
            .map(|row| {
                let l: Columns = rows::parse(row, "logs")?;
                Ok(LogView {
                    step: name(&plan, l.0),
                    item: u32::try_from(l.1).ok(),
                    attempt: l.2,
                    line: l.3,
                    at: l.4,
                    level: l.5,
                    message: l.6,
                })
            })
            .collect()
    }

    pub(crate) async fn artifacts(&self, run: RunId) -> Result<Vec<ArtifactView>, StoreError> {
        type Columns = (StepIndex, i32, String, String, String, u64, Timestamp);
        let plan = self.plan_of(run).await?;
        let found: Vec<String> = sqlx::query_scalar(sql::ARTIFACT_ROWS)
            .bind(run.to_string())
            .fetch_all(&self.readers)
            .await?;
        found
            .iter()
            .map(|row| {
                let a: Columns = rows::parse(row, "artifacts")?;
                Ok(ArtifactView {
                    step: name(&plan, a.0),
                    item: u32::try_from(a.1).ok(),
                    artifact: Artifact {
                        digest: a.2,
                        name: a.3,
                        media_type: a.4,
                        size_bytes: a.5,
                    },
                    created_at: a.6,
                })
            })
            .collect()
    }

    /// Events of a run after number `seq`, oldest first.
    pub(crate) async fn events_after(
        &self,
        run: RunId,
        seq: i64,
    ) -> Result<Vec<Event>, StoreError> {
        let bodies: Vec<String> = sqlx::query_scalar(sql::EVENTS_AFTER)
            .bind(run.to_string())
            .bind(seq)
            .bind(1_000_i64)
            .fetch_all(&self.readers)
            .await?;
        let mut events = Vec::new();
        for body in bodies {
            let batch: Vec<Event> = rows::parse(&body, "events")?;
            events.extend(batch.into_iter().filter(|e| e.seq > seq));
        }
        Ok(events)
    }

    /// What running attempts last said of themselves.
    pub(crate) async fn progress(
        &self,
        run: RunId,
    ) -> Result<Vec<(StepIndex, i32, Progress)>, StoreError> {
        let found: Vec<(i64, i64, i64, String)> = sqlx::query_as(sql::PROGRESS)
            .bind(run.to_string())
            .fetch_all(&self.readers)
            .await?;
        found
            .into_iter()
            .map(|(step, item, _, progress)| {
                let step = StepIndex::try_from(step).unwrap_or_default();
                let item = i32::try_from(item).unwrap_or_default();
                Ok((step, item, rows::parse(&progress, "task_runs.progress")?))
            })
            .collect()
    }

    /// A step's own row and, where it is mapped, its items' in order.
    pub(crate) async fn outputs(
        &self,
        run: RunId,
        step: StepIndex,
    ) -> Result<Vec<StoredOutput>, StoreError> {
        type Columns = (i64, i64, String, Option<String>, Option<String>);
        let found: Vec<Columns> = sqlx::query_as(sql::OUTPUTS)
            .bind(run.to_string())
            .bind(i64::from(step))
            .fetch_all(&self.readers)
            .await?;
        found
            .into_iter()
            .map(|(_, item, state, output, error)| {
                Ok(StoredOutput {
                    item: i32::try_from(item).unwrap_or_default(),
                    state: state.parse().map_err(|detail| StoreError::Corrupt {
                        what: "task_runs.state",
                        detail,
                    })?,
                    output,
                    error,
                })
            })
            .collect()
    }

    pub(crate) async fn inputs(&self, run: RunId) -> Result<String, StoreError> {
        let inputs: Option<String> = sqlx::query_scalar(sql::INPUTS)
            .bind(run.to_string())
            .fetch_optional(&self.readers)
            .await?;
        inputs.ok_or_else(|| no_run(run))
    }

    pub(crate) async fn failure(&self, run: RunId) -> Result<Option<Failure>, StoreError> {
        let failure: Option<Option<String>> = sqlx::query_scalar(sql::FAILURE)
            .bind(run.to_string())
            .fetch_optional(&self.readers)
            .await?;
        maybe(failure.ok_or_else(|| no_run(run))?, "runs.failure")
    }

    /// A result kept under this key, and the files it names.
    pub(crate) async fn cached(
        &self,
        key: &str,
    ) -> Result<Option<(String, Vec<Artifact>)>, StoreError> {
        let found: Option<(String, String)> = sqlx::query_as(sql::CACHED)
            .bind(key)
            .fetch_optional(&self.readers)
            .await?;
        found
            .map(|(output, artifacts)| {
                Ok((output, rows::parse(&artifacts, "step_cache.artifacts")?))
            })
            .transpose()
    }

    /// Of these digests, those some run refers to.
    pub(crate) async fn needed(&self, digests: &[String]) -> Result<HashSet<String>, StoreError> {
        let found: Vec<String> = sqlx::query_scalar(sql::NEEDED_DIGESTS)
            .bind(rows::json(digests))
            .fetch_all(&self.readers)
            .await?;
        Ok(found.into_iter().collect())
    }

    /// Every file that some run refers to.
    pub(crate) async fn referenced(&self) -> Result<Vec<Artifact>, StoreError> {
        let found: Vec<(String, String, String, i64)> = sqlx::query_as(sql::REFERENCED)
            .fetch_all(&self.readers)
            .await?;
        Ok(found
            .into_iter()
            .map(|(digest, name, media_type, size)| Artifact {
                digest,
                name,
                media_type,
                size_bytes: u64::try_from(size).unwrap_or_default(),
            })
            .collect())
    }

    /// Broken promises, one sentence each; empty is good.
    pub(crate) async fn check(&self) -> Result<Vec<String>, StoreError> {
        Ok(sqlx::query_scalar(sql::CHECK_COUNTERS)
            .fetch_all(&self.readers)
            .await?)
    }

    pub(crate) async fn live_workers(&self) -> Result<Vec<(WorkerId, String)>, StoreError> {
        let found: Vec<(String, String)> = sqlx::query_as(sql::LIVE_WORKERS)
            .fetch_all(&self.readers)
            .await?;
        Ok(found
            .into_iter()
            .filter_map(|(id, host)| Some((id.parse().ok()?, host)))
            .collect())
    }

    /// Attempts whose worker is gone, or whose time is long up: key, token, and which of the two.
    pub(crate) async fn overdue(
        &self,
        now: Timestamp,
        grace_ms: i64,
        dead: &[WorkerId],
    ) -> Result<Vec<(TaskKey, i64, bool)>, StoreError> {
        let found: Vec<(String, i64, i64, i64, i64)> = sqlx::query_as(sql::OVERDUE_TASKS)
            .bind(now.0)
            .bind(grace_ms)
            .bind(rows::json(dead))
            .fetch_all(&self.readers)
            .await?;
        let attempts = found
            .into_iter()
            .filter_map(|(run, step, item, token, worker_lost)| {
                Some((task_key(&run, step, item)?, token, worker_lost != 0))
            });
        Ok(attempts.collect())
    }

    /// What the store believes a worker to hold since before `since`: key and token.
    pub(crate) async fn held_by(
        &self,
        worker: WorkerId,
        since: Timestamp,
    ) -> Result<Vec<(TaskKey, i64)>, StoreError> {
        let found: Vec<(String, i64, i64, i64)> = sqlx::query_as(sql::HELD_BY)
            .bind(worker.to_string())
            .bind(since.0)
            .fetch_all(&self.readers)
            .await?;
        let held = found
            .into_iter()
            .filter_map(|(run, step, item, token)| Some((task_key(&run, step, item)?, token)));
        Ok(held.collect())
    }

    /// Whether a run's time is up, or a worker's lease has ended.
    pub(crate) async fn has_late(&self, now: Timestamp) -> Result<bool, StoreError> {
        let runs: Vec<String> = sqlx::query_scalar(sql::LATE_RUNS)
            .bind(now.0)
            .fetch_all(&self.readers)
            .await?;
        let workers: Vec<String> = sqlx::query_scalar(sql::DEAD_WORKERS)
            .bind(now.0)
            .fetch_all(&self.readers)
            .await?;
        Ok(!runs.is_empty() || !workers.is_empty())
    }

    pub(crate) async fn expired_runs(&self, now: Timestamp) -> Result<Vec<RunId>, StoreError> {
        let ids: Vec<String> = sqlx::query_scalar(sql::EXPIRED_RUNS)
            .bind(now.0)
            .fetch_all(&self.readers)
            .await?;
        Ok(ids.iter().filter_map(|id| id.parse().ok()).collect())
    }

    pub(crate) async fn is_busy(&self) -> Result<bool, StoreError> {
        let found: Option<i64> = sqlx::query_scalar(sql::ANY_UNFINISHED)
            .fetch_optional(&self.readers)
            .await?;
        Ok(found.is_some())
    }

    pub(crate) async fn counts(&self) -> Result<Vec<(RunState, u64)>, StoreError> {
        let found: Vec<(String, i64)> =
            sqlx::query_as(sql::COUNTS).fetch_all(&self.readers).await?;
        Ok(found
            .into_iter()
            .filter_map(|(state, n)| Some((state.parse().ok()?, u64::try_from(n).ok()?)))
            .collect())
    }
}

fn name(plan: &Plan, step: StepIndex) -> StepName {
    plan.steps[step as usize].name.clone()
}

fn task_key(run: &str, step: i64, item: i64) -> Option<TaskKey> {
    Some(TaskKey {
        run: run.parse().ok()?,
        step: step.try_into().ok()?,
        item: item.try_into().ok()?,
    })
}

fn no_run(id: RunId) -> StoreError {
    StoreError::NotFound {
        what: "run",
        id: id.to_string(),
    }
}

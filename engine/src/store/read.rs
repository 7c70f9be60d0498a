//! Questions: what runs, steps, attempts and files look like now.

use std::collections::HashSet;
use std::sync::Arc;

use serde::Deserialize;

use super::statement::Statement;
use super::views::{ArtifactView, AttemptView, FeedEntry, LogView, RunView, TaskView};
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
    Option<String>,
    Option<Timestamp>,
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

pub(super) fn maybe<T: serde::de::DeserializeOwned>(
    text: Option<String>,
    what: &'static str,
) -> Result<Option<T>, StoreError> {
    text.map(|t| rows::parse(&t, what)).transpose()
}

pub(super) fn run_view(row: &str) -> Result<RunView, StoreError> {
    view(rows::parse(row, "runs")?)
}

fn view(r: RunColumns) -> Result<RunView, StoreError> {
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
        owner: r.19,
        expires_at: r.20,
        notify: maybe(r.21, "runs.notify")?.unwrap_or_default(),
    })
}

fn task_views(plan: &Plan, found: Vec<TaskColumns>) -> Result<Vec<TaskView>, StoreError> {
    // What the engine added for itself is nobody's business.
    let shown = found
        .into_iter()
        .filter(|t| !matches!(plan.steps[t.0 as usize].action, Action::Outputs));
    let views = shown.map(|t| {
        Ok(TaskView {
            step: name(plan, t.0),
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
    });
    views.collect()
}

impl Store {
    pub(crate) async fn run(&self, id: RunId) -> Result<RunView, StoreError> {
        let row = self.runs.row(id).await?;
        run_view(&row.ok_or_else(|| no_run(id))?)
    }

    /// A run and its steps, without items, both as of one moment.
    pub(crate) async fn detail(&self, id: RunId) -> Result<(RunView, Vec<TaskView>), StoreError> {
        let row = self.details.row(id).await?;
        let row = row.ok_or_else(|| no_run(id))?;
        let (_, run, steps): (RunId, RunColumns, Vec<TaskColumns>) = rows::parse(&row, "runs")?;
        let run = view(run)?;
        let plan = self.plan_of_version(&run.version).await?;
        let steps = task_views(&plan, steps)?;
        Ok((run, steps))
    }

    pub(crate) async fn run_state(&self, id: RunId) -> Result<RunState, StoreError> {
        let state = self.one(&sql::RUN_STATE, id).await?;
        state.parse().map_err(|detail| StoreError::Corrupt {
            what: "runs.state",
            detail,
        })
    }

    /// Runs whose id begins so; at most three, which is enough to see that it is ambiguous.
    pub(crate) async fn runs_like(&self, prefix: &str) -> Result<Vec<RunId>, StoreError> {
        let ids: Vec<String> = self
            .readers
            .texts(
                &sql::RUN_IDS_LIKE,
                [prefix.into(), format!("{prefix}g").into()],
            )
            .await?;
        Ok(ids.iter().filter_map(|id| id.parse().ok()).collect())
    }

    pub(crate) async fn latest_run(&self) -> Result<Option<RunId>, StoreError> {
        let id: Option<String> = self.readers.texts(&sql::LATEST_RUN, []).await?.pop();
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
        let spec: Option<String> = self
            .readers
            .texts(&sql::SPEC, [version.into()])
            .await?
            .pop();
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
        let which = [run.to_string().into(), i64::from(with_items).into()];
        task_views(&plan, self.readers.rows(&sql::TASK_ROWS, which).await?)
    }

    /// Items of a mapped step after number `after`, in order.
    pub(crate) async fn items(
        &self,
        run: RunId,
        step: StepIndex,
        after: i64,
        limit: i64,
    ) -> Result<Vec<TaskView>, StoreError> {
        let which = [
            run.to_string().into(),
            i64::from(step).into(),
            after.max(-1).into(),
            limit.into(),
        ];
        let plan = self.plan_of(run).await?;
        task_views(&plan, self.readers.rows(&sql::ITEM_ROWS, which).await?)
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
        let which = [run.to_string().into()];
        let found: Vec<Columns> = self.readers.rows(&sql::ATTEMPT_ROWS, which).await?;
        let views = found.into_iter().map(|a| {
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
        });
        views.collect()
    }

    pub(crate) async fn logs(&self, run: RunId) -> Result<Vec<LogView>, StoreError> {
        type Columns = (StepIndex, i32, i64, i64, Timestamp, LogLevel, String);
        let plan = self.plan_of(run).await?;
        let which = [run.to_string().into()];
        let found: Vec<Columns> = self.readers.rows(&sql::LOG_ROWS, which).await?;
        let views = found.into_iter().map(|l| LogView {
            step: name(&plan, l.0),
            item: u32::try_from(l.1).ok(),
            attempt: l.2,
            line: l.3,
            at: l.4,
            level: l.5,
            message: l.6,
        });
        Ok(views.collect())
    }

    pub(crate) async fn artifacts(&self, run: RunId) -> Result<Vec<ArtifactView>, StoreError> {
        type Columns = (i64, i32, String, String, String, u64, Timestamp);
        let plan = self.plan_of(run).await?;
        let which = [run.to_string().into()];
        let found: Vec<Columns> = self.readers.rows(&sql::ARTIFACT_ROWS, which).await?;
        let views = found.into_iter().map(|a| ArtifactView {
            // What came with the inputs is no step's work.
            step: StepIndex::try_from(a.0).map_or_else(|_| inputs_step(), |step| name(&plan, step)),
            item: u32::try_from(a.1).ok(),
            artifact: Artifact {
                digest: a.2,
                name: a.3,
                media_type: a.4,
                size_bytes: a.5,
            },
            created_at: a.6,
        });
        Ok(views.collect())
    }

    /// Events of a run after number `seq`, oldest first.
    pub(crate) async fn events_after(
        &self,
        run: RunId,
        seq: i64,
    ) -> Result<Vec<Event>, StoreError> {
        let bodies: Vec<String> = self
            .readers
            .texts(
                &sql::EVENTS_AFTER,
                [run.to_string().into(), seq.into(), 1_000_i64.into()],
            )
            .await?;
        let mut events = Vec::new();
        for body in bodies {
            let batch: Vec<Event> = rows::parse(&body, "events")?;
            events.extend(batch.into_iter().filter(|e| e.seq > seq));
        }
        Ok(events)
    }

    /// The versions of a workflow that runs were submitted with, newest first, and since when; 100 at most.
    pub(crate) async fn versions(
        &self,
        name: &str,
    ) -> Result<Vec<(String, Timestamp)>, StoreError> {
        self.readers.rows(&sql::VERSIONS, [name.into()]).await
    }

    /// All runs' events after a position, in the order they were committed, more or less: on
    /// `PostgreSQL` one with a lower position may show a moment later than one with a higher.
    pub(crate) async fn feed(
        &self,
        position: i64,
        limit: i64,
    ) -> Result<Vec<FeedEntry>, StoreError> {
        let which = [position.into(), limit.into()];
        let found: Vec<(i64, RunId, String)> = self.readers.rows(&sql::FEED, which).await?;
        let entries = found.into_iter().map(|(position, run, body)| {
            Ok(FeedEntry {
                position,
                run,
                events: rows::parse(&body, "events")?,
            })
        });
        entries.collect()
    }

    /// The position of the last event there is.
    pub(crate) async fn last_position(&self) -> Result<i64, StoreError> {
        let found = self.readers.texts(&sql::LAST_POSITION, []).await?;
        Ok(found.first().and_then(|p| p.parse().ok()).unwrap_or(0))
    }

    /// A file by its digest, as some run of this owner knows it; of anybody, where none is named.
    pub(crate) async fn file_of(
        &self,
        digest: &str,
        owner: Option<&str>,
    ) -> Result<Option<Artifact>, StoreError> {
        let which = [digest.into(), owner.unwrap_or_default().into()];
        let found: Vec<(String, String, String, u64)> =
            self.readers.rows(&sql::FILE_OF_OWNER, which).await?;
        let first = found.into_iter().next();
        Ok(
            first.map(|(digest, name, media_type, size_bytes)| Artifact {
                digest,
                name,
                media_type,
                size_bytes,
            }),
        )
    }

    /// A file of this run by its digest, whether it came with the run or was made by it.
    pub(crate) async fn artifact_of(
        &self,
        run: RunId,
        digest: &str,
    ) -> Result<Option<Artifact>, StoreError> {
        let which = [run.to_string().into(), digest.into()];
        let found: Vec<(String, String, String, u64)> =
            self.readers.rows(&sql::ARTIFACT_OF, which).await?;
        let found = found.into_iter().next();
        if let Some((digest, name, media_type, size_bytes)) = found {
            return Ok(Some(Artifact {
                digest,
                name,
                media_type,
                size_bytes,
            }));
        }
        // It may be what a running attempt shows of its work.
        let said = self.progress(run).await?.into_iter();
        let mut previews = said.filter_map(|(_, _, progress)| progress.preview);
        Ok(previews.find(|preview| preview.digest == digest))
    }

    /// What running attempts last said of themselves.
    pub(crate) async fn progress(
        &self,
        run: RunId,
    ) -> Result<Vec<(StepIndex, i32, Progress)>, StoreError> {
        let which = [run.to_string().into()];
        let found: Vec<(StepIndex, i32, String)> = self.readers.rows(&sql::PROGRESS, which).await?;
        let parsed = found.into_iter().map(|(step, item, progress)| {
            Ok((step, item, rows::parse(&progress, "task_runs.progress")?))
        });
        parsed.collect()
    }

    /// How often a task has failed since its run began, or was last retried by somebody.
    pub(crate) async fn tries(&self, key: TaskKey) -> Result<i64, StoreError> {
        let which = [
            key.run.to_string().into(),
            i64::from(key.step).into(),
            i64::from(key.item).into(),
        ];
        let found: Vec<(i64,)> = self.readers.rows(&sql::TRIES, which).await?;
        Ok(found.first().map_or(0, |(tries,)| *tries))
    }

    /// A step's own row and, where it is mapped, its items' in order.
    pub(crate) async fn outputs(
        &self,
        run: RunId,
        step: StepIndex,
    ) -> Result<Vec<StoredOutput>, StoreError> {
        type Columns = (i32, TaskState, Option<String>, Option<String>);
        let which = [run.to_string().into(), i64::from(step).into()];
        let found: Vec<Columns> = self.readers.rows(&sql::OUTPUTS, which).await?;
        let outputs = found
            .into_iter()
            .map(|(item, state, output, error)| StoredOutput {
                item,
                state,
                output,
                error,
            });
        Ok(outputs.collect())
    }

    /// How many items a mapped step has, and how many bytes of output they have together.
    pub(crate) async fn output_sizes(
        &self,
        run: RunId,
        step: StepIndex,
    ) -> Result<(u64, u64), StoreError> {
        let which = [run.to_string().into(), i64::from(step).into()];
        let found: Vec<(u64, u64)> = self.readers.rows(&sql::OUTPUT_SIZES, which).await?;
        Ok(found.first().copied().unwrap_or_default())
    }

    pub(crate) async fn inputs(&self, run: RunId) -> Result<String, StoreError> {
        self.one(&sql::INPUTS, run).await
    }

    pub(crate) async fn failure(&self, run: RunId) -> Result<Option<Failure>, StoreError> {
        let failure = self.one(&sql::FAILURE, run).await?;
        maybe(Some(failure).filter(|f| !f.is_empty()), "runs.failure")
    }

    /// A result kept under this key, and the files it names.
    pub(crate) async fn cached(
        &self,
        key: &str,
    ) -> Result<Option<(String, Vec<Artifact>)>, StoreError> {
        let found: Vec<(String, String)> = self.readers.rows(&sql::CACHED, [key.into()]).await?;
        let parsed = found.into_iter().next().map(|(output, artifacts)| {
            Ok((output, rows::parse(&artifacts, "step_cache.artifacts")?))
        });
        parsed.transpose()
    }

    /// Of these digests, those some run refers to; perhaps others that are needed, too.
    pub(crate) async fn needed(&self, digests: &[String]) -> Result<HashSet<String>, StoreError> {
        let found: Vec<String> = self
            .readers
            .texts(&sql::NEEDED_DIGESTS, [rows::json(digests).into()])
            .await?;
        let mut needed: HashSet<String> = found.into_iter().collect();
        // What running attempts show of their work; by the time they end, nobody looks at it any more.
        for said in self.readers.texts(&sql::PREVIEWS, []).await? {
            let progress: Progress = rows::parse(&said, "task_runs.progress")?;
            needed.extend(progress.preview.map(|preview| preview.digest));
        }
        Ok(needed)
    }

    /// Every file that some run refers to.
    pub(crate) async fn referenced(&self) -> Result<Vec<Artifact>, StoreError> {
        type Columns = (String, String, String, u64);
        let found: Vec<Columns> = self.readers.rows(&sql::REFERENCED, []).await?;
        let artifacts = found
            .into_iter()
            .map(|(digest, name, media_type, size_bytes)| Artifact {
                digest,
                name,
                media_type,
                size_bytes,
            });
        Ok(artifacts.collect())
    }

    pub(crate) async fn is_busy(&self) -> Result<bool, StoreError> {
        Ok(!self
            .readers
            .texts(&sql::ANY_UNFINISHED, [])
            .await?
            .is_empty())
    }

    pub(crate) async fn counts(&self) -> Result<Vec<(RunState, u64)>, StoreError> {
        self.readers.rows(&sql::COUNTS, []).await
    }

    /// The one column of the one row that a question about a run answers with.
    async fn one(&self, question: &'static Statement, run: RunId) -> Result<String, StoreError> {
        let found = self
            .readers
            .texts(question, [run.to_string().into()])
            .await?;
        found.into_iter().next().ok_or_else(|| no_run(run))
    }
}

fn name(plan: &Plan, step: StepIndex) -> StepName {
    plan.steps[step as usize].name.clone()
}

/// What files that came with the inputs are listed under.
fn inputs_step() -> StepName {
    StepName::new("inputs").expect("a plain word is a name")
}

fn no_run(id: RunId) -> StoreError {
    StoreError::NotFound {
        what: "run",
        id: id.to_string(),
    }
}

//! One transaction: load what the decisions need, decide, save, and do what the decisions ask for.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use sqlx::sqlite::SqliteConnection;

use super::claim::Stop;
use super::op::{Answer, AttemptReport, Op, RunAction};
use super::plans::Plans;
use super::{StoreError, rows, sql};
use crate::id::{QueueName, RunId};
use crate::run::{NewRun, RunRow, TaskKey, TaskRow};
use crate::time::Timestamp;
use crate::transition::{
    Change, ChildOutcome, Effect, Outcome, Proof, Settlement, TransitionError, Workset, rows_for,
    start,
};
use crate::workflow::plan::Plan;

/// What may be told once the transaction stands.
#[derive(Debug, Default)]
pub(super) struct After {
    pub(super) rings: HashSet<QueueName>,
    pub(super) touched: HashSet<RunId>,
    pub(super) stops: Vec<Stop>,
    /// The soonest due time among tasks this transaction sent into their back-off.
    pub(super) wake_at: Option<Timestamp>,
    /// Whether due tasks were looked for, and when the next one is.
    pub(super) promoted: bool,
    pub(super) next_due: Option<Timestamp>,
}

pub(super) struct Commit<'a> {
    pub(super) conn: &'a mut SqliteConnection,
    pub(super) plans: &'a Plans,
    pub(super) now: Timestamp,
    pub(super) after: After,
}

impl Commit<'_> {
    /// Does everything asked for; one answer per request, in order.
    pub(super) async fn apply(
        &mut self,
        ops: &[Op],
    ) -> Result<Vec<Result<Answer, StoreError>>, StoreError> {
        let mut answers: Vec<Option<Result<Answer, StoreError>>> =
            ops.iter().map(|_| None).collect();

        // Submits and reports come by the hundred and share their statements.
        let submits: Vec<(usize, &NewRun)> = ops
            .iter()
            .enumerate()
            .filter_map(|(i, op)| {
                if let Op::Submit(new) = op {
                    Some((i, &**new))
                } else {
                    None
                }
            })
            .collect();
        if !submits.is_empty() {
            let new: Vec<&NewRun> = submits.iter().map(|(_, new)| *new).collect();
            for ((i, _), answer) in submits.iter().zip(self.submit(&new).await?) {
                answers[*i] = Some(answer);
            }
        }
        let settlements: Vec<(usize, &Settlement)> = ops
            .iter()
            .enumerate()
            .filter_map(|(i, op)| {
                if let Op::Settle(s) = op {
                    Some((i, &**s))
                } else {
                    None
                }
            })
            .collect();
        if !settlements.is_empty() {
            let all: Vec<&Settlement> = settlements.iter().map(|(_, s)| *s).collect();
            for ((i, _), result) in settlements.iter().zip(self.settle(&all).await?) {
                answers[*i] = Some(Ok(Answer::Settled(result)));
            }
        }
        let announced: Vec<(TaskKey, i64)> = ops
            .iter()
            .filter_map(|op| {
                if let Op::Announce(key, token) = op {
                    Some((*key, *token))
                } else {
                    None
                }
            })
            .collect();
        if !announced.is_empty() {
            self.announce(&announced).await?;
        }
        let reports: Vec<&AttemptReport> = ops
            .iter()
            .filter_map(|op| {
                if let Op::Report(r) = op {
                    Some(r)
                } else {
                    None
                }
            })
            .collect();
        if !reports.is_empty() {
            self.report(&reports).await?;
        }
        for (i, op) in ops.iter().enumerate() {
            let answer = match op {
                Op::Submit(_) | Op::Settle(_) => continue,
                Op::Announce(..) => Ok(Answer::Done),
                Op::Report(_) => Ok(Answer::Done),
                Op::Act(run, action) => self.act(*run, *action).await?,
                Op::Register(worker) => self.register(worker).await.map(|()| Answer::Done),
                Op::Heartbeat {
                    worker,
                    lease_until,
                    holds,
                } => self.heartbeat(*worker, *lease_until, holds).await,
                Op::Retire(worker) => self.retire(*worker).await.map(|()| Answer::Done),
                Op::Sweep(overdue) => self.sweep(overdue).await.map(Answer::Swept),
                Op::Delete(run) => self.delete(*run).await.map(|()| Answer::Done),
            };
            // A refusal is an answer; a database error fails the whole transaction.
            answers[i] = Some(match answer {
                Ok(answer) => Ok(answer),
                Err(error @ StoreError::NotFound { .. }) => Err(error),
                Err(error) => return Err(error),
            });
        }
        Ok(answers
            .into_iter()
            .map(|a| a.expect("every request was handled"))
            .collect())
    }

    /// The plan of a version, from memory or compiled from the pinned definition.
    pub(super) async fn plan(&mut self, version: &str) -> Result<Arc<Plan>, StoreError> {
        if let Some(plan) = self.plans.get(version) {
            return Ok(plan);
        }
        let spec: Option<String> = sqlx::query_scalar(sql::SPEC)
            .bind(version)
            .fetch_optional(&mut *self.conn)
            .await?;
        let spec = spec.ok_or_else(|| StoreError::Corrupt {
            what: "workflow_versions",
            detail: format!("version {version} is missing, though a run refers to it"),
        })?;
        self.plans.compile(version, &spec)
    }

    pub(super) async fn load_runs(&mut self, ids: &[RunId]) -> Result<Vec<RunRow>, StoreError> {
        let json: String = sqlx::query_scalar(sql::LOAD_RUNS)
            .bind(rows::json(ids))
            .fetch_one(&mut *self.conn)
            .await?;
        rows::runs(&json)
    }

    pub(super) async fn load_steps(&mut self, run: RunId) -> Result<Vec<TaskRow>, StoreError> {
        let json: String = sqlx::query_scalar(sql::LOAD_STEPS)
            .bind(run.to_string())
            .fetch_one(&mut *self.conn)
            .await?;
        rows::tasks(&json)
    }

    /// Runs with their plans.
    async fn load_runs_of(
        &mut self,
        ids: impl Iterator<Item = RunId>,
    ) -> Result<HashMap<RunId, (RunRow, Arc<Plan>)>, StoreError> {
        let mut ids: Vec<RunId> = ids.collect();
        ids.sort_unstable();
        ids.dedup();
        let mut runs = HashMap::with_capacity(ids.len());
        for run in self.load_runs(&ids).await? {
            let plan = self.plan(&run.version).await?;
            runs.insert(run.id, (run, plan));
        }
        Ok(runs)
    }

    /// Worksets of these runs over these rows, and over all steps of the `whole` ones.
    async fn worksets(
        &mut self,
        runs: HashMap<RunId, (RunRow, Arc<Plan>)>,
        keys: HashSet<(RunId, u32, i32)>,
        whole: HashSet<RunId>,
    ) -> Result<BTreeMap<RunId, Workset>, StoreError> {
        let keys: Vec<_> = keys.into_iter().collect();
        let json: String = sqlx::query_scalar(sql::LOAD_TASKS)
            .bind(rows::json(&keys))
            .fetch_one(&mut *self.conn)
            .await?;
        let mut tasks: HashMap<RunId, HashMap<(u32, i32), TaskRow>> = HashMap::new();
        for row in rows::tasks(&json)? {
            tasks
                .entry(row.key.run)
                .or_default()
                .insert((row.key.step, row.key.item), row);
        }
        for run in whole {
            for row in self.load_steps(run).await? {
                tasks
                    .entry(run)
                    .or_default()
                    .entry((row.key.step, row.key.item))
                    .or_insert(row);
            }
        }
        let worksets = runs.into_iter().map(|(id, (run, plan))| {
            let rows = tasks.remove(&id).unwrap_or_default().into_values();
            (id, Workset::new(plan, run, rows))
        });
        Ok(worksets.collect())
    }

    /// Takes reports; those that end a sub-workflow's run settle the step above it in the same breath.
    async fn settle(
        &mut self,
        settlements: &[&Settlement],
    ) -> Result<Vec<Result<(), TransitionError>>, StoreError> {
        let (results, parents) = self.settle_once(settlements).await?;
        self.settle_parents(parents).await?;
        Ok(results)
    }

    /// Steps that waited for runs which have just ended. Terminates: every round is one level higher.
    pub(super) async fn settle_parents(
        &mut self,
        mut parents: Vec<Settlement>,
    ) -> Result<(), StoreError> {
        while !parents.is_empty() {
            let batch: Vec<&Settlement> = parents.iter().collect();
            // A parent that was cancelled meanwhile has no use for the answer.
            let (_, next) = Box::pin(self.settle_once(&batch)).await?;
            parents = next;
        }
        Ok(())
    }

    /// Tells that attempts are under way; those that are over meanwhile have told so themselves.
    async fn announce(&mut self, attempts: &[(TaskKey, i64)]) -> Result<(), StoreError> {
        let runs = self
            .load_runs_of(attempts.iter().map(|(key, _)| key.run))
            .await?;
        let keys = attempts
            .iter()
            .map(|(key, _)| (key.run, key.step, key.item))
            .collect();
        let mut worksets = self.worksets(runs, keys, HashSet::new()).await?;
        for (key, token) in attempts {
            if let Some(work) = worksets.get_mut(&key.run) {
                let _ = work.announce(*key, *token);
            }
        }
        let worksets: Vec<Workset> = worksets.into_values().collect();
        self.save(&worksets).await
    }

    async fn settle_once(
        &mut self,
        settlements: &[&Settlement],
    ) -> Result<(Vec<Result<(), TransitionError>>, Vec<Settlement>), StoreError> {
        // The plans say which rows are touched, and the runs say which plans.
        let runs = self
            .load_runs_of(settlements.iter().map(|s| s.key.run))
            .await?;
        let mut keys: HashSet<(RunId, u32, i32)> = HashSet::new();
        let mut whole: HashSet<RunId> = HashSet::new();
        for settlement in settlements {
            let run = settlement.key.run;
            let Some((_, plan)) = runs.get(&run) else {
                continue;
            };
            match rows_for(plan, settlement) {
                Some(rows) => keys.extend(rows.into_iter().map(|(step, item)| (run, step, item))),
                None => {
                    keys.insert((run, settlement.key.step, settlement.key.item));
                    whole.insert(run);
                }
            }
        }
        let mut worksets = self.worksets(runs, keys, whole).await?;

        let mut results = Vec::with_capacity(settlements.len());
        let mut accepted = Vec::with_capacity(settlements.len());
        for settlement in settlements {
            let result = match worksets.get_mut(&settlement.key.run) {
                Some(work) => work.settle(settlement, self.now, fastrand::f64()),
                None => Err(TransitionError::Stale { state: "gone" }),
            };
            if result.is_ok() {
                accepted.push(*settlement);
            }
            results.push(result);
        }
        let mut worksets: Vec<Workset> = worksets.into_values().collect();
        self.save(&worksets).await?;
        self.keep_products(&accepted, &worksets).await?;
        let children: Vec<&NewRun> = accepted
            .iter()
            .filter_map(|s| {
                if let Outcome::Delegated(child) = &s.outcome {
                    Some(&**child)
                } else {
                    None
                }
            })
            .collect();
        if !children.is_empty() {
            Box::pin(self.submit(&children)).await?;
        }
        let parents = self.perform(&mut worksets).await?;
        Ok((results, parents))
    }

    /// Artifacts and cacheable results of attempts whose report counted.
    async fn keep_products(
        &mut self,
        accepted: &[&Settlement],
        worksets: &[Workset],
    ) -> Result<(), StoreError> {
        let attempt_of = |key: TaskKey| {
            worksets
                .iter()
                .find(|w| w.run.id == key.run)
                .and_then(|w| w.tasks.get(&(key.step, key.item)))
                .map_or(0, |loaded| loaded.row.attempt)
        };
        let mut artifacts = Vec::new();
        let mut cache = Vec::new();
        for settlement in accepted {
            let key = settlement.key;
            for (ordinal, artifact) in settlement.artifacts.iter().enumerate() {
                artifacts.push((
                    key.run,
                    key.step,
                    key.item,
                    attempt_of(key),
                    ordinal,
                    &artifact.digest,
                    &artifact.name,
                    &artifact.media_type,
                    artifact.size_bytes,
                    self.now,
                ));
            }
            if let (
                Some(cache_key),
                Outcome::Succeeded {
                    output,
                    cached: false,
                },
            ) = (&settlement.cache_key, &settlement.outcome)
            {
                let kept = rows::json(&settlement.artifacts);
                let task = cache_key.split(':').next().unwrap_or_default();
                cache.push((cache_key, task, key.run, output, kept, self.now));
            }
        }
        if !artifacts.is_empty() {
            sqlx::query(sql::INSERT_ARTIFACTS)
                .bind(rows::json(&artifacts))
                .execute(&mut *self.conn)
                .await?;
        }
        if !cache.is_empty() {
            sqlx::query(sql::INSERT_CACHE)
                .bind(rows::json(&cache))
                .execute(&mut *self.conn)
                .await?;
        }
        Ok(())
    }

    /// Accepts runs. An idempotency key that is known answers with its first run.
    async fn submit(
        &mut self,
        new: &[&NewRun],
    ) -> Result<Vec<Result<Answer, StoreError>>, StoreError> {
        let mut known = self.known_keys(new).await?;
        let mut answers = Vec::with_capacity(new.len());
        let mut worksets = Vec::with_capacity(new.len());
        let mut fresh: Vec<(&NewRun, bool)> = Vec::with_capacity(new.len());
        for &run in new {
            if let Some(key) = &run.options.idempotency_key {
                let digest = rows::digest(run);
                if let Some((first, first_digest)) = known.get(key) {
                    answers.push(if *first_digest == digest {
                        Ok(Answer::Submitted {
                            run: *first,
                            is_new: false,
                        })
                    } else {
                        Err(StoreError::KeyReused {
                            key: key.clone(),
                            run: first.to_string(),
                        })
                    });
                    continue;
                }
                known.insert(key.clone(), (run.id, digest));
            }
            let mut queued = false;
            if let (Some(key), Some((_, limit))) =
                (&run.options.concurrency_key, &run.plan.concurrency)
            {
                let others = fresh
                    .iter()
                    .filter(|(other, queued)| {
                        !queued
                            && other.plan.name == run.plan.name
                            && other.options.concurrency_key.as_ref() == Some(key)
                    })
                    .count();
                let active = self.active_runs(run.plan.name.as_str(), key).await?;
                queued = active + i64::try_from(others).unwrap_or(0) >= i64::from(*limit);
            }
            self.plans.insert(&run.plan);
            worksets.push(start(run, queued, self.now));
            fresh.push((run, queued));
            answers.push(Ok(Answer::Submitted {
                run: run.id,
                is_new: true,
            }));
        }
        if fresh.is_empty() {
            return Ok(answers);
        }
        let mut versions: HashMap<&str, (&str, &str, &str, Timestamp)> = HashMap::new();
        for (run, _) in &fresh {
            let version = run.plan.version.as_str();
            versions.entry(version).or_insert((
                version,
                run.plan.name.as_str(),
                &*run.spec,
                self.now,
            ));
        }
        let versions: Vec<_> = versions.into_values().collect();
        sqlx::query(sql::INSERT_VERSIONS)
            .bind(rows::json(&versions))
            .execute(&mut *self.conn)
            .await?;
        let inserted: Vec<_> = fresh
            .iter()
            .zip(&worksets)
            .map(|((run, queued), work)| rows::InsertedRun::new(&work.run, run, *queued, self.now))
            .collect();
        sqlx::query(sql::INSERT_RUNS)
            .bind(rows::json(&inserted))
            .execute(&mut *self.conn)
            .await?;
        for work in &mut worksets {
            work.run_changed = false;
        }
        self.save(&worksets).await?;
        Box::pin(self.perform(&mut worksets)).await?;
        Ok(answers)
    }

    async fn known_keys(
        &mut self,
        new: &[&NewRun],
    ) -> Result<HashMap<String, (RunId, String)>, StoreError> {
        let keys: Vec<&str> = new
            .iter()
            .filter_map(|n| n.options.idempotency_key.as_deref())
            .collect();
        if keys.is_empty() {
            return Ok(HashMap::new());
        }
        let json: String = sqlx::query_scalar(sql::KNOWN_KEYS)
            .bind(rows::json(&keys))
            .fetch_one(&mut *self.conn)
            .await?;
        let known: Vec<(String, RunId, String)> = rows::parse(&json, "runs")?;
        Ok(known
            .into_iter()
            .map(|(key, run, digest)| (key, (run, digest)))
            .collect())
    }

    pub(super) async fn active_runs(
        &mut self,
        workflow: &str,
        key: &str,
    ) -> Result<i64, StoreError> {
        Ok(sqlx::query_scalar(sql::ACTIVE_RUNS)
            .bind(workflow)
            .bind(key)
            .fetch_one(&mut *self.conn)
            .await?)
    }

    /// Writes every changed row of every workset: a statement per table, however many rows.
    pub(super) async fn save(&mut self, worksets: &[Workset]) -> Result<(), StoreError> {
        let tasks = |wanted: Change| {
            worksets
                .iter()
                .flat_map(|w| w.tasks.values())
                .filter(move |loaded| loaded.change == wanted)
                .map(|loaded| &loaded.row)
        };
        let inserted: Vec<rows::NewTask<'_>> = tasks(Change::New).map(Into::into).collect();
        if !inserted.is_empty() {
            sqlx::query(sql::INSERT_TASKS)
                .bind(rows::json(&inserted))
                .execute(&mut *self.conn)
                .await?;
        }
        // Most rows that change have just ended, and need few words.
        let mut finished = Vec::new();
        let mut updated: Vec<rows::SavedTask<'_>> = Vec::new();
        for row in tasks(Change::Updated) {
            match rows::FinishedTask::of(row) {
                Some(row) => finished.push(row),
                None => updated.push(row.into()),
            }
        }
        if !finished.is_empty() {
            sqlx::query(sql::FINISH_TASKS)
                .bind(rows::json(&finished))
                .execute(&mut *self.conn)
                .await?;
        }
        if !updated.is_empty() {
            sqlx::query(sql::SAVE_TASKS)
                .bind(rows::json(&updated))
                .execute(&mut *self.conn)
                .await?;
        }
        let attempts: Vec<rows::SavedAttempt> = worksets
            .iter()
            .flat_map(|w| &w.attempts)
            .map(Into::into)
            .collect();
        if !attempts.is_empty() {
            sqlx::query(sql::INSERT_ATTEMPTS)
                .bind(rows::json(&attempts))
                .execute(&mut *self.conn)
                .await?;
        }
        let runs: Vec<rows::SavedRun<'_>> = worksets
            .iter()
            .filter(|w| w.run_changed)
            .map(|w| (&w.run).into())
            .collect();
        if !runs.is_empty() {
            sqlx::query(sql::SAVE_RUNS)
                .bind(rows::json(&runs))
                .execute(&mut *self.conn)
                .await?;
        }
        let events: Vec<(RunId, i64, String)> = worksets
            .iter()
            .filter(|w| !w.events.is_empty())
            .map(|w| (w.run.id, w.run.ev_seq, rows::json(&w.events)))
            .collect();
        if !events.is_empty() {
            sqlx::query(sql::INSERT_EVENTS)
                .bind(rows::json(&events))
                .execute(&mut *self.conn)
                .await?;
        }
        self.after.touched.extend(worksets.iter().map(|w| w.run.id));
        Ok(())
    }

    /// Does what the decisions ask for beside their rows; returns what it means to runs above.
    pub(super) async fn perform(
        &mut self,
        worksets: &mut [Workset],
    ) -> Result<Vec<Settlement>, StoreError> {
        let mut parents = Vec::new();
        for work in worksets {
            let run = work.run.id;
            for effect in std::mem::take(&mut work.effects) {
                match effect {
                    Effect::Ring { queue } => {
                        self.after.rings.insert(queue);
                    }
                    Effect::WakeAt { at } => {
                        self.after.wake_at =
                            Some(self.after.wake_at.map_or(at, |known| known.min(at)));
                    }
                    Effect::CancelRest { except } => self.cancel_tasks(run, except, None).await?,
                    Effect::CancelItems { step } => {
                        self.cancel_tasks(run, None, Some(step)).await?
                    }
                    Effect::ReleaseItem { step, hold } => {
                        let reason = if hold { crate::run::Held::RUN_LIMIT } else { 0 };
                        sqlx::query(sql::RELEASE_ITEM)
                            .bind(run.to_string())
                            .bind(i64::from(step))
                            .bind(reason)
                            .bind(self.now.0)
                            .execute(&mut *self.conn)
                            .await?;
                        self.after
                            .rings
                            .insert(crate::transition::item_queue(&work.plan, step));
                    }
                    Effect::ReleaseTask => {
                        let queue: Option<String> = sqlx::query_scalar(sql::RELEASE_TASK)
                            .bind(run.to_string())
                            .bind(self.now.0)
                            .fetch_optional(&mut *self.conn)
                            .await?;
                        self.after
                            .rings
                            .extend(queue.and_then(|q| QueueName::new(&q).ok()));
                    }
                    Effect::ResetItems { step, limit } => {
                        sqlx::query(sql::RESET_ITEMS)
                            .bind(run.to_string())
                            .bind(i64::from(step))
                            .bind(limit.map_or(i64::MAX, i64::from))
                            .bind(self.now.0)
                            .execute(&mut *self.conn)
                            .await?;
                        self.after
                            .rings
                            .insert(crate::transition::item_queue(&work.plan, step));
                    }
                    Effect::ReleaseConcurrency => self.release_concurrency(work).await?,
                    Effect::SettleParent { parent, outcome } => {
                        parents.push(parent_settlement(run, parent, outcome))
                    }
                }
            }
        }
        Ok(parents)
    }

    /// Stops what has not ended: in the database now, in the workers after the commit.
    async fn cancel_tasks(
        &mut self,
        run: RunId,
        except: Option<u32>,
        only: Option<u32>,
    ) -> Result<(), StoreError> {
        let children: Vec<String> = sqlx::query_scalar(sql::LIVE_CHILDREN)
            .bind(run.to_string())
            .bind(only.map_or(-1, i64::from))
            .fetch_all(&mut *self.conn)
            .await?;
        for statement in [sql::CANCEL_ATTEMPTS, sql::CANCEL_TASKS] {
            sqlx::query(statement)
                .bind(run.to_string())
                .bind(except.map_or(-1, i64::from))
                .bind(only.map_or(-1, i64::from))
                .bind(self.now.0)
                .execute(&mut *self.conn)
                .await?;
        }
        self.after.stops.push(Stop { run, only, except });
        for child in children {
            let child = child.parse().map_err(|_| StoreError::Corrupt {
                what: "task_runs.child_run",
                detail: child,
            })?;
            // Ended already is as good as cancelled.
            let _ = Box::pin(self.act(child, RunAction::Cancel)).await?;
        }
        Ok(())
    }
}

fn parent_settlement(
    child: RunId,
    parent: crate::run::Parent,
    outcome: ChildOutcome,
) -> Settlement {
    Settlement {
        key: parent.task,
        proof: Proof::Child {
            run: child,
            attempt: parent.attempt,
        },
        outcome: match outcome {
            ChildOutcome::Succeeded(output) => Outcome::Succeeded {
                output,
                cached: false,
            },
            ChildOutcome::Failed(error) => Outcome::Failed {
                outcome: crate::run::AttemptOutcome::Failed,
                error,
            },
        },
        artifacts: Vec::new(),
        run_output: None,
        cache_key: None,
    }
}

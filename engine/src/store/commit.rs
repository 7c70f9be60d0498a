//! One transaction: load what the decisions need, decide, save.
//!
//! Statements gather in a script and travel together: a flush of settlements is
//! one trip to load and one to save, claim and commit.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::connection::Connection;
use super::foresight::{Foreseen, Next, Question};
use super::holdings::Stop;
use super::op::{Answer, AttemptReport, Op};
use super::plans::Plans;
use super::script::{Parameter, Script};
use super::statement::Statement;
use super::writer::NOTHING;
use super::{StoreError, rows, sql, teardown};
use crate::id::{QueueName, RunId};
use crate::run::{NewRun, RunRow, TaskKey, TaskRow, TaskState};
use crate::time::Timestamp;
use crate::transition::{Change, Effect, Outcome, Settlement, TransitionError, Workset, rows_for};
use crate::workflow::plan::Plan;

/// What may be told once the transaction stands.
#[derive(Debug, Default)]
pub(super) struct After {
    pub(super) rings: HashSet<QueueName>,
    /// Queues that others say have work.
    pub(super) looks: HashSet<QueueName>,
    /// Runs that changed, and whether they are over.
    pub(super) touched: HashMap<RunId, bool>,
    pub(super) stops: Vec<Stop>,
    /// The soonest due time among tasks this transaction sent into their back-off.
    pub(super) wake_at: Option<Timestamp>,
    /// Whether due tasks were looked for, and when the next one is.
    pub(super) promoted: bool,
    pub(super) next_due: Option<Timestamp>,
    /// Operators said something that workers should hear of soon.
    pub(super) is_steered: bool,
    /// Some of what became claimable is not for every worker.
    pub(super) is_picky: bool,
    /// A tree was cancelled or deleted in part: somebody must go on with it.
    pub(super) has_teardowns: bool,
}

pub(super) struct Commit<'a> {
    pub(super) conn: &'a mut Connection,
    pub(super) plans: &'a Plans,
    pub(super) now: Timestamp,
    /// Statements that have not travelled yet; the first is `begin`.
    pub(super) script: Script,
    pub(super) after: After,
    /// The connection was lost when these requests were sent before: they may stand already.
    pub(super) is_resent: bool,
    /// Queues believed to have a cap.
    pub(super) capped: Arc<HashSet<QueueName>>,
    /// What was read before for the report that is now to be decided.
    pub(super) foreseen: Option<Foreseen>,
    /// What this commit makes ready, where somebody wants to know.
    pub(super) next: Option<Next>,
    /// A task that is ready, but not saved as such yet: with luck, it is claimed in the same breath.
    pub(super) starting: Option<(rows::ReadyTask, QueueName)>,
    /// Versions that this program cannot read, as a JSON list.
    pub(super) unreadable: Arc<str>,
    /// How many rows this commit may still cancel or delete in bulk.
    pub(super) rows_left: i64,
}

/// Rows that a settlement names: run, step, item.
pub(super) type Keys = HashSet<(RunId, u32, i32)>;

impl<'a> Commit<'a> {
    /// A transaction that begins with its first trip.
    pub(super) fn begin(
        conn: &'a mut Connection,
        plans: &'a Plans,
        now: Timestamp,
        after: After,
    ) -> Self {
        let mut script = Script::default();
        script.push(&sql::BEGIN, []);
        Self {
            conn,
            plans,
            now,
            script,
            after,
            is_resent: false,
            capped: Arc::default(),
            foreseen: None,
            next: None,
            starting: None,
            unreadable: NOTHING.into(),
            rows_left: teardown::BUDGET,
        }
    }

    /// Sends what has gathered; returns the first column of every row.
    pub(super) async fn send(&mut self) -> Result<Vec<String>, StoreError> {
        self.conn.run(&mut self.script).await
    }

    /// Adds a set-based statement, unless there is nothing to say.
    pub(super) fn push_rows<T: serde::Serialize>(
        &mut self,
        statement: &'static Statement,
        rows: &[T],
    ) {
        if !rows.is_empty() {
            self.script.push(statement, [rows::json(rows).into()]);
        }
    }

    /// One statement by itself, after everything gathered before it.
    pub(super) async fn ask(
        &mut self,
        statement: &'static Statement,
        parameters: impl IntoIterator<Item = Parameter>,
    ) -> Result<Vec<String>, StoreError> {
        self.send().await?;
        self.script.push(statement, parameters);
        self.send().await
    }

    /// Does everything asked for; one answer per request, in order.
    pub(super) async fn apply(
        &mut self,
        ops: &[Op],
    ) -> Result<Vec<Result<Answer, StoreError>>, StoreError> {
        let mut answers: Vec<Option<Result<Answer, StoreError>>> =
            ops.iter().map(|_| None).collect();

        self.lock_runs_of(ops).await?;
        // Submits, settlements and reports come by the hundred and share their statements.
        let (mut submits, mut settlements, mut announced, mut reports) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut deletes = Vec::new();
        for (i, op) in ops.iter().enumerate() {
            match op {
                Op::Submit(new) => submits.push((i, &**new)),
                Op::Settle(settlement) => settlements.push((i, &**settlement)),
                Op::Announce(key, token) => announced.push((*key, *token)),
                Op::Report(report) => reports.push(report),
                Op::Delete(run) => deletes.push((i, *run)),
                _ => {}
            }
        }
        if !settlements.is_empty() {
            let all: Vec<&Settlement> = settlements.iter().map(|(_, s)| *s).collect();
            let results = self.settle(&all).await?;
            for ((i, _), result) in settlements.iter().zip(results) {
                answers[*i] = Some(Ok(Answer::Settled(result)));
            }
        }
        if !submits.is_empty() {
            let new: Vec<&NewRun> = submits.iter().map(|(_, new)| *new).collect();
            for ((i, _), answer) in submits.iter().zip(self.submit(&new).await?) {
                answers[*i] = Some(answer);
            }
        }
        if !announced.is_empty() {
            self.announce(&announced).await?;
        }
        self.report(&reports);
        if !deletes.is_empty() {
            let runs: Vec<RunId> = deletes.iter().map(|(_, run)| *run).collect();
            for ((i, _), answer) in deletes.iter().zip(self.delete(&runs).await?) {
                answers[*i] = Some(answer);
            }
        }
        for (i, op) in ops.iter().enumerate() {
            let answer = match op {
                Op::Submit(_) | Op::Settle(_) | Op::Delete(_) => continue,
                Op::Announce(..) | Op::Report(AttemptReport { .. }) => Ok(Answer::Done),
                Op::Act(run, action) => self.act(*run, *action).await?,
                Op::Register(worker) => {
                    self.register(worker).await?;
                    Ok(Answer::Done)
                }
                Op::Heartbeat {
                    worker,
                    lease_until,
                    holds,
                    status,
                } => Ok(self.heartbeat(*worker, *lease_until, holds, status).await?),
                Op::Steer(worker, action) => Ok(self.steer(*worker, action).await?),
                Op::Queue(queue, action) => {
                    self.act_on_queue(queue, *action).await?;
                    Ok(Answer::Done)
                }
                Op::Purge(queue) => Ok(self.purge(queue).await?),
                Op::Retire(worker) => {
                    self.retire(*worker, "stopped");
                    Ok(Answer::Done)
                }
                Op::Excuse(worker, tasks) => {
                    self.excuse(*worker, tasks).await?;
                    Ok(Answer::Done)
                }
                Op::Admit(workflow, limit) => {
                    self.admit(workflow, *limit).await?;
                    Ok(Answer::Done)
                }
                #[cfg(test)]
                Op::Panic => panic!("as the test asked for"),
                Op::Look(queue) => {
                    self.after.looks.insert(queue.clone());
                    Ok(Answer::Done)
                }
                Op::Sweep(overdue) => Ok(Answer::Swept(self.sweep(overdue).await?)),
                Op::TearDown(rows) => Ok(self.tear_down(*rows).await?),
                Op::Keep(keep) => Ok(self.keep(keep).await?),
                Op::Forget(what) => Ok(self.forget(what).await?),
                Op::Told(run, generation) => {
                    self.told(*run, *generation);
                    Ok(Answer::Done)
                }
                Op::Fire(fire) => Ok(Box::pin(self.fire(fire)).await?),
            };
            answers[i] = Some(answer);
        }
        Ok(answers
            .into_iter()
            .map(|a| a.expect("every request was handled"))
            .collect())
    }

    /// Locks every run that these requests name, and those above them, in one statement and so in one order, where they
    /// would be locked by several statements otherwise.
    async fn lock_runs_of(&mut self, ops: &[Op]) -> Result<(), StoreError> {
        if !self.conn.is_shared() || ops.len() < 2 {
            return Ok(());
        }
        let mut runs = BTreeSet::new();
        let mut is_mixed = false;
        for op in ops {
            match op {
                Op::Settle(settlement) => drop(runs.insert(settlement.key.run)),
                Op::Announce(key, _) => {
                    is_mixed = true;
                    runs.insert(key.run);
                }
                Op::Act(run, _) | Op::Delete(run) | Op::Told(run, _) => {
                    is_mixed = true;
                    runs.insert(*run);
                }
                Op::Excuse(_, tasks) => {
                    is_mixed = true;
                    runs.extend(tasks.iter().map(|key| key.run));
                }
                _ => {}
            }
        }
        if is_mixed && runs.len() > 1 {
            let runs: Vec<RunId> = runs.into_iter().collect();
            self.load_runs(&runs).await?;
        }
        Ok(())
    }

    /// The plan of a version, from memory or compiled from the pinned definition.
    pub(super) async fn plan(&mut self, version: &str) -> Result<Arc<Plan>, StoreError> {
        if let Some(plan) = self.plans.get(version) {
            return Ok(plan);
        }
        let spec = self.ask(&sql::SPEC, [version.into()]).await?.pop();
        let spec = spec.ok_or_else(|| StoreError::Corrupt {
            what: "workflow_versions",
            detail: format!("version {version} is missing, though a run refers to it"),
        })?;
        self.plans.compile(version, &spec)
    }

    pub(super) async fn load_runs(&mut self, ids: &[RunId]) -> Result<Vec<RunRow>, StoreError> {
        let found = self.ask(&sql::LOAD_RUNS, [rows::json(ids).into()]).await?;
        rows::runs(found.first().map_or("[]", String::as_str))
    }

    pub(super) async fn load_steps(&mut self, run: RunId) -> Result<Vec<TaskRow>, StoreError> {
        let found = self.ask(&sql::LOAD_STEPS, [run.to_string().into()]).await?;
        rows::tasks(found.first().map_or("[]", String::as_str))
    }

    /// Worksets over what these tasks name. One trip where the plans are known.
    async fn load(
        &mut self,
        tasks: &[(TaskKey, Option<&Settlement>)],
        known: &HashMap<RunId, Arc<Plan>>,
    ) -> Result<BTreeMap<RunId, Workset>, StoreError> {
        let mut ids: Vec<RunId> = tasks.iter().map(|(key, _)| key.run).collect();
        ids.sort_unstable();
        ids.dedup();
        let is_known = ids.iter().all(|id| known.contains_key(id));
        let wanted = is_known.then(|| touched(tasks, known).0);
        let foreseen = wanted.as_ref().and_then(|keys| {
            let foreseen = self.foreseen.take();
            foreseen.filter(|foreseen| foreseen.covers(&ids, keys))
        });
        let (runs, found) = if let Some(foreseen) = foreseen {
            let Question {
                run, steps_json, ..
            } = foreseen.question;
            let known = [run.as_str().into(), foreseen.runs.as_str().into()];
            self.script.push(&sql::SAME_RUN, known);
            let known = [
                run.into(),
                steps_json.into(),
                foreseen.tasks.as_str().into(),
            ];
            self.script.push(&sql::SAME_TASKS, known);
            (rows::runs(&foreseen.runs)?, rows::tasks(&foreseen.tasks)?)
        } else if let Some(keys) = wanted {
            let keys: Vec<_> = keys.into_iter().collect();
            let is_top =
                |(_, settlement): &(_, Option<&Settlement>)| settlement.is_some_and(|s| s.is_top);
            let load_runs = if tasks.iter().all(is_top) {
                &sql::LOAD_TOP_RUNS
            } else {
                &sql::LOAD_RUNS
            };
            // What was saved before must be seen: it travels ahead.
            self.script.push(load_runs, [rows::json(&ids).into()]);
            self.script
                .push(&sql::LOAD_TASKS, [rows::json(&keys).into()]);
            let answer = self.send().await?;
            let [.., runs, found] = answer.as_slice() else {
                return Err(StoreError::Other {
                    detail: "a load was not answered".to_owned(),
                });
            };
            (rows::runs(runs)?, rows::tasks(found)?)
        } else {
            (self.load_runs(&ids).await?, Vec::new())
        };
        let mut plans = HashMap::with_capacity(runs.len());
        for run in &runs {
            plans.insert(run.id, self.plan(&run.version).await?);
        }
        let (keys, whole) = touched(tasks, &plans);
        let found = if is_known {
            found
        } else {
            let keys: Vec<_> = keys.into_iter().collect();
            let answer = self
                .ask(&sql::LOAD_TASKS, [rows::json(&keys).into()])
                .await?;
            rows::tasks(answer.first().map_or("[]", String::as_str))?
        };
        let mut rows_of: HashMap<RunId, HashMap<(u32, i32), TaskRow>> = HashMap::new();
        for row in found {
            let place = (row.key.step, row.key.item);
            rows_of.entry(row.key.run).or_default().insert(place, row);
        }
        for run in whole {
            for row in self.load_steps(run).await? {
                let place = (row.key.step, row.key.item);
                rows_of.entry(run).or_default().entry(place).or_insert(row);
            }
        }
        let worksets = runs.into_iter().map(|run| {
            let rows = rows_of.remove(&run.id).unwrap_or_default().into_values();
            (run.id, Workset::new(Arc::clone(&plans[&run.id]), run, rows))
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

    pub(super) async fn settle_once(
        &mut self,
        settlements: &[&Settlement],
    ) -> Result<(Vec<Result<(), TransitionError>>, Vec<Settlement>), StoreError> {
        let tasks: Vec<_> = settlements.iter().map(|s| (s.key, Some(*s))).collect();
        let known = settlements
            .iter()
            .filter_map(|s| Some((s.key.run, Arc::clone(s.plan.as_ref()?))))
            .collect();
        let mut worksets = self.load(&tasks, &known).await?;

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
        self.keep_products(&accepted, &worksets);
        let mut worksets: Vec<Workset> = worksets.into_values().collect();
        self.save(&worksets);
        let children: Vec<&NewRun> = accepted
            .iter()
            .filter_map(|s| match &s.outcome {
                Outcome::Delegated(child) => Some(&**child),
                _ => None,
            })
            .collect();
        if !children.is_empty() {
            Box::pin(self.submit(&children)).await?;
        }
        let parents = self.perform(&mut worksets).await?;
        Ok((results, parents))
    }

    /// Tells that attempts are under way; those that are over meanwhile have told so themselves.
    async fn announce(&mut self, attempts: &[(TaskKey, i64)]) -> Result<(), StoreError> {
        let tasks: Vec<_> = attempts.iter().map(|(key, _)| (*key, None)).collect();
        let mut worksets = self.load(&tasks, &HashMap::new()).await?;
        for (key, token) in attempts {
            if let Some(work) = worksets.get_mut(&key.run) {
                let _ = work.announce(*key, *token);
            }
        }
        let worksets: Vec<Workset> = worksets.into_values().collect();
        self.save(&worksets);
        Ok(())
    }

    /// Artifacts and cacheable results of attempts whose report counted.
    fn keep_products(&mut self, accepted: &[&Settlement], worksets: &BTreeMap<RunId, Workset>) {
        let mut artifacts = Vec::new();
        let mut cache = Vec::new();
        for settlement in accepted {
            let key = settlement.key;
            let row = worksets
                .get(&key.run)
                .and_then(|work| work.tasks.get(&(key.step, key.item)));
            let attempt = row.map_or(0, |loaded| loaded.row.attempt);
            for (ordinal, artifact) in settlement.artifacts.iter().enumerate() {
                artifacts.push((
                    key.run,
                    key.step,
                    key.item,
                    attempt,
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
        self.push_rows(&sql::INSERT_ARTIFACTS, &artifacts);
        self.push_rows(&sql::INSERT_CACHE, &cache);
    }

    /// Writes every changed row of every workset: a statement per table, however many rows.
    pub(super) fn save(&mut self, worksets: &[Workset]) {
        let (mut inserted, mut updated) = (Vec::new(), Vec::new());
        let (mut finished, mut ready) = (Vec::new(), Vec::new());
        for loaded in worksets.iter().flat_map(|w| w.tasks.values()) {
            match loaded.change {
                Change::None => {}
                Change::New => inserted.push(rows::NewTask::from(&loaded.row)),
                // Most rows that change have just ended or become ready, and need few words.
                Change::Updated => {
                    if let Some(row) = rows::FinishedTask::of(&loaded.row) {
                        finished.push(row);
                    } else if let Some(row) = rows::ReadyTask::of(&loaded.row) {
                        ready.push((row, &loaded.row.queue));
                    } else {
                        updated.push(rows::SavedTask::from(&loaded.row));
                    }
                }
            }
        }
        if let Some(next) = &mut self.next {
            for work in worksets {
                look_ahead(work, next);
            }
        }
        let may_make_room = !updated.is_empty() || !finished.is_empty();
        // What nothing else in this commit looks at may be made ready and claimed at once, at its end.
        let rings_only = |w: &Workset| w.effects.iter().all(|e| matches!(e, Effect::Ring { .. }));
        if let (Some(Next::One(_, plan)), [work], 1) = (&self.next, worksets, ready.len())
            && rings_only(work)
            && !plan.is_picky
            && let Some((row, queue)) = ready.pop()
        {
            self.starting = Some((row, queue.clone()));
        }
        let ready: Vec<_> = ready.into_iter().map(|(row, _)| row).collect();
        if may_make_room && !self.capped.is_empty() {
            self.ring_capped();
        }
        let attempts: Vec<rows::SavedAttempt> = worksets
            .iter()
            .flat_map(|w| &w.attempts)
            .map(Into::into)
            .collect();
        let changed = worksets.iter().filter(|w| w.run_changed);
        let runs: Vec<rows::SavedRun<'_>> = changed.map(|w| (&w.run).into()).collect();
        let events: Vec<(RunId, i64, String)> = worksets
            .iter()
            .filter(|w| !w.events.is_empty())
            .map(|w| (w.run.id, w.run.ev_seq, rows::json(&w.events)))
            .collect();
        self.push_rows(&sql::INSERT_TASKS, &inserted);
        self.push_rows(&sql::FINISH_TASKS, &finished);
        self.push_rows(&sql::READY_TASKS, &ready);
        self.push_rows(&sql::SAVE_TASKS, &updated);
        self.push_rows(&sql::INSERT_ATTEMPTS, &attempts);
        self.push_rows(&sql::SAVE_RUNS, &runs);
        self.push_rows(&sql::INSERT_EVENTS, &events);
        let touched = worksets
            .iter()
            .map(|w| (w.run.id, w.run.state.is_terminal()));
        self.after.touched.extend(touched);
    }
}

/// Notes what has become ready.
fn look_ahead(work: &Workset, next: &mut Next) {
    let changed = work.tasks.values().filter(|t| t.change != Change::None);
    for loaded in changed {
        if loaded.row.state == TaskState::Ready && !loaded.row.held.any() {
            // Deciding about a run within another one locks both.
            match work.run.parent {
                None => next.add(loaded.row.key, &work.plan),
                Some(_) => *next = Next::Many,
            }
        }
    }
}

/// The rows these tasks concern, and the runs that are concerned as a whole.
fn touched(
    tasks: &[(TaskKey, Option<&Settlement>)],
    plans: &HashMap<RunId, Arc<Plan>>,
) -> (Keys, HashSet<RunId>) {
    let (mut keys, mut whole) = (Keys::new(), HashSet::new());
    for (key, settlement) in tasks {
        keys.insert((key.run, key.step, key.item));
        let (Some(plan), Some(settlement)) = (plans.get(&key.run), settlement) else {
            continue;
        };
        match rows_for(plan, settlement) {
            Some(rows) => {
                keys.extend(rows.into_iter().map(|(step, item)| (key.run, step, item)));
            }
            None => {
                whole.insert(key.run);
            }
        }
    }
    (keys, whole)
}

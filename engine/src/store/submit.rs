//! Accepting runs.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::commit::Commit;
use super::op::{Accepted, Answer};
use super::{StoreError, rows, sql};
use crate::id::RunId;
use crate::run::{NewRun, Repeat};
use crate::time::Timestamp;
use crate::transition::{kept, repeat, start};
use crate::workflow::plan::StepIndex;

/// The step and item of files that came with a run's inputs.
const ATTACHED: i32 = -1;

impl Commit<'_> {
    /// Accepts runs. An idempotency key that is known answers with its first run.
    pub(super) async fn submit(
        &mut self,
        new: &[&NewRun],
    ) -> Result<Vec<Result<Answer, StoreError>>, StoreError> {
        let mut known = self.known_keys(new).await?;
        let standing = self.standing(new).await?;
        let mut answers = Vec::with_capacity(new.len());
        let mut worksets = Vec::with_capacity(new.len());
        let mut fresh: Vec<(&NewRun, bool)> = Vec::with_capacity(new.len());
        for &run in new {
            if standing.contains(&run.id) {
                answers.push(Ok(Answer::Submitted {
                    run: run.id,
                    is_new: true,
                    accepted: None,
                }));
                continue;
            }
            if let Some(key) = &run.options.idempotency_key {
                let digest = rows::digest(run);
                if let Some((first, first_digest)) = known.get(key) {
                    answers.push(if *first_digest == digest {
                        Ok(Answer::Submitted {
                            run: *first,
                            is_new: false,
                            accepted: None,
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
            let kept = match self.taken_over(run).await? {
                Ok(kept) => kept,
                Err(refusal) => {
                    answers.push(Err(refusal));
                    continue;
                }
            };
            let queued = self.must_wait(run, &fresh).await?;
            self.plans.insert(&run.plan);
            let work = match &kept {
                Some(kept) => repeat(run, kept, queued, self.now),
                None => start(run, queued, self.now),
            };
            answers.push(Ok(Answer::Submitted {
                run: run.id,
                is_new: true,
                accepted: Some(Accepted {
                    at: self.now,
                    state: work.run.state,
                    queued,
                    open: work.run.open,
                    last_event: work.run.ev_seq,
                }),
            }));
            worksets.push(work);
            fresh.push((run, queued));
        }
        let mut versions: HashMap<&str, (&str, &str, &str, Timestamp)> = HashMap::new();
        for (run, _) in &fresh {
            let (version, name) = (run.plan.version.as_str(), run.plan.name.as_str());
            versions
                .entry(version)
                .or_insert((version, name, &*run.spec, self.now));
        }
        let versions: Vec<_> = versions.into_values().collect();
        self.push_rows(&sql::INSERT_VERSIONS, &versions);
        let inserted: Vec<_> = fresh
            .iter()
            .zip(&worksets)
            .map(|((run, queued), work)| rows::InsertedRun::new(&work.run, run, *queued, self.now))
            .collect();
        self.push_rows(&sql::INSERT_RUNS, &inserted);
        self.keep_belongings(&fresh);
        for work in &mut worksets {
            work.run_changed = false;
        }
        self.save(&worksets);
        Box::pin(self.perform(&mut worksets)).await?;
        Ok(answers)
    }

    /// The steps of an earlier run whose results a run takes over; they are copied here.
    async fn taken_over(
        &mut self,
        run: &NewRun,
    ) -> Result<Result<Option<BTreeSet<StepIndex>>, StoreError>, StoreError> {
        let Some(Repeat { run: earlier, from }) = run.options.repeats else {
            return Ok(Ok(None));
        };
        // Looked at here and not before, so that it cannot be deleted meanwhile.
        let found = self.load_runs(&[earlier]).await?.pop();
        if !found.is_some_and(|row| row.state.is_terminal()) {
            return Ok(Err(StoreError::NotFound {
                what: "finished run",
                id: earlier.to_string(),
            }));
        }
        let rows = self.load_steps(earlier).await?;
        let kept = kept(&run.plan, &rows, from);
        let steps = rows::json(&kept.iter().map(ToString::to_string).collect::<Vec<_>>());
        for statement in [&sql::COPY_STEPS, &sql::COPY_ARTIFACTS] {
            let which = [earlier.to_string().into(), run.id.to_string().into()];
            let which = which.into_iter().chain([steps.as_str().into()]);
            self.script.push(statement, which);
        }
        Ok(Ok(Some(kept)))
    }

    /// What came with the runs: words to find them by, and files their inputs refer to.
    fn keep_belongings(&mut self, fresh: &[(&NewRun, bool)]) {
        let (mut tags, mut files) = (Vec::new(), Vec::new());
        for (run, _) in fresh {
            // No text of a PostgreSQL holds a NUL.
            let shown = run.options.tags.iter();
            tags.extend(shown.map(|tag| (tag.replace('\0', "\u{fffd}"), run.id)));
            for (ordinal, file) in run.options.attachments.iter().enumerate() {
                files.push((
                    run.id,
                    ATTACHED,
                    ATTACHED,
                    0,
                    ordinal,
                    &file.digest,
                    &file.name,
                    &file.media_type,
                    file.size_bytes,
                    self.now,
                ));
            }
        }
        self.push_rows(&sql::INSERT_TAGS, &tags);
        self.push_rows(&sql::INSERT_ARTIFACTS, &files);
    }

    /// Of runs that are sent again, since nobody knows whether they were accepted: those that were.
    async fn standing(&mut self, new: &[&NewRun]) -> Result<HashSet<RunId>, StoreError> {
        if !self.is_resent {
            return Ok(HashSet::new());
        }
        let ids: Vec<RunId> = new.iter().map(|n| n.id).collect();
        let found = self.load_runs(&ids).await?;
        Ok(found.into_iter().map(|run| run.id).collect())
    }

    /// Whether a run's concurrency limit is reached, those accepted just before it included.
    async fn must_wait(
        &mut self,
        run: &NewRun,
        fresh: &[(&NewRun, bool)],
    ) -> Result<bool, StoreError> {
        let (Some(key), Some((_, limit))) = (&run.options.concurrency_key, &run.plan.concurrency)
        else {
            return Ok(false);
        };
        let is_rival = |other: &NewRun| {
            other.plan.name == run.plan.name && other.options.concurrency_key.as_ref() == Some(key)
        };
        let ahead = fresh
            .iter()
            .filter(|(other, queued)| !queued && is_rival(other));
        let ahead = i64::try_from(ahead.count()).unwrap_or(i64::MAX);
        // Where the limit was raised, those that wait go first.
        let limit_now = i64::from(*limit).saturating_sub(ahead);
        let active = self.admit_key(&run.plan.name, key, limit_now).await?;
        Ok(active.saturating_add(ahead) >= i64::from(*limit))
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
        let found = self
            .ask(&sql::KNOWN_KEYS, [rows::json(&keys).into()])
            .await?;
        let known: Vec<(String, RunId, String)> =
            rows::parse(found.first().map_or("[]", String::as_str), "runs")?;
        Ok(known
            .into_iter()
            .map(|(key, run, digest)| (key, (run, digest)))
            .collect())
    }

    /// Runs of a concurrency key that are under way; nobody else starts one until the commit.
    pub(super) async fn active_runs(
        &mut self,
        workflow: &str,
        key: &str,
    ) -> Result<i64, StoreError> {
        let which = [workflow.into(), key.into()];
        self.ask(&sql::LOCK_CONCURRENCY, which).await?;
        let found = self
            .ask(&sql::ACTIVE_RUNS, [workflow.into(), key.into()])
            .await?;
        Ok(found.first().and_then(|n| n.parse().ok()).unwrap_or(0))
    }
}

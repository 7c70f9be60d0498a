//! Submitting: what is checked before anything is asked of the store.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::Engine;
use crate::artifact::Artifact;
use crate::error::EngineError;
use crate::id::RunId;
use crate::library::Definition;
use crate::permission::Permission;
use crate::run::{NewRun, Notify, Repeat, RunOptions};
use crate::store::{Accepted, Answer, Op, RunView};
use crate::transition::TransitionError;
use crate::worker::concurrency_key;

/// An idempotency key is at most this long.
const MAX_KEY_BYTES: usize = 255;

/// Words to find a run by: so many at most, and so long.
const MAX_TAGS: usize = 32;
const MAX_TAG_BYTES: usize = 100;

/// What to run, and how.
#[derive(Debug, Clone, Default)]
pub struct Submission {
    /// The workflow's name.
    pub workflow: String,
    /// Its inputs, a JSON object; defaults are filled in.
    pub inputs: Value,
    /// A second submit with the same key gives the first run back.
    pub idempotency_key: Option<String>,
    /// Added to each step's priority; higher goes first.
    pub priority: i64,
    /// Ignore the step cache.
    pub no_cache: bool,
    /// Words to find it by: 32 at most, of 1 to 100 bytes each.
    pub tags: Vec<String>,
    /// Whose it is.
    pub owner: Option<String>,
    /// Kept so long after its end, instead of the time its definition says.
    pub retention: Option<Duration>,
    /// Stored files that the inputs refer to: kept as long as the run is.
    pub attachments: Vec<Artifact>,
    /// Who is told of its end, beside those whom its definition names.
    pub notify: Vec<Notify>,
    /// What whoever submits may do; the least, where nothing else is said.
    pub permission: Permission,
}

impl Submission {
    /// A workflow with its inputs, and otherwise the defaults.
    pub fn new(workflow: impl Into<String>, inputs: Value) -> Self {
        Self {
            workflow: workflow.into(),
            inputs,
            ..Self::default()
        }
    }
}

/// An accepted run.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Submitted {
    /// Its id.
    pub run: RunId,
    /// False when an idempotency key gave back a run submitted earlier.
    pub is_new: bool,
    accepted: Option<(Arc<NewRun>, Accepted)>,
}

impl Submitted {
    /// The run as it was accepted, without a look at what became of it since; `None` where that is not
    /// known, as of one submitted earlier.
    #[must_use]
    pub fn view(&self) -> Option<RunView> {
        let (new, accepted) = self.accepted.as_ref()?;
        let options = &new.options;
        Some(RunView {
            id: self.run,
            workflow: new.plan.name.clone(),
            version: new.plan.version.clone(),
            state: accepted.state,
            paused: false,
            queued: accepted.queued,
            generation: 0,
            open_steps: accepted.open,
            priority: options.priority,
            tags: options.tags.clone(),
            parent: None,
            inputs: Some(Value::clone(&new.inputs)),
            output: None,
            failure: None,
            created_at: accepted.at,
            started_at: None,
            finished_at: None,
            last_event: accepted.last_event,
            idempotency_key: options.idempotency_key.clone(),
            owner: options.owner.clone(),
            expires_at: None,
            notify: options.notify.clone(),
        })
    }
}

impl Engine {
    /// Accepts a run: when this returns, it is durable.
    ///
    /// # Errors
    /// Unknown workflow, one that takes more than the submission's permission, refused inputs, a key used for another request, or a store error.
    pub async fn submit(&self, submission: Submission) -> Result<Submitted, EngineError> {
        let definition = self.library().get(&submission.workflow)?;
        self.submit_definition(&definition, submission).await
    }

    /// Accepts a run of a definition that need not be in the library: when this returns, it is durable.
    /// What [`Submission::workflow`] says does not count.
    ///
    /// # Errors
    /// Refused inputs or tags, a key used for another request, or a store error.
    pub async fn submit_definition(
        &self,
        definition: &Definition,
        submission: Submission,
    ) -> Result<Submitted, EngineError> {
        let new = self.prepare(definition, submission)?;
        let new = Arc::new(new);
        match self
            .shared
            .store
            .write(Op::Submit(Arc::clone(&new)))
            .await?
        {
            Answer::Submitted {
                run,
                is_new,
                accepted,
            } => Ok(Submitted {
                run,
                is_new,
                accepted: accepted.map(|accepted| (new, accepted)),
            }),
            other => unreachable!("submit is answered by Submitted, not {other:?}"),
        }
    }

    /// Everything about a submit that needs no store.
    pub(super) fn prepare(
        &self,
        definition: &Definition,
        submission: Submission,
    ) -> Result<NewRun, EngineError> {
        let workflow = definition.plan.name.to_string();
        let needs = self.library().permission(definition);
        must_suffice(submission.permission, needs, &workflow)?;
        let given = if submission.inputs.is_null() {
            Value::Object(serde_json::Map::new())
        } else {
            submission.inputs
        };
        let inputs =
            definition
                .plan
                .inputs
                .check(given)
                .map_err(|problems| EngineError::Inputs {
                    workflow: workflow.clone(),
                    problems,
                })?;
        let concurrency_key = concurrency_key(&definition.plan, &inputs).map_err(|error| {
            EngineError::ConcurrencyKey {
                workflow,
                reason: error.message,
            }
        })?;
        check_tags(&submission.tags)?;
        let told = definition.workflow.notify.iter().cloned();
        let notify: Vec<Notify> = told.chain(submission.notify).collect();
        Notify::check(&notify).map_err(|reason| EngineError::Notify { reason })?;
        if let Some(key) = &submission.idempotency_key {
            let is_plain = !key.is_empty() && !key.contains(char::is_control);
            if !is_plain || key.len() > MAX_KEY_BYTES {
                return Err(EngineError::Key { key: key.clone() });
            }
        }
        Ok(NewRun {
            id: RunId::new(self.shared.config.clock.now()),
            plan: Arc::clone(&definition.plan),
            spec: Arc::clone(&definition.spec),
            inputs: Arc::new(inputs),
            options: RunOptions {
                idempotency_key: submission.idempotency_key,
                priority: submission.priority,
                no_cache: submission.no_cache,
                tags: submission.tags,
                concurrency_key,
                owner: submission.owner,
                retention: submission.retention,
                attachments: submission.attachments,
                notify,
                ..RunOptions::default()
            },
        })
    }

    /// What beginning this run again would take: of the version it is pinned to, with the workflows
    /// among its steps as they are now.
    ///
    /// # Errors
    /// An unknown run, or a store error.
    pub async fn permission_for(&self, run: RunId) -> Result<Permission, EngineError> {
        let plan = self.shared.store.plan_of(run).await?;
        Ok(self.library().permission_of(&plan))
    }

    /// Submits a run that takes over the results of one that has ended, up to a step, and does that
    /// step and all that follow it again. The earlier run stays as it is.
    ///
    /// # Errors
    /// An unknown run or step, a run that has not ended, a workflow that takes more than `permission`,
    /// or a store error.
    pub async fn repeat(
        &self,
        earlier: RunId,
        from: &str,
        owner: Option<String>,
        permission: Permission,
    ) -> Result<RunId, EngineError> {
        let store = &self.shared.store;
        let run = store.run(earlier).await?;
        if !run.state.is_terminal() {
            return Err(EngineError::Refused(TransitionError::Illegal {
                action: "repeat",
                state: run.state,
            }));
        }
        let plan = store.plan_of_version(&run.version).await?;
        let needs = self.library().permission_of(&plan);
        must_suffice(permission, needs, plan.name.as_str())?;
        let known = plan
            .step_index(from)
            .filter(|s| Some(*s) != plan.on_failure);
        let from = known.ok_or_else(|| EngineError::NoSuchStep {
            run: earlier,
            step: from.to_owned(),
        })?;
        let inputs = run.inputs.unwrap_or_default();
        let concurrency_key =
            concurrency_key(&plan, &inputs).map_err(|error| EngineError::ConcurrencyKey {
                workflow: plan.name.to_string(),
                reason: error.message,
            })?;
        let new = NewRun {
            id: RunId::new(self.shared.config.clock.now()),
            spec: store.spec(&run.version).await?.into(),
            plan,
            inputs: Arc::new(inputs),
            options: RunOptions {
                priority: run.priority,
                tags: run.tags,
                concurrency_key,
                owner: owner.or(run.owner),
                notify: run.notify,
                // Whoever asks for it again wants it done, not remembered.
                no_cache: true,
                repeats: Some(Repeat { run: earlier, from }),
                ..RunOptions::default()
            },
        };
        match store.write(Op::Submit(Arc::new(new))).await? {
            Answer::Submitted { run, .. } => Ok(run),
            other => unreachable!("submit is answered by Submitted, not {other:?}"),
        }
    }
}

/// Whether somebody may do what a workflow takes.
pub(super) fn must_suffice(
    has: Permission,
    needs: Permission,
    workflow: &str,
) -> Result<(), EngineError> {
    if has >= needs {
        return Ok(());
    }
    Err(EngineError::NotPermitted {
        workflow: workflow.to_owned(),
        needs,
    })
}

fn check_tags(tags: &[String]) -> Result<(), EngineError> {
    let is_plain =
        |t: &String| (1..=MAX_TAG_BYTES).contains(&t.len()) && !t.contains(char::is_control);
    match tags.iter().find(|tag| !is_plain(tag)) {
        Some(bad) => Err(EngineError::Tag {
            tag: bad.chars().take(120).collect(),
        }),
        None if tags.len() > MAX_TAGS => Err(EngineError::TooManyTags { count: tags.len() }),
        None => Ok(()),
    }
}

//! The one way from a request to work: what whoever asks may begin, steer or schedule.
//!
//! Runs, batches, compatible routes, schedules, repeats and bulk actions all pass here, so that none of
//! them forgets whose a run is and what it takes to begin it. A test reads the sources of this crate:
//! nothing else asks the engine for any of it. Were one to slip through, the engine would take it for
//! somebody with the least permission.

use aquatint_engine::id::RunId;
use aquatint_engine::library::Definition;
use aquatint_engine::schedule::Schedule;
use aquatint_engine::store::RunView;
use aquatint_engine::time::Timestamp;
use aquatint_engine::{
    Engine, EngineError, Permission, RunAction, RunState, Submission, Submitted,
};

use serde_json::Value;

use crate::app::App;
use crate::auth::Principal;
use crate::budget::{self, Weight};
use crate::problem::Problem;
use crate::webhooks;

/// Submits a run of a workflow of the library; looks once more at what other processes published, where
/// it is unknown here.
pub(crate) async fn submit(
    app: &App,
    who: &Principal,
    submission: Submission,
) -> Result<Submitted, Problem> {
    if app.engine.library().source(&submission.workflow).is_none() {
        app.engine.refresh_library().await?;
    }
    let bytes = make_room(app, &submission.inputs).await?;
    budget::commit();
    let submitted = app.engine.submit(by(who, submission)).await?;
    app.budget.note_large(submitted.run, bytes);
    Ok(submitted)
}

/// Submits a run of a definition made for it.
pub(crate) async fn submit_definition(
    app: &App,
    who: &Principal,
    definition: &Definition,
    submission: Submission,
) -> Result<Submitted, Problem> {
    let bytes = make_room(app, &submission.inputs).await?;
    let submission = by(who, submission);
    budget::commit();
    let submitted = app.engine.submit_definition(definition, submission).await?;
    app.budget.note_large(submitted.run, bytes);
    Ok(submitted)
}

/// Room for inputs until they are durable; their size.
async fn make_room(app: &App, inputs: &Value) -> Result<usize, Problem> {
    let weight = Weight::of_value(inputs);
    let (bytes, most) = (weight.bytes(), app.config.max_input_bytes);
    if bytes > most {
        return Err(Problem::too_large(format!(
            "the inputs have {bytes} bytes as JSON; {most} at most: upload what is larger, and name it"
        )));
    }
    app.budget.reserve(weight.cost_stored()).await?;
    Ok(bytes)
}

/// Submits what the server itself begins, on its own behalf; the owner is whoever may see the run.
pub(crate) async fn submit_own(
    engine: &Engine,
    mut submission: Submission,
) -> Result<Submitted, EngineError> {
    submission.permission = Permission::Admin;
    engine.submit(submission).await
}

fn by(who: &Principal, submission: Submission) -> Submission {
    Submission {
        owner: who.key.clone(),
        permission: who.permission(),
        ..submission
    }
}

/// Repeats an ended run from a step on, as a new one.
pub(crate) async fn repeat(
    app: &App,
    who: &Principal,
    earlier: RunId,
    from: &str,
) -> Result<RunId, Problem> {
    let (owner, permission) = (who.key.clone(), who.permission());
    budget::commit();
    Ok(app.engine.repeat(earlier, from, owner, permission).await?)
}

/// On whose behalf a run is steered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Actor<'a> {
    /// The key, where there is one.
    pub(crate) key: Option<&'a str>,
    pub(crate) permission: Permission,
}

impl<'a> From<&'a Principal> for Actor<'a> {
    fn from(who: &'a Principal) -> Self {
        Self {
            key: who.key.as_deref(),
            permission: who.permission(),
        }
    }
}

impl Actor<'_> {
    /// Whether they may do that to a run they see. To begin work again takes what beginning it took; so
    /// does steering what is not their own.
    async fn may(self, engine: &Engine, run: &RunView, begins: bool) -> Result<(), EngineError> {
        let is_own = self.key.is_some() && self.key == run.owner.as_deref();
        // A message to a webhook of their own, which only the server words, is theirs to send again.
        let is_message = run.workflow.as_str() == webhooks::DELIVERY;
        if self.permission == Permission::Admin || (is_own && (is_message || !begins)) {
            return Ok(());
        }
        let needs = engine.permission_for(run.id).await?;
        if self.permission >= needs {
            return Ok(());
        }
        Err(EngineError::NotPermitted {
            workflow: run.workflow.to_string(),
            needs,
        })
    }
}

/// Cancels, pauses, resumes or retries a run that whoever asks may see.
pub(crate) async fn act(
    engine: &Engine,
    actor: Actor<'_>,
    run: &RunView,
    action: RunAction,
) -> Result<RunState, EngineError> {
    let begins = action == RunAction::Retry;
    actor.may(engine, run, begins).await?;
    budget::commit();
    engine.act(run.id, action).await
}

/// Forgets an ended run that whoever asks may see.
pub(crate) async fn delete(
    engine: &Engine,
    actor: Actor<'_>,
    run: &RunView,
) -> Result<(), EngineError> {
    actor.may(engine, run, false).await?;
    budget::commit();
    engine.delete(run.id).await
}

/// Makes a schedule, or changes one; whether it is new.
pub(crate) async fn put_schedule(
    app: &App,
    who: &Principal,
    id: &str,
    schedule: Schedule,
) -> Result<bool, Problem> {
    make_room(app, &schedule.inputs).await?;
    let (owner, permission) = (who.key.clone(), who.permission());
    let put = app.engine.put_schedule(id, schedule, owner, permission);
    Ok(put.await?)
}

/// Begins a run of a schedule now.
pub(crate) async fn trigger_schedule(
    app: &App,
    who: &Principal,
    id: &str,
) -> Result<RunId, Problem> {
    budget::commit();
    Ok(app.engine.trigger_schedule(id, who.permission()).await?)
}

/// Makes up for a schedule's ticks of a time that has passed; how many wait now.
pub(crate) async fn backfill_schedule(
    app: &App,
    who: &Principal,
    id: &str,
    from: Timestamp,
    until: Timestamp,
) -> Result<usize, Problem> {
    let permission = who.permission();
    let backfill = app.engine.backfill_schedule(id, from, until, permission);
    Ok(backfill.await?)
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).expect("the sources are here") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                sources(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }

    #[test]
    fn nothing_else_asks_the_engine_to_begin_or_steer_work() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut files = Vec::new();
        sources(&root, &mut files);
        assert!(files.len() > 20, "{files:?}");
        let doors = [
            "submit",
            "submit_definition",
            "repeat",
            "act",
            "delete",
            "put_schedule",
            "trigger_schedule",
            "backfill_schedule",
        ];
        let mut found = Vec::new();
        for file in files.iter().filter(|f| !f.ends_with("admission.rs")) {
            let text = std::fs::read_to_string(file).expect("it can be read");
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            // However it is broken into lines.
            let code: String = code.split_whitespace().collect();
            for door in doors {
                if code.contains(&format!("engine.{door}(")) {
                    found.push(format!("{}: engine.{door}", file.display()));
                }
            }
        }
        assert!(found.is_empty(), "{found:#?}");
    }
}

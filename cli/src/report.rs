//! How a run that has ended is told: outputs on stdout, the rest on stderr.

use std::path::{Path, PathBuf};

use aquatint_engine::artifact::{Artifact, Location};
use aquatint_engine::run::Failure;
use aquatint_engine::store::{RunView, Unserved};
use aquatint_engine::{Engine, RunState};
use serde_json::{Value, json};

use crate::context::Context;
use crate::exit::{self, Exit, Result};
use crate::output::{self, BOLD, GREEN, RED, YELLOW, styled};
use crate::{files, session::Ending};

/// How the end of a run is to be told.
#[derive(Debug, Clone, Default)]
pub(crate) struct Style {
    pub(crate) json: bool,
    /// Copy output files here.
    pub(crate) into: Option<PathBuf>,
}

/// Tells how a followed run ended, and with it the exit code.
pub(crate) async fn ending(
    context: &Context,
    engine: &Engine,
    ending: Ending,
    style: &Style,
) -> Result {
    let run = &ending.run;
    let placed = match &run.output {
        Some(output) => place(engine, output, style.into.as_deref()).await?,
        None => Vec::new(),
    };
    if style.json {
        output::json(&document(engine, run, &placed).await?)?;
    } else if run.state == RunState::Succeeded {
        output::data(&outputs(run.output.as_ref(), &placed))?;
    }
    if let Some(exit) = ending.stopped_by_signal() {
        return Err(exit);
    }
    let took = run
        .finished_at
        .map(|end| output::duration(end.since_ms(run.created_at)))
        .unwrap_or_default();
    match run.state {
        RunState::Succeeded => {
            let done = styled(GREEN.bold(), "done");
            // A picture rather than the report that lies beside it.
            let is_picture =
                |placed: &&(Artifact, Location)| placed.0.media_type.starts_with("image/");
            let best = placed.iter().find(is_picture).or(placed.first());
            let best =
                best.map_or_else(String::new, |(_, path)| format!(": {}", styled(BOLD, path)));
            let more = match placed.len() {
                0 | 1 => String::new(),
                n => format!(" and {} more", n - 1),
            };
            context.say(&format!("{done} in {took}{best}{more} (run {})", run.id));
            Ok(())
        }
        RunState::Failed => {
            let why = run
                .failure
                .as_ref()
                .map_or_else(|| "no reason is recorded".to_owned(), failure);
            let id = run.id;
            output::note(&format!(
                "{} after {took}: {why}",
                styled(RED.bold(), "failed")
            ));
            output::note(&format!(
                "`aquatint show {id}` tells more, `aquatint retry {id}` tries the failed steps again"
            ));
            Err(Exit::Told(exit::RUN_FAILED))
        }
        RunState::Cancelled => {
            output::note(&format!(
                "{} (run {})",
                styled(YELLOW.bold(), "cancelled"),
                run.id
            ));
            Err(Exit::Told(exit::CANCELLED))
        }
        RunState::Pending | RunState::Running => Ok(()),
    }
}

/// A failure in a sentence.
pub(crate) fn failure(failure: &Failure) -> String {
    let item = failure
        .item
        .map(|i| format!(" (item {i})"))
        .unwrap_or_default();
    let step = failure
        .step
        .as_ref()
        .map(|s| format!("step `{s}`{item}: "))
        .unwrap_or_default();
    format!(
        "{step}{} ({})",
        output::clean(&failure.message),
        failure.class
    )
}

/// The run as one JSON document.
pub(crate) async fn document(
    engine: &Engine,
    run: &RunView,
    placed: &[(Artifact, Location)],
) -> Result<Value> {
    let of_run = engine.artifacts(run.id).await?;
    let step = |digest: &str| {
        of_run
            .iter()
            .find(|a| a.artifact.digest == digest)
            .map(|a| a.step.to_string())
    };
    let artifacts: Vec<Value> = placed
        .iter()
        .map(|(artifact, location)| {
            let mut document = json!({
                "name": artifact.name,
                "path": null,
                "media_type": artifact.media_type,
                "size_bytes": artifact.size_bytes,
                "digest": artifact.digest,
                "step": step(&artifact.digest),
            });
            let field = match location {
                Location::Url(_) => "url",
                _ => "path",
            };
            document[field] = location.to_string().into();
            document
        })
        .collect();
    Ok(json!({
        "run": run.id,
        "workflow": run.workflow,
        "state": run.state,
        "outputs": run.output,
        "failure": run.failure,
        "artifacts": artifacts,
        "duration_ms": run.finished_at.map(|end| end.since_ms(run.created_at)),
    }))
}

/// Every file the outputs name, each once, and where it lies (copied, where a folder is given).
async fn place(
    engine: &Engine,
    output: &Value,
    into: Option<&Path>,
) -> Result<Vec<(Artifact, Location)>> {
    let mut found = Vec::new();
    artifacts(output, &mut found);
    let mut placed: Vec<(Artifact, Location)> = Vec::new();
    for artifact in found {
        if placed
            .iter()
            .any(|(known, _)| known.digest == artifact.digest)
        {
            continue;
        }
        let Some(stored) = engine.artifact_location(&artifact) else {
            continue;
        };
        let location = match into {
            Some(folder) => Location::Path(files::copy_artifact(engine, folder, &artifact).await?),
            None => stored,
        };
        placed.push((artifact, location));
    }
    Ok(placed)
}

/// The artifacts within a value, in order.
fn artifacts(value: &Value, found: &mut Vec<Artifact>) {
    if let Some(artifact) = as_artifact(value) {
        found.push(artifact);
        return;
    }
    match value {
        Value::Array(items) => items.iter().for_each(|item| artifacts(item, found)),
        Value::Object(fields) => fields.values().for_each(|field| artifacts(field, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn as_artifact(value: &Value) -> Option<Artifact> {
    value.get("artifact")?;
    serde_json::from_value(value.clone()).ok()
}

/// Paths first, one a line, then what else there is as `name: value`.
fn outputs(output: Option<&Value>, placed: &[(Artifact, Location)]) -> String {
    let mut text: String = placed
        .iter()
        .map(|(_, location)| format!("{location}\n"))
        .collect();
    for (name, value) in output.and_then(Value::as_object).into_iter().flatten() {
        if only_artifacts(value) {
            continue;
        }
        text.push_str(&format!(
            "{}: {}\n",
            output::clean(name),
            shown(value, placed)
        ));
    }
    text
}

fn only_artifacts(value: &Value) -> bool {
    match value {
        Value::Array(items) => !items.is_empty() && items.iter().all(only_artifacts),
        other => as_artifact(other).is_some(),
    }
}

/// A value on one line: plain text as it is, the rest as JSON, files by their paths.
pub(crate) fn shown(value: &Value, placed: &[(Artifact, Location)]) -> String {
    match value {
        Value::String(text) if !text.chars().any(output::steers) => text.clone(),
        file if as_artifact(file).is_some() => match with_paths(file, placed) {
            Value::String(path) => output::clean(&path),
            other => other.to_string(),
        },
        // JSON escapes control characters, but not those that turn the line.
        other => output::clean(&with_paths(other, placed).to_string()),
    }
}

fn with_paths(value: &Value, placed: &[(Artifact, Location)]) -> Value {
    if let Some(artifact) = as_artifact(value) {
        let path = placed
            .iter()
            .find(|(known, _)| known.digest == artifact.digest)
            .map(|(_, path)| path);
        return path.map_or_else(|| value.clone(), |path| path.to_string().into());
    }
    match value {
        Value::Array(items) => items.iter().map(|item| with_paths(item, placed)).collect(),
        Value::Object(fields) => fields
            .iter()
            .map(|(k, v)| (k.clone(), with_paths(v, placed)))
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

/// What no live worker does, and what to do about it.
pub(crate) fn unserved(need: &Unserved) -> String {
    let queue = &need.queue;
    let labels: Vec<&str> = need.labels.iter().map(String::as_str).collect();
    if labels.is_empty() {
        return format!(
            "no live worker serves queue {queue}; start one: `aquatint worker --queues {queue}:1`"
        );
    }
    let labels = labels.join(",");
    format!(
        "no live worker of queue {queue} has {labels}; start one: `aquatint worker --queues {queue}:1 --labels {labels}`"
    )
}

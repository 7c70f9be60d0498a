//! One attempt, told as a line of small steps:
//! see what the expressions see → is it needed? → multiply it, hand it on, or run it → report.
//!
//! Whatever happens here ends in exactly one report, or in none when the task
//! is no longer ours. Only a crash ends it otherwise, and leases cover that.

mod cache;
mod handler;
mod report;

use report::{Told, Word};

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tracing::Instrument as _;

use super::meter::Meter;
use super::{Shared, scope};
use crate::id::{RunId, TaskName};
use crate::layer::{AttemptRequest, AttemptService};
use crate::run::{AttemptOutcome, NewRun, Parent, RunOptions, TaskKey};
use crate::store::{Claim, Granted, Halt, Holdings, StoreError};
use crate::task::{MAX_OUTPUT_BYTES, Remedy, TaskError};
use crate::transition::Outcome;
use crate::workflow::expr::{Budget, ExprError, MAX_RESULT_DEPTH, Scope, is_too_deep};
use crate::workflow::plan::{Action, PlanStep};

/// Up to so many attempts at a time, each handler reports from its own thread. Of more, the reports come in bunches
/// when the drivers make them, and a bunch shares a commit.
const FEW: usize = 4;

/// The longest concurrency key: both databases keep it in an index.
const MAX_KEY_BYTES: usize = 512;

/// Sub-workflows within sub-workflows at most.
const MAX_DEPTH: i64 = 8;

/// What an attempt came to.
pub(super) struct Product {
    outcome: Outcome,
    artifacts: Vec<crate::artifact::Artifact>,
    cache_key: Option<String>,
}

impl Product {
    pub(super) fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    fn plain(outcome: Outcome) -> Self {
        Self {
            outcome,
            artifacts: Vec::new(),
            cache_key: None,
        }
    }

    fn failed(error: TaskError) -> Self {
        Self::plain(Outcome::Failed {
            outcome: AttemptOutcome::Failed,
            error,
        })
    }
}

/// How an attempt came to its report.
enum Course {
    /// It is to be told.
    Over(Product),
    /// The handler's own thread has told it.
    Told(Told),
    /// There is nobody to tell.
    Dropped,
}

/// Runs a claimed task to its report.
pub(super) fn run(
    shared: Arc<Shared>,
    held: Arc<Holdings>,
    layers: Option<Arc<AttemptService>>,
    granted: Granted,
) -> impl Future<Output = ()> + Send {
    let claim = &granted.claim;
    let step = &claim.plan.steps[claim.key.step as usize];
    let span = tracing::info_span!("attempt", run.id = %claim.key.run, workflow.name = %claim.run.workflow,
        task.step = %step.name, task.item = claim.key.item_index(), attempt = claim.attempt,
        queue.name = %step.queue, outcome = tracing::field::Empty);
    to_its_report(shared, held, layers, granted).instrument(span)
}

async fn to_its_report(
    shared: Arc<Shared>,
    held: Arc<Holdings>,
    layers: Option<Arc<AttemptService>>,
    granted: Granted,
) {
    let Granted {
        claim,
        permit,
        halt,
    } = granted;
    let (key, token) = (claim.key, claim.token);
    let meter = Meter::begin(&claim);
    let (claim, word) = (Arc::new(claim), Arc::new(Word::new(permit)));
    if held.count() > FEW {
        word.keep();
    }
    let course = tokio::select! {
        course = perform(&shared, &claim, &halt, &word, layers.as_deref()) => course,
        // Handlers see to their own end; this is for what comes before and after them.
        () = gone(&halt) => Course::Dropped,
    };
    let is_told = match course {
        Course::Over(product) => {
            meter.end(Some(&product));
            report::tell(&shared, &claim, &halt, product, word.take()).await;
            true
        }
        Course::Told(told) => {
            meter.succeeded();
            report::hear(&shared, &claim, &halt, told).await;
            true
        }
        Course::Dropped => {
            meter.end(None);
            false
        }
    };
    if is_told {
        if held.leave(key, token) > 0 {
            // Its memory is free only now, after the commit that looked for more to do.
            shared.store.ring();
        }
    } else {
        held.leave(key, token);
        // The slot is free, and no report will say so.
        drop(word.take());
        shared.store.ring();
    }
}

/// The task's own code, where layers stand around it.
pub(super) fn code(
    shared: &Shared,
    request: AttemptRequest,
) -> impl Future<Output = Result<Value, TaskError>> + Send + use<> {
    let (task, ctx) = (
        request.attempt().task().clone(),
        request.attempt().ctx().clone(),
    );
    let started = shared
        .library()
        .registry()
        .start(task.as_str(), ctx, request.input);
    async move {
        match started {
            Some(attempt) => attempt.await,
            None => Err(unknown_task(&task)),
        }
    }
}

/// Resolves some time after a halt, as a last resort.
async fn gone(halt: &Halt) {
    halt.token.cancelled().await;
    tokio::time::sleep(Duration::from_secs(60)).await;
}

/// Everything up to the report.
async fn perform(
    shared: &Arc<Shared>,
    claim: &Arc<Claim>,
    halt: &Halt,
    word: &Arc<Word>,
    layers: Option<&AttemptService>,
) -> Course {
    let step = &claim.plan.steps[claim.key.step as usize];
    let loaded = match scope::load(shared, claim, &step.references).await {
        Ok(loaded) => loaded,
        Err(error) => return Course::Over(Product::failed(error.into_task_error())),
    };
    let scope = &loaded.scope;
    let mut budget = Budget::attempt();
    let is_whole_map = step.map.is_some() && claim.key.item == TaskKey::WHOLE;
    // A mapped step decides once, for all its items, unless the condition looks at the item.
    let asks_item = step
        .when
        .as_ref()
        .is_some_and(|w| w.references().item || w.references().index || w.references().matrix);
    let is_mine_to_ask = step.map.is_none() || is_whole_map != asks_item;
    if let Some(when) = step.when.as_ref().filter(|_| is_mine_to_ask) {
        match when.holds(scope, &mut budget) {
            Ok(true) => {}
            Ok(false) => return Course::Over(Product::plain(Outcome::Skipped)),
            Err(error) => return Course::Over(Product::failed(bad_expression("when", &error))),
        }
    }
    if is_whole_map {
        let map = step.map.as_ref().expect("just asked");
        return Course::Over(match map.items(scope, &mut budget) {
            Ok(items) => Product::plain(Outcome::Mapped(items)),
            Err(error) => Product::failed(bad_expression("foreach", &error)),
        });
    }
    match &step.action {
        Action::Outputs => Course::Over(Product::plain(Outcome::Succeeded {
            output: "null".into(),
            cached: false,
        })),
        Action::Workflow(name) => {
            // Another process may have published it since this one last looked.
            if shared.library().source(name.as_str()).is_none()
                && let Err(error) = crate::engine::refresh(shared).await
            {
                tracing::warn!(%error, "published definitions cannot be read");
            }
            Course::Over(
                match child(shared, claim, step, name.as_str(), scope, &mut budget) {
                    Ok(child) => Product::plain(Outcome::Delegated(Box::new(child))),
                    Err(error) => Product::failed(error),
                },
            )
        }
        Action::Task(task) => {
            let input = match step.with.evaluate(scope, &mut budget) {
                Ok(input) => input,
                Err(error) => return Course::Over(Product::failed(bad_expression("with", &error))),
            };
            let cache_key = step
                .cache
                .then(|| cache::key(shared, task, &input))
                .flatten();
            if let Some(key) = &cache_key
                && !claim.run.no_cache
                && let Some(product) = cache::look_up(shared, key).await
            {
                return Course::Over(product);
            }
            // The handler may take hours; what its input was made of is not needed any more.
            drop(loaded);
            let job = handler::Job {
                claim,
                step,
                task,
                input,
                cache_key,
                halt,
                word,
                layers,
            };
            handler::run(shared, job).await
        }
    }
}

/// A run of another workflow, to do this step's work.
fn child(
    shared: &Shared,
    claim: &Claim,
    step: &PlanStep,
    name: &str,
    scope: &Scope,
    budget: &mut Budget,
) -> Result<NewRun, TaskError> {
    if claim.run.depth >= MAX_DEPTH {
        return Err(TaskError::fatal(
            "too_deep",
            format!("workflows run workflows {MAX_DEPTH} levels deep at most"),
        ));
    }
    let definition = shared
        .library()
        .get(name)
        .map_err(|e| TaskError::fatal("unknown_workflow", e.to_string()))?;
    let given = step
        .with
        .evaluate(scope, budget)
        .map_err(|e| bad_expression("with", &e))?;
    let inputs = definition.plan.inputs.check(given).map_err(|problems| {
        let list: Vec<String> = problems
            .iter()
            .map(|p| format!("{}: {}", p.pointer, p.message))
            .collect();
        TaskError::fatal(
            "invalid_input",
            format!("`{name}` refuses its inputs: {}", list.join("; ")),
        )
    })?;
    let options = RunOptions {
        priority: claim.run.priority,
        no_cache: claim.run.no_cache,
        parent: Some(Parent {
            task: claim.key,
            attempt: claim.attempt,
        }),
        depth: claim.run.depth + 1,
        concurrency_key: concurrency_key(&definition.plan, &inputs)
            .map_err(|e| bad_expression("concurrency.key", &e))?,
        ..RunOptions::default()
    };
    Ok(NewRun {
        id: RunId::new(shared.config.clock.now()),
        plan: Arc::clone(&definition.plan),
        spec: Arc::clone(&definition.spec),
        inputs: Arc::new(inputs),
        options,
    })
}

/// The evaluated `concurrency.key` of a run with these inputs.
pub(crate) fn concurrency_key(
    plan: &crate::workflow::plan::Plan,
    inputs: &Value,
) -> Result<Option<Arc<str>>, ExprError> {
    let Some((template, _)) = &plan.concurrency else {
        return Ok(None);
    };
    let key = template.evaluate(&Scope::new().inputs_from(inputs), &mut Budget::request())?;
    let key = key.as_str().map_or_else(|| key.to_string(), str::to_owned);
    if key.len() > MAX_KEY_BYTES || key.contains('\0') {
        let what = if key.len() > MAX_KEY_BYTES {
            format!(
                "the key has {} bytes; {MAX_KEY_BYTES} are the most",
                key.len()
            )
        } else {
            "the key holds a NUL character".to_owned()
        };
        return Err(ExprError::new(what).help("make it of names and numbers, not of whole texts"));
    }
    Ok(Some(key.into()))
}

/// A value as it is stored: small, free of what databases cannot hold, and no deeper than it can be read again.
fn stored(value: &Value, what: &str) -> Result<Arc<str>, TaskError> {
    if is_too_deep(value) {
        return Err(TaskError::fatal(
            "output_too_deep",
            format!("{what} nests deeper than {MAX_RESULT_DEPTH} levels; flatten it"),
        ));
    }
    let mut json = Capped::default();
    serde_json::to_writer(&mut json, value)
        .expect("values are JSON, and nothing is too long to count");
    if json.length > MAX_OUTPUT_BYTES {
        return Err(TaskError::fatal(
            "output_too_large",
            format!(
                "{what} has {} bytes of JSON; {MAX_OUTPUT_BYTES} at most: store large results as artifacts (`ctx.save`)",
                json.length
            ),
        ));
    }
    let json = String::from_utf8(json.kept).expect("JSON is UTF-8");
    Ok(without_nul(json).into())
}

/// Keeps what an output may have, and counts the rest.
#[derive(Default)]
struct Capped {
    kept: Vec<u8>,
    length: usize,
}

impl std::io::Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.length += bytes.len();
        if self.length <= MAX_OUTPUT_BYTES {
            self.kept.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A NUL character is legal JSON and no legal text in a database: shown as U+FFFD.
fn without_nul(json: String) -> String {
    const NUL: &str = "\\u0000";
    if !json.contains(NUL) {
        return json;
    }
    let mut clean = String::with_capacity(json.len());
    let mut rest = json.as_str();
    while let Some(at) = rest.find(NUL) {
        let (before, found) = rest.split_at(at);
        clean.push_str(before);
        // After an odd number of backslashes, this one is text itself.
        let escaped = clean.bytes().rev().take_while(|b| *b == b'\\').count() % 2 == 1;
        clean.push_str(if escaped { NUL } else { "\\ufffd" });
        rest = &found[NUL.len()..];
    }
    clean.push_str(rest);
    clean
}

fn bad_expression(place: &str, error: &ExprError) -> TaskError {
    let help = error
        .help
        .as_ref()
        .map_or(String::new(), |h| format!(" ({h})"));
    TaskError {
        class: "expression".to_owned(),
        message: format!("{place}: {}{help}", error.message),
        remedy: Remedy::Fail,
    }
}

fn unknown_task(task: &TaskName) -> TaskError {
    let message = format!("this worker has no task `{task}`; run a program that registers it");
    TaskError::fatal("unknown_task", message)
}

pub(super) fn store_trouble(error: &StoreError) -> TaskError {
    TaskError::retryable(
        "store",
        format!("what the step refers to could not be read: {error}"),
    )
}

#[cfg(test)]
mod tests {
    use super::without_nul;

    #[test]
    fn only_real_nul_characters_are_replaced() {
        for (text, shown) in [
            ("plain", "plain"),
            ("a\0b", "a\u{fffd}b"),
            ("\\u0000", "\\u0000"),
            ("\\\0", "\\\u{fffd}"),
        ] {
            let json = serde_json::to_string(text).expect("text");
            let back: String = serde_json::from_str(&without_nul(json)).expect("still JSON");
            assert_eq!(back, shown, "{text:?}");
        }
    }
}

//! What an attempt's expressions can see, loaded once and shared.
//!
//! Results that successors may see never change, so they are kept in memory for the next step that refers to them; a chain's hop
//! then costs no read, and ten thousand items read their common list once.
//!
//! Results of mapped steps may be many and large. Their size is asked for before they are read: what is too much for one attempt
//! is refused, what is large waits for its part of the room that all attempts of a process share, and what is only counted is
//! not read at all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Map, Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Shared;
use crate::id::{RunId, StepName};
use crate::run::{Failure, TaskKey, TaskState};
use crate::store::{Claim, StoreError};
use crate::task::TaskError;
use crate::workflow::expr::{Prepared, References, Scope};
use crate::workflow::plan::StepIndex;

/// Bytes of memory kept at most; beyond that, the cache begins anew.
const MAX_BYTES: usize = 96 * 1024 * 1024;

/// JSON that one attempt's expressions may read of mapped steps, in bytes.
const MAX_RESULT_BYTES: u64 = 64 * 1024 * 1024;

/// Memory that this may take once it is parsed: short values take far more than their text.
const MAX_PARSED_BYTES: usize = 256 * 1024 * 1024;

/// JSON that all attempts of a process may read of mapped steps at a time, in units of a MiB.
const ROOM: u32 = 64;

/// An item's result beside its output: index, status, error.
const ITEM_BYTES: u64 = 60;

/// A run's inputs: as a whole for handlers, by name for expressions.
#[derive(Debug)]
pub(crate) struct Inputs {
    pub(super) json: Arc<Value>,
    named: Vec<(String, Prepared)>,
}

/// Values of runs under way.
#[derive(Debug)]
pub(crate) struct Cache {
    kept: Mutex<Kept>,
    room: Arc<Semaphore>,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            kept: Mutex::default(),
            room: Arc::new(Semaphore::new(ROOM as usize)),
        }
    }
}

/// What an attempt's expressions see, and the part of the room it takes until it is dropped.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) scope: Scope,
    _room: Option<OwnedSemaphorePermit>,
}

/// Why an attempt's expressions cannot be evaluated.
#[derive(Debug)]
pub(super) enum LoadError {
    Store(StoreError),
    /// A mapped step has more results than fit into memory.
    TooLarge {
        step: StepName,
        count: u64,
        /// Of JSON.
        bytes: u64,
    },
}

impl From<StoreError> for LoadError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl LoadError {
    pub(super) fn into_task_error(self) -> TaskError {
        match self {
            Self::Store(error) => super::attempt::store_trouble(&error),
            Self::TooLarge { step, count, bytes } => TaskError::fatal(
                "results_too_large",
                format!(
                    "step `{step}` has {count} results with {:.1} MiB of JSON together, and the expressions of one step can read {} MiB: \
                     count them with `size(steps.{step})`, let `{step}` return less and store the rest as artifacts, or do the work in several mapped steps",
                    bytes as f64 / (1024.0 * 1024.0),
                    MAX_RESULT_BYTES / (1024 * 1024),
                ),
            ),
        }
    }
}

#[derive(Debug, Default)]
struct Kept {
    results: HashMap<(RunId, StepIndex), Prepared>,
    inputs: HashMap<RunId, Arc<Inputs>>,
    bytes: usize,
}

impl Kept {
    /// Whether there is room for so many bytes, now that older values have made some.
    fn make_room(&mut self, bytes: usize) -> bool {
        let bytes = bytes + 200;
        if bytes > MAX_BYTES {
            return false;
        }
        if self.bytes + bytes > MAX_BYTES {
            *self = Self::default();
        }
        self.bytes += bytes;
        true
    }
}

impl Cache {
    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self, run: RunId, step: StepIndex) -> Option<Prepared> {
        self.lock().results.get(&(run, step)).cloned()
    }

    fn put(&self, key: (RunId, StepIndex), value: &Prepared) {
        let bytes = value.weight();
        let mut kept = self.lock();
        if kept.make_room(bytes) {
            kept.results.insert(key, value.clone());
        }
    }

    /// Keeps a step's output for the steps that follow it.
    pub(super) fn remember(&self, claim: &Claim, output: Value) {
        let key = (claim.key.run, claim.key.step);
        self.put(key, &Prepared::from(output));
    }
}

/// A scope in which these references have values.
pub(super) async fn load(
    shared: &Shared,
    claim: &Claim,
    references: &References,
) -> Result<Loaded, LoadError> {
    let run = claim.key.run;
    let mut scope = Scope::new();
    if references.all_inputs || !references.inputs.is_empty() {
        let inputs = inputs(shared, claim).await?;
        let wanted = inputs
            .named
            .iter()
            .filter(|(name, _)| references.all_inputs || references.inputs.contains(name));
        scope = scope.inputs(wanted.cloned());
    }
    let (results, room) = results(shared, claim, references).await?;
    for (name, result) in results {
        scope = match result {
            StepResult::Read(value) => scope.step(name, value),
            StepResult::Counted(count) => scope.step_count(name, count),
        };
    }
    if let (Some(item), Ok(index)) = (&claim.item, u32::try_from(claim.key.item)) {
        let item: Value = serde_json::from_str(item).map_err(|e| StoreError::Corrupt {
            what: "task_runs.input",
            detail: e.to_string(),
        })?;
        scope = scope.item(Prepared::from(item), index);
    }
    if references.run {
        scope = scope.run(Prepared::from(json!({
            "id": run.to_string(),
            "workflow": claim.run.workflow,
            "version": claim.plan.version,
            "attempt": claim.attempt,
        })));
    }
    if references.failure {
        let failure = shared.store.failure(run).await?;
        let facts = failure.map_or(
            Value::Null,
            |f| json!({ "step": f.step, "message": f.message, "class": f.class }),
        );
        scope = scope.failure(Prepared::from(facts));
    }
    Ok(Loaded { scope, _room: room })
}

/// What an expression is given of a step.
enum StepResult {
    Read(Prepared),
    Counted(u64),
}

/// The results of all steps that are referred to. Room is taken once, for all of them: whoever holds some waits for no more.
async fn results<'r>(
    shared: &Shared,
    claim: &Claim,
    references: &'r References,
) -> Result<(Vec<(&'r str, StepResult)>, Option<OwnedSemaphorePermit>), LoadError> {
    let mut found = Vec::with_capacity(references.steps.len());
    let mut to_read = Vec::new();
    let mut bytes = 0;
    for name in &references.steps {
        let Some(step) = claim.plan.step_index(name) else {
            continue;
        };
        let known = shared.scopes.known(claim.key.run, step);
        if let Some(known) = known {
            found.push((name.as_str(), StepResult::Read(known)));
            continue;
        }
        let planned = &claim.plan.steps[step as usize];
        if planned.map.is_some() {
            let (count, json) = shared.store.output_sizes(claim.key.run, step).await?;
            if !references.contents.contains(name) {
                found.push((name.as_str(), StepResult::Counted(count)));
                continue;
            }
            let json = json + count * ITEM_BYTES;
            bytes += json;
            if bytes > MAX_RESULT_BYTES {
                let step = planned.name.clone();
                return Err(LoadError::TooLarge {
                    step,
                    count,
                    bytes: json,
                });
            }
        }
        to_read.push((name.as_str(), step));
    }
    let parts = u32::try_from(bytes / (1024 * 1024)).unwrap_or(ROOM);
    let room = if parts == 0 {
        None
    } else {
        let room = Arc::clone(&shared.scopes.room);
        // Never closed.
        room.acquire_many_owned(parts.min(ROOM)).await.ok()
    };
    let mut weight = 0;
    for (name, step) in to_read {
        // Somebody who had the room before may have left it behind.
        let value = match shared.scopes.known(claim.key.run, step) {
            Some(known) => known,
            None => result(shared, claim, step, &mut weight).await?,
        };
        found.push((name, StepResult::Read(value)));
    }
    Ok((found, room))
}

/// The run's inputs.
pub(super) async fn inputs(shared: &Shared, claim: &Claim) -> Result<Arc<Inputs>, StoreError> {
    let known = shared.scopes.lock().inputs.get(&claim.key.run).cloned();
    if let Some(known) = known {
        return Ok(known);
    }
    let read;
    let text = match &claim.run.inputs {
        Some(text) => text,
        None => {
            read = shared.store.inputs(claim.key.run).await?;
            &read
        }
    };
    let value: Value = serde_json::from_str(text).map_err(|e| StoreError::Corrupt {
        what: "runs.inputs",
        detail: e.to_string(),
    })?;
    let fields = value.as_object().into_iter().flatten();
    let named = fields
        .map(|(name, value)| (name.clone(), Prepared::from_json(value)))
        .collect();
    let inputs = Arc::new(Inputs {
        json: Arc::new(value),
        named,
    });
    let named = inputs.named.iter();
    let bytes: usize = named.map(|(_, value)| value.weight()).sum();
    let mut kept = shared.scopes.lock();
    // As a whole, and by name.
    if kept.make_room(2 * bytes) {
        kept.inputs.insert(claim.key.run, Arc::clone(&inputs));
    }
    drop(kept);
    Ok(inputs)
}

/// What a finished step means to those that refer to it: its output, null where
/// there is none, and for a mapped step the list of its items' results.
async fn result(
    shared: &Shared,
    claim: &Claim,
    step: StepIndex,
    weight: &mut usize,
) -> Result<Prepared, LoadError> {
    let corrupt = |e: serde_json::Error| StoreError::Corrupt {
        what: "task_runs.output",
        detail: e.to_string(),
    };
    let rows = shared.store.outputs(claim.key.run, step).await?;
    let bytes: usize = rows
        .iter()
        .map(|row| row.output.as_ref().map_or(0, String::len))
        .sum();
    let planned = &claim.plan.steps[step as usize];
    let mut whole = Value::Null;
    // A failed run's last step may look at steps that a manual retry will run
    // again: what they mean now is not for keeping.
    let mut is_final = false;
    let count = rows.len();
    let mut items = Vec::with_capacity(count);
    for row in rows {
        let output: Option<Value> = row
            .output
            .as_deref()
            .map(serde_json::from_str)
            .transpose()
            .map_err(corrupt)?;
        if row.item == TaskKey::WHOLE {
            is_final = matches!(row.state, TaskState::Succeeded | TaskState::Skipped);
            if row.state == TaskState::Succeeded {
                whole = output.unwrap_or(Value::Null);
            }
            continue;
        }
        let error: Option<Failure> = row
            .error
            .as_deref()
            .map(serde_json::from_str)
            .transpose()
            .map_err(corrupt)?;
        let mut item = Map::with_capacity(4);
        item.insert("index".to_owned(), row.item.into());
        item.insert("status".to_owned(), json!(row.state));
        item.insert("output".to_owned(), output.unwrap_or(Value::Null));
        item.insert("error".to_owned(), error.map(|f| f.message).into());
        let item = Value::Object(item);
        *weight += crate::workflow::expr::weight(&item);
        if *weight > MAX_PARSED_BYTES {
            return Err(LoadError::TooLarge {
                step: planned.name.clone(),
                count: count as u64 - 1,
                bytes: bytes as u64,
            });
        }
        items.push(item);
    }
    let prepared = Prepared::from(if planned.map.is_some() {
        Value::Array(items)
    } else {
        whole
    });
    if is_final {
        shared.scopes.put((claim.key.run, step), &prepared);
    }
    Ok(prepared)
}

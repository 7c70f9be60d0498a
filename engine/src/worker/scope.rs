//! What an attempt's expressions can see, loaded once and shared.
//!
//! Results that successors may see never change, so they are kept in memory for the next step that refers to them; a chain's hop
//! then costs no read, and ten thousand items convert their common list once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};

use super::Shared;
use crate::id::RunId;
use crate::run::{Failure, TaskKey, TaskState};
use crate::store::{Claim, StoreError};
use crate::workflow::expr::{Prepared, References, Scope};
use crate::workflow::plan::StepIndex;

/// JSON bytes kept at most; beyond that, the cache begins anew.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// A run's inputs: as a whole for handlers, by name for expressions.
#[derive(Debug)]
pub(crate) struct Inputs {
    pub(super) json: Arc<Value>,
    named: Vec<(String, Prepared)>,
}

/// Values of runs under way.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    results: HashMap<(RunId, StepIndex), Prepared>,
    inputs: HashMap<RunId, Arc<Inputs>>,
    bytes: usize,
}

impl Kept {
    fn make_room(&mut self, bytes: usize) {
        if self.bytes + bytes > MAX_BYTES {
            *self = Self::default();
        }
        self.bytes += bytes + 200;
    }
}

impl Cache {
    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, key: (RunId, StepIndex), value: &Prepared, bytes: usize) {
        let mut kept = self.lock();
        kept.make_room(bytes);
        kept.results.insert(key, value.clone());
    }

    /// Keeps a step's output for the steps that follow it.
    pub(super) fn remember(&self, claim: &Claim, output: Value, bytes: usize) {
        let key = (claim.key.run, claim.key.step);
        self.put(key, &Prepared::from(output), bytes);
    }
}

/// A scope in which these references have values.
pub(super) async fn load(
    shared: &Shared,
    claim: &Claim,
    references: &References,
) -> Result<Scope, StoreError> {
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
    for name in &references.steps {
        if let Some(step) = claim.plan.step_index(name) {
            scope = scope.step(name, result(shared, claim, step).await?);
        }
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
    Ok(scope)
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
    let mut kept = shared.scopes.lock();
    kept.make_room(2 * text.len());
    kept.inputs.insert(claim.key.run, Arc::clone(&inputs));
    Ok(inputs)
}

/// What a finished step means to those that refer to it: its output, null where
/// there is none, and for a mapped step the list of its items' results.
async fn result(shared: &Shared, claim: &Claim, step: StepIndex) -> Result<Prepared, StoreError> {
    let key = (claim.key.run, step);
    let known = shared.scopes.lock().results.get(&key).cloned();
    if let Some(known) = known {
        return Ok(known);
    }
    let corrupt = |e: serde_json::Error| StoreError::Corrupt {
        what: "task_runs.output",
        detail: e.to_string(),
    };
    let rows = shared.store.outputs(claim.key.run, step).await?;
    let bytes = rows
        .iter()
        .map(|row| row.output.as_ref().map_or(0, String::len) + 60)
        .sum();
    let is_mapped = claim.plan.steps[step as usize].map.is_some();
    let mut whole = Value::Null;
    // A failed run's last step may look at steps that a manual retry will run
    // again: what they mean now is not for keeping.
    let mut is_final = false;
    let mut items = Vec::with_capacity(rows.len());
    for row in rows {
        let output = row
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
        } else {
            let error: Option<Failure> = row
                .error
                .as_deref()
                .map(serde_json::from_str)
                .transpose()
                .map_err(corrupt)?;
            items.push(json!({
                "index": row.item,
                "status": row.state,
                "output": output,
                "error": error.map(|f| f.message),
            }));
        }
    }
    let prepared = Prepared::from(if is_mapped {
        Value::Array(items)
    } else {
        whole
    });
    if is_final {
        shared.scopes.put(key, &prepared, bytes);
    }
    Ok(prepared)
}

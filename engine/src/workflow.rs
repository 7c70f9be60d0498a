//! What a definition says: from a YAML or TOML file to a checked [`Workflow`],
//! and from there to a [`Plan`] that can be executed.
//!
//! Pure: no clock, no files, no chance. A [`Workflow`] is a definition with all
//! defaults written out; its JSON is what a run is pinned to. A [`Plan`] is the
//! same with expressions parsed and edges resolved, made anew in each process.
//!
//! ```text
//! file ─ source ─► Node tree ─ read, check ─► Workflow ─ plan ─► Plan
//!                  (with places)    └► Diagnostics       (pinned as JSON)
//! ```

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::id::{QueueName, StepName, TaskName, WorkflowName};
use crate::permission::Permission;
use crate::retry::RetryPolicy;
use crate::run::Notify;
use crate::schedule::Schedule;

mod catalog;
mod diagnostic;
pub mod expr;
pub mod graph;
mod inputs;
pub mod plan;
mod read;
mod schema;
mod source;
mod suggest;

pub use catalog::{AnyCatalog, Catalog, TaskSignature, WorkflowSignature};
pub use diagnostic::{Diagnostic, Diagnostics, MAX_DIAGNOSTICS};
pub use expr::{Budget, ExprError, Expression, Prepared, References, Scope, Template};
pub use inputs::{InputProblem, InputSchema};
pub use plan::{Action, MapSource, Mapping, Plan, PlanError, PlanStep, StepIndex};
pub use schema::json_schema;
pub use source::{MAX_DEPTH, MAX_FILE_BYTES, MAX_NODES, Source};

/// The most steps of a workflow.
pub const MAX_STEPS: usize = 1_000;
/// The most items a step can be mapped over.
pub const MAX_ITEMS: usize = 100_000;
/// The most words for models that a step can name, and that a worker remembers of what it has run.
pub const MAX_LOADED: usize = 4;
/// Names that expressions give a meaning, and that no step can have.
pub const RESERVED_STEP_NAMES: [&str; 9] = [
    "outputs",
    "inputs",
    "steps",
    "item",
    "index",
    "matrix",
    "run",
    "failure",
    "on_failure",
];

/// A definition with every default written out; its JSON is what runs are pinned to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Workflow {
    /// The workflow's name.
    pub name: WorkflowName,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// JSON Schema by input, in the order of the file.
    #[serde(default)]
    pub inputs: Map<String, Value>,
    /// The steps, in the order of the file.
    pub steps: Vec<Step>,
    /// Templates by output.
    #[serde(default)]
    pub outputs: Map<String, Value>,
    /// How many runs of one key may run at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<Concurrency>,
    /// How long finished runs are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_ms: Option<u64>,
    /// How long a run may take in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Runs last when the run fails; its name is `on_failure`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<Box<Step>>,
    /// How many task runs of one run may run at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_parallel: Option<u32>,
    /// What running it takes, beyond what its tasks say.
    #[serde(default, skip_serializing_if = "Permission::is_least")]
    pub scope: Permission,
    /// When it begins by itself. Not what a run is pinned to: another time is no other workflow.
    #[serde(skip)]
    pub schedules: Vec<Scheduled>,
    /// Who is told of a run's end; each run takes it along from its submit.
    #[serde(skip)]
    pub notify: Vec<Notify>,
}

/// A schedule in a definition.
#[derive(Debug, Clone, PartialEq)]
pub struct Scheduled {
    /// Its name among several of one workflow.
    pub name: Option<StepName>,
    /// What it says.
    pub schedule: Schedule,
}

/// How many runs of one key may run at a time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Concurrency {
    /// A template; runs for which it gives the same value share the limit.
    pub key: Value,
    /// At least 1.
    pub limit: u32,
}

/// One step of a workflow, every default written out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// The step's name.
    pub name: StepName,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What it runs.
    #[serde(flatten)]
    pub action: StepAction,
    /// A template: what the task is given.
    #[serde(default = "empty_object")]
    pub with: Value,
    /// Steps that come before, beyond those that expressions name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<StepName>,
    /// An expression; when it is false, the step is skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// A template that gives a list: the step is run for each element.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub foreach: Option<Value>,
    /// Templates that give lists: the step is run for each combination.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matrix: Option<Map<String, Value>>,
    /// How many items of a mapped step may run at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_parallel: Option<u32>,
    /// What a failed item means for a mapped step.
    #[serde(default)]
    pub fail: FailMode,
    /// The lane it waits in.
    pub queue: QueueName,
    /// Higher goes first.
    #[serde(default)]
    pub priority: i32,
    /// Labels that its worker must have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requires: Vec<String>,
    /// Words for what it would like to find loaded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prefer: Vec<String>,
    /// Memory that its worker must have free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// When an attempt is stopped.
    pub timeout_ms: u64,
    /// When an attempt is asked to finish.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub soft_timeout_ms: Option<u64>,
    /// What happens when an attempt fails.
    pub retry: RetryPolicy,
    /// Whether an earlier result for the same input may be used.
    #[serde(default)]
    pub cache: bool,
    /// What its failure means for the run.
    #[serde(default)]
    pub on_failure: OnFailure,
}

fn empty_object() -> Value {
    Value::Object(Map::new())
}

/// What a step runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepAction {
    /// Code.
    Task(TaskName),
    /// Another workflow, as a run of its own.
    Workflow(WorkflowName),
}

/// What a step's failure means for its run.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// The run fails.
    #[default]
    Fail,
    /// The run goes on; successors see null.
    Continue,
    /// The run goes on; everything downstream of the step is skipped.
    Skip,
}

/// What a failed item means for its mapped step.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum FailMode {
    /// The step fails at once; items not yet begun are cancelled.
    #[default]
    Fast,
    /// All items run; the list of results tells which failed.
    Tolerate,
}

/// More bytes than any machine has: 1 PB.
const MAX_SIZE_BYTES: u64 = 1_000_000_000_000_000;

/// Reads a size with its unit, `16GB` or `512MiB`, as bytes. A bare number is none: it would
/// read as bytes, which nobody means.
#[must_use]
pub fn parse_size(text: &str) -> Option<u64> {
    let has_unit = text.trim_end().ends_with(|c: char| c.is_ascii_alphabetic());
    let bytes = text.trim().parse::<bytesize::ByteSize>().ok()?.as_u64();
    (has_unit && (1..=MAX_SIZE_BYTES).contains(&bytes)).then_some(bytes)
}

/// A pinned definition that cannot be read back.
#[derive(Debug, thiserror::Error)]
#[error("the pinned definition is damaged or from a newer version: {0}")]
pub struct SpecError(String);

impl Workflow {
    /// Reads and checks a definition file.
    ///
    /// # Errors
    /// [`Diagnostics`]: every mistake that could be found in one go.
    pub fn parse(source: &Source<'_>, catalog: &dyn Catalog) -> Result<Self, Diagnostics> {
        read::workflow(source, catalog)
    }

    /// Its schedules by name: its own, or, for one of several, its own and that one's.
    pub fn scheduled(&self) -> impl Iterator<Item = (String, Schedule)> {
        self.schedules.iter().map(|one| {
            let id = match &one.name {
                None => self.name.to_string(),
                Some(name) => format!("{}.{name}", self.name),
            };
            (id, one.schedule.clone())
        })
    }

    /// Reads a pinned definition, as [`Workflow::to_json`] wrote it.
    ///
    /// # Errors
    /// [`SpecError`] when the text is not such a definition, or has a key that
    /// this version does not know: leaving it out would run something else.
    pub fn from_json(text: &str) -> Result<Self, SpecError> {
        let damaged = |error: serde_json::Error| SpecError(error.to_string());
        let written: Value = serde_json::from_str(text).map_err(damaged)?;
        let read = Self::deserialize(&written).map_err(damaged)?;
        let known = serde_json::to_value(&read).map_err(damaged)?;
        match unread(&written, &known, "") {
            None => Ok(read),
            Some(pointer) => Err(SpecError(format!("`{pointer}` is not known here"))),
        }
    }

    /// The definition as canonical JSON: keys in a fixed order, no white space.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("names, texts and JSON values are always JSON")
    }

    /// Names this content: 32 hexadecimal digits of its BLAKE3 hash.
    #[must_use]
    pub fn version(&self) -> String {
        version_of(&self.to_json())
    }
}

/// Names a definition's canonical JSON.
pub(crate) fn version_of(json: &str) -> String {
    blake3::hash(json.as_bytes()).to_hex()[..32].to_owned()
}

/// The first part of what is written that is not in what was read of it. Nothing, and what is
/// empty, may be left out: that is how defaults are written.
fn unread(written: &Value, read: &Value, at: &str) -> Option<String> {
    match (written, read) {
        (Value::Object(written), Value::Object(read)) => written.iter().find_map(|(key, value)| {
            let at = source::pointer(at, key);
            match read.get(key) {
                Some(read) => unread(value, read, &at),
                None if is_nothing(value) => None,
                None => Some(at),
            }
        }),
        (Value::Array(written), Value::Array(read)) if written.len() == read.len() => {
            let pairs = written.iter().zip(read).enumerate();
            pairs.into_iter().find_map(|(index, (written, read))| {
                unread(written, read, &source::pointer(at, &index.to_string()))
            })
        }
        (written, read) if written == read => None,
        // 30 and 30.0 are one number.
        (Value::Number(a), Value::Number(b)) if a.as_f64() == b.as_f64() => None,
        _ => Some(at.to_owned()),
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

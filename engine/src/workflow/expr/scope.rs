//! What an expression can see: inputs, results of steps, the item at hand.
//!
//! Values are shared, never converted: ten thousand items that read one list
//! read the same one.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use serde_json::Value;

use super::Root;

/// A JSON value ready to be read by many expressions. Cheap to clone.
#[derive(Clone)]
pub struct Prepared(Arc<Value>);

impl Prepared {
    /// Prepares a copy of a value.
    #[must_use]
    pub fn from_json(value: &Value) -> Self {
        Self::from(value.clone())
    }

    /// About what it takes in memory, in bytes.
    pub(crate) fn weight(&self) -> usize {
        weight(&self.0)
    }

    /// The value as JSON.
    #[must_use]
    pub fn json(&self) -> &Value {
        &self.0
    }
}

/// About what a value takes in memory, in bytes.
pub(crate) fn weight(value: &Value) -> usize {
    let own = size_of::<Value>() + 32;
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => own,
        Value::String(text) => own + text.len(),
        Value::Array(list) => own + list.iter().map(weight).sum::<usize>(),
        Value::Object(fields) => {
            let entry = |(key, value): (&String, &Value)| 64 + key.len() + weight(value);
            own + fields.iter().map(entry).sum::<usize>()
        }
    }
}

impl From<Value> for Prepared {
    fn from(json: Value) -> Self {
        Self(Arc::new(json))
    }
}

impl std::fmt::Debug for Prepared {
    /// The kind only: values may be prompts.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Prepared")
            .field(&super::kind_of(&self.0))
            .finish()
    }
}

/// The values one evaluation can see. Cheap to clone: one scope per run, and
/// per item a clone with its [`Scope::item`].
#[derive(Debug, Clone, Default)]
pub struct Scope {
    inputs: Arc<Inputs>,
    steps: Arc<BTreeMap<String, StepResult>>,
    item: Option<(Prepared, u32)>,
    run: Option<Prepared>,
    failure: Option<Prepared>,
}

/// What is known of a step's result.
#[derive(Debug, Clone)]
pub(super) enum StepResult {
    /// Everything.
    Whole(Prepared),
    /// How many items there are; nobody asks for more.
    Counted(u64),
}

#[derive(Debug, Default)]
struct Inputs {
    named: BTreeMap<String, Prepared>,
    /// `inputs` as a whole, made when somebody asks.
    whole: OnceLock<Prepared>,
}

impl Scope {
    /// A scope in which nothing has a value.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The run's inputs, by name, defaults filled in.
    #[must_use]
    pub fn inputs<I>(mut self, inputs: I) -> Self
    where
        I: IntoIterator<Item = (String, Prepared)>,
    {
        self.inputs = Arc::new(Inputs {
            named: inputs.into_iter().collect(),
            whole: OnceLock::new(),
        });
        self
    }

    /// The run's inputs as one JSON object.
    #[must_use]
    pub fn inputs_from(self, inputs: &Value) -> Self {
        let named = inputs.as_object().into_iter().flatten();
        self.inputs(named.map(|(name, value)| (name.clone(), Prepared::from_json(value))))
    }

    /// The result of a step; null where it was skipped or failed.
    #[must_use]
    pub fn step(mut self, name: &str, result: Prepared) -> Self {
        Arc::make_mut(&mut self.steps).insert(name.to_owned(), StepResult::Whole(result));
        self
    }

    /// How many items a mapped step has, where [`References::contents`](super::References::contents)
    /// says that nobody asks for more.
    #[must_use]
    pub fn step_count(mut self, name: &str, count: u64) -> Self {
        Arc::make_mut(&mut self.steps).insert(name.to_owned(), StepResult::Counted(count));
        self
    }

    /// The element at hand: `item`, `index`, and in a matrix step `matrix`.
    #[must_use]
    pub fn item(mut self, item: Prepared, index: u32) -> Self {
        self.item = Some((item, index));
        self
    }

    /// Facts about the run: `run.id`, `run.workflow`, …
    #[must_use]
    pub fn run(mut self, facts: Prepared) -> Self {
        self.run = Some(facts);
        self
    }

    /// Why the run failed: `failure.step`, `failure.message`.
    #[must_use]
    pub fn failure(mut self, facts: Prepared) -> Self {
        self.failure = Some(facts);
        self
    }

    pub(super) fn input(&self, name: &str) -> Option<&Prepared> {
        self.inputs.named.get(name)
    }

    pub(super) fn input_names(&self) -> impl Iterator<Item = &str> {
        self.inputs.named.keys().map(String::as_str)
    }

    /// What `inputs` as a whole would take, in bytes; nothing once it has been made.
    pub(super) fn weight_of_inputs_to_make(&self) -> usize {
        if self.inputs.whole.get().is_some() {
            return 0;
        }
        let named = self.inputs.named.iter();
        named
            .map(|(name, value)| 64 + name.len() + weight(value.json()))
            .sum()
    }

    pub(super) fn all_prepared_inputs(&self) -> &Prepared {
        self.inputs.whole.get_or_init(|| {
            let fields = self
                .inputs
                .named
                .iter()
                .map(|(name, value)| (name.clone(), value.json().clone()));
            Prepared::from(Value::Object(fields.collect()))
        })
    }

    pub(super) fn step_result(&self, name: &str) -> Option<&StepResult> {
        self.steps.get(name)
    }

    pub(super) fn step_value(&self, name: &str) -> Option<&Prepared> {
        match self.steps.get(name)? {
            StepResult::Whole(value) => Some(value),
            StepResult::Counted(_) => None,
        }
    }

    pub(super) fn index_value(&self) -> Option<u32> {
        self.item.as_ref().map(|(_, index)| *index)
    }

    /// A root that is one value.
    pub(super) fn root(&self, root: Root) -> Option<&Prepared> {
        match root {
            Root::Item | Root::Matrix => self.item.as_ref().map(|(item, _)| item),
            Root::Run => self.run.as_ref(),
            Root::Failure => self.failure.as_ref(),
            Root::Inputs | Root::Steps | Root::Index => None,
        }
    }
}

//! What an expression can see: inputs, results of steps, the item at hand.
//!
//! Values are converted for CEL when an expression first needs that, once, and
//! shared from then on: ten thousand items reading one list convert it once.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use cel::common::value::Val;
use serde_json::Value;

use super::{Root, cel as evaluator};

/// A JSON value ready to be read by many expressions. Cheap to clone.
#[derive(Clone)]
pub struct Prepared(Arc<Inner>);

struct Inner {
    json: Value,
    /// Made on first need: plain paths never do.
    value: OnceLock<Box<dyn Val>>,
    cost: OnceLock<usize>,
}

impl Prepared {
    /// Prepares a copy of a value.
    #[must_use]
    pub fn from_json(value: &Value) -> Self {
        Self::from(value.clone())
    }

    /// The value as JSON.
    #[must_use]
    pub fn json(&self) -> &Value {
        &self.0.json
    }

    pub(super) fn value(&self) -> &dyn Val {
        &**self
            .0
            .value
            .get_or_init(|| evaluator::from_json(&self.0.json))
    }

    /// What reading it once costs at most, in units of a value or 64 bytes of text.
    pub(super) fn cost(&self) -> usize {
        *self.0.cost.get_or_init(|| cost(&self.0.json))
    }
}

fn cost(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 1,
        Value::String(text) => 1 + text.len() / 64,
        Value::Array(list) => 1 + list.iter().map(cost).sum::<usize>(),
        Value::Object(fields) => {
            1 + fields
                .iter()
                .map(|(key, value)| key.len() / 64 + cost(value))
                .sum::<usize>()
        }
    }
}

impl From<Value> for Prepared {
    fn from(json: Value) -> Self {
        Self(Arc::new(Inner {
            json,
            value: OnceLock::new(),
            cost: OnceLock::new(),
        }))
    }
}

impl std::fmt::Debug for Prepared {
    /// The kind only: values may be prompts.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Prepared")
            .field(&super::kind_of(&self.0.json))
            .finish()
    }
}

/// The values one evaluation can see. Cheap to clone: one scope per run, and
/// per item a clone with its [`Scope::item`].
#[derive(Debug, Clone, Default)]
pub struct Scope {
    inputs: Arc<Inputs>,
    steps: Arc<BTreeMap<String, Prepared>>,
    item: Option<(Prepared, u32)>,
    run: Option<Prepared>,
    failure: Option<Prepared>,
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
        Arc::make_mut(&mut self.steps).insert(name.to_owned(), result);
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

    pub(super) fn all_inputs(&self) -> Value {
        self.all_prepared_inputs().json().clone()
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

    pub(super) fn step_value(&self, name: &str) -> Option<&Prepared> {
        self.steps.get(name)
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

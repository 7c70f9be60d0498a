//! A task that plays its script, and the definition a graph stands for.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use aquatint_engine::{Task, TaskContext, TaskError};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::model::{Graph, Policy, Script, Shape, Step, name};

#[derive(Deserialize, JsonSchema)]
pub(crate) struct ScriptInput {
    script: Vec<String>,
    #[serde(default)]
    seen: Value,
}

/// Plays its script: what it does hangs on nothing but its input and its attempt.
pub(crate) struct Play;

impl Task for Play {
    const NAME: &'static str = "test.play";
    const VERSION: u32 = 1;
    const DESCRIPTION: &'static str = "Plays its script.";
    type Input = ScriptInput;
    type Output = Value;

    async fn run(&self, ctx: TaskContext, input: ScriptInput) -> Result<Value, TaskError> {
        let info = ctx.info();
        // Different runs end their tasks in different orders.
        let mut hasher = DefaultHasher::new();
        (
            info.run.to_string(),
            info.step.as_str(),
            info.item,
            info.attempt,
        )
            .hash(&mut hasher);
        match hasher.finish() % 4 {
            0 => {}
            1 => tokio::task::yield_now().await,
            n => tokio::time::sleep(Duration::from_millis(n)).await,
        }
        let act = input
            .script
            .get(info.attempt as usize - 1)
            .map_or("succeed", String::as_str);
        match act {
            "succeed" => Ok(json!({
                "name": info.step,
                "item": info.item,
                "attempt": info.attempt,
                "seen": without_words(input.seen),
            })),
            "stumble" => Err(TaskError::retryable("test", "it stumbled")),
            "fall" => Err(TaskError::fatal("test", "it fell")),
            _ => panic!("it panicked"),
        }
    }
}

/// Errors as yes or no: their words name runs. Twice is as good as once.
pub(crate) fn without_words(value: Value) -> Value {
    match value {
        Value::Array(list) => list.into_iter().map(without_words).collect(),
        Value::Object(fields) => {
            let is_result = fields.contains_key("status") && fields.contains_key("index");
            let clean = fields.into_iter().map(|(key, value)| {
                let value = if is_result && key == "error" {
                    json!(value.as_bool().unwrap_or(!value.is_null()))
                } else {
                    without_words(value)
                };
                (key, value)
            });
            Value::Object(clean.collect())
        }
        plain => plain,
    }
}

pub(crate) const CHILD: &str = "name: child
inputs: { script: { type: array }, seen: { type: object } }
steps:
  x: { task: test.play, with: { script: '${{ inputs.script }}', seen: '${{ inputs.seen }}' } }
outputs: { x: '${{ steps.x }}' }
";

fn words(script: &Script) -> Value {
    script.iter().map(|act| act.word()).collect()
}

impl Graph {
    /// The definition file; JSON is YAML.
    pub(crate) fn definition(&self, called: &str) -> String {
        let steps: Map<String, Value> = (0..)
            .zip(&self.steps)
            .map(|(number, step)| (name(number), self.step(&name(number), step)))
            .collect();
        let mut inputs = json!({ "busy": { "type": "boolean", "default": false } });
        for step in self.inputs().keys() {
            inputs[step] = json!({ "type": "array" });
        }
        let mut definition = json!({ "name": called, "inputs": inputs, "steps": steps });
        if let Some(limit) = self.max_parallel {
            definition["max_parallel"] = json!(limit);
        }
        if self.outputs().next().is_some() {
            definition["outputs"] = self.references(self.outputs());
        }
        if self.has_last_word {
            definition["on_failure"] = json!({ "task": "test.play", "with": { "script": [] } });
        }
        definition.to_string()
    }

    /// The steps whose values the run returns.
    pub(crate) fn outputs(&self) -> impl Iterator<Item = usize> {
        (0..self.steps.len()).filter(|step| self.has_outputs && self.steps[*step].is_certain())
    }

    /// The items of mapped steps, by step.
    pub(crate) fn inputs(&self) -> Map<String, Value> {
        let mapped = (0..)
            .zip(&self.steps)
            .filter_map(|(number, step)| match &step.shape {
                Shape::Mapped { items, .. } => {
                    Some((name(number), items.iter().map(words).collect()))
                }
                Shape::One(_) => None,
            });
        mapped.collect()
    }

    fn references(&self, steps: impl IntoIterator<Item = usize>) -> Value {
        let certain = steps
            .into_iter()
            .filter(|step| self.steps[*step].is_certain());
        certain
            .map(|step| {
                (
                    name(step),
                    json!(format!("${{{{ steps.{} }}}}", name(step))),
                )
            })
            .collect::<Map<_, _>>()
            .into()
    }

    fn step(&self, called: &str, step: &Step) -> Value {
        let mut with = json!({ "seen": self.references(step.needs.iter().copied()) });
        let mut written = json!({
            "needs": step.needs.iter().map(|need| name(*need)).collect::<Vec<_>>(),
            "retry": { "attempts": step.attempts, "delay": "0s" },
            "on_failure": match step.policy {
                Policy::Fail => "fail",
                Policy::Continue => "continue",
                Policy::Skip => "skip",
            },
        });
        let doer = if step.is_sub {
            ("workflow", "child")
        } else {
            ("task", "test.play")
        };
        written[doer.0] = json!(doer.1);
        if step.is_idle {
            written["when"] = json!("inputs.busy");
        }
        match &step.shape {
            Shape::One(script) => with["script"] = words(script),
            Shape::Mapped {
                max_parallel,
                tolerate,
                ..
            } => {
                written["foreach"] = json!(format!("${{{{ inputs.{called} }}}}"));
                written["fail"] = json!(if *tolerate { "tolerate" } else { "fast" });
                if let Some(limit) = max_parallel {
                    written["max_parallel"] = json!(limit);
                }
                with["script"] = json!("${{ item }}");
            }
        }
        written["with"] = with;
        written
    }
}

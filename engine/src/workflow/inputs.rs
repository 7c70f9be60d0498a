//! What a run is given: checked against the definition's JSON Schemas, defaults filled in.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::suggest;

mod describe;

pub(crate) use describe::{describe, validator};

/// The inputs of a workflow, compiled. Cheap to clone, shared over threads.
#[derive(Debug, Clone)]
pub struct InputSchema {
    schemas: Arc<Map<String, Value>>,
    validator: Arc<jsonschema::Validator>,
}

/// One input that cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct InputProblem {
    /// JSON Pointer into the inputs: `/width`.
    pub pointer: String,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

impl std::fmt::Display for InputProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let place = match self.pointer.trim_start_matches('/') {
            "" => "inputs".to_owned(),
            path => format!("inputs.{}", path.replace('/', ".")),
        };
        write!(f, "{place}: {}", self.message)?;
        match &self.help {
            Some(help) => write!(f, " ({help})"),
            None => Ok(()),
        }
    }
}

impl InputSchema {
    pub(crate) fn compile(inputs: &Map<String, Value>) -> Result<Self, String> {
        let schema = json!({ "type": "object", "properties": inputs });
        let validator = validator(&schema).map_err(|problem| format!("`inputs`: {problem}"))?;
        Ok(Self {
            schemas: Arc::new(inputs.clone()),
            validator: Arc::new(validator),
        })
    }

    /// JSON Schema by input, in the order of the definition.
    #[must_use]
    pub fn schemas(&self) -> &Map<String, Value> {
        &self.schemas
    }

    /// Checks what a run is given, and fills in what is left out. Null stands for no inputs.
    ///
    /// # Errors
    /// Every [`InputProblem`] found.
    pub fn check(&self, given: Value) -> Result<Value, Vec<InputProblem>> {
        let mut given = match given {
            Value::Object(given) => given,
            Value::Null => Map::new(),
            other => {
                return Err(vec![InputProblem {
                    pointer: String::new(),
                    message: format!("expected an object, got {}", super::expr::kind_of(&other)),
                    help: Some("give inputs by name, as in {\"prompt\": \"a house\"}".to_owned()),
                }]);
            }
        };
        let mut problems = Vec::new();
        for name in given.keys() {
            if !self.schemas.contains_key(name) {
                problems.push(InputProblem {
                    pointer: super::source::pointer("", name),
                    message: format!("there is no input `{name}`"),
                    help: suggest::help(name, self.schemas.keys().map(String::as_str))
                        .or_else(|| Some("this workflow takes no inputs".to_owned())),
                });
            }
        }
        let mut filled = Map::with_capacity(self.schemas.len());
        for (name, schema) in &*self.schemas {
            if let Some(value) = given.remove(name) {
                filled.insert(name.clone(), value);
            } else if let Some(default) = schema.get("default") {
                filled.insert(name.clone(), default.clone());
            } else {
                problems.push(InputProblem {
                    pointer: super::source::pointer("", name),
                    message: format!("the input `{name}` is missing"),
                    help: schema
                        .get("description")
                        .and_then(Value::as_str)
                        .map(str::to_owned),
                });
            }
        }
        let filled = Value::Object(filled);
        for error in self.validator.iter_errors(&filled).take(20) {
            let (message, help) = describe(&error);
            problems.push(InputProblem {
                pointer: error.instance_path().as_str().to_owned(),
                message,
                help,
            });
        }
        if problems.is_empty() {
            Ok(filled)
        } else {
            Err(problems)
        }
    }
}

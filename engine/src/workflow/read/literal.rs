//! `with:` against what the task or workflow takes, as far as it is written out.
//!
//! An expression's value is unknown until the run, so a complaint that it could
//! silence is dropped.

use std::rc::Rc;

use jsonschema::error::ValidationErrorKind;
use jsonschema::{ValidationError, Validator};
use serde_json::{Value, json};

use super::{Reader, place};
use crate::workflow::source::{Data, Entry, Node, pointer};
use crate::workflow::{StepAction, inputs, suggest};

/// The most complaints about one step's `with`.
const MAX_COMPLAINTS: usize = 20;

/// How an expression fills its place.
#[derive(Clone, Copy, PartialEq)]
enum Unknown {
    /// With anything.
    Value,
    /// With some text.
    Text,
}

impl Reader<'_> {
    pub(super) fn check_with(&mut self, step: &Entry, at: &str, action: &StepAction) {
        let (Some((whose, schema)), false) = (self.schema_of(action), self.is_full()) else {
            return;
        };
        let empty = Node {
            data: Data::Map(Vec::new()),
            span: step.key_span,
        };
        let entry = step.value.get("with").filter(|with| !with.value.is_null());
        let node = entry.map_or(&empty, |with| &with.value);
        if !matches!(node.data, Data::Map(_)) {
            return;
        }
        let Some(validator) = self.validator_of(&whose, &schema) else {
            return;
        };
        let mut unknown = Vec::new();
        collect(node, String::new(), &mut unknown);
        let instance = node.to_json();
        let at = pointer(at, "with");
        let complaints = validator
            .iter_errors(&instance)
            .filter(|error| holds_anyway(error, &unknown))
            .take(MAX_COMPLAINTS);
        for error in complaints {
            let path = error.instance_path().as_str();
            let here = format!("{at}{path}");
            let (found, of) = node.nearest(path);
            let span = match (of, entry) {
                (Some(of), _) => place(of),
                (None, _) if !path.is_empty() => found.span,
                (None, Some(with)) => with.key_span,
                (None, None) => step.key_span,
            };
            match error.kind() {
                ValidationErrorKind::AdditionalProperties { unexpected } => {
                    let known = properties(&schema, error.schema_path().as_str());
                    for name in unexpected {
                        let span = found.get(name).map_or(span, |entry| entry.key_span);
                        let help = suggest::help(name, known.iter().copied());
                        let message = format!("{whose} takes no `{name}`");
                        self.report("unknown-field", span, &pointer(&here, name), message, help);
                    }
                }
                ValidationErrorKind::Required { property } => {
                    let name = property.as_str().unwrap_or_default();
                    let message = if path.is_empty() {
                        format!("{whose} needs `{name}`")
                    } else {
                        format!("`{}` needs `{name}`", path.trim_start_matches('/'))
                    };
                    let help = if path.is_empty() {
                        format!("add `{name}:` under `with:`")
                    } else {
                        format!("add `{name}:` to it")
                    };
                    self.report("missing-field", span, &here, message, help);
                }
                _ => {
                    let (message, help) = inputs::describe(&error);
                    let name = path.trim_start_matches('/').replace('/', ".");
                    let message = format!("`{name}` of {whose}: {message}");
                    self.report("wrong-type", span, &here, message, help);
                }
            }
        }
    }

    /// What an action takes, and what to call it in a message.
    fn schema_of(&self, action: &StepAction) -> Option<(String, Value)> {
        match action {
            StepAction::Task(task) => {
                let signature = self.catalog.task(task.as_str())?;
                let whose = format!("task `{task}`");
                Some((whose, signature.input_schema.clone()))
            }
            StepAction::Workflow(workflow) => {
                let inputs = self.catalog.workflow(workflow.as_str())?.inputs?;
                let required: Vec<&String> = inputs
                    .iter()
                    .filter(|(_, schema)| schema.get("default").is_none())
                    .map(|(name, _)| name)
                    .collect();
                let schema = json!({
                    "type": "object",
                    "properties": inputs,
                    "required": required,
                    "additionalProperties": false,
                });
                Some((format!("workflow `{workflow}`"), schema))
            }
        }
    }

    fn validator_of(&mut self, whose: &str, schema: &Value) -> Option<Rc<Validator>> {
        if let Some(known) = self.validators.get(whose) {
            return known.clone();
        }
        // A schema we cannot read says nothing about the definition.
        let built = inputs::validator(schema).ok().map(Rc::new);
        self.validators.insert(whose.to_owned(), built.clone());
        built
    }
}

/// What the object allows in which the keyword at `path` complained.
fn properties<'s>(schema: &'s Value, path: &str) -> Vec<&'s str> {
    let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    schema
        .pointer(parent)
        .and_then(|schema| schema.get("properties"))
        .and_then(Value::as_object)
        .map(|known| known.keys().map(String::as_str).collect())
        .unwrap_or_default()
}

/// The places of all expressions, as JSON Pointers.
fn collect(node: &Node, at: String, unknown: &mut Vec<(String, Unknown)>) {
    match &node.data {
        Data::Text(text) if text.contains("${{") => {
            let text = text.trim();
            let whole =
                text.starts_with("${{") && text.ends_with("}}") && text.matches("${{").count() == 1;
            unknown.push((at, if whole { Unknown::Value } else { Unknown::Text }));
        }
        Data::List(list) => {
            for (i, element) in list.iter().enumerate() {
                collect(element, pointer(&at, &i.to_string()), unknown);
            }
        }
        Data::Map(entries) => {
            for entry in entries {
                collect(&entry.value, pointer(&at, &entry.key), unknown);
            }
        }
        _ => {}
    }
}

/// Whether a complaint stands, whatever the expressions turn out to be.
fn holds_anyway(error: &ValidationError<'_>, unknown: &[(String, Unknown)]) -> bool {
    let path = error.instance_path().as_str();
    let is_type = matches!(error.kind(), ValidationErrorKind::Type { .. });
    let is_shape = is_type
        || matches!(
            error.kind(),
            ValidationErrorKind::Required { .. }
                | ValidationErrorKind::AdditionalProperties { .. }
                | ValidationErrorKind::MinItems { .. }
                | ValidationErrorKind::MaxItems { .. }
        );
    unknown.iter().all(|(place, kind)| {
        if place == path {
            // That it is text is known of a text with expressions in it.
            *kind == Unknown::Text && is_type
        } else if place
            .strip_prefix(path)
            .is_some_and(|rest| rest.starts_with('/'))
        {
            is_shape
        } else {
            true
        }
    })
}

//! One step: what it runs, with what, and after whom.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::policy::Defaults;
use super::template::Around;
use super::{Edge, Reader, place};
use crate::id::{StepName, TaskName, WorkflowName};
use crate::workflow::diagnostic::Span;
use crate::workflow::source::{Data, Entry, Node, pointer};
use crate::workflow::{FailMode, OnFailure, RESERVED_STEP_NAMES, Step, StepAction, suggest};

const KEYS: [&str; 20] = [
    "task",
    "workflow",
    "with",
    "needs",
    "when",
    "foreach",
    "matrix",
    "max_parallel",
    "fail",
    "queue",
    "priority",
    "requires",
    "prefer",
    "memory",
    "timeout",
    "soft_timeout",
    "retry",
    "cache",
    "on_failure",
    "description",
];
/// What makes no sense for the step that runs when all else has failed.
const NOT_ON_FAILURE: [&str; 6] = [
    "needs",
    "foreach",
    "matrix",
    "max_parallel",
    "fail",
    "on_failure",
];
const ON_FAILURE: [(&str, OnFailure); 3] = [
    ("fail", OnFailure::Fail),
    ("continue", OnFailure::Continue),
    ("skip", OnFailure::Skip),
];
const FAIL: [(&str, FailMode); 2] = [("fast", FailMode::Fast), ("tolerate", FailMode::Tolerate)];
/// Whether a text is one expression and nothing else.
fn is_whole(text: &str) -> bool {
    text.starts_with("${{") && text.ends_with("}}") && text.matches("${{").count() == 1
}

impl Reader<'_> {
    /// One entry of `steps`.
    pub(super) fn step(&mut self, entry: &Entry, defaults: &Defaults) -> Option<Step> {
        let at = pointer("/steps", &entry.key);
        let name = self.step_name(entry, &at);
        if let Data::Text(task) = &entry.value.data {
            self.report(
                "wrong-type",
                place(entry),
                &at,
                format!("step `{}` must be an object, got text", entry.key),
                format!("write `{}: {{ task: {task} }}`", entry.key),
            );
            return None;
        }
        let what = format!("step `{}`", entry.key);
        self.object(&entry.value, entry.key_span, &at, &what, Some(&KEYS))?;
        self.body(entry, &at, name, defaults, false)
    }

    /// The workflow's own `on_failure`.
    pub(super) fn failure_step(&mut self, entry: &Entry, defaults: &Defaults) -> Option<Step> {
        let at = "/on_failure";
        if let Data::Text(_) = entry.value.data {
            self.report(
                "wrong-type",
                place(entry),
                at,
                "the workflow's `on_failure` is a step of its own, got text",
                "write `on_failure: { task: notify.webhook, with: { … } }`".to_owned(),
            );
            return None;
        }
        let known: Vec<&str> = KEYS
            .into_iter()
            .filter(|key| !NOT_ON_FAILURE.contains(key))
            .collect();
        self.object(
            &entry.value,
            entry.key_span,
            at,
            "the workflow's `on_failure`",
            Some(&known),
        )?;
        let name = StepName::new("on_failure").ok();
        self.body(entry, at, name, defaults, true)
    }

    fn body(
        &mut self,
        entry: &Entry,
        at: &str,
        name: Option<StepName>,
        defaults: &Defaults,
        is_failure_step: bool,
    ) -> Option<Step> {
        let node = &entry.value;
        let action = self.action(entry, at);
        let mapped = (node.get("foreach").is_some(), node.get("matrix").is_some());
        if let (true, true) = mapped {
            self.report(
                "two-maps",
                node.get("matrix").map_or(entry.key_span, |e| e.key_span),
                &pointer(at, "matrix"),
                "a step has either `foreach` or `matrix`, not both",
                "put the list into the matrix, as one more name".to_owned(),
            );
        }
        let is_mapped = !is_failure_step && (mapped.0 || mapped.1);
        for key in ["max_parallel", "fail"] {
            if let Some(stray) = node.get(key)
                && !is_mapped
                && !is_failure_step
            {
                self.report(
                    "needs-map",
                    stray.key_span,
                    &pointer(at, key),
                    format!("`{key}` is for mapped steps only"),
                    "add `foreach` or `matrix`, or remove it".to_owned(),
                );
            }
        }
        let here = Around {
            step: (!is_failure_step).then(|| entry.key.clone()),
            failure: is_failure_step,
            ..Around::default()
        };
        let (foreach, matrix) = if is_failure_step {
            (None, None)
        } else {
            (self.foreach(node, at, &here), self.matrix(node, at, &here))
        };
        let inside = Around {
            item: is_mapped,
            matrix: matrix
                .as_ref()
                .map(|lists| lists.keys().cloned().collect::<BTreeSet<_>>()),
            ..here.clone()
        };
        let when = node
            .get("when")
            .and_then(|when| self.condition(when, &pointer(at, "when"), entry, &here));
        let with = match node.get("with") {
            Some(with) if !with.value.is_null() => {
                let at = pointer(at, "with");
                match &with.value.data {
                    Data::Map(_) => self.template(&with.value, &at, &inside),
                    // An expression that gives the whole object.
                    Data::Text(text) if is_whole(text) => self.template(&with.value, &at, &inside),
                    _ => {
                        let help =
                            "name what the task takes, as in `with: { prompt: \"a house\" }`";
                        self.wrong_type(place(with), &at, "an object", &with.value, help);
                        Value::Object(Map::new())
                    }
                }
            }
            _ => Value::Object(Map::new()),
        };
        if let Some(action) = &action {
            self.check_with(entry, at, action);
        }
        let needs = if is_failure_step {
            Vec::new()
        } else {
            self.needs(node, at, entry)
        };
        let policies = self.policies(node, at, defaults);
        let on_failure = if is_failure_step {
            OnFailure::Fail
        } else {
            node.get("on_failure")
                .and_then(|e| self.choice(e, &pointer(at, "on_failure"), &ON_FAILURE))
                .unwrap_or_default()
        };
        let fail = node
            .get("fail")
            .filter(|_| is_mapped)
            .and_then(|e| self.choice(e, &pointer(at, "fail"), &FAIL))
            .unwrap_or_default();
        Some(Step {
            name: name?,
            description: self.optional_text(node, at, "description"),
            action: action?,
            with,
            needs,
            when,
            foreach,
            matrix,
            max_parallel: self.count_of(node, at, "max_parallel"),
            fail,
            queue: policies.queue,
            priority: policies.priority,
            requires: policies.requires,
            prefer: policies.prefer,
            memory_bytes: policies.memory_bytes,
            timeout_ms: policies.timeout_ms,
            soft_timeout_ms: policies.soft_timeout_ms,
            retry: policies.retry,
            cache: policies.cache,
            on_failure,
        })
    }

    fn step_name(&mut self, entry: &Entry, at: &str) -> Option<StepName> {
        let name = entry.key.as_str();
        if RESERVED_STEP_NAMES.contains(&name) {
            self.report(
                "bad-name",
                entry.key_span,
                at,
                format!("a step cannot be called `{name}`: expressions give the word a meaning"),
                format!("call it `{name}_step`"),
            );
            return None;
        }
        match StepName::new(name) {
            Ok(name) => Some(name),
            Err(error) => {
                let better: String = name
                    .chars()
                    .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
                    .collect();
                let help = match StepName::new(&better) {
                    Ok(better) => format!("call it `{better}`: {}", error.rule),
                    Err(_) => format!("expected {}", error.rule),
                };
                let message = format!("`{name}` is no step name");
                self.report("bad-name", entry.key_span, at, message, help);
                None
            }
        }
    }

    fn action(&mut self, entry: &Entry, at: &str) -> Option<StepAction> {
        let node = &entry.value;
        match (node.get("task"), node.get("workflow")) {
            (Some(_), Some(both)) => {
                self.report(
                    "two-actions",
                    both.key_span,
                    &pointer(at, "workflow"),
                    "a step runs either a `task` or a `workflow`, not both",
                    "make it two steps".to_owned(),
                );
                None
            }
            (None, None) => {
                self.report(
                    "missing-key",
                    entry.key_span,
                    at,
                    format!("`{}` says neither `task` nor `workflow`", entry.key),
                    "say what it runs, as in `task: image.generate`".to_owned(),
                );
                None
            }
            (Some(task), None) => {
                let at = pointer(at, "task");
                let name = self.text(task, &at)?;
                if self.catalog.task(name).is_none() {
                    let names = self.catalog.task_names();
                    self.report(
                        "unknown-task",
                        place(task),
                        &at,
                        format!("there is no task `{name}`"),
                        suggest::help(name, names.iter().map(String::as_str)),
                    );
                    return None;
                }
                match TaskName::new(name) {
                    Ok(name) => Some(StepAction::Task(name)),
                    Err(error) => {
                        let message = format!("`{name}` is no task name");
                        let help = format!("expected {}", error.rule);
                        self.report("bad-name", place(task), &at, message, help);
                        None
                    }
                }
            }
            (None, Some(workflow)) => {
                let at = pointer(at, "workflow");
                let name = self.text(workflow, &at)?;
                match WorkflowName::new(name) {
                    Ok(name) => Some(StepAction::Workflow(name)),
                    Err(error) => {
                        let message = format!("`{name}` is no workflow name");
                        let help = format!("expected {}", error.rule);
                        self.report("bad-name", place(workflow), &at, message, help);
                        None
                    }
                }
            }
        }
    }

    fn needs(&mut self, node: &Node, at: &str, step: &Entry) -> Vec<StepName> {
        let Some(entry) = node.get("needs") else {
            return Vec::new();
        };
        let at = pointer(at, "needs");
        let places: Vec<Span> = match &entry.value.data {
            Data::List(list) => list.iter().map(|node| node.span).collect(),
            _ => vec![place(entry)],
        };
        let names = self.words(entry, &at, "step names, as in `[refine]`");
        let mut needs = Vec::new();
        let mut seen = BTreeSet::new();
        for (i, name) in names.iter().enumerate() {
            let span = places.get(i).copied().unwrap_or(entry.key_span);
            let at = pointer(&at, &i.to_string());
            self.step_reference(name, span, &at, Some(&step.key));
            if let Ok(name) = StepName::new(name)
                && seen.insert(name.clone())
            {
                needs.push(name);
            }
        }
        needs
    }

    /// A name of another step: it must exist, and becomes an edge.
    pub(super) fn step_reference(&mut self, name: &str, span: Span, at: &str, from: Option<&str>) {
        if self.is_full() {
            return;
        }
        if from == Some(name) {
            self.report(
                "self-reference",
                span,
                at,
                format!("step `{name}` refers to itself"),
                "a step can only read what ran before it".to_owned(),
            );
        } else if !self.steps.contains(name) {
            let help = suggest::help(name, self.steps.iter().map(String::as_str));
            self.report(
                "unknown-step",
                span,
                at,
                format!("there is no step `{name}`"),
                help,
            );
        } else if let Some(from) = from {
            self.edges.push(Edge {
                from: from.to_owned(),
                to: name.to_owned(),
                span,
                pointer: at.to_owned(),
            });
        }
    }
}

//! From the tree of a file to a [`Workflow`], collecting every mistake on the way.
//!
//! A value that cannot be used is reported and replaced by a harmless one, so
//! that reading goes on; a workflow comes out only when nothing was reported.

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::catalog::Catalog;
use super::diagnostic::{Diagnostic, Diagnostics, MAX_DIAGNOSTICS, Span, Text};
use super::expr::Budget;
use super::source::{self, Data, Entry, Node, Source};
use super::{Concurrency, MAX_STEPS, Workflow, suggest};
use crate::id::WorkflowName;
use crate::permission::Permission;

mod graph;
mod inputs;
mod literal;
mod policy;
mod schedule;
mod step;
mod template;
mod value;

use policy::Defaults;
use template::{Around, RunFacts};

/// What parsing all expressions of a file may cost, about a token each.
const MAX_WORK: usize = 25_000;

const KEYS: [&str; 14] = [
    "name",
    "description",
    "inputs",
    "defaults",
    "steps",
    "outputs",
    "concurrency",
    "retention",
    "timeout",
    "on_failure",
    "max_parallel",
    "schedule",
    "notify",
    "scope",
];

pub(super) fn workflow(
    source: &Source<'_>,
    catalog: &dyn Catalog,
) -> Result<Workflow, Diagnostics> {
    let text = Arc::new(Text {
        file: source.file.to_owned(),
        text: source.text.to_owned(),
    });
    let (root, found) = source::read(&text);
    let Some(root) = root else {
        return Err(Diagnostics::new(found));
    };
    let mut reader = Reader {
        text,
        found,
        catalog,
        steps: BTreeSet::new(),
        inputs: BTreeSet::new(),
        edges: Vec::new(),
        validators: HashMap::new(),
        work_left: MAX_WORK,
        budget: Budget::request(),
    };
    let workflow = reader.workflow(&root);
    match workflow {
        Some(workflow) if reader.found.is_empty() => Ok(workflow),
        _ => Err(Diagnostics::new(reader.found)),
    }
}

/// One reference from a step to another, and where it is written.
struct Edge {
    from: String,
    to: String,
    span: Span,
    pointer: String,
}

struct Reader<'a> {
    text: Arc<Text>,
    found: Vec<Diagnostic>,
    catalog: &'a dyn Catalog,
    /// All keys under `steps`, good or bad: a bad step is one mistake, not one per reference.
    steps: BTreeSet<String>,
    inputs: BTreeSet<String>,
    edges: Vec<Edge>,
    /// By task or workflow; none where the schema itself is beyond us.
    validators: HashMap<String, Option<Rc<jsonschema::Validator>>>,
    work_left: usize,
    /// For all that is evaluated while the file is checked.
    budget: Budget,
}

/// Where to point for an entry: at its value when that fits under a caret, else at its key.
fn place(entry: &Entry) -> Span {
    match entry.value.data {
        Data::Map(_) | Data::List(_) | Data::Null => entry.key_span,
        _ if entry.value.span.len == 0 => entry.key_span,
        _ => entry.value.span,
    }
}

impl Reader<'_> {
    fn is_full(&self) -> bool {
        self.found.len() >= MAX_DIAGNOSTICS
    }

    fn report(
        &mut self,
        code: &'static str,
        span: Span,
        pointer: &str,
        message: impl Into<String>,
        help: impl Into<Option<String>>,
    ) {
        if !self.is_full() {
            let one = Diagnostic::new(&self.text, code, span, pointer, message);
            self.found.push(one.help(help));
        }
    }

    fn wrong_type(&mut self, span: Span, pointer: &str, expected: &str, node: &Node, help: &str) {
        let what = pointer.rsplit('/').next().unwrap_or_default();
        let message = if what.is_empty() {
            format!("expected {expected}, got {}", node.kind())
        } else {
            format!("`{what}` must be {expected}, got {}", node.kind())
        };
        let help = match (help, expected) {
            ("", "an object") => Some("write names and values, as in `name: value`".to_owned()),
            ("", _) => None,
            (help, _) => Some(help.to_owned()),
        };
        self.report("wrong-type", span, pointer, message, help);
    }

    /// The entries of an object; reports everything else, and keys that are not
    /// known. Keys that begin with `x-` are left alone: a place for anchors and notes.
    fn object<'n>(
        &mut self,
        node: &'n Node,
        span: Span,
        pointer: &str,
        what: &str,
        known: Option<&[&str]>,
    ) -> Option<&'n [Entry]> {
        let Data::Map(entries) = &node.data else {
            self.wrong_type(span, pointer, "an object", node, "");
            return None;
        };
        for entry in entries {
            let Some(known) = known else { break };
            if self.is_full() {
                break;
            }
            if !known.contains(&entry.key.as_str()) && !entry.key.starts_with("x-") {
                self.report(
                    "unknown-key",
                    entry.key_span,
                    &source::pointer(pointer, &entry.key),
                    format!("{what} has no key `{}`", entry.key),
                    suggest::help(&entry.key, known.iter().copied()),
                );
            }
        }
        Some(entries)
    }

    fn workflow(&mut self, root: &Node) -> Option<Workflow> {
        let top = Span::new(0, 1);
        if root.is_null() {
            self.report(
                "empty",
                Span::default(),
                "",
                "the file is empty",
                "a workflow needs at least `name` and `steps`".to_owned(),
            );
            return None;
        }
        self.object(root, top, "", "a workflow", Some(&KEYS))?;
        self.learn_names(root);

        let name = self.name(root, top);
        let inputs = match root.get("inputs") {
            Some(entry) => self.input_schemas(entry),
            None => Map::new(),
        };
        let defaults = match root.get("defaults") {
            Some(entry) => self.defaults(entry),
            None => Defaults::default(),
        };
        let mut steps = Vec::new();
        match root.get("steps") {
            None => self.report(
                "missing-key",
                top,
                "",
                "the workflow has no steps",
                "add `steps:` with at least one step".to_owned(),
            ),
            Some(entry) => {
                if let Some(entries) =
                    self.object(&entry.value, place(entry), "/steps", "`steps`", None)
                {
                    if entries.is_empty() {
                        self.report(
                            "empty",
                            entry.key_span,
                            "/steps",
                            "the workflow has no steps",
                            "add at least one: `refine: { task: prompt.refine }`".to_owned(),
                        );
                    }
                    if let Some(first_beyond) = entries.get(MAX_STEPS) {
                        self.report(
                            "too-large",
                            first_beyond.key_span,
                            "/steps",
                            format!("{} steps; {MAX_STEPS} are the most", entries.len()),
                            "map one step over a list with `foreach`".to_owned(),
                        );
                        return None;
                    }
                    for entry in entries {
                        steps.extend(self.step(entry, &defaults));
                    }
                }
            }
        }
        self.check_graph();
        let outputs = self.outputs(root);
        let on_failure = root
            .get("on_failure")
            .and_then(|entry| self.failure_step(entry, &defaults))
            .map(Box::new);
        let schedules = self.schedules(root, name.as_ref(), &inputs);
        let notify = self.notify(root);
        let workflow = Workflow {
            name: name?,
            description: self.optional_text(root, "", "description"),
            inputs,
            steps,
            outputs,
            concurrency: self.concurrency(root),
            retention_ms: self.duration_of(root, "", "retention"),
            timeout_ms: self.duration_of(root, "", "timeout"),
            on_failure,
            max_parallel: self.count_of(root, "", "max_parallel"),
            scope: self.scope(root),
            schedules,
            notify,
        };
        for step in workflow.steps.iter().chain(workflow.on_failure.as_deref()) {
            self.check_recursion(&workflow.name, step, root);
        }
        Some(workflow)
    }

    /// What running it takes, where it says so.
    fn scope(&mut self, root: &Node) -> Permission {
        let Some(entry) = root.get("scope") else {
            return Permission::default();
        };
        let Some(text) = self.text(entry, "/scope") else {
            return Permission::default();
        };
        let known = Permission::ALL.into_iter().find(|p| p.as_str() == text);
        if known.is_none() {
            self.report(
                "bad-value",
                place(entry),
                "/scope",
                format!("`{text}` is no scope"),
                "one of: submit, operate, admin".to_owned(),
            );
        }
        known.unwrap_or_default()
    }

    /// The names that expressions may use, before any expression is read.
    fn learn_names(&mut self, root: &Node) {
        let keys = |key: &str| {
            let entries = match root.get(key).map(|entry| &entry.value.data) {
                Some(Data::Map(entries)) => entries.as_slice(),
                _ => &[],
            };
            entries.iter().map(|entry| entry.key.clone()).collect()
        };
        self.steps = keys("steps");
        self.inputs = keys("inputs");
    }

    fn name(&mut self, root: &Node, top: Span) -> Option<WorkflowName> {
        let Some(entry) = root.get("name") else {
            self.report(
                "missing-key",
                top,
                "",
                "the workflow has no name",
                "add `name:` at the top, as in `name: image-generation`".to_owned(),
            );
            return None;
        };
        let name = self.text(entry, "/name")?;
        match WorkflowName::new(name) {
            Ok(name) => Some(name),
            Err(error) => {
                self.report(
                    "bad-name",
                    place(entry),
                    "/name",
                    format!("`{name}` is no workflow name"),
                    format!("expected {}", error.rule),
                );
                None
            }
        }
    }

    fn outputs(&mut self, root: &Node) -> Map<String, Value> {
        let mut outputs = Map::new();
        let Some(entry) = root.get("outputs") else {
            return outputs;
        };
        let Some(entries) = self.object(&entry.value, place(entry), "/outputs", "`outputs`", None)
        else {
            return outputs;
        };
        for entry in entries {
            let pointer = source::pointer("/outputs", &entry.key);
            let value = self.template(&entry.value, &pointer, &Around::default());
            outputs.insert(entry.key.clone(), value);
        }
        outputs
    }

    fn concurrency(&mut self, root: &Node) -> Option<Concurrency> {
        let entry = root.get("concurrency")?;
        let pointer = "/concurrency";
        self.object(
            &entry.value,
            place(entry),
            pointer,
            "`concurrency`",
            Some(&["key", "limit"]),
        )?;
        let key = match entry.value.get("key") {
            Some(key) => self.template(
                &key.value,
                "/concurrency/key",
                &Around {
                    no_steps: Some("the key is needed before any step has run"),
                    run: RunFacts::None,
                    ..Around::default()
                },
            ),
            // One limit for all runs of the workflow.
            None => Value::String(String::new()),
        };
        if entry.value.get("limit").is_none() {
            self.report(
                "missing-key",
                entry.key_span,
                pointer,
                "`concurrency` has no `limit`",
                "say how many runs may run at a time: `limit: 1`".to_owned(),
            );
        }
        let limit = self.count_of(&entry.value, pointer, "limit")?;
        Some(Concurrency { key, limit })
    }
}

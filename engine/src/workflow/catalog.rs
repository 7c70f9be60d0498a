//! What a definition may name beyond itself: tasks and other workflows.

use std::sync::LazyLock;

use serde_json::{Map, Value};

use crate::registry::Registry;

/// What is known of the world while a definition is checked.
pub trait Catalog {
    /// A task, if there is one of this name.
    fn task(&self, name: &str) -> Option<TaskSignature<'_>>;

    /// All tasks, for "did you mean".
    fn task_names(&self) -> Vec<String>;

    /// A workflow, if there is one of this name.
    fn workflow(&self, name: &str) -> Option<WorkflowSignature<'_>>;

    /// All workflows, for "did you mean".
    fn workflow_names(&self) -> Vec<String>;
}

/// What a check needs to know of a task.
#[derive(Debug, Clone, Copy)]
pub struct TaskSignature<'a> {
    /// JSON Schema of `with:`.
    pub input_schema: &'a Value,
}

/// What a check needs to know of another workflow.
#[derive(Debug, Clone, Default)]
pub struct WorkflowSignature<'a> {
    /// JSON Schema by input; `None` when unknown, and then not checked.
    pub inputs: Option<&'a Map<String, Value>>,
    /// The workflows it runs as steps.
    pub runs: Vec<&'a str>,
}

/// Accepts every task and every workflow, for checks without a world.
#[derive(Debug, Clone, Copy, Default)]
pub struct AnyCatalog;

impl Catalog for AnyCatalog {
    fn task(&self, _name: &str) -> Option<TaskSignature<'_>> {
        static ANYTHING: LazyLock<Value> = LazyLock::new(|| Value::Bool(true));
        Some(TaskSignature {
            input_schema: &ANYTHING,
        })
    }

    fn task_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn workflow(&self, _name: &str) -> Option<WorkflowSignature<'_>> {
        Some(WorkflowSignature::default())
    }

    fn workflow_names(&self) -> Vec<String> {
        Vec::new()
    }
}

/// The tasks of a process, and no workflow to run as a step.
impl Catalog for Registry {
    fn task(&self, name: &str) -> Option<TaskSignature<'_>> {
        self.spec(name).map(|spec| TaskSignature {
            input_schema: &spec.input_schema,
        })
    }

    fn task_names(&self) -> Vec<String> {
        self.specs().map(|spec| spec.name.to_string()).collect()
    }

    fn workflow(&self, _name: &str) -> Option<WorkflowSignature<'_>> {
        None
    }

    fn workflow_names(&self) -> Vec<String> {
        Vec::new()
    }
}

//! Which code stands behind which task name.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde_json::Value;

use crate::id::TaskName;
use crate::permission::Permission;
use crate::task::{Task, TaskContext, TaskError};

/// What is known of a task without running it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TaskSpec {
    /// What definitions call it.
    pub name: TaskName,
    /// Changes whenever the same input would give another output.
    pub version: u32,
    /// One sentence.
    pub description: &'static str,
    /// JSON Schema of `with:`.
    pub input_schema: Value,
    /// JSON Schema of the output.
    pub output_schema: Value,
    /// What running a workflow with it takes.
    pub permission: Permission,
}

/// A task's code under way.
pub(crate) type Code = Pin<Box<dyn Future<Output = Result<Value, TaskError>> + Send>>;
type Handler = Arc<dyn Fn(TaskContext, Value) -> Code + Send + Sync>;

/// The tasks this process can run. Cheap to clone.
#[derive(Clone, Default)]
pub struct Registry {
    tasks: Arc<BTreeMap<TaskName, Registered>>,
}

#[derive(Clone)]
struct Registered {
    spec: Arc<TaskSpec>,
    handler: Handler,
}

impl Registry {
    /// An empty registry.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a task; a second one of the same name replaces the first.
    ///
    /// # Panics
    /// When `T::NAME` is no task name: a mistake in the program, found at its first start.
    pub fn register<T: Task>(&mut self, task: T) {
        let name = TaskName::new(T::NAME).expect("a task's NAME follows the rule for task names");
        let spec = TaskSpec {
            name: name.clone(),
            version: T::VERSION,
            description: T::DESCRIPTION,
            input_schema: schemars::schema_for!(T::Input).to_value(),
            output_schema: schemars::schema_for!(T::Output).to_value(),
            permission: T::PERMISSION,
        };
        let task = Arc::new(task);
        let handler: Handler = Arc::new(move |ctx, input| {
            let task = Arc::clone(&task);
            Box::pin(async move {
                let input = serde_json::from_value(input).map_err(|error| {
                    TaskError::fatal(
                        "invalid_input",
                        format!("`with` does not fit task `{}`: {error}", T::NAME),
                    )
                })?;
                let output = task.run(ctx, input).await?;
                serde_json::to_value(output).map_err(|error| {
                    TaskError::fatal(
                        "invalid_output",
                        format!("task `{}` returned what JSON cannot hold: {error}", T::NAME),
                    )
                })
            })
        });
        Arc::make_mut(&mut self.tasks).insert(
            name,
            Registered {
                spec: Arc::new(spec),
                handler,
            },
        );
    }

    /// What is known of a task.
    #[must_use]
    pub fn spec(&self, name: &str) -> Option<&TaskSpec> {
        self.tasks.get(name).map(|t| &*t.spec)
    }

    /// All tasks, by name.
    pub fn specs(&self) -> impl Iterator<Item = &TaskSpec> {
        self.tasks.values().map(|t| &*t.spec)
    }

    /// Begins an attempt, or says that the name means nothing here.
    #[must_use]
    pub fn start(&self, name: &str, ctx: TaskContext, input: Value) -> Option<Code> {
        self.tasks.get(name).map(|t| (t.handler)(ctx, input))
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.tasks.keys()).finish()
    }
}

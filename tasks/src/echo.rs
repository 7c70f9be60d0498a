//! `core.echo`: gives back what it gets. A place to name or to join values.

use aquatint_engine::task::{Task, TaskContext, TaskError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Returns `value` as `steps.name.value`: gathers the results of several steps
/// under one name, or stands in for a step that is still to be written.
#[derive(Debug, Clone, Copy)]
pub struct Echo;

/// What `core.echo` takes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Anything.
    #[serde(default)]
    pub value: Value,
}

/// What `core.echo` returns.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Output {
    /// The same, unchanged.
    pub value: Value,
}

impl Task for Echo {
    const NAME: &'static str = "core.echo";
    const VERSION: u32 = 1;
    const DESCRIPTION: &'static str = "Returns its input unchanged.";
    type Input = Input;
    type Output = Output;

    async fn run(&self, _ctx: TaskContext, input: Input) -> Result<Output, TaskError> {
        Ok(Output { value: input.value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Bench;
    use serde_json::json;

    #[tokio::test]
    async fn what_goes_in_comes_out() {
        let input = json!({ "value": { "a": [1, null, "é"] } });
        assert_eq!(Bench::new().run(Echo, input.clone()).await, Ok(input));
    }
}

//! `core.fail`: fails on purpose, to see what a definition makes of a failure.

use aquatint_engine::task::{LogLevel, Task, TaskContext, TaskError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Fails with the class and the remedy it is told, until the attempt that may
/// succeed: for trying out retries, `on_failure` and `fail: tolerate`.
#[derive(Debug, Clone, Copy)]
pub struct Fail;

/// What `core.fail` takes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// The error's class, which a step's `retry.on` can name.
    #[serde(default = "default_class")]
    pub class: String,
    /// The error's message.
    #[serde(default = "default_message")]
    pub message: String,
    /// Whether another try may help.
    #[serde(default)]
    pub remedy: Remedy,
    /// The first attempt that succeeds, counted from 1; without it none does.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub succeed_on_attempt: Option<u32>,
}

/// Whether another try may help.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Remedy {
    /// The step's retry policy decides.
    #[default]
    Retry,
    /// Nothing: the step fails at once.
    Fail,
}

/// What `core.fail` returns, should it succeed.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Output {
    /// The attempt that succeeded.
    pub attempt: u32,
}

fn default_class() -> String {
    "intended".to_owned()
}

fn default_message() -> String {
    "this step fails on purpose".to_owned()
}

impl Task for Fail {
    const NAME: &'static str = "core.fail";
    const VERSION: u32 = 1;
    const DESCRIPTION: &'static str = "Fails on purpose, for trying out retries.";
    type Input = Input;
    type Output = Output;

    async fn run(&self, ctx: TaskContext, input: Input) -> Result<Output, TaskError> {
        let attempt = ctx.info().attempt;
        if input.succeed_on_attempt.is_some_and(|n| attempt >= n) {
            return Ok(Output { attempt });
        }
        ctx.log(
            LogLevel::Info,
            format!("attempt {attempt} fails on purpose"),
        );
        Err(match input.remedy {
            Remedy::Retry => TaskError::retryable(&input.class, input.message),
            Remedy::Fail => TaskError::fatal(&input.class, input.message),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Bench;
    use aquatint_engine::task::Remedy as Cure;
    use serde_json::json;

    #[tokio::test]
    async fn it_fails_until_the_attempt_that_may_succeed() {
        for attempt in 1..=4 {
            let bench = Bench::with(|info| info.attempt = attempt);
            let outcome = bench.run(Fail, json!({ "succeed_on_attempt": 3 })).await;
            if attempt < 3 {
                assert_eq!(outcome.expect_err("too early").remedy, Cure::Retry);
            } else {
                assert_eq!(outcome, Ok(json!({ "attempt": attempt })));
            }
        }
    }

    #[tokio::test]
    async fn its_error_says_what_it_was_told_to() {
        let input = json!({ "class": "quota", "message": "no more", "remedy": "fail" });
        let error = Bench::new().run(Fail, input).await.expect_err("told to");
        assert_eq!(error, TaskError::fatal("quota", "no more"));
    }
}

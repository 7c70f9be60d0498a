//! `core.sleep`: waits, and says how far it is.

use std::time::Duration;

use aquatint_engine::task::{Task, TaskContext, TaskError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Waits for a while, holding its slot: for trying out timeouts, cancelling and
/// progress. A run that should begin later is better served by a schedule.
#[derive(Debug, Clone, Copy)]
pub struct Sleep;

/// What `core.sleep` takes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// How long: `500ms`, `1s`, `2m`; a day at most.
    pub duration: String,
}

/// What `core.sleep` returns.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Output {
    /// How long it was to wait.
    pub slept_ms: u64,
}

const LONGEST: Duration = Duration::from_secs(24 * 3600);

impl Task for Sleep {
    const NAME: &'static str = "core.sleep";
    const VERSION: u32 = 1;
    const DESCRIPTION: &'static str = "Waits for a duration, reporting progress.";
    type Input = Input;
    type Output = Output;

    async fn run(&self, ctx: TaskContext, input: Input) -> Result<Output, TaskError> {
        let total = parse(&input.duration)?;
        let step = (total / 100).max(Duration::from_millis(100));
        let begun = tokio::time::Instant::now();
        loop {
            let gone = begun.elapsed().min(total);
            let left = total - gone;
            ctx.progress(
                share(gone, total),
                format!(
                    "{} to go",
                    humantime::format_duration(Duration::from_secs(left.as_secs()))
                ),
            );
            if left.is_zero() {
                let slept_ms = u64::try_from(total.as_millis()).unwrap_or(u64::MAX);
                return Ok(Output { slept_ms });
            }
            tokio::select! {
                () = tokio::time::sleep(left.min(step)) => {}
                () = ctx.cancelled() => return Err(TaskError::cancelled()),
            }
        }
    }
}

fn share(gone: Duration, total: Duration) -> f64 {
    if total.is_zero() {
        1.0
    } else {
        gone.as_secs_f64() / total.as_secs_f64()
    }
}

fn parse(text: &str) -> Result<Duration, TaskError> {
    let refuse = |why: String| TaskError::fatal("invalid_input", why);
    let duration = humantime::parse_duration(text).map_err(|error| {
        refuse(format!(
            "`duration`: `{text}` is no duration ({error}); write for example `500ms`, `10s` or `2m`"
        ))
    })?;
    if duration > LONGEST {
        return Err(refuse(format!(
            "`duration`: `{text}` is longer than a day; start the run later with a schedule instead"
        )));
    }
    Ok(duration)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Bench;
    use serde_json::json;

    #[tokio::test(start_paused = true)]
    async fn it_waits_as_long_as_it_was_told_and_reports_on_the_way() {
        let mut bench = Bench::new();
        let begun = tokio::time::Instant::now();
        let output = bench.run(Sleep, json!({ "duration": "90s" })).await;
        assert_eq!(output, Ok(json!({ "slept_ms": 90_000 })));
        assert!(begun.elapsed() >= Duration::from_secs(90));
        let progress = bench.progress();
        assert!(progress.len() > 50, "{} reports", progress.len());
        assert!(progress.is_sorted_by(|a, b| a.fraction <= b.fraction));
    }

    #[tokio::test(start_paused = true)]
    async fn a_cancelled_sleep_ends_at_once() {
        let bench = Bench::new();
        bench.cancel.cancel();
        let begun = tokio::time::Instant::now();
        let error = bench.run(Sleep, json!({ "duration": "10h" })).await;
        assert_eq!(error, Err(TaskError::cancelled()));
        assert!(begun.elapsed() < Duration::from_secs(1));
    }

    #[tokio::test]
    async fn a_number_without_a_unit_is_refused_with_the_remedy() {
        let error = Bench::new().run(Sleep, json!({ "duration": "90" })).await;
        let error = error.expect_err("no unit");
        assert_eq!(error.class, "invalid_input");
        assert!(error.message.contains("`10s`"), "{error}");
    }
}

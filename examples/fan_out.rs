//! A batch: one task per item, and a finalize that runs once and sees every result,
//! also when some items fail. This is what a chord does, without its ways to hang.
//!
//! `cargo run -p aquatint-examples --bin fan_out`

use aquatint_engine::id::QueueName;
use aquatint_engine::{
    Engine, EngineConfig, Library, Registry, Submission, Task, TaskContext, TaskError, WorkerConfig,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

/// Inverts a number; zero has no inverse.
struct Invert;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Number {
    number: f64,
}

impl Task for Invert {
    const NAME: &'static str = "number.invert";
    const VERSION: u32 = 1;
    const DESCRIPTION: &'static str = "Inverts a number.";
    type Input = Number;
    type Output = Value;

    async fn run(&self, _: TaskContext, input: Number) -> Result<Value, TaskError> {
        if input.number == 0.0 {
            return Err(TaskError::fatal("invalid_input", "0 has no inverse"));
        }
        Ok(json!({ "inverse": 1.0 / input.number }))
    }
}

const DEFINITION: &str = r#"
name: inverses
inputs:
  numbers: { type: array, items: { type: number } }
steps:
  invert:
    task: number.invert
    foreach: ${{ inputs.numbers }}
    max_parallel: 4
    fail: tolerate
    with: { number: "${{ item }}" }
outputs:
  inverses: ${{ steps.invert.filter(r, r.status == 'succeeded').map(r, r.output.inverse) }}
  failed:   ${{ steps.invert.filter(r, r.status == 'failed').map(r, r.index) }}
"#;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut registry = Registry::new();
    registry.register(Invert);
    let mut library = Library::new(registry);
    library.add("inverses", "inverses.yaml", DEFINITION);

    let folder = tempfile::tempdir()?;
    let engine = Engine::open(EngineConfig::new(folder.path()), library).await?;
    let worker = engine
        .start_worker(WorkerConfig::new([(QueueName::new("default")?, 8)]))
        .await?;

    let run = engine
        .submit(Submission::new(
            "inverses",
            json!({ "numbers": [1, 2, 0, 4] }),
        ))
        .await?
        .run;
    let ended = engine.wait(run).await?;
    println!("{}: {}", ended.state, ended.output.unwrap_or_default());

    worker.stop().await;
    engine.close().await;
    Ok(())
}

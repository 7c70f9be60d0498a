//! A task of your own: one struct, one function, registered in one place.
//!
//! `cargo run -p aquatint-examples --bin custom_task`

use aquatint_engine::id::QueueName;
use aquatint_engine::{
    Engine, EngineConfig, Library, Registry, Submission, Task, TaskContext, TaskError, WorkerConfig,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Counts the words of a text.
struct CountWords;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Text {
    text: String,
}

#[derive(Serialize, JsonSchema)]
struct Words {
    words: usize,
}

impl Task for CountWords {
    const NAME: &'static str = "text.count";
    const VERSION: u32 = 1;
    const DESCRIPTION: &'static str = "Counts the words of a text.";
    type Input = Text;
    type Output = Words;

    async fn run(&self, ctx: TaskContext, input: Text) -> Result<Words, TaskError> {
        if input.text.is_empty() {
            // The same text will be empty again: no further try helps.
            return Err(TaskError::fatal(
                "invalid_input",
                "`text` is empty; give it at least one word",
            ));
        }
        ctx.progress(0.5, "counting");
        Ok(Words {
            words: input.text.split_whitespace().count(),
        })
    }
}

const DEFINITION: &str = r#"
name: compare
inputs:
  one: { type: string }
  other: { type: string }
steps:
  first:  { task: text.count, with: { text: "${{ inputs.one }}" } }
  second: { task: text.count, with: { text: "${{ inputs.other }}" } }
outputs:
  longer: "${{ steps.first.words > steps.second.words ? 'one' : 'other' }}"
"#;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut registry = Registry::new();
    registry.register(CountWords);
    let mut library = Library::new(registry);
    library.add("compare", "compare.yaml", DEFINITION);

    let folder = tempfile::tempdir()?;
    let engine = Engine::open(EngineConfig::new(folder.path()), library).await?;
    let worker = engine
        .start_worker(WorkerConfig::new([(QueueName::new("default")?, 2)]))
        .await?;

    let inputs = json!({ "one": "to be or not to be", "other": "that is the question" });
    let run = engine.submit(Submission::new("compare", inputs)).await?.run;
    let ended = engine.wait(run).await?;
    println!("{}: {}", ended.state, ended.output.unwrap_or_default());

    worker.stop().await;
    engine.close().await;
    Ok(())
}

//! Around every attempt: hooks that are told of it, and a layer that holds it back.
//!
//! `cargo run -p aquatint-examples --bin hooks`

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use aquatint_engine::id::QueueName;
use aquatint_engine::layer::hooks;
use aquatint_engine::{
    Engine, EngineConfig, Library, Registry, Submission, Task, TaskContext, TaskError, WorkerConfig,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Asks a service that is out every other time.
#[derive(Default)]
struct Ask {
    asked: AtomicU32,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Question {
    question: String,
}

#[derive(Serialize, JsonSchema)]
struct Answer {
    answer: usize,
}

impl Task for Ask {
    const NAME: &'static str = "service.ask";
    const VERSION: u32 = 1;
    const DESCRIPTION: &'static str = "Asks a service that is out every other time.";
    type Input = Question;
    type Output = Answer;

    async fn run(&self, _: TaskContext, input: Question) -> Result<Answer, TaskError> {
        if self.asked.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
            return Err(TaskError::retry_after(
                Duration::from_millis(20),
                "busy",
                "the service is out; it will be back",
            ));
        }
        Ok(Answer {
            answer: input.question.len(),
        })
    }
}

const DEFINITION: &str = r#"
name: ask
inputs:
  question: { type: string }
steps:
  ask:
    task: service.ask
    retry: { attempts: 3, delay: 1ms, jitter: false }
    with: { question: "${{ inputs.question }}" }
outputs:
  answer: ${{ steps.ask.answer }}
"#;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut registry = Registry::new();
    registry.register(Ask::default());
    let mut library = Library::new(registry);
    library.add("ask", "ask.yaml", DEFINITION);

    let told = hooks()
        .on_start(|attempt, _| println!("{} begins, try {}", attempt.task(), attempt.number()))
        .on_retry(|attempt, error, delay| {
            let (left, delay) = (attempt.tries_left(), delay.unwrap_or_default());
            println!("{error}: {left} tries left, the next in {delay:?}");
        })
        .on_failure(|attempt, error| println!("{} of {}: {error}", attempt.step(), attempt.run()))
        .on_success(|_, output| println!("it says {output}"));
    let config = WorkerConfig::new([(QueueName::new("default")?, 4)])
        .layer(told)
        // Whatever the slots: two at a time, in this process, for all tasks together.
        .layer(tower::limit::GlobalConcurrencyLimitLayer::new(2));

    let folder = tempfile::tempdir()?;
    let engine = Engine::open(EngineConfig::new(folder.path()), library).await?;
    let worker = engine.start_worker(config).await?;

    let inputs = json!({ "question": "how long is this?" });
    let run = engine.submit(Submission::new("ask", inputs)).await?.run;
    let ended = engine.wait(run).await?;
    println!("{}: {}", ended.state, ended.output.unwrap_or_default());

    worker.stop().await;
    engine.close().await;
    Ok(())
}

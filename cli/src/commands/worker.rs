//! `aquatint worker`: do the work that others submit.

use std::collections::BTreeSet;
use std::time::Duration;

use aquatint_engine::id::QueueName;
use aquatint_engine::{Engine, RunFilter, RunState, WorkerConfig};
use clap::Args;

use crate::context::{self, Context};
use crate::exit::Result;
use crate::output;
use crate::signals::{Signal, Signals};

/// What `aquatint worker` takes; which queues is said by --queues, for every command.
#[derive(Debug, Args)]
pub(crate) struct WorkerArgs {
    /// How long running steps may go on after a request to stop
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = humantime::parse_duration)]
    grace: Duration,
}

/// Serves until it is told to stop.
pub(crate) async fn run(context: &Context, args: WorkerArgs) -> Result {
    let mut signals = Signals::watch()?;
    let engine = context.open(context.library()?).await?;
    let mut config = match &context.settings.queues {
        Some(queues) => WorkerConfig::new(queues.clone()),
        None => context.worker(usual_queues(&engine).await?),
    };
    config.shutdown_grace = args.grace;
    let served: Vec<String> = config
        .queues
        .iter()
        .map(|(queue, slots)| format!("{queue}:{slots}"))
        .collect();
    let worker = engine.start_worker(config).await?;
    context.say(&format!(
        "serving {} from {}; Ctrl-C stops",
        served.join(","),
        context.settings.data_dir.display()
    ));
    let signal = signals.first().await;
    signals.set_farewell("left at once; another worker takes up what was running".to_owned());
    let again = match signal {
        Signal::Interrupt => "Ctrl-C again leaves at once",
        Signal::Terminate => "a second signal ends it at once",
    };
    context.say(&format!(
        "finishing what runs, for {} at most; {again}",
        humantime::format_duration(args.grace)
    ));
    worker.stop().await;
    engine.close().await;
    context.say("stopped");
    Ok(())
}

/// The queues that any known definition or waiting run names.
async fn usual_queues(engine: &Engine) -> Result<BTreeSet<QueueName>> {
    let mut queues = BTreeSet::new();
    for name in ["default", "cpu", "gpu"] {
        queues.insert(QueueName::new(name).expect("the usual names are names"));
    }
    let library = engine.library();
    for name in library.names() {
        match library.get(name) {
            Ok(definition) => {
                queues.extend(definition.plan.steps.iter().map(|step| step.queue.clone()));
            }
            Err(error) => output::warning(&format!("a definition is left out: {error}")),
        }
    }
    for state in [RunState::Pending, RunState::Running] {
        let filter = RunFilter {
            state: Some(state),
            limit: 1_000,
            ..RunFilter::default()
        };
        for run in engine.runs(&filter).await? {
            let plan = engine.plan(run.id).await?;
            queues.extend(context::queues_of(library, &plan).unwrap_or_default());
        }
    }
    queues.retain(|queue| queue.as_str() != aquatint_engine::workflow::plan::CONTROL_QUEUE);
    Ok(queues)
}

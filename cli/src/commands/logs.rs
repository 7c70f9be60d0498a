//! `aquatint logs`: what a run's steps wrote down.

use std::collections::HashSet;

use aquatint_engine::store::LogView;
use aquatint_engine::task::LogLevel;
use clap::Args;

use super::RunArg;
use crate::context::Context;
use crate::exit::{Exit, Result};
use crate::output::{self, BOLD, DIM, PLAIN, RED, YELLOW, styled};

/// What `aquatint logs` takes.
#[derive(Debug, Args)]
pub(crate) struct Logs {
    #[command(flatten)]
    run: RunArg,
    /// Go on until the run has ended
    #[arg(short, long)]
    follow: bool,
    /// Only this step
    #[arg(long, value_name = "STEP")]
    step: Option<String>,
}

/// Prints log lines.
pub(crate) async fn run(context: &Context, args: Logs) -> Result {
    let engine = context.open_store().await?;
    let run = engine.find(&args.run.run).await?;
    if let Some(step) = &args.step
        && engine.plan(run).await?.step_index(step).is_none()
    {
        let plan = engine.plan(run).await?;
        let names: Vec<&str> = plan
            .steps
            .iter()
            .map(|s| s.name.as_str())
            .filter(|n| *n != "outputs")
            .collect();
        return Err(Exit::Usage(format!(
            "this run has no step `{}`; there are: {}",
            output::clean(step),
            names.join(", ")
        )));
    }
    let mut told = HashSet::new();
    loop {
        // The state first: lines written before the end are then surely read.
        let ended = engine.run(run).await?.state.is_terminal();
        let mut text = String::new();
        for line in engine.logs(run).await? {
            let wanted = args
                .step
                .as_deref()
                .is_none_or(|step| line.step.as_str() == step);
            if wanted && told.insert((line.step.clone(), line.item, line.attempt, line.line)) {
                text.push_str(&shown(&line));
            }
        }
        output::data(&text)?;
        if ended || !args.follow {
            if told.is_empty() {
                context.say("the run has written no log lines");
            }
            engine.close().await;
            return Ok(());
        }
        engine.changed(run).await;
    }
}

fn shown(line: &LogView) -> String {
    let (level, style) = match line.level {
        LogLevel::Debug => ("debug", DIM),
        LogLevel::Info => ("info ", PLAIN),
        LogLevel::Warn => ("warn ", YELLOW),
        LogLevel::Error => ("error", RED),
        _ => ("     ", PLAIN),
    };
    let item = line
        .item
        .map(|item| format!("[{item}]"))
        .unwrap_or_default();
    let time = styled(DIM, line.at);
    let step = styled(BOLD, format!("{}{item}", line.step));
    format!(
        "{time} {style}{level}{style:#} {step}  {}\n",
        output::clean(&line.message)
    )
}

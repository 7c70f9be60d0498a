//! `aquatint resume` and `aquatint retry`: take an earlier run up again.

use std::path::PathBuf;
use std::time::Duration;

use aquatint_engine::id::RunId;
use aquatint_engine::store::RunView;
use aquatint_engine::{Engine, RunAction, RunState};
use clap::Args;

use super::RunArg;
use super::run::who_works;
use crate::context::{self, Context};
use crate::exit::{Exit, Result};
use crate::live::Live;
use crate::signals::Signals;
use crate::{files, output, report, session};

/// What `aquatint resume` takes.
#[derive(Debug, Args)]
pub(crate) struct Resume {
    #[command(flatten)]
    run: RunArg,
    /// Copy output files into this folder
    #[arg(short, long = "output", value_name = "DIR")]
    output: Option<PathBuf>,
    /// Print one JSON document instead of text
    #[arg(long)]
    json: bool,
}

/// What `aquatint retry` takes.
#[derive(Debug, Args)]
pub(crate) struct Retry {
    #[command(flatten)]
    resume: Resume,
    /// Leave the work to `aquatint worker`
    #[arg(short, long, conflicts_with_all = ["output", "json"])]
    detach: bool,
}

/// Goes on with a run that has not ended, paused or left behind.
pub(crate) async fn resume(context: &Context, args: Resume) -> Result {
    args.output.as_deref().map_or(Ok(()), files::make)?;
    let engine = context.open(context.library()?).await?;
    let run = engine.find(&args.run.run).await?;
    let view = engine.run(run).await?;
    if let RunState::Failed | RunState::Cancelled = view.state {
        engine.close().await;
        return Err(Exit::Error(format!(
            "run {run} has {}; `aquatint retry {run}` begins again where it stopped",
            ended(view.state)
        )));
    }
    let paused = view.paused && !view.state.is_terminal();
    let done = follow(
        context,
        &engine,
        &view,
        paused.then_some(RunAction::Resume),
        style(args),
    )
    .await;
    engine.close().await;
    done
}

/// Tries the failed steps of a run again.
pub(crate) async fn retry(context: &Context, args: Retry) -> Result {
    args.resume.output.as_deref().map_or(Ok(()), files::make)?;
    let engine = context.open(context.library()?).await?;
    let run = engine.find(&args.resume.run.run).await?;
    let view = engine.run(run).await?;
    if !view.state.is_terminal() {
        engine.close().await;
        return Err(Exit::Error(format!(
            "run {run} has not ended; `aquatint resume {run}` goes on with it"
        )));
    }
    if args.detach {
        let acted = engine.act(run, RunAction::Retry).await;
        if let Err(error) = acted {
            engine.close().await;
            return Err(error.into());
        }
        output::data(&format!("{run}\n"))?;
        let plan = engine.plan(run).await?;
        let said = who_works(context, &engine, &plan, run, "aquatint worker").await;
        engine.close().await;
        return said;
    }
    let done = follow(
        context,
        &engine,
        &view,
        Some(RunAction::Retry),
        style(args.resume),
    )
    .await;
    engine.close().await;
    done
}

fn style(args: Resume) -> report::Style {
    report::Style {
        json: args.json,
        into: args.output,
    }
}

fn ended(state: RunState) -> &'static str {
    match state {
        RunState::Cancelled => "been cancelled",
        RunState::Pending | RunState::Running | RunState::Succeeded | RunState::Failed => "failed",
    }
}

/// Does what is to be done to the run first, then sees it through.
async fn follow(
    context: &Context,
    engine: &Engine,
    run: &RunView,
    first: Option<RunAction>,
    style: report::Style,
) -> Result {
    let id: RunId = run.id;
    let signals = Signals::watch()?;
    let plan = engine.plan(id).await?;
    let mut live = Live::new(&plan, context.quiet);
    live.skip(engine, id).await?;
    if let Some(action) = first {
        engine.act(id, action).await?;
    }
    if !run.state.is_terminal() || first.is_some() {
        let tasks = engine.tasks(id, false).await?;
        let ended = tasks.iter().filter(|task| task.state.is_terminal()).count();
        let steps = output::count(tasks.len() as u64, "step");
        context.say(&format!(
            "{}, run {id}: {ended} of {steps} done before",
            run.workflow
        ));
    }
    let mut config = context.worker(context::queues_of(&engine.library(), &plan)?);
    config.shutdown_grace = Duration::ZERO;
    let worker = engine.start_worker(config).await?;
    let ending = session::follow(engine, worker, id, live, signals).await?;
    report::ending(context, engine, ending, &style).await
}

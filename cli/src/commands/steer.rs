//! `aquatint cancel`, `pause` and `delete`: one word to one run.

use aquatint_engine::RunAction;

use super::RunArg;
use crate::context::Context;
use crate::exit::Result;

/// Cancels a run.
pub(crate) async fn cancel(context: &Context, run: &RunArg) -> Result {
    act(
        context,
        run,
        RunAction::Cancel,
        "is cancelled; `aquatint retry` begins again where it stopped",
    )
    .await
}

/// Pauses a run.
pub(crate) async fn pause(context: &Context, run: &RunArg) -> Result {
    act(
        context,
        run,
        RunAction::Pause,
        "is paused: what runs may finish, nothing new starts; `aquatint resume` lets it go on",
    )
    .await
}

async fn act(context: &Context, run: &RunArg, action: RunAction, done: &str) -> Result {
    let engine = context.open_store().await?;
    let run = engine.find(&run.run).await?;
    let acted = engine.act(run, action).await;
    let finished = engine.finish_teardowns().await;
    engine.close().await;
    acted?;
    finished?;
    context.say(&format!("run {run} {done}"));
    Ok(())
}

/// Forgets a finished run.
pub(crate) async fn delete(context: &Context, run: &RunArg) -> Result {
    let engine = context.open_store().await?;
    let run = engine.find(&run.run).await?;
    let deleted = engine.delete(run).await;
    let finished = engine.finish_teardowns().await;
    engine.close().await;
    deleted?;
    finished?;
    context.say(&format!(
        "run {run} is deleted; `aquatint maintenance clean` removes its files"
    ));
    Ok(())
}

//! `aquatint clean`: delete expired runs, and files that nobody needs.

use std::time::Duration;

use aquatint_engine::engine::Upkeep;
use clap::Args;

use crate::context::Context;
use crate::exit::Result;
use crate::output;

/// What `aquatint clean` takes.
#[derive(Debug, Args)]
pub(crate) struct Clean {
    /// Leave files younger than this: a step may be about to name them
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = humantime::parse_duration)]
    min_age: Duration,
}

/// Cleans.
pub(crate) async fn run(context: &Context, args: Clean) -> Result {
    let engine = context.open_store().await?;
    let cleaned = engine.clean(&Upkeep::of(args.min_age)).await;
    engine.close().await;
    let cleaned = cleaned?;
    context.say(&format!(
        "removed {}, {}, {}",
        output::count(cleaned.runs, "run"),
        output::count(cleaned.files, "file"),
        output::size(cleaned.file_bytes)
    ));
    Ok(())
}

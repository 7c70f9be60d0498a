//! `aquatint check`: recount everything the database promises.

use clap::Args;

use crate::context::Context;
use crate::exit::{Exit, Result};
use crate::output;

/// What `aquatint check` takes.
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

/// Checks.
pub(crate) async fn run(context: &Context, args: Check) -> Result {
    let engine = context.open_store().await?;
    let report = engine.check().await;
    engine.close().await;
    let report = report?;
    if args.json {
        output::json(&report)?;
    } else {
        let found: String = report
            .broken
            .iter()
            .chain(&report.missing)
            .map(|line| format!("{}\n", output::clean(line)))
            .collect();
        output::data(&found)?;
    }
    if report.is_clean() {
        context.say("all is well");
        return Ok(());
    }
    let count = output::count(
        (report.broken.len() + report.missing.len()) as u64,
        "problem",
    );
    output::error(&format!(
        "{count} found in {}",
        context.settings.data_dir.display()
    ));
    Err(Exit::Told(1))
}

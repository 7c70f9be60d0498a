//! `aquatint health`: whether the installation is well.

use aquatint_engine::health::{HealthReport, Overall, Status};
use clap::Args;

use crate::context::Context;
use crate::exit::{Exit, Result};
use crate::output::{self, BOLD, GREEN, PLAIN, RED, Table, YELLOW, styled};

/// What `aquatint health` takes.
#[derive(Debug, Args)]
pub(crate) struct Health {
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

/// The exit code when the installation is critical.
const CRITICAL: u8 = 1;

/// Looks, and says what it saw.
pub(crate) async fn run(context: &Context, args: Health) -> Result {
    let engine = context.open_store().await?;
    let report = engine.health(&context.settings.alerts.limits).await;
    engine.close().await;
    if args.json {
        output::json(&report)?;
    } else {
        show(&report)?;
    }
    match report.status {
        Overall::Healthy | Overall::Degraded => Ok(()),
        Overall::Critical => Err(Exit::Told(CRITICAL)),
    }
}

fn show(report: &HealthReport) -> Result {
    let mut table = Table::default();
    for check in &report.checks {
        let (mark, style) = match check.status {
            Status::Ok => ("✓", GREEN),
            Status::Warning => ("!", YELLOW),
            Status::Error => ("✗", RED),
        };
        table.row([
            (mark.to_owned(), style),
            (check.name.clone(), BOLD),
            (output::clean(&check.message), PLAIN),
        ]);
    }
    let (word, style) = match report.status {
        Overall::Healthy => ("healthy", GREEN),
        Overall::Degraded => ("degraded", YELLOW),
        Overall::Critical => ("critical", RED),
    };
    output::data(&format!("{}{}\n", table.render(None), styled(style, word)))
}

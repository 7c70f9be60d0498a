//! `aquatint maintenance`: what the installation did to look after itself, and cleaning by hand.

use std::time::Duration;

use aquatint_engine::engine::Upkeep;
use aquatint_engine::store::RunView;
use aquatint_engine::{Engine, RunFilter, RunState};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::context::Context;
use crate::exit::Result;
use crate::output::{self, DIM, GREEN, PLAIN, RED, Table, YELLOW};

/// The workflows that look after an installation.
const WORKFLOWS: [&str; 3] = ["clean-up", "emergency-clean-up", "health-check"];
/// How many of each are shown.
const MANY: u32 = 10;

/// What `aquatint maintenance` takes.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Maintenance {
    #[command(subcommand)]
    order: Option<Order>,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Order {
    /// Delete expired runs, files that nobody refers to, and other leftovers, here and now
    Clean(Clean),
}

/// What is to be kept.
#[derive(Debug, Args)]
struct Clean {
    /// Leave files younger than this: a step may be about to name them
    #[arg(long, visible_alias = "min-age", value_name = "DURATION", default_value = "24h", value_parser = humantime::parse_duration)]
    grace: Duration,
    /// Delete finished runs older than this that say nothing of it themselves
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    keep_runs: Option<Duration>,
    /// Delete logs and events of runs that ended so long ago; the runs stay
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    keep_journals: Option<Duration>,
    /// Delete cached results older than this
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    keep_cache: Option<Duration>,
    /// Print what was deleted as JSON
    #[arg(long)]
    json: bool,
}

/// Lists what was done, or does it.
pub(crate) async fn run(context: &Context, args: Maintenance) -> Result {
    let engine = context.open_store().await?;
    let done = match args.order {
        None => list(context, &engine, args.json).await,
        Some(Order::Clean(clean)) => carry_out(context, &engine, clean).await,
    };
    engine.close().await;
    done
}

async fn carry_out(context: &Context, engine: &Engine, args: Clean) -> Result {
    let mut upkeep = Upkeep::of(args.grace);
    upkeep.keep_runs = args.keep_runs;
    upkeep.keep_journals = args.keep_journals;
    upkeep.keep_cache = args.keep_cache;
    let cleaned = engine.clean(&upkeep).await?;
    if args.json {
        return output::json(&cleaned);
    }
    context.say(&format!(
        "removed {}, {}, {}; {} given back by the database",
        output::count(cleaned.runs, "run"),
        output::count(cleaned.files, "file"),
        output::size(cleaned.file_bytes),
        output::size(cleaned.database_bytes),
    ));
    Ok(())
}

async fn list(context: &Context, engine: &Engine, json: bool) -> Result {
    let mut found = Vec::new();
    for name in WORKFLOWS {
        let filter = RunFilter {
            workflow: name.parse().ok(),
            limit: MANY,
            ..RunFilter::default()
        };
        for run in engine.runs(&filter).await? {
            // Lists leave outputs out.
            found.push(engine.run(run.id).await?);
        }
    }
    found.sort_by_key(|run| std::cmp::Reverse(run.created_at));
    if json {
        let all = found.iter().map(|run| {
            json!({ "run": run.id, "workflow": run.workflow, "state": run.state, "created_at": run.created_at.to_string(), "output": run.output })
        });
        return output::json(&all.collect::<Vec<_>>());
    }
    if found.is_empty() {
        context.say(
            "nothing yet: `aquatint serve` and `aquatint worker` begin it by themselves, every hour and every ten minutes",
        );
        return Ok(());
    }
    let mut table = Table::new(&["WHEN", "WHAT", "STATE", "CAME TO"]);
    for run in &found {
        let style = match run.state {
            RunState::Succeeded => GREEN,
            RunState::Failed => RED,
            RunState::Cancelled | RunState::Pending | RunState::Running => YELLOW,
        };
        table.row([
            (run.created_at.to_string(), DIM),
            (run.workflow.to_string(), PLAIN),
            (run.state.to_string(), style),
            (outcome(run), PLAIN),
        ]);
    }
    table.print()
}

fn outcome(run: &RunView) -> String {
    if let Some(failure) = &run.failure {
        return output::clean(&failure.message);
    }
    let Some(output) = &run.output else {
        return String::new();
    };
    if let Some(status) = output["status"].as_str() {
        let wrong = output["checks"].as_array().into_iter().flatten();
        let wrong: Vec<&str> = wrong
            .filter(|check| check["status"] != "ok")
            .filter_map(|check| check["name"].as_str())
            .collect();
        return match wrong.as_slice() {
            [] => status.to_owned(),
            names => format!("{status}: {}", names.join(", ")),
        };
    }
    let count = |key: &str| output.get(key).and_then(Value::as_u64).unwrap_or(0);
    format!(
        "{} deleted, {} MB freed, {} forgotten",
        output::count(count("files_deleted"), "file"),
        output["mb_freed"].as_f64().unwrap_or(0.0),
        output::count(count("records_deleted"), "record"),
    )
}

//! `aquatint events`: what happens to runs, as it happens.

use std::collections::BTreeSet;
use std::time::Duration;

use aquatint_engine::Engine;
use aquatint_engine::run::{Event, EventKind};
use aquatint_engine::store::FeedEntry;
use clap::Args;
use serde_json::json;

use crate::context::Context;
use crate::exit::Result;
use crate::output::{self, DIM, GREEN, PLAIN, RED, YELLOW, styled};

/// Looked at this often even if nothing was heard.
const SLOW_POLL: Duration = Duration::from_millis(500);
/// Commits of several processes may show up a little out of order: so far back is looked again.
const MARGIN: i64 = 1_000;

/// What `aquatint events` takes.
#[derive(Debug, Args)]
pub(crate) struct Events {
    /// Go on as more happens, until Ctrl-C
    #[arg(short, long)]
    follow: bool,
    /// Begin so many commits ago
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    last: u32,
    /// Print one JSON document a line
    #[arg(long)]
    json: bool,
}

/// Prints events.
pub(crate) async fn run(context: &Context, args: Events) -> Result {
    let engine = context.open_store().await?;
    let done = print(&engine, &args).await;
    engine.close().await;
    done
}

async fn print(engine: &Engine, args: &Events) -> Result {
    let begin = (engine.last_position().await? - i64::from(args.last)).max(0);
    let (mut newest, mut seen) = (begin, BTreeSet::new());
    let mut changes = engine.changes();
    loop {
        let page = engine.feed((newest - MARGIN).max(begin)).await?;
        let is_full = page.len() >= 1_000;
        for entry in page {
            if seen.insert(entry.position) {
                newest = newest.max(entry.position);
                show(&entry, args.json)?;
            }
        }
        seen = seen.split_off(&(newest - 2 * MARGIN));
        if is_full {
            continue;
        }
        if !args.follow {
            return Ok(());
        }
        let _ = tokio::time::timeout(SLOW_POLL, changes.changed()).await;
    }
}

fn show(entry: &FeedEntry, as_json: bool) -> Result {
    for event in &entry.events {
        let line = if as_json {
            json!({ "position": entry.position, "run": entry.run, "event": event }).to_string()
        } else {
            line(entry, event)
        };
        output::data(&format!("{line}\n"))?;
    }
    Ok(())
}

fn line(entry: &FeedEntry, event: &Event) -> String {
    let kind = serde_json::to_value(&event.kind).unwrap_or_default();
    let word = kind["kind"].as_str().unwrap_or_default().replace('_', " ");
    let style = match &event.kind {
        EventKind::RunSucceeded | EventKind::TaskSucceeded { .. } => GREEN,
        EventKind::RunFailed { .. } | EventKind::TaskFailed { .. } => RED,
        EventKind::RunCancelled
        | EventKind::TaskRetrying { .. }
        | EventKind::TaskReleased { .. } => YELLOW,
        _ => PLAIN,
    };
    let mut text = format!(
        "{}  {}  {}",
        styled(DIM, event.at),
        entry.run,
        styled(style, format!("{word:<15}"))
    );
    for key in ["workflow", "step", "item", "attempt", "items", "class"] {
        match &kind[key] {
            serde_json::Value::Null => {}
            serde_json::Value::String(value) => {
                text.push_str(&format!(" {}", output::clean(value)));
            }
            value => text.push_str(&format!(" {key} {value}")),
        }
    }
    let failure = kind["message"]
        .as_str()
        .or(kind["failure"]["message"].as_str());
    if let Some(message) = failure {
        text.push_str(&format!(": {}", output::cut(&output::clean(message), 200)));
    }
    text
}

//! `aquatint runs`: the runs there are, newest first.

use anstyle::Style;
use aquatint_engine::id::WorkflowName;
use aquatint_engine::store::RunView;
use aquatint_engine::time::{Clock, Timestamp};
use aquatint_engine::{Engine, RunFilter, RunState};
use clap::Args;

use crate::context::Context;
use crate::exit::Result;
use crate::output::{self, CYAN, DIM, GREEN, PLAIN, RED, Table, YELLOW};
use crate::report;

/// What `aquatint runs` takes.
#[derive(Debug, Args)]
pub(crate) struct Runs {
    /// Only runs in this state: pending, running, succeeded, failed or cancelled
    #[arg(long)]
    state: Option<RunState>,
    /// Only runs of this workflow
    #[arg(long, value_name = "NAME")]
    workflow: Option<WorkflowName>,
    /// Only runs submitted with this tag
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
    /// Only runs with these words in their id, tags, inputs or failure
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
    /// At most so many
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// Also runs that are steps of other runs
    #[arg(long)]
    all: bool,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

/// The digits of an id that are its time: enough to tell runs apart that did not start in one millisecond.
const SHORT_ID: usize = 13;

/// Lists runs.
pub(crate) async fn run(context: &Context, args: Runs) -> Result {
    let engine = context.open_store().await?;
    let runs = list(&engine, &args).await?;
    engine.close().await;
    if args.json {
        return output::json(&runs);
    }
    if runs.is_empty() {
        context.say("no runs yet");
        return Ok(());
    }
    let ids: Vec<String> = runs.iter().map(|run| run.id.to_string()).collect();
    let digits = (SHORT_ID..=36).find(|n| all_differ(&ids, *n)).unwrap_or(36);
    let now = Clock::system().now();
    let mut table = Table::new(&["RUN", "WORKFLOW", "STATE", "AGE", "TOOK", "NOTE"]);
    for (run, id) in runs.iter().zip(&ids) {
        let (state, style) = state(run);
        table.row([
            (id[..digits].to_owned(), PLAIN),
            (run.workflow.to_string(), PLAIN),
            (state, style),
            (output::duration(now.since_ms(run.created_at)), DIM),
            (took(run, now), DIM),
            (note(run), PLAIN),
        ]);
    }
    table.print()
}

/// The newest runs that fit, page by page.
async fn list(engine: &Engine, args: &Runs) -> Result<Vec<RunView>> {
    let mut filter = RunFilter {
        states: args.state.into_iter().collect(),
        workflow: args.workflow.clone(),
        tag: args.tag.clone(),
        text: args.search.clone(),
        top_only: !args.all,
        limit: args.limit,
        ..RunFilter::default()
    };
    let wanted = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let mut found = Vec::new();
    loop {
        let page = engine.page(&filter).await?;
        found.extend(page.runs);
        filter.before = page.next;
        if found.len() >= wanted || page.next.is_none() {
            break;
        }
    }
    found.truncate(wanted);
    Ok(found)
}

fn all_differ(ids: &[String], digits: usize) -> bool {
    let mut short: Vec<&str> = ids.iter().map(|id| &id[..digits]).collect();
    short.sort_unstable();
    short.windows(2).all(|pair| pair[0] != pair[1])
}

/// A run's state as people say it, and its colour.
pub(crate) fn state(run: &RunView) -> (String, Style) {
    let style = match run.state {
        RunState::Pending => PLAIN,
        RunState::Running => CYAN,
        RunState::Succeeded => GREEN,
        RunState::Failed => RED,
        RunState::Cancelled => YELLOW,
    };
    let paused = run.paused && !run.state.is_terminal();
    (
        if paused {
            format!("{}, paused", run.state)
        } else {
            run.state.to_string()
        },
        if paused { YELLOW } else { style },
    )
}

/// How long a run took, or has been running.
pub(crate) fn took(run: &RunView, now: Timestamp) -> String {
    let started = run.started_at.unwrap_or(run.created_at);
    match (run.finished_at, run.started_at) {
        (Some(end), _) => output::duration(end.since_ms(started)),
        (None, Some(_)) => output::duration(now.since_ms(started)),
        (None, None) => String::new(),
    }
}

fn note(run: &RunView) -> String {
    let tags = run
        .tags
        .iter()
        .map(|tag| format!("#{} ", output::clean(tag)))
        .collect::<String>();
    match (&run.failure, run.state) {
        (Some(failure), RunState::Failed) => format!("{tags}{}", report::failure(failure)),
        _ if run.queued => format!("{tags}waits for another run of its concurrency key"),
        _ => tags,
    }
}

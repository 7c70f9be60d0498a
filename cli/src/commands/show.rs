//! `aquatint show`: all there is to know of one run.

use std::fmt::Write as _;

use aquatint_engine::run::{AttemptOutcome, Held};
use aquatint_engine::store::{ArtifactView, AttemptView, RunView, TaskView};
use aquatint_engine::time::{Clock, Timestamp};
use aquatint_engine::{Engine, TaskState};
use clap::Args;
use serde_json::{Value, json};

use super::{RunArg, artifacts, runs};
use crate::context::Context;
use crate::drawing::{sign, text::state_style};
use crate::exit::Result;
use crate::output::{self, BOLD, DIM, PLAIN, RED, Table, styled};
use crate::report;

/// What `aquatint show` takes.
#[derive(Debug, Args)]
pub(crate) struct Show {
    #[command(flatten)]
    run: RunArg,
    /// Each item of mapped steps, too
    #[arg(long)]
    items: bool,
    /// Print one JSON document instead of text
    #[arg(long)]
    json: bool,
}

/// Shows a run.
pub(crate) async fn run(context: &Context, args: Show) -> Result {
    let engine = context.open_store().await?;
    let id = engine.find(&args.run.run).await?;
    let run = engine.run(id).await?;
    let tasks = engine.tasks(id, args.items).await?;
    let attempts = engine.attempts(id).await?;
    let files = engine.artifacts(id).await?;
    let unserved = if run.state.is_terminal() || args.json {
        Vec::new()
    } else {
        engine.unserved(id).await?
    };
    let shown = if args.json {
        output::json(&json!({
            "run": run,
            "steps": tasks,
            "attempts": attempts,
            "artifacts": files.iter().map(|file| artifacts::document(&engine, file)).collect::<Vec<Value>>(),
        }))
    } else {
        output::data(&text(&engine, &run, &tasks, &attempts, &files))
    };
    engine.close().await;
    for need in &unserved {
        output::warning(&report::unserved(need));
    }
    shown
}

fn text(
    engine: &Engine,
    run: &RunView,
    tasks: &[TaskView],
    attempts: &[AttemptView],
    files: &[ArtifactView],
) -> String {
    let now = Clock::system().now();
    let columns = output::stdout_columns();
    let mut text = head(run, now).render(columns);
    let _ = write!(
        text,
        "\n{}\n{}",
        styled(DIM, "steps"),
        steps(tasks, attempts, now).render(columns)
    );
    let failed = tries(attempts);
    if !failed.is_empty() {
        let _ = write!(
            text,
            "\n{}\n{failed}",
            styled(DIM, "attempts that did not succeed")
        );
    }
    if let Some(Value::Object(outputs)) = &run.output {
        let placed: Vec<_> = files
            .iter()
            .filter_map(|f| Some((f.artifact.clone(), engine.artifact_location(&f.artifact)?)))
            .collect();
        let _ = writeln!(text, "\n{}", styled(DIM, "outputs"));
        for (name, value) in outputs {
            let _ = writeln!(
                text,
                "  {}: {}",
                styled(BOLD, output::clean(name)),
                report::shown(value, &placed)
            );
        }
    }
    if !files.is_empty() {
        let _ = write!(
            text,
            "\n{}\n{}",
            styled(DIM, "files"),
            artifacts::table(engine, files).render(None)
        );
    }
    text
}

fn head(run: &RunView, now: Timestamp) -> Table {
    let mut table = Table::default();
    let mut fact =
        |name: &str, value: String, style| table.row([(name.to_owned(), DIM), (value, style)]);
    let (state, style) = runs::state(run);
    fact("run", run.id.to_string(), BOLD);
    fact(
        "workflow",
        format!(
            "{}, version {}",
            run.workflow,
            &run.version[..run.version.len().min(12)]
        ),
        PLAIN,
    );
    fact("state", state, style);
    if let Some(failure) = &run.failure {
        fact("failure", report::failure(failure), RED);
    }
    fact(
        "created",
        format!(
            "{}, {} ago",
            run.created_at,
            output::duration(now.since_ms(run.created_at))
        ),
        PLAIN,
    );
    let took = runs::took(run, now);
    if !took.is_empty() {
        fact("took", took, PLAIN);
    }
    if let Some(parent) = run.parent {
        fact("step of", format!("run {parent}"), PLAIN);
    }
    if run.generation > 0 {
        fact(
            "retried",
            output::count(u64::try_from(run.generation).unwrap_or(0), "time"),
            PLAIN,
        );
    }
    if run.priority != 0 {
        fact("priority", run.priority.to_string(), PLAIN);
    }
    if !run.tags.is_empty() {
        fact(
            "tags",
            run.tags
                .iter()
                .map(|t| output::clean(t))
                .collect::<Vec<_>>()
                .join(", "),
            PLAIN,
        );
    }
    for (at, (name, value)) in run
        .inputs
        .as_ref()
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .enumerate()
    {
        let value = output::cut(&report::shown(value, &[]), 300);
        fact(
            if at == 0 { "inputs" } else { "" },
            format!("{}: {value}", output::clean(name)),
            PLAIN,
        );
    }
    table
}

fn steps(tasks: &[TaskView], attempts: &[AttemptView], now: Timestamp) -> Table {
    let mut table = Table::default();
    for task in tasks {
        let name = match task.item {
            Some(item) => format!("    {item}"),
            None => format!("  {}", task.step),
        };
        let style = state_style(task.state);
        let tries = if task.attempt > 1 {
            format!("attempt {}", task.attempt)
        } else {
            String::new()
        };
        table.row([
            (name, PLAIN),
            (format!("{} {}", sign(task.state), task.state), style),
            (took(task, attempts, now), DIM),
            (tries, DIM),
            (note(task), PLAIN),
        ]);
    }
    table
}

fn took(task: &TaskView, attempts: &[AttemptView], now: Timestamp) -> String {
    let last = attempts
        .iter()
        .rfind(|a| a.step == task.step && a.item == task.item && a.attempt == task.attempt);
    let started = task.started_at.or_else(|| last.and_then(|a| a.started_at));
    match (started, task.finished_at) {
        (Some(start), Some(end)) => output::duration(end.since_ms(start)),
        (Some(start), None) if task.state == TaskState::Running => {
            output::duration(now.since_ms(start))
        }
        _ => String::new(),
    }
}

fn note(task: &TaskView) -> String {
    let mut notes = Vec::new();
    if task.items > 0 {
        let failed = if task.failed_items > 0 {
            format!(", {} failed", task.failed_items)
        } else {
            String::new()
        };
        notes.push(format!(
            "{}/{} items{failed}",
            task.items - task.open_items,
            task.items
        ));
    }
    if task.cached {
        notes.push("taken from the cache".to_owned());
    }
    if let Some(child) = task.child {
        notes.push(format!("run {child}"));
    }
    if !task.state.is_terminal() {
        notes.extend(
            task.progress
                .as_ref()
                .map(|p| format!("{:.0} % {}", p.fraction * 100.0, output::clean(&p.message))),
        );
    }
    notes.extend(held(task.held).map(str::to_owned));
    notes.extend(
        task.error
            .as_ref()
            .map(|e| format!("{} ({})", output::clean(&e.message), e.class)),
    );
    notes.join("; ")
}

fn held(held: Held) -> Option<&'static str> {
    let is = |reason: i64| held.0 & reason != 0;
    if is(Held::PAUSED) {
        Some("the run is paused")
    } else if is(Held::CONCURRENCY) {
        Some("waits for another run of its concurrency key")
    } else if is(Held::STEP_LIMIT) || is(Held::RUN_LIMIT) {
        Some("waits for a place under max_parallel")
    } else if is(Held::NOT_DUE) {
        Some("waits before its next attempt")
    } else {
        None
    }
}

/// The attempts worth a line: those that did not simply succeed.
fn tries(attempts: &[AttemptView]) -> String {
    const TOLD: usize = 20;
    let mut table = Table::default();
    let bad: Vec<&AttemptView> = attempts
        .iter()
        .filter(|a| a.outcome != AttemptOutcome::Succeeded)
        .collect();
    for attempt in bad.iter().take(TOLD) {
        let item = attempt.item.map(|i| format!("[{i}]")).unwrap_or_default();
        let why = attempt
            .error
            .as_ref()
            .map(|e| format!("{} ({})", output::clean(&e.message), e.class));
        table.row([
            (format!("  {}{item}", attempt.step), PLAIN),
            (format!("attempt {}", attempt.attempt), DIM),
            (attempt.outcome.to_string().replace('_', " "), PLAIN),
            (why.unwrap_or_default(), PLAIN),
        ]);
    }
    let mut text = table.render(output::stdout_columns());
    if bad.len() > TOLD {
        let _ = writeln!(text, "  and {} more; --json has them all", bad.len() - TOLD);
    }
    text
}

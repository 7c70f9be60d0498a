//! `aquatint run`: submit a run, do its work here, show it, print what comes out.

use std::path::PathBuf;
use std::time::Duration;

use aquatint_engine::id::{QueueName, RunId};
use aquatint_engine::run::Notify;
use aquatint_engine::workflow::{Action, Plan};
use aquatint_engine::{Engine, Permission, Submission};
use clap::Args;
use serde_json::Value;

use crate::context::{self, Context};
use crate::exit::Result;
use crate::live::Live;
use crate::signals::Signals;
use crate::{files, inputs, output, report, session};

/// What `aquatint run` takes.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// A workflow's name, or a definition file
    #[arg(value_name = "WORKFLOW|FILE")]
    workflow: String,
    /// An input: name=value, name=@file, or @file.json for several
    #[arg(short, long = "input", value_name = "NAME=VALUE")]
    input: Vec<String>,
    /// Copy output files into this folder
    #[arg(short, long = "output", value_name = "DIR")]
    output: Option<PathBuf>,
    /// Print one JSON document instead of text
    #[arg(long)]
    json: bool,
    /// Submit only, print the run's id, and leave the work to `aquatint worker`
    #[arg(short, long, conflicts_with_all = ["output", "json"])]
    detach: bool,
    /// Do every step anew, whatever the step cache holds
    #[arg(long)]
    no_cache: bool,
    /// A second submit with the same key gives the first run back
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Added to each step's priority; higher goes first
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        allow_negative_numbers = true,
        hide_default_value = true
    )]
    priority: i64,
    /// A word to find the run by
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Tell this address by e-mail when it ends: `aquatint serve` does so
    #[arg(long, value_name = "ADDRESS")]
    notify: Vec<String>,
    /// Inputs that are JSON already, instead of those of `-i`.
    #[arg(skip)]
    recorded: Option<Value>,
}

impl Run {
    /// A workflow with inputs recorded earlier.
    pub(crate) fn again(workflow: &str, inputs: Value) -> Self {
        Self {
            workflow: workflow.to_owned(),
            input: Vec::new(),
            output: None,
            json: false,
            detach: false,
            no_cache: false,
            idempotency_key: None,
            priority: 0,
            tags: Vec::new(),
            notify: Vec::new(),
            recorded: Some(inputs),
        }
    }
}

/// Runs it.
pub(crate) async fn run(context: &Context, args: Run) -> Result {
    let mut library = context.library()?;
    let name = context::name_of(&mut library, &args.workflow)?;
    let definition = library.get(&name)?;
    let inputs = match args.recorded {
        Some(recorded) => recorded,
        None => inputs::read(&args.input, definition.plan.inputs.schemas())?,
    };
    let queues: Vec<QueueName> = context::queues_of(&library, &definition.plan)?
        .into_iter()
        .collect();
    // Now rather than after an hour's work.
    args.output.as_deref().map_or(Ok(()), files::make)?;
    let mut submission = Submission::new(name, inputs);
    submission.idempotency_key = args.idempotency_key;
    submission.priority = args.priority;
    submission.no_cache = args.no_cache;
    submission.tags = args.tags;
    // Whoever reaches the store by itself may do everything.
    submission.permission = Permission::Admin;
    if !args.notify.is_empty() {
        submission.notify = vec![Notify {
            email: args.notify,
            ..Notify::default()
        }];
    }

    let engine = context.open(library).await?;
    if args.detach {
        let submitted = engine.submit(submission).await?;
        output::data(&format!("{}\n", submitted.run))?;
        let served: Vec<String> = queues
            .iter()
            .map(|q| format!("{q}:{}", context.settings.slots(q)))
            .collect();
        let worker = format!("aquatint worker --queues {}", served.join(","));
        let said = who_works(context, &engine, &definition.plan, submitted.run, &worker).await;
        engine.close().await;
        return said;
    }
    let style = report::Style {
        json: args.json,
        into: args.output,
    };
    let done = see_through(
        context,
        &engine,
        &definition.plan,
        queues,
        submission,
        &style,
    )
    .await;
    engine.close().await;
    done
}

/// Says of a run that is left to others whether anybody is there to do it; `worker` is a command that would.
pub(super) async fn who_works(
    context: &Context,
    engine: &Engine,
    plan: &Plan,
    run: RunId,
    worker: &str,
) -> Result {
    let unserved = engine.unserved_by_plan(plan).await?;
    // What other workflows do for it is not looked at; one that has nothing else may find nobody.
    let has_tasks = (plan.steps.iter()).any(|step| matches!(step.action, Action::Task(_)));
    if unserved.is_empty() && has_tasks {
        context.say(&format!(
            "live workers take it; `aquatint show {run}` tells how it goes"
        ));
    } else {
        context.say(&format!("a worker must do the work: `{worker}`"));
    }
    for need in &unserved {
        output::warning(&report::unserved(need));
    }
    Ok(())
}

/// Submits and follows to the end.
async fn see_through(
    context: &Context,
    engine: &Engine,
    plan: &Plan,
    queues: Vec<QueueName>,
    submission: Submission,
    style: &report::Style,
) -> Result {
    let signals = Signals::watch()?;
    let mut config = context.worker(queues);
    // Once the run has ended, nothing here is worth waiting for: other runs' work is given back.
    config.shutdown_grace = Duration::ZERO;
    // Submitting may be refused; then no worker need have started. Both together are one commit.
    let (submitted, worker) = tokio::join!(engine.submit(submission), engine.start_worker(config));
    let (submitted, worker) = match (submitted, worker?) {
        (Ok(submitted), worker) => (submitted, worker),
        (Err(error), worker) => {
            worker.stop().await;
            return Err(error.into());
        }
    };
    if !submitted.is_new {
        context.say(&format!(
            "this key belongs to run {}, submitted before",
            submitted.run
        ));
    }
    let live = Live::new(plan, context.quiet);
    let ending = session::follow(engine, worker, submitted.run, live, signals).await?;
    report::ending(context, engine, ending, style).await
}

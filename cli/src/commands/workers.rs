//! `aquatint workers`: which processes do the work, what they are at, and how to steer them.

use anstyle::Style;
use aquatint_engine::config::parse_slots;
use aquatint_engine::id::{QueueName, WorkerId};
use aquatint_engine::store::{WorkerState, WorkerView};
use aquatint_engine::time::{Clock, Timestamp};
use aquatint_engine::{Engine, WorkerAction};
use clap::{Args, Subcommand};

use crate::context::Context;
use crate::exit::{Exit, Result};
use crate::output::{self, DIM, GREEN, PLAIN, RED, Table, YELLOW, styled};

/// What `aquatint workers` takes.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Workers {
    #[command(subcommand)]
    order: Option<Order>,
    /// Also those that stopped or were lost within the last day
    #[arg(long)]
    all: bool,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Order {
    /// Change how many steps of a queue a worker runs at a time
    Slots {
        /// A worker's name, the beginning of its id, or all
        worker: String,
        /// Slots by queue, as in gpu:3,cpu:0
        slots: String,
    },
    /// Let a worker finish what it has, and end
    Drain {
        /// A worker's name, or the beginning of its id
        worker: String,
    },
    /// Let a draining worker go on after all
    Undrain {
        /// A worker's name, or the beginning of its id
        worker: String,
    },
    /// Let a worker finish what it has, and begin anew
    Restart {
        /// A worker's name, the beginning of its id, or all
        worker: String,
    },
}

/// The digits of an id that are its time.
const SHORT_ID: usize = 13;

/// Lists workers, or steers them.
pub(crate) async fn run(context: &Context, args: Workers) -> Result {
    let engine = context.open_store().await?;
    let done = match args.order {
        None => list(context, &engine, args.all, args.json).await,
        Some(order) => carry_out(context, &engine, order).await,
    };
    engine.close().await;
    done
}

async fn list(context: &Context, engine: &Engine, all: bool, json: bool) -> Result {
    let workers = engine.workers(all).await?;
    if json {
        return output::json(&workers);
    }
    if workers.is_empty() {
        context.say("no worker is live; `aquatint worker` starts one");
        return Ok(());
    }
    let now = Clock::system().now();
    let mut table = Table::new(&[
        "WORKER", "STATE", "BUSY", "DONE", "MEMORY", "UP", "SEEN", "WHERE",
    ]);
    for worker in &workers {
        let (state, style) = state(worker);
        let up = worker.seen_at.since_ms(worker.started_at);
        let seen = now.since_ms(worker.seen_at);
        table.row([
            (called(worker), PLAIN),
            (state, style),
            (busy(worker), PLAIN),
            (worker.finished.to_string(), PLAIN),
            (worker.rss_bytes.map_or_else(String::new, output::size), DIM),
            (output::duration(up), DIM),
            (format!("{} ago", output::duration(seen)), DIM),
            (place(worker), PLAIN),
        ]);
    }
    let columns = output::stdout_columns();
    let mut text = table.render(columns);
    let working = attempts(&workers, now);
    if let Some(working) = working {
        text.push_str(&format!("\n{}\n", styled(DIM, "at work")));
        text.push_str(&working.render(columns));
    }
    output::data(&text)
}

/// What people call it, or the beginning of its id.
fn called(worker: &WorkerView) -> String {
    let id = worker.id.to_string();
    match &worker.name {
        Some(name) => output::clean(name),
        None => id[..SHORT_ID.min(id.len())].to_owned(),
    }
}

fn state(worker: &WorkerView) -> (String, Style) {
    match worker.state {
        WorkerState::Live if worker.restarting => ("restarting".to_owned(), YELLOW),
        WorkerState::Live if worker.draining => ("draining".to_owned(), YELLOW),
        WorkerState::Live => ("live".to_owned(), GREEN),
        WorkerState::Stopped => ("stopped".to_owned(), DIM),
        WorkerState::Lost => ("lost".to_owned(), RED),
    }
}

/// `gpu 1/2, cpu 0/4→8`: attempts, slots, and slots that are wanted.
fn busy(worker: &WorkerView) -> String {
    let shown = worker.queues.iter().filter(|q| !is_own(&q.name));
    let lanes: Vec<String> = shown
        .map(|q| {
            let wanted = q.wanted.map(|n| format!("→{n}")).unwrap_or_default();
            format!("{} {}/{}{wanted}", q.name, q.busy, q.slots)
        })
        .collect();
    lanes.join(", ")
}

fn is_own(queue: &QueueName) -> bool {
    queue.as_str() == aquatint_engine::workflow::plan::CONTROL_QUEUE
}

fn place(worker: &WorkerView) -> String {
    let mut place = format!("{} pid {}", output::clean(&worker.host), worker.pid);
    if !worker.labels.is_empty() {
        place.push_str(&format!(", {}", worker.labels.join(" ")));
    }
    if !worker.loaded.is_empty() {
        place.push_str(&format!(
            ", has {} loaded",
            output::clean(&worker.loaded.join(" "))
        ));
    }
    if let Some(bytes) = worker.memory_bytes {
        place.push_str(&format!(", {} for steps", output::size(bytes)));
    }
    place
}

fn attempts(workers: &[WorkerView], now: Timestamp) -> Option<Table> {
    let mut table = Table::default();
    let mut is_empty = true;
    for worker in workers {
        for attempt in &worker.attempts {
            is_empty = false;
            let item = attempt.item.map(|i| format!("[{i}]")).unwrap_or_default();
            let progress = attempt.progress.as_ref().map(|p| {
                let percent = format!("{:.0} %", p.fraction * 100.0);
                format!("{percent} {}", output::clean(&p.message))
            });
            let run = attempt.run.to_string();
            table.row([
                (format!("  {}", called(worker)), PLAIN),
                (
                    format!("{}/{}{item}", attempt.workflow, attempt.step),
                    PLAIN,
                ),
                (format!("attempt {}", attempt.attempt), DIM),
                (output::duration(now.since_ms(attempt.since)), DIM),
                (format!("run {}", &run[..SHORT_ID.min(run.len())]), DIM),
                (progress.unwrap_or_default(), PLAIN),
            ]);
        }
    }
    (!is_empty).then_some(table)
}

async fn carry_out(context: &Context, engine: &Engine, order: Order) -> Result {
    let soon = "it hears of it with its next heartbeat, in a few seconds";
    match order {
        Order::Slots { worker, slots } => {
            let wanted = parse_slots(&slots).map_err(|error| {
                let message = error.to_string();
                let message = message.strip_prefix("queues: ").unwrap_or(&message);
                Exit::Usage(format!(
                    "slots: {}",
                    message.replace("gpu:1,cpu:4", "gpu:3,cpu:0")
                ))
            })?;
            let who = meant(engine, &worker).await?;
            for (queue, slots) in wanted {
                let action = WorkerAction::Slots(queue.clone(), slots);
                let told = engine.steer_worker(who, action).await?;
                context.say(&format!(
                    "{}: {} for {queue}; {soon}",
                    told_whom(&worker, told.len()),
                    output::count(u64::from(slots), "slot")
                ));
            }
        }
        Order::Drain { worker } => {
            engine
                .steer_worker(Some(one(engine, &worker).await?), WorkerAction::Drain)
                .await?;
            context.say(&format!(
                "worker {worker} is to finish what it has, and end; {soon}"
            ));
        }
        Order::Undrain { worker } => {
            engine
                .steer_worker(Some(one(engine, &worker).await?), WorkerAction::Undrain)
                .await?;
            context.say(&format!("worker {worker} is to go on; {soon}"));
        }
        Order::Restart { worker } => {
            let who = meant(engine, &worker).await?;
            let told = engine.steer_worker(who, WorkerAction::Restart).await?;
            context.say(&format!(
                "{} to finish what runs, and begin anew; {soon}",
                told_whom(&worker, told.len())
            ));
        }
    }
    Ok(())
}

/// `None` is all of them.
async fn meant(engine: &Engine, what: &str) -> Result<Option<WorkerId>> {
    if what == "all" {
        return Ok(None);
    }
    one(engine, what).await.map(Some)
}

async fn one(engine: &Engine, what: &str) -> Result<WorkerId> {
    Ok(engine.find_worker(what).await?.id)
}

fn told_whom(what: &str, count: usize) -> String {
    if what == "all" {
        output::count(count as u64, "worker")
    } else {
        format!("worker {what}")
    }
}

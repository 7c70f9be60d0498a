//! `aquatint queues`: what waits where, and how to hold it up or let it go.

use aquatint_engine::Engine;
use aquatint_engine::id::QueueName;
use aquatint_engine::store::QueueView;
use aquatint_engine::time::{Clock, Timestamp};
use clap::{Args, Subcommand};

use crate::config::nearest;
use crate::context::Context;
use crate::exit::{Exit, Result};
use crate::output::{self, DIM, GREEN, PLAIN, Table, YELLOW};

/// What `aquatint queues` takes.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Queues {
    #[command(subcommand)]
    order: Option<Order>,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Order {
    /// Start nothing more of a queue, on any worker; what runs may finish
    Pause {
        /// A queue
        queue: QueueName,
    },
    /// Start work of a queue again
    Resume {
        /// A queue
        queue: QueueName,
    },
    /// Run at most so many steps of a queue at a time, over all workers
    Cap {
        /// A queue
        queue: QueueName,
        /// How many, or none to lift the cap
        #[arg(value_name = "N|none", value_parser = cap)]
        cap: Cap,
    },
    /// Cancel every run that waits in a queue
    Purge {
        /// A queue
        queue: QueueName,
        /// Do it: there is no way back but to retry each run
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, Clone, Copy)]
struct Cap(Option<u32>);

fn cap(text: &str) -> std::result::Result<Cap, String> {
    if text == "none" {
        return Ok(Cap(None));
    }
    match text.parse::<u32>() {
        Ok(0) => Err(
            "a cap of 0 would give nothing; `aquatint queues pause` says that better".to_owned(),
        ),
        Ok(n) => Ok(Cap(Some(n))),
        Err(_) => Err("expected a whole number, or `none` to lift the cap".to_owned()),
    }
}

/// Lists queues, or does something to one.
pub(crate) async fn run(context: &Context, args: Queues) -> Result {
    let engine = context.open_store().await?;
    let done = match args.order {
        None => list(context, &engine, args.json).await,
        Some(order) => carry_out(context, &engine, order).await,
    };
    engine.close().await;
    done
}

async fn list(context: &Context, engine: &Engine, json: bool) -> Result {
    let queues = engine.queues().await?;
    if json {
        return output::json(&queues);
    }
    if queues.is_empty() {
        context.say("no queue has work or a worker");
        return Ok(());
    }
    let now = Clock::system().now();
    let mut table = Table::new(&[
        "QUEUE", "STATE", "READY", "RUNNING", "WAITING", "OLDEST", "WORKERS", "SLOTS",
    ]);
    for queue in &queues {
        let (state, style) = state(queue);
        table.row([
            (queue.name.to_string(), PLAIN),
            (state, style),
            (queue.ready.to_string(), PLAIN),
            (running(queue), PLAIN),
            (queue.waiting.to_string(), PLAIN),
            (oldest(queue, now), DIM),
            (queue.workers.to_string(), PLAIN),
            (queue.slots.to_string(), PLAIN),
        ]);
    }
    table.print()
}

fn state(queue: &QueueView) -> (String, anstyle::Style) {
    if queue.paused {
        ("paused".to_owned(), YELLOW)
    } else if queue.workers == 0 && queue.ready > 0 {
        ("nobody serves it".to_owned(), YELLOW)
    } else if queue.cap.is_some_and(|cap| queue.running >= u64::from(cap)) && queue.ready > 0 {
        ("at its cap".to_owned(), YELLOW)
    } else if queue.ready > 0 || queue.running > 0 {
        ("working".to_owned(), GREEN)
    } else {
        ("idle".to_owned(), DIM)
    }
}

fn running(queue: &QueueView) -> String {
    match queue.cap {
        Some(cap) => format!("{} of {cap}", queue.running),
        None => queue.running.to_string(),
    }
}

fn oldest(queue: &QueueView, now: Timestamp) -> String {
    let at = queue.oldest_ready_at;
    at.map_or_else(String::new, |at| output::duration(now.since_ms(at)))
}

async fn carry_out(context: &Context, engine: &Engine, order: Order) -> Result {
    match order {
        Order::Pause { queue } => {
            warn_of_stranger(engine, &queue).await?;
            engine.pause_queue(&queue).await?;
            context.say(&format!(
                "queue {queue} is paused: what runs may finish, nothing new starts; `aquatint queues resume {queue}` lets it go on"
            ));
        }
        Order::Resume { queue } => {
            engine.resume_queue(&queue).await?;
            context.say(&format!("queue {queue} goes on"));
        }
        Order::Cap {
            queue,
            cap: Cap(cap),
        } => {
            warn_of_stranger(engine, &queue).await?;
            engine.cap_queue(&queue, cap).await?;
            context.say(&match cap {
                Some(cap) => format!(
                    "queue {queue}: at most {} at a time, over all workers; what runs beyond that may finish",
                    output::count(u64::from(cap), "step")
                ),
                None => format!("queue {queue} has no cap any more"),
            });
        }
        Order::Purge { queue, yes } => {
            let all = engine.queues().await?;
            let waits = all.iter().find(|q| q.name == queue);
            let steps = waits.map_or(0, |q| q.ready + q.waiting);
            if steps > 0 && !yes {
                return Err(Exit::Usage(format!(
                    "{} in queue {queue}; purging cancels the whole runs they belong to. To do so: aquatint queues purge {queue} --yes",
                    if steps == 1 {
                        "1 step waits".to_owned()
                    } else {
                        format!("{steps} steps wait")
                    }
                )));
            }
            let purged = engine.purge_queue(&queue).await?;
            context.say(&format!("{} cancelled", output::count(purged, "run")));
        }
    }
    Ok(())
}

/// A queue can be paused before anybody uses it; mostly it is a slip.
async fn warn_of_stranger(engine: &Engine, queue: &QueueName) -> Result {
    let known = engine.queues().await?;
    if known.iter().any(|q| q.name == *queue) {
        return Ok(());
    }
    let near = nearest(queue.as_str(), known.iter().map(|q| q.name.as_str()));
    let help = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
    output::warning(&format!(
        "no work and no worker knows a queue `{queue}`{help}"
    ));
    Ok(())
}

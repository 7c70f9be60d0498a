//! `aquatint schedules`: what begins by itself, and when.

use aquatint_engine::engine::ScheduleView;
use aquatint_engine::schedule::{
    Happened, Misfire, Overlap, Schedule, Timing, TimingError, moment,
};
use aquatint_engine::time::{Clock, Timestamp};
use aquatint_engine::{Engine, Permission};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use crate::context::Context;
use crate::exit::{Exit, Result};
use crate::inputs;
use crate::output::{self, DIM, GREEN, PLAIN, Table, YELLOW};

/// What `aquatint schedules` takes.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Schedules {
    #[command(subcommand)]
    order: Option<Order>,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Order {
    /// Show a schedule: what it says, when it is due, what its last ticks came to
    Show {
        /// A schedule
        name: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Make a schedule, or change one
    Set(Box<Set>),
    /// Let its ticks pass without a run
    Pause {
        /// A schedule
        name: String,
    },
    /// Heed its ticks again
    Resume {
        /// A schedule
        name: String,
    },
    /// Begin a run of it now
    Trigger {
        /// A schedule
        name: String,
    },
    /// Make up for the ticks of a time that has passed, one after the other
    Backfill {
        /// A schedule
        name: String,
        /// The first of them, as in 2026-03-01 or 2026-03-01T09:30:00Z
        #[arg(long, value_name = "TIME", value_parser = moment)]
        from: Timestamp,
        /// The last of them; now, if left out
        #[arg(long, value_name = "TIME", value_parser = moment)]
        until: Option<Timestamp>,
    },
    /// Forget a schedule; runs that have begun go on
    Remove {
        /// A schedule
        name: String,
    },
    /// Say when a cron expression or an interval fires next
    Next {
        /// As in "30 3 * * 1-5", @daily or "@every 90s"
        #[arg(value_name = "WHEN")]
        when: String,
        /// An IANA time zone; UTC, if left out
        #[arg(long, value_name = "ZONE")]
        zone: Option<String>,
        /// How many times
        #[arg(short = 'n', long, value_name = "N", default_value_t = 5)]
        count: u16,
    },
}

#[derive(Debug, Args)]
struct Set {
    /// What to call it
    name: String,
    /// The workflow it runs
    #[arg(long)]
    workflow: String,
    /// When: minute, hour, day of month, month, day of week; or @daily, or "@every 90s"
    #[arg(long, value_name = "WHEN")]
    cron: String,
    /// The IANA time zone that cron goes by; UTC, if left out
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
    /// An input: name=value, name=@file, or @file.json for several
    #[arg(short, long = "input", value_name = "NAME=VALUE")]
    input: Vec<String>,
    /// What a tick does while the run before it is under way
    #[arg(long, value_enum, default_value_t = OverlapWord::Skip)]
    overlap: OverlapWord,
    /// What becomes of ticks that nobody saw in time
    #[arg(long, value_enum, default_value_t = MisfireWord::Once)]
    misfire: MisfireWord,
    /// How far back catch-up goes
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = humantime::parse_duration)]
    window: std::time::Duration,
    /// Spread ticks over this much time
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = humantime::parse_duration)]
    jitter: std::time::Duration,
    /// Added to each step's priority
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        allow_negative_numbers = true
    )]
    priority: i64,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum OverlapWord {
    Skip,
    Queue,
    Cancel,
    Allow,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum MisfireWord {
    Skip,
    Once,
    CatchUp,
}

/// Lists schedules, or does something to one.
pub(crate) async fn run(context: &Context, args: Schedules) -> Result {
    if let Some(Order::Next { when, zone, count }) = args.order {
        return next(&when, zone.as_deref(), count);
    }
    let engine = context.open(context.library()?).await?;
    let done = match args.order {
        None => list(context, &engine, args.json).await,
        Some(order) => carry_out(context, &engine, order).await,
    };
    engine.close().await;
    done
}

fn next(when: &str, zone: Option<&str>, count: u16) -> Result {
    let timing = Timing::parse(when, zone).map_err(|wrong| refused(when, &wrong))?;
    let now = Clock::system().now();
    let clockwork = timing
        .clockwork(now)
        .map_err(|wrong| refused(when, &wrong))?;
    output::note(&timing.describe());
    for due in clockwork.upcoming(now, usize::from(count)) {
        output::data(&format!("{}\n", clockwork.local(due)))?;
    }
    Ok(())
}

/// A mistake in a timing, with a caret below it where its place is known.
fn refused(when: &str, wrong: &TimingError) -> Exit {
    let mut text = wrong.message.clone();
    if let Some((begin, length)) = wrong.place {
        let indent = when[..begin].chars().count();
        let carets = "^".repeat(when[begin..begin + length].chars().count().max(1));
        text.push_str(&format!(
            "\n  {}\n  {}{carets}",
            output::clean(when),
            " ".repeat(indent)
        ));
    }
    if let Some(help) = &wrong.help {
        text.push_str(&format!("\n  {help}"));
    }
    Exit::Usage(text)
}

async fn list(context: &Context, engine: &Engine, json: bool) -> Result {
    let schedules = engine.schedules().await?;
    if json {
        return output::json(&schedules);
    }
    if schedules.is_empty() {
        context.say(
            "no schedules; those of definitions come with `aquatint serve` or `aquatint worker`, and `aquatint schedules set` makes more",
        );
        return Ok(());
    }
    let mut table = Table::new(&["NAME", "WHEN", "ZONE", "WORKFLOW", "NEXT", "LAST", "RUNS"]);
    for schedule in &schedules {
        let (next, style) = due(schedule);
        table.row([
            (schedule.id.clone(), PLAIN),
            (schedule.schedule.timing.expression(), PLAIN),
            (
                schedule.schedule.timing.zone().unwrap_or("").to_owned(),
                DIM,
            ),
            (schedule.schedule.workflow.to_string(), PLAIN),
            (next, style),
            (last(schedule), DIM),
            (schedule.counts.started.to_string(), PLAIN),
        ]);
    }
    table.print()
}

fn due(schedule: &ScheduleView) -> (String, anstyle::Style) {
    if schedule.paused {
        return ("paused".to_owned(), YELLOW);
    }
    if !schedule.waiting.is_empty() {
        return (format!("{} waiting", schedule.waiting.len()), YELLOW);
    }
    match schedule.fires_at {
        Some(at) => {
            let away = at.since_ms(Clock::system().now());
            let words = if away >= 0 {
                format!("in {}", output::duration(away))
            } else {
                format!("{} late", output::duration(-away))
            };
            (words, if away < -60_000 { YELLOW } else { GREEN })
        }
        None => ("never".to_owned(), DIM),
    }
}

fn last(schedule: &ScheduleView) -> String {
    let Some(last) = schedule.recent.first() else {
        return String::new();
    };
    let ago = output::duration(Clock::system().now().since_ms(last.at));
    format!("{} {ago} ago", outcome(&last.happened))
}

fn outcome(happened: &Happened) -> &'static str {
    match happened {
        Happened::Started { .. } => "started",
        Happened::Skipped => "skipped",
        Happened::Missed => "missed",
        Happened::Refused { .. } => "refused",
    }
}

async fn show(engine: &Engine, name: &str, json: bool) -> Result {
    let schedule = engine.schedule(name).await?;
    if json {
        return output::json(&schedule);
    }
    let says = &schedule.schedule;
    let mut text = format!(
        "{}  {}\n  when      {} {}\n",
        schedule.id,
        says.timing.describe(),
        says.timing.expression(),
        says.timing.zone().unwrap_or("")
    );
    let mut line = |name: &str, value: String| text.push_str(&format!("  {name:<10}{value}\n"));
    line("workflow", says.workflow.to_string());
    if says.inputs != json!({}) {
        line("inputs", output::clean(&says.inputs.to_string()));
    }
    line(
        "overlap",
        format!("{}, misfire {}", word(&says.overlap), word(&says.misfire)),
    );
    line(
        "from",
        if schedule.is_defined {
            "its workflow's definition".to_owned()
        } else {
            "`aquatint schedules set`, or the API".to_owned()
        },
    );
    line(
        "ticks",
        format!(
            "{} started, {} skipped, {} missed, {} refused",
            schedule.counts.started,
            schedule.counts.skipped,
            schedule.counts.missed,
            schedule.counts.refused
        ),
    );
    line("next", due(&schedule).0);
    for at in &schedule.upcoming {
        line("", at.clone());
    }
    for firing in &schedule.recent {
        let detail = match &firing.happened {
            Happened::Started { run } => run.to_string(),
            Happened::Refused { reason } => output::clean(reason),
            Happened::Skipped => "the run before it was under way".to_owned(),
            Happened::Missed => "nobody saw it in time".to_owned(),
        };
        line(
            "",
            format!("{}  {:<8} {detail}", firing.at, outcome(&firing.happened)),
        );
    }
    output::data(&text)
}

fn word(value: &impl serde::Serialize) -> String {
    let word = serde_json::to_value(value).ok();
    let word = word.as_ref().and_then(serde_json::Value::as_str);
    word.unwrap_or_default().to_owned()
}

async fn carry_out(context: &Context, engine: &Engine, order: Order) -> Result {
    match order {
        Order::Show { name, json } => show(engine, &name, json).await?,
        Order::Set(set) => {
            let name = set.name.clone();
            let schedule = schedule(engine, &set)?;
            let is_new = engine
                .put_schedule(&name, schedule, None, Permission::Admin)
                .await?;
            let view = engine.schedule(&name).await?;
            let done = if is_new { "made" } else { "changed" };
            context.say(&format!(
                "schedule {name} {done}: {} First at {}",
                view.schedule.timing.describe(),
                view.upcoming.first().map_or("never", String::as_str)
            ));
        }
        Order::Pause { name } => {
            engine.pause_schedule(&name).await?;
            context.say(&format!(
                "schedule {name} is paused; `aquatint schedules resume {name}` lets it go on"
            ));
        }
        Order::Resume { name } => {
            let view = engine.resume_schedule(&name).await?;
            let next = view.upcoming.first().map_or("never", String::as_str);
            context.say(&format!("schedule {name} goes on; next at {next}"));
        }
        Order::Trigger { name } => {
            let run = engine.trigger_schedule(&name, Permission::Admin).await?;
            output::data(&format!("{run}\n"))?;
        }
        Order::Backfill { name, from, until } => {
            let until = until.unwrap_or_else(|| engine.now());
            let waiting = engine
                .backfill_schedule(&name, from, until, Permission::Admin)
                .await?;
            context.say(&format!(
                "{} of {name} wait for their turn; a scheduler begins them one after the other",
                output::count(waiting as u64, "tick")
            ));
        }
        Order::Remove { name } => {
            engine.forget_schedule(&name).await?;
            context.say(&format!("schedule {name} is forgotten"));
        }
        Order::Next { .. } => unreachable!("answered before anything was opened"),
    }
    Ok(())
}

fn schedule(engine: &Engine, set: &Set) -> Result<Schedule> {
    let timing = Timing::parse(&set.cron, set.zone.as_deref());
    let timing = timing.map_err(|wrong| refused(&set.cron, &wrong))?;
    let definition = engine.library().get(&set.workflow).map_err(Exit::from)?;
    let mut schedule = Schedule::new(definition.plan.name.clone(), timing);
    schedule.inputs = inputs::read(&set.input, definition.plan.inputs.schemas())?;
    schedule.overlap = match set.overlap {
        OverlapWord::Skip => Overlap::Skip,
        OverlapWord::Queue => Overlap::Queue,
        OverlapWord::Cancel => Overlap::Cancel,
        OverlapWord::Allow => Overlap::Allow,
    };
    schedule.misfire = match set.misfire {
        MisfireWord::Skip => Misfire::Skip,
        MisfireWord::Once => Misfire::Once,
        MisfireWord::CatchUp => Misfire::CatchUp,
    };
    let ms = |length: std::time::Duration| u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
    schedule.window_ms = ms(set.window);
    schedule.jitter_ms = ms(set.jitter);
    schedule.priority = set.priority;
    Ok(schedule)
}

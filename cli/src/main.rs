//! `aquatint`: durable workflows for AI media, on the command line.
//!
//! The one place that knows everyone. This file parses and dispatches; each
//! command has a file of its own below `commands`.

mod commands;
mod config;
mod context;
mod drawing;
mod exit;
mod files;
mod inputs;
mod live;
mod metrics;
mod output;
mod report;
mod session;
mod signals;
#[cfg(feature = "otel")]
mod traces;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand, ValueEnum};

use crate::commands::RunArg;
use crate::config::{Flags, Settings};
use crate::context::Context;
use crate::exit::{Exit, Result};

/// Requests and steps make many small things that live briefly and end on another thread than they began on.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const EXAMPLES: &str = "\
Begin with a picture:
  aquatint run image-generation -i prompt='a lighthouse on a cliff at sunset'

Look what else there is:
  aquatint workflows

Exit codes: 0 done, 1 error, 2 wrong usage, 3 run cancelled, 5 run failed, 130 interrupted.";

/// Durable workflows for AI media: definitions in, pictures out, nothing lost in between.
#[derive(Debug, Parser)]
#[command(
    name = "aquatint",
    version,
    propagate_version = false,
    max_term_width = 100,
    after_help = EXAMPLES
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Args)]
#[expect(clippy::doc_markdown, reason = "help texts are no Markdown")]
#[command(next_help_heading = "Everywhere")]
struct Global {
    /// Where runs and files are kept [env: AQUATINT_DATA_DIR]
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// A folder of definitions, beside those that ship; may be repeated [env: AQUATINT_DEFINITIONS]
    #[arg(long, global = true, value_name = "DIR")]
    definitions: Vec<PathBuf>,
    /// Slots by queue, as in gpu:1,cpu:4 [env: AQUATINT_QUEUES]
    #[arg(long, global = true, value_name = "QUEUES")]
    queues: Option<String>,
    /// A configuration file instead of the usual ones [env: AQUATINT_CONFIG]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Say nothing on stderr but errors
    #[arg(short, long, global = true)]
    quiet: bool,
    /// When to use colour
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value_t = Color::Auto, hide_default_value = true)]
    color: Color,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a workflow here and now, and print what comes out
    Run(commands::run::Run),
    /// Go on with a run that was paused or left behind
    Resume(commands::resume::Resume),
    /// Try the failed steps of a run again
    Retry(commands::resume::Retry),
    /// Cancel a run
    Cancel(RunArg),
    /// Start no further step of a run
    Pause(RunArg),
    /// List runs, newest first
    Runs(commands::runs::Runs),
    /// Show a run: steps, attempts, outputs, files
    Show(commands::show::Show),
    /// Print what the steps of a run wrote down
    Logs(commands::logs::Logs),
    /// List the files of a run, or copy them out
    Artifacts(commands::artifacts::Artifacts),
    /// Forget a finished run
    Delete(RunArg),
    /// Tell where a picture came from, or make it again
    Inspect(commands::inspect::Inspect),
    /// List workflows, or print the source of one
    Workflows(commands::workflows::Workflows),
    /// List tasks, or tell what one takes and returns
    Tasks(commands::tasks::Tasks),
    /// Find every mistake in definitions
    Validate(commands::validate::Validate),
    /// Draw a workflow or a run
    Graph(commands::graph::GraphArgs),
    /// Print the JSON Schema of definition files, for editors
    Schema,
    /// Serve the REST API, and do the work: everything in one process
    Serve(commands::serve::ServeArgs),
    /// Make, list and revoke API keys
    Keys(commands::keys::Keys),
    /// Do the work of runs that others submit
    Worker(commands::worker::WorkerArgs),
    /// List worker processes and what they do, or steer them
    Workers(commands::workers::Workers),
    /// List queues and what waits in them, or steer them
    Queues(commands::queues::Queues),
    /// List what begins by itself, or make, pause and trigger schedules
    Schedules(commands::schedules::Schedules),
    /// Recount everything the database promises
    Check(commands::check::Check),
    /// Look whether the installation is well: disk, memory, database, workers, queues
    Health(commands::health::Health),
    /// List what is wrong, or be silent about it for a while
    Alerts(commands::alerts::Alerts),
    /// List what the installation did to look after itself, or clean by hand
    Maintenance(commands::maintenance::Maintenance),
    /// Print what happens to runs, as it happens
    Events(commands::events::Events),
    /// Look whether this installation is all right, and how it is set
    Doctor(commands::doctor::Doctor),
    /// Print a completion script for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.global.color {
        Color::Auto => {}
        Color::Always => anstream::ColorChoice::Always.write_global(),
        Color::Never => anstream::ColorChoice::Never.write_global(),
    }
    let done = dispatch(cli);
    #[cfg(feature = "otel")]
    traces::finish();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(exit) => exit.report(),
    }
}

fn dispatch(cli: Cli) -> Result {
    log()?;
    // These need no settings, and must work where settings are wrong.
    match &cli.command {
        Command::Schema => return commands::tasks::schema(),
        Command::Completions { shell } => {
            return commands::completions::run(Cli::command(), *shell);
        }
        _ => {}
    }
    let Global {
        data_dir,
        definitions,
        queues,
        config,
        quiet,
        color: _,
    } = cli.global;
    let flags = Flags {
        config,
        data_dir,
        definitions,
        queues,
        worker: match &cli.command {
            Command::Worker(args) => args.flags(),
            Command::Serve(args) => args.worker.flags(),
            _ => config::WorkerFlags::default(),
        },
        listen: match &cli.command {
            Command::Serve(args) => args.listen.clone(),
            _ => None,
        },
    };
    let context = Context {
        settings: Settings::load(&flags)?,
        quiet,
        engine: std::sync::Arc::default(),
    };
    match cli.command {
        Command::Run(args) => block_on(commands::run::run(&context, args)),
        Command::Resume(args) => block_on(commands::resume::resume(&context, args)),
        Command::Retry(args) => block_on(commands::resume::retry(&context, args)),
        Command::Cancel(run) => block_on(commands::steer::cancel(&context, &run)),
        Command::Pause(run) => block_on(commands::steer::pause(&context, &run)),
        Command::Runs(args) => block_on(commands::runs::run(&context, args)),
        Command::Show(args) => block_on(commands::show::run(&context, args)),
        Command::Logs(args) => block_on(commands::logs::run(&context, args)),
        Command::Artifacts(args) => block_on(commands::artifacts::run(&context, args)),
        Command::Delete(run) => block_on(commands::steer::delete(&context, &run)),
        Command::Inspect(args) => block_on(commands::inspect::run(&context, args)),
        Command::Workflows(args) => commands::workflows::run(&context, &args),
        Command::Tasks(args) => commands::tasks::run(&context, &args),
        Command::Validate(args) => commands::validate::run(&context, &args),
        Command::Graph(args) => block_on(commands::graph::run(&context, args)),
        Command::Serve(args) => block_on(commands::serve::run(&context, args)),
        Command::Keys(args) => block_on(commands::keys::run(&context, args)),
        Command::Worker(args) => block_on(commands::worker::run(&context, args)),
        Command::Workers(args) => block_on(commands::workers::run(&context, args)),
        Command::Queues(args) => block_on(commands::queues::run(&context, args)),
        Command::Schedules(args) => block_on(commands::schedules::run(&context, args)),
        Command::Check(args) => block_on(commands::check::run(&context, args)),
        Command::Health(args) => block_on(commands::health::run(&context, args)),
        Command::Alerts(args) => block_on(commands::alerts::run(&context, args)),
        Command::Maintenance(args) => block_on(commands::maintenance::run(&context, args)),
        Command::Events(args) => block_on(commands::events::run(&context, args)),
        Command::Doctor(args) => block_on(commands::doctor::run(&context, args)),
        Command::Schema | Command::Completions { .. } => Ok(()),
    }
}

/// Two threads: the store's writer and the rest. Steps run on the engine's own.
fn block_on(command: impl Future<Output = Result>) -> Result {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Exit::Error(format!("cannot start: {error}")))?;
    let done = runtime.block_on(command);
    // A blocking read that nobody waits for any more must not keep the process.
    runtime.shutdown_background();
    done
}

/// Warnings and worse go to stderr; `AQUATINT_LOG` asks for more, as in `aquatint_engine=debug`.
fn log() -> Result {
    use tracing_subscriber::layer::SubscriberExt as _;
    use tracing_subscriber::util::SubscriberInitExt as _;
    use tracing_subscriber::{EnvFilter, Layer as _};
    let filter = match std::env::var("AQUATINT_LOG") {
        Ok(filter) if !filter.is_empty() => EnvFilter::try_new(&filter).map_err(|error| {
            Exit::Usage(format!(
                "AQUATINT_LOG: {error}; example: aquatint_engine=debug"
            ))
        })?,
        Ok(_) | Err(_) => EnvFilter::new("warn"),
    };
    let color = output::stderr_has_color();
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(color)
        .with_target(false)
        .with_filter(filter);
    let subscriber = tracing_subscriber::registry().with(lines);
    #[cfg(feature = "otel")]
    let subscriber = subscriber.with(traces::layer()?);
    subscriber.init();
    Ok(())
}

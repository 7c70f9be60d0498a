//! `aquatint worker`: do the work that others submit.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::time::Duration;

use aquatint_engine::id::QueueName;
use aquatint_engine::{Engine, Farewell, RunFilter, RunState, Worker, WorkerConfig};
use clap::Args;

use crate::commands::serve::{Front, Server};
use crate::config::{EARLIER_SLOTS, WorkerFlags};
use crate::context::{self, Context};
use crate::exit::{Exit, Result};
use crate::metrics;
use crate::output;
use crate::signals::{Signal, Signals};

/// What `aquatint worker` takes; which queues is said by --queues, for every command.
#[derive(Debug, Args)]
#[expect(clippy::doc_markdown, reason = "help texts are no Markdown")]
pub(crate) struct WorkerArgs {
    /// How long running steps may go on after a request to stop
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = humantime::parse_duration)]
    grace: Duration,
    /// What to call it, for `aquatint workers`
    #[arg(long, value_name = "NAME", value_parser = name)]
    name: Option<String>,
    /// Take the settings of [profiles.NAME] in aquatint.toml
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// What it can do, as in a100,fp16: for steps that require it [env: AQUATINT_LABELS]
    #[arg(long, value_name = "LABELS")]
    labels: Option<String>,
    /// What its steps may need together, of those that say so, as in 24GB [env: AQUATINT_MEMORY]
    #[arg(long, value_name = "SIZE")]
    memory: Option<String>,
    /// Begin anew after so many steps [env: AQUATINT_MAX_TASKS]
    #[arg(long, value_name = "N")]
    max_tasks: Option<u64>,
    /// Begin anew when the process occupies so much, as in 2GB [env: AQUATINT_MAX_RSS]
    #[arg(long, value_name = "SIZE")]
    max_rss: Option<String>,
    /// Leave schedules to other processes
    #[arg(long)]
    no_scheduler: bool,
    /// Tell Prometheus what this process counts, at http://ADDRESS/metrics; a server does so anyway
    #[arg(long, value_name = "ADDRESS")]
    metrics: Option<std::net::SocketAddr>,
}

impl WorkerArgs {
    /// What of it are settings.
    pub(crate) fn flags(&self) -> WorkerFlags {
        WorkerFlags {
            profile: self.profile.clone(),
            labels: self.labels.clone(),
            memory: self.memory.clone(),
            max_tasks: self.max_tasks,
            max_rss: self.max_rss.clone(),
        }
    }
}

/// Whatever a person can type and a table can hold, but `all`.
fn name(text: &str) -> std::result::Result<String, String> {
    let is_plain = !text.is_empty() && text.len() <= 64 && !text.contains(char::is_whitespace);
    if is_plain && !text.contains(output::steers) && text != "all" {
        Ok(text.to_owned())
    } else {
        Err(
            "expected 1 to 64 bytes without blanks, and not `all`, which means every worker"
                .to_owned(),
        )
    }
}

/// Serves until it is told to stop, or to begin anew.
pub(crate) async fn run(context: &Context, args: WorkerArgs) -> Result {
    serve(context, args, None).await
}

/// Works, and answers requests where there is an API to serve, until it is told to stop or to begin anew.
pub(crate) async fn serve(context: &Context, args: WorkerArgs, api: Option<Front>) -> Result {
    // Now: once it is replaced by another version, the system names the old file as deleted.
    let program = std::env::current_exe();
    let mut signals = Signals::watch()?;
    match (args.metrics, &api) {
        (Some(address), None) => metrics::serve(address)?,
        (Some(_), Some(_)) => {
            return Err(Exit::Usage(
                "--metrics is for workers: a server tells what it counts at /metrics".to_owned(),
            ));
        }
        (None, _) => {}
    }
    if rustix::process::geteuid().is_root() {
        output::warning(
            "running as root: what tasks run, they run as root; use an account of its own",
        );
    }
    let Some(engine) = open(context, &mut signals).await? else {
        context.say("stopped");
        return Ok(());
    };
    let server = match &api {
        Some(front) => Some(front.open(context, &engine).await?),
        None => None,
    };
    let works = api.as_ref().is_none_or(|front| front.works);
    let config = config(context, &engine, &args).await?;
    let served = served(&config);
    let worker = if works {
        Some(engine.start_worker(config).await?)
    } else {
        None
    };
    let scheduler = (!args.no_scheduler)
        .then(|| engine.start_scheduler(context.settings.alerts.alerts.clone()));
    if let Some(server) = &server {
        context.say(&server.greeting);
    }
    if works {
        let place = context.settings.place();
        context.say(&format!("serving {served} from {place}; Ctrl-C stops"));
    }
    let farewell = async {
        match &worker {
            Some(worker) => worker.farewell().await,
            None => std::future::pending().await,
        }
    };
    let why = tokio::select! {
        signal = signals.first() => Err(signal),
        why = farewell => Ok(why),
        // Nothing can be finished in good order without a store: whoever watches over this process starts it anew.
        () = engine.failed() => return Err(Exit::Error(
            "the writer's thread panicked, as the log tells; nothing that was accepted is lost. Start it again, and please \
             report this".to_owned(),
        )),
    };
    signals.set_farewell("left at once; another worker takes up what was running".to_owned());
    context.say(&reason(
        &why,
        &humantime::format_duration(args.grace).to_string(),
    ));
    let slots = worker
        .as_ref()
        .map(Worker::wanted_slots)
        .unwrap_or_default();
    // Streams end and new requests are refused first: whoever submits now is served elsewhere.
    let answered = server.map(Server::stop);
    if let Some(scheduler) = scheduler {
        scheduler.stop().await;
    }
    if let Some(worker) = worker {
        worker.stop().await;
    }
    if let Some(answered) = answered {
        answered.await;
    }
    engine.close().await;
    let is_last = matches!(why, Err(_) | Ok(Farewell::Drained));
    if is_last || signals.is_told() {
        context.say("stopped");
        return Ok(());
    }
    Err(begin_anew(program, &slots))
}

/// How long to wait for a server that does not answer before it is asked again.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// Opens the store, and waits for servers that do not answer yet: whoever starts everything at once starts
/// some of it first. Nothing where it was told to stop meanwhile.
async fn open(context: &Context, signals: &mut Signals) -> Result<Option<Engine>> {
    let (mut next_word, mut looks) = (0, 0);
    loop {
        let error = match context.try_open(context.library()?).await {
            Ok(engine) => return Ok(Some(engine)),
            Err(error) if error.is_away() => error,
            Err(error) => return Err(error.into()),
        };
        if looks >= next_word {
            output::warning(&format!("waiting: {error}"));
            // At once, after half a minute, and then ever more seldom.
            next_word = (looks * 2).max(15);
        }
        looks += 1;
        tokio::select! {
            () = tokio::time::sleep(LOOK_AGAIN) => {}
            _ = signals.first() => return Ok(None),
        }
    }
}

/// What the worker is to be like.
async fn config(context: &Context, engine: &Engine, args: &WorkerArgs) -> Result<WorkerConfig> {
    let settings = &context.settings.worker;
    let mut config = match &context.settings.queues {
        Some(queues) => WorkerConfig::new(queues.clone()),
        None => context.worker(usual_queues(engine).await?),
    };
    config.shutdown_grace = args.grace;
    config.name.clone_from(&args.name);
    config.labels = settings.labels.clone();
    config.memory_bytes = settings.memory_bytes;
    config.max_tasks = settings.max_tasks;
    config.max_rss_bytes = settings.max_rss_bytes;
    config.wanted_slots = settings.earlier_slots.clone();
    Ok(config)
}

/// Queues and slots, as people write them.
fn served(config: &WorkerConfig) -> String {
    let served: Vec<String> = config
        .queues
        .iter()
        .map(|(queue, slots)| {
            let slots = config.wanted_slots.get(queue).unwrap_or(slots);
            format!("{queue}:{slots}")
        })
        .collect();
    served.join(",")
}

/// Why it ends, in words.
fn reason(why: &std::result::Result<Farewell, Signal>, grace: &str) -> String {
    match why {
        Err(Signal::Interrupt) => {
            format!("finishing what runs, for {grace} at most; Ctrl-C again leaves at once")
        }
        Err(Signal::Terminate) => {
            format!("finishing what runs, for {grace} at most; a second signal ends it at once")
        }
        Ok(Farewell::Drained) => "drained, as an operator wanted".to_owned(),
        Ok(Farewell::Restart) => {
            format!("an operator wants a restart: finishing what runs, for {grace} at most")
        }
        Ok(Farewell::TasksDone) => {
            format!("beginning anew after so many steps: finishing what runs, for {grace} at most")
        }
        Ok(Farewell::TooLarge) => {
            format!("beginning anew, grown too large: finishing what runs, for {grace} at most")
        }
        Ok(why) => format!("ending: {why:?}"),
    }
}

/// Starts this program again, in the place of this process, with the same arguments.
///
/// The same process, since others know it by its id: a supervisor that started it, a container
/// of which it is the first process, a shell that waits for it. None of them notices. What the
/// program had allocated is gone all the same, and a new version of it takes over.
/// Returns only when that fails.
fn begin_anew(program: std::io::Result<PathBuf>, slots: &BTreeMap<QueueName, u32>) -> Exit {
    let program = match program {
        Ok(program) => program,
        Err(error) => return Exit::Error(format!("cannot find this program: {error}")),
    };
    let slots: Vec<String> = slots.iter().map(|(q, n)| format!("{q}:{n}")).collect();
    #[cfg(feature = "otel")]
    crate::traces::finish();
    let error = std::process::Command::new(&program)
        .args(std::env::args_os().skip(1))
        .env(EARLIER_SLOTS, slots.join(","))
        .exec();
    Exit::file("start again", &program, &error)
}

/// The queues that any known definition or waiting run names.
async fn usual_queues(engine: &Engine) -> Result<BTreeSet<QueueName>> {
    let mut queues = BTreeSet::new();
    for name in ["default", "cpu", "gpu"] {
        queues.insert(QueueName::new(name).expect("the usual names are names"));
    }
    let library = engine.library();
    for name in library.names() {
        match library.get(name) {
            Ok(definition) => {
                queues.extend(definition.plan.steps.iter().map(|step| step.queue.clone()));
            }
            Err(error) => output::warning(&format!("a definition is left out: {error}")),
        }
    }
    for state in [RunState::Pending, RunState::Running] {
        let filter = RunFilter {
            states: vec![state],
            limit: 1_000,
            ..RunFilter::default()
        };
        for run in engine.runs(&filter).await? {
            let plan = engine.plan(run.id).await?;
            queues.extend(context::queues_of(&library, &plan).unwrap_or_default());
        }
    }
    queues.retain(|queue| queue.as_str() != aquatint_engine::workflow::plan::CONTROL_QUEUE);
    Ok(queues)
}

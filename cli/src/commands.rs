//! The commands, one a file.

pub(crate) mod alerts;
pub(crate) mod artifacts;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod doctor;
pub(crate) mod events;
pub(crate) mod graph;
pub(crate) mod health;
pub(crate) mod inspect;
pub(crate) mod keys;
pub(crate) mod logs;
pub(crate) mod maintenance;
pub(crate) mod queues;
pub(crate) mod resume;
pub(crate) mod run;
pub(crate) mod runs;
pub(crate) mod schedules;
pub(crate) mod serve;
pub(crate) mod show;
pub(crate) mod steer;
pub(crate) mod tasks;
pub(crate) mod validate;
pub(crate) mod worker;
pub(crate) mod workers;
pub(crate) mod workflows;

/// A run, as a person names it.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct RunArg {
    /// A run's id, the beginning of it, or @latest
    #[arg(value_name = "RUN")]
    pub(crate) run: String,
}

//! `maintenance.clean` and `health.check`: an installation that looks after itself, as steps of workflows
//! that anybody may edit.
//!
//! What is looked at and what is forgotten is the engine's; it is reached through [`House`], so that this
//! crate knows neither store nor disk.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use aquatint_engine::Permission;
use aquatint_engine::engine::{Cleaned, Upkeep};
use aquatint_engine::health::{HealthReport, Overall, Status};
use aquatint_engine::task::{LogLevel, Task, TaskContext, TaskError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What an answer of a house is made of.
pub type Answer<T> = Pin<Box<dyn Future<Output = Result<T, TaskError>> + Send>>;

/// The installation that is looked after.
pub trait House: fmt::Debug + Send + Sync {
    /// Forgets what may go.
    fn clean(&self, upkeep: Upkeep) -> Answer<Cleaned>;
    /// Looks whether all is well.
    fn look(&self) -> Answer<HealthReport>;
}

/// No installation at all.
#[derive(Debug, Clone, Copy)]
pub struct NoHouse;

impl NoHouse {
    fn refuse<T: Send + 'static>() -> Answer<T> {
        let error = TaskError::fatal("no_house", "this program looks after no installation");
        Box::pin(std::future::ready(Err(error)))
    }
}

impl House for NoHouse {
    fn clean(&self, _: Upkeep) -> Answer<Cleaned> {
        Self::refuse()
    }

    fn look(&self) -> Answer<HealthReport> {
        Self::refuse()
    }
}

/// Forgets what may go.
#[derive(Debug)]
pub struct Clean(pub Arc<dyn House>);

/// What `maintenance.clean` takes: durations as in `24h`; what is empty or left out is kept.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CleanInput {
    /// Files and folders that nobody refers to go when they are older than this: a step may be about to
    /// name them.
    #[serde(default = "a_day")]
    pub grace: String,
    /// Finished runs go after this time, where neither they nor their workflow say how long they are kept.
    #[serde(default)]
    pub keep_runs: Option<String>,
    /// Logs and events of finished runs go after this time; the runs stay.
    #[serde(default)]
    pub keep_journals: Option<String>,
    /// Cached results go after this time.
    #[serde(default)]
    pub keep_cache: Option<String>,
    /// What is known of workers that are gone goes after this time.
    #[serde(default = "a_week")]
    pub keep_workers: String,
}

fn a_day() -> String {
    "24h".to_owned()
}

fn a_week() -> String {
    "7d".to_owned()
}

/// What `maintenance.clean` returns.
#[derive(Debug, Serialize, JsonSchema)]
pub struct CleanOutput {
    /// Files that nobody referred to, now deleted.
    pub files_deleted: u64,
    /// Room they took, MB (a million bytes), with what the database gave back.
    pub mb_freed: f64,
    /// Runs, cached results and workers that were forgotten.
    pub records_deleted: u64,
    /// Runs among them.
    pub runs_deleted: u64,
    /// Runs that lost their logs and events.
    pub journals_deleted: u64,
    /// Cached results among them.
    pub cached_deleted: u64,
    /// Workers among them.
    pub workers_deleted: u64,
    /// Folders of attempts that are over.
    pub scratch_folders_deleted: u64,
    /// Lists in Redis that nobody took from.
    pub ticket_lists_deleted: u64,
    /// Bytes that the database gave back.
    pub database_bytes_freed: u64,
}

impl From<Cleaned> for CleanOutput {
    fn from(cleaned: Cleaned) -> Self {
        let bytes = cleaned.file_bytes + cleaned.database_bytes;
        #[expect(clippy::cast_precision_loss, reason = "megabytes with three places")]
        let mb_freed = (bytes as f64 / 1_000.0).round() / 1_000.0;
        Self {
            files_deleted: cleaned.files,
            mb_freed,
            records_deleted: cleaned.runs + cleaned.cached + cleaned.workers,
            runs_deleted: cleaned.runs,
            journals_deleted: cleaned.journals,
            cached_deleted: cleaned.cached,
            workers_deleted: cleaned.workers,
            scratch_folders_deleted: cleaned.scratch,
            ticket_lists_deleted: cleaned.tickets,
            database_bytes_freed: cleaned.database_bytes,
        }
    }
}

impl CleanInput {
    fn upkeep(&self) -> Result<Upkeep, TaskError> {
        let maybe = |name: &str, text: Option<&str>| match text.map(str::trim) {
            None | Some("") => Ok(None),
            Some(text) => duration(name, text).map(Some),
        };
        let mut upkeep = Upkeep::of(duration("grace", &self.grace)?);
        upkeep.keep_runs = maybe("keep_runs", self.keep_runs.as_deref())?;
        upkeep.keep_journals = maybe("keep_journals", self.keep_journals.as_deref())?;
        upkeep.keep_cache = maybe("keep_cache", self.keep_cache.as_deref())?;
        upkeep.keep_workers = duration("keep_workers", &self.keep_workers)?;
        Ok(upkeep)
    }
}

fn duration(name: &str, text: &str) -> Result<Duration, TaskError> {
    humantime::parse_duration(text).map_err(|_| {
        let message = format!("{name}: `{text}` is no duration; write `90m`, `24h` or `30d`");
        TaskError::fatal("invalid_input", message)
    })
}

impl Task for Clean {
    const NAME: &'static str = "maintenance.clean";
    const VERSION: u32 = 1;
    const DESCRIPTION: &'static str =
        "Deletes expired runs, files that nobody refers to and other leftovers.";
    const PERMISSION: Permission = Permission::Operate;
    type Input = CleanInput;
    type Output = CleanOutput;

    async fn run(&self, ctx: TaskContext, input: CleanInput) -> Result<CleanOutput, TaskError> {
        let upkeep = input.upkeep()?;
        let cleaning = self.0.clean(upkeep);
        let cleaned = tokio::select! {
            cleaned = cleaning => cleaned?,
            // What was begun in the database is whole; the rest is done the next time.
            () = ctx.cancelled() => return Err(TaskError::cancelled()),
        };
        let output = CleanOutput::from(cleaned);
        ctx.log(
            LogLevel::Info,
            format!(
                "{} files deleted, {} MB freed, {} records deleted",
                output.files_deleted, output.mb_freed, output.records_deleted
            ),
        );
        Ok(output)
    }
}

/// Looks whether all is well.
#[derive(Debug)]
pub struct CheckHealth(pub Arc<dyn House>);

/// What `health.check` takes: nothing.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HealthInput {}

/// What `health.check` returns.
#[derive(Debug, Serialize, JsonSchema)]
pub struct HealthOutput {
    /// Everything looked at.
    #[serde(flatten)]
    pub report: HealthReport,
    /// Whether the disk is so full that somebody must make room.
    pub is_disk_critical: bool,
}

impl Task for CheckHealth {
    const NAME: &'static str = "health.check";
    const VERSION: u32 = 1;
    const DESCRIPTION: &'static str =
        "Looks at disk, memory, database, Redis, clock, workers, queues and schedules.";
    const PERMISSION: Permission = Permission::Operate;
    type Input = HealthInput;
    type Output = HealthOutput;

    async fn run(&self, ctx: TaskContext, _: HealthInput) -> Result<HealthOutput, TaskError> {
        let report = tokio::select! {
            report = self.0.look() => report?,
            () = ctx.cancelled() => return Err(TaskError::cancelled()),
        };
        for check in report
            .checks
            .iter()
            .filter(|check| check.status > Status::Ok)
        {
            ctx.log(LogLevel::Warn, format!("{}: {}", check.name, check.message));
        }
        if report.status == Overall::Healthy {
            ctx.log(LogLevel::Info, "all is well");
        }
        let disk = report.check("disk").map(|check| check.status);
        Ok(HealthOutput {
            is_disk_critical: disk == Some(Status::Error),
            report,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_or_empty_is_kept() {
        let input: CleanInput = serde_json::from_str(r#"{"keep_runs": "", "keep_cache": "30d"}"#)
            .expect("it is an input");
        let upkeep = input.upkeep().expect("it is right");
        assert_eq!(upkeep.grace, Duration::from_secs(86_400));
        assert_eq!(upkeep.keep_runs, None);
        assert_eq!(upkeep.keep_journals, None);
        assert_eq!(upkeep.keep_cache, Some(Duration::from_secs(30 * 86_400)));
    }

    #[test]
    fn a_duration_that_is_none_deletes_nothing() {
        let input: CleanInput =
            serde_json::from_str(r#"{"keep_runs": "soon"}"#).expect("it is text");
        let error = input.upkeep().expect_err("it is no duration");
        assert!(error.message.contains("`soon` is no duration"), "{error:?}");
    }
}

//! What the engine's door refuses, and how it says so.

use std::path::PathBuf;

use crate::artifact::ArtifactError;
use crate::engine::ScheduleError;
use crate::id::{QueueName, RunId};
use crate::library::LibraryError;
use crate::permission::Permission;
use crate::store::StoreError;
use crate::transition::TransitionError;
use crate::transport::TransportError;
use crate::workflow::InputProblem;

/// Why the engine did not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The doorbell of a cluster cannot be used.
    #[error("{reason}")]
    Doorbell {
        /// What is wrong, and what mends it.
        reason: String,
        /// Whether it merely does not answer.
        is_away: bool,
    },
    /// An idempotency key that cannot be one.
    #[error(
        "idempotency key {key:?}: expected 1 to 255 bytes without control characters, e.g. a UUID"
    )]
    Key {
        /// What was given.
        key: String,
    },
    /// A tag that cannot be one.
    #[error("tag {tag:?}: expected 1 to 100 bytes without control characters")]
    Tag {
        /// What was given.
        tag: String,
    },
    /// Nobody can be told that way.
    #[error("notify: {reason}")]
    Notify {
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// A schedule cannot be as somebody wants it.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// More tags than a run can have.
    #[error("{count} tags; a run has 32 at most")]
    TooManyTags {
        /// How many were given.
        count: usize,
    },
    /// Somebody else changed it first.
    #[error("{kind} `{id}` was changed by somebody else in the meantime; look at it again")]
    Conflict {
        /// What kind of thing.
        kind: &'static str,
        /// Which.
        id: String,
    },
    /// The definition is unknown or has mistakes.
    #[error(transparent)]
    Library(#[from] LibraryError),
    /// The inputs do not fit the workflow.
    #[error("`{workflow}` refuses its inputs:{}", list(.problems))]
    Inputs {
        /// The workflow.
        workflow: String,
        /// What is wrong, each with its place.
        problems: Vec<InputProblem>,
    },
    /// The `concurrency.key` expression has no value for these inputs.
    #[error("`{workflow}`: concurrency.key: {reason}")]
    ConcurrencyKey {
        /// The workflow.
        workflow: String,
        /// Why.
        reason: String,
    },
    /// The run's state does not allow it.
    #[error(transparent)]
    Refused(#[from] TransitionError),
    /// No step of that name, or one that cannot be begun with.
    #[error("run {run} has no step `{step}` to begin with")]
    NoSuchStep {
        /// The run.
        run: RunId,
        /// What was given.
        step: String,
    },
    /// It acts on the installation, and whoever asks may not.
    #[error("workflow `{workflow}` acts on the installation: running it takes the scope `{needs}`")]
    NotPermitted {
        /// The workflow.
        workflow: String,
        /// What running it takes.
        needs: Permission,
    },
    /// No run of that name.
    #[error("no run `{what}`; `aquatint runs` lists them, and @latest means the newest")]
    NoSuchRun {
        /// What was given.
        what: String,
    },
    /// Several runs of that name.
    #[error("`{what}` fits more than one run; give more of its id")]
    Ambiguous {
        /// What was given.
        what: String,
    },
    /// No live worker of that name.
    #[error(
        "no live worker `{what}`; `aquatint workers` lists them: give a name, or the beginning of an id"
    )]
    NoSuchWorker {
        /// What was given.
        what: String,
    },
    /// Several workers of that name.
    #[error(
        "`{what}` fits more than one worker; give more of the id, or say `all` where that is meant"
    )]
    AmbiguousWorker {
        /// What was given.
        what: String,
    },
    /// The workers in question do not serve that queue.
    #[error(
        "{who} does not serve `{queue}`; it serves {serves}; start a worker that does: `aquatint worker --queues {queue}:1`"
    )]
    NotServed {
        /// The worker, or that it is all of them.
        who: String,
        /// The queue.
        queue: QueueName,
        /// What is served instead.
        serves: String,
    },
    /// The engine's own lane cannot be steered.
    #[error(
        "`{queue}` is the engine's own queue: without it no run could go on, so that it is never paused, capped or purged"
    )]
    OwnQueue {
        /// Its name.
        queue: QueueName,
    },
    /// A cap that would be a pause.
    #[error(
        "a cap of 0 would give nothing; pause the queue instead: `aquatint queues pause {queue}`"
    )]
    NoCap {
        /// The queue.
        queue: QueueName,
    },
    /// There are no runs at all.
    #[error("there are no runs yet")]
    NoRuns,
    /// A second worker in one engine.
    #[error("this engine has a worker already; stop it first, or open another engine")]
    AlreadyServing,
    /// A folder cannot be used.
    #[error("cannot use the folder {}: {reason}; choose another data directory (AQUATINT_DATA_DIR)", .path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Where artifacts are kept cannot be used.
    #[error(transparent)]
    Artifacts(#[from] ArtifactError),
    /// A file cannot be read or removed.
    #[error("file error: {0}")]
    File(String),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<std::io::Error> for EngineError {
    fn from(error: std::io::Error) -> Self {
        Self::File(error.to_string())
    }
}

fn list(problems: &[InputProblem]) -> String {
    problems
        .iter()
        .map(|p| {
            let place = if p.pointer.is_empty() {
                String::new()
            } else {
                format!("{}: ", p.pointer)
            };
            let help = p.help.as_ref().map_or(String::new(), |h| format!(" ({h})"));
            format!("\n  {place}{}{help}", p.message)
        })
        .collect()
}

impl EngineError {
    /// Whether a server that it needs does not answer, so that waiting may help.
    #[must_use]
    pub fn is_away(&self) -> bool {
        matches!(
            self,
            Self::Doorbell { is_away: true, .. } | Self::Store(StoreError::Away { .. })
        )
    }
}

impl From<TransportError> for EngineError {
    fn from(error: TransportError) -> Self {
        Self::Doorbell {
            reason: error.to_string(),
            is_away: matches!(error, TransportError::Unreachable { .. }),
        }
    }
}

//! What an engine needs to be told. Where the values come from is the program's business.

use std::path::PathBuf;
use std::time::Duration;

use crate::artifact::ArtifactPlace;
use crate::id::QueueName;
use crate::store::{Database, Durability};
use crate::time::Clock;
pub use crate::transport::{DoorbellHealth, Part, RedisConfig, Trouble};

/// How an engine keeps its state and how patient it is.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct EngineConfig {
    /// Holds the scratch folders, and by default the database and the artifacts.
    pub data_dir: PathBuf,
    /// Where the truth is kept.
    pub database: Database,
    /// How processes that share a database ring at each other's door; `None` where there is only one.
    pub redis: Option<RedisConfig>,
    /// Where artifacts are kept.
    pub artifacts: ArtifactPlace,
    /// What a power cut may take.
    pub durability: Durability,
    /// Where "now" comes from.
    pub clock: Clock,
    /// How long a worker may be silent before its tasks are given to others.
    pub lease: Duration,
    /// How long a handler that was told to stop may take before it is dropped.
    pub stop_grace: Duration,
}

impl EngineConfig {
    /// The defaults, over a data directory.
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        let data_dir = data_dir.into();
        let path = data_dir.join("aquatint.db");
        Self {
            data_dir,
            database: Database::Sqlite { path },
            redis: None,
            artifacts: ArtifactPlace::default(),
            durability: Durability::default(),
            clock: Clock::system(),
            lease: Duration::from_secs(15),
            stop_grace: Duration::from_secs(5),
        }
    }
}

/// What a worker process serves.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct WorkerConfig {
    /// Queues, and how many tasks of each at a time.
    pub queues: Vec<(QueueName, u32)>,
    /// How long running tasks may go on after a request to stop.
    pub shutdown_grace: Duration,
}

impl WorkerConfig {
    /// Serves these queues, and with them the engine's own small work.
    #[must_use]
    pub fn new(queues: impl IntoIterator<Item = (QueueName, u32)>) -> Self {
        Self {
            queues: queues.into_iter().collect(),
            shutdown_grace: Duration::from_secs(30),
        }
    }
}

/// A queue setting that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("queues: expected `name:slots`, got `{got}`{why}; example: `gpu:1,cpu:4`")]
pub struct QueuesError {
    got: String,
    why: String,
}

/// Reads `gpu:1,cpu:4`.
///
/// # Errors
/// [`QueuesError`] names the part that cannot be read.
pub fn parse_queues(text: &str) -> Result<Vec<(QueueName, u32)>, QueuesError> {
    let error = |got: &str, why: &str| QueuesError {
        got: got.to_owned(),
        why: why.to_owned(),
    };
    let mut queues: Vec<(QueueName, u32)> = Vec::new();
    for part in text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
    {
        let (name, slots) = part.split_once(':').ok_or_else(|| error(part, ""))?;
        let name = QueueName::new(name.trim()).map_err(|e| error(part, &format!(": {e}")))?;
        let slots = slots
            .trim()
            .parse::<u32>()
            .ok()
            .filter(|n| (1..=10_000).contains(n));
        let slots = slots.ok_or_else(|| error(part, ": slots must be a number from 1 to 10000"))?;
        if queues.iter().any(|(known, _)| *known == name) {
            return Err(error(part, ": the queue is named twice"));
        }
        queues.push((name, slots));
    }
    if queues.is_empty() {
        return Err(error(text, ": no queue is named"));
    }
    Ok(queues)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_are_read_or_refused_with_the_part_at_fault() {
        let queues = parse_queues("gpu:1, cpu:4").expect("well formed");
        assert_eq!(
            queues
                .iter()
                .map(|(q, n)| format!("{q}={n}"))
                .collect::<Vec<_>>(),
            ["gpu=1", "cpu=4"]
        );
        for (bad, part) in [
            ("gpu", "`gpu`"),
            ("gpu:x", "`gpu:x`"),
            ("gpu:1,gpu:2", "twice"),
            ("", "no queue"),
            ("a b:1", "a b"),
        ] {
            let message = parse_queues(bad).expect_err("malformed").to_string();
            assert!(
                message.contains(part) && message.contains("gpu:1,cpu:4"),
                "{message}"
            );
        }
    }
}

//! What an engine needs to be told. Where the values come from is the program's business.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use tower::{Layer, Service};

use crate::artifact::ArtifactPlace;
use crate::id::QueueName;
use crate::layer::{AttemptRequest, AttemptService, Layers};
use crate::store::{Abilities, Database, Durability};
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
    pub doorbell: Option<RedisConfig>,
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
            doorbell: None,
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
    /// What people call it.
    pub name: Option<String>,
    /// What it can do: it gets only tasks that require nothing else.
    pub labels: BTreeSet<String>,
    /// What the tasks that run here may need together, of those that say what they need;
    /// `None` does not count.
    pub memory_bytes: Option<u64>,
    /// After so many tasks [`Worker::farewell`](crate::Worker::farewell) resolves, and no more are
    /// claimed. A few more, where several queues give at once.
    pub max_tasks: Option<u64>,
    /// The same once the process occupies so much; looked at with every heartbeat, on Linux.
    pub max_rss_bytes: Option<u64>,
    /// Slots that operators asked for while an earlier process served here.
    pub wanted_slots: BTreeMap<QueueName, u32>,
    /// What stands around every attempt.
    pub layers: Layers,
}

impl WorkerConfig {
    /// Serves these queues, and with them the engine's own small work.
    #[must_use]
    pub fn new(queues: impl IntoIterator<Item = (QueueName, u32)>) -> Self {
        Self {
            queues: queues.into_iter().collect(),
            shutdown_grace: Duration::from_secs(30),
            name: None,
            labels: BTreeSet::new(),
            memory_bytes: None,
            max_tasks: None,
            max_rss_bytes: None,
            wanted_slots: BTreeMap::new(),
            layers: Layers::default(),
        }
    }

    /// Puts a layer around every attempt, within those added before: see [`layer`](crate::layer).
    #[must_use]
    pub fn layer<L>(mut self, layer: L) -> Self
    where
        L: Layer<AttemptService> + Send + Sync + 'static,
        L::Service: Service<AttemptRequest, Response = Value> + Clone + Send + Sync + 'static,
        <L::Service as Service<AttemptRequest>>::Error: Into<Box<dyn Error + Send + Sync>>,
        <L::Service as Service<AttemptRequest>>::Future: Send + 'static,
    {
        self.layers.add(layer);
        self
    }

    pub(crate) fn abilities(&self) -> Abilities {
        Abilities {
            labels: (!self.labels.is_empty())
                .then(|| serde_json::to_string(&self.labels).expect("texts are always JSON")),
            memory_bytes: self.memory_bytes,
            max_tasks: self.max_tasks,
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
    parse(text, 1)
}

/// Reads `gpu:3,cpu:0`: slots for a worker that serves already, so that none is some.
///
/// # Errors
/// [`QueuesError`] names the part that cannot be read.
pub fn parse_slots(text: &str) -> Result<Vec<(QueueName, u32)>, QueuesError> {
    parse(text, 0)
}

fn parse(text: &str, least: u32) -> Result<Vec<(QueueName, u32)>, QueuesError> {
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
            .filter(|n| (least..=10_000).contains(n));
        let slots = slots.ok_or_else(|| {
            let why = format!(": slots must be a number from {least} to 10000");
            error(part, &why)
        })?;
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

//! What `aquatint worker` is set to: labels, memory, when to begin anew; and profiles of all that.

use std::collections::{BTreeMap, BTreeSet};

use aquatint_engine::config::{parse_queues, parse_slots};
use aquatint_engine::id::{QueueName, is_label};
use aquatint_engine::workflow::parse_size;
use serde::Deserialize;

use super::Keys;
use crate::exit::{Exit, Result};

/// Slots that operators asked of this process before it began anew, as in `gpu:3,cpu:0`.
/// Set by the process itself.
pub(crate) const EARLIER_SLOTS: &str = "AQUATINT_WORKER_SLOTS";

/// What the flags of `aquatint worker` say of settings.
#[derive(Debug, Clone, Default)]
pub(crate) struct WorkerFlags {
    pub(crate) profile: Option<String>,
    pub(crate) labels: Option<String>,
    pub(crate) memory: Option<String>,
    pub(crate) max_tasks: Option<u64>,
    pub(crate) max_rss: Option<String>,
}

/// What a worker is like, queues aside.
#[derive(Debug, Default)]
pub(crate) struct WorkerSettings {
    pub(crate) labels: BTreeSet<String>,
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) max_tasks: Option<u64>,
    pub(crate) max_rss_bytes: Option<u64>,
    pub(crate) earlier_slots: BTreeMap<QueueName, u32>,
}

/// `[profiles.NAME]` of a file: settings that `--profile NAME` puts over the file's own.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Profile {
    #[serde(default)]
    queues: Option<String>,
    #[serde(default)]
    labels: Vec<String>,
    #[serde(default)]
    memory: Option<String>,
    #[serde(default, rename = "max_tasks")]
    _max_tasks: Option<u64>,
    #[serde(default)]
    max_rss: Option<String>,
}

impl WorkerSettings {
    pub(super) fn read(keys: &Keys, at: &impl Fn(&str) -> String) -> Result<Self> {
        for (name, profile) in &keys.profiles {
            profile.check(&|key| at(&format!("profiles.{name}.{key}")))?;
        }
        if keys.max_tasks == Some(0) {
            return Err(Exit::Usage(format!(
                "{}: expected at least 1, got 0; leave it out for a worker that goes on for ever",
                at("max_tasks")
            )));
        }
        Ok(Self {
            labels: labels(&keys.labels, &at("labels"))?,
            memory_bytes: size(keys.memory.as_deref(), &at("memory"))?,
            max_tasks: keys.max_tasks,
            max_rss_bytes: size(keys.max_rss.as_deref(), &at("max_rss"))?,
            earlier_slots: earlier_slots()?,
        })
    }
}

impl Profile {
    fn check(&self, at: &impl Fn(&str) -> String) -> Result {
        if let Some(queues) = &self.queues {
            parse_queues(queues).map_err(|error| {
                let message = error.to_string();
                let message = message.strip_prefix("queues: ").unwrap_or(&message);
                Exit::Usage(format!("{}: {message}", at("queues")))
            })?;
        }
        labels(&self.labels, &at("labels"))?;
        size(self.memory.as_deref(), &at("memory"))?;
        size(self.max_rss.as_deref(), &at("max_rss"))?;
        Ok(())
    }
}

fn labels(labels: &[String], at: &str) -> Result<BTreeSet<String>> {
    match labels.iter().find(|label| !is_label(label)) {
        Some(wrong) => Err(Exit::Usage(format!(
            "{at}: expected letters, digits, `-`, `_`, `.`, `:`, `/` or `=`, 64 at most, got `{wrong}`; example: a100,fp16"
        ))),
        None => Ok(labels.iter().cloned().collect()),
    }
}

fn size(text: Option<&str>, at: &str) -> Result<Option<u64>> {
    let Some(text) = text else {
        return Ok(None);
    };
    match parse_size(text) {
        Some(bytes) => Ok(Some(bytes)),
        None => Err(Exit::Usage(format!(
            "{at}: expected a size with its unit, got `{text}`; example: 2GB"
        ))),
    }
}

fn earlier_slots() -> Result<BTreeMap<QueueName, u32>> {
    match std::env::var(EARLIER_SLOTS) {
        Ok(text) if !text.is_empty() => {
            let slots = parse_slots(&text)
                .map_err(|error| Exit::Usage(format!("{EARLIER_SLOTS}: {error}")))?;
            Ok(slots.into_iter().collect())
        }
        Ok(_) | Err(_) => Ok(BTreeMap::new()),
    }
}

//! What a running attempt says before it ends: how far it is, what it makes, its log.

use serde::{Deserialize, Serialize};

use crate::artifact::Artifact;

/// Something a running attempt says before it ends.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Report {
    /// How far it is; the last one counts.
    Progress(Progress),
    /// What its result may look like; the last one counts.
    Preview(Artifact),
    /// A line of its log.
    Log(LogLine),
}

/// How far an attempt is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// `0.0..=1.0`.
    pub fraction: f64,
    /// What it is doing: `painting the sky`.
    pub message: String,
    /// Items done and items in all, where the work is countable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<(u64, u64)>,
    /// What the result may look like, while it is being made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<Artifact>,
}

/// A line of an attempt's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// How grave it is.
    pub level: LogLevel,
    /// One line; longer ones are cut at 8 KiB.
    pub message: String,
}

/// How grave a log line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LogLevel {
    /// Detail.
    Debug,
    /// A milestone.
    Info,
    /// Coped with.
    Warn,
    /// Somebody must act.
    Error,
}

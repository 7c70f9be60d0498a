//! Whether an installation is well: what was found, judged by limits.
//!
//! Pure: [`judge`] takes facts and says what they mean. `engine/health` gathers them.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::time::Timestamp;

/// From when on something is worth a word, and from when on it is an emergency.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Limits {
    /// Share of the disk in use, percent.
    pub disk: (f64, f64),
    /// Share of the memory in use, percent.
    pub memory: (f64, f64),
    /// How long the oldest task that could run has waited.
    pub wait: (Duration, Duration),
    /// How far this machine's clock is from the database's.
    pub skew: (Duration, Duration),
    /// How long the database may take to answer.
    pub answer: (Duration, Duration),
}

impl Default for Limits {
    fn default() -> Self {
        let minutes = |n: u64| Duration::from_secs(n * 60);
        Self {
            disk: (90.0, 95.0),
            memory: (85.0, 95.0),
            wait: (minutes(15), minutes(120)),
            skew: (Duration::from_secs(2), Duration::from_secs(30)),
            answer: (Duration::from_millis(250), Duration::from_secs(5)),
        }
    }
}

/// How one thing is.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// As it should be.
    Ok,
    /// Somebody should look at it.
    Warning,
    /// Somebody must.
    Error,
}

/// How all of it is.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Overall {
    /// Nothing is wrong.
    Healthy,
    /// There are warnings.
    Degraded,
    /// There are errors.
    Critical,
}

/// One thing looked at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Check {
    /// `disk`, `memory`, `database`, `redis`, `workers`, `queues`, `schedules` or `clock`.
    pub name: String,
    /// How it is.
    pub status: Status,
    /// In a sentence.
    pub message: String,
    /// In figures.
    pub detail: Value,
}

/// Everything looked at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct HealthReport {
    /// How all of it is.
    pub status: Overall,
    /// By the machine that looked, ms since the epoch.
    pub checked_at_ms: i64,
    /// Which machine looked: disk, memory and clock are its own.
    pub host: String,
    /// One by one.
    pub checks: Vec<Check>,
}

impl Overall {
    /// Of things of which this is the worst.
    pub(crate) fn of(worst: Status) -> Self {
        match worst {
            Status::Ok => Self::Healthy,
            Status::Warning => Self::Degraded,
            Status::Error => Self::Critical,
        }
    }
}

impl Check {
    /// Whether every machine finds the same; the rest is each one's own.
    pub(crate) fn is_shared(&self) -> bool {
        ["workers", "queues", "schedules"].contains(&self.name.as_str())
    }
}

impl HealthReport {
    /// A check, by name.
    #[must_use]
    pub fn check(&self, name: &str) -> Option<&Check> {
        self.checks.iter().find(|check| check.name == name)
    }
}

/// What was found.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    pub(crate) host: String,
    pub(crate) now: Timestamp,
    /// Bytes in all and in use.
    pub(crate) disk: Option<(u64, u64)>,
    pub(crate) memory: Option<(u64, u64)>,
    /// How long the database took to answer, or what it said; and its size in bytes.
    pub(crate) database: Result<(Duration, u64), String>,
    /// Where there is a Redis: whether it answers, and what was wrong last.
    pub(crate) redis: Option<Result<(), String>>,
    /// How far the database's clock is ahead of this machine's, ms.
    pub(crate) skew_ms: Option<i64>,
    pub(crate) workers: Vec<WorkerFact>,
    pub(crate) queues: Vec<QueueFact>,
    /// Schedules whose tick has not been seen to, and for how long, ms.
    pub(crate) late_schedules: Vec<(String, i64)>,
}

impl Default for Facts {
    fn default() -> Self {
        Self {
            host: String::new(),
            now: Timestamp(0),
            disk: None,
            memory: None,
            database: Ok((Duration::ZERO, 0)),
            redis: None,
            skew_ms: None,
            workers: Vec::new(),
            queues: Vec::new(),
            late_schedules: Vec::new(),
        }
    }
}

/// A worker that lives, or was lost within the last hour.
#[derive(Debug, Clone)]
pub(crate) struct WorkerFact {
    pub(crate) name: String,
    pub(crate) is_lost: bool,
}

/// A queue that has work or workers.
#[derive(Debug, Clone)]
pub(crate) struct QueueFact {
    pub(crate) name: String,
    pub(crate) ready: u64,
    pub(crate) oldest_ms: i64,
    pub(crate) workers: u32,
    pub(crate) is_paused: bool,
}

/// What the facts mean.
pub(crate) fn judge(facts: &Facts, limits: &Limits) -> HealthReport {
    let mut checks = Vec::new();
    let share = |name: &str, sizes: Option<(u64, u64)>, limits| {
        let (total, used) = sizes.filter(|(total, _)| *total > 0)?;
        Some(share(name, total, used, limits))
    };
    checks.extend(share("disk", facts.disk, limits.disk));
    checks.extend(share("memory", facts.memory, limits.memory));
    checks.push(database(facts, limits));
    checks.extend(facts.redis.as_ref().map(redis));
    checks.extend(facts.skew_ms.map(|ms| clock(ms, limits)));
    if facts.database.is_ok() {
        checks.push(workers(facts));
        checks.push(queues(facts, limits));
        checks.push(schedules(facts));
    }
    let worst = checks.iter().map(|check| check.status).max();
    HealthReport {
        status: Overall::of(worst.unwrap_or(Status::Ok)),
        checked_at_ms: facts.now.0,
        host: facts.host.clone(),
        checks,
    }
}

fn check(name: &str, status: Status, message: impl Into<String>, detail: Value) -> Check {
    Check {
        name: name.to_owned(),
        status,
        message: message.into(),
        detail,
    }
}

fn level<T: PartialOrd>(value: &T, limits: &(T, T)) -> Status {
    if *value >= limits.1 {
        Status::Error
    } else if *value >= limits.0 {
        Status::Warning
    } else {
        Status::Ok
    }
}

fn share(name: &str, total: u64, used: u64, limits: (f64, f64)) -> Check {
    #[expect(
        clippy::cast_precision_loss,
        reason = "a share to a tenth of a percent"
    )]
    let percent = (used as f64 / total as f64 * 1_000.0).round() / 10.0;
    let status = level(&percent, &limits);
    let left = bytesize::ByteSize(total.saturating_sub(used))
        .display()
        .si();
    let message = format!("{percent:.1} % in use, {left} left");
    let detail = json!({ "percent": percent, "total_bytes": total, "used_bytes": used });
    check(name, status, message, detail)
}

fn database(facts: &Facts, limits: &Limits) -> Check {
    match &facts.database {
        Ok((took, bytes)) => {
            let status = level(took, &limits.answer);
            let ms = took.as_secs_f64() * 1_000.0;
            let size = bytesize::ByteSize(*bytes).display().si();
            let detail = json!({ "answer_ms": (ms * 100.0).round() / 100.0, "size_bytes": bytes });
            check(
                "database",
                status,
                format!("answers in {ms:.1} ms, {size}"),
                detail,
            )
        }
        Err(error) => check("database", Status::Error, error, Value::Null),
    }
}

fn redis(answers: &Result<(), String>) -> Check {
    match answers {
        Ok(()) => check("redis", Status::Ok, "answers", Value::Null),
        // Nothing is lost without it: work goes on at the pace of a slow poll.
        Err(error) => check(
            "redis",
            Status::Warning,
            format!("away; work goes on slower: {error}"),
            Value::Null,
        ),
    }
}

fn clock(ahead_ms: i64, limits: &Limits) -> Check {
    let apart = Duration::from_millis(ahead_ms.unsigned_abs());
    let status = level(&apart, &limits.skew);
    let message = match status {
        Status::Ok => "as the database's".to_owned(),
        Status::Warning | Status::Error => format!(
            "this machine's clock is {} {} the database's: set it by NTP",
            humantime::format_duration(apart),
            if ahead_ms > 0 { "behind" } else { "ahead of" }
        ),
    };
    check("clock", status, message, json!({ "behind_ms": ahead_ms }))
}

fn workers(facts: &Facts) -> Check {
    let lost: Vec<&str> = facts
        .workers
        .iter()
        .filter(|worker| worker.is_lost)
        .map(|worker| worker.name.as_str())
        .collect();
    let live = facts.workers.len() - lost.len();
    let waits = facts.queues.iter().any(|queue| queue.ready > 0);
    let (status, message) = match (live, waits) {
        (0, true) => (
            Status::Error,
            "there is work, and no worker lives".to_owned(),
        ),
        (0, false) => (Status::Warning, "no worker lives".to_owned()),
        _ if !lost.is_empty() => (
            Status::Warning,
            format!("{live} live; lost within the hour: {}", lost.join(", ")),
        ),
        _ => (Status::Ok, format!("{live} live")),
    };
    check(
        "workers",
        status,
        message,
        json!({ "live": live, "lost": lost }),
    )
}

fn queues(facts: &Facts, limits: &Limits) -> Check {
    let mut worst = (Status::Ok, "nothing waits too long".to_owned());
    let mut waits = Vec::new();
    for queue in &facts.queues {
        if queue.ready == 0 {
            continue;
        }
        let waited = Duration::from_millis(queue.oldest_ms.max(0).unsigned_abs());
        let shown = humantime::format_duration(Duration::from_secs(waited.as_secs()));
        let name = &queue.name;
        let found = if queue.is_paused {
            // Somebody wanted it so.
            (Status::Ok, String::new())
        } else if queue.workers == 0 {
            let status = level(&waited, &limits.wait).max(Status::Warning);
            (
                status,
                format!("`{name}` has work, and no worker serves it ({shown})"),
            )
        } else {
            (
                level(&waited, &limits.wait),
                format!("the oldest task of `{name}` waits for {shown}"),
            )
        };
        if found.0 > worst.0 {
            worst = found;
        }
        waits.push(
            json!({ "queue": name, "ready": queue.ready, "oldest_seconds": waited.as_secs() }),
        );
    }
    check("queues", worst.0, worst.1, Value::Array(waits))
}

fn schedules(facts: &Facts) -> Check {
    let late = &facts.late_schedules;
    let detail = json!(
        late.iter()
            .map(|(id, ms)| json!({ "schedule": id, "late_seconds": ms / 1_000 }))
            .collect::<Vec<_>>()
    );
    match late.first() {
        None => check("schedules", Status::Ok, "all on time", detail),
        Some((id, ms)) => {
            let late_for = Duration::from_secs(ms.max(&0).unsigned_abs() / 1_000);
            let message = format!(
                "{} late, `{id}` by {}: does a scheduler run that knows its workflow?",
                late.len(),
                humantime::format_duration(late_for)
            );
            check("schedules", Status::Warning, message, detail)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn well() -> Facts {
        Facts {
            disk: Some((100, 50)),
            memory: Some((100, 50)),
            database: Ok((Duration::from_millis(1), 1_000)),
            redis: Some(Ok(())),
            skew_ms: Some(3),
            workers: vec![WorkerFact {
                name: "w".to_owned(),
                is_lost: false,
            }],
            ..Facts::default()
        }
    }

    fn waiting(oldest_s: i64, workers: u32, is_paused: bool) -> Facts {
        let queue = QueueFact {
            name: "gpu".to_owned(),
            ready: 3,
            oldest_ms: oldest_s * 1_000,
            workers,
            is_paused,
        };
        Facts {
            queues: vec![queue],
            ..well()
        }
    }

    #[test]
    fn facts_are_judged_by_limits() {
        let lost = WorkerFact {
            name: "v".to_owned(),
            is_lost: true,
        };
        let table: Vec<(&str, Facts, &str, Status)> = vec![
            ("well", well(), "disk", Status::Ok),
            (
                "89.9 %",
                Facts {
                    disk: Some((1_000, 899)),
                    ..well()
                },
                "disk",
                Status::Ok,
            ),
            (
                "90 %",
                Facts {
                    disk: Some((1_000, 900)),
                    ..well()
                },
                "disk",
                Status::Warning,
            ),
            (
                "95 %",
                Facts {
                    disk: Some((1_000, 950)),
                    ..well()
                },
                "disk",
                Status::Error,
            ),
            (
                "85 %",
                Facts {
                    memory: Some((1_000, 850)),
                    ..well()
                },
                "memory",
                Status::Warning,
            ),
            (
                "gone",
                Facts {
                    database: Err("no answer".into()),
                    ..well()
                },
                "database",
                Status::Error,
            ),
            (
                "slow",
                Facts {
                    database: Ok((Duration::from_secs(1), 0)),
                    ..well()
                },
                "database",
                Status::Warning,
            ),
            (
                "away",
                Facts {
                    redis: Some(Err("refused".into())),
                    ..well()
                },
                "redis",
                Status::Warning,
            ),
            (
                "ahead",
                Facts {
                    skew_ms: Some(-3_000),
                    ..well()
                },
                "clock",
                Status::Warning,
            ),
            (
                "behind",
                Facts {
                    skew_ms: Some(31_000),
                    ..well()
                },
                "clock",
                Status::Error,
            ),
            (
                "nobody",
                Facts {
                    workers: Vec::new(),
                    ..well()
                },
                "workers",
                Status::Warning,
            ),
            (
                "nobody for work",
                Facts {
                    workers: Vec::new(),
                    ..waiting(1, 0, false)
                },
                "workers",
                Status::Error,
            ),
            (
                "lost",
                Facts {
                    workers: vec![well().workers.remove(0), lost],
                    ..well()
                },
                "workers",
                Status::Warning,
            ),
            ("short wait", waiting(60, 1, false), "queues", Status::Ok),
            (
                "long wait",
                waiting(16 * 60, 1, false),
                "queues",
                Status::Warning,
            ),
            (
                "too long",
                waiting(2 * 3_600, 1, false),
                "queues",
                Status::Error,
            ),
            ("unserved", waiting(1, 0, false), "queues", Status::Warning),
            ("paused", waiting(9 * 3_600, 1, true), "queues", Status::Ok),
            (
                "late",
                Facts {
                    late_schedules: vec![("s".into(), 90_000)],
                    ..well()
                },
                "schedules",
                Status::Warning,
            ),
        ];
        for (what, facts, name, expected) in table {
            let report = judge(&facts, &Limits::default());
            let found = report.check(name).map(|check| check.status);
            assert_eq!(found, Some(expected), "{what}: {report:?}");
            let worst = report.checks.iter().map(|check| check.status).max();
            let overall = match worst {
                Some(Status::Error) => Overall::Critical,
                Some(Status::Warning) => Overall::Degraded,
                _ => Overall::Healthy,
            };
            assert_eq!(report.status, overall, "{what}");
        }
    }
}

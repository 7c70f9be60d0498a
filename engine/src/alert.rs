//! When somebody must be told that something is wrong, and that it is right again.
//!
//! Pure: [`settle`] compares what is wrong now with what somebody was told, and says what follows.
//!
//! ```text
//!   found ──held long enough?──▶ firing ──told once──▶ reminded ──gone──▶ told that it is over
//! ```

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::health::{Check, HealthReport, Overall, Status};
use crate::id::{QueueName, WorkflowName};
use crate::schedule::Timing;
use crate::time::Timestamp;

/// What is to be watched, and who is told.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Alerts {
    /// What is worth telling.
    pub rules: Vec<Rule>,
    /// How often somebody is reminded of what goes on.
    pub repeat_every: Duration,
    /// How often to look.
    pub look_every: Duration,
    /// When nobody is to be told.
    pub silences: Vec<Silence>,
    /// Addresses that get an e-mail.
    pub email: Vec<String>,
    /// Whether the webhook `alerts` is called.
    pub webhook: bool,
    /// What health is judged by.
    pub limits: crate::health::Limits,
}

impl Default for Alerts {
    fn default() -> Self {
        let rule = |name: &str, when, severity| Rule {
            name: name.to_owned(),
            when,
            severity,
            hold: Duration::ZERO,
        };
        let minutes = |n: u64| Duration::from_secs(n * 60);
        Self {
            rules: vec![
                rule(
                    "health",
                    When::Health(Overall::Critical),
                    Severity::Critical,
                ),
                Rule {
                    hold: minutes(1),
                    ..rule(
                        "queue-age",
                        When::QueueAge {
                            queue: None,
                            over: minutes(60),
                        },
                        Severity::Warning,
                    )
                },
                rule("worker-lost", When::WorkerLost, Severity::Warning),
                rule("quarantine", When::Quarantine, Severity::Warning),
            ],
            repeat_every: Duration::from_secs(4 * 3_600),
            look_every: Duration::from_secs(30),
            silences: Vec::new(),
            email: Vec::new(),
            webhook: false,
            limits: crate::health::Limits::default(),
        }
    }
}

/// Something worth telling.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// What people call it.
    pub name: String,
    /// What must be so.
    pub when: When,
    /// How bad that is.
    pub severity: Severity,
    /// For how long it must be so.
    pub hold: Duration,
}

/// What must be so for somebody to be told.
#[derive(Debug, Clone, PartialEq)]
pub enum When {
    /// Health as a whole is this bad, or worse.
    Health(Overall),
    /// One check is this bad, or worse.
    Check(String, Status),
    /// The disk is fuller than this, percent.
    Disk(f64),
    /// A queue's oldest task that could run has waited for longer.
    QueueAge {
        /// Which; any, where none is named.
        queue: Option<QueueName>,
        /// Longer than this.
        over: Duration,
    },
    /// Of a workflow's runs that began lately, more than this share failed.
    FailureRate {
        /// Which; any, where none is named.
        workflow: Option<WorkflowName>,
        /// From 0 to 1.
        over: f64,
        /// How far back.
        within: Duration,
        /// Fewer runs than this say nothing.
        at_least: u64,
    },
    /// A worker was lost.
    WorkerLost,
    /// A task was given up because it kills its workers.
    Quarantine,
}

impl std::fmt::Display for When {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let named = |what: &Option<String>, any: &str| match what {
            Some(name) => format!("`{name}`"),
            None => any.to_owned(),
        };
        match self {
            Self::Health(Overall::Degraded) => f.write_str("health is degraded or worse"),
            Self::Health(_) => f.write_str("health is critical"),
            Self::Check(name, Status::Warning) => write!(f, "check {name} warns or worse"),
            Self::Check(name, _) => write!(f, "check {name} is an error"),
            Self::Disk(over) => write!(f, "a disk is over {over} % full"),
            Self::QueueAge { queue, over } => {
                let queue = named(&queue.as_ref().map(ToString::to_string), "a queue");
                let over = humantime::format_duration(*over);
                write!(f, "the oldest task of {queue} waits for over {over}")
            }
            Self::FailureRate {
                workflow,
                over,
                within,
                at_least,
            } => {
                let workflow = named(&workflow.as_ref().map(ToString::to_string), "a workflow");
                let (percent, within) = (over * 100.0, humantime::format_duration(*within));
                write!(
                    f,
                    "over {percent:.0} % of {at_least} or more runs of {workflow} failed within {within}"
                )
            }
            Self::WorkerLost => f.write_str("a worker was lost"),
            Self::Quarantine => f.write_str("a task was given up because it kills its workers"),
        }
    }
}

/// How bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Somebody should look at it.
    Warning,
    /// Somebody must.
    Critical,
}

/// When nobody is to be told: from each tick of a timing on, for so long.
#[derive(Debug, Clone, PartialEq)]
pub struct Silence {
    /// When it begins.
    pub from: Timing,
    /// How long it lasts.
    pub lasts: Duration,
    /// Of which rules; of all, where none is named.
    pub rules: Vec<String>,
}

impl Silence {
    /// Whether it is silent about a rule at this moment.
    #[must_use]
    pub fn covers(&self, rule: &str, now: Timestamp) -> bool {
        let is_meant = self.rules.is_empty() || self.rules.iter().any(|name| name == rule);
        let begun = self
            .from
            .clockwork(Timestamp(0))
            .ok()
            .and_then(|c| c.at_or_before(now));
        is_meant && begun.is_some_and(|begun| begun.after(self.lasts) > now)
    }
}

/// What there is to look at.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    pub(crate) now: Timestamp,
    pub(crate) health: HealthReport,
    /// Queue, age of its oldest ready task in ms; paused ones left out.
    pub(crate) queues: Vec<(String, i64)>,
    /// Workflow, ended and failed, for each window that a rule asks for.
    pub(crate) ended: Vec<(Duration, String, u64, u64)>,
    /// Workers lost lately, with how people call them.
    pub(crate) lost: Vec<(String, String)>,
    /// Runs given up lately: id, and what was said.
    pub(crate) quarantined: Vec<(String, String)>,
}

/// Something that is wrong now.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Found {
    pub(crate) rule: String,
    /// What it is wrong with; empty where that goes without saying.
    pub(crate) subject: String,
    /// The machine whose own trouble it is; none where every machine finds the same.
    pub(crate) host: Option<String>,
    pub(crate) severity: Severity,
    pub(crate) message: String,
    pub(crate) hold: Duration,
}

/// What a rule finds wrong.
pub(crate) fn evaluate(rule: &Rule, facts: &Facts) -> Vec<Found> {
    let found = |subject: &str, message: String| Found {
        rule: rule.name.clone(),
        subject: subject.to_owned(),
        host: None,
        severity: rule.severity,
        message,
        hold: rule.hold,
    };
    let seconds = |ms: i64| {
        humantime::format_duration(Duration::from_secs(ms.max(0).unsigned_abs() / 1_000))
            .to_string()
    };
    match &rule.when {
        When::Health(at_least) => {
            let report = &facts.health;
            // What this machine alone finds is told apart: others would say that it is over.
            let both = [None, Some(report.host.clone())].map(|host| {
                let is_meant = |check: &&Check| check.is_shared() == host.is_none();
                let wrong = report.checks.iter().filter(is_meant);
                let wrong: Vec<&Check> = wrong.filter(|c| c.status > Status::Ok).collect();
                let worst = wrong.iter().map(|check| check.status).max()?;
                let said = wrong.iter().map(|c| format!("{}: {}", c.name, c.message));
                let said: Vec<String> = said.collect();
                (Overall::of(worst) >= *at_least).then(|| Found {
                    host,
                    ..found("", said.join("; "))
                })
            });
            both.into_iter().flatten().collect()
        }
        When::Check(name, at_least) => {
            let check = facts
                .health
                .check(name)
                .filter(|check| check.status >= *at_least);
            check
                .map(|check| Found {
                    host: (!check.is_shared()).then(|| facts.health.host.clone()),
                    ..found(name, check.message.clone())
                })
                .into_iter()
                .collect()
        }
        When::Disk(over) => {
            let disk = facts.health.check("disk");
            let percent = disk.and_then(|check| check.detail["percent"].as_f64());
            let full = percent.filter(|percent| percent > over);
            full.map(|percent| {
                let host = &facts.health.host;
                Found {
                    host: Some(host.clone()),
                    ..found(host, format!("the disk of {host} is {percent:.1} % full"))
                }
            })
            .into_iter()
            .collect()
        }
        When::QueueAge { queue, over } => {
            let over_ms = i64::try_from(over.as_millis()).unwrap_or(i64::MAX);
            let is_meant = |name: &str| queue.as_ref().is_none_or(|queue| queue.as_str() == name);
            let old = facts
                .queues
                .iter()
                .filter(|(name, age_ms)| is_meant(name) && *age_ms > over_ms);
            old.map(|(name, age_ms)| {
                found(
                    name,
                    format!(
                        "the oldest task of queue {name} waits for {}",
                        seconds(*age_ms)
                    ),
                )
            })
            .collect()
        }
        When::FailureRate {
            workflow,
            over,
            within,
            at_least,
        } => {
            let is_meant = |name: &str| workflow.as_ref().is_none_or(|w| w.as_str() == name);
            let of_window = facts.ended.iter().filter(|(window, ..)| window == within);
            of_window
                .filter(|(_, name, ended, _)| is_meant(name) && *ended >= (*at_least).max(1))
                .filter_map(|(_, name, ended, failed)| {
                    #[expect(clippy::cast_precision_loss, reason = "a share of runs")]
                    let rate = *failed as f64 / *ended as f64;
                    let percent = rate * 100.0;
                    let message = format!(
                        "{failed} of {ended} runs of {name} failed within {} ({percent:.0} %)",
                        humantime::format_duration(*within)
                    );
                    (rate > *over).then(|| found(name, message))
                })
                .collect()
        }
        When::WorkerLost => facts
            .lost
            .iter()
            .map(|(id, name)| {
                found(
                    id,
                    format!("worker {name} was lost; its work is done elsewhere"),
                )
            })
            .collect(),
        When::Quarantine => facts
            .quarantined
            .iter()
            .map(|(run, said)| found(run, format!("run {run} was given up: {said}")))
            .collect(),
    }
}

/// Something wrong that somebody was told of, or will be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Alert {
    /// By which rule.
    pub rule: String,
    /// What it is wrong with.
    pub subject: String,
    /// The machine whose own trouble it is; none where every machine finds the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, in a sentence.
    pub message: String,
    /// Since when, ms since the epoch.
    pub since: Timestamp,
    /// When somebody was told last; none where nobody was yet.
    pub told_at: Option<Timestamp>,
    /// How often somebody was told.
    pub told: u32,
}

/// What somebody is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Notice {
    /// Something is wrong.
    Fired,
    /// It still is.
    Reminder,
    /// It is right again.
    Recovered,
}

/// What follows for one alert.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Change {
    /// As it stands from now on; what is over is forgotten.
    pub(crate) alert: Alert,
    pub(crate) is_over: bool,
    pub(crate) notice: Option<Notice>,
}

impl Found {
    fn is_of(&self, alert: &Alert) -> bool {
        (&self.rule, &self.subject, &self.host) == (&alert.rule, &alert.subject, &alert.host)
    }
}

/// A machine that does not remind of its own trouble for so much longer than it should is gone, ms.
const FORSAKEN_MS: i64 = 3_600_000;

/// Compares what this machine, `here`, finds wrong with what was.
pub(crate) fn settle(
    found: &[Found],
    standing: &[Alert],
    here: &str,
    now: Timestamp,
    repeat_every: Duration,
    is_silent: impl Fn(&str) -> bool,
) -> Vec<Change> {
    let mut changes = Vec::new();
    let repeat_ms = i64::try_from(repeat_every.as_millis()).unwrap_or(i64::MAX);
    for one in found {
        let before = standing.iter().find(|alert| one.is_of(alert));
        let mut alert = before.cloned().unwrap_or_else(|| Alert {
            rule: one.rule.clone(),
            subject: one.subject.clone(),
            host: one.host.clone(),
            severity: one.severity,
            message: one.message.clone(),
            since: now,
            told_at: None,
            told: 0,
        });
        let hold_ms = i64::try_from(one.hold.as_millis()).unwrap_or(i64::MAX);
        let is_due = match alert.told_at {
            None => now.since_ms(alert.since) >= hold_ms,
            Some(at) => repeat_ms > 0 && now.since_ms(at) >= repeat_ms,
        };
        let notice = (is_due && !is_silent(&one.rule)).then_some(if alert.told == 0 {
            Notice::Fired
        } else {
            Notice::Reminder
        });
        if notice.is_some() {
            alert.message.clone_from(&one.message);
            alert.severity = one.severity;
            alert.told_at = Some(now);
            alert.told += 1;
        }
        // What only reads differently than a moment ago is no news, and not worth a write.
        if before != Some(&alert) {
            changes.push(Change {
                alert,
                is_over: false,
                notice,
            });
        }
    }
    for alert in standing {
        let is_found = found.iter().any(|one| one.is_of(alert));
        // Another machine's own trouble is its to see, unless it was not heard of for too long.
        let silent_ms = now.since_ms(alert.told_at.unwrap_or(alert.since));
        let is_gone = repeat_ms > 0 && silent_ms > repeat_ms.saturating_add(FORSAKEN_MS);
        if alert.host.as_ref().is_some_and(|host| host != here) && !is_gone {
            continue;
        }
        // Whoever was never told that it is wrong need not be told that it is right; whoever was, hears
        // of it when the silence is over.
        let was_told = alert.told > 0;
        let must_wait = was_told && is_silent(&alert.rule);
        if !is_found && !must_wait {
            changes.push(Change {
                alert: alert.clone(),
                is_over: true,
                notice: was_told.then_some(Notice::Recovered),
            });
        }
    }
    changes
}

#[cfg(test)]
mod tests;

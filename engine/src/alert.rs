//! When somebody must be told that something is wrong, and that it is right again.
//!
//! Pure: [`settle`] compares what is wrong now with what somebody was told, and says what follows.
//!
//! ```text
//!   found ──held long enough?──▶ firing ──told once──▶ reminded ──gone──▶ told that it is over
//! ```

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::health::{HealthReport, Overall, Status};
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
    pub(crate) severity: Severity,
    pub(crate) message: String,
    pub(crate) hold: Duration,
}

/// What a rule finds wrong.
pub(crate) fn evaluate(rule: &Rule, facts: &Facts) -> Vec<Found> {
    let found = |subject: &str, message: String| Found {
        rule: rule.name.clone(),
        subject: subject.to_owned(),
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
            if report.status < *at_least {
                return Vec::new();
            }
            let wrong: Vec<String> = report
                .checks
                .iter()
                .filter(|check| check.status > Status::Ok)
                .map(|check| format!("{}: {}", check.name, check.message))
                .collect();
            vec![found("", wrong.join("; "))]
        }
        When::Check(name, at_least) => {
            let check = facts
                .health
                .check(name)
                .filter(|check| check.status >= *at_least);
            check
                .map(|check| found(name, check.message.clone()))
                .into_iter()
                .collect()
        }
        When::Disk(over) => {
            let disk = facts.health.check("disk");
            let percent = disk.and_then(|check| check.detail["percent"].as_f64());
            let full = percent.filter(|percent| percent > over);
            full.map(|percent| {
                let host = &facts.health.host;
                found(host, format!("the disk of {host} is {percent:.1} % full"))
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

/// Compares what is wrong with what was.
pub(crate) fn settle(
    found: &[Found],
    standing: &[Alert],
    now: Timestamp,
    repeat_every: Duration,
    is_silent: impl Fn(&str) -> bool,
) -> Vec<Change> {
    let mut changes = Vec::new();
    let repeat_ms = i64::try_from(repeat_every.as_millis()).unwrap_or(i64::MAX);
    for one in found {
        let before = standing
            .iter()
            .find(|alert| alert.rule == one.rule && alert.subject == one.subject);
        let mut alert = before.cloned().unwrap_or_else(|| Alert {
            rule: one.rule.clone(),
            subject: one.subject.clone(),
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
        let is_found = found
            .iter()
            .any(|one| one.rule == alert.rule && one.subject == alert.subject);
        // Whoever was never told that it is wrong need not be told that it is right; whoever was, hears
        // of it when the silence is over.
        let was_told = alert.told > 0;
        if !is_found && !(was_told && is_silent(&alert.rule)) {
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
mod tests {
    use super::*;

    const HOUR_MS: i64 = 3_600_000;

    fn found(hold_s: u64) -> Vec<Found> {
        vec![Found {
            rule: "disk".to_owned(),
            subject: "a".to_owned(),
            severity: Severity::Critical,
            message: "full".to_owned(),
            hold: Duration::from_secs(hold_s),
        }]
    }

    /// Plays looks at these times; gives what was told, with its time.
    fn play(looks: &[(i64, bool, bool)], hold_s: u64) -> Vec<(i64, Notice)> {
        let (mut standing, mut told) = (Vec::<Alert>::new(), Vec::new());
        for (at, is_wrong, is_silent) in looks {
            let now = if *is_wrong { found(hold_s) } else { Vec::new() };
            let repeat = Duration::from_secs(4 * 3_600);
            for change in settle(&now, &standing, Timestamp(*at), repeat, |_| *is_silent) {
                standing.retain(|alert| alert.subject != change.alert.subject);
                if !change.is_over {
                    standing.push(change.alert);
                }
                told.extend(change.notice.map(|notice| (*at, notice)));
            }
        }
        told
    }

    #[test]
    fn somebody_is_told_once_reminded_and_told_that_it_is_over() {
        use Notice::{Fired, Recovered, Reminder};
        let looks = |from: i64, to: i64, step: i64, wrong: bool| {
            (from..to)
                .step_by(usize::try_from(step).expect("small"))
                .map(move |at| (at, wrong, false))
        };
        let minute = 60_000;
        let all: Vec<_> = looks(0, 9 * HOUR_MS, minute, true)
            .chain(looks(9 * HOUR_MS, 10 * HOUR_MS, minute, false))
            .collect();
        assert_eq!(
            play(&all, 0),
            [
                (0, Fired),
                (4 * HOUR_MS, Reminder),
                (8 * HOUR_MS, Reminder),
                (9 * HOUR_MS, Recovered)
            ]
        );
    }

    #[test]
    fn what_passes_before_it_was_held_long_enough_is_never_told() {
        let looks = [
            (0, true, false),
            (30_000, true, false),
            (59_000, false, false),
            (70_000, true, false),
        ];
        assert_eq!(play(&looks, 60), []);
        let looks = [
            (0, true, false),
            (60_000, true, false),
            (61_000, true, false),
        ];
        assert_eq!(play(&looks, 60), [(60_000, Notice::Fired)]);
    }

    #[test]
    fn in_silence_nobody_is_told_and_afterwards_what_still_counts() {
        use Notice::{Fired, Recovered};
        let looks = [
            (0, true, true),
            (1, true, true),
            (2, true, false),
            (3, false, true),
            (4, false, false),
        ];
        assert_eq!(play(&looks, 0), [(2, Fired), (4, Recovered)]);
        let looks = [(0, true, true), (1, false, true), (2, false, false)];
        assert_eq!(play(&looks, 0), [], "it came and went unheard");
    }

    #[test]
    fn a_silence_covers_its_rules_for_its_time() {
        let silence = Silence {
            from: Timing::parse("0 22 * * *", Some("UTC")).expect("a time"),
            lasts: Duration::from_secs(8 * 3_600),
            rules: vec!["disk".to_owned()],
        };
        let at = |text| crate::schedule::moment(text).expect("a time");
        for (time, expected) in [
            ("2026-01-01T21:59:59Z", false),
            ("2026-01-01T22:00:00Z", true),
            ("2026-01-02T05:59:59Z", true),
            ("2026-01-02T06:00:00Z", false),
        ] {
            assert_eq!(silence.covers("disk", at(time)), expected, "{time}");
            assert!(!silence.covers("other", at(time)));
        }
    }

    #[test]
    fn rules_find_what_they_look_for() {
        let disk = crate::health::Check {
            name: "disk".to_owned(),
            status: Status::Error,
            message: "97 % in use".to_owned(),
            detail: serde_json::json!({ "percent": 97.0 }),
        };
        let facts = Facts {
            now: Timestamp(0),
            health: HealthReport {
                status: Overall::Critical,
                checked_at_ms: 0,
                host: "h".to_owned(),
                checks: vec![disk],
            },
            queues: vec![("gpu".to_owned(), 61_000), ("cpu".to_owned(), 59_000)],
            ended: vec![(Duration::from_secs(60), "w".to_owned(), 10, 3)],
            lost: vec![("1".to_owned(), "w1".to_owned())],
            quarantined: vec![("r".to_owned(), "killed three".to_owned())],
        };
        let rate = |over, at_least| When::FailureRate {
            workflow: None,
            over,
            within: Duration::from_secs(60),
            at_least,
        };
        let age = |queue: Option<&str>, seconds| When::QueueAge {
            queue: queue.map(|name| QueueName::new(name).expect("a name")),
            over: Duration::from_secs(seconds),
        };
        let table: Vec<(When, &[&str])> = vec![
            (When::Health(Overall::Critical), &[""]),
            (When::Health(Overall::Degraded), &[""]),
            (When::Check("disk".to_owned(), Status::Warning), &["disk"]),
            (When::Check("memory".to_owned(), Status::Warning), &[]),
            (When::Disk(90.0), &["h"]),
            (When::Disk(97.0), &[]),
            (age(None, 60), &["gpu"]),
            (age(None, 10), &["gpu", "cpu"]),
            (age(Some("cpu"), 10), &["cpu"]),
            (age(Some("cpu"), 60), &[]),
            (rate(0.2, 5), &["w"]),
            (rate(0.3, 5), &[]),
            (rate(0.2, 11), &[]),
            (When::WorkerLost, &["1"]),
            (When::Quarantine, &["r"]),
        ];
        for (when, expected) in table {
            let rule = Rule {
                name: "r".to_owned(),
                when,
                severity: Severity::Warning,
                hold: Duration::ZERO,
            };
            let found = evaluate(&rule, &facts);
            let subjects: Vec<&str> = found.iter().map(|one| one.subject.as_str()).collect();
            assert_eq!(subjects, expected, "{:?}", rule.when);
        }
    }
}

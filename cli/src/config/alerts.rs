//! `[health]` and `[alerts]`: what is too much, and who is told.

use std::time::Duration;

use aquatint_engine::alert::{Alerts, Rule, Severity, Silence, When};
use aquatint_engine::health::{Limits, Overall, Status};
use aquatint_engine::id::{QueueName, WorkflowName};
use aquatint_engine::schedule::Timing;
use serde::Deserialize;

use crate::exit::{Exit, Result};

/// `[health]` of a file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HealthKeys {
    #[serde(default)]
    disk_warning: Option<f64>,
    #[serde(default)]
    disk_critical: Option<f64>,
    #[serde(default)]
    memory_warning: Option<f64>,
    #[serde(default)]
    memory_critical: Option<f64>,
    #[serde(default)]
    wait_warning: Option<String>,
    #[serde(default)]
    wait_critical: Option<String>,
}

/// `[alerts]` of a file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AlertKeys {
    #[serde(default)]
    off: bool,
    #[serde(default)]
    email: Vec<String>,
    #[serde(default)]
    webhook_url: Option<String>,
    #[serde(default)]
    webhook_secret: Option<String>,
    #[serde(default)]
    repeat_every: Option<String>,
    #[serde(default)]
    look_every: Option<String>,
    #[serde(default)]
    rules: Option<Vec<RuleKeys>>,
    #[serde(default)]
    silences: Vec<SilenceKeys>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleKeys {
    name: String,
    when: Kind,
    #[serde(default)]
    severity: Option<Severity>,
    #[serde(default, rename = "for")]
    hold: Option<String>,
    /// Of a check.
    #[serde(default)]
    check: Option<String>,
    #[serde(default)]
    at_least: Option<toml::Value>,
    #[serde(default)]
    queue: Option<QueueName>,
    #[serde(default)]
    workflow: Option<WorkflowName>,
    /// A duration, a percentage or a share.
    #[serde(default)]
    over: Option<toml::Value>,
    #[serde(default)]
    within: Option<String>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Health,
    Check,
    Disk,
    QueueAge,
    FailureRate,
    WorkerLost,
    Quarantine,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SilenceKeys {
    cron: String,
    #[serde(default)]
    zone: Option<String>,
    #[serde(rename = "for")]
    lasts: String,
    #[serde(default)]
    rules: Vec<String>,
}

/// Who is told of what is wrong, and by what health is judged.
#[derive(Debug)]
pub(crate) struct AlertSettings {
    /// Nothing where alerts are off.
    pub(crate) alerts: Option<Alerts>,
    pub(crate) limits: Limits,
    /// Address and secret of the webhook `alerts`.
    pub(crate) webhook: Option<(String, secrecy::SecretString)>,
}

impl AlertSettings {
    pub(super) fn read(
        health: &HealthKeys,
        keys: AlertKeys,
        at: &impl Fn(&str) -> String,
    ) -> Result<Self> {
        let limits = limits(health, at)?;
        let webhook = match (keys.webhook_url, keys.webhook_secret) {
            (Some(url), Some(secret)) => {
                let is_address = url.starts_with("https://") || url.starts_with("http://");
                if !is_address || url.contains('@') {
                    return Err(Exit::Usage(format!(
                        "{}: expected https://HOST/PATH, without a user name",
                        at("alerts.webhook_url")
                    )));
                }
                if !aquatint_api::is_webhook_secret(&secret) {
                    return Err(Exit::Usage(format!(
                        "{}: expected `whsec_` and base64 of 24 to 64 bytes",
                        at("alerts.webhook_secret")
                    )));
                }
                Some((url, secret.into()))
            }
            (None, None) => None,
            (Some(_), None) => {
                return Err(Exit::Usage(format!(
                    "{}: messages are signed; add alerts.webhook_secret = \"whsec_…\"",
                    at("alerts.webhook_url")
                )));
            }
            (None, Some(_)) => {
                return Err(Exit::Usage(format!(
                    "{}: there is no alerts.webhook_url to sign for",
                    at("alerts.webhook_secret")
                )));
            }
        };
        let mut alerts = Alerts::default();
        alerts.limits = limits.clone();
        alerts.webhook = webhook.is_some();
        if let Some(odd) = keys.email.iter().find(|address| !address.contains('@')) {
            let place = at("alerts.email");
            return Err(Exit::Usage(format!(
                "{place}: `{odd}` is no e-mail address"
            )));
        }
        alerts.email = keys.email;
        if let Some(text) = &keys.repeat_every {
            alerts.repeat_every = duration(text, "alerts.repeat_every", at)?;
        }
        if let Some(text) = &keys.look_every {
            alerts.look_every =
                duration(text, "alerts.look_every", at)?.max(Duration::from_secs(1));
        }
        if let Some(rules) = keys.rules {
            alerts.rules = rules
                .into_iter()
                .map(|keys| rule(keys, at))
                .collect::<Result<_>>()?;
        }
        alerts.silences = keys
            .silences
            .into_iter()
            .map(|keys| silence(keys, &alerts.rules, at))
            .collect::<Result<_>>()?;
        Ok(Self {
            alerts: (!keys.off).then_some(alerts),
            limits,
            webhook,
        })
    }
}

fn duration(text: &str, key: &str, at: &impl Fn(&str) -> String) -> Result<Duration> {
    humantime::parse_duration(text).map_err(|_| {
        Exit::Usage(format!(
            "{}: expected a duration, got `{text}`; example: 30m",
            at(key)
        ))
    })
}

fn limits(keys: &HealthKeys, at: &impl Fn(&str) -> String) -> Result<Limits> {
    let mut limits = Limits::default();
    for (key, given, limit) in [
        ("health.disk_warning", keys.disk_warning, &mut limits.disk.0),
        (
            "health.disk_critical",
            keys.disk_critical,
            &mut limits.disk.1,
        ),
        (
            "health.memory_warning",
            keys.memory_warning,
            &mut limits.memory.0,
        ),
        (
            "health.memory_critical",
            keys.memory_critical,
            &mut limits.memory.1,
        ),
    ] {
        if let Some(percent) = given {
            if !(0.0..=100.0).contains(&percent) {
                return Err(Exit::Usage(format!(
                    "{}: expected a percentage from 0 to 100, got {percent}",
                    at(key)
                )));
            }
            *limit = percent;
        }
    }
    for (key, given, limit) in [
        (
            "health.wait_warning",
            &keys.wait_warning,
            &mut limits.wait.0,
        ),
        (
            "health.wait_critical",
            &keys.wait_critical,
            &mut limits.wait.1,
        ),
    ] {
        if let Some(text) = given {
            *limit = duration(text, key, at)?;
        }
    }
    Ok(limits)
}

fn rule(keys: RuleKeys, at: &impl Fn(&str) -> String) -> Result<Rule> {
    let name = keys.name;
    let wrong =
        |what: String| Exit::Usage(format!("{}: rule `{name}`: {what}", at("alerts.rules")));
    let span = |value: Option<&toml::Value>, key: &str, example: &str| -> Result<Duration> {
        let text = value.and_then(toml::Value::as_str);
        let span = text.and_then(|text| humantime::parse_duration(text).ok());
        span.ok_or_else(|| {
            wrong(format!(
                "`{key}` must be a duration, as in `{key} = \"{example}\"`"
            ))
        })
    };
    let number = |value: Option<&toml::Value>| {
        #[expect(clippy::cast_precision_loss, reason = "a percentage")]
        value.and_then(|v| v.as_float().or_else(|| v.as_integer().map(|n| n as f64)))
    };
    let word = keys.at_least.as_ref().and_then(toml::Value::as_str);
    let when = match keys.when {
        Kind::Health => When::Health(match word {
            None | Some("critical") => Overall::Critical,
            Some("degraded") => Overall::Degraded,
            Some(other) => {
                return Err(wrong(format!(
                    "`at_least` must be degraded or critical, got `{other}`"
                )));
            }
        }),
        Kind::Check => {
            let status = match word {
                None | Some("error") => Status::Error,
                Some("warning") => Status::Warning,
                Some(other) => {
                    return Err(wrong(format!(
                        "`at_least` must be warning or error, got `{other}`"
                    )));
                }
            };
            let check = keys.check.clone();
            let check =
                check.ok_or_else(|| wrong("say which, as in `check = \"redis\"`".to_owned()))?;
            When::Check(check, status)
        }
        Kind::Disk => {
            let over = number(keys.over.as_ref()).filter(|over| (0.0..=100.0).contains(over));
            When::Disk(
                over.ok_or_else(|| {
                    wrong("say from which percentage, as in `over = 90`".to_owned())
                })?,
            )
        }
        Kind::QueueAge => When::QueueAge {
            queue: keys.queue.clone(),
            over: span(keys.over.as_ref(), "over", "30m")?,
        },
        Kind::FailureRate => {
            let over = number(keys.over.as_ref()).filter(|over| (0.0..1.0).contains(over));
            let within = keys.within.clone().map(toml::Value::String);
            let at_least = keys.at_least.as_ref().and_then(toml::Value::as_integer);
            When::FailureRate {
                workflow: keys.workflow.clone(),
                over: over
                    .ok_or_else(|| wrong("say from which share, as in `over = 0.2`".to_owned()))?,
                within: match &within {
                    Some(_) => span(within.as_ref(), "within", "1h")?,
                    None => Duration::from_secs(3_600),
                },
                at_least: at_least.and_then(|n| u64::try_from(n).ok()).unwrap_or(5),
            }
        }
        Kind::WorkerLost => When::WorkerLost,
        Kind::Quarantine => When::Quarantine,
    };
    let hold = keys.hold.clone().map(toml::Value::String);
    let hold = match &hold {
        Some(_) => span(hold.as_ref(), "for", "5m")?,
        None => Duration::ZERO,
    };
    Ok(Rule {
        name,
        when,
        severity: keys.severity.unwrap_or(Severity::Warning),
        hold,
    })
}

fn silence(keys: SilenceKeys, rules: &[Rule], at: &impl Fn(&str) -> String) -> Result<Silence> {
    let place = at("alerts.silences");
    let from = Timing::parse(&keys.cron, keys.zone.as_deref()).map_err(|error| {
        let help = error.help.unwrap_or_default();
        Exit::Usage(format!("{place}: {}; {help}", error.message))
    })?;
    let is_known = |name: &String| rules.iter().any(|rule| rule.name == *name);
    if let Some(unknown) = keys.rules.iter().find(|name| !is_known(name)) {
        let known: Vec<&str> = rules.iter().map(|rule| rule.name.as_str()).collect();
        return Err(Exit::Usage(format!(
            "{place}: there is no rule `{unknown}`; there are: {}",
            known.join(", ")
        )));
    }
    Ok(Silence {
        from,
        lasts: duration(&keys.lasts, "alerts.silences", at)?,
        rules: keys.rules,
    })
}

//! Alerts: what is wrong is looked for, written down, and told of by a run of `alert-delivery`.
//!
//! The run begins in the commit that writes down that somebody was told, so of several processes that look
//! at once, one tells, and a crash tells either nobody, and the next look does, or once.

use serde_json::{Value, json};

use super::{Engine, Submission};
use crate::alert::{Alert, Alerts, Change, Facts, Notice, Severity, When, evaluate, settle};
use crate::error::EngineError;
use crate::library::LibraryError;
use crate::permission::Permission;
use crate::run::RunState;
use crate::store::{Answer, Fire, Keep, Op, WorkerState};
use crate::time::Timestamp;

const KIND: &str = "alert";
/// Rules that somebody asked to be silent about, until when.
const SILENCE: &str = "silence";
/// The workflow that tells.
const DELIVERY: &str = "alert-delivery";
/// A lost worker and a task given up are wrong for so long, ms: then that is history.
const RECENT_MS: i64 = 15 * 60_000;
/// A run that is given up may have begun so much earlier, ms.
const LONG_MS: i64 = 7 * 24 * 3_600_000;
/// Told of at a time: where more is wrong, the rest follows with the next look.
const MANY: usize = 100;

/// What a look came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Looked {
    /// Alerts that are firing.
    pub firing: usize,
    /// Notices that this look began to deliver.
    pub told: usize,
}

impl Engine {
    /// What is wrong now, as it was last looked at.
    ///
    /// # Errors
    /// A store error.
    pub async fn alerts(&self) -> Result<Vec<Alert>, EngineError> {
        let kept = self.kept_alerts().await?;
        Ok(kept.into_iter().map(|(_, _, alert)| alert).collect())
    }

    async fn kept_alerts(&self) -> Result<Vec<(String, i64, Alert)>, EngineError> {
        let records = self.shared.store.records(KIND).await?;
        let kept = records.into_iter().filter_map(|record| {
            let alert = serde_json::from_value(record.body)
                .inspect_err(|error| tracing::error!(%error, "an alert's record cannot be read"));
            Some((record.id, record.revision, alert.ok()?))
        });
        Ok(kept.collect())
    }

    /// Tells nobody of what a rule finds until then; what still counts then is told.
    ///
    /// # Errors
    /// A store error.
    pub async fn silence(&self, rule: &str, until: Timestamp) -> Result<(), EngineError> {
        self.keep(SILENCE, rule, &json!(until), None)
            .await
            .map(drop)
    }

    /// Rules that somebody asked to be silent about, until when.
    ///
    /// # Errors
    /// A store error.
    pub async fn silenced(&self) -> Result<Vec<(String, Timestamp)>, EngineError> {
        let now = self.now();
        let records = self.records(SILENCE).await?;
        let until = records
            .into_iter()
            .filter_map(|record| Some((record.id, Timestamp(record.body.as_i64()?))));
        Ok(until.filter(|(_, until)| *until > now).collect())
    }

    /// Looks whether anything is wrong, and begins to tell whoever is to be told; schedulers do so every
    /// half minute.
    ///
    /// # Errors
    /// A store error.
    pub async fn watch_alerts(&self, alerts: &Alerts) -> Result<Looked, EngineError> {
        let facts = self.facts_for(alerts).await?;
        let now = facts.now;
        let found: Vec<_> = alerts
            .rules
            .iter()
            .flat_map(|rule| evaluate(rule, &facts))
            .collect();
        let kept = self.kept_alerts().await?;
        let asked = self.silenced().await?;
        let standing: Vec<Alert> = kept.iter().map(|(_, _, alert)| alert.clone()).collect();
        let is_silent = |rule: &str| {
            asked.iter().any(|(name, _)| name == rule || name == "all")
                || alerts
                    .silences
                    .iter()
                    .any(|silence| silence.covers(rule, now))
        };
        let mut changes = settle(
            &found,
            &standing,
            &facts.health.host,
            now,
            alerts.repeat_every,
            is_silent,
        );
        changes.truncate(MANY);
        let mut looked = Looked {
            firing: found.len(),
            told: 0,
        };
        for change in changes {
            let id = id(&change.alert);
            let seen = kept.iter().find(|(known, ..)| *known == id);
            let seen = seen.map_or(0, |(_, revision, _)| *revision);
            looked.told += usize::from(self.announce(alerts, &id, seen, &change).await?);
        }
        Ok(looked)
    }

    /// Writes down what follows, and begins to tell; whether it was this process that did.
    async fn announce(
        &self,
        alerts: &Alerts,
        id: &str,
        seen: i64,
        change: &Change,
    ) -> Result<bool, EngineError> {
        let alert = &change.alert;
        let runs = match change.notice {
            // Nobody but the log is to be told: that needs no run.
            Some(_) if alerts.email.is_empty() && !alerts.webhook => Vec::new(),
            Some(notice) => match self.delivery(alerts, alert, notice) {
                Ok(run) => run.into_iter().collect(),
                // A broken `alert-delivery` of somebody's own must not silence the log too, nor other alerts.
                Err(error) => {
                    tracing::error!(%error, "an alert can be told by the log only");
                    Vec::new()
                }
            },
            None => Vec::new(),
        };
        let body = serde_json::to_string(alert).expect("an alert is plain");
        let keep = Keep {
            kind: KIND,
            id: id.to_owned(),
            body: (!change.is_over).then_some(body),
            seen: Some(seen),
            due_at: None,
        };
        let answer = self
            .shared
            .store
            .write(Op::Fire(Box::new(Fire { keep, runs })))
            .await?;
        let Answer::Fired(Some(_)) = answer else {
            return Ok(false);
        };
        let (rule, message) = (&alert.rule, &alert.message);
        match (change.notice, alert.severity) {
            (Some(Notice::Recovered), _) => {
                tracing::info!(alert.rule = %rule, "alert `{rule}` is over: {message}");
            }
            (Some(Notice::Fired | Notice::Reminder), Severity::Critical) => {
                tracing::error!(alert.rule = %rule, "alert `{rule}`: {message}");
            }
            (Some(Notice::Fired | Notice::Reminder), Severity::Warning) => {
                tracing::warn!(alert.rule = %rule, "alert `{rule}`: {message}");
            }
            (None, _) => {}
        }
        Ok(change.notice.is_some())
    }

    fn delivery(
        &self,
        alerts: &Alerts,
        alert: &Alert,
        notice: Notice,
    ) -> Result<Option<crate::run::NewRun>, EngineError> {
        let definition = match self.library().get(DELIVERY) {
            Ok(definition) => definition,
            // A library of somebody's own: the log tells, and the record.
            Err(LibraryError::Unknown { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let word = match notice {
            Notice::Fired => alert_word(alert.severity),
            Notice::Reminder => "still",
            Notice::Recovered => "over",
        };
        let subject = match alert.subject.as_str() {
            "" => format!("[aquatint] {word}: {}", alert.rule),
            subject => format!("[aquatint] {word}: {} ({subject})", alert.rule),
        };
        let subject: String = subject
            .chars()
            .filter(|c| !c.is_control())
            .take(180)
            .collect();
        let mut text = format!(
            "{}\n\nrule: {}\nsince: {}\ntold: {} times\n",
            alert.message, alert.rule, alert.since, alert.told
        );
        if let Some(host) = &alert.host {
            text.push_str(&format!("machine: {host}\n"));
        }
        let inputs = json!({
            "alert": {
                "rule": alert.rule,
                "subject": alert.subject,
                "host": alert.host,
                "severity": alert.severity,
                "notice": notice,
                "message": alert.message,
                "since": alert.since.to_string(),
            },
            "subject": subject,
            "text": text,
            "email": alerts.email,
            "webhook": alerts.webhook,
            "message": format!("alert-{}", uuid::Uuid::new_v4().simple()),
        });
        let submission = Submission {
            tags: vec!["aquatint:alert".to_owned()],
            priority: 100,
            permission: Permission::Admin,
            ..Submission::new(DELIVERY, inputs)
        };
        self.prepare(&definition, submission).map(Some)
    }

    async fn facts_for(&self, alerts: &Alerts) -> Result<Facts, EngineError> {
        let health = self.health(&alerts.limits).await;
        let now = self.now();
        let mut facts = Facts {
            now,
            health,
            queues: Vec::new(),
            ended: Vec::new(),
            lost: Vec::new(),
            quarantined: Vec::new(),
        };
        for queue in self.queues().await? {
            if let Some(at) = queue.oldest_ready_at.filter(|_| !queue.paused) {
                facts
                    .queues
                    .push((queue.name.to_string(), now.since_ms(at)));
            }
        }
        let windows = alerts.rules.iter().filter_map(|rule| match &rule.when {
            When::FailureRate { within, .. } => Some(*within),
            When::Health(_)
            | When::Check(..)
            | When::Disk(_)
            | When::QueueAge { .. }
            | When::WorkerLost
            | When::Quarantine => None,
        });
        let mut windows: Vec<_> = windows.collect();
        windows.sort();
        windows.dedup();
        for window in windows {
            let window_ms = i64::try_from(window.as_millis()).unwrap_or(i64::MAX);
            let since = Timestamp(now.0.saturating_sub(window_ms));
            let mut by_workflow = std::collections::BTreeMap::<String, (u64, u64)>::new();
            for (workflow, state, many) in self.shared.store.ended_since(since).await? {
                let (ended, failed) = by_workflow.entry(workflow).or_default();
                match state {
                    RunState::Succeeded => *ended += many,
                    RunState::Failed => {
                        *ended += many;
                        *failed += many;
                    }
                    // Nobody's fault.
                    RunState::Cancelled | RunState::Pending | RunState::Running => {}
                }
            }
            let counted = by_workflow.into_iter();
            facts
                .ended
                .extend(counted.map(|(name, (ended, failed))| (window, name, ended, failed)));
        }
        let recent = Timestamp(now.0 - RECENT_MS);
        for worker in self.workers(true).await? {
            if worker.state == WorkerState::Lost && worker.seen_at > recent {
                let id = worker.id.to_string();
                let name = worker
                    .name
                    .unwrap_or_else(|| format!("{}@{}", &id[..8], worker.host));
                facts.lost.push((id, name));
            }
        }
        let long_ago = Timestamp((now.0 - LONG_MS).max(0));
        let given_up = self
            .shared
            .store
            .quarantined_since(long_ago, recent)
            .await?;
        let said = given_up
            .into_iter()
            .map(|(run, _, message)| (run.to_string(), message));
        facts.quarantined = said.collect();
        Ok(facts)
    }
}

fn alert_word(severity: Severity) -> &'static str {
    match severity {
        Severity::Warning => "warning",
        Severity::Critical => "critical",
    }
}

/// What an alert's record is called.
fn id(alert: &Alert) -> String {
    let subject: Value = json!([alert.rule, alert.subject, alert.host]);
    let hash = blake3::hash(subject.to_string().as_bytes());
    hash.to_hex()[..32].to_owned()
}

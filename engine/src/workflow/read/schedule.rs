//! When a workflow begins by itself, and who is told of its end.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::template::{Around, RunFacts};
use super::{Reader, place};
use crate::id::{StepName, WorkflowName};
use crate::run::{Ending, Notify};
use crate::schedule::{Misfire, Overlap, Schedule, Timing, TimingError};
use crate::workflow::diagnostic::Span;
use crate::workflow::source::{Data, Entry, Node, pointer};
use crate::workflow::{InputSchema, Prepared, Scheduled, Scope, Template};

/// Schedules of one workflow at most.
const MAX_SCHEDULES: usize = 32;
/// Those who are told of a run's end at most, in all.
const MAX_TOLD: usize = 16;

const KEYS: [&str; 11] = [
    "name",
    "description",
    "cron",
    "every",
    "zone",
    "inputs",
    "overlap",
    "misfire",
    "window",
    "jitter",
    "priority",
];
const OVERLAPS: [(&str, Overlap); 4] = [
    ("skip", Overlap::Skip),
    ("queue", Overlap::Queue),
    ("cancel", Overlap::Cancel),
    ("allow", Overlap::Allow),
];
const MISFIRES: [(&str, Misfire); 3] = [
    ("skip", Misfire::Skip),
    ("once", Misfire::Once),
    ("catch_up", Misfire::CatchUp),
];
const NOTIFY_KEYS: [&str; 3] = ["on", "email", "webhook"];
const ENDINGS: [(&str, Ending); 3] = [
    ("succeeded", Ending::Succeeded),
    ("failed", Ending::Failed),
    ("cancelled", Ending::Cancelled),
];

impl Reader<'_> {
    /// `schedule:`: a time, an object, or a list of objects.
    pub(super) fn schedules(
        &mut self,
        root: &Node,
        workflow: Option<&WorkflowName>,
        inputs: &Map<String, Value>,
    ) -> Vec<Scheduled> {
        let (Some(entry), Some(workflow)) = (root.get("schedule"), workflow) else {
            return Vec::new();
        };
        let at = "/schedule";
        let span = place(entry);
        match &entry.value.data {
            Data::Text(text) => {
                let timing = self.timing(text, entry.value.span, at, None);
                let schedule = timing.map(|timing| Schedule::new(workflow.clone(), timing));
                let node = schedule.map(|schedule| Scheduled {
                    name: None,
                    schedule,
                });
                if let Some(scheduled) = &node {
                    self.try_inputs(&scheduled.schedule, inputs, span, at);
                }
                node.into_iter().collect()
            }
            Data::Map(_) => self
                .schedule(&entry.value, span, at, workflow, inputs)
                .into_iter()
                .collect(),
            Data::List(list) => {
                if list.len() > MAX_SCHEDULES {
                    let message = format!("{} schedules; {MAX_SCHEDULES} are the most", list.len());
                    self.report("too-many", entry.key_span, at, message, None);
                    return Vec::new();
                }
                let mut names = BTreeSet::new();
                let mut schedules = Vec::new();
                for (i, node) in list.iter().enumerate() {
                    let at = pointer(at, &i.to_string());
                    let Some(one) = self.schedule(node, node.span, &at, workflow, inputs) else {
                        continue;
                    };
                    let name = one.name.as_ref().map(ToString::to_string);
                    if name.is_none() && list.len() > 1 || !names.insert(name) {
                        self.report(
                            "bad-name",
                            node.span,
                            &at,
                            "each of several schedules needs a name of its own",
                            "add `name: nightly`, for example".to_owned(),
                        );
                    }
                    schedules.push(one);
                }
                schedules
            }
            _ => {
                let help = "write `schedule: \"0 3 * * *\"`, or an object with `cron` or `every`";
                self.wrong_type(span, at, "a time or an object", &entry.value, help);
                Vec::new()
            }
        }
    }

    fn schedule(
        &mut self,
        node: &Node,
        span: Span,
        at: &str,
        workflow: &WorkflowName,
        declared: &Map<String, Value>,
    ) -> Option<Scheduled> {
        self.object(node, span, at, "`schedule`", Some(&KEYS))?;
        let name = match node.get("name") {
            Some(entry) => self.schedule_name(entry, &pointer(at, "name")),
            None => None,
        };
        let mut schedule = Schedule::new(workflow.clone(), self.when(node, span, at)?);
        schedule.description = self.optional_text(node, at, "description");
        if let Some(entry) = node.get("overlap") {
            schedule.overlap = self.choice(entry, &pointer(at, "overlap"), &OVERLAPS)?;
        }
        if let Some(entry) = node.get("misfire") {
            schedule.misfire = self.choice(entry, &pointer(at, "misfire"), &MISFIRES)?;
        }
        if let Some(entry) = node.get("window") {
            schedule.window_ms = self.duration_of(node, at, "window")?;
            if schedule.misfire != Misfire::CatchUp {
                self.report(
                    "bad-value",
                    place(entry),
                    &pointer(at, "window"),
                    "`window` says how far back `misfire: catch_up` goes, and that is not asked for",
                    "add `misfire: catch_up`, or leave `window` out".to_owned(),
                );
            }
        }
        if let Some(jitter_ms) = self.duration_of(node, at, "jitter") {
            schedule.jitter_ms = jitter_ms;
        }
        if let Some(entry) = node.get("priority") {
            schedule.priority = self.integer(entry, &pointer(at, "priority"), -1_000, 1_000)?;
        }
        let mut place_of_inputs = span;
        if let Some(entry) = node.get("inputs") {
            let at = pointer(at, "inputs");
            self.object(&entry.value, place(entry), &at, "`inputs`", None)?;
            let around = Around {
                no_steps: Some("a schedule's inputs are made before any step has run"),
                run: RunFacts::Schedule,
                ..Around::default()
            };
            schedule.inputs = self.template(&entry.value, &at, &around);
            place_of_inputs = place(entry);
        }
        self.try_inputs(&schedule, declared, place_of_inputs, &pointer(at, "inputs"));
        Some(Scheduled { name, schedule })
    }

    fn schedule_name(&mut self, entry: &Entry, at: &str) -> Option<StepName> {
        let name = self.text(entry, at)?;
        match StepName::new(name) {
            Ok(name) => Some(name),
            Err(error) => {
                let message = format!("`{name}` is no name for a schedule");
                let help = format!("expected {}", error.rule);
                self.report("bad-name", place(entry), at, message, help);
                None
            }
        }
    }

    fn when(&mut self, node: &Node, span: Span, at: &str) -> Option<Timing> {
        let zone = match node.get("zone") {
            Some(entry) => Some(self.text(entry, &pointer(at, "zone"))?),
            None => None,
        };
        match (node.get("cron"), node.get("every")) {
            (Some(entry), None) => {
                let at_cron = pointer(at, "cron");
                let text = self.text(entry, &at_cron)?;
                let zone_span = node.get("zone").map(|zone| zone.value.span);
                self.timing(text, entry.value.span, &at_cron, zone.zip(zone_span))
            }
            (None, Some(entry)) => {
                let at_every = pointer(at, "every");
                if !matches!(entry.value.data, Data::Text(_)) {
                    // A bare number lacks its unit, and that is said as of any duration.
                    self.duration(entry, &at_every);
                    return None;
                }
                let text = self.text(entry, &at_every)?;
                let zone_span = node.get("zone").map(|zone| zone.value.span);
                let text = format!("@every {text}");
                self.timing(&text, entry.value.span, &at_every, zone.zip(zone_span))
            }
            (None, None) => {
                self.report(
                    "missing-key",
                    span,
                    at,
                    "a schedule needs a time",
                    "add `cron: \"0 3 * * *\"` or `every: 90s`".to_owned(),
                );
                None
            }
            (Some(_), Some(entry)) => {
                let message = "a schedule goes by `cron` or by `every`, not by both";
                self.report("bad-value", place(entry), at, message, None);
                None
            }
        }
    }

    fn timing(
        &mut self,
        text: &str,
        span: Span,
        at: &str,
        zone: Option<(&str, Span)>,
    ) -> Option<Timing> {
        match Timing::parse(text, zone.map(|(zone, _)| zone)) {
            Ok(timing) => Some(timing),
            Err(TimingError {
                message,
                help,
                place,
                is_zone,
            }) => {
                let span = match (zone, place) {
                    (Some((_, zone)), _) if is_zone => zone,
                    (_, Some((begin, length))) => {
                        // Quotes, where there are any, come before the text.
                        let raw = span.of(&self.text.text);
                        let quoted = raw.find(text.trim()).unwrap_or(0);
                        Span::new(span.start + quoted + begin, length)
                    }
                    _ => span,
                };
                self.report("bad-schedule", span, at, message, help);
                None
            }
        }
    }

    /// Whether the workflow would take what its schedule gives it.
    fn try_inputs(
        &mut self,
        schedule: &Schedule,
        declared: &Map<String, Value>,
        span: Span,
        at: &str,
    ) {
        // Mistakes in the inputs themselves have been told.
        let Ok(schema) = InputSchema::compile(declared) else {
            return;
        };
        let facts = json!({
            "scheduled_at": "2026-01-01T00:00:00Z",
            "schedule": schedule.workflow.as_str(),
            "workflow": schedule.workflow.as_str(),
        });
        let scope = Scope::new().run(Prepared::from_json(&facts));
        let given = Template::parse(schedule.inputs.clone())
            .and_then(|t| t.evaluate(&scope, &mut self.budget));
        match given {
            Err(error) => {
                let help = "`run.scheduled_at` is the time it was due, `run.schedule` its name";
                self.report("bad-schedule", span, at, error.message, help.to_owned());
            }
            Ok(given) => {
                for problem in schema.check(given).err().into_iter().flatten() {
                    let message =
                        format!("the schedule gives the workflow what it refuses: {problem}");
                    self.report("bad-schedule", span, at, message, None);
                }
            }
        }
    }

    /// `notify:`: an object, or a list of objects.
    pub(super) fn notify(&mut self, root: &Node) -> Vec<Notify> {
        let Some(entry) = root.get("notify") else {
            return Vec::new();
        };
        let at = "/notify";
        let told: Vec<Notify> = match &entry.value.data {
            Data::List(list) => list
                .iter()
                .enumerate()
                .filter_map(|(i, node)| self.notice(node, node.span, &pointer(at, &i.to_string())))
                .collect(),
            _ => self
                .notice(&entry.value, place(entry), at)
                .into_iter()
                .collect(),
        };
        if let Err(reason) = Notify::check(&told) {
            self.report("bad-value", entry.key_span, at, reason, None);
        }
        told
    }

    fn notice(&mut self, node: &Node, span: Span, at: &str) -> Option<Notify> {
        self.object(node, span, at, "`notify`", Some(&NOTIFY_KEYS))?;
        let mut notify = Notify::default();
        if let Some(entry) = node.get("on") {
            let at = pointer(at, "on");
            for word in self.words(entry, &at, "endings, as in `[failed]`") {
                match ENDINGS.iter().find(|(known, _)| *known == word) {
                    Some((_, ending)) => notify.on.push(*ending),
                    None => {
                        let help = "runs end as succeeded, failed or cancelled".to_owned();
                        let message = format!("a run cannot end as `{word}`");
                        self.report("bad-value", place(entry), &at, message, help);
                    }
                }
            }
        }
        if let Some(entry) = node.get("email") {
            let help = "addresses, as in `[ops@example.org]`";
            notify.email = self.words(entry, &pointer(at, "email"), help);
        }
        notify.webhook = self.optional_text(node, at, "webhook");
        Some(notify)
    }
}

impl Notify {
    /// Whether these can be told.
    ///
    /// # Errors
    /// A sentence that says what is wrong, and what would be right.
    pub fn check(all: &[Self]) -> Result<(), String> {
        let told: usize = all
            .iter()
            .map(|one| one.email.len() + usize::from(one.webhook.is_some()))
            .sum();
        if told > MAX_TOLD {
            return Err(format!("{told} are to be told; {MAX_TOLD} are the most"));
        }
        for one in all {
            if one.email.is_empty() && one.webhook.is_none() {
                return Err("nobody is to be told: add `email` or `webhook`".to_owned());
            }
            let is_plain = |text: &str| {
                !text.is_empty() && text.len() <= 254 && !text.contains(char::is_control)
            };
            let is_address = |text: &String| {
                let halves = text.split_once('@');
                is_plain(text) && halves.is_some_and(|(l, r)| !l.is_empty() && !r.is_empty())
            };
            if let Some(odd) = one.email.iter().find(|address| !is_address(address)) {
                return Err(format!("`{}` is no e-mail address", odd.escape_debug()));
            }
            if let Some(odd) = one.webhook.as_ref().filter(|id| !is_plain(id)) {
                return Err(format!("`{}` is no webhook's id", odd.escape_debug()));
            }
        }
        Ok(())
    }
}

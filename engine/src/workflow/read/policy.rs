//! How a step is run, rather than what: queue, time limits, retries. A step
//! inherits these from `defaults`.

use super::{Reader, place};
use crate::id::QueueName;
use crate::retry::{Backoff, RetryPolicy};
use crate::workflow::source::{Data, Entry, Node, pointer};

/// The longest an attempt may take when nobody says otherwise.
const DEFAULT_TIMEOUT_MS: u64 = 10 * 60 * 1_000;
const DEFAULT_QUEUE: &str = "default";

const DEFAULTS_KEYS: [&str; 6] = [
    "timeout",
    "soft_timeout",
    "retry",
    "queue",
    "priority",
    "cache",
];
const RETRY_KEYS: [&str; 6] = ["attempts", "backoff", "delay", "max_delay", "jitter", "on"];

const BACKOFF: [(&str, Backoff); 3] = [
    ("fixed", Backoff::Fixed),
    ("linear", Backoff::Linear),
    ("exponential", Backoff::Exponential),
];

/// What every step inherits unless it says otherwise.
#[derive(Debug, Clone)]
pub(super) struct Defaults {
    pub(super) timeout_ms: u64,
    pub(super) soft_timeout_ms: Option<u64>,
    pub(super) retry: RetryPolicy,
    pub(super) queue: QueueName,
    pub(super) priority: i32,
    pub(super) cache: bool,
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            timeout_ms: DEFAULT_TIMEOUT_MS,
            soft_timeout_ms: None,
            retry: RetryPolicy::default(),
            queue: QueueName::new(DEFAULT_QUEUE).expect("`default` is a queue name"),
            priority: 0,
            cache: false,
        }
    }
}

impl Reader<'_> {
    pub(super) fn defaults(&mut self, entry: &Entry) -> Defaults {
        let at = "/defaults";
        let known = self.object(
            &entry.value,
            place(entry),
            at,
            "`defaults`",
            Some(&DEFAULTS_KEYS),
        );
        match known {
            Some(_) => self.policies(&entry.value, at, &Defaults::default()),
            None => Defaults::default(),
        }
    }

    /// The keys that `defaults` and a step share.
    pub(super) fn policies(&mut self, node: &Node, at: &str, inherited: &Defaults) -> Defaults {
        let timeout_ms = self.duration_of(node, at, "timeout");
        let soft_timeout_ms = self.duration_of(node, at, "soft_timeout");
        let policies = Defaults {
            timeout_ms: timeout_ms.unwrap_or(inherited.timeout_ms),
            soft_timeout_ms: soft_timeout_ms.or(inherited.soft_timeout_ms),
            retry: match node.get("retry") {
                Some(entry) => self.retry(entry, &pointer(at, "retry"), &inherited.retry),
                None => inherited.retry.clone(),
            },
            queue: self
                .queue(node, at)
                .unwrap_or_else(|| inherited.queue.clone()),
            priority: node
                .get("priority")
                .and_then(|entry| self.integer(entry, &pointer(at, "priority"), -1_000, 1_000))
                .and_then(|priority| i32::try_from(priority).ok())
                .unwrap_or(inherited.priority),
            cache: self
                .boolean_of(node, at, "cache")
                .unwrap_or(inherited.cache),
        };
        if let Some(soft_ms) = policies.soft_timeout_ms
            && soft_ms >= policies.timeout_ms
            && let Some((key, entry)) = ["soft_timeout", "timeout"]
                .into_iter()
                .find_map(|key| Some((key, node.get(key)?)))
        {
            let show = |ms| humantime::format_duration(std::time::Duration::from_millis(ms));
            self.report(
                "bad-timeout",
                place(entry),
                &pointer(at, key),
                format!(
                    "`soft_timeout` ({}) must be shorter than `timeout` ({})",
                    show(soft_ms),
                    show(policies.timeout_ms)
                ),
                "the soft one asks the task to finish, the other stops it".to_owned(),
            );
        }
        policies
    }

    fn queue(&mut self, node: &Node, at: &str) -> Option<QueueName> {
        let entry = node.get("queue")?;
        let at = pointer(at, "queue");
        let name = self.text(entry, &at)?;
        match QueueName::new(name) {
            Ok(queue) => Some(queue),
            Err(error) => {
                let message = format!("`{name}` is no queue name");
                let help = format!("expected {}", error.rule);
                self.report("bad-name", place(entry), &at, message, help);
                None
            }
        }
    }

    fn retry(&mut self, entry: &Entry, at: &str, inherited: &RetryPolicy) -> RetryPolicy {
        let mut retry = inherited.clone();
        match &entry.value.data {
            Data::Number(_) => {
                if let Some(attempts) = self.integer(entry, at, 1, 1_000) {
                    retry.attempts = u32::try_from(attempts).unwrap_or(1);
                }
                return retry;
            }
            Data::Map(_) => {}
            _ => {
                let help = "write `retry: 3` or `retry: { attempts: 3, delay: 10s }`";
                self.wrong_type(
                    place(entry),
                    at,
                    "an integer or an object",
                    &entry.value,
                    help,
                );
                return retry;
            }
        }
        let node = &entry.value;
        self.object(node, place(entry), at, "`retry`", Some(&RETRY_KEYS));
        if let Some(entry) = node.get("attempts")
            && let Some(attempts) = self.integer(entry, &pointer(at, "attempts"), 1, 1_000)
        {
            retry.attempts = u32::try_from(attempts).unwrap_or(1);
        }
        if let Some(entry) = node.get("backoff")
            && let Some(backoff) = self.choice(entry, &pointer(at, "backoff"), &BACKOFF)
        {
            retry.backoff = backoff;
        }
        if let Some(entry) = node.get("delay")
            && let Some(delay_ms) = self.duration(entry, &pointer(at, "delay"))
        {
            retry.delay_ms = delay_ms;
            // A longer first wait than the longest wait is meant, not wrong.
            if node.get("max_delay").is_none() {
                retry.max_delay_ms = retry.max_delay_ms.max(delay_ms);
            }
        }
        if let Some(entry) = node.get("max_delay")
            && let Some(max_delay_ms) = self.duration(entry, &pointer(at, "max_delay"))
        {
            retry.max_delay_ms = max_delay_ms;
            if max_delay_ms < retry.delay_ms {
                self.report(
                    "bad-value",
                    place(entry),
                    &pointer(at, "max_delay"),
                    "`max_delay` is shorter than `delay`",
                    "the wait grows from `delay` up to `max_delay`".to_owned(),
                );
            }
        }
        if let Some(jitter) = self.boolean_of(node, at, "jitter") {
            retry.jitter = jitter;
        }
        if let Some(entry) = node.get("on") {
            retry.on = self.words(
                entry,
                &pointer(at, "on"),
                "error classes, as in `[network]`",
            );
        }
        retry
    }
}

//! How a step is run, rather than what: queue, time limits, retries. A step
//! inherits these from `defaults`.

use super::{Reader, place};
use crate::id::{QueueName, is_label};
use crate::retry::{Backoff, RetryPolicy};
use crate::workflow::source::{Data, Entry, Node, pointer};
use crate::workflow::{MAX_LOADED, parse_size};

/// The longest an attempt may take when nobody says otherwise.
const DEFAULT_TIMEOUT_MS: u64 = 10 * 60 * 1_000;
const DEFAULT_QUEUE: &str = "default";

/// A list of words that are compared when the step is claimed.
struct Wordlist {
    /// What one is called, and several are.
    one: &'static str,
    many: &'static str,
    example: &'static str,
    most: usize,
    /// What to do about too many.
    help: &'static str,
}

/// Labels that its worker must have.
const LABELS: Wordlist = Wordlist {
    one: "label",
    many: "labels",
    example: "`[a100, fp16]`",
    most: 16,
    help: "let one label stand for what belongs together",
};

/// Models, and whatever else is costly to load. A worker remembers no more than these.
const MODELS: Wordlist = Wordlist {
    one: "word for a model",
    many: "words for models",
    example: "`sdxl` or `[sdxl, vae-fp16]`",
    most: MAX_LOADED,
    help: "name what takes longest to load",
};

const DEFAULTS_KEYS: [&str; 9] = [
    "timeout",
    "soft_timeout",
    "retry",
    "queue",
    "priority",
    "requires",
    "prefer",
    "memory",
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
    pub(super) requires: Vec<String>,
    pub(super) prefer: Vec<String>,
    pub(super) memory_bytes: Option<u64>,
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
            requires: Vec::new(),
            prefer: Vec::new(),
            memory_bytes: None,
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
            requires: match node.get("requires") {
                Some(entry) => self.labels(entry, &pointer(at, "requires"), &LABELS),
                None => inherited.requires.clone(),
            },
            prefer: match node.get("prefer") {
                Some(entry) => self.labels(entry, &pointer(at, "prefer"), &MODELS),
                None => inherited.prefer.clone(),
            },
            memory_bytes: match node.get("memory") {
                Some(entry) => self.memory(entry, &pointer(at, "memory")),
                None => inherited.memory_bytes,
            },
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

    /// Words to compare a worker's with; each once, in the order of the alphabet.
    fn labels(&mut self, entry: &Entry, at: &str, list: &Wordlist) -> Vec<String> {
        let Wordlist {
            one,
            many,
            example,
            most,
            help,
        } = list;
        let mut labels = self.words(entry, at, &format!("{many}, as in {example}"));
        let wrong = labels.iter().find(|label| !is_label(label)).cloned();
        if let Some(wrong) = wrong {
            self.report(
                "bad-name",
                place(entry),
                at,
                format!("`{wrong}` is no {one}"),
                format!("expected letters, digits, `-`, `_`, `.`, `:`, `/` or `=`, 64 at most, as in {example}"),
            );
        }
        if labels.len() > *most {
            self.report(
                "too-many",
                place(entry),
                at,
                format!("{} {many}; {most} are the most", labels.len()),
                (*help).to_owned(),
            );
        }
        labels.sort();
        labels.dedup();
        labels
    }

    /// Memory that a worker must have free.
    fn memory(&mut self, entry: &Entry, at: &str) -> Option<u64> {
        let help = "write `16GB` or `512MiB`";
        let Data::Text(text) = &entry.value.data else {
            self.wrong_type(place(entry), at, "a size", &entry.value, help);
            return None;
        };
        match parse_size(text) {
            Some(bytes) => Some(bytes),
            None => {
                let message = format!("`{text}` is no size of memory");
                self.report("bad-value", place(entry), at, message, help.to_owned());
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

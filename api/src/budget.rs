//! How much memory requests may take together.
//!
//! A body costs more than its bytes: `[[],[],…]` becomes twenty times as much once it is parsed, and the
//! inputs of a run exist several times until it is durable. So everything large is weighed before it is
//! made, and waits for its turn, or is refused:
//!
//! ```text
//!   bytes arrive ──incoming──▶ body whole ──weighed──▶ work ──▶ parsed, checked, submitted ──▶ answered
//!   a picture's header ──weighed──▶ work ──▶ decoded ──▶ answered
//! ```
//!
//! Whoever holds `work` never waits for `incoming`, so that neither waits for ever. What is small passes
//! without asking: slow clients with large bodies hold up nobody else.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aquatint_engine::id::RunId;
use axum::http::StatusCode;
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::problem::Problem;

/// What costs less is not counted.
pub(crate) const SMALL: usize = 256 * 1024;

/// How long a request waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);

/// What each byte of a body costs once it is parsed: the body, its texts, and what is made of them.
const PER_BYTE: usize = 5;

/// What each byte of a run's inputs costs until it is durable. Measured: the database reads statements'
/// parameters as JSON, and takes them apart several times.
const PER_BYTE_STORED: usize = 40;

/// What each byte of a run's inputs costs while it is read and answered with.
const PER_BYTE_READ: usize = 6;

/// What each value costs besides: a place in a list or an object, with room to grow, twice.
const PER_VALUE: usize = 160;

/// A unit of the semaphores: they count in 32 bits.
const UNIT: usize = 1024;

tokio::task_local! {
    static REQUEST: Arc<Held>;
}

/// What one request holds until it is answered.
#[derive(Debug, Default)]
pub(crate) struct Held {
    permits: Mutex<Vec<OwnedSemaphorePermit>>,
    /// Whether something was given to the store that cannot be taken back.
    committed: AtomicBool,
    /// Files that this very request brought.
    stored: Mutex<HashSet<String>>,
}

impl Held {
    /// Carries out a request that may hold this.
    pub(crate) async fn scope<T>(self: Arc<Self>, request: impl Future<Output = T>) -> T {
        REQUEST.scope(self, request).await
    }

    /// Whether its outcome is the store's to tell, however long that takes.
    pub(crate) fn is_committed(&self) -> bool {
        self.committed.load(Ordering::Acquire)
    }
}

/// From here on the request's outcome is decided by the store: to give up waiting would be to say that
/// nothing happened, when it may.
pub(crate) fn commit() {
    let _ = REQUEST.try_with(|held| held.committed.store(true, Ordering::Release));
}

/// Remembers that this request brought a file.
pub(crate) fn brought(digest: &str) {
    let _ = REQUEST.try_with(|held| {
        let mut stored = held.stored.lock().unwrap_or_else(PoisonError::into_inner);
        stored.insert(digest.to_owned());
    });
}

/// Whether this request brought a file.
pub(crate) fn has_brought(digest: &str) -> bool {
    let has = REQUEST.try_with(|held| {
        let stored = held.stored.lock().unwrap_or_else(PoisonError::into_inner);
        stored.contains(digest)
    });
    has.unwrap_or(false)
}

/// The memory of the requests of a process.
#[derive(Debug)]
pub(crate) struct Budget {
    /// For bodies while they arrive.
    incoming: Lane,
    /// For what is made of them, and for pictures.
    work: Lane,
    /// Runs whose inputs are large, and how large: those that were submitted here last.
    large: Mutex<HashMap<RunId, usize>>,
}

/// So many large runs are remembered.
const MAX_LARGE: usize = 10_000;

#[derive(Debug)]
struct Lane {
    free: Arc<Semaphore>,
    units: usize,
}

impl Lane {
    fn new(bytes: usize) -> Self {
        let units = (bytes / UNIT).clamp(1, u32::MAX as usize / 2);
        Self {
            free: Arc::new(Semaphore::new(units)),
            units,
        }
    }

    async fn take(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Problem> {
        let units = bytes.div_ceil(UNIT);
        let count = u32::try_from(units).ok().filter(|_| units <= self.units);
        let count = count.ok_or_else(|| {
            Problem::too_large(format!(
                "it would take {} MB of this server's memory; {} MB is the most for one request",
                bytes.div_ceil(1_000_000),
                self.units * UNIT / 1_000_000
            ))
        })?;
        let taken = Arc::clone(&self.free).acquire_many_owned(count);
        match tokio::time::timeout(PATIENCE, taken).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(busy()),
        }
    }
}

fn busy() -> Problem {
    let problem = Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "busy",
        "This server is busy with large requests",
        "its memory is taken by other large requests; try again",
    );
    Problem {
        retry_after: Some(Duration::from_secs(2)),
        ..problem
    }
}

fn hold(permit: OwnedSemaphorePermit) {
    // Outside of a request there is nobody to hold it.
    let _ = REQUEST.try_with(|held| {
        let mut permits = held.permits.lock().unwrap_or_else(PoisonError::into_inner);
        permits.push(permit);
    });
}

impl Budget {
    /// So many bytes for all requests together.
    pub(crate) fn new(bytes: usize) -> Self {
        Self {
            incoming: Lane::new(bytes / 4),
            work: Lane::new(bytes / 4 * 3),
            large: Mutex::default(),
        }
    }

    /// Remembers that a run's inputs are large.
    pub(crate) fn note_large(&self, run: RunId, bytes: usize) {
        if bytes > SMALL / PER_BYTE_READ {
            let mut large = self.large.lock().unwrap_or_else(PoisonError::into_inner);
            if large.len() >= MAX_LARGE {
                large.clear();
            }
            large.insert(run, bytes);
        }
    }

    /// Room to read a run and to answer with it.
    pub(crate) async fn read(&self, run: RunId) -> Result<(), Problem> {
        let bytes = {
            let large = self.large.lock().unwrap_or_else(PoisonError::into_inner);
            large.get(&run).copied().unwrap_or(0)
        };
        self.reserve(bytes.saturating_mul(PER_BYTE_READ)).await
    }

    /// Room for so many bytes more of a body.
    pub(crate) async fn arriving(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Problem> {
        self.incoming.take(bytes).await
    }

    /// Room for something of this size, until the request is answered.
    pub(crate) async fn reserve(&self, bytes: usize) -> Result<(), Problem> {
        if bytes > SMALL {
            hold(self.work.take(bytes).await?);
        }
        Ok(())
    }
}

/// A body as it arrives: what it has of the budget.
#[derive(Debug)]
pub(crate) struct Arrival<'a> {
    budget: &'a Budget,
    permits: Vec<OwnedSemaphorePermit>,
    room: usize,
    bytes: usize,
}

impl<'a> Arrival<'a> {
    pub(crate) fn new(budget: &'a Budget) -> Self {
        Self {
            budget,
            permits: Vec::new(),
            room: SMALL,
            bytes: 0,
        }
    }

    /// Makes room for what has come.
    pub(crate) async fn add(&mut self, bytes: usize) -> Result<(), Problem> {
        self.bytes += bytes;
        while self.bytes > self.room {
            let more = 1024 * 1024;
            self.permits.push(self.budget.arriving(more).await?);
            self.room += more;
        }
        Ok(())
    }
}

/// What a JSON text would take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Weight {
    bytes: usize,
    values: usize,
}

impl Weight {
    /// Of a JSON text, by a look at its bytes: a value follows what opens, divides and names.
    pub(crate) fn of_text(text: &[u8]) -> Self {
        let (mut values, mut is_text, mut at) = (1, false, 0);
        while let Some(&byte) = text.get(at) {
            match byte {
                b'"' => is_text = !is_text,
                b'\\' if is_text => at += 1,
                b'[' | b'{' | b',' | b':' | b'\n' if !is_text => values += 1,
                _ => {}
            }
            at += 1;
        }
        Self {
            bytes: text.len(),
            values,
        }
    }

    /// Of a value that is there.
    pub(crate) fn of_value(value: &Value) -> Self {
        let (mut weight, mut todo) = (Self::default(), vec![value]);
        while let Some(value) = todo.pop() {
            weight.values += 1;
            weight.bytes += 2;
            match value {
                Value::Array(items) => todo.extend(items),
                Value::Object(fields) => {
                    for (key, value) in fields {
                        weight.values += 1;
                        weight.bytes += key.len() + 3;
                        todo.push(value);
                    }
                }
                Value::String(text) => weight.bytes += text.len(),
                Value::Number(_) => weight.bytes += 8,
                Value::Null | Value::Bool(_) => weight.bytes += 4,
            }
        }
        weight
    }

    /// So many of it.
    pub(crate) fn times(self, many: usize) -> Self {
        Self {
            bytes: self.bytes.saturating_mul(many),
            values: self.values.saturating_mul(many),
        }
    }

    /// Its length as JSON, about.
    pub(crate) fn bytes(self) -> usize {
        self.bytes
    }

    /// What it costs to store it as inputs.
    pub(crate) fn cost_stored(self) -> usize {
        self.bytes.saturating_mul(PER_BYTE_STORED)
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(other.bytes),
            values: self.values.saturating_add(other.values),
        }
    }

    /// What it costs in memory, all in all.
    pub(crate) fn cost(self) -> usize {
        let texts = self.bytes.saturating_mul(PER_BYTE);
        texts.saturating_add(self.values.saturating_mul(PER_VALUE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_weighs_what_its_value_weighs_whatever_is_in_its_strings() {
        for text in [
            r#"{"a": [1, 2, {"b": null}], "c": "x,[{:\"\\"}"#,
            "[[],[],[]]",
            "7",
        ] {
            let value: Value = serde_json::from_str(text).expect("JSON");
            let (told, made) = (Weight::of_text(text.as_bytes()), Weight::of_value(&value));
            assert!(told.values >= made.values, "{text}: {told:?}, {made:?}");
            assert!(told.values <= 2 * made.values, "{text}: {told:?}, {made:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_too_much_is_refused_and_what_is_taken_comes_back_with_the_answer() {
        let budget = Budget::new(40 * 1024 * 1024);
        let all = 30 * 1024 * 1024;
        let refused = budget.reserve(all + 1).await.expect_err("it can never fit");
        assert_eq!(refused.status, StatusCode::PAYLOAD_TOO_LARGE);
        let held = Arc::new(Held::default());
        let first = held.scope(async {
            budget.reserve(all).await.expect("nothing is taken");
            let busy = Arc::new(Held::default());
            let second = busy.scope(budget.reserve(SMALL + 1)).await;
            let refused = second.expect_err("all is taken");
            assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
            assert!(refused.retry_after.is_some());
            budget.reserve(SMALL).await.expect("what is small passes");
        });
        first.await;
        Arc::new(Held::default())
            .scope(budget.reserve(all))
            .await
            .expect("the first was answered");
    }
}

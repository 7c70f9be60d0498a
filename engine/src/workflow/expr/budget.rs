//! What evaluations may do and build, in total.
//!
//! Every evaluation takes a [`Budget`], and everything it does is charged to
//! one: a step for each node visited, element compared or key looked up, bytes
//! for each text, list and JSON value made. Nothing is given back, so that what
//! is left bounds time and memory whatever the expressions look like.

use serde_json::{Map, Value};

use super::ExprError;

/// Steps of an attempt's expressions, all together.
const STEPS: usize = 10_000_000;
/// Bytes that an attempt's expressions may build, all together.
const BYTES: usize = 128 * 1024 * 1024;
/// Steps of expressions that a request asks to evaluate, all together.
const REQUEST_STEPS: usize = 1_000_000;
/// Bytes of the same.
const REQUEST_BYTES: usize = 8 * 1024 * 1024;

/// The deepest nesting of a value that an expression or a task may give: what
/// is stored must be read again, and JSON parsers stop at 128 levels.
pub(crate) const MAX_RESULT_DEPTH: usize = 96;

/// How much of a text one step compares, searches or copies.
const BYTES_PER_STEP: usize = 64;

/// What the evaluations that share it may still do. Once spent, it stays spent.
#[derive(Debug)]
pub struct Budget {
    steps: usize,
    bytes: usize,
    spent: Option<Spent>,
    limits: (usize, usize),
}

/// Which bound was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spent {
    Steps(usize),
    Bytes(usize),
    Depth,
}

impl Budget {
    /// For the expressions of one attempt: 10 million steps, 128 MiB.
    #[must_use]
    pub fn attempt() -> Self {
        Self::with_limits(STEPS, BYTES)
    }

    /// For what is evaluated on request, before anything runs: a million steps, 8 MiB.
    #[must_use]
    pub fn request() -> Self {
        Self::with_limits(REQUEST_STEPS, REQUEST_BYTES)
    }

    fn with_limits(steps: usize, bytes: usize) -> Self {
        Self {
            steps,
            bytes,
            spent: None,
            limits: (steps, bytes),
        }
    }

    /// Charges one step.
    pub(super) fn step(&mut self) -> Result<(), Spent> {
        self.steps(1)
    }

    pub(super) fn steps(&mut self, count: usize) -> Result<(), Spent> {
        match self.steps.checked_sub(count) {
            Some(left) => {
                self.steps = left;
                Ok(())
            }
            None => {
                self.steps = 0;
                Err(*self.spent.insert(Spent::Steps(self.limits.0)))
            }
        }
    }

    /// Charges the steps of looking at so many bytes of text.
    pub(super) fn scan(&mut self, bytes: usize) -> Result<(), Spent> {
        self.steps(1 + bytes / BYTES_PER_STEP)
    }

    /// Charges memory, before it is allocated.
    pub(super) fn allocate(&mut self, bytes: usize) -> Result<(), Spent> {
        self.scan(bytes)?;
        match self.bytes.checked_sub(bytes) {
            Some(left) => {
                self.bytes = left;
                Ok(())
            }
            None => {
                self.bytes = 0;
                Err(*self.spent.insert(Spent::Bytes(self.limits.1)))
            }
        }
    }

    /// Charges a list of so many elements.
    pub(super) fn allocate_list<T>(&mut self, count: usize) -> Result<(), Spent> {
        self.allocate(count.saturating_mul(size_of::<T>()).saturating_add(48))
    }

    /// Which bound was passed, if one was: errors that say so are not to be absorbed.
    pub(super) fn spent(&self) -> Option<Spent> {
        self.spent
    }

    /// A copy of a value, charged.
    ///
    /// # Errors
    /// [`ExprError`] when the copy would pass the bounds.
    pub(crate) fn copy(&mut self, value: &Value) -> Result<Value, ExprError> {
        self.charge_copy(value, 0).map_err(ExprError::from)?;
        Ok(value.clone())
    }

    /// A copy of an object's fields, charged.
    ///
    /// # Errors
    /// As [`Budget::copy`].
    pub(crate) fn copy_fields(
        &mut self,
        fields: &Map<String, Value>,
    ) -> Result<Map<String, Value>, ExprError> {
        self.charge_fields(fields, 0).map_err(ExprError::from)?;
        Ok(fields.clone())
    }

    fn charge_copy(&mut self, value: &Value, depth: usize) -> Result<(), Spent> {
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => self.step(),
            Value::String(text) => self.allocate(text.len()),
            Value::Array(list) => {
                self.deeper(depth)?;
                self.allocate_list::<Value>(list.len())?;
                list.iter().try_for_each(|v| self.charge_copy(v, depth + 1))
            }
            Value::Object(fields) => self.charge_fields(fields, depth),
        }
    }

    fn charge_fields(&mut self, fields: &Map<String, Value>, depth: usize) -> Result<(), Spent> {
        self.deeper(depth)?;
        self.allocate(fields.len().saturating_mul(ENTRY_BYTES))?;
        fields.iter().try_for_each(|(key, value)| {
            self.allocate(key.len())?;
            self.charge_copy(value, depth + 1)
        })
    }

    pub(super) fn deeper(&mut self, depth: usize) -> Result<(), Spent> {
        if depth >= MAX_RESULT_DEPTH {
            return Err(*self.spent.insert(Spent::Depth));
        }
        Ok(())
    }
}

/// An entry of a JSON object in memory: hash, key, value, and its share of the table.
pub(super) const ENTRY_BYTES: usize = size_of::<Value>() + size_of::<String>() + 24;

impl From<Spent> for ExprError {
    fn from(spent: Spent) -> Self {
        match spent {
            Spent::Steps(limit) => Self::new(format!(
                "the expressions take more than {limit} steps together"
            ))
            .help("large lists inside `map`, `filter`, `all` or `exists` multiply; compute this in a task"),
            Spent::Bytes(limit) => Self::new(format!(
                "the expressions build more than {} MiB together",
                limit / (1024 * 1024)
            ))
            .help("take only the fields you need, or compute this in a task"),
            Spent::Depth => Self::new(format!("the value nests deeper than {MAX_RESULT_DEPTH} levels"))
                .help("flatten it, or compute this in a task"),
        }
    }
}

/// Whether a value nests deeper than what is stored may. Looks no deeper than that.
pub(crate) fn is_too_deep(value: &Value) -> bool {
    fn passes(value: &Value, left: usize) -> bool {
        match value {
            Value::Array(list) => left == 0 || list.iter().any(|v| passes(v, left - 1)),
            Value::Object(fields) => left == 0 || fields.values().any(|v| passes(v, left - 1)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
        }
    }
    passes(value, MAX_RESULT_DEPTH)
}

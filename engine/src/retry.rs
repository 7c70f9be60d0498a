//! When to try again. Pure: chance comes in as a number.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::task::{Remedy, TaskError};

/// How the wait grows from one try to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Backoff {
    /// The same delay every time.
    Fixed,
    /// `delay · n`.
    Linear,
    /// `delay · 2ⁿ⁻¹`.
    Exponential,
}

/// What a step does when an attempt fails.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryPolicy {
    /// Tries in all, the first included; at least 1.
    pub attempts: u32,
    /// How the wait grows.
    pub backoff: Backoff,
    /// The first wait.
    pub delay_ms: u64,
    /// The longest wait.
    pub max_delay_ms: u64,
    /// Spread each wait over 50–150 % of itself, so that a crowd does not return as a crowd.
    pub jitter: bool,
    /// Error classes worth another try; empty means all that are retryable.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on: Vec<String>,
}

impl Default for RetryPolicy {
    /// One try: a task that may be repeated says so.
    fn default() -> Self {
        Self {
            attempts: 1,
            backoff: Backoff::Exponential,
            delay_ms: 1_000,
            max_delay_ms: 600_000,
            jitter: true,
            on: Vec::new(),
        }
    }
}

impl RetryPolicy {
    /// The wait before the next try, or `None` when `failures` tries are all there were.
    ///
    /// `failures` counts failed tries so far (≥ 1); `chance` in `0.0..1.0` picks the jitter.
    #[must_use]
    pub fn delay(&self, failures: u32, chance: f64) -> Option<Duration> {
        if failures >= self.attempts {
            return None;
        }
        let factor = match self.backoff {
            Backoff::Fixed => 1,
            Backoff::Linear => u64::from(failures),
            Backoff::Exponential => 1_u64
                .checked_shl(failures.saturating_sub(1))
                .unwrap_or(u64::MAX),
        };
        let wait_ms = self.delay_ms.saturating_mul(factor).min(self.max_delay_ms);
        let wait = Duration::from_millis(wait_ms);
        Some(if self.jitter {
            wait.mul_f64(0.5 + chance.clamp(0.0, 1.0))
                .min(Duration::from_millis(self.max_delay_ms))
        } else {
            wait
        })
    }

    /// The wait before the try that follows this error, or `None` when none does.
    ///
    /// As for [`RetryPolicy::delay`], this failure counts among `failures`.
    #[must_use]
    pub fn wait(&self, failures: u32, error: &TaskError, chance: f64) -> Option<Duration> {
        let delay = || self.delay(failures, chance);
        match error.remedy {
            Remedy::Fail | Remedy::Cancelled => None,
            Remedy::Retry | Remedy::RetryAfterMs(_) if !self.covers(&error.class) => None,
            Remedy::Retry => delay(),
            Remedy::RetryAfterMs(asked) => {
                delay().map(|wait| wait.max(Duration::from_millis(asked)))
            }
        }
    }

    /// Whether an error of this class deserves another try at all.
    #[must_use]
    pub fn covers(&self, class: &str) -> bool {
        self.on.is_empty() || self.on.iter().any(|c| c == class)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_cap_and_end_with_the_attempts() {
        let policy = RetryPolicy {
            attempts: 5,
            delay_ms: 60_000,
            max_delay_ms: 300_000,
            jitter: false,
            ..RetryPolicy::default()
        };
        let seconds: Vec<_> = (1..=5)
            .map(|n| policy.delay(n, 0.5).map(|d| d.as_secs()))
            .collect();
        assert_eq!(seconds, [Some(60), Some(120), Some(240), Some(300), None]);
    }

    #[test]
    fn jitter_stays_between_half_and_one_and_a_half() {
        let policy = RetryPolicy {
            attempts: 2,
            delay_ms: 1_000,
            ..RetryPolicy::default()
        };
        assert_eq!(policy.delay(1, 0.0), Some(Duration::from_millis(500)));
        assert_eq!(
            policy.delay(1, 0.999_999).map(|d| d.as_millis()),
            Some(1_499)
        );
    }

    #[test]
    fn no_count_of_failures_overflows() {
        let policy = RetryPolicy {
            attempts: u32::MAX,
            delay_ms: u64::MAX,
            ..RetryPolicy::default()
        };
        assert_eq!(
            policy.delay(1_000_000, 0.9),
            Some(Duration::from_millis(600_000))
        );
    }
}

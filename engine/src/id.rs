//! The names of things, each its own type, so that a run's id cannot be handed
//! to a function that wants a worker's.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// Identifies one run: a version-7 UUID, so ids sort by creation time.
///
/// Ten of its random bits are set aside for a shard number (always zero today),
/// so that runs can be spread over several databases without changing ids.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(uuid::Uuid);

/// Identifies one worker process start; never reused, never configured.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WorkerId(uuid::Uuid);

/// Counts ids made within one millisecond, so that they still sort by creation.
static SEQUENCE: AtomicU64 = AtomicU64::new(0);

/// RFC 9562 `UUIDv7`: 48 bits of time, 12 of sequence, 10 of shard, 52 of chance.
fn uuid_v7(now: Timestamp, shard: u16) -> uuid::Uuid {
    let millis = u64::try_from(now.0).unwrap_or(0) & 0xffff_ffff_ffff;
    let last = SEQUENCE
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| {
            // The high 48 bits hold a time, the low 12 a count within it. When
            // the count runs over, it carries into the time: order is kept.
            Some((last + 1).max(millis << 12))
        })
        .unwrap_or(0);
    let stamp = (last + 1).max(millis << 12);
    let chance = uuid::Uuid::new_v4().as_u128() & ((1 << 52) - 1);
    let bits = (u128::from(stamp >> 12) << 80)
        | (0x7 << 76)
        | (u128::from(stamp & 0xfff) << 64)
        | (0b10 << 62)
        | (u128::from(shard & 0x3ff) << 52)
        | chance;
    uuid::Uuid::from_u128(bits)
}

macro_rules! uuid_id {
    ($name:ident, $what:literal) => {
        impl $name {
            /// A fresh id, later than every id this process made before.
            #[must_use]
            pub fn new(now: Timestamp) -> Self {
                Self(uuid_v7(now, 0))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                uuid::Uuid::parse_str(text)
                    .map(Self)
                    .map_err(|_| InvalidName {
                        what: $what,
                        got: text.chars().take(80).collect(),
                        rule: "a UUID, as `aquatint runs` prints it",
                    })
            }
        }
    };
}

uuid_id!(RunId, "run id");
uuid_id!(WorkerId, "worker id");

/// A name or id that does not follow its rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{got}` is no {what}: expected {rule}")]
pub struct InvalidName {
    /// Which kind of name was expected.
    pub what: &'static str,
    /// What was given, cut to 80 characters.
    pub got: String,
    /// What a right one looks like.
    pub rule: &'static str,
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:literal, $extra:literal, $rule:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks and wraps a name.
            ///
            /// # Errors
            /// [`InvalidName`] says which rule the text breaks.
            pub fn new(text: &str) -> Result<Self, InvalidName> {
                let mut chars = text.chars();
                let starts_well = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
                let goes_on_well = chars.all(|c| c.is_ascii_alphanumeric() || c == '_' || $extra.contains(c));
                if starts_well && goes_on_well && text.len() <= $max {
                    Ok(Self(text.into()))
                } else {
                    Err(InvalidName { what: $what, got: text.chars().take(80).collect(), rule: $rule })
                }
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                Self::new(text)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = String::deserialize(from)?;
                Self::new(&text).map_err(serde::de::Error::custom)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name!(
    /// Names a workflow: `image-generation`.
    WorkflowName, "workflow name", 100, "-.",
    "a letter, then letters, digits, `-`, `_` or `.`, 100 characters at most"
);
name!(
    /// Names a step within its workflow; an identifier, since expressions say `steps.refine`.
    StepName, "step name", 64, "",
    "a letter or `_`, then letters, digits or `_`, 64 characters at most (expressions refer to it as `steps.name`)"
);
name!(
    /// Names a task, the code behind a step: `image.generate`.
    TaskName, "task name", 100, "-.",
    "a letter, then letters, digits, `-`, `_` or `.`, 100 characters at most"
);
name!(
    /// Names a queue, a lane of work: `gpu`.
    QueueName, "queue name", 64, "-",
    "a letter, then letters, digits, `-` or `_`, 64 characters at most"
);

/// Whether a text can be a worker's label: `a100`, `fp16`, `cuda:12.4`.
#[must_use]
pub fn is_label(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 64
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.:/=".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_ids_sort_by_creation_even_within_a_millisecond() {
        let ids: Vec<_> = (0..10_000)
            .map(|_| RunId::new(Timestamp(1_700_000_000_000)))
            .collect();
        assert!(ids.is_sorted());
        assert_eq!(ids[0].0.get_version_num(), 7);
    }

    #[test]
    fn names_refuse_what_expressions_and_paths_could_not_hold() {
        for bad in ["", "1a", "a-b", "a.b", "a b", "é", &"x".repeat(65)] {
            assert!(StepName::new(bad).is_err(), "{bad} passed");
        }
        assert!(WorkflowName::new("image-generation.v2").is_ok());
        assert!(WorkflowName::new("../etc").is_err());
    }
}

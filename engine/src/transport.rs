//! The doorbell: how a worker learns that there is something to do.
//!
//! A ticket is a hint, or at most a claim already made; the store is the truth.
//! A lost, late or doubled ticket can delay work, never lose or repeat it. The
//! `apalis` crates and `redis` are named below here and nowhere else.

pub(crate) mod local;
mod redis;

pub(crate) use self::redis::{Doorbell, Gate, Notice, TransportError, serve};
pub use self::redis::{DoorbellHealth, Part, RedisConfig, Trouble};

//! The doorbell: how a worker learns that there is something to do.
//!
//! A ticket is a hint, or at most a claim already made; the store is the truth.
//! A lost, late or doubled ticket can delay work, never lose or repeat it. The
//! `apalis` crates and `redis` are named below here and nowhere else.

pub(crate) mod local;
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "the worker does not ring it yet")
)]
mod redis;

#[expect(unused_imports, reason = "the worker does not ring it yet")]
pub(crate) use self::redis::{
    Doorbell, DoorbellHealth, Gate, Notice, Part, RedisConfig, TransportError, Trouble, serve,
};

//! Durable workflows: definitions in, runs out, nothing lost in between.
//!
//! This crate knows no HTTP and no tensors. The map, from pure to worldly:
//!
//! - [`id`], [`time`]: words and the clock;
//! - [`workflow`], [`retry`]: what a definition says;
//! - [`task`], [`artifact`], [`registry`]: what a step's code sees.

pub mod artifact;
pub mod id;
pub mod registry;
pub mod retry;
pub mod task;
pub mod time;
pub mod workflow;

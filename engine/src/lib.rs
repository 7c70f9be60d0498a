//! Durable workflows: definitions in, runs out, nothing lost in between.
//!
//! This crate knows no HTTP and no tensors. The map, from pure to worldly:
//!
//! - [`id`], [`time`]: words and the clock;
//! - [`workflow`], [`retry`]: what a definition says;
//! - [`run`], [`transition`]: what a run is, and every decision about it;
//! - [`schedule`]: when runs begin by themselves; [`scheduler`] looks at it every second;
//! - [`health`], [`alert`]: what is wrong, and who is told;
//! - [`task`], [`artifact`], [`registry`]: what a step's code sees;
//! - [`library`]: the definitions a process knows;
//! - [`layer`]: what a program may put around every attempt;
//! - [`store`]: the truth, in SQL; `transport`: the doorbell;
//! - [`worker`]: a process that does the work;
//! - [`engine`]: the only door.

pub mod alert;
pub mod artifact;
pub mod config;
pub mod engine;
pub mod error;
pub mod health;
pub mod id;
pub mod layer;
pub mod library;
pub mod permission;
pub mod registry;
pub mod retry;
pub mod run;
pub mod schedule;
pub mod scheduler;
pub mod store;
pub mod task;
mod text;
pub mod time;
pub mod transition;
mod transport;
pub mod worker;
pub mod workflow;

pub use config::{EngineConfig, WorkerConfig};
pub use engine::{Engine, Submission, Submitted};
pub use error::EngineError;
pub use library::Library;
pub use permission::Permission;
pub use registry::Registry;
pub use run::{RunState, TaskState};
pub use scheduler::Scheduler;
pub use store::{
    Database, Durability, Farewell, PostgresUrl, QueueAction, RunAction, RunFilter, WorkerAction,
};
pub use task::{Task, TaskContext, TaskError};
pub use worker::Worker;

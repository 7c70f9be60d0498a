//! The program as a person uses it: arguments in; output, files and an exit code out.
#![expect(clippy::unwrap_used, reason = "tests")]

mod bucket;
mod definitions;
mod help;
mod house;
mod operators;
mod refusals;
mod results;
#[path = "../../../engine/tests/artifacts/service.rs"]
#[expect(dead_code, reason = "the engine's own tests use the rest")]
mod service;
mod settings;
mod signals;
mod support;
mod terminal;
mod workers;

//! The program as a person uses it: arguments in; output, files and an exit code out.
#![expect(clippy::unwrap_used, reason = "tests")]

mod definitions;
mod help;
mod operators;
mod refusals;
mod results;
mod settings;
mod signals;
mod support;
mod terminal;
mod workers;

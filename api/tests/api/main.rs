//! The API as a client meets it: requests in, answers out, over an engine with a worker.
#![expect(clippy::unwrap_used, reason = "tests")]

mod batches;
mod bounds;
mod events;
mod files;
mod keys;
mod refusals;
mod rights;
mod runs;
mod support;
mod webhooks;

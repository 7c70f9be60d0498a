//! `/api/v1`, a resource a file.

pub(crate) mod alerts;
pub(crate) mod artifacts;
pub(crate) mod batches;
pub(crate) mod events;
pub(crate) mod health;
pub(crate) mod jobs;
pub(crate) mod keys;
pub(crate) mod queues;
pub(crate) mod runs;
pub(crate) mod schedules;
pub(crate) mod steps;
pub(crate) mod webhooks;
pub(crate) mod workers;
pub(crate) mod workflows;

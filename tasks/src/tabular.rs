//! Learning from tables: what `model.train` and `model.predict` are made of.
//!
//! ```text
//! rows or CSV ──read──▶ Table ──split, encoding (fitted on the training part)──▶ numbers ──fit──▶ Network
//!                                        │                                                         │
//!                                        └────────────────── store: one file ◀─────────────────────┘
//! ```
//!
//! - [`table`], [`read`], [`houses`]: named columns, where they come from;
//! - [`target`], [`split`], [`encoding`]: what is asked, what is held out, how cells become numbers;
//! - [`architecture`], [`network`], [`transformer`], [`fit`]: the models and how they learn, on candle;
//! - [`metrics`], [`model`], [`store`]: how good one is, what it answers, how it is kept.
//!
//! Only `network`, `transformer`, `fit`, `model` and `store` know tensors. Nothing here knows a task's
//! inputs, or reads a clock; chance comes from a seed.

pub(crate) mod architecture;
pub(crate) mod encoding;
pub(crate) mod fit;
pub(crate) mod houses;
pub(crate) mod metrics;
pub(crate) mod model;
pub(crate) mod network;
pub(crate) mod read;
pub(crate) mod split;
pub(crate) mod store;
pub(crate) mod table;
pub(crate) mod target;
mod transformer;

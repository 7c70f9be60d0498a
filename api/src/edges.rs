//! The APIs of systems whose clients are to work here unchanged: their paths, fields, words and codes.
//! Each is a thin layer over the same engine.
//!
//! | module | whose clients |
//! | --- | --- |
//! | `images` | an image back end with a database: submit a form, poll, fetch by URL, cancel |
//! | `inline` | the same with JSON alone: pictures travel as base64, results expire |
//! | `training`, `models` | a model-training service: train, watch, predict |
//! | `order` | what the first two share: task types, what each needs, how refusals are said |
//!
//! Batches of files with one finalize have a home of their own: `routes::batches`.

mod images;
mod inline;
mod models;
mod order;
mod training;

use utoipa_axum::router::OpenApiRouter;

use crate::app::App;

pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .merge(images::router())
        .merge(inline::router())
        .merge(training::router())
        .merge(models::router())
}

/// The one route that takes as long as its work does.
pub(crate) const TRAIN_ROUTE: &str = "/train/{model_type}";

/// What needs no key: files under names that nobody can guess.
pub(crate) fn open_router() -> OpenApiRouter<App> {
    images::open_router()
}

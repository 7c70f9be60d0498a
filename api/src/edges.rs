//! The APIs of systems whose clients are to work here unchanged: their paths, fields, words and codes.
//! Each is a thin layer over the same engine and knows nothing of the others.

use utoipa_axum::router::OpenApiRouter;

use crate::app::App;

pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
}

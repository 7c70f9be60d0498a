//! What a step can do: one handler a file, each an [`aquatint_engine::task::Task`].
//!
//! - [`echo`], [`sleep`], [`fail`]: to wire, to wait, to try out failures;
//! - [`provenance`]: where a picture came from, written into the picture.
//!
//! Nothing here knows the store, the queue or the web server.

pub mod compose;
pub mod echo;
pub mod fail;
pub mod http_request;
pub mod options;
mod picture;
pub mod provenance;
pub mod refine;
pub mod sleep;
pub mod summarize;
#[cfg(test)]
mod testing;
pub mod upscale;

pub use options::{CommandOptions, HttpOptions, Options};

use aquatint_engine::registry::Registry;

/// Registers every task of this crate.
pub fn register_all(registry: &mut Registry, options: &Options) {
    registry.register(refine::Refine);
    registry.register(upscale::Upscale);
    registry.register(compose::Compose);
    registry.register(summarize::Summarize);
    registry.register(http_request::HttpRequest::new(options.http.clone()));
    registry.register(echo::Echo);
    registry.register(sleep::Sleep);
    registry.register(fail::Fail);
}

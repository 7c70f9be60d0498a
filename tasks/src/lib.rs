//! What a step can do: one handler a file, each an [`aquatint_engine::task::Task`].
//!
//! - [`refine`], [`generate`], [`upscale`], [`compose`]: words and pictures;
//! - [`painter`]: what draws them, in plain Rust;
//! - [`summarize`]: what came of a batch;
//! - [`train`], [`compare_models`], [`predict`]: models of tables, learned, ranked and asked;
//! - [`http_request`], [`command_run`]: the world outside, closed unless [`Options`] opens it;
//! - [`webhook_deliver`], [`email_send`]: tell others what happened here;
//! - [`maintenance`]: an installation that looks after itself;
//! - [`echo`], [`sleep`], [`fail`]: to wire, to wait, to try out failures;
//! - [`provenance`]: where a picture came from, written into the picture.
//!
//! Nothing here knows the store, the queue or the web server.

pub mod command_run;
pub mod compare_models;
pub mod compose;
pub mod echo;
pub mod email_send;
pub mod fail;
pub mod generate;
pub mod http_request;
pub mod maintenance;
pub mod options;
pub mod painter;
mod picture;
pub mod predict;
pub mod provenance;
pub mod refine;
pub mod sleep;
pub mod summarize;
mod tabular;
#[cfg(test)]
mod testing;
pub mod train;
pub mod upscale;
pub mod webhook_deliver;

pub use options::{CommandOptions, HttpOptions, Options};

use std::sync::Arc;

use aquatint_engine::registry::Registry;

/// Registers every task of this crate.
///
/// Those that reach outside are registered too when `options` leaves them
/// closed: a definition that uses them still validates, and an attempt says
/// which setting would open them.
pub fn register_all(registry: &mut Registry, options: &Options) {
    registry.register(refine::Refine);
    registry.register(generate::Generate);
    registry.register(upscale::Upscale);
    registry.register(compose::Compose);
    registry.register(summarize::Summarize);
    registry.register(train::Train);
    registry.register(compare_models::Compare);
    registry.register(predict::Predict);
    registry.register(http_request::HttpRequest::new(options.http.clone()));
    registry.register(command_run::CommandRun::new(options.command.clone()));
    // Who knows webhooks says so with [`register_webhooks`].
    register_webhooks(registry, Arc::new(webhook_deliver::NoHooks), false);
    // Who has a house says so with [`register_house`].
    register_house(
        registry,
        &(Arc::new(maintenance::NoHouse) as Arc<dyn maintenance::House>),
    );
    // Who has a mail server says so with [`register_email`].
    register_email(registry, None);
    registry.register(echo::Echo);
    registry.register(sleep::Sleep);
    registry.register(fail::Fail);
}

/// Registers what tells webhooks, with somebody who knows them.
pub fn register_webhooks(
    registry: &mut Registry,
    hooks: Arc<dyn webhook_deliver::Hooks>,
    allow_private: bool,
) {
    registry.register(webhook_deliver::WebhookDeliver::new(hooks, allow_private));
}

/// Registers what looks after an installation.
pub fn register_house(registry: &mut Registry, house: &Arc<dyn maintenance::House>) {
    registry.register(maintenance::Clean(Arc::clone(house)));
    registry.register(maintenance::CheckHealth(Arc::clone(house)));
}

/// Registers what sends mail, with the server to send it by.
pub fn register_email(registry: &mut Registry, server: Option<email_send::Server>) {
    registry.register(email_send::EmailSend::new(server));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_describes_itself_and_refuses_unknown_fields() {
        let mut registry = Registry::new();
        register_all(&mut registry, &Options::default());
        assert!(registry.specs().count() >= 10);
        for spec in registry.specs() {
            assert!(spec.description.ends_with('.'), "{}", spec.name);
            assert_eq!(
                spec.input_schema["additionalProperties"], false,
                "{} takes unknown fields",
                spec.name
            );
        }
    }
}

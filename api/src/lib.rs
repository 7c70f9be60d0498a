//! The REST API: routes over [`aquatint_engine::Engine`], and nothing else.
//!
//! | module | what it holds |
//! | --- | --- |
//! | `server`, `config`, `app` | the router put together and served; what it is told; what every route shares |
//! | `around`, `watched` | what happens to every request; whether it was read to its end |
//! | `auth`, `limits` | who asks, what they may, and how much |
//! | `admission` | the one way from a request to a run |
//! | `budget`, `connections` | how much memory requests may take together; how many connections there may be |
//! | `problem`, `extract`, `wire` | refusals, what comes in, what goes out |
//! | `attachments` | files that inputs name |
//! | `files` | uploads looked at before anybody trusts them; files sent back |
//! | `notices` | those whom a run names are told of its end |
//! | `feed`, `webhooks` | one reader of the events for every stream; one that tells others of ends |
//! | `routes/*` | `/api/v1`, a resource a file |
//! | `edges/*` | the APIs of systems whose clients work here unchanged |
//! | `openapi` | the document, generated from the routes |
//!
//! No SQL, no store, no tensors: what a route needs of the engine it asks at the engine's door.

mod admission;
mod app;
mod around;
mod attachments;
mod auth;
mod budget;
mod config;
mod connections;
mod edges;
mod extract;
mod feed;
mod files;
mod limits;
mod notices;
mod openapi;
mod problem;
mod routes;
mod server;
mod watched;
mod webhooks;
mod wire;

pub use auth::{KeyStatus, NewKey, Scope};
pub use config::ApiConfig;
pub use server::{Api, ServeError};
pub use webhooks::is_secret as is_webhook_secret;

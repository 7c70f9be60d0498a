//! The REST API: a router over [`aquatint_engine::Engine`], and nothing else.
//!
//! Nothing is served yet. The program offers no `serve` command until this
//! crate has routes that work; until then the engine's door and the command
//! line are the ways in.

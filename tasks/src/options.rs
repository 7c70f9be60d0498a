//! What an installation lets its tasks reach. Everything outside is closed by default.
//!
//! These come from configuration alone, never from a definition or a request:
//! whoever may submit a run must not thereby choose what it may touch.

use std::path::PathBuf;

use serde::Deserialize;

/// The `tasks` table of the configuration; [`Options::default`] opens nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// `tasks.http`: what `http.request` may call.
    pub http: Option<HttpOptions>,
    /// `tasks.command`: what `command.run` may start.
    pub command: Option<CommandOptions>,
}

/// What `http.request` may call.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpOptions {
    /// Host names: `api.example.com`, or `*.example.com` for every name below
    /// it (not `example.com` itself). `*` alone allows every public host.
    pub allowed_hosts: Vec<String>,
    /// The largest response read; what is longer fails the attempt.
    #[serde(default = "default_max_response_bytes")]
    pub max_response_bytes: u64,
    /// Whether hosts may lie in private, loopback and link-local networks.
    #[serde(default)]
    pub allow_private: bool,
}

impl Default for HttpOptions {
    /// No host at all, 32 MiB, public addresses only.
    fn default() -> Self {
        Self {
            allowed_hosts: Vec::new(),
            max_response_bytes: default_max_response_bytes(),
            allow_private: false,
        }
    }
}

fn default_max_response_bytes() -> u64 {
    32 * 1024 * 1024
}

/// What `command.run` may start.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandOptions {
    /// Absolute paths of programs, exactly as a definition must name them.
    pub allowed_programs: Vec<PathBuf>,
    /// Environment variables that a definition may set, by name.
    #[serde(default)]
    pub allowed_env: Vec<String>,
}

//! What an API needs to be told. Where the values come from is the program's business.

use std::time::Duration;

use aquatint_engine::health::Limits;

/// How an API behaves. Start from [`ApiConfig::default`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ApiConfig {
    /// What clients reach it by, as in `https://media.example.org`; without it, the request's `Host`.
    pub public_url: Option<String>,
    /// Origins whose pages may call it from a browser; `*` for any. None by default.
    pub cors_origins: Vec<String>,
    /// The largest body of a request, in bytes.
    pub max_body_bytes: usize,
    /// The most that a run's inputs may have, as JSON, in bytes; those of a batch's items together, too. What is
    /// larger is uploaded, and named.
    pub max_input_bytes: usize,
    /// The largest single uploaded file, in bytes.
    pub max_file_bytes: usize,
    /// The most pixels an uploaded picture may have, decoded.
    pub max_pixels: u64,
    /// How much memory requests may take together: bodies, what is made of them, pictures to be made smaller.
    /// What is beyond waits, or is refused.
    pub memory_bytes: usize,
    /// Connections at a time; without it, two fifths of the files that the process may open.
    pub max_connections: Option<usize>,
    /// How long a request may take; those that wait for a run, and streams, have times of their own.
    pub request_timeout: Duration,
    /// Requests a second for each key, or each address where there are no keys; `None` does not count.
    pub requests_per_second: Option<u32>,
    /// Whether definitions may be put through the API.
    pub allow_definitions: bool,
    /// How long results are kept of tasks whose pictures travel as base64.
    pub inline_retention: Duration,
    /// Whether a request without a key is let in while no key exists: for loopback only.
    pub open_without_keys: bool,
    /// Makes a request's span part of its client's trace: told of the span before it begins, and of the request's
    /// `traceparent` and `tracestate`.
    pub go_on_tracing: Option<fn(&tracing::Span, &str, Option<&str>)>,
    /// What health is judged by.
    pub health: Limits,
    /// The names of the rules that alerts go by.
    pub alert_rules: Vec<String>,
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            public_url: None,
            cors_origins: Vec::new(),
            max_body_bytes: 64 * 1024 * 1024,
            max_input_bytes: 8_000_000,
            max_file_bytes: 32 * 1024 * 1024,
            max_pixels: 64_000_000,
            memory_bytes: 512 * 1024 * 1024,
            max_connections: None,
            request_timeout: Duration::from_secs(30),
            requests_per_second: None,
            allow_definitions: false,
            inline_retention: Duration::from_secs(3600),
            open_without_keys: true,
            go_on_tracing: None,
            health: Limits::default(),
            alert_rules: Vec::new(),
        }
    }
}

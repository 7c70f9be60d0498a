//! What `aquatint serve` is set to: where it listens, and how much it takes.

use std::net::SocketAddr;
use std::time::Duration;

use aquatint_api::ApiConfig;
use aquatint_engine::workflow::parse_size;
use serde::Deserialize;

use crate::exit::{Exit, Result};

/// Where to listen when nothing is said: this machine only.
const LISTEN: &str = "127.0.0.1:8000";

/// The longest that results may be kept; what is to stay for ever is fetched and stored elsewhere.
const LONGEST_RETENTION: Duration = Duration::from_secs(10 * 366 * 24 * 3600);

/// `[api]` of a file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ApiKeys {
    #[serde(default)]
    public_url: Option<String>,
    #[serde(default)]
    cors_origins: Vec<String>,
    #[serde(default)]
    max_body: Option<String>,
    #[serde(default)]
    max_file: Option<String>,
    #[serde(default)]
    max_pixels: Option<u64>,
    #[serde(default)]
    requests_per_second: Option<u32>,
    #[serde(default)]
    allow_definitions: bool,
    #[serde(default)]
    allow_private_webhooks: bool,
    #[serde(default)]
    result_retention: Option<String>,
}

/// What the API is like.
#[derive(Debug)]
pub(crate) struct ApiSettings {
    pub(crate) listen: SocketAddr,
    pub(crate) config: ApiConfig,
    /// Whether webhooks may lie in private networks.
    pub(crate) allow_private_webhooks: bool,
}

impl ApiSettings {
    pub(super) fn read(
        listen: Option<&str>,
        keys: ApiKeys,
        at: &impl Fn(&str) -> String,
    ) -> Result<Self> {
        let text = listen.unwrap_or(LISTEN);
        let listen = text.parse().map_err(|_| {
            Exit::Usage(format!(
                "{}: expected an address and a port, got `{text}`; example: {LISTEN}",
                at("listen")
            ))
        })?;
        let mut config = ApiConfig::default();
        if let Some(url) = keys.public_url {
            if !url.starts_with("http://") && !url.starts_with("https://") {
                return Err(Exit::Usage(format!(
                    "{}: expected https://HOST, got `{url}`",
                    at("api.public_url")
                )));
            }
            config.public_url = Some(url);
        }
        config.cors_origins = keys.cors_origins;
        for (key, given, bytes) in [
            ("api.max_body", keys.max_body, &mut config.max_body_bytes),
            ("api.max_file", keys.max_file, &mut config.max_file_bytes),
        ] {
            if let Some(given) = given {
                let size = parse_size(&given).and_then(|size| usize::try_from(size).ok());
                *bytes = size.ok_or_else(|| {
                    Exit::Usage(format!(
                        "{}: expected a size, got `{given}`; example: 64MB",
                        at(key)
                    ))
                })?;
            }
        }
        // Room for the largest body, and for what is made of it.
        config.memory_bytes = config
            .memory_bytes
            .max(config.max_body_bytes.saturating_mul(8));
        config.max_pixels = keys.max_pixels.unwrap_or(config.max_pixels);
        config.requests_per_second = keys.requests_per_second;
        config.allow_definitions = keys.allow_definitions;
        if let Some(kept) = keys.result_retention {
            let parsed = humantime::parse_duration(&kept).ok();
            config.inline_retention = parsed
                .filter(|kept| *kept <= LONGEST_RETENTION)
                .ok_or_else(|| {
                    Exit::Usage(format!(
                        "{}: expected a duration of ten years at most, got `{kept}`; example: 1h",
                        at("api.result_retention")
                    ))
                })?;
        }
        Ok(Self {
            listen,
            config,
            allow_private_webhooks: keys.allow_private_webhooks,
        })
    }
}

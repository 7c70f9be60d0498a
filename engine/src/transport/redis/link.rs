//! How to reach Redis: the URL, connections with bounded patience, and the keys' names.

use std::fmt;
use std::time::Duration;

use redis::aio::{MultiplexedConnection, PubSubSink, PubSubStream};
use redis::{AsyncConnectionConfig, Client, ConnectionAddr, RedisError};
use tokio_util::sync::CancellationToken;

use super::RedisConfig;
use super::error::{self, TransportError};
use crate::id::QueueName;

/// For a connection to be made.
const CONNECT: Duration = Duration::from_secs(2);

/// For an answer. A server may stall for seconds (a fork, a slow script, a
/// moved machine), and an answer given up for lost is a connection made anew.
pub(super) const ANSWER: Duration = Duration::from_secs(5);

/// The oldest version that is tested for.
const OLDEST: (u32, u32) = (6, 2);

/// One Redis, and the part of its keys that is ours.
pub(super) struct Link {
    client: Client,
    /// The URL without its password.
    address: String,
    namespace: String,
    /// This doorbell, among those that share the channel.
    pub(super) me: String,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("address", &self.address)
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

impl Link {
    pub(super) fn open(config: &RedisConfig) -> Result<Self, TransportError> {
        let namespace = &config.namespace;
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if namespace.is_empty() || namespace.len() > 64 || !namespace.chars().all(is_plain) {
            return Err(TransportError::Namespace {
                got: namespace.chars().take(80).collect(),
            });
        }
        if config.url.starts_with("rediss:") || config.url.starts_with("valkeys:") {
            // Somebody may have chosen another already: theirs will do.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let client = Client::open(config.url.as_str()).map_err(|error| TransportError::Url {
            // A detail may repeat a part of the URL.
            why: error.category().to_owned(),
        })?;
        Ok(Self {
            address: address(&client),
            client,
            namespace: namespace.clone(),
            me: uuid::Uuid::new_v4().simple().to_string(),
        })
    }

    /// What every key's and channel's name begins with.
    pub(super) fn prefix(&self) -> String {
        format!("aquatint:{}:", self.namespace)
    }

    /// The list of a queue's tickets.
    pub(super) fn tickets(&self, queue: &QueueName) -> String {
        format!("{}tickets:{queue}", self.prefix())
    }

    fn notices(&self) -> String {
        format!("{}notices", self.prefix())
    }

    /// A connection that gives up on an answer after `patience`.
    pub(super) async fn connect(
        &self,
        patience: Duration,
    ) -> Result<MultiplexedConnection, RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(patience));
        self.client
            .get_multiplexed_async_connection_with_config(&config)
            .await
    }

    /// Hears the notices of this namespace.
    pub(super) async fn subscribe(&self) -> Result<(PubSubSink, PubSubStream), RedisError> {
        let subscribed = async {
            let (mut sink, stream) = self.client.get_async_pubsub().await?.split();
            sink.subscribe(self.notices()).await?;
            Ok((sink, stream))
        };
        match tokio::time::timeout(CONNECT + ANSWER, subscribed).await {
            Ok(subscribed) => subscribed,
            Err(_) => Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
        }
    }

    /// A message for all who hear the notices.
    pub(super) fn publish(&self, pipe: &mut redis::Pipeline, message: &str) {
        pipe.cmd("PUBLISH")
            .arg(self.notices())
            .arg(message)
            .ignore();
    }

    /// Looks whether this server will do, by doing once what is done later. Gives
    /// the connection that showed it, or none if the server is not ready yet.
    pub(super) async fn examine(&self) -> Result<Option<MultiplexedConnection>, TransportError> {
        let examined = async {
            let mut connection = self.connect(ANSWER).await?;
            let info: String = redis::cmd("INFO")
                .arg("server")
                .query_async(&mut connection)
                .await?;
            if let Some(found) = too_old(&info) {
                return Ok(Err(found));
            }
            let probe = format!("{}probe", self.prefix());
            for (name, arguments) in [
                ("RPUSH", &["1"][..]),
                ("LTRIM", &["0", "0"]),
                ("EXPIRE", &["1"]),
                ("BLPOP", &["0.001"]),
                ("PUBLISH", &[""]),
            ] {
                let mut command = redis::cmd(name);
                command.arg(&probe).arg(arguments);
                command.exec_async(&mut connection).await?;
            }
            Ok(Ok(connection))
        };
        match examined.await {
            Ok(Ok(connection)) => Ok(Some(connection)),
            Ok(Err(found)) => Err(TransportError::Version {
                address: self.address.clone(),
                found,
            }),
            Err(error) if error::passes(&error) => {
                tracing::warn!(error = %self.explain(&error), "Redis is not ready yet; beginning without it");
                Ok(None)
            }
            Err(error) => Err(self.explain(&error)),
        }
    }

    pub(super) fn explain(&self, error: &RedisError) -> TransportError {
        error::explain(error, &self.address, &self.prefix())
    }
}

/// The URL without its password.
fn address(client: &Client) -> String {
    let info = client.get_connection_info();
    let (scheme, place) = match info.addr() {
        ConnectionAddr::TcpTls { .. } => ("rediss", info.addr().to_string()),
        ConnectionAddr::Unix(_) => ("redis+unix", info.addr().to_string()),
        _ => ("redis", info.addr().to_string()),
    };
    let user = info
        .redis_settings()
        .username()
        .map_or(String::new(), |user| format!("{user}@"));
    let database = match info.redis_settings().db() {
        0 => String::new(),
        database => format!("/{database}"),
    };
    format!("{scheme}://{user}{place}{database}")
}

/// The version that `INFO server` tells, if it is too old. One that cannot be read will do.
fn too_old(info: &str) -> Option<String> {
    let found = info
        .lines()
        .find_map(|line| line.strip_prefix("redis_version:"))?
        .trim();
    let mut parts = found.split('.').map(|part| part.parse::<u32>().ok());
    let version = (parts.next()??, parts.next()??);
    (version < OLDEST).then(|| found.to_owned())
}

/// How long to wait before connecting anew: hardly at first, and never long.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(10);
    const LONGEST: Duration = Duration::from_millis(500);

    pub(super) fn new() -> Self {
        Self { next: Self::FIRST }
    }

    pub(super) fn reset(&mut self) {
        self.next = Self::FIRST;
    }

    /// Waits, a little at random, so that not all come back at once. False: it is time to stop.
    pub(super) async fn wait(&mut self, stop: &CancellationToken) -> bool {
        let pause = self.next.mul_f64(0.5 + 0.5 * fastrand::f64());
        self.next = (self.next * 2).min(Self::LONGEST);
        stop.run_until_cancelled(tokio::time::sleep(pause))
            .await
            .is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_before_6_2_is_too_old() {
        let info =
            |version: &str| format!("# Server\r\nredis_version:{version}\r\nredis_mode:x\r\n");
        for old in ["5.0.7", "6.0.16", "2.8.0"] {
            assert_eq!(too_old(&info(old)), Some(old.to_owned()));
        }
        for good in ["6.2.0", "7.0.15", "8.2.1", "255.255.255", "unstable"] {
            assert_eq!(too_old(&info(good)), None);
        }
    }

    #[test]
    fn an_address_is_shown_without_its_password() {
        let shown = |url: &str| {
            let config = RedisConfig::new(url, "test");
            assert!(!format!("{config:?}").contains("hunter2"));
            let link = Link::open(&config).expect("a well-formed URL");
            assert!(!format!("{link:?}").contains("hunter2"));
            link.address
        };
        assert_eq!(
            shown("redis://app:hunter2@cache:6380/3"),
            "redis://app@cache:6380/3"
        );
        assert_eq!(shown("rediss://:hunter2@cache"), "rediss://cache:6379");
        assert_eq!(
            shown("redis+unix:///run/r.sock?pass=hunter2"),
            "redis+unix:///run/r.sock"
        );
    }

    #[test]
    fn a_url_or_namespace_that_will_not_do_is_refused_without_repeating_a_password() {
        for bad in [
            "http://x:hunter2@y",
            "hunter2",
            "redis://x:hunter2@y:port/",
            "redis://",
        ] {
            let error = Link::open(&RedisConfig::new(bad, "test")).expect_err("no Redis URL");
            assert!(
                matches!(error, TransportError::Url { .. }),
                "{bad}: {error}"
            );
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        }
        for bad in ["", "a b", "a*", "a:b", &"x".repeat(65)] {
            let error = Link::open(&RedisConfig::new("redis://x", bad)).expect_err("no namespace");
            assert!(matches!(error, TransportError::Namespace { .. }), "{error}");
        }
    }
}

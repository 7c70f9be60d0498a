//! What is wrong with Redis, in a sentence that says what to do.

use redis::{ErrorKind, RedisError, ServerErrorKind};

/// Why a doorbell could not be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum TransportError {
    /// The URL cannot be read. It is not repeated, since it may hold a password.
    #[error(
        "the Redis URL cannot be read: {why}; expected redis://[user:password@]host[:port][/database], or rediss:// for TLS"
    )]
    Url {
        /// What is wrong with it.
        why: String,
    },
    /// The namespace would not do as a part of key names.
    #[error(
        "`{got}` is no namespace for Redis keys: expected 1 to 64 letters, digits, `-`, `_` or `.`"
    )]
    Namespace {
        /// What was given, cut to 80 characters.
        got: String,
    },
    /// Nobody answers there.
    #[error("no Redis answers at {address} ({why}); start it, or correct the Redis URL")]
    Unreachable {
        /// The URL without its password.
        address: String,
        /// The connection's error.
        why: String,
    },
    /// The certificate or the handshake will not do.
    #[error(
        "no secure connection to {address} ({why}); check that Redis runs there, that this port speaks TLS, and that this machine trusts the server's certificate"
    )]
    Tls {
        /// The URL without its password.
        address: String,
        /// The handshake's error.
        why: String,
    },
    /// Wrong or missing user name or password.
    #[error(
        "{address} refuses the user name or password; correct them in the Redis URL (redis://user:password@host)"
    )]
    Credentials {
        /// The URL without its password.
        address: String,
    },
    /// The user lacks a permission.
    #[error(
        "{address} does not permit what is needed ({why}); grant it: ACL SETUSER <user> ~{prefix}* &{prefix}* +@connection +info +rpush +ltrim +expire +blpop +publish +subscribe"
    )]
    Permission {
        /// The URL without its password.
        address: String,
        /// What Redis said.
        why: String,
        /// What all key and channel names begin with.
        prefix: String,
    },
    /// Too old.
    #[error("{address} is Redis {found}; 6.2 or later is needed: upgrade it, or use another")]
    Version {
        /// The URL without its password.
        address: String,
        /// Which version answered.
        found: String,
    },
    /// A replica.
    #[error("{address} is a read-only replica; name the primary in the Redis URL")]
    ReadOnly {
        /// The URL without its password.
        address: String,
    },
    /// A member of a cluster.
    #[error(
        "{address} belongs to a Redis Cluster, which is not supported; use a single Redis, which need hold next to nothing"
    )]
    Cluster {
        /// The URL without its password.
        address: String,
    },
    /// No memory left for a list of tickets.
    #[error(
        "{address} has no memory left (OOM); raise its maxmemory, or use another: tickets take a few kilobytes"
    )]
    Full {
        /// The URL without its password.
        address: String,
    },
    /// Anything else that Redis said.
    #[error("{address} cannot serve as the doorbell: {why}")]
    Other {
        /// The URL without its password.
        address: String,
        /// What Redis said.
        why: String,
    },
}

/// Whether an error will pass by itself: a reason to begin all the same.
pub(super) fn passes(error: &RedisError) -> bool {
    let kind = error.kind();
    let waits = [
        ErrorKind::Server(ServerErrorKind::BusyLoading),
        ErrorKind::Server(ServerErrorKind::MasterDown),
        ErrorKind::Server(ServerErrorKind::TryAgain),
    ];
    waits.contains(&kind) || matches!(error.code(), Some("OOM" | "BUSY" | "MISCONF"))
}

/// What an error means, for a server at `address` whose keys begin with `prefix`.
pub(super) fn explain(error: &RedisError, address: &str, prefix: &str) -> TransportError {
    let address = address.to_owned();
    let why = error.to_string();
    match (error.kind(), error.code()) {
        (ErrorKind::AuthenticationFailed, _) | (_, Some("NOAUTH" | "WRONGPASS")) => {
            TransportError::Credentials { address }
        }
        (ErrorKind::Server(ServerErrorKind::NoPerm), _) => TransportError::Permission {
            address,
            why: error.detail().unwrap_or("NOPERM").to_owned(),
            prefix: prefix.to_owned(),
        },
        (ErrorKind::Server(ServerErrorKind::ReadOnly), _) => TransportError::ReadOnly { address },
        (
            ErrorKind::Server(
                ServerErrorKind::Moved | ServerErrorKind::Ask | ServerErrorKind::ClusterDown,
            ),
            _,
        ) => TransportError::Cluster { address },
        _ if error.is_io_error() || error.is_timeout() => {
            // A port that does not speak TLS may just as well say nothing.
            let is_nobody = error.is_connection_refusal() || why.contains("lookup");
            if address.starts_with("rediss:") && !is_nobody {
                TransportError::Tls { address, why }
            } else {
                TransportError::Unreachable { address, why }
            }
        }
        // In a pipeline's error, codes that the client does not know are found in its text only.
        _ if why.contains("\"OOM\"") => TransportError::Full { address },
        _ => TransportError::Other { address, why },
    }
}

//! The mail server of an installation: where it is, who we are there, and who may be written to.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use aquatint_engine::task::TaskError;
use lettre::Address;
use lettre::message::Mailbox;
use secrecy::SecretString;

use super::session;

/// Port of a server that speaks TLS from the first byte on (RFC 8314).
const TLS_PORT: u16 = 465;
/// Port of a server that is asked to change to TLS.
const STARTTLS_PORT: u16 = 587;
/// How long [`Server::look`] waits: people do.
const LOOK_PATIENCE: Duration = Duration::from_secs(10);

/// What is said between us and the server, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Security {
    /// TLS from the first byte on.
    Tls,
    /// TLS after a word in the open; a server that cannot is left.
    StartTls,
    /// None: for a server on this machine.
    None,
}

impl Security {
    /// Reads `tls`, `starttls` or `none`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "tls" => Some(Self::Tls),
            "starttls" => Some(Self::StartTls),
            "none" => Some(Self::None),
            _ => None,
        }
    }
}

/// What a configuration says of a mail server, before it is checked.
#[derive(Debug, Clone, Default)]
pub struct ServerOptions {
    /// Its name or address.
    pub host: Option<String>,
    /// Its port; that of the way it is spoken to where nothing is said.
    pub port: Option<u16>,
    /// How it is spoken to; what its port is for where nothing is said, and else TLS.
    pub tls: Option<Security>,
    /// Who we are there; together with `password`.
    pub user: Option<String>,
    /// What proves it.
    pub password: Option<SecretString>,
    /// Whom messages are from: `media@example.org`, or `Media <media@example.org>`.
    pub from: Option<String>,
    /// What we call ourselves; our address where nothing is said.
    pub hello: Option<String>,
    /// Whether [`Security::None`] may be used with a server elsewhere.
    pub allow_plain: bool,
    /// Addresses, and domains with what is below them; everybody where nothing is said.
    pub allowed_recipients: Option<Vec<String>>,
}

/// What is wrong with [`ServerOptions`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ServerError {
    /// The field at fault.
    pub field: &'static str,
    /// What was wrong, and what would be right; never with a password.
    pub message: String,
}

/// A mail server that can be used as it is described.
#[derive(Debug, Clone)]
pub struct Server {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tls: Security,
    pub(super) login: Option<(String, SecretString)>,
    pub(super) from: Mailbox,
    pub(super) hello: Option<String>,
    allowed: Option<Vec<String>>,
}

impl Server {
    /// Checks what a configuration says.
    ///
    /// # Errors
    /// [`ServerError`] names what is missing or cannot be.
    pub fn new(options: ServerOptions) -> Result<Self, ServerError> {
        let wrong = |field, message: String| Err(ServerError { field, message });
        let Some(host) = options.host.filter(|host| !host.is_empty()) else {
            return wrong(
                "host",
                "a mail server's name is missing; example: mail.example.org".to_owned(),
            );
        };
        let is_host = |text: &str| {
            text.len() <= 253
                && text
                    .chars()
                    .all(|c| c.is_alphanumeric() || ".-:".contains(c))
        };
        // Brackets are how addresses are written into URLs.
        let host = host.trim_matches(['[', ']']).to_owned();
        if !is_host(&host) {
            return wrong(
                "host",
                format!("expected a host name, got `{host}`; example: mail.example.org"),
            );
        }
        let tls = options.tls.unwrap_or(match options.port {
            None | Some(TLS_PORT) => Security::Tls,
            Some(_) => Security::StartTls,
        });
        if tls == Security::None && !options.allow_plain && !is_loopback(&host) {
            return wrong(
                "tls",
                format!(
                    "without TLS, messages and the password would be sent in the open to `{host}`; use `tls` or `starttls`, or set `allow_plain = true` under [smtp] where the network is to be trusted"
                ),
            );
        }
        let port = options.port.unwrap_or(match tls {
            Security::Tls => TLS_PORT,
            Security::StartTls => STARTTLS_PORT,
            Security::None => 25,
        });
        let login = match (options.user, options.password) {
            (None, None) => None,
            (Some(user), Some(password)) => Some((user, password)),
            (Some(_), None) => {
                return wrong("user", "a user needs a `password` beside it".to_owned());
            }
            (None, Some(_)) => {
                return wrong("password", "a password needs a `user` beside it".to_owned());
            }
        };
        let Some(from) = options.from else {
            return wrong(
                "from",
                "the server lacks a sender; set `from` under [smtp], or AQUATINT_SMTP_FROM; example: media@example.org".to_owned(),
            );
        };
        let Ok(from) = from.parse::<Mailbox>() else {
            return wrong(
                "from",
                format!("expected an address, got `{from}`; example: Aquatint <media@example.org>"),
            );
        };
        if let Some(hello) = options.hello.as_deref().filter(|name| !is_host(name)) {
            return wrong(
                "hello",
                format!("expected a host name, got `{hello}`; example: worker.example.org"),
            );
        }
        let allowed = options
            .allowed_recipients
            .map(|list| list.iter().map(|entry| recipient(entry)).collect())
            .transpose()?;
        Ok(Self {
            host,
            port,
            tls,
            login,
            from,
            hello: options.hello,
            allowed,
        })
    }

    /// Connects and logs in, and sends nothing.
    ///
    /// # Errors
    /// As an attempt would fail.
    pub async fn look(&self) -> Result<(), TaskError> {
        let looked = tokio::time::timeout(LOOK_PATIENCE, session::look(self)).await;
        looked.unwrap_or_else(|_| {
            Err(TaskError::retryable(
                "timeout",
                format!(
                    "{self} does not answer within {}",
                    humantime::format_duration(LOOK_PATIENCE)
                ),
            ))
        })
    }

    /// Whom the server may be used to write to, as people say it.
    #[must_use]
    pub fn recipients(&self) -> String {
        match &self.allowed {
            None => "to everybody".to_owned(),
            Some(list) if list.is_empty() => "to nobody".to_owned(),
            Some(list) => format!("to {}", list.join(", ")),
        }
    }

    /// Whether somebody may be written to.
    pub(super) fn allows(&self, to: &Address) -> bool {
        let Some(allowed) = &self.allowed else {
            return true;
        };
        // Old servers read these as "send it on": `stranger%elsewhere.net@example.org`.
        if to.user().contains(['%', '!']) {
            return false;
        }
        let domain = to.domain().to_lowercase();
        let whole = format!("{}@{domain}", to.user().to_lowercase());
        allowed.iter().any(|entry| {
            if entry.contains('@') {
                *entry == whole
            } else {
                let above = domain.strip_suffix(entry.as_str());
                above.is_some_and(|above| above.is_empty() || above.ends_with('.'))
            }
        })
    }
}

/// The server without its credentials: `mail.example.org:465`.
impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the mail server {}:{}", self.host, self.port)
    }
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// An entry of `allowed_recipients`, in lower case.
fn recipient(entry: &str) -> Result<String, ServerError> {
    let entry = entry.trim().to_lowercase();
    let probe = if entry.contains('@') {
        entry.clone()
    } else {
        format!("somebody@{entry}")
    };
    match probe.parse::<Address>() {
        Ok(_) => Ok(entry),
        Err(_) => Err(ServerError {
            field: "allowed_recipients",
            message: format!(
                "expected addresses and domains, got `{entry}`; example: [\"example.org\", \"boss@example.com\"]"
            ),
        }),
    }
}

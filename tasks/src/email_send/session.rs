//! A conversation with the mail server, and what its answers mean for an attempt.
//!
//! | the server | the attempt |
//! | --- | --- |
//! | cannot be reached, hangs up, talks nonsense | fails, is tried again (`network`) |
//! | answers 4xx: grey lists, full disks, too much at a time | fails, is tried again (`busy`) |
//! | answers 530, 534, 535 or 538 | fails for good (`credentials`) |
//! | answers another 5xx: nobody of that name, no such sender, too large | fails for good (`refused`) |

use std::sync::Once;
use std::time::Duration;

use aquatint_engine::task::TaskError;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Noop, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailParameter};
use secrecy::ExposeSecret as _;

use super::message::Composed;
use super::server::{Security, Server};

/// How long one of a server's addresses may take to let us in.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
/// How long a server may take to say goodbye: the message is its own by then.
const GOODBYE_PATIENCE: Duration = Duration::from_secs(2);

/// Hands a message over; what the server said to it.
pub(super) async fn send(server: &Server, message: &Composed) -> Result<String, TaskError> {
    let mut session = open(server).await?;
    let sender = &server.from.email;
    let is_ascii = message
        .to
        .iter()
        .chain([sender])
        .all(|address| AsRef::<str>::as_ref(address).is_ascii());
    let mut parameters = Vec::new();
    if !is_ascii {
        if !session
            .server_info()
            .supports_feature(Extension::SmtpUtfEight)
        {
            return Err(TaskError::fatal(
                "refused",
                format!("{server} knows only addresses in ASCII"),
            ));
        }
        parameters.push(MailParameter::SmtpUtfEight);
    }
    let begun = session.command(Mail::new(Some(sender.clone()), parameters));
    let begun = begun.await;
    begun.map_err(|error| explain(server, &format!("the sender {sender}"), &error))?;
    for address in &message.to {
        let taken = session
            .command(Rcpt::new(address.clone(), Vec::new()))
            .await;
        taken.map_err(|error| explain(server, &format!("the recipient {address}"), &error))?;
    }
    let ready = session.command(Data).await;
    ready.map_err(|error| explain(server, "the message", &error))?;
    let taken = session.message(&message.bytes).await;
    let taken = taken.map_err(|error| explain(server, "the message", &error))?;
    let answer: Vec<&str> = taken.message().collect();
    let answer = said(server, &format!("{} {}", taken.code(), answer.join(" ")));
    // Whatever comes now, it has the message.
    let _ = tokio::time::timeout(GOODBYE_PATIENCE, session.quit()).await;
    Ok(answer)
}

/// Comes in, and leaves.
pub(super) async fn look(server: &Server) -> Result<(), TaskError> {
    let mut session = open(server).await?;
    let answer = session.command(Noop).await;
    answer.map_err(|error| explain(server, "a greeting", &error))?;
    let _ = tokio::time::timeout(GOODBYE_PATIENCE, session.quit()).await;
    Ok(())
}

/// Connects, as safely as the configuration says, and logs in.
async fn open(server: &Server) -> Result<AsyncSmtpConnection, TaskError> {
    let hello = server
        .hello
        .clone()
        .map_or_else(ClientId::default, ClientId::Domain);
    let (wrapper, upgrade) = match server.tls {
        Security::Tls => (Some(tls(server)?), None),
        Security::StartTls => (None, Some(tls(server)?)),
        Security::None => (None, None),
    };
    let address = (server.host.as_str(), server.port);
    let opened =
        AsyncSmtpConnection::connect_tokio1(address, Some(CONNECT_PATIENCE), &hello, wrapper, None);
    let opened = opened.await;
    let mut session = opened.map_err(|error| explain(server, "us", &error))?;
    if let Some(tls) = upgrade {
        if !session.can_starttls() {
            return Err(TaskError::fatal(
                "no_tls",
                format!(
                    "{server} does not offer STARTTLS; set `tls` under [smtp] to `tls`, or to `none` if it is on this machine"
                ),
            ));
        }
        let upgraded = session.starttls(tls, &hello).await;
        upgraded.map_err(|error| explain(server, "STARTTLS", &error))?;
    }
    if let Some((user, password)) = &server.login {
        let credentials = Credentials::new(user.clone(), password.expose_secret().to_owned());
        let known = session.auth(DEFAULT_MECHANISMS, &credentials).await;
        known.map_err(|error| explain(server, &format!("the credentials of `{user}`"), &error))?;
    }
    Ok(session)
}

fn tls(server: &Server) -> Result<TlsParameters, TaskError> {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        // Another part of the program may have chosen one; theirs is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    TlsParameters::new(server.host.clone()).map_err(|error| {
        TaskError::fatal(
            "no_certificates",
            format!(
                "TLS needs root certificates ({error}); install the system's `ca-certificates`"
            ),
        )
    })
}

/// What an answer, or the lack of one, means; `what` was being handed over.
fn explain(server: &Server, what: &str, error: &Error) -> TaskError {
    let reason = said(server, &deepest(error));
    let Some(code) = error.status() else {
        if error.is_client() {
            // What it offers and what we ask for do not meet: no time will change that.
            return TaskError::fatal("refused", format!("{server}: {reason}"));
        }
        let class = if error.is_timeout() {
            "timeout"
        } else {
            "network"
        };
        return TaskError::retryable(class, format!("{server}: {reason}"));
    };
    let code = code.to_string();
    let message = format!("{server} refused {what}: {code} {reason}");
    if error.is_transient() {
        return TaskError::retryable("busy", message);
    }
    match code.as_str() {
        "530" | "534" | "535" | "538" => TaskError::fatal(
            "credentials",
            format!(
                "{message}; look at `user` and `password` under [smtp] in the configuration file"
            ),
        ),
        _ => TaskError::fatal("refused", message),
    }
}

/// The reason without the words of those who passed it on.
fn deepest(error: &Error) -> String {
    let mut reason: &(dyn std::error::Error + 'static) = error;
    while let Some(source) = reason.source() {
        reason = source;
    }
    reason.to_string()
}

/// Words of a stranger, fit to be kept: short, on one line, and without our password, should they repeat it.
fn said(server: &Server, text: &str) -> String {
    let mut text = text.to_owned();
    if let Some((_, password)) = &server.login {
        let password = password.expose_secret();
        if !password.is_empty() {
            text = text.replace(password, "…");
        }
    }
    let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    clean.take(300).collect::<String>().trim().to_owned()
}

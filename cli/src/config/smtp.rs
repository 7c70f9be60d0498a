//! The mail server of this installation, as the configuration describes it.

use aquatint_tasks::email_send::{Security, Server, ServerOptions};
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use url::Url;

use crate::exit::{Exit, Result};

/// The keys under `[smtp]`.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SmtpKeys {
    url: Option<String>,
    host: Option<String>,
    port: Option<u16>,
    tls: Option<String>,
    user: Option<String>,
    password: Option<String>,
    from: Option<String>,
    hello: Option<String>,
    allow_plain: bool,
    allowed_recipients: Option<Vec<String>>,
}

/// The server, if the settings name one.
pub(super) fn server(keys: SmtpKeys, at: &impl Fn(&str) -> String) -> Result<Option<Server>> {
    if keys.url.is_none() && keys.host.is_none() {
        return Ok(None);
    }
    let wrong = |key: &str, message: &str| Exit::Usage(format!("{}: {message}", at(key)));
    let tls = match keys.tls.as_deref() {
        None => None,
        Some(text) => Some(Security::parse(text).ok_or_else(|| {
            let message = format!("expected tls, starttls or none, got `{text}`");
            wrong("smtp.tls", &message)
        })?),
    };
    let is_url = keys.url.is_some();
    let has_sender = keys.from.is_some();
    // A URL says all of it: half of one server and half of another is none.
    let mut options = match &keys.url {
        Some(url) => read(url).map_err(|message| wrong("smtp.url", &message))?,
        None => ServerOptions {
            host: keys.host,
            port: keys.port,
            tls,
            user: keys.user,
            password: keys.password.map(Into::into),
            ..ServerOptions::default()
        },
    };
    options.from = keys.from;
    options.hello = keys.hello;
    options.allow_plain = keys.allow_plain;
    options.allowed_recipients = keys.allowed_recipients;
    let server = Server::new(options).map_err(|error| {
        let key = match error.field {
            "host" | "port" | "tls" | "user" | "password" if is_url => "url",
            // What is missing is missed by the server, so that is the setting to name.
            "from" if !has_sender => {
                if is_url {
                    "url"
                } else {
                    "host"
                }
            }
            field => field,
        };
        wrong(&format!("smtp.{key}"), &error.message)
    })?;
    Ok(Some(server))
}

/// Reads `smtps://user:password@host:465` and `smtp://host:587`, which is STARTTLS unless `?tls=none`.
///
/// No message repeats the URL: it holds a password.
fn read(text: &str) -> std::result::Result<ServerOptions, String> {
    const EXPECTED: &str = "expected smtps://user:password@host:465 or smtp://user:password@host:587; \
        write special characters of the password as %XX";
    let url = Url::parse(text).map_err(|_| EXPECTED.to_owned())?;
    let mut tls = match url.scheme() {
        "smtps" => Security::Tls,
        "smtp" => Security::StartTls,
        _ => return Err(EXPECTED.to_owned()),
    };
    if !matches!(url.path(), "" | "/") || url.fragment().is_some() {
        return Err(EXPECTED.to_owned());
    }
    for (key, value) in url.query_pairs() {
        tls = match (&*key, &*value, tls) {
            ("tls", "required", Security::StartTls) => Security::StartTls,
            ("tls", "none", Security::StartTls) => Security::None,
            _ => {
                return Err(
                    "after `?`, expected `tls=required` or `tls=none`, and that with smtp:// alone"
                        .to_owned(),
                );
            }
        };
    }
    let decoded = |text: &str| {
        let decoded = percent_decode_str(text).decode_utf8();
        decoded.map(String::from).map_err(|_| EXPECTED.to_owned())
    };
    let user = Some(url.username()).filter(|user| !user.is_empty());
    Ok(ServerOptions {
        host: url.host_str().map(str::to_owned),
        port: url.port(),
        tls: Some(tls),
        user: user.map(decoded).transpose()?,
        password: url.password().map(decoded).transpose()?.map(Into::into),
        ..ServerOptions::default()
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn a_url_says_where_the_server_is_and_who_we_are() {
        let options = read("smtps://me%40x:p%40ss%3A@mail.example.org").unwrap();
        assert_eq!(options.host.unwrap(), "mail.example.org");
        assert_eq!((options.port, options.tls), (None, Some(Security::Tls)));
        assert_eq!(options.user.unwrap(), "me@x");
        assert_eq!(options.password.unwrap().expose_secret(), "p@ss:");
        for (url, tls) in [
            ("smtp://localhost:1025", Security::StartTls),
            ("smtp://localhost:1025?tls=required", Security::StartTls),
            ("smtp://localhost:1025/?tls=none", Security::None),
        ] {
            let options = read(url).unwrap();
            assert_eq!(
                (options.port, options.tls),
                (Some(1025), Some(tls)),
                "{url}"
            );
            assert!(options.user.is_none() && options.password.is_none());
        }
    }

    #[test]
    fn what_is_no_url_of_a_mail_server_is_refused_and_not_repeated() {
        for url in [
            "mail.example.org",
            "https://me:word@mail.example.org",
            "smtps://me:word@mail.example.org:99999",
            "smtps://me:word@mail.example.org/path",
            "smtps://me:word@mail.example.org?tls=none",
            "smtp://me:word@mail.example.org?tls=opportunistic",
            "smtp://me:word@mail.example.org?timeout=3",
        ] {
            let error = read(url).unwrap_err();
            assert!(
                error.contains("expected") && !error.contains("word@mail"),
                "{url}: {error}"
            );
        }
    }
}

//! Which hosts and addresses may be called: the gate in front of `http.request`.
//!
//! A name is checked against the configured hosts, and what it resolves to
//! against the networks that are nobody else's business. The second check sits
//! in the resolver of the client itself: the addresses that were judged are the
//! ones connected to, so a name that answers differently the second time
//! (DNS rebinding) gains nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use aquatint_engine::task::TaskError;
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::options::HttpOptions;

/// Why a call may not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Denied {
    #[error(
        "`{host}` is not among the hosts that may be called; whoever runs this installation can add it to `allowed_hosts` under `tasks.http` in the configuration file"
    )]
    Host { host: String },
    #[error(
        "`{host}` lies at {address}, in a private or reserved network; if that is intended, set `allow_private` under `tasks.http` in the configuration file"
    )]
    Address { host: String, address: IpAddr },
}

impl From<Denied> for TaskError {
    fn from(denied: Denied) -> Self {
        Self::fatal("not_allowed", denied.to_string())
    }
}

/// Parses a URL and checks all of it that can be checked without the network.
///
/// # Errors
/// Fatal: `invalid_input` for what is no plain web address, `not_allowed` for a
/// host that was not opened.
pub(super) fn check_url(text: &str, options: &HttpOptions) -> Result<Url, TaskError> {
    let refuse = |why: &str| {
        // A URL may carry a token: only its beginning is repeated.
        let shown: String = text
            .split('?')
            .next()
            .unwrap_or_default()
            .chars()
            .take(200)
            .collect();
        Err(TaskError::fatal(
            "invalid_input",
            format!("`url`: `{shown}` {why}"),
        ))
    };
    let Ok(url) = Url::parse(text) else {
        return refuse("is no web address; write it in full, as in `https://example.com/path`");
    };
    if !matches!(url.scheme(), "http" | "https") {
        return refuse("is neither `http` nor `https`");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(TaskError::fatal(
            "invalid_input",
            "`url` carries a user name or password; send them as an `Authorization` header instead",
        ));
    }
    check_host(&url, options)?;
    Ok(url)
}

fn check_host(url: &Url, options: &HttpOptions) -> Result<(), Denied> {
    let host = url.host_str().unwrap_or_default();
    if !options
        .allowed_hosts
        .iter()
        .any(|pattern| matches(pattern, host))
    {
        return Err(Denied::Host {
            host: host.to_owned(),
        });
    }
    // An address written out never meets the resolver.
    let literal = host.trim_start_matches('[').trim_end_matches(']').parse();
    match literal {
        Ok(address) if !options.allow_private && !is_public(address) => Err(Denied::Address {
            host: host.to_owned(),
            address,
        }),
        _ => Ok(()),
    }
}

/// Whether `host` is the pattern, or lies below it for `*.example.com`.
fn matches(pattern: &str, host: &str) -> bool {
    let lower = |text: &str| text.trim_end_matches('.').to_ascii_lowercase();
    let (pattern, host) = (lower(pattern), lower(host));
    match pattern.strip_prefix('*') {
        Some("") => true,
        Some(suffix) => {
            suffix.starts_with('.') && host.len() > suffix.len() && host.ends_with(suffix)
        }
        None => pattern == host,
    }
}

/// Resolves names, and lets none through that leads where it may not.
#[derive(Debug)]
pub(super) struct GuardedResolver {
    pub(super) allow_private: bool,
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let allow_private = self.allow_private;
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let found: Vec<SocketAddr> =
                tokio::net::lookup_host((host.as_str(), 0)).await?.collect();
            let refused = found.iter().map(SocketAddr::ip).find(|ip| !is_public(*ip));
            match refused {
                // One private address among public ones is a trap, not a choice.
                Some(address) if !allow_private => Err(Denied::Address { host, address }.into()),
                _ => Ok(Box::new(found.into_iter()) as Addrs),
            }
        })
    }
}

/// Whether an address belongs to the public internet, by the special-purpose
/// registries of IANA (RFC 6890 and what has been added since).
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_special = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || address.is_multicast()
        || a == 0
        // Carrier-grade NAT, protocol assignments, 6to4 relays, benchmarks, reserved.
        || (a == 100 && b & 0xc0 == 64)
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && b & 0xfe == 18)
        || a >= 240;
    !is_special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let s = address.segments();
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match s {
        // IPv4 in another coat (mapped, NAT64, 6to4): judged as IPv4.
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            is_public_v4(v4(high, low))
        }
        [0x2002, high, low, ..] => is_public_v4(v4(high, low)),
        // Teredo and other protocol assignments, documentation.
        [0x2001, second, ..] if second < 0x200 || second == 0xdb8 => false,
        [0x3fff, second, ..] if second < 0x1000 => false,
        // Of all the rest, only 2000::/3 is given out.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn options(hosts: &[&str]) -> HttpOptions {
        HttpOptions {
            allowed_hosts: hosts.iter().map(|&host| host.to_owned()).collect(),
            ..HttpOptions::default()
        }
    }

    #[test]
    fn hosts_match_exactly_or_below_a_star() {
        for (pattern, host, expected) in [
            ("api.example.com", "API.example.com.", true),
            ("api.example.com", "xapi.example.com", false),
            ("example.com", "api.example.com", false),
            ("*.example.com", "a.b.example.com", true),
            ("*.example.com", "example.com", false),
            ("*.example.com", "badexample.com", false),
            ("*example.com", "badexample.com", false),
            ("*", "anything.org", true),
            ("", "anything.org", false),
        ] {
            assert_eq!(matches(pattern, host), expected, "{pattern} {host}");
        }
    }

    #[test]
    fn no_spelling_of_a_private_address_passes() {
        for url in [
            "http://127.0.0.1/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://0177.0.0.1/",
            "http://10.1.2.3/",
            "http://172.16.0.1/",
            "http://192.168.1.1/",
            "http://169.254.169.254/",
            "http://100.64.0.1/",
            "http://0.0.0.0/",
            "http://255.255.255.255/",
            "http://[::1]/",
            "http://[::]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[64:ff9b::a00:1]/",
            "http://[2002:7f00:1::]/",
            "http://[fe80::1]/",
            "http://[fd00::1]/",
            "http://[ff02::1]/",
            "http://[2001:db8::1]/",
            "http://[::127.0.0.1]/",
        ] {
            let error = check_url(url, &options(&["*"])).unwrap_err();
            assert_eq!(error.class, "not_allowed", "{url}");
            assert!(error.message.contains("allow_private"), "{error}");
        }
    }

    #[test]
    fn public_addresses_pass() {
        for url in [
            "https://93.184.215.14/",
            "https://[2606:4700::1111]/",
            "https://example.com/a?b#c",
        ] {
            assert!(check_url(url, &options(&["*"])).is_ok(), "{url}");
        }
    }

    #[test]
    fn what_is_no_plain_web_address_is_refused_and_its_secrets_are_not_repeated() {
        for (url, said) in [
            ("file:///etc/passwd", "neither `http` nor `https`"),
            ("example.com/path", "no web address"),
            ("http:///?token=secret", "no web address"),
            ("https://me:secret@example.com/", "`Authorization`"),
            ("gopher://x/?token=secret", "neither"),
        ] {
            let error = check_url(url, &options(&["*"])).unwrap_err();
            assert!(error.message.contains(said), "{url}: {error}");
            assert!(!error.message.contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_host_that_was_not_opened_is_refused_with_the_setting() {
        let error =
            check_url("https://evil.example.org/", &options(&["*.example.com"])).unwrap_err();
        assert_eq!(error.class, "not_allowed");
        assert!(error.message.contains("`evil.example.org`"), "{error}");
        assert!(error.message.contains("`tasks.http`"), "{error}");
    }
}

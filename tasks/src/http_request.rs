//! `http.request`: calls a service outside, one that the configuration opened.
//!
//! ```text
//! url ─ guard: scheme, host list, literal address ─ resolver: every address ─ request
//!   ▲                                                                           │
//!   └──────────────── redirect (at most five, each through the guard) ◄─────────┤
//!                                                                               ▼
//!                            answer: output, artifact, or error with its remedy
//! ```
//!
//! Environment proxies are not used: behind one, nobody here would know which
//! address is called.

pub(crate) use caller::Caller;

use std::collections::BTreeMap;
use std::sync::{Once, OnceLock};
use std::time::Duration;

use aquatint_engine::artifact::Artifact;
use aquatint_engine::task::{Task, TaskContext, TaskError};
use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, Response, StatusCode, Url};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

mod answer;
mod caller;
mod guard;
#[cfg(test)]
mod tests;

use crate::options::HttpOptions;
use guard::{Denied, GuardedResolver};

/// Calls a web service; closed until `tasks.http` in the configuration names the hosts.
#[derive(Debug)]
pub struct HttpRequest {
    options: Option<HttpOptions>,
    /// Plain HTTP needs no root certificates, and a machine may have none.
    plain: OnceLock<Client>,
    secure: OnceLock<Client>,
}

/// What `http.request` takes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// The method.
    #[serde(default)]
    pub method: Verb,
    /// The address, `http` or `https`, of a host that the configuration allows.
    pub url: String,
    /// Headers to send. `Idempotency-Key` is added unless given: it stays the same over retries.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// A body, sent as JSON.
    #[serde(default)]
    pub json: Option<Value>,
    /// A body, sent as it is.
    #[serde(default)]
    pub text: Option<String>,
    /// How long the whole call may take: `30s`; a minute without it, an hour at most.
    #[serde(default)]
    pub timeout: Option<String>,
    /// Statuses that count as success; 200 to 299 without it.
    #[serde(default)]
    pub expect_status: Vec<u16>,
    /// Stores the body as an artifact of this name, however small it is.
    #[serde(default)]
    pub save_as: Option<String>,
}

/// A method.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "the methods of RFC 9110")]
pub enum Verb {
    #[default]
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
}

/// What `http.request` returns.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Output {
    /// The status.
    pub status: u16,
    /// Some of its headers, their names in lower case: `content-type`, `etag`, `location`, …
    pub headers: BTreeMap<String, String>,
    /// The body: JSON as JSON, text as text; null when it is empty or in `artifact`.
    pub body: Value,
    /// The body when it is binary, longer than 128 KiB, or was asked for by `save_as`.
    pub artifact: Option<Artifact>,
}

const MAX_REDIRECTS: usize = 5;
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);
const LONGEST_TIMEOUT: Duration = Duration::from_secs(3600);
/// As much of an error page as is read.
const MAX_ERROR_BYTES: u64 = 16 * 1024;
/// Headers that belong to the connection, not to the caller.
const REFUSED_HEADERS: [HeaderName; 9] = [
    header::HOST,
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::TE,
    header::TRAILER,
    header::EXPECT,
    header::PROXY_AUTHORIZATION,
];
/// Headers that may follow a redirect to another host; any other may be a key.
const HARMLESS_HEADERS: [HeaderName; 4] = [
    header::ACCEPT,
    header::ACCEPT_LANGUAGE,
    header::CONTENT_TYPE,
    header::USER_AGENT,
];

impl HttpRequest {
    /// With what the configuration allows; `None` refuses every call.
    #[must_use]
    pub fn new(options: Option<HttpOptions>) -> Self {
        Self {
            options,
            plain: OnceLock::new(),
            secure: OnceLock::new(),
        }
    }
}

impl Task for HttpRequest {
    const NAME: &'static str = "http.request";
    const VERSION: u32 = 1;
    const DESCRIPTION: &'static str = "Calls a web service that the configuration allows.";
    type Input = Input;
    type Output = Output;

    async fn run(&self, ctx: TaskContext, input: Input) -> Result<Output, TaskError> {
        let Some(options) = &self.options else {
            return Err(TaskError::fatal(
                "not_allowed",
                "`http.request` is switched off here; whoever runs this installation can allow hosts with `allowed_hosts` under `tasks.http` in the configuration file",
            ));
        };
        let limit = timeout(input.timeout.as_deref())?;
        let call = Call::prepare(&ctx, &input, options)?;
        let shown = call.shown();
        let work = async {
            let response = self.send(call, options).await?;
            finish(&ctx, &input, options, &shown, response).await
        };
        tokio::select! {
            () = ctx.cancelled() => Err(TaskError::cancelled()),
            outcome = tokio::time::timeout(limit, work) => outcome.unwrap_or_else(|_| {
                Err(TaskError::retryable(
                    "timeout",
                    format!("{shown} took longer than {}; raise `timeout` if that is usual", humantime::format_duration(limit)),
                ))
            }),
        }
    }
}

/// One request, as it stands before the next hop.
struct Call {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Option<Vec<u8>>,
}

impl Call {
    fn prepare(ctx: &TaskContext, input: &Input, options: &HttpOptions) -> Result<Self, TaskError> {
        let refuse = |why: String| Err(TaskError::fatal("invalid_input", why));
        let url = guard::check_url(&input.url, options)?;
        let method = match input.method {
            Verb::Get => Method::GET,
            Verb::Head => Method::HEAD,
            Verb::Post => Method::POST,
            Verb::Put => Method::PUT,
            Verb::Patch => Method::PATCH,
            Verb::Delete => Method::DELETE,
        };
        let mut headers = HeaderMap::new();
        for (name, value) in &input.headers {
            let Ok(parsed) = name.parse::<HeaderName>() else {
                return refuse(format!("`headers`: `{name}` is no header name"));
            };
            if REFUSED_HEADERS.contains(&parsed) {
                return refuse(format!(
                    "`headers`: `{name}` is set by the connection itself; leave it out"
                ));
            }
            // The value may be a key: it is not repeated.
            let Ok(mut value) = HeaderValue::from_str(value) else {
                return refuse(format!(
                    "`headers`: the value of `{name}` holds a line break or another control character"
                ));
            };
            value.set_sensitive(true);
            headers.insert(parsed, value);
        }
        let body = match (&input.json, &input.text) {
            (Some(_), Some(_)) => {
                return refuse(
                    "`json` and `text` are both given; a request has one body".to_owned(),
                );
            }
            (Some(json), None) => {
                headers
                    .entry(header::CONTENT_TYPE)
                    .or_insert(HeaderValue::from_static("application/json"));
                Some(json.to_string().into_bytes())
            }
            (None, Some(text)) => Some(text.clone().into_bytes()),
            (None, None) => None,
        };
        if !method.is_safe() {
            let key = HeaderValue::from_str(&ctx.idempotency_key())
                .expect("ids, names and numbers are ASCII");
            headers
                .entry(HeaderName::from_static("idempotency-key"))
                .or_insert(key);
        }
        Ok(Self {
            method,
            url,
            headers,
            body,
        })
    }

    /// The call for people, without a query, which may carry keys.
    fn shown(&self) -> String {
        let host = self.url.host_str().unwrap_or_default();
        let shown = format!("{} {host}{}", self.method, self.url.path());
        shown.chars().take(200).collect()
    }

    /// Turns to where a redirect points.
    fn follow(&mut self, status: StatusCode, to: Url) {
        let is_same_origin = self.url.origin() == to.origin();
        if !is_same_origin {
            let names: Vec<HeaderName> = self.headers.keys().cloned().collect();
            for name in names.iter().filter(|name| !HARMLESS_HEADERS.contains(name)) {
                self.headers.remove(name);
            }
        }
        // RFC 9110, 15.4: 303 always asks for a GET; 301 and 302 do so after a POST, by custom.
        let becomes_get = match status {
            StatusCode::SEE_OTHER => self.method != Method::HEAD,
            StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND => self.method == Method::POST,
            _ => false,
        };
        if becomes_get {
            self.method = Method::GET;
            self.body = None;
            self.headers.remove(header::CONTENT_TYPE);
        }
        self.url = to;
    }
}

impl HttpRequest {
    /// Sends, and follows redirects through the guard.
    async fn send(&self, mut call: Call, options: &HttpOptions) -> Result<Response, TaskError> {
        for _ in 0..=MAX_REDIRECTS {
            let client = self.client(&call.url, options)?;
            let mut request = client
                .request(call.method.clone(), call.url.clone())
                .headers(call.headers.clone());
            if let Some(body) = &call.body {
                request = request.body(body.clone());
            }
            let response = request
                .send()
                .await
                .map_err(|error| network(&call.shown(), &error))?;
            let Some(to) = redirect(&call.url, &response) else {
                return Ok(response);
            };
            let to = guard::check_url(&to?, options)?;
            if call.url.scheme() == "https" && to.scheme() == "http" {
                return Err(TaskError::fatal(
                    "redirect",
                    format!(
                        "{} redirects from `https` to `http`; that is not followed",
                        call.shown()
                    ),
                ));
            }
            call.follow(response.status(), to);
        }
        Err(TaskError::fatal(
            "redirect",
            format!(
                "{} redirects more than {MAX_REDIRECTS} times; call the last address itself",
                call.shown()
            ),
        ))
    }

    fn client(&self, url: &Url, options: &HttpOptions) -> Result<&Client, TaskError> {
        let is_secure = url.scheme() == "https";
        let cell = if is_secure { &self.secure } else { &self.plain };
        if let Some(client) = cell.get() {
            return Ok(client);
        }
        let client = build(is_secure, options.allow_private).map_err(|error| {
            TaskError::fatal(
                "no_certificates",
                format!("`https` needs root certificates ({error}); install the system's `ca-certificates`"),
            )
        })?;
        // Two attempts may both come here first; either client will do.
        Ok(cell.get_or_init(|| client))
    }
}

fn build(is_secure: bool, allow_private: bool) -> Result<Client, reqwest::Error> {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        // Another part of the program may have chosen one; theirs is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    let mut builder = Client::builder()
        .user_agent(concat!("aquatint/", env!("CARGO_PKG_VERSION")))
        .no_proxy()
        .referer(false)
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(Duration::from_secs(10))
        .dns_resolver(GuardedResolver { allow_private });
    if !is_secure {
        builder = builder.tls_certs_only([]);
    }
    builder.build()
}

/// Where a response redirects to, resolved against `from`; `None` when it does not.
fn redirect(from: &Url, response: &Response) -> Option<Result<String, TaskError>> {
    let is_redirect = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    let location = response.headers().get(header::LOCATION)?;
    if !is_redirect {
        return None;
    }
    let to = location.to_str().ok().and_then(|to| from.join(to).ok());
    Some(to.map(String::from).ok_or_else(|| {
        TaskError::fatal("redirect", "the answer redirects to what is no web address")
    }))
}

/// What went wrong before there was an answer.
fn network(shown: &str, error: &reqwest::Error) -> TaskError {
    let mut deepest: &(dyn std::error::Error + 'static) = error;
    loop {
        if let Some(denied) = deepest.downcast_ref::<Denied>() {
            return denied.clone().into();
        }
        match deepest.source() {
            Some(source) => deepest = source,
            None => break,
        }
    }
    let class = if error.is_timeout() {
        "timeout"
    } else {
        "network"
    };
    TaskError::retryable(class, format!("{shown}: {deepest}"))
}

fn timeout(text: Option<&str>) -> Result<Duration, TaskError> {
    let Some(text) = text else {
        return Ok(DEFAULT_TIMEOUT);
    };
    match humantime::parse_duration(text) {
        Ok(limit) if !limit.is_zero() && limit <= LONGEST_TIMEOUT => Ok(limit),
        _ => Err(TaskError::fatal(
            "invalid_input",
            format!("`timeout`: `{text}` is no duration from 1ms to 1h; write for example `30s`"),
        )),
    }
}

/// Reads the answer and decides what it is.
async fn finish(
    ctx: &TaskContext,
    input: &Input,
    options: &HttpOptions,
    shown: &str,
    response: Response,
) -> Result<Output, TaskError> {
    let status = response.status();
    let headers = response.headers().clone();
    let is_welcome = if input.expect_status.is_empty() {
        status.is_success()
    } else {
        input.expect_status.contains(&status.as_u16())
    };
    if !is_welcome {
        let (page, _) = read(ctx, shown, response, MAX_ERROR_BYTES).await?;
        return Err(answer::error(status, &headers, shown, &page));
    }
    let limit = options.max_response_bytes;
    let (body, is_whole) = read(ctx, shown, response, limit).await?;
    if !is_whole {
        return Err(TaskError::fatal(
            "too_large",
            format!(
                "{shown} answered more than {limit} bytes; ask for less, or raise `max_response_bytes` under `tasks.http` in the configuration file"
            ),
        ));
    }
    let media_type = answer::media_type(&headers);
    let inline = answer::inline(&media_type, &body);
    let (body, artifact) = match (&input.save_as, inline) {
        (None, Some(value)) => (value, None),
        (name, _) => {
            let name = name.as_deref().unwrap_or("response");
            (Value::Null, Some(ctx.save(name, &media_type, body).await?))
        }
    };
    Ok(Output {
        status: status.as_u16(),
        headers: answer::kept(&headers),
        body,
        artifact,
    })
}

/// Reads a body up to `limit` bytes; whether that was all of it comes second.
async fn read(
    ctx: &TaskContext,
    shown: &str,
    mut response: Response,
    limit: u64,
) -> Result<(Vec<u8>, bool), TaskError> {
    let total = response.content_length();
    let mut body = Vec::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| network(shown, &error))?
    {
        let room = limit.saturating_sub(body.len() as u64);
        if chunk.len() as u64 > room {
            body.extend_from_slice(&chunk[..usize::try_from(room).unwrap_or(chunk.len())]);
            return Ok((body, false));
        }
        body.extend_from_slice(&chunk);
        if let Some(total) = total {
            ctx.progress_items(body.len() as u64, total, "receiving");
        }
    }
    Ok((body, true))
}

//! What an HTTP answer means: an output, or an error and its remedy.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use aquatint_engine::task::TaskError;
use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use serde_json::Value;

/// However long a service asks to wait, it is asked again after an hour.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
/// Bodies up to this many bytes, as JSON, stand in the output itself.
const MAX_INLINE_BYTES: usize = 128 * 1024;
/// Headers worth handing on; the rest is the connection's own business.
const KEPT_HEADERS: [&str; 9] = [
    "content-type",
    "content-disposition",
    "etag",
    "last-modified",
    "link",
    "location",
    "retry-after",
    "x-request-id",
    "x-ratelimit-remaining",
];

/// The error an unwelcome status stands for. `shown` names the call, `body` is its answer.
pub(super) fn error(
    status: StatusCode,
    headers: &HeaderMap,
    shown: &str,
    body: &[u8],
) -> TaskError {
    let says = match excerpt(body) {
        text if text.is_empty() => String::new(),
        text => format!(": {text}"),
    };
    let message = format!("{shown} answered {status}{says}");
    let class = match status.as_u16() {
        429 => "rate_limit",
        401 | 403 => return TaskError::fatal("unauthorized", message),
        408 | 500..=599 => "server_error",
        300..=399 => return TaskError::fatal("redirect", message),
        400..=499 => return TaskError::fatal("client_error", message),
        _ => {
            return TaskError::fatal(
                "unexpected_status",
                format!("{message}; list it in `expect_status` if it is welcome"),
            );
        }
    };
    match retry_after(headers, SystemTime::now()) {
        Some(wait) if matches!(status.as_u16(), 429 | 503) => {
            TaskError::retry_after(wait, class, message)
        }
        _ => TaskError::retryable(class, message),
    }
}

/// `Retry-After`, as seconds or as a date (RFC 9110, 10.2.3).
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(text)
            .ok()?
            .duration_since(now)
            .unwrap_or_default(),
    };
    Some(wait.min(LONGEST_WAIT))
}

/// How long a service that is busy asks to be left alone.
pub(super) fn wait_of(status: StatusCode, headers: &HeaderMap) -> Option<Duration> {
    let is_busy = matches!(status.as_u16(), 429 | 503);
    is_busy
        .then(|| retry_after(headers, SystemTime::now()))
        .flatten()
}

/// The headers a later step may want.
pub(super) fn kept(headers: &HeaderMap) -> BTreeMap<String, String> {
    let value = |name: &str| headers.get(name)?.to_str().ok().map(str::to_owned);
    KEPT_HEADERS
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), value(name)?)))
        .collect()
}

/// The media type without its parameters, lower case.
pub(super) fn media_type(headers: &HeaderMap) -> String {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .map(|value| value.trim().to_ascii_lowercase())
        .filter(|value| !value.is_empty())
        .unwrap_or_else(|| "application/octet-stream".to_owned())
}

/// A body that can stand in the output: JSON as JSON, text as text; `None` for
/// what is binary or too long.
pub(super) fn inline(media_type: &str, body: &[u8]) -> Option<Value> {
    if body.is_empty() {
        return Some(Value::Null);
    }
    if body.len() > MAX_INLINE_BYTES {
        return None;
    }
    let is_json = media_type == "application/json" || media_type.ends_with("+json");
    let value = match serde_json::from_slice(body) {
        Ok(value) if is_json => value,
        _ => {
            let is_text = is_json
                || media_type.starts_with("text/")
                || matches!(
                    media_type,
                    "application/xml" | "application/x-www-form-urlencoded" | "application/yaml"
                );
            Value::String(str::from_utf8(body).ok().filter(|_| is_text)?.to_owned())
        }
    };
    // Control characters take six bytes each in JSON.
    (value.to_string().len() <= MAX_INLINE_BYTES).then_some(value)
}

/// The beginning of an error page, as one line.
fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(1200)]);
    let words: Vec<&str> = text.split_whitespace().collect();
    let line: String = words
        .join(" ")
        .chars()
        .filter(|c| !c.is_control())
        .collect();
    let cut = line.floor_char_boundary(300);
    line[..cut].to_owned()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use aquatint_engine::task::Remedy;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())])
    }

    fn remedy(status: u16, headers: &HeaderMap) -> (String, Remedy) {
        let status = StatusCode::from_u16(status).unwrap();
        let error = error(status, headers, "GET host/path", b"why\nnot");
        assert!(
            error.message.starts_with("GET host/path answered"),
            "{error}"
        );
        assert!(error.message.contains("why not"), "{error}");
        (error.class, error.remedy)
    }

    #[test]
    fn every_status_has_its_remedy() {
        let none = HeaderMap::new();
        for (status, class, expected) in [
            (429, "rate_limit", Remedy::Retry),
            (503, "server_error", Remedy::Retry),
            (500, "server_error", Remedy::Retry),
            (408, "server_error", Remedy::Retry),
            (401, "unauthorized", Remedy::Fail),
            (403, "unauthorized", Remedy::Fail),
            (404, "client_error", Remedy::Fail),
            (304, "redirect", Remedy::Fail),
            (200, "unexpected_status", Remedy::Fail),
        ] {
            assert_eq!(
                remedy(status, &none),
                (class.to_owned(), expected),
                "{status}"
            );
        }
        let wait = headers("retry-after", "7");
        assert_eq!(remedy(429, &wait).1, Remedy::RetryAfterMs(7_000));
        assert_eq!(remedy(503, &wait).1, Remedy::RetryAfterMs(7_000));
        assert_eq!(remedy(500, &wait).1, Remedy::Retry);
    }

    #[test]
    fn a_wait_may_be_seconds_or_a_date_and_is_an_hour_at_most() {
        let now = httpdate::parse_http_date("Fri, 20 Nov 2026 12:00:00 GMT").unwrap();
        let wait =
            |text: &str| retry_after(&headers("retry-after", text), now).map(|d| d.as_secs());
        assert_eq!(wait("120"), Some(120));
        assert_eq!(wait("Fri, 20 Nov 2026 12:01:30 GMT"), Some(90));
        assert_eq!(wait("Fri, 20 Nov 2026 11:00:00 GMT"), Some(0));
        assert_eq!(wait("999999999"), Some(3600));
        assert_eq!(wait("soon"), None);
        assert_eq!(wait("-5"), None);
    }

    #[test]
    fn bodies_stand_in_the_output_when_they_are_small_and_readable() {
        assert_eq!(
            inline("application/json", b"{\"a\":1}"),
            Some(serde_json::json!({"a": 1}))
        );
        assert_eq!(
            inline("application/problem+json", b"[]"),
            Some(serde_json::json!([]))
        );
        assert_eq!(
            inline("application/json", b"{broken"),
            Some("{broken".into())
        );
        assert_eq!(inline("text/plain", b"1"), Some("1".into()));
        assert_eq!(inline("image/png", b"\x89PNG"), None);
        assert_eq!(inline("text/plain", b"\xff"), None);
        assert_eq!(inline("text/plain", &[1; MAX_INLINE_BYTES]), None);
        assert_eq!(inline("image/png", b""), Some(Value::Null));
    }
}

//! A service's errors in sentences: what is wrong, with which bucket, and what helps.
//!
//! Never the service's own words in full: those may repeat what a request was signed with.

use std::error::Error as _;
use std::time::Duration;

use object_store::client::HttpError;

use super::super::{ArtifactError, Bucket};

/// How to name the bucket in a sentence.
#[derive(Debug)]
pub(super) struct Explain {
    bucket: String,
    name: String,
    region: String,
    /// The service: an endpoint, or AWS and its region.
    service: String,
}

impl Explain {
    pub(super) fn new(bucket: &Bucket) -> Self {
        let aws = || format!("AWS ({})", bucket.region);
        Self {
            bucket: bucket.to_string(),
            name: bucket.name.clone(),
            region: bucket.region.clone(),
            service: bucket.endpoint.clone().unwrap_or_else(aws),
        }
    }

    /// As in `s3://bucket/prefix`.
    pub(super) fn bucket(&self) -> &str {
        &self.bucket
    }

    pub(super) fn silent(&self, patience: Duration) -> ArtifactError {
        let waited = humantime::format_duration(patience);
        self.unreachable(&format!("no answer within {waited}"))
    }

    fn unreachable(&self, why: &str) -> ArtifactError {
        ArtifactError::Unavailable(format!(
            "the bucket `{}` at {} cannot be reached: {why}; is the service up, and AQUATINT_S3_ENDPOINT right?",
            self.name, self.service
        ))
    }

    /// What to say, and whether another try may help.
    pub(super) fn error(&self, error: &object_store::Error) -> ArtifactError {
        let text = error.to_string();
        let code = code(&text).map_or_else(String::new, |code| format!(" ({code})"));
        if let Some(why) = network(error) {
            return self.unreachable(&why);
        }
        let (name, service) = (&self.name, &self.service);
        ArtifactError::Refused(match status(error, &text) {
            _ if text.contains("Received redirect")
                || code.contains("AuthorizationHeaderMalformed") =>
            {
                format!(
                    "the bucket `{name}` at {service} is not in the region `{}`; set AQUATINT_S3_REGION to its own",
                    self.region
                )
            }
            Some(404) if is_about_bucket(error) => format!(
                "there is no bucket `{name}` at {service}; create it, or name another in AQUATINT_ARTIFACTS"
            ),
            Some(403) if code.contains("RequestTimeTooSkewed") => format!(
                "the bucket `{name}` at {service} refuses requests because this machine's clock is wrong; set it right"
            ),
            Some(401 | 403) => format!(
                "the bucket `{name}` at {service} refuses these credentials{code}; check AQUATINT_S3_ACCESS_KEY_ID and AQUATINT_S3_SECRET_ACCESS_KEY (or their AWS_ kin), and that they may list the bucket, and get, put and delete its objects"
            ),
            Some(status @ 400..500) if !matches!(status, 408 | 429) => format!(
                "the bucket `{name}` at {service} refuses a request with status {status}{code}"
            ),
            Some(status) => return self.unreachable(&format!("status {status}{code}")),
            None => return self.unreachable("its answer makes no sense"),
        })
    }
}

/// Whether the bucket itself is what was not found.
pub(super) fn is_about_bucket(error: &object_store::Error) -> bool {
    error.to_string().contains("NoSuchBucket")
}

/// What S3 calls its errors: one word of letters.
fn code(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("<Code>")?;
    let (code, _) = rest.split_once("</Code>")?;
    (code.len() <= 64 && code.bytes().all(|b| b.is_ascii_alphanumeric())).then_some(code)
}

/// The answer's status. Only some errors say it outright.
fn status(error: &object_store::Error, text: &str) -> Option<u16> {
    use object_store::Error as E;
    match error {
        E::NotFound { .. } => Some(404),
        E::PermissionDenied { .. } => Some(403),
        E::Unauthenticated { .. } => Some(401),
        _ => status_within(text),
    }
}

fn status_within(text: &str) -> Option<u16> {
    let (_, rest) = text.split_once("status code: ")?;
    rest.get(..3)?.parse().ok()
}

/// The root of a network error, such as a refused connection.
fn network(error: &object_store::Error) -> Option<String> {
    let mut source = error.source();
    let mut is_network = false;
    let mut root = String::new();
    while let Some(error) = source {
        is_network |= error.is::<HttpError>();
        root = error.to_string();
        source = error.source();
    }
    is_network.then_some(root)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_word_is_taken_from_a_services_answer() {
        assert_eq!(code("x <Code>AccessDenied</Code> y"), Some("AccessDenied"));
        assert_eq!(code("<Code>a b</Code>"), None);
        assert_eq!(code("nothing"), None);
        assert_eq!(
            status_within("Server returned non-2xx status code: 503 Service Unavailable"),
            Some(503)
        );
    }
}

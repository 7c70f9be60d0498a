//! Where artifacts are to be kept, and what a bucket takes to get into.

use std::env;

use aquatint_engine::artifact::{ArtifactPlace, PlaceError, S3Options};
use figment::Figment;
use serde::Deserialize;

use super::layer::Layer;

/// The keys under `[s3]`.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct S3Keys {
    endpoint: Option<String>,
    region: Option<String>,
    access_key_id: Option<String>,
    secret_access_key: Option<String>,
    session_token: Option<String>,
    allow_http: bool,
    cache_bytes: Option<u64>,
}

/// Who we are, and what proves it: taken together or not at all, since half of
/// one identity and half of another is none.
const CREDENTIALS: [(&str, &[&str]); 3] = [
    ("s3.access_key_id", &["AWS_ACCESS_KEY_ID"]),
    ("s3.secret_access_key", &["AWS_SECRET_ACCESS_KEY"]),
    ("s3.session_token", &["AWS_SESSION_TOKEN"]),
];

/// Where the service is.
const PLACES: [(&str, &[&str]); 2] = [
    ("s3.endpoint", &["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]),
    ("s3.region", &["AWS_REGION", "AWS_DEFAULT_REGION"]),
];

/// What the variables of AWS's own tools say, where artifacts go to a bucket.
pub(super) fn ambient(figment: &Figment) -> Option<Layer> {
    let place = figment.find_value("artifacts").ok()?;
    if !place.as_str()?.starts_with("s3://") {
        return None;
    }
    let is_set = |key: &str| figment.find_value(key).is_ok();
    let has_own = CREDENTIALS.iter().any(|(key, _)| is_set(key));
    let credentials = CREDENTIALS.iter().filter(|_| !has_own);
    let found = credentials.chain(&PLACES).filter_map(|(key, variables)| {
        let value = variables
            .iter()
            .find_map(|v| env::var(v).ok().filter(|value| !value.is_empty()))?;
        Some(((*key).to_owned(), value))
    });
    Some(Layer::ambient("AWS_*", found))
}

/// The place that the settings name.
pub(super) fn place(artifacts: Option<&str>, s3: S3Keys) -> Result<ArtifactPlace, PlaceError> {
    let Some(artifacts) = artifacts else {
        return Ok(ArtifactPlace::DataDir);
    };
    let options = S3Options {
        endpoint: s3.endpoint,
        region: s3.region,
        access_key_id: s3.access_key_id.map(Into::into),
        secret_access_key: s3.secret_access_key.map(Into::into),
        session_token: s3.session_token.map(Into::into),
        allow_http: s3.allow_http,
        cache_bytes: s3.cache_bytes,
    };
    match ArtifactPlace::parse(artifacts, options)? {
        // Absolute, so that the paths we print are good from everywhere.
        ArtifactPlace::Folder(folder) => Ok(ArtifactPlace::Folder(
            std::path::absolute(&folder).unwrap_or(folder),
        )),
        other => Ok(other),
    }
}

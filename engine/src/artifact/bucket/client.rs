//! The way into a bucket: how patient to be, and whether it opens at all.

use std::time::Duration;

use futures_util::StreamExt as _;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path as Key;
use object_store::{BackoffConfig, ClientOptions, ObjectStore as _, RetryConfig};
use secrecy::ExposeSecret as _;

use super::super::{ArtifactError, Bucket};
use super::explain::Explain;

/// How long opening may take: people wait for it.
const OPEN_PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn key(prefix: &str, relative: &str) -> Key {
    if prefix.is_empty() {
        Key::from(relative)
    } else {
        Key::from(format!("{prefix}/{relative}"))
    }
}

/// A listing of nothing: it needs the service, the bucket, and a right that sweeps need too.
pub(super) async fn probe(
    s3: &AmazonS3,
    explain: &Explain,
    prefix: &str,
) -> Result<(), ArtifactError> {
    let mut listing = s3.list(Some(&key(prefix, "tmp/probe")));
    match tokio::time::timeout(OPEN_PATIENCE, listing.next()).await {
        Ok(None | Some(Ok(_))) => Ok(()),
        Ok(Some(Err(error))) => Err(explain.error(&error)),
        Err(_) => Err(explain.silent(OPEN_PATIENCE)),
    }
}

pub(super) fn client(bucket: &Bucket) -> Result<AmazonS3, ArtifactError> {
    // Somebody else in this process may have chosen one already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let seconds = Duration::from_secs;
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(&bucket.name)
        .with_region(&bucket.region)
        .with_access_key_id(bucket.access_key_id.expose_secret())
        .with_secret_access_key(bucket.secret_access_key.expose_secret())
        // Whether plain http may be spoken was decided when the endpoint was read.
        .with_client_options(
            ClientOptions::new()
                .with_allow_http(true)
                .with_connect_timeout(seconds(5))
                .with_read_timeout(seconds(20))
                .with_timeout(seconds(60)),
        )
        .with_retry(RetryConfig {
            backoff: BackoffConfig {
                init_backoff: Duration::from_millis(100),
                max_backoff: seconds(2),
                base: 2.0,
            },
            max_retries: 5,
            retry_timeout: seconds(30),
        })
        // We delete one by one, each after a look; not every service has the bulk request.
        .with_disable_bulk_delete(true);
    if let Some(endpoint) = &bucket.endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    if let Some(token) = &bucket.session_token {
        builder = builder.with_token(token.expose_secret());
    }
    builder.build().map_err(|error| {
        ArtifactError::Refused(format!("the bucket {bucket} cannot be used: {error}"))
    })
}

//! Artifacts in a bucket of an S3-compatible service.
//!
//! ```text
//!   put   ──▶ one request, or parts of 8 MiB (4 at a time), completed only once the digest is right
//!   copy  ◀── the local copy, or ranges of 8 MiB (4 ahead), checked against the digest
//! ```
//!
//! Callers block; what goes over the network runs on the runtime that opened the
//! store, so a task that blocks its own threads starves no transfer. A request
//! is retried for a bounded time, then it is the attempt's turn to be.
//!
//! A bucket has no locks and no way to delete an object *if it is still old*. So
//! whoever stores content makes its object young, and a sweep reads each age
//! again just before it deletes. What is left is the moment between these two.

mod client;
mod explain;
mod upkeep;

use std::collections::VecDeque;
use std::fs::File;
use std::future::Future;
use std::io::{self, Read, Seek as _, Write as _};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};

use object_store::aws::AmazonS3;
use object_store::path::Path as Key;
use object_store::{
    Attribute, Attributes, GetOptions, MultipartUpload, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload,
};
use tempfile::NamedTempFile;
use tokio::runtime::Handle;

use super::cache::Cache;
use super::folder::matches_digest;
use super::{Artifact, ArtifactError, Bucket, Source, changed_meanwhile};
use client::{client, key, probe};
use explain::Explain;

/// What one request carries; also the least that S3 takes as a part is 5 MiB.
const PART_BYTES: u64 = 8 * 1024 * 1024;

/// Parts on their way at a time: with [`PART_BYTES`], what a transfer holds in memory.
const PARTS_UNDER_WAY: usize = 4;

/// S3 takes no more than 10,000 parts of a file.
const MAX_PARTS: u64 = 9_000;

/// A bucket, and copies of what was used of it lately.
#[derive(Debug)]
pub(super) struct BucketStore {
    s3: Arc<AmazonS3>,
    /// What our keys begin with.
    prefix: String,
    cache: Cache,
    io: Handle,
    explain: Explain,
}

/// Something under way on the network; dropping it stops it.
struct Pending<T> {
    answer: mpsc::Receiver<T>,
    task: tokio::task::AbortHandle,
}

impl<T> Pending<T> {
    fn wait(self) -> Result<T, ArtifactError> {
        // The runtime is ending, or the work panicked and has said so.
        let cut_off = |_| ArtifactError::Unavailable("a transfer was cut off".to_owned());
        self.answer.recv().map_err(cut_off)
    }
}

impl<T> Drop for Pending<T> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl BucketStore {
    /// Opens a bucket and asks it for something, so that what is wrong shows at once.
    pub(super) async fn open(bucket: &Bucket, cache: PathBuf) -> Result<Self, ArtifactError> {
        let s3 = client(bucket)?;
        let explain = Explain::new(bucket);
        probe(&s3, &explain, &bucket.prefix).await?;
        Ok(Self {
            s3: Arc::new(s3),
            prefix: bucket.prefix.clone(),
            cache: Cache::open(cache, bucket.cache_bytes)?,
            io: Handle::current(),
            explain,
        })
    }

    /// Whether a bucket could be opened.
    pub(super) async fn look(bucket: &Bucket) -> Result<(), ArtifactError> {
        probe(&client(bucket)?, &Explain::new(bucket), &bucket.prefix).await
    }

    fn key(&self, relative: &str) -> Key {
        key(&self.prefix, relative)
    }

    fn key_of(&self, artifact: &Artifact) -> Result<Key, ArtifactError> {
        let key = artifact.key().ok_or(ArtifactError::Malformed)?;
        Ok(self.key(&key))
    }

    pub(super) fn url(&self, artifact: &Artifact) -> Option<String> {
        let key = artifact.key()?;
        Some(format!("{}/{key}", self.explain.bucket()))
    }

    /// Begins something on the network.
    fn start<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Pending<T> {
        let (sender, answer) = mpsc::sync_channel(1);
        let task = self.io.spawn(async move {
            let answer = work.await;
            // Nobody listens where the caller has given up.
            let _ = sender.send(answer);
        });
        Pending {
            answer,
            task: task.abort_handle(),
        }
    }

    fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = object_store::Result<T>> + Send + 'static,
    ) -> Result<T, ArtifactError> {
        self.start(work)
            .wait()?
            .map_err(|error| self.explain.error(&error))
    }

    /// Stores what the artifact was made from.
    pub(super) fn put(&self, artifact: &Artifact, source: Source<'_>) -> Result<(), ArtifactError> {
        let key = self.key_of(artifact)?;
        let is_large = artifact.size_bytes > PART_BYTES;
        // Small content is sooner sent than asked for; sending makes the object young.
        if is_large && self.renew(artifact) {
            return Ok(());
        }
        let mut copy = LocalCopy::begin(&self.cache, artifact);
        let mut source: Box<dyn Read> = match source {
            Source::Bytes(content) => Box::new(content),
            Source::File(path) => Box::new(File::open(path)?),
        };
        if is_large {
            self.put_parts(artifact, key, &mut source, &mut copy)?;
        } else {
            self.put_whole(artifact, key, &mut source, &mut copy)?;
        }
        copy.keep();
        Ok(())
    }

    fn put_whole(
        &self,
        artifact: &Artifact,
        key: Key,
        source: &mut dyn Read,
        copy: &mut LocalCopy<'_>,
    ) -> Result<(), ArtifactError> {
        let mut content = Vec::new();
        source.take(PART_BYTES + 1).read_to_end(&mut content)?;
        matches_digest(artifact, blake3::Hasher::new().update(&content))
            .map_err(|_| changed_meanwhile())?;
        copy.write(&content);
        let (s3, options) = (Arc::clone(&self.s3), PutOptions::from(attributes(artifact)));
        self.run(async move { s3.put_opts(&key, PutPayload::from(content), options).await })?;
        Ok(())
    }

    fn put_parts(
        &self,
        artifact: &Artifact,
        key: Key,
        source: &mut dyn Read,
        copy: &mut LocalCopy<'_>,
    ) -> Result<(), ArtifactError> {
        let options = PutMultipartOptions::from(attributes(artifact));
        let s3 = Arc::clone(&self.s3);
        let mut upload = self.run(async move { s3.put_multipart_opts(&key, options).await })?;
        let sent = self.send_parts(artifact, upload.as_mut(), source, copy);
        let finish = self.start(async move {
            let completed = match sent {
                Ok(()) => upload.complete().await.map_err(Ok),
                Err(error) => Err(Err(error)),
            };
            if completed.is_err() {
                // Parts that belong to nothing would cost money until the bucket's own rules end them.
                let _ = upload.abort().await;
            }
            completed
        });
        match finish.wait()? {
            Ok(_) => Ok(()),
            Err(Ok(error)) => Err(self.explain.error(&error)),
            Err(Err(error)) => Err(error),
        }
    }

    fn send_parts(
        &self,
        artifact: &Artifact,
        upload: &mut dyn MultipartUpload,
        source: &mut dyn Read,
        copy: &mut LocalCopy<'_>,
    ) -> Result<(), ArtifactError> {
        let part_bytes = PART_BYTES.max(artifact.size_bytes.div_ceil(MAX_PARTS));
        let mut hasher = blake3::Hasher::new();
        let mut under_way: VecDeque<Pending<object_store::Result<()>>> = VecDeque::new();
        let arrived = |part: Pending<object_store::Result<()>>| {
            part.wait()?.map_err(|error| self.explain.error(&error))
        };
        loop {
            let mut part = Vec::new();
            source.take(part_bytes).read_to_end(&mut part)?;
            if part.is_empty() {
                break;
            }
            hasher.update(&part);
            copy.write(&part);
            if under_way.len() >= PARTS_UNDER_WAY
                && let Some(oldest) = under_way.pop_front()
            {
                arrived(oldest)?;
            }
            under_way.push_back(self.start(upload.put_part(part.into())));
        }
        under_way.into_iter().try_for_each(arrived)?;
        matches_digest(artifact, &hasher).map_err(|_| changed_meanwhile())
    }

    /// Gives an artifact's bytes piece by piece; an error at the end means they were not the right ones.
    pub(super) fn copy(
        &self,
        artifact: &Artifact,
        mut sink: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), ArtifactError> {
        if let Some(mut file) = self.cache.open_checked(artifact) {
            let mut buffer = vec![0; super::CHUNK_BYTES];
            loop {
                match file.read(&mut buffer)? {
                    0 => return Ok(()),
                    n => sink(&buffer[..n])?,
                }
            }
        }
        let mut copy = LocalCopy::begin(&self.cache, artifact);
        self.fetch(artifact, |bytes| {
            copy.write(bytes);
            sink(bytes)
        })?;
        copy.keep();
        Ok(())
    }

    /// A local file with an artifact's bytes, at its beginning.
    pub(super) fn open_file(&self, artifact: &Artifact) -> Result<File, ArtifactError> {
        if let Some(file) = self.cache.open_checked(artifact) {
            return Ok(file);
        }
        let mut copy = self.cache.begin()?;
        self.fetch(artifact, |bytes| copy.write_all(bytes))?;
        let mut file = copy.reopen()?;
        // Too large for the cache, it has no name any more, and goes when it is closed.
        self.cache.keep(artifact, copy)?;
        file.rewind()?;
        Ok(file)
    }

    /// Fetches, a few ranges ahead, and checks.
    fn fetch(
        &self,
        artifact: &Artifact,
        mut sink: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), ArtifactError> {
        let key = self.key_of(artifact)?;
        let size = artifact.size_bytes;
        let damaged = |what: String| ArtifactError::Damaged {
            place: self.url(artifact).unwrap_or_default(),
            what,
        };
        let mut hasher = blake3::Hasher::new();
        let mut ranges = (0..size.div_ceil(PART_BYTES).max(1))
            .map(|n| n * PART_BYTES..((n + 1) * PART_BYTES).min(size));
        let mut under_way = VecDeque::new();
        loop {
            while under_way.len() < PARTS_UNDER_WAY
                && let Some(range) = ranges.next()
            {
                let options = range_options(&range, size);
                let (s3, key) = (Arc::clone(&self.s3), key.clone());
                under_way.push_back(self.start(async move {
                    let found = s3.get_opts(&key, options).await?;
                    let stored = found.meta.size;
                    // Another file's bytes need not be fetched to know that they are others.
                    let bytes = if stored == size {
                        Some(found.bytes().await?)
                    } else {
                        None
                    };
                    Ok((stored, bytes))
                }));
            }
            let Some(next) = under_way.pop_front() else {
                break;
            };
            let (stored, bytes) = next.wait()?.map_err(|error| match error {
                object_store::Error::NotFound { .. } if !explain::is_about_bucket(&error) => {
                    ArtifactError::Missing {
                        place: self.url(artifact).unwrap_or_default(),
                    }
                }
                other => self.explain.error(&other),
            })?;
            let bytes = bytes
                .ok_or_else(|| damaged(format!("has {stored} bytes where {size} were stored")))?;
            hasher.update(&bytes);
            sink(&bytes)?;
        }
        matches_digest(artifact, &hasher).map_err(damaged)
    }
}

fn range_options(range: &Range<u64>, size: u64) -> GetOptions {
    let mut options = GetOptions::new();
    // Of an empty object there is no range.
    if range.end - range.start < size {
        options.range = Some(range.clone().into());
    }
    options
}

/// The media type, where it can be a header.
fn attributes(artifact: &Artifact) -> Attributes {
    let is_plain = artifact
        .media_type
        .bytes()
        .all(|b| matches!(b, b' '..=b'~'));
    let mut attributes = Attributes::new();
    if is_plain && !artifact.media_type.is_empty() {
        attributes.insert(Attribute::ContentType, artifact.media_type.clone().into());
    }
    attributes
}

/// A copy for later on this machine. That it cannot be written is no reason to fail.
struct LocalCopy<'a> {
    cache: &'a Cache,
    artifact: &'a Artifact,
    file: Option<NamedTempFile>,
}

impl<'a> LocalCopy<'a> {
    fn begin(cache: &'a Cache, artifact: &'a Artifact) -> Self {
        let file = cache.takes(artifact).then(|| cache.begin());
        let mut copy = Self {
            cache,
            artifact,
            file: None,
        };
        copy.file = file.and_then(|file| copy.went_well(file));
        copy
    }

    fn went_well<T>(&self, result: io::Result<T>) -> Option<T> {
        result
            .inspect_err(
                |error| tracing::warn!(%error, "a file cannot be kept in the artifact cache"),
            )
            .ok()
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(mut file) = self.file.take() {
            let written = file.write_all(bytes);
            self.file = self.went_well(written).map(|()| file);
        }
    }

    fn keep(mut self) {
        if let Some(file) = self.file.take() {
            let kept = self.cache.keep(self.artifact, file);
            self.went_well(kept);
        }
    }
}

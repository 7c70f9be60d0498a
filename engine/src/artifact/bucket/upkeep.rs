//! Looking after a bucket: what is there, how old it is, and what may go.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use object_store::path::Path as Key;
use object_store::{ObjectMeta, ObjectStore as _, ObjectStoreExt as _, PutPayload};

use super::super::{Artifact, ArtifactError, Swept, digest_of_key};
use super::BucketStore;

/// Objects looked at together: what one answer lists.
const PAGE: usize = 1_000;

/// Small requests under way at a time.
const REQUESTS_UNDER_WAY: usize = 16;

/// An object younger than this need not be made younger: no sweep in its senses takes it.
const YOUNG: Duration = Duration::from_mins(1);

impl BucketStore {
    /// What the bucket knows of an object; `None` where there is none.
    fn head(&self, key: &Key) -> Result<Option<ObjectMeta>, ArtifactError> {
        let (s3, key) = (Arc::clone(&self.s3), key.clone());
        self.run(async move { found(s3.head(&key).await) })
    }

    /// Makes an object young again, so that no sweep takes it; false when it is not there.
    pub(in super::super) fn renew(&self, artifact: &Artifact) -> bool {
        let renewed = || -> Result<bool, ArtifactError> {
            let key = self.key_of(artifact)?;
            let Some(meta) = self.head(&key)? else {
                return Ok(false);
            };
            if meta.size != artifact.size_bytes {
                return Ok(false);
            }
            let modified = SystemTime::from(meta.last_modified);
            if SystemTime::now()
                .duration_since(modified)
                .unwrap_or_default()
                < YOUNG
            {
                return Ok(true);
            }
            // An object cannot be touched, nor copied onto itself; but there and back.
            let beside = self.key(&format!("tmp/renew-{}", uuid::Uuid::new_v4()));
            let s3 = Arc::clone(&self.s3);
            self.run(async move {
                s3.copy(&key, &beside).await?;
                let back = s3.copy(&beside, &key).await;
                let gone = s3.delete(&beside).await;
                back.and(gone)
            })?;
            Ok(true)
        };
        renewed().unwrap_or_else(|error| {
            tracing::debug!(%error, "an artifact's age cannot be renewed");
            false
        })
    }

    /// Everything under our prefix, a page at a time.
    fn pages<E: From<ArtifactError>>(
        &self,
        mut each: impl FnMut(Vec<ObjectMeta>) -> Result<(), E>,
    ) -> Result<(), E> {
        let prefix = (!self.prefix.is_empty()).then(|| Key::from(self.prefix.as_str()));
        let mut listing = self.s3.list(prefix.as_ref()).fuse();
        loop {
            let (rest, page) = self.run(async move {
                let page: Vec<_> = listing.by_ref().take(PAGE).try_collect().await?;
                Ok((listing, page))
            })?;
            if page.is_empty() {
                return Ok(());
            }
            each(page)?;
            listing = rest;
        }
    }

    /// A key without our prefix.
    fn relative<'a>(&self, key: &'a Key) -> Option<&'a str> {
        let key = key.as_ref();
        if self.prefix.is_empty() {
            return Some(key);
        }
        key.strip_prefix(&self.prefix)?.strip_prefix('/')
    }

    /// Those whose objects are not there, or have another size.
    ///
    /// One listing, compared in order; only what it does not show is asked for by name.
    pub(in super::super) fn missing(
        &self,
        artifacts: Vec<Artifact>,
    ) -> Result<Vec<Artifact>, ArtifactError> {
        let mut wanted: Vec<(Option<String>, Artifact)> =
            artifacts.into_iter().map(|a| (a.key(), a)).collect();
        wanted.sort_by(|(a, _), (b, _)| a.cmp(b));
        let mut is_there = vec![false; wanted.len()];
        if wanted.len() > PAGE {
            let mut at = 0;
            self.pages(|page| {
                for meta in page {
                    let Some(key) = self.relative(&meta.location) else {
                        continue;
                    };
                    while wanted
                        .get(at)
                        .is_some_and(|(k, _)| k.as_deref() < Some(key))
                    {
                        at += 1;
                    }
                    // Several runs may name one file.
                    let same = wanted[at..]
                        .iter()
                        .take_while(|(k, _)| k.as_deref() == Some(key));
                    for (offset, (_, artifact)) in same.enumerate() {
                        is_there[at + offset] = artifact.size_bytes == meta.size;
                    }
                }
                Ok::<_, ArtifactError>(())
            })?;
        }
        let doubtful: Vec<(Option<String>, Artifact)> = wanted
            .into_iter()
            .zip(is_there)
            .filter_map(|(wanted, is_there)| (!is_there).then_some(wanted))
            .collect();
        let looks = doubtful.into_iter().map(|(key, artifact)| {
            let (s3, key) = (Arc::clone(&self.s3), key.map(|key| self.key(&key)));
            async move {
                let meta = match key {
                    Some(key) => found(s3.head(&key).await)?,
                    None => None,
                };
                let is_there = meta.is_some_and(|meta| meta.size == artifact.size_bytes);
                Ok((!is_there).then_some(artifact))
            }
        });
        let looks = stream::iter(looks.collect::<Vec<_>>())
            .buffered(REQUESTS_UNDER_WAY)
            .try_filter_map(|missing| std::future::ready(Ok(missing)));
        self.run(looks.try_collect())
    }

    pub(in super::super) fn sweep<E: From<ArtifactError>>(
        &self,
        min_age: Duration,
        mut is_needed: impl FnMut(&[String]) -> Result<HashSet<String>, E>,
    ) -> Result<Swept, E> {
        let now = self.now()?;
        let mut swept = Swept::default();
        self.pages(|page| {
            let mut candidates = page;
            candidates.retain(|meta| {
                // Services round their times, so what is new may seem to come from the future.
                let age = now
                    .duration_since(SystemTime::from(meta.last_modified))
                    .unwrap_or_default();
                // A prefix somebody chose may hold others' objects as well.
                let is_ours = self
                    .relative(&meta.location)
                    .is_some_and(|key| digest_of_key(key).is_some() || is_temporary(key));
                is_ours && age >= min_age
            });
            let digest = |meta: &ObjectMeta| {
                digest_of_key(self.relative(&meta.location)?).map(str::to_owned)
            };
            let digests: Vec<String> = candidates.iter().filter_map(digest).collect();
            if !digests.is_empty() {
                let needed = is_needed(&digests)?;
                candidates.retain(|meta| digest(meta).is_none_or(|d| !needed.contains(&d)));
            }
            let (files, bytes) = self.delete_unchanged(candidates)?;
            swept.files += files;
            swept.bytes += bytes;
            Ok::<_, E>(())
        })?;
        Ok(swept)
    }

    /// Deletes objects that are still as old as they were when listed.
    fn delete_unchanged(&self, candidates: Vec<ObjectMeta>) -> Result<(u64, u64), ArtifactError> {
        let s3 = Arc::clone(&self.s3);
        let deletions = stream::iter(candidates).map(move |listed| {
            let s3 = Arc::clone(&s3);
            async move {
                match found(s3.head(&listed.location).await)? {
                    Some(meta) if meta.last_modified <= listed.last_modified => {
                        s3.delete(&listed.location).await?;
                        Ok((1, meta.size))
                    }
                    Some(_) | None => Ok((0, 0)),
                }
            }
        });
        self.run(
            deletions
                .buffer_unordered(REQUESTS_UNDER_WAY)
                .try_fold((0, 0), |(files, bytes), (file, size)| {
                    std::future::ready(Ok((files + file, bytes + size)))
                }),
        )
    }

    /// The time on the service's clock, by which objects' ages count: that of an object made now.
    fn now(&self) -> Result<SystemTime, ArtifactError> {
        let key = self.key(&format!("tmp/clock-{}", uuid::Uuid::new_v4()));
        let s3 = Arc::clone(&self.s3);
        self.run(async move {
            s3.put(&key, PutPayload::new()).await?;
            let made = s3.head(&key).await?.last_modified;
            s3.delete(&key).await?;
            Ok(SystemTime::from(made))
        })
    }
}

/// Whether a key is one that we use for a moment, and leave behind when killed.
fn is_temporary(key: &str) -> bool {
    key.strip_prefix("tmp/")
        .is_some_and(|name| name.starts_with("renew-") || name.starts_with("clock-"))
}

fn found(head: object_store::Result<ObjectMeta>) -> object_store::Result<Option<ObjectMeta>> {
    match head {
        Ok(meta) => Ok(Some(meta)),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

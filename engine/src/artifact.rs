//! Stored outputs, addressed by their content: in a folder, or in a bucket.
//!
//! A file is there whole or not at all, under a key made of its digest and
//! nothing else that anybody may choose. Whether somebody still needs it is the
//! store's knowledge; [`ArtifactStore::sweep`] removes what nobody names.

mod bucket;
mod cache;
mod error;
mod folder;
mod place;

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use bucket::BucketStore;
pub use error::ArtifactError;
use folder::Folder;
pub use place::{ArtifactPlace, Bucket, DEFAULT_CACHE_BYTES, Location, PlaceError, S3Options};

/// How much of a file is held at a time.
const CHUNK_BYTES: usize = 128 * 1024;

/// Points at stored bytes: what a task returns instead of the bytes themselves.
///
/// As JSON: `{"artifact": "<blake3, 64 hex digits>", "name": "picture.png",
/// "media_type": "image/png", "size_bytes": 12345}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Artifact {
    /// BLAKE3 of the content, 64 lower-case hex digits.
    #[serde(rename = "artifact")]
    #[schemars(regex(pattern = "^[0-9a-f]{64}$"))]
    pub digest: String,
    /// A file name for people; never used as a path.
    pub name: String,
    /// For example `image/png`.
    pub media_type: String,
    /// Length of the content.
    pub size_bytes: u64,
}

impl Artifact {
    fn new(name: &str, media_type: &str, hasher: &blake3::Hasher) -> Self {
        Self {
            digest: hasher.finalize().to_hex().to_string(),
            name: clean_name(name),
            media_type: media_type.to_owned(),
            size_bytes: hasher.count(),
        }
    }

    fn of(name: &str, media_type: &str, content: &[u8]) -> Self {
        Self::new(name, media_type, blake3::Hasher::new().update(content))
    }

    /// Where it lies within a folder or bucket: `ab/abcd….png`.
    ///
    /// `None` when the digest is not 64 hex digits, so that a forged one never
    /// becomes a path.
    fn key(&self) -> Option<String> {
        let hex = self.digest.as_str();
        is_digest(hex).then(|| format!("{}/{hex}.{}", &hex[..2], extension(&self.media_type)))
    }
}

/// What an [`ArtifactStore::sweep`] removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Files deleted.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Where artifacts are kept. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ArtifactStore {
    kept: Kept,
}

/// What an artifact is made from.
#[derive(Clone, Copy)]
enum Source<'a> {
    Bytes(&'a [u8]),
    File(&'a Path),
}

#[derive(Debug, Clone)]
enum Kept {
    Folder(Folder),
    Bucket(Arc<BucketStore>),
}

impl ArtifactStore {
    /// Opens a folder, making it where it is missing.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn open(root: &Path) -> io::Result<Self> {
        Ok(Self {
            kept: Kept::Folder(Folder::open(root)?),
        })
    }

    /// Opens the place an installation names, and looks whether it can be used.
    ///
    /// Within a Tokio runtime, which from then on carries what goes over the network.
    ///
    /// # Errors
    /// A sentence that says what is in the way and what mends it.
    pub async fn open_at(place: &ArtifactPlace, data_dir: &Path) -> Result<Self, ArtifactError> {
        match place {
            ArtifactPlace::DataDir => {
                let root = data_dir.join("artifacts");
                Self::open(&root)
                    .map_err(|error| unusable(&root, &error, "data directory (AQUATINT_DATA_DIR)"))
            }
            ArtifactPlace::Folder(root) => {
                must_be_there(root)?;
                Self::open(root)
                    .map_err(|error| unusable(root, &error, "place (AQUATINT_ARTIFACTS)"))
            }
            ArtifactPlace::Bucket(bucket) => {
                let store = BucketStore::open(bucket, data_dir.join("artifact-cache")).await?;
                Ok(Self {
                    kept: Kept::Bucket(Arc::new(store)),
                })
            }
        }
    }

    /// Looks whether a place could be opened, and changes nothing.
    ///
    /// # Errors
    /// As [`ArtifactStore::open_at`].
    pub async fn look(place: &ArtifactPlace) -> Result<(), ArtifactError> {
        match place {
            ArtifactPlace::DataDir => Ok(()),
            ArtifactPlace::Folder(root) => {
                must_be_there(root)?;
                // Made and gone at once: the one sure way to know that it may be written.
                let probe = tempfile::tempfile_in(root);
                probe
                    .map(drop)
                    .map_err(|error| unusable(root, &error, "place (AQUATINT_ARTIFACTS)"))
            }
            ArtifactPlace::Bucket(bucket) => BucketStore::look(bucket).await,
        }
    }

    /// The path of an artifact's bytes, whether or not they are there yet.
    ///
    /// `None` when they do not lie in a folder, or the digest is not 64 hex digits.
    #[must_use]
    pub fn path(&self, artifact: &Artifact) -> Option<PathBuf> {
        match &self.kept {
            Kept::Folder(folder) => folder.path(artifact),
            Kept::Bucket(_) => None,
        }
    }

    /// Where an artifact is, whether or not it is there yet; `None` when its digest is not 64 hex digits.
    #[must_use]
    pub fn location(&self, artifact: &Artifact) -> Option<Location> {
        match &self.kept {
            Kept::Folder(folder) => folder.path(artifact).map(Location::Path),
            Kept::Bucket(bucket) => bucket.url(artifact).map(Location::Url),
        }
    }

    /// Stores bytes under their hash. Blocking.
    ///
    /// # Errors
    /// When the disk or the bucket refuses; nothing half-written is left in place.
    pub fn put(
        &self,
        name: &str,
        media_type: &str,
        content: &[u8],
    ) -> Result<Artifact, ArtifactError> {
        let artifact = Artifact::of(name, media_type, content);
        match &self.kept {
            Kept::Folder(folder) => folder.put(&artifact, Source::Bytes(content))?,
            Kept::Bucket(bucket) => bucket.put(&artifact, Source::Bytes(content))?,
        }
        Ok(artifact)
    }

    /// Stores a file's content under its hash, a piece at a time; the file itself stays. Blocking.
    ///
    /// # Errors
    /// When the file cannot be read, changes meanwhile, or the disk or the bucket refuses.
    pub fn put_file(
        &self,
        name: &str,
        media_type: &str,
        path: &Path,
    ) -> Result<Artifact, ArtifactError> {
        let mut hasher = blake3::Hasher::new();
        io::copy(&mut File::open(path)?, &mut hasher)?;
        let artifact = Artifact::new(name, media_type, &hasher);
        match &self.kept {
            Kept::Folder(folder) => folder.put(&artifact, Source::File(path))?,
            Kept::Bucket(bucket) => bucket.put(&artifact, Source::File(path))?,
        }
        Ok(artifact)
    }

    /// Reads an artifact back, and checks it against its hash. Blocking.
    ///
    /// # Errors
    /// When it is missing, or its bytes no longer match, or the bucket does not answer.
    pub fn read(&self, artifact: &Artifact) -> Result<Vec<u8>, ArtifactError> {
        match &self.kept {
            Kept::Folder(folder) => folder.read(artifact),
            Kept::Bucket(bucket) => {
                let mut content = Vec::new();
                bucket.copy(artifact, |bytes| {
                    content.extend_from_slice(bytes);
                    Ok(())
                })?;
                Ok(content)
            }
        }
    }

    /// Writes an artifact's bytes, checked against its hash, into a new file. Blocking.
    ///
    /// # Errors
    /// As [`ArtifactStore::read`], and when the file exists or cannot be written;
    /// then what was written of it is removed.
    pub fn copy_to(&self, artifact: &Artifact, path: &Path) -> Result<(), ArtifactError> {
        let cannot = |error: &io::Error| {
            ArtifactError::File(format!("cannot write {}: {error}", path.display()))
        };
        let mut file = File::create_new(path).map_err(|error| cannot(&error))?;
        let write = |bytes: &[u8]| file.write_all(bytes);
        let copied = match &self.kept {
            Kept::Folder(folder) => folder.copy(artifact, write),
            Kept::Bucket(bucket) => bucket.copy(artifact, write),
        };
        if copied.is_err() {
            let _ = std::fs::remove_file(path);
        }
        copied
    }

    /// Opens a local file with an artifact's bytes, fetched and checked where they lie elsewhere. Blocking.
    ///
    /// # Errors
    /// As [`ArtifactStore::read`].
    pub fn open_file(&self, artifact: &Artifact) -> Result<File, ArtifactError> {
        match &self.kept {
            Kept::Folder(folder) => folder.open_file(artifact),
            Kept::Bucket(bucket) => bucket.open_file(artifact),
        }
    }

    /// Makes a file young again, so that no sweep takes it; false when it is not there. Blocking.
    #[must_use]
    pub fn renew(&self, artifact: &Artifact) -> bool {
        match &self.kept {
            Kept::Folder(folder) => folder.renew(artifact),
            Kept::Bucket(bucket) => bucket.renew(artifact),
        }
    }

    /// Those of these artifacts whose bytes are not there. Blocking.
    ///
    /// # Errors
    /// When the bucket does not answer.
    pub fn missing(&self, artifacts: Vec<Artifact>) -> Result<Vec<Artifact>, ArtifactError> {
        match &self.kept {
            Kept::Folder(folder) => Ok(artifacts
                .into_iter()
                .filter(|artifact| !folder.contains(artifact))
                .collect()),
            Kept::Bucket(bucket) => bucket.missing(artifacts),
        }
    }

    /// Deletes files older than `min_age` that `is_needed` does not claim. Blocking.
    ///
    /// `is_needed` gets a batch of digests and returns those somebody names.
    ///
    /// In a folder it is asked while writers are locked out, so a file that an
    /// attempt has just stored or reused (which renews its age) is safe. A bucket
    /// has no locks: there each file's age is read again just before it is
    /// deleted, and `min_age` must be longer than the longest attempt.
    ///
    /// # Errors
    /// When the place cannot be read, or `is_needed` fails.
    pub fn sweep<E: From<ArtifactError>>(
        &self,
        min_age: Duration,
        is_needed: impl FnMut(&[String]) -> Result<HashSet<String>, E>,
    ) -> Result<Swept, E> {
        match &self.kept {
            Kept::Folder(folder) => folder.sweep(min_age, is_needed),
            Kept::Bucket(bucket) => bucket.sweep(min_age, is_needed),
        }
    }
}

fn changed_meanwhile() -> ArtifactError {
    ArtifactError::File("the file changed while it was being stored".to_owned())
}

/// A share that is not mounted would otherwise be a fresh, private folder.
fn must_be_there(root: &Path) -> Result<(), ArtifactError> {
    if root.is_dir() {
        return Ok(());
    }
    Err(ArtifactError::Refused(format!(
        "the artifacts folder {} is not there; make it, mount it, or name another (AQUATINT_ARTIFACTS)",
        root.display()
    )))
}

fn unusable(root: &Path, error: &io::Error, other: &str) -> ArtifactError {
    ArtifactError::Refused(format!(
        "cannot use the folder {}: {error}; choose another {other}",
        root.display()
    ))
}

fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// The digest in a key of ours, `ab/abcd….png`; `None` for any other.
fn digest_of_key(key: &str) -> Option<&str> {
    let (shelf, file) = key.split_once('/')?;
    let (digest, _) = file.split_once('.')?;
    (is_digest(digest) && digest.starts_with(shelf) && shelf.len() == 2).then_some(digest)
}

/// A file extension people's programs recognise.
fn extension(media_type: &str) -> &'static str {
    match media_type {
        "image/png" => "png",
        "image/jpeg" => "jpg",
        "image/webp" => "webp",
        "image/svg+xml" => "svg",
        "application/json" => "json",
        "text/plain" => "txt",
        "video/mp4" => "mp4",
        "audio/wav" => "wav",
        "application/vnd.safetensors" => "safetensors",
        _ => "bin",
    }
}

/// Keeps a name showable: its last path component, no control characters, 200 bytes.
fn clean_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let mut clean: String = last.chars().filter(|c| !c.is_control()).collect();
    while clean.len() > 200 {
        clean.pop();
    }
    if clean.is_empty() || clean == "." || clean == ".." {
        "artifact".to_owned()
    } else {
        clean
    }
}

//! Stored outputs, addressed by their content.
//!
//! A file is written beside its place, synced, and renamed into it, so it is
//! there whole or not at all. Whether anybody still needs it is the store's
//! knowledge; [`ArtifactStore::sweep`] removes what nobody names.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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

/// A folder of artifacts. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ArtifactStore {
    root: Arc<Path>,
}

/// What a [`ArtifactStore::sweep`] removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Files deleted.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl ArtifactStore {
    /// Opens the folder, making it where it is missing.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn open(root: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(root.join("tmp"))?;
        Ok(Self { root: root.into() })
    }

    /// Where an artifact's bytes lie, whether or not they are there yet.
    ///
    /// `None` when the digest is not 64 hex digits, so that a forged one never
    /// becomes a path.
    #[must_use]
    pub fn path(&self, artifact: &Artifact) -> Option<PathBuf> {
        let hex = artifact.digest.as_str();
        let well_formed =
            hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        well_formed.then(|| {
            self.root
                .join(&hex[..2])
                .join(format!("{hex}.{}", extension(&artifact.media_type)))
        })
    }

    /// Stores bytes under their hash. Blocking.
    ///
    /// # Errors
    /// When the disk refuses; nothing half-written is left in place.
    pub fn put(&self, name: &str, media_type: &str, content: &[u8]) -> io::Result<Artifact> {
        let artifact = Artifact {
            digest: blake3::hash(content).to_hex().to_string(),
            name: clean_name(name),
            media_type: media_type.to_owned(),
            size_bytes: content.len() as u64,
        };
        self.place(&artifact, |file| file.write_all(content))?;
        Ok(artifact)
    }

    /// Stores a file's content under its hash; the file itself stays. Blocking.
    ///
    /// # Errors
    /// When the file cannot be read or the disk refuses.
    pub fn put_file(&self, name: &str, media_type: &str, path: &Path) -> io::Result<Artifact> {
        let mut hasher = blake3::Hasher::new();
        let size_bytes = io::copy(&mut std::fs::File::open(path)?, &mut hasher)?;
        let artifact = Artifact {
            digest: hasher.finalize().to_hex().to_string(),
            name: clean_name(name),
            media_type: media_type.to_owned(),
            size_bytes,
        };
        self.place(&artifact, |file| {
            let mut rehash = blake3::Hasher::new();
            let mut source = std::fs::File::open(path)?;
            let mut buffer = vec![0; 128 * 1024];
            loop {
                let n = source.read(&mut buffer)?;
                if n == 0 {
                    break;
                }
                rehash.update(&buffer[..n]);
                file.write_all(&buffer[..n])?;
            }
            if rehash.finalize().to_hex().as_str() == artifact.digest {
                Ok(())
            } else {
                Err(io::Error::other(
                    "the file changed while it was being stored",
                ))
            }
        })?;
        Ok(artifact)
    }

    /// Reads an artifact back, and checks it against its hash. Blocking.
    ///
    /// # Errors
    /// When it is missing, or its bytes no longer match.
    pub fn read(&self, artifact: &Artifact) -> io::Result<Vec<u8>> {
        let path = self.path(artifact).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                "not an artifact: its digest is no BLAKE3 hash",
            )
        })?;
        let content = std::fs::read(&path)?;
        if blake3::hash(&content).to_hex().as_str() == artifact.digest {
            Ok(content)
        } else {
            Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "artifact {} is damaged: its content no longer matches its hash",
                    artifact.digest
                ),
            ))
        }
    }

    /// Whether the bytes are there.
    #[must_use]
    pub fn contains(&self, artifact: &Artifact) -> bool {
        self.path(artifact).is_some_and(|path| path.is_file())
    }

    /// Makes a file young again, so that no sweep takes it; false when it is not there. Blocking.
    #[must_use]
    pub fn renew(&self, artifact: &Artifact) -> bool {
        let renewed = || {
            let _lock = self.lock(Lock::Shared)?;
            let path = self.path(artifact).ok_or(io::ErrorKind::NotFound)?;
            std::fs::File::options()
                .append(true)
                .open(path)?
                .set_modified(SystemTime::now())
        };
        renewed().is_ok()
    }

    /// Deletes files older than `min_age` that `is_needed` does not claim. Blocking.
    ///
    /// `is_needed` gets a batch of digests and returns those somebody names. It
    /// is asked while the folder is locked against writers, so a file that an
    /// attempt has just stored or reused (which renews its age) is safe.
    ///
    /// # Errors
    /// When the folder cannot be read, or `is_needed` fails.
    pub fn sweep<E: From<io::Error>>(
        &self,
        min_age: Duration,
        mut is_needed: impl FnMut(&[String]) -> Result<std::collections::HashSet<String>, E>,
    ) -> Result<Swept, E> {
        let mut swept = Swept::default();
        let _lock = self.lock(Lock::Exclusive)?;
        let old = |meta: &std::fs::Metadata| {
            let age = meta
                .modified()
                .ok()
                .and_then(|m| SystemTime::now().duration_since(m).ok());
            age.is_some_and(|age| age >= min_age)
        };
        for shelf in std::fs::read_dir(&*self.root)? {
            let shelf = shelf?;
            if !shelf.file_type()?.is_dir() {
                continue;
            }
            let is_tmp = shelf.file_name() == "tmp";
            let mut candidates = Vec::new();
            for file in std::fs::read_dir(shelf.path())? {
                let file = file?;
                let meta = file.metadata()?;
                if meta.is_file() && old(&meta) {
                    candidates.push((file.path(), meta.len()));
                }
            }
            let digest_of = |path: &Path| {
                path.file_stem()
                    .map(|s| s.to_string_lossy().into_owned())
                    .unwrap_or_default()
            };
            let needed = if is_tmp || candidates.is_empty() {
                std::collections::HashSet::new()
            } else {
                let digests: Vec<String> = candidates.iter().map(|(p, _)| digest_of(p)).collect();
                is_needed(&digests)?
            };
            for (path, bytes) in candidates {
                if !needed.contains(&digest_of(&path)) {
                    std::fs::remove_file(&path)?;
                    swept.files += 1;
                    swept.bytes += bytes;
                }
            }
        }
        Ok(swept)
    }

    /// Writes beside, syncs, renames; or renews the age of what is there already.
    fn place(
        &self,
        artifact: &Artifact,
        write: impl FnOnce(&mut std::fs::File) -> io::Result<()>,
    ) -> io::Result<()> {
        let path = self
            .path(artifact)
            .expect("a digest just computed is well formed");
        {
            let _lock = self.lock(Lock::Shared)?;
            if let Ok(file) = std::fs::File::options().append(true).open(&path)
                && file.metadata()?.len() == artifact.size_bytes
            {
                return file.set_modified(SystemTime::now());
            }
        }
        let shelf = path.parent().expect("a place has a shelf");
        std::fs::create_dir_all(shelf)?;
        let mut temporary = tempfile::Builder::new()
            .prefix("w-")
            .tempfile_in(self.root.join("tmp"))?;
        write(temporary.as_file_mut())?;
        temporary.as_file().sync_data()?;
        let _lock = self.lock(Lock::Shared)?;
        temporary.persist(&path).map_err(|e| e.error)?;
        // The name must survive a power cut too, not the bytes alone.
        std::fs::File::open(shelf)?.sync_all()
    }

    fn lock(&self, kind: Lock) -> io::Result<std::fs::File> {
        let file = std::fs::File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(self.root.join("tmp/.lock"))?;
        match kind {
            Lock::Shared => file.lock_shared()?,
            Lock::Exclusive => file.lock()?,
        }
        Ok(file)
    }
}

#[derive(Clone, Copy)]
enum Lock {
    Shared,
    Exclusive,
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

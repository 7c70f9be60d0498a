//! Artifacts in a folder of this machine, or one that several machines share.
//!
//! A file is written beside its place, synced, and renamed into it, so it is
//! there whole or not at all, a power cut included. (`object_store` has a local
//! file system too. It is not used here: by default it syncs neither bytes nor
//! names, it cannot make a file young again without writing it again, and it has
//! no lock between those who store and those who sweep.)

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{
    Artifact, ArtifactError, CHUNK_BYTES, Source, Swept, changed_meanwhile, digest_of_key,
};

/// Files looked at under one lock of a sweep.
const PORTION: usize = 200;

/// Between two portions.
const BREAK: Duration = Duration::from_millis(1);

/// A folder of artifacts. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    root: Arc<Path>,
}

impl Folder {
    /// Opens the folder, making it where it is missing.
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(root.join("tmp"))?;
        Ok(Self { root: root.into() })
    }

    pub(super) fn path(&self, artifact: &Artifact) -> Option<PathBuf> {
        artifact.key().map(|key| self.root.join(key))
    }

    /// Stores what the artifact was made from, unless it is there already.
    pub(super) fn put(&self, artifact: &Artifact, source: Source<'_>) -> Result<(), ArtifactError> {
        let path = self.path(artifact).ok_or(ArtifactError::Malformed)?;
        {
            let _lock = self.lock(Lock::Shared)?;
            if let Ok(file) = File::options().append(true).open(&path)
                && file.metadata()?.len() == artifact.size_bytes
            {
                return Ok(file.set_modified(SystemTime::now())?);
            }
        }
        let shelf = path.parent().expect("a place has a shelf");
        std::fs::create_dir_all(shelf)?;
        let mut temporary = tempfile::Builder::new()
            .prefix("w-")
            .tempfile_in(self.root.join("tmp"))?;
        let file = temporary.as_file_mut();
        match source {
            Source::Bytes(content) => file.write_all(content)?,
            Source::File(path) => {
                let copied =
                    copy_checked(artifact, File::open(path)?, |bytes| file.write_all(bytes))?;
                copied.map_err(|_| changed_meanwhile())?;
            }
        }
        temporary.as_file().sync_data()?;
        let _lock = self.lock(Lock::Shared)?;
        temporary.persist(&path).map_err(|e| e.error)?;
        // The name must survive a power cut too, not the bytes alone.
        Ok(File::open(shelf)?.sync_all()?)
    }

    /// Opens an artifact's file as it is.
    pub(super) fn open_file(&self, artifact: &Artifact) -> Result<File, ArtifactError> {
        let path = self.path(artifact).ok_or(ArtifactError::Malformed)?;
        File::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => ArtifactError::Missing {
                place: path.display().to_string(),
            },
            _ => ArtifactError::File(format!("cannot read {}: {error}", path.display())),
        })
    }

    /// The whole content at once.
    pub(super) fn read(&self, artifact: &Artifact) -> Result<Vec<u8>, ArtifactError> {
        let mut content = Vec::new();
        self.open_file(artifact)?.read_to_end(&mut content)?;
        matches_digest(artifact, blake3::Hasher::new().update(&content))
            .map_err(|what| self.damaged(artifact, what))?;
        Ok(content)
    }

    fn damaged(&self, artifact: &Artifact, what: String) -> ArtifactError {
        let path = self.path(artifact).unwrap_or_default();
        ArtifactError::Damaged {
            place: path.display().to_string(),
            what,
        }
    }

    /// Gives an artifact's bytes piece by piece; an error at the end means they were not the right ones.
    pub(super) fn copy(
        &self,
        artifact: &Artifact,
        sink: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), ArtifactError> {
        let file = self.open_file(artifact)?;
        copy_checked(artifact, file, sink)?.map_err(|what| self.damaged(artifact, what))
    }

    /// Makes a file young again; false when it is not there.
    pub(super) fn renew(&self, artifact: &Artifact) -> bool {
        let renewed = || {
            let _lock = self.lock(Lock::Shared)?;
            let path = self.path(artifact).ok_or(io::ErrorKind::NotFound)?;
            File::options()
                .append(true)
                .open(path)?
                .set_modified(SystemTime::now())
        };
        renewed().is_ok()
    }

    pub(super) fn contains(&self, artifact: &Artifact) -> bool {
        self.path(artifact).is_some_and(|path| path.is_file())
    }

    pub(super) fn sweep<E: From<ArtifactError>>(
        &self,
        min_age: Duration,
        mut is_needed: impl FnMut(&[String]) -> Result<HashSet<String>, E>,
    ) -> Result<Swept, E> {
        let mut swept = Swept::default();
        let listing = std::fs::read_dir(&*self.root).map_err(ArtifactError::from)?;
        for shelf in listing {
            // Looked through without the lock: what is old now may be renewed until its turn comes.
            let old = candidates(&shelf.map_err(ArtifactError::from)?.path(), min_age)?;
            for portion in old.chunks(PORTION) {
                self.sweep_some(portion, min_age, &mut is_needed, &mut swept)?;
                // Locks are not fair: without a break, those who wait would never have their turn.
                std::thread::sleep(BREAK);
            }
        }
        Ok(swept)
    }

    /// Removes those of a few files that are old still and that nobody needs. Those who store wait meanwhile.
    fn sweep_some<E: From<ArtifactError>>(
        &self,
        some: &[Candidate],
        min_age: Duration,
        is_needed: &mut impl FnMut(&[String]) -> Result<HashSet<String>, E>,
        swept: &mut Swept,
    ) -> Result<(), E> {
        let _lock = self.lock(Lock::Exclusive).map_err(ArtifactError::from)?;
        let mut old = Vec::with_capacity(some.len());
        for candidate in some {
            if old_file(&candidate.path, min_age)?.is_some() {
                old.push(candidate);
            }
        }
        let digests: Vec<String> = old.iter().filter_map(|c| c.digest.clone()).collect();
        let needed = if digests.is_empty() {
            HashSet::new()
        } else {
            is_needed(&digests)?
        };
        for candidate in old {
            let is_kept = candidate
                .digest
                .as_ref()
                .is_some_and(|d| needed.contains(d));
            if is_kept {
                continue;
            }
            match std::fs::remove_file(&candidate.path) {
                Ok(()) => {
                    swept.files += 1;
                    swept.bytes += candidate.bytes;
                }
                // A writer's temporary file, which found its place or was given up.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(ArtifactError::from(error).into()),
            }
        }
        Ok(())
    }

    fn lock(&self, kind: Lock) -> io::Result<File> {
        let file = File::options()
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

/// A file that a sweep may take.
struct Candidate {
    path: PathBuf,
    bytes: u64,
    /// `None` for what was never put in place.
    digest: Option<String>,
}

/// The old files of a shelf that are ours: a folder somebody chose may hold others' files as well.
fn candidates(shelf: &Path, min_age: Duration) -> Result<Vec<Candidate>, ArtifactError> {
    let name = |path: &Path| path.file_name().and_then(|n| n.to_str()).map(str::to_owned);
    let Some(shelf_name) = name(shelf) else {
        return Ok(Vec::new());
    };
    let is_shelf = shelf_name.len() == 2 || shelf_name == "tmp";
    if !is_shelf || !shelf.symlink_metadata()?.is_dir() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for file in std::fs::read_dir(shelf)? {
        let path = file?.path();
        let Some(file_name) = name(&path) else {
            continue;
        };
        let digest = digest_of_key(&format!("{shelf_name}/{file_name}")).map(str::to_owned);
        let is_ours = digest.is_some() || shelf_name == "tmp" && is_temporary(&file_name);
        if !is_ours {
            continue;
        }
        if let Some(bytes) = old_file(&path, min_age)? {
            found.push(Candidate {
                path,
                bytes,
                digest,
            });
        }
    }
    Ok(found)
}

/// The size of a file that is old enough to go, if it is there.
fn old_file(path: &Path, min_age: Duration) -> Result<Option<u64>, ArtifactError> {
    let meta = match path.symlink_metadata() {
        Ok(meta) => meta,
        // A writer's temporary file that has found its place since it was listed.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let age = meta
        .modified()
        .ok()
        .and_then(|m| SystemTime::now().duration_since(m).ok());
    let is_old = meta.is_file() && age.is_some_and(|age| age >= min_age);
    Ok(is_old.then_some(meta.len()))
}

/// What writers leave when they are killed; never the lock, which somebody may hold.
fn is_temporary(name: &str) -> bool {
    name.starts_with("w-")
}

/// Passes bytes on and compares them with what they should be; `Ok(Err)` says how they differ.
pub(super) fn copy_checked(
    artifact: &Artifact,
    mut source: impl Read,
    mut sink: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<Result<(), String>> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![
        0;
        CHUNK_BYTES.min(
            usize::try_from(artifact.size_bytes)
                .unwrap_or(CHUNK_BYTES)
                .max(1)
        )
    ];
    loop {
        let n = match source.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hasher.update(&buffer[..n]);
        sink(&buffer[..n])?;
    }
    Ok(matches_digest(artifact, &hasher))
}

/// Whether what was hashed is the artifact.
pub(super) fn matches_digest(artifact: &Artifact, hasher: &blake3::Hasher) -> Result<(), String> {
    if hasher.finalize().to_hex().as_str() == artifact.digest {
        Ok(())
    } else {
        Err("holds other bytes than its digest says".to_owned())
    }
}

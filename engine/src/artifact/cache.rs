//! Local copies of what lies in a bucket, so that what one step stored, the next
//! step on this machine need not fetch.
//!
//! Nothing here is precious: a copy is checked against its digest whenever it is
//! used, dropped when it does not match, and the oldest go when there are too many
//! bytes. Processes may share the folder; an open file outlives its name.

use std::fs::File;
use std::io::{self, Seek as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tempfile::NamedTempFile;

use super::folder::copy_checked;
use super::{Artifact, is_digest};

/// What a killed process left half-written, once it is this old.
const STALE: Duration = Duration::from_hours(24);

/// A folder of copies with a bound on its size.
#[derive(Debug)]
pub(super) struct Cache {
    root: PathBuf,
    limit_bytes: u64,
    /// What is held, as far as this process knows; counted anew at each eviction.
    held_bytes: Mutex<Option<u64>>,
}

impl Cache {
    pub(super) fn open(root: PathBuf, limit_bytes: u64) -> io::Result<Self> {
        std::fs::create_dir_all(root.join("tmp"))?;
        Ok(Self {
            root,
            limit_bytes,
            held_bytes: Mutex::new(None),
        })
    }

    fn path(&self, artifact: &Artifact) -> Option<PathBuf> {
        is_digest(&artifact.digest)
            .then(|| self.root.join(&artifact.digest[..2]).join(&artifact.digest))
    }

    /// A copy that has just been checked, or nothing.
    pub(super) fn open_checked(&self, artifact: &Artifact) -> Option<File> {
        let path = self.path(artifact)?;
        let mut file = File::options().read(true).append(true).open(&path).ok()?;
        let is_good = copy_checked(artifact, &file, |_| Ok(())).is_ok_and(|same| same.is_ok());
        if !is_good {
            tracing::warn!(path = %path.display(), "a cached file is damaged; fetching it again");
            let _ = std::fs::remove_file(&path);
            return None;
        }
        // What was used lately goes last.
        let _ = file.set_modified(SystemTime::now());
        file.rewind().ok()?;
        Some(file)
    }

    /// Whether there is room for a copy at all.
    pub(super) fn takes(&self, artifact: &Artifact) -> bool {
        artifact.size_bytes <= self.limit_bytes
    }

    /// A file to write a copy into.
    pub(super) fn begin(&self) -> io::Result<NamedTempFile> {
        tempfile::Builder::new()
            .prefix("w-")
            .tempfile_in(self.root.join("tmp"))
    }

    /// Keeps a copy that is known to be good; too large a one is let go.
    pub(super) fn keep(&self, artifact: &Artifact, copy: NamedTempFile) -> io::Result<()> {
        let Some(path) = self.path(artifact) else {
            return Ok(());
        };
        if !self.takes(artifact) {
            return Ok(());
        }
        let is_new = !path.exists();
        std::fs::create_dir_all(path.parent().expect("a copy has a shelf"))?;
        copy.persist(&path).map_err(|e| e.error)?;
        if is_new {
            self.make_room(artifact.size_bytes, &path)?;
        }
        Ok(())
    }

    fn make_room(&self, added: u64, newest: &Path) -> io::Result<()> {
        let mut held = self
            .held_bytes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = *held
            && known + added <= self.limit_bytes
        {
            *held = Some(known + added);
            return Ok(());
        }
        let mut copies = self.copies()?;
        let mut total: u64 = copies.iter().map(|(_, bytes, _)| bytes).sum();
        if total > self.limit_bytes {
            // A tenth more than needed, so that not every file brings us here.
            let target = self.limit_bytes / 10 * 9;
            copies.sort();
            for (_, bytes, path) in copies {
                if total <= target {
                    break;
                }
                if path != newest && std::fs::remove_file(&path).is_ok() {
                    total -= bytes;
                }
            }
        }
        *held = Some(total);
        Ok(())
    }

    /// Every copy: when it was used last, its size, where it is. Old half-written ones go.
    fn copies(&self) -> io::Result<Vec<(SystemTime, u64, PathBuf)>> {
        let mut found = Vec::new();
        for shelf in std::fs::read_dir(&self.root)? {
            let shelf = shelf?;
            if !shelf.file_type()?.is_dir() {
                continue;
            }
            let is_tmp = shelf.file_name() == "tmp";
            for file in std::fs::read_dir(shelf.path())? {
                let file = file?;
                // Another process may evict at the same time.
                let Ok(meta) = file.metadata() else {
                    continue;
                };
                let used = meta.modified()?;
                if !is_tmp {
                    found.push((used, meta.len(), file.path()));
                } else if used.elapsed().is_ok_and(|age| age >= STALE) {
                    let _ = std::fs::remove_file(file.path());
                }
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use std::io::Write as _;

    fn copy(cache: &Cache, content: &[u8]) -> Artifact {
        let artifact = Artifact::of("x", "image/png", content);
        let mut file = cache.begin().unwrap();
        file.write_all(content).unwrap();
        cache.keep(&artifact, file).unwrap();
        artifact
    }

    #[test]
    fn the_longest_unused_copies_go_first_and_the_newest_stays() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path().join("c"), 1_000).unwrap();
        let made: Vec<Artifact> = (0..4u8)
            .map(|n| {
                let made = copy(&cache, &[n; 300]);
                // A minute between them.
                let path = cache.path(&made).unwrap();
                if let Ok(file) = File::options().append(true).open(path) {
                    let age = Duration::from_secs(60 * u64::from(10 - n));
                    file.set_modified(SystemTime::now() - age).unwrap();
                }
                made
            })
            .collect();
        let there: Vec<bool> = made
            .iter()
            .map(|a| cache.open_checked(a).is_some())
            .collect();
        assert_eq!(there, [false, true, true, true]);
        let large = copy(&cache, &[9; 2_000]);
        assert!(
            cache.open_checked(&large).is_none(),
            "larger than the cache"
        );
    }

    #[test]
    fn a_damaged_copy_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path().join("c"), 1_000).unwrap();
        let artifact = copy(&cache, b"what was stored");
        std::fs::write(cache.path(&artifact).unwrap(), b"what is there").unwrap();
        assert!(cache.open_checked(&artifact).is_none());
        assert!(!cache.path(&artifact).unwrap().exists());
    }
}

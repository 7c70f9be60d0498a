//! Artifacts in a folder and in a bucket: one suite for both, then what only a bucket can suffer.
#![expect(clippy::unwrap_used, reason = "tests")]

mod runs;
mod service;
#[path = "../support/mod.rs"]
mod support;
mod trouble;

use std::collections::HashSet;
use std::io::Read as _;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use aquatint_engine::artifact::{
    Artifact, ArtifactError, ArtifactPlace, ArtifactStore, Location, Swept,
};
use service::Service;
use tokio::task::block_in_place;

const DAY: Duration = Duration::from_hours(24);

/// A place to keep artifacts, and where its files can be seen.
struct Place {
    store: ArtifactStore,
    place: ArtifactPlace,
    files: PathBuf,
    data: tempfile::TempDir,
    _kept_alive: (Option<Service>, Option<tempfile::TempDir>),
}

impl Place {
    async fn folder() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let place = ArtifactPlace::Folder(folder.path().to_owned());
        let (store, data) = service::open(&place).await.unwrap();
        Self {
            store,
            place,
            files: folder.path().to_owned(),
            data,
            _kept_alive: (None, Some(folder)),
        }
    }

    async fn bucket() -> Self {
        let service = Service::start().await;
        let place = service.place("s3://pictures/some/prefix");
        let (store, data) = service::open(&place).await.unwrap();
        Self {
            store,
            place,
            files: service.bucket().join("some/prefix"),
            data,
            _kept_alive: (Some(service), None),
        }
    }

    /// The same place as another machine sees it.
    async fn elsewhere(&self) -> (ArtifactStore, tempfile::TempDir) {
        service::open(&self.place).await.unwrap()
    }

    fn put(&self, name: &str, content: &[u8]) -> Artifact {
        block_in_place(|| self.store.put(name, "image/png", content)).unwrap()
    }

    /// Where an artifact's bytes are on disk, whoever keeps them there.
    fn file(&self, artifact: &Artifact) -> PathBuf {
        let digest = &artifact.digest;
        self.files.join(&digest[..2]).join(format!("{digest}.png"))
    }

    fn make_old(&self, artifact: &Artifact) {
        let file = std::fs::File::options()
            .append(true)
            .open(self.file(artifact))
            .unwrap();
        file.set_modified(SystemTime::now() - 2 * DAY).unwrap();
    }

    fn sweep(&self, min_age: Duration, needed: &[&Artifact]) -> Swept {
        let needed: HashSet<String> = needed.iter().map(|a| a.digest.clone()).collect();
        block_in_place(|| {
            self.store
                .sweep(min_age, |digests| -> Result<_, ArtifactError> {
                    Ok(digests
                        .iter()
                        .filter(|d| needed.contains(*d))
                        .cloned()
                        .collect())
                })
        })
        .unwrap()
    }

    fn is_missing(&self, artifact: &Artifact) -> bool {
        let missing = block_in_place(|| self.store.missing(vec![artifact.clone()])).unwrap();
        !missing.is_empty()
    }
}

async fn what_is_put_can_be_read_here_and_elsewhere(place: Place) {
    let artifact = place.put("lake.png", b"a lake");
    assert_eq!(
        (artifact.name.as_str(), artifact.size_bytes),
        ("lake.png", 6)
    );
    assert!(place.file(&artifact).is_file());
    assert!(!place.is_missing(&artifact));
    let (other, _data) = place.elsewhere().await;
    for store in [&place.store, &other, &other] {
        block_in_place(|| {
            assert_eq!(store.read(&artifact).unwrap(), b"a lake");
            let mut content = Vec::new();
            let mut file = store.open_file(&artifact).unwrap();
            file.read_to_end(&mut content).unwrap();
            assert_eq!(content, b"a lake");
        });
    }
    let empty = place.put("empty", b"");
    assert_eq!(block_in_place(|| other.read(&empty)).unwrap(), b"");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_of_a_folder_lets_others_in_between_its_portions() {
    let place = Place::folder().await;
    // A shelf of its own each, and one that takes several portions.
    for n in 0..450 {
        let shelf = place.files.join(if n < 50 {
            format!("{n:02x}")
        } else {
            "fe".to_owned()
        });
        std::fs::create_dir_all(&shelf).unwrap();
        let shelf_name = shelf.file_name().unwrap().to_str().unwrap().to_owned();
        std::fs::write(shelf.join(format!("{shelf_name}{n:062x}.png")), "x").unwrap();
    }
    let lock = place.files.join("tmp/.lock");
    let entered = std::sync::atomic::AtomicBool::new(false);
    let mut asked = Vec::new();
    let swept = block_in_place(|| {
        std::thread::scope(|scope| {
            use std::sync::atomic::Ordering::SeqCst;
            place
                .store
                .sweep(Duration::ZERO, |digests| -> Result<_, ArtifactError> {
                    if asked.is_empty() {
                        // Somebody who stores, as soon as that is possible.
                        scope.spawn(|| {
                            let file = std::fs::File::options().write(true).open(&lock).unwrap();
                            file.lock_shared().unwrap();
                            entered.store(true, SeqCst);
                        });
                    }
                    asked.push((digests.len(), entered.load(SeqCst)));
                    Ok(HashSet::new())
                })
        })
    })
    .unwrap();
    assert_eq!(swept.files, 450);
    assert!(
        asked.iter().all(|(digests, _)| *digests <= 200),
        "{asked:?}"
    );
    let (_, has_entered) = asked.last().unwrap();
    assert!(*has_entered, "the lock was never free: {asked:?}");
}

async fn the_same_content_is_stored_once_and_made_young(place: Place) {
    let first = place.put("a.png", b"twice");
    place.make_old(&first);
    let second = place.put("b.png", b"twice");
    assert_eq!(first.digest, second.digest);
    assert_eq!(place.sweep(DAY, &[]), Swept::default());
    place.make_old(&first);
    assert!(block_in_place(|| place.store.renew(&first)));
    assert_eq!(place.sweep(DAY, &[]), Swept::default());
    let (other, _data) = place.elsewhere().await;
    assert_eq!(block_in_place(|| other.read(&second)).unwrap(), b"twice");
}

async fn a_sweep_takes_what_is_old_and_needed_by_nobody(place: Place) {
    let (needed, young, orphan) = (
        place.put("n", b"needed"),
        place.put("y", b"young"),
        place.put("o", b"orphan"),
    );
    place.make_old(&needed);
    place.make_old(&orphan);
    let swept = place.sweep(DAY, &[&needed]);
    assert_eq!((swept.files, swept.bytes), (1, 6));
    assert!(place.is_missing(&orphan) && !place.is_missing(&needed) && !place.is_missing(&young));
    assert!(!block_in_place(|| place.store.renew(&orphan)));
    let (other, _data) = place.elsewhere().await;
    let gone = block_in_place(|| other.read(&orphan)).unwrap_err();
    assert!(matches!(gone, ArtifactError::Missing { .. }), "{gone}");
}

async fn files_of_others_are_left_alone(place: Place) {
    let mine = place.put("mine", b"mine");
    for name in [
        "holiday/beach.png",
        "ab/notes.txt",
        "tmp/important",
        "readme",
    ] {
        let path = place.files.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "not ours").unwrap();
    }
    assert_eq!(place.sweep(Duration::ZERO, &[]).files, 1);
    assert!(place.is_missing(&mine));
    for name in [
        "holiday/beach.png",
        "ab/notes.txt",
        "tmp/important",
        "readme",
    ] {
        assert!(place.files.join(name).exists(), "{name} is gone");
    }
}

async fn what_nobody_finished_writing_is_swept(place: Place) {
    // What a process leaves when it is killed in the middle, as either place would have it.
    for name in ["tmp/w-half", "tmp/renew-half"] {
        let path = place.files.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "half").unwrap();
    }
    assert_eq!(place.sweep(DAY, &[]).files, 0);
    assert_eq!(place.sweep(Duration::ZERO, &[]).files, 1);
}

async fn many_files_are_listed_page_by_page(place: Place) {
    let mut all = Vec::new();
    for n in 0..2_500u32 {
        let artifact = {
            let content = n.to_le_bytes();
            Artifact {
                digest: blake3::hash(&content).to_hex().to_string(),
                name: "n".to_owned(),
                media_type: "image/png".to_owned(),
                size_bytes: 4,
            }
        };
        let path = place.file(&artifact);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, n.to_le_bytes()).unwrap();
        all.push(artifact);
    }
    std::fs::remove_file(place.file(&all[7])).unwrap();
    std::fs::remove_file(place.file(&all[1_900])).unwrap();
    // Twice the same file, as two runs name it.
    let mut wanted = all.clone();
    wanted.push(all[8].clone());
    wanted.push(all[7].clone());
    let missing = block_in_place(|| place.store.missing(wanted)).unwrap();
    let missing: Vec<_> = missing.iter().map(|a| a.digest.as_str()).collect();
    let mut expected = [&all[7], &all[7], &all[1_900]].map(|a| a.digest.as_str());
    let mut found = missing.clone();
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected);
    let needed: Vec<&Artifact> = all[..1_000].iter().collect();
    let swept = place.sweep(Duration::ZERO, &needed);
    assert_eq!((swept.files, swept.bytes), (1_499, 4 * 1_499));
    assert_eq!(place.sweep(Duration::ZERO, &needed).files, 0);
}

async fn names_never_influence_keys(place: Place) {
    let mut digests = HashSet::new();
    for name in [
        "../../etc/passwd",
        "/etc/passwd",
        "a\0b",
        "..",
        "s3://other/key",
        "ü?#%2e%2e",
    ] {
        let artifact = place.put(name, b"same bytes");
        assert!(!artifact.name.contains(['/', '\0']), "{}", artifact.name);
        digests.insert(artifact.digest.clone());
        assert!(place.file(&artifact).is_file());
    }
    assert_eq!(digests.len(), 1);
    for digest in [
        "../../../etc/passwd",
        "",
        "AA",
        &"A".repeat(64),
        &"é".repeat(32),
    ] {
        let forged = Artifact {
            digest: digest.to_owned(),
            name: "x".to_owned(),
            media_type: "image/png".to_owned(),
            size_bytes: 1,
        };
        assert_eq!(place.store.location(&forged), None);
        block_in_place(|| {
            assert!(matches!(
                place.store.read(&forged),
                Err(ArtifactError::Malformed)
            ));
            assert!(place.store.open_file(&forged).is_err() && !place.store.renew(&forged));
        });
        assert!(place.is_missing(&forged));
    }
}

async fn other_bytes_are_refused(place: Place) {
    let artifact = place.put("x", b"what was stored");
    std::fs::write(place.file(&artifact), b"what was forged").unwrap();
    let (other, _data) = place.elsewhere().await;
    let refused = block_in_place(|| other.read(&artifact)).unwrap_err();
    assert!(
        matches!(refused, ArtifactError::Damaged { .. }),
        "{refused}"
    );
    std::fs::write(place.file(&artifact), b"what was").unwrap();
    let target = other_path(&place);
    let refused = block_in_place(|| other.copy_to(&artifact, &target)).unwrap_err();
    assert!(
        matches!(refused, ArtifactError::Damaged { .. }),
        "{refused}"
    );
    assert!(!target.exists(), "half a file would be taken for the whole");
}

fn other_path(place: &Place) -> PathBuf {
    place.data.path().join("copied-out")
}

async fn fifty_megabytes_go_both_ways(place: Place) {
    let source = place.data.path().join("large");
    let content: Vec<u8> = (0..50_000_000u32 / 4)
        .flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes())
        .collect();
    std::fs::write(&source, &content).unwrap();
    let put =
        || block_in_place(|| place.store.put_file("large.png", "image/png", &source)).unwrap();
    let artifact = put();
    assert_eq!(artifact.size_bytes, 50_000_000);
    let (other, _data) = place.elsewhere().await;
    let target = other_path(&place);
    block_in_place(|| other.copy_to(&artifact, &target)).unwrap();
    assert!(std::fs::read(&target).unwrap() == content);
    // Stored again when it is old, it is young again.
    place.make_old(&artifact);
    assert_eq!(put(), artifact);
    assert_eq!(place.sweep(DAY, &[]), Swept::default());
    assert!(
        block_in_place(|| other.copy_to(&artifact, &target)).is_err(),
        "it is there"
    );
    assert!(
        std::fs::read(&target).unwrap() == content,
        "what was there stays"
    );
}

macro_rules! suite {
    ($($test:ident),* $(,)?) => {
        mod folder {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test(super::Place::folder().await).await;
            })*
        }
        mod bucket {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test(super::Place::bucket().await).await;
            })*
        }
    };
}

suite!(
    what_is_put_can_be_read_here_and_elsewhere,
    the_same_content_is_stored_once_and_made_young,
    a_sweep_takes_what_is_old_and_needed_by_nobody,
    files_of_others_are_left_alone,
    what_nobody_finished_writing_is_swept,
    many_files_are_listed_page_by_page,
    names_never_influence_keys,
    other_bytes_are_refused,
    fifty_megabytes_go_both_ways,
);

#[tokio::test(flavor = "multi_thread")]
async fn a_place_is_named_by_its_path_or_its_address() {
    let (folder, bucket) = (Place::folder().await, Place::bucket().await);
    let artifact = folder.put("x", b"x");
    let path = folder.store.location(&artifact).unwrap();
    assert_eq!(path, Location::Path(folder.file(&artifact)));
    let digest = &artifact.digest;
    assert_eq!(
        bucket.store.location(&artifact).unwrap().to_string(),
        format!("s3://pictures/some/prefix/{}/{digest}.png", &digest[..2])
    );
    assert_eq!(bucket.store.path(&artifact), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_folder_that_is_not_there_is_not_made() {
    let folder = tempfile::tempdir().unwrap();
    let place = ArtifactPlace::Folder(folder.path().join("not-mounted"));
    let refused = service::open(&place).await.unwrap_err().to_string();
    assert!(
        refused.contains("not-mounted") && refused.contains("mount it"),
        "{refused}"
    );
    assert!(!folder.path().join("not-mounted").exists());
}

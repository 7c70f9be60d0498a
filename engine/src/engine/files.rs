//! Stored files: those of runs, and those that inputs are to refer to.

use std::io::Read as _;
use std::time::Duration;

use super::{Engine, blocking};
use crate::artifact::{Artifact, ArtifactError, Location};
use crate::error::EngineError;
use crate::id::RunId;
use crate::store::{ArtifactView, Keep, Op};

/// Who uploaded what, among the records.
const UPLOAD: &str = "upload";
/// A file that no run named after so long is not theirs to name any more; it was most likely swept.
const NOTED_FOR: Duration = Duration::from_secs(30 * 24 * 3_600);

fn upload_id(owner: &str, digest: &str) -> String {
    format!("{owner}/{digest}")
}

impl Engine {
    /// The files a run stored, oldest first.
    ///
    /// # Errors
    /// An unknown run, or a store error.
    pub async fn artifacts(&self, run: RunId) -> Result<Vec<ArtifactView>, EngineError> {
        Ok(self.shared.store.artifacts(run).await?)
    }

    /// A file of this run by its digest; `None` when it is none of this run's.
    ///
    /// # Errors
    /// A store error.
    pub async fn artifact(
        &self,
        run: RunId,
        digest: &str,
    ) -> Result<Option<Artifact>, EngineError> {
        Ok(self.shared.store.artifact_of(run, digest).await?)
    }

    /// Stores a file that inputs are to refer to. Name it in [`Submission::attachments`]: what
    /// no run refers to is swept away some time later.
    ///
    /// # Errors
    /// When the disk or the bucket refuses.
    pub async fn upload(
        &self,
        name: &str,
        media_type: &str,
        content: Vec<u8>,
    ) -> Result<Artifact, EngineError> {
        let store = self.shared.artifacts.clone();
        let (name, media_type) = (name.to_owned(), media_type.to_owned());
        Ok(blocking(move || store.put(&name, &media_type, &content)).await?)
    }

    /// A file by its digest, as some run of this owner knows it; of anybody, where none is named.
    ///
    /// # Errors
    /// A store error.
    pub async fn file_of(
        &self,
        digest: &str,
        owner: Option<&str>,
    ) -> Result<Option<Artifact>, EngineError> {
        Ok(self.shared.store.file_of(digest, owner).await?)
    }

    /// Remembers who uploaded a file, as long as they may want to name it in a run: afterwards its runs
    /// show whose it is.
    ///
    /// # Errors
    /// A store error.
    pub async fn note_upload(&self, owner: &str, digest: &str) -> Result<(), EngineError> {
        let keep = Keep {
            kind: UPLOAD,
            id: upload_id(owner, digest),
            body: Some("true".to_owned()),
            seen: None,
            due_at: Some(self.now().after(NOTED_FOR)),
        };
        self.shared.store.write(Op::Keep(keep)).await?;
        Ok(())
    }

    /// Whether they uploaded this file.
    ///
    /// # Errors
    /// A store error.
    pub async fn has_uploaded(&self, owner: &str, digest: &str) -> Result<bool, EngineError> {
        let noted = self.record(UPLOAD, &upload_id(owner, digest)).await?;
        Ok(noted.is_some())
    }

    /// Forgets who uploaded what long ago, some at a time.
    ///
    /// # Errors
    /// A store error.
    pub async fn forget_uploads(&self) -> Result<(), EngineError> {
        let old = self.shared.store.due_records(UPLOAD, self.now(), 200);
        for record in old.await? {
            match self.forget(UPLOAD, &record.id, Some(record.revision)).await {
                // Noted anew, or forgotten by another process.
                Ok(()) | Err(EngineError::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// A stored file's size, and what it begins with; `None` where it is not there.
    ///
    /// # Errors
    /// When a bucket does not answer.
    pub async fn look_at(
        &self,
        artifact: &Artifact,
        first: u64,
    ) -> Result<Option<(u64, Vec<u8>)>, EngineError> {
        let (store, artifact) = (self.shared.artifacts.clone(), artifact.clone());
        let looked = blocking(move || {
            let mut file = match store.open_file(&artifact) {
                Ok(file) => file,
                Err(ArtifactError::Missing { .. } | ArtifactError::Malformed) => return Ok(None),
                Err(error) => return Err(error),
            };
            let mut head = Vec::new();
            let size = file.metadata()?.len();
            file.by_ref().take(first).read_to_end(&mut head)?;
            Ok(Some((size, head)))
        });
        Ok(looked.await?)
    }

    /// Makes sure that these files are there, and keeps sweeps from them until a run refers to
    /// them; the first that is not there, if any.
    ///
    /// # Errors
    /// Never today; where a bucket does not answer, a file counts as missing.
    pub async fn attach(&self, files: &[Artifact]) -> Result<Option<Artifact>, EngineError> {
        let (store, files) = (self.shared.artifacts.clone(), files.to_vec());
        Ok(blocking(move || files.into_iter().find(|file| !store.renew(file))).await)
    }

    /// The path of an artifact's bytes; `None` where they lie in a bucket.
    #[must_use]
    pub fn artifact_path(&self, artifact: &Artifact) -> Option<std::path::PathBuf> {
        self.shared.artifacts.path(artifact)
    }

    /// Where an artifact is: a path, or an address within a bucket.
    #[must_use]
    pub fn artifact_location(&self, artifact: &Artifact) -> Option<Location> {
        self.shared.artifacts.location(artifact)
    }

    /// Opens a local file with an artifact's bytes, fetched first where they lie elsewhere.
    ///
    /// # Errors
    /// When it is missing or damaged, or the bucket does not answer.
    pub async fn open_artifact(&self, artifact: &Artifact) -> Result<std::fs::File, EngineError> {
        let (store, artifact) = (self.shared.artifacts.clone(), artifact.clone());
        Ok(blocking(move || store.open_file(&artifact)).await?)
    }

    /// An artifact's bytes, checked against its hash.
    ///
    /// # Errors
    /// When it is missing or damaged, or the bucket does not answer.
    pub async fn read_artifact(&self, artifact: &Artifact) -> Result<Vec<u8>, EngineError> {
        let (store, artifact) = (self.shared.artifacts.clone(), artifact.clone());
        Ok(blocking(move || store.read(&artifact)).await?)
    }
}

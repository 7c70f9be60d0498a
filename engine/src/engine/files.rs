//! Stored files: those of runs, and those that inputs are to refer to.

use super::{Engine, blocking};
use crate::artifact::{Artifact, Location};
use crate::error::EngineError;
use crate::id::RunId;
use crate::store::ArtifactView;

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

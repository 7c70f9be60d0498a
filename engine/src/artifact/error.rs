//! Why bytes could not be stored or had, and whether another try may help.

use std::io;

use crate::task::TaskError;

/// What went wrong with an artifact's bytes.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ArtifactError {
    /// Its digest is not one, so nothing can be stored under it.
    #[error("not an artifact: its digest is no BLAKE3 hash")]
    Malformed,
    /// Nobody stored it, or a sweep took it.
    #[error("not found at {place}")]
    Missing {
        /// Where it should be: a path or an address.
        place: String,
    },
    /// What is stored there is something else.
    #[error("damaged: {place} {what}")]
    Damaged {
        /// Where it is.
        place: String,
        /// What is wrong with it.
        what: String,
    },
    /// The place is set wrongly, or does not let us in: no further try will help.
    #[error("{0}")]
    Refused(String),
    /// The place does not answer; it may later.
    #[error("{0}")]
    Unavailable(String),
    /// A local file or disk.
    #[error("{0}")]
    File(String),
}

impl From<io::Error> for ArtifactError {
    fn from(error: io::Error) -> Self {
        Self::File(error.to_string())
    }
}

impl From<ArtifactError> for TaskError {
    fn from(error: ArtifactError) -> Self {
        let message = error.to_string();
        match error {
            ArtifactError::Malformed
            | ArtifactError::Missing { .. }
            | ArtifactError::Damaged { .. } => Self::fatal("missing_artifact", message),
            ArtifactError::Refused(_) => Self::fatal("artifact_store", message),
            ArtifactError::Unavailable(_) => Self::retryable("artifact_store", message),
            ArtifactError::File(_) => Self::retryable("io", message),
        }
    }
}

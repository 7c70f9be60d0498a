//! What the API keeps beside runs. Its kinds and their JSON are the API's own business.

use serde_json::Value;

use super::Engine;
use crate::error::EngineError;
use crate::store::{Answer, Keep, Op, Record};

impl Engine {
    /// Every record of a kind, by id.
    ///
    /// # Errors
    /// A store error.
    pub async fn records(&self, kind: &'static str) -> Result<Vec<Record>, EngineError> {
        Ok(self.shared.store.records(kind).await?)
    }

    /// A record.
    ///
    /// # Errors
    /// A store error.
    pub async fn record(
        &self,
        kind: &'static str,
        id: &str,
    ) -> Result<Option<Record>, EngineError> {
        Ok(self.shared.store.record(kind, id).await?)
    }

    /// Keeps a record: a new one where `seen` is 0, a change of the revision seen, or, with
    /// `None`, whatever is there. Returns its revision.
    ///
    /// # Errors
    /// [`EngineError::Conflict`] when it is not as seen, or a store error.
    pub async fn keep(
        &self,
        kind: &'static str,
        id: &str,
        body: &Value,
        seen: Option<i64>,
    ) -> Result<i64, EngineError> {
        self.change(kind, id, Some(body.to_string()), seen).await
    }

    /// Forgets a record, at the revision seen or whatever it is.
    ///
    /// # Errors
    /// [`EngineError::Conflict`] when it is not as seen or not there, or a store error.
    pub async fn forget(
        &self,
        kind: &'static str,
        id: &str,
        seen: Option<i64>,
    ) -> Result<(), EngineError> {
        self.change(kind, id, None, seen).await.map(drop)
    }

    async fn change(
        &self,
        kind: &'static str,
        id: &str,
        body: Option<String>,
        seen: Option<i64>,
    ) -> Result<i64, EngineError> {
        let keep = Keep {
            kind,
            id: id.to_owned(),
            body,
            seen,
            due_at: None,
        };
        match self.shared.store.write(Op::Keep(keep)).await? {
            Answer::Kept(Some(revision)) => Ok(revision),
            Answer::Kept(None) => Err(EngineError::Conflict {
                kind,
                id: id.to_owned(),
            }),
            other => unreachable!("keeping is answered by Kept, not {other:?}"),
        }
    }
}

//! What is kept beside runs: schedules, keys, webhooks, background jobs, cursors. Small, read whole.
//!
//! A writer names the revision it saw, so that two that change the same record at the same moment
//! cannot undo each other's change: the second is told, and looks again.

use super::commit::Commit;
use super::op::Answer;
use super::views::Record;
use super::{Store, StoreError, rows, sql};
use crate::run::NewRun;
use crate::time::Timestamp;

/// A change to a record.
#[derive(Debug, Clone)]
pub(crate) struct Keep {
    pub(crate) kind: &'static str,
    pub(crate) id: String,
    /// JSON; `None` forgets it.
    pub(crate) body: Option<String>,
    /// The revision it changes; 0 where there must be none yet, `None` whatever is there.
    pub(crate) seen: Option<i64>,
    /// When somebody should look at it.
    pub(crate) due_at: Option<Timestamp>,
}

/// Runs that begin because a record moves on: both, or neither.
#[derive(Debug)]
pub(crate) struct Fire {
    pub(crate) keep: Keep,
    pub(crate) runs: Vec<NewRun>,
}

fn record(row: (String, String, i64, Timestamp, Timestamp)) -> Result<Record, StoreError> {
    Ok(Record {
        id: row.0,
        body: rows::parse(&row.1, "records.body")?,
        revision: row.2,
        created_at: row.3,
        updated_at: row.4,
    })
}

impl Commit<'_> {
    /// Changes a record; answers with its revision, or with nothing when somebody else was quicker.
    pub(super) async fn keep(&mut self, keep: &Keep) -> Result<Answer, StoreError> {
        let which = [keep.kind.into(), keep.id.as_str().into()];
        // -1 lets any revision pass: statements here carry text and numbers only.
        let seen = keep.seen.unwrap_or(-1);
        let Some(body) = &keep.body else {
            let gone = self
                .ask(&sql::FORGET_RECORD, which.into_iter().chain([seen.into()]))
                .await?;
            return Ok(Answer::Kept((!gone.is_empty()).then_some(0)));
        };
        // 0 stands for never: statements here carry no nulls.
        let due_at = keep.due_at.map_or(0, |at| at.0.max(1));
        let what = [
            body.as_str().into(),
            seen.into(),
            self.now.0.into(),
            due_at.into(),
        ];
        let kept = self
            .ask(&sql::KEEP_RECORD, which.clone().into_iter().chain(what))
            .await?;
        let mut revision = kept.first().and_then(|r| r.parse().ok());
        if revision.is_none() && self.is_resent {
            // It may be our own change, of which nobody heard that it stands.
            let found = self.ask(&sql::RECORD, which).await?;
            if let Some(row) = found.first() {
                let row: (String, String, i64, Timestamp, Timestamp) = rows::parse(row, "records")?;
                revision = (row.1 == *body && row.2 == seen + 1).then_some(row.2);
            }
        }
        Ok(Answer::Kept(revision))
    }
}

impl Commit<'_> {
    /// Begins runs, if the record still is as it was seen. Whoever is slower begins none.
    pub(super) async fn fire(&mut self, fire: &Fire) -> Result<Answer, StoreError> {
        let Answer::Kept(Some(_)) = self.keep(&fire.keep).await? else {
            return Ok(Answer::Fired(None));
        };
        let runs: Vec<&NewRun> = fire.runs.iter().collect();
        let mut begun = Vec::with_capacity(runs.len());
        for answer in self.submit(&runs).await? {
            match answer {
                Ok(Answer::Submitted { run, is_new, .. }) => begun.push((run, is_new)),
                Ok(other) => unreachable!("a submit is answered by Submitted, not {other:?}"),
                // A run of that tick, from when the schedule said otherwise.
                Err(StoreError::KeyReused { run, .. }) => {
                    let run = run.parse().map_err(|_| StoreError::Corrupt {
                        what: "runs.id",
                        detail: run,
                    })?;
                    begun.push((run, false));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Answer::Fired(Some(begun)))
    }
}

impl Store {
    /// Records of a kind that somebody should look at, the longest overdue first.
    pub(crate) async fn due_records(
        &self,
        kind: &'static str,
        now: Timestamp,
        limit: i64,
    ) -> Result<Vec<Record>, StoreError> {
        let which = [kind.into(), now.0.into(), limit.into()];
        let found = self.readers.rows(&sql::DUE_RECORDS, which).await?;
        found.into_iter().map(record).collect()
    }

    pub(crate) async fn records(&self, kind: &'static str) -> Result<Vec<Record>, StoreError> {
        let found = self.readers.rows(&sql::RECORDS, [kind.into()]).await?;
        found.into_iter().map(record).collect()
    }

    pub(crate) async fn record(
        &self,
        kind: &'static str,
        id: &str,
    ) -> Result<Option<Record>, StoreError> {
        let which = [kind.into(), id.into()];
        let found: Vec<_> = self.readers.rows(&sql::RECORD, which).await?;
        found.into_iter().next().map(record).transpose()
    }
}

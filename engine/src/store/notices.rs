//! Runs that ended and of whose end somebody wants to hear.

use super::commit::Commit;
use super::read::run_view;
use super::views::RunView;
use super::{Store, StoreError, sql};
use crate::id::RunId;

impl Commit<'_> {
    /// Somebody was told how a run ended; one that has begun again meanwhile ends again.
    pub(super) fn told(&mut self, run: RunId, generation: i64) {
        let which = [run.to_string().into(), generation.into()];
        self.script.push(&sql::TOLD, which);
    }
}

impl Store {
    /// Some of the runs that ended and of which nobody was told yet, the oldest first.
    pub(crate) async fn untold(&self) -> Result<Vec<RunView>, StoreError> {
        let ids: Vec<String> = self.readers.texts(&sql::UNTOLD, []).await?;
        let mut runs = Vec::with_capacity(ids.len());
        for id in ids {
            let Ok(id) = id.parse() else { continue };
            // Deleted meanwhile: there is nothing to tell of.
            if let Some(row) = self.runs.row(id).await? {
                runs.push(run_view(&row)?);
            }
        }
        Ok(runs)
    }
}

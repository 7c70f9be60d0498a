//! What a commit claimed becomes work for this process, or goes back.
//!
//! Claims stand once their commit does, whatever becomes of the process: what is not handed out here is in nobody's hands
//! until a sweep sees that. A task whose pinned definition this program cannot read, as one of a newer version, is given
//! back as if it had never been claimed; later claims pass over the runs of that version, and leave them to others.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::claim::{Asked, Claimed, Granted};
use super::commit::After;
use super::demand::Demand;
use super::script::Script;
use super::writer::{NOTHING, Writer};
use super::{StoreError, rows, sql};
use crate::workflow::plan::Plan;

/// Versions that a program cannot read and remembers at most.
const MAX_UNREADABLE: usize = 1_000;

impl Writer {
    /// Hands out claims that stand after all, though nobody said so.
    pub(super) async fn take_doubtful(&mut self) -> Result<(), StoreError> {
        let (Some(asked), Some(demand)) = (self.doubtful.take(), self.demand.clone()) else {
            return Ok(());
        };
        let mut script = Script::default();
        script.push(&sql::CLAIMED, asked.proof(&demand));
        let rows = self.conn.run(&mut script).await?;
        let granted = self.grant(asked, &demand, &rows).await?;
        self.announce(After::default(), granted);
        Ok(())
    }

    /// Turns claimed rows into claims. They stand already: what is not handed
    /// out here is in nobody's hands until a sweep sees that.
    pub(super) async fn grant(
        &mut self,
        asked: Asked,
        demand: &Demand,
        rows: &[String],
    ) -> Result<Vec<(usize, Granted)>, StoreError> {
        let found = Claimed::read(rows)?;
        let mut plans = HashMap::new();
        let mut unreadable = HashSet::new();
        for task in &found {
            let version = task.version();
            if plans.contains_key(version) || unreadable.contains(version) {
                continue;
            }
            match self.plan(version).await {
                Ok(plan) => {
                    plans.insert(Arc::clone(version), plan);
                }
                Err(error) => {
                    tracing::error!(%error, "runs of version {version} are left to other workers: this program cannot read their definition");
                    unreadable.insert(Arc::clone(version));
                }
            }
        }
        if !unreadable.is_empty() {
            let refused = found
                .iter()
                .filter(|task| unreadable.contains(task.version()));
            self.to_return
                .extend(refused.map(|task| (task.key(), asked.token())));
            let known: Vec<Arc<str>> = rows::parse(&self.unreadable, "versions")?;
            unreadable.extend(known);
            let all: Vec<&Arc<str>> = unreadable.iter().take(MAX_UNREADABLE).collect();
            self.unreadable = rows::json(&all).into();
        }
        self.return_claims().await;
        // What nobody can run has taken the place of what somebody could; and what was left out comes next.
        let is_left = asked.has_started_none(demand, &found);
        let is_short = asked.is_short(demand, &found);
        self.has_misclaimed = !unreadable.is_empty() || asked.is_partial || is_left || is_short;
        asked.granted(demand, found, &plans)
    }

    /// Gives back what was claimed and cannot be run here, as if it had never been claimed.
    async fn return_claims(&mut self) {
        if self.to_return.is_empty() {
            return;
        }
        let rows: Vec<_> = self
            .to_return
            .iter()
            .map(|(key, token)| (key.run, key.step, key.item, token))
            .collect();
        let mut script = Script::default();
        script.push(&sql::RETURN_CLAIMS, [rows::json(&rows).into()]);
        match self.conn.run(&mut script).await {
            Ok(_) => self.to_return.clear(),
            // They are tried again with the next claims.
            Err(error) => {
                tracing::warn!(%error, "claims that cannot be run here could not be given back yet");
            }
        }
    }

    async fn plan(&mut self, version: &Arc<str>) -> Result<Arc<Plan>, StoreError> {
        if let Some(plan) = self.plans.get(version) {
            return Ok(plan);
        }
        let mut script = Script::default();
        script.push(&sql::SPEC, [(&**version).into()]);
        let spec = self.conn.run(&mut script).await?.pop();
        let spec = spec.ok_or_else(|| StoreError::Corrupt {
            what: "workflow_versions",
            detail: format!("version {version} is missing, though a run refers to it"),
        })?;
        self.plans.compile(version, &spec)
    }

    /// Whether there are runs that this program leaves to others.
    pub(super) fn has_unreadable(&self) -> bool {
        &*self.unreadable != NOTHING
    }
}

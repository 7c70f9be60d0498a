//! Recounting a database: nothing here is trusted but the rows themselves.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Store, StoreError, rows, sql};
use crate::transition::{AuditedRun, audit};
use crate::workflow::plan::Plan;

/// Runs recounted in one question.
const PAGE: i64 = 50;
/// Findings told at most.
const MAX_FOUND: usize = 1_000;

impl Store {
    /// Broken promises, one sentence each; empty is good. A database may go on working meanwhile: each run is read in one
    /// moment, and no question takes long.
    pub(crate) async fn check(&self) -> Result<Vec<String>, StoreError> {
        let mut found = self
            .readers
            .texts(&sql::AUDIT_ORPHANS, [100.into()])
            .await?;
        let mut plans = HashMap::new();
        let mut after = String::new();
        while found.len() < MAX_FOUND {
            let page = [after.as_str().into(), PAGE.into()];
            let ids: Vec<String> = self.readers.texts(&sql::RUNS_AFTER, page).await?;
            let Some(last) = ids.last() else {
                break;
            };
            after.clone_from(last);
            for row in self
                .readers
                .texts(&sql::AUDIT_RUNS, [rows::json(&ids).into()])
                .await?
            {
                let run: AuditedRun = match serde_json::from_str(&row) {
                    Ok(run) => run,
                    Err(error) => {
                        found.push(format!(
                            "a run between {} and {after} cannot be read: {error}",
                            ids[0]
                        ));
                        continue;
                    }
                };
                found.extend(self.recount(&run, &mut plans).await?);
            }
        }
        found.truncate(MAX_FOUND);
        Ok(found)
    }

    async fn recount(
        &self,
        run: &AuditedRun,
        plans: &mut HashMap<String, Result<Arc<Plan>, String>>,
    ) -> Result<Vec<String>, StoreError> {
        let plan = match plans.get(&run.version) {
            Some(known) => known.clone(),
            None => {
                // Not from memory: what is pinned is to be looked at.
                let spec = self.spec(&run.version).await;
                let plan = match spec.and_then(|spec| self.plans.compile(&run.version, &spec)) {
                    Ok(plan) => Ok(plan),
                    Err(error) if error.is_passing() => return Err(error),
                    Err(error) => Err(error.to_string()),
                };
                plans.insert(run.version.clone(), plan.clone());
                plan
            }
        };
        Ok(match plan {
            Ok(plan) => audit(run, &plan),
            Err(why) => vec![format!(
                "run {}: its definition cannot be read: {why}",
                run.id
            )],
        })
    }
}

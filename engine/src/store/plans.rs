//! Compiled plans, by definition version. A version never changes, so neither does its plan.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::StoreError;
use crate::workflow::Workflow;
use crate::workflow::plan::Plan;

/// Plans kept at most; beyond that, the cache begins anew.
const MAX_PLANS: usize = 1_000;

/// The plans this process has met. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Plans {
    known: Arc<RwLock<HashMap<Arc<str>, Arc<Plan>>>>,
}

impl Plans {
    pub(crate) fn get(&self, version: &str) -> Option<Arc<Plan>> {
        self.known
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(version)
            .cloned()
    }

    pub(crate) fn insert(&self, plan: &Arc<Plan>) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_PLANS {
            known.clear();
        }
        known.insert(plan.version.as_str().into(), Arc::clone(plan));
    }

    /// Compiles a pinned definition.
    pub(crate) fn compile(&self, version: &str, spec: &str) -> Result<Arc<Plan>, StoreError> {
        let corrupt = |detail: String| StoreError::Corrupt {
            what: "workflow_versions.spec",
            detail,
        };
        let workflow = Workflow::from_json(spec).map_err(|e| corrupt(format!("{version}: {e}")))?;
        let plan = Plan::compile(&workflow).map_err(|e| corrupt(format!("{version}: {e}")))?;
        let plan = Arc::new(plan);
        self.insert(&plan);
        Ok(plan)
    }
}

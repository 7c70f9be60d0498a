//! Compiled plans, by definition version. A version never changes, so neither does its plan.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::StoreError;
use crate::workflow::plan::Plan;
use crate::workflow::{Workflow, version_of};

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
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when the text is not the one that its version names, and
    /// [`StoreError::NewerDefinition`] when it is, and says what this program does not know.
    pub(crate) fn compile(&self, version: &str, spec: &str) -> Result<Arc<Plan>, StoreError> {
        if version_of(spec) != version {
            return Err(StoreError::Corrupt {
                what: "workflow_versions.spec",
                detail: format!("the text of version {version} is not what its hash says"),
            });
        }
        let newer = |detail: String| StoreError::NewerDefinition {
            version: version.to_owned(),
            detail,
        };
        let workflow = Workflow::from_json(spec).map_err(|e| newer(e.to_string()))?;
        let mut plan = Plan::compile(&workflow).map_err(|e| newer(e.to_string()))?;
        // What an older program has pinned may spell out fewer defaults than we would: its name stays.
        version.clone_into(&mut plan.version);
        let plan = Arc::new(plan);
        self.insert(&plan);
        Ok(plan)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::workflow::{AnyCatalog, Source};

    fn pinned() -> String {
        let text = "name: w\nsteps:\n  a: { task: test.any, retry: { attempts: 3 }, with: { own: { key: 1 } } }\n";
        let source = Source {
            file: "w.yaml",
            text,
        };
        Workflow::parse(&source, &AnyCatalog).unwrap().to_json()
    }

    fn compile(spec: &str) -> Result<Arc<Plan>, StoreError> {
        Plans::default().compile(&version_of(spec), spec)
    }

    #[test]
    fn a_definition_is_compiled_under_the_name_of_its_text() {
        let spec = pinned();
        let plan = compile(&spec).unwrap();
        assert_eq!(plan.version, version_of(&spec));
        // An older program may have written nothing where this one leaves it out, or left out a default.
        for (from, to) in [
            ("\"cache\":false,", ""),
            (
                "\"cache\":false",
                "\"cache\":false,\"needs\":[],\"when\":null",
            ),
        ] {
            assert!(spec.contains(from), "{spec}");
            let older = spec.replace(from, to);
            assert_eq!(compile(&older).unwrap().version, version_of(&older));
        }
    }

    #[test]
    fn a_text_that_is_not_what_its_hash_says_is_refused() {
        let spec = pinned();
        let altered = spec.replace("\"attempts\":3", "\"attempts\":4");
        assert_ne!(spec, altered);
        let said = Plans::default().compile(&version_of(&spec), &altered);
        assert!(matches!(said, Err(StoreError::Corrupt { .. })), "{said:?}");
    }

    #[test]
    fn what_this_program_does_not_know_is_refused_wherever_it_stands() {
        let spec = pinned();
        for (from, to) in [
            ("{\"name\":\"w\"", "{\"approval\":true,\"name\":\"w\""),
            (
                "\"cache\":false",
                "\"cache\":false,\"loop\":{\"while\":\"x\"}",
            ),
            ("\"attempts\":3", "\"attempts\":3,\"budget\":7"),
            ("\"on_failure\":\"fail\"", "\"on_failure\":\"compensate\""),
            (
                "\"task\":\"test.any\"",
                "\"task\":\"test.any\",\"workflow\":\"v\"",
            ),
        ] {
            assert!(spec.contains(from), "{from} in {spec}");
            let newer = spec.replacen(from, to, 1);
            let said = compile(&newer);
            assert!(
                matches!(said, Err(StoreError::NewerDefinition { .. })),
                "{to}: {said:?}"
            );
        }
        // What belongs to the author is nobody's to know.
        assert!(compile(&spec.replace("\"own\"", "\"other\"")).is_ok());
    }
}

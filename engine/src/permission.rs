//! What a workflow asks of whoever runs it.
//!
//! Most workflows concern nobody but their caller. Some act on the installation: they delete what is
//! old, look at every queue, or send messages in the installation's name. Their tasks say so, a
//! definition may ask for more, and a workflow needs what any workflow among its steps needs. Whoever
//! submits states what they may do; the least, where nothing is stated.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::library::{Definition, Library};
use crate::workflow::{Action, Plan};

/// The engine and the API tell people by runs of these, so that a run of them is believed, whatever
/// steps an installation gave them.
const OWN: [&str; 2] = ["alert-delivery", "webhook-delivery"];

/// What somebody may do; each includes those before it.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Permission {
    /// Run workflows that concern nobody else.
    #[default]
    Submit,
    /// Run workflows that look after the installation.
    Operate,
    /// Run everything.
    Admin,
}

impl Permission {
    /// All of them, the least first.
    pub const ALL: [Self; 3] = [Self::Submit, Self::Operate, Self::Admin];

    /// What definitions and people call it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::Operate => "operate",
            Self::Admin => "admin",
        }
    }

    pub(crate) fn is_least(&self) -> bool {
        *self == Self::default()
    }
}

impl std::fmt::Display for Permission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl Library {
    /// What running this definition takes, the workflows among its steps included.
    #[must_use]
    pub fn permission(&self, definition: &Definition) -> Permission {
        *definition
            .permission
            .get_or_init(|| self.permission_of(&definition.plan))
    }

    /// What running this plan takes, with the workflows among its steps as this library knows them.
    ///
    /// What cannot be looked up, a task or a workflow, takes the most.
    #[must_use]
    pub fn permission_of(&self, plan: &Plan) -> Permission {
        let mut needed = Permission::default();
        let (mut seen, mut waiting) = (BTreeSet::new(), Vec::new());
        self.add_needs_of(plan, &mut needed, &mut waiting);
        while let Some(name) = waiting.pop() {
            if needed == Permission::Admin {
                break;
            }
            if !seen.insert(name.clone()) {
                continue;
            }
            match self.get(&name) {
                Ok(definition) => self.add_needs_of(&definition.plan, &mut needed, &mut waiting),
                Err(_) => needed = Permission::Admin,
            }
        }
        needed
    }

    fn add_needs_of(&self, plan: &Plan, needed: &mut Permission, waiting: &mut Vec<String>) {
        *needed = plan.scope.max(*needed);
        if OWN.contains(&plan.name.as_str()) {
            *needed = Permission::Admin;
        }
        for step in &plan.steps {
            match &step.action {
                Action::Task(task) => {
                    let spec = self.registry().spec(task.as_str());
                    let needs = spec.map_or(Permission::Admin, |spec| spec.permission);
                    *needed = needs.max(*needed);
                }
                Action::Workflow(name) => waiting.push(name.to_string()),
                Action::Outputs => {}
            }
        }
    }
}

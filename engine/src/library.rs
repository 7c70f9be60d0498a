//! The definitions this process knows, by name; parsed when first asked for.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use serde_json::{Map, Value};

use crate::id::WorkflowName;
use crate::permission::Permission;
use crate::registry::Registry;
use crate::workflow::plan::Plan;
use crate::workflow::{
    AnyCatalog, Catalog, Diagnostics, Source, StepAction, TaskSignature, Workflow,
    WorkflowSignature,
};

/// A definition ready to be run.
#[derive(Debug)]
#[non_exhaustive]
pub struct Definition {
    /// What was written.
    pub workflow: Workflow,
    /// What will be done.
    pub plan: Arc<Plan>,
    /// The canonical JSON that runs are pinned to.
    pub spec: Arc<str>,
    /// What running it takes, once that was asked: it depends on what else the library holds.
    pub(crate) permission: OnceLock<Permission>,
}

/// Why there is no such definition.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum LibraryError {
    /// Nobody has heard of it.
    #[error("no workflow `{name}`{}", hint(.known, name))]
    Unknown {
        /// The name.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// It has mistakes.
    #[error("{0}")]
    Invalid(Diagnostics),
    /// A file or folder cannot be read.
    #[error("cannot read {}: {reason}", .path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

fn hint(known: &[String], name: &str) -> String {
    let close = known
        .iter()
        .map(|k| (strsim::damerau_levenshtein(k, name), k))
        .min();
    match close {
        Some((distance, candidate)) if distance <= name.len().div_ceil(3) => {
            format!("; did you mean `{candidate}`?")
        }
        _ if known.is_empty() => "; no workflows are known".to_owned(),
        _ => format!("; there are: {}", known.join(", ")),
    }
}

/// The definitions a process knows.
#[derive(Debug, Default)]
pub struct Library {
    entries: BTreeMap<String, Entry>,
    registry: Registry,
}

#[derive(Debug)]
struct Entry {
    file: String,
    text: Cow<'static, str>,
    /// Parsed without a look at other definitions: enough to check steps that run it.
    shallow: OnceLock<Option<Workflow>>,
    checked: OnceLock<Result<Arc<Definition>, Diagnostics>>,
}

impl Library {
    /// A library whose definitions may name these tasks.
    #[must_use]
    pub fn new(registry: Registry) -> Self {
        Self {
            entries: BTreeMap::new(),
            registry,
        }
    }

    /// Adds a definition under the name its file gives it; a later one replaces an earlier.
    pub fn add(&mut self, name: &str, file: impl Into<String>, text: impl Into<Cow<'static, str>>) {
        let entry = Entry {
            file: file.into(),
            text: text.into(),
            shallow: OnceLock::new(),
            checked: OnceLock::new(),
        };
        self.entries.insert(name.to_owned(), entry);
    }

    /// The same library and these definitions; each replaces its namesake. What was checked is
    /// checked anew, since a definition may name another.
    #[must_use]
    pub fn with<'a>(&self, added: impl IntoIterator<Item = (&'a str, &'a str, &'a str)>) -> Self {
        let mut library = Self::new(self.registry.clone());
        for (name, entry) in &self.entries {
            library.add(name, entry.file.clone(), entry.text.clone());
        }
        for (name, file, text) in added {
            library.add(name, file, text.to_owned());
        }
        library
    }

    /// Checks and compiles a definition that is not of this library, and may name those that are.
    ///
    /// # Errors
    /// All its mistakes.
    pub fn compile(&self, file: &str, text: &str) -> Result<Definition, Diagnostics> {
        let workflow = Workflow::parse(&Source { file, text }, self)?;
        let plan = Plan::compile(&workflow).expect("a definition that passed its checks compiles");
        let spec = workflow.to_json().into();
        Ok(Definition {
            workflow,
            plan: Arc::new(plan),
            spec,
            permission: OnceLock::new(),
        })
    }

    /// Adds a definition file and returns the workflow's name.
    ///
    /// # Errors
    /// When the file cannot be read, or does not even say what it is called.
    pub fn add_file(&mut self, path: &Path) -> Result<WorkflowName, LibraryError> {
        let unreadable = |reason: String| LibraryError::Unreadable {
            path: path.to_owned(),
            reason,
        };
        let size = std::fs::metadata(path)
            .map_err(|e| unreadable(e.to_string()))?
            .len();
        if size > 256 * 1024 {
            return Err(unreadable(format!(
                "it has {size} bytes; a definition has 262144 at most"
            )));
        }
        let text = std::fs::read_to_string(path).map_err(|e| unreadable(e.to_string()))?;
        let file = path.display().to_string();
        let workflow = Workflow::parse(
            &Source {
                file: &file,
                text: &text,
            },
            &AnyCatalog,
        )
        .map_err(LibraryError::Invalid)?;
        self.add(workflow.name.as_str(), file, text);
        Ok(workflow.name)
    }

    /// Adds every definition file of a folder; a file with mistakes is reported, and the rest are added.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub fn add_folder(&mut self, folder: &Path) -> Result<Vec<LibraryError>, LibraryError> {
        let unreadable = |reason: String| LibraryError::Unreadable {
            path: folder.to_owned(),
            reason,
        };
        let listing = std::fs::read_dir(folder).map_err(|e| unreadable(e.to_string()))?;
        let mut files = Vec::new();
        for entry in listing {
            let path = entry.map_err(|e| unreadable(e.to_string()))?.path();
            let is_definition = path
                .extension()
                .is_some_and(|e| e == "yaml" || e == "yml" || e == "toml");
            if is_definition {
                files.push(path);
            }
        }
        files.sort();
        Ok(files
            .iter()
            .filter_map(|path| self.add_file(path).err())
            .collect())
    }

    /// The names of all definitions, sorted.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        self.entries.keys().map(String::as_str).collect()
    }

    /// A definition's file name and text, as written.
    #[must_use]
    pub fn source(&self, name: &str) -> Option<(&str, &str)> {
        self.entries.get(name).map(|e| (e.file.as_str(), &*e.text))
    }

    /// A definition, checked and compiled.
    ///
    /// # Errors
    /// [`LibraryError::Unknown`] with the nearest name, or all its mistakes.
    pub fn get(&self, name: &str) -> Result<Arc<Definition>, LibraryError> {
        let entry = self
            .entries
            .get(name)
            .ok_or_else(|| LibraryError::Unknown {
                name: name.to_owned(),
                known: self.entries.keys().cloned().collect(),
            })?;
        let checked = entry
            .checked
            .get_or_init(|| self.compile(&entry.file, &entry.text).map(Arc::new));
        checked.clone().map_err(LibraryError::Invalid)
    }

    /// The tasks that definitions may name.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }
}

impl Catalog for Library {
    fn task(&self, name: &str) -> Option<TaskSignature<'_>> {
        self.registry.spec(name).map(|spec| TaskSignature {
            input_schema: &spec.input_schema,
        })
    }

    fn task_names(&self) -> Vec<String> {
        self.registry
            .specs()
            .map(|spec| spec.name.to_string())
            .collect()
    }

    fn workflow(&self, name: &str) -> Option<WorkflowSignature<'_>> {
        let entry = self.entries.get(name)?;
        let shallow = entry.shallow.get_or_init(|| {
            Workflow::parse(
                &Source {
                    file: &entry.file,
                    text: &entry.text,
                },
                &AnyCatalog,
            )
            .ok()
        });
        // One with mistakes of its own is reported where it is asked for.
        Some(
            shallow
                .as_ref()
                .map_or_else(WorkflowSignature::default, signature),
        )
    }

    fn workflow_names(&self) -> Vec<String> {
        self.entries.keys().cloned().collect()
    }
}

fn signature(workflow: &Workflow) -> WorkflowSignature<'_> {
    let inputs: Option<&Map<String, Value>> = Some(&workflow.inputs);
    let steps = workflow.steps.iter().chain(workflow.on_failure.as_deref());
    let runs = steps
        .filter_map(|step| match &step.action {
            StepAction::Workflow(name) => Some(name.as_str()),
            StepAction::Task(_) => None,
        })
        .collect();
    WorkflowSignature { inputs, runs }
}

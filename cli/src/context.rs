//! What every command works with: the settings, the definitions, the engine.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use aquatint_api::Api;
use aquatint_engine::engine::{Cleaned, Upkeep};
use aquatint_engine::health::{HealthReport, Limits};
use aquatint_engine::id::QueueName;
use aquatint_engine::library::LibraryError;
use aquatint_engine::task::TaskError;
use aquatint_engine::workflow::{Action, Plan};
use aquatint_engine::{Engine, EngineError, Library, Registry, WorkerConfig};

use aquatint_tasks::maintenance::{Answer, House};
use aquatint_tasks::webhook_deliver::{Found, Hook, Hooks};

use secrecy::{ExposeSecret as _, SecretString};

use crate::config::Settings;
use crate::exit::{Exit, Result};
use crate::output;

/// The world as the flags and the configuration describe it.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) settings: Settings,
    /// Whether people asked for silence.
    pub(crate) quiet: bool,
    /// Once it is open: for tasks that look something up by it.
    pub(crate) engine: Arc<OnceLock<Engine>>,
}

/// The webhooks that the store knows, and the one of the configuration.
#[derive(Debug)]
struct Webhooks {
    engine: Arc<OnceLock<Engine>>,
    alerts: Option<(String, SecretString)>,
}

/// What the configuration's own webhook is called.
const ALERTS: &str = "alerts";

/// The installation that the engine is part of.
#[derive(Debug)]
struct Installation {
    engine: Arc<OnceLock<Engine>>,
    limits: Limits,
}

impl Installation {
    fn engine(&self) -> std::result::Result<Engine, TaskError> {
        let engine = self.engine.get().cloned();
        engine.ok_or_else(|| TaskError::retryable("store", "no store is open"))
    }
}

impl House for Installation {
    fn clean(&self, upkeep: Upkeep) -> Answer<Cleaned> {
        let engine = self.engine();
        Box::pin(async move {
            let cleaned = engine?.clean(&upkeep).await;
            cleaned.map_err(|error| TaskError::retryable("store", error.to_string()))
        })
    }

    fn look(&self) -> Answer<HealthReport> {
        let (engine, limits) = (self.engine(), self.limits.clone());
        Box::pin(async move { Ok(engine?.health(&limits).await) })
    }
}

impl Hooks for Webhooks {
    fn find(&self, id: &str) -> Found {
        if let Some((url, secret)) = self.alerts.as_ref().filter(|_| id == ALERTS) {
            let hook = Hook::new(url.clone(), secret.expose_secret().to_owned());
            return Box::pin(std::future::ready(Ok(Some(hook))));
        }
        let (engine, id) = (self.engine.get().cloned(), id.to_owned());
        Box::pin(async move {
            let away = |why: String| {
                TaskError::retryable("store", format!("the webhook cannot be looked up: {why}"))
            };
            let engine = engine.ok_or_else(|| away("no store is open".to_owned()))?;
            let found = Api::webhook(&engine, &id)
                .await
                .map_err(|error| away(error.to_string()))?;
            Ok(found.map(|(url, secret)| Hook::new(url, secret)))
        })
    }
}

impl Context {
    /// Every task this program has.
    pub(crate) fn registry(&self) -> Registry {
        let mut registry = Registry::new();
        aquatint_tasks::register_all(&mut registry, &self.settings.tasks);
        let hooks = Arc::new(Webhooks {
            engine: Arc::clone(&self.engine),
            alerts: self.settings.alerts.webhook.clone(),
        });
        let allow_private = self.settings.api.allow_private_webhooks;
        aquatint_tasks::register_webhooks(&mut registry, hooks, allow_private);
        aquatint_tasks::register_email(&mut registry, self.settings.smtp.clone());
        let house = Installation {
            engine: Arc::clone(&self.engine),
            limits: self.settings.alerts.limits.clone(),
        };
        let house: Arc<dyn House> = Arc::new(house);
        aquatint_tasks::register_house(&mut registry, &house);
        registry
    }

    /// The definitions that ship, and over them those of the configured folders.
    pub(crate) fn library(&self) -> Result<Library> {
        let mut library = Library::new(self.registry());
        for embedded in aquatint_workflows::all() {
            library.add(embedded.name(), embedded.file_name, embedded.text);
        }
        for folder in &self.settings.definitions {
            for error in library.add_folder(folder)? {
                add_broken(&mut library, &error);
            }
        }
        Ok(library)
    }

    /// Opens the store.
    pub(crate) async fn open(&self, library: Library) -> Result<Engine> {
        Ok(self.try_open(library).await?)
    }

    /// Opens the store, and says why it cannot.
    pub(crate) async fn try_open(
        &self,
        library: Library,
    ) -> std::result::Result<Engine, EngineError> {
        let engine = Engine::open(self.settings.engine(), library).await?;
        // A command opens one engine; were there another, either knows the webhooks.
        let _ = self.engine.set(engine.clone());
        Ok(engine)
    }

    /// Opens the store for looking and steering, where no definition is needed.
    pub(crate) async fn open_store(&self) -> Result<Engine> {
        self.open(Library::new(Registry::new())).await
    }

    /// A worker for these queues, each with its slots.
    pub(crate) fn worker(&self, queues: impl IntoIterator<Item = QueueName>) -> WorkerConfig {
        WorkerConfig::new(queues.into_iter().map(|queue| {
            let slots = self.settings.slots(&queue);
            (queue, slots)
        }))
    }

    /// Says something on stderr, unless silence was asked for.
    pub(crate) fn say(&self, text: &str) {
        if !self.quiet {
            output::note(text);
        }
    }
}

/// Keeps a file with mistakes under the name it seems to have, so that whoever
/// asks for it sees the mistakes rather than nothing, or a shipped namesake.
fn add_broken(library: &mut Library, error: &LibraryError) {
    let LibraryError::Invalid(diagnostics) = error else {
        output::warning(&error.to_string());
        return;
    };
    let Some(file) = diagnostics.iter().next().map(|d| d.file.clone()) else {
        return;
    };
    let Ok(text) = std::fs::read_to_string(&file) else {
        return;
    };
    let stem = Path::new(&file)
        .file_stem()
        .and_then(|s| s.to_str())
        .unwrap_or("?")
        .to_owned();
    let name = text.lines().find_map(|line| {
        let rest = line
            .strip_prefix("name")?
            .trim_start()
            .strip_prefix([':', '='])?;
        Some(
            rest.split('#')
                .next()?
                .trim()
                .trim_matches(['"', '\''])
                .to_owned(),
        )
    });
    library.add(&name.filter(|n| !n.is_empty()).unwrap_or(stem), file, text);
}

/// Whether an argument means a definition file rather than a name.
pub(crate) fn is_file(what: &str) -> bool {
    let extension = Path::new(what).extension().and_then(|e| e.to_str());
    what.contains('/') || matches!(extension, Some("yaml" | "yml" | "toml"))
}

/// Adds the file where one is meant; gives the workflow's name.
pub(crate) fn name_of(library: &mut Library, what: &str) -> Result<String> {
    if is_file(what) {
        Ok(library.add_file(Path::new(what))?.to_string())
    } else {
        Ok(what.to_owned())
    }
}

/// The queues that a workflow and those it runs as steps wait in.
pub(crate) fn queues_of(library: &Library, plan: &Plan) -> Result<BTreeSet<QueueName>> {
    let (mut queues, mut seen) = (BTreeSet::new(), BTreeSet::new());
    let mut waiting = Vec::new();
    collect(plan, &mut queues, &mut waiting);
    while let Some(name) = waiting.pop() {
        if seen.insert(name.clone()) {
            let definition = library.get(&name).map_err(Exit::from)?;
            collect(&definition.plan, &mut queues, &mut waiting);
        }
    }
    Ok(queues)
}

fn collect(plan: &Plan, queues: &mut BTreeSet<QueueName>, waiting: &mut Vec<String>) {
    for step in &plan.steps {
        match &step.action {
            Action::Task(_) => {
                queues.insert(step.queue.clone());
            }
            Action::Workflow(name) => waiting.push(name.to_string()),
            Action::Outputs => {}
        }
    }
}

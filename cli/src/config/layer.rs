//! The layers settings come from: defaults, files, environment, flags.

use std::env;
use std::path::{Path, PathBuf};

use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider, Source};

use aquatint_engine::PostgresUrl;

use super::{Flags, Origin, name};
use crate::exit::{Exit, Result};

/// One layer: values, and what it is called.
pub(super) struct Layer {
    name: String,
    file: Option<PathBuf>,
    /// May hold secrets: not to be shown.
    values: Dict,
}

impl std::fmt::Debug for Layer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Layer")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Layer {
    /// Values from outside the configuration, by their dotted keys.
    pub(super) fn ambient(name: &str, found: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut values = Dict::new();
        for (key, value) in found {
            insert(&mut values, &key, value.into());
        }
        Self {
            name: name.to_owned(),
            file: None,
            values,
        }
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        let metadata = Metadata::named(self.name.clone());
        match &self.file {
            Some(file) => metadata.source(Source::File(file.clone())),
            None => metadata,
        }
    }

    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        Ok(Map::from([(Profile::Default, self.values.clone())]))
    }
}

/// How a variable's text is read.
#[derive(Debug, Clone, Copy)]
enum Shape {
    Text,
    Path,
    /// Separated by colons, as in `PATH`.
    Paths,
    /// Separated by commas.
    Words,
    Number,
    Bool,
}

/// Every variable that is a setting.
const VARIABLES: &[(&str, &str, Shape)] = &[
    ("AQUATINT_DATA_DIR", "data_dir", Shape::Path),
    ("AQUATINT_DATABASE_URL", "database_url", Shape::Text),
    ("AQUATINT_REDIS_URL", "redis_url", Shape::Text),
    ("AQUATINT_NAMESPACE", "namespace", Shape::Text),
    ("AQUATINT_ARTIFACTS", "artifacts", Shape::Text),
    ("AQUATINT_S3_ENDPOINT", "s3.endpoint", Shape::Text),
    ("AQUATINT_S3_REGION", "s3.region", Shape::Text),
    ("AQUATINT_S3_ACCESS_KEY_ID", "s3.access_key_id", Shape::Text),
    (
        "AQUATINT_S3_SECRET_ACCESS_KEY",
        "s3.secret_access_key",
        Shape::Text,
    ),
    ("AQUATINT_S3_SESSION_TOKEN", "s3.session_token", Shape::Text),
    ("AQUATINT_S3_ALLOW_HTTP", "s3.allow_http", Shape::Bool),
    ("AQUATINT_S3_CACHE_BYTES", "s3.cache_bytes", Shape::Number),
    ("AQUATINT_LISTEN", "listen", Shape::Text),
    ("AQUATINT_PUBLIC_URL", "api.public_url", Shape::Text),
    ("AQUATINT_CORS_ORIGINS", "api.cors_origins", Shape::Words),
    ("AQUATINT_API_MAX_BODY", "api.max_body", Shape::Text),
    ("AQUATINT_API_MAX_FILE", "api.max_file", Shape::Text),
    ("AQUATINT_API_MAX_PIXELS", "api.max_pixels", Shape::Number),
    (
        "AQUATINT_API_REQUESTS_PER_SECOND",
        "api.requests_per_second",
        Shape::Number,
    ),
    (
        "AQUATINT_API_ALLOW_DEFINITIONS",
        "api.allow_definitions",
        Shape::Bool,
    ),
    (
        "AQUATINT_API_ALLOW_PRIVATE_WEBHOOKS",
        "api.allow_private_webhooks",
        Shape::Bool,
    ),
    (
        "AQUATINT_API_RESULT_RETENTION",
        "api.result_retention",
        Shape::Text,
    ),
    ("AQUATINT_QUEUES", "queues", Shape::Text),
    ("AQUATINT_LABELS", "labels", Shape::Words),
    ("AQUATINT_MEMORY", "memory", Shape::Text),
    ("AQUATINT_MAX_TASKS", "max_tasks", Shape::Number),
    ("AQUATINT_MAX_RSS", "max_rss", Shape::Text),
    ("AQUATINT_SMTP_URL", "smtp.url", Shape::Text),
    ("AQUATINT_SMTP_PASSWORD", "smtp.password", Shape::Text),
    ("AQUATINT_SMTP_FROM", "smtp.from", Shape::Text),
    ("AQUATINT_SMTP_HELLO", "smtp.hello", Shape::Text),
    ("AQUATINT_SMTP_ALLOW_PLAIN", "smtp.allow_plain", Shape::Bool),
    (
        "AQUATINT_SMTP_ALLOWED_RECIPIENTS",
        "smtp.allowed_recipients",
        Shape::Words,
    ),
    ("AQUATINT_DEFINITIONS", "definitions", Shape::Paths),
    ("AQUATINT_DURABILITY", "durability", Shape::Text),
    ("AQUATINT_LEASE", "lease", Shape::Text),
    (
        "AQUATINT_TASKS_HTTP_ALLOWED_HOSTS",
        "tasks.http.allowed_hosts",
        Shape::Words,
    ),
    (
        "AQUATINT_TASKS_HTTP_ALLOW_PRIVATE",
        "tasks.http.allow_private",
        Shape::Bool,
    ),
    (
        "AQUATINT_TASKS_HTTP_MAX_RESPONSE_BYTES",
        "tasks.http.max_response_bytes",
        Shape::Number,
    ),
    (
        "AQUATINT_TASKS_COMMAND_ALLOWED_PROGRAMS",
        "tasks.command.allowed_programs",
        Shape::Paths,
    ),
    (
        "AQUATINT_TASKS_COMMAND_ALLOWED_ENV",
        "tasks.command.allowed_env",
        Shape::Words,
    ),
];

/// Variables with a meaning that are no settings.
const OTHERS: [&str; 3] = ["AQUATINT_LOG", "AQUATINT_CONFIG", super::EARLIER_SLOTS];

/// The directory that an XDG variable or its default names.
fn xdg(variable: &str, below_home: &str) -> Option<PathBuf> {
    let set = env::var_os(variable)
        .map(PathBuf::from)
        .filter(|path| path.is_absolute());
    set.or_else(|| {
        Some(
            env::home_dir()
                .filter(|home| !home.as_os_str().is_empty())?
                .join(below_home),
        )
    })
}

pub(super) fn defaults() -> Result<Layer> {
    let mut values = Dict::new();
    if let Some(data) = xdg("XDG_DATA_HOME", ".local/share") {
        values.insert(
            "data_dir".to_owned(),
            text(&data.join("aquatint"), "the home directory")?,
        );
    }
    values.insert("definitions".to_owned(), Value::from(Vec::<String>::new()));
    values.insert("durability".to_owned(), "full".into());
    values.insert("namespace".to_owned(), "aquatint".into());
    values.insert("lease".to_owned(), "15s".into());
    Ok(Layer {
        name: "default".to_owned(),
        file: None,
        values,
    })
}

/// The configuration files that are there; the later one counts more.
pub(super) fn files(named: Option<&Path>) -> Result<Vec<Layer>> {
    let named = named
        .map(Path::to_owned)
        .or_else(|| env::var_os("AQUATINT_CONFIG").map(PathBuf::from));
    if let Some(path) = named {
        let layer = file(&path)?;
        return layer.map(|l| vec![l]).ok_or_else(|| {
            Exit::Usage(format!("there is no configuration file {}", path.display()))
        });
    }
    let home = xdg("XDG_CONFIG_HOME", ".config").map(|config| config.join("aquatint/config.toml"));
    let here = PathBuf::from("aquatint.toml");
    let found = home
        .into_iter()
        .chain([here])
        .map(|path| file(&path))
        .collect::<Result<Vec<_>>>()?;
    Ok(found.into_iter().flatten().collect())
}

fn file(path: &Path) -> Result<Option<Layer>> {
    let content = match std::fs::read_to_string(path) {
        Ok(content) => content,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Exit::file("read the configuration", path, &error)),
    };
    let table: toml::Table = toml::from_str(&content).map_err(|error: toml::de::Error| {
        let line = error.span().map_or(1, |span| {
            content[..span.start.min(content.len())]
                .lines()
                .count()
                .max(1)
        });
        Exit::Usage(format!("{}:{line}: {}", path.display(), error.message()))
    })?;
    let value = Value::serialize(table)
        .map_err(|error| Exit::Usage(format!("{}: {error}", path.display())))?;
    let mut values = value.into_dict().unwrap_or_default();
    // A path in a file is meant from where the file is.
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    for key in ["data_dir", "definitions", "artifacts"] {
        let value = values.get_mut(key);
        if let Some(value) = value.filter(|v| !v.as_str().is_some_and(|v| v.contains("://"))) {
            rebase(value, folder);
        }
    }
    Ok(Some(Layer {
        name: path.display().to_string(),
        file: Some(path.to_owned()),
        values,
    }))
}

fn rebase(value: &mut Value, folder: Option<&Path>) {
    match value {
        Value::String(_, path) => {
            let from_home = path
                .strip_prefix("~/")
                .and_then(|rest| Some(env::home_dir()?.join(rest)));
            let full = from_home.or_else(|| Some(folder?.join(&*path)));
            if let Some(full) = full.as_deref().and_then(Path::to_str) {
                full.clone_into(path);
            }
        }
        Value::Array(_, paths) => paths.iter_mut().for_each(|path| rebase(path, folder)),
        Value::Char(..) | Value::Bool(..) | Value::Num(..) | Value::Empty(..) | Value::Dict(..) => {
        }
    }
}

/// The settings of a profile, as a layer of their own.
pub(super) fn profile(figment: &Figment, name: &str) -> Result<Layer> {
    let all: Dict = figment.extract_inner("profiles").unwrap_or_default();
    let Some(values) = all.get(name).and_then(Value::as_dict) else {
        let near = name::nearest(name, all.keys().map(String::as_str));
        let help = match (near, all.is_empty()) {
            (Some(near), _) => format!("did you mean `{near}`?"),
            (None, true) => format!(
                "write one into aquatint.toml: `[profiles.{name}]`, and below it `queues = \"gpu:1\"`"
            ),
            (None, false) => {
                let names: Vec<&str> = all.keys().map(String::as_str).collect();
                format!("there are: {}", names.join(", "))
            }
        };
        return Err(Exit::Usage(format!(
            "--profile: there is no profile `{name}`; {help}"
        )));
    };
    let metadata = figment.find_metadata(&format!("profiles.{name}"));
    let file = metadata.map_or_else(String::new, |m| format!("{}: ", m.name));
    Ok(Layer {
        name: format!("{file}profiles.{name}"),
        file: None,
        values: values.clone(),
    })
}

pub(super) fn environment() -> Result<Layer> {
    let mut values = Dict::new();
    for (variable, key, shape) in VARIABLES {
        let Some(raw) = env::var_os(variable) else {
            continue;
        };
        let raw = raw
            .into_string()
            .map_err(|_| Exit::Usage(format!("{variable}: expected UTF-8 text")))?;
        // An empty variable is a way to say "not set".
        if !raw.is_empty() {
            insert(&mut values, key, read(variable, &raw, *shape)?);
        }
    }
    let known = || VARIABLES.iter().map(|(v, _, _)| *v).chain(OTHERS);
    for (variable, _) in env::vars_os() {
        let Some(variable) = variable.to_str().filter(|v| v.starts_with("AQUATINT_")) else {
            continue;
        };
        if !known().any(|k| k == variable)
            && let Some(near) = name::nearest(variable, known())
        {
            return Err(Exit::Usage(format!(
                "{variable}: there is no such setting; did you mean `{near}`?"
            )));
        }
    }
    Ok(Layer {
        name: "environment".to_owned(),
        file: None,
        values,
    })
}

fn read(variable: &str, raw: &str, shape: Shape) -> Result<Value> {
    let wrong =
        |expected: &str| Exit::Usage(format!("{variable}: expected {expected}, got `{raw}`"));
    let list = |separator: char| {
        Value::from(
            raw.split(separator)
                .map(str::trim)
                .filter(|p| !p.is_empty())
                .collect::<Vec<_>>(),
        )
    };
    Ok(match shape {
        Shape::Text | Shape::Path => raw.into(),
        Shape::Paths => list(':'),
        Shape::Words => list(','),
        Shape::Number => raw
            .parse::<u64>()
            .map_err(|_| wrong("a whole number"))?
            .into(),
        Shape::Bool => raw
            .parse::<bool>()
            .map_err(|_| wrong("true or false"))?
            .into(),
    })
}

pub(super) fn flags(flags: &Flags) -> Result<Layer> {
    let mut values = Dict::new();
    if let Some(path) = &flags.data_dir {
        values.insert("data_dir".to_owned(), text(path, "--data-dir")?);
    }
    if !flags.definitions.is_empty() {
        let paths = flags
            .definitions
            .iter()
            .map(|p| text(p, "--definitions"))
            .collect::<Result<Vec<_>>>()?;
        values.insert("definitions".to_owned(), Value::from(paths));
    }
    if let Some(listen) = &flags.listen {
        values.insert("listen".to_owned(), listen.as_str().into());
    }
    if let Some(queues) = &flags.queues {
        values.insert("queues".to_owned(), queues.as_str().into());
    }
    let worker = &flags.worker;
    if let Some(labels) = &worker.labels {
        let labels = labels.split(',').map(str::trim).filter(|l| !l.is_empty());
        values.insert("labels".to_owned(), Value::from(labels.collect::<Vec<_>>()));
    }
    for (key, text) in [("memory", &worker.memory), ("max_rss", &worker.max_rss)] {
        if let Some(text) = text {
            values.insert(key.to_owned(), text.as_str().into());
        }
    }
    if let Some(most) = worker.max_tasks {
        values.insert("max_tasks".to_owned(), most.into());
    }
    Ok(Layer {
        name: "flag".to_owned(),
        file: None,
        values,
    })
}

fn text(path: &Path, what: &str) -> Result<Value> {
    let text = path.to_str().ok_or_else(|| {
        Exit::Usage(format!(
            "{what}: expected a path in UTF-8, got {}",
            path.display()
        ))
    })?;
    Ok(text.into())
}

/// Puts a value under a dotted key.
fn insert(values: &mut Dict, key: &str, value: Value) {
    match key.split_once('.') {
        None => {
            values.insert(key.to_owned(), value);
        }
        Some((head, rest)) => {
            let inner = values
                .entry(head.to_owned())
                .or_insert_with(|| Dict::new().into());
            if let Value::Dict(_, inner) = inner {
                insert(inner, rest, value);
            }
        }
    }
}

/// Where a key's value comes from: a flag, a variable, a file or the default.
pub(super) fn origin(figment: &Figment, key: &str) -> String {
    let Some(metadata) = figment.find_metadata(key) else {
        return "default".to_owned();
    };
    named(&metadata.name, key)
}

fn named(layer: &str, key: &str) -> String {
    let variable = VARIABLES
        .iter()
        .find(|(_, k, _)| *k == key)
        .map(|(v, _, _)| *v);
    match layer {
        "environment" => variable.unwrap_or("environment").to_owned(),
        "flag" => format!("--{}", key.replace('_', "-")),
        other => other.to_owned(),
    }
}

/// Where an error's value comes from.
pub(super) fn place(figment: &Figment, error: &figment::Error) -> String {
    let key = error.path.join(".");
    let metadata = error
        .metadata
        .as_ref()
        .or_else(|| figment.find_metadata(&key));
    metadata.map_or_else(|| "configuration".to_owned(), |m| named(&m.name, &key))
}

/// Every value with its place; what could be a secret is not shown.
pub(super) fn origins(figment: &Figment) -> Vec<Origin> {
    let mut found = Vec::new();
    if let Ok(all) = figment.extract::<Dict>() {
        walk(figment, "", &all, &mut found);
    }
    found
}

fn walk(figment: &Figment, prefix: &str, values: &Dict, found: &mut Vec<Origin>) {
    for (key, value) in values {
        let key = if prefix.is_empty() {
            key.clone()
        } else {
            format!("{prefix}.{key}")
        };
        if let Value::Dict(_, inner) = value {
            walk(figment, &key, inner, found);
            continue;
        }
        let value = if is_secret(&key) {
            "(hidden)".to_owned()
        } else if key.ends_with("_url") || key.ends_with(".url") {
            let url = shown(value);
            if url.starts_with("sqlite:") {
                url
            } else if !url.contains("://") {
                "(hidden)".to_owned()
            } else {
                PostgresUrl::new(url).to_string()
            }
        } else {
            shown(value)
        };
        let from = origin(figment, &key);
        found.push(Origin { key, value, from });
    }
}

/// Whether a key's value could be a secret, by the words in it.
pub(super) fn is_secret(key: &str) -> bool {
    let key = key.to_lowercase();
    ["token", "secret", "password", "key"]
        .iter()
        .any(|word| key.contains(word))
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(_, text) => text.clone(),
        Value::Array(_, items) if items.is_empty() => "(none)".to_owned(),
        Value::Array(_, items) => items.iter().map(shown).collect::<Vec<_>>().join(", "),
        other => serde_json::to_string(other).unwrap_or_default(),
    }
}

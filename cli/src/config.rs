//! Settings: flag before `AQUATINT_*` before file before default.
//!
//! The only place that reads the environment. Where each value came from is
//! kept, so that `aquatint doctor` can say it.

mod alerts;
mod api;
mod layer;
mod name;
mod smtp;
mod storage;
mod worker;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use aquatint_engine::artifact::ArtifactPlace;
use aquatint_engine::config::{RedisConfig, parse_queues};
use aquatint_engine::id::QueueName;
use aquatint_engine::{Database, Durability, EngineConfig, PostgresUrl};
use figment::Figment;
use figment::error::Kind;
use serde::Deserialize;

use crate::exit::{Exit, Result};

pub(crate) use alerts::AlertSettings;
pub(crate) use api::ApiSettings;
pub(crate) use name::nearest;
pub(crate) use worker::{EARLIER_SLOTS, WorkerFlags, WorkerSettings};

/// What flags say, for every command.
#[derive(Debug, Clone, Default)]
pub(crate) struct Flags {
    pub(crate) config: Option<PathBuf>,
    pub(crate) data_dir: Option<PathBuf>,
    pub(crate) definitions: Vec<PathBuf>,
    pub(crate) queues: Option<String>,
    pub(crate) worker: WorkerFlags,
    pub(crate) listen: Option<String>,
}

/// What an installation is set to.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) data_dir: PathBuf,
    /// Where the truth is kept; the data directory's own file where nothing is said.
    pub(crate) database: Option<Database>,
    /// The doorbell of a cluster.
    pub(crate) redis: Option<String>,
    /// Which of a Redis' users share a doorbell.
    pub(crate) namespace: String,
    pub(crate) artifacts: ArtifactPlace,
    /// Slots by queue, where they are not to be the default.
    pub(crate) queues: Option<Vec<(QueueName, u32)>>,
    /// What `aquatint worker` is like, queues aside.
    pub(crate) worker: WorkerSettings,
    /// What `aquatint serve` is like.
    pub(crate) api: ApiSettings,
    pub(crate) definitions: Vec<PathBuf>,
    pub(crate) durability: Durability,
    pub(crate) lease: Duration,
    pub(crate) tasks: aquatint_tasks::Options,
    /// The server that mail is sent by.
    pub(crate) smtp: Option<aquatint_tasks::email_send::Server>,
    /// What is too much, and who is told.
    pub(crate) alerts: AlertSettings,
    layers: Layers,
}

/// Every layer, secrets included: not to be shown.
struct Layers(Figment);

impl std::fmt::Debug for Layers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Layers")
    }
}

/// One setting, as `doctor` shows it.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Origin {
    pub(crate) key: String,
    pub(crate) value: String,
    pub(crate) from: String,
}

/// The file's keys.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    data_dir: PathBuf,
    #[serde(default)]
    database_url: Option<String>,
    #[serde(default)]
    redis_url: Option<String>,
    namespace: String,
    #[serde(default)]
    artifacts: Option<String>,
    #[serde(default)]
    s3: storage::S3Keys,
    #[serde(default)]
    listen: Option<String>,
    #[serde(default)]
    api: api::ApiKeys,
    #[serde(default)]
    queues: Option<String>,
    #[serde(default)]
    labels: Vec<String>,
    #[serde(default)]
    memory: Option<String>,
    #[serde(default)]
    max_tasks: Option<u64>,
    #[serde(default)]
    max_rss: Option<String>,
    #[serde(default)]
    profiles: BTreeMap<String, worker::Profile>,
    definitions: Vec<PathBuf>,
    durability: Durability,
    lease: String,
    #[serde(default)]
    tasks: aquatint_tasks::Options,
    #[serde(default)]
    smtp: smtp::SmtpKeys,
    #[serde(default)]
    health: alerts::HealthKeys,
    #[serde(default)]
    alerts: alerts::AlertKeys,
}

impl Settings {
    /// Reads everything that may say something.
    pub(crate) fn load(flags: &Flags) -> Result<Self> {
        let mut figment = Figment::from(layer::defaults()?);
        for file in layer::files(flags.config.as_deref())? {
            figment = figment.merge(file);
        }
        if let Some(profile) = &flags.worker.profile {
            let profile = layer::profile(&figment, profile)?;
            figment = figment.merge(profile);
        }
        let figment = figment
            .merge(layer::environment()?)
            .merge(layer::flags(flags)?);
        // What other programs share with us counts least, and only where there is a bucket.
        let figment = match storage::ambient(&figment) {
            Some(ambient) => Figment::from(ambient).merge(figment),
            None => figment,
        };
        let keys: Keys = figment
            .extract()
            .map_err(|error| explain(&figment, &error))?;
        // A flag and a variable are the setting's name; a file holds many settings.
        let at = |key: &str| match layer::origin(&figment, key) {
            name if name.starts_with("--") || name.starts_with("AQUATINT_") => name,
            file => format!("{file}: {key}"),
        };
        let queues = keys.queues.as_deref().map(parse_queues).transpose();
        let queues = queues.map_err(|error| {
            let message = error.to_string();
            let message = message.strip_prefix("queues: ").unwrap_or(&message);
            Exit::Usage(format!("{}: {message}", at("queues")))
        })?;
        let worker = WorkerSettings::read(&keys, &at)?;
        let smtp = smtp::server(keys.smtp, &at)?;
        let alerts = AlertSettings::read(&keys.health, keys.alerts, &at)?;
        let api = ApiSettings::read(keys.listen.as_deref(), keys.api, &at)?;
        let lease = humantime::parse_duration(&keys.lease)
            .ok()
            .filter(|lease| *lease >= Duration::from_secs(1));
        let lease = lease.ok_or_else(|| {
            Exit::Usage(format!(
                "{}: expected a duration of at least 1s, got `{}`; example: 15s",
                at("lease"),
                keys.lease
            ))
        })?;
        let database = keys.database_url.as_deref().map(database).transpose();
        let database = database
            .map_err(|message| Exit::Usage(format!("{}: {message}", at("database_url"))))?;
        match (&database, &keys.redis_url) {
            (Some(Database::Postgres(_)), None) => {
                return Err(Exit::Usage(format!(
                    "{}: a PostgreSQL is shared by processes that ring at each other's door; set AQUATINT_REDIS_URL=redis://host:6379 too, or keep to sqlite:PATH",
                    at("database_url")
                )));
            }
            (None | Some(Database::Sqlite { .. }), Some(_)) => {
                return Err(Exit::Usage(format!(
                    "{}: a Redis is of no use to a database that is one machine's file; set AQUATINT_DATABASE_URL=postgres://user@host/database too, or leave Redis out",
                    at("redis_url")
                )));
            }
            _ => {}
        }
        let is_name = !keys.namespace.is_empty()
            && keys.namespace.len() <= 40
            && keys
                .namespace
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
        if !is_name {
            return Err(Exit::Usage(format!(
                "{}: expected 1 to 40 letters, digits, `-` or `_`, got `{}`",
                at("namespace"),
                keys.namespace
            )));
        }
        let artifacts = storage::place(keys.artifacts.as_deref(), keys.s3).map_err(|error| {
            // What is missing is missed by the bucket, so that is the setting to name.
            let is_set = figment.find_value(error.setting).is_ok();
            let setting = if is_set { error.setting } else { "artifacts" };
            Exit::Usage(format!("{}: {error}", at(setting)))
        })?;
        Ok(Self {
            artifacts,
            // Absolute, so that the paths we print are good from everywhere.
            data_dir: std::path::absolute(&keys.data_dir)
                .map_err(|error| Exit::file("find", &keys.data_dir, &error))?,
            database,
            redis: keys.redis_url,
            namespace: keys.namespace,
            queues,
            worker,
            api,
            definitions: keys.definitions,
            durability: keys.durability,
            lease,
            tasks: keys.tasks,
            smtp,
            alerts,
            layers: Layers(figment),
        })
    }

    /// What the engine is to be told.
    pub(crate) fn engine(&self) -> EngineConfig {
        let mut config = EngineConfig::new(&self.data_dir);
        if let Some(database) = &self.database {
            config.database = database.clone();
        }
        if let Some(url) = &self.redis {
            config.doorbell = Some(RedisConfig::new(url, &self.namespace));
        }
        config.artifacts = self.artifacts.clone();
        config.durability = self.durability;
        config.lease = self.lease;
        config
    }

    /// Where runs are kept, as people say it; never with a password.
    pub(crate) fn place(&self) -> String {
        match &self.database {
            Some(Database::Postgres(url)) => url.to_string(),
            _ => self.data_dir.display().to_string(),
        }
    }

    /// How many tasks of a queue to run at a time, here.
    pub(crate) fn slots(&self, queue: &QueueName) -> u32 {
        let set = self.queues.iter().flatten().find(|(name, _)| name == queue);
        set.map_or_else(|| default_slots(queue.as_str()), |(_, slots)| *slots)
    }

    /// Every setting with its value and where that comes from.
    pub(crate) fn origins(&self) -> Vec<Origin> {
        layer::origins(&self.layers.0)
    }
}

/// What a database URL means.
fn database(url: &str) -> std::result::Result<Database, String> {
    match url.split_once(':') {
        Some(("sqlite", path)) => {
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() {
                return Err(
                    "`sqlite:` lacks the file; example: sqlite:/var/lib/aquatint/aquatint.db"
                        .to_owned(),
                );
            }
            let path = std::path::absolute(path).map_err(|error| error.to_string())?;
            Ok(Database::Sqlite { path })
        }
        Some(("postgres" | "postgresql", _)) => Ok(Database::Postgres(PostgresUrl::new(url))),
        // What is not understood is not repeated: it may hold a password.
        _ => Err("expected sqlite:PATH or postgres://user:password@host:5432/database".to_owned()),
    }
}

/// A picture takes the whole machine's memory bandwidth or one GPU; the rest is cheap.
fn default_slots(queue: &str) -> u32 {
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    match queue {
        "default" | "cpu" => u32::try_from(cores).unwrap_or(u32::MAX),
        "gpu" => 1,
        _ => 2,
    }
}

/// Says where a setting is wrong, and what would be right.
fn explain(figment: &Figment, error: &figment::Error) -> Exit {
    let key = error.path.join(".");
    let place = layer::place(figment, error);
    let message = match &error.kind {
        Kind::UnknownField(unknown, known) => {
            let near = name::nearest(unknown, known.iter().copied());
            let help = near.map_or_else(
                || format!("there are: {}", known.join(", ")),
                |near| format!("did you mean `{near}`?"),
            );
            format!(
                "there is no setting `{}`; {help}",
                error
                    .path
                    .iter()
                    .map(String::as_str)
                    .filter(|p| p != unknown)
                    .chain([unknown.as_str()])
                    .collect::<Vec<_>>()
                    .join(".")
            )
        }
        Kind::UnknownVariant(got, known) => {
            format!("{key}: expected one of {}, got `{got}`", known.join(", "))
        }
        // What is hidden elsewhere is not to be seen in an error either.
        Kind::InvalidType(_, expected) if layer::is_secret(&key) => {
            format!("{key}: expected {expected}")
        }
        Kind::InvalidType(got, expected) => format!("{key}: expected {expected}, got {got}"),
        Kind::MissingField(field) => format!("`{field}` is missing in `{key}`"),
        other => format!("{key}: {other}"),
    };
    Exit::Usage(format!("{place}: {message}"))
}

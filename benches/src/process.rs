//! A worker in a process of its own, as a cluster has them.

use std::error::Error;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use aquatint_engine::config::RedisConfig;
use aquatint_engine::{Database, Engine, EngineConfig, PostgresUrl};
use serde::{Deserialize, Serialize};

use crate::workloads;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Where a worker process finds its work. Travels by an environment variable: it holds passwords.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) database: String,
    pub(crate) redis: String,
    pub(crate) namespace: String,
    pub(crate) data_dir: PathBuf,
    pub(crate) slots: u32,
}

/// The variable that makes this program a worker.
const VARIABLE: &str = "AQUATINT_BENCH_WORKER";

/// A running worker; it ends when its standard input does.
pub(crate) struct Process(Child);

impl Process {
    /// Starts one, and waits until it serves.
    pub(crate) fn start(place: &Place) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .env(VARIABLE, serde_json::to_string(place)?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().ok_or("a worker has an output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let process = Self(child);
        if line.trim() == "serving" {
            Ok(process)
        } else {
            process.stop()?;
            Err("a worker process did not come up".into())
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    pub(crate) fn stop(mut self) -> Result<()> {
        drop(self.0.stdin.take());
        self.0.wait()?;
        Ok(())
    }
}

/// Whether this process was started as a worker, and for what.
pub(crate) fn place() -> Result<Option<Place>> {
    match std::env::var(VARIABLE) {
        Ok(place) => Ok(Some(serde_json::from_str(&place)?)),
        Err(_) => Ok(None),
    }
}

/// What a worker process does: serve until whoever started it lets go.
pub(crate) async fn work(place: Place) -> Result<()> {
    let mut config = EngineConfig::new(&place.data_dir);
    config.database = Database::Postgres(PostgresUrl::new(place.database));
    config.doorbell = Some(RedisConfig::new(place.redis, place.namespace));
    let engine = Engine::open(config, workloads::library()).await?;
    let worker = workloads::serve(&engine, place.slots).await?;
    println!("serving");
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    worker.stop().await;
    engine.close().await;
    Ok(())
}

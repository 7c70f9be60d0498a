//! What the API costs, measured as its clients see it: over HTTP, against a server in a process of its own.
//!
//! `cargo build --release -p aquatint && cargo run --release -p aquatint-benches --bin api` prints a table;
//! `--json FILE` writes the figures too. The server works on no-op runs all the while.

use std::error::Error;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use reqwest::Client;
use serde_json::{Value, json};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const DEFINITION: &str = "name: one\ninputs: { n: { type: integer, default: 0 } }\n\
    steps:\n  only: { task: core.echo, with: { value: \"${{ inputs.n }}\" } }\n";

/// Benchmarks of the API.
#[derive(Debug, Parser)]
struct Options {
    /// The program to measure.
    #[arg(long, default_value = "target/release/aquatint")]
    program: PathBuf,
    /// Write the figures as JSON to this file.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Concurrent clients.
    #[arg(long, default_value_t = 50)]
    clients: usize,
    /// Requests of each kind.
    #[arg(long, default_value_t = 20_000)]
    requests: usize,
    /// How often each client asks where clients are paced, ms; fifty that ask without a pause are measured too.
    #[arg(long, default_value_t = 25)]
    every_ms: u64,
    /// Runs in the store before lists are measured; they are submitted in batches first.
    #[arg(long, default_value_t = 100_000)]
    runs: usize,
    /// Event streams that are held open.
    #[arg(long, default_value_t = 1_000)]
    streams: usize,
}

/// A server of our own.
struct Server {
    child: Child,
    url: String,
    _folder: tempfile::TempDir,
}

impl Server {
    fn start(program: &PathBuf) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("one.yaml"), DEFINITION)?;
        let mut child = Command::new(program)
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--queues",
                "default:64,cpu:8",
            ])
            .arg("--data-dir")
            .arg(folder.path().join("data"))
            .arg("--definitions")
            .arg(folder.path())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| {
                format!(
                    "{}: {error}; build it with `cargo build --release -p aquatint`",
                    program.display()
                )
            })?;
        let stderr = child.stderr.take().ok_or("it has a stderr")?;
        let mut lines = BufReader::new(stderr).lines();
        let first = lines.next().ok_or("the server ended at once")??;
        // What follows must be read, or the server would stand still one day.
        std::thread::spawn(move || lines.for_each(drop));
        let url = first
            .split_whitespace()
            .find(|w| w.starts_with("http://"))
            .ok_or(first.clone())?;
        Ok(Self {
            child,
            url: url.trim_end_matches(';').to_owned(),
            _folder: folder,
        })
    }

    fn resident_mb(&self) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status
            .lines()
            .find(|l| l.starts_with("VmRSS"))
            .ok_or("no VmRSS")?;
        let kb: f64 = line.split_whitespace().nth(1).ok_or("no number")?.parse()?;
        Ok(kb / 1024.0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends `count` requests from `clients` clients, each of which begins one every `every`, or the next as soon as
/// the last is answered; how long each took, ms, sorted. A request that begins late, since the last took
/// long, counts from when it should have begun.
async fn load<F, Fut>(clients: usize, count: usize, every: Duration, send: F) -> Result<Vec<f64>>
where
    F: Fn(usize) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Result<()>> + Send,
{
    let mut loops = Vec::new();
    for client in 0..clients {
        let send = send.clone();
        loops.push(tokio::spawn(async move {
            let mut took = Vec::new();
            #[expect(clippy::cast_possible_truncation, reason = "clients are few")]
            let mut due = Instant::now() + every * client as u32 / clients as u32;
            for n in (client..count).step_by(clients) {
                if every > Duration::ZERO {
                    tokio::time::sleep_until(due.into()).await;
                } else {
                    due = Instant::now();
                }
                let began = due;
                due += every;
                send(n).await?;
                took.push(began.elapsed().as_secs_f64() * 1000.0);
            }
            Ok::<_, Box<dyn Error + Send + Sync>>(took)
        }));
    }
    let mut all = Vec::with_capacity(count);
    for one in loops {
        all.extend(one.await??);
    }
    all.sort_by(f64::total_cmp);
    Ok(all)
}

fn at(sorted: &[f64], share: f64) -> f64 {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index"
    )]
    let index = ((sorted.len() as f64 * share) as usize).min(sorted.len() - 1);
    sorted[index]
}

struct Report(Vec<Value>);

impl Report {
    fn add(&mut self, what: &str, value: f64, unit: &str, limit: f64) {
        let verdict = if value <= limit { "met" } else { "missed" };
        println!("{what:<52} {value:>10.2} {unit:<3} floor {limit:>7} {unit:<3} {verdict}");
        self.0
            .push(json!({ "what": what, "value": value, "unit": unit, "floor": limit }));
    }
}

async fn submit(client: &Client, url: &str, n: usize) -> Result<String> {
    let body = json!({ "workflow": "one", "inputs": { "n": n } });
    let answer = client
        .post(format!("{url}/api/v1/runs"))
        .body(body.to_string())
        .header("content-type", "application/json");
    let answer = answer.send().await?.error_for_status()?.text().await?;
    let run: Value = serde_json::from_str(&answer)?;
    Ok(run["id"].as_str().ok_or("no id")?.to_owned())
}

/// Asks, and reads the whole answer.
async fn get(client: &Client, address: &str) -> Result<()> {
    let answer = client.get(address).send().await?.error_for_status()?;
    answer.bytes().await?;
    Ok(())
}

async fn batch(client: &Client, url: &str, items: usize) -> Result<(String, Duration)> {
    let items: Vec<Value> = (0..items).map(|n| json!({ "n": n })).collect();
    let body = json!({ "workflow": "one", "items": items }).to_string();
    let began = Instant::now();
    let request = client
        .post(format!("{url}/api/v1/batches"))
        .body(body)
        .header("content-type", "application/json");
    let answer = request.send().await?.error_for_status()?.text().await?;
    let took = began.elapsed();
    let batch: Value = serde_json::from_str(&answer)?;
    Ok((batch["id"].as_str().ok_or("no id")?.to_owned(), took))
}

async fn ended(client: &Client, url: &str, id: &str) -> Result<()> {
    loop {
        let run = client
            .get(format!("{url}/api/v1/runs/{id}?wait=60"))
            .send()
            .await?
            .text()
            .await?;
        let run: Value = serde_json::from_str(&run)?;
        match run["state"].as_str() {
            Some("succeeded") => return Ok(()),
            Some("pending" | "running") => {}
            other => return Err(format!("the batch is {other:?}").into()),
        }
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::parse();
    let server = Server::start(&options.program)?;
    let url = server.url.clone();
    // The client wants one to be there, though nothing here is encrypted.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::builder().no_proxy().tls_certs_only([]).build()?;
    let mut report = Report(Vec::new());
    let load_average = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!(
        "{url}, {} clients, load before: {}",
        options.clients,
        load_average.trim()
    );

    // Of a server that has done nothing yet.
    let first = submit(&client, &url, 1).await?;
    ended(&client, &url, &first).await?;
    let before = server.resident_mb()?;
    let mut streams = Vec::with_capacity(options.streams);
    for _ in 0..options.streams {
        let stream = client
            .get(format!("{url}/api/v1/stream"))
            .send()
            .await?
            .error_for_status()?;
        streams.push(stream);
    }
    // Each hears of something, so that what it needs to send is there.
    submit(&client, &url, 2).await?;
    for stream in &mut streams {
        stream.chunk().await?.ok_or("a stream ended")?;
    }
    let after = server.resident_mb()?;
    drop(streams);
    println!("  (the server had {before:.0} MB before the streams)");
    report.add(
        &format!("{} open event streams, resident in all", options.streams),
        after,
        "MB",
        150.0,
    );
    // Warm: plans compiled, connections open.
    let ids: Vec<String> =
        futures_util::future::try_join_all((0..options.clients).map(|n| submit(&client, &url, n)))
            .await?;
    let paced = Duration::from_millis(options.every_ms);
    let paces = [
        (
            paced,
            format!("{} asking every {} ms", options.clients, options.every_ms),
        ),
        (
            Duration::ZERO,
            format!("{} without a pause", options.clients),
        ),
    ];
    for (every, who) in &paces {
        let (c, u) = (client.clone(), url.clone());
        let took = load(options.clients, options.requests, *every, move |n| {
            let (c, u) = (c.clone(), u.clone());
            async move { submit(&c, &u, n).await.map(drop) }
        })
        .await?;
        report.add(&format!("submit, {who}, p50"), at(&took, 0.5), "ms", 10.0);
        report.add(&format!("submit, {who}, p99"), at(&took, 0.99), "ms", 10.0);
    }

    // Status, while runs go on.
    let is_over = Arc::new(AtomicBool::new(false));
    let busy = {
        let (c, u, is_over) = (client.clone(), url.clone(), Arc::clone(&is_over));
        tokio::spawn(async move {
            let mut n = 0;
            while !is_over.load(Ordering::Relaxed) {
                submit(&c, &u, n).await?;
                n += 1;
            }
            Ok::<_, Box<dyn Error + Send + Sync>>(n)
        })
    };
    let known = Arc::new(ids);
    for (every, who) in &paces {
        let (c, u, known) = (client.clone(), url.clone(), Arc::clone(&known));
        let took = load(options.clients, options.requests, *every, move |n| {
            let (c, address) = (
                c.clone(),
                format!("{u}/api/v1/runs/{}", known[n % known.len()]),
            );
            async move { get(&c, &address).await }
        })
        .await?;
        report.add(&format!("status, {who}, p50"), at(&took, 0.5), "ms", 5.0);
        report.add(&format!("status, {who}, p99"), at(&took, 0.99), "ms", 5.0);
    }
    is_over.store(true, Ordering::Relaxed);
    let meanwhile = busy.await??;
    println!("  ({meanwhile} runs were submitted and done meanwhile)");

    let (id, took) = batch(&client, &url, 10_000).await?;
    report.add(
        "batch of 10,000 items accepted",
        took.as_secs_f64(),
        "s",
        2.0,
    );
    let began = Instant::now();
    ended(&client, &url, &id).await?;
    println!("  (and done {:.1} s later)", began.elapsed().as_secs_f64());

    let mut stored = 10_000;
    while stored < options.runs {
        let (id, _) = batch(&client, &url, 10_000).await?;
        ended(&client, &url, &id).await?;
        stored += 10_000;
    }
    for (what, query) in [
        ("newest 50", "limit=50&all=true"),
        ("failed", "state=failed&limit=50&all=true"),
        ("by workflow", "workflow=one&limit=50&all=true"),
        ("by a tag nobody used", "tag=nothing&limit=50"),
        (
            "a search that finds nothing",
            "q=nothing-at-all&limit=50&all=true",
        ),
    ] {
        let (c, address) = (client.clone(), format!("{url}/api/v1/runs?{query}"));
        let took = load(1, 50, Duration::ZERO, move |_| {
            let (c, address) = (c.clone(), address.clone());
            async move { get(&c, &address).await }
        })
        .await?;
        report.add(
            &format!("list of {stored} runs: {what}, p50"),
            at(&took, 0.5),
            "ms",
            50.0,
        );
    }

    if let Some(path) = &options.json {
        std::fs::write(path, serde_json::to_string_pretty(&report.0)?)?;
    }
    Ok(())
}

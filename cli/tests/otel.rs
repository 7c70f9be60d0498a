//! Spans, as a collector gets them: a listener that keeps what is sent to it.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const ECHO: &str = "name: echo\nsteps:\n  say: { task: core.echo, with: { value: 1 } }\n";

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// Takes what is posted to `/v1/traces`, and keeps the bodies: protobuf, in which texts and ids lie as they are.
struct Collector {
    address: SocketAddr,
    got: Arc<Mutex<Vec<u8>>>,
}

impl Collector {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let got = Arc::<Mutex<Vec<u8>>>::default();
        let kept = Arc::clone(&got);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let kept = Arc::clone(&kept);
                std::thread::spawn(move || serve(stream.unwrap(), &kept));
            }
        });
        Self { address, got }
    }

    fn has(&self, what: &[u8]) -> bool {
        let got = self.got.lock().unwrap();
        got.windows(what.len()).any(|window| window == what)
    }

    /// The program, told where to send spans to.
    fn program(&self, folder: &tempfile::TempDir) -> Command {
        let mut program = Command::new(env!("CARGO_BIN_EXE_aquatint"));
        program
            .current_dir(folder.path())
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", folder.path())
            .env("AQUATINT_DATA_DIR", folder.path().join("data"))
            .env(
                "OTEL_EXPORTER_OTLP_ENDPOINT",
                format!("http://{}", self.address),
            );
        program
    }
}

/// One connection, with as many requests as come by it.
fn serve(stream: TcpStream, kept: &Mutex<Vec<u8>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    loop {
        let (mut first, mut length) = (String::new(), 0);
        if reader.read_line(&mut first).unwrap_or(0) == 0 {
            return;
        }
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            let line = line.trim().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        if first.starts_with("POST /v1/traces ") {
            kept.lock().unwrap().extend(body);
        }
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            .unwrap();
    }
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("echo.yaml"), ECHO).unwrap();
    folder
}

#[test]
fn an_attempt_is_a_span_that_names_its_run_and_commits_are_spans_on_request() {
    let (collector, folder) = (Collector::start(), folder());
    let run = |traces: &str| {
        let done = collector
            .program(&folder)
            .args(["run", "echo.yaml", "--json"])
            .env("AQUATINT_TRACES", traces)
            .env("OTEL_SERVICE_NAME", "kiln")
            .output()
            .unwrap();
        assert!(
            done.status.success(),
            "{}",
            String::from_utf8_lossy(&done.stderr)
        );
        String::from_utf8(done.stdout).unwrap()
    };
    let told: serde_json::Value = serde_json::from_str(&run("")).unwrap();
    let id = told["run"].as_str().unwrap();
    for words in [
        "attempt",
        "run.id",
        id,
        "task.step",
        "say",
        "queue.name",
        "outcome",
        "kiln",
    ] {
        assert!(collector.has(words.as_bytes()), "{words} is missing");
    }
    assert!(!collector.has(b"commit"), "what was not asked for");
    run("aquatint_engine=debug");
    assert!(collector.has(b"commit"));
}

#[test]
fn nothing_is_sent_where_it_is_switched_off() {
    let (collector, folder) = (Collector::start(), folder());
    let mut program = collector.program(&folder);
    let done = program
        .args(["run", "echo.yaml"])
        .env("OTEL_SDK_DISABLED", "true")
        .output()
        .unwrap();
    assert!(done.status.success());
    assert!(collector.got.lock().unwrap().is_empty());
}

#[test]
fn a_request_goes_on_with_the_trace_of_its_client() {
    let (collector, folder) = (Collector::start(), folder());
    let mut program = collector.program(&folder);
    let mut server = program
        .args(["serve", "--no-scheduler", "--listen", "127.0.0.1:0"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(server.stderr.take().unwrap()).lines();
    let address = said.find_map(|line| {
        let line = line.unwrap();
        let rest = line.split_once("listening on http://")?.1;
        rest.split(';').next().map(str::to_owned)
    });
    let address = address.unwrap();
    let mut stream = TcpStream::connect(&address).unwrap();
    let request = format!(
        "GET /api/v1/runs HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
         traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let pid = rustix::process::Pid::from_raw(i32::try_from(server.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let began = Instant::now();
    while server.try_wait().unwrap().is_none() {
        assert!(began.elapsed() < PATIENCE, "it does not end");
        std::thread::sleep(Duration::from_millis(20));
    }
    let trace = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736_u128.to_be_bytes();
    let parent = 0x00f0_67aa_0ba9_02b7_u64.to_be_bytes();
    assert!(collector.has(&trace), "another trace");
    assert!(collector.has(&parent), "another parent");
    assert!(collector.has(b"GET /api/v1/runs"));
}

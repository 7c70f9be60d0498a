//! A redis-server of a test's own, on a free port, gone with the test.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use redis::aio::MultiplexedConnection;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

/// A running server. It keeps nothing on disk.
pub(super) struct Server {
    port: u16,
    arguments: Vec<String>,
    folder: tempfile::TempDir,
    process: Option<Child>,
}

impl Server {
    pub(super) fn start() -> Self {
        Self::start_with(&[])
    }

    pub(super) fn start_with(arguments: &[&str]) -> Self {
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        let folder = tempfile::tempdir().unwrap();
        // Between finding a free port and using it, somebody else may take it.
        for _ in 0..20 {
            let port = TcpListener::bind("127.0.0.1:0")
                .unwrap()
                .local_addr()
                .unwrap()
                .port();
            if let Some(process) = spawn(port, &arguments, folder.path()) {
                return Self {
                    port,
                    arguments,
                    folder,
                    process: Some(process),
                };
            }
        }
        panic!("redis-server found no free port in twenty attempts");
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// As `kill -9` would.
    pub(super) fn kill(&mut self) {
        let mut process = self.process.take().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// On the same port, empty.
    pub(super) fn start_again(&mut self) {
        let process = spawn(self.port, &self.arguments, self.folder.path());
        self.process = Some(process.unwrap());
    }

    /// Stops the process without ending it; returns when it has stopped.
    pub(super) fn freeze(&self) {
        kill_process(self.pid(), Signal::STOP).unwrap();
        let stopped = waitpid(Some(self.pid()), WaitOptions::UNTRACED).unwrap();
        assert!(stopped.unwrap().1.stopped());
    }

    pub(super) fn thaw(&self) {
        kill_process(self.pid(), Signal::CONT).unwrap();
    }

    fn pid(&self) -> Pid {
        let id = self.process.as_ref().unwrap().id();
        Pid::from_raw(i32::try_from(id).unwrap()).unwrap()
    }

    pub(super) async fn connection(&self) -> MultiplexedConnection {
        let client = redis::Client::open(self.url()).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    }

    /// Runs a command, words apart by spaces.
    pub(super) async fn command<T: redis::FromRedisValue>(&self, line: &str) -> T {
        let mut words = line.split(' ');
        let mut command = redis::cmd(words.next().unwrap());
        words.for_each(|word| {
            command.arg(word);
        });
        command
            .query_async(&mut self.connection().await)
            .await
            .unwrap()
    }

    /// Clients that wait at a list.
    pub(super) async fn waiting(&self) -> usize {
        let clients: String = self.command("INFO clients").await;
        let line = clients
            .lines()
            .find_map(|l| l.strip_prefix("blocked_clients:"));
        line.unwrap().trim().parse().unwrap()
    }

    pub(super) async fn memory(&self) -> usize {
        let memory: String = self.command("INFO memory").await;
        let line = memory.lines().find_map(|l| l.strip_prefix("used_memory:"));
        line.unwrap().trim().parse().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// A server that is ready; `None` when the port was taken.
fn spawn(port: u16, arguments: &[String], folder: &std::path::Path) -> Option<Child> {
    let mut process = Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
        .args(["--save", "", "--appendonly", "no", "--dir"])
        .arg(folder)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| {
            panic!("these tests need redis-server ({error}); `scripts/services` installs it")
        });
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let is_ready = lines
        .by_ref()
        .map_while(Result::ok)
        .any(|line| line.contains("eady to accept connections"));
    if !is_ready {
        process.wait().unwrap();
        return None;
    }
    // A pipe that nobody reads would fill, and the server would wait for it.
    std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
    Some(process)
}

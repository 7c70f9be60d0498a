//! A home of its own for each test, and ways to start the program in it.

use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Two steps, done at once.
pub(crate) const ECHO: &str = r#"
name: echo
inputs:
  word: { type: string, default: hello }
  n: { type: integer, default: 3 }
steps:
  one: { task: core.echo, with: { value: "${{ inputs.word }}" } }
  two: { task: core.echo, with: { value: "${{ steps.one.value }}" } }
outputs:
  word: ${{ steps.two.value }}
  n: ${{ inputs.n }}
"#;

/// One step that takes as long as it is told.
pub(crate) const NAP: &str = r#"
name: nap
inputs: { time: { type: string, default: 10m } }
steps:
  first: { task: core.echo, with: { value: 1 } }
  sleep: { task: core.sleep, needs: [first], with: { duration: "${{ inputs.time }}" } }
outputs: { slept: "${{ steps.sleep.slept_ms }}" }
"#;

/// Fails at first; after a manual retry it succeeds.
pub(crate) const FLAKY: &str = r#"
name: flaky
steps:
  one: { task: core.echo, with: { value: 1 } }
  two:
    task: core.fail
    needs: [one]
    retry: { attempts: 1 }
    with: { message: out of paint, class: supply, succeed_on_attempt: 2 }
"#;

/// A step that ends once the file `gate` is there.
pub(crate) const GATE: &str = r#"
name: gate
inputs: { file: string }
steps:
  first: { task: core.echo, with: { value: 1 } }
  wait:
    task: command.run
    needs: [first]
    with:
      program: /bin/sh
      args: [-c, 'while [ ! -e "$0" ]; do sleep 0.05; done; echo open', "${{ inputs.file }}"]
outputs: { said: "${{ steps.wait.stdout }}" }
"#;

/// A folder with a data directory and whatever files a test writes.
pub(crate) struct Home {
    folder: tempfile::TempDir,
}

/// What a finished command left.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Home {
    pub(crate) fn new() -> Self {
        let home = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        home.write("echo.yaml", ECHO);
        home.write("nap.yaml", NAP);
        home.write("flaky.yaml", FLAKY);
        home.write("gate.yaml", GATE);
        home
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    /// The program, with nothing of the developer's own environment.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("aquatint"));
        command
            .args(args)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.folder.path())
            .env("AQUATINT_DATA_DIR", self.path("data"))
            .env("AQUATINT_TASKS_COMMAND_ALLOWED_PROGRAMS", "/bin/sh")
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Done {
        self.command(args).output().unwrap().into()
    }

    /// Runs what must end well, and reads its JSON.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let done = self.run(args);
        assert_eq!(done.code, Some(0), "{args:?}: {}", done.stderr);
        serde_json::from_str(&done.stdout).unwrap()
    }

    pub(crate) fn spawn(&self, args: &[&str]) -> Running {
        // What begins by itself, once an hour, would be in the way of whoever counts runs.
        let quiet = ["worker", "serve"]
            .contains(&args[0])
            .then_some("--no-scheduler");
        let args: Vec<&str> = args.iter().copied().chain(quiet).collect();
        let mut child = self
            .command(&args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let said = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&said);
        let listener = std::thread::spawn(move || {
            let mut buffer = [0; 1024];
            while let Ok(n @ 1..) = stderr.read(&mut buffer) {
                heard.lock().unwrap().extend_from_slice(&buffer[..n]);
            }
        });
        Running {
            child: Some(child),
            said,
            listener: Some(listener),
        }
    }

    /// Waits until a step of the newest run is in a state.
    pub(crate) fn until_step(&self, step: &str, state: &str) {
        until(&format!("step {step} is {state}"), || {
            let done = self.run(&["show", "@latest", "--json"]);
            let shown: Value = serde_json::from_str(&done.stdout).unwrap_or_default();
            let steps = shown["steps"].as_array().cloned().unwrap_or_default();
            steps
                .iter()
                .any(|s| s["step"] == step && s["state"] == state)
        });
    }

    /// Starts the run that waits for the gate, and waits until it does.
    pub(crate) fn spawn_gated(&self) -> Running {
        let file = format!("file={}", self.path("gate").display());
        let run = self.spawn(&["run", "gate.yaml", "-i", &file]);
        self.until_step("wait", "running");
        run
    }

    pub(crate) fn open_gate(&self) {
        self.write("gate", "");
    }

    /// The newest run's state.
    pub(crate) fn state(&self) -> String {
        self.json(&["show", "@latest", "--json"])["run"]["state"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// What every test may end with: the database keeps its promises.
    pub(crate) fn check(&self) {
        let done = self.run(&["check"]);
        assert_eq!(done.code, Some(0), "{}{}", done.stdout, done.stderr);
    }
}

impl From<Output> for Done {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// A started program; killed, should a test give up on it.
pub(crate) struct Running {
    child: Option<Child>,
    said: Arc<Mutex<Vec<u8>>>,
    listener: Option<JoinHandle<()>>,
}

impl Running {
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(self.child.as_ref().unwrap()), signal).unwrap();
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Waits until it has said this on stderr.
    pub(crate) fn until_stderr(&mut self, words: &str) {
        until(&format!("it says `{words}`"), || {
            self.stderr().contains(words)
        });
    }

    fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.said.lock().unwrap()).into_owned()
    }

    /// Waits for the end.
    pub(crate) fn done(mut self) -> Done {
        let mut child = self.child.take().unwrap();
        until("the program ends", || child.try_wait().unwrap().is_some());
        let mut done: Done = child.wait_with_output().unwrap().into();
        self.listener.take().unwrap().join().unwrap();
        done.stderr = self.stderr();
        done
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Looks until it is so, and fails the test when it never is.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

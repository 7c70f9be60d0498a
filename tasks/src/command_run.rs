//! `command.run`: starts a program of this machine, one that the configuration lists.
//!
//! No shell stands between: `args` reach the program as they are, so nothing in
//! them is a quote, a pipe or a variable. The program starts in the attempt's
//! scratch folder with an environment that is empty but for a plain `PATH`, and
//! in a process group of its own; when the attempt ends, however it ends, so does
//! the group, even when this process is killed (`group`).
//!
//! It is no sandbox: the program may do whatever this process may. List only
//! programs whose every option you would let a workflow's author use.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use aquatint_engine::artifact::Artifact;
use aquatint_engine::task::{LogLevel, Task, TaskContext, TaskError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin, Command};

mod capture;
mod group;
#[cfg(all(test, unix))]
mod tests;

use crate::options::CommandOptions;
use capture::Capture;
use group::Group;

/// Starts a program; closed until `tasks.command` in the configuration lists it.
#[derive(Debug, Clone)]
pub struct CommandRun {
    options: Option<CommandOptions>,
}

/// What `command.run` takes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// The program's absolute path, as the configuration lists it.
    pub program: PathBuf,
    /// Its arguments, passed on as they are.
    #[serde(default)]
    pub args: Vec<String>,
    /// Environment variables; the configuration says which may be set.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Text for its standard input.
    #[serde(default)]
    pub stdin: Option<String>,
    /// Artifacts laid into the working folder before it starts.
    #[serde(default)]
    pub inputs: Vec<InputFile>,
    /// Files it leaves in the working folder, stored as artifacts.
    #[serde(default)]
    #[schemars(length(max = 100))]
    pub files: Vec<OutputFile>,
    /// Exit statuses after which another try may help; any other than 0 is final.
    #[serde(default)]
    pub retry_on_exit: Vec<i32>,
}

/// An artifact laid into the working folder.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InputFile {
    /// Where, below the working folder.
    pub path: PathBuf,
    /// What.
    pub artifact: Artifact,
}

/// A file the program leaves behind.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OutputFile {
    /// Where, below the working folder.
    pub path: PathBuf,
    /// The artifact's name, and its key in `files`.
    pub name: String,
    /// For example `video/mp4`.
    pub media_type: String,
}

/// What `command.run` returns.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Output {
    /// Always 0: any other is an error.
    pub exit_code: i32,
    /// What it wrote to standard output, up to 64 KiB.
    pub stdout: String,
    /// Whether `stdout` was cut.
    pub stdout_truncated: bool,
    /// The files, by name.
    pub files: BTreeMap<String, Artifact>,
}

/// How long a command may clean up after it was told to end.
const GRACE: Duration = Duration::from_secs(2);
/// Enough to find the usual tools; nothing from the environment of this process.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";
const MAX_FILES: usize = 100;

impl CommandRun {
    /// With what the configuration allows; `None` refuses every command.
    #[must_use]
    pub fn new(options: Option<CommandOptions>) -> Self {
        Self { options }
    }
}

impl Task for CommandRun {
    const NAME: &'static str = "command.run";
    const VERSION: u32 = 1;
    const DESCRIPTION: &'static str = "Starts a program that the configuration lists.";
    type Input = Input;
    type Output = Output;

    async fn run(&self, ctx: TaskContext, input: Input) -> Result<Output, TaskError> {
        self.check(&input)?;
        let outputs = output_paths(&ctx, &input)?;
        lay_inputs(&ctx, &input).await?;
        ctx.progress(0.0, format!("running {}", input.program.display()));
        let (status, stdout, stderr) = execute(&ctx, &input).await?;
        judge(&input, status, &stderr)?;
        let files = collect(&ctx, &input, outputs).await?;
        let (stdout, stdout_truncated) = stdout.head();
        Ok(Output {
            exit_code: 0,
            stdout,
            stdout_truncated,
            files,
        })
    }
}

impl CommandRun {
    fn check(&self, input: &Input) -> Result<(), TaskError> {
        let deny = |why: String| Err(TaskError::fatal("not_allowed", why));
        let Some(options) = &self.options else {
            return deny(
                "`command.run` is switched off here; whoever runs this installation can allow programs with `allowed_programs` under `tasks.command` in the configuration file".to_owned(),
            );
        };
        // Compared as written: following links first would let the link that
        // one tool of a multi-call binary is stand for all of its tools.
        let is_listed = options.allowed_programs.contains(&input.program);
        if !is_listed || !input.program.is_absolute() {
            return deny(format!(
                "`program`: `{}` is not listed; whoever runs this installation can add its absolute path to `allowed_programs` under `tasks.command` in the configuration file",
                input.program.display()
            ));
        }
        // Variables such as LD_PRELOAD make any program run anything.
        let is_open = |name: &&String| options.allowed_env.contains(name);
        if let Some(name) = input.env.keys().find(|name| !is_open(name)) {
            return deny(format!(
                "`env`: `{name}` may not be set; whoever runs this installation can add it to `allowed_env` under `tasks.command` in the configuration file"
            ));
        }
        if input.files.len() > MAX_FILES {
            return Err(TaskError::fatal(
                "invalid_input",
                format!(
                    "`files` lists {} files; {MAX_FILES} at most: let the command pack them into one",
                    input.files.len()
                ),
            ));
        }
        Ok(())
    }
}

/// Where the files are expected, each below the scratch folder.
fn output_paths(ctx: &TaskContext, input: &Input) -> Result<Vec<PathBuf>, TaskError> {
    let paths = input.files.iter().map(|file| ctx.scratch_file(&file.path));
    paths.collect()
}

async fn lay_inputs(ctx: &TaskContext, input: &Input) -> Result<(), TaskError> {
    for file in &input.inputs {
        ctx.place(&file.artifact, &file.path).await?;
    }
    Ok(())
}

async fn execute(
    ctx: &TaskContext,
    input: &Input,
) -> Result<(ExitStatus, Capture, Capture), TaskError> {
    let mut group = Group::new();
    if !group.is_watched() {
        ctx.log(
            LogLevel::Warn,
            "there is no /bin/sh: if this worker is killed, the command goes on without it",
        );
    }
    let mut child = start(ctx.scratch()?, input, &group)?;
    group.adopt(&child);
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (mut out, mut err) = (Capture::default(), Capture::default());
    let status = {
        let streams = async {
            tokio::join!(
                feed(stdin, input.stdin.as_deref()),
                out.drain(stdout.expect("piped"), ctx, LogLevel::Info),
                err.drain(stderr.expect("piped"), ctx, LogLevel::Warn),
            );
        };
        tokio::pin!(streams);
        let mut are_drained = false;
        let status = loop {
            tokio::select! {
                () = ctx.cancelled() => return Err(stop(&mut child, &mut group).await),
                status = child.wait() => break status?,
                () = &mut streams, if !are_drained => are_drained = true,
            }
        };
        // Whatever it left running goes with it, and lets go of the pipes.
        group.kill();
        if !are_drained {
            // A process that left the group may still hold them: not for ever.
            let _ = tokio::time::timeout(GRACE, streams).await;
        }
        status
    };
    Ok((status, out, err))
}

fn start(scratch: &Path, input: &Input, group: &Group) -> Result<Child, TaskError> {
    let mut command = Command::new(&input.program);
    command
        .args(&input.args)
        .env_clear()
        .env("PATH", PATH)
        .env("LANG", "C.UTF-8")
        .env("HOME", scratch)
        .env("TMPDIR", scratch)
        .envs(&input.env)
        .current_dir(scratch)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    #[cfg(unix)]
    command.process_group(group.number());
    #[cfg(not(unix))]
    let _ = group;
    command.spawn().map_err(|error| {
        let message = format!("`{}` does not start: {error}", input.program.display());
        match error.kind() {
            std::io::ErrorKind::NotFound | std::io::ErrorKind::PermissionDenied => {
                TaskError::fatal("not_startable", message)
            }
            // No memory, no process left: that may pass.
            _ => TaskError::retryable("io", message),
        }
    })
}

/// Writes the standard input and closes it. A program need not read it.
async fn feed(stdin: Option<ChildStdin>, text: Option<&str>) {
    if let (Some(mut stdin), Some(text)) = (stdin, text) {
        let _ = stdin.write_all(text.as_bytes()).await;
        let _ = stdin.shutdown().await;
    }
}

/// Asks the group to end, then ends it.
async fn stop(child: &mut Child, group: &mut Group) -> TaskError {
    group.terminate();
    let _ = tokio::time::timeout(GRACE, child.wait()).await;
    group.kill();
    TaskError::cancelled()
}

/// Whether the command succeeded; its last words are the error's message.
fn judge(input: &Input, status: ExitStatus, stderr: &Capture) -> Result<(), TaskError> {
    if status.success() {
        return Ok(());
    }
    let code = exit_code(status);
    let says = match stderr.tail() {
        text if text.is_empty() => "it wrote nothing to standard error".to_owned(),
        text => text,
    };
    let message = format!("`{}` ended with {status}: {says}", input.program.display());
    Err(if input.retry_on_exit.contains(&code) {
        TaskError::retryable("exit_status", message)
    } else {
        TaskError::fatal("exit_status", message)
    })
}

/// The exit status, or 128 and the signal that ended it, as shells count.
fn exit_code(status: ExitStatus) -> i32 {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return 128 + signal;
    }
    status.code().unwrap_or(-1)
}

async fn collect(
    ctx: &TaskContext,
    input: &Input,
    paths: Vec<PathBuf>,
) -> Result<BTreeMap<String, Artifact>, TaskError> {
    let mut files = BTreeMap::new();
    for (file, path) in input.files.iter().zip(paths) {
        // A pipe or a device would be read for ever.
        let is_file = tokio::fs::metadata(&path)
            .await
            .is_ok_and(|meta| meta.is_file());
        if !is_file {
            return Err(TaskError::fatal(
                "missing_file",
                format!(
                    "`files`: `{}` was not left by `{}`; check the path, which is relative to the working folder",
                    file.path.display(),
                    input.program.display()
                ),
            ));
        }
        let artifact = ctx.save_file(&file.name, &file.media_type, &path).await?;
        files.insert(file.name.clone(), artifact);
    }
    Ok(files)
}

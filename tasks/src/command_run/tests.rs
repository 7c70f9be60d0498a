//! `command.run` with the shell as the program: whoever lists a shell, allows all.
#![expect(clippy::unwrap_used, reason = "tests")]

use aquatint_engine::task::Remedy;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

use super::*;
use crate::testing::Bench;

fn open() -> CommandRun {
    CommandRun::new(Some(CommandOptions {
        allowed_programs: vec!["/bin/sh".into(), "/no/such/program".into(), "sh".into()],
        allowed_env: vec!["GREETING".to_owned()],
    }))
}

fn script(text: &str) -> Value {
    json!({ "program": "/bin/sh", "args": ["-c", text] })
}

fn with(mut input: Value, more: Value) -> Value {
    let Value::Object(more) = more else {
        panic!("an object")
    };
    input.as_object_mut().unwrap().extend(more);
    input
}

#[tokio::test]
async fn a_command_gets_its_input_and_leaves_its_files() {
    let mut bench = Bench::new();
    let clip = bench
        .ctx
        .save("clip.txt", "text/plain", b"clip".to_vec())
        .await
        .unwrap();
    let input = with(
        script(
            "cat in/clip.txt > out.txt; cat >> out.txt; echo \"$GREETING $1\"; echo careful >&2",
        ),
        json!({
            "stdin": " and words", "env": { "GREETING": "hello" },
            "inputs": [{ "path": "in/clip.txt", "artifact": clip }],
            "files": [{ "path": "out.txt", "name": "film", "media_type": "text/plain" }],
        }),
    );
    let output = bench.run(open(), input).await.unwrap();
    assert_eq!(output["stdout"], "hello \n");
    let film: Artifact = serde_json::from_value(output["files"]["film"].clone()).unwrap();
    assert_eq!(bench.ctx.read(&film).await.unwrap(), b"clip and words");
    let log = bench.log();
    assert!(
        log.iter()
            .any(|line| line.message == "careful" && line.level == LogLevel::Warn),
        "{log:?}"
    );
}

#[tokio::test]
async fn arguments_are_no_shell_text_and_the_environment_is_clean() {
    let input = json!({ "program": "/bin/sh", "args": ["-c", "echo \"$1\"; env", "sh", "$(id); `id` | x"] });
    let output = Bench::new().run(open(), input).await.unwrap();
    let stdout = output["stdout"].as_str().unwrap();
    assert!(stdout.starts_with("$(id); `id` | x\n"), "{stdout}");
    assert!(!stdout.contains("CARGO"), "{stdout}");
    assert!(
        stdout.contains("PATH=/usr/local/bin:/usr/bin:/bin\n"),
        "{stdout}"
    );
}

#[tokio::test]
async fn what_is_not_listed_does_not_run() {
    let refused = async |task: CommandRun, input: Value| {
        let error = Bench::new().run(task, input).await.unwrap_err();
        assert_eq!(
            (error.class.as_str(), error.remedy),
            ("not_allowed", Remedy::Fail)
        );
        assert!(error.message.contains("`tasks.command`"), "{error}");
        error.message
    };
    refused(CommandRun::new(None), script("true")).await;
    refused(open(), json!({ "program": "/bin/cat" })).await;
    refused(open(), json!({ "program": "/bin/../bin/sh" })).await;
    refused(open(), json!({ "program": "sh" })).await;
    let message = refused(
        open(),
        with(script("true"), json!({ "env": { "LD_PRELOAD": "x" } })),
    )
    .await;
    assert!(message.contains("`LD_PRELOAD`"), "{message}");
}

#[tokio::test]
async fn a_failure_ends_with_its_last_words_and_is_final_unless_listed() {
    let failing = script("echo first >&2; echo 'no such codec' >&2; exit 3");
    let error = Bench::new().run(open(), failing.clone()).await.unwrap_err();
    assert_eq!(
        (error.class.as_str(), error.remedy),
        ("exit_status", Remedy::Fail)
    );
    assert!(error.message.contains("no such codec"), "{error}");
    let error = Bench::new()
        .run(open(), with(failing, json!({ "retry_on_exit": [3] })))
        .await;
    assert_eq!(error.unwrap_err().remedy, Remedy::Retry);
    let killed = with(script("kill -9 $$"), json!({ "retry_on_exit": [137] }));
    assert_eq!(
        Bench::new().run(open(), killed).await.unwrap_err().remedy,
        Remedy::Retry
    );
    let error = Bench::new()
        .run(open(), json!({ "program": "/no/such/program" }))
        .await
        .unwrap_err();
    assert_eq!(error.class, "not_startable");
}

#[tokio::test]
async fn a_flood_of_words_is_read_and_bounded() {
    let mut bench = Bench::new();
    let input =
        script("i=0; while [ $i -lt 20000 ]; do echo \"line $i of the flood\"; i=$((i+1)); done");
    let output = bench.run(open(), input).await.unwrap();
    assert_eq!(output["stdout_truncated"], true);
    assert!(output["stdout"].as_str().unwrap().len() <= capture::MAX_HEAD_BYTES);
    assert!(bench.log().len() <= 501);
}

#[tokio::test]
async fn files_outside_the_working_folder_are_out_of_reach() {
    let file = |path: &str| json!({ "files": [{ "path": path, "name": "x", "media_type": "text/plain" }] });
    for (text, path, class) in [
        ("true", "../x", "outside_scratch"),
        ("true", "/etc/passwd", "outside_scratch"),
        ("ln -s /etc/passwd link", "link", "outside_scratch"),
        ("mkfifo pipe", "pipe", "missing_file"),
        ("true", "nothing", "missing_file"),
    ] {
        let error = Bench::new()
            .run(open(), with(script(text), file(path)))
            .await
            .unwrap_err();
        assert_eq!(error.class, class, "{path}: {error}");
    }
}

/// A script that starts a helper, says so through a pipe that both hold open, and waits.
const FAMILY: &str = "mkfifo alive; echo ready; exec 3> alive; sleep 600 & echo up >&3; wait";

/// The other end of that pipe, once both are up. It ends when both have.
async fn family(bench: &mut Bench) -> tokio::fs::File {
    while bench.next_log().await != "ready" {}
    let path = bench.ctx.scratch().unwrap().join("alive");
    let mut pipe = tokio::fs::File::open(path).await.unwrap();
    let mut word = [0; 3];
    pipe.read_exact(&mut word).await.unwrap();
    assert_eq!(&word, b"up\n");
    pipe
}

#[tokio::test]
async fn a_cancelled_command_takes_its_helpers_along() {
    let mut bench = Bench::new();
    let run = tokio::spawn(bench.start(open(), script(FAMILY)));
    let mut pipe = family(&mut bench).await;
    bench.cancel.cancel();
    assert_eq!(run.await.unwrap(), Err(TaskError::cancelled()));
    assert_eq!(pipe.read(&mut [0; 8]).await.unwrap(), 0, "both are gone");
}

#[tokio::test]
async fn a_dropped_attempt_leaves_nothing_running() {
    let mut bench = Bench::new();
    let run = tokio::spawn(bench.start(open(), script(FAMILY)));
    let mut pipe = family(&mut bench).await;
    run.abort();
    assert!(run.await.unwrap_err().is_cancelled());
    assert_eq!(pipe.read(&mut [0; 8]).await.unwrap(), 0, "both are gone");
}

#[tokio::test]
async fn a_helper_left_behind_does_not_hold_up_the_attempt() {
    let output = Bench::new()
        .run(open(), script("sleep 600 & echo done"))
        .await
        .unwrap();
    assert_eq!(output["stdout"], "done\n");
}

/// Run by the test below in a process of its own.
async fn start_a_family(pipe: &str) {
    let text = format!("exec 3> {pipe}; sleep 600 & echo up >&3; wait");
    let result = Bench::new().start(open(), script(&text)).await;
    panic!("it was to be killed: {result:?}");
}

#[tokio::test]
async fn a_killed_worker_takes_its_command_and_its_helpers_along() {
    const PIPE: &str = "AQUATINT_FAMILY_PIPE";
    if let Ok(pipe) = std::env::var(PIPE) {
        return start_a_family(&pipe).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let alive = folder.path().join("alive");
    let made = Command::new("mkfifo").arg(&alive).status().await.unwrap();
    assert!(made.success());
    let name = "command_run::tests::a_killed_worker_takes_its_command_and_its_helpers_along";
    let mut worker = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(PIPE, &alive)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut pipe = tokio::fs::File::open(&alive).await.unwrap();
    let mut word = [0; 3];
    pipe.read_exact(&mut word).await.unwrap();
    assert_eq!(&word, b"up\n");

    // SIGKILL: nothing of the worker's own runs after it.
    worker.kill().unwrap();
    worker.wait().unwrap();

    let mut rest = [0; 8];
    let end = tokio::time::timeout(Duration::from_secs(10), pipe.read(&mut rest));
    assert_eq!(end.await.expect("command and helper are gone").unwrap(), 0);
}

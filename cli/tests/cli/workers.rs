//! Several processes over one data directory.

use rustix::process::Signal;

use crate::support::{Home, until};

#[test]
fn a_worker_does_what_another_process_submits() {
    let home = Home::new();
    let mut worker = home.spawn(&["worker"]);
    worker.until_stderr("serving");
    let submitted = home.run(&["run", "--detach", "echo.yaml", "-i", "word=hi"]);
    assert_eq!(submitted.code, Some(0));
    assert!(
        submitted
            .stderr
            .starts_with("live workers take it; `aquatint show "),
        "{}",
        submitted.stderr
    );
    let id = submitted.stdout.trim();
    until("the run succeeds", || home.state() == "succeeded");
    assert_eq!(
        home.json(&["show", id, "--json"])["run"]["output"]["word"],
        "hi"
    );
    worker.signal(Signal::TERM);
    let done = worker.done();
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(done.stderr.ends_with("stopped\n"), "{}", done.stderr);
    home.check();
}

#[test]
fn logs_are_followed_to_the_end_of_the_run() {
    let home = Home::new();
    home.run(&["run", "--detach", "flaky.yaml"]);
    let logs = home.spawn(&["logs", "@latest", "--follow"]);
    let worker = home.spawn(&["worker"]);
    let done = logs.done();
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(
        done.stdout.contains("two  attempt 1 fails on purpose"),
        "{}",
        done.stdout
    );
    let other = home.run(&["logs", "@latest", "--step", "one"]);
    assert_eq!(other.stdout, "");
    assert_eq!(
        home.run(&["logs", "@latest", "--step", "three"]).code,
        Some(2)
    );
    drop(worker);
}

#[test]
fn a_paused_run_waits_until_it_is_resumed() {
    let home = Home::new();
    home.run(&["run", "--detach", "echo.yaml"]);
    assert_eq!(home.run(&["pause", "@latest"]).code, Some(0));
    assert!(home.run(&["runs"]).stdout.contains("pending, paused"));
    let done = home.run(&["resume", "@latest"]);
    assert_eq!(
        (done.code, done.stdout.as_str()),
        (Some(0), "word: hello\nn: 3\n"),
        "{}",
        done.stderr
    );
    home.check();
}

#[test]
fn a_run_cancelled_from_elsewhere_exits_with_3() {
    let home = Home::new();
    let run = home.spawn(&["run", "nap.yaml"]);
    home.until_step("sleep", "running");
    assert_eq!(home.run(&["cancel", "@latest"]).code, Some(0));
    let done = run.done();
    assert_eq!(done.code, Some(3), "{}", done.stderr);
    home.check();
}

#[test]
fn processes_that_start_together_make_one_database() {
    for _ in 0..5 {
        let home = Home::new();
        let runs: Vec<_> = (0..6).map(|_| home.spawn(&["run", "echo.yaml"])).collect();
        for run in runs {
            let done = run.done();
            assert_eq!(done.code, Some(0), "{}", done.stderr);
        }
        assert_eq!(home.json(&["runs", "--json"]).as_array().unwrap().len(), 6);
    }
}

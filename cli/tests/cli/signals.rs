//! Ctrl-C, termination and sudden death: nothing is lost, and everybody is told.

use rustix::process::Signal;

use crate::support::Home;

#[test]
fn ctrl_c_cancels_the_run_and_exits_with_130() {
    let home = Home::new();
    let run = home.spawn(&["run", "nap.yaml"]);
    home.until_step("sleep", "running");
    run.signal(Signal::INT);
    let done = run.done();
    assert_eq!(
        (done.code, done.stdout.as_str()),
        (Some(130), ""),
        "{}",
        done.stderr
    );
    assert!(
        done.stderr.contains("cancelling the run") && done.stderr.contains("aquatint retry"),
        "{}",
        done.stderr
    );
    assert_eq!(home.state(), "cancelled");
    home.check();
}

#[test]
fn termination_gives_the_work_back_and_resume_finishes_it() {
    let home = Home::new();
    let run = home.spawn_gated();
    run.signal(Signal::TERM);
    let done = run.done();
    assert_eq!(done.code, Some(143), "{}", done.stderr);
    assert!(done.stderr.contains("aquatint resume"), "{}", done.stderr);
    assert_eq!(home.state(), "running");
    home.open_gate();
    let again = home.run(&["resume", "@latest"]);
    assert_eq!(
        (again.code, again.stdout.as_str()),
        (Some(0), "said: \"open\\n\"\n"),
        "{}",
        again.stderr
    );
    assert!(
        again.stderr.contains("1 of 2 steps done before"),
        "{}",
        again.stderr
    );
    home.check();
}

#[test]
fn a_killed_run_is_resumed_where_it_was() {
    let home = Home::new();
    let run = home.spawn_gated();
    run.signal(Signal::KILL);
    assert_eq!(run.done().code, None, "killed");
    home.open_gate();
    let again = home.run(&["resume", "@latest", "--json"]);
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    let shown = home.json(&["show", "@latest", "--json"]);
    let outcomes: Vec<&str> = shown["attempts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|a| a["outcome"].as_str().unwrap())
        .collect();
    assert_eq!(
        outcomes,
        ["succeeded", "lost", "succeeded"],
        "the first step ran once"
    );
    home.check();
}

#[test]
fn a_second_ctrl_c_leaves_at_once_and_the_run_can_be_resumed() {
    let home = Home::new();
    home.run(&["run", "--detach", "nap.yaml"]);
    let mut worker = home.spawn(&["worker", "--grace", "10m"]);
    home.until_step("sleep", "running");
    worker.signal(Signal::INT);
    // The worker says that it heard; until then a second signal could be taken for the first.
    worker.until_stderr("finishing what runs");
    worker.signal(Signal::INT);
    let done = worker.done();
    assert_eq!(done.code, Some(130), "{}", done.stderr);
    assert_eq!(home.state(), "running");
    let resumed = home.spawn(&["resume", "@latest"]);
    home.until_step("sleep", "running");
    assert_eq!(home.run(&["cancel", "@latest"]).code, Some(0));
    assert_eq!(resumed.done().code, Some(3), "cancelled by somebody else");
    home.check();
}

//! The examples do what their comments say.

use std::process::Command;

fn stdout_of(program: &str) -> String {
    let output = Command::new(program).output().expect("the example starts");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn a_task_of_ones_own_runs() {
    assert_eq!(
        stdout_of(env!("CARGO_BIN_EXE_custom_task")),
        "succeeded: {\"longer\":\"one\"}\n"
    );
}

#[test]
fn a_fan_out_tells_what_failed() {
    assert_eq!(
        stdout_of(env!("CARGO_BIN_EXE_fan_out")),
        "succeeded: {\"inverses\":[1.0,0.5,0.25],\"failed\":[2]}\n"
    );
}

#[test]
fn hooks_are_told_of_every_attempt() {
    assert_eq!(
        stdout_of(env!("CARGO_BIN_EXE_hooks")),
        "service.ask begins, try 1\n\
         the service is out; it will be back: 2 tries left, the next in 20ms\n\
         service.ask begins, try 2\n\
         it says {\"answer\":17}\n\
         succeeded: {\"answer\":17}\n"
    );
}

//! Workers and queues, as an operator sees and steers them.

use std::collections::HashSet;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Home, until};

fn workers(home: &Home, args: &[&str]) -> Vec<Value> {
    let workers = home.json(&[&["workers", "--json"], args].concat());
    workers.as_array().unwrap().clone()
}

/// The slots of a queue that the first live worker has.
fn slots(home: &Home, queue: &str) -> Value {
    let workers = workers(home, &[]);
    let queues = workers[0]["queues"].as_array().unwrap();
    let lane = queues.iter().find(|q| q["name"] == queue).unwrap();
    lane["slots"].clone()
}

/// A worker that renews its lease so often that it hears soon what operators want.
fn spawn_worker(home: &Home, args: &[&str]) -> crate::support::Running {
    home.write("aquatint.toml", "lease = \"1s\"\n");
    let mut worker = home.spawn(&[&["worker"], args].concat());
    worker.until_stderr("serving");
    worker
}

#[test]
fn workers_are_listed_with_what_they_do() {
    let home = Home::new();
    let none = home.run(&["workers"]);
    assert!(
        none.stderr.contains("`aquatint worker` starts one"),
        "{}",
        none.stderr
    );
    let flags = [
        "--queues",
        "default:2,gpu:1",
        "--labels",
        "fp16,a100",
        "--name",
        "painter",
    ];
    let worker = spawn_worker(&home, &flags);
    home.run(&["run", "--detach", "nap.yaml"]);
    home.until_step("sleep", "running");
    until("the heartbeat tells that it is busy", || {
        workers(&home, &[])[0]["queues"]
            .as_array()
            .unwrap()
            .iter()
            .any(|q| q["name"] == "default" && q["busy"] == 1)
    });
    let seen = &workers(&home, &[])[0];
    assert_eq!(
        (&seen["name"], &seen["state"], &seen["labels"]),
        (&json!("painter"), &json!("live"), &json!(["a100", "fp16"]))
    );
    assert_eq!(
        (
            &seen["attempts"][0]["workflow"],
            &seen["attempts"][0]["step"]
        ),
        (&json!("nap"), &json!("sleep"))
    );
    let shown = home.run(&["workers"]).stdout;
    for words in [
        "painter",
        "live",
        "default 1/2, gpu 0/1",
        "a100 fp16",
        "nap/sleep",
    ] {
        assert!(shown.contains(words), "{words} is not in\n{shown}");
    }
    home.run(&["cancel", "@latest"]);
    worker.signal(Signal::TERM);
    worker.done();
    assert!(workers(&home, &[]).is_empty());
    assert_eq!(workers(&home, &["--all"])[0]["state"], "stopped");
    home.check();
}

#[test]
fn slots_are_changed_while_a_worker_serves() {
    let home = Home::new();
    let worker = spawn_worker(&home, &["--queues", "default:1,gpu:1", "--name", "painter"]);
    let told = home.run(&["workers", "slots", "painter", "default:3,gpu:0"]);
    assert_eq!(told.code, Some(0), "{}", told.stderr);
    assert!(
        told.stderr.contains("worker painter: 3 slots for default"),
        "{}",
        told.stderr
    );
    until("it has three slots", || slots(&home, "default") == 3);
    assert_eq!(slots(&home, "gpu"), 0);
    for _ in 0..3 {
        home.run(&["run", "--detach", "nap.yaml"]);
    }
    until("three naps run at a time", || {
        workers(&home, &[])[0]["attempts"].as_array().unwrap().len() == 3
    });
    assert_eq!(
        home.run(&["workers", "slots", "all", "default:1"]).code,
        Some(0)
    );
    until("it has one slot", || slots(&home, "default") == 1);
    drop(worker);
}

#[test]
fn a_drained_worker_finishes_what_it_has_and_ends_well() {
    let home = Home::new();
    let worker = spawn_worker(&home, &["--name", "painter"]);
    let file = format!("file={}", home.path("gate").display());
    home.run(&["run", "--detach", "gate.yaml", "-i", &file]);
    home.until_step("wait", "running");
    assert_eq!(home.run(&["workers", "drain", "painter"]).code, Some(0));
    until("it drains", || workers(&home, &[])[0]["draining"] == true);
    home.run(&["workers", "undrain", "painter"]);
    until("it goes on", || workers(&home, &[])[0]["draining"] == false);
    home.run(&["workers", "drain", "painter"]);
    until("it drains again", || {
        workers(&home, &[])[0]["draining"] == true
    });
    home.run(&["run", "--detach", "echo.yaml"]);
    home.open_gate();
    let done = worker.done();
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(
        done.stderr
            .ends_with("drained, as an operator wanted\nstopped\n"),
        "{}",
        done.stderr
    );
    let runs = home.json(&["runs", "--json"]);
    let states: Vec<_> = runs
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["state"].as_str().unwrap())
        .collect();
    assert_eq!(states, ["pending", "succeeded"], "it took nothing new");
    home.check();
}

#[test]
fn a_worker_begins_anew_in_its_own_process_and_loses_nothing() {
    let home = Home::new();
    let flags = [
        "--queues",
        "default:4",
        "--max-tasks",
        "40",
        "--name",
        "painter",
    ];
    let mut worker = spawn_worker(&home, &flags);
    let pid = worker.id();
    home.run(&["workers", "slots", "painter", "default:3"]);
    until("it has three slots", || slots(&home, "default") == 3);
    home.write(
        "many.yaml",
        "name: many\nsteps:\n  each: { task: core.echo, foreach: '${{ range(140) }}', with: { value: '${{ item }}' } }\n  \
         all: { task: core.echo, with: { value: '${{ steps.each.map(r, r.output.value) }}' } }\n\
         outputs: { values: '${{ steps.all.value }}' }\n",
    );
    for _ in 0..2 {
        home.run(&["run", "--detach", "many.yaml"]);
    }
    until("both runs succeed", || {
        let runs = home.json(&["runs", "--json"]);
        runs.as_array()
            .unwrap()
            .iter()
            .all(|r| r["state"] == "succeeded")
    });
    // As an operator asks, too.
    until("a worker is live", || workers(&home, &[]).len() == 1);
    let before = workers(&home, &[])[0]["id"].clone();
    assert_eq!(home.run(&["workers", "restart", "painter"]).code, Some(0));
    until("another took its place", || {
        let live = workers(&home, &[]);
        live.len() == 1 && live[0]["id"] != before
    });
    let all = workers(&home, &["--all"]);
    assert!(all.len() >= 8, "280 items, 40 at a time: {}", all.len());
    let pids: HashSet<_> = all.iter().map(|w| w["pid"].as_u64().unwrap()).collect();
    assert_eq!(
        pids,
        HashSet::from([u64::from(pid)]),
        "one process all the time"
    );
    assert_eq!(
        slots(&home, "default"),
        3,
        "what an operator asked for is kept"
    );
    worker.until_stderr("beginning anew after so many steps");
    for run in home.json(&["runs", "--json"]).as_array().unwrap() {
        let shown = home.json(&["show", run["id"].as_str().unwrap(), "--json", "--items"]);
        let values: Vec<u64> = (0..140).collect();
        assert_eq!(shown["run"]["output"]["values"], json!(values));
        let attempts = shown["attempts"].as_array().unwrap();
        let odd: Vec<_> = attempts
            .iter()
            .filter(|a| a["outcome"] != "succeeded")
            .collect();
        assert!(odd.is_empty(), "an attempt was lost or given back: {odd:?}");
    }
    worker.signal(Signal::TERM);
    let done = worker.done();
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    home.check();
}

#[test]
fn a_worker_grown_too_large_begins_anew_once_it_has_done_something() {
    let home = Home::new();
    let mut worker = spawn_worker(&home, &["--max-rss", "1MB"]);
    let before = workers(&home, &[])[0]["id"].clone();
    home.run(&["run", "--detach", "echo.yaml"]);
    worker.until_stderr("beginning anew, grown too large");
    until("another took its place", || {
        let live = workers(&home, &[]);
        live.len() == 1 && live[0]["id"] != before
    });
    until("the run succeeds", || home.state() == "succeeded");
    worker.signal(Signal::TERM);
    assert_eq!(worker.done().code, Some(0));
    home.check();
}

#[test]
fn a_queue_is_paused_capped_and_purged() {
    let home = Home::new();
    let worker = spawn_worker(&home, &["--queues", "default:2"]);
    let pause = home.run(&["queues", "pause", "default"]);
    assert!(
        pause
            .stderr
            .contains("`aquatint queues resume default` lets it go on"),
        "{}",
        pause.stderr
    );
    for _ in 0..3 {
        home.run(&["run", "--detach", "nap.yaml"]);
    }
    let queue = || home.json(&["queues", "--json"])[0].clone();
    let seen = queue();
    assert_eq!(
        (
            &seen["name"],
            &seen["paused"],
            &seen["ready"],
            &seen["running"],
            &seen["slots"]
        ),
        (
            &json!("default"),
            &json!(true),
            &json!(3),
            &json!(0),
            &json!(2)
        )
    );
    let shown = home.run(&["queues"]).stdout;
    assert!(shown.contains("default  paused"), "{shown}");

    assert_eq!(home.run(&["queues", "cap", "default", "1"]).code, Some(0));
    assert_eq!(home.run(&["queues", "resume", "default"]).code, Some(0));
    home.until_step("first", "succeeded");
    until("one runs, the others wait", || queue()["running"] == 1);
    assert_eq!(
        home.run(&["queues", "cap", "default", "none"]).code,
        Some(0)
    );
    until("two run", || queue()["running"] == 2);

    let refused = home.run(&["queues", "purge", "default"]);
    assert_eq!(refused.code, Some(2));
    assert!(
        refused
            .stderr
            .contains("aquatint queues purge default --yes"),
        "{}",
        refused.stderr
    );
    let purged = home.run(&["queues", "purge", "default", "--yes"]);
    assert_eq!(
        (purged.code, purged.stderr.as_str()),
        (Some(0), "1 run cancelled\n")
    );
    let runs = home.json(&["runs", "--json"]);
    let cancelled = runs
        .as_array()
        .unwrap()
        .iter()
        .filter(|r| r["state"] == "cancelled");
    assert_eq!(cancelled.count(), 1, "those that run go on");
    drop(worker);
}

#[test]
fn a_run_that_nobody_will_do_says_so() {
    let home = Home::new();
    let _worker = spawn_worker(&home, &["--queues", "default:1"]);
    let fine = home.run(&["run", "--detach", "echo.yaml"]);
    assert!(!fine.stderr.contains("warning"), "{}", fine.stderr);
    assert!(
        fine.stderr
            .starts_with("live workers take it; `aquatint show "),
        "{}",
        fine.stderr
    );
    home.write(
        "picky.yaml",
        "name: picky\nsteps:\n  a: { task: core.echo, requires: [h100], with: { value: 1 } }\n  b: { task: core.echo, queue: attic, with: { value: 1 } }\n",
    );
    let done = home.run(&["run", "--detach", "picky.yaml"]);
    for words in [
        "a worker must do the work: `aquatint worker --queues ",
        "warning: no live worker of queue default has h100; start one: `aquatint worker --queues default:1 --labels h100`",
        "warning: no live worker serves queue attic; start one: `aquatint worker --queues attic:1`",
    ] {
        assert!(
            done.stderr.contains(words),
            "{words} is not in\n{}",
            done.stderr
        );
    }
    let shown = home.run(&["show", "@latest"]);
    assert!(
        shown.stderr.contains("no live worker serves queue attic"),
        "{}",
        shown.stderr
    );
    let able = home.spawn(&[
        "worker",
        "--queues",
        "default:1,attic:1",
        "--labels",
        "h100",
    ]);
    until("the run succeeds", || home.state() == "succeeded");
    drop(able);
}

#[test]
fn a_profile_is_a_set_of_settings_below_flags_and_the_environment() {
    let home = Home::new();
    home.write(
        "aquatint.toml",
        "queues = \"cpu:1\"\nlabels = [\"plain\"]\n[profiles.gpu]\nqueues = \"gpu:2\"\nlabels = [\"a100\"]\nmax_tasks = 100\n",
    );
    for (flags, words) in [
        (&[][..], "serving cpu:1 from"),
        (&["--profile", "gpu"][..], "serving gpu:2 from"),
        (
            &["--profile", "gpu", "--queues", "gpu:7"][..],
            "serving gpu:7 from",
        ),
    ] {
        let mut worker = home.spawn(&[&["worker"], flags].concat());
        worker.until_stderr(words);
        let labels = if flags.is_empty() { "plain" } else { "a100" };
        assert_eq!(
            workers(&home, &[])[0]["labels"],
            json!([labels]),
            "{flags:?}"
        );
        worker.signal(Signal::TERM);
        worker.done();
    }
    let unknown = home.run(&["worker", "--profile", "gpo"]);
    assert_eq!(unknown.code, Some(2));
    assert!(
        unknown
            .stderr
            .contains("there is no profile `gpo`; did you mean `gpu`?"),
        "{}",
        unknown.stderr
    );
}

#[test]
fn refusals_name_the_value_and_what_would_help() {
    let home = Home::new();
    let _worker = spawn_worker(&home, &["--queues", "default:1", "--name", "painter"]);
    for (args, code, words) in [
        (
            &["workers", "drain", "nobody"][..],
            1,
            "no live worker `nobody`; `aquatint workers` lists them",
        ),
        (
            &["workers", "slots", "painter", "gpu:2"],
            1,
            "does not serve `gpu`; it serves default; start a worker that does: `aquatint worker --queues gpu:1`",
        ),
        (
            &["workers", "slots", "painter", "default"],
            2,
            "expected `name:slots`, got `default`; example: `gpu:3,cpu:0`",
        ),
        (
            &["queues", "pause", "control"],
            1,
            "`control` is the engine's own queue",
        ),
        (
            &["queues", "cap", "default", "0"],
            2,
            "`aquatint queues pause` says that better",
        ),
        (
            &["queues", "cap", "default", "many"],
            2,
            "`none` to lift the cap",
        ),
        (
            &["worker", "--labels", "a b"],
            2,
            "--labels: expected letters, digits",
        ),
        (
            &["worker", "--max-rss", "2"],
            2,
            "--max-rss: expected a size with its unit, got `2`; example: 2GB",
        ),
        (
            &["worker", "--max-tasks", "0"],
            2,
            "--max-tasks: expected at least 1, got 0",
        ),
        (&["worker", "--name", "all"], 2, "not `all`"),
    ] {
        let done = home.run(args);
        assert_eq!(done.code, Some(code), "{args:?}: {}", done.stderr);
        assert!(
            done.stderr.contains(words),
            "{args:?}: {words} is not in\n{}",
            done.stderr
        );
    }
    let slip = home.run(&["queues", "pause", "defualt"]);
    assert!(
        slip.stderr
            .contains("no work and no worker knows a queue `defualt`; did you mean `default`?"),
        "{}",
        slip.stderr
    );
}

#[test]
fn a_worker_tells_which_models_it_has_loaded() {
    let home = Home::new();
    let _worker = spawn_worker(&home, &["--queues", "default:1", "--name", "painter"]);
    home.write(
        "models.yaml",
        "name: models\nsteps:\n  a: { task: core.echo, prefer: sdxl, with: { value: 1 } }\n",
    );
    home.run(&["run", "--detach", "models.yaml"]);
    // It says so with its next heartbeat.
    until("it tells", || {
        let shown = home.run(&["workers"]).stdout;
        shown.contains("painter") && shown.contains("has sdxl loaded")
    });
    assert_eq!(workers(&home, &[])[0]["loaded"], json!(["sdxl"]));
}

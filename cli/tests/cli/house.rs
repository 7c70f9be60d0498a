//! What begins by itself, and whether all is well, as operators see it.

use crate::support::{Home, until};

#[test]
fn a_schedule_is_made_shown_triggered_paused_and_forgotten() {
    let home = Home::new();
    let none = home.run(&["schedules"]);
    assert!(none.stderr.contains("no schedules"), "{}", none.stderr);
    let set = &[
        "schedules",
        "set",
        "daily",
        "--workflow",
        "predict",
        "--cron",
        "0 3 * * *",
    ];
    let refused = home.run(set);
    assert_eq!(
        refused.code,
        Some(2),
        "it lacks an input: {}",
        refused.stderr
    );
    let set = [
        "schedules",
        "set",
        "daily",
        "--workflow",
        "seed-sweep",
        "--cron",
        "30 2 * * *",
        "--zone",
        "Europe/Berlin",
        "-i",
        "prompt=a fox",
    ];
    let made = home.run(&set);
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    assert!(
        made.stderr.contains("schedule daily made: At 02:30."),
        "{}",
        made.stderr
    );
    let shown = home.run(&["schedules", "show", "daily"]);
    assert!(shown.stdout.contains("Europe/Berlin"), "{}", shown.stdout);
    let run = home.run(&["schedules", "trigger", "daily"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let tagged = home.json(&["runs", "--json", "--tag", "aquatint:schedule:daily"]);
    assert_eq!(tagged[0]["id"], run.stdout.trim());
    assert_eq!(home.run(&["schedules", "pause", "daily"]).code, Some(0));
    let listed = home.run(&["schedules"]);
    assert!(listed.stdout.contains("paused"), "{}", listed.stdout);
    assert_eq!(home.run(&["schedules", "resume", "daily"]).code, Some(0));
    let late = home.run(&[
        "schedules",
        "backfill",
        "daily",
        "--from",
        "2026-01-01",
        "--until",
        "2026-01-03",
    ]);
    assert!(
        late.stderr.contains("2 ticks of daily wait"),
        "{}",
        late.stderr
    );
    assert_eq!(home.run(&["schedules", "remove", "daily"]).code, Some(0));
    let gone = home.run(&["schedules", "show", "daily"]);
    assert_eq!(
        (gone.code, gone.stderr.as_str()),
        (Some(1), "error: no schedule `daily`\n")
    );
}

#[test]
fn a_wrong_time_is_shown_with_its_place() {
    let home = Home::new();
    let wrong = home.run(&["schedules", "next", "0 3 * FOO *"]);
    let said = "error: `FOO` is no month\n  0 3 * FOO *\n        ^^^\n  a month is 1-12 or JAN-DEC; lists `1,3`, ranges `1-5` and steps `*/10` work too\n";
    assert_eq!((wrong.code, wrong.stderr.as_str()), (Some(2), said));
    let next = home.run(&[
        "schedules",
        "next",
        "@daily",
        "--zone",
        "Asia/Tokyo",
        "-n",
        "3",
    ]);
    assert_eq!(next.stdout.lines().count(), 3);
    assert!(
        next.stdout
            .lines()
            .all(|line| line.ends_with("T00:00:00+09:00")),
        "{}",
        next.stdout
    );
}

#[test]
fn an_installation_says_how_it_is() {
    let home = Home::new();
    home.write(
        "aquatint.toml",
        "[health]\ndisk_warning = 99.9\ndisk_critical = 100.0\n",
    );
    let report = home.json(&["health", "--json"]);
    assert_eq!(report["status"], "degraded", "no worker lives: {report}");
    home.write(
        "aquatint.toml",
        "[health]\ndisk_critical = 0.0\ndisk_warning = 0.0\n",
    );
    let critical = home.run(&["health"]);
    assert_eq!(critical.code, Some(1), "{}", critical.stdout);
    assert!(
        critical.stdout.ends_with("critical\n"),
        "{}",
        critical.stdout
    );
    assert!(home.run(&["alerts"]).stderr.contains("nothing is wrong"));
    assert!(
        home.run(&["alerts", "rules"])
            .stdout
            .contains("worker-lost")
    );
    let silent = home.run(&["alerts", "silence", "health", "--for", "2h"]);
    assert!(
        silent.stderr.starts_with("health is silent until "),
        "{}",
        silent.stderr
    );
    assert!(
        home.run(&["alerts"])
            .stderr
            .contains("health is silent until")
    );
    let unknown = home.run(&["alerts", "silence", "helth"]);
    assert_eq!(unknown.code, Some(2), "{}", unknown.stderr);
}

#[test]
fn what_happens_is_printed_as_it_happens() {
    let home = Home::new();
    assert_eq!(home.run(&["run", "echo.yaml"]).code, Some(0));
    let past = home.run(&["events"]);
    assert!(
        past.stdout.contains("run submitted   echo"),
        "{}",
        past.stdout
    );
    assert!(past.stdout.contains("run succeeded"), "{}", past.stdout);
    let last = home.run(&["events", "--json", "-n", "1"]);
    assert!(
        last.stdout.lines().count() >= 1 && last.stdout.lines().all(|l| l.starts_with('{')),
        "{}",
        last.stdout
    );
    let heard = home.path("heard");
    let mut follower = home
        .command(&["events", "--follow", "-n", "0"])
        .stdout(std::fs::File::create(&heard).unwrap())
        .spawn()
        .unwrap();
    let worker = home.spawn(&["worker"]);
    home.run(&["run", "--detach", "echo.yaml"]);
    until("it is heard of", || {
        let heard = std::fs::read_to_string(&heard).unwrap();
        heard.contains("run submitted") && heard.contains("run succeeded")
    });
    follower.kill().unwrap();
    follower.wait().unwrap();
    drop(worker);
}

#[test]
fn cleaning_says_what_it_removed_and_its_history_is_kept() {
    let home = Home::new();
    assert!(home.run(&["maintenance"]).stderr.contains("nothing yet"));
    assert_eq!(home.run(&["run", "clean-up"]).code, Some(0));
    let listed = home.run(&["maintenance"]);
    assert!(
        listed
            .stdout
            .contains("0 files deleted, 0 MB freed, 0 records forgotten"),
        "{}",
        listed.stdout
    );
    assert_eq!(home.run(&["run", "echo.yaml"]).code, Some(0));
    let cleaned = home.json(&["maintenance", "clean", "--keep-runs", "0s", "--json"]);
    assert_eq!(
        cleaned["runs"], 1,
        "the clean-up itself says how long it is kept: {cleaned}"
    );
}

#[test]
fn a_worker_tells_what_it_counts_to_whoever_asks() {
    use std::io::{Read as _, Write as _};
    let home = Home::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let refused = home.run(&["worker", "--metrics", &address]);
    assert_eq!(refused.code, Some(1));
    assert!(
        refused
            .stderr
            .contains(&format!("cannot listen on {address}")),
        "{}",
        refused.stderr
    );
    drop(taken);
    let mut worker = home.spawn(&["worker", "--metrics", &address]);
    worker.until_stderr("serving");
    home.run(&["run", "--detach", "echo.yaml"]);
    until("the run succeeds", || home.state() == "succeeded");
    until("it is counted", || {
        let mut asked = std::net::TcpStream::connect(&address).unwrap();
        write!(
            asked,
            "GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut told = String::new();
        asked.read_to_string(&mut told).unwrap();
        told.contains("aquatint_tasks_total{task=\"core.echo\",outcome=\"succeeded\"}")
    });
}

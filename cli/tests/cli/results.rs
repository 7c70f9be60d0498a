//! What a run gives back.

use serde_json::{Value, json};

use crate::support::Home;

#[test]
fn outputs_go_to_stdout_and_the_story_to_stderr() {
    let home = Home::new();
    let done = home.run(&["run", "echo.yaml", "-i", "word=山の湖 \u{1f3d4} = \"lake\""]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert_eq!(done.stdout, "word: 山の湖 \u{1f3d4} = \"lake\"\nn: 3\n");
    let story: Vec<&str> = done.stderr.lines().collect();
    assert_eq!(story[0], "one  started");
    assert!(story[1].starts_with("one  done in "), "{story:?}");
    assert!(story.last().unwrap().starts_with("done in "), "{story:?}");
    home.check();
}

#[test]
fn quiet_leaves_stderr_empty() {
    let home = Home::new();
    let done = home.run(&["run", "-q", "echo.yaml"]);
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""));
}

#[test]
fn json_is_one_document_and_the_only_thing_on_stdout() {
    let home = Home::new();
    let run = home.json(&["run", "echo.yaml", "--json", "-i", "n=7"]);
    assert_eq!(run["state"], "succeeded");
    assert_eq!(run["outputs"], json!({ "word": "hello", "n": 7 }));
    assert_eq!(
        (&run["failure"], &run["artifacts"]),
        (&Value::Null, &json!([]))
    );
    assert!(run["duration_ms"].is_u64() && run["run"].is_string());
}

#[test]
fn a_failed_run_says_why_exits_with_5_and_can_be_retried() {
    let home = Home::new();
    let done = home.run(&["run", "flaky.yaml"]);
    assert_eq!(done.code, Some(5));
    assert!(
        done.stderr.contains("two  failed: out of paint (supply)"),
        "{}",
        done.stderr
    );
    assert!(done.stderr.contains("aquatint retry"), "{}", done.stderr);
    let listed = home.run(&["runs", "--state", "failed"]).stdout;
    assert!(
        listed.contains("step `two`: out of paint (supply)"),
        "{listed}"
    );
    let refused = home.run(&["resume", "@latest"]);
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.stderr.contains("has failed; `aquatint retry"),
        "{}",
        refused.stderr
    );
    let again = home.run(&["retry", "@latest"]);
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    assert!(
        !again.stderr.contains("one  "),
        "what was done is not done again: {}",
        again.stderr
    );
    home.check();
}

const MANY: &str = r#"
name: many
steps:
  each:
    workflow: trial
    foreach: ${{ ["good", "bad", "good"] }}
    fail: tolerate
    with: { word: "${{ item }}" }
outputs: { results: "${{ steps.each.map(r, r.status) }}" }
"#;
const TRIAL: &str = r#"
name: trial
inputs: { word: string }
steps:
  pass: { task: core.echo, with: { value: 1 } }
  fall:
    task: core.fail
    when: inputs.word == "bad"
    with: { message: it was bad, remedy: fail }
"#;

#[test]
fn a_mapped_step_is_counted_and_its_runs_stay_out_of_the_way() {
    let home = Home::new();
    home.write("mine/many.yaml", MANY);
    home.write("mine/trial.yaml", TRIAL);
    let mine = ["--definitions", "mine"];
    let done = home.run(&[&["run", "many"], &mine[..]].concat());
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert_eq!(
        done.stdout,
        "results: [\"succeeded\",\"failed\",\"succeeded\"]\n"
    );
    assert!(
        done.stderr.starts_with("each  started with 3 items\n"),
        "{}",
        done.stderr
    );
    assert!(
        done.stderr.contains("each  item 1 failed: "),
        "{}",
        done.stderr
    );
    assert!(
        done.stderr.contains("(3 items, 1 failed)"),
        "{}",
        done.stderr
    );
    assert_eq!(home.json(&["runs", "--json"]).as_array().unwrap().len(), 1);
    assert_eq!(
        home.json(&["runs", "--json", "--all"])
            .as_array()
            .unwrap()
            .len(),
        4
    );
    let newest = home.json(&["show", "@latest", "--json"]);
    assert_eq!(newest["run"]["workflow"], "many");
    home.check();
}

#[test]
fn an_output_folder_that_cannot_be_is_refused_before_the_work() {
    let home = Home::new();
    let done = home.run(&["run", "echo.yaml", "-o", "echo.yaml"]);
    assert_eq!((done.code, done.stdout.as_str()), (Some(1), ""));
    assert!(
        done.stderr
            .starts_with("error: cannot make the folder echo.yaml: "),
        "{}",
        done.stderr
    );
    assert_eq!(home.json(&["runs", "--json"]), json!([]));
}

#[test]
fn a_failed_run_is_a_json_document_too() {
    let home = Home::new();
    let done = home.run(&["run", "flaky.yaml", "--json", "-q"]);
    assert_eq!(done.code, Some(5));
    let run: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(
        (&run["state"], &run["failure"]["class"]),
        (&json!("failed"), &json!("supply"))
    );
}

#[test]
fn one_idempotency_key_gives_one_run() {
    let home = Home::new();
    let run = |n: &str| {
        home.run(&[
            "run",
            "echo.yaml",
            "--json",
            "--idempotency-key",
            "k1",
            "-i",
            n,
        ])
    };
    let first: Value = serde_json::from_str(&run("n=1").stdout).unwrap();
    let second: Value = serde_json::from_str(&run("n=1").stdout).unwrap();
    assert_eq!(first["run"], second["run"]);
    let other = run("n=2");
    assert_eq!(other.code, Some(1));
    assert!(
        other.stderr.contains("idempotency key `k1`"),
        "{}",
        other.stderr
    );
}

#[test]
fn a_picture_is_painted_copied_out_inspected_and_painted_again() {
    let home = Home::new();
    let prompt = "prompt=../../ein Häuschen am See 山";
    let small = ["-i", "width=64", "-i", "height=64", "-i", prompt];
    let done = home.run(&[&["run", "image-generation", "-o", "out"], &small[..]].concat());
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let path = done.stdout.lines().next().unwrap();
    assert!(
        path.starts_with("out/") && !path[4..].contains('/'),
        "{path}"
    );
    let picture = std::fs::read(home.path(path)).unwrap();
    assert!(picture.starts_with(b"\x89PNG"));
    assert!(
        done.stderr.lines().last().unwrap().contains(path),
        "{}",
        done.stderr
    );

    let told = home.json(&["inspect", path, "--json"]);
    assert_eq!(told["aquatint:workflow"], "image-generation");
    let again = home.run(&["inspect", path, "--run"]);
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    let again = std::fs::read(again.stdout.lines().next().unwrap()).unwrap();
    let pixels = |png: &[u8]| {
        png.windows(4)
            .position(|w| w == b"IDAT")
            .map(|at| png[at..].to_vec())
    };
    assert_eq!(pixels(&picture), pixels(&again));

    let files = home.json(&["artifacts", "@latest", "--json"]);
    assert!(files.as_array().unwrap().iter().all(|f| {
        f["path"]
            .as_str()
            .is_some_and(|p| std::path::Path::new(p).is_file())
    }));
    home.check();
}

#[test]
fn a_deleted_run_is_gone_and_its_files_are_cleaned() {
    let home = Home::new();
    assert_eq!(home.run(&["run", "echo.yaml"]).code, Some(0));
    let id = home.json(&["runs", "--json"])[0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(home.run(&["delete", &id[..13]]).code, Some(0));
    assert_eq!(home.json(&["runs", "--json"]), json!([]));
    assert_eq!(
        home.run(&["maintenance", "clean", "--grace", "0s"]).code,
        Some(0)
    );
    let done = home.run(&["show", "@latest"]);
    assert_eq!(
        (done.code, done.stderr.as_str()),
        (Some(1), "error: there are no runs yet\n")
    );
}

#[test]
fn show_tells_steps_attempts_and_inputs() {
    let home = Home::new();
    home.run(&["run", "flaky.yaml", "--tag", "trial"]);
    let shown = home.run(&["show", "@latest"]).stdout;
    for words in [
        "workflow  flaky",
        "state     failed",
        "tags      trial",
        "one  ✓ succeeded",
        "two  ✗ failed",
        "attempt 1  failed",
    ] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    let drawn = home.run(&["graph", "@latest"]).stdout;
    assert!(
        drawn.contains("✓ one") && drawn.contains("✗ two"),
        "{drawn}"
    );
}

#[test]
fn nobody_reading_is_no_error() {
    let home = Home::new();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let done: crate::support::Done = home
        .command(&["tasks", "--json"])
        .stdout(writer)
        .output()
        .unwrap()
        .into();
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""));
}

//! Definitions: found, overridden, validated, drawn.

use serde_json::{Value, json};

use crate::support::{ECHO, Home};

const BROKEN: &str = "name: broken\nsteps:\n  one: { task: core.ehco }\n";

#[test]
fn validate_shows_every_mistake_and_exits_with_1() {
    let home = Home::new();
    home.write("broken.yaml", BROKEN);
    let done = home.run(&["validate", "echo.yaml", "broken.yaml"]);
    assert_eq!(done.code, Some(1));
    assert!(
        done.stdout.contains("ok  echo  2 steps  echo.yaml"),
        "{}",
        done.stdout
    );
    assert!(
        done.stdout.contains("broken.yaml:3:16")
            && done.stdout.contains("did you mean `core.echo`"),
        "{}",
        done.stdout
    );
    assert_eq!(done.stderr, "error: 1 of 2 definitions has mistakes\n");
}

#[test]
fn validate_as_json_gives_places() {
    let home = Home::new();
    home.write("broken.yaml", BROKEN);
    let done = home.run(&["validate", "broken.yaml", "--json"]);
    assert_eq!((done.code, done.stderr.as_str()), (Some(1), ""));
    let found: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(found[0]["valid"], false);
    assert_eq!(
        (
            &found[0]["diagnostics"][0]["line"],
            &found[0]["diagnostics"][0]["code"]
        ),
        (&json!(3), &json!("unknown-task"))
    );
}

#[test]
fn what_ships_is_valid() {
    let home = Home::new();
    let done = home.run(&["validate"]);
    assert_eq!(done.code, Some(0), "{}{}", done.stdout, done.stderr);
}

#[test]
fn definitions_given_together_may_run_each_other() {
    let home = Home::new();
    home.write("outer.yaml", "name: outer\nsteps:\n  inner: { workflow: echo }\noutputs: { word: '${{ steps.inner.word }}' }\n");
    assert_eq!(
        home.run(&["validate", "outer.yaml", "echo.yaml"]).code,
        Some(0)
    );
    let alone = home.run(&["validate", "outer.yaml"]);
    assert_eq!(alone.code, Some(1));
    home.write(
        "mine/outer.yaml",
        &std::fs::read_to_string(home.path("outer.yaml")).unwrap(),
    );
    home.write("mine/echo.yaml", ECHO);
    let done = home.run(&["run", "outer", "--definitions", "mine"]);
    assert_eq!(
        (done.code, done.stdout.as_str()),
        (Some(0), "word: hello\n"),
        "{}",
        done.stderr
    );
}

#[test]
fn a_folder_adds_to_and_overrides_what_ships() {
    let home = Home::new();
    home.write(
        "mine/own.yaml",
        &ECHO.replace("name: echo", "name: image-generation"),
    );
    let run = |name: &str| home.run(&["run", name, "--definitions", "mine", "-q"]);
    assert_eq!(run("image-generation").stdout, "word: hello\nn: 3\n");
    assert!(
        home.run(&["workflows", "--definitions", "mine"])
            .stdout
            .contains("postcard")
    );
}

#[test]
fn one_bad_file_hides_no_other_and_shows_when_asked_for() {
    let home = Home::new();
    home.write("mine/good.yaml", ECHO);
    // Broken, and named like one that ships: that one must not run in its place.
    home.write(
        "mine/bad.yaml",
        &BROKEN
            .replace("name: broken", "name: postcard")
            .replace("one:", "one: 1\n  two:"),
    );
    let mine = ["--definitions", "mine"];
    assert_eq!(
        home.run(&[&["run", "echo"], &mine[..]].concat()).code,
        Some(0)
    );
    let asked = home.run(&[&["run", "postcard", "-i", "place=x"], &mine[..]].concat());
    assert_eq!(asked.code, Some(1));
    assert!(asked.stderr.contains("mine/bad.yaml"), "{}", asked.stderr);
    let doctor = home.run(&[&["doctor"], &mine[..]].concat());
    assert_eq!(doctor.code, Some(1));
    assert!(
        doctor.stdout.contains("mine/bad.yaml has"),
        "{}",
        doctor.stdout
    );
    let nowhere = home.run(&["workflows", "--definitions", "nowhere"]);
    assert_eq!(nowhere.code, Some(1));
    assert!(
        nowhere.stderr.starts_with("error: cannot read nowhere: "),
        "{}",
        nowhere.stderr
    );
}

#[test]
fn a_definition_is_drawn_as_text_dot_and_svg() {
    let home = Home::new();
    let text = home.run(&["graph", "echo.yaml"]).stdout;
    assert!(
        text.contains("│    one    │") && text.contains('▼'),
        "{text}"
    );
    let dot = home.run(&["graph", "echo.yaml", "--format", "dot"]).stdout;
    assert!(dot.contains("\"one\" -> \"two\""), "{dot}");
    let svg = home.run(&["graph", "echo.yaml", "--format", "svg"]).stdout;
    assert!(
        svg.starts_with("<svg ") && svg.contains(">one</text>"),
        "{svg}"
    );
}

#[test]
fn schema_and_completions_need_no_settings() {
    let home = Home::new();
    home.write("aquatint.toml", "this is no TOML");
    assert!(home.json(&["schema"]).is_object());
    for shell in ["bash", "zsh", "fish"] {
        let done = home.run(&["completions", shell]);
        assert_eq!(done.code, Some(0));
        assert!(done.stdout.contains("aquatint"));
    }
}

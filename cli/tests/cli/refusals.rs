//! What is refused, with which words and which exit code.

use crate::support::Home;

/// One line, said as an error, without anything a programmer would have to read.
fn sentence(stderr: &str) -> &str {
    let line = stderr.trim_end();
    assert!(
        line.starts_with("error: ") && !line.contains("panicked") && !line.contains("Error {"),
        "{line}"
    );
    line
}

#[test]
fn inputs_are_refused_by_name_before_anything_is_stored() {
    let home = Home::new();
    for (input, words) in [
        (
            "n=many",
            "input `n`: expected an integer, got `many`; example: -i 'n=3'",
        ),
        ("m=1", "there is no input `m`"),
        ("n", "expected `name=value`"),
        ("word=@nowhere.txt", "input `word`: cannot read nowhere.txt"),
        ("@nowhere.json", "cannot read nowhere.json"),
    ] {
        let done = home.run(&["run", "echo.yaml", "-i", input]);
        assert_eq!((done.code, done.stdout.as_str()), (Some(2), ""), "{input}");
        assert!(sentence(&done.stderr).contains(words), "{}", done.stderr);
    }
    assert_eq!(home.json(&["runs", "--json"]), serde_json::json!([]));
}

#[test]
fn a_run_that_is_not_there_or_not_clear_is_refused() {
    let home = Home::new();
    for command in [
        "show",
        "logs",
        "cancel",
        "pause",
        "resume",
        "retry",
        "delete",
        "artifacts",
    ] {
        let done = home.run(&[command, "0193abcd"]);
        assert_eq!(done.code, Some(1), "{command}");
        assert!(
            sentence(&done.stderr).contains("no run `0193abcd`"),
            "{}",
            done.stderr
        );
    }
    home.run(&["run", "echo.yaml"]);
    home.run(&["run", "echo.yaml"]);
    let id = home.json(&["runs", "--json"])[0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let done = home.run(&["show", &id[..4]]);
    assert!(
        sentence(&done.stderr).contains("fits more than one run"),
        "{}",
        done.stderr
    );
    let done = home.run(&["cancel", &id]);
    assert_eq!(done.code, Some(1));
    assert!(
        sentence(&done.stderr).contains("cannot cancel a run that is succeeded"),
        "{}",
        done.stderr
    );
}

#[test]
fn a_data_directory_that_cannot_be_is_refused_in_a_sentence() {
    let home = Home::new();
    let done = home.run(&["runs", "--data-dir", "echo.yaml/below-a-file"]);
    assert_eq!(done.code, Some(1));
    assert!(
        sentence(&done.stderr).contains("AQUATINT_DATA_DIR"),
        "{}",
        done.stderr
    );
    home.write(
        "data/aquatint.db",
        &"this is a diary, and no database\n".repeat(100),
    );
    let done = home.run(&["runs"]);
    assert_eq!(done.code, Some(1));
    assert!(
        sentence(&done.stderr).contains("aquatint.db"),
        "{}",
        done.stderr
    );
    let doctor = home.run(&["doctor"]);
    assert_eq!(doctor.code, Some(1));
    assert!(
        doctor.stdout.contains("✗  database") && doctor.stdout.contains("✓  definitions"),
        "{}",
        doctor.stdout
    );
}

#[test]
fn a_database_from_a_newer_version_is_left_alone() {
    let home = Home::new();
    home.run(&["runs"]);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        use sqlx::ConnectOptions as _;
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(home.path("data/aquatint.db"));
        let mut connection = options.connect().await.unwrap();
        let newer = "insert into _sqlx_migrations (version, description, success, checksum, execution_time) \
                     values (999, 'future', 1, x'00', 0)";
        sqlx::query(newer).execute(&mut connection).await.unwrap();
    });
    let done = home.run(&["runs"]);
    assert_eq!(done.code, Some(1));
    assert!(sentence(&done.stderr).contains("newer"), "{}", done.stderr);
}

#[test]
fn what_is_no_picture_of_ours_is_refused() {
    let home = Home::new();
    let done = home.run(&["inspect", "echo.yaml"]);
    assert_eq!(done.code, Some(1));
    assert!(
        sentence(&done.stderr).contains("not a PNG"),
        "{}",
        done.stderr
    );
    let done = home.run(&["inspect", "nowhere.png"]);
    assert!(
        sentence(&done.stderr).contains("cannot read nowhere.png"),
        "{}",
        done.stderr
    );
}

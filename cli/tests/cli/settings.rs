//! Where settings come from, and how wrong ones are refused.

use serde_json::Value;

use crate::support::Home;

fn setting(doctor: &Value, key: &str) -> (String, String) {
    let found = doctor["settings"]
        .as_array()
        .unwrap()
        .iter()
        .find(|s| s["key"] == key);
    let found = found.unwrap_or_else(|| panic!("{key} is not told: {doctor}"));
    (
        found["value"].as_str().unwrap().to_owned(),
        found["from"].as_str().unwrap().to_owned(),
    )
}

#[test]
fn a_flag_beats_the_environment_beats_the_file_beats_the_default() {
    let home = Home::new();
    let doctor = |args: &[&str], env: Option<(&str, &str)>| -> Value {
        let mut command = home.command(&[&["doctor", "--json"], args].concat());
        command.envs(env);
        serde_json::from_slice(&command.output().unwrap().stdout).unwrap()
    };
    let told = |from: (String, String)| format!("{} from {}", from.0, from.1);
    assert_eq!(
        told(setting(&doctor(&[], None), "lease")),
        "15s from default"
    );
    home.write(
        ".config/aquatint/config.toml",
        "lease = \"20s\"\ndurability = \"normal\"\n",
    );
    home.write(
        "aquatint.toml",
        "lease = \"30s\"\n[tasks.http]\nallowed_hosts = [\"a.example\"]\n",
    );
    let files = doctor(&[], None);
    assert_eq!(told(setting(&files, "lease")), "30s from aquatint.toml");
    assert!(told(setting(&files, "durability")).starts_with("normal from /"));
    assert_eq!(
        told(setting(&files, "tasks.http.allowed_hosts")),
        "a.example from aquatint.toml"
    );
    let env = doctor(&[], Some(("AQUATINT_LEASE", "40s")));
    assert_eq!(told(setting(&env, "lease")), "40s from AQUATINT_LEASE");
    let flags = doctor(&["--queues", "gpu:2"], Some(("AQUATINT_QUEUES", "gpu:9")));
    assert_eq!(told(setting(&flags, "queues")), "gpu:2 from --queues");
}

#[test]
fn a_wrong_setting_is_refused_with_its_place_and_the_nearest_name() {
    let home = Home::new();
    for (file, words) in [
        (
            "leese = \"20s\"",
            "aquatint.toml: there is no setting `leese`; did you mean `lease`?",
        ),
        (
            "[tasks.http]\nallowed_host = []",
            "aquatint.toml: there is no setting `tasks.http.allowed_host`; did you mean `allowed_hosts`?",
        ),
        (
            "lease = \"soon\"",
            "aquatint.toml: lease: expected a duration of at least 1s, got `soon`",
        ),
        (
            "durability = \"some\"",
            "aquatint.toml: durability: expected one of full, normal, got `some`",
        ),
        (
            "queues = 3",
            "aquatint.toml: queues: expected a string, got",
        ),
        (
            "queues = \"gpu\"",
            "aquatint.toml: queues: expected `name:slots`, got `gpu`",
        ),
        (
            "artifacts = \"gs://bucket\"",
            "aquatint.toml: artifacts: expected a folder, `file:///folder` or `s3://bucket/prefix`; `gs://` is none of them",
        ),
        (
            "artifacts = \"s3://bucket\"",
            "aquatint.toml: artifacts: the bucket `bucket` needs credentials; set AQUATINT_S3_ACCESS_KEY_ID",
        ),
        (
            "artifacts = \"s3://bucket\"\n[s3]\nendpoint = \"http://far.example\"",
            "aquatint.toml: s3.endpoint: expected `https://host`",
        ),
        (
            "[s3]\nsecret_access_key = 4242424242",
            "aquatint.toml: s3.secret_access_key: expected a string\n",
        ),
        (
            "[smtp]\nhost = \"mail.example.org\"",
            "aquatint.toml: smtp.host: the server lacks a sender; set `from` under [smtp]",
        ),
        (
            "[smtp]\nhost = \"mail.example.org\"\nfrom = \"a@example.org\"\ntls = \"none\"",
            "aquatint.toml: smtp.tls: without TLS, messages and the password would be sent in the open",
        ),
        (
            "[smtp]\nhost = \"mail.example.org\"\ntls = \"maybe\"",
            "aquatint.toml: smtp.tls: expected tls, starttls or none, got `maybe`",
        ),
        (
            "[smtp]\npassword = 4242424242",
            "aquatint.toml: smtp.password: expected a string\n",
        ),
        ("lease = \n", "aquatint.toml:1: "),
    ] {
        home.write("aquatint.toml", file);
        let done = home.run(&["tasks"]);
        assert_eq!(done.code, Some(2), "{file}");
        assert!(done.stderr.contains(words), "{file}: {}", done.stderr);
    }
}

#[test]
fn a_wrong_variable_is_refused_by_its_name() {
    let home = Home::new();
    for (variable, value, words) in [
        (
            "AQUATINT_QUEUES",
            "gpu",
            "error: AQUATINT_QUEUES: expected `name:slots`, got `gpu`",
        ),
        (
            "AQUATINT_DATADIR",
            "/x",
            "AQUATINT_DATADIR: there is no such setting; did you mean `AQUATINT_DATA_DIR`?",
        ),
        (
            "AQUATINT_TASKS_HTTP_ALLOW_PRIVATE",
            "maybe",
            "expected true or false, got `maybe`",
        ),
        ("AQUATINT_LOG", "a=b=c", "AQUATINT_LOG: "),
        (
            "AQUATINT_SMTP_URL",
            "smtps://me:word",
            "error: AQUATINT_SMTP_URL: expected smtps://user:password@host:465",
        ),
    ] {
        let output = home
            .command(&["tasks"])
            .env(variable, value)
            .output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{variable}: {stderr}");
        assert!(stderr.contains(words), "{variable}: {stderr}");
    }
}

#[test]
fn paths_in_a_file_are_meant_from_where_the_file_is() {
    let home = Home::new();
    let file = home.write(
        "conf/a.toml",
        "data_dir = \"d\"\ndefinitions = [\"flows\", \"~/own\"]\n",
    );
    home.write("conf/flows/x.yaml", crate::support::ECHO);
    home.write("own/y.yaml", crate::support::NAP);
    let mut command = home.command(&["--config", file.to_str().unwrap(), "workflows", "--json"]);
    let output = command.env_remove("AQUATINT_DATA_DIR").output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(
        stdout.contains("conf/flows/x.yaml") && stdout.contains("own/y.yaml"),
        "{stdout}"
    );
}

/// A database of this test's own on the server that tests are given.
fn schema() -> String {
    let server = std::env::var("AQUATINT_TEST_POSTGRES").expect(
        "this test needs a PostgreSQL: run it as `scripts/services run -- cargo test`, \
         or name a server in AQUATINT_TEST_POSTGRES",
    );
    let schema = format!("doctor{}", std::process::id());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        use sqlx::Connection as _;
        let mut conn = sqlx::PgConnection::connect(&server).await.unwrap();
        let create = sqlx::AssertSqlSafe(format!("create schema {schema}"));
        sqlx::raw_sql(create).execute(&mut conn).await.unwrap();
    });
    let mark = if server.contains('?') { '&' } else { '?' };
    format!("{server}{mark}options=-csearch_path%3D{schema}")
}

#[test]
fn the_doctor_looks_at_a_redis_where_there_is_one() {
    let home = Home::new();
    let database = schema();
    let looked = |redis: &str| {
        let mut command = home.command(&["doctor", "--json"]);
        command.env("AQUATINT_DATABASE_URL", &database);
        command.env("AQUATINT_REDIS_URL", redis);
        let output = command.output().unwrap();
        let doctor: Value = serde_json::from_slice(&output.stdout).unwrap();
        let findings = doctor["findings"].as_array().unwrap().clone();
        let found = |what: &str| {
            let found = findings.iter().find(|f| f["what"] == what);
            found
                .unwrap_or_else(|| panic!("no {what}: {doctor}"))
                .clone()
        };
        assert_eq!(found("database")["fine"], true, "{doctor}");
        (output.status.code(), found("redis"))
    };
    let redis = std::env::var("AQUATINT_TEST_REDIS").expect("a Redis beside the PostgreSQL");
    let (code, found) = looked(&redis);
    assert_eq!((code, &found["text"]), (Some(0), &"answers".into()));
    // Nobody listens there.
    let (code, found) = looked("redis://127.0.0.1:1");
    assert_eq!((code, &found["fine"]), (Some(1), &false.into()));
    let text = found["text"].as_str().unwrap();
    assert!(
        text.starts_with("no Redis answers at redis://127.0.0.1:1 "),
        "{text}"
    );
}

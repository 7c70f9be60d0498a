//! The program with its files in a bucket, or in a folder of their own.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::runtime::Runtime;

use crate::service::{ID, SECRET, Service};
use crate::support::{Done, Home};

/// Writes a word to a file.
const WRITE: &str = r#"name: write
inputs: { word: { type: string, default: lake } }
steps:
  one:
    task: command.run
    with:
      program: /bin/sh
      args: [-c, 'printf %s "$0" > note.txt', "${{ inputs.word }}"]
      files: [{ name: note, path: note.txt, media_type: text/plain }]
  two:
    task: command.run
    with:
      program: /bin/sh
      args: [-c, 'printf "%s, again" "$(cat in/note.txt)"']
      inputs: [{ path: in/note.txt, artifact: "${{ steps.one.files.note }}" }]
outputs: { note: "${{ steps.one.files.note }}", said: "${{ steps.two.stdout }}" }
"#;

struct Remote {
    home: Home,
    service: Service,
    _runtime: Runtime,
}

impl Remote {
    fn new() -> Self {
        let runtime = Runtime::new().unwrap();
        let service = runtime.block_on(Service::start());
        let home = Home::new();
        home.write("write.yaml", WRITE);
        Self {
            home,
            service,
            _runtime: runtime,
        }
    }

    fn with(&self, args: &[&str], env: &[(&str, &str)]) -> Done {
        let mut command = self.home.command(args);
        command
            .env("AQUATINT_ARTIFACTS", "s3://pictures/mine")
            .env("AQUATINT_S3_ENDPOINT", endpoint(self.service.address))
            .env("AQUATINT_S3_ACCESS_KEY_ID", ID)
            .env("AQUATINT_S3_SECRET_ACCESS_KEY", SECRET)
            .envs(env.iter().copied());
        let done: Done = command.output().unwrap().into();
        for text in [&done.stdout, &done.stderr] {
            assert!(!text.contains(SECRET) && !text.contains(ID), "{text}");
        }
        done
    }

    fn run(&self, args: &[&str]) -> Done {
        self.with(args, &[])
    }

    fn json(&self, args: &[&str]) -> Value {
        let done = self.run(args);
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        serde_json::from_str(&done.stdout).unwrap()
    }
}

fn endpoint(address: SocketAddr) -> String {
    format!("http://{address}")
}

#[test]
fn files_in_a_bucket_are_shown_by_their_address_and_copied_out() {
    let remote = Remote::new();
    let done = remote.run(&["run", "write.yaml"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let url = done.stdout.lines().next().unwrap();
    assert!(url.starts_with("s3://pictures/mine/"), "{}", done.stdout);
    assert!(done.stdout.contains("said: lake, again"), "{}", done.stdout);
    let key = url.strip_prefix("s3://pictures/").unwrap();
    let object = remote.service.bucket().join(key);
    assert_eq!(std::fs::read_to_string(&object).unwrap(), "lake");
    assert!(!remote.home.path("data/artifacts").exists());

    let listed = remote.json(&["artifacts", "@latest", "--json"]);
    assert_eq!(
        (&listed[0]["url"], &listed[0]["path"]),
        (&url.into(), &Value::Null)
    );
    for args in [["show", "@latest"], ["artifacts", "@latest"]] {
        assert!(remote.run(&args).stdout.contains(url));
    }
    std::fs::remove_dir_all(remote.home.path("data/artifact-cache")).unwrap();
    let copied = remote.run(&["artifacts", "@latest", "-o", "out"]);
    assert_eq!(copied.stdout, "out/note\n", "{}", copied.stderr);
    assert_eq!(
        std::fs::read_to_string(remote.home.path("out/note")).unwrap(),
        "lake"
    );
    let copied = remote.run(&["run", "write.yaml", "-i", "word=sea", "-o", "out"]);
    assert!(
        copied.stdout.starts_with("out/note-2\n"),
        "{}",
        copied.stdout
    );

    assert_eq!(remote.run(&["check"]).code, Some(0));
    std::fs::remove_file(&object).unwrap();
    let checked = remote.run(&["check"]);
    assert_eq!(checked.code, Some(1));
    assert!(checked.stdout.contains("is missing"), "{}", checked.stdout);
}

#[test]
fn a_bucket_in_trouble_is_one_sentence_and_exit_1() {
    let remote = Remote::new();
    let closed = "http://127.0.0.1:9";
    for (variable, value, words) in [
        ("AQUATINT_S3_SECRET_ACCESS_KEY", "wrong", "`pictures`"),
        (
            "AQUATINT_ARTIFACTS",
            "s3://nowhere",
            "there is no bucket `nowhere`",
        ),
        ("AQUATINT_S3_ENDPOINT", closed, "cannot be reached"),
    ] {
        for command in [&["run", "write.yaml"][..], &["check"], &["doctor"]] {
            let done = remote.with(command, &[(variable, value)]);
            assert_eq!(done.code, Some(1), "{command:?}: {}", done.stderr);
            let told = if command == ["doctor"] {
                &done.stdout
            } else {
                &done.stderr
            };
            let lines: Vec<&str> = told.lines().filter(|l| l.contains(words)).collect();
            assert!(lines.len() == 1 && lines[0].contains("AQUATINT_"), "{told}");
        }
    }
}

#[test]
fn doctor_says_where_files_go_and_hides_the_credentials() {
    let remote = Remote::new();
    let doctor = remote.run(&["doctor"]).stdout;
    assert!(
        doctor.contains("s3://pictures/mine can be used"),
        "{doctor}"
    );
    assert!(
        doctor.contains("s3.secret_access_key") && doctor.contains("(hidden)"),
        "{doctor}"
    );
}

#[test]
fn the_variables_of_other_tools_count_where_ours_are_silent() {
    let remote = Remote::new();
    let aws = [
        ("AQUATINT_S3_ENDPOINT", ""),
        ("AQUATINT_S3_ACCESS_KEY_ID", ""),
        ("AQUATINT_S3_SECRET_ACCESS_KEY", ""),
        ("AWS_ENDPOINT_URL", &endpoint(remote.service.address)),
        ("AWS_ACCESS_KEY_ID", ID),
        ("AWS_SECRET_ACCESS_KEY", SECRET),
    ];
    let done = remote.with(&["doctor"], &aws);
    assert_eq!(done.code, Some(0), "{}{}", done.stdout, done.stderr);
    assert!(done.stdout.contains("AWS_*"), "{}", done.stdout);
    // Half of one identity and half of another is none.
    let mixed = [&aws[..], &[("AQUATINT_S3_ACCESS_KEY_ID", ID)]].concat();
    let done = remote.with(&["doctor"], &mixed);
    assert_eq!(done.code, Some(2), "{}", done.stdout);
    assert!(
        done.stderr.contains("AQUATINT_S3_SECRET_ACCESS_KEY"),
        "{}",
        done.stderr
    );
}

#[test]
fn files_can_go_to_a_folder_of_their_own() {
    let home = Home::new();
    home.write("write.yaml", WRITE);
    home.write("aquatint.toml", "artifacts = \"pictures\"\n");
    let done = home.run(&["run", "write.yaml"]);
    assert_eq!(done.code, Some(1));
    assert!(
        done.stderr.contains("pictures is not there; make it"),
        "{}",
        done.stderr
    );
    std::fs::create_dir(home.path("pictures")).unwrap();
    let done = home.run(&["run", "write.yaml"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let path = done.stdout.lines().next().unwrap();
    assert!(
        std::path::Path::new(path).is_absolute() && path.contains("/pictures/"),
        "{path}"
    );
    assert_eq!(std::fs::read_to_string(path).unwrap(), "lake");
    home.check();
}

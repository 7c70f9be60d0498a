//! What must never be, read from the sources themselves.
//!
//! Comments may name anything; code may not. A line that breaks one of these
//! rules is shown with its file and number.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The repository's root.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// Every file of that kind below a folder, build outputs aside.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut todo = vec![folder.to_owned()];
    while let Some(folder) = todo.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                if name != "target" && !name.starts_with('.') && name != "node_modules" {
                    todo.push(path);
                }
            } else if path.extension().is_some_and(|e| e == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// A source's lines of code with their numbers: no comments, and nothing from `#[cfg(test)] mod` on.
fn code(path: &Path) -> Vec<(usize, String)> {
    let text = std::fs::read_to_string(path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let tests = lines.windows(2).position(|pair| {
        pair[0].trim() == "#[cfg(test)]"
            && pair[1].trim_start().starts_with("mod ")
            && pair[1].trim_end().ends_with('{')
    });
    let end = tests.unwrap_or(lines.len());
    (1..)
        .zip(&lines[..end])
        .map(|(number, line)| {
            (
                number,
                line.split("//").next().unwrap_or_default().to_owned(),
            )
        })
        .filter(|(_, line)| !line.trim().is_empty())
        .collect()
}

/// Whether `word` stands in `line` by itself, not as a part of a longer one.
fn names(line: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !before.is_some_and(is_part) && (word.ends_with("::") || !after.is_some_and(is_part))
    })
}

/// Lines of the files that name one of the words.
fn offences(files: &[PathBuf], words: &[&str]) -> Vec<String> {
    let root = root();
    files
        .iter()
        .flat_map(|file| {
            let shown = file.strip_prefix(&root).unwrap().display().to_string();
            code(file).into_iter().filter_map(move |(number, line)| {
                let word = words.iter().find(|word| names(&line, word))?;
                Some(format!("{shown}:{number} names `{word}`: {}", line.trim()))
            })
        })
        .collect()
}

fn none(offences: &[String], rule: &str) {
    assert!(offences.is_empty(), "{rule}:\n{}", offences.join("\n"));
}

fn sources(krate: &str) -> Vec<PathBuf> {
    files(&root().join(krate).join("src"), "rs")
}

/// The engine's sources, those for which `is_meant` holds; it gets the path below `src`.
fn engine(is_meant: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let src = root().join("engine/src");
    let found = sources("engine")
        .into_iter()
        .filter(|f| is_meant(&f.strip_prefix(&src).unwrap().to_string_lossy()))
        .collect::<Vec<_>>();
    assert!(!found.is_empty(), "the rule looks at no file at all");
    found
}

fn is_below(path: &str, module: &str) -> bool {
    path == format!("{module}.rs") || path.starts_with(&format!("{module}/"))
}

/// The packages a crate depends on, as its manifest names them.
fn dependencies(krate: &str) -> BTreeSet<String> {
    let manifest = std::fs::read_to_string(root().join(krate).join("Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    let table = manifest.get("dependencies").and_then(toml::Value::as_table);
    table.into_iter().flat_map(|t| t.keys().cloned()).collect()
}

#[test]
fn the_engine_knows_no_http_no_tensors_and_none_of_those_who_use_it() {
    let strangers = [
        "axum",
        "candle_core",
        "candle_nn",
        "aquatint_tasks",
        "aquatint_api",
        "aquatint_dashboard",
        "aquatint_workflows",
        "reqwest",
        "clap",
    ];
    none(
        &offences(&engine(|_| true), &strangers),
        "the engine serves whoever comes",
    );
    let known = dependencies("engine");
    for stranger in [
        "axum",
        "candle-core",
        "aquatint-tasks",
        "aquatint-api",
        "aquatint-dashboard",
        "aquatint-workflows",
    ] {
        assert!(
            !known.contains(stranger),
            "the engine depends on {stranger}"
        );
    }
}

#[test]
fn only_the_store_speaks_sql() {
    none(
        &offences(&engine(|path| !is_below(path, "store")), &["sqlx"]),
        "sqlx is the store's",
    );
    for krate in ["tasks", "workflows", "api", "dashboard", "cli"] {
        none(
            &offences(&sources(krate), &["sqlx", "rusqlite"]),
            "sqlx is the store's",
        );
        assert!(
            !dependencies(krate).contains("sqlx"),
            "{krate} depends on sqlx"
        );
    }
}

#[test]
fn only_the_transport_and_the_scheduler_know_apalis() {
    let elsewhere = engine(|path| !is_below(path, "transport") && !is_below(path, "scheduler"));
    none(
        &offences(&elsewhere, &["apalis", "apalis_core", "apalis_cron"]),
        "apalis delivers, and no more",
    );
}

#[test]
fn only_the_doorbell_knows_redis() {
    // `transport.rs` names the module, and everybody else what it re-exports.
    let elsewhere = engine(|path| path != "transport.rs" && !is_below(path, "transport/redis"));
    none(
        &offences(&elsewhere, &["redis::", "apalis_redis"]),
        "Redis is a doorbell, and nobody need know which",
    );
    for krate in ["tasks", "workflows", "api", "dashboard", "cli"] {
        for stranger in ["redis", "apalis", "apalis-core", "apalis-redis"] {
            assert!(
                !dependencies(krate).contains(stranger),
                "{krate} depends on {stranger}"
            );
        }
    }
}

#[test]
fn only_artifacts_and_the_doorbell_go_over_the_network_by_themselves() {
    let elsewhere =
        engine(|path| !is_below(path, "artifact") && !is_below(path, "transport/redis"));
    none(
        &offences(&elsewhere, &["object_store", "rustls", "url::Url"]),
        "what is not in the database lies behind `ArtifactStore`",
    );
}

#[test]
fn what_is_pure_knows_no_clock_no_chance_and_waits_for_nothing() {
    let is_pure = |path: &str| {
        ["id", "workflow", "retry", "schedule", "run", "transition"]
            .iter()
            .any(|module| is_below(path, module))
    };
    let worldly = [
        "tokio",
        "async",
        "await",
        "sqlx",
        "SystemTime",
        "Instant::now",
        "fastrand",
        "rand",
        "std::fs",
        "std::net",
        "std::env",
        "std::process",
    ];
    none(
        &offences(&engine(is_pure), &worldly),
        "a decision is a function of values",
    );
}

#[test]
fn the_engine_has_one_clock() {
    let elsewhere = engine(|path| path != "time.rs" && !is_below(path, "artifact"));
    none(
        &offences(&elsewhere, &["SystemTime::now", "SystemTime"]),
        "the time of day comes from `time::Clock`",
    );
}

#[test]
fn the_engine_reads_no_environment() {
    none(
        &offences(
            // Tests are told which server to use.
            &engine(|path| !path.starts_with("store/conformance")),
            &["std::env", "env::var", "env::var_os"],
        ),
        "configuration is the program's business",
    );
}

#[test]
fn tasks_know_the_engine_and_neither_database_nor_server() {
    none(
        &offences(&sources("tasks"), &["sqlx", "axum", "apalis"]),
        "a task sees its context and nothing else",
    );
}

#[test]
fn every_statement_file_is_used() {
    let folder = root().join("engine/src/store/sql");
    let text = std::fs::read_to_string(root().join("engine/src/store/sql.rs")).unwrap();
    let fragments = root().join("engine/src/store/statement.rs");
    let fragments = std::fs::read_to_string(fragments).unwrap();
    for file in files(&folder, "sql") {
        if file.starts_with(folder.join("fragments")) {
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            let is_used = fragments.contains(&format!("sql/fragments/{name}"));
            assert!(is_used, "nobody uses engine/src/store/sql/fragments/{name}");
            continue;
        }
        // Two files of one name are the same statement to two databases.
        let place = file.strip_prefix(&folder).unwrap();
        let name = place
            .strip_prefix("postgres")
            .unwrap_or(place)
            .with_extension("")
            .to_string_lossy()
            .into_owned();
        assert!(
            text.contains(&format!("\"{name}\"")),
            "nobody uses engine/src/store/sql/{name}.sql"
        );
    }
}

#[test]
fn no_file_is_longer_than_six_hundred_lines() {
    let long: Vec<String> = files(&root(), "rs")
        .iter()
        .filter_map(|file| {
            let lines = std::fs::read_to_string(file).unwrap().lines().count();
            (lines > 600).then(|| format!("{} has {lines}", file.display()))
        })
        .collect();
    none(&long, "past 600 lines there is a second idea");
}

#[test]
fn every_module_says_what_it_is_for() {
    let silent: Vec<String> = ["engine", "tasks", "workflows", "api", "dashboard", "cli"]
        .iter()
        .flat_map(|krate| sources(krate))
        .filter(|file| !file.ends_with("tests.rs"))
        .filter(|file| {
            let text = std::fs::read_to_string(file).unwrap();
            // A line or two is a place kept free, not a module yet.
            text.lines().count() > 3 && !text.starts_with("//!")
        })
        .map(|file| file.display().to_string())
        .collect();
    none(&silent, "a module opens with `//!`");
}

#[test]
fn the_rules_above_can_be_broken() {
    assert!(names("use sqlx::Row;", "sqlx") && names("let x = tokio::spawn(f);", "tokio"));
    assert!(names("std::time::Instant::now()", "Instant::now"));
    assert!(!names("let operands = 1;", "rand") && !names("asynchronous", "async"));
}

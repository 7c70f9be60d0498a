//! `aquatint validate`: every mistake in definitions, before anything runs.

use std::path::{Path, PathBuf};

use aquatint_engine::Library;
use aquatint_engine::library::LibraryError;
use aquatint_engine::schedule::Schedule;
use aquatint_engine::time::Clock;
use aquatint_engine::workflow::{Diagnostics, Source, Workflow};
use clap::Args;
use serde_json::{Value, json};

use crate::context::{self, Context};
use crate::exit::{Exit, Result};
use crate::output::{self, BOLD, DIM, GREEN, styled};

/// What `aquatint validate` takes.
#[derive(Debug, Args)]
pub(crate) struct Validate {
    /// Definition files, folders of them, or names; all known definitions without any
    #[arg(value_name = "FILE|NAME")]
    what: Vec<String>,
    /// Print one JSON document instead of text
    #[arg(long)]
    json: bool,
}

/// One definition, checked.
struct Checked {
    file: String,
    found: Result<Workflow, Diagnostics>,
}

/// Validates.
pub(crate) fn run(context: &Context, args: &Validate) -> Result {
    let mut library = context.library()?;
    let mut named = Vec::new();
    let mut files = Vec::new();
    for what in &args.what {
        match Path::new(what) {
            folder if folder.is_dir() => files.extend(definitions_in(folder)?),
            file if context::is_file(what) => files.push(file.to_owned()),
            _ => named.push(what.clone()),
        }
    }
    if args.what.is_empty() {
        named = library.names().into_iter().map(str::to_owned).collect();
    }
    // First known, then checked, so that files given together may run each other.
    for file in &files {
        if let Err(error @ LibraryError::Unreadable { .. }) = library.add_file(file) {
            return Err(error.into());
        }
    }
    let mut checked = Vec::new();
    for name in &named {
        let file = library
            .source(name)
            .map_or_else(|| name.clone(), |(file, _)| file.to_owned());
        let found = match library.get(name) {
            Ok(definition) => Ok(definition.workflow.clone()),
            Err(LibraryError::Invalid(diagnostics)) => Err(diagnostics),
            Err(other) => return Err(other.into()),
        };
        checked.push(Checked { file, found });
    }
    for file in &files {
        checked.push(check(&library, file)?);
    }
    let bad = checked.iter().filter(|c| c.found.is_err()).count() as u64;
    if args.json {
        output::json(&checked.iter().map(document).collect::<Vec<Value>>())?;
    } else {
        output::data(&text(&checked))?;
    }
    if bad == 0 {
        return Ok(());
    }
    if !args.json {
        let all = output::count(checked.len() as u64, "definition");
        output::error(&format!(
            "{bad} of {all} {} mistakes",
            if bad == 1 { "has" } else { "have" }
        ));
    }
    Err(Exit::Told(1))
}

fn check(library: &Library, file: &Path) -> Result<Checked> {
    let text = std::fs::read_to_string(file).map_err(|error| Exit::file("read", file, &error))?;
    let shown = file.display().to_string();
    let found = Workflow::parse(
        &Source {
            file: &shown,
            text: &text,
        },
        library,
    );
    Ok(Checked { file: shown, found })
}

fn definitions_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let listing =
        std::fs::read_dir(folder).map_err(|error| Exit::file("read the folder", folder, &error))?;
    let mut files: Vec<PathBuf> = listing
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.extension()
                .is_some_and(|e| e == "yaml" || e == "yml" || e == "toml")
        })
        .collect();
    files.sort();
    if files.is_empty() {
        return Err(Exit::Error(format!(
            "{} holds no definition: no .yaml, .yml or .toml file",
            folder.display()
        )));
    }
    Ok(files)
}

/// When a schedule fires next, five times: what is written is not always what is meant.
fn begins(name: &str, schedule: &Schedule) -> String {
    let now = Clock::system().now();
    let Ok(clockwork) = schedule.timing.clockwork(now) else {
        return String::new();
    };
    let next = clockwork.upcoming(now, 5);
    let next: Vec<String> = next.into_iter().map(|at| clockwork.local(at)).collect();
    let when = format!("    {name}: {}", schedule.timing.expression());
    format!("{when}  next {}\n", styled(DIM, next.join(", ")))
}

fn text(checked: &[Checked]) -> String {
    let mut text = String::new();
    for one in checked {
        match &one.found {
            Ok(workflow) => {
                let steps = output::count(workflow.steps.len() as u64, "step");
                text.push_str(&format!(
                    "{}  {}  {steps}  {}\n",
                    styled(GREEN, "ok"),
                    styled(BOLD, &workflow.name),
                    one.file
                ));
                for (name, schedule) in workflow.scheduled() {
                    text.push_str(&begins(&name, &schedule));
                }
            }
            Err(diagnostics) => {
                text.push_str(&diagnostics.render(output::stdout_has_color()));
                text.push('\n');
            }
        }
    }
    text
}

fn document(checked: &Checked) -> Value {
    match &checked.found {
        Ok(workflow) => json!({
            "file": checked.file, "valid": true, "name": workflow.name, "version": workflow.version(), "diagnostics": [],
        }),
        Err(diagnostics) => {
            json!({ "file": checked.file, "valid": false, "diagnostics": diagnostics })
        }
    }
}

//! `aquatint workflows`: the definitions there are, and what one of them says.

use aquatint_engine::Library;
use aquatint_engine::library::LibraryError;
use clap::Args;
use serde_json::{Value, json};

use crate::context::{self, Context};
use crate::exit::{Exit, Result};
use crate::output::{self, BOLD, DIM, PLAIN, RED, Table};

/// What `aquatint workflows` takes.
#[derive(Debug, Args)]
pub(crate) struct Workflows {
    /// One workflow: prints its source
    name: Option<String>,
    /// Print JSON, with inputs
    #[arg(long)]
    json: bool,
}

/// Lists workflows, or prints one.
pub(crate) fn run(context: &Context, args: &Workflows) -> Result {
    let mut library = context.library()?;
    if let Some(name) = &args.name {
        let name = context::name_of(&mut library, name)?;
        if args.json {
            return output::json(&document(&library, &name)?);
        }
        let Some((_, text)) = library.source(&name) else {
            return Err(library
                .get(&name)
                .err()
                .map_or_else(|| Exit::Error(format!("no workflow `{name}`")), Exit::from));
        };
        return output::data(text);
    }
    let names: Vec<String> = library.names().into_iter().map(str::to_owned).collect();
    if args.json {
        return output::json(
            &names
                .iter()
                .filter_map(|name| document(&library, name).ok())
                .collect::<Vec<Value>>(),
        );
    }
    let mut table = Table::default();
    for name in names {
        match library.get(&name) {
            Ok(definition) => {
                let inputs: Vec<&str> = definition
                    .workflow
                    .inputs
                    .keys()
                    .map(String::as_str)
                    .collect();
                let description = definition.workflow.description.clone().unwrap_or_default();
                table.row([(name, BOLD), (output::clean(&description), PLAIN)]);
                if !inputs.is_empty() {
                    table.row([
                        (String::new(), PLAIN),
                        (format!("inputs: {}", inputs.join(", ")), DIM),
                    ]);
                }
            }
            Err(LibraryError::Invalid(diagnostics)) => {
                let mistakes = output::count(diagnostics.len() as u64, "mistake");
                let note = format!("has {mistakes}; see `aquatint validate {name}`");
                table.row([(name, BOLD), (note, RED)]);
            }
            Err(other) => return Err(other.into()),
        }
    }
    table.print()
}

fn document(library: &Library, name: &str) -> Result<Value> {
    let definition = library.get(name)?;
    let (file, _) = library.source(name).unwrap_or_default();
    Ok(json!({
        "name": definition.workflow.name,
        "version": definition.workflow.version(),
        "description": definition.workflow.description,
        "file": file,
        "inputs": definition.workflow.inputs,
        "steps": definition.workflow.steps.iter().map(|s| &s.name).collect::<Vec<_>>(),
    }))
}

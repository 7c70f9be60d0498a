//! `aquatint inspect`: where a picture came from, read from the picture itself.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use aquatint_tasks::provenance::{Provenance, read_png};
use clap::Args;
use serde_json::{Map, Value};

use super::run::Run;
use crate::context::Context;
use crate::exit::{Exit, Result};
use crate::output::{self, DIM, PLAIN, Table};

/// Larger than any picture we make.
const MAX_FILE_BYTES: u64 = 512 * 1024 * 1024;

/// What `aquatint inspect` takes.
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// A PNG file
    file: PathBuf,
    /// Print JSON instead of text
    #[arg(long, conflicts_with = "run")]
    json: bool,
    /// Run the workflow that made it again, with the inputs it records
    #[arg(long)]
    run: bool,
}

/// Tells a picture's origin, or makes it anew.
pub(crate) async fn run(context: &Context, args: Inspect) -> Result {
    let provenance = read(&args.file)?;
    if args.run {
        return again(context, &args.file, &provenance).await;
    }
    if args.json {
        let texts: Map<String, Value> = provenance
            .iter()
            .map(|(key, text)| (key.to_owned(), text.into()))
            .collect();
        return output::json(&texts);
    }
    if provenance.is_empty() {
        context.say("the picture says nothing of where it came from");
        return Ok(());
    }
    let mut table = Table::default();
    for (key, text) in provenance.iter() {
        table.row([(output::clean(key), DIM), (output::clean(text), PLAIN)]);
    }
    output::data(&table.render(None))
}

fn read(path: &Path) -> Result<Provenance> {
    let content = || -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        std::fs::File::open(path)?
            .take(MAX_FILE_BYTES)
            .read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = content().map_err(|error| Exit::file("read", path, &error))?;
    read_png(&bytes).map_err(|error| Exit::Error(format!("{}: {error}", path.display())))
}

async fn again(context: &Context, path: &Path, provenance: &Provenance) -> Result {
    let missing = |what: &str| {
        Exit::Error(format!(
            "{} does not say {what}, so it cannot be made again",
            path.display()
        ))
    };
    let workflow = provenance
        .workflow()
        .ok_or_else(|| missing("which workflow made it"))?;
    let inputs = provenance
        .inputs()
        .ok_or_else(|| missing("from which inputs it was made"))?;
    let library = context.library()?;
    let definition = library.get(workflow)?;
    if provenance
        .version()
        .is_some_and(|version| version != definition.workflow.version())
    {
        output::warning(&format!(
            "`{workflow}` has changed since; the picture may come out differently"
        ));
    }
    super::run::run(context, Run::again(workflow, inputs)).await
}

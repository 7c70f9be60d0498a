//! `aquatint artifacts`: the files a run stored.

use std::path::PathBuf;

use aquatint_engine::Engine;
use aquatint_engine::store::ArtifactView;
use clap::Args;
use serde_json::{Value, json};

use super::RunArg;
use crate::context::Context;
use crate::exit::Result;
use crate::files;
use crate::output::{self, BOLD, DIM, PLAIN, RED, Table};

/// What `aquatint artifacts` takes.
#[derive(Debug, Args)]
pub(crate) struct Artifacts {
    #[command(flatten)]
    run: RunArg,
    /// Copy them into this folder, and print where each came to lie
    #[arg(short, long = "output", value_name = "DIR")]
    output: Option<PathBuf>,
    /// Print JSON instead of a table
    #[arg(long, conflicts_with = "output")]
    json: bool,
}

/// Lists files, or copies them out.
pub(crate) async fn run(context: &Context, args: Artifacts) -> Result {
    let engine = context.open_store().await?;
    let run = engine.find(&args.run.run).await?;
    let found = engine.artifacts(run).await?;
    engine.close().await;
    if args.json {
        return output::json(
            &found
                .iter()
                .map(|file| document(&engine, file))
                .collect::<Vec<Value>>(),
        );
    }
    if found.is_empty() {
        context.say("the run has stored no files");
        return Ok(());
    }
    let Some(folder) = args.output else {
        return output::data(&table(&engine, &found).render(None));
    };
    for file in &found {
        if let Some(stored) = engine.artifact_path(&file.artifact) {
            let path = files::copy_into(&folder, &file.artifact.name, &stored)?;
            output::data(&format!("{}\n", path.display()))?;
        }
    }
    Ok(())
}

/// A file with its path, as JSON.
pub(crate) fn document(engine: &Engine, file: &ArtifactView) -> Value {
    json!({
        "step": file.step,
        "item": file.item,
        "name": file.artifact.name,
        "media_type": file.artifact.media_type,
        "size_bytes": file.artifact.size_bytes,
        "digest": file.artifact.digest,
        "path": engine.artifact_path(&file.artifact),
        "created_at": file.created_at,
    })
}

/// Files with their paths, for people.
pub(crate) fn table(engine: &Engine, files: &[ArtifactView]) -> Table {
    let mut table = Table::default();
    for file in files {
        let item = file
            .item
            .map(|item| format!("[{item}]"))
            .unwrap_or_default();
        let path = engine.artifact_path(&file.artifact);
        let (path, style) = match &path {
            Some(path) if path.is_file() => (path.display().to_string(), PLAIN),
            Some(path) => (format!("{} (missing)", path.display()), RED),
            None => ("(its digest is damaged)".to_owned(), RED),
        };
        table.row([
            (format!("  {}{item}", file.step), PLAIN),
            (output::clean(&file.artifact.name), BOLD),
            (output::size(file.artifact.size_bytes), DIM),
            (path, style),
        ]);
    }
    table
}

//! `aquatint artifacts`: the files a run stored.

use std::path::PathBuf;

use aquatint_engine::Engine;
use aquatint_engine::artifact::Location;
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
    let shown = show(context, &engine, args).await;
    engine.close().await;
    shown
}

async fn show(context: &Context, engine: &Engine, args: Artifacts) -> Result {
    let run = engine.find(&args.run.run).await?;
    let found = engine.artifacts(run).await?;
    if args.json {
        return output::json(
            &found
                .iter()
                .map(|file| document(engine, file))
                .collect::<Vec<Value>>(),
        );
    }
    if found.is_empty() {
        context.say("the run has stored no files");
        return Ok(());
    }
    let Some(folder) = args.output else {
        return output::data(&table(engine, &found).render(None));
    };
    for file in &found {
        let path = files::copy_artifact(engine, &folder, &file.artifact).await?;
        output::data(&format!("{}\n", path.display()))?;
    }
    Ok(())
}

/// A file with its path, or its address in a bucket, as JSON.
pub(crate) fn document(engine: &Engine, file: &ArtifactView) -> Value {
    let location = engine.artifact_location(&file.artifact);
    let mut document = json!({
        "step": file.step,
        "item": file.item,
        "name": file.artifact.name,
        "media_type": file.artifact.media_type,
        "size_bytes": file.artifact.size_bytes,
        "digest": file.artifact.digest,
        "path": null,
        "created_at": file.created_at,
    });
    match location {
        Some(Location::Url(url)) => document["url"] = url.into(),
        Some(other) => document["path"] = other.to_string().into(),
        None => {}
    }
    document
}

/// Files with their paths or addresses, for people.
pub(crate) fn table(engine: &Engine, files: &[ArtifactView]) -> Table {
    let mut table = Table::default();
    for file in files {
        let item = file
            .item
            .map(|item| format!("[{item}]"))
            .unwrap_or_default();
        let (path, style) = match engine.artifact_location(&file.artifact) {
            Some(Location::Path(path)) if !path.is_file() => {
                (format!("{} (missing)", path.display()), RED)
            }
            // Whether an object is there, `aquatint check` tells: a table should not wait for that.
            Some(location) => (location.to_string(), PLAIN),
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

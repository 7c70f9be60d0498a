//! `aquatint graph`: a workflow, or a run of one, as a drawing.

use std::sync::Arc;

use aquatint_engine::workflow::{Plan, graph};
use clap::{Args, ValueEnum};

use crate::context::{self, Context};
use crate::drawing::{Graph, svg, text};
use crate::exit::Result;
use crate::output;

/// Wide enough for most, narrow enough for a page, where no terminal says better.
const PAGE_COLUMNS: usize = 100;

/// What `aquatint graph` takes.
#[derive(Debug, Args)]
pub(crate) struct GraphArgs {
    /// A workflow's name, a definition file, or a run
    #[arg(value_name = "NAME|FILE|RUN")]
    what: String,
    /// How to draw it
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// Boxes and lines for a terminal
    Text,
    /// Graphviz
    Dot,
    /// A picture for browsers
    Svg,
}

/// Draws.
pub(crate) async fn run(context: &Context, args: GraphArgs) -> Result {
    let mut library = context.library()?;
    let is_known = context::is_file(&args.what) || library.source(&args.what).is_some();
    let (plan, tasks): (Arc<Plan>, _) = if is_known {
        let name = context::name_of(&mut library, &args.what)?;
        (Arc::clone(&library.get(&name)?.plan), Vec::new())
    } else if looks_like_run(&args.what) {
        let engine = context.open_store().await?;
        let run = engine.find(&args.what).await?;
        let found = (engine.plan(run).await?, engine.tasks(run, false).await?);
        engine.close().await;
        found
    } else {
        // The library's refusal names the nearest workflow.
        (Arc::clone(&library.get(&args.what)?.plan), Vec::new())
    };
    output::data(&match args.format {
        Format::Dot => graph::dot(&plan),
        Format::Text => text::draw(
            &Graph::new(&plan, &tasks),
            output::stdout_columns().unwrap_or(PAGE_COLUMNS),
        ),
        Format::Svg => svg::draw(&Graph::new(&plan, &tasks)),
    })
}

fn looks_like_run(what: &str) -> bool {
    what == "@latest"
        || (what.len() >= 4 && what.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-'))
}

//! `aquatint doctor`: is this installation all right, and how is it set?

use std::path::{Path, PathBuf};

use aquatint_engine::Database;
use aquatint_engine::artifact::{ArtifactPlace, ArtifactStore};
use aquatint_engine::library::LibraryError;
use aquatint_engine::{Engine, EngineConfig, EngineError, Library, Registry, RunState};
use clap::Args;
use serde_json::json;

use crate::context::Context;
use crate::exit::{Exit, Result};
use crate::output::{self, BOLD, DIM, GREEN, PLAIN, RED, Table, styled};

/// What `aquatint doctor` takes.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Print one JSON document instead of text
    #[arg(long)]
    json: bool,
}

/// Less free space than this is worth a word.
const LOW_DISK_BYTES: u64 = 500_000_000;

/// One thing looked at.
#[derive(serde::Serialize)]
struct Finding {
    what: &'static str,
    fine: bool,
    text: String,
}

/// Looks at everything; one thing in trouble does not hide the others.
pub(crate) async fn run(context: &Context, args: Doctor) -> Result {
    let mut findings = vec![Finding {
        what: "program",
        fine: true,
        text: format!(
            "aquatint {}, {} {}",
            env!("CARGO_PKG_VERSION"),
            std::env::consts::OS,
            std::env::consts::ARCH
        ),
    }];
    let data_dir = context.settings.data_dir.as_path();
    findings.push(folder(data_dir));
    findings.extend(disk(data_dir));
    findings.extend(artifacts(context).await);
    findings.extend(database(context).await);
    findings.push(mail(context).await);
    findings.extend(definitions(context));
    let sick = findings.iter().filter(|f| !f.fine).count() as u64;
    let origins = context.settings.origins();
    if args.json {
        output::json(&json!({ "fine": sick == 0, "findings": findings, "settings": origins }))?;
    } else {
        let mut table = Table::default();
        for finding in &findings {
            let (mark, style) = if finding.fine {
                ("✓", GREEN)
            } else {
                ("✗", RED)
            };
            table.row([
                (mark.to_owned(), style),
                (finding.what.to_owned(), BOLD),
                (finding.text.clone(), PLAIN),
            ]);
        }
        let mut settings = Table::default();
        for origin in &origins {
            settings.row([
                (format!("  {}", origin.key), PLAIN),
                (output::clean(&origin.value), PLAIN),
                (origin.from.clone(), DIM),
            ]);
        }
        output::data(&format!(
            "{}\n{}\n{}",
            table.render(None),
            styled(DIM, "settings"),
            settings.render(None)
        ))?;
    }
    if sick == 0 {
        Ok(())
    } else {
        Err(Exit::Told(1))
    }
}

fn folder(data_dir: &Path) -> Finding {
    let what = "data directory";
    if !data_dir.exists() {
        let parent = existing(data_dir);
        let fine = is_writable(&parent);
        let text = if fine {
            "is made at first use"
        } else {
            "cannot be made: the folder above may not be written"
        };
        return Finding {
            what,
            fine,
            text: format!("{} {text}", data_dir.display()),
        };
    }
    let fine = data_dir.is_dir() && is_writable(data_dir);
    let text = if fine {
        "may be written"
    } else {
        "may not be written; choose another with AQUATINT_DATA_DIR"
    };
    Finding {
        what,
        fine,
        text: format!("{} {text}", data_dir.display()),
    }
}

fn existing(path: &Path) -> PathBuf {
    path.ancestors()
        .find(|p| p.exists())
        .map_or_else(|| PathBuf::from("."), Path::to_owned)
}

fn is_writable(folder: &Path) -> bool {
    rustix::fs::access(
        folder,
        rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK,
    )
    .is_ok()
}

fn disk(data_dir: &Path) -> Option<Finding> {
    let stat = rustix::fs::statvfs(existing(data_dir)).ok()?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let fine = free >= LOW_DISK_BYTES;
    let low = if fine {
        ""
    } else {
        "; that is little for pictures, make room or choose another AQUATINT_DATA_DIR"
    };
    Some(Finding {
        what: "disk",
        fine,
        text: format!("{} free{low}", output::size(free)),
    })
}

/// Whether artifacts can be kept where the settings say; nothing where that is the data directory.
async fn artifacts(context: &Context) -> Option<Finding> {
    let place = &context.settings.artifacts;
    let shown = match place {
        ArtifactPlace::Folder(folder) => folder.display().to_string(),
        ArtifactPlace::Bucket(bucket) => bucket.to_string(),
        _ => return None,
    };
    let text = match ArtifactStore::look(place).await {
        Ok(()) => {
            return Some(Finding {
                what: "artifacts",
                fine: true,
                text: format!("{shown} can be used"),
            });
        }
        Err(error) => error.to_string(),
    };
    Some(Finding {
        what: "artifacts",
        fine: false,
        text,
    })
}

/// The database, and the Redis beside it, where there is one.
async fn database(context: &Context) -> Vec<Finding> {
    let what = "database";
    let mut config = context.settings.engine();
    if let Database::Sqlite { path } = &config.database
        && !path.exists()
    {
        return vec![Finding {
            what,
            fine: true,
            text: "is made at first use".to_owned(),
        }];
    }
    // Where artifacts lie is looked at by itself, so that neither trouble hides the other.
    config.artifacts = ArtifactPlace::DataDir;
    let has_redis = config.doorbell.is_some();
    let (counted, redis) = match counts(config.clone()).await {
        Err(error @ EngineError::Doorbell { .. }) => {
            config.doorbell = None;
            (counts(config).await, Some((false, error.to_string())))
        }
        // It is reached before the database is.
        counted @ (Ok(_) | Err(EngineError::Store(_))) => {
            let answers = has_redis.then(|| (true, "answers".to_owned()));
            (counted, answers)
        }
        nothing => (nothing, None),
    };
    let (fine, text) = match counted {
        Ok(counts) => {
            let all = counts.iter().map(|(_, n)| n).sum();
            let each: Vec<String> = counts
                .iter()
                .filter(|(_, n)| *n > 0)
                .map(|(state, n)| format!("{n} {state}"))
                .collect();
            let each = if each.is_empty() {
                String::new()
            } else {
                format!(": {}", each.join(", "))
            };
            let all = output::count(all, "run");
            (true, format!("schema up to date, {all}{each}"))
        }
        Err(error) => (false, error.to_string()),
    };
    let redis = redis.map(|(fine, text)| Finding {
        what: "redis",
        fine,
        text,
    });
    std::iter::once(Finding { what, fine, text })
        .chain(redis)
        .collect()
}

async fn counts(config: EngineConfig) -> std::result::Result<Vec<(RunState, u64)>, EngineError> {
    let engine = Engine::open(config, Library::new(Registry::new())).await?;
    let counts = engine.counts().await;
    engine.close().await;
    counts
}

/// Whether mail could be sent; none is.
async fn mail(context: &Context) -> Finding {
    let what = "mail";
    let Some(server) = &context.settings.smtp else {
        return Finding {
            what,
            fine: true,
            text: "no server is set; AQUATINT_SMTP_URL and AQUATINT_SMTP_FROM name one".to_owned(),
        };
    };
    let (fine, text) = match server.look().await {
        Ok(()) => (
            true,
            format!("{server} answers; may write {}", server.recipients()),
        ),
        Err(error) => (false, error.message),
    };
    Finding { what, fine, text }
}

fn definitions(context: &Context) -> Vec<Finding> {
    let what = "definitions";
    let library = match context.library() {
        Ok(library) => library,
        Err(Exit::Error(message)) => {
            return vec![Finding {
                what,
                fine: false,
                text: message,
            }];
        }
        Err(other) => {
            return vec![Finding {
                what,
                fine: false,
                text: format!("{other:?}"),
            }];
        }
    };
    let names = library.names();
    let mut findings = Vec::new();
    for name in &names {
        if let Err(LibraryError::Invalid(diagnostics)) = library.get(name) {
            let file = library.source(name).map_or(*name, |(file, _)| file);
            let mistakes = output::count(diagnostics.len() as u64, "mistake");
            findings.push(Finding {
                what,
                fine: false,
                text: format!("{file} has {mistakes}; `aquatint validate {name}` shows them"),
            });
        }
    }
    let good = names.len() - findings.len();
    findings.insert(
        0,
        Finding {
            what,
            fine: true,
            text: format!("{} ready to run", output::count(good as u64, "workflow")),
        },
    );
    findings
}

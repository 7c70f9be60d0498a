//! `aquatint keys`: who may use the API.

use std::collections::BTreeSet;

use aquatint_api::{Api, KeyStatus, NewKey, Scope};
use aquatint_engine::Engine;
use clap::{Args, Subcommand};

use crate::context::Context;
use crate::exit::{Exit, Result};
use crate::output::{self, DIM, PLAIN, Table};

/// What `aquatint keys` takes.
#[derive(Debug, Args)]
pub(crate) struct Keys {
    #[command(subcommand)]
    action: Option<Action>,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a key, and print it this once
    Add {
        /// What to call it
        name: String,
        /// What it may do: read, submit, operate, admin
        #[arg(long, value_delimiter = ',', default_value = "read,submit")]
        scopes: Vec<Scope>,
        /// Whether it sees runs that other keys submitted
        #[arg(long)]
        sees_all: bool,
    },
    /// Revoke a key: within two seconds it is refused everywhere, and its webhooks and schedules have ended
    Revoke {
        /// Its id, the middle part of it
        id: String,
    },
}

/// Lists, makes or revokes keys.
pub(crate) async fn run(context: &Context, args: Keys) -> Result {
    let engine = context.open_store().await?;
    let told = |error: aquatint_api::ServeError| Exit::Error(error.to_string());
    let done = match args.action {
        None => match told_of(&engine).await.map_err(told) {
            Ok((keys, is_required)) => list(context, &keys, is_required, args.json),
            Err(error) => Err(error),
        },
        Some(Action::Add {
            name,
            scopes,
            sees_all,
        }) => {
            let scopes: BTreeSet<Scope> = scopes.into_iter().collect();
            let made = Api::make_key(
                &engine,
                &NewKey {
                    name,
                    scopes,
                    sees_all,
                },
            )
            .await
            .map_err(told);
            made.and_then(|key| {
                context.say("this is the only time it is shown");
                output::data(&format!("{key}\n"))
            })
        }
        Some(Action::Revoke { id }) => {
            let revoked = Api::revoke_key(&engine, &id).await.map_err(told);
            revoked.map(|()| context.say(&format!("revoked {id}")))
        }
    };
    engine.close().await;
    done
}

async fn told_of(
    engine: &Engine,
) -> std::result::Result<(Vec<KeyStatus>, bool), aquatint_api::ServeError> {
    Ok((Api::keys(engine).await?, Api::needs_key(engine).await?))
}

fn list(context: &Context, keys: &[KeyStatus], is_required: bool, json: bool) -> Result {
    if json {
        return output::json(&keys);
    }
    if keys.is_empty() {
        context.say(if is_required {
            "no keys are left: every request is refused until `aquatint keys add` makes one"
        } else {
            "no keys: on this machine the API asks nobody for one"
        });
        return Ok(());
    }
    let mut table = Table::new(&["ID", "NAME", "SCOPES", "SEES", "MADE"]);
    for key in keys {
        let scopes: Vec<String> = key.scopes.iter().map(ToString::to_string).collect();
        table.row([
            (key.id.clone(), PLAIN),
            (key.name.clone(), PLAIN),
            (scopes.join(","), PLAIN),
            (if key.sees_all { "all" } else { "its own" }.to_owned(), DIM),
            (key.created_at.clone(), DIM),
        ]);
    }
    table.print()
}

//! `aquatint alerts`: what is wrong, and who is not to hear of it for a while.

use std::time::Duration;

use aquatint_engine::Engine;
use aquatint_engine::alert::Severity;
use clap::{Args, Subcommand};
use serde_json::json;

use crate::context::Context;
use crate::exit::{Exit, Result};
use crate::output::{self, DIM, PLAIN, RED, Table, YELLOW};

/// What `aquatint alerts` takes.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Alerts {
    #[command(subcommand)]
    order: Option<Order>,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Order {
    /// Tell nobody of a rule for a while; what still counts then is told
    Silence {
        /// A rule, or all
        rule: String,
        /// For how long; 0s ends it
        #[arg(long = "for", value_name = "DURATION", default_value = "1h", value_parser = humantime::parse_duration)]
        lasts: Duration,
    },
    /// List the rules, and who is told
    Rules,
}

/// Lists alerts, or silences some.
pub(crate) async fn run(context: &Context, args: Alerts) -> Result {
    if let Some(Order::Rules) = args.order {
        return rules(context);
    }
    let engine = context.open_store().await?;
    let done = match args.order {
        Some(Order::Silence { rule, lasts }) => silence(context, &engine, &rule, lasts).await,
        Some(Order::Rules) | None => list(context, &engine, args.json).await,
    };
    engine.close().await;
    done
}

async fn list(context: &Context, engine: &Engine, json: bool) -> Result {
    let alerts = engine.alerts().await?;
    let silenced = engine.silenced().await?;
    if json {
        let silences: Vec<_> = silenced
            .iter()
            .map(|(rule, until)| json!({ "rule": rule, "until": until.to_string() }))
            .collect();
        return output::json(&json!({ "alerts": alerts, "silences": silences }));
    }
    for (rule, until) in &silenced {
        context.say(&format!("{rule} is silent until {until}"));
    }
    if alerts.is_empty() {
        context.say("nothing is wrong, as far as schedulers have looked");
        return Ok(());
    }
    let mut table = Table::new(&["RULE", "SEVERITY", "SINCE", "TOLD", "WHAT"]);
    for alert in &alerts {
        let style = match alert.severity {
            Severity::Warning => YELLOW,
            Severity::Critical => RED,
        };
        let severity = match alert.severity {
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        };
        table.row([
            (alert.rule.clone(), PLAIN),
            (severity.to_owned(), style),
            (alert.since.to_string(), DIM),
            (alert.told.to_string(), PLAIN),
            (output::clean(&alert.message), PLAIN),
        ]);
    }
    table.print()
}

async fn silence(context: &Context, engine: &Engine, rule: &str, lasts: Duration) -> Result {
    let known = known(context);
    if rule != "all" && !known.iter().any(|name| name == rule) {
        return Err(Exit::Usage(format!(
            "there is no rule `{}`; there are: {}, and all",
            output::clean(rule),
            known.join(", ")
        )));
    }
    let until = engine.now().after(lasts);
    engine.silence(rule, until).await?;
    context.say(&if lasts.is_zero() {
        format!("{rule} is told of again")
    } else {
        format!("{rule} is silent until {until}")
    });
    Ok(())
}

fn known(context: &Context) -> Vec<String> {
    let alerts = context.settings.alerts.alerts.as_ref();
    let rules = alerts.map_or(&[][..], |alerts| &alerts.rules);
    rules.iter().map(|rule| rule.name.clone()).collect()
}

fn rules(context: &Context) -> Result {
    let Some(alerts) = &context.settings.alerts.alerts else {
        context.say("alerts are off");
        return Ok(());
    };
    let mut told = vec!["the log".to_owned()];
    if let Some((url, _)) = &context.settings.alerts.webhook {
        told.push(url.clone());
    }
    told.extend(alerts.email.iter().cloned());
    let mut table = Table::new(&["RULE", "SEVERITY", "WHEN"]);
    for rule in &alerts.rules {
        table.row([
            (rule.name.clone(), PLAIN),
            (format!("{:?}", rule.severity).to_lowercase(), PLAIN),
            (rule.when.to_string(), PLAIN),
        ]);
    }
    table.print()?;
    context.say(&format!("told: {}", told.join(", ")));
    Ok(())
}

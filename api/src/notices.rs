//! Telling those whom a run, or its workflow, names of its end: by e-mail and by webhook.
//!
//! Each is told by a run of its own, which is durable and tried again. It is submitted under a key made
//! of run, generation and place, and only then the run counts as told: a crash in between, or a second
//! server, submits it again and gets the first one back.

use std::time::Duration;

use aquatint_engine::run::Notify;
use aquatint_engine::store::{RunView, StoreError};
use aquatint_engine::{Engine, EngineError, RunState, Submission};
use serde_json::json;

use crate::admission;
use crate::app::App;
use crate::webhooks;

/// The workflow that sends mail.
const MAIL: &str = "email-delivery";
/// How often to look though nothing was heard.
const SLOW_POLL: Duration = Duration::from_secs(2);
/// What failed is quoted up to so many characters.
const MAX_FAILURE: usize = 2_000;

/// Tells of every end that somebody wants to hear of. Goes on with the server.
pub(crate) async fn look_after(app: App) {
    let mut changes = app.engine.changes();
    loop {
        match step(&app).await {
            // There may be more at once.
            Ok(true) => continue,
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "nobody is told of ends for now; trying again"),
        }
        tokio::select! {
            _ = tokio::time::timeout(SLOW_POLL, changes.changed()) => {}
            () = app.stopping.cancelled() => return,
        }
        // Ends come by the hundred: told together, they cost one look.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Tells of some; whether there were any.
async fn step(app: &App) -> Result<bool, EngineError> {
    let runs = app.engine.untold().await?;
    for run in &runs {
        for (place, notify) in run.notify.iter().enumerate() {
            if notify.wants(run.state) {
                tell(app, run, place, notify).await?;
            }
        }
        app.engine.told(run.id, run.generation).await?;
    }
    Ok(!runs.is_empty())
}

async fn tell(app: &App, run: &RunView, place: usize, notify: &Notify) -> Result<(), EngineError> {
    let message = format!("msg_{}_{}_{place}", run.id, run.generation);
    if !notify.email.is_empty() {
        submit(&app.engine, mail(app, run, notify, &message)).await?;
    }
    let Some(id) = &notify.webhook else {
        return Ok(());
    };
    let all = webhooks::read(&app.engine).await?;
    // A webhook of somebody else is not theirs to call.
    let hook = all
        .into_iter()
        .find(|(known, hook, _)| known == id && hook.may_hear_of(run));
    match hook {
        Some((id, hook, _)) => {
            submit(&app.engine, webhooks::of_run(&id, &hook, run, &message)).await
        }
        None => {
            tracing::warn!(run.id = %run.id, "nobody was told of a run's end: there is no webhook `{id}`");
            Ok(())
        }
    }
}

/// Submits what tells; what cannot be told that way at all is said in the log, and holds nobody up.
async fn submit(engine: &Engine, submission: Submission) -> Result<(), EngineError> {
    match admission::submit_own(engine, submission).await {
        Ok(_) | Err(EngineError::Store(StoreError::KeyReused { .. })) => Ok(()),
        Err(error @ (EngineError::Inputs { .. } | EngineError::Library(_))) => {
            tracing::error!(%error, "somebody could not be told of a run's end");
            Ok(())
        }
        Err(error) => Err(error),
    }
}

fn mail(app: &App, run: &RunView, notify: &Notify, message: &str) -> Submission {
    let ended = match run.state {
        RunState::Succeeded => "succeeded",
        RunState::Failed => "failed",
        RunState::Cancelled => "was cancelled",
        RunState::Pending | RunState::Running => "goes on",
    };
    let id = run.id.to_string();
    let mut text = format!("Run {id} of {} {ended}.\n", run.workflow);
    if let Some(failure) = &run.failure {
        let said: String = failure.message.chars().take(MAX_FAILURE).collect();
        let step = failure.step.as_ref().map(|step| format!(" in step {step}"));
        text.push_str(&format!(
            "\nIt failed{}: {said}\n",
            step.unwrap_or_default()
        ));
    }
    if let Some(took_ms) = run
        .finished_at
        .zip(run.started_at)
        .map(|(end, begin)| end.since_ms(begin))
    {
        let took = Duration::from_millis(took_ms.max(0).unsigned_abs());
        text.push_str(&format!(
            "\nIt took {}.\n",
            humantime::format_duration(took)
        ));
    }
    if let Some(url) = &app.config.public_url {
        text.push_str(&format!(
            "\n{}/api/v1/runs/{id}\n",
            url.trim_end_matches('/')
        ));
    }
    Submission {
        idempotency_key: Some(format!("notify/{message}")),
        owner: run.owner.clone(),
        tags: vec![format!("aquatint:notify:{id}")],
        ..Submission::new(
            MAIL,
            json!({
                "to": notify.email,
                "subject": format!("[aquatint] {} {ended} ({})", run.workflow, &id[..8]),
                "text": text,
                "message": message,
            }),
        )
    }
}

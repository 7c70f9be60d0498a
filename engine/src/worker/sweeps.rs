//! Looking after what nobody looks after: workers that are gone, attempts that are overdue, runs whose time is up, trees that
//! are half torn down, runs that wait for a limit that was raised.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Shared, host, is_dead};
use crate::config::EngineConfig;
use crate::store::{Answer, Demand, Op, Overdue, Store, StoreError};

/// Looks after what nobody looks after, now and then.
pub(super) async fn sweeps(shared: Arc<Shared>, demand: Arc<Demand>, stopping: CancellationToken) {
    let pause = shared.config.lease / 8;
    // At once at first: what a crash left behind is why this process may have been started.
    let mut wait = Duration::ZERO;
    loop {
        tokio::select! {
            () = stopping.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
        match sweep(&shared.store, &shared.config, Some(&demand)).await {
            Ok(_) => {}
            Err(StoreError::Closed) => return,
            Err(error) => tracing::warn!(%error, "a sweep failed; trying again"),
        }
        if let Err(error) = admit_waiting(&shared).await {
            tracing::warn!(%error, "runs that wait for others of their key could not be looked at; trying again");
        }
        // Spread over processes, so that they do not all sweep at the same moment.
        wait = pause.mul_f64(0.75 + fastrand::f64() / 2.0);
    }
}

/// Lets runs go on that wait for others of their concurrency key, where their workflow allows more at a time by now.
async fn admit_waiting(shared: &Shared) -> Result<(), StoreError> {
    for name in shared.store.waiting_workflows().await? {
        // One that this process does not know is for others to look at.
        let Ok(definition) = shared.library().get(name.as_str()) else {
            continue;
        };
        let limit = definition.plan.concurrency.as_ref();
        let limit = limit.map_or(i64::MAX, |(_, limit)| i64::from(*limit));
        shared.store.write(Op::Admit(name, limit)).await?;
    }
    Ok(())
}

/// One sweep: workers that are gone, attempts that are overdue, runs whose time is up.
///
/// Looks first, from a reader, so that looking never holds up the writer.
pub(crate) async fn sweep(
    store: &Store,
    config: &EngineConfig,
    own: Option<&Demand>,
) -> Result<crate::store::SweepCounts, StoreError> {
    let here = host();
    let live = store.live_workers().await?;
    let dead = live
        .into_iter()
        .filter(|(id, host)| *host == here && is_dead(config, *id))
        .map(|(id, _)| id)
        .collect();
    let grace_ms = i64::try_from((config.stop_grace * 2).as_millis()).unwrap_or(i64::MAX);
    let now = config.clock.now();
    // While the database was away nobody could renew a lease: everybody gets the time of one to come back.
    let leases_before = if store.was_away_within(config.lease) {
        crate::time::Timestamp(0)
    } else {
        now
    };
    let mut overdue = Overdue {
        leases_before,
        workers: dead,
        attempts: Vec::new(),
    };
    overdue.attempts = store
        .overdue(now, grace_ms, &overdue.workers, leases_before)
        .await?;
    if let Some(own) = own {
        // What the store gave us and we do not have is in nobody's hands. Looked
        // up first and compared after, so what has just come or gone is no find.
        let lease_ms = i64::try_from(config.lease.as_millis()).unwrap_or(i64::MAX);
        let since = crate::time::Timestamp(now.0.saturating_sub(lease_ms));
        let given = store.held_by(own.worker(), since).await?;
        let orphans = given
            .into_iter()
            .filter(|(key, token)| !own.held.contains(*key, *token));
        overdue
            .attempts
            .extend(orphans.map(|(key, token)| (key, token, true)));
    }
    if store.has_teardowns().await? {
        store.wake_teardown();
    }
    let found = !overdue.workers.is_empty() || !overdue.attempts.is_empty();
    if !found && !store.has_late(now, leases_before).await? {
        return Ok(crate::store::SweepCounts::default());
    }
    let all = store.write(Op::Sweep(overdue.clone())).await;
    match all {
        Ok(Answer::Swept(counts)) => Ok(counts),
        Ok(_) => Ok(crate::store::SweepCounts::default()),
        // One of them cannot be decided about: it must not keep the others from being given up.
        Err(error) if overdue.attempts.len() > 1 && !error.is_passing() => {
            tracing::warn!(%error, "a sweep failed; sweeping one attempt at a time");
            let mut counts = crate::store::SweepCounts::default();
            for attempt in &overdue.attempts {
                let one = Overdue {
                    attempts: vec![*attempt],
                    ..overdue.clone()
                };
                match store.write(Op::Sweep(one)).await {
                    Ok(Answer::Swept(some)) => counts.attempts += some.attempts,
                    Ok(_) => {}
                    Err(error) => {
                        tracing::error!(run.id = %attempt.0.run, %error, "a lost attempt cannot be given up");
                    }
                }
            }
            Ok(counts)
        }
        Err(error) => Err(error),
    }
}

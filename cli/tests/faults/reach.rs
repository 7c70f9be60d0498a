//! How soon a cancel ends what runs on another machine: at once by the doorbell, with the next
//! heartbeat without it.

use std::time::{Duration, Instant};

use aquatint_engine::{RunAction, Submission};
use serde_json::json;

use crate::cluster::Cluster;
use crate::servers::{LOOK, Servers};

/// Long enough that a heartbeat cannot be taken for the doorbell.
const LEASE: Duration = Duration::from_secs(20);

/// By the doorbell.
const SOON: Duration = Duration::from_secs(1);

/// A heartbeat, and a moment for what it says to be done.
const LATER: Duration = Duration::from_secs(LEASE.as_secs() / 5 + 1);

/// Prints how long it took; tells whether that was soon enough.
pub(crate) async fn is_prompt(servers: &Servers) -> bool {
    let mut is_prompt = true;
    for (what, has_redis, limit) in [
        (
            "a cancel stops what runs elsewhere: by the doorbell",
            true,
            SOON,
        ),
        (
            "a cancel stops what runs elsewhere: without redis",
            false,
            LATER,
        ),
    ] {
        let mut cluster = Cluster::with_lease(servers, LEASE).await;
        let submission = Submission::new("endless", json!({}));
        let run = cluster.engine.submit(submission).await.unwrap().run;
        wait(&cluster, true).await;
        if !has_redis {
            servers.stop_redis();
        }
        let began = Instant::now();
        cluster.engine.act(run, RunAction::Cancel).await.unwrap();
        wait(&cluster, false).await;
        let took = began.elapsed();
        if !has_redis {
            servers.start_redis();
        }
        let verdict = if took <= limit { "" } else { "  TOO LATE" };
        println!("{what:<84} {:>10} ms{verdict}", took.as_millis());
        is_prompt &= took <= limit;
        cluster.end_workers();
        cluster.stop().await;
    }
    is_prompt
}

/// Waits until some worker has a process of its own, or none has.
async fn wait(cluster: &Cluster<'_>, running: bool) {
    let began = Instant::now();
    while cluster.workers.iter().any(|w| has_children(w.id())) != running {
        assert!(began.elapsed() < LEASE * 2, "no change: {}", cluster.log());
        tokio::time::sleep(LOOK).await;
    }
}

fn has_children(process: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{process}/task"));
    threads.into_iter().flatten().flatten().any(|thread| {
        let children = std::fs::read_to_string(thread.path().join("children"));
        children.is_ok_and(|children| !children.trim().is_empty())
    })
}

//! Redis flushed, restarted, stalled, full and deaf: a ring is heard soon after it is over.

use std::time::Duration;

use super::{PATIENCE, Process, Server, doorbell, gpu, until};
use crate::transport::redis::{Notice, Part, Trouble};

/// What does not work now, as far as a process knows.
fn broken(process: &Process) -> Vec<Part> {
    let troubles = process.doorbell.health().troubles;
    let part = |trouble: Trouble| {
        assert!(trouble.since < PATIENCE, "{trouble:?}");
        trouble.part
    };
    troubles.into_iter().map(part).collect()
}

#[tokio::test]
async fn a_flush_costs_no_more_than_the_tickets_it_took() {
    let server = Server::start();
    let mut idle = Process::start(&server, true).await;
    for _ in 0..5 {
        let _: () = server.command("FLUSHALL").await;
        let _: () = server.command("SCRIPT FLUSH").await;
        idle.doorbell.ring([gpu()]);
        idle.hears_soon().await;
    }
    assert_eq!(idle.doorbell.health().reconnections, 0);
}

#[tokio::test]
async fn a_restart_is_got_over_within_a_second() {
    let mut server = Server::start();
    let mut idle = Process::start(&server, true).await;
    for _ in 0..3 {
        server.kill();
        let waiting = [Part::Listener, Part::Queue(gpu())];
        until("it is noticed", async || {
            let broken = broken(&idle);
            waiting.iter().all(|part| broken.contains(part))
        })
        .await;
        server.start_again();
        idle.doorbell.ring([gpu()]);
        idle.hears_soon().await;
    }
    until("all is well", async || idle.doorbell.health().answers()).await;
    let error = idle.doorbell.health().last_error.unwrap();
    assert!(error.contains(&server.port().to_string()), "{error}");
}

#[tokio::test]
async fn what_is_rung_while_redis_is_away_is_heard_when_it_is_back() {
    let mut server = Server::start();
    let ringer = doorbell(&server).await;
    let mut idle = Process::start(&server, true).await;
    server.kill();
    ringer.ring([gpu()]);
    until("it is noticed", async || {
        let troubles = ringer.health().troubles;
        let parts: Vec<&Part> = troubles.iter().map(|trouble| &trouble.part).collect();
        parts == [&Part::Sender, &Part::Listener]
    })
    .await;
    server.start_again();
    idle.hears_soon().await;
}

#[tokio::test]
async fn a_stall_is_waited_out() {
    let server = Server::start();
    let mut idle = Process::start(&server, true).await;
    until("it waits", async || server.waiting().await == 1).await;
    server.freeze();
    idle.doorbell.ring([gpu()]);
    // The stall itself is what is waited for: longer than most time-outs.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(idle.heard_so_far(), 0);
    server.thaw();
    idle.hears_soon().await;
    assert_eq!(idle.doorbell.health().reconnections, 0);
}

#[tokio::test]
async fn connections_that_are_cut_are_made_anew() {
    let server = Server::start();
    let mut idle = Process::start(&server, true).await;
    for _ in 0..5 {
        let _: usize = server.command("CLIENT KILL TYPE normal").await;
        idle.doorbell.ring([gpu()]);
        idle.hears_soon().await;
    }
}

#[tokio::test]
async fn a_full_redis_takes_no_tickets_but_still_passes_notices() {
    let server = Server::start();
    let ringer = doorbell(&server).await;
    let mut idle = Process::start(&server, true).await;
    let mut notices = idle.doorbell.listen();
    let _: () = server.command("CONFIG SET maxmemory 1").await;
    ringer.ring([gpu()]);
    until("it is noticed", async || {
        let troubles = ringer.health().troubles;
        troubles
            .iter()
            .any(|t| t.part == Part::Sender && t.error.contains("raise its maxmemory"))
    })
    .await;
    ringer.publish(Notice::Control);
    assert_eq!(notices.recv().await.unwrap(), Notice::Control);
    assert_eq!(idle.heard_so_far(), 0);
    let _: () = server.command("CONFIG SET maxmemory 0").await;
    idle.hears_soon().await;
    until("all is well", async || ringer.health().answers()).await;
}

#[tokio::test]
async fn a_primary_that_becomes_a_replica_is_waited_for() {
    let server = Server::start();
    let mut idle = Process::start(&server, true).await;
    let _: () = server.command("REPLICAOF 127.0.0.1 1").await;
    idle.doorbell.ring([gpu()]);
    until("it is noticed", async || {
        let troubles = idle.doorbell.health().troubles;
        troubles
            .iter()
            .any(|t| t.error.contains("read-only replica"))
    })
    .await;
    let _: () = server.command("REPLICAOF NO ONE").await;
    idle.hears_soon().await;
}

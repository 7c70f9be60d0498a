//! Tickets: who hears them, who must not take them, and how many there may be.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;

use super::{PATIENCE, Process, Server, doorbell, gpu, until, within};
use crate::id::QueueName;
use crate::transport::redis::ticket::{CAP, KEPT_SECONDS, MAX_HOPS};

const LIST: &str = "aquatint:test:tickets:gpu";

#[tokio::test]
async fn a_ring_is_heard_by_an_idle_process() {
    let server = Server::start();
    let ringer = doorbell(&server).await;
    let mut idle = Process::start(&server, true).await;
    for _ in 0..20 {
        ringer.ring([gpu()]);
        idle.hears_soon().await;
    }
    until("all are counted", async || ringer.health().sent == 20).await;
    assert_eq!(idle.doorbell.health().taken, 20);
    assert!(ringer.health().answers() && idle.doorbell.health().answers());
}

#[tokio::test]
async fn a_process_hears_its_own_ring_and_no_other_queues() {
    let server = Server::start();
    let mut idle = Process::start(&server, true).await;
    idle.doorbell.ring([QueueName::new("cpu").unwrap(), gpu()]);
    idle.hears_soon().await;
    assert_eq!(
        server
            .command::<usize>("LLEN aquatint:test:tickets:cpu")
            .await,
        1
    );
    assert_eq!(idle.heard_so_far(), 0);
}

#[tokio::test]
async fn a_process_without_a_free_slot_takes_no_ticket() {
    let server = Server::start();
    let mut busy = Process::start(&server, false).await;
    let mut idle = Process::start(&server, true).await;
    for _ in 0..50 {
        busy.doorbell.ring([gpu()]);
        idle.hears_soon().await;
    }
    assert_eq!(busy.heard_so_far(), 0);
    assert_eq!(busy.doorbell.health().passed_on, 0, "it did not even ask");
}

#[tokio::test]
async fn a_ticket_waits_for_a_gate_to_open() {
    let server = Server::start();
    let mut busy = Process::start(&server, false).await;
    busy.doorbell.ring([gpu()]);
    until("the ticket is there", async || {
        server.command::<usize>(&format!("LLEN {LIST}")).await == 1
    })
    .await;
    busy.open();
    busy.hears_soon().await;
}

#[tokio::test]
async fn a_ticket_that_comes_when_the_last_slot_has_just_gone_is_passed_on() {
    let server = Server::start();
    let mut first = Process::start(&server, true).await;
    let mut second = Process::start(&server, true).await;
    // Redis serves who has waited longest: in one of these rounds that is the first.
    until("a ticket came to the first one", async || {
        first.open();
        until("both wait", async || server.waiting().await == 2).await;
        first.close();
        first.doorbell.ring([gpu()]);
        second.hears_soon().await;
        first.doorbell.health().passed_on > 0
    })
    .await;
    assert_eq!(first.heard_so_far(), 0);
}

#[tokio::test]
async fn a_ticket_that_has_gone_past_enough_closed_doors_is_dropped() {
    let server = Server::start();
    let process = Process::start(&server, true).await;
    until("it waits", async || server.waiting().await == 1).await;
    process.close();
    let worn = format!(r#"{{"v":1,"queue":"gpu","hops":{MAX_HOPS}}}"#);
    let _: usize = server.command(&format!("RPUSH {LIST} {worn}")).await;
    until("it is dropped", async || {
        process.doorbell.health().dropped == 1
    })
    .await;
    assert_eq!(server.command::<usize>("DBSIZE").await, 0);
}

#[tokio::test]
async fn anything_in_the_list_says_that_there_is_work() {
    let server = Server::start();
    let mut idle = Process::start(&server, true).await;
    let _: usize = server.command(&format!("RPUSH {LIST} nonsense")).await;
    idle.hears_soon().await;
}

#[tokio::test]
async fn tickets_are_answered_one_at_a_time() {
    let server = Server::start();
    let (tell, heard) = mpsc::unbounded_channel();
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (inside, peak) = (Arc::clone(&now), Arc::clone(&most));
    let on_ticket = move || {
        let (inside, peak, tell) = (Arc::clone(&inside), Arc::clone(&peak), tell.clone());
        async move {
            peak.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            inside.fetch_sub(1, Ordering::SeqCst);
            tell.send(()).unwrap();
        }
    };
    let mut process = Process::with(&server, true, heard, on_ticket).await;
    process.doorbell.ring(vec![gpu(); 40]);
    for _ in 0..40 {
        process.hears().await;
    }
    assert_eq!(most.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_panic_over_a_ticket_does_not_end_the_serving() {
    let server = Server::start();
    let (tell, heard) = mpsc::unbounded_channel();
    let first = Arc::new(AtomicUsize::new(0));
    let on_ticket = move || {
        let (count, tell) = (first.fetch_add(1, Ordering::SeqCst), tell.clone());
        async move {
            tell.send(()).unwrap();
            assert!(count > 0, "the first ticket is a surprise");
        }
    };
    let mut process = Process::with(&server, true, heard, on_ticket).await;
    for _ in 0..3 {
        process.doorbell.ring([gpu()]);
        process.hears_soon().await;
    }
}

#[tokio::test]
async fn no_more_tickets_wait_than_could_be_of_use() {
    let server = Server::start();
    let ringer = doorbell(&server).await;
    for _ in 0..5 {
        ringer.ring(vec![gpu(); 1_000]);
        until("the outbox is sent", async || {
            ringer.shared.outbox().is_empty()
        })
        .await;
    }
    until("all is accounted for", async || {
        let health = ringer.health();
        health.sent + health.dropped == 5_000
    })
    .await;
    assert_eq!(server.command::<usize>(&format!("LLEN {LIST}")).await, CAP);
    let left: i64 = server.command(&format!("TTL {LIST}")).await;
    assert!((1..=KEPT_SECONDS).contains(&left), "{left}");
}

#[tokio::test]
async fn rings_within_one_flight_travel_together() {
    let server = Server::start();
    let ringer = doorbell(&server).await;
    let _: () = server.command("CONFIG RESETSTAT").await;
    for n in 0..10_000 {
        ringer.ring([QueueName::new(&format!("q{}", n % 100)).unwrap()]);
    }
    until("all is sent", async || {
        ringer.health().sent + ringer.health().dropped == 10_000
    })
    .await;
    let stats: String = server.command("INFO commandstats").await;
    let pushes = stats
        .lines()
        .find_map(|l| l.strip_prefix("cmdstat_rpush:calls="))
        .unwrap();
    let pushes: usize = pushes.split(',').next().unwrap().parse().unwrap();
    assert!(
        pushes <= 300,
        "{pushes} pushes for 10,000 rings over 100 queues"
    );
}

#[tokio::test]
async fn redis_holds_no_more_after_twenty_thousand_tickets() {
    let server = Server::start();
    let mut process = Process::start(&server, true).await;
    let mut memory = Vec::new();
    for _ in 0..2 {
        for _ in 0..10_000 / CAP + 1 {
            process.doorbell.ring(vec![gpu(); CAP]);
            for _ in 0..CAP {
                process.hears().await;
            }
        }
        memory.push(server.memory().await);
    }
    assert!(process.doorbell.health().taken >= 20_000);
    assert_eq!(server.command::<usize>("DBSIZE").await, 0);
    let grown = memory[1].saturating_sub(memory[0]);
    assert!(grown < 200_000, "10,000 tickets left {grown} bytes behind");
}

#[tokio::test]
async fn serving_ends_at_once_while_it_waits_and_leaves_the_next_ticket_to_others() {
    let server = Server::start();
    let leaving = Process::start(&server, true).await;
    until("it waits", async || server.waiting().await == 1).await;
    leaving.stop.cancel();
    within(Duration::from_secs(1), "it ends", leaving.serving)
        .await
        .unwrap();
    until("Redis has noticed", async || server.waiting().await == 0).await;
    leaving.doorbell.ring([gpu()]);
    let mut staying = Process::start(&server, true).await;
    staying.hears_soon().await;
}

#[tokio::test]
async fn closing_the_doorbell_sends_what_was_rung_last_and_ends_everything() {
    let server = Server::start();
    let process = Process::start(&server, false).await;
    process.doorbell.ring([gpu()]);
    within(PATIENCE, "it closes", process.doorbell.close()).await;
    within(PATIENCE, "serving ends with it", process.serving)
        .await
        .unwrap();
    assert_eq!(server.command::<usize>(&format!("LLEN {LIST}")).await, 1);
}

#[tokio::test]
async fn tickets_of_queues_that_nobody_uses_are_tidied_away() {
    let server = Server::start();
    let ringer = doorbell(&server).await;
    let names = ["gpu", "old", "older"].map(|name| QueueName::new(name).unwrap());
    ringer.ring(names.clone());
    until("all are counted", async || ringer.health().sent == 3).await;
    for other in ["SET aquatint:other:tickets:old 1", "SET tickets:old 1"] {
        server.command::<String>(other).await;
    }
    let [gpu, ..] = names;
    let used = std::collections::HashSet::from([gpu]);
    assert_eq!(ringer.tidy(&used).await, 2);
    assert_eq!(ringer.tidy(&used).await, 0);
    let left: usize = server
        .command(&format!(
            "EXISTS {LIST} aquatint:other:tickets:old tickets:old"
        ))
        .await;
    assert_eq!(left, 3, "what is in use, and what is somebody else's");
}

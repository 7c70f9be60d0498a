//! Notices: everybody else hears them, and hears of it when some may be missing.

use tokio::sync::broadcast;

use super::{PATIENCE, Server, doorbell, until, within};
use crate::id::RunId;
use crate::time::Timestamp;
use crate::transport::redis::Notice;

async fn next(notices: &mut broadcast::Receiver<Notice>) -> Notice {
    within(PATIENCE, "a notice is heard", notices.recv())
        .await
        .unwrap()
}

#[tokio::test]
async fn a_notice_is_heard_by_all_others_and_not_by_who_said_it() {
    let server = Server::start();
    let (a, b, c) = (
        doorbell(&server).await,
        doorbell(&server).await,
        doorbell(&server).await,
    );
    let (mut at_a, mut at_b, mut at_c) = (a.listen(), b.listen(), c.listen());
    let run = RunId::new(Timestamp(1_700_000_000_000));
    for notice in [
        Notice::Touched(vec![(run, true)]),
        Notice::Stopped(run),
        Notice::Control,
    ] {
        a.publish(notice.clone());
        assert_eq!(next(&mut at_b).await, notice);
        assert_eq!(next(&mut at_c).await, notice);
    }
    // What b says comes after all that a said: had a heard itself, that would come first.
    b.publish(Notice::Control);
    assert_eq!(next(&mut at_a).await, Notice::Control);
    assert_eq!((a.health().heard, b.health().heard), (1, 3));
}

#[tokio::test]
async fn doorbells_of_another_namespace_hear_nothing() {
    let server = Server::start();
    let (ours, other) = (doorbell(&server).await, doorbell(&server).await);
    let config = crate::transport::redis::RedisConfig::new(server.url(), "elsewhere");
    let stranger = crate::transport::redis::Doorbell::connect(config)
        .await
        .unwrap();
    let mut at_other = other.listen();
    stranger.publish(Notice::Missed);
    until("it is said", async || stranger.shared.outbox().is_empty()).await;
    ours.publish(Notice::Control);
    assert_eq!(next(&mut at_other).await, Notice::Control);
}

#[tokio::test]
async fn what_nobody_can_read_means_look_at_everything() {
    let server = Server::start();
    let bell = doorbell(&server).await;
    let mut notices = bell.listen();
    let heard: usize = server.command("PUBLISH aquatint:test:notices {}").await;
    assert_eq!(heard, 1);
    assert_eq!(next(&mut notices).await, Notice::Missed);
}

#[tokio::test]
async fn a_connection_made_anew_means_look_at_everything() {
    let server = Server::start();
    let bell = doorbell(&server).await;
    let mut notices = bell.listen();
    let _: usize = server.command("CLIENT KILL TYPE pubsub").await;
    assert_eq!(next(&mut notices).await, Notice::Missed);
    let other = doorbell(&server).await;
    other.publish(Notice::Control);
    assert_eq!(next(&mut notices).await, Notice::Control);
    assert_eq!(bell.health().reconnections, 1);
}

#[tokio::test]
async fn what_is_said_while_redis_is_away_is_said_when_it_is_back() {
    let mut server = Server::start();
    let (a, b) = (doorbell(&server).await, doorbell(&server).await);
    let mut at_b = b.listen();
    server.kill();
    let run = RunId::new(Timestamp(1_700_000_000_000));
    a.publish(Notice::Stopped(run));
    until("it is noticed", async || {
        !a.health().answers() && !b.health().answers()
    })
    .await;
    server.start_again();
    // Either b was back in time to hear it, or it knows that it may have missed something.
    assert!([Notice::Missed, Notice::Stopped(run)].contains(&next(&mut at_b).await));
    until("both are well", async || {
        a.health().answers() && b.health().answers()
    })
    .await;
    a.publish(Notice::Control);
    while next(&mut at_b).await != Notice::Control {}
}

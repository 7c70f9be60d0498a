//! Hears what other processes publish, and says so when something may have gone unheard.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use redis::RedisError;
use redis::aio::{PubSubSink, PubSubStream};

use super::Shared;
use super::health::Part;
use super::link::{ANSWER, Backoff};
use super::notice::{self, Notice};

/// A connection that is only listened to may be long dead: it is asked this often.
const PING_EVERY: Duration = Duration::from_secs(5);

/// Passes on what is published, until it is time to stop.
pub(super) async fn run(shared: Arc<Shared>, mut subscription: (PubSubSink, PubSubStream)) {
    let stop = shared.stop.clone();
    let mut backoff = Backoff::new();
    while let Some(mut error) = stop
        .run_until_cancelled(hear(&shared, &mut subscription))
        .await
    {
        subscription = loop {
            let error_text = shared.link.explain(&error).to_string();
            shared.health.failed(&Part::Listener, error_text);
            if !backoff.wait(&stop).await {
                return;
            }
            match stop.run_until_cancelled(shared.link.subscribe()).await {
                None => return,
                Some(Err(next)) => error = next,
                Some(Ok(subscription)) => break subscription,
            }
        };
        backoff.reset();
        shared.health.works(&Part::Listener);
        let _ = shared.notices.send(Notice::Missed);
    }
}

/// Until the connection fails.
async fn hear(shared: &Shared, (sink, stream): &mut (PubSubSink, PubSubStream)) -> RedisError {
    let closed = || RedisError::from(std::io::Error::from(std::io::ErrorKind::ConnectionReset));
    loop {
        match tokio::time::timeout(PING_EVERY, stream.next()).await {
            Ok(Some(message)) => {
                for notice in notice::read(message.get_payload_bytes(), &shared.link.me) {
                    shared.health.heard();
                    // Nobody may be listening: then nobody missed it.
                    let _ = shared.notices.send(notice);
                }
            }
            Ok(None) => return closed(),
            Err(_) => match tokio::time::timeout(ANSWER, sink.ping::<redis::Value>()).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return error,
                Err(_) => return std::io::Error::from(std::io::ErrorKind::TimedOut).into(),
            },
        }
    }
}

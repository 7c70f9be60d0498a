//! What a Redis that will not do is told apart by, and that no password is ever shown.

use std::io::Write;
use std::sync::{Arc, Mutex};

use super::{Process, Server, gpu, until};
use crate::transport::redis::{Doorbell, RedisConfig, TransportError};

async fn refused(url: &str) -> TransportError {
    let refused = Doorbell::connect(RedisConfig::new(url, "test")).await;
    let error = refused.expect_err("this Redis will not do");
    for shown in [error.to_string(), format!("{error:?}")] {
        assert!(!shown.contains("hunter2"), "{shown}");
    }
    error
}

#[tokio::test]
async fn nobody_at_the_address_is_an_error_that_names_it() {
    let mut server = Server::start();
    server.kill();
    let url = format!("redis://app:hunter2@127.0.0.1:{}/2", server.port());
    let error = refused(&url).await;
    assert!(
        matches!(error, TransportError::Unreachable { .. }),
        "{error}"
    );
    let address = format!("redis://app@127.0.0.1:{}/2", server.port());
    assert!(error.to_string().contains(&address), "{error}");
    let nowhere = refused("redis://:hunter2@no-such-host.invalid").await;
    assert!(
        matches!(nowhere, TransportError::Unreachable { .. }),
        "{nowhere}"
    );
}

#[tokio::test]
async fn a_wrong_or_missing_password_is_told_as_such() {
    let server = Server::start_with(&["--requirepass", "right"]);
    let at = format!("127.0.0.1:{}", server.port());
    for url in [
        format!("redis://:hunter2@{at}"),
        format!("redis://nobody:hunter2@{at}"),
        format!("redis://{at}"),
    ] {
        let error = refused(&url).await;
        assert!(
            matches!(error, TransportError::Credentials { .. }),
            "{error}"
        );
    }
    let right = RedisConfig::new(format!("redis://:right@{at}"), "test");
    Doorbell::connect(right).await.unwrap();
}

#[tokio::test]
async fn a_missing_permission_is_named_and_the_remedy_suffices() {
    let server = Server::start();
    let url = format!("redis://app:hunter2@127.0.0.1:{}", server.port());
    let _: () = server
        .command("ACL SETUSER app on >hunter2 +@connection")
        .await;
    let error = refused(&url).await;
    let TransportError::Permission { .. } = &error else {
        panic!("{error}");
    };
    let error = error.to_string();
    let remedy = error.split("ACL SETUSER <user> ").nth(1).unwrap();
    assert!(error.contains("info"), "{error}");

    for command in ["rpush", "ltrim", "expire", "blpop", "publish", "subscribe"] {
        let all_but_one = format!("ACL SETUSER app reset on >hunter2 {remedy} -{command}");
        let _: () = server.command(&all_but_one).await;
        let error = refused(&url).await;
        assert!(
            matches!(error, TransportError::Permission { .. }),
            "{error}"
        );
        assert!(
            error.to_string().contains(&format!("'{command}'")),
            "{error}"
        );
    }

    let _: () = server
        .command(&format!("ACL SETUSER app reset on >hunter2 {remedy}"))
        .await;
    let bell = Doorbell::connect(RedisConfig::new(&url, "test"))
        .await
        .unwrap();
    let mut idle = Process::start(&server, true).await;
    bell.ring([gpu()]);
    idle.hears_soon().await;
}

#[tokio::test]
async fn a_replica_is_refused() {
    let server = Server::start_with(&["--replicaof", "127.0.0.1", "1"]);
    let error = refused(&server.url()).await;
    assert!(matches!(error, TransportError::ReadOnly { .. }), "{error}");
}

#[tokio::test]
async fn a_port_that_does_not_speak_tls_is_told_as_such() {
    let server = Server::start();
    let error = refused(&format!("rediss://:hunter2@127.0.0.1:{}", server.port())).await;
    assert!(matches!(error, TransportError::Tls { .. }), "{error}");
}

#[tokio::test]
async fn a_full_redis_is_no_reason_not_to_begin() {
    let server = Server::start_with(&["--maxmemory", "1"]);
    let bell = Doorbell::connect(RedisConfig::new(server.url(), "test"))
        .await
        .unwrap();
    bell.ring([gpu()]);
    until("the trouble shows", async || !bell.health().answers()).await;
}

/// Everything that was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_password_is_logged_or_shown() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let _logging = tracing::subscriber::set_default(subscriber);

    let mut server = Server::start_with(&["--requirepass", "hunter2"]);
    let url = format!("redis://:hunter2@127.0.0.1:{}", server.port());
    let config = RedisConfig::new(&url, "test");
    let bell = Doorbell::connect(config.clone()).await.unwrap();
    server.kill();
    bell.ring([gpu()]);
    until("the trouble shows", async || {
        bell.health().troubles.len() == 2
    })
    .await;

    let shown = format!("{config:?} {bell:?} {:?}", bell.health());
    let logged = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(logged.contains("sending tickets does not work"), "{logged}");
    assert!(
        !shown.contains("hunter2") && !logged.contains("hunter2"),
        "{shown}\n{logged}"
    );
}

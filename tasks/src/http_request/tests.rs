//! `http.request` against a small server of our own; nothing here leaves the machine.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::{Arc, Mutex};

use aquatint_engine::task::Remedy;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::testing::Bench;

/// Answers each request with what `answer` makes of its text; keeps all requests.
struct Server {
    port: u16,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start(answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let request = receive(&mut stream).await;
                let reply = answer(&request);
                log.lock().unwrap().push(request);
                let _ = stream.write_all(&reply).await;
                let _ = stream.shutdown().await;
            }
        });
        Self { port, seen }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

async fn receive(stream: &mut tokio::net::TcpStream) -> String {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| {
                    line.to_lowercase()
                        .strip_prefix("content-length:")?
                        .trim()
                        .parse()
                        .ok()
                })
                .unwrap_or(0);
            if body.len() >= length {
                return text;
            }
        }
        match stream.read(&mut buffer).await {
            Ok(n) if n > 0 => request.extend_from_slice(&buffer[..n]),
            _ => return text,
        }
    }
}

fn reply(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut reply = format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n",
        body.len()
    )
    .into_bytes();
    reply.extend_from_slice(body);
    reply
}

/// Local hosts opened, as a developer would.
fn open() -> HttpRequest {
    HttpRequest::new(Some(HttpOptions {
        allowed_hosts: vec!["127.0.0.1".to_owned()],
        max_response_bytes: 1024 * 1024,
        allow_private: true,
    }))
}

#[tokio::test]
async fn json_goes_out_and_json_comes_back() {
    let server = Server::start(|_| {
        reply(
            "201 Created",
            "content-type: application/json\r\netag: \"x\"\r\nset-cookie: a=b\r\n",
            b"{\"id\":[1,null]}",
        )
    })
    .await;
    let bench = Bench::new();
    let input = json!({ "method": "POST", "url": server.url("/jobs?key=1"), "json": { "face_limit": 50000 }, "headers": { "Authorization": "Bearer x" } });
    let output = bench.run(open(), input).await.unwrap();
    assert_eq!(output["status"], 201);
    assert_eq!(output["body"], json!({ "id": [1, null] }));
    assert_eq!(
        output["headers"],
        json!({ "content-type": "application/json", "etag": "\"x\"" })
    );
    let request = server.seen().remove(0);
    assert!(
        request.starts_with("POST /jobs?key=1 HTTP/1.1"),
        "{request}"
    );
    assert!(request.contains("authorization: Bearer x"), "{request}");
    assert!(request.contains(&format!("idempotency-key: {}", bench.ctx.idempotency_key())));
    assert!(request.ends_with("{\"face_limit\":50000}"), "{request}");
}

#[tokio::test]
async fn pictures_become_artifacts() {
    let server =
        Server::start(|_| reply("200 OK", "content-type: image/png\r\n", b"\x89PNG rest")).await;
    let bench = Bench::new();
    let output = bench
        .run(open(), json!({ "url": server.url("/a.png") }))
        .await
        .unwrap();
    assert_eq!(output["body"], Value::Null);
    let artifact: Artifact = serde_json::from_value(output["artifact"].clone()).unwrap();
    assert_eq!(artifact.media_type, "image/png");
    assert_eq!(bench.ctx.read(&artifact).await.unwrap(), b"\x89PNG rest");
}

#[tokio::test]
async fn a_service_that_asks_for_patience_gets_it() {
    let server =
        Server::start(|_| reply("429 Too Many Requests", "retry-after: 17\r\n", b"slow down"))
            .await;
    let error = Bench::new()
        .run(open(), json!({ "url": server.url("/") }))
        .await
        .unwrap_err();
    assert_eq!(
        (error.class.as_str(), error.remedy),
        ("rate_limit", Remedy::RetryAfterMs(17_000))
    );
    assert!(error.message.contains("slow down"), "{error}");
}

#[tokio::test]
async fn statuses_that_were_expected_are_no_errors() {
    let server =
        Server::start(|_| reply("404 Not Found", "content-type: text/plain\r\n", b"none")).await;
    let output = Bench::new()
        .run(
            open(),
            json!({ "url": server.url("/"), "expect_status": [200, 404] }),
        )
        .await
        .unwrap();
    assert_eq!(
        (&output["status"], &output["body"]),
        (&json!(404), &json!("none"))
    );
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let server = Server::start(|_| {
        let mut endless = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_vec();
        endless.resize(4 * 1024 * 1024, b'x');
        endless
    })
    .await;
    let error = Bench::new()
        .run(open(), json!({ "url": server.url("/") }))
        .await
        .unwrap_err();
    assert_eq!(error.class, "too_large");
    assert!(error.message.contains("1048576"), "{error}");
}

#[tokio::test]
async fn redirects_are_followed_within_the_gate_and_keys_stay_behind() {
    let other = Server::start(|_| reply("200 OK", "content-type: text/plain\r\n", b"there")).await;
    let to = other.url("/end");
    let first = Server::start(move |request| {
        if request.starts_with("GET /away ") {
            reply("302 Found", &format!("location: {to}\r\n"), b"")
        } else {
            reply("307 Temporary Redirect", "location: /away\r\n", b"")
        }
    })
    .await;
    let input =
        json!({ "url": first.url("/"), "headers": { "X-Api-Key": "k", "Accept": "text/plain" } });
    let output = Bench::new().run(open(), input).await.unwrap();
    assert_eq!(output["body"], "there");
    assert!(
        first.seen()[1].contains("x-api-key"),
        "the same origin keeps it"
    );
    assert!(
        !other.seen()[0].contains("x-api-key"),
        "another port is another origin"
    );
    assert!(other.seen()[0].contains("accept: text/plain"));
}

#[tokio::test]
async fn a_redirect_out_of_the_gate_or_in_circles_is_an_error() {
    let out = Server::start(|_| reply("302 Found", "location: http://localhost:1/\r\n", b"")).await;
    let error = Bench::new()
        .run(open(), json!({ "url": out.url("/") }))
        .await
        .unwrap_err();
    assert_eq!(error.class, "not_allowed");
    let circle = Server::start(|_| reply("302 Found", "location: /\r\n", b"")).await;
    let error = Bench::new()
        .run(open(), json!({ "url": circle.url("/") }))
        .await
        .unwrap_err();
    assert_eq!((error.class.as_str(), circle.seen().len()), ("redirect", 6));
}

#[tokio::test]
async fn a_name_that_leads_home_is_stopped_by_the_resolver() {
    let closed = HttpRequest::new(Some(HttpOptions {
        allowed_hosts: vec!["localhost".to_owned()],
        ..HttpOptions::default()
    }));
    let error = Bench::new()
        .run(closed, json!({ "url": "http://localhost:9/" }))
        .await
        .unwrap_err();
    assert_eq!(
        (error.class.as_str(), error.remedy),
        ("not_allowed", Remedy::Fail)
    );
    assert!(error.message.contains("private or reserved"), "{error}");
}

#[tokio::test]
async fn nobody_listening_is_worth_another_try() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let input = json!({ "url": format!("http://127.0.0.1:{port}/?key=secret") });
    let error = Bench::new().run(open(), input).await.unwrap_err();
    assert_eq!(
        (error.class.as_str(), error.remedy),
        ("network", Remedy::Retry)
    );
    assert!(!error.message.contains("secret"), "{error}");
}

#[tokio::test]
async fn https_asks_for_a_certificate_that_a_plain_server_cannot_show() {
    let (listener, url) = silent().await;
    let url = url.replace("http:", "https:");
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .await
            .unwrap();
        stream.shutdown().await.unwrap();
    });
    let error = Bench::new()
        .run(open(), json!({ "url": url }))
        .await
        .unwrap_err();
    // Without a single root certificate on the machine it does not come to that.
    let expected = ["network", "no_certificates"];
    assert!(expected.contains(&error.class.as_str()), "{error:?}");
}

/// A server that takes the connection and says nothing.
async fn silent() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    (listener, url)
}

#[tokio::test]
async fn silence_ends_with_the_timeout_or_the_cancel() {
    let (_held, url) = silent().await;
    let bench = Bench::new();
    let input = json!({ "url": url, "timeout": "50ms" });
    let error = bench.run(open(), input).await.unwrap_err();
    assert_eq!(
        (error.class.as_str(), error.remedy),
        ("timeout", Remedy::Retry)
    );
    bench.cancel.cancel();
    let error = bench.run(open(), json!({ "url": url })).await;
    assert_eq!(error, Err(TaskError::cancelled()));
}

#[tokio::test]
async fn it_is_switched_off_unless_configured() {
    let error = Bench::new()
        .run(
            HttpRequest::new(None),
            json!({ "url": "http://127.0.0.1/" }),
        )
        .await
        .unwrap_err();
    assert_eq!(
        (error.class.as_str(), error.remedy),
        ("not_allowed", Remedy::Fail)
    );
    assert!(error.message.contains("`tasks.http`"), "{error}");
}

#[tokio::test]
async fn bad_input_is_refused_before_anything_is_sent() {
    for (extra, said) in [
        (
            json!({ "headers": { "Host": "x" } }),
            "`Host` is set by the connection",
        ),
        (
            json!({ "headers": { "a b": "x" } }),
            "`a b` is no header name",
        ),
        (json!({ "headers": { "x-key": "a\r\nb: c" } }), "line break"),
        (json!({ "json": {}, "text": "x" }), "both given"),
        (json!({ "timeout": "2h" }), "`2h`"),
        (json!({ "method": "TRACE" }), "TRACE"),
    ] {
        let mut input = json!({ "url": "http://127.0.0.1:1/" });
        input
            .as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        let error = Bench::new().run(open(), input).await.unwrap_err();
        assert_eq!(
            (error.class.as_str(), error.message.contains(said)),
            ("invalid_input", true),
            "{error}"
        );
    }
}

//! What hostile clients send: no more of it is made than there is room for.

use std::time::Duration;

use aquatint_api::{Api, ApiConfig};
use axum::body::Body;
use axum::http::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{House, PATIENCE, png, request};

fn post(path: &str, kind: &str, body: impl Into<Body>) -> axum::http::Request<Body> {
    request(Method::POST, path, &[("content-type", kind)], body.into())
}

#[tokio::test]
async fn what_would_grow_beyond_the_budget_is_refused_before_it_is_made() {
    let house = House::new().await;
    let hollow = format!("[{}[]]", "[],".repeat(5_000_000));
    let json = "application/json";
    for (path, body) in [
        (
            "/api/v1/runs",
            format!(r#"{{"workflow":"say","inputs":{{"words":{hollow}}}}}"#),
        ),
        (
            "/api/v1/batches",
            format!(r#"{{"workflow":"say","items":{hollow}}}"#),
        ),
        (
            "/api/v1/webhooks",
            format!(r#"{{"url":"https://example.org","events":{hollow}}}"#),
        ),
        (
            "/api/v1/tasks/submit/",
            format!(r#"{{"parameters":{{"x":{hollow}}}}}"#),
        ),
        ("/predict", format!(r#"{{"rows":{hollow}}}"#)),
    ] {
        house
            .send(post(path, json, body))
            .await
            .problem(413, "too_large");
    }
    let lines = "{}\n".repeat(5_000_000);
    house
        .send(post(
            "/api/v1/batches?workflow=say",
            "application/x-ndjson",
            lines,
        ))
        .await
        .problem(413, "too_large");
    house.close().await;
}

#[tokio::test]
async fn what_is_common_to_a_batch_counts_for_each_of_its_items() {
    let house = House::new().await;
    let items = vec![json!({ "n": 1 }); 2_000];
    let batch =
        json!({ "workflow": "say", "items": items, "common": { "words": "x".repeat(1_000_000) } });
    let problem = house
        .post("/api/v1/batches", &batch)
        .await
        .problem(413, "too_large");
    let said = problem["detail"].as_str().unwrap();
    assert!(said.contains("2000 items"), "{said}");
    let batch = json!({ "workflow": "say", "items": items, "common": { "words": "x" } });
    house.post("/api/v1/batches", &batch).await.has(202);
    house.close().await;
}

fn deep(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let picture = image::DynamicImage::ImageRgba16(image::ImageBuffer::new(width, height));
    picture
        .write_to(&mut bytes, image::ImageFormat::Png)
        .unwrap();
    bytes.into_inner()
}

#[tokio::test]
async fn a_picture_is_opened_only_where_there_is_room_for_it() {
    let mut config = ApiConfig::default();
    config.memory_bytes = 64 * 1024 * 1024;
    let house = House::with(config).await;
    let shown = async |content: Vec<u8>| {
        let file = house
            .send(post("/api/v1/uploads", "image/png", content))
            .await
            .has(201)
            .json();
        let id = house.submit("hold", json!({ "image": file })).await;
        let digest = file["artifact"].as_str().unwrap();
        house
            .get(&format!(
                "/api/v1/runs/{id}/artifacts/{digest}?thumbnail=32"
            ))
            .await
    };
    // 3,000 × 3,000 pixels of eight bytes each, of a few kilobytes.
    shown(deep(3_000, 3_000)).await.problem(413, "too_large");
    let small = shown(png(600, 400)).await.has(200);
    assert_eq!(small.header("content-type"), "image/png");
    house.close().await;
}

#[tokio::test]
async fn an_address_that_is_too_long_is_a_problem_like_any_other() {
    let house = House::new().await;
    let long = format!("/api/v1/runs?q={}", "x".repeat(9_000));
    house.get(&long).await.problem(414, "address_too_long");
    house.close().await;
}

#[tokio::test]
async fn a_file_is_named_by_whoever_may_read_it() {
    let house = House::new().await;
    let (ann, _) = house.key(&["read", "submit"], false).await;
    let (bob, _) = house.key(&["read", "submit", "operate"], false).await;
    let (auditor, _) = house.key(&["read", "submit"], true).await;
    let upload = async |key: &str, content: Vec<u8>| {
        let bearer = format!("Bearer {key}");
        let headers = [
            ("authorization", bearer.as_str()),
            ("content-type", "image/png"),
        ];
        let upload = request(
            Method::POST,
            "/api/v1/uploads?name=a.png",
            &headers,
            Body::from(content),
        );
        house.send(upload).await.has(201).json()
    };
    let hold = |file: &Value| json!({ "workflow": "hold", "inputs": { "image": file } });
    let file = upload(&ann, png(20, 10)).await;
    let submit = async |key: &str, file: &Value| {
        house
            .ask(key, Method::POST, "/api/v1/runs", &hold(file))
            .await
    };
    let refused = submit(&bob, &file).await.problem(422, "invalid");
    let unknown = json!({ "artifact": "0".repeat(64), "name": "a", "media_type": "image/png", "size_bytes": 1 });
    let missing = submit(&bob, &unknown).await.problem(422, "invalid");
    let said = |problem: &Value| {
        problem["detail"]
            .as_str()
            .unwrap()
            .split("digest")
            .next()
            .unwrap()
            .to_owned()
    };
    assert_eq!(
        said(&refused),
        said(&missing),
        "whether it is there is not told either"
    );
    let batch = json!({ "workflow": "hold", "items": [{ "image": file }] });
    house
        .ask(&bob, Method::POST, "/api/v1/batches", &batch)
        .await
        .problem(422, "invalid");
    let schedule = |image: Value| json!({ "workflow": "hold", "cron": "@every 1h", "inputs": { "image": image } });
    let digest = file["artifact"].as_str().unwrap();
    let made = format!(
        "${{{{ {{'arti' + 'fact': '{digest}', 'name': 'a', 'media_type': 'image/png', 'size_bytes': 1}} }}}}"
    );
    for image in [file.clone(), json!(made)] {
        let put = house
            .ask(&bob, Method::PUT, "/api/v1/schedules/s", &schedule(image))
            .await;
        put.problem(422, "invalid");
    }

    // Whoever uploaded it, holds it in a run of their own, or may see every run.
    submit(&ann, &file).await.has(202);
    submit(&auditor, &file).await.has(202);
    upload(&bob, png(20, 10)).await;
    submit(&bob, &file).await.has(202);
    house.close().await;
}

#[tokio::test]
async fn what_inputs_say_of_a_file_is_put_right() {
    let house = House::new().await;
    let content = png(20, 10);
    let file = house
        .send(post("/api/v1/uploads", "image/png", content.clone()))
        .await
        .has(201)
        .json();
    let digest = file["artifact"].as_str().unwrap();
    for size in [
        json!(0),
        json!(7),
        json!(9_223_372_036_854_775_808_u64),
        json!(u64::MAX),
    ] {
        let mut forged = file.clone();
        forged["size_bytes"] = size;
        forged["name"] = json!("a\nb".repeat(1_000));
        let id = house.submit("hold", json!({ "image": forged })).await;
        let run = house
            .get(&format!("/api/v1/runs/{id}"))
            .await
            .has(200)
            .json();
        let image = &run["inputs"]["image"];
        assert_eq!(image["size_bytes"], content.len());
        assert!(image["name"].as_str().unwrap().len() <= 200);
        let back = house
            .get(&format!("/api/v1/runs/{id}/artifacts/{digest}"))
            .await
            .has(200);
        assert_eq!(back.bytes, content);
        assert_eq!(back.header("content-length"), content.len().to_string());
    }
    house.close().await;
}

#[tokio::test]
async fn a_page_of_another_site_steers_nothing_whatever_its_browser_leaves_out() {
    let house = House::new().await;
    let pause = async |headers: &[(&str, &str)]| {
        house
            .send(request(
                Method::POST,
                "/api/v1/queues/spare/pause",
                headers,
                Body::empty(),
            ))
            .await
    };
    for foreign in [
        "https://evil.example",
        "null",
        "http://127.0.0.1:8001",
        "http://127.0.0.1:8000.evil.example",
        "nonsense",
    ] {
        pause(&[("origin", foreign)])
            .await
            .problem(403, "foreign_site");
    }
    pause(&[
        ("origin", "https://evil.example"),
        ("sec-fetch-site", "cross-site"),
    ])
    .await
    .problem(403, "foreign_site");
    pause(&[("sec-fetch-site", "same-site")])
        .await
        .problem(403, "foreign_site");
    pause(&[("origin", "http://127.0.0.1:8000")]).await.has(200);
    pause(&[]).await.has(200);
    // What no page can forge says that it is one of ours, whatever a proxy made of the host.
    pause(&[
        ("origin", "https://media.example"),
        ("sec-fetch-site", "same-origin"),
    ])
    .await
    .has(200);
    for kind in [
        "application/x-www-form-urlencoded",
        "text/plain",
        "multipart/form-data; boundary=x",
    ] {
        let headers = [("origin", "https://evil.example"), ("content-type", kind)];
        let sent = request(
            Method::POST,
            "/api/v1/runs",
            &headers,
            Body::from("{\"workflow\":\"wait\"}"),
        );
        house.send(sent).await.problem(403, "foreign_site");
    }
    let bare = request(
        Method::POST,
        "/api/v1/runs",
        &[("origin", "https://evil.example")],
        Body::from("{\"workflow\":\"wait\"}"),
    );
    house.send(bare).await.problem(403, "foreign_site");
    house.close().await;
}

/// Sends a request by hand and reads until there is an answer, or the end.
async fn ask(stream: &mut TcpStream, text: &str) -> String {
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = vec![0; 4_096];
    let read = tokio::time::timeout(PATIENCE, stream.read(&mut answer))
        .await
        .unwrap();
    String::from_utf8_lossy(&answer[..read.unwrap_or(0)]).into_owned()
}

const LIVEZ: &str = "GET /livez HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n";

#[tokio::test]
async fn idle_connections_make_room_and_those_in_use_do_not() {
    let house = House::new().await;
    let mut config = ApiConfig::default();
    config.max_connections = Some(8);
    let listener = Api::listen(&house.engine, "127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let api = Api::new(house.engine.clone(), config, None);
    let serving = tokio::spawn(api.serve(listener, async move {
        let _ = stopped.await;
    }));
    let mut idle = Vec::new();
    for _ in 0..8 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        assert!(ask(&mut stream, LIVEZ).await.starts_with("HTTP/1.1 200"));
        idle.push(stream);
    }
    // Each one more is served at once; the eldest ends for it.
    let mut streams = Vec::new();
    for eldest in &mut idle {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let follow = "GET /api/v1/stream HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n";
        assert!(ask(&mut stream, follow).await.starts_with("HTTP/1.1 200"));
        streams.push(stream);
        let ended = tokio::time::timeout(PATIENCE, eldest.read(&mut [0; 1]))
            .await
            .unwrap();
        assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
    }
    // All are in use now.
    let mut late = TcpStream::connect(address).await.unwrap();
    let mut answer = String::new();
    let read = tokio::time::timeout(PATIENCE, late.read_to_string(&mut answer))
        .await
        .unwrap();
    assert!(answer.starts_with("HTTP/1.1 503"), "{read:?}: {answer}");
    drop(streams.pop());
    let mut next = String::new();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !next.starts_with("HTTP/1.1 200") {
        assert!(tokio::time::Instant::now() < deadline, "{next}");
        let mut stream = TcpStream::connect(address).await.unwrap();
        next = ask(&mut stream, LIVEZ).await;
    }
    let _ = stop.send(());
    tokio::time::timeout(Duration::from_secs(20), serving)
        .await
        .unwrap()
        .unwrap();
    house.close().await;
}

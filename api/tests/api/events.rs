use axum::body::Body;
use axum::http::Method;
use http_body_util::BodyExt as _;
use serde_json::json;

use crate::support::{House, PATIENCE, request};

/// The numbers and names of a stream's messages.
fn messages(text: &str) -> Vec<(Option<i64>, String)> {
    text.split("\n\n")
        .filter(|m| m.contains("data:"))
        .map(|m| {
            let field = |name: &str| {
                m.lines()
                    .find_map(|l| l.strip_prefix(name))
                    .map(|v| v.trim().to_owned())
            };
            (
                field("id:").and_then(|id| id.parse().ok()),
                field("event:").unwrap_or_default(),
            )
        })
        .collect()
}

#[tokio::test]
async fn a_stream_tells_a_run_to_its_end_and_goes_on_where_a_client_left_off() {
    let house = House::new().await;
    let run = house.run("say", json!({"words": "hi"})).await;
    let path = format!("/api/v1/runs/{}/stream", run["id"].as_str().unwrap());
    let whole = house.get(&path).await.has(200);
    assert_eq!(whole.header("content-type"), "text/event-stream");
    let whole = messages(&whole.text());
    let numbers: Vec<i64> = whole.iter().filter_map(|(id, _)| *id).collect();
    assert_eq!(
        numbers,
        (1..=i64::try_from(numbers.len()).unwrap()).collect::<Vec<_>>()
    );
    assert_eq!(whole.first().unwrap().1, "run_submitted");
    assert_eq!(
        (
            whole[whole.len() - 2].1.as_str(),
            whole.last().unwrap().1.as_str()
        ),
        ("run_succeeded", "end")
    );
    let later = request(Method::GET, &path, &[("last-event-id", "3")], Body::empty());
    let later = messages(&house.send(later).await.text());
    assert_eq!(later, whole[3..], "no event is lost, and none comes twice");
    house.close().await;
}

#[tokio::test]
async fn a_stream_tells_what_happens_while_it_is_open() {
    let house = House::new().await;
    let mut all = house
        .open(request(Method::GET, "/api/v1/stream", &[], Body::empty()))
        .await;
    let id = house.submit("wait", json!({})).await;
    let mut one = house
        .open(request(
            Method::GET,
            &format!("/api/v1/runs/{id}/stream"),
            &[],
            Body::empty(),
        ))
        .await;
    house
        .post(&format!("/api/v1/runs/{id}/cancel"), &json!(null))
        .await
        .has(200);
    for body in [&mut all, &mut one] {
        let heard = async {
            let mut text = String::new();
            while !text.contains("run_cancelled") {
                let frame = body.frame().await.expect("it is still open").unwrap();
                text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
            }
            text
        };
        let text = tokio::time::timeout(PATIENCE, heard).await.unwrap();
        assert!(text.contains(&id), "{text}");
    }
    house.close().await;
}

#[tokio::test]
async fn a_stream_shows_what_a_picture_may_look_like_before_it_is_done() {
    let house = House::new().await;
    // Large enough to take a while.
    let inputs = json!({"prompt": "a lake at dawn", "width": 2048, "height": 2048});
    let id = house.submit("image-generation", inputs).await;
    let path = format!("/api/v1/runs/{id}/stream");
    let mut stream = house
        .open(request(Method::GET, &path, &[], Body::empty()))
        .await;
    let heard = async {
        let mut text = String::new();
        loop {
            let frame = stream.frame().await.expect("it is still open").unwrap();
            text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
            let shown = text.split("\n\n").find(|m| m.contains("event: preview"));
            if let Some(data) = shown.and_then(|m| m.lines().find_map(|l| l.strip_prefix("data:")))
            {
                return serde_json::from_str::<serde_json::Value>(data).unwrap();
            }
        }
    };
    let told = tokio::time::timeout(PATIENCE, heard).await.unwrap();
    assert_eq!(
        (&told["run"], &told["step"]),
        (&json!(id), &json!("generate"))
    );
    let detail = house
        .get(&format!("/api/v1/runs/{id}"))
        .await
        .has(200)
        .json();
    let steps = detail["steps"].as_array().unwrap();
    let step = steps.iter().find(|s| s["step"] == "generate").unwrap();
    let latest = &step["progress"]["preview"];
    assert_eq!(latest["media_type"], "image/png");
    let file = house.get(latest["url"].as_str().unwrap()).await.has(200);
    assert_eq!(file.header("content-type"), "image/png");
    assert_eq!(
        file.bytes.len() as u64,
        latest["size_bytes"].as_u64().unwrap()
    );
    house
        .post(&format!("/api/v1/runs/{id}/cancel"), &json!(null))
        .await
        .has(200);
    house.close().await;
}

#[tokio::test]
async fn what_happened_to_all_runs_is_read_page_by_page() {
    let house = House::new().await;
    let first = house.run("say", json!({"words": "a"})).await;
    let page = house.get("/api/v1/events").await.has(200).json();
    let cursor = page["next_cursor"].as_str().unwrap().to_owned();
    assert!(
        page["data"]
            .as_array()
            .unwrap()
            .iter()
            .all(|e| e["run"] == first["id"])
    );
    let second = house.run("say", json!({"words": "b"})).await;
    let page = house
        .get(&format!("/api/v1/events?after={cursor}"))
        .await
        .has(200)
        .json();
    let events = page["data"].as_array().unwrap();
    assert!(!events.is_empty() && events.iter().all(|e| e["run"] == second["id"]));
    house.close().await;
}

use axum::body::Body;
use axum::http::Method;
use serde_json::{Value, json};

use crate::support::{House, request};

#[tokio::test]
async fn a_run_is_accepted_at_once_and_told_of_when_it_is_waited_for() {
    let house = House::new().await;
    let accepted = house
        .post(
            "/api/v1/runs",
            &json!({"workflow": "say", "inputs": {"words": "hi"}}),
        )
        .await
        .has(202);
    let id = accepted.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(accepted.header("location"), format!("/api/v1/runs/{id}"));
    assert!(!accepted.header("x-request-id").is_empty());
    let run = house
        .get(&format!("/api/v1/runs/{id}?wait=30s"))
        .await
        .has(200)
        .json();
    assert_eq!(
        (&run["state"], &run["outputs"]),
        (&json!("succeeded"), &json!({"words": "hi"}))
    );
    let steps: Vec<_> = run["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["step"].as_str().unwrap())
        .collect();
    assert_eq!(steps, ["a", "b"]);
    let prefer = [("content-type", "application/json"), ("prefer", "wait=30")];
    let body = json!({"workflow": "say", "inputs": {"words": "again"}}).to_string();
    let done = house
        .send(request(
            Method::POST,
            "/api/v1/runs",
            &prefer,
            Body::from(body),
        ))
        .await
        .has(200);
    assert_eq!(done.json()["outputs"]["words"], "again");
    house.close().await;
}

#[tokio::test]
async fn a_request_sent_again_is_one_run_and_another_under_its_key_is_refused() {
    let house = House::new().await;
    let send = async |words: &str| {
        let headers = [
            ("content-type", "application/json"),
            ("idempotency-key", "k1"),
        ];
        let body = json!({"workflow": "say", "inputs": {"words": words}}).to_string();
        house
            .send(request(
                Method::POST,
                "/api/v1/runs",
                &headers,
                Body::from(body),
            ))
            .await
    };
    let first = send("hi").await.has(202).json();
    let second = send("hi").await.has(202).json();
    assert_eq!(first["id"], second["id"]);
    send("ho").await.problem(422, "idempotency_key_reused");
    let listed = house.get("/api/v1/runs").await.has(200).json();
    assert_eq!(listed["data"].as_array().unwrap().len(), 1);
    house.close().await;
}

#[tokio::test]
async fn every_run_is_listed_once_however_small_the_pages() {
    let house = House::without_worker().await;
    let mut submitted = Vec::new();
    for n in 0..7 {
        submitted.push(house.submit("say", json!({"words": format!("n{n}")})).await);
    }
    submitted.reverse();
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = house
            .get(&format!("/api/v1/runs?limit=3{cursor}"))
            .await
            .has(200)
            .json();
        seen.extend(
            page["data"]
                .as_array()
                .unwrap()
                .iter()
                .map(|r| r["id"].as_str().unwrap().to_owned()),
        );
        assert!(
            page["data"][0].get("inputs").is_none(),
            "lists leave the inputs out"
        );
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, submitted);
    let found = house.get("/api/v1/runs?q=N3").await.has(200).json();
    assert_eq!(found["data"][0]["id"], submitted[3]);
    assert_eq!(found["data"].as_array().unwrap().len(), 1);
    house.close().await;
}

#[tokio::test]
async fn a_run_is_cancelled_paused_resumed_and_retried() {
    let house = House::new().await;
    let id = house.submit("wait", json!({})).await;
    let act = async |id: &str, what: &str| {
        house
            .post(&format!("/api/v1/runs/{id}/{what}"), &Value::Null)
            .await
    };
    assert_eq!(act(&id, "pause").await.has(200).json()["paused"], true);
    assert_eq!(act(&id, "resume").await.has(200).json()["paused"], false);
    assert_eq!(
        act(&id, "cancel").await.has(200).json()["state"],
        "cancelled"
    );
    act(&id, "cancel").await.problem(409, "conflict");
    let broken = house.run("break", json!({})).await;
    assert_eq!(
        (&broken["state"], &broken["failure"]["message"]),
        (&json!("failed"), &json!("the kiln is cold"))
    );
    let id = broken["id"].as_str().unwrap();
    assert_eq!(act(id, "retry").await.has(200).json()["generation"], 1);
    let run = house
        .get(&format!("/api/v1/runs/{id}?wait=30"))
        .await
        .has(200)
        .json();
    assert_eq!(run["state"], "failed");
    let attempts = house
        .get(&format!("/api/v1/runs/{id}/attempts"))
        .await
        .has(200)
        .json();
    assert_eq!(attempts["data"].as_array().unwrap().len(), 2);
    house.close().await;
}

#[tokio::test]
async fn a_run_is_repeated_from_a_step_on_as_a_run_of_its_own() {
    let house = House::new().await;
    let first = house.run("say", json!({"words": "once"})).await;
    let id = first["id"].as_str().unwrap();
    let accepted = house
        .post(&format!("/api/v1/runs/{id}/retry?from=b"), &Value::Null)
        .await
        .has(202)
        .json();
    let second = accepted["id"].as_str().unwrap();
    assert_ne!(second, id);
    let run = house
        .get(&format!("/api/v1/runs/{second}?wait=30"))
        .await
        .has(200)
        .json();
    assert_eq!(
        (&run["state"], &run["outputs"]["words"]),
        (&json!("succeeded"), &json!("once"))
    );
    let cached: Vec<_> = run["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["cached"].as_bool().unwrap())
        .collect();
    assert_eq!(cached, [true, false], "the first step was taken over");
    house
        .post(&format!("/api/v1/runs/{id}/retry?from=z"), &Value::Null)
        .await
        .problem(404, "not_found");
    house.close().await;
}

#[tokio::test]
async fn a_bulk_action_reaches_every_run_that_fits_and_no_other() {
    let house = House::without_worker().await;
    for n in 0..5 {
        house.submit("say", json!({"words": format!("n{n}")})).await;
    }
    let spared = house.submit("wait", json!({})).await;
    let job = house
        .post(
            "/api/v1/runs/bulk",
            &json!({"action": "cancel", "filter": {"workflow": "say"}}),
        )
        .await
        .has(202);
    let path = job.header("location").to_owned();
    let done = async {
        loop {
            let job = house.get(&path).await.has(200).json();
            if job["state"] == "finished" {
                break job;
            }
            tokio::task::yield_now().await;
        }
    };
    let job = tokio::time::timeout(crate::support::PATIENCE, done)
        .await
        .unwrap();
    assert_eq!((&job["done"], &job["refused"]), (&json!(5), &json!(0)));
    let left = house.get("/api/v1/runs?state=pending").await.json();
    assert_eq!(left["data"][0]["id"], spared);
    assert_eq!(left["data"].as_array().unwrap().len(), 1);
    house
        .post(
            "/api/v1/runs/bulk",
            &json!({"action": "cancel", "filter": {}}),
        )
        .await
        .problem(422, "invalid");
    house.close().await;
}

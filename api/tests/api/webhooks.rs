use axum::body::Body;
use axum::http::Method;
use serde_json::{Value, json};

use crate::support::{House, request};

#[tokio::test]
async fn a_webhook_shows_its_secret_once_and_its_test_is_a_run() {
    let house = House::new().await;
    for url in [
        "ftp://example.org",
        "nonsense",
        "https://",
        "https://me:secret@example.org/",
    ] {
        house
            .post("/api/v1/webhooks", &json!({"url": url}))
            .await
            .problem(422, "invalid");
    }
    let made = house
        .post(
            "/api/v1/webhooks",
            &json!({"url": "https://example.org/hook", "events": ["run.failed"]}),
        )
        .await
        .has(201)
        .json();
    assert!(made["secret"].as_str().unwrap().starts_with("whsec_"));
    let listed = house.get("/api/v1/webhooks").await.has(200).json();
    assert_eq!(
        (&listed["data"][0]["id"], listed["data"][0].get("secret")),
        (&made["id"], None)
    );
    let path = format!("/api/v1/webhooks/{}", made["id"].as_str().unwrap());
    let run = house
        .post(&format!("{path}/test"), &Value::Null)
        .await
        .has(202)
        .json();
    assert_eq!(run["workflow"], "webhook-delivery");
    assert!(!run.to_string().contains("whsec_"), "no run keeps a secret");
    house
        .send(request(Method::DELETE, &path, &[], Body::empty()))
        .await
        .has(204);
    house
        .send(request(Method::DELETE, &path, &[], Body::empty()))
        .await
        .problem(404, "not_found");
    house.close().await;
}

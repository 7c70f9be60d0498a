use aquatint_api::{Api, ApiConfig};
use axum::body::Body;
use axum::http::Method;
use serde_json::{Value, json};

use crate::support::{Answer, House, request};

async fn as_key(house: &House, key: &str, method: Method, path: &str, body: &Value) -> Answer {
    let bearer = format!("Bearer {key}");
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
    ];
    let body = if body.is_null() {
        Body::empty()
    } else {
        Body::from(body.to_string())
    };
    house.send(request(method, path, &headers, body)).await
}

#[tokio::test]
async fn the_first_key_closes_the_door_and_scopes_bound_what_each_may() {
    let house = House::new().await;
    let first = json!({"name": "me", "scopes": ["read"]});
    house
        .post("/api/v1/keys", &first)
        .await
        .problem(422, "invalid");
    let made = house
        .post("/api/v1/keys", &json!({"name": "me", "scopes": ["admin"]}))
        .await
        .has(201)
        .json();
    let admin = made["key"].as_str().unwrap();
    assert!(admin.starts_with("aq_"));
    let refused = house.get("/api/v1/runs").await;
    assert_eq!(refused.header("www-authenticate"), "Bearer");
    refused.problem(401, "unauthorized");
    house.get("/livez").await.has(200);
    house.get("/readyz").await.has(200);

    let make = async |name: &str, scopes: &[&str]| {
        let new = json!({"name": name, "scopes": scopes});
        let made = as_key(&house, admin, Method::POST, "/api/v1/keys", &new)
            .await
            .has(201)
            .json();
        (
            made["id"].as_str().unwrap().to_owned(),
            made["key"].as_str().unwrap().to_owned(),
        )
    };
    let (_, reader) = make("reader", &["read"]).await;
    let (ann_id, ann) = make("ann", &["read", "submit"]).await;
    let (_, bob) = make("bob", &["read", "submit"]).await;
    let (_, operator) = make("op", &["operate"]).await;
    let say = json!({"workflow": "say", "inputs": {"words": "hi"}});
    as_key(&house, &reader, Method::POST, "/api/v1/runs", &say)
        .await
        .problem(403, "forbidden");
    as_key(
        &house,
        &ann,
        Method::POST,
        "/api/v1/queues/cpu/pause",
        &Value::Null,
    )
    .await
    .problem(403, "forbidden");
    as_key(
        &house,
        &operator,
        Method::POST,
        "/api/v1/queues/spare/pause",
        &Value::Null,
    )
    .await
    .has(200);
    as_key(&house, &operator, Method::GET, "/api/v1/runs", &Value::Null)
        .await
        .problem(403, "forbidden");
    as_key(&house, &ann, Method::GET, "/api/v1/keys", &Value::Null)
        .await
        .problem(403, "forbidden");

    // Whose run it is, only they see: to others it does not exist.
    let run = as_key(&house, &ann, Method::POST, "/api/v1/runs?wait=30", &say)
        .await
        .has(200)
        .json();
    let path = format!("/api/v1/runs/{}", run["id"].as_str().unwrap());
    assert_eq!(run["owner"], ann_id);
    as_key(&house, &ann, Method::GET, &path, &Value::Null)
        .await
        .has(200);
    for ending in ["", "/logs", "/artifacts", "/events", "/stream", "/attempts"] {
        let there = format!("{path}{ending}");
        as_key(&house, &bob, Method::GET, &there, &Value::Null)
            .await
            .problem(404, "not_found");
    }
    as_key(
        &house,
        &bob,
        Method::POST,
        &format!("{path}/cancel"),
        &Value::Null,
    )
    .await
    .problem(404, "not_found");
    let listed = async |key: &str| {
        let page = as_key(&house, key, Method::GET, "/api/v1/runs", &Value::Null)
            .await
            .has(200)
            .json();
        page["data"].as_array().unwrap().len()
    };
    assert_eq!(
        (listed(&ann).await, listed(&bob).await, listed(admin).await),
        (1, 0, 1)
    );

    // One key's idempotency keys are not another's.
    let once = async |key: &str| {
        let bearer = format!("Bearer {key}");
        let headers = [
            ("authorization", bearer.as_str()),
            ("content-type", "application/json"),
            ("idempotency-key", "same"),
        ];
        house
            .send(request(
                Method::POST,
                "/api/v1/runs",
                &headers,
                Body::from(say.to_string()),
            ))
            .await
            .has(202)
            .json()["id"]
            .clone()
    };
    assert_ne!(once(&ann).await, once(&bob).await);

    let gone = format!("/api/v1/keys/{ann_id}");
    as_key(&house, admin, Method::DELETE, &gone, &Value::Null)
        .await
        .has(204);
    as_key(&house, &ann, Method::GET, &path, &Value::Null)
        .await
        .problem(401, "unauthorized");
    let shown = as_key(&house, admin, Method::GET, "/api/v1/keys", &Value::Null)
        .await
        .has(200)
        .text();
    assert!(!shown.contains("hash"), "{shown}");
    house.close().await;
}

#[tokio::test]
async fn wrong_keys_are_refused_alike() {
    let house = House::new().await;
    let new = serde_json::from_value(json!({"name": "me", "scopes": ["admin"]})).unwrap();
    let key = Api::make_key(&house.engine, &new).await.unwrap();
    let (head, _) = key.rsplit_once('_').unwrap();
    let said = async |key: &str| {
        as_key(&house, key, Method::GET, "/api/v1/runs", &Value::Null)
            .await
            .problem(401, "unauthorized")["detail"]
            .clone()
    };
    let first = said("aq_000000000000_00").await;
    for wrong in [
        format!("{head}_0"),
        format!("{key}0"),
        "aq_".to_owned(),
        "nonsense".to_owned(),
    ] {
        assert_eq!(said(&wrong).await, first, "{wrong}");
    }
    as_key(&house, &key, Method::GET, "/api/v1/runs", &Value::Null)
        .await
        .has(200);
    house.close().await;
}

#[tokio::test]
async fn no_server_opens_beyond_this_machine_without_a_key() {
    let house = House::new().await;
    let refused = Api::listen(&house.engine, "0.0.0.0:0".parse().unwrap())
        .await
        .unwrap_err();
    assert!(
        refused.to_string().contains("aquatint keys add"),
        "{refused}"
    );
    let new = serde_json::from_value(json!({"name": "me", "scopes": ["admin"]})).unwrap();
    Api::make_key(&house.engine, &new).await.unwrap();
    Api::listen(&house.engine, "0.0.0.0:0".parse().unwrap())
        .await
        .unwrap();
    house.close().await;
}

#[tokio::test]
async fn too_many_requests_are_told_when_to_come_back() {
    let mut config = ApiConfig::default();
    config.requests_per_second = Some(1);
    let house = House::with(config).await;
    let mut refused = None;
    for _ in 0..5 {
        let answer = house.get("/api/v1/queues").await;
        if answer.status != 200 {
            refused = Some(answer);
        }
    }
    let refused = refused.expect("five at once are more than one a second");
    assert!(refused.header("retry-after").parse::<u64>().unwrap() >= 1);
    refused.problem(429, "too_many_requests");
    house.close().await;
}

#[tokio::test]
async fn once_there_was_a_key_nothing_opens_the_server_again() {
    let mut house = House::new().await;
    house.get("/api/v1/runs").await.has(200);
    let (_, id) = house.key(&["admin"], false).await;
    Api::revoke_key(&house.engine, &id).await.unwrap();
    // A server that starts now remembers no key at all.
    house.begin_anew();
    house.get("/api/v1/runs").await.problem(401, "unauthorized");
    let (key, id) = house.key(&["admin"], false).await;
    house.begin_anew();
    house
        .ask(&key, Method::GET, "/api/v1/runs", &Value::Null)
        .await
        .has(200);

    // A record that cannot be read is no reason either.
    house
        .engine
        .keep("key", &id, &json!({"damaged": true}), None)
        .await
        .unwrap();
    house.begin_anew();
    house.get("/api/v1/runs").await.problem(401, "unauthorized");
    house
        .ask(&key, Method::GET, "/api/v1/runs", &Value::Null)
        .await
        .problem(401, "unauthorized");
    house.close().await;
}

#[tokio::test]
async fn a_key_that_an_earlier_version_made_closes_the_server_for_good_when_it_is_revoked() {
    let mut house = House::new().await;
    let (_, id) = house.key(&["admin"], false).await;
    house.engine.forget("keys", "required", None).await.unwrap();
    Api::revoke_key(&house.engine, &id).await.unwrap();
    house.begin_anew();
    house.get("/api/v1/runs").await.problem(401, "unauthorized");
    house.close().await;
}

#[tokio::test]
async fn a_revoked_key_ends_what_it_set_up() {
    use http_body_util::BodyExt as _;
    let house = House::new().await;
    let (admin, _) = house.key(&["admin"], false).await;
    let (key, id) = house.key(&["read", "submit", "operate"], false).await;
    let hook = json!({"url": "https://example.org/hook"});
    let hook = house
        .ask(&key, Method::POST, "/api/v1/webhooks", &hook)
        .await
        .has(201)
        .json();
    let hook = hook["id"].as_str().unwrap();
    let schedule = json!({"workflow": "tidy", "cron": "@every 1h"});
    let path = "/api/v1/schedules/mine";
    house.ask(&key, Method::PUT, path, &schedule).await.has(201);
    let run = json!({"workflow": "wait"});
    let run = house
        .ask(&key, Method::POST, "/api/v1/runs", &run)
        .await
        .has(202)
        .json();
    let run = format!("/api/v1/runs/{}", run["id"].as_str().unwrap());
    let mut streams = Vec::new();
    for there in [format!("{run}/stream"), "/api/v1/stream".to_owned()] {
        streams.push(
            house
                .open(crate::support::keyed(
                    &key,
                    Method::GET,
                    &there,
                    &Value::Null,
                ))
                .await,
        );
    }
    assert!(Api::webhook(&house.engine, hook).await.unwrap().is_some());

    house
        .ask(
            &admin,
            Method::DELETE,
            &format!("/api/v1/keys/{id}"),
            &Value::Null,
        )
        .await
        .has(204);
    assert!(Api::webhook(&house.engine, hook).await.unwrap().is_none());
    house
        .ask(&admin, Method::GET, path, &Value::Null)
        .await
        .problem(404, "not_found");
    for stream in streams {
        // It ends, though the run goes on.
        tokio::time::timeout(crate::support::PATIENCE, stream.collect())
            .await
            .unwrap()
            .unwrap();
    }
    house
        .ask(&admin, Method::POST, &format!("{run}/cancel"), &Value::Null)
        .await
        .has(200);
    house.close().await;
}

use axum::body::Body;
use axum::http::Method;
use serde_json::json;

use crate::support::{House, request};

#[tokio::test]
async fn what_cannot_be_read_or_does_not_fit_is_refused_with_its_place() {
    let house = House::new().await;
    let send = async |kind: &str, body: &str| {
        let headers = [("content-type", kind)];
        house
            .send(request(
                Method::POST,
                "/api/v1/runs",
                &headers,
                Body::from(body.to_owned()),
            ))
            .await
    };
    let json = "application/json";
    send(json, "{\"workflow\": ")
        .await
        .problem(400, "bad_request");
    send(json, "").await.problem(400, "bad_request");
    send("text/plain", "{}")
        .await
        .problem(415, "unsupported_media_type");
    let problem = send(json, "{\"workflow\": \"say\", \"inputs\": []}")
        .await
        .problem(422, "invalid");
    assert_eq!(problem["errors"][0]["pointer"], "/inputs");
    let problem = send(json, "{\"workflow\": \"say\", \"priority\": \"high\"}")
        .await
        .problem(422, "invalid");
    assert_eq!(problem["errors"][0]["pointer"], "/priority");
    let problem = send(
        json,
        "{\"workflow\": \"say\", \"inputs\": {\"words\": \"\", \"n\": 1.5}}",
    )
    .await
    .problem(422, "invalid");
    let places: Vec<_> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["pointer"].as_str().unwrap())
        .collect();
    assert_eq!(places, ["/inputs/words", "/inputs/n"]);
    let problem = send(json, "{\"workflow\": \"sya\"}")
        .await
        .problem(404, "unknown_workflow");
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("did you mean `say`?")
    );
    send(
        json,
        "{\"workflow\": \"say\", \"inputs\": {\"words\": \"a\"}, \"tags\": [\"aquatint:x\"]}",
    )
    .await
    .problem(422, "invalid");
    let deep = format!(
        "{{\"workflow\": \"say\", \"inputs\": {}{}}}",
        "{\"a\":".repeat(500),
        "1".to_owned() + &"}".repeat(500)
    );
    send(json, &deep).await.problem(400, "bad_request");
    assert_eq!(
        house.get("/api/v1/runs").await.json()["data"],
        json!([]),
        "nothing is stored half"
    );
    house.close().await;
}

#[tokio::test]
async fn addresses_that_lead_nowhere_are_told_so() {
    let house = House::new().await;
    for path in [
        "/api/v1/runs/nope",
        "/api/v1/runs/01a1fa3e-8be9-7000-800e-89e422ef1e3d",
        "/api/v1/runs/urn:uuid:01a1fa3e-8be9-7000-800e-89e422ef1e3d",
        "/api/v1/runs/01a1fa3e-8be9-7000-800e-89e422ef1e3d/stream",
        "/api/v1/batches/01a1fa3e-8be9-7000-800e-89e422ef1e3d",
        "/api/v1/jobs/nope",
        "/api/v1/nothing",
    ] {
        house.get(path).await.problem(404, "not_found");
    }
    house
        .get("/api/v1/workflows/nope")
        .await
        .problem(404, "unknown_workflow");
    for query in [
        "cursor=x",
        "limit=0",
        "limit=501",
        "state=done",
        "created_from=yesterday",
        "nothing=1",
        "workflow=9%20lives",
    ] {
        house
            .get(&format!("/api/v1/runs?{query}"))
            .await
            .problem(422, "invalid");
    }
    house
        .send(request(Method::PATCH, "/api/v1/runs", &[], Body::empty()))
        .await
        .problem(405, "method_not_allowed");
    house.close().await;
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused() {
    let mut config = aquatint_api::ApiConfig::default();
    config.max_body_bytes = 1_000;
    let house = House::with(config).await;
    let long = json!({"workflow": "say", "inputs": {"words": "x".repeat(2_000)}});
    house
        .post("/api/v1/runs", &long)
        .await
        .problem(413, "too_large");
    house.close().await;
}

#[tokio::test]
async fn pages_of_other_sites_are_kept_out_of_a_server_without_keys() {
    let house = House::new().await;
    let say = json!({"workflow": "say", "inputs": {"words": "hi"}}).to_string();
    let from = async |headers: &[(&str, &str)]| {
        let all: Vec<_> = headers
            .iter()
            .copied()
            .chain([("content-type", "application/json")])
            .collect();
        house
            .send(request(
                Method::POST,
                "/api/v1/runs",
                &all,
                Body::from(say.clone()),
            ))
            .await
    };
    from(&[
        ("sec-fetch-site", "cross-site"),
        ("origin", "https://evil.example"),
    ])
    .await
    .problem(403, "foreign_site");
    from(&[("sec-fetch-site", "same-origin")]).await.has(202);
    from(&[]).await.has(202);
    // A name of theirs that leads to this machine.
    let renamed = axum::http::Request::get("/api/v1/runs")
        .header("host", "evil.example:8000")
        .body(Body::empty())
        .unwrap();
    house.send(renamed).await.problem(403, "foreign_site");
    house.close().await;
}

#[tokio::test]
async fn definitions_are_checked_for_anybody_and_taken_only_where_that_is_allowed() {
    let text = "name: fresh\nsteps:\n  a: { task: core.echo, with: { value: 1 } }\n";
    let yaml = [("content-type", "application/yaml")];
    let house = House::new().await;
    let checked = request(
        Method::POST,
        "/api/v1/workflows/validate",
        &yaml,
        Body::from(text),
    );
    assert_eq!(house.send(checked).await.has(200).json()["name"], "fresh");
    let wrong = request(
        Method::POST,
        "/api/v1/workflows/validate",
        &yaml,
        Body::from(text.replace("core.echo", "core.ecko")),
    );
    let problem = house.send(wrong).await.problem(422, "invalid_definition");
    assert!(
        problem["errors"][0]["message"]
            .as_str()
            .unwrap()
            .starts_with("line 3"),
        "{problem}"
    );
    let put = |text: &str| {
        request(
            Method::PUT,
            "/api/v1/workflows/fresh",
            &yaml,
            Body::from(text.to_owned()),
        )
    };
    house.send(put(text)).await.problem(403, "forbidden");
    house.close().await;

    let mut config = aquatint_api::ApiConfig::default();
    config.allow_definitions = true;
    let house = House::with(config).await;
    house.send(put(text)).await.has(200);
    assert_eq!(house.run("fresh", json!({})).await["state"], "succeeded");
    house
        .send(put(&text.replace("fresh", "other")))
        .await
        .problem(422, "invalid");
    let versions = house
        .get("/api/v1/workflows/fresh/versions")
        .await
        .has(200)
        .json();
    assert_eq!(versions["data"][0]["current"], true);
    house.close().await;
}

#[tokio::test]
async fn the_document_names_every_route_once_with_its_refusals() {
    let document: serde_json::Value =
        serde_json::from_str(&aquatint_api::Api::document().unwrap()).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    let paths = document["paths"].as_object().unwrap();
    let mut ids = std::collections::BTreeSet::new();
    let mut told = Vec::new();
    for (path, item) in paths {
        for (method, operation) in item.as_object().unwrap() {
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id.to_owned()), "`{id}` names two operations");
            assert!(
                operation["responses"]["default"].is_object(),
                "{method} {path}"
            );
            told.push(format!("{} {path}", method.to_uppercase()));
        }
    }
    told.sort();
    insta::assert_snapshot!(told.join("\n"));
}

#[tokio::test]
async fn a_client_may_name_its_request_within_reason() {
    let house = House::new().await;
    let ask = async |path: &str, name: &str| {
        let headers = [("x-request-id", name)];
        let answer = house
            .send(request(Method::GET, path, &headers, Body::empty()))
            .await;
        answer.header("x-request-id").to_owned()
    };
    assert_eq!(ask("/api/v1/runs", "kiln-7").await, "kiln-7");
    // Whatever becomes of it: refused, unknown, or of no interest to anybody's key.
    assert_eq!(ask("/api/v1/runs?limit=0", "kiln-8").await, "kiln-8");
    assert_eq!(ask("/nowhere", "kiln-9").await, "kiln-9");
    assert_eq!(ask("/livez", "kiln-10").await, "kiln-10");
    let long = "x".repeat(201);
    let ours = ask("/api/v1/runs", &long).await;
    assert_eq!(ours.len(), 36, "{ours}");
    assert_ne!(ours, ask("/api/v1/runs", &long).await);
    house.close().await;
}

#[tokio::test]
async fn only_what_is_worth_it_is_compressed() {
    let house = House::new().await;
    let ask = async |path: &str| {
        let headers = [("accept-encoding", "gzip")];
        house
            .send(request(Method::GET, path, &headers, Body::empty()))
            .await
            .has(200)
    };
    assert_eq!(ask("/livez").await.header("content-encoding"), "");
    let document = ask("/openapi.json").await;
    assert_eq!(document.header("content-encoding"), "gzip");
    assert!(document.bytes.len() < 100_000, "{}", document.bytes.len());
    house.close().await;
}

use axum::body::Body;
use axum::http::Method;
use serde_json::{Value, json};

use crate::support::{House, form, png, request};

async fn ended(house: &House, id: &str) -> Value {
    house
        .get(&format!("/api/v1/runs/{id}?wait=30"))
        .await
        .has(200);
    house
        .get(&format!("/api/v1/batches/{id}"))
        .await
        .has(200)
        .json()
}

#[tokio::test]
async fn a_batch_gives_each_item_its_own_end_and_finalizes_once() {
    let house = House::new().await;
    let items: Vec<Value> = (0..5).map(|n| json!({"words": format!("n{n}")})).collect();
    let new = json!({"workflow": "say", "items": items, "common": {"n": 3}, "finalize": "sum-up", "tags": ["t"]});
    let accepted = house.post("/api/v1/batches", &new).await.has(202);
    let batch = accepted.json();
    assert_eq!(
        (&batch["items"]["total"], &batch["tags"]),
        (&json!(5), &json!(["t"]))
    );
    let id = batch["id"].as_str().unwrap();
    assert_eq!(accepted.header("location"), format!("/api/v1/batches/{id}"));
    let batch = ended(&house, id).await;
    assert_eq!(batch["state"], "succeeded", "{batch}");
    assert_eq!(batch["items"], json!({"total": 5, "open": 0, "failed": 0}));
    assert_eq!(
        batch["result"],
        json!({"seen": 5}),
        "the finalize got all results"
    );
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = house
            .get(&format!("/api/v1/batches/{id}/items?limit=2{cursor}"))
            .await
            .has(200)
            .json();
        seen.extend(
            page["data"]
                .as_array()
                .unwrap()
                .iter()
                .map(|i| i["output"]["words"].as_str().unwrap().to_owned()),
        );
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, ["n0", "n1", "n2", "n3", "n4"]);
    let listed = house.get("/api/v1/batches").await.has(200).json();
    assert_eq!(listed["data"][0]["workflow"], "say");
    house.close().await;
}

#[tokio::test]
async fn one_bad_item_sinks_the_request_and_no_failing_item_the_batch() {
    let house = House::new().await;
    let bad = json!({"workflow": "say", "items": [{"words": "a"}, {"words": ""}, {"word": "c"}]});
    let problem = house
        .post("/api/v1/batches", &bad)
        .await
        .problem(422, "invalid");
    let places: Vec<_> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["pointer"].as_str().unwrap())
        .collect();
    assert_eq!(
        places,
        ["/items/1/words", "/items/2/word", "/items/2/words"]
    );
    assert_eq!(
        house.get("/api/v1/runs?all=true").await.json()["data"],
        json!([])
    );
    let failing = house
        .post(
            "/api/v1/batches",
            &json!({"workflow": "break", "items": [{}, {}]}),
        )
        .await
        .has(202)
        .json();
    let batch = ended(&house, failing["id"].as_str().unwrap()).await;
    assert_eq!(
        (&batch["state"], &batch["items"]["failed"]),
        (&json!("succeeded"), &json!(2))
    );
    assert_eq!(
        (&batch["result"]["completed"], &batch["result"]["failed"]),
        (&json!(0), &json!(2))
    );
    house.close().await;
}

#[tokio::test]
async fn items_come_as_lines_and_as_files() {
    let house = House::new().await;
    let lines = [("content-type", "application/x-ndjson")];
    let body = Body::from("{\"words\": \"a\"}\n{\"words\": \"b\"}\n");
    let sent = request(Method::POST, "/api/v1/batches?workflow=say", &lines, body);
    let batch = house.send(sent).await.has(202).json();
    assert_eq!(
        ended(&house, batch["id"].as_str().unwrap()).await["result"]["completed"],
        2
    );
    let (a, b) = (png(4, 4), png(5, 5));
    let parts: &[(&str, Option<&str>, &[u8])] = &[
        ("workflow", None, b"show"),
        ("files", Some("a.png"), &a),
        ("files", Some("b.png"), &b),
    ];
    let batch = house
        .send(form("/api/v1/batches", parts))
        .await
        .has(202)
        .json();
    let batch = ended(&house, batch["id"].as_str().unwrap()).await;
    assert_eq!(
        (&batch["state"], &batch["result"]["completed"]),
        (&json!("succeeded"), &json!(2)),
        "{batch}"
    );
    house.close().await;
}

#[tokio::test]
async fn a_batch_says_whom_to_tell_and_how_long_it_is_kept() {
    let house = House::new().await;
    let mut new = json!({
        "workflow": "say", "items": [{"words": "a"}], "retention": "2h",
        "notify": [{"on": ["failed"], "email": ["kiln@example.org"]}],
    });
    let batch = house.post("/api/v1/batches", &new).await.has(202).json();
    let id = batch["id"].as_str().unwrap();
    let run = house.engine.run(id.parse().unwrap()).await.unwrap();
    assert_eq!(run.notify[0].email, ["kiln@example.org"]);
    assert_eq!(ended(&house, id).await["state"], "succeeded");
    let run = house.engine.run(id.parse().unwrap()).await.unwrap();
    let kept = run.expires_at.unwrap().since_ms(run.finished_at.unwrap());
    assert_eq!(kept, 2 * 3_600_000);
    for (field, wrong, place) in [
        ("retention", json!("for ever"), "/retention"),
        ("notify", json!([{"email": ["nobody"]}]), "/notify"),
    ] {
        let mut bad = new.clone();
        bad[field] = wrong;
        let problem = house
            .post("/api/v1/batches", &bad)
            .await
            .problem(422, "invalid");
        assert_eq!(problem["errors"][0]["pointer"], place);
    }
    // Nothing of what was refused is there.
    let listed = house.get("/api/v1/batches").await.has(200).json();
    assert_eq!(listed["data"].as_array().unwrap().len(), 1);
    new["notify"] = json!([]);
    house.post("/api/v1/batches", &new).await.has(202);
    house.close().await;
}

use axum::body::Body;
use axum::http::Method;
use serde_json::json;

use crate::support::{House, form, png, request};

#[tokio::test]
async fn an_upload_becomes_an_input_and_what_comes_of_it_is_sent_in_every_way() {
    let house = House::new().await;
    let picture = png(20, 10);
    let raw = [("content-type", "application/octet-stream")];
    let sent = request(
        Method::POST,
        "/api/v1/uploads?name=..%2F..%2Fetc%2Fpasswd",
        &raw,
        Body::from(picture),
    );
    let file = house.send(sent).await.has(201).json();
    assert_eq!(
        (&file["media_type"], &file["name"]),
        (&json!("image/png"), &json!("passwd"))
    );
    let run = house.run("show", json!({"image": file})).await;
    assert_eq!(run["state"], "succeeded", "{run}");
    let id = run["id"].as_str().unwrap();
    let files = house
        .get(&format!("/api/v1/runs/{id}/artifacts"))
        .await
        .has(200)
        .json();
    let steps: Vec<_> = files["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| f["step"].as_str().unwrap())
        .collect();
    assert_eq!(steps, ["inputs", "a"]);
    let url = files["data"][1]["url"].as_str().unwrap();

    let whole = house.get(url).await.has(200);
    assert_eq!(whole.header("content-type"), "image/png");
    assert_eq!(whole.header("x-content-type-options"), "nosniff");
    assert_eq!(image::load_from_memory(&whole.bytes).unwrap().width(), 40);
    let tag = whole.header("etag").to_owned();
    let with = async |headers: &[(&str, &str)]| {
        house
            .send(request(Method::GET, url, headers, Body::empty()))
            .await
    };
    let part = with(&[("range", "bytes=1-3")]).await.has(206);
    assert_eq!(part.bytes, b"PNG");
    assert_eq!(
        part.header("content-range"),
        format!("bytes 1-3/{}", whole.bytes.len())
    );
    with(&[("range", "bytes=99999999-")]).await.has(416);
    assert!(
        with(&[("if-none-match", &tag)])
            .await
            .has(304)
            .bytes
            .is_empty()
    );
    let head = house
        .send(request(Method::HEAD, url, &[], Body::empty()))
        .await
        .has(200);
    assert!(head.bytes.is_empty());
    assert_eq!(head.header("content-length"), whole.bytes.len().to_string());
    let download = house.get(&format!("{url}?download=true")).await.has(200);
    assert!(
        download
            .header("content-disposition")
            .starts_with("attachment; ")
    );
    let small = house.get(&format!("{url}?thumbnail=16")).await.has(200);
    assert_eq!(image::load_from_memory(&small.bytes).unwrap().width(), 16);
    house
        .get(&format!("/api/v1/runs/{id}/artifacts/{}", "0".repeat(64)))
        .await
        .problem(404, "not_found");
    house.close().await;
}

#[tokio::test]
async fn a_form_carries_a_run_and_its_files() {
    let house = House::new().await;
    let picture = png(8, 8);
    let sent = form(
        "/api/v1/runs?wait=30",
        &[
            ("workflow", None, b"show"),
            ("image", Some("a.png"), &picture),
        ],
    );
    let run = house.send(sent).await.has(200).json();
    assert_eq!(
        (&run["state"], &run["inputs"]["image"]["name"]),
        (&json!("succeeded"), &json!("a.png"))
    );
    house.close().await;
}

#[tokio::test]
async fn what_pretends_to_be_a_picture_is_refused_before_it_is_opened() {
    let house = House::new().await;
    // A header that promises 50,000 × 50,000 pixels, and no pixels.
    let mut bomb = png(1, 1);
    bomb[16..20].copy_from_slice(&50_000_u32.to_be_bytes());
    bomb[20..24].copy_from_slice(&50_000_u32.to_be_bytes());
    let problem = house
        .send(form("/api/v1/uploads", &[("f", Some("b.png"), &bomb)]))
        .await
        .problem(413, "too_large");
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("50000 × 50000"),
        "{problem}"
    );
    house
        .send(form("/api/v1/uploads", &[("f", Some("e.png"), b"")]))
        .await
        .problem(422, "invalid");
    let unknown = json!({"artifact": "0".repeat(64), "name": "x", "media_type": "image/png", "size_bytes": 1});
    house
        .post(
            "/api/v1/runs",
            &json!({"workflow": "show", "inputs": {"image": unknown}}),
        )
        .await
        .problem(422, "invalid");
    assert_eq!(
        house.get("/api/v1/runs").await.json()["data"],
        json!([]),
        "nothing is stored half"
    );
    house.close().await;
}

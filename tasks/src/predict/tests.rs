//! Models that were just trained, asked well and badly.
#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::testing::Bench;
use crate::train::Train;
use serde_json::json;

async fn trained(bench: &Bench, model: &str, target: &str) -> Value {
    let input = json!({ "model": model, "target": target, "epochs": 2, "ignore": ["rooms"] });
    bench.run(Train, input).await.unwrap()["artifact"].clone()
}

fn house() -> Value {
    json!({ "area_m2": 80, "age_years": 30, "distance_km": 2.5, "heating": "gas",
            "garden": false, "energy_class": "C", "price": 400_000 })
}

#[tokio::test]
async fn classes_come_with_their_chances() {
    let bench = Bench::new();
    let model = trained(&bench, "mlp", "energy_class").await;
    let output = bench
        .run(
            Predict,
            json!({ "model": model, "rows": [house(), house()] }),
        )
        .await
        .unwrap();
    let first = &output["predictions"][0];
    let chances = first["probabilities"].as_object().unwrap();
    assert_eq!(chances.keys().collect::<Vec<_>>(), ["A", "B", "C", "D"]);
    let sum: f64 = chances
        .values()
        .map(|chance| chance.as_f64().unwrap())
        .sum();
    assert!((sum - 1.0).abs() < 1e-9, "{sum}");
    let likeliest = chances
        .iter()
        .max_by(|a, b| a.1.as_f64().unwrap().total_cmp(&b.1.as_f64().unwrap()));
    assert_eq!(first["value"], *likeliest.unwrap().0);
    assert_eq!(output["predictions"][1], *first);
    assert_eq!(
        (&output["models"], &output["rows"]),
        (&Value::Null, &json!(2))
    );
}

#[tokio::test]
async fn several_models_answer_side_by_side() {
    let bench = Bench::new();
    let price = trained(&bench, "linear", "price").await;
    let class = trained(&bench, "linear", "energy_class").await;
    let models =
        json!([{ "name": "how much", "model": price }, { "name": "which", "model": class }]);
    let output = bench
        .run(Predict, json!({ "models": models, "rows": [house()] }))
        .await
        .unwrap();
    let answered = &output["models"];
    assert_eq!(
        (&answered[0]["name"], &answered[0]["kind"]),
        (&json!("how much"), &json!("regression"))
    );
    assert!(answered[0]["predictions"][0]["value"].is_f64());
    assert_eq!(
        (&answered[1]["target"], &output["predictions"]),
        (&json!("energy_class"), &Value::Null)
    );
    let mut odd = house();
    odd["heating"] = json!("coal");
    let error = bench
        .run(Predict, json!({ "models": models, "rows": [odd] }))
        .await
        .unwrap_err();
    assert!(
        error.message.starts_with("`how much`: `heating` is `coal`"),
        "{error}"
    );
}

#[tokio::test]
async fn rows_that_do_not_fit_are_named() {
    let bench = Bench::new();
    let model = trained(&bench, "linear", "price").await;
    let changes: [(&str, Value, &str); 5] = [
        (
            "age_years",
            Value::Null,
            "rows[1]: `age_years` has no value",
        ),
        ("age_years", json!("old"), "rows[1]: `age_years` is `old`"),
        ("rooms", json!("was ignored"), ""),
        ("price", json!({ "is": "not looked at" }), ""),
        ("pool", json!(true), "`pool`"),
    ];
    for (column, value, wanted) in changes {
        let mut odd = house();
        odd[column] = value;
        let rows = if wanted.contains("rows[1]") {
            json!([house(), odd])
        } else {
            json!([odd])
        };
        let ended = bench
            .run(Predict, json!({ "model": model, "rows": rows }))
            .await;
        match (wanted, ended) {
            ("", ended) => assert!(ended.is_ok(), "{column}: {ended:?}"),
            (wanted, Ok(output)) => panic!("{wanted}: {output}"),
            (wanted, Err(error)) => {
                assert!(error.message.contains(wanted), "{error}: {wanted}");
            }
        }
    }
}

#[tokio::test]
async fn a_file_that_is_no_model_is_refused() {
    let bench = Bench::new();
    let file = bench
        .ctx
        .save("notes.txt", "text/plain", b"not a model".to_vec())
        .await
        .unwrap();
    let error = bench
        .run(Predict, json!({ "model": file, "rows": [house()] }))
        .await
        .unwrap_err();
    assert_eq!(error.class, "invalid_model");
    assert!(error.message.contains("`notes.txt`"), "{error}");
}

#[tokio::test]
async fn one_question_at_a_time_and_not_too_large() {
    let bench = Bench::new();
    let model = trained(&bench, "linear", "energy_class").await;
    let many: Vec<Value> = (0..=MAX_ROWS).map(|_| house()).collect();
    let named = json!([{ "name": "a", "model": model }, { "name": "a", "model": model }]);
    let ten: Vec<Value> = (0..10)
        .map(|at| json!({ "name": at.to_string(), "model": model }))
        .collect();
    let table = [
        (json!({ "rows": [house()] }), "one `model`"),
        (
            json!({ "model": model, "models": named, "rows": [house()] }),
            "one `model`",
        ),
        (json!({ "models": named, "rows": [house()] }), "models[1]"),
        (json!({ "model": model, "rows": [] }), "`rows` has 0"),
        (json!({ "model": model, "rows": many }), "`rows` has 1001"),
        (
            json!({ "models": ten, "rows": many[..1000] }),
            "rows at a time",
        ),
    ];
    for (input, wanted) in table {
        let error = bench.run(Predict, input).await.unwrap_err();
        assert!(error.message.contains(wanted), "{error}: {wanted}");
    }
}

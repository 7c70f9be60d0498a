//! Rankings of results as a mapped step hands them over.
#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::testing::Bench;
use serde_json::{Value, json};

fn trained(index: u32, model: &str, mse: f64, mae: f64, parameters: u64) -> Value {
    let regression = |mse: f64, mae: f64| json!({ "mse": mse, "mae": mae, "r2": 1.0 - mse / 9.0 });
    json!({ "index": index, "status": "succeeded", "error": null, "output": {
        "model": model, "kind": "regression", "target": "price",
        "metrics": { "train": regression(0.1, 0.1), "test": regression(mse, mae) },
        "baseline": regression(9.0, 2.0),
        "test_rows": 20, "parameters": parameters, "duration_ms": 5,
        "artifact": { "artifact": "a".repeat(64), "name": format!("{model}.safetensors"),
                      "media_type": "application/vnd.safetensors", "size_bytes": 9 },
        "history": [],
    }})
}

fn failed(index: u32) -> Value {
    json!({ "index": index, "status": "failed", "output": null, "error": "out\nof memory" })
}

async fn compare(input: Value) -> Result<Value, TaskError> {
    Bench::new().run(Compare, input).await
}

#[tokio::test]
async fn the_best_on_the_held_out_part_comes_first_and_failures_are_told() {
    let results = [
        trained(0, "linear", 4.0, 1.0, 7),
        failed(1),
        trained(2, "mlp", 1.0, 1.5, 99),
    ];
    let names = ["linear", "transformer", "mlp"];
    let output = compare(json!({ "results": results, "names": names }))
        .await
        .unwrap();
    assert_eq!(output["metric"], "mse");
    assert_eq!(output["best"], "mlp");
    assert_eq!(output["artifact"]["name"], "mlp.safetensors");
    let order: Vec<_> = output["ranking"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["name"])
        .collect();
    assert_eq!(order, ["mlp", "linear"]);
    assert_eq!(
        output["failed"],
        json!([{ "name": "transformer", "index": 1, "message": "out of memory" }])
    );
}

#[tokio::test]
async fn another_metric_may_rank_otherwise() {
    let results = json!([
        trained(0, "linear", 4.0, 1.0, 7),
        trained(1, "mlp", 1.0, 1.5, 99)
    ]);
    for (metric, best) in [("mae", "linear"), ("mse", "mlp"), ("r2", "mlp")] {
        let output = compare(json!({ "results": results, "metric": metric }))
            .await
            .unwrap();
        assert_eq!(output["best"], best, "{metric}");
    }
}

#[tokio::test]
async fn of_equals_the_smaller_wins_and_the_baseline_is_the_bar() {
    let results = json!([
        trained(0, "mlp", 9.5, 1.0, 99),
        trained(1, "linear", 9.5, 1.0, 7)
    ]);
    let output = compare(json!({ "results": results })).await.unwrap();
    assert_eq!(output["best"], "linear");
    assert_eq!(output["ranking"][0]["beats_baseline"], false);
}

#[tokio::test]
async fn without_a_single_model_there_is_nothing_to_compare() {
    let error = compare(json!({ "results": [failed(0), failed(1)] }))
        .await
        .unwrap_err();
    assert_eq!(error.class, "no_model");
    assert!(error.message.contains("out of memory"), "{error}");
}

#[tokio::test]
async fn models_judged_by_different_rows_are_not_ranked() {
    let mut other = trained(1, "mlp", 1.0, 1.0, 9);
    other["output"]["test_rows"] = json!(21);
    let results = json!([trained(0, "linear", 4.0, 1.0, 7), other]);
    let error = compare(json!({ "results": results })).await.unwrap_err();
    assert_eq!(error.class, "not_comparable");
    assert!(error.message.contains("21 rows"), "{error}");
}

#[tokio::test]
async fn a_metric_of_the_other_kind_is_refused() {
    let results = json!([trained(0, "linear", 4.0, 1.0, 7)]);
    let error = compare(json!({ "results": results, "metric": "accuracy" }))
        .await
        .unwrap_err();
    assert!(error.message.contains("`mse`, `mae` or `r2`"), "{error}");
}

#[tokio::test]
async fn what_is_no_result_of_training_counts_as_failed() {
    let odd = json!({ "index": 1, "status": "succeeded", "output": { "image": 1 } });
    let results = json!([trained(0, "linear", 4.0, 1.0, 7), odd]);
    let output = compare(json!({ "results": results })).await.unwrap();
    assert_eq!(output["ranking"].as_array().unwrap().len(), 1);
    let message = output["failed"][0]["message"].as_str().unwrap();
    assert!(message.contains("model.train"), "{message}");
}

#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::testing::Bench;
use serde_json::json;

async fn train(input: Value) -> Result<Value, TaskError> {
    Bench::new().run(Train, input).await
}

fn metric(output: &Value, part: &str, name: &str) -> f64 {
    output["metrics"][part][name].as_f64().unwrap()
}

/// `y = 3 a - 2 b + 5`, and 4 more where the colour is red.
fn plane() -> Vec<Value> {
    let mut chance = fastrand::Rng::with_seed(11);
    let row = |_| {
        let (a, b) = (10.0 * chance.f64(), chance.f64() - 0.5);
        let red = chance.bool();
        let y = 3.0 * a - 2.0 * b + 5.0 + if red { 4.0 } else { 0.0 };
        json!({ "a": a, "b": b, "colour": if red { "red" } else { "blue" }, "y": y })
    };
    (0..200).map(row).collect()
}

#[tokio::test]
async fn a_plane_is_recovered_by_a_linear_model() {
    let bench = Bench::new();
    let output = bench
        .run(Train, json!({ "model": "linear", "rows": plane(), "target": "y", "epochs": 200, "learning_rate": 0.05 }))
        .await
        .unwrap();
    assert!(
        metric(&output, "test", "r2") > 0.999_99,
        "{}",
        output["metrics"]
    );
    // Two numbers, two colours, and what is added to all.
    assert_eq!(output["parameters"], 5);
    let asked = json!([{ "a": 0, "b": 0, "colour": "blue" }, { "a": 1, "b": 0, "colour": "blue" },
                       { "a": 0, "b": 1, "colour": "blue" }, { "a": 0, "b": 0, "colour": "red" }]);
    let input = json!({ "model": output["artifact"], "rows": asked });
    let answered = bench.run(crate::predict::Predict, input).await.unwrap();
    let value = |row: usize| answered["predictions"][row]["value"].as_f64().unwrap();
    let found = [
        value(0),
        value(1) - value(0),
        value(2) - value(0),
        value(3) - value(0),
    ];
    for (found, truth) in found.into_iter().zip([5.0, 3.0, -2.0, 4.0]) {
        assert!((found - truth).abs() < 0.05, "{found} for {truth}");
    }
}

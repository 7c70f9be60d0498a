//! `model.train` as a step sees it: what is learned, what is told, how it ends.
#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::testing::Bench;
use serde_json::{Value, json};

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

/// Distance from the middle: no weighted sum of the sides can tell it.
fn hill() -> Vec<Value> {
    let mut chance = fastrand::Rng::with_seed(12);
    let row = |_| {
        let (x, y) = (2.0 * chance.f64() - 1.0, 2.0 * chance.f64() - 1.0);
        json!({ "x": x, "y": y, "height": 10.0 * (1.0 - x * x - y * y) })
    };
    (0..300).map(row).collect()
}

#[tokio::test]
async fn on_a_hill_the_mlp_beats_the_linear_model() {
    let input =
        |model: &str| json!({ "model": model, "rows": hill(), "target": "height", "epochs": 60 });
    let linear = train(input("linear")).await.unwrap();
    let mlp = train(input("mlp")).await.unwrap();
    assert!(metric(&linear, "test", "r2") < 0.2, "{}", linear["metrics"]);
    assert!(metric(&mlp, "test", "r2") > 0.97, "{}", mlp["metrics"]);
}

#[tokio::test]
async fn the_transformer_beats_the_baseline_and_the_linear_model_on_houses() {
    let linear = train(json!({ "model": "linear", "epochs": 20 }))
        .await
        .unwrap();
    let output = train(json!({ "model": "transformer", "epochs": 20 }))
        .await
        .unwrap();
    let mse = metric(&output, "test", "mse");
    assert!(
        mse < 0.1 * output["baseline"]["mse"].as_f64().unwrap(),
        "{}",
        output["metrics"]
    );
    assert!(mse < metric(&linear, "test", "mse"));
    assert_eq!(
        output["baseline"], linear["baseline"],
        "one seed, one split"
    );
    assert_eq!(
        [&output["rows"], &output["test_rows"], &output["features"]],
        [1000, 200, 7]
    );
}

#[tokio::test]
async fn classes_are_told_apart_by_every_kind() {
    for model in ["linear", "mlp", "transformer"] {
        let output = train(json!({ "model": model, "target": "energy_class", "epochs": 10 }))
            .await
            .unwrap();
        assert_eq!(output["kind"], "classification");
        let accuracy = metric(&output, "test", "accuracy");
        assert!(
            accuracy > output["baseline"]["accuracy"].as_f64().unwrap() + 0.2,
            "{model}: {accuracy}"
        );
        assert!(
            metric(&output, "test", "log_loss") < output["baseline"]["log_loss"].as_f64().unwrap()
        );
        assert!((0.0..=1.0).contains(&metric(&output, "test", "f1_macro")));
    }
}

#[tokio::test]
async fn one_seed_gives_one_model_to_the_last_bit() {
    for model in ["linear", "mlp", "transformer"] {
        let with = |seed: u64| train(json!({ "model": model, "epochs": 3, "seed": seed }));
        let (one, again, other) = (
            with(7).await.unwrap(),
            with(7).await.unwrap(),
            with(8).await.unwrap(),
        );
        assert_eq!(one["metrics"], again["metrics"]);
        assert_eq!(one["history"], again["history"]);
        assert_eq!(one["artifact"], again["artifact"], "the file, too");
        assert_ne!(one["artifact"], other["artifact"]);
    }
}

#[tokio::test]
async fn the_history_is_short_and_progress_tells_every_epoch() {
    let mut bench = Bench::new();
    let rows = plane();
    let output = bench
        .run(
            Train,
            json!({ "model": "linear", "rows": rows, "target": "y", "epochs": 250 }),
        )
        .await
        .unwrap();
    let history = output["history"].as_array().unwrap();
    assert!(history.len() <= 100, "{}", history.len());
    assert_eq!(history.last().unwrap()["epoch"], 250);
    let loss = |at: usize| history[at]["test_loss"].as_f64().unwrap();
    assert!(loss(history.len() - 1) < loss(0));
    let progress = bench.progress();
    assert!(progress.is_sorted_by(|a, b| a.fraction <= b.fraction));
    let told = progress
        .iter()
        .filter(|one| one.message.starts_with("epoch "))
        .count();
    assert_eq!(told, 250);
    assert!(
        progress
            .iter()
            .any(|one| one.message.starts_with("epoch 12/250, loss "))
    );
}

#[tokio::test]
async fn a_stored_file_serves_as_well_as_text() {
    let bench = Bench::new();
    let mut csv = "x,y\n".to_owned();
    for x in 0..20 {
        csv.push_str(&format!("{x},{}\n", 2 * x));
    }
    let data = bench
        .ctx
        .save("t.csv", "text/csv", csv.clone().into_bytes())
        .await
        .unwrap();
    let input = |table: Value| json!({ "model": "linear", "target": "y", "epochs": 5, table["as"].as_str().unwrap(): table["is"] });
    let of_file = bench
        .run(Train, input(json!({ "as": "data", "is": data })))
        .await
        .unwrap();
    let of_text = bench
        .run(Train, input(json!({ "as": "csv", "is": csv })))
        .await
        .unwrap();
    assert_eq!(of_file["artifact"], of_text["artifact"]);
}

#[tokio::test]
async fn a_cancelled_training_stops_within_a_batch() {
    let mut bench = Bench::new();
    let attempt =
        tokio::spawn(bench.start(Train, json!({ "model": "transformer", "epochs": 10_000 })));
    bench.progress_at("epoch 1/").await;
    bench.cancel.cancel();
    let error = attempt.await.unwrap().unwrap_err();
    assert_eq!(error, TaskError::cancelled());
    assert!(bench.progress().len() < 100, "it went on for epochs");
}

#[tokio::test]
async fn at_the_soft_time_out_what_was_learned_is_kept() {
    let mut bench = Bench::new();
    let attempt = tokio::spawn(bench.start(Train, json!({ "model": "mlp", "epochs": 10_000 })));
    bench.progress_at("epoch 2/").await;
    bench.soft_timeout.cancel();
    let output = attempt.await.unwrap().unwrap();
    assert_eq!(output["stopped_early"], true);
    let epochs = output["epochs"].as_u64().unwrap();
    assert!((2..10_000).contains(&epochs), "{epochs}");
    let told = bench.log();
    assert!(
        told.iter()
            .any(|line| line.message.contains("soft time-out")),
        "{told:?}"
    );
}

#[tokio::test]
async fn without_time_for_an_epoch_there_is_no_model() {
    let bench = Bench::new();
    bench.soft_timeout.cancel();
    let error = bench
        .run(Train, json!({ "model": "mlp" }))
        .await
        .unwrap_err();
    assert_eq!(error.class, "soft_timeout");
    assert!(bench.ctx.saved().is_empty());
}

#[tokio::test]
async fn steps_that_are_too_large_end_training_with_the_epoch_and_the_rate() {
    let input = json!({ "model": "mlp", "rows": hill(), "target": "height", "learning_rate": 1e6 });
    let error = train(input).await.unwrap_err();
    assert_eq!(
        (error.class.as_str(), error.remedy),
        ("diverged", aquatint_engine::task::Remedy::Fail)
    );
    assert!(
        error.message.contains("in epoch 1 ") && error.message.contains("below 1000000"),
        "{error}"
    );
}

#[tokio::test]
async fn inputs_beyond_their_bounds_are_refused_by_name() {
    let table = [
        (json!({ "epochs": 0 }), "`epochs` is 0"),
        (json!({ "epochs": 10_001 }), "`epochs` is 10001"),
        (json!({ "batch_size": 0 }), "`batch_size`"),
        (json!({ "test_fraction": 0.9 }), "`test_fraction` is 0.9"),
        (json!({ "learning_rate": 0.0 }), "`learning_rate` is 0"),
        (json!({ "rows": [], "csv": "a" }), "one table"),
        (json!({ "rows": [{ "a": 1 }] }), "`target` is missing"),
        (
            json!({ "csv": "a,b\n1,2\n", "target": "c" }),
            "no column `c`; there are `a`, `b`",
        ),
        (json!({ "csv": "a,b\n1,2\n", "target": "b" }), "1 rows"),
        (json!({ "ignore": ["rooms", "roms"] }), "no column `roms`"),
        (
            json!({ "target": "heating", "task": "regression" }),
            "`heating` holds text",
        ),
        (
            json!({ "model": "oracle" }),
            "`linear`, `mlp`, `transformer`",
        ),
    ];
    for (mut input, wanted) in table {
        if input.get("model").is_none() {
            input["model"] = json!("linear");
        }
        let error = train(input).await.unwrap_err();
        assert!(error.message.contains(wanted), "{error}: {wanted}");
    }
}

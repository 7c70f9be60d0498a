//! The shipped training definitions, carried out: trained, compared and asked.
#![expect(clippy::unwrap_used, reason = "tests")]

use aquatint_engine::id::QueueName;
use aquatint_engine::{Engine, EngineConfig, Library, Registry, Submission, WorkerConfig};
use aquatint_workflows::all;
use serde_json::{Value, json};

/// An engine of its own over every shipped definition, with a worker for `cpu`.
struct World {
    engine: Engine,
    worker: aquatint_engine::Worker,
    _folder: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let mut registry = Registry::new();
        aquatint_tasks::register_all(&mut registry, &aquatint_tasks::Options::default());
        let mut library = Library::new(registry);
        for embedded in all() {
            library.add(embedded.name(), embedded.file_name, embedded.text);
        }
        let folder = tempfile::tempdir().unwrap();
        let engine = Engine::open(EngineConfig::new(folder.path()), library)
            .await
            .unwrap();
        let slots = WorkerConfig::new([(QueueName::new("cpu").unwrap(), 2)]);
        let worker = engine.start_worker(slots).await.unwrap();
        Self {
            engine,
            worker,
            _folder: folder,
        }
    }

    /// What a run gives back, or why it failed.
    async fn run(&self, workflow: &str, inputs: Value) -> Result<Value, String> {
        let submitted = self.engine.submit(Submission::new(workflow, inputs)).await;
        let ended = self.engine.wait(submitted.unwrap().run).await.unwrap();
        ended
            .output
            .ok_or_else(|| serde_json::to_string(&ended.failure).unwrap())
    }

    async fn close(self) {
        self.worker.stop().await;
        self.engine.close().await;
    }
}

fn house() -> Value {
    json!({ "area_m2": 120, "rooms": 5, "age_years": 10, "distance_km": 4.5,
            "heating": "heat pump", "garden": true, "energy_class": "A" })
}

#[tokio::test(flavor = "multi_thread")]
async fn all_kinds_are_trained_ranked_and_asked() {
    let world = World::new().await;
    let trained = world
        .run("train-all", json!({ "epochs": 15 }))
        .await
        .unwrap();
    let ranking = trained["ranking"].as_array().unwrap();
    assert_eq!((ranking.len(), &trained["failed"]), (3, &json!([])));
    assert_eq!(
        (&trained["best"], &trained["model"]),
        (&ranking[0]["name"], &ranking[0]["artifact"])
    );
    assert!(ranking.is_sorted_by_key(|one| one["metrics"]["mse"].as_f64().unwrap()));
    assert!(
        ranking.iter().all(|one| one["beats_baseline"] == true),
        "{ranking:?}"
    );

    let models: Vec<Value> = ranking
        .iter()
        .map(|one| json!({ "name": one["name"], "model": one["artifact"] }))
        .collect();
    let of_all = world
        .run("predict", json!({ "models": models, "rows": [house()] }))
        .await
        .unwrap();
    let of_best = world
        .run(
            "predict",
            json!({ "model": trained["model"], "rows": [house()] }),
        )
        .await
        .unwrap();
    assert_eq!(of_all["models"].as_array().unwrap().len(), 3);
    assert_eq!(of_all["models"][0]["predictions"], of_best["predictions"]);
    let price = of_best["predictions"][0]["value"].as_f64().unwrap();
    assert!((100_000.0..2_000_000.0).contains(&price), "{price}");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_ones_own_is_learned_from_and_classes_get_probabilities() {
    let world = World::new().await;
    let mut csv = "id,size,fruit\n".to_owned();
    for id in 0..40 {
        let (size, fruit) = if id % 2 == 0 {
            (10 + id % 3, "melon")
        } else {
            (1 + id % 3, "cherry")
        };
        csv.push_str(&format!("no {id},{size},{fruit}\n"));
    }
    let inputs = json!({ "model": "linear", "csv": csv, "target": "fruit", "ignore": ["id"] });
    let trained = world.run("train", inputs).await.unwrap();
    assert_eq!(trained["metrics"]["test"]["accuracy"], 1.0);
    let asked = json!({ "model": trained["model"], "rows": [{ "size": 11 }, { "size": 2 }] });
    let answered = world.run("predict", asked).await.unwrap();
    assert_eq!(answered["predictions"][0]["value"], "melon");
    assert_eq!(answered["predictions"][1]["value"], "cherry");
    let likely = answered["predictions"][1]["probabilities"]["cherry"]
        .as_f64()
        .unwrap();
    assert!((0.5..=1.0).contains(&likely), "{likely}");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_cannot_be_learned_from_fails_at_once_with_its_line() {
    let world = World::new().await;
    let csv = "size,price\n1,2\n2,oops\n3,6\n";
    let failed = world
        .run("train", json!({ "csv": csv, "target": "price" }))
        .await;
    let why = failed.unwrap_err();
    assert!(
        why.contains("invalid_data") && why.contains("line 3"),
        "{why}"
    );
    let failed = world
        .run("train-all", json!({ "csv": csv, "target": "price" }))
        .await;
    let why = failed.unwrap_err();
    assert!(why.contains("no_model") && why.contains("line 3"), "{why}");
    world.close().await;
}

//! The shipped definitions, read by the engine against the shipped tasks.
#![expect(clippy::unwrap_used, reason = "tests")]

use aquatint_engine::registry::Registry;
use aquatint_engine::workflow::{
    Budget, Catalog, Plan, Prepared, Scope, Source, TaskSignature, Workflow, WorkflowSignature,
};
use aquatint_workflows::{all, find};
use serde_json::{Value, json};

/// Every shipped task, and the workflows that others run.
struct World {
    tasks: Registry,
    inner: Vec<Workflow>,
}

impl World {
    fn new() -> Self {
        let mut tasks = Registry::new();
        aquatint_tasks::register_all(&mut tasks, &aquatint_tasks::Options::default());
        let mut world = Self {
            tasks,
            inner: Vec::new(),
        };
        for name in ["image-generation", "emergency-clean-up"] {
            world.inner.push(world.parse(name));
        }
        world
    }

    fn parse(&self, name: &str) -> Workflow {
        let embedded = find(name).unwrap();
        let source = Source {
            file: embedded.file_name,
            text: embedded.text,
        };
        Workflow::parse(&source, self).unwrap_or_else(|wrong| panic!("{}", wrong.render(false)))
    }
}

impl Catalog for World {
    fn task(&self, name: &str) -> Option<TaskSignature<'_>> {
        self.tasks.task(name)
    }

    fn task_names(&self) -> Vec<String> {
        self.tasks.task_names()
    }

    fn workflow(&self, name: &str) -> Option<WorkflowSignature<'_>> {
        let inner = self.inner.iter().find(|w| w.name.as_str() == name)?;
        Some(WorkflowSignature {
            inputs: Some(&inner.inputs),
            runs: Vec::new(),
        })
    }

    fn workflow_names(&self) -> Vec<String> {
        self.inner.iter().map(|w| w.name.to_string()).collect()
    }
}

#[test]
fn every_definition_is_read_and_compiled_without_a_complaint() {
    let world = World::new();
    for embedded in all() {
        let workflow = world.parse(embedded.name());
        assert_eq!(workflow.name.as_str(), embedded.name());
        assert!(Plan::compile(&workflow).is_ok(), "{}", embedded.file_name);
    }
}

#[test]
fn a_sweep_paints_and_labels_a_row_for_each_style() {
    let plan = Plan::compile(&World::new().parse("seed-sweep")).unwrap();
    let step = |name: &str| &plan.steps[plan.step_index(name).unwrap() as usize];
    let given = json!({ "prompt": "a lake", "styles": ["none", "neon"], "seeds": [3, 5, 8] });
    let scope = Scope::new().inputs_from(&plan.inputs.check(given).unwrap());

    let items = step("paint")
        .map
        .as_ref()
        .unwrap()
        .items(&scope, &mut Budget::attempt())
        .unwrap();
    let with = |index: u32| {
        let item = Prepared::from_json(&items[index as usize]);
        step("paint")
            .with
            .evaluate(&scope.clone().item(item, index), &mut Budget::attempt())
            .unwrap()
    };
    assert_eq!(
        (&with(1)["style"], &with(1)["seed"]),
        (&Value::Null, &json!(5))
    );
    assert_eq!(
        (&with(5)["style"], &with(5)["seed"]),
        (&json!("neon"), &json!(8))
    );

    let results: Vec<_> = (0..6)
        .map(|index| json!({ "index": index, "status": "failed" }))
        .collect();
    let scope = scope
        .step("paint", Prepared::from_json(&json!(results)))
        .step(
            "summarize",
            Prepared::from_json(&json!({ "completed": 0, "images": [] })),
        );
    let sheet = step("sheet")
        .with
        .evaluate(&scope, &mut Budget::attempt())
        .unwrap();
    assert_eq!(sheet["columns"], 3);
    assert_eq!(sheet["labels"][5], "neon, seed 8");
    assert_eq!(
        step("sheet")
            .when
            .as_ref()
            .unwrap()
            .evaluate(&scope, &mut Budget::attempt())
            .unwrap(),
        json!(false)
    );
}

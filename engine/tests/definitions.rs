//! Definition files, good and bad: what is accepted, and what is said of the rest.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};

use aquatint_engine::workflow::{
    Action, Budget, Catalog, Diagnostics, Plan, Scope, Source, TaskSignature, Workflow,
    WorkflowSignature, graph, json_schema,
};
use serde_json::{Map, Value, json};

mod catalog {
    use super::*;

    /// A few tasks and workflows, as a program would register them.
    pub(crate) struct World {
        tasks: Map<String, Value>,
        thumbnail: Map<String, Value>,
    }

    impl World {
        pub(crate) fn new() -> Self {
            let tasks = json!({
                "prompt.refine": {
                    "type": "object",
                    "properties": { "prompt": { "type": "string", "minLength": 1 }, "style": { "type": "string" } },
                    "required": ["prompt"],
                    "additionalProperties": false,
                },
                "image.generate": {
                    "type": "object",
                    "properties": {
                        "prompt": { "type": "string" },
                        "width": { "type": "integer", "minimum": 64, "maximum": 2048 },
                        "height": { "type": "integer", "minimum": 64, "maximum": 2048 },
                        "seed": { "type": ["integer", "null"] },
                        "sampler": { "enum": ["euler", "ddim"] },
                        "loras": { "type": "array", "items": { "$ref": "#/$defs/Lora" } },
                    },
                    "required": ["prompt"],
                    "additionalProperties": false,
                    "$defs": { "Lora": {
                        "type": "object",
                        "properties": { "name": { "type": "string" }, "weight": { "type": "number" } },
                        "required": ["name"],
                        "additionalProperties": false,
                    } },
                },
                "image.upscale": {
                    "type": "object",
                    "properties": { "image": { "type": "object" }, "factor": { "type": "integer", "minimum": 2, "maximum": 4 } },
                    "required": ["image"],
                    "additionalProperties": false,
                },
                "notify.webhook": {
                    "type": "object",
                    "properties": { "url": { "type": "string" }, "body": true },
                    "required": ["url"],
                    "additionalProperties": false,
                },
            });
            let thumbnail = json!({
                "image": { "type": "string" },
                "size": { "type": "integer", "default": 64 },
            });
            Self {
                tasks: tasks.as_object().unwrap().clone(),
                thumbnail: thumbnail.as_object().unwrap().clone(),
            }
        }
    }

    impl Catalog for World {
        fn task(&self, name: &str) -> Option<TaskSignature<'_>> {
            self.tasks
                .get(name)
                .map(|input_schema| TaskSignature { input_schema })
        }

        fn task_names(&self) -> Vec<String> {
            self.tasks.keys().cloned().collect()
        }

        fn workflow(&self, name: &str) -> Option<WorkflowSignature<'_>> {
            let runs = match name {
                "thumbnail" => vec![],
                "loop-one" => vec!["loop-two"],
                "loop-two" => vec!["thumbnail", "demo"],
                _ => return None,
            };
            Some(WorkflowSignature {
                inputs: (name == "thumbnail").then_some(&self.thumbnail),
                runs,
            })
        }

        fn workflow_names(&self) -> Vec<String> {
            ["thumbnail", "loop-one", "loop-two"]
                .map(str::to_owned)
                .to_vec()
        }
    }
}

use catalog::World;

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/definitions")
        .join(folder);
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

fn parse(file: &Path) -> Result<Workflow, Diagnostics> {
    let text = std::fs::read_to_string(file).unwrap();
    let name = file.file_name().unwrap().to_str().unwrap();
    Workflow::parse(
        &Source {
            file: name,
            text: &text,
        },
        &World::new(),
    )
}

fn good(name: &str) -> Workflow {
    let file = format!(
        "{}/tests/definitions/good/{name}",
        env!("CARGO_MANIFEST_DIR")
    );
    parse(Path::new(&file)).unwrap_or_else(|found| panic!("{}", found.render(false)))
}

#[test]
fn every_bad_file_is_refused_with_place_reason_and_remedy() {
    let files = files("bad");
    assert!(files.len() >= 40, "only {} files", files.len());
    for file in files {
        let name = file.file_name().unwrap().to_str().unwrap();
        let Err(found) = parse(&file) else {
            panic!("{name} was accepted");
        };
        insta::with_settings!({
            snapshot_path => "definitions/bad_told",
            prepend_module_to_snapshot => false,
            omit_expression => true,
        }, {
            insta::assert_snapshot!(name.replace('.', "-"), found.render(false));
        });
    }
}

#[test]
fn every_good_file_survives_being_pinned_and_compiled() {
    for file in files("good") {
        let workflow = parse(&file)
            .unwrap_or_else(|found| panic!("{}: {}", file.display(), found.render(false)));
        let again = Workflow::from_json(&workflow.to_json()).unwrap();
        // When it begins and who is told is no part of what a run keeps to.
        let pinned = Workflow {
            schedules: Vec::new(),
            notify: Vec::new(),
            ..workflow.clone()
        };
        assert_eq!(pinned, again);
        assert_eq!(workflow.version(), again.version());
        Plan::compile(&again).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }
}

#[test]
fn the_first_example_compiles_to_a_chain() {
    let plan = Plan::compile(&good("image-generation.yaml")).unwrap();
    assert_eq!(plan.roots, [0]);
    assert_eq!(plan.sink, Some(2));
    assert_eq!(plan.steps[1].needs, [0]);
    assert_eq!(plan.steps[1].successors, [2]);
}

#[test]
fn yaml_and_toml_say_the_same() {
    let (yaml, toml) = (good("image-generation.yaml"), good("image-generation.toml"));
    assert_eq!(yaml, toml);
    assert_eq!(yaml.version(), toml.version());
    assert_eq!(yaml.version().len(), 32);
}

#[test]
fn a_pinned_definition_spells_out_every_default() {
    let workflow = good("everything.yaml");
    let pinned: Value = serde_json::from_str(&workflow.to_json()).unwrap();
    insta::with_settings!({ snapshot_path => "definitions/pinned", prepend_module_to_snapshot => false }, {
        insta::assert_yaml_snapshot!("everything", pinned);
    });
}

#[test]
fn a_plan_knows_its_edges_its_sink_and_its_hidden_steps() {
    let plan = Plan::compile(&good("everything.yaml")).unwrap();
    let at = |name: &str| plan.step_index(name).unwrap();
    let step = |name: &str| plan.step(at(name)).unwrap();
    assert_eq!(plan.roots, [at("refine"), at("literal")]);
    assert_eq!(step("small").needs, [at("paint"), at("grid")]);
    assert_eq!(step("refine").successors, [at("paint"), at("grid")]);
    assert_eq!(step("last").needs, [at("paint"), at("grid"), at("small")]);
    // Two leaves, one of them mapped: a hidden step gathers the outputs.
    assert_eq!(plan.sink, Some(at("outputs")));
    assert_eq!(step("outputs").action, Action::Outputs);
    assert_eq!(step("outputs").needs, [at("literal"), at("last")]);
    assert_eq!(step("last").successors, [at("outputs")]);
    assert_eq!(plan.on_failure, Some(at("on_failure")));
    assert!(step("on_failure").needs.is_empty() && step("on_failure").references.failure);
    assert!(step("paint").references.inputs.contains("styles"));
    assert_eq!(
        graph::layers(&plan),
        [
            vec![at("refine"), at("literal")],
            vec![at("paint"), at("grid")],
            vec![at("small")],
            vec![at("last")],
            vec![at("outputs")],
        ]
    );
    insta::with_settings!({ snapshot_path => "definitions/pinned", prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("everything-dot", graph::dot(&plan));
    });
}

#[test]
fn the_last_plain_step_is_its_own_sink() {
    let plan = Plan::compile(&good("fan-in.yaml")).unwrap();
    assert_eq!(plan.sink, plan.step_index("join"));
    assert_eq!(plan.steps.len(), 3);
    assert_eq!(Plan::compile(&good("one-step.yaml")).unwrap().sink, None);
}

#[test]
fn a_matrix_is_a_product_in_order_and_a_list_must_be_one() {
    let plan = Plan::compile(&good("everything.yaml")).unwrap();
    let map = |name: &str| {
        plan.steps[plan.step_index(name).unwrap() as usize]
            .map
            .as_ref()
            .unwrap()
    };
    let scope =
        Scope::new().inputs_from(&json!({ "count": 2, "prompt": "p", "styles": "no list" }));
    assert_eq!(
        map("grid").items(&scope, &mut Budget::attempt()).unwrap(),
        [
            json!({ "seed": 0, "width": 256 }),
            json!({ "seed": 0, "width": 512 }),
            json!({ "seed": 1, "width": 256 }),
            json!({ "seed": 1, "width": 512 }),
        ]
    );
    assert_eq!(
        map("literal")
            .items(&scope, &mut Budget::attempt())
            .unwrap(),
        [json!("a house"), json!("p")]
    );
    let error = map("paint")
        .items(&scope, &mut Budget::attempt())
        .unwrap_err();
    assert_eq!(error.message, "`foreach` must be a list, got text");
    let many = Scope::new().inputs_from(&json!({ "count": 60_000 }));
    assert_eq!(
        map("grid")
            .items(&many, &mut Budget::attempt())
            .unwrap_err()
            .message,
        "120000 items; 100000 are the most"
    );
}

#[test]
fn inputs_are_checked_and_defaults_filled_in() {
    let plan = Plan::compile(&good("everything.yaml")).unwrap();
    assert_eq!(
        plan.inputs.check(json!({ "prompt": "a house" })).unwrap(),
        json!({ "prompt": "a house", "count": 3, "styles": ["oil", "ink"], "negative": null })
    );
    let told: Vec<String> = [
        json!({}),
        json!(null),
        json!([1]),
        json!({ "prompt": 3, "count": 0, "styles": ["a", 4], "colour": "red" }),
        json!({ "promt": "a house" }),
    ]
    .into_iter()
    .map(|given| {
        let problems = plan.inputs.check(given.clone()).unwrap_err();
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        format!("{given} => {}", problems.join("; "))
    })
    .collect();
    insta::with_settings!({ snapshot_path => "definitions/pinned", prepend_module_to_snapshot => false }, {
        insta::assert_yaml_snapshot!("inputs", told);
    });
}

#[test]
fn a_pinned_definition_that_is_wrong_does_not_compile() {
    let pinned = good("fan-in.yaml").to_json();
    for (from, to) in [
        ("steps.each.map", "steps.gone.map"),
        ("steps.each.map", "steps.join.map"),
        ("\"needs\":[\"side\"]", "\"needs\":[\"nobody\"]"),
        ("${{ item }}", "${{ item + }}"),
        ("\"name\":\"side\"", "\"name\":\"each\""),
    ] {
        assert!(pinned.contains(from), "{from}");
        let workflow = Workflow::from_json(&pinned.replacen(from, to, 1)).unwrap();
        let error = Plan::compile(&workflow).unwrap_err();
        assert!(!error.message.is_empty(), "{to}");
    }
    assert!(Workflow::from_json("{}").is_err());
}

#[test]
fn the_editor_schema_accepts_good_files_and_refuses_a_typo() {
    let validator = jsonschema::draft202012::new(&json_schema()).unwrap();
    for file in files("good") {
        let text = std::fs::read_to_string(&file).unwrap();
        let value: Value = if file.extension().unwrap() == "toml" {
            toml::from_str(&text).unwrap()
        } else {
            serde_saphyr::from_str(&text).unwrap()
        };
        let wrong: Vec<String> = validator
            .iter_errors(&value)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(wrong.is_empty(), "{}: {wrong:?}", file.display());
    }
    let typo = json!({ "name": "a", "steps": { "a": { "taks": "b" } } });
    assert!(!validator.is_valid(&typo));
    let both = json!({ "name": "a", "steps": { "a": { "task": "b", "workflow": "c" } } });
    assert!(!validator.is_valid(&both));
    let number = json!({ "name": "a", "steps": { "a": { "task": "b", "timeout": 90 } } });
    assert!(!validator.is_valid(&number));
}

#[test]
fn diagnostics_are_data_for_programs() {
    let source = Source {
        file: "a.yaml",
        text: "name: a\nsteps:\n  b: { taks: c }\n",
    };
    let found = Workflow::parse(&source, &World::new()).unwrap_err();
    let told = serde_json::to_value(&found).unwrap();
    assert_eq!(
        told[1],
        json!({
            "code": "unknown-key",
            "message": "step `b` has no key `taks`",
            "file": "a.yaml",
            "line": 3,
            "column": 8,
            "span": [22, 4],
            "help": "did you mean `task`?",
            "pointer": "/steps/b/taks",
        })
    );
    assert!(found.render(true).contains("\u{1b}["));
    let related = miette::Diagnostic::related(&found).unwrap();
    assert_eq!(related.count(), found.len());
}

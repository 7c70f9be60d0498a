//! The shipped definitions fit the shipped tasks.
#![expect(clippy::unwrap_used, reason = "tests")]

use aquatint_engine::registry::Registry;
use aquatint_workflows::{Embedded, all, find};
use serde_json::{Map, Value};

fn parse(embedded: &Embedded) -> Value {
    if embedded.file_name.ends_with(".toml") {
        toml::from_str(embedded.text).unwrap()
    } else {
        serde_saphyr::from_str(embedded.text).unwrap()
    }
}

fn steps(definition: &Value) -> &Map<String, Value> {
    definition["steps"].as_object().unwrap()
}

/// Every string below a value.
fn strings<'a>(value: &'a Value, into: &mut Vec<&'a str>) {
    match value {
        Value::String(text) => into.push(text),
        Value::Array(list) => list.iter().for_each(|v| strings(v, into)),
        Value::Object(map) => map.values().for_each(|v| strings(v, into)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The CEL texts of a definition: what stands in `${{ }}`, and the keys that are CEL by themselves.
fn expressions(definition: &Value) -> Vec<String> {
    let mut texts = Vec::new();
    strings(&definition["outputs"], &mut texts);
    let mut found = Vec::new();
    for step in steps(definition).values() {
        strings(&step["with"], &mut texts);
        let mut bare = Vec::new();
        for key in ["when", "foreach", "matrix"] {
            strings(&step[key], &mut bare);
        }
        found.extend(bare.into_iter().map(str::to_owned));
    }
    for text in texts {
        for part in text.split("${{").skip(1) {
            let (expression, _) = part.split_once("}}").unwrap();
            found.push(expression.trim().to_owned());
        }
    }
    found
}

#[test]
fn every_file_is_named_after_its_workflow_and_described() {
    for embedded in all() {
        let definition = parse(embedded);
        assert_eq!(definition["name"], embedded.name());
        assert!(definition["description"].as_str().unwrap().ends_with('.'));
        assert_eq!(find(embedded.name()), Some(embedded));
    }
    assert_eq!(find("no-such-workflow"), None);
}

#[test]
fn every_step_gives_its_task_what_it_takes() {
    let mut registry = Registry::new();
    aquatint_tasks::register_all(&mut registry, &aquatint_tasks::Options::default());
    for embedded in all() {
        let definition = parse(embedded);
        for (name, step) in steps(&definition) {
            let place = format!("{}: step `{name}`", embedded.file_name);
            let (takes, requires) = if let Some(task) = step["task"].as_str() {
                let Some(spec) = registry.spec(task) else {
                    // Generating needs a model; builds may leave it out.
                    assert_eq!(task, "image.generate", "{place}: unknown task");
                    continue;
                };
                let schema = &spec.input_schema;
                let requires = schema["required"].as_array().cloned().unwrap_or_default();
                (schema["properties"].clone(), requires)
            } else {
                let inner = parse(find(step["workflow"].as_str().unwrap()).unwrap());
                let inputs = inner["inputs"].as_object().unwrap();
                let required = inputs
                    .iter()
                    .filter(|(_, schema)| schema.get("default").is_none());
                let requires = required.map(|(key, _)| Value::from(key.clone())).collect();
                (inner["inputs"].clone(), requires)
            };
            let none = serde_json::Map::new();
            let with = step["with"].as_object().unwrap_or(&none);
            for key in with.keys() {
                assert!(takes.get(key).is_some(), "{place}: nothing takes `{key}`");
            }
            for key in requires {
                assert!(
                    with.contains_key(key.as_str().unwrap()),
                    "{place}: {key} is missing"
                );
            }
        }
    }
}

#[test]
fn every_expression_is_cel_and_refers_to_what_is_there() {
    for embedded in all() {
        let definition = parse(embedded);
        let expressions = expressions(&definition);
        assert!(!expressions.is_empty(), "{}", embedded.file_name);
        for expression in expressions {
            let compiled = cel::Program::compile(&expression);
            assert!(compiled.is_ok(), "{}: `{expression}`", embedded.file_name);
            for (root, known) in [
                ("inputs.", &definition["inputs"]),
                ("steps.", &definition["steps"]),
            ] {
                for rest in expression.split(root).skip(1) {
                    let name: String = rest
                        .chars()
                        .take_while(|c| c.is_alphanumeric() || *c == '_')
                        .collect();
                    assert!(
                        known.get(&name).is_some(),
                        "{}: `{root}{name}`",
                        embedded.file_name
                    );
                }
            }
        }
    }
}

/// What CEL makes of an expression when `inputs` and `steps` are these (also CEL).
fn evaluate(expression: &str, inputs: &str, steps: &str) -> Value {
    let mut context = cel::Context::default();
    for (name, literal) in [("inputs", inputs), ("steps", steps)] {
        let program = cel::Program::compile(literal).unwrap();
        let value = program.execute(&cel::Context::default()).unwrap();
        context.add_variable_from_value(name, value);
    }
    let program = cel::Program::compile(expression).unwrap();
    program.execute(&context).unwrap().json().unwrap()
}

fn expression_with(workflow: &str, text: &str) -> String {
    let found = expressions(&parse(find(workflow).unwrap()));
    found.into_iter().find(|e| e.contains(text)).unwrap()
}

#[test]
fn a_sweep_labels_each_picture_with_its_style_and_seed() {
    let labels = evaluate(
        &expression_with("seed-sweep", "paint.map"),
        "{'styles': ['neon', 'noir'], 'seeds': [3, 5]}",
        "{'paint': [{'index': 0}, {'index': 1}, {'index': 2}, {'index': 3}]}",
    );
    let expected = [
        "neon, seed 3",
        "neon, seed 5",
        "noir, seed 3",
        "noir, seed 5",
    ];
    assert_eq!(labels, Value::from(expected.to_vec()));
}

#[test]
fn without_enlarging_the_generated_picture_is_the_finished_one() {
    let image = expression_with("image-generation", "generate.image :");
    let result = |upscale: &str| {
        let steps = format!("{{'generate': {{'image': 'small'}}, 'upscale': {upscale}}}");
        evaluate(&image, "{}", &steps)
    };
    assert_eq!(result("null"), "small");
    assert_eq!(result("{'image': 'large'}"), "large");
}

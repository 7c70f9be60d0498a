//! No expression takes more time or memory than its budget, whatever it says.
//!
//! The hostile ones are evaluated in a process of their own, under a limit on
//! its address space: what would pass the bound ends there in an abort.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "tests")]

use std::process::Command;
use std::time::{Duration, Instant};

use aquatint_engine::workflow::{
    AnyCatalog, Budget, Expression, MAX_ITEMS, Prepared, Scope, Source, Template, Workflow,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};

/// Address space of the child: a budget of 128 MiB, what evaluates, and the test's own threads.
const LIMIT_KB: u64 = 640 * 1024;
/// One evaluation at most, in a build without optimisation on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the test of this name again, in a process that may take so much memory and no more.
fn under_a_limit(test: &str, hostile: impl FnOnce()) {
    if std::env::var_os("AQUATINT_UNDER_A_LIMIT").is_some() {
        hostile();
        return;
    }
    let output = Command::new("sh")
        .args(["-c", &format!("ulimit -v {LIMIT_KB}; exec \"$0\" \"$@\"")])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env("AQUATINT_UNDER_A_LIMIT", "1")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && told.contains("1 passed"),
        "{}\n{told}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}

fn scope() -> Scope {
    let list: Vec<Value> = (0..2_000)
        .map(|n| json!({ "n": n, "t": "x".repeat(100) }))
        .collect();
    let mut deep = json!(1);
    for _ in 0..60 {
        deep = json!([deep]);
    }
    Scope::new()
        .inputs_from(&json!({
            "text": "x".repeat(200_000),
            "list": list,
            "numbers": (0..20_000).collect::<Vec<_>>(),
            "object": { "a": { "b": [1, 2, 3] }, "c": "x".repeat(1_000) },
            "deep": deep,
        }))
        .step(
            "wide",
            Prepared::from(json!(
                (0..1_000)
                    .map(|n| json!({ "index": n }))
                    .collect::<Vec<_>>()
            )),
        )
        .item(Prepared::from(json!({ "x": "y".repeat(10_000) })), 3)
}

/// Evaluates; says how it ended.
fn attempt(text: &str, scope: &Scope, mut budget: Budget) -> Result<Value, String> {
    let expression = Expression::parse(text).map_err(|error| error.to_string())?;
    let began = Instant::now();
    let result = expression.evaluate(scope, &mut budget);
    let took = began.elapsed();
    assert!(took < PATIENCE, "{took:?} for {text}");
    if let Err(error) = &result {
        assert!(
            error.message.len() < text.len() + 1_000,
            "{text}: {} bytes",
            error.message.len()
        );
    }
    // What came out can be stored and read again.
    if let Ok(value) = &result {
        let stored = value.to_string();
        assert!(serde_json::from_str::<Value>(&stored).is_ok(), "{text}");
    }
    result.map_err(|error| error.message)
}

fn chained(from: &str, link: &str, times: usize) -> String {
    format!("{from}{}", link.repeat(times))
}

/// What was found, and its relations.
fn hostile() -> Vec<String> {
    let x64 = format!("['{}']", "x".repeat(64));
    let growing = [
        chained(&x64, ".map(a, a + a)", 30),
        chained(&x64, ".map(a, [a, a])", 30),
        chained(&x64, ".map(a, {'k': [a, a]})", 20),
        chained("[[1]]", ".map(a, a + a)", 30),
        chained("[b'xxxxxxxxxxxxxxxx']", ".map(a, a + a)", 30),
        chained("['x']", ".map(a, string(a) + string(a))", 20),
        chained("inputs.numbers", ".filter(a, true)", 40),
        chained("range(100000)", ".map(a, a)", 40),
        chained("inputs.list", ".map(a, [a, a, a, a])", 20),
        chained("[inputs.deep]", ".map(a, [a])", 60),
        chained("[inputs.text]", ".map(a, a + a)", 20),
        chained("['é']", ".map(a, [a, a].join(a))", 20),
    ];
    let mut all = Vec::new();
    for text in growing {
        all.push(format!("size({text}) > 0"));
        all.push(format!("{text} == {text}"));
        all.push(format!("{text}[0] in [{text}[0]]"));
        all.push(text);
    }
    all.extend([
        "inputs.numbers.map(a, inputs.numbers)".to_owned(),
        "inputs.numbers.map(a, inputs.text + string(a))".to_owned(),
        "inputs.numbers.exists(a, inputs.text.contains(inputs.text + 'y'))".to_owned(),
        "inputs.numbers.exists(a, inputs.list == [inputs.object])".to_owned(),
        "inputs.numbers.exists(a, !(a + 1000000 in inputs.numbers))".to_owned(),
        "inputs.numbers.exists(a, inputs.object[inputs.text] == 1)".to_owned(),
        "inputs.numbers.all(a, inputs.text == inputs.text)".to_owned(),
        "inputs.numbers.all(a, inputs.text <= inputs.text)".to_owned(),
        "inputs.numbers.all(a, size(inputs.text) > 0)".to_owned(),
        "inputs.numbers.all(a, int(inputs.text) > 0 || true)".to_owned(),
        "inputs.numbers.exists_one(a, bytes(inputs.text) == bytes(inputs.text))".to_owned(),
        "inputs.numbers.map(a, [inputs.text, inputs.text].join(inputs.text))".to_owned(),
        "inputs.numbers.map(a, inputs.list + inputs.list)".to_owned(),
        "inputs.numbers.map(a, string(1e308) + string(-1e308))".to_owned(),
        "inputs.numbers.map(a, inputs)".to_owned(),
        "inputs[inputs.text]".to_owned(),
        "steps.wide.map(r, steps.wide)".to_owned(),
        "[[inputs]][0][0].list.map(x, inputs.list)".to_owned(),
    ]);
    all.retain(|text| text.len() <= aquatint_engine::workflow::expr::MAX_EXPRESSION_BYTES);
    all
}

#[test]
fn no_known_bomb_passes_the_bound() {
    under_a_limit("no_known_bomb_passes_the_bound", || {
        let scope = scope();
        let mut spent = 0;
        for text in hostile() {
            for budget in [Budget::attempt(), Budget::request()] {
                if let Err(error) = attempt(&text, &scope, budget) {
                    spent += usize::from(error.contains("together"));
                }
            }
        }
        assert!(spent > 40, "only {spent} ran out");
    });
}

/// Expressions that grow: every one is built by doing to a smaller one what may make it larger.
fn growing() -> impl Strategy<Value = String> {
    let seeds = prop::sample::select(vec![
        "'xxxxxxxxxxxxxxxx'",
        "b'xxxxxxxxxxxxxxxx'",
        "['xxxxxxxxxxxxxxxx']",
        "[1, 2, 3]",
        "range(100000)",
        "{'k': 'v'}",
        "inputs.text",
        "inputs.list",
        "inputs.numbers",
        "inputs.object",
        "inputs.deep",
        "steps.wide",
        "item.x",
        "1.5",
        "7",
    ]);
    seeds
        .prop_map(str::to_owned)
        .prop_recursive(40, 60, 2, |inner| {
            prop_oneof![
                (
                    inner.clone(),
                    prop::sample::select(vec![
                        ".map(a, a + a)",
                        ".map(a, [a, a])",
                        ".map(a, {'k': a, 'l': [a, a]})",
                        ".map(a, string(a) + string(a))",
                        ".map(a, inputs.text)",
                        ".map(a, inputs.list)",
                        ".map(a, a in inputs.numbers)",
                        ".map(a, a == a)",
                        ".map(a, size(a))",
                        ".map(a, true, [a])",
                        ".filter(a, true)",
                        ".filter(a, a == a)",
                        ".all(a, a == a)",
                        ".exists(a, a == [a])",
                        ".exists_one(a, a in [a])",
                        "[0]",
                        ".join('xxxxxxxx')",
                        ".size()",
                    ]),
                    1..30_usize
                )
                    .prop_map(|(inner, link, times)| chained(&inner, link, times)),
                inner.clone().prop_map(|a| format!("({a} + {a})")),
                inner.clone().prop_map(|a| format!("[{a}, {a}]")),
                inner
                    .clone()
                    .prop_map(|a| format!("{{'a': {a}, 'b': {a}}}")),
                inner.clone().prop_map(|a| format!("({a} == {a})")),
                inner.clone().prop_map(|a| format!("string({a})")),
                inner.clone().prop_map(|a| format!("size({a})")),
                inner.clone().prop_map(|a| format!("bytes({a})")),
                (inner.clone(), inner).prop_map(|(a, b)| format!("({a} in {b} ? {a} : {b})")),
            ]
        })
}

#[test]
fn no_growing_expression_passes_the_bound() {
    under_a_limit("no_growing_expression_passes_the_bound", || {
        let scope = scope();
        let cases = 2 * Config::default().cases;
        let config = Config {
            cases,
            failure_persistence: None,
            ..Config::default()
        };
        let mut runner =
            TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
        let mut spent = 0;
        let run = |text: String| {
            if let Err(error) = attempt(&text, &scope, Budget::request())
                && error.contains("together")
            {
                return Ok(true);
            }
            Ok::<bool, TestCaseError>(false)
        };
        let spent_now = std::cell::Cell::new(0);
        runner
            .run(&growing(), |text| {
                spent_now.set(spent_now.get() + u32::from(run(text)?));
                Ok(())
            })
            .unwrap();
        spent += spent_now.get();
        assert!(
            spent > cases / 50,
            "the bound was met {spent} times of {cases}"
        );
    });
}

#[test]
fn a_templates_expressions_share_one_budget() {
    under_a_limit("a_templates_expressions_share_one_budget", || {
        let scope = scope();
        let one = "${{ inputs.text }}";
        let printed = Template::parse(json!(one.repeat(5_000))).unwrap();
        let listed = Template::parse(json!(vec![one; 5_000])).unwrap();
        let counted = "${{ inputs.numbers.all(a, a >= 0) }}";
        let counted = Template::parse(json!(vec![counted; 5_000])).unwrap();
        for template in [printed, listed, counted] {
            let error = template
                .evaluate(&scope, &mut Budget::attempt())
                .unwrap_err();
            assert!(error.message.contains("together"), "{error}");
        }
    });
}

#[test]
fn checking_a_definition_evaluates_within_one_budget() {
    under_a_limit("checking_a_definition_evaluates_within_one_budget", || {
        let bomb = chained(&format!("['{}']", "x".repeat(64)), ".map(a, a + a)", 30);
        let in_when =
            format!("name: w\nsteps:\n  s:\n    task: test.any\n    when: \"size({bomb}) > 0\"\n");
        let in_schedule = format!(
            "name: w\nschedule:\n  every: 1h\n  inputs: {{ x: \"${{{{ size({bomb}) }}}}\" }}\ninputs:\n  x: integer\nsteps:\n  s:\n    task: test.any\n"
        );
        let mut many = "name: w\nsteps:\n".to_owned();
        for step in 0..300 {
            many += &format!(
                "  s{step}:\n    task: test.any\n    when: range(100000).all(a, a >= {step} || true)\n"
            );
        }
        for text in [in_when, in_schedule, many] {
            let began = Instant::now();
            let source = Source {
                file: "w.yaml",
                text: &text,
            };
            let told = Workflow::parse(&source, &AnyCatalog)
                .unwrap_err()
                .to_string();
            assert!(told.contains("together"), "{told}");
            assert!(began.elapsed() < PATIENCE);
        }
    });
}

#[test]
fn what_people_write_stays_far_below_the_bound() {
    let results: Vec<Value> = (0..MAX_ITEMS)
        .map(|n| json!({ "index": n, "status": "succeeded", "output": { "path": format!("f{n}.png") }, "error": null }))
        .collect();
    let scope = Scope::new().step("paint", Prepared::from(Value::Array(results)));
    for text in [
        "steps.paint",
        "steps.paint.map(r, r.output.path)",
        "steps.paint.filter(r, r.status == 'succeeded').map(r, r.output)",
        "size(steps.paint.filter(r, r.status != 'succeeded' && r.error != null))",
        "steps.paint.map(r, r.status == 'succeeded' ? r.output.path : 'none').join(', ')",
    ] {
        let value = attempt(text, &scope, Budget::attempt());
        assert!(value.is_ok(), "{text}: {value:?}");
    }
}

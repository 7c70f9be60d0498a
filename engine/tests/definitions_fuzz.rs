//! No text whatever may panic, abort or take long: definitions come from strangers.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::time::{Duration, Instant};

use aquatint_engine::workflow::{
    AnyCatalog, Budget, Diagnostics, Expression, MAX_DIAGNOSTICS, Plan, Prepared, Scope, Source,
    Template, Workflow,
};
use proptest::prelude::*;
use serde_json::{Value, json};

fn corpus() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/definitions");
    let mut files = Vec::new();
    for kind in ["good", "bad"] {
        for entry in std::fs::read_dir(folder.join(kind)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            files.push((name, std::fs::read_to_string(&path).unwrap()));
        }
    }
    files.sort();
    files
}

/// Parses, and holds what must be true of every answer.
fn survives(file: &str, text: &str) -> Result<Workflow, Diagnostics> {
    let parsed = Workflow::parse(&Source { file, text }, &AnyCatalog);
    match &parsed {
        Ok(workflow) => {
            let again = Workflow::from_json(&workflow.to_json()).unwrap();
            // When it begins and who is told is no part of what a run is pinned to.
            let mut pinned = workflow.clone();
            pinned.schedules.clear();
            pinned.notify.clear();
            assert_eq!(pinned, again);
            Plan::compile(&again)
                .unwrap_or_else(|error| panic!("checked, yet not compiled: {error}\n{text}"));
        }
        Err(found) => {
            assert!(!found.is_empty() && found.len() <= MAX_DIAGNOSTICS);
            for one in found {
                let (start, length) = one.span;
                assert!(text.is_char_boundary(start) && text.is_char_boundary(start + length));
                assert!(one.line >= 1 && one.column >= 1 && !one.message.is_empty());
            }
            assert!(!found.render(true).is_empty());
        }
    }
    parsed
}

/// What a typist, or a fuzzer, does to a file.
#[derive(Debug, Clone)]
enum Edit {
    Delete(usize, usize),
    Insert(usize, String),
    Repeat(usize, usize, usize),
    Swap(usize, usize),
}

fn edit() -> impl Strategy<Value = Edit> {
    let place = 0..4_000_usize;
    let scrap = prop_oneof![
        Just("${{".to_owned()),
        Just("}}".to_owned()),
        Just("{".to_owned()),
        Just("\n".to_owned()),
        Just("  ".to_owned()),
        Just("\t".to_owned()),
        Just(": ".to_owned()),
        Just("- ".to_owned()),
        Just("\"".to_owned()),
        Just("'".to_owned()),
        Just("&a ".to_owned()),
        Just("*a".to_owned()),
        Just("<<: ".to_owned()),
        Just("!!binary ".to_owned()),
        Just("|\n".to_owned()),
        Just("[".to_owned()),
        Just("---\n".to_owned()),
        Just("ü🏠\u{202e}".to_owned()),
        Just("\0".to_owned()),
        Just("1e999".to_owned()),
        Just("steps.a".to_owned()),
        Just("inputs.prompt".to_owned()),
        Just(".map(x, x)".to_owned()),
        "[ -~]{1,8}",
        any::<char>().prop_map(String::from),
    ];
    prop_oneof![
        (place.clone(), 1..20_usize).prop_map(|(at, n)| Edit::Delete(at, n)),
        (place.clone(), scrap).prop_map(|(at, text)| Edit::Insert(at, text)),
        (place.clone(), 1..40_usize, 2..20_usize)
            .prop_map(|(at, n, times)| Edit::Repeat(at, n, times)),
        (place.clone(), place).prop_map(|(a, b)| Edit::Swap(a, b)),
    ]
}

fn apply(text: &str, edits: &[Edit]) -> String {
    let mut text: Vec<char> = text.chars().collect();
    for edit in edits {
        let length = text.len().max(1);
        match edit {
            Edit::Delete(at, n) => {
                let at = at % length;
                let end = (at + n).min(text.len());
                text.drain(at.min(end)..end);
            }
            Edit::Insert(at, scrap) => {
                let at = (at % length).min(text.len());
                text.splice(at..at, scrap.chars());
            }
            Edit::Repeat(at, n, times) => {
                let at = (at % length).min(text.len());
                let end = (at + n).min(text.len());
                let part: Vec<char> = text[at..end].to_vec();
                for _ in 0..*times {
                    text.splice(at..at, part.iter().copied());
                }
            }
            Edit::Swap(a, b) => {
                let (a, b) = (a % length, b % length);
                if a < text.len() && b < text.len() {
                    text.swap(a, b);
                }
            }
        }
    }
    text.into_iter().collect()
}

/// Expressions that are right by their grammar, whatever their types.
fn well_formed() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "inputs.x",
        "inputs",
        "steps.x",
        "steps.x.x",
        "item",
        "index",
        "inputs.x[0]",
        "inputs.big",
        "1",
        "0",
        "-1",
        "2.5",
        "1e308",
        "'a'",
        "''",
        "'é🏠'",
        "b'\\xff'",
        "null",
        "true",
        "false",
        "7u",
        "9223372036854775807",
        "-9223372036854775808",
        "18446744073709551615u",
        "[]",
        "{}",
        "int",
        "y",
    ])
    .prop_map(str::to_owned);
    leaf.prop_recursive(4, 24, 3, |inner| {
        let operator = prop::sample::select(vec![
            "+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "&&", "||", "in",
        ]);
        let function = prop::sample::select(vec![
            "size", "int", "uint", "double", "string", "bytes", "type", "dyn", "range", "!", "-",
            "bool",
        ]);
        let method = prop::sample::select(vec!["contains", "startsWith", "endsWith", "join"]);
        let comprehension =
            prop::sample::select(vec!["map", "filter", "all", "exists", "exists_one"]);
        prop_oneof![
            (inner.clone(), operator, inner.clone())
                .prop_map(|(a, op, b)| format!("({a} {op} {b})")),
            (function, inner.clone()).prop_map(|(f, a)| format!("{f}({a})")),
            (inner.clone(), method, inner.clone()).prop_map(|(a, m, b)| format!("{a}.{m}({b})")),
            (inner.clone(), comprehension, inner.clone())
                .prop_map(|(a, c, b)| format!("{a}.{c}(y, {b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a}[{b}]")),
            (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(a, b, c)| format!("({a} ? {b} : {c})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("[{a}, {b}]")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{{{a}: {b}}}")),
            inner.clone().prop_map(|a| format!("has({a}.x)")),
            inner.prop_map(|a| format!("{a}.x")),
        ]
    })
}

fn evaluates(text: &str) -> Result<(), TestCaseError> {
    let Ok(expression) = Expression::parse(text) else {
        return Ok(());
    };
    let scope = Scope::new()
        .inputs_from(&json!({
            "x": [1, 2.5, "a", null, { "x": true }, i64::MIN, u64::MAX, -0.0],
            "big": (0..300).collect::<Vec<_>>(),
        }))
        .step("x", Prepared::from(json!({ "x": "text" })))
        .item(Prepared::from(json!(3)), 1);
    let value = expression.evaluate(&scope, &mut Budget::attempt());
    // What was accepted bare is accepted in braces, and says the same.
    let braced = Template::parse(Value::String(format!("${{{{ {} }}}}", expression.text())));
    prop_assert_eq!(
        braced.unwrap().evaluate(&scope, &mut Budget::attempt()),
        value
    );
    Ok(())
}

/// Found by the properties below.
#[test]
fn edits_that_broke_the_reader_once_do_so_no_more() {
    let scheduled = include_str!("definitions/good/scheduled.yaml");
    let parsed = survives("scheduled.yaml", scheduled);
    assert_eq!(parsed.unwrap().schedules.len(), 2);
    let in_a_text = scheduled.replace("now and then", "now and 1e999then");
    assert!(survives("scheduled.yaml", &in_a_text).is_ok());
    for (from, to) in [
        ("default: today", "default: 1e999"),
        ("priority: -5", "priority: 1e999"),
        ("\"${{ run.scheduled_at }}\"", "1e999"),
        ("\"${{ inputs.day }}\"", "1e999"),
    ] {
        let text = scheduled.replace(from, to);
        let told = survives("scheduled.yaml", &text).unwrap_err().render(false);
        assert!(told.contains("`1e999` is no finite number"), "{told}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400 * ProptestConfig::default().cases / 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_edit_of_a_file_breaks_the_reader(
        which in any::<prop::sample::Index>(),
        edits in prop::collection::vec(edit(), 1..8),
    ) {
        let corpus = corpus();
        let (name, text) = which.get(&corpus);
        let _ = survives(name, &apply(text, &edits));
    }

    #[test]
    fn no_text_breaks_the_reader(text in "\\PC{0,200}", toml in any::<bool>()) {
        let _ = survives(if toml { "a.toml" } else { "a.yaml" }, &text);
    }

    #[test]
    fn no_expression_breaks_the_evaluator(parts in prop::collection::vec(
        prop::sample::select(vec![
            "inputs", "steps", "item", ".", "x", "[", "]", "(", ")", "{", "}", "'a'", "\"", "'", "1",
            "2.5", "+", "-", "*", "/", "%", "==", "<", "&&", "||", "!", "?", ":", ",", " in ", "size(",
            ".map(y,", ".filter(y,", "has(", "null", "true", "range(9)", ".join('')", "-9223372036854775808",
            "1u", "b'x'", "'''", "\\", "é", "type(", "int(", "string(", "{'a':", "dyn(", "@", "`", "\n", "//",
        ]), 0..14)
    ) {
        evaluates(&parts.concat())?;
    }

    #[test]
    fn no_well_formed_expression_breaks_the_evaluator(text in well_formed()) {
        evaluates(&text)?;
    }

    #[test]
    fn a_text_without_our_marks_is_kept_as_it_is(text in "[^$]{0,80}") {
        prop_assume!(!text.contains("{{"));
        let template = Template::parse(Value::String(text.clone())).unwrap();
        prop_assert!(template.is_constant());
        prop_assert_eq!(template.evaluate(&Scope::new(), &mut Budget::attempt()), Ok(Value::String(text)));
    }

    #[test]
    fn json_passes_through_a_scope_unchanged(number in any::<i64>(), float in -1e15..1e15_f64, text in ".{0,20}") {
        let value = json!({ "n": number, "f": float, "t": text, "l": [null, true, [number]] });
        let scope = Scope::new().inputs_from(&json!({ "v": value.clone() }));
        let path = Expression::parse("inputs.v").unwrap();
        prop_assert_eq!(path.evaluate(&scope, &mut Budget::attempt()).unwrap(), value.clone());
        // Through CEL and back: keys are sorted, values stay.
        let through = Expression::parse("[inputs.v][0]").unwrap();
        prop_assert_eq!(through.evaluate(&scope, &mut Budget::attempt()).unwrap(), value);
    }

    /// A graph drawn at random: every edge goes from an earlier step to a later one.
    #[test]
    fn any_graph_without_cycles_compiles_and_its_edges_agree(
        n in 1..40_usize,
        edges in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..80),
    ) {
        let mut needs = vec![std::collections::BTreeSet::new(); n];
        for (a, b) in edges {
            let (a, b) = (a.index(n), b.index(n));
            if a != b {
                needs[a.max(b)].insert(a.min(b));
            }
        }
        let mut text = "name: g\noutputs: { x: 1 }\nsteps:\n".to_owned();
        for (i, needs) in needs.iter().enumerate() {
            let list: Vec<String> = needs.iter().map(|n| format!("s{n}")).collect();
            text.push_str(&format!("  s{i}: {{ task: t, needs: [{}] }}\n", list.join(", ")));
        }
        let workflow = survives("g.yaml", &text).unwrap();
        let plan = Plan::compile(&workflow).unwrap();
        for (i, step) in (0_u32..).zip(&plan.steps) {
            for &need in &step.needs {
                prop_assert!(plan.steps[need as usize].successors.contains(&i));
            }
            for &next in &step.successors {
                prop_assert!(plan.steps[next as usize].needs.contains(&i));
            }
            prop_assert_eq!(step.needs.is_empty(), plan.roots.contains(&i));
        }
        let sink = &plan.steps[plan.sink.unwrap() as usize];
        prop_assert!(sink.successors.is_empty());
        let leaves = plan.steps.iter().filter(|step| step.successors.is_empty()).count();
        prop_assert_eq!(leaves, 1);
        let layers = aquatint_engine::workflow::graph::layers(&plan);
        prop_assert_eq!(layers.iter().map(Vec::len).sum::<usize>(), plan.steps.len());
    }
}

/// The worst that fits into a file, kind by kind.
fn monsters() -> Vec<(&'static str, String)> {
    const SIZE: usize = 250_000;
    let fill = |head: &str, part: &str, tail: &str| {
        let times = (SIZE - head.len() - tail.len()) / part.len();
        format!("{head}{}{tail}", part.repeat(times))
    };
    let numbered = |head: &str, n: usize, line: &dyn Fn(usize) -> String| {
        let mut text = head.to_owned();
        (0..n).for_each(|i| text.push_str(&line(i)));
        text
    };
    let prompt =
        "name: a\ninputs: { p: string }\nsteps:\n  a:\n    task: t\n    with:\n      p: \"";
    vec![
        (
            "expressions",
            fill(prompt, "${{ inputs.p + inputs.p }}", "\"\n"),
        ),
        ("paths", fill(prompt, "${{inputs.p}}", "\"\n")),
        ("bad-paths", fill(prompt, "${{inputs.q}}", "\"\n")),
        ("bad-syntax", fill(prompt, "${{ ( }}", "\"\n")),
        ("bad-cel", fill(prompt, "${{ 1 + }}", "\"\n")),
        ("dollars", fill(prompt, "$", "\"\n")),
        ("braces", fill(prompt, "{{ ", "\"\n")),
        ("openings", fill(prompt, "$${{ ", "\"\n")),
        ("lookalikes", fill(prompt, "{{ inputs.p }} ", "\"\n")),
        ("brackets", fill("name: a\nx-a: ", "[", "")),
        ("flat-list", fill("name: a\nx-a: [", "1,", "1]\n")),
        ("maps", fill("name: a\nx-a: [", "{},", "1]\n")),
        ("lines", fill("name: a\n", "\n", "")),
        ("comments", fill("name: a\n", "# c\n", "")),
        (
            "anchors",
            numbered("name: a\nx-a:\n", 9_000, &|i| format!("  - &a{i} [1, 2]\n")),
        ),
        (
            "aliases",
            numbered("name: a\nx-a:\n  - &a [1, 2]\n", 9_000, &|_| {
                "  - *a\n".to_owned()
            }),
        ),
        ("quotes", fill("name: \"", "\\\"", "\"\n")),
        ("unclosed", fill("name: \"", "a", "")),
        (
            "keys",
            numbered("name: a\nsteps:\n", 12_000, &|i| format!("  s{i}: {{}}\n")),
        ),
        (
            "unknown-keys",
            numbered("", 12_000, &|i| format!("k{i:05}: {{}}\n")),
        ),
        (
            "long-words",
            numbered("name: a\nsteps:\n", 1_000, &|i| {
                format!(
                    "  s{i:04}{}: {{ task: t, needs: [t{i:04}{}] }}\n",
                    "a".repeat(58),
                    "a".repeat(58)
                )
            }),
        ),
        (
            "chain",
            numbered("name: a\nsteps:\n  s0: { task: t }\n", 999, &|i| {
                format!(
                    "  s{}: {{ task: t, with: {{ p: \"${{{{ steps.s{i}.x }}}}\" }} }}\n",
                    i + 1
                )
            }),
        ),
        (
            "ring",
            numbered(
                "name: a\nsteps:\n  s0: { task: t, needs: [s999] }\n",
                999,
                &|i| format!("  s{}: {{ task: t, needs: [s{i}] }}\n", i + 1),
            ),
        ),
        (
            "everyone-needs-everyone-before",
            numbered("name: a\nsteps:\n", 300, &|i| {
                let all: Vec<String> = (0..i).map(|n| format!("s{n}")).collect();
                format!("  s{i}: {{ task: t, needs: [{}] }}\n", all.join(","))
            }),
        ),
        (
            "wide",
            numbered("name: a\noutputs: { x: 1 }\nsteps:\n", 1_000, &|i| {
                format!("  s{i}: {{ task: t }}\n")
            }),
        ),
        (
            "conditions",
            numbered(
                "name: a\ninputs: { n: { type: integer } }\nsteps:\n",
                1_000,
                &|i| {
                    format!(
                        "  s{i}: {{ task: t, when: inputs.n > {i} && inputs.n < 9 || inputs.n == 3 }}\n"
                    )
                },
            ),
        ),
        (
            "patterns",
            numbered("name: a\nsteps: { a: { task: t } }\ninputs:\n", 49, &|i| {
                format!("  p{i}: {{ type: string, pattern: '\\w{{2}}\\p{{L}}[^a-z\\d]{{3}}' }}\n")
            }),
        ),
        (
            "inputs",
            numbered("name: a\nsteps: { a: { task: t } }\ninputs:\n", 199, &|i| {
                format!(
                    "  p{i}: {{ type: string, pattern: x, anyOf: [{}true] }}\n",
                    "{ minLength: 3 }, ".repeat(60)
                )
            }),
        ),
        (
            "deep-schema",
            numbered("name: a\nsteps: { a: { task: t } }\ninputs:\n", 150, &|i| {
                format!("  p{i}: {}{{}}{}\n", "{ not: ".repeat(27), "}".repeat(27))
            }),
        ),
        ("numbers", fill("name: a\nx-a: ", "9", "\n")),
        (
            "merges",
            numbered(
                "name: a\nx-a: &a { a: 1, b: 2, c: 3 }\nx-b:\n",
                8_000,
                &|_| "  - { <<: *a }\n".to_owned(),
            ),
        ),
    ]
}

/// How long a file takes; tried again when it took too long, since the machine
/// may be busy with something else.
fn time(file: &str, text: &str, bound: Duration) -> Duration {
    let mut best = Duration::MAX;
    for _ in 0..3 {
        let begun = Instant::now();
        let _ = Workflow::parse(&Source { file, text }, &AnyCatalog);
        best = best.min(begun.elapsed());
        if best <= bound {
            break;
        }
    }
    best
}

#[test]
fn the_worst_files_are_answered_quickly() {
    // The bound that matters is for release builds; others get room.
    let bound = Duration::from_millis(if cfg!(debug_assertions) { 2_000 } else { 100 });
    let mut slow = Vec::new();
    for (name, yaml) in monsters() {
        let took = time("monster.yaml", &yaml, bound);
        let answer = survives("monster.yaml", &yaml);
        println!(
            "{took:>10.1?} {name} ({} kB): {}",
            yaml.len() / 1_000,
            answer.map_or_else(
                |found| found.to_string().chars().take(100).collect(),
                |_| "fine".to_owned()
            )
        );
        if took > bound {
            slow.push((name, took));
        }
    }
    assert!(slow.is_empty(), "{slow:?}");
}

#[test]
fn the_worst_toml_is_answered_quickly() {
    let bound = Duration::from_millis(if cfg!(debug_assertions) { 2_000 } else { 100 });
    let monsters = [
        "[".repeat(250_000),
        "a=[".repeat(80_000),
        "a.b.c.d.e.f.g.h.i.j.k=1\n".repeat(10_000),
        format!("{}=1", vec!["a"; 120_000].join(".")),
        "[[a]]\n".repeat(40_000),
        (0..20_000).map(|i| format!("k{i}=1\n")).collect::<String>(),
        (0..9_000)
            .map(|i| format!("[a.b.c.d.k{i}]\nx=1\n"))
            .collect::<String>(),
        "a=\"".to_owned() + &"\\u00e9".repeat(40_000),
        "a = {".repeat(40_000),
        "=\n".repeat(120_000),
        format!("name = \"a\"\nx-a = [{}]", "1,".repeat(120_000)),
    ];
    for text in monsters {
        let took = time("monster.toml", &text, bound);
        let _ = survives("monster.toml", &text);
        println!(
            "{took:>10.1?} {}",
            text.chars().take(30).collect::<String>().escape_debug()
        );
        assert!(took < bound, "{took:?}: {}", &text[..30]);
    }
}

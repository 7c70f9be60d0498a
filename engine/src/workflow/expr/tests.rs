#![expect(clippy::unwrap_used, reason = "tests")]

use serde_json::{Value, json};

use super::*;

mod interpreter;

fn scope() -> Scope {
    Scope::new()
        .inputs_from(&json!({
            "prompt": "a house",
            "count": 3,
            "scale": 1.5,
            "huge": u64::MAX,
            "flag": true,
            "tags": ["b", "a"],
            "dashed-name": "d",
        }))
        .step(
            "list",
            Prepared::from_json(&json!({ "images": [{ "id": 7, "z": 1, "a": 2 }, { "id": 8 }] })),
        )
        .step("skipped", Prepared::from_json(&Value::Null))
        .item(Prepared::from_json(&json!({ "seed": 42 })), 5)
        .run(Prepared::from_json(&json!({ "id": "r1" })))
}

fn value(text: &str) -> Value {
    let expression = Expression::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
    expression
        .evaluate(&scope(), &mut Budget::attempt())
        .unwrap_or_else(|e| panic!("{text}: {e}"))
}

fn failure(text: &str) -> String {
    match Expression::parse(text) {
        Err(error) => error.to_string(),
        Ok(expression) => expression
            .evaluate(&scope(), &mut Budget::attempt())
            .unwrap_err()
            .to_string(),
    }
}

#[test]
fn paths_lead_to_values_of_every_type() {
    let cases = [
        ("inputs.prompt", json!("a house")),
        ("inputs.count", json!(3)),
        ("inputs.scale", json!(1.5)),
        ("inputs.huge", json!(u64::MAX)),
        ("inputs['dashed-name']", json!("d")),
        ("inputs.tags[1]", json!("a")),
        ("steps.list.images[0].id", json!(7)),
        ("steps.skipped", Value::Null),
        ("item.seed", json!(42)),
        ("matrix.seed", json!(42)),
        ("index", json!(5)),
        ("run.id", json!("r1")),
    ];
    for (text, expected) in cases {
        assert_eq!(value(text), expected, "{text}");
    }
}

#[test]
fn cel_computes_with_integers_numbers_texts_and_lists() {
    let cases = [
        ("inputs.count + 1", json!(4)),
        ("inputs.count * -2", json!(-6)),
        ("inputs.scale * 2.0", json!(3.0)),
        ("double(inputs.count) * inputs.scale", json!(4.5)),
        ("int(inputs.scale)", json!(1)),
        (
            "inputs.prompt + \", \" + string(inputs.count)",
            json!("a house, 3"),
        ),
        ("inputs.scale > 1", json!(true)),
        ("inputs.count > 1.5", json!(true)),
        ("inputs.huge > 0", json!(true)),
        ("inputs.flag ? 'y' : 'n'", json!("y")),
        ("'a' in inputs.tags", json!(true)),
        ("size(inputs.tags)", json!(2)),
        ("inputs.tags.map(t, t + '!')", json!(["b!", "a!"])),
        (
            "steps.list.images.filter(i, i.id > 7).map(i, i.id)",
            json!([8]),
        ),
        ("inputs.tags.join(', ')", json!("b, a")),
        ("range(3).map(i, i * inputs.count)", json!([0, 3, 6])),
        ("has(steps.list.images)", json!(true)),
        ("has(steps.list.nothing)", json!(false)),
        ("has(inputs.prompt) && !has(inputs.negative)", json!(true)),
        (
            "steps.skipped == null ? 'none' : steps.skipped.image",
            json!("none"),
        ),
        (
            "steps.list.images[0] == {'id': 7, 'z': 1, 'a': 2}",
            json!(true),
        ),
        (
            "[1, 2.5, 'x', null, true]",
            json!([1, 2.5, "x", null, true]),
        ),
        ("{'b': 1, 'a': [2]}", json!({ "a": [2], "b": 1 })),
        ("item.seed + index", json!(47)),
        ("inputs[\"count\"] + 0", json!(3)),
        ("inputs['pro' + 'mpt']", json!("a house")),
        ("type(inputs.count) == int", json!(true)),
        ("inputs.prompt.startsWith('a')", json!(true)),
    ];
    for (text, expected) in cases {
        assert_eq!(value(text), expected, "{text}");
    }
}

#[test]
fn a_path_keeps_the_order_of_keys() {
    assert_eq!(
        value("steps.list.images[0]").to_string(),
        r#"{"id":7,"z":1,"a":2}"#
    );
}

#[test]
fn an_object_is_gone_through_in_the_order_of_its_keys() {
    let names: Vec<String> = (0..50).map(|i| format!("k{i:02}")).collect();
    let mut object = serde_json::Map::new();
    for name in names.iter().rev() {
        object.insert(name.clone(), json!({ "n": 1 }));
    }
    let scope = Scope::new().inputs_from(&json!({ "o": object }));
    let evaluate = |text: &str| {
        Expression::parse(text)
            .unwrap()
            .evaluate(&scope, &mut Budget::attempt())
            .unwrap()
    };
    assert_eq!(evaluate("inputs.o.map(k, k)"), json!(names));
}

#[test]
fn objects_of_the_scope_and_of_the_expression_are_alike() {
    let scope = Scope::new().inputs_from(&json!({ "o": { "a": 1, "b": { "c": [2] } } }));
    for text in [
        "inputs.o == {'b': {'c': [2]}, 'a': 1}",
        "{'a': 1, 'b': {'c': [2]}} == inputs.o",
        "inputs.o == inputs.o",
        "[inputs.o] == [{'a': 1, 'b': {'c': [2]}}]",
        "inputs.o in [{'a': 1, 'b': {'c': [2]}}]",
        "'a' in inputs.o && !('z' in inputs.o)",
        "size(inputs.o) == 2 && inputs.o.size() == 2",
        "inputs.o['a'] == 1 && inputs.o.b.c[0] == 2",
        "[inputs.o][0].b.c[0] == 2",
        "has(inputs.o.b.c) && !has(inputs.o.b.d)",
        "inputs.o != {'a': 1}",
        "type(inputs.o) == map",
        "inputs.o.exists(k, k == 'b')",
        "(true ? inputs.o : {}).b == {'c': [2]}",
    ] {
        let expression = Expression::parse(text).unwrap();
        assert_eq!(
            expression.evaluate(&scope, &mut Budget::attempt()),
            Ok(json!(true)),
            "{text}"
        );
    }
    let whole = Expression::parse("[inputs.o][0]")
        .unwrap()
        .evaluate(&scope, &mut Budget::attempt());
    assert_eq!(whole, Ok(json!({ "a": 1, "b": { "c": [2] } })));
}

#[test]
fn failures_say_what_was_wrong_and_what_would_be_right() {
    let cases = [
        "inputs.promt",
        "steps.nowhere.x",
        "steps.list.imagse",
        "steps.list.images.id",
        "steps.list.images[9]",
        "steps.skipped.image",
        "steps.skipped.image + 'x'",
        "inputs.prompt.x",
        "inputs.tags[7] + 'x'",
        "inputs.scale * 2",
        "inputs.prompt + 1",
        "1 / 0",
        "1.0 / 0.0",
        "9223372036854775807 + 1",
        "b'abc'",
        "{'a': 1, 'a': 2}",
        "range(1000000)",
        "[1].join('')",
        "inputs.prompt < 1",
        "inputs.flag + 1",
        "failure.step",
        "int('x')",
        "inputs.tags.map(t, t.x)",
        "!inputs.count",
        "inputs.count && true",
    ];
    let told: Vec<_> = cases.iter().map(|text| failure(text)).collect();
    insta::assert_yaml_snapshot!(told);
}

#[test]
fn mistakes_are_found_before_anything_runs() {
    let cases = [
        "",
        "inputs.",
        "inputs.prompt ==",
        "(inputs.count",
        "inputs.count)",
        "[1, 2",
        "inputs.prompt = 'x'",
        "inputs.flag and true",
        "inputs.flag & true",
        "not inputs.flag",
        "None",
        "'unfinished",
        "promt",
        "input.prompt",
        "steps",
        "steps[inputs.prompt]",
        "lower(inputs.prompt)",
        "sizeof(inputs.tags)",
        "inputs.tags.map(t)",
        "has(inputs)",
        "inputs.prompt.size",
        "contains(inputs.prompt, 'x')",
        "inputs.tags.map(item, item)",
        "inputs.tags.map(a, inputs.tags.map(b, a + b))",
        "inputs.tags.map(a, range(10))",
        "Message{a: 1}",
        "{'b': 1, 'a': 2}.map(k, k)",
        "inputs.prompt // why",
        "$inputs.prompt",
        "inputs.a?.b",
        "`x`",
        "1 +* 2",
        "a b",
        "'é' + promt",
        "inputs.naïve",
        "1u2",
        "99999999999999999999",
    ];
    let told: Vec<_> = cases
        .iter()
        .map(|text| match Expression::parse(text) {
            Ok(_) => format!("{text} => fine"),
            Err(error) => {
                assert!(text.is_char_boundary(error.offset), "{text}");
                assert!(text.is_char_boundary(error.offset + error.length), "{text}");
                let marked = &text[error.offset..error.offset + error.length];
                format!("{text} => at {} `{marked}`: {error}", error.offset)
            }
        })
        .collect();
    insta::assert_yaml_snapshot!(told);
}

#[test]
fn references_are_read_off_the_tree() {
    let expression = Expression::parse(
        "inputs.flag ? steps.a.x + steps['b'].y : has(steps.c.z) ? item.q + index : inputs.tags.map(x, x + inputs.prompt)",
    )
    .unwrap();
    let references = expression.references();
    assert_eq!(
        references.inputs.iter().collect::<Vec<_>>(),
        ["flag", "prompt", "tags"]
    );
    assert_eq!(references.steps.iter().collect::<Vec<_>>(), ["a", "b", "c"]);
    assert!(references.item && references.index && !references.matrix && !references.all_inputs);
    assert!(Expression::parse("inputs").unwrap().references().all_inputs);
    assert!(
        Expression::parse("inputs[inputs.prompt]")
            .unwrap()
            .references()
            .all_inputs
    );
    assert!(Expression::parse("1 + 1").unwrap().references().is_empty());
}

#[test]
fn a_condition_must_be_true_or_false() {
    let holds = |text: &str| {
        Expression::parse(text)
            .unwrap()
            .holds(&scope(), &mut Budget::attempt())
    };
    assert_eq!(holds("inputs.count > 1"), Ok(true));
    assert_eq!(holds("inputs.flag && inputs.count > 9"), Ok(false));
    assert_eq!(
        holds("inputs.count").unwrap_err().message,
        "`inputs.count`: a condition must be true or false, got an integer"
    );
}

#[test]
fn a_whole_expression_keeps_its_type_and_a_longer_text_is_printed() {
    let evaluate = |source: Value| {
        Template::parse(source)
            .unwrap()
            .evaluate(&scope(), &mut Budget::attempt())
            .unwrap()
    };
    assert_eq!(evaluate(json!("${{ inputs.count }}")), json!(3));
    assert_eq!(evaluate(json!("${{inputs.tags}}")), json!(["b", "a"]));
    assert_eq!(
        evaluate(json!(
            "${{ inputs.count }} of ${{ inputs.scale }}: ${{ inputs.flag }}"
        )),
        json!("3 of 1.5: true")
    );
    assert_eq!(evaluate(json!(" ${{ inputs.count }}")), json!(" 3"));
    assert_eq!(
        evaluate(json!("cost: $${{ x }} and 5$")),
        json!("cost: ${{ x }} and 5$")
    );
    assert_eq!(
        evaluate(json!("${{ {'a': {'b': '}}'}} }}")),
        json!({ "a": { "b": "}}" } })
    );
    assert_eq!(
        evaluate(json!({ "b": ["${{ item.seed }}", 1], "a": null })).to_string(),
        r#"{"b":[42,1],"a":null}"#
    );
}

#[test]
fn null_lists_and_objects_are_not_printed_into_texts() {
    for inner in ["steps.skipped", "inputs.tags", "steps.list"] {
        let template = Template::parse(json!(format!("x ${{{{ {inner} }}}}"))).unwrap();
        let error = template
            .evaluate(&scope(), &mut Budget::attempt())
            .unwrap_err();
        assert!(error.message.contains("cannot be printed"), "{error}");
        assert!(error.help.is_some());
    }
}

#[test]
fn a_template_without_expressions_is_its_own_value() {
    let source = json!({ "chat": "{{ messages }} {% for %} ${HOME} $5", "n": [1, null] });
    let template = Template::parse(source.clone()).unwrap();
    assert!(template.is_constant());
    assert!(template.references().is_empty());
    assert_eq!(
        template.evaluate(&Scope::new(), &mut Budget::attempt()),
        Ok(source)
    );
}

#[test]
fn lookalikes_of_expressions_are_refused() {
    for text in [
        "{{ inputs.prompt }}",
        "${ inputs.prompt }",
        "a ${steps.x.y} b",
        "$inputs.prompt",
        "$item.name",
        "${{ inputs.prompt",
    ] {
        assert!(Template::parse(json!(text)).is_err(), "{text}");
    }
}

#[test]
fn a_scope_shares_a_value_with_all_who_read_it() {
    let list = Prepared::from(json!((0..1_000).collect::<Vec<_>>()));
    let expression = Expression::parse("steps.l[0] + index").unwrap();
    let base = Scope::new().step("l", list.clone());
    for index in 0..10 {
        let scope = base.clone().item(Prepared::from(json!(0)), index);
        assert_eq!(
            expression.evaluate(&scope, &mut Budget::attempt()),
            Ok(json!(index))
        );
        let shared = scope.step_value("l").unwrap();
        assert!(std::ptr::eq(shared.json(), list.json()));
    }
}

#[test]
fn what_would_multiply_runs_out_of_fuel() {
    let numbers = json!((0..10_000).collect::<Vec<_>>());
    let scope = Scope::new().inputs_from(&json!({ "l": numbers, "text": "x".repeat(250_000) }));
    let evaluate = |text: &str| {
        Expression::parse(text)
            .unwrap()
            .evaluate(&scope, &mut Budget::attempt())
    };
    assert!(evaluate("inputs.l.map(x, x * 2)").is_ok());
    assert!(evaluate("inputs.l.filter(x, x > 5).map(x, string(x))").is_ok());
    for text in [
        "inputs.l.map(x, inputs.l)",
        "inputs.l.exists(x, !(x in inputs.l))",
        "inputs.l.map(x, inputs.l + inputs.l)",
        "inputs.l.map(x, inputs.text + inputs.text)",
    ] {
        let error = evaluate(text).unwrap_err();
        assert!(error.message.contains("together"), "{text}: {error}");
    }
}

#[test]
fn bounds_hold_before_the_parser_sees_the_text() {
    let refused = [
        "a.b + ".repeat(400) + "1",
        "(".repeat(17) + "1" + &")".repeat(17),
        format!("inputs{}", ".a".repeat(129)),
        "!".repeat(300) + "true",
        "[".repeat(1_000),
    ];
    for text in refused {
        assert!(Expression::parse(&text).is_err());
    }
}

#[test]
fn the_deepest_allowed_expressions_fit_a_small_stack() {
    let shapes = [
        format!("inputs.x{}", ".a".repeat(127)),
        format!("{}1", "1 + ".repeat(128)),
        format!("{}true", "!".repeat(128)),
        format!("{}1", "- ".repeat(128)),
        format!("{}1", "true ? 1 : ".repeat(64)),
        format!("{}1", "false || ".repeat(128)).replace(" 1", " true"),
        format!("[1]{}", "[0]".repeat(127)),
        format!("{}1{}", "(".repeat(16), ")".repeat(16)),
        format!("{}1{}", "[".repeat(16), "]".repeat(16)),
        format!("{}1{}", "{'a':".repeat(16), "}".repeat(16)),
        format!("{}1{}", "size([".repeat(8), "])".repeat(8)),
        format!("{}1{}", "((1+".repeat(8), "))".repeat(8)),
        format!("x{}", ".map(y, y)".repeat(63)).replace('x', "[1]"),
    ];
    for text in shapes {
        std::thread::Builder::new()
            .stack_size(1_024 * 1_024)
            .spawn(move || {
                // Parsed, evaluated, cloned and dropped: all of them recurse.
                match Expression::parse(&text) {
                    Ok(expression) => {
                        drop(expression.evaluate(&Scope::new(), &mut Budget::attempt()));
                    }
                    Err(error) => assert!(error.message.contains("nest"), "{text}: {error}"),
                }
            })
            .unwrap()
            .join()
            .unwrap();
    }
}

#[test]
fn expressions_travel_between_threads() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<Expression>();
    shared::<Template>();
    shared::<Scope>();
    shared::<crate::workflow::Plan>();
}

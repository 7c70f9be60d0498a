//! CEL's own interpreter, to compare with. It has no limits: only small expressions may come here.

use std::collections::HashMap;
use std::sync::Arc;

use ::cel::{Context, Env, Value as Cel};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::workflow::expr::{Budget, Expression, Scope};

fn from_json(value: &Value) -> Cel {
    match value {
        Value::Null => Cel::Null,
        Value::Bool(boolean) => Cel::Bool(*boolean),
        Value::String(text) => Cel::String(Arc::new(text.clone())),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(int), _) => Cel::Int(int),
            (None, Some(uint)) => Cel::UInt(uint),
            (None, None) => Cel::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::Array(list) => Cel::List(list.iter().map(from_json).collect::<Vec<_>>().into()),
        Value::Object(fields) => {
            let fields: HashMap<String, Cel> = fields
                .iter()
                .map(|(key, value)| (key.clone(), from_json(value)))
                .collect();
            Cel::Map(fields.into())
        }
    }
}

fn to_json(value: &Cel) -> Option<Value> {
    Some(match value {
        Cel::Null => Value::Null,
        Cel::Bool(boolean) => Value::Bool(*boolean),
        Cel::Int(int) => (*int).into(),
        Cel::UInt(uint) => (*uint).into(),
        Cel::Float(float) => Value::Number(serde_json::Number::from_f64(*float)?),
        Cel::String(text) => Value::String(text.to_string()),
        Cel::List(list) => Value::Array(list.iter().map(to_json).collect::<Option<_>>()?),
        Cel::Map(map) => {
            let fields = map.map.iter();
            let fields = fields.map(|(key, value)| Some((key.to_string(), to_json(value)?)));
            Value::Object(fields.collect::<Option<_>>()?)
        }
        _ => return None,
    })
}

/// The value as JSON; nothing where there is none.
fn interpreted(text: &str, inputs: &Value) -> Option<Value> {
    let env = Arc::new(Env::stdlib().with_optional_support(false));
    let program = env.compile(text).ok()?;
    let mut context = Context::with_env(env);
    context.add_variable_from_value("inputs", from_json(inputs));
    to_json(&program.execute(&context).ok()?)
}

/// Expressions of every operator and function that the interpreter has too, most of them with a
/// value. A map has one key at most: CEL goes through several in an order of its own.
fn small_expressions() -> impl Strategy<Value = String> {
    let leaves = prop::sample::select(vec![
        "0",
        "1",
        "-3",
        "7",
        "9223372036854775807",
        "2u",
        "18446744073709551615u",
        "1.5",
        "-0.5",
        "3.0",
        "1e300",
        "true",
        "false",
        "null",
        "''",
        "'a'",
        "'12'",
        "'é!'",
        "'1.5'",
        "'true'",
        "b'ab'",
        "[]",
        "[1, 2, 3]",
        "[1.0, 'a', null]",
        "[[1], [2u]]",
        "{}",
        "{'a': 1}",
        "{1: 'x'}",
        "{2u: 'y'}",
        "{true: [1]}",
        "int",
        "string",
        "type(1)",
        "inputs.n",
        "inputs.s",
        "inputs.f",
        "inputs.l",
        "inputs.o",
        "inputs.o.k",
        "inputs['s']",
        "inputs.none",
        "inputs.nothing",
        "has(inputs.s)",
        "has(inputs.nothing)",
        "inputs.u",
        "inputs.b",
        "inputs.deep.a.b[0]",
    ]);
    leaves.prop_map(str::to_owned).prop_recursive(4, 24, 3, |inner| {
        let binary = prop::sample::select(vec![
            "+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "&&", "||", "in",
        ]);
        let function = prop::sample::select(vec![
            "size", "string", "int", "uint", "double", "bool", "bytes", "dyn", "type", "!", "-",
        ]);
        let method = prop::sample::select(vec!["contains", "startsWith", "endsWith"]);
        let fold = prop::sample::select(vec!["map", "filter", "all", "exists", "exists_one"]);
        let body = prop::sample::select(vec![
            "x", "x + x", "x == 1", "x > 1", "x in inputs.l", "[x]", "x.k", "x[0]", "string(x)",
            "{'v': x}", "x != null && x > 0", "x == 2 || x.k", "size(x) > 0", "type(x) == int",
        ]);
        prop_oneof![
            4 => (inner.clone(), binary, inner.clone()).prop_map(|(a, op, b)| format!("({a} {op} {b})")),
            3 => (function, inner.clone()).prop_map(|(f, a)| format!("{f}({a})")),
            1 => (inner.clone(), method, inner.clone()).prop_map(|(a, m, b)| format!("({a}).{m}({b})")),
            1 => (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| format!("({a} ? {b} : {c})")),
            2 => (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a})[{b}]")),
            1 => inner.clone().prop_map(|a| format!("({a}).k")),
            1 => inner.clone().prop_map(|a| format!("has(({a}).k)")),
            1 => inner.clone().prop_map(|a| format!("({a}).size()")),
            1 => (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("[{a}, {b}]")),
            1 => (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{{{a}: {b}}}")),
            3 => (inner, fold, body).prop_map(|(a, f, b)| format!("({a}).{f}(x, {b})")),
        ]
    })
}

#[test]
fn what_has_a_value_has_the_one_that_cels_own_interpreter_gives() {
    let inputs = json!({
        "n": 3, "s": "a12", "f": 2.5, "l": [1, 2, 2, "a"], "o": { "k": { "k": 1 } },
        "none": null, "u": u64::MAX, "b": true, "deep": { "a": { "b": [[1]] } },
    });
    let scope = Scope::new().inputs_from(&inputs);
    let cases = 16 * Config::default().cases;
    let mut runner = TestRunner::new(Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    });
    let valued = std::cell::Cell::new(0);
    runner
        .run(&small_expressions(), |text| {
            // What is refused before it runs is compared nowhere.
            let Ok(expression) = Expression::parse(&text) else {
                return Ok(());
            };
            let ours = expression.evaluate(&scope, &mut Budget::attempt()).ok();
            let theirs = interpreted(&text, &inputs);
            valued.set(valued.get() + u32::from(ours.is_some()));
            prop_assert_eq!(ours, theirs, "{}", text);
            Ok(())
        })
        .unwrap();
    assert!(
        valued.get() > cases / 10,
        "{} of {cases} had a value",
        valued.get()
    );
}

//! What a person is told when an evaluation gave no value.

use super::ExprError;
use super::program::Fault;

/// What a person calls a CEL type.
fn type_word(name: &str) -> &str {
    match name {
        "int" | "uint" => "an integer",
        "double" => "a number",
        "string" => "text",
        "bool" => "a boolean",
        "list" => "a list",
        "map" => "an object",
        "null_type" => "null",
        "bytes" => "bytes",
        "type" => "a type",
        other => other,
    }
}

/// `_+_` is how CEL calls `+`.
fn operator_word(name: &str) -> String {
    match name {
        "_[_]" => "[…]".to_owned(),
        "@in" => "in".to_owned(),
        other => other.trim_matches('_').replace("_?_:_", "? :"),
    }
}

/// An operator or function, and types it has no meaning for.
fn does_not_work(function: &str, types: &[&str]) -> ExprError {
    let has = |names: &[&str]| types.iter().any(|t| names.contains(t));
    let null = "a step that was skipped or failed is null; test with `!= null` first";
    if matches!(function, "_._" | "_[_]") {
        let what = types.first().map_or("this", |t| type_word(t));
        let error = ExprError::new(format!("{what} has no fields or elements to take"));
        return if has(&["null_type"]) {
            error.help(null)
        } else {
            error
        };
    }
    let words: Vec<&str> = types.iter().map(|t| type_word(t)).collect();
    let error = ExprError::new(format!(
        "`{}` does not work on {}",
        operator_word(function),
        words.join(" and "),
    ));
    if has(&["double"]) && has(&["int", "uint"]) {
        error.help(
            "integers and numbers do not mix: convert one, as in `double(inputs.count) * 1.5` or `int(x)`",
        )
    } else if has(&["null_type"]) {
        error.help(null)
    } else if has(&["string"]) {
        error.help("convert with `string(x)`, `int(x)` or `double(x)`")
    } else {
        error
    }
}

pub(super) fn explain(fault: Fault) -> ExprError {
    match fault {
        Fault::Spent(spent) => spent.into(),
        Fault::NoField(name) => ExprError::new(format!("there is no field `{name}`"))
            .help(format!("test for it first: `has(….{name})`")),
        Fault::NoValue(name) => ExprError::new(format!("`{name}` has no value here")),
        Fault::NoMeaning(function, types) => does_not_work(function, &types),
        Fault::Expected { want, got } => ExprError::new(format!(
            "expected {}, got {}",
            type_word(want),
            type_word(got)
        )),
        Fault::DividesByZero => ExprError::new("it divides by zero"),
        Fault::TooLarge => ExprError::new("the number grows too large"),
        Fault::NoElement(index) => ExprError::new(format!("the list has no element {index}"))
            .help("elements count from 0; `size(list)` tells how many there are"),
        Fault::Function(function, message) => ExprError::new(format!("`{function}`: {message}")),
        Fault::SameKey => ExprError::new("a map has the same key twice"),
        Fault::NoKey(got) => {
            ExprError::new(format!("{} cannot be a key of an object", type_word(got)))
                .help("keys are text, integers or booleans")
        }
        Fault::NoIndex => {
            ExprError::new("this cannot be used as an index").help("lists are indexed by integers")
        }
        Fault::NoJson(what) => {
            let help = match what.as_str() {
                "the result is bytes" => "convert with `string(x)`",
                _ => "test the divisor first",
            };
            ExprError::new(format!("{what}, which JSON cannot hold")).help(help)
        }
    }
}

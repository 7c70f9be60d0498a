//! Evaluating what is more than a path, on the `cel` crate.
//!
//! The one file that runs it. CEL has no cost limit of its own, so a variable
//! that is read again and again inside a comprehension is paid for each time,
//! by its size: a product of two large lists ends in an error, not in a worker
//! out of memory.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use ::cel::common::types::{
    CelBool, CelDouble, CelInt, CelList, CelNull, CelString, CelUInt, LIST_TYPE, STRING_TYPE,
};
use ::cel::common::value::{CowVal, Val};
use ::cel::context::VariableResolver;
use ::cel::{Context, Env, ExecutionError, IdedExpr, Value as CelValue};
use serde_json::Value;

use super::ordered::Ordered;
use super::scope::Scope;
use super::{ExprError, Root};
use crate::workflow::MAX_ITEMS;

/// What one evaluation may read, in units of a JSON value or 64 bytes of text.
const FUEL: usize = 2_000_000;

/// The language: CEL's standard functions, `range(n)` and `list.join(text)`.
/// No regular expressions, no clock, no encodings, no optional syntax.
pub(super) fn environment() -> &'static Arc<Env> {
    static ENVIRONMENT: LazyLock<Arc<Env>> = LazyLock::new(|| {
        let mut env = Env::stdlib().with_optional_support(false);
        ::cel::add_overload!(env, fn range: (CelInt) -> Result<CelList>)
            .expect("the standard library has no `range`");
        env.add_member_overload(
            "join",
            "list_join_string",
            LIST_TYPE,
            vec![STRING_TYPE],
            join,
        )
        .expect("the standard library has no `join`");
        Arc::new(env)
    });
    &ENVIRONMENT
}

/// `0, 1, … n - 1`.
fn range(n: &CelInt) -> Result<CelList<'static>, ExecutionError> {
    let n = *n.inner();
    match usize::try_from(n) {
        Ok(count) if count <= MAX_ITEMS => {
            let list: Vec<Box<dyn Val>> = (0..n)
                .map(|i| Box::new(CelInt::from(i)) as Box<dyn Val>)
                .collect();
            Ok(CelList::from(list))
        }
        _ => Err(ExecutionError::function_error(
            "range",
            format!("expected 0 to {MAX_ITEMS}, got {n}"),
        )),
    }
}

/// The texts of a list as one, with `separator` between them.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the shape that CEL calls functions in"
)]
fn join<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let wrong = || ExecutionError::function_error("join", "expected a list of texts and a text");
    let [list, separator] = args.as_slice() else {
        return Err(wrong());
    };
    let separator = separator.downcast_ref::<CelString>().ok_or_else(wrong)?;
    let mut parts = list.as_iterable().ok_or_else(wrong)?.iter();
    let mut text = String::new();
    let mut first = true;
    while let Some(part) = parts.next() {
        if !std::mem::take(&mut first) {
            text.push_str(separator.inner());
        }
        text.push_str(part.downcast_ref::<CelString>().ok_or_else(wrong)?.inner());
    }
    Ok(CowVal::owned(CelString::from(text)))
}

/// Hands a scope's values to CEL, and counts what is read. One thread uses it;
/// the atomics are there because CEL wants it shareable.
struct Meter<'s> {
    scope: &'s Scope,
    fuel: AtomicUsize,
    exhausted: AtomicBool,
}

impl VariableResolver for Meter<'_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        let (root, name) = match variable.split_once('.') {
            Some((root, name)) => (Root::from_name(root)?, Some(name)),
            None => (Root::from_name(variable)?, None),
        };
        let (value, cost) = match (root, name) {
            (Root::Inputs, Some(name)) => {
                let prepared = self.scope.input(name)?;
                (CowVal::Borrowed(prepared.value()), prepared.cost())
            }
            (Root::Steps, Some(name)) => {
                let prepared = self.scope.step_value(name)?;
                (CowVal::Borrowed(prepared.value()), prepared.cost())
            }
            (Root::Inputs, None) => {
                let all = self.scope.all_prepared_inputs();
                (CowVal::Borrowed(all.value()), all.cost())
            }
            (Root::Index, None) => {
                let index = self.scope.index_value()?;
                (CowVal::owned(CelInt::from(i64::from(index))), 1)
            }
            (Root::Item | Root::Matrix | Root::Run | Root::Failure, None) => {
                let prepared = self.scope.root(root)?;
                (CowVal::Borrowed(prepared.value()), prepared.cost())
            }
            _ => return None,
        };
        match self.fuel.load(Ordering::Relaxed).checked_sub(cost) {
            Some(left) => {
                self.fuel.store(left, Ordering::Relaxed);
                Some(value)
            }
            None => {
                self.exhausted.store(true, Ordering::Relaxed);
                None
            }
        }
    }
}

pub(super) fn evaluate(program: &IdedExpr, scope: &Scope) -> Result<Value, ExprError> {
    let meter = Meter {
        scope,
        fuel: AtomicUsize::new(FUEL),
        exhausted: AtomicBool::new(false),
    };
    let mut context = Context::with_env(Arc::clone(environment()));
    context.set_variable_resolver(&meter);
    // Not `resolve_val`: that is compiled into our crate, and in a build without
    // optimisation each level of a tree would take 65 kB of stack.
    let result = CelValue::resolve(program, &context);
    if meter.exhausted.load(Ordering::Relaxed) {
        return Err(
            ExprError::new("it reads more than an expression may").help(
                "large lists inside `map`, `filter`, `all` or `exists` multiply; compute this in a task",
            ),
        );
    }
    to_json(&result.map_err(explain)?)
}

/// What a person calls a CEL type.
fn type_word(name: &str) -> &str {
    match name {
        "int" | "uint" => "an integer",
        "double" | "float" => "a number",
        "string" => "text",
        "bool" => "a boolean",
        "list" => "a list",
        "map" => "an object",
        "null_type" => "null",
        "bytes" => "bytes",
        other => other,
    }
}

/// `_+_` is how CEL calls `+`.
fn operator_word(name: &str) -> String {
    match name {
        "_[_]" => "[…]".to_owned(),
        "@in" => "in".to_owned(),
        "add" => "+".to_owned(),
        "sub" => "-".to_owned(),
        "mul" => "*".to_owned(),
        "div" => "/".to_owned(),
        "rem" => "%".to_owned(),
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
        return if has(&["null_type", "null"]) {
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
    if has(&["double", "float"]) && has(&["int", "uint"]) {
        error.help(
            "integers and numbers do not mix: convert one, as in `double(inputs.count) * 1.5` or `int(x)`",
        )
    } else if has(&["null_type", "null"]) {
        error.help(null)
    } else if has(&["string"]) {
        error.help("convert with `string(x)`, `int(x)` or `double(x)`")
    } else {
        error
    }
}

fn explain(error: ExecutionError) -> ExprError {
    match error {
        ExecutionError::NoSuchKey(key) => ExprError::new(format!("there is no field `{key}`"))
            .help(format!("test for it first: `has(….{key})`")),
        ExecutionError::UndeclaredReference(name) => {
            ExprError::new(format!("`{name}` has no value here"))
        }
        ExecutionError::NoSuchOverload(overload) => {
            let types = overload.argument_types();
            let types: Vec<&str> = types.iter().map(String::as_str).collect();
            does_not_work(overload.function(), &types)
        }
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => {
            ExprError::new("it divides by zero")
        }
        ExecutionError::Overflow(..) => ExprError::new("the number grows too large"),
        ExecutionError::IndexOutOfBounds(index) => ExprError::new(format!(
            "the list has no element {}",
            match index {
                CelValue::Int(i) => i.to_string(),
                CelValue::UInt(u) => u.to_string(),
                _ => "there".to_owned(),
            }
        ))
        .help("elements count from 0; `size(list)` tells how many there are"),
        ExecutionError::FunctionError { function, message } => {
            ExprError::new(format!("`{function}`: {message}"))
        }
        // The values stay out of the message: they may be prompts, or huge.
        ExecutionError::ValuesNotComparable(a, b) => ExprError::new(format!(
            "{} and {} cannot be compared",
            type_word(&a.type_of().to_string()),
            type_word(&b.type_of().to_string())
        )),
        ExecutionError::UnsupportedBinaryOperator(operator, a, b) => {
            let (a, b) = (a.type_of().to_string(), b.type_of().to_string());
            does_not_work(operator, &[&a, &b])
        }
        ExecutionError::UnexpectedType { got, want } => ExprError::new(format!(
            "expected {}, got {}",
            type_word(&want),
            type_word(&got)
        )),
        ExecutionError::DuplicateKey(_) => ExprError::new("a map has the same key twice"),
        ExecutionError::UnsupportedTargetType { target } => ExprError::new(format!(
            "this does not work on {}",
            type_word(&target.type_of().to_string())
        )),
        ExecutionError::UnsupportedIndex(..) => {
            ExprError::new("this cannot be used as an index").help("lists are indexed by integers")
        }
        ExecutionError::InvalidArgumentCount { expected, actual } => {
            ExprError::new(format!("expected {expected} arguments, got {actual}"))
        }
        ExecutionError::UnsupportedKeyType(key) => ExprError::new(format!(
            "{} cannot be a key of an object",
            type_word(&key.type_of().to_string())
        ))
        .help("keys are text, integers or booleans"),
        ExecutionError::NotSupportedAsMethod { method, target } => {
            does_not_work(&method, &[&target.type_of().to_string()])
        }
        ExecutionError::MissingArgumentOrTarget => ExprError::new("an argument is missing"),
        // The rest carry values, or nothing a person could use.
        _ => ExprError::new("it has no value"),
    }
}

/// A CEL value as JSON. CEL maps have no order, so keys are sorted.
fn to_json(value: &CelValue) -> Result<Value, ExprError> {
    match value {
        CelValue::Null => Ok(Value::Null),
        CelValue::Bool(boolean) => Ok(Value::Bool(*boolean)),
        CelValue::Int(int) => Ok((*int).into()),
        CelValue::UInt(uint) => Ok((*uint).into()),
        CelValue::Float(float) => match serde_json::Number::from_f64(*float) {
            Some(number) => Ok(Value::Number(number)),
            None => Err(
                ExprError::new(format!("the result is {float}, which JSON cannot hold"))
                    .help("test the divisor first"),
            ),
        },
        CelValue::String(text) => Ok(Value::String(text.to_string())),
        CelValue::List(list) => list
            .iter()
            .map(to_json)
            .collect::<Result<Vec<_>, _>>()
            .map(Value::Array),
        CelValue::Map(map) => {
            let mut fields = map
                .map
                .iter()
                .map(|(key, value)| Ok((key.to_string(), to_json(value)?)))
                .collect::<Result<Vec<_>, ExprError>>()?;
            fields.sort_by(|(a, _), (b, _)| a.cmp(b));
            Ok(Value::Object(fields.into_iter().collect()))
        }
        CelValue::Bytes(_) => Err(
            ExprError::new("the result is bytes, which JSON cannot hold")
                .help("convert with `string(x)`"),
        ),
        CelValue::Function(..) | CelValue::Opaque(_) | CelValue::Struct(_) => Err(ExprError::new(
            "the result is a type, which JSON cannot hold",
        )
        .help("compare it, as in `type(x) == int`")),
    }
}

/// JSON as CEL sees it: every integer that fits is an `int`, so that `inputs.n + 1` works.
pub(super) fn from_json(value: &Value) -> Box<dyn Val> {
    match value {
        Value::Null => Box::new(CelNull),
        Value::Bool(boolean) => Box::new(CelBool::from(*boolean)),
        Value::String(text) => Box::new(CelString::from(text.clone())),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(int), _) => Box::new(CelInt::from(int)),
            (None, Some(uint)) => Box::new(CelUInt::from(uint)),
            (None, None) => Box::new(CelDouble::from(number.as_f64().unwrap_or(f64::NAN))),
        },
        Value::Array(list) => {
            let list: Vec<Box<dyn Val>> = list.iter().map(from_json).collect();
            Box::new(CelList::from(list))
        }
        Value::Object(fields) => Box::new(Ordered::new(
            fields
                .iter()
                .map(|(key, value)| (key.clone(), from_json(value))),
        )),
    }
}

//! Operators and functions on values.

use std::cmp::Ordering;
use std::rc::Rc;

use super::budget::Budget;
use super::program::{Binary, Fault};
use super::value::{Text, Val};
use crate::workflow::MAX_ITEMS;

type Evaluated<'a> = Result<Val<'a>, Fault>;

/// What CEL calls an operator, for messages.
fn name(operator: Binary) -> &'static str {
    match operator {
        Binary::Add => "_+_",
        Binary::Subtract => "_-_",
        Binary::Multiply => "_*_",
        Binary::Divide => "_/_",
        Binary::Remainder => "_%_",
        Binary::Equal => "_==_",
        Binary::NotEqual => "_!=_",
        Binary::Less => "_<_",
        Binary::LessOrEqual => "_<=_",
        Binary::Greater => "_>_",
        Binary::GreaterOrEqual => "_>=_",
        Binary::In => "@in",
    }
}

pub(super) fn binary<'a>(
    operator: Binary,
    left: Val<'a>,
    right: Val<'a>,
    budget: &mut Budget,
) -> Evaluated<'a> {
    match operator {
        Binary::Add => add(left, right, budget),
        Binary::Subtract | Binary::Multiply | Binary::Divide | Binary::Remainder => {
            arithmetic(operator, &left, &right)
        }
        Binary::Equal => Ok(Val::Bool(left.equals(&right, budget)?)),
        Binary::NotEqual => Ok(Val::Bool(!left.equals(&right, budget)?)),
        Binary::Less => compared(operator, &left, &right, budget, Ordering::is_lt),
        Binary::LessOrEqual => compared(operator, &left, &right, budget, Ordering::is_le),
        Binary::Greater => compared(operator, &left, &right, budget, Ordering::is_gt),
        Binary::GreaterOrEqual => compared(operator, &left, &right, budget, Ordering::is_ge),
        Binary::In => is_in(&left, &right, budget),
    }
}

fn no_meaning(operator: Binary, left: &Val<'_>, right: &Val<'_>) -> Fault {
    Fault::NoMeaning(name(operator), vec![left.type_name(), right.type_name()])
}

fn add<'a>(left: Val<'a>, right: Val<'a>, budget: &mut Budget) -> Evaluated<'a> {
    match (left, right) {
        (Val::Text(a), Val::Text(b)) => {
            budget.allocate(a.len().saturating_add(b.len()).saturating_add(48))?;
            let mut text = String::with_capacity(a.len() + b.len());
            text.push_str(&a);
            text.push_str(&b);
            Ok(text.into())
        }
        (Val::Bytes(a), Val::Bytes(b)) => {
            budget.allocate(a.len().saturating_add(b.len()).saturating_add(48))?;
            Ok(Val::Bytes(Rc::new([a.as_slice(), b.as_slice()].concat())))
        }
        (left, right) if left.list_len().is_some() => {
            // A map gives its keys.
            let right = match right.map_len() {
                Some(_) => Val::List(Rc::new(right.keys(budget)?)),
                None => right,
            };
            let (Some(a), Some(b)) = (left.list_len(), right.list_len()) else {
                return Err(no_meaning(Binary::Add, &left, &right));
            };
            budget.allocate_list::<Val<'_>>(a.saturating_add(b))?;
            budget.steps(a.saturating_add(b) / 4)?;
            let mut list = Vec::with_capacity(a + b);
            list.extend((0..a).filter_map(|index| left.element(index)));
            list.extend((0..b).filter_map(|index| right.element(index)));
            Ok(Val::List(Rc::new(list)))
        }
        (left, right) => arithmetic(Binary::Add, &left, &right),
    }
}

fn arithmetic<'a>(operator: Binary, left: &Val<'_>, right: &Val<'_>) -> Evaluated<'a> {
    match (left, right) {
        (Val::Int(a), Val::Int(b)) => {
            if *b == 0 && matches!(operator, Binary::Divide | Binary::Remainder) {
                return Err(Fault::DividesByZero);
            }
            let result = match operator {
                Binary::Add => a.checked_add(*b),
                Binary::Subtract => a.checked_sub(*b),
                Binary::Multiply => a.checked_mul(*b),
                Binary::Divide => a.checked_div(*b),
                Binary::Remainder => a.checked_rem(*b),
                _ => return Err(no_meaning(operator, left, right)),
            };
            result.map(Val::Int).ok_or(Fault::TooLarge)
        }
        (Val::UInt(a), Val::UInt(b)) => {
            if *b == 0 && matches!(operator, Binary::Divide | Binary::Remainder) {
                return Err(Fault::DividesByZero);
            }
            let result = match operator {
                Binary::Add => a.checked_add(*b),
                Binary::Subtract => a.checked_sub(*b),
                Binary::Multiply => a.checked_mul(*b),
                Binary::Divide => a.checked_div(*b),
                Binary::Remainder => a.checked_rem(*b),
                _ => return Err(no_meaning(operator, left, right)),
            };
            result.map(Val::UInt).ok_or(Fault::TooLarge)
        }
        // As IEEE 754 has it: what is no number in the end, JSON cannot hold.
        (Val::Double(a), Val::Double(b)) => match operator {
            Binary::Add => Ok(Val::Double(a + b)),
            Binary::Subtract => Ok(Val::Double(a - b)),
            Binary::Multiply => Ok(Val::Double(a * b)),
            Binary::Divide => Ok(Val::Double(a / b)),
            _ => Err(no_meaning(operator, left, right)),
        },
        _ => Err(no_meaning(operator, left, right)),
    }
}

fn compared<'a>(
    operator: Binary,
    left: &Val<'_>,
    right: &Val<'_>,
    budget: &mut Budget,
    holds: fn(Ordering) -> bool,
) -> Evaluated<'a> {
    let ordering = match (left, right) {
        (Val::Text(a), Val::Text(b)) => {
            budget.scan(a.len().min(b.len()))?;
            Some((**a).cmp(&**b))
        }
        (Val::Bytes(a), Val::Bytes(b)) => {
            budget.scan(a.len().min(b.len()))?;
            Some(a.cmp(b))
        }
        (Val::Bool(a), Val::Bool(b)) => Some(a.cmp(b)),
        (a, b) => a.compare_numbers(b),
    };
    match ordering {
        Some(ordering) => Ok(Val::Bool(holds(ordering))),
        None => Err(no_meaning(operator, left, right)),
    }
}

fn is_in<'a>(wanted: &Val<'_>, container: &Val<'_>, budget: &mut Budget) -> Evaluated<'a> {
    if let Some(count) = container.list_len() {
        for index in 0..count {
            if let Some(element) = container.element(index)
                && element.equals(wanted, budget)?
            {
                return Ok(Val::Bool(true));
            }
        }
        return Ok(Val::Bool(false));
    }
    let can_be_key = matches!(
        wanted,
        Val::Text(_) | Val::Bool(_) | Val::Int(_) | Val::UInt(_) | Val::Double(_)
    );
    if container.map_len().is_none() || !can_be_key {
        return Err(no_meaning(Binary::In, wanted, container));
    }
    Ok(Val::Bool(container.at(wanted, budget)?.is_some()))
}

/// `size(x)`: characters of a text, elements of a list, entries of a map.
pub(super) fn size<'a>(value: &Val<'_>, budget: &mut Budget) -> Evaluated<'a> {
    let size = match value {
        Val::Text(text) => {
            budget.scan(text.len())?;
            Some(text.chars().count())
        }
        Val::Bytes(bytes) => Some(bytes.len()),
        other => other.list_len().or_else(|| other.map_len()),
    };
    match size {
        Some(size) => Ok(Val::Int(i64::try_from(size).unwrap_or(i64::MAX))),
        None => Err(Fault::NoMeaning("size", vec![value.type_name()])),
    }
}

pub(super) fn call<'a>(
    function: &'static str,
    is_method: bool,
    args: &[Val<'a>],
    budget: &mut Budget,
) -> Evaluated<'a> {
    let is_always_global = !matches!(
        function,
        "size" | "contains" | "startsWith" | "endsWith" | "join"
    );
    if is_method && is_always_global {
        return Err(Fault::NoValue(function));
    }
    match (function, args) {
        ("size", [value]) => size(value, budget),
        ("contains", [Val::Text(text), Val::Text(part)]) => {
            budget.scan(text.len().saturating_add(part.len()).saturating_mul(4))?;
            Ok(Val::Bool(text.contains(&**part)))
        }
        ("startsWith", [Val::Text(text), Val::Text(part)]) => {
            budget.scan(part.len())?;
            Ok(Val::Bool(text.starts_with(&**part)))
        }
        ("endsWith", [Val::Text(text), Val::Text(part)]) => {
            budget.scan(part.len())?;
            Ok(Val::Bool(text.ends_with(&**part)))
        }
        ("join", [list, Val::Text(separator)]) if list.list_len().is_some() => {
            join(list, separator, budget)
        }
        ("range", [Val::Int(count)]) => range(*count, budget),
        ("type", [value]) => Ok(Val::Type(value.type_name())),
        ("dyn", [value]) => Ok(value.clone()),
        ("bool" | "bytes" | "double" | "int" | "string" | "uint", [value]) => {
            match convert(function, value, budget)? {
                Some(converted) => Ok(converted),
                None => Err(Fault::NoMeaning(function, vec![value.type_name()])),
            }
        }
        _ => {
            let types = args.iter().map(Val::type_name).collect();
            Err(Fault::NoMeaning(function, types))
        }
    }
}

/// The texts of a list as one, with `separator` between them.
fn join<'a>(list: &Val<'_>, separator: &str, budget: &mut Budget) -> Evaluated<'a> {
    let wrong = || Fault::Function("join", "expected a list of texts and a text".to_owned());
    let count = list.list_len().unwrap_or(0);
    let mut length = separator.len().saturating_mul(count.saturating_sub(1));
    for index in 0..count {
        budget.step()?;
        match list.element(index) {
            Some(Val::Text(part)) => length = length.saturating_add(part.len()),
            _ => return Err(wrong()),
        }
    }
    budget.allocate(length.saturating_add(48))?;
    let mut text = String::with_capacity(length);
    for index in 0..count {
        if index > 0 {
            text.push_str(separator);
        }
        if let Some(Val::Text(part)) = list.element(index) {
            text.push_str(&part);
        }
    }
    Ok(text.into())
}

/// `0, 1, … n - 1`.
fn range<'a>(count: i64, budget: &mut Budget) -> Evaluated<'a> {
    match usize::try_from(count) {
        Ok(length) if length <= MAX_ITEMS => {
            budget.allocate_list::<Val<'_>>(length)?;
            budget.steps(length / 4)?;
            Ok(Val::List(Rc::new((0..count).map(Val::Int).collect())))
        }
        _ => Err(Fault::Function(
            "range",
            format!("expected 0 to {MAX_ITEMS}, got {count}"),
        )),
    }
}

/// A value as another type; nothing where there is no such conversion.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the range is checked before"
)]
fn convert<'a>(
    target: &'static str,
    value: &Val<'a>,
    budget: &mut Budget,
) -> Result<Option<Val<'a>>, Fault> {
    if let Val::Text(text) = value {
        budget.scan(text.len())?;
    }
    let wrong = |message: String| Fault::Function(target, message);
    let unreadable = |error: &dyn std::fmt::Display| wrong(format!("string parse error: {error}"));
    Ok(Some(match (target, value) {
        ("bool", Val::Bool(_))
        | ("int", Val::Int(_))
        | ("uint", Val::UInt(_))
        | ("double", Val::Double(_))
        | ("string", Val::Text(_))
        | ("bytes", Val::Bytes(_)) => value.clone(),
        ("bool", Val::Text(text)) => match &**text {
            "1" | "t" | "true" | "TRUE" | "True" => Val::Bool(true),
            "0" | "f" | "false" | "FALSE" | "False" => Val::Bool(false),
            _ => {
                let message = "Type conversion error from 'string' to 'bool'";
                return Err(wrong(message.to_owned()));
            }
        },
        ("int", Val::UInt(uint)) => match i64::try_from(*uint) {
            Ok(int) => Val::Int(int),
            Err(_) => return Err(wrong("integer overflow".to_owned())),
        },
        ("int", Val::Double(double)) => {
            if !(*double > i64::MIN as f64 && *double < i64::MAX as f64) {
                return Err(wrong("integer overflow".to_owned()));
            }
            Val::Int(*double as i64)
        }
        ("int", Val::Text(text)) => match text.parse() {
            Ok(int) => Val::Int(int),
            Err(error) => return Err(unreadable(&error)),
        },
        ("uint", Val::Int(int)) => match u64::try_from(*int) {
            Ok(uint) => Val::UInt(uint),
            Err(_) => return Err(wrong("unsigned integer overflow".to_owned())),
        },
        ("uint", Val::Double(double)) => {
            if !(*double >= 0.0 && *double < u64::MAX as f64) {
                return Err(wrong("unsigned integer overflow".to_owned()));
            }
            Val::UInt(*double as u64)
        }
        ("uint", Val::Text(text)) => match text.parse() {
            Ok(uint) => Val::UInt(uint),
            Err(error) => return Err(unreadable(&error)),
        },
        ("double", Val::Int(int)) => Val::Double(*int as f64),
        ("double", Val::UInt(uint)) => Val::Double(*uint as f64),
        ("double", Val::Text(text)) => match text.parse() {
            Ok(double) => Val::Double(double),
            Err(error) => return Err(unreadable(&error)),
        },
        ("string", Val::Bool(boolean)) => printed(boolean, budget)?,
        ("string", Val::Int(int)) => printed(int, budget)?,
        ("string", Val::UInt(uint)) => printed(uint, budget)?,
        ("string", Val::Double(double)) => printed(double, budget)?,
        ("string", Val::Bytes(bytes)) => {
            budget.allocate(bytes.len().saturating_add(48))?;
            match std::str::from_utf8(bytes) {
                Ok(text) => text.to_owned().into(),
                Err(_) => {
                    let message = "invalid UTF-8 in bytes, cannot convert to string";
                    return Err(wrong(message.to_owned()));
                }
            }
        }
        ("bytes", Val::Text(text)) => {
            budget.allocate(text.len().saturating_add(48))?;
            Val::Bytes(Rc::new(text.as_bytes().to_vec()))
        }
        _ => return Ok(None),
    }))
}

/// A number in words: at most the 330 characters of a very small double.
fn printed<'a>(value: &dyn std::fmt::Display, budget: &mut Budget) -> Evaluated<'a> {
    let text = value.to_string();
    budget.allocate(text.len().saturating_add(48))?;
    Ok(Val::Text(Text::Made(Rc::new(text))))
}

//! Templates: JSON in which texts may hold `${{ … }}`.
//!
//! A text that is one whole expression keeps the type of its value; in a longer
//! text, values are printed into it. `$${{` stands for `${{` itself.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::budget::ENTRY_BYTES;
use super::{Budget, ExprError, Expression, References, Root, Scope, guard, kind_of};

/// Any JSON value with expressions in it, parsed. Cheap to clone, shared over threads.
#[derive(Debug, Clone)]
pub struct Template {
    source: Arc<Value>,
    shape: Arc<Shape>,
    references: Arc<References>,
}

#[derive(Debug)]
enum Shape {
    Constant,
    Whole(Expression),
    Text(Vec<Piece>),
    List(Vec<Template>),
    Object(Vec<(String, Template)>),
}

/// A part of a text: as written, or an expression.
#[derive(Debug, Clone)]
pub(crate) enum Piece {
    Plain(String),
    Expression {
        expression: Expression,
        /// Where the expression's text begins, in bytes, within the whole text.
        offset: usize,
    },
}

impl Piece {
    pub(crate) fn expression(&self) -> Option<(&Expression, usize)> {
        match self {
            Self::Plain(_) => None,
            Self::Expression { expression, offset } => Some((expression, *offset)),
        }
    }
}

impl Template {
    /// Parses a value, every text in it.
    ///
    /// # Errors
    /// [`ExprError`], its offset counted within the text that is wrong.
    pub fn parse(source: Value) -> Result<Self, ExprError> {
        let mut references = References::default();
        let shape = match &source {
            Value::String(text) => {
                let mut unbounded = usize::MAX;
                let mut pieces = pieces(text, &mut unbounded)?;
                for piece in &pieces {
                    if let Piece::Expression { expression, .. } = piece {
                        references.merge(expression.references());
                    }
                }
                match pieces.as_slice() {
                    [Piece::Expression { .. }] => match pieces.pop() {
                        Some(Piece::Expression { expression, .. }) => Shape::Whole(expression),
                        _ => Shape::Constant,
                    },
                    [] => Shape::Constant,
                    [Piece::Plain(plain)] if plain == text => Shape::Constant,
                    _ => Shape::Text(pieces),
                }
            }
            Value::Array(list) => {
                let list = list
                    .iter()
                    .map(|element| Self::parse(element.clone()))
                    .collect::<Result<Vec<_>, _>>()?;
                list.iter().for_each(|t| references.merge(&t.references));
                if list.iter().all(Self::is_constant) {
                    Shape::Constant
                } else {
                    Shape::List(list)
                }
            }
            Value::Object(fields) => {
                let fields = fields
                    .iter()
                    .map(|(key, value)| Ok((key.clone(), Self::parse(value.clone())?)))
                    .collect::<Result<Vec<_>, ExprError>>()?;
                fields
                    .iter()
                    .for_each(|(_, t)| references.merge(&t.references));
                if fields.iter().all(|(_, t)| t.is_constant()) {
                    Shape::Constant
                } else {
                    Shape::Object(fields)
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => Shape::Constant,
        };
        Ok(Self {
            source: Arc::new(source),
            shape: Arc::new(shape),
            references: Arc::new(references),
        })
    }

    /// The template as written.
    #[must_use]
    pub fn source(&self) -> &Value {
        &self.source
    }

    /// What its expressions read.
    #[must_use]
    pub fn references(&self) -> &References {
        &self.references
    }

    /// Whether it holds no expression at all, so that its value is its source.
    #[must_use]
    pub fn is_constant(&self) -> bool {
        matches!(*self.shape, Shape::Constant)
    }

    /// The value in this scope, charged to `budget`.
    ///
    /// # Errors
    /// As [`Expression::evaluate`]; also when null, a list or an object would
    /// have to be printed into a text.
    pub fn evaluate(&self, scope: &Scope, budget: &mut Budget) -> Result<Value, ExprError> {
        match &*self.shape {
            Shape::Constant => budget.copy(&self.source),
            Shape::Whole(expression) => expression.evaluate(scope, budget),
            Shape::Text(pieces) => {
                let mut text = String::new();
                for piece in pieces {
                    match piece {
                        Piece::Plain(plain) => append(plain, &mut text, budget)?,
                        Piece::Expression { expression, .. } => {
                            print(expression, scope, &mut text, budget)?;
                        }
                    }
                }
                Ok(Value::String(text))
            }
            Shape::List(list) => {
                budget.allocate_list::<Value>(list.len())?;
                list.iter()
                    .map(|element| element.evaluate(scope, budget))
                    .collect::<Result<Vec<_>, _>>()
                    .map(Value::Array)
            }
            Shape::Object(fields) => {
                budget.allocate(fields.len().saturating_mul(ENTRY_BYTES))?;
                fields
                    .iter()
                    .map(|(key, value)| {
                        budget.allocate(key.len())?;
                        Ok((key.clone(), value.evaluate(scope, budget)?))
                    })
                    .collect::<Result<Map<_, _>, ExprError>>()
                    .map(Value::Object)
            }
        }
    }
}

/// Adds to a text; what its growing costs is charged twice over.
fn append(part: &str, text: &mut String, budget: &mut Budget) -> Result<(), ExprError> {
    budget.allocate(part.len().saturating_mul(2))?;
    text.push_str(part);
    Ok(())
}

fn print(
    expression: &Expression,
    scope: &Scope,
    text: &mut String,
    budget: &mut Budget,
) -> Result<(), ExprError> {
    match expression.evaluate(scope, budget)? {
        Value::String(value) => append(&value, text, budget)?,
        Value::Number(value) => append(&value.to_string(), text, budget)?,
        Value::Bool(value) => append(if value { "true" } else { "false" }, text, budget)?,
        other => {
            let help = match &other {
                Value::Null => "give a default: `x == null ? \"…\" : x`",
                Value::Array(_) => {
                    "join it, as in `list.join(\", \")`, or let the expression stand alone"
                }
                _ => "take one of its fields, or let the expression stand alone",
            };
            return Err(ExprError::new(format!(
                "`{}` is {}, which cannot be printed into a text",
                expression.text(),
                kind_of(&other)
            ))
            .help(help));
        }
    }
    Ok(())
}

/// Splits a text at its expressions, or says what is wrong with the first bad one.
pub(crate) fn pieces(text: &str, work_left: &mut usize) -> Result<Vec<Piece>, ExprError> {
    let (pieces, errors) = split(text, work_left);
    match errors.into_iter().next() {
        None => Ok(pieces),
        Some(error) => Err(error),
    }
}

/// Splits a text at its expressions, passing over the bad ones; `work_left` as
/// in [`super::parse_within`].
pub(crate) fn split(text: &str, work_left: &mut usize) -> (Vec<Piece>, Vec<ExprError>) {
    let mut pieces = Vec::new();
    let mut errors = Vec::new();
    let mut plain = String::new();
    let mut at = 0;
    while let Some(found) = text[at..].find("${{") {
        let start = at + found;
        if text[..start].ends_with('$') && start > at {
            // `$${{`: the first dollar goes, the rest stands for itself.
            plain.push_str(&text[at..start - 1]);
            plain.push_str("${{");
            at = start + 3;
            continue;
        }
        errors.extend(lookalike(text, at, start));
        plain.push_str(&text[at..start]);
        let inside = start + 3;
        let Some(length) = guard::closing(&text[inside..]) else {
            errors.push(
                ExprError::new("`${{` is never closed")
                    .at(start, 3)
                    .help("close it with `}}`, or write `$${{` if it is meant as text"),
            );
            return (pieces, errors);
        };
        match super::parse_within(&text[inside..inside + length], work_left) {
            Ok(expression) => {
                if !plain.is_empty() {
                    pieces.push(Piece::Plain(std::mem::take(&mut plain)));
                }
                pieces.push(Piece::Expression {
                    expression,
                    offset: inside,
                });
            }
            Err(error) => {
                let (offset, length) = match error.length {
                    // No place inside: the whole expression is meant.
                    0 if error.offset == 0 => (start, length + 5),
                    length => (inside + error.offset, length),
                };
                errors.push(error.at(offset, length));
                if *work_left == 0 {
                    return (pieces, errors);
                }
            }
        }
        at = inside + length + 2;
    }
    errors.extend(lookalike(text, at, text.len()));
    plain.push_str(&text[at..]);
    if !plain.is_empty() {
        pieces.push(Piece::Plain(plain));
    }
    (pieces, errors)
}

/// `{{ inputs.x }}`, `${inputs.x}` and `$inputs.x` are meant as expressions, yet
/// would be sent as text. Only with a root of ours inside: prompts and chat
/// templates have braces of their own.
fn lookalike(text: &str, from: usize, to: usize) -> Option<ExprError> {
    let part = &text[from..to];
    for opening in ["{{", "${", "$"] {
        let mut at = 0;
        while let Some(found) = part[at..].find(opening) {
            let start = at + found;
            let inside = start + opening.len();
            at = inside;
            let rest = part[inside..].trim_start_matches(' ');
            let word_length = rest
                .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                .unwrap_or(rest.len());
            let named = Root::from_name(&rest[..word_length]).is_some_and(|root| {
                matches!(root, Root::Inputs | Root::Steps | Root::Item | Root::Matrix)
            });
            if !named || !rest[word_length..].starts_with(['.', '[', ' ', '}']) {
                continue;
            }
            // `$item` in a text about money is no path; `$item.name` is.
            if opening == "$" && !rest[word_length..].starts_with('.') {
                continue;
            }
            let path_length = rest
                .find(|c: char| !c.is_ascii_alphanumeric() && !"_.[]".contains(c))
                .unwrap_or(rest.len());
            let path = rest[..path_length].trim_end_matches('.');
            let skipped = part[inside..].len() - rest.len();
            return Some(
                ExprError::new(format!(
                    "`{opening}{path}` is plain text, not an expression"
                ))
                .at(from + start, opening.len() + skipped + path.len())
                .help(format!("write `${{{{ {path} }}}}`")),
            );
        }
    }
    None
}

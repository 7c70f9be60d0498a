//! The common expression: a plain path such as `steps.refine.images[0]`.
//!
//! Looked up in the JSON as it is, without CEL: no conversion, no loss of key
//! order, and a message that says which part of the path led nowhere.

use serde_json::Value;

use super::analyse::Mention;
use super::budget::Budget;
use super::guard::{Token, TokenKind};
use super::scope::Scope;
use super::{ExprError, Root, kind_of};
use crate::workflow::suggest;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Path {
    root: Root,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Field(String),
    Index(usize),
}

/// Words CEL reserves; `steps.in` must go the long way and be refused there.
const RESERVED: [&str; 4] = ["in", "true", "false", "null"];

/// The path, if the expression is nothing but one.
pub(super) fn parse(tokens: &[Token], text: &str) -> Result<Option<(Path, Mention)>, ExprError> {
    let word = |token: &Token| &text[token.start..token.end];
    let Some((first, mut rest)) = tokens.split_first() else {
        return Ok(None);
    };
    let Some(root) = Root::from_name(word(first)) else {
        return Ok(None);
    };
    let mut parts = Vec::new();
    let mut name_end = first.end;
    while !rest.is_empty() {
        rest = match rest {
            [dot, field, rest @ ..]
                if word(dot) == "."
                    && field.kind == TokenKind::Word
                    && !RESERVED.contains(&word(field)) =>
            {
                if parts.is_empty() {
                    name_end = field.end;
                }
                parts.push(Part::Field(word(field).to_owned()));
                rest
            }
            [open, index, close, rest @ ..] if word(open) == "[" && word(close) == "]" => {
                if let Some(plain) = plain_text(word(index)) {
                    if parts.is_empty() {
                        name_end = close.end;
                    }
                    parts.push(Part::Field(plain.to_owned()));
                } else if let Ok(index) = word(index).parse::<usize>() {
                    parts.push(Part::Index(index));
                } else {
                    return Ok(None);
                }
                rest
            }
            // A call or an operator: an expression for CEL.
            _ => return Ok(None),
        };
    }
    let name = match (root, parts.first()) {
        (Root::Inputs | Root::Steps | Root::Matrix | Root::Run, Some(Part::Field(name))) => {
            Some(name.clone())
        }
        (Root::Steps, Some(Part::Index(_)) | None) => return Err(bare_steps(first.start)),
        _ => None,
    };
    let mention = Mention {
        root,
        name,
        offset: first.start,
        length: name_end - first.start,
    };
    Ok(Some((Path { root, parts }, mention)))
}

/// A quoted key without escapes: `'a-b'`.
fn plain_text(literal: &str) -> Option<&str> {
    let quote = literal.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let inner = literal.strip_prefix(quote)?.strip_suffix(quote)?;
    (!inner.contains(['\\', '"', '\''])).then_some(inner)
}

pub(super) fn bare_steps(offset: usize) -> ExprError {
    ExprError::new("`steps` needs the name of a step")
        .at(offset, "steps".len())
        .help("write `steps.name`: the graph's edges are read from it, so it cannot be computed")
}

impl Path {
    pub(super) fn evaluate(&self, scope: &Scope, budget: &mut Budget) -> Result<Value, ExprError> {
        let mut parts = self.parts.iter();
        let mut so_far;
        let start = match self.root {
            Root::Inputs => match parts.next() {
                None => {
                    let weight = scope.weight_of_inputs_to_make();
                    budget.allocate(weight).map_err(ExprError::from)?;
                    return budget.copy(scope.all_prepared_inputs().json());
                }
                Some(Part::Index(index)) => {
                    return Err(ExprError::new(format!(
                        "`inputs` has names, so `[{index}]` leads nowhere"
                    )));
                }
                Some(Part::Field(name)) => {
                    so_far = format!("inputs.{name}");
                    scope.input(name).ok_or_else(|| {
                        ExprError::new(format!("there is no input `{name}`"))
                            .maybe_help(suggest::help(name, scope.input_names()))
                    })?
                }
            },
            Root::Steps => {
                let Some(Part::Field(name)) = parts.next() else {
                    return Err(bare_steps(0));
                };
                so_far = format!("steps.{name}");
                scope.step_value(name).ok_or_else(|| {
                    ExprError::new(format!("step `{name}` has no result here"))
                        .help("only the results of steps that ran before can be read")
                })?
            }
            Root::Index => {
                let index = scope.index_value().ok_or_else(|| absent("index"))?;
                return if self.parts.is_empty() {
                    Ok(index.into())
                } else {
                    Err(ExprError::new("`index` is a number and has no fields"))
                };
            }
            Root::Item | Root::Matrix | Root::Run | Root::Failure => {
                so_far = self.root.word().to_owned();
                scope.root(self.root).ok_or_else(|| absent(&so_far))?
            }
        };
        let mut value = start.json();
        for part in parts {
            value = part.of(value, &so_far)?;
            match part {
                Part::Field(name) => so_far = format!("{so_far}.{name}"),
                Part::Index(index) => so_far = format!("{so_far}[{index}]"),
            }
        }
        budget.copy(value)
    }
}

fn absent(what: &str) -> ExprError {
    ExprError::new(format!("`{what}` has no value here"))
}

impl Part {
    fn of<'v>(&self, value: &'v Value, so_far: &str) -> Result<&'v Value, ExprError> {
        match (self, value) {
            (Self::Field(name), Value::Object(fields)) => fields.get(name).ok_or_else(|| {
                ExprError::new(format!("`{so_far}` has no field `{name}`"))
                    .maybe_help(suggest::help(name, fields.keys().map(String::as_str)))
            }),
            (Self::Index(index), Value::Array(list)) => list.get(*index).ok_or_else(|| {
                ExprError::new(format!(
                    "`{so_far}` has {} elements, so `[{index}]` leads nowhere",
                    list.len()
                ))
                .help("elements count from 0")
            }),
            (Self::Field(name), Value::Null) => Err(ExprError::new(format!(
                "`{so_far}` is null, so it has no field `{name}`"
            ))
            .help(format!(
                "a step that was skipped or failed is null: write `{so_far} == null ? … : {so_far}.{name}`"
            ))),
            (Self::Field(name), Value::Array(_)) => Err(ExprError::new(format!(
                "`{so_far}` is a list, so it has no field `{name}`"
            ))
            .help(format!(
                "take one element, as in `{so_far}[0]`, or every one: `{so_far}.map(x, x.{name})`"
            ))),
            (Self::Field(name), other) => Err(ExprError::new(format!(
                "`{so_far}` is {}, so it has no field `{name}`",
                kind_of(other)
            ))),
            (Self::Index(index), other) => Err(ExprError::new(format!(
                "`{so_far}` is {}, so `[{index}]` leads nowhere",
                kind_of(other)
            ))),
        }
    }
}

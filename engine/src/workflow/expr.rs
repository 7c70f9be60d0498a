//! Expressions: what stands inside `${{ … }}`, in the Common Expression Language (CEL).
//!
//! Definitions come from strangers, so everything here is bounded before it is
//! parsed (`guard`) and while it is evaluated (`budget`): nobody can evaluate
//! without a [`Budget`]. Nothing here reads a clock, a file or chance: one
//! expression and one scope give one value.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

mod analyse;
mod budget;
mod cel;
mod eval;
mod explain;
mod functions;
mod guard;
mod path;
mod program;
mod scope;
mod template;
mod value;

pub(crate) use analyse::Mention;
pub use budget::Budget;
pub(crate) use budget::{MAX_RESULT_DEPTH, is_too_deep};
pub use guard::{MAX_BRACKETS, MAX_EXPRESSION_BYTES, MAX_OPERATORS};
pub(crate) use scope::weight;
pub use scope::{Prepared, Scope};
pub use template::Template;
pub(crate) use template::{Piece, pieces, split};

/// Why an expression cannot be used, or gave no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}{}", help.as_ref().map(|h| format!(" ({h})")).unwrap_or_default())]
pub struct ExprError {
    /// What was wrong, with which value.
    pub message: String,
    /// Where, in bytes from the start of the expression's (or template string's) text.
    pub offset: usize,
    /// How much of the text is meant, in bytes; 0 when only the place is known.
    pub length: usize,
    /// What would be right.
    pub help: Option<String>,
}

impl ExprError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            offset: 0,
            length: 0,
            help: None,
        }
    }

    pub(crate) fn at(mut self, offset: usize, length: usize) -> Self {
        self.offset = offset;
        self.length = length;
        self
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(crate) fn maybe_help(mut self, help: Option<String>) -> Self {
        self.help = help.or(self.help);
        self
    }
}

/// What an expression or template reads: its edges in the graph, and what a worker must load.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct References {
    /// Inputs named directly: `inputs.prompt`.
    pub inputs: BTreeSet<String>,
    /// `inputs` as a whole, or by a computed key.
    pub all_inputs: bool,
    /// Steps: `steps.refine`.
    pub steps: BTreeSet<String>,
    /// Those of them whose results are read, and not only counted by `size(steps.refine)`.
    pub contents: BTreeSet<String>,
    /// `item`: the element of a mapped step.
    pub item: bool,
    /// `index`: its place in the list, from 0.
    pub index: bool,
    /// `matrix`: the combination of a matrix step.
    pub matrix: bool,
    /// `run`: facts about the run itself.
    pub run: bool,
    /// `failure`: in the workflow's `on_failure` only.
    pub failure: bool,
}

impl References {
    /// Adds what `other` reads.
    pub fn merge(&mut self, other: &Self) {
        self.inputs.extend(other.inputs.iter().cloned());
        self.steps.extend(other.steps.iter().cloned());
        self.contents.extend(other.contents.iter().cloned());
        self.all_inputs |= other.all_inputs;
        self.item |= other.item;
        self.index |= other.index;
        self.matrix |= other.matrix;
        self.run |= other.run;
        self.failure |= other.failure;
    }

    /// Whether nothing at all is read: the value is always the same.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn from_mentions(mentions: &[Mention]) -> Self {
        let mut references = Self::default();
        for mention in mentions {
            match mention.root {
                Root::Inputs => match &mention.name {
                    Some(name) => {
                        references.inputs.insert(name.clone());
                    }
                    None => references.all_inputs = true,
                },
                Root::Steps => references.steps.extend(mention.name.clone()),
                Root::Item => references.item = true,
                Root::Index => references.index = true,
                Root::Matrix => references.matrix = true,
                Root::Run => references.run = true,
                Root::Failure => references.failure = true,
            }
        }
        references
    }
}

/// The words an expression may begin a path with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Root {
    Inputs,
    Steps,
    Item,
    Index,
    Matrix,
    Run,
    Failure,
}

impl Root {
    pub(crate) const ALL: [(&'static str, Self); 7] = [
        ("inputs", Self::Inputs),
        ("steps", Self::Steps),
        ("item", Self::Item),
        ("index", Self::Index),
        ("matrix", Self::Matrix),
        ("run", Self::Run),
        ("failure", Self::Failure),
    ];

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Inputs => "inputs",
            Self::Steps => "steps",
            Self::Item => "item",
            Self::Index => "index",
            Self::Matrix => "matrix",
            Self::Run => "run",
            Self::Failure => "failure",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(word, _)| *word == name)
            .map(|(_, root)| *root)
    }
}

/// One CEL expression, parsed and checked. Cheap to clone, shared over threads.
#[derive(Clone)]
pub struct Expression {
    text: Arc<str>,
    kind: Arc<Kind>,
    references: Arc<References>,
    mentions: Arc<[Mention]>,
}

enum Kind {
    /// `steps.refine.prompt`: looked up in the JSON directly, which is quick and
    /// keeps the order of keys and the spelling of numbers.
    Path(path::Path),
    /// Everything else.
    Program(program::Node),
}

impl Expression {
    /// Parses a bare expression: `inputs.factor > 1`.
    ///
    /// # Errors
    /// [`ExprError`] with the place of the first mistake: a syntax error, an
    /// unknown name or function, or a bound exceeded.
    pub fn parse(text: &str) -> Result<Self, ExprError> {
        let tokens = guard::check(text)?;
        let (kind, mentions) = match path::parse(&tokens, text)? {
            Some((path, mention)) => (Kind::Path(path), vec![mention]),
            None => {
                let (program, mentions) = analyse::compile(text)?;
                (Kind::Program(program), mentions)
            }
        };
        let mut references = References::from_mentions(&mentions);
        match &kind {
            Kind::Path(_) => references.contents.clone_from(&references.steps),
            Kind::Program(program) => program.contents(&mut references.contents),
        }
        Ok(Self {
            text: text.trim().into(),
            kind: Arc::new(kind),
            references: Arc::new(references),
            mentions: mentions.into(),
        })
    }

    /// The expression as written, without surrounding white space.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What it reads.
    #[must_use]
    pub fn references(&self) -> &References {
        &self.references
    }

    /// Where it reads what, for diagnostics.
    pub(crate) fn mentions(&self) -> &[Mention] {
        &self.mentions
    }

    /// How much parsing it cost: only what CEL had to see counts.
    fn work(&self) -> usize {
        match *self.kind {
            Kind::Path(_) => 1,
            Kind::Program(_) => self.text.len() / 2 + 2,
        }
    }

    /// The value in this scope; what it takes is charged to `budget`.
    ///
    /// # Errors
    /// [`ExprError`] when a path leads nowhere, types do not fit, or the budget
    /// is spent.
    pub fn evaluate(&self, scope: &Scope, budget: &mut Budget) -> Result<Value, ExprError> {
        match &*self.kind {
            Kind::Path(path) => path.evaluate(scope, budget),
            Kind::Program(program) => eval::evaluate(program, scope, budget),
        }
        .map_err(|error| self.explain(error))
    }

    /// The value as a decision; anything but `true` and `false` is an error.
    ///
    /// # Errors
    /// As [`Expression::evaluate`], and when the value is no boolean.
    pub fn holds(&self, scope: &Scope, budget: &mut Budget) -> Result<bool, ExprError> {
        match self.evaluate(scope, budget)? {
            Value::Bool(holds) => Ok(holds),
            other => Err(self.explain(
                ExprError::new(format!(
                    "a condition must be true or false, got {}",
                    kind_of(&other)
                ))
                .help("compare it with something, as in `inputs.count > 0` or `steps.x != null`"),
            )),
        }
    }

    fn explain(&self, mut error: ExprError) -> ExprError {
        error.message = format!("`{}`: {}", self.text, error.message);
        error
    }
}

impl std::fmt::Debug for Expression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Expression").field(&self.text).finish()
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

/// Parses one of many expressions, which together may cost `work_left`, about one a token.
///
/// At zero, the rest of the file is not looked at.
pub(crate) fn parse_within(text: &str, work_left: &mut usize) -> Result<Expression, ExprError> {
    let parsed = Expression::parse(text);
    let cost = match &parsed {
        Ok(expression) => expression.work(),
        // The parser looks long for a way to go on.
        Err(_) => text.len().min(MAX_EXPRESSION_BYTES) / 2 + 100,
    };
    match work_left.checked_sub(cost) {
        Some(left) if left > 0 => {
            *work_left = left;
            parsed
        }
        _ => {
            *work_left = 0;
            Err(
                ExprError::new("the expressions up to here are all that one definition may have")
                    .help("compute more in tasks; plain paths such as `steps.x.y` cost almost nothing"),
            )
        }
    }
}

/// What a person calls a JSON value's type.
pub(crate) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(n) if n.is_f64() => "a number",
        Value::Number(_) => "an integer",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests;

//! The tree that is evaluated, made once from what the CEL parser gives.
//!
//! Names are resolved here: variables to places on a stack, paths to inputs and
//! steps. What a definition's check (`analyse`) lets through has a node; the
//! rest is an error, never a panic.

use std::collections::BTreeSet;

use cel::IdedExpr;
use cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue, SelectExpr, operators,
};

use super::budget::Spent;
use super::{ExprError, Root};

#[derive(Debug)]
pub(super) enum Node {
    Null,
    Bool(bool),
    Int(i64),
    UInt(u64),
    Double(f64),
    Text(Box<str>),
    Bytes(Box<[u8]>),
    /// `int`, for `type(x) == int`.
    Type(&'static str),
    /// A variable of a comprehension, by its place on the stack.
    Local(usize),
    /// `inputs.name`
    Input(Box<str>),
    /// `has(inputs.name)`
    HasInput(Box<str>),
    /// `steps.name`
    Step(Box<str>),
    /// `size(steps.name)`
    StepSize(Box<str>),
    Root(Root),
    /// `inputs[…]`, by a computed key.
    InputAt(Box<Node>),
    Select(Box<Node>, Box<str>),
    Has(Box<Node>, Box<str>),
    Index(Box<[Node; 2]>),
    Not(Box<Node>),
    Negate(Box<Node>),
    /// Whether a comprehension that only looks for a `false` goes on.
    NotStrictlyFalse(Box<Node>),
    If(Box<[Node; 3]>),
    And(Box<[Node; 2]>),
    Or(Box<[Node; 2]>),
    Binary(Binary, Box<[Node; 2]>),
    Call(Box<Call>),
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
    Fold(Box<Fold>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Binary {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
}

#[derive(Debug)]
pub(super) struct Call {
    pub(super) function: &'static str,
    /// Whether it stands after a dot; what stands before it is the first argument.
    pub(super) is_method: bool,
    pub(super) args: Vec<Node>,
}

/// A comprehension. Its variable and its result so far are on the stack, in this order.
#[derive(Debug)]
pub(super) struct Fold {
    pub(super) range: Node,
    pub(super) body: Body,
}

#[derive(Debug)]
pub(super) enum Body {
    /// `map` and `filter`: what is appended, and when.
    Append { guard: Option<Node>, item: Node },
    /// `all`, `exists`, `exists_one`.
    Reduce {
        begin: Node,
        goes_on: Node,
        step: Node,
        result: Node,
        /// What decides the result whatever errors stand beside it: `false` for `all`, `true` for `exists`.
        absorbing: Option<bool>,
    },
}

/// Why an evaluation gave no value. Small, and made of no values: they may be prompts, or huge.
#[derive(Debug)]
pub(super) enum Fault {
    Spent(Spent),
    /// There is no such field. Cut short.
    NoField(String),
    /// The name has no value here.
    NoValue(&'static str),
    /// An operator or function, and types it has no meaning for.
    NoMeaning(&'static str, Vec<&'static str>),
    Expected {
        want: &'static str,
        got: &'static str,
    },
    DividesByZero,
    TooLarge,
    NoElement(String),
    Function(&'static str, String),
    SameKey,
    NoKey(&'static str),
    NoIndex,
    NoJson(String),
}

impl From<Spent> for Fault {
    fn from(spent: Spent) -> Self {
        Self::Spent(spent)
    }
}

/// A name from outside, for a message.
pub(super) fn shortened(text: &str) -> String {
    match text.char_indices().nth(60) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

/// Names of types, for `type(x) == int`.
pub(super) const TYPES: [&str; 10] = [
    "bool",
    "bytes",
    "double",
    "int",
    "list",
    "map",
    "null_type",
    "string",
    "type",
    "uint",
];

impl Node {
    /// Collects the steps whose results are read.
    pub(super) fn contents(&self, steps: &mut BTreeSet<String>) {
        match self {
            Self::Step(name) => {
                steps.insert(name.to_string());
            }
            Self::Null
            | Self::Bool(_)
            | Self::Int(_)
            | Self::UInt(_)
            | Self::Double(_)
            | Self::Text(_)
            | Self::Bytes(_)
            | Self::Type(_)
            | Self::Local(_)
            | Self::Input(_)
            | Self::HasInput(_)
            | Self::StepSize(_)
            | Self::Root(_) => {}
            Self::InputAt(node)
            | Self::Select(node, _)
            | Self::Has(node, _)
            | Self::Not(node)
            | Self::Negate(node)
            | Self::NotStrictlyFalse(node) => node.contents(steps),
            Self::Index(pair) | Self::And(pair) | Self::Or(pair) | Self::Binary(_, pair) => {
                pair.iter().for_each(|node| node.contents(steps));
            }
            Self::If(parts) => parts.iter().for_each(|node| node.contents(steps)),
            Self::Call(call) => call.args.iter().for_each(|node| node.contents(steps)),
            Self::List(nodes) => nodes.iter().for_each(|node| node.contents(steps)),
            Self::Map(entries) => entries.iter().for_each(|(key, value)| {
                key.contents(steps);
                value.contents(steps);
            }),
            Self::Fold(fold) => {
                fold.range.contents(steps);
                match &fold.body {
                    Body::Append { guard, item } => {
                        guard.iter().for_each(|node| node.contents(steps));
                        item.contents(steps);
                    }
                    Body::Reduce {
                        begin,
                        goes_on,
                        step,
                        result,
                        absorbing: _,
                    } => [begin, goes_on, step, result]
                        .into_iter()
                        .for_each(|node| node.contents(steps)),
                }
            }
        }
    }
}

pub(super) fn compile(tree: &IdedExpr, functions: &[&'static str]) -> Result<Node, ExprError> {
    let mut compiler = Compiler {
        functions,
        bound: Vec::new(),
    };
    compiler.node(tree)
}

struct Compiler<'a> {
    functions: &'a [&'static str],
    /// Variables, as they will be on the stack.
    bound: Vec<&'a str>,
}

fn unknown(what: &str) -> ExprError {
    ExprError::new(format!("`{what}` has no meaning here"))
}

impl<'a> Compiler<'a> {
    fn boxed(&mut self, node: &'a IdedExpr) -> Result<Box<Node>, ExprError> {
        self.node(node).map(Box::new)
    }

    fn node(&mut self, node: &'a IdedExpr) -> Result<Node, ExprError> {
        match &node.expr {
            Expr::Literal(literal) => literal_node(literal),
            Expr::Ident(name) => self.ident(name),
            Expr::Select(select) => self.select(select),
            Expr::Call(call) => self.call(call),
            Expr::List(list) => Ok(Node::List(self.nodes(&list.elements)?)),
            Expr::Map(map) => {
                let mut entries = Vec::with_capacity(map.entries.len());
                for entry in &map.entries {
                    let EntryExpr::MapEntry(entry) = &entry.expr else {
                        return Err(unknown("{…}"));
                    };
                    entries.push((self.node(&entry.key)?, self.node(&entry.value)?));
                }
                Ok(Node::Map(entries))
            }
            Expr::Comprehension(fold) => self.fold(fold),
            Expr::Struct(_) => Err(unknown("{…}")),
            Expr::Unspecified => Err(ExprError::new("this is no CEL expression")),
        }
    }

    fn nodes(&mut self, nodes: &'a [IdedExpr]) -> Result<Vec<Node>, ExprError> {
        nodes.iter().map(|node| self.node(node)).collect()
    }

    fn ident(&mut self, name: &str) -> Result<Node, ExprError> {
        if let Some(place) = self.bound.iter().rposition(|bound| *bound == name) {
            return Ok(Node::Local(place));
        }
        if let Some(root) = Root::from_name(name) {
            return Ok(Node::Root(root));
        }
        match TYPES.iter().find(|known| **known == name) {
            Some(known) => Ok(Node::Type(known)),
            None => Err(unknown(name)),
        }
    }

    fn root(&self, node: &IdedExpr) -> Option<Root> {
        match &node.expr {
            Expr::Ident(name) if !self.bound.contains(&name.as_str()) => Root::from_name(name),
            _ => None,
        }
    }

    fn select(&mut self, select: &'a SelectExpr) -> Result<Node, ExprError> {
        let field: Box<str> = select.field.as_str().into();
        Ok(match (self.root(&select.operand), select.test) {
            (Some(Root::Inputs), false) => Node::Input(field),
            (Some(Root::Inputs), true) => Node::HasInput(field),
            (Some(Root::Steps), false) => Node::Step(field),
            (_, true) => Node::Has(self.boxed(&select.operand)?, field),
            (_, false) => Node::Select(self.boxed(&select.operand)?, field),
        })
    }

    fn pair(&mut self, [a, b]: [&'a IdedExpr; 2]) -> Result<Box<[Node; 2]>, ExprError> {
        Ok(Box::new([self.node(a)?, self.node(b)?]))
    }

    fn call(&mut self, call: &'a CallExpr) -> Result<Node, ExprError> {
        let name = call.func_name.as_str();
        match (name, call.args.as_slice()) {
            (operators::CONDITIONAL, [a, b, c]) => {
                let (a, b, c) = (self.node(a)?, self.node(b)?, self.node(c)?);
                Ok(Node::If(Box::new([a, b, c])))
            }
            (operators::LOGICAL_AND, [a, b]) => Ok(Node::And(self.pair([a, b])?)),
            (operators::LOGICAL_OR, [a, b]) => Ok(Node::Or(self.pair([a, b])?)),
            (operators::LOGICAL_NOT, [a]) => Ok(Node::Not(self.boxed(a)?)),
            (operators::NEGATE, [a]) => Ok(Node::Negate(self.boxed(a)?)),
            (operators::NOT_STRICTLY_FALSE, [a]) => Ok(Node::NotStrictlyFalse(self.boxed(a)?)),
            (operators::INDEX, [list, key]) => self.index(list, key),
            (_, [a, b]) if let Some(operator) = binary(name) => {
                Ok(Node::Binary(operator, self.pair([a, b])?))
            }
            _ => {
                let function = self.functions.iter().find(|known| **known == name);
                let function = function.ok_or_else(|| unknown(name))?;
                let mut args = Vec::with_capacity(call.args.len() + 1);
                if let Some(target) = &call.target {
                    args.push(self.node(target)?);
                }
                args.extend(self.nodes(&call.args)?);
                if *function == "size"
                    && let [Node::Step(name)] = args.as_slice()
                {
                    return Ok(Node::StepSize(name.clone()));
                }
                Ok(Node::Call(Box::new(Call {
                    function,
                    is_method: call.target.is_some(),
                    args,
                })))
            }
        }
    }

    fn index(&mut self, list: &'a IdedExpr, key: &'a IdedExpr) -> Result<Node, ExprError> {
        Ok(match (self.root(list), &key.expr) {
            (Some(Root::Inputs), Expr::Literal(LiteralValue::String(name))) => {
                Node::Input(name.inner().into())
            }
            (Some(Root::Steps), Expr::Literal(LiteralValue::String(name))) => {
                Node::Step(name.inner().into())
            }
            (Some(Root::Inputs), _) => Node::InputAt(self.boxed(key)?),
            _ => Node::Index(self.pair([list, key])?),
        })
    }

    fn fold(&mut self, fold: &'a ComprehensionExpr) -> Result<Node, ExprError> {
        if fold.iter_var2.is_some() {
            return Err(unknown("a second variable"));
        }
        let range = self.node(&fold.iter_range)?;
        let begin = self.node(&fold.accu_init)?;
        let outside = self.bound.len();
        self.bound.push(&fold.iter_var);
        self.bound.push(&fold.accu_var);
        let appended = match (&fold.accu_init.expr, &fold.loop_cond.expr) {
            (Expr::List(list), Expr::Literal(LiteralValue::Boolean(always)))
                if list.elements.is_empty() && *always.inner() =>
            {
                appended(fold)
            }
            _ => None,
        };
        let body = match appended {
            Some((guard, item)) => Body::Append {
                guard: guard.map(|guard| self.node(guard)).transpose()?,
                item: self.node(item)?,
            },
            None => Body::Reduce {
                begin,
                goes_on: self.node(&fold.loop_cond)?,
                step: self.node(&fold.loop_step)?,
                result: self.node(&fold.result)?,
                absorbing: absorbing(fold),
            },
        };
        self.bound.truncate(outside);
        Ok(Node::Fold(Box::new(Fold { range, body })))
    }
}

fn literal_node(literal: &LiteralValue) -> Result<Node, ExprError> {
    Ok(match literal {
        LiteralValue::Null => Node::Null,
        LiteralValue::Boolean(boolean) => Node::Bool(*boolean.inner()),
        LiteralValue::Int(int) => Node::Int(*int.inner()),
        LiteralValue::UInt(uint) => Node::UInt(*uint.inner()),
        LiteralValue::Double(double) if double.inner().is_finite() => Node::Double(*double.inner()),
        LiteralValue::Double(_) => {
            return Err(ExprError::new("a number is too large")
                .help("numbers reach from -1.797e308 to 1.797e308"));
        }
        LiteralValue::String(text) => Node::Text(text.inner().into()),
        LiteralValue::Bytes(bytes) => Node::Bytes(bytes.inner().into()),
    })
}

fn binary(name: &str) -> Option<Binary> {
    Some(match name {
        operators::ADD => Binary::Add,
        operators::SUBSTRACT => Binary::Subtract,
        operators::MULTIPLY => Binary::Multiply,
        operators::DIVIDE => Binary::Divide,
        operators::MODULO => Binary::Remainder,
        operators::EQUALS => Binary::Equal,
        operators::NOT_EQUALS => Binary::NotEqual,
        operators::LESS => Binary::Less,
        operators::LESS_EQUALS => Binary::LessOrEqual,
        operators::GREATER => Binary::Greater,
        operators::GREATER_EQUALS => Binary::GreaterOrEqual,
        operators::IN => Binary::In,
        _ => return None,
    })
}

fn is_variable(node: &IdedExpr, name: &str) -> bool {
    matches!(&node.expr, Expr::Ident(ident) if ident == name)
}

/// The guard and the item of `@result + [item]` and `guard ? @result + [item] : @result`.
fn appended(fold: &ComprehensionExpr) -> Option<(Option<&IdedExpr>, &IdedExpr)> {
    if !is_variable(&fold.result, &fold.accu_var) {
        return None;
    }
    let Expr::Call(call) = &fold.loop_step.expr else {
        return None;
    };
    match (call.func_name.as_str(), call.args.as_slice()) {
        (operators::CONDITIONAL, [guard, step, otherwise])
            if is_variable(otherwise, &fold.accu_var) =>
        {
            Some((Some(guard), appended_item(step, &fold.accu_var)?))
        }
        _ => Some((None, appended_item(&fold.loop_step, &fold.accu_var)?)),
    }
}

fn appended_item<'a>(step: &'a IdedExpr, accumulator: &str) -> Option<&'a IdedExpr> {
    let Expr::Call(call) = &step.expr else {
        return None;
    };
    match (call.func_name.as_str(), call.args.as_slice()) {
        (operators::ADD, [so_far, list]) if is_variable(so_far, accumulator) => match &list.expr {
            Expr::List(list) => match list.elements.as_slice() {
                [item] => Some(item),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    }
}

fn absorbing(fold: &ComprehensionExpr) -> Option<bool> {
    let Expr::Call(call) = &fold.loop_step.expr else {
        return None;
    };
    let first = call.args.first()?;
    match call.func_name.as_str() {
        operators::LOGICAL_AND if is_variable(first, &fold.accu_var) => Some(false),
        operators::LOGICAL_OR if is_variable(first, &fold.accu_var) => Some(true),
        _ => None,
    }
}

//! From text to a checked CEL tree: what it reads, and that it stays within what we allow.
//!
//! Unknown names and functions are found here, when a definition is checked,
//! and not in the middle of a run.

use cel::common::ast::operators;
use cel::common::ast::{EntryExpr, Expr, LiteralValue, SourceInfo};
use cel::{IdedExpr, ParseErrors};

use super::program::{self, Node, TYPES};
use super::{ExprError, Root, path};
use crate::workflow::suggest;

/// One place where an expression reads something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mention {
    pub(crate) root: Root,
    /// The input or step, where one is named.
    pub(crate) name: Option<String>,
    /// In bytes, within the expression's text.
    pub(crate) offset: usize,
    pub(crate) length: usize,
}

/// What may be called. `has`, `all`, `exists`, `exists_one`, `map` and `filter`
/// are macros, expanded before we look.
pub(super) const FUNCTIONS: [&str; 14] = [
    "bool",
    "bytes",
    "contains",
    "double",
    "dyn",
    "endsWith",
    "int",
    "join",
    "range",
    "size",
    "startsWith",
    "string",
    "type",
    "uint",
];
const MACROS: [&str; 6] = ["all", "exists", "exists_one", "filter", "has", "map"];
pub(super) fn compile(text: &str) -> Result<(Node, Vec<Mention>), ExprError> {
    let (tree, places) = super::cel::parse(text).map_err(|errors| syntax_error(text, &errors))?;
    let mut walk = Walk {
        text,
        places: &places,
        mentions: Vec::new(),
        bound: Vec::new(),
        comprehensions: 0,
    };
    walk.visit(&tree)?;
    let mentions = walk.mentions;
    Ok((program::compile(&tree, &FUNCTIONS)?, mentions))
}

/// The parser's first complaint, without its list of all tokens there are.
fn syntax_error(text: &str, errors: &ParseErrors) -> ExprError {
    let Some(error) = errors.errors.first() else {
        return ExprError::new("this is no CEL expression");
    };
    let offset = byte_offset(text, error.pos);
    let message = error
        .msg
        .trim_start_matches("ERROR: ")
        .trim_start_matches("Syntax error: ");
    let message = message
        .split(" expecting {")
        .next()
        .unwrap_or(message)
        .replace("'<EOF>'", "the end")
        .replace("<EOF>", "the end of the expression")
        .replace('\'', "`");
    let unfinished = offset >= text.trim_end().len()
        || message.starts_with("Incomplete")
        || message == "mismatched input `the end`";
    let message = if unfinished {
        "the expression is not finished".to_owned()
    } else {
        message
            .replace("mismatched input", "did not expect")
            .replace("extraneous input", "did not expect")
            .replace("no viable alternative at input", "did not expect")
    };
    let message = message.replace(
        " expecting the end of the expression",
        " after what stands before it",
    );
    let length = text[offset..].chars().next().map_or(0, char::len_utf8);
    ExprError::new(message)
        .at(offset, length)
        .help("expressions are written in CEL, as in `inputs.width > 512 && has(inputs.seed)`")
}

/// A byte offset from the parser's line and column, both from 1, in characters.
fn byte_offset(text: &str, (line, column): (isize, isize)) -> usize {
    let line = usize::try_from(line).unwrap_or(1).max(1);
    let column = usize::try_from(column).unwrap_or(1).max(1);
    let mut start = 0;
    for _ in 1..line {
        match text[start..].find('\n') {
            Some(end) => start += end + 1,
            None => break,
        }
    }
    text[start..]
        .char_indices()
        .nth(column - 1)
        .map_or(text.len(), |(at, _)| start + at)
}

struct Walk<'a> {
    text: &'a str,
    places: &'a SourceInfo,
    mentions: Vec<Mention>,
    /// Variables of the comprehension around.
    bound: Vec<&'a str>,
    /// How many comprehensions stand around.
    comprehensions: usize,
}

impl<'a> Walk<'a> {
    /// Where a node was written: its first byte.
    fn offset(&self, node: &IdedExpr) -> usize {
        let start = self
            .places
            .offset_for(node.id)
            .and_then(|(start, _)| usize::try_from(start).ok())
            .unwrap_or(0);
        // Bytes, unlike the columns of syntax errors.
        (start.min(self.text.len())..=self.text.len())
            .find(|&at| self.text.is_char_boundary(at))
            .unwrap_or(0)
    }

    fn mention(
        &mut self,
        root: Root,
        name: Option<&str>,
        node: &IdedExpr,
    ) -> Result<(), ExprError> {
        let offset = self.offset(node);
        if root == Root::Steps && name.is_none() {
            return Err(path::bare_steps(offset));
        }
        // `steps.refine`, when it is written without spaces, is underlined whole.
        let word = root.word();
        let length = match name {
            Some(name) if self.text[offset..].starts_with(&format!("{word}.{name}")) => {
                word.len() + 1 + name.len()
            }
            _ => word.len().min(self.text.len() - offset),
        };
        self.mentions.push(Mention {
            root,
            name: name.map(str::to_owned),
            offset,
            length,
        });
        Ok(())
    }

    /// The root an identifier names, unless a comprehension has bound the name.
    fn root_of(&self, node: &IdedExpr) -> Option<Root> {
        match &node.expr {
            Expr::Ident(name) if !self.bound.contains(&name.as_str()) => Root::from_name(name),
            _ => None,
        }
    }

    fn visit(&mut self, node: &'a IdedExpr) -> Result<(), ExprError> {
        match &node.expr {
            Expr::Ident(name) => self.ident(name, node),
            Expr::Select(select) => match self.root_of(&select.operand) {
                Some(root @ (Root::Inputs | Root::Steps | Root::Matrix | Root::Run))
                    if root != Root::Run || !select.test =>
                {
                    self.mention(root, Some(&select.field), &select.operand)
                }
                _ => self.visit(&select.operand),
            },
            Expr::Call(call) => {
                if call.func_name == operators::INDEX
                    && let [list, key] = call.args.as_slice()
                    && let Some(root @ (Root::Inputs | Root::Steps | Root::Matrix)) =
                        self.root_of(list)
                {
                    let Expr::Literal(LiteralValue::String(name)) = &key.expr else {
                        self.mention(root, None, list)?;
                        return self.visit(key);
                    };
                    return self.mention(root, Some(name.inner()), list);
                }
                self.function(&call.func_name, call.target.is_some(), node)?;
                if let Some(target) = &call.target {
                    self.visit(target)?;
                }
                call.args.iter().try_for_each(|arg| self.visit(arg))
            }
            Expr::Comprehension(comprehension) => {
                self.visit(&comprehension.iter_range)?;
                if self.comprehensions > 0 {
                    return Err(ExprError::new(
                        "a `map`, `filter`, `all` or `exists` inside another one",
                    )
                    .at(self.offset(node), 1)
                    .help("its cost would multiply; do the inner part in a step of its own"));
                }
                if let Expr::Map(_) = comprehension.iter_range.expr {
                    return Err(ExprError::new(
                        "an object written out here has no order to go through",
                    )
                    .at(self.offset(&comprehension.iter_range), 1)
                    .help("write a list of its keys"));
                }
                let variable = comprehension.iter_var.as_str();
                if Root::from_name(variable).is_some() {
                    return Err(ExprError::new(format!(
                        "the variable `{variable}` hides `{variable}` itself"
                    ))
                    .at(self.offset(node), 1)
                    .help("call it `x`"));
                }
                let bound = self.bound.len();
                self.bound.push(variable);
                self.bound.extend(comprehension.iter_var2.as_deref());
                self.bound.push(&comprehension.accu_var);
                self.comprehensions += 1;
                for part in [
                    &comprehension.accu_init,
                    &comprehension.loop_cond,
                    &comprehension.loop_step,
                    &comprehension.result,
                ] {
                    self.visit(part)?;
                }
                self.comprehensions -= 1;
                self.bound.truncate(bound);
                Ok(())
            }
            Expr::List(list) => list.elements.iter().try_for_each(|e| self.visit(e)),
            Expr::Map(map) => map.entries.iter().try_for_each(|entry| match &entry.expr {
                EntryExpr::MapEntry(entry) => {
                    self.visit(&entry.key)?;
                    self.visit(&entry.value)
                }
                EntryExpr::StructField(field) => self.visit(&field.value),
            }),
            Expr::Struct(message) => Err(ExprError::new(format!(
                "`{} {{…}}` makes a message, which do not exist here",
                message.type_name
            ))
            .at(self.offset(node), 1)
            .help("write a map: `{\"width\": 512}`")),
            Expr::Literal(_) | Expr::Unspecified => Ok(()),
        }
    }

    fn ident(&mut self, name: &str, node: &IdedExpr) -> Result<(), ExprError> {
        if self.bound.contains(&name) {
            return Ok(());
        }
        if let Some(root) = Root::from_name(name) {
            return self.mention(root, None, node);
        }
        if TYPES.contains(&name) {
            return Ok(());
        }
        let known = Root::ALL.iter().map(|(word, _)| *word);
        Err(
            ExprError::new(format!("`{name}` is not known here"))
                .at(self.offset(node), name.len())
                .help(match suggest::nearest(name, known) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!(
                        "inputs are `inputs.{name}`, results are `steps.{name}`, text is quoted: \"{name}\""
                    ),
                }),
        )
    }

    fn function(&self, name: &str, method: bool, node: &IdedExpr) -> Result<(), ExprError> {
        // Operators arrive as calls of `_+_`, `!_`, `@in`, …
        let operator = !name.starts_with(|c: char| c.is_ascii_alphabetic());
        if operator {
            return Ok(());
        }
        let written = self.text[..self.text.len()]
            .find(name)
            .unwrap_or_else(|| self.offset(node));
        if MACROS.contains(&name) {
            let right = if name == "has" {
                "`has(inputs.seed)`".to_owned()
            } else {
                format!("`list.{name}(x, …)`")
            };
            return Err(ExprError::new(format!("`{name}` is called the wrong way"))
                .at(written, name.len())
                .help(format!("write it as {right}")));
        }
        if !FUNCTIONS.contains(&name) {
            return Err(ExprError::new(format!("there is no function `{name}`"))
                .at(written, name.len())
                .maybe_help(suggest::help(name, FUNCTIONS.into_iter().chain(MACROS))));
        }
        if name == "range" && self.comprehensions > 0 {
            return Err(
                ExprError::new("`range` inside `map`, `filter`, `all` or `exists`")
                    .at(written, name.len())
                    .help("its cost would multiply; use `range(n).map(x, …)`"),
            );
        }
        let always_method = matches!(name, "contains" | "startsWith" | "endsWith" | "join");
        if always_method && !method {
            return Err(ExprError::new(format!("`{name}` is called the wrong way"))
                .at(written, name.len())
                .help(format!("write it as `value.{name}(…)`")));
        }
        Ok(())
    }
}

//! Expressions in their places: which names they may use there, and where in
//! the file a mistake inside a text stands.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{Reader, place};
use crate::id::StepName;
use crate::workflow::diagnostic::Span;
use crate::workflow::expr::{self, ExprError, Expression, Mention, Root, Scope};
use crate::workflow::source::{Data, Entry, Node, pointer};
use crate::workflow::suggest;

/// Which facts `run` has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum RunFacts {
    /// In steps and outputs.
    #[default]
    Run,
    /// In a schedule's inputs, of which a run is made.
    Schedule,
    /// Before there is a run.
    None,
}

impl RunFacts {
    fn names(self) -> &'static [&'static str] {
        match self {
            Self::Run => &["id", "workflow", "version", "attempt"],
            Self::Schedule => &["scheduled_at", "schedule", "workflow"],
            Self::None => &[],
        }
    }
}

/// What surrounds an expression, and so what it may read.
#[derive(Debug, Clone, Default)]
pub(super) struct Around {
    /// The step it belongs to.
    pub(super) step: Option<String>,
    /// Inside a mapped step, where `item` and `index` have a value.
    pub(super) item: bool,
    /// The names of a matrix.
    pub(super) matrix: Option<BTreeSet<String>>,
    /// In the workflow's `on_failure`.
    pub(super) failure: bool,
    /// What is known of the run.
    pub(super) run: RunFacts,
    /// Why results of steps cannot be read here.
    pub(super) no_steps: Option<&'static str>,
}

/// Where the lines of a text stand in the file: decoded, a text has lost its
/// quotes, escapes and indentation.
struct Lines {
    /// The text's own span, for what cannot be found in it.
    whole: Span,
    /// Start of a line in the text, and in the file; ascending in both.
    starts: Vec<(usize, usize)>,
}

impl Lines {
    /// Lines that may be missing (folded, or with escapes) before the search is given up.
    const MAX_MISSING: usize = 8;

    fn new(node: &Node, text: &str, file: &str) -> Self {
        let whole = node.span;
        let raw = whole.of(file);
        let mut starts = Vec::new();
        if let Some(at) = raw.find(text) {
            starts.push((0, whole.start + at));
            return Self { whole, starts };
        }
        let mut from = 0;
        let mut missing = 0;
        let mut start = 0;
        for line in text.split_inclusive('\n') {
            let trimmed = line.trim();
            if !trimmed.is_empty() && missing < Self::MAX_MISSING {
                let indent = line.len() - line.trim_start().len();
                match raw[from..].find(trimmed) {
                    Some(at) => {
                        starts.push((start + indent, whole.start + from + at));
                        from += at + trimmed.len();
                    }
                    None => missing += 1,
                }
            }
            start += line.len();
        }
        if starts.is_empty() {
            // One long line with an escape in it: the expressions themselves are verbatim.
            let mut from = 0;
            for (at, _) in text.match_indices("${{") {
                let Some(found) = raw[from..].find("${{") else {
                    break;
                };
                starts.push((at, whole.start + from + found));
                from += found + 3;
            }
        }
        Self { whole, starts }
    }

    fn span(&self, offset: usize, length: usize) -> Span {
        let after = self.starts.partition_point(|(start, _)| *start <= offset);
        match after.checked_sub(1).and_then(|i| self.starts.get(i)) {
            Some((start, place)) => {
                let place = place + (offset - start);
                let end = self.whole.start + self.whole.len;
                if place <= end {
                    Span::new(place, length.min(end - place))
                } else {
                    self.whole
                }
            }
            None => self.whole,
        }
    }
}

impl Reader<'_> {
    /// Checks all expressions of a value; the value itself is the template.
    pub(super) fn template(&mut self, node: &Node, at: &str, around: &Around) -> Value {
        self.walk(node, at, around);
        node.to_json()
    }

    fn walk(&mut self, node: &Node, at: &str, around: &Around) {
        match &node.data {
            Data::Text(text) => self.template_text(node, text, at, around),
            Data::List(list) => {
                for (i, element) in list.iter().enumerate() {
                    self.walk(element, &pointer(at, &i.to_string()), around);
                }
            }
            Data::Map(entries) => {
                for entry in entries {
                    let at = pointer(at, &entry.key);
                    if entry.key.contains("${{") {
                        self.report(
                            "bad-expression",
                            entry.key_span,
                            &at,
                            "a key cannot be an expression",
                            "let an expression give the whole object".to_owned(),
                        );
                    }
                    self.walk(&entry.value, &at, around);
                }
            }
            Data::Null | Data::Bool(_) | Data::Number(_) => {}
        }
    }

    fn template_text(&mut self, node: &Node, text: &str, at: &str, around: &Around) {
        if self.is_full() || self.work_left == 0 || !text.contains(['$', '{']) {
            return;
        }
        let (pieces, errors) = expr::split(text, &mut self.work_left);
        let lines = Lines::new(node, text, &self.text.text);
        for (expression, offset) in pieces.iter().filter_map(expr::Piece::expression) {
            self.mentions(expression, offset, &lines, at, around);
        }
        for error in errors {
            if self.is_full() {
                return;
            }
            self.bad_expression(&error, &lines, at);
        }
    }

    fn bad_expression(&mut self, error: &ExprError, lines: &Lines, at: &str) {
        let span = lines.span(error.offset, error.length);
        let code = if self.work_left == 0 {
            "too-large"
        } else {
            "bad-expression"
        };
        self.report(code, span, at, error.message.clone(), error.help.clone());
    }

    /// Whether everything an expression reads exists, and may be read here.
    fn mentions(
        &mut self,
        expression: &Expression,
        offset: usize,
        lines: &Lines,
        at: &str,
        around: &Around,
    ) {
        for mention in expression.mentions() {
            if self.is_full() {
                return;
            }
            let span = lines.span(offset + mention.offset, mention.length);
            self.mention(mention, span, at, around);
        }
    }

    fn mention(&mut self, mention: &Mention, span: Span, at: &str, around: &Around) {
        let outside = "only inside a mapped step: add `foreach` or `matrix`";
        match (mention.root, &mention.name) {
            (Root::Inputs, Some(name)) if !self.inputs.contains(name) => {
                let help = suggest::help(name, self.inputs.iter().map(String::as_str))
                    .unwrap_or_else(|| format!("declare it under `inputs`: `{name}: string`"));
                let message = format!("there is no input `{name}`");
                self.report("unknown-input", span, at, message, help);
            }
            (Root::Steps, Some(name)) => match around.no_steps {
                Some(why) => self.report(
                    "out-of-scope",
                    span,
                    at,
                    "`steps` has no meaning here",
                    why.to_owned(),
                ),
                None => self.step_reference(name, span, at, around.step.as_deref()),
            },
            (Root::Item, _) if !around.item => self.report(
                "out-of-scope",
                span,
                at,
                "`item` has no meaning here",
                outside.to_owned(),
            ),
            (Root::Index, _) if !around.item => self.report(
                "out-of-scope",
                span,
                at,
                "`index` has no meaning here",
                outside.to_owned(),
            ),
            (Root::Matrix, name) => match (&around.matrix, name) {
                (None, _) => self.report(
                    "out-of-scope",
                    span,
                    at,
                    "`matrix` has no meaning here",
                    "only inside a step with `matrix`; with `foreach`, the element is `item`"
                        .to_owned(),
                ),
                (Some(names), Some(name)) if !names.contains(name) => {
                    let message = format!("the matrix has no `{name}`");
                    let help = suggest::help(name, names.iter().map(String::as_str));
                    self.report("unknown-matrix", span, at, message, help);
                }
                _ => {}
            },
            (Root::Run, _) if around.run == RunFacts::None => self.report(
                "out-of-scope",
                span,
                at,
                "`run` has no meaning here",
                "there is no run yet: use `inputs`".to_owned(),
            ),
            (Root::Run, Some(name)) if !around.run.names().contains(&name.as_str()) => {
                let help = if RunFacts::Schedule.names().contains(&name.as_str()) {
                    format!(
                        "only a schedule's `inputs` can read it: `day: ${{{{ run.{name} }}}}` there, `${{{{ inputs.day }}}}` here"
                    )
                } else {
                    let known = around.run.names().iter().copied();
                    suggest::help(name, known).unwrap_or_default()
                };
                let message = format!("`run` has no `{name}` here");
                self.report("out-of-scope", span, at, message, help);
            }
            (Root::Failure, _) if !around.failure => self.report(
                "out-of-scope",
                span,
                at,
                "`failure` has no meaning here",
                "only in the workflow's own `on_failure`".to_owned(),
            ),
            _ => {}
        }
    }

    /// A `when`: an expression, bare or in `${{ }}`, that must be true or false.
    pub(super) fn condition(
        &mut self,
        entry: &Entry,
        at: &str,
        step: &Entry,
        around: &Around,
    ) -> Option<String> {
        let text = match &entry.value.data {
            Data::Bool(constant) => constant.to_string(),
            _ => self.text(entry, at)?.to_owned(),
        };
        let lines = Lines::new(&entry.value, &text, &self.text.text);
        let (expression, offset) = self.bare(&text, &lines, at)?;
        self.mentions(&expression, offset, &lines, at, around);
        if expression.references().is_empty() {
            match expression.holds(&Scope::new(), &mut self.budget) {
                Ok(true) => {}
                Ok(false) => self.report(
                    "unreachable-step",
                    place(entry),
                    at,
                    format!("step `{}` never runs: its `when` is always false", step.key),
                    "remove the step, or let the condition depend on an input".to_owned(),
                ),
                Err(error) => {
                    self.report("wrong-type", place(entry), at, error.message, error.help);
                }
            }
        }
        Some(expression.text().to_owned())
    }

    /// An expression that needs no `${{ }}` around it, and its offset in the text.
    fn bare(&mut self, text: &str, lines: &Lines, at: &str) -> Option<(Expression, usize)> {
        if self.is_full() || self.work_left == 0 {
            return None;
        }
        let parsed = if text.contains("${{") {
            expr::pieces(text.trim(), &mut self.work_left).and_then(|pieces| {
                match pieces.as_slice() {
                    [expr::Piece::Expression { expression, offset }] => {
                        let skipped = text.len() - text.trim_start().len();
                        Ok((expression.clone(), offset + skipped))
                    }
                    _ => Err(
                        ExprError::new("one expression is expected, without text around it")
                            .help("here, `${{ }}` can be left out"),
                    ),
                }
            })
        } else {
            expr::parse_within(text, &mut self.work_left).map(|expression| (expression, 0))
        };
        match parsed {
            Ok(parsed) => Some(parsed),
            Err(error) => {
                self.bad_expression(&error, lines, at);
                None
            }
        }
    }

    pub(super) fn foreach(&mut self, node: &Node, at: &str, around: &Around) -> Option<Value> {
        let entry = node.get("foreach")?;
        self.items(entry, &pointer(at, "foreach"), around)
    }

    pub(super) fn matrix(
        &mut self,
        node: &Node,
        at: &str,
        around: &Around,
    ) -> Option<Map<String, Value>> {
        let entry = node.get("matrix")?;
        let at = pointer(at, "matrix");
        let entries = self.object(&entry.value, place(entry), &at, "`matrix`", None)?;
        if entries.is_empty() {
            self.report(
                "empty",
                entry.key_span,
                &at,
                "the matrix is empty",
                "name at least one list, as in `seed: [1, 2, 3]`".to_owned(),
            );
        }
        let mut lists = Map::new();
        for entry in entries {
            let at = pointer(&at, &entry.key);
            if let Err(error) = StepName::new(&entry.key) {
                self.report(
                    "bad-name",
                    entry.key_span,
                    &at,
                    format!("`{}` cannot be a name in a matrix", entry.key),
                    format!(
                        "expected {}",
                        error.rule.split(" (").next().unwrap_or_default()
                    ),
                );
            }
            let list = self.items(entry, &at, around).unwrap_or(Value::Null);
            lists.insert(entry.key.clone(), list);
        }
        Some(lists)
    }

    /// A list as written, or an expression that gives one.
    fn items(&mut self, entry: &Entry, at: &str, around: &Around) -> Option<Value> {
        match &entry.value.data {
            Data::List(list) => {
                if list.is_empty() {
                    self.report(
                        "unreachable-step",
                        entry.key_span,
                        at,
                        "the list is empty, so the step never runs",
                        "remove the step, or take the list from an input".to_owned(),
                    );
                }
                Some(self.template(&entry.value, at, around))
            }
            Data::Text(text) => {
                let lines = Lines::new(&entry.value, text, &self.text.text);
                let (expression, offset) = self.bare(text, &lines, at)?;
                self.mentions(&expression, offset, &lines, at, around);
                Some(Value::String(format!("${{{{ {} }}}}", expression.text())))
            }
            _ => {
                let help = "write a list, or an expression that gives one, as in `inputs.prompts`";
                self.wrong_type(place(entry), at, "a list", &entry.value, help);
                None
            }
        }
    }
}

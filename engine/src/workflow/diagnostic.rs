//! Mistakes in a definition, told so that they can be mended: the place, the
//! text under a caret, what is wrong, what would be right.
//!
//! Knows nothing of workflows; the reader and the checks fill these in.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

mod render;

/// The most diagnostics told at once; the rest is counted.
pub const MAX_DIAGNOSTICS: usize = 100;

/// A stretch of a file, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, PartialOrd, Ord)]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) len: usize,
}

impl Span {
    pub(crate) fn new(start: usize, len: usize) -> Self {
        Self { start, len }
    }

    pub(crate) fn of(self, text: &str) -> &str {
        text.get(self.start..self.start.saturating_add(self.len))
            .unwrap_or("")
    }
}

/// One mistake.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Diagnostic {
    /// What kind of mistake, for programs: `unknown-key`, `cycle`, … Stable.
    pub code: &'static str,
    /// What is wrong, with which value.
    pub message: String,
    /// The file, as it was given.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// Start and length in bytes.
    pub span: (usize, usize),
    /// What would be right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// JSON Pointer into the definition: `/steps/refine/with`.
    pub pointer: String,
    #[serde(skip)]
    source: Arc<Text>,
}

/// A file's name and text, shared by its diagnostics.
#[derive(Debug)]
pub(crate) struct Text {
    pub(crate) file: String,
    pub(crate) text: String,
}

impl Diagnostic {
    /// Line and column are found here, so a span may lie anywhere.
    pub(crate) fn new(
        source: &Arc<Text>,
        code: &'static str,
        span: Span,
        pointer: &str,
        message: impl Into<String>,
    ) -> Self {
        let text = &source.text;
        let start = floor(text, span.start);
        let end = floor(text, start.saturating_add(span.len)).max(start);
        let before = &text[..start];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Self {
            code,
            message: message.into(),
            file: source.file.clone(),
            line: before.bytes().filter(|&b| b == b'\n').count() + 1,
            column: text[line_start..start].chars().count() + 1,
            span: (start, end - start),
            help: None,
            pointer: pointer.to_owned(),
            source: Arc::clone(source),
        }
    }

    pub(crate) fn help(mut self, help: impl Into<Option<String>>) -> Self {
        self.help = help.into().or(self.help);
        self
    }

    /// The mistake in a few lines of text, in colour or not.
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        render::diagnostic(self, color)
    }
}

/// The nearest character boundary at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}:{}: {}",
            self.file, self.line, self.column, self.message
        )?;
        match &self.help {
            Some(help) => write!(f, " ({help})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Diagnostic {}

impl miette::Diagnostic for Diagnostic {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.code))
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help
            .as_ref()
            .map(|h| Box::new(h) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn miette::SourceCode> {
        Some(&self.source.text)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = miette::LabeledSpan> + '_>> {
        let (start, len) = self.span;
        Some(Box::new(std::iter::once(miette::LabeledSpan::new(
            None, start, len,
        ))))
    }
}

/// All that is wrong with a definition, in the order of the file; never empty.
#[derive(Debug, Clone)]
pub struct Diagnostics(Vec<Diagnostic>);

impl Diagnostics {
    /// In file order, without repetition.
    pub(crate) fn new(mut found: Vec<Diagnostic>) -> Self {
        found.sort_by(|a, b| (a.span.0, a.code, &a.message).cmp(&(b.span.0, b.code, &b.message)));
        found.dedup_by(|a, b| a.span == b.span && a.code == b.code && a.message == b.message);
        Self(found)
    }

    /// The mistakes.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.0.iter()
    }

    /// How many mistakes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Never true: without a mistake there are no diagnostics.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All mistakes as text, a blank line between them; at most [`MAX_DIAGNOSTICS`] in full.
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        render::all(&self.0, color)
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl IntoIterator for Diagnostics {
    type Item = Diagnostic;
    type IntoIter = std::vec::IntoIter<Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl Serialize for Diagnostics {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(to)
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [one] => one.fmt(f),
            [first, rest @ ..] => write!(f, "{first}; and {} more", rest.len()),
            [] => f.write_str("no mistake"),
        }
    }
}

impl std::error::Error for Diagnostics {}

impl miette::Diagnostic for Diagnostics {
    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn miette::Diagnostic> + 'a>> {
        Some(Box::new(
            self.0.iter().map(|d| d as &dyn miette::Diagnostic),
        ))
    }
}

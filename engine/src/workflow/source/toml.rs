//! TOML into [`Node`]s. The one file that names the `toml` crate.

use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::{Data, Entry, MAX_DEPTH, MAX_NODES, Node};
use crate::workflow::diagnostic::{Diagnostic, Span, Text};

/// Syntax errors told at once; after that, the parser guesses.
const MAX_SYNTAX_ERRORS: usize = 10;
/// Beyond this, only the first is looked for: in a file of errors, each costs a microsecond.
const MAX_RECOVERABLE_BYTES: usize = 64 * 1024;

pub(super) fn read(source: &Arc<Text>) -> (Option<Node>, Vec<Diagnostic>) {
    let parsed = if source.text.len() <= MAX_RECOVERABLE_BYTES {
        let (table, errors) = DeTable::parse_recoverable(&source.text);
        if errors.is_empty() {
            Ok(table)
        } else {
            Err(errors)
        }
    } else {
        DeTable::parse(&source.text).map_err(|first| vec![first])
    };
    let table = match parsed {
        Ok(table) => table,
        Err(errors) => {
            let told = errors.iter().take(MAX_SYNTAX_ERRORS);
            return (None, told.map(|error| explain(source, error)).collect());
        }
    };
    let mut reader = Reader {
        source,
        nodes: 0,
        found: Vec::new(),
    };
    let node = reader.table(table.get_ref(), Span::default(), 0);
    let whole = reader.found.is_empty();
    (whole.then_some(node), reader.found)
}

fn explain(source: &Arc<Text>, error: &toml::de::Error) -> Diagnostic {
    let span = error.span().unwrap_or(0..0);
    let span = Span::new(span.start, span.end - span.start);
    if error.message().contains("duplicate key") {
        let message = format!("the key `{}` is given twice", span.of(&source.text));
        Diagnostic::new(source, "duplicate-key", span, "", message)
            .help("keep one of them".to_owned())
    } else {
        let message = format!("this is no TOML: {}", error.message());
        Diagnostic::new(source, "syntax", span, "", message)
            .help("see https://toml.io for the rules of TOML".to_owned())
    }
}

struct Reader<'a> {
    source: &'a Arc<Text>,
    nodes: usize,
    found: Vec<Diagnostic>,
}

impl Reader<'_> {
    fn refuse(&mut self, code: &'static str, span: Span, message: String, help: &str) -> Data {
        // One is enough: what follows would be the same again.
        if self.found.is_empty() || matches!(code, "wrong-type" | "number-out-of-range") {
            let problem = Diagnostic::new(self.source, code, span, "", message);
            self.found.push(problem.help(help.to_owned()));
        }
        Data::Null
    }

    fn table(&mut self, table: &DeTable<'_>, span: Span, depth: usize) -> Node {
        let mut entries: Vec<Entry> = Vec::with_capacity(table.len());
        for (key, value) in table {
            let key_span = Span::new(key.span().start, key.span().len());
            let value_span = Span::new(value.span().start, value.span().len());
            entries.push(Entry {
                key: key.get_ref().to_string(),
                key_span,
                value: self.value(value.get_ref(), value_span, depth + 1),
            });
        }
        // The parser sorts by name; people expect their own order.
        entries.sort_by_key(|entry| entry.key_span.start);
        Node {
            data: Data::Map(entries),
            span,
        }
    }

    fn value(&mut self, value: &DeValue<'_>, span: Span, depth: usize) -> Node {
        self.nodes += 1;
        let data = if depth > MAX_DEPTH {
            let message = format!("values nest deeper than {MAX_DEPTH}");
            self.refuse("too-deep", span, message, "flatten the structure")
        } else if self.nodes > MAX_NODES {
            let message = format!("the file has more than {MAX_NODES} values");
            self.refuse("too-large", span, message, "pass large values as inputs")
        } else {
            match value {
                DeValue::String(text) => Data::Text(text.to_string()),
                DeValue::Boolean(boolean) => Data::Bool(*boolean),
                DeValue::Integer(integer) => {
                    match i64::from_str_radix(integer.as_str(), integer.radix()) {
                        Ok(int) => Data::Number(int.into()),
                        Err(_) => self.refuse(
                            "number-out-of-range",
                            span,
                            format!("the integer {integer} is too large"),
                            "integers have 64 bits; write larger ones as quoted text",
                        ),
                    }
                }
                DeValue::Float(float) => {
                    let number = float.as_str().parse().ok();
                    match number.and_then(serde_json::Number::from_f64) {
                        Some(number) => Data::Number(number),
                        None => self.refuse(
                            "number-out-of-range",
                            span,
                            format!("`{}` is no finite number", float.as_str()),
                            "numbers reach from -1.797e308 to 1.797e308; quote it, if text is meant",
                        ),
                    }
                }
                DeValue::Datetime(_) => self.refuse(
                    "wrong-type",
                    span,
                    "dates have no type of their own here".to_owned(),
                    "write it as text, in quotes",
                ),
                DeValue::Array(list) => Data::List(
                    list.iter()
                        .map(|element| {
                            let span = Span::new(element.span().start, element.span().len());
                            self.value(element.get_ref(), span, depth + 1)
                        })
                        .collect(),
                ),
                DeValue::Table(table) => return self.table(table, span, depth),
            }
        };
        Node { data, span }
    }
}

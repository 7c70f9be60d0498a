//! YAML into [`Node`]s. The one file that names the `serde-saphyr` crate.
//!
//! Strict booleans (`yes` and `no` are text) and small budgets: a definition
//! needs few aliases and no deep nesting, an alias bomb needs both.

use std::fmt;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, Error, Location, NonFiniteFloatPolicy, Spanned};

use super::{Data, Entry, MAX_DEPTH, MAX_NODES, Node};
use crate::workflow::diagnostic::{Diagnostic, MAX_DIAGNOSTICS, Span, Text};

pub(super) fn read(source: &Arc<Text>) -> (Option<Node>, Vec<Diagnostic>) {
    let mut found = Vec::new();
    let parsed = match parse(&source.text, DuplicateKeyPolicy::Error) {
        Err(error) if matches!(error.without_snippet(), Error::DuplicateMappingKey { .. }) => {
            // Told, and read on with the first of the two, to find the other mistakes.
            found.push(explain(source, &error));
            parse(&source.text, DuplicateKeyPolicy::FirstWins)
        }
        other => other,
    };
    match parsed {
        Ok(node) => {
            numbers(&node, source, &mut found);
            (Some(node), found)
        }
        Err(error) => {
            found.push(explain(source, &error));
            (None, found)
        }
    }
}

fn parse(text: &str, duplicate_keys: DuplicateKeyPolicy) -> Result<Node, Error> {
    let options = serde_saphyr::options! {
        strict_booleans: true,
        with_snippet: false,
        duplicate_keys: duplicate_keys,
        // Each is told in its place, by `numbers`.
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            flow_nesting_limit: MAX_DEPTH,
            max_nodes: MAX_NODES,
            max_events: 2 * MAX_NODES,
            max_aliases: 100,
            max_anchors: 100,
            max_documents: 2,
            max_merge_keys: 100,
            max_total_scalar_bytes: 4 * super::MAX_FILE_BYTES,
            max_recorded_anchor_events: MAX_NODES,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: MAX_NODES,
            max_replay_stack_depth: 8,
        },
    };
    serde_saphyr::from_str_with_options::<Spanned<Read>>(text, options).map(node)
}

/// Numbers that would be read as something else than what is written.
fn numbers(node: &Node, source: &Arc<Text>, found: &mut Vec<Diagnostic>) {
    let mut report = |code: &'static str, message: String, help: String| {
        if found.len() < MAX_DIAGNOSTICS {
            let new = Diagnostic::new(source, code, node.span, "", message);
            found.push(new.help(help));
        }
    };
    let raw = node.span.of(&source.text);
    let digits = raw.trim_start_matches(['-', '+']);
    match &node.data {
        Data::Number(number) => {
            // `010` is eight to some parsers, ten to this one, and a name to whoever wrote it.
            if let [b'0', second, ..] = digits.as_bytes()
                && second.is_ascii_digit()
            {
                let message = format!("`{raw}` would be read as the number {number}");
                let help = format!("write `\"{raw}\"` for text, or the number without its zeros");
                report("ambiguous-number", message, help);
            } else if number.is_f64() && !is_finite(digits) {
                report(
                    "number-out-of-range",
                    format!("`{}` is no finite number", shortened(raw)),
                    "numbers reach from -1.797e308 to 1.797e308; quote it, if text is meant"
                        .to_owned(),
                );
            } else if number.is_f64() && digits.bytes().all(|b| b.is_ascii_digit()) {
                report(
                    "number-out-of-range",
                    format!("the integer {} is too large", shortened(raw)),
                    "integers have 64 bits; write larger ones as quoted text".to_owned(),
                );
            }
        }
        Data::List(list) => list.iter().for_each(|n| numbers(n, source, found)),
        Data::Map(entries) => {
            let values = entries.iter().map(|entry| &entry.value);
            values.for_each(|n| numbers(n, source, found));
        }
        Data::Null | Data::Bool(_) | Data::Text(_) => {}
    }
}

/// Whether a number, as it is written, is one that JSON has: `.inf`, `.nan` and `1e999` are not.
fn is_finite(raw: &str) -> bool {
    let read = raw.trim_start_matches('.').parse::<f64>();
    read.is_ok_and(f64::is_finite)
}

fn shortened(raw: &str) -> String {
    match raw.char_indices().nth(40) {
        None => raw.to_owned(),
        Some((end, _)) => format!("{}…", &raw[..end]),
    }
}

fn node(read: Spanned<Read>) -> Node {
    Node {
        data: read.value.0,
        // Where an alias points: the caret belongs under the text itself.
        span: span(&read.defined),
    }
}

fn span(location: &Location) -> Span {
    let span = location.span();
    let number = |n: Option<_>| n.and_then(|n: u64| usize::try_from(n).ok()).unwrap_or(0);
    Span::new(number(span.byte_offset()), number(span.byte_len()))
}

struct Read(Data);

impl<'de> Deserialize<'de> for Read {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Data;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_unit<E>(self) -> Result<Data, E> {
                Ok(Data::Null)
            }

            fn visit_none<E>(self) -> Result<Data, E> {
                Ok(Data::Null)
            }

            fn visit_bool<E>(self, boolean: bool) -> Result<Data, E> {
                Ok(Data::Bool(boolean))
            }

            fn visit_i64<E>(self, int: i64) -> Result<Data, E> {
                Ok(Data::Number(int.into()))
            }

            fn visit_u64<E>(self, int: u64) -> Result<Data, E> {
                Ok(Data::Number(int.into()))
            }

            fn visit_f64<E>(self, float: f64) -> Result<Data, E> {
                // What is not finite is told by `numbers`, which knows its place. Until then it counts as
                // a number, so that nothing else is told of it.
                let number = serde_json::Number::from_f64(float)
                    .or_else(|| serde_json::Number::from_f64(f64::MAX));
                Ok(number.map_or(Data::Null, Data::Number))
            }

            fn visit_str<E>(self, text: &str) -> Result<Data, E> {
                Ok(Data::Text(text.to_owned()))
            }

            fn visit_string<E>(self, text: String) -> Result<Data, E> {
                Ok(Data::Text(text))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Data, A::Error> {
                let mut list = Vec::new();
                while let Some(element) = from.next_element::<Spanned<Read>>()? {
                    list.push(node(element));
                }
                Ok(Data::List(list))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Data, A::Error> {
                let mut entries = Vec::new();
                while let Some((key, value)) =
                    from.next_entry::<Spanned<String>, Spanned<Read>>()?
                {
                    entries.push(Entry {
                        key_span: span(&key.defined),
                        key: key.value,
                        value: node(value),
                    });
                }
                Ok(Data::Map(entries))
            }
        }

        from.deserialize_any(Any).map(Self)
    }
}

/// The parser's error in our words where we know better what was meant.
fn explain(source: &Arc<Text>, error: &Error) -> Diagnostic {
    let text = &source.text;
    let error = error.without_snippet();
    let start = error.location().map_or(0, |location| {
        offset(text, location.line(), location.column())
    });
    let rest = &text[start..];
    let line = &text[text[..start].rfind('\n').map_or(0, |at| at + 1)..];
    let line = line.lines().next().unwrap_or("");
    let length = rest.chars().next().map_or(0, char::len_utf8);
    let at = Span::new(start, length);
    let plain = error.to_string();
    let plain = plain.split(" at line ").next().unwrap_or_default();
    let new = |code, span, message: String| Diagnostic::new(source, code, span, "", message);
    match error {
        Error::DuplicateMappingKey { key, .. } => {
            let (message, length) = match key {
                Some(key) => (format!("the key `{key}` is given twice"), key.len()),
                None => ("a key is given twice".to_owned(), length),
            };
            new("duplicate-key", Span::new(start, length), message)
                .help("keep one of them".to_owned())
        }
        Error::MultipleDocuments { .. } => new(
            "syntax",
            at,
            "a second document begins here; one file holds one workflow".to_owned(),
        )
        .help("move it to a file of its own".to_owned()),
        _ if is_budget(plain) => new(
            "too-large",
            at,
            "the file holds more than a definition may".to_owned(),
        )
        .help(format!(
            "at most {MAX_NODES} values, {MAX_DEPTH} levels of nesting and 100 anchors and aliases"
        )),
        _ if line.contains("{{") => new("syntax", at, format!("this is no YAML: {plain}")).help(
            if line.contains("${{") {
                "put the expression in quotes, \"${{ … }}\": YAML reads `{`, `,` and `: ` in its own way"
            } else {
                "an expression begins with a dollar sign: `${{ … }}`; other braces need quotes"
            }
            .to_owned(),
        ),
        _ if line.contains('\t') => new("syntax", at, format!("this is no YAML: {plain}"))
            .help("indent with spaces, not with tabs".to_owned()),
        _ if plain.contains("quoted scalar") => {
            new("syntax", at, format!("this is no YAML: {plain}"))
                .help("a quoted text that began before does not end: close its quote".to_owned())
        }
        Error::UnknownAnchor { .. } => {
            new("syntax", at, "this alias has no anchor".to_owned())
                .help("define it before, as in `&name`, or quote the text if `*` is meant".to_owned())
        }
        _ => new("syntax", at, format!("this is no YAML: {plain}")).help(
            "check indentation and quotes: text with `: `, `#`, `{` or `[` in it needs quotes"
                .to_owned(),
        ),
    }
}

/// Limits are reported from several places of the parser, some as plain text.
fn is_budget(message: &str) -> bool {
    ["budget", "limit", "depth", "nesting"]
        .iter()
        .any(|word| message.contains(word))
}

/// A byte offset from line and column, both from 1, in characters.
fn offset(text: &str, line: u64, column: u64) -> usize {
    let line = usize::try_from(line).unwrap_or(1).max(1);
    let column = usize::try_from(column).unwrap_or(1).max(1);
    let mut start = 0;
    for _ in 1..line {
        match text[start..].find('\n') {
            Some(end) => start += end + 1,
            None => return text.len(),
        }
    }
    let end = text[start..].find('\n').map_or(text.len(), |at| start + at);
    text[start..end]
        .char_indices()
        .nth(column - 1)
        .map_or(end, |(at, _)| start + at)
}

//! A definition file as a tree of values that know their place.
//!
//! YAML and TOML end in the same [`Node`]s, so that everything after this
//! module is written once. Knows nothing of workflows.

use std::sync::Arc;

use serde_json::Value;

use super::diagnostic::{Diagnostic, Span, Text};

mod toml;
mod yaml;

/// The largest definition file, in bytes.
pub const MAX_FILE_BYTES: usize = 256 * 1024;
/// The deepest nesting of lists and objects.
pub const MAX_DEPTH: usize = 32;
/// The most values in a file.
pub const MAX_NODES: usize = 30_000;

/// A definition file: what it is called, and what it says.
///
/// A name that ends in `.toml` is read as TOML, any other as YAML.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// Shown in diagnostics.
    pub file: &'a str,
    /// The whole text.
    pub text: &'a str,
}

/// A value and where it is written.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) data: Data,
    pub(crate) span: Span,
}

#[derive(Debug, Clone)]
pub(crate) enum Data {
    Null,
    Bool(bool),
    /// An integer or a float.
    Number(serde_json::Number),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key with its value.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_span: Span,
    pub(crate) value: Node,
}

impl Node {
    /// What a person calls it.
    pub(crate) fn kind(&self) -> &'static str {
        match &self.data {
            Data::Null => "nothing",
            Data::Bool(_) => "a boolean",
            Data::Number(n) if n.is_f64() => "a number",
            Data::Number(_) => "an integer",
            Data::Text(_) => "text",
            Data::List(_) => "a list",
            Data::Map(_) => "an object",
        }
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self.data, Data::Null)
    }

    /// The value without its places. Of a key given twice, the first counts.
    pub(crate) fn to_json(&self) -> Value {
        match &self.data {
            Data::Null => Value::Null,
            Data::Bool(boolean) => Value::Bool(*boolean),
            Data::Number(number) => Value::Number(number.clone()),
            Data::Text(text) => Value::String(text.clone()),
            Data::List(list) => Value::Array(list.iter().map(Self::to_json).collect()),
            Data::Map(entries) => {
                let mut fields = serde_json::Map::new();
                for entry in entries {
                    fields
                        .entry(entry.key.as_str())
                        .or_insert_with(|| entry.value.to_json());
                }
                Value::Object(fields)
            }
        }
    }

    /// The value of a key.
    pub(crate) fn get(&self, key: &str) -> Option<&Entry> {
        match &self.data {
            Data::Map(entries) => entries.iter().find(|entry| entry.key == key),
            _ => None,
        }
    }

    /// The entry or element a JSON Pointer leads to, or the last one on the way that exists.
    pub(crate) fn nearest(&self, pointer: &str) -> (&Node, Option<&Entry>) {
        let mut node = self;
        let mut entry = None;
        for part in pointer.split('/').skip(1) {
            let key = part.replace("~1", "/").replace("~0", "~");
            match &node.data {
                Data::Map(_) => match node.get(&key) {
                    Some(found) => {
                        entry = Some(found);
                        node = &found.value;
                    }
                    None => break,
                },
                Data::List(list) => match key.parse().ok().and_then(|i: usize| list.get(i)) {
                    Some(found) => {
                        entry = None;
                        node = found;
                    }
                    None => break,
                },
                _ => break,
            }
        }
        (node, entry)
    }
}

/// Appends a key to a JSON Pointer.
pub(crate) fn pointer(parent: &str, key: &str) -> String {
    format!("{parent}/{}", key.replace('~', "~0").replace('/', "~1"))
}

/// Reads a file into a tree; or says why it is none.
pub(crate) fn read(source: &Arc<Text>) -> (Option<Node>, Vec<Diagnostic>) {
    if source.text.len() > MAX_FILE_BYTES {
        let problem = Diagnostic::new(
            source,
            "too-large",
            Span::new(0, 1),
            "",
            format!(
                "the file has {} bytes; {MAX_FILE_BYTES} are the most",
                source.text.len()
            ),
        )
        .help("pass large values as inputs or artifacts".to_owned());
        return (None, vec![problem]);
    }
    let is_toml = std::path::Path::new(&source.file)
        .extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("toml"));
    if is_toml {
        toml::read(source)
    } else {
        yaml::read(source)
    }
}

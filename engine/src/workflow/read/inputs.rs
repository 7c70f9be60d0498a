//! The workflow's inputs: each a JSON Schema, checked as one.

use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use super::{Reader, place};
use crate::workflow::inputs::{describe, validator};
use crate::workflow::source::{Data, Entry, Node, pointer};
use crate::workflow::suggest;

/// The most inputs of a workflow.
const MAX_INPUTS: usize = 200;
/// The most regular expressions in all inputs together: each costs memory to build.
const MAX_PATTERNS: usize = 50;

const TYPES: [&str; 7] = [
    "string", "integer", "number", "boolean", "array", "object", "null",
];

/// The keywords a form can draw and a check can hold. References are left out:
/// an input describes itself.
const KEYWORDS: [&str; 47] = [
    "type",
    "title",
    "description",
    "default",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
    "enum",
    "const",
    "format",
    "pattern",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "items",
    "prefixItems",
    "contains",
    "minContains",
    "maxContains",
    "minItems",
    "maxItems",
    "uniqueItems",
    "unevaluatedItems",
    "properties",
    "patternProperties",
    "additionalProperties",
    "unevaluatedProperties",
    "propertyNames",
    "required",
    "minProperties",
    "maxProperties",
    "dependentRequired",
    "dependentSchemas",
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "if",
    "then",
    "else",
    "contentMediaType",
    "contentEncoding",
];
/// Keywords whose value is one schema,
const ONE: [&str; 11] = [
    "items",
    "contains",
    "unevaluatedItems",
    "additionalProperties",
    "unevaluatedProperties",
    "propertyNames",
    "not",
    "if",
    "then",
    "else",
    "additionalItems",
];
/// a list of schemas,
const MANY: [&str; 4] = ["prefixItems", "allOf", "anyOf", "oneOf"];
/// or schemas by name.
const NAMED: [&str; 3] = ["properties", "patternProperties", "dependentSchemas"];

impl Reader<'_> {
    pub(super) fn input_schemas(&mut self, entry: &Entry) -> Map<String, Value> {
        let mut schemas = Map::new();
        let at = "/inputs";
        let Some(entries) = self.object(&entry.value, place(entry), at, "`inputs`", None) else {
            return schemas;
        };
        if let Some(beyond) = entries.get(MAX_INPUTS) {
            self.report(
                "too-large",
                beyond.key_span,
                at,
                format!("{} inputs; {MAX_INPUTS} are the most", entries.len()),
                "gather related ones in an object".to_owned(),
            );
            return schemas;
        }
        let mut patterns = 0;
        for entry in entries {
            let at = pointer(at, &entry.key);
            if crate::id::StepName::new(&entry.key).is_err() {
                self.report(
                    "bad-name",
                    entry.key_span,
                    &at,
                    format!("`{}` is no name for an input", entry.key),
                    "use letters, digits and `_`, and begin with a letter: expressions say `inputs.name`"
                        .to_owned(),
                );
            }
            if let Some(schema) = self.input_schema(entry, &at, &mut patterns) {
                schemas.insert(entry.key.clone(), schema);
            }
        }
        schemas
    }

    fn input_schema(&mut self, entry: &Entry, at: &str, patterns: &mut usize) -> Option<Value> {
        if let Data::Text(kind) = &entry.value.data {
            if TYPES.contains(&kind.as_str()) {
                return Some(json!({ "type": kind }));
            }
            self.report(
                "bad-schema",
                place(entry),
                at,
                format!("`{kind}` is no type"),
                suggest::help(kind, TYPES),
            );
            return None;
        }
        let before = self.found.len();
        self.keywords(entry, at, patterns);
        if self.found.len() > before {
            return None;
        }
        let schema = entry.value.to_json();
        for error in META.iter_errors(&schema).take(5) {
            let path = error.instance_path().as_str();
            let (node, of) = entry.value.nearest(path);
            let span = match of {
                Some(of) => place(of),
                None if path.is_empty() || node.span.len == 0 => entry.key_span,
                None => node.span,
            };
            let word = path.rsplit('/').next().unwrap_or_default();
            let (message, help) = match word {
                "required" if matches!(node.data, Data::Bool(_)) => (
                    "`required` is a list of an object's fields".to_owned(),
                    Some("leave it out: an input without `default` must be given".to_owned()),
                ),
                "type" => (
                    "`type` is not known".to_owned(),
                    match &node.data {
                        Data::Text(kind) => suggest::help(kind, TYPES),
                        _ => suggest::choice(&TYPES),
                    },
                ),
                _ => {
                    let (message, help) = describe(&error);
                    (format!("`{word}`: {message}"), help)
                }
            };
            self.report("bad-schema", span, &format!("{at}{path}"), message, help);
        }
        if self.found.len() > before {
            return None;
        }
        let validator = match validator(&schema) {
            Ok(validator) => validator,
            Err(problem) => {
                let span = entry.value.get("pattern").map_or(entry.key_span, place);
                let message = format!("the schema cannot be used: {problem}");
                let help =
                    "patterns have no look-around and no back-references, and are short".to_owned();
                self.report("bad-schema", span, at, message, help);
                return None;
            }
        };
        if let (Some(default), Some(of)) = (schema.get("default"), entry.value.get("default")) {
            for error in validator.iter_errors(default).take(5) {
                let (message, help) = describe(&error);
                self.report(
                    "bad-default",
                    place(of),
                    &pointer(at, "default"),
                    format!("the default does not fit its own schema: {message}"),
                    help,
                );
            }
        }
        Some(schema)
    }

    /// Unknown keywords: JSON Schema would pass over them, and over the typing mistake with them.
    fn keywords(&mut self, entry: &Entry, at: &str, patterns: &mut usize) {
        self.schema_object(&entry.value, place(entry), at, patterns);
    }

    fn schema_object(
        &mut self,
        node: &Node,
        span: crate::workflow::diagnostic::Span,
        at: &str,
        patterns: &mut usize,
    ) {
        if let Data::Bool(_) = node.data
            && at.matches('/').count() > 2
        {
            return;
        }
        let Data::Map(entries) = &node.data else {
            let help = "write a schema, as in `{ type: string, maxLength: 100 }`, or just `string`";
            self.wrong_type(span, at, "a schema", node, help);
            return;
        };
        for entry in entries {
            let key = entry.key.as_str();
            let at = pointer(at, key);
            if key.starts_with("x-") {
                continue;
            }
            if !KEYWORDS.contains(&key) {
                let help = if key.starts_with('$') {
                    Some("write the schema out in place: inputs have no references".to_owned())
                } else if key == "optional" {
                    Some("give it a `default`, which may be null".to_owned())
                } else {
                    suggest::nearest(key, KEYWORDS)
                        .map(|near| format!("did you mean `{near}`?"))
                        .or_else(|| {
                            Some("see https://json-schema.org/understanding-json-schema".to_owned())
                        })
                };
                let message = format!("`{key}` is no keyword of JSON Schema that inputs can have");
                self.report("unknown-key", entry.key_span, &at, message, help);
                continue;
            }
            let here = place(entry);
            if ONE.contains(&key) {
                self.schema_object(&entry.value, here, &at, patterns);
            } else if MANY.contains(&key)
                && let Data::List(list) = &entry.value.data
            {
                for (i, schema) in list.iter().enumerate() {
                    self.schema_object(schema, here, &pointer(&at, &i.to_string()), patterns);
                }
            } else if NAMED.contains(&key)
                && let Data::Map(entries) = &entry.value.data
            {
                if key == "patternProperties" {
                    *patterns += entries.len();
                }
                for entry in entries {
                    let at = pointer(&at, &entry.key);
                    self.schema_object(&entry.value, place(entry), &at, patterns);
                }
            } else if key == "pattern" {
                *patterns += 1;
            }
            if *patterns > MAX_PATTERNS {
                let message = format!("more than {MAX_PATTERNS} patterns");
                let help = "check texts in the task instead".to_owned();
                self.report("too-large", here, &at, message, help);
                *patterns = 0;
            }
        }
    }
}

/// Checks schemas themselves.
static META: LazyLock<jsonschema::Validator> = LazyLock::new(|| {
    validator(&json!({ "$ref": "https://json-schema.org/draft/2020-12/schema" }))
        .expect("the validator knows its own draft")
});

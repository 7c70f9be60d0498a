//! `-i name=value`: what a person types, as the JSON that the workflow's schema wants.

use std::io::Read as _;
use std::path::Path;

use serde_json::{Map, Value};

use crate::exit::{Exit, Result};
use crate::output;

/// More than any workflow's inputs are worth.
const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;

/// Reads all `-i` arguments in order; a later one counts more.
pub(crate) fn read(given: &[String], schemas: &Map<String, Value>) -> Result<Value> {
    let mut inputs = Map::new();
    for one in given {
        match one.split_once('=') {
            // `@a=b.json` is a file's name too.
            _ if one.starts_with('@') => inputs.append(&mut object(&one[1..])?),
            Some((name, text)) if !name.is_empty() => {
                let text = if let Some(literal) = text.strip_prefix("@@") {
                    format!("@{literal}")
                } else if let Some(path) = text.strip_prefix('@') {
                    file(path, &format!("input `{name}`"))?
                } else {
                    text.to_owned()
                };
                inputs.insert(name.to_owned(), typed(name, text, schemas.get(name))?);
            }
            Some(_) | None => {
                return Err(Exit::Usage(format!(
                    "-i: expected `name=value`, `name=@file` or `@file.json`, got `{}`",
                    output::cut(&output::clean(one), 60)
                )));
            }
        }
    }
    Ok(Value::Object(inputs))
}

fn object(path: &str) -> Result<Map<String, Value>> {
    let text = file(path, "-i")?;
    match serde_json::from_str(&text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(Exit::Usage(format!(
            "-i @{path}: expected a JSON object of inputs, as in {{\"prompt\": \"a house\"}}"
        ))),
        Err(error) => Err(Exit::Usage(format!("-i @{path}: not JSON: {error}"))),
    }
}

/// A file's text without the line end that editors leave; `-` is stdin.
fn file(path: &str, what: &str) -> Result<String> {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        if path == "-" {
            std::io::stdin()
                .take(MAX_FILE_BYTES + 1)
                .read_to_end(&mut bytes)?;
        } else {
            std::fs::File::open(Path::new(path))?
                .take(MAX_FILE_BYTES + 1)
                .read_to_end(&mut bytes)?;
        }
        Ok(bytes)
    };
    let bytes =
        read().map_err(|error| Exit::Usage(format!("{what}: cannot read {path}: {error}")))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(Exit::Usage(format!(
            "{what}: {path} is larger than 64 MiB; store it as a file and pass its path or URL"
        )));
    }
    let mut text = String::from_utf8(bytes)
        .map_err(|_| Exit::Usage(format!("{what}: {path} is not UTF-8 text")))?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

/// A text as the type its schema asks for.
fn typed(name: &str, text: String, schema: Option<&Value>) -> Result<Value> {
    let types = schema.map(types).unwrap_or_default();
    if types == ["string"] {
        return Ok(Value::String(text));
    }
    let fits = |value: &Value| types.is_empty() || types.iter().any(|wanted| is(value, wanted));
    // Numbers are read strictly, the rest as JSON; both are what a JSON parser takes.
    match serde_json::from_str::<Value>(text.trim()) {
        Ok(value) if fits(&value) => Ok(value),
        _ if types.is_empty() || types.contains(&"string") => Ok(Value::String(text)),
        parsed => Err(refusal(name, &text, &types, schema, parsed.err())),
    }
}

/// The types a schema names, or shows by its default and its choices.
fn types(schema: &Value) -> Vec<&str> {
    match schema.get("type") {
        Some(Value::String(one)) => return vec![one],
        Some(Value::Array(many)) => return many.iter().filter_map(Value::as_str).collect(),
        Some(_) | None => {}
    }
    let examples = schema
        .get("enum")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let examples = examples
        .chain(schema.get("const"))
        .chain(schema.get("default"));
    let mut found: Vec<&str> = examples.map(type_of).collect();
    found.sort_unstable();
    found.dedup();
    found
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn is(value: &Value, wanted: &str) -> bool {
    let own = type_of(value);
    // JSON Schema counts 3.0 as an integer.
    let whole = || value.as_f64().is_some_and(|n| n.fract() == 0.0);
    own == wanted
        || (wanted == "number" && own == "integer")
        || (wanted == "integer" && own == "number" && whole())
}

fn refusal(
    name: &str,
    text: &str,
    types: &[&str],
    schema: Option<&Value>,
    error: Option<serde_json::Error>,
) -> Exit {
    let words: Vec<&str> = types.iter().map(|t| word(t)).collect();
    let got = output::cut(&output::clean(text), 40);
    let structured = types.iter().any(|t| matches!(*t, "array" | "object"));
    let why = match error {
        Some(error) if structured && !text.trim().is_empty() => format!(" (not JSON: {error})"),
        _ => String::new(),
    };
    let example = example(schema, types);
    Exit::Usage(format!(
        "input `{name}`: expected {}, got `{got}`{why}; example: -i '{name}={example}'",
        words.join(" or ")
    ))
}

fn example(schema: Option<&Value>, types: &[&str]) -> String {
    let from = |key: &str| schema.and_then(|s| s.get(key));
    let known = from("default")
        .or_else(|| from("examples").and_then(|e| e.get(0)))
        .or_else(|| from("enum").and_then(|e| e.get(0)))
        .or_else(|| from("minimum"));
    if let Some(value) = known {
        return value.to_string();
    }
    match types.first() {
        Some(&"boolean") => "true",
        Some(&"array") => r#"["a", "b"]"#,
        Some(&"object") => r#"{"a": 1}"#,
        Some(&"null") => "null",
        Some(&"number") => "0.5",
        Some(_) | None => "1",
    }
    .to_owned()
}

fn word(name: &str) -> &str {
    match name {
        "null" => "null",
        "boolean" => "true or false",
        "integer" => "an integer",
        "number" => "a number",
        "string" => "text",
        "array" => "a JSON list",
        "object" => "a JSON object",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use serde_json::json;

    fn one(schema: &Value, text: &str) -> std::result::Result<Value, String> {
        let schemas = json!({ "x": schema });
        let read = read(&[format!("x={text}")], schemas.as_object().unwrap());
        match read {
            Ok(value) => Ok(value["x"].clone()),
            Err(Exit::Usage(message)) => Err(message),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_value_is_taken_as_its_schema_says() {
        for (schema, text, value) in [
            (json!({"type": "string"}), "512", json!("512")),
            (json!({"type": "string"}), "null", json!("null")),
            (
                json!({"type": "string"}),
                " a=b \u{1f3d4} ",
                json!(" a=b \u{1f3d4} "),
            ),
            (json!({"type": "integer"}), "512", json!(512)),
            (json!({"type": "integer"}), " -3 ", json!(-3)),
            (json!({"type": "number"}), "3", json!(3)),
            (json!({"type": "number"}), "1e3", json!(1000.0)),
            (json!({"type": "boolean"}), "true", json!(true)),
            (json!({"type": "array"}), "[1, \"a\"]", json!([1, "a"])),
            (json!({"type": ["integer", "null"]}), "null", json!(null)),
            (json!({"type": ["integer", "string"]}), "7", json!(7)),
            (
                json!({"type": ["integer", "string"]}),
                "seven",
                json!("seven"),
            ),
            (json!({"enum": [1, 2, 4]}), "2", json!(2)),
            (json!({"enum": ["1", "2"]}), "2", json!("2")),
            (json!({}), "{\"a\": 1}", json!({"a": 1})),
            (json!({}), "words", json!("words")),
        ] {
            assert_eq!(one(&schema, text), Ok(value), "{schema} {text}");
        }
    }

    #[test]
    fn a_value_of_another_type_is_refused_by_name_value_and_type() {
        for (schema, text, words) in [
            (
                json!({"type": "integer", "default": 512}),
                "wide",
                "input `x`: expected an integer, got `wide`; example: -i 'x=512'",
            ),
            (
                json!({"type": "integer"}),
                "1.5",
                "expected an integer, got `1.5`",
            ),
            (
                json!({"type": "integer"}),
                "",
                "expected an integer, got ``",
            ),
            (
                json!({"type": "boolean"}),
                "yes",
                "expected true or false, got `yes`",
            ),
            (
                json!({"type": "array"}),
                "a,b",
                "expected a JSON list, got `a,b` (not JSON",
            ),
            (
                json!({"type": "object"}),
                "[]",
                "expected a JSON object, got `[]`",
            ),
            (
                json!({"type": "number"}),
                "NaN",
                "expected a number, got `NaN`",
            ),
            (
                json!({"type": "number"}),
                "1e999",
                "expected a number, got `1e999`",
            ),
            (
                json!({"type": "array"}),
                "[1e999]",
                "(not JSON: number out of range",
            ),
        ] {
            let message = one(&schema, text).unwrap_err();
            assert!(message.contains(words), "{message}");
        }
    }

    #[test]
    fn files_give_values_and_whole_objects() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let prompt = path("prompt.txt", "a lake\nat night\n");
        let all = path("a=b.json", r#"{"prompt": "old", "width": 64}"#);
        let schemas = json!({"prompt": {"type": "string"}, "at": {"type": "string"}});
        let given = [
            format!("@{all}"),
            format!("prompt=@{prompt}"),
            "at=@@home".to_owned(),
        ];
        let inputs = read(&given, schemas.as_object().unwrap()).unwrap();
        assert_eq!(
            inputs,
            json!({"prompt": "a lake\nat night", "width": 64, "at": "@home"})
        );
        for (bad, words) in [
            ("prompt", "name=value"),
            ("=x", "name=value"),
            ("@nowhere.json", "cannot read nowhere.json"),
        ] {
            let Err(Exit::Usage(message)) = read(&[bad.to_owned()], &Map::new()) else {
                panic!("{bad} passed")
            };
            assert!(message.contains(words), "{message}");
        }
    }
}

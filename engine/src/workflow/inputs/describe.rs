//! JSON Schema's complaints in our words. The one place that builds validators.
//!
//! Values are not repeated in messages: they may be prompts, or huge.

use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::{PatternOptions, ValidationError, Validator};
use serde_json::Value;

use crate::workflow::expr::kind_of;
use crate::workflow::suggest;

/// How large a compiled `pattern` may grow, in bytes.
const PATTERN_BYTES: usize = 256 * 1024;

/// A validator that touches no network and no file, with linear-time patterns.
pub(crate) fn validator(schema: &Value) -> Result<Validator, String> {
    jsonschema::options()
        .with_draft(jsonschema::Draft::Draft202012)
        .offline()
        .with_pattern_options(
            PatternOptions::regex()
                .size_limit(PATTERN_BYTES)
                .dfa_size_limit(PATTERN_BYTES),
        )
        .should_validate_formats(true)
        .build(schema)
        .map_err(|error| describe(&error).0)
}

/// What is wrong, and what would be right.
pub(crate) fn describe(error: &ValidationError<'_>) -> (String, Option<String>) {
    let got = kind_of(error.instance());
    let plain = |message: String| (message, None);
    match error.kind() {
        ValidationErrorKind::Type { kind } => {
            let expected = match kind {
                TypeKind::Single(one) => type_word(&one.to_string()).to_owned(),
                TypeKind::Multiple(many) => many
                    .iter()
                    .map(|one| type_word(&one.to_string()).to_owned())
                    .collect::<Vec<_>>()
                    .join(" or "),
            };
            plain(format!("expected {expected}, got {got}"))
        }
        ValidationErrorKind::Required { property } => {
            let name = property.as_str().unwrap_or_default();
            plain(format!("the field `{name}` is missing"))
        }
        ValidationErrorKind::AdditionalProperties { unexpected }
        | ValidationErrorKind::UnevaluatedProperties { unexpected } => {
            let names: Vec<String> = unexpected.iter().map(|name| format!("`{name}`")).collect();
            plain(format!(
                "there is no field {}",
                names.join(" and no field ")
            ))
        }
        ValidationErrorKind::Enum { options } => {
            let words: Vec<String> = options
                .as_array()
                .into_iter()
                .flatten()
                .map(|option| match option {
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                })
                .collect();
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            if words.is_empty() {
                return plain("nothing is allowed here: `enum` is empty".to_owned());
            }
            let got = match error.instance().as_ref() {
                Value::String(text) if text.chars().count() <= 40 => format!("`{text}`"),
                _ => got.to_owned(),
            };
            let help = error
                .instance()
                .as_str()
                .and_then(|text| suggest::nearest(text, words.iter().copied()))
                .map(|near| format!("did you mean `{near}`?"));
            (
                format!("{}, got {got}", suggest::choice(&words).unwrap_or_default()),
                help,
            )
        }
        ValidationErrorKind::Constant { expected_value } => {
            plain(format!("expected {expected_value}"))
        }
        ValidationErrorKind::Minimum { limit } => {
            plain(format!("expected at least {limit}, got {}", number(error)))
        }
        ValidationErrorKind::Maximum { limit } => {
            plain(format!("expected at most {limit}, got {}", number(error)))
        }
        ValidationErrorKind::ExclusiveMinimum { limit } => {
            plain(format!("expected more than {limit}, got {}", number(error)))
        }
        ValidationErrorKind::ExclusiveMaximum { limit } => {
            plain(format!("expected less than {limit}, got {}", number(error)))
        }
        ValidationErrorKind::MultipleOf { multiple_of, .. } => plain(format!(
            "expected a multiple of {multiple_of}, got {}",
            number(error)
        )),
        ValidationErrorKind::MinLength { limit } => {
            plain(format!("expected at least {}", count(*limit, "character")))
        }
        ValidationErrorKind::MaxLength { limit } => {
            plain(format!("expected at most {}", count(*limit, "character")))
        }
        ValidationErrorKind::MinItems { limit } => {
            plain(format!("expected at least {}", count(*limit, "element")))
        }
        ValidationErrorKind::MaxItems { limit } => {
            plain(format!("expected at most {}", count(*limit, "element")))
        }
        ValidationErrorKind::UniqueItems => plain("the elements must differ".to_owned()),
        ValidationErrorKind::Pattern { pattern } => {
            plain(format!("the text does not match the pattern `{pattern}`"))
        }
        ValidationErrorKind::Format { format } if format == "regex" => (
            "this is no regular expression".to_owned(),
            Some("patterns have no look-around and no back-references".to_owned()),
        ),
        ValidationErrorKind::Format { format } => {
            plain(format!("expected text of format `{format}`"))
        }
        ValidationErrorKind::AnyOf { .. } | ValidationErrorKind::OneOfNotValid { .. } => {
            plain(format!("{got} that fits none of the allowed forms"))
        }
        _ => {
            let text = error.masked().to_string();
            plain(text.chars().take(300).collect())
        }
    }
}

fn number(error: &ValidationError<'_>) -> String {
    error.instance().to_string()
}

fn count(n: u64, what: &str) -> String {
    if n == 1 {
        format!("1 {what}")
    } else {
        format!("{n} {what}s")
    }
}

/// What a person calls a JSON Schema type.
pub(super) fn type_word(name: &str) -> &str {
    match name {
        "null" => "null",
        "boolean" => "a boolean",
        "integer" => "an integer",
        "number" => "a number",
        "string" => "text",
        "array" => "a list",
        "object" => "an object",
        other => other,
    }
}

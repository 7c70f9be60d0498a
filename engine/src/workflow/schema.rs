//! The JSON Schema of definition files, for editors.

use serde_json::{Value, json};

/// JSON Schema of a definition file.
#[must_use]
pub fn json_schema() -> Value {
    json!({ "type": "object" })
}

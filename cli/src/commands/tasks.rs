//! `aquatint tasks` and `aquatint schema`: what definitions may say.

use aquatint_engine::registry::TaskSpec;
use clap::Args;
use serde_json::{Value, json};

use crate::config::nearest;
use crate::context::Context;
use crate::exit::{Exit, Result};
use crate::output::{self, BOLD, DIM, PLAIN, Table, styled};

/// What `aquatint tasks` takes.
#[derive(Debug, Args)]
pub(crate) struct Tasks {
    /// One task, with what it takes and returns
    name: Option<String>,
    /// Print JSON, with schemas
    #[arg(long)]
    json: bool,
}

/// Lists tasks, or tells about one.
pub(crate) fn run(context: &Context, args: &Tasks) -> Result {
    let registry = context.registry();
    let Some(name) = &args.name else {
        if args.json {
            return output::json(&registry.specs().map(document).collect::<Vec<Value>>());
        }
        let mut table = Table::default();
        for spec in registry.specs() {
            table.row([
                (spec.name.to_string(), BOLD),
                (spec.description.to_owned(), PLAIN),
            ]);
        }
        return table.print();
    };
    let spec = registry.spec(name).ok_or_else(|| {
        let names: Vec<&str> = registry.specs().map(|s| s.name.as_str()).collect();
        let near = nearest(name, names.iter().copied());
        let help = near.map_or_else(
            || format!("there are: {}", names.join(", ")),
            |near| format!("did you mean `{near}`?"),
        );
        Exit::Error(format!("no task `{}`; {help}", output::clean(name)))
    })?;
    if args.json {
        return output::json(&document(spec));
    }
    let mut text = format!("{}  {}\n", styled(BOLD, &spec.name), spec.description);
    for (heading, schema) in [
        ("takes", &spec.input_schema),
        ("returns", &spec.output_schema),
    ] {
        text.push_str(&format!("\n{}\n", styled(DIM, heading)));
        text.push_str(&fields(schema).render(output::stdout_columns()));
    }
    output::data(&text)
}

/// Prints the JSON Schema of definition files.
pub(crate) fn schema() -> Result {
    output::json(&aquatint_engine::workflow::json_schema())
}

fn document(spec: &TaskSpec) -> Value {
    json!({
        "name": spec.name,
        "version": spec.version,
        "description": spec.description,
        "input_schema": spec.input_schema,
        "output_schema": spec.output_schema,
    })
}

/// A schema's fields: name, type, whether it must be given, description.
fn fields(schema: &Value) -> Table {
    let required: Vec<&str> = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let mut table = Table::default();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let default = field.get("default").filter(|value| !value.is_null());
        let default = default.map(|value| format!("default {value}"));
        let need = if required.contains(&name.as_str()) {
            Some("required".to_owned())
        } else {
            default
        };
        let description = field["description"]
            .as_str()
            .unwrap_or_default()
            .replace('\n', " ");
        table.row([
            (format!("  {name}"), BOLD),
            (type_of(field, schema), PLAIN),
            (need.unwrap_or_else(|| "optional".to_owned()), DIM),
            (description, PLAIN),
        ]);
    }
    table
}

fn type_of(field: &Value, root: &Value) -> String {
    if let Some(target) = field["$ref"].as_str() {
        let pointer = target.trim_start_matches('#');
        let named = root
            .pointer(pointer)
            .map(|t| type_of(t, &Value::Null))
            .unwrap_or_default();
        let name = pointer.rsplit('/').next().unwrap_or_default();
        return if named == "object" || named.is_empty() {
            name.to_lowercase()
        } else {
            named
        };
    }
    if let Some(choices) = field["enum"]
        .as_array()
        .or_else(|| field["oneOf"].as_array())
    {
        let choices = choices.iter().map(|c| c.get("const").unwrap_or(c));
        return choices
            .map(|c| c.as_str().map_or_else(|| c.to_string(), str::to_owned))
            .collect::<Vec<_>>()
            .join("|");
    }
    match &field["type"] {
        Value::String(one) if one == "array" => match type_of(&field["items"], root).as_str() {
            "any" => "array".to_owned(),
            item => format!("array of {item}"),
        },
        Value::String(one) => one.clone(),
        Value::Array(many) => many
            .iter()
            .filter_map(Value::as_str)
            .filter(|t| *t != "null")
            .collect::<Vec<_>>()
            .join("|"),
        _ => match field["anyOf"].as_array() {
            Some(any) => any
                .iter()
                .filter(|f| f["type"] != "null")
                .map(|f| type_of(f, root))
                .collect::<Vec<_>>()
                .join("|"),
            None => "any".to_owned(),
        },
    }
}

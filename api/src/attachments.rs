//! Files that inputs name: theirs to read, there, and described as they are.

use std::collections::HashMap;

use aquatint_engine::artifact::Artifact;
use serde_json::Value;

use crate::app::App;
use crate::auth::Principal;
use crate::budget;
use crate::files::{MAX_ATTACHMENTS, media_type};
use crate::problem::Problem;

/// How much of a file is looked at to see what it is.
const HEAD: u64 = 64 * 1024;

/// A file's name is so long at most, in characters.
const MAX_NAME: usize = 200;

/// The stored files that inputs refer to: every object with an `artifact`.
fn named_in(inputs: &Value) -> Result<Vec<Artifact>, Problem> {
    let (mut found, mut todo) = (Vec::<Artifact>::new(), vec![inputs]);
    while let Some(value) = todo.pop() {
        match value {
            Value::Array(items) => todo.extend(items),
            Value::Object(fields) if fields.contains_key("artifact") => {
                let artifact: Artifact = serde_json::from_value(value.clone()).map_err(|error| {
                    Problem::invalid(
                        format!("an input with `artifact` is to be a stored file, as an upload answers with: {error}"),
                        Vec::new(),
                    )
                })?;
                if !found.iter().any(|f| f.digest == artifact.digest) {
                    found.push(artifact);
                }
                if found.len() > MAX_ATTACHMENTS {
                    return Err(Problem::too_large(format!(
                        "inputs refer to {MAX_ATTACHMENTS} files at most"
                    )));
                }
            }
            Value::Object(fields) => todo.extend(fields.values()),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    Ok(found)
}

/// The files that inputs refer to, each of which must be there and be theirs to read; what inputs say of a
/// file's size and kind is put right.
///
/// A digest alone is no right to a file: who names it has uploaded it, has a run that holds it, or may see
/// every run. To others it is not there.
pub(crate) async fn checked(
    app: &App,
    who: &Principal,
    inputs: &mut Value,
) -> Result<Vec<Artifact>, Problem> {
    let named = named_in(inputs)?;
    if named.is_empty() {
        return Ok(named);
    }
    let unknown = |digest: &str| {
        Problem::invalid(
            format!("no file with the digest {digest} was uploaded here"),
            Vec::new(),
        )
    };
    let mut known: HashMap<(String, String), Artifact> = HashMap::new();
    for file in &named {
        let place = (file.digest.clone(), file.media_type.clone());
        if known.contains_key(&place) {
            continue;
        }
        let facts = facts(app, who, file).await?;
        known.insert(place, facts.ok_or_else(|| unknown(&file.digest))?);
    }
    put_right(inputs, &known);
    let named: Vec<Artifact> = named.iter().map(|file| right(file, &known)).collect();
    match app.engine.attach(&named).await? {
        None => Ok(named),
        Some(missing) => Err(unknown(&missing.digest)),
    }
}

/// What is true of a file, where it is there and theirs to name.
async fn facts(app: &App, who: &Principal, file: &Artifact) -> Result<Option<Artifact>, Problem> {
    let owner = who.limited_to();
    let held = app.engine.file_of(&file.digest, owner.as_deref()).await?;
    let is_theirs = who.sees_all()
        || held.is_some()
        || budget::has_brought(&file.digest)
        || match &who.key {
            Some(key) => app.engine.has_uploaded(key, &file.digest).await?,
            None => false,
        };
    if !is_theirs {
        return Ok(None);
    }
    let Some((size_bytes, mut head)) = app.engine.look_at(file, HEAD).await? else {
        return Ok(None);
    };
    // What ends in the middle of a character is text all the same.
    if let Err(error) = std::str::from_utf8(&head)
        && error.error_len().is_none()
    {
        head.truncate(error.valid_up_to());
    }
    let media_type = match held {
        Some(held) => held.media_type,
        None => media_type(&head, &file.media_type).to_owned(),
    };
    let right = Artifact {
        media_type,
        size_bytes,
        ..file.clone()
    };
    // A file lies under its kind, too: one that would lie elsewhere keeps the kind it is found by.
    let is_there = app.engine.artifact_location(&right) == app.engine.artifact_location(file);
    let media_type = if is_there {
        right.media_type.clone()
    } else {
        file.media_type.clone()
    };
    Ok(Some(Artifact {
        media_type,
        ..right
    }))
}

fn right(file: &Artifact, known: &HashMap<(String, String), Artifact>) -> Artifact {
    let place = (file.digest.clone(), file.media_type.clone());
    let facts = known.get(&place).unwrap_or(file);
    let name: String = file.name.chars().filter(|c| !c.is_control()).collect();
    Artifact {
        name: name.chars().take(MAX_NAME).collect(),
        ..facts.clone()
    }
}

fn put_right(inputs: &mut Value, known: &HashMap<(String, String), Artifact>) {
    let mut todo = vec![inputs];
    while let Some(value) = todo.pop() {
        let file = match value {
            Value::Object(fields) if fields.contains_key("artifact") => {
                serde_json::from_value::<Artifact>(value.clone()).ok()
            }
            _ => None,
        };
        match (value, file) {
            // Whatever else stood there was no part of a file.
            (value, Some(file)) => {
                let right = right(&file, known);
                *value = serde_json::to_value(right).expect("a file's facts are plain JSON");
            }
            (Value::Array(items), None) => todo.extend(items),
            (Value::Object(fields), None) => todo.extend(fields.values_mut()),
            (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_), None) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_wherever_inputs_name_them() {
        let file = |c: &str| serde_json::json!({"artifact": c.repeat(64), "name": "x", "media_type": "image/png", "size_bytes": 1});
        let inputs = serde_json::json!({"a": file("a"), "list": [{"deep": file("b")}, file("a")], "text": "artifact"});
        assert_eq!(named_in(&inputs).expect("they are files").len(), 2);
        assert!(named_in(&serde_json::json!({"a": {"artifact": 1}})).is_err());
    }
}

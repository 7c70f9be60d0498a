//! The step cache: the same task, at the same version, with the same inputs, has the same result.

use serde_json::{Map, Value};

use super::{Outcome, Product, Shared};
use crate::id::TaskName;

/// The key of a result: the task's name, for people, and a hash of all that determines it.
///
/// `None` when this process does not know the task.
pub(super) fn key(shared: &Shared, task: &TaskName, input: &Value) -> Option<String> {
    let library = shared.library();
    let spec = library.registry().spec(task.as_str())?;
    let mut hasher = blake3::Hasher::new();
    hasher.update(task.as_str().as_bytes());
    hasher.update(&[0]);
    hasher.update(&spec.version.to_le_bytes());
    hasher.update(canonical(input).to_string().as_bytes());
    Some(format!("{task}:{}", &hasher.finalize().to_hex()[..32]))
}

/// The same for equal values: keys sorted, artifacts reduced to their content.
fn canonical(value: &Value) -> Value {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
        Value::Array(list) => Value::Array(list.iter().map(canonical).collect()),
        Value::Object(fields) => {
            let is_artifact = fields.contains_key("artifact") && fields.contains_key("size_bytes");
            let mut sorted: Vec<_> = fields
                .iter()
                .filter(|(key, _)| !is_artifact || *key == "artifact" || *key == "media_type")
                .collect();
            sorted.sort_by_key(|(key, _)| *key);
            Value::Object(
                sorted
                    .into_iter()
                    .map(|(k, v)| (k.clone(), canonical(v)))
                    .collect::<Map<_, _>>(),
            )
        }
    }
}

/// A kept result whose files are still all there.
pub(super) async fn look_up(shared: &Shared, key: &str) -> Option<Product> {
    let (output, artifacts) = match shared.store.cached(key).await {
        Ok(found) => found?,
        Err(error) => {
            tracing::warn!(%error, "the step cache cannot be read; running the step");
            return None;
        }
    };
    // Storing again what is there renews its age, so that no sweep takes it before the commit.
    let store = shared.artifacts.clone();
    let files = artifacts.clone();
    let all_there =
        tokio::task::spawn_blocking(move || files.iter().all(|file| store.renew(file))).await;
    if !all_there.unwrap_or(false) {
        return None;
    }
    Some(Product {
        outcome: Outcome::Succeeded {
            output: output.into(),
            cached: true,
        },
        artifacts,
        cache_key: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn order_of_keys_and_names_of_files_do_not_matter_content_does() {
        let file = |digest: &str, name: &str| json!({"artifact": digest, "name": name, "media_type": "image/png", "size_bytes": 3});
        let a = json!({"x": 1, "image": file("aa", "one.png")});
        let b = json!({"image": file("aa", "two.png"), "x": 1});
        let c = json!({"image": file("bb", "one.png"), "x": 1});
        assert_eq!(canonical(&a).to_string(), canonical(&b).to_string());
        assert_ne!(canonical(&a).to_string(), canonical(&c).to_string());
    }
}

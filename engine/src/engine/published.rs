//! Definitions that were published while the system runs: kept in the store, known to every process.
//!
//! A library is never changed, only replaced by another: whoever holds one goes on with what it saw.
//! A process learns of what others published when it is asked for something it does not know, and
//! with [`Engine::refresh_library`].

use std::sync::{Arc, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Engine;
use crate::error::EngineError;
use crate::library::{Definition, LibraryError};
use crate::store::Record;
use crate::worker::Shared;

const KIND: &str = "workflow";

/// A published definition, as it is kept.
#[derive(Debug, Serialize, Deserialize)]
struct Published {
    file: String,
    text: String,
}

impl Engine {
    /// Checks a definition, keeps it under its own name, and uses it from now on: here at once, in
    /// other processes when they look. Runs that are under way keep the version they began with.
    ///
    /// # Errors
    /// Its mistakes, or a store error.
    pub async fn publish(&self, file: &str, text: &str) -> Result<Arc<Definition>, EngineError> {
        let definition = self
            .library()
            .compile(file, text)
            .map_err(LibraryError::Invalid)?;
        let name = definition.plan.name.to_string();
        self.keep(
            KIND,
            &name,
            &json!(Published {
                file: file.to_owned(),
                text: text.to_owned()
            }),
            None,
        )
        .await?;
        refresh(&self.shared).await?;
        Ok(self.library().get(&name)?)
    }

    /// Learns what other processes have published.
    ///
    /// # Errors
    /// A store error.
    pub async fn refresh_library(&self) -> Result<(), EngineError> {
        refresh(&self.shared).await
    }
}

/// Takes over every published definition that is not known as it is.
pub(crate) async fn refresh(shared: &Shared) -> Result<(), EngineError> {
    // Another look may have found something newer meanwhile, which this one must not undo.
    while !take_over(shared).await? {}
    Ok(())
}

/// Looks once; false when the library was replaced between the look and its end.
async fn take_over(shared: &Shared) -> Result<bool, EngineError> {
    let library = shared.library();
    let published: Vec<(String, Published)> = shared
        .store
        .records(KIND)
        .await?
        .into_iter()
        .filter_map(|Record { id, body, .. }| {
            let published = serde_json::from_value(body);
            let published = published.inspect_err(|error| {
                tracing::error!(workflow.name = %id, %error, "a published definition cannot be read");
            });
            Some((id, published.ok()?))
        })
        .collect();
    let news: Vec<(&str, &str, &str)> = published
        .iter()
        .filter(|(name, p)| library.source(name) != Some((&p.file, &p.text)))
        .map(|(name, p)| (name.as_str(), p.file.as_str(), p.text.as_str()))
        .collect();
    if news.is_empty() {
        return Ok(true);
    }
    let renewed = Arc::new(library.with(news));
    let mut known = shared
        .library
        .write()
        .unwrap_or_else(PoisonError::into_inner);
    if !Arc::ptr_eq(&known, &library) {
        return Ok(false);
    }
    *known = renewed;
    Ok(true)
}

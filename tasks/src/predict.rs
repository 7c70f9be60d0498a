//! `model.predict`: asks one model, or several side by side, about rows.
//!
//! A model file may come from anywhere: nothing in it is believed before it has
//! been checked (see `tabular::store`).

use std::collections::BTreeMap;

use aquatint_engine::artifact::Artifact;
use aquatint_engine::task::{MAX_OUTPUT_BYTES, Task, TaskContext, TaskError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::tabular::encoding::{Target, Unseen};
use crate::tabular::metrics::likeliest;
use crate::tabular::model::{Model, Predicted};
use crate::tabular::table::{MAX_NAME_BYTES, Table, short};
use crate::tabular::target::Kind;
use crate::tabular::{read, store};

/// Asks models that `model.train` stored.
#[derive(Debug, Clone, Copy)]
pub struct Predict;

/// What `model.predict` takes: `model` or `models`, and the rows.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// The model to ask: `artifact` of what `model.train` returned.
    #[serde(default)]
    pub model: Option<Artifact>,
    /// Several models to ask the same.
    #[serde(default)]
    #[schemars(length(max = 10))]
    pub models: Vec<Named>,
    /// What to ask about: objects with the columns the model was trained on. The
    /// target's column may be there, and is not looked at.
    #[schemars(length(min = 1, max = 1000))]
    pub rows: Vec<Map<String, Value>>,
}

/// A model and what to call it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Named {
    /// A name that no other has.
    #[schemars(length(min = 1, max = 100))]
    pub name: String,
    /// `artifact` of what `model.train` returned.
    pub model: Artifact,
}

/// What `model.predict` returns.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Output {
    /// The answers of `model`, one for each row; null where `models` were asked.
    pub predictions: Option<Vec<Prediction>>,
    /// The answers of each of `models`; null where `model` was asked.
    pub models: Option<Vec<Answered>>,
    /// How many rows were asked about.
    pub rows: usize,
}

/// What one of several models answers.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Answered {
    /// What the input calls it.
    pub name: String,
    /// What it predicts: the name of a column.
    pub target: String,
    /// Numbers or classes.
    pub kind: Kind,
    /// One for each row.
    pub predictions: Vec<Prediction>,
}

/// An answer for one row.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Prediction {
    /// A class.
    Class {
        /// The likeliest one.
        value: String,
        /// How likely each is; together 1.
        probabilities: BTreeMap<String, f64>,
    },
    /// A number.
    Number {
        /// In the target's own unit.
        value: f64,
    },
}

const MAX_ROWS: usize = 1000;
const MAX_MODELS: usize = 10;

impl Task for Predict {
    const NAME: &'static str = "model.predict";
    const VERSION: u32 = 1;
    const DESCRIPTION: &'static str = "Predicts a column of given rows by trained models.";
    type Input = Input;
    type Output = Output;

    async fn run(&self, ctx: TaskContext, input: Input) -> Result<Output, TaskError> {
        check(&input)?;
        let single = input.model.is_some();
        let mut files = Vec::new();
        let of_one = input.model.into_iter().map(|model| Named {
            name: model.name.clone(),
            model,
        });
        for named in of_one.chain(input.models) {
            if named.model.size_bytes > store::MAX_BYTES {
                return Err(TaskError::fatal(
                    "invalid_model",
                    format!(
                        "`{}` has {} bytes; models have {} at most",
                        short(&named.name),
                        named.model.size_bytes,
                        store::MAX_BYTES
                    ),
                ));
            }
            let bytes = ctx.read(&named.model).await?;
            files.push((named.name, bytes));
        }
        let rows = input.rows;
        ctx.blocking(move |ctx| predict(ctx, files, &rows, single))
            .await
    }
}

fn check(input: &Input) -> Result<(), TaskError> {
    let refuse = |why: String| Err(TaskError::fatal("invalid_input", why));
    if input.model.is_some() != input.models.is_empty() {
        return refuse("give one `model`, or a list of `models`".to_owned());
    }
    if input.models.len() > MAX_MODELS {
        return refuse(format!(
            "`models` has {} models; {MAX_MODELS} are asked at most",
            input.models.len()
        ));
    }
    for (at, named) in input.models.iter().enumerate() {
        let name = &named.name;
        if name.is_empty() || name.len() > MAX_NAME_BYTES {
            return refuse(format!(
                "models[{at}]: a name of {} bytes; give 1 to {MAX_NAME_BYTES}",
                name.len()
            ));
        }
        if input.models[..at].iter().any(|other| other.name == *name) {
            return refuse(format!(
                "models[{at}]: another one is called `{}` too",
                short(name)
            ));
        }
    }
    if !(1..=MAX_ROWS).contains(&input.rows.len()) {
        return refuse(format!(
            "`rows` has {} rows; give 1 to {MAX_ROWS}",
            input.rows.len()
        ));
    }
    Ok(())
}

fn predict(
    ctx: &TaskContext,
    files: Vec<(String, Vec<u8>)>,
    rows: &[Map<String, Value>],
    single: bool,
) -> Result<Output, TaskError> {
    let mut answered = Vec::with_capacity(files.len());
    let count = files.len() as u64;
    for (done, (name, bytes)) in (0..).zip(files) {
        ctx.check()?;
        ctx.progress_items(done, count, format!("asking `{}`", short(&name)));
        let model = store::load(&name, &bytes)?;
        let asked = ask(ctx, &model, rows).map_err(|mut error| {
            if !single {
                error.message = format!("`{}`: {}", short(&name), error.message);
            }
            error
        });
        answered.push(Answered {
            target: model.encoding.target.name().to_owned(),
            kind: model.encoding.target.kind(),
            predictions: asked?,
            name,
        });
    }
    let output = if single {
        Output {
            predictions: answered.pop().map(|one| one.predictions),
            models: None,
            rows: rows.len(),
        }
    } else {
        Output {
            predictions: None,
            models: Some(answered),
            rows: rows.len(),
        }
    };
    let bytes = serde_json::to_vec(&output).map_or(usize::MAX, |json| json.len());
    if bytes > MAX_OUTPUT_BYTES {
        return Err(TaskError::fatal(
            "too_large",
            format!(
                "the answers take {bytes} bytes, and a step may return {MAX_OUTPUT_BYTES}; ask about {} rows at a time",
                (rows.len() * MAX_OUTPUT_BYTES / bytes).max(1)
            ),
        ));
    }
    Ok(output)
}

fn ask(
    ctx: &TaskContext,
    model: &Model,
    rows: &[Map<String, Value>],
) -> Result<Vec<Prediction>, TaskError> {
    let table = table(model, rows)?;
    let all: Vec<usize> = (0..table.rows()).collect();
    let predicted = model.predict(ctx, &table, &all, Unseen::Refuse)?;
    Ok(match (&predicted, &model.encoding.target) {
        (Predicted::Numbers(values), _) => values
            .iter()
            .map(|value| Prediction::Number { value: *value })
            .collect(),
        (Predicted::Probabilities { values, .. }, Target::Classification { classes, .. }) => {
            let of_row = |row: &[f64]| Prediction::Class {
                value: classes[likeliest(row)].clone(),
                probabilities: classes.iter().cloned().zip(row.iter().copied()).collect(),
            };
            values.chunks_exact(classes.len()).map(of_row).collect()
        }
        (Predicted::Probabilities { .. }, Target::Regression { .. }) => {
            unreachable!("a number is asked of this model")
        }
    })
}

/// The rows as a table, less the columns that nobody looks at.
fn table(model: &Model, rows: &[Map<String, Value>]) -> Result<Table, TaskError> {
    let given = |name: &&String| rows.iter().any(|row| row.contains_key(*name));
    let target = model.encoding.target.name().to_owned();
    let unseen: Vec<String> = model
        .encoding
        .ignored
        .iter()
        .chain([&target])
        .filter(given)
        .cloned()
        .collect();
    read::rows(rows, &unseen)
}

#[cfg(test)]
mod tests;

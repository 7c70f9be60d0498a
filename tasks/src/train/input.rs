//! What `model.train` takes, within which bounds.

use aquatint_engine::artifact::Artifact;
use aquatint_engine::task::TaskError;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Kind, ModelKind};
use crate::tabular::read;
use crate::tabular::table::MAX_COLUMNS;

/// What `model.train` takes.
///
/// The table is one of `rows`, `csv` and `data`; without any, a thousand made-up
/// houses and their prices.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// The kind of model.
    pub model: ModelKind,
    /// What is asked of it; by itself, a column of text is classes and one of numbers is regression.
    #[serde(default)]
    pub task: Option<Kind>,
    /// The table as objects with the same keys; values are numbers, texts, true or false.
    #[serde(default)]
    #[schemars(length(max = 10_000))]
    pub rows: Option<Vec<Map<String, Value>>>,
    /// The table as comma-separated values, the first line naming the columns.
    #[serde(default)]
    #[schemars(length(max = 4_194_304))]
    pub csv: Option<String>,
    /// The table as a stored file of such values: up to 32 MiB and 100,000 rows.
    #[serde(default)]
    pub data: Option<Artifact>,
    /// The column to predict; `price` where the houses serve.
    #[serde(default)]
    #[schemars(length(max = 100))]
    pub target: Option<String>,
    /// Columns to leave out.
    #[serde(default)]
    #[schemars(length(max = 256))]
    pub ignore: Vec<String>,
    /// How often every training row is learned from.
    #[serde(default = "default_epochs")]
    #[schemars(range(min = 1, max = 10_000))]
    pub epochs: u32,
    /// The size of the first steps; each kind of model has one that mostly serves.
    #[serde(default)]
    #[schemars(range(min = 0.000_001, max = 1_000_000))]
    pub learning_rate: Option<f64>,
    /// How many rows a step looks at.
    #[serde(default = "default_batch_size")]
    #[schemars(range(min = 1, max = 4096))]
    pub batch_size: u32,
    /// Decides the split, the first weights and the order of rows.
    #[serde(default)]
    #[schemars(range(max = 9_007_199_254_740_991_u64))]
    pub seed: u64,
    /// The share of rows that is held out to judge the model by.
    #[serde(default = "default_test_fraction")]
    #[schemars(range(min = 0.05, max = 0.5))]
    pub test_fraction: f64,
}

const MAX_ROWS_INLINE: usize = 10_000;
const MAX_CSV_INLINE: usize = 4 * 1024 * 1024;

fn default_epochs() -> u32 {
    100
}

fn default_batch_size() -> u32 {
    32
}

fn default_test_fraction() -> f64 {
    0.2
}

/// # Errors
/// Fatal, class `invalid_input`, naming what is out of bounds.
pub(super) fn check(input: &Input) -> Result<(), TaskError> {
    let refuse = |why: String| Err(TaskError::fatal("invalid_input", why));
    let given = [
        input.rows.is_some(),
        input.csv.is_some(),
        input.data.is_some(),
    ];
    if given.iter().filter(|given| **given).count() > 1 {
        return refuse("give one table: `rows`, `csv` or `data`".to_owned());
    }
    if input.ignore.len() > MAX_COLUMNS {
        return refuse(format!(
            "`ignore` names {} columns; tables have {MAX_COLUMNS} at most",
            input.ignore.len()
        ));
    }
    if let Some(rows) = input
        .rows
        .as_ref()
        .filter(|rows| rows.len() > MAX_ROWS_INLINE)
    {
        return refuse(format!(
            "`rows` has {} rows, and {MAX_ROWS_INLINE} are taken; store the table as CSV and give it as `data`",
            rows.len()
        ));
    }
    if let Some(csv) = input.csv.as_ref().filter(|csv| csv.len() > MAX_CSV_INLINE) {
        return refuse(format!(
            "`csv` has {} bytes, and {MAX_CSV_INLINE} are taken; store it and give it as `data`",
            csv.len()
        ));
    }
    if let Some(data) = input
        .data
        .as_ref()
        .filter(|data| data.size_bytes > read::MAX_CSV_BYTES)
    {
        return refuse(format!(
            "`data` has {} bytes, and {} are read at most",
            data.size_bytes,
            read::MAX_CSV_BYTES
        ));
    }
    within("epochs", f64::from(input.epochs), 1.0, 10_000.0)?;
    within("batch_size", f64::from(input.batch_size), 1.0, 4096.0)?;
    within("test_fraction", input.test_fraction, 0.05, 0.5)?;
    if let Some(rate) = input.learning_rate {
        within("learning_rate", rate, 1e-6, 1e6)?;
    }
    Ok(())
}

fn within(name: &str, value: f64, least: f64, most: f64) -> Result<(), TaskError> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(TaskError::fatal(
        "invalid_input",
        format!("`{name}` is {value}; give a number from {least} to {most}"),
    ))
}

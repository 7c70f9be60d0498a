//! `model.train`: learns one model from a table, and judges it on rows it has not seen.
//!
//! The table is split first, and everything that is learned, down to a column's
//! mean, comes from the training part alone. The same inputs and seed give the
//! same model on one machine, to the last bit.

use std::time::Instant;

use aquatint_engine::artifact::Artifact;
use aquatint_engine::task::{Task, TaskContext, TaskError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use crate::tabular::fit::Point;
pub use crate::tabular::metrics::Metrics;
pub use crate::tabular::network::ModelKind;
pub use crate::tabular::target::Kind;

use crate::tabular::encoding::{Encoding, Unseen};
use crate::tabular::fit::{Settings, fit};
use crate::tabular::model::{Model, examples};
use crate::tabular::network::{Network, Shape};
use crate::tabular::split::split;
use crate::tabular::table::{MAX_COLUMNS, Table};
use crate::tabular::target::Answers;
use crate::tabular::{houses, metrics, read, store};

#[cfg(test)]
mod tests;

/// Trains a model on a table.
#[derive(Debug, Clone, Copy)]
pub struct Train;

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
    #[schemars(range(min = 0.000_001, max = 100))]
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

/// What `model.train` returns.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Output {
    /// The kind of model.
    pub model: ModelKind,
    /// What it was asked.
    pub kind: Kind,
    /// The column it predicts.
    pub target: String,
    /// Epochs that were completed.
    pub epochs: u32,
    /// Whether the soft time-out came before the last one.
    pub stopped_early: bool,
    /// How good it is.
    pub metrics: Parts,
    /// What answering without looking at any column comes to on the held-out
    /// part: always the training rows' mean, or always the shares of their classes.
    pub baseline: Metrics,
    /// How long training took.
    pub duration_ms: u64,
    /// Rows of the table.
    pub rows: usize,
    /// Of these, the held-out ones.
    pub test_rows: usize,
    /// Columns that are learned from.
    pub features: usize,
    /// Numbers that were learned.
    pub parameters: usize,
    /// The loss on the way, 100 points at most.
    pub history: Vec<Point>,
    /// The model, for `model.predict`.
    pub artifact: Artifact,
}

/// Metrics of both parts of the table.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Parts {
    /// On the rows it was trained on.
    pub train: Metrics,
    /// On the rows that were held out.
    pub test: Metrics,
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

impl Task for Train {
    const NAME: &'static str = "model.train";
    const VERSION: u32 = 1;
    const DESCRIPTION: &'static str =
        "Trains a model on a table and judges it on rows that were held out.";
    type Input = Input;
    type Output = Output;

    async fn run(&self, ctx: TaskContext, input: Input) -> Result<Output, TaskError> {
        check(&input)?;
        ctx.progress(0.0, "reading the table");
        let stored = match &input.data {
            Some(artifact) => Some(ctx.read(artifact).await?),
            None => None,
        };
        ctx.blocking(move |ctx| train(ctx, &input, stored.as_deref()))
            .await
    }
}

fn check(input: &Input) -> Result<(), TaskError> {
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
        within("learning_rate", rate, 1e-6, 100.0)?;
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

fn train(ctx: &TaskContext, input: &Input, stored: Option<&[u8]>) -> Result<Output, TaskError> {
    let begun = Instant::now();
    let (table, target) = table(input, stored)?;
    let answers = Answers::of(&table, &target, input.task)?;
    let mut chance = fastrand::Rng::with_seed(input.seed);
    let parts = split(&answers, input.test_fraction, &mut chance)?;
    let encoding = Encoding::fit(&table, &target, &answers, &parts.training, &input.ignore)?;
    let shape = Shape {
        columns: encoding.widths(),
        outputs: encoding.target.outputs(),
    };
    let network = Network::fresh(input.model.architecture(), shape, &mut chance)?;
    let settings = Settings {
        epochs: input.epochs,
        learning_rate: input.learning_rate.unwrap_or(input.model.learning_rate()),
        batch_size: input.batch_size as usize,
    };
    let training = examples(&encoding, &table, &parts.training, &answers)?;
    let test = examples(&encoding, &table, &parts.test, &answers)?;
    let fitted = fit(ctx, &network, &training, &test, settings, &mut chance)?;

    ctx.progress(0.96, "judging the model");
    let model = Model { encoding, network };
    let judge = |rows: &[usize]| {
        let predicted = model.predict(ctx, &table, rows, Unseen::Blank)?;
        Ok::<_, TaskError>(predicted.judge(&answers.of_rows(rows)))
    };
    let metrics = Parts {
        train: judge(&parts.training)?,
        test: judge(&parts.test)?,
    };
    ctx.progress(0.98, "storing the model");
    let name = format!("{}-{target}.safetensors", input.model.name());
    let artifact = ctx.save_blocking(&name, store::MEDIA_TYPE, &store::save(&model)?)?;
    Ok(Output {
        model: input.model,
        kind: model.encoding.target.kind(),
        baseline: baseline(
            &answers.of_rows(&parts.training),
            &answers.of_rows(&parts.test),
        ),
        epochs: fitted.epochs,
        stopped_early: fitted.stopped_early,
        metrics,
        duration_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        rows: table.rows(),
        test_rows: parts.test.len(),
        features: model.encoding.features.len(),
        parameters: model.network.count(),
        history: fitted.history,
        artifact,
        target,
    })
}

/// The table that is learned from, and which of its columns is predicted.
fn table(input: &Input, stored: Option<&[u8]>) -> Result<(Table, String), TaskError> {
    let ignore = &input.ignore;
    let table = match (&input.rows, &input.csv, stored) {
        (Some(rows), _, _) => read::rows(rows, ignore)?,
        (None, Some(csv), _) => read::csv(csv.as_bytes(), ignore)?,
        (None, None, Some(bytes)) => read::csv(bytes, ignore)?,
        (None, None, None) => {
            let target = input
                .target
                .clone()
                .unwrap_or_else(|| houses::TARGET.to_owned());
            return Ok((read::without(&houses::table(), ignore)?, target));
        }
    };
    match &input.target {
        Some(target) => Ok((table, target.clone())),
        None => Err(TaskError::fatal(
            "invalid_input",
            format!(
                "`target` is missing; which column is to be predicted: {}?",
                table.names()
            ),
        )),
    }
}

fn baseline(training: &Answers, test: &Answers) -> Metrics {
    match (training, test) {
        (Answers::Numbers(training), Answers::Numbers(test)) => {
            metrics::mean_baseline(training, test)
        }
        (
            Answers::Classes {
                of_row: training,
                names,
            },
            Answers::Classes { of_row: test, .. },
        ) => metrics::share_baseline(training, names.len(), test),
        (Answers::Numbers(_), Answers::Classes { .. })
        | (Answers::Classes { .. }, Answers::Numbers(_)) => {
            unreachable!("both are parts of one column")
        }
    }
}

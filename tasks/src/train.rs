//! `model.train`: learns one model from a table, and judges it on rows it has not seen.
//!
//! The table is split first, and everything that is learned, down to a column's
//! mean, comes from the training part alone. The same inputs and seed give the
//! same model on one machine, to the last bit.
//!
//! Products of matrices use as many threads as there are cores; a worker with
//! several slots for this does more in all with `RAYON_NUM_THREADS=1`.

use std::time::Instant;

use aquatint_engine::artifact::Artifact;
use aquatint_engine::task::{Task, TaskContext, TaskError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use crate::tabular::architecture::ModelKind;
pub use crate::tabular::fit::Point;
pub use crate::tabular::metrics::Metrics;
pub use crate::tabular::target::Kind;

use crate::tabular::architecture::Shape;
use crate::tabular::encoding::{Encoding, Unseen};
use crate::tabular::fit::{Settings, fit};
use crate::tabular::model::{Model, examples};
use crate::tabular::network::Network;
use crate::tabular::split::split;
use crate::tabular::table::Table;
use crate::tabular::target::Answers;
use crate::tabular::{houses, metrics, read, store};

mod input;
#[cfg(test)]
mod tests;

pub use input::Input;
use input::check;

/// Trains a model on a table.
#[derive(Debug, Clone, Copy)]
pub struct Train;

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

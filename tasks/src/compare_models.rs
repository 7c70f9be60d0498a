//! `model.compare`: which of several trained models did best on what was held out.

use std::cmp::Ordering;

use aquatint_engine::artifact::Artifact;
use aquatint_engine::task::{LogLevel, Task, TaskContext, TaskError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::summarize::{ItemResult, ItemStatus};
use crate::tabular::table::short;
use crate::train::{Kind, Metrics, ModelKind, Parts};

/// Ranks the results of a mapped `model.train`.
///
/// Give it the step itself: `results: ${{ steps.train }}`.
#[derive(Debug, Clone, Copy)]
pub struct Compare;

/// What `model.compare` takes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// The results of a mapped step, in order.
    #[schemars(length(min = 1, max = 100))]
    pub results: Vec<ItemResult>,
    /// What to call each of them; by itself, by its kind of model.
    #[serde(default)]
    #[schemars(length(max = 100))]
    pub names: Vec<String>,
    /// What to rank by; by itself, `mse` for numbers and `log_loss` for classes.
    #[serde(default)]
    pub metric: Option<Metric>,
}

/// A metric of the held-out part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Of numbers: mean squared error; less is better.
    Mse,
    /// Of numbers: mean absolute error; less is better.
    Mae,
    /// Of numbers: the share of variance explained.
    R2,
    /// Of classes: the share that is right.
    Accuracy,
    /// Of classes: -ln of the true one's probability; less is better.
    LogLoss,
    /// Of classes: their F1 scores' mean.
    F1Macro,
}

/// What `model.compare` returns.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Output {
    /// What was ranked by.
    pub metric: Metric,
    /// The name of the first in `ranking`.
    pub best: String,
    /// Its file, for `model.predict`.
    pub artifact: Artifact,
    /// Every model that was trained, the best one first.
    pub ranking: Vec<Ranked>,
    /// Those that were not, and why.
    pub failed: Vec<Failed>,
}

/// A trained model in its place.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Ranked {
    /// What it is called.
    pub name: String,
    /// Its place in `results`.
    pub index: u32,
    /// Its kind.
    pub model: ModelKind,
    /// What it was ranked by.
    pub score: f64,
    /// Everything known of it on the held-out part.
    pub metrics: Metrics,
    /// Whether it is better than answering without looking at any column.
    pub beats_baseline: bool,
    /// Numbers that were learned.
    pub parameters: u64,
    /// How long training took.
    pub duration_ms: u64,
    /// The model.
    pub artifact: Artifact,
}

/// A model that was not trained.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Failed {
    /// What it would be called.
    pub name: String,
    /// Its place in `results`.
    pub index: u32,
    /// The error, cut at 300 bytes.
    pub message: String,
}

/// What is looked at of a result of `model.train`.
#[derive(Debug, Deserialize)]
struct Trained {
    model: ModelKind,
    kind: Kind,
    target: String,
    metrics: Parts,
    baseline: Metrics,
    test_rows: u64,
    parameters: u64,
    duration_ms: u64,
    artifact: Artifact,
}

const MAX_RESULTS: usize = 100;
const MAX_MESSAGE_BYTES: usize = 300;

impl Task for Compare {
    const NAME: &'static str = "model.compare";
    const VERSION: u32 = 1;
    const DESCRIPTION: &'static str = "Ranks trained models by how they did on held-out rows.";
    type Input = Input;
    type Output = Output;

    async fn run(&self, ctx: TaskContext, input: Input) -> Result<Output, TaskError> {
        let output = compare(&input)?;
        ctx.log(
            LogLevel::Info,
            format!(
                "`{}` did best of {} models; {} were not trained",
                output.best,
                output.ranking.len(),
                output.failed.len()
            ),
        );
        Ok(output)
    }
}

fn compare(input: &Input) -> Result<Output, TaskError> {
    if !(1..=MAX_RESULTS).contains(&input.results.len()) {
        return Err(TaskError::fatal(
            "invalid_input",
            format!(
                "`results` has {} results; give 1 to {MAX_RESULTS}",
                input.results.len()
            ),
        ));
    }
    let mut trained = Vec::new();
    let mut failed = Vec::new();
    for result in &input.results {
        match read(result) {
            Ok(one) => trained.push((result.index, one)),
            Err(message) => failed.push(Failed {
                name: name(input, result.index, None),
                index: result.index,
                message,
            }),
        }
    }
    let metric = common_metric(input, &trained, &failed)?;
    let mut ranking = Vec::with_capacity(trained.len());
    for (index, one) in trained {
        let score = metric
            .of(&one.metrics.test)
            .ok_or_else(|| no_score(metric))?;
        let baseline = metric.of(&one.baseline).ok_or_else(|| no_score(metric))?;
        ranking.push(Ranked {
            name: name(input, index, Some(one.model)),
            index,
            model: one.model,
            score,
            metrics: one.metrics.test,
            beats_baseline: metric.order(score, baseline) == Ordering::Less,
            parameters: one.parameters,
            duration_ms: one.duration_ms,
            artifact: one.artifact,
        });
    }
    // Of equals the smaller comes first: it says the same with less.
    ranking.sort_by(|a, b| {
        let by_score = metric.order(a.score, b.score);
        by_score.then(a.parameters.cmp(&b.parameters))
    });
    Ok(Output {
        metric,
        best: ranking[0].name.clone(),
        artifact: ranking[0].artifact.clone(),
        ranking,
        failed,
    })
}

fn read(result: &ItemResult) -> Result<Trained, String> {
    let message = match (result.status, &result.error) {
        (ItemStatus::Succeeded, _) => {
            return Trained::deserialize(&result.output)
                .map_err(|error| format!("is no result of `model.train`: {error}"));
        }
        (_, Some(message)) => message.as_str(),
        (ItemStatus::Failed, None) => "failed without a message",
        (ItemStatus::Cancelled, None) => "was cancelled",
        (ItemStatus::Skipped, None) => "was skipped",
    };
    let cut = message.floor_char_boundary(MAX_MESSAGE_BYTES);
    Err(message[..cut].replace(char::is_control, " "))
}

fn name(input: &Input, index: u32, model: Option<ModelKind>) -> String {
    let given = input.names.get(index as usize);
    match (given, model) {
        (Some(given), _) => short(given),
        (None, Some(model)) => model.name().to_owned(),
        (None, None) => format!("results[{index}]"),
    }
}

/// The metric that all can be ranked by, after making sure that they can be.
fn common_metric(
    input: &Input,
    trained: &[(u32, Trained)],
    failed: &[Failed],
) -> Result<Metric, TaskError> {
    let Some((first_index, first)) = trained.first() else {
        let why = failed.first().map_or("", |failed| failed.message.as_str());
        return Err(TaskError::fatal(
            "no_model",
            format!(
                "of {} models none was trained; the first: {why}",
                failed.len()
            ),
        ));
    };
    for (index, other) in trained {
        if (other.kind, &other.target, other.test_rows)
            != (first.kind, &first.target, first.test_rows)
        {
            return Err(TaskError::fatal(
                "not_comparable",
                format!(
                    "results[{index}] was judged by {}, and results[{first_index}] by {}: only models judged by the same can be ranked",
                    other.judged_by(),
                    first.judged_by()
                ),
            ));
        }
    }
    let metric = input.metric.unwrap_or(match first.kind {
        Kind::Regression => Metric::Mse,
        Kind::Classification => Metric::LogLoss,
    });
    if metric.kind() != first.kind {
        return Err(TaskError::fatal(
            "invalid_input",
            format!(
                "`metric` belongs to {}, and these models are {}; leave it out, or give {}",
                metric.kind().name(),
                first.kind.name(),
                match first.kind {
                    Kind::Regression => "`mse`, `mae` or `r2`",
                    Kind::Classification => "`accuracy`, `log_loss` or `f1_macro`",
                }
            ),
        ));
    }
    Ok(metric)
}

fn no_score(metric: Metric) -> TaskError {
    TaskError::fatal(
        "invalid_input",
        format!(
            "`metric`: {metric:?} has no value where the held-out part does not vary; leave it out"
        ),
    )
}

impl Trained {
    fn judged_by(&self) -> String {
        format!(
            "{} rows of `{}` ({})",
            self.test_rows,
            short(&self.target),
            self.kind.name()
        )
    }
}

impl Metric {
    fn kind(self) -> Kind {
        match self {
            Metric::Mse | Metric::Mae | Metric::R2 => Kind::Regression,
            Metric::Accuracy | Metric::LogLoss | Metric::F1Macro => Kind::Classification,
        }
    }

    fn of(self, metrics: &Metrics) -> Option<f64> {
        match (self, *metrics) {
            (Metric::Mse, Metrics::Regression { mse, .. }) => Some(mse),
            (Metric::Mae, Metrics::Regression { mae, .. }) => Some(mae),
            (Metric::R2, Metrics::Regression { r2, .. }) => r2,
            (Metric::Accuracy, Metrics::Classification { accuracy, .. }) => Some(accuracy),
            (Metric::LogLoss, Metrics::Classification { log_loss, .. }) => Some(log_loss),
            (Metric::F1Macro, Metrics::Classification { f1_macro, .. }) => Some(f1_macro),
            (Metric::Mse | Metric::Mae | Metric::R2, Metrics::Classification { .. })
            | (Metric::Accuracy | Metric::LogLoss | Metric::F1Macro, Metrics::Regression { .. }) => {
                None
            }
        }
    }

    /// The better one is less.
    fn order(self, a: f64, b: f64) -> Ordering {
        match self {
            Metric::Mse | Metric::Mae | Metric::LogLoss => a.total_cmp(&b),
            Metric::R2 | Metric::Accuracy | Metric::F1Macro => b.total_cmp(&a),
        }
    }
}

#[cfg(test)]
mod tests;

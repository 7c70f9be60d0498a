//! Learning: batches in a shuffled order, the gradient of a loss, `AdamW`.
//!
//! The step size falls from its peak along half a cosine (Loshchilov and
//! Hutter, 2017), so the last epochs settle what the first ones found. The
//! held-out part is looked at for the history alone: it decides nothing, and
//! the weights that count are the last ones.

use aquatint_engine::task::{LogLevel, TaskContext, TaskError};
use candle_core::{DType, Tensor};
use candle_nn::{AdamW, Optimizer, ParamsAdamW};
use schemars::JsonSchema;
use serde::Serialize;

use super::network::{Network, tensor_error};

/// How to learn.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) epochs: u32,
    pub(crate) learning_rate: f64,
    pub(crate) batch_size: usize,
}

/// Encoded rows with their right answers.
#[derive(Debug)]
pub(crate) struct Examples {
    pub(crate) rows: Tensor,
    pub(crate) answers: Wanted,
}

/// Right answers as a loss wants them, one for each row.
#[derive(Debug)]
pub(crate) enum Wanted {
    /// In deviations from the mean.
    Numbers(Tensor),
    /// The class's place.
    Classes(Tensor),
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Fitted {
    /// Epochs that were completed.
    pub(crate) epochs: u32,
    /// Whether the soft time-out came before the last epoch.
    pub(crate) stopped_early: bool,
    pub(crate) history: Vec<Point>,
}

/// How far learning was after an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
pub struct Point {
    /// Counts from 1.
    pub epoch: u32,
    /// The mean loss over the epoch's batches, while they were learned from.
    pub train_loss: f64,
    /// The loss over the held-out part, after the epoch.
    pub test_loss: f64,
}

/// The most points a history has, but for the last epoch's.
const MAX_POINTS: u32 = 99;
/// Rows computed at a time where nothing is learned.
pub(crate) const ROWS_AT_A_TIME: usize = 1024;
/// The step size at the end, as a share of its peak.
const LAST_STEP: f64 = 0.02;
/// Epochs are this share of the whole work, as progress shows it.
const SHARE: f64 = 0.95;

/// Learns.
///
/// # Errors
/// Cancelled, soon after it is asked for. Fatal, class `diverged`, when the loss is no finite number.
/// Retryable, class `soft_timeout`, when there was no time for a single epoch.
pub(crate) fn fit(
    ctx: &TaskContext,
    network: &Network,
    training: &Examples,
    test: &Examples,
    settings: Settings,
    chance: &mut fastrand::Rng,
) -> Result<Fitted, TaskError> {
    let count = training.rows.dim(0).map_err(tensor_error)?;
    let mut order: Vec<u32> = (0..count)
        .map(|row| u32::try_from(row).expect("100,000 at most"))
        .collect();
    let gentle = ParamsAdamW {
        // Pulling weights to nought would bend what a plain sum recovers exactly.
        weight_decay: 0.0,
        ..ParamsAdamW::default()
    };
    let mut optimizer = AdamW::new(network.variables(), gentle).map_err(tensor_error)?;
    let every = settings.epochs.div_ceil(MAX_POINTS);
    let mut fitted = Fitted {
        epochs: 0,
        stopped_early: false,
        history: Vec::new(),
    };
    for epoch in 1..=settings.epochs {
        chance.shuffle(&mut order);
        optimizer.set_learning_rate(step_size(settings, epoch));
        let mut total = 0.0;
        for batch in order.chunks(settings.batch_size) {
            ctx.check()?;
            if ctx.is_soft_timeout() {
                return stop_early(ctx, fitted, settings);
            }
            let loss = learn(network, training, batch, &mut optimizer).map_err(tensor_error)?;
            if !loss.is_finite() {
                return Err(diverged(epoch, loss, settings));
            }
            total += loss * many(batch.len());
        }
        let train_loss = total / many(order.len());
        fitted.epochs = epoch;
        if epoch % every == 0 || epoch == settings.epochs {
            let test_loss = loss_over(ctx, network, test)?;
            fitted.history.push(Point {
                epoch,
                train_loss,
                test_loss,
            });
        }
        ctx.progress(
            SHARE * f64::from(epoch) / f64::from(settings.epochs),
            format!("epoch {epoch}/{}, loss {train_loss:.3}", settings.epochs),
        );
    }
    Ok(fitted)
}

/// One step downhill; the loss before it.
fn learn(
    network: &Network,
    examples: &Examples,
    batch: &[u32],
    optimizer: &mut AdamW,
) -> candle_core::Result<f64> {
    let batch = Tensor::from_slice(batch, batch.len(), examples.rows.device())?;
    let rows = examples.rows.index_select(&batch, 0)?;
    let wanted = match &examples.answers {
        Wanted::Numbers(numbers) => Wanted::Numbers(numbers.index_select(&batch, 0)?),
        Wanted::Classes(classes) => Wanted::Classes(classes.index_select(&batch, 0)?),
    };
    let loss = loss(&network.forward(&rows)?, &wanted)?;
    let value = scalar(&loss)?;
    // A loss that is no number would make every weight one: it is reported instead.
    if value.is_finite() {
        optimizer.backward_step(&loss)?;
    }
    Ok(value)
}

/// The mean over the rows: squared error, or -ln of the true class's probability.
fn loss(answers: &Tensor, wanted: &Wanted) -> candle_core::Result<Tensor> {
    match wanted {
        Wanted::Numbers(numbers) => candle_nn::loss::mse(&answers.squeeze(1)?, numbers),
        Wanted::Classes(classes) => candle_nn::loss::cross_entropy(answers, classes),
    }
}

fn loss_over(ctx: &TaskContext, network: &Network, examples: &Examples) -> Result<f64, TaskError> {
    let count = examples.rows.dim(0).map_err(tensor_error)?;
    let mut total = 0.0;
    for first in (0..count).step_by(ROWS_AT_A_TIME) {
        ctx.check()?;
        let length = ROWS_AT_A_TIME.min(count - first);
        let over_these = || {
            let wanted = match &examples.answers {
                Wanted::Numbers(numbers) => Wanted::Numbers(numbers.narrow(0, first, length)?),
                Wanted::Classes(classes) => Wanted::Classes(classes.narrow(0, first, length)?),
            };
            let answers = network.forward(&examples.rows.narrow(0, first, length)?)?;
            scalar(&loss(&answers, &wanted)?)
        };
        total += over_these().map_err(tensor_error)? * many(length);
    }
    Ok(total / many(count))
}

fn scalar(tensor: &Tensor) -> candle_core::Result<f64> {
    tensor.to_dtype(DType::F64)?.to_scalar()
}

fn step_size(settings: Settings, epoch: u32) -> f64 {
    let gone = f64::from(epoch - 1) / f64::from(settings.epochs);
    let falling = 0.5 * (1.0 + (std::f64::consts::PI * gone).cos());
    settings.learning_rate * (LAST_STEP + (1.0 - LAST_STEP) * falling)
}

fn stop_early(ctx: &TaskContext, fitted: Fitted, settings: Settings) -> Result<Fitted, TaskError> {
    if fitted.epochs == 0 {
        return Err(TaskError::retryable(
            "soft_timeout",
            "the soft time-out came before the first epoch was over; give the step more time, or the model fewer rows",
        ));
    }
    ctx.log(
        LogLevel::Warn,
        format!(
            "the soft time-out came after epoch {} of {}: the model is judged and kept as it is",
            fitted.epochs, settings.epochs
        ),
    );
    Ok(Fitted {
        stopped_early: true,
        ..fitted
    })
}

fn diverged(epoch: u32, loss: f64, settings: Settings) -> TaskError {
    TaskError::fatal(
        "diverged",
        format!(
            "in epoch {epoch} the loss became {loss}: the steps are too large; give a `learning_rate` below {}",
            settings.learning_rate
        ),
    )
}

#[expect(clippy::cast_precision_loss, reason = "at most 100,000 rows")]
fn many(rows: usize) -> f64 {
    rows as f64
}

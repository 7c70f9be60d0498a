//! A trained model: its network, and how its rows and answers are to be read.

use aquatint_engine::task::{TaskContext, TaskError};
use candle_core::{DType, Tensor};

use super::encoding::{Encoding, Matrix, Target, Unseen, single};
use super::fit::{Examples, ROWS_AT_A_TIME, Wanted};
use super::metrics::{self, Metrics};
use super::network::{Network, tensor, tensor_error};
use super::table::Table;
use super::target::Answers;

/// What `model.train` makes and `model.predict` asks.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) encoding: Encoding,
    pub(crate) network: Network,
}

/// Answers for some rows, in their order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Predicted {
    /// In the target's own unit.
    Numbers(Vec<f64>),
    /// As many for each row as there are classes; they sum to one.
    Probabilities { classes: usize, values: Vec<f64> },
}

impl Model {
    /// Answers these rows of a table.
    ///
    /// # Errors
    /// As [`Encoding::encode`]; fatal, class `invalid_model`, when an answer is no finite number; cancelled.
    pub(crate) fn predict(
        &self,
        ctx: &TaskContext,
        table: &Table,
        rows: &[usize],
        unseen: Unseen,
    ) -> Result<Predicted, TaskError> {
        self.answer(ctx, self.encoding.encode(table, rows, unseen)?)
    }

    fn answer(&self, ctx: &TaskContext, rows: Matrix) -> Result<Predicted, TaskError> {
        let count = rows.rows;
        let rows = tensor(rows)?;
        let outputs = self.encoding.target.outputs();
        let mut values = Vec::with_capacity(count * outputs);
        for first in (0..count).step_by(ROWS_AT_A_TIME) {
            ctx.check()?;
            let some = rows.narrow(0, first, ROWS_AT_A_TIME.min(count - first));
            let answers = some
                .and_then(|some| self.network.forward(&some))
                .and_then(|answers| answers.to_dtype(DType::F64)?.flatten_all()?.to_vec1())
                .map_err(tensor_error)?;
            values.extend::<Vec<f64>>(answers);
        }
        match &self.encoding.target {
            Target::Regression { standard, .. } => {
                values
                    .iter_mut()
                    .for_each(|value| *value = standard.restore(*value));
            }
            Target::Classification { .. } => {
                values.chunks_exact_mut(outputs).for_each(to_probabilities);
            }
        }
        if values.iter().any(|value| !value.is_finite()) {
            return Err(TaskError::fatal(
                "invalid_model",
                "the model answers with what is no finite number; train it again, with a smaller `learning_rate`",
            ));
        }
        Ok(match self.encoding.target {
            Target::Regression { .. } => Predicted::Numbers(values),
            Target::Classification { .. } => Predicted::Probabilities {
                classes: outputs,
                values,
            },
        })
    }
}

/// Softmax, in place.
fn to_probabilities(row: &mut [f64]) {
    let highest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    row.iter_mut()
        .for_each(|value| *value = (*value - highest).exp());
    let sum: f64 = row.iter().sum();
    row.iter_mut().for_each(|value| *value /= sum);
}

impl Predicted {
    /// Judges these answers by the right ones for the same rows.
    pub(crate) fn judge(&self, truth: &Answers) -> Metrics {
        match (self, truth) {
            (Predicted::Numbers(numbers), Answers::Numbers(truth)) => {
                metrics::regression(numbers, truth)
            }
            (Predicted::Probabilities { classes, values }, Answers::Classes { of_row, .. }) => {
                metrics::classification(values, *classes, of_row)
            }
            (Predicted::Numbers(_), Answers::Classes { .. })
            | (Predicted::Probabilities { .. }, Answers::Numbers(_)) => {
                unreachable!("a model's target was made from the same answers")
            }
        }
    }
}

/// Rows to learn from, with their answers as a loss wants them.
///
/// # Errors
/// As [`Encoding::encode`].
pub(crate) fn examples(
    encoding: &Encoding,
    table: &Table,
    rows: &[usize],
    answers: &Answers,
) -> Result<Examples, TaskError> {
    let device = candle_core::Device::Cpu;
    let wanted = match (&encoding.target, answers.of_rows(rows)) {
        (Target::Regression { standard, .. }, Answers::Numbers(numbers)) => {
            let reduced: Vec<f32> = numbers
                .iter()
                .map(|number| single((number - standard.mean) / standard.deviation))
                .collect();
            Tensor::from_vec(reduced, rows.len(), &device).map(Wanted::Numbers)
        }
        (Target::Classification { .. }, Answers::Classes { of_row, .. }) => {
            Tensor::from_vec(of_row, rows.len(), &device).map(Wanted::Classes)
        }
        (Target::Regression { .. }, Answers::Classes { .. })
        | (Target::Classification { .. }, Answers::Numbers(_)) => {
            unreachable!("the target was made from the same answers")
        }
    };
    Ok(Examples {
        rows: tensor(encoding.encode(table, rows, Unseen::Blank)?)?,
        answers: wanted.map_err(tensor_error)?,
    })
}

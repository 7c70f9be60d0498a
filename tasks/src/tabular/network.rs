//! A model with its weights: from encoded rows to answers, on candle's tensors.

use std::collections::BTreeMap;

use aquatint_engine::task::TaskError;
use candle_core::{Device, Tensor, Var};

use super::architecture::{Architecture, Shape};
use super::encoding::Matrix;
use super::transformer;

/// A model with its weights.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) architecture: Architecture,
    shape: Shape,
    parameters: BTreeMap<String, Var>,
    /// Which encoded number belongs to which column, for those who ask by column.
    groups: Tensor,
}

impl Network {
    /// A network that has learned nothing yet.
    pub(crate) fn fresh(
        architecture: Architecture,
        shape: Shape,
        chance: &mut fastrand::Rng,
    ) -> Result<Self, TaskError> {
        let parameters = architecture.parameters(&shape);
        let parameters = parameters.into_iter().map(|parameter| {
            let values = parameter.fresh(chance);
            (parameter.name, (parameter.dims, values))
        });
        let parameters = parameters.collect();
        Self::with(architecture, shape, parameters)
    }

    /// A network with these values, which are as many as [`Architecture::parameters`] says.
    pub(crate) fn with(
        architecture: Architecture,
        shape: Shape,
        values: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
    ) -> Result<Self, TaskError> {
        let build = || {
            let mut parameters = BTreeMap::new();
            for (name, (dims, values)) in values {
                let tensor = Tensor::from_vec(values, dims, &Device::Cpu)?;
                parameters.insert(name, Var::from_tensor(&tensor)?);
            }
            let groups = groups(&shape)?;
            Ok((parameters, groups))
        };
        let (parameters, groups) = build().map_err(tensor_error)?;
        Ok(Self {
            architecture,
            shape,
            parameters,
            groups,
        })
    }

    /// What an optimiser changes, in one order.
    pub(crate) fn variables(&self) -> Vec<Var> {
        self.parameters.values().cloned().collect()
    }

    /// The tensors by name.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.parameters
            .iter()
            .map(|(name, var)| (name.as_str(), var.as_tensor()))
    }

    /// How many numbers are learned.
    pub(crate) fn count(&self) -> usize {
        self.parameters.values().map(|var| var.elem_count()).sum()
    }

    /// From rows of `width` numbers to rows of `outputs`.
    pub(crate) fn forward(&self, rows: &Tensor) -> candle_core::Result<Tensor> {
        match &self.architecture {
            Architecture::Linear => self.layer("output", rows),
            Architecture::Mlp { hidden } => {
                let mut rows = rows.clone();
                for at in 0..hidden.len() {
                    rows = self.layer(&format!("hidden.{at}"), &rows)?.relu()?;
                }
                self.layer("output", &rows)
            }
            Architecture::Transformer {
                width,
                heads,
                layers,
                ..
            } => transformer::forward(self, rows, *width, *heads, *layers),
        }
    }

    /// A tensor by its name, which is one of this architecture's.
    pub(super) fn get(&self, name: &str) -> &Tensor {
        &self.parameters[name]
    }

    pub(super) fn groups(&self) -> &Tensor {
        &self.groups
    }

    /// Applies the layer of that name to each row.
    pub(super) fn layer(&self, name: &str, rows: &Tensor) -> candle_core::Result<Tensor> {
        let weight = self.get(&format!("{name}.weight"));
        let bias = self.get(&format!("{name}.bias"));
        rows.matmul(&weight.t()?)?.broadcast_add(bias)
    }

    pub(super) fn columns(&self) -> usize {
        self.shape.columns.len()
    }
}

/// A one where the encoded number (row) belongs to the column (column).
fn groups(shape: &Shape) -> candle_core::Result<Tensor> {
    let (width, columns) = (shape.width(), shape.columns.len());
    let mut ones = vec![0_f32; width * columns];
    let mut number = 0;
    for (column, numbers) in shape.columns.iter().enumerate() {
        for _ in 0..*numbers {
            ones[number * columns + column] = 1.0;
            number += 1;
        }
    }
    Tensor::from_vec(ones, (width, columns, 1), &Device::Cpu)
}

/// Encoded rows as a tensor.
pub(crate) fn tensor(matrix: Matrix) -> Result<Tensor, TaskError> {
    let shape = (matrix.rows, matrix.width);
    Tensor::from_vec(matrix.values, shape, &Device::Cpu).map_err(tensor_error)
}

/// What candle says is a mistake in this program, or memory that is not to be had.
#[expect(clippy::needless_pass_by_value, reason = "errors are mapped by value")]
pub(crate) fn tensor_error(error: candle_core::Error) -> TaskError {
    TaskError::fatal(
        "tensor",
        format!("the model could not be computed: {error}"),
    )
}

#[cfg(test)]
mod tests;

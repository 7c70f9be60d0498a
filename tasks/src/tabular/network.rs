//! The models: from encoded rows to answers, on candle's tensors.
//!
//! An [`Architecture`] says which tensors there are and of which shape. The
//! same list serves to make new ones and to judge a file that claims to hold
//! some, so a stored model cannot have what a trained one could not.
//! Weights begin as a seed decides: the random numbers of candle's CPU have none.

use std::collections::BTreeMap;

use aquatint_engine::task::TaskError;
use candle_core::{Device, Tensor, Var};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::encoding::{Matrix, single};
use super::transformer;

/// The kinds of model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ModelKind {
    /// A weighted sum of the columns.
    Linear,
    /// Two hidden layers of 64.
    Mlp,
    /// A small encoder that lets columns attend to each other.
    Transformer,
}

impl ModelKind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            ModelKind::Linear => "linear",
            ModelKind::Mlp => "mlp",
            ModelKind::Transformer => "transformer",
        }
    }

    /// The step size that serves where none is asked for.
    pub(crate) fn learning_rate(self) -> f64 {
        match self {
            ModelKind::Linear => 0.02,
            ModelKind::Mlp => 0.005,
            ModelKind::Transformer => 0.002,
        }
    }

    pub(crate) fn architecture(self) -> Architecture {
        match self {
            ModelKind::Linear => Architecture::Linear,
            ModelKind::Mlp => Architecture::Mlp {
                hidden: vec![64, 64],
            },
            ModelKind::Transformer => Architecture::Transformer {
                width: 32,
                heads: 4,
                layers: 2,
                feed_forward: 64,
            },
        }
    }
}

/// A model's build, as stored with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "model", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Architecture {
    Linear,
    Mlp {
        /// The width of each hidden layer.
        hidden: Vec<usize>,
    },
    Transformer {
        /// The numbers a column's token has.
        width: usize,
        heads: usize,
        layers: usize,
        /// The width inside a layer's feed-forward part.
        feed_forward: usize,
    },
}

/// What a network takes and gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shape {
    /// How many numbers each column became.
    pub(crate) columns: Vec<usize>,
    /// How many numbers come out for a row.
    pub(crate) outputs: usize,
}

impl Shape {
    pub(crate) fn width(&self) -> usize {
        self.columns.iter().sum()
    }
}

/// A tensor that is learned.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Parameter {
    pub(crate) name: String,
    pub(crate) dims: Vec<usize>,
    begin: Begin,
}

/// What a tensor holds before anything is learned.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Begin {
    Zeros,
    Ones,
    /// Even chance from -bound to bound.
    Within(f64),
}

impl Parameter {
    pub(super) fn zeros(name: String, dims: &[usize]) -> Self {
        let dims = dims.to_vec();
        Self {
            name,
            dims,
            begin: Begin::Zeros,
        }
    }

    pub(super) fn ones(name: String, dims: &[usize]) -> Self {
        let dims = dims.to_vec();
        Self {
            name,
            dims,
            begin: Begin::Ones,
        }
    }

    pub(super) fn within(bound: f64, name: String, dims: &[usize]) -> Self {
        let dims = dims.to_vec();
        Self {
            name,
            dims,
            begin: Begin::Within(bound),
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.dims.iter().product()
    }

    fn fresh(&self, chance: &mut fastrand::Rng) -> Vec<f32> {
        let values = 0..self.count();
        match self.begin {
            Begin::Zeros => vec![0.0; self.count()],
            Begin::Ones => vec![1.0; self.count()],
            Begin::Within(bound) => values
                .map(|_| single(bound * (2.0 * chance.f64() - 1.0)))
                .collect(),
        }
    }
}

/// Weight and bias of a layer that mixes `from` numbers into `to`.
///
/// The weights' bound keeps the size of signals on their way in both directions
/// (Glorot and Bengio, 2010).
#[expect(clippy::cast_precision_loss, reason = "a few thousand at most")]
pub(super) fn layer(name: &str, from: usize, to: usize) -> [Parameter; 2] {
    let bound = (6.0 / (from + to) as f64).sqrt();
    [
        Parameter::within(bound, format!("{name}.weight"), &[to, from]),
        Parameter::zeros(format!("{name}.bias"), &[to]),
    ]
}

impl Architecture {
    /// Every tensor of a network of this build, in one order.
    pub(crate) fn parameters(&self, shape: &Shape) -> Vec<Parameter> {
        match self {
            Architecture::Linear => layer("output", shape.width(), shape.outputs).to_vec(),
            Architecture::Mlp { hidden } => {
                let mut parameters = Vec::new();
                let mut from = shape.width();
                for (at, to) in hidden.iter().enumerate() {
                    parameters.extend(layer(&format!("hidden.{at}"), from, *to));
                    from = *to;
                }
                parameters.extend(layer("output", from, shape.outputs));
                parameters
            }
            Architecture::Transformer {
                width,
                layers,
                feed_forward,
                ..
            } => transformer::parameters(*width, *layers, *feed_forward, shape),
        }
    }
}

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
pub(crate) fn tensor_error(error: candle_core::Error) -> TaskError {
    TaskError::fatal(
        "tensor",
        format!("the model could not be computed: {error}"),
    )
}

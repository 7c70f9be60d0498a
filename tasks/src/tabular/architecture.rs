//! How models are built: which tensors there are, of which shape, and what they begin with.
//!
//! One list serves to make new tensors and to judge a file that claims to hold
//! some, so a stored model cannot have what a trained one could not. Tensors
//! begin as a seed decides: the random numbers of candle's CPU have none.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::encoding::single;
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
            ModelKind::Linear => 0.05,
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

    /// What the tensor holds before anything is learned.
    pub(super) fn fresh(&self, chance: &mut fastrand::Rng) -> Vec<f32> {
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

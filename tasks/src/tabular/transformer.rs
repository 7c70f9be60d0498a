//! A transformer that reads a table's row as a sentence, a token for each column.
//!
//! ```text
//!  columns ─▶ tokens ─▶ [readout, t₁ … tₙ] ─▶ layers × (attention, feed-forward) ─▶ readout ─▶ output
//! ```
//!
//! A column's token is its own direction times its number (for a text: the
//! direction of its value), plus its own bias, as in the FT-Transformer
//! (Gorishniy et al., 2021). A learned token in front gathers what the others
//! say, and is read at the end. Normalization comes before each part, which
//! trains without a warm-up. Norm and softmax are made of plain operations:
//! candle's fused ones give no gradients.

use candle_core::{D, Tensor};

use super::architecture::{Parameter, Shape, layer};
use super::network::Network;

/// Keeps the division in a normalization away from nought.
const EPSILON: f64 = 1e-5;

pub(super) fn parameters(
    width: usize,
    layers: usize,
    feed_forward: usize,
    shape: &Shape,
) -> Vec<Parameter> {
    let direction = 1.0 / root(width);
    let mut parameters = vec![
        Parameter::within(
            direction,
            "tokens.weight".to_owned(),
            &[shape.width(), width],
        ),
        Parameter::within(
            direction,
            "tokens.bias".to_owned(),
            &[shape.columns.len(), width],
        ),
        Parameter::within(direction, "readout".to_owned(), &[1, width]),
    ];
    for at in 0..layers {
        parameters.extend(norm_parameters(
            &format!("layers.{at}.attention_norm"),
            width,
        ));
        // Query, key and value, as one product.
        parameters.extend(layer(&format!("layers.{at}.ask"), width, 3 * width));
        parameters.extend(layer(&format!("layers.{at}.mix"), width, width));
        parameters.extend(norm_parameters(&format!("layers.{at}.feed_norm"), width));
        parameters.extend(layer(&format!("layers.{at}.widen"), width, feed_forward));
        parameters.extend(layer(&format!("layers.{at}.narrow"), feed_forward, width));
    }
    parameters.extend(norm_parameters("norm", width));
    parameters.extend(layer("output", width, shape.outputs));
    parameters
}

fn norm_parameters(name: &str, width: usize) -> [Parameter; 2] {
    [
        Parameter::ones(format!("{name}.weight"), &[width]),
        Parameter::zeros(format!("{name}.bias"), &[width]),
    ]
}

/// From encoded rows to answers. Between the steps, tokens of all rows lie one
/// below the other, so that each layer is one product.
pub(super) fn forward(
    network: &Network,
    rows: &Tensor,
    width: usize,
    heads: usize,
    layers: usize,
) -> candle_core::Result<Tensor> {
    let count = rows.dim(0)?;
    let tokens = network.columns() + 1;
    let mut signal = tokenize(network, rows, width)?.reshape((count * tokens, width))?;
    for at in 0..layers {
        let name = |part: &str| format!("layers.{at}.{part}");
        let normed = norm(network, &name("attention_norm"), &signal)?;
        let asked = network.layer(&name("ask"), &normed)?;
        let asked = asked.reshape((count, tokens, 3, heads, width / heads))?;
        let part = |at| {
            let part = asked.narrow(2, at, 1)?.squeeze(2)?;
            part.transpose(1, 2)?.contiguous()
        };
        let mixed = attend(&part(0)?, &part(1)?, &part(2)?)?
            .transpose(1, 2)?
            .reshape((count * tokens, width))?;
        signal = (signal + network.layer(&name("mix"), &mixed)?)?;
        let normed = norm(network, &name("feed_norm"), &signal)?;
        let wide = network.layer(&name("widen"), &normed)?.relu()?;
        signal = (signal + network.layer(&name("narrow"), &wide)?)?;
    }
    let readout = signal.reshape((count, tokens, width))?.narrow(1, 0, 1)?;
    let readout = readout.reshape((count, width))?;
    network.layer("output", &norm(network, "norm", &readout)?)
}

/// Rows × (1 + columns) × width. All columns' products are one: each encoded
/// number's direction stands in its column's block, with zeros in the others.
fn tokenize(network: &Network, rows: &Tensor, width: usize) -> candle_core::Result<Tensor> {
    let (count, numbers) = rows.dims2()?;
    let columns = network.columns();
    let blocks = network
        .get("tokens.weight")
        .unsqueeze(1)?
        .broadcast_mul(network.groups())?
        .reshape((numbers, columns * width))?;
    let tokens = rows
        .matmul(&blocks)?
        .reshape((count, columns, width))?
        .broadcast_add(network.get("tokens.bias"))?;
    let readout = network.get("readout").unsqueeze(0)?;
    let readout = readout.broadcast_as((count, 1, width))?.contiguous()?;
    Tensor::cat(&[&readout, &tokens], 1)
}

/// Scaled dot-product attention (Vaswani et al., 2017), for each head alone.
fn attend(query: &Tensor, key: &Tensor, value: &Tensor) -> candle_core::Result<Tensor> {
    let scale = 1.0 / root(query.dim(D::Minus1)?);
    let scores = (query.matmul(&key.transpose(2, 3)?.contiguous()?)? * scale)?;
    // Taking the highest away keeps the powers small and changes nothing else, gradients included.
    let highest = scores.max_keepdim(D::Minus1)?.detach();
    let powers = scores.broadcast_sub(&highest)?.exp()?;
    let shares = powers.broadcast_div(&powers.sum_keepdim(D::Minus1)?)?;
    shares.matmul(value)
}

fn norm(network: &Network, name: &str, rows: &Tensor) -> candle_core::Result<Tensor> {
    let centred = rows.broadcast_sub(&rows.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
    centred
        .broadcast_div(&(variance + EPSILON)?.sqrt()?)?
        .broadcast_mul(network.get(&format!("{name}.weight")))?
        .broadcast_add(network.get(&format!("{name}.bias")))
}

#[expect(clippy::cast_precision_loss, reason = "a few hundred at most")]
fn root(width: usize) -> f64 {
    (width as f64).sqrt()
}

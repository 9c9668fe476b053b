//! A linear layer: every output is a weighted sum of all inputs, plus a constant. Most of a Transformer's weights live in these.

use super::parameters::{ParameterTable, Start, Weights};
use crate::batch::Spans;
use crate::capture::Tape;
use crate::ops;
use candle_core::{Result, Tensor};

/// `y = x Wᵀ + b`.
pub struct Linear {
    weight: Tensor, // (out, in)
    bias: Tensor,   // (out)
    offsets: (usize, usize),
}

/// Lists the layer's parameters: weights spread so that the output is about as large as the input, times `gain`.
pub(crate) fn declare(path: &str, inputs: usize, outputs: usize, gain: f32, table: &mut ParameterTable) {
    #[expect(clippy::cast_precision_loss, reason = "a width is far below 2^24")]
    let deviation = gain / (inputs as f32).sqrt();
    table.add(format!("{path}.weight"), &[outputs, inputs], Start::Spread(deviation));
    table.add(format!("{path}.bias"), &[outputs], Start::Zero);
}

impl Linear {
    pub(crate) fn load(path: &str, weights: &Weights) -> Result<Self> {
        let (weight, at) = weights.tensor(&format!("{path}.weight"))?;
        let (bias, bias_at) = weights.tensor(&format!("{path}.bias"))?;
        Ok(Self { weight, bias, offsets: (at, bias_at) })
    }

    /// # Shape
    /// in `(N, in)`, out `(N, out)`.
    ///
    /// # Errors
    /// The tensor engine's, for a wrong shape.
    pub fn forward(&self, x: &Tensor, spans: &Spans, tape: &Tape) -> Result<Tensor> {
        let op = ops::linear::Linear {
            weight: self.weight.clone(),
            bias: self.bias.clone(),
            offsets: self.offsets,
            spans: spans.clone(),
            tape: tape.clone(),
        };
        ops::linear::linear(x, op) // (N, in) -> (N, out)
    }
}

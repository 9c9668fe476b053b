//! Layer normalisation: each token's vector is shifted to mean 0 and scaled to variance 1, so that depth does not blow numbers up.

use super::parameters::{ParameterTable, Start, Weights};
use crate::batch::Spans;
use crate::capture::Tape;
use crate::ops;
use candle_core::{Result, Tensor};

/// Normalises, then gives each coordinate its own learned gain and shift.
pub struct LayerNorm {
    gain: Tensor,  // (C)
    shift: Tensor, // (C)
    offsets: (usize, usize),
}

pub(crate) fn declare(path: &str, width: usize, table: &mut ParameterTable) {
    table.add(format!("{path}.weight"), &[width], Start::One);
    table.add(format!("{path}.bias"), &[width], Start::Zero);
}

impl LayerNorm {
    pub(crate) fn load(path: &str, weights: &Weights) -> Result<Self> {
        let (gain, at) = weights.tensor(&format!("{path}.weight"))?;
        let (shift, shift_at) = weights.tensor(&format!("{path}.bias"))?;
        Ok(Self { gain, shift, offsets: (at, shift_at) })
    }

    /// # Shape
    /// in and out `(N, C)`.
    ///
    /// # Errors
    /// The tensor engine's, for a wrong shape.
    pub fn forward(&self, x: &Tensor, spans: &Spans, tape: &Tape) -> Result<Tensor> {
        let op = ops::norm::Norm {
            gain: self.gain.clone(),
            shift: self.shift.clone(),
            offsets: self.offsets,
            spans: spans.clone(),
            tape: tape.clone(),
        };
        ops::norm::norm(x, op)
    }
}

//! Normalisation: each token's vector is scaled to a fixed size, so that depth does not blow numbers up.

use super::block::BlockShape;
use super::parameters::{Listing, Loaded, Start, Values};
use crate::batch::Spans;
use crate::capture::Tape;
use crate::ops;
use candle_core::{Result, Tensor};

pub use crate::ops::norm::NormKind;

/// Normalises, then gives each coordinate its own learned gain and, with [`NormKind::Layer`], shift.
pub struct Norm {
    kind: NormKind,
    epsilon: f32,
    gain: Loaded,          // (C)
    shift: Option<Loaded>, // (C)
}

pub(crate) fn declare(path: &str, kind: NormKind, width: usize, listing: &mut Listing) {
    listing.add(format!("{path}.weight"), &[width], Start::One);
    match kind {
        NormKind::Layer => listing.add(format!("{path}.bias"), &[width], Start::Zero),
        NormKind::RootMeanSquare => {}
    }
}

impl Norm {
    pub(crate) fn load(path: &str, shape: &BlockShape, values: Values<'_>) -> Result<Self> {
        let shift = match shape.norm {
            NormKind::Layer => Some(values.load(&format!("{path}.bias"))?),
            NormKind::RootMeanSquare => None,
        };
        Ok(Self { kind: shape.norm, epsilon: shape.epsilon, gain: values.load(&format!("{path}.weight"))?, shift })
    }

    /// # Shape
    /// in and out `(N, C)`.
    ///
    /// # Errors
    /// The tensor engine's, for a wrong shape.
    pub fn forward(&self, x: &Tensor, spans: &Spans, tape: &Tape) -> Result<Tensor> {
        let op = ops::norm::Norm {
            kind: self.kind,
            epsilon: self.epsilon,
            gain: self.gain.clone(),
            shift: self.shift.clone(),
            spans: spans.clone(),
            tape: tape.clone(),
        };
        ops::norm::norm(x, op)
    }
}

//! The feed-forward part: each token alone is widened, gated by GELU and narrowed again. What attention gathered is digested here.

use super::block::BlockShape;
use super::linear::{self, Linear};
use super::parameters::{Listing, Values};
use crate::batch::Spans;
use crate::capture::Tape;
use crate::ops::gelu::gelu;
use candle_core::{Result, Tensor};

/// Two linear layers around a GELU.
pub struct FeedForward {
    up: Linear,
    down: Linear,
}

pub(crate) fn declare(path: &str, shape: &BlockShape, listing: &mut Listing) {
    let (c, f) = (shape.width, shape.hidden);
    linear::declare_adapted(&format!("{path}.up"), (c, f), 1.0, shape.adapter, listing);
    linear::declare_adapted(&format!("{path}.down"), (f, c), shape.residual_gain(), shape.adapter, listing);
}

impl FeedForward {
    pub(crate) fn load(path: &str, shape: &BlockShape, values: Values<'_>) -> Result<Self> {
        Ok(Self {
            up: Linear::load_adapted(&format!("{path}.up"), shape.adapter, values)?,
            down: Linear::load_adapted(&format!("{path}.down"), shape.adapter, values)?,
        })
    }

    /// # Shape
    /// in and out `(N, C)`.
    ///
    /// # Errors
    /// The tensor engine's, for a wrong shape.
    pub fn forward(&self, x: &Tensor, spans: &Spans, tape: &Tape) -> Result<Tensor> {
        let wide = gelu(&self.up.forward(x, spans, tape)?)?; // (N, C) -> (N, F)
        self.down.forward(&wide, spans, tape) // (N, F) -> (N, C)
    }
}

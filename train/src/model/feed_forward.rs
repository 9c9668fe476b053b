//! The feed-forward part: each token alone is widened, gated by GELU and narrowed again. What attention gathered is digested here.

use super::linear::{self, Linear};
use super::parameters::{ParameterTable, Weights, size};
use crate::batch::Spans;
use crate::capture::Tape;
use crate::ops::gelu::gelu;
use candle_core::{Result, Tensor};
use protocol::plan::EncoderConfig;

/// Two linear layers around a GELU.
pub struct FeedForward {
    up: Linear,
    down: Linear,
}

pub(crate) fn declare(path: &str, config: &EncoderConfig, residual_gain: f32, table: &mut ParameterTable) {
    let (c, f) = (size(config.width), size(config.hidden));
    linear::declare(&format!("{path}.up"), c, f, 1.0, table);
    linear::declare(&format!("{path}.down"), f, c, residual_gain, table);
}

impl FeedForward {
    pub(crate) fn load(path: &str, weights: &Weights) -> Result<Self> {
        Ok(Self { up: Linear::load(&format!("{path}.up"), weights)?, down: Linear::load(&format!("{path}.down"), weights)? })
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

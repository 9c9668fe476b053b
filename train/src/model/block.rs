//! One block: attention, then feed-forward, each added to what was there before.
//!
//! The sum ("residual") lets gradients pass every block unhindered; normalising *before* each part ("pre-LN") keeps training stable
//! without a long warm-up.

use super::attention::{self, Attention};
use super::feed_forward::{self, FeedForward};
use super::norm::{self, LayerNorm};
use super::parameters::{ParameterTable, Weights, size};
use crate::batch::Spans;
use crate::capture::Tape;
use candle_core::{Result, Tensor};
use protocol::plan::EncoderConfig;

/// A pre-LN Transformer block.
pub struct Block {
    attention_norm: LayerNorm,
    attention: Attention,
    feed_forward_norm: LayerNorm,
    feed_forward: FeedForward,
}

pub(crate) fn declare(path: &str, config: &EncoderConfig, table: &mut ParameterTable) {
    // 2L parts are added up; each starts small enough that the sum does not grow with depth.
    #[expect(clippy::cast_precision_loss, reason = "layers are far below 2^24")]
    let residual_gain = (2.0 * config.layers as f32).sqrt().recip();
    norm::declare(&format!("{path}.attention_norm"), size(config.width), table);
    attention::declare(&format!("{path}.attention"), config, residual_gain, table);
    norm::declare(&format!("{path}.feed_forward_norm"), size(config.width), table);
    feed_forward::declare(&format!("{path}.feed_forward"), config, residual_gain, table);
}

impl Block {
    pub(crate) fn load(path: &str, weights: &Weights) -> Result<Self> {
        Ok(Self {
            attention_norm: LayerNorm::load(&format!("{path}.attention_norm"), weights)?,
            attention: Attention::load(&format!("{path}.attention"), weights)?,
            feed_forward_norm: LayerNorm::load(&format!("{path}.feed_forward_norm"), weights)?,
            feed_forward: FeedForward::load(&format!("{path}.feed_forward"), weights)?,
        })
    }

    /// # Shape
    /// in and out `(N, C)`.
    ///
    /// # Errors
    /// The tensor engine's, for a wrong shape.
    pub fn forward(&self, x: &Tensor, spans: &Spans, tape: &Tape) -> Result<Tensor> {
        let x = (x + self.attention.forward(&self.attention_norm.forward(x, spans, tape)?, spans, tape)?)?;
        &x + self.feed_forward.forward(&self.feed_forward_norm.forward(&x, spans, tape)?, spans, tape)?
    }
}

//! One block: attention, then feed-forward, each added to what was there before.
//!
//! The sum ("residual") lets gradients pass every block unhindered; normalising *before* each part ("pre-LN") keeps training stable
//! without a long warm-up.

use super::attention::{self, Attention};
use super::feed_forward::{self, FeedForward};
use super::lora::Lora;
use super::norm::{self, Norm, NormKind};
use super::parameters::{Listing, Values, size};
use crate::batch::Spans;
use crate::capture::Tape;
use crate::ops::attend::Mask;
use candle_core::{Result, Tensor};
use protocol::plan::EncoderConfig;

/// What all blocks of a model have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockShape {
    pub(crate) width: usize,
    pub(crate) heads: usize,
    pub(crate) hidden: usize,
    pub(crate) layers: usize,
    pub(crate) mask: Mask,
    pub(crate) norm: NormKind,
    pub(crate) adapter: Option<Lora>,
}

impl From<&EncoderConfig> for BlockShape {
    fn from(c: &EncoderConfig) -> Self {
        let [width, heads, hidden, layers] = [c.width, c.heads, c.hidden, c.layers].map(size);
        Self { width, heads, hidden, layers, mask: Mask::Full, norm: NormKind::Layer, adapter: None }
    }
}

impl BlockShape {
    /// 2L parts are added up; each starts small enough that the sum does not grow with depth.
    #[expect(clippy::cast_precision_loss, reason = "layers are far below 2^24")]
    pub(crate) fn residual_gain(&self) -> f32 {
        (2.0 * self.layers as f32).sqrt().recip()
    }
}

/// A pre-LN Transformer block.
pub struct Block {
    attention_norm: Norm,
    attention: Attention,
    feed_forward_norm: Norm,
    feed_forward: FeedForward,
}

pub(crate) fn declare(path: &str, shape: &BlockShape, listing: &mut Listing) {
    norm::declare(&format!("{path}.attention_norm"), shape.norm, shape.width, listing);
    attention::declare(&format!("{path}.attention"), shape, listing);
    norm::declare(&format!("{path}.feed_forward_norm"), shape.norm, shape.width, listing);
    feed_forward::declare(&format!("{path}.feed_forward"), shape, listing);
}

impl Block {
    pub(crate) fn load(path: &str, shape: &BlockShape, values: Values<'_>) -> Result<Self> {
        Ok(Self {
            attention_norm: Norm::load(&format!("{path}.attention_norm"), shape.norm, values)?,
            attention: Attention::load(&format!("{path}.attention"), shape, values)?,
            feed_forward_norm: Norm::load(&format!("{path}.feed_forward_norm"), shape.norm, values)?,
            feed_forward: FeedForward::load(&format!("{path}.feed_forward"), shape, values)?,
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

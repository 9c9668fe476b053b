//! One block: attention, then feed-forward, each added to what was there before; in the decoder of an encoder-decoder, attention to what
//! the encoder has read stands between them.
//!
//! The sum ("residual") lets gradients pass every block unhindered. Normalising *before* each part ("pre-LN") keeps training stable
//! without a long warm-up; older models normalise *after* each sum.

use super::attention::{self, Asks, Attention};
use super::config::{FeedForwardKind, MaskKind, NormPlace, Positions, Shifts, Window};
use super::feed_forward::{self, FeedForward};
use super::lora::Adapters;
use super::names::{AttentionNames, BlockNames, Projections};
use super::norm::{self, Norm, NormKind};
use super::parameters::{Listing, Values};
use crate::batch::Spans;
use crate::capture::Tape;
use crate::ops::activation::Activation;
use crate::ops::norm::EPSILON;
use candle_core::{Result, Tensor};
use std::sync::Arc;

/// What all blocks of a stack have in common.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct BlockShape {
    pub(crate) width: usize,
    pub(crate) heads: usize,
    /// Heads of keys and values.
    pub(crate) groups: usize,
    pub(crate) head_width: usize,
    pub(crate) hidden: usize,
    pub(crate) layers: usize,
    pub(crate) mask: MaskKind,
    pub(crate) window: Option<Window>,
    pub(crate) positions: Positions,
    /// What attention scores are multiplied by.
    pub(crate) scale: f32,
    pub(crate) norm: NormKind,
    pub(crate) epsilon: f32,
    pub(crate) place: NormPlace,
    pub(crate) feed_forward: FeedForwardKind,
    pub(crate) shifts: Shifts,
    pub(crate) dropout: f32,
    pub(crate) adapter: Option<Adapters>,
}

impl BlockShape {
    /// Multi-head attention over the whole record, GELU, LayerNorm before each part.
    pub(crate) fn plain(width: usize, heads: usize, hidden: usize, layers: usize) -> Self {
        let shape = Self {
            width,
            heads,
            groups: heads,
            head_width: width / heads.max(1),
            hidden,
            layers,
            mask: MaskKind::Full,
            window: None,
            positions: Positions::Learned,
            scale: 1.0,
            norm: NormKind::Layer,
            epsilon: EPSILON,
            place: NormPlace::Before,
            feed_forward: FeedForwardKind::Plain(Activation::GeluTanh),
            shifts: Shifts::All,
            dropout: 0.0,
            adapter: None,
        };
        Self { scale: shape.usual_scale(), ..shape }
    }
    /// 1 / √D keeps the scores' spread independent of the head's width.
    #[expect(clippy::cast_precision_loss, reason = "a head is narrower than 2^24")]
    pub(crate) fn usual_scale(&self) -> f32 {
        (self.head_width as f32).sqrt().recip()
    }
    /// 2L parts are added up; each starts small enough that the sum does not grow with depth.
    #[expect(clippy::cast_precision_loss, reason = "layers are far below 2^24")]
    pub(crate) fn residual_gain(&self) -> f32 {
        (2.0 * self.layers as f32).sqrt().recip()
    }
}

/// What surrounds the tokens of a batch on their way through the blocks.
#[derive(Clone, Copy)]
pub struct Scene<'a> {
    /// Where each record lies.
    pub spans: &'a Spans,
    /// What is recorded.
    pub tape: &'a Tape,
    /// First tokens of each record that all hear, under a prefix mask.
    pub(crate) prefix: Option<&'a Arc<[usize]>>,
    /// What scores are raised by, one row per pair of tokens.
    pub(crate) bias: Option<&'a Tensor>,
    /// What the other stack has read, `(M, C)`.
    pub(crate) memory: Option<(&'a Tensor, &'a Spans)>,
}

impl<'a> Scene<'a> {
    /// Records and nothing else.
    pub fn of(spans: &'a Spans, tape: &'a Tape) -> Self {
        Self { spans, tape, prefix: None, bias: None, memory: None }
    }
}

/// One part of a block with its normalisation.
struct Step<T> {
    norm: Norm,
    part: T,
}

/// A Transformer block.
pub struct Block {
    attention: Step<Attention>,
    cross: Option<Step<Attention>>,
    feed_forward: Step<FeedForward>,
    place: NormPlace,
    dropout: f32,
    /// First of its places where numbers are dropped.
    site: u64,
}

/// Lists a block of a stack that reads records only.
pub(crate) fn declare(names: &BlockNames, shape: &BlockShape, listing: &mut Listing) {
    norm::declare(&names.attention.norm, shape.norm, shape.width, listing);
    attention::declare(&names.attention, shape, listing);
    norm::declare(&names.feed_forward_norm, shape.norm, shape.width, listing);
    feed_forward::declare(names, shape, listing);
}

/// Lists what a block has besides if it asks another stack.
pub(crate) fn declare_cross(names: &BlockNames, shape: &BlockShape, listing: &mut Listing) {
    norm::declare(&names.cross.norm, shape.norm, shape.width, listing);
    attention::declare(&names.cross, shape, listing);
}

impl Block {
    pub(crate) fn load(names: &BlockNames, shape: &BlockShape, values: Values<'_>) -> Result<Self> {
        let attention = |names: &AttentionNames, asks| -> Result<Step<Attention>> {
            Ok(Step { norm: Norm::load(&names.norm, shape, values)?, part: Attention::load(names, asks, shape, values)? })
        };
        let asks_memory = match &names.cross.projections {
            Projections::Fused(name) | Projections::Apart([name, ..]) => values.has(&format!("{name}.weight")),
        };
        Ok(Self {
            attention: attention(&names.attention, Asks::Itself)?,
            cross: asks_memory.then(|| attention(&names.cross, Asks::Memory)).transpose()?,
            feed_forward: Step {
                norm: Norm::load(&names.feed_forward_norm, shape, values)?,
                part: FeedForward::load(names, shape, values)?,
            },
            place: shape.place,
            dropout: shape.dropout,
            site: 0,
        })
    }

    /// The same, dropping numbers at places of its own.
    pub(crate) fn at_site(self, site: u64) -> Self {
        Self { site, ..self }
    }

    /// # Shape
    /// in and out `(N, C)`.
    ///
    /// # Errors
    /// The tensor engine's, for a wrong shape.
    pub fn forward(&self, x: &Tensor, scene: Scene<'_>) -> Result<Tensor> {
        let attended = self.step(x, &self.attention.norm, 0, scene, |x| self.attention.part.forward(x, scene))?;
        let informed = match &self.cross {
            Some(cross) => self.step(&attended, &cross.norm, 1, scene, |x| cross.part.forward(x, scene))?,
            None => attended,
        };
        let feed_forward = |x: &Tensor| self.feed_forward.part.forward(x, scene.spans, scene.tape);
        self.step(&informed, &self.feed_forward.norm, 2, scene, feed_forward)
    }

    /// One part, added to what was there before.
    fn step(&self, x: &Tensor, norm: &Norm, nth: u64, scene: Scene<'_>, part: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
        let Scene { spans, tape, .. } = scene;
        let drop = |y: Tensor| tape.drop_out(&y, self.dropout, self.site + nth, spans);
        match self.place {
            NormPlace::Before => x + drop(part(&norm.forward(x, spans, tape)?)?)?,
            NormPlace::After => norm.forward(&(x + drop(part(x)?)?)?, spans, tape),
        }
    }
}

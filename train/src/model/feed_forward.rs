//! The feed-forward part: each token alone is widened, bent and narrowed again. What attention gathered is digested here.

use super::block::BlockShape;
use super::config::FeedForwardKind;
use super::linear::{self, Linear, LinearParts};
use super::names::BlockNames;
use super::parameters::{Listing, Values};
use crate::batch::Spans;
use crate::capture::Tape;
use crate::ops::activation::activation;
use candle_core::{Result, Tensor};

/// `down(f(up(x)))`, or under a gate `down(f(gate(x)) ∘ up(x))`: the gate decides, number by number, what passes.
pub struct FeedForward {
    up: Linear,           // (F, C)
    gate: Option<Linear>, // (F, C)
    down: Linear,         // (C, F)
    kind: FeedForwardKind,
}

pub(crate) fn declare(names: &BlockNames, shape: &BlockShape, listing: &mut Listing) {
    let (c, f) = (shape.width, shape.hidden);
    let parts = LinearParts { shift: shape.shifts.others(), adapter: shape.adapter.as_ref(), ..LinearParts::default() };
    match shape.feed_forward {
        FeedForwardKind::Plain(_) => {}
        FeedForwardKind::Gated(_) => linear::declare(&names.gate, (c, f), parts, listing),
    }
    linear::declare(&names.up, (c, f), parts, listing);
    linear::declare(&names.down, (f, c), LinearParts { gain: shape.residual_gain(), ..parts }, listing);
}

impl FeedForward {
    pub(crate) fn load(names: &BlockNames, shape: &BlockShape, values: Values<'_>) -> Result<Self> {
        let load = |name: &str| Linear::load(name, shape.adapter.as_ref(), values);
        let gate = match shape.feed_forward {
            FeedForwardKind::Plain(_) => None,
            FeedForwardKind::Gated(_) => Some(load(&names.gate)?),
        };
        Ok(Self { up: load(&names.up)?, gate, down: load(&names.down)?, kind: shape.feed_forward })
    }

    /// # Shape
    /// in and out `(N, C)`.
    ///
    /// # Errors
    /// The tensor engine's, for a wrong shape.
    pub fn forward(&self, x: &Tensor, spans: &Spans, tape: &Tape) -> Result<Tensor> {
        let up = self.up.forward(x, spans, tape)?; // (N, C) -> (N, F)
        let bent = match &self.gate {
            None => activation(&up, self.kind.activation())?,
            Some(gate) => (activation(&gate.forward(x, spans, tape)?, self.kind.activation())? * up)?,
        };
        self.down.forward(&bent, spans, tape) // (N, F) -> (N, C)
    }
}

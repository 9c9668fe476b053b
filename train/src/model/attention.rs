//! Multi-head self-attention: how the tokens of one record exchange information.
//!
//! Each token makes a *query* (what am I looking for?), a *key* (what do I have?) and a *value* (what do I tell?). A token's query is
//! compared with every key of its record; softmax turns the H · n · n scores into weights that sum to 1; the values are averaged with
//! these weights. Several heads do this side by side, each in its own C/H coordinates, so that one can look for a neighbour while
//! another looks for a sum of money. A last linear layer mixes what the heads found.

use super::block::BlockShape;
use super::linear::{self, Linear};
use super::parameters::{Listing, Values};
use crate::batch::Spans;
use crate::capture::Tape;
use crate::ops::attend::{Mask, attend};
use candle_core::{Result, Tensor};

/// Self-attention within each record.
pub struct Attention {
    qkv: Linear,
    output: Linear,
    heads: usize,
    mask: Mask,
}

pub(crate) fn declare(path: &str, shape: &BlockShape, listing: &mut Listing) {
    let c = shape.width;
    linear::declare_adapted(&format!("{path}.qkv"), (c, 3 * c), 1.0, shape.adapter, listing);
    linear::declare_adapted(&format!("{path}.output"), (c, c), shape.residual_gain(), shape.adapter, listing);
}

impl Attention {
    pub(crate) fn load(path: &str, shape: &BlockShape, values: Values<'_>) -> Result<Self> {
        Ok(Self {
            qkv: Linear::load_adapted(&format!("{path}.qkv"), shape.adapter, values)?,
            output: Linear::load_adapted(&format!("{path}.output"), shape.adapter, values)?,
            heads: shape.heads,
            mask: shape.mask,
        })
    }

    /// # Shape
    /// in and out `(N, C)`.
    ///
    /// # Errors
    /// The tensor engine's, for a wrong shape.
    pub fn forward(&self, x: &Tensor, spans: &Spans, tape: &Tape) -> Result<Tensor> {
        let qkv = self.qkv.forward(x, spans, tape)?; // (N, C) -> (N, 3C)
        let mixed = attend(&qkv, self.heads, self.mask, spans)?; // (N, 3C) -> (N, C)
        self.output.forward(&mixed, spans, tape) // (N, C) -> (N, C)
    }
}

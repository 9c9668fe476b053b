//! Multi-head attention: how tokens exchange information.
//!
//! Each token makes a *query* (what am I looking for?), a *key* (what do I have?) and a *value* (what do I tell?). A token's query is
//! compared with every key that it may hear; softmax turns the scores into weights that sum to 1; the values are averaged with these
//! weights. Several heads do this side by side, each in its own D coordinates, so that one can look for a neighbour while another looks
//! for a sum of money. A last linear layer mixes what the heads found.
//!
//! In *self-attention* queries, keys and values come from the same record; in *cross-attention* a decoder's tokens ask those that an
//! encoder has read. With fewer keys than queries ("grouped queries") several heads share keys and values.

use super::block::{BlockShape, Scene};
use super::config::MaskKind;
use super::linear::{self, Linear, LinearParts};
use super::names::{AttentionNames, Projections};
use super::parameters::{Listing, Values};
use crate::batch::Spans;
use crate::ops::attend::{Mask, attend};
use crate::ops::attention::{self, Hearing, Order};
use crate::ops::rotary::rotary;
use candle_core::{Result, Tensor};

/// The layers that make queries, keys and values.
enum Projection {
    /// One layer makes all three.
    Fused(Linear), // (H·D + 2·G·D, C)
    /// Each has its own: `(H·D, C)`, `(G·D, C)`, `(G·D, C)`.
    Apart(Box<[Linear; 3]>),
}

/// Whom the tokens of an attention ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asks {
    /// Their own record, as far as the mask allows.
    Itself,
    /// All tokens of the record that the other stack has read.
    Memory,
}

/// Attention within each record.
pub struct Attention {
    project: Projection,
    output: Linear, // (C, H·D)
    asks: Asks,
    shape: BlockShape,
}

pub(crate) fn declare(names: &AttentionNames, shape: &BlockShape, listing: &mut Listing) {
    let (c, q, kv) = (shape.width, shape.heads * shape.head_width, shape.groups * shape.head_width);
    let parts = LinearParts { shift: shape.shifts.queries(), adapter: shape.adapter.as_ref(), ..LinearParts::default() };
    match &names.projections {
        Projections::Fused(name) => linear::declare(name, (c, q + 2 * kv), parts, listing),
        Projections::Apart(all) => {
            all.iter().zip([q, kv, kv]).for_each(|(name, outputs)| linear::declare(name, (c, outputs), parts, listing));
        }
    }
    linear::declare(&names.output, (q, c), LinearParts { gain: shape.residual_gain(), shift: shape.shifts.others(), ..parts }, listing);
}

impl Attention {
    pub(crate) fn load(names: &AttentionNames, asks: Asks, shape: &BlockShape, values: Values<'_>) -> Result<Self> {
        let load = |name: &String| Linear::load(name, shape.adapter.as_ref(), values);
        let project = match &names.projections {
            Projections::Fused(name) => Projection::Fused(load(name)?),
            Projections::Apart([q, k, v]) => Projection::Apart(Box::new([load(q)?, load(k)?, load(v)?])),
        };
        Ok(Self { project, output: load(&names.output)?, asks, shape: shape.clone() })
    }

    /// # Shape
    /// in and out `(N, C)`.
    ///
    /// # Errors
    /// The tensor engine's, for a wrong shape; cross-attention without anything to ask.
    pub fn forward(&self, x: &Tensor, scene: Scene<'_>) -> Result<Tensor> {
        let mixed = match (&self.project, self.simple_mask(scene)) {
            // The usual case in one operation, without moving a number.
            (Projection::Fused(qkv), Some(mask)) => {
                let qkv = qkv.forward(x, scene.spans, scene.tape)?; // (N, C) -> (N, 3C)
                attend(&qkv, self.shape.heads, mask, (scene.spans, scene.tape.reach()))? // (N, 3C) -> (N, C)
            }
            (Projection::Fused(_) | Projection::Apart(_), _) => self.mix(x, scene)?, // (N, C) -> (N, H·D)
        };
        self.output.forward(&mixed, scene.spans, scene.tape) // (N, H·D) -> (N, C)
    }

    /// The mask of plain multi-head self-attention, if that is what this is.
    fn simple_mask(&self, scene: Scene<'_>) -> Option<Mask> {
        let s = &self.shape;
        let usual = s.groups == s.heads && s.heads * s.head_width == s.width && s.window.is_none() && s.scale == s.usual_scale();
        let still = s.positions.turns().is_none() && scene.bias.is_none() && self.asks == Asks::Itself;
        match s.mask {
            MaskKind::Full if usual && still => Some(Mask::Full),
            MaskKind::Causal if usual && still => Some(Mask::Causal),
            MaskKind::Full | MaskKind::Causal | MaskKind::Prefix => None,
        }
    }

    /// Queries of `x`, keys and values of what is asked.
    fn project(&self, x: &Tensor, scene: Scene<'_>, asked: (&Tensor, &Spans)) -> Result<[Tensor; 3]> {
        let (q, kv) = (self.shape.heads * self.shape.head_width, self.shape.groups * self.shape.head_width);
        match &self.project {
            Projection::Fused(layer) => {
                let all = layer.forward(x, scene.spans, scene.tape)?; // (N, C) -> (N, (H + 2G)·D)
                Ok([all.narrow(1, 0, q)?, all.narrow(1, q, kv)?, all.narrow(1, q + kv, kv)?])
            }
            Projection::Apart(layers) => {
                let [query, key, value] = &**layers;
                let of = |layer: &Linear| layer.forward(asked.0, asked.1, scene.tape); // (M, C) -> (M, G·D)
                Ok([query.forward(x, scene.spans, scene.tape)?, of(key)?, of(value)?])
            }
        }
    }

    fn mix(&self, x: &Tensor, scene: Scene<'_>) -> Result<Tensor> {
        let s = &self.shape;
        let asked = match (self.asks, scene.memory) {
            (Asks::Itself, _) => (x, scene.spans),
            (Asks::Memory, Some(memory)) => memory,
            (Asks::Memory, None) => candle_core::bail!("there is no record to ask"),
        };
        let [mut q, mut k, v] = self.project(x, scene, asked)?;
        let hearing = match self.asks {
            Asks::Itself => {
                if let Some(turns) = s.positions.turns() {
                    q = rotary(&q, s.head_width, turns, scene.spans)?;
                    k = rotary(&k, s.head_width, turns, scene.spans)?;
                }
                Hearing { order: self.order(scene), window: s.window }
            }
            Asks::Memory => Hearing { order: Order::Full, window: None },
        };
        let bias = match self.asks {
            Asks::Itself => scene.bias,
            Asks::Memory => None,
        };
        let (asking, answering) = (scene.spans.clone(), asked.1.clone());
        let (heads, groups, width, scale) = (s.heads, s.groups, s.head_width, s.scale);
        let op = attention::Attention { heads, groups, width, scale, hearing, asking, answering, reach: scene.tape.reach() };
        attention::attention(&q, &Tensor::cat(&[&k, &v], 1)?, bias, op)
    }

    fn order(&self, scene: Scene<'_>) -> Order {
        match (self.shape.mask, scene.prefix) {
            (MaskKind::Full, _) => Order::Full,
            (MaskKind::Prefix, Some(prefix)) => Order::Prefix(prefix.clone()),
            (MaskKind::Causal, _) | (MaskKind::Prefix, None) => Order::Causal,
        }
    }
}

/// A table's rows for every pair of tokens of each record.
pub(crate) fn pair_spans(spans: &Spans) -> Spans {
    Spans::of(spans.iter().map(|rows| rows.len() * rows.len()))
}

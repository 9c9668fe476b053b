//! A stack of blocks: the trunk of an encoder or a decoder, from embedded tokens to vectors that a head can read.

use super::attention::pair_spans;
use super::block::{Block, BlockShape, Scene};
use super::config::{Choices, MaskKind, NormPlace, Positions};
use super::names::{Projections, Side};
use super::norm::Norm;
use super::parameters::{Access, Listing, Loaded, Part, Start, Values, size};
use super::{again, block, embedding, norm};
use crate::batch::Spans;
use crate::capture::{Lookup, Tape};
use crate::ops::relative::Buckets;
use candle_core::{Result, Tensor};
use protocol::plan::Keep;
use std::sync::Arc;

/// Blocks and the normalisation after the last one.
pub(crate) struct Stack {
    layers: Vec<(Arc<Block>, bool)>, // with whether anything of it is trained
    norm: Option<(Norm, bool)>,
    distances: Option<Distances>,
    /// Whether keys or values of what another stack has read are made by trained layers.
    asks_trained: bool,
    keep: Keep,
}

/// The table of distances that all blocks of a stack share.
struct Distances {
    table: Loaded, // (buckets, H)
    buckets: Buckets,
}

/// Which stack, and its blocks counted over both.
pub(crate) struct StackPlan<'a> {
    pub(crate) choices: &'a Choices,
    pub(crate) shape: BlockShape,
    pub(crate) side: Side,
    pub(crate) layers: std::ops::Range<u32>,
    /// Whether its blocks ask another stack.
    pub(crate) asks: bool,
}

impl StackPlan<'_> {
    pub(crate) fn declare(&self, listing: &mut Listing) {
        for layer in self.layers.clone() {
            listing.enter(Part::Layer(size(layer)));
            let names = self.choices.block_names(layer);
            block::declare(&names, &self.shape, listing);
            if self.asks {
                block::declare_cross(&names, &self.shape, listing);
            }
            if let (Positions::Distances { buckets, .. }, true) = (self.choices.positions, layer == self.layers.start) {
                let name = self.choices.spelling.distances(self.side);
                listing.add_read(name, &[size(buckets), self.shape.heads], Start::Spread(0.1), Access::Rows);
            }
        }
        // What ends an encoder that a decoder asks belongs to its last block, not to the top of the model.
        if self.layers.end == self.choices.all_layers() {
            listing.enter(Part::Top);
        }
        match self.choices.place {
            NormPlace::Before => {
                norm::declare(&self.choices.spelling.last_norm(self.side), self.choices.norm, self.shape.width, listing);
            }
            NormPlace::After => {}
        }
    }
}

impl Stack {
    pub(crate) fn load(plan: &StackPlan<'_>, values: Values<'_>) -> Result<Self> {
        let load = |layer: u32| -> Result<(Arc<Block>, bool)> {
            let names = plan.choices.block_names(layer);
            let block = Block::load(&names, &plan.shape, values)?.at_site(3 * u64::from(layer));
            Ok((Arc::new(block), values.trains(&format!("{}.", names.path))))
        };
        let name = plan.choices.spelling.last_norm(plan.side);
        let norm = match plan.choices.place {
            NormPlace::Before => Some((Norm::load(&name, &plan.shape, values)?, values.trains(&format!("{name}.")))),
            NormPlace::After => None,
        };
        let distances = match plan.choices.positions {
            Positions::Distances { buckets, farthest } => {
                let both_ways = plan.shape.mask != MaskKind::Causal;
                let buckets = Buckets { count: size(buckets), farthest: size(farthest), both_ways };
                Some(Distances { table: values.load(&plan.choices.spelling.distances(plan.side))?, buckets })
            }
            Positions::Learned | Positions::Sinusoidal | Positions::Rotary { .. } | Positions::Stretched { .. } => None,
        };
        let asked = |layer| match plan.choices.block_names(layer).cross.projections {
            Projections::Fused(all) => values.trains(&format!("{all}.")),
            Projections::Apart([_, key, value]) => [key, value].iter().any(|name| values.trains(&format!("{name}."))),
        };
        let asks_trained = plan.asks && plan.layers.clone().any(asked);
        let layers = plan.layers.clone().map(load).collect::<Result<_>>()?;
        Ok(Self { asks_trained, layers, norm, distances, keep: Keep::Everything })
    }

    /// Keeps this much of its blocks between the passes.
    pub(crate) fn keeping(self, keep: Keep) -> Self {
        Self { keep, ..self }
    }

    /// # Shape
    /// in and out `(N, C)`.
    pub(crate) fn forward<'a>(&self, x: Tensor, scene: Scene<'a>) -> Result<Tensor> {
        let bias = self.distances.as_ref().map(|d| d.read(scene.spans, scene.tape)).transpose()?;
        // A frozen encoder has no gradient, but what asks it has: the engine records only what comes from a variable.
        let begin = |(memory, spans): (&Tensor, &'a Spans)| -> Result<(Tensor, &'a Spans)> {
            Ok((scene.tape.begin(memory.clone(), self.asks_trained, spans)?, spans))
        };
        let memory = scene.memory.map(begin).transpose()?;
        let scene = Scene { bias: bias.as_ref(), memory: memory.as_ref().map(|(memory, spans)| (memory, *spans)), ..scene };
        let mut x = x;
        for (layer, trained) in &self.layers {
            let begun = scene.tape.begin(x, *trained, scene.spans)?;
            x = match self.keep {
                Keep::Everything => layer.forward(&begun, scene)?,
                Keep::Inputs => again::forward(layer, &begun, scene)?,
            };
        }
        match &self.norm {
            Some((norm, trained)) => norm.forward(&scene.tape.begin(x, *trained, scene.spans)?, scene.spans, scene.tape),
            None => Ok(x),
        }
    }
}

impl Distances {
    /// A row for each pair of tokens of each record: `(pairs, H)`. Gradients of the table end here.
    fn read(&self, spans: &Spans, tape: &Tape) -> Result<Tensor> {
        let pairs = |n: usize| (0..n).flat_map(move |i| (0..n).map(move |j| (i, j)));
        let ids: Vec<usize> = spans.iter().flat_map(|rows| pairs(rows.len())).map(|(i, j)| self.buckets.of(i, j)).collect();
        let bias = embedding::rows(&self.table, &ids)?;
        match self.table.place {
            Some(at) => {
                let rows = self.table.tensor.dims2()?.0;
                tape.source(bias, &pair_spans(spans), vec![Lookup { at, rows, ids: ids.into() }])
            }
            None => Ok(bias),
        }
    }
}

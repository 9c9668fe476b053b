//! Concordat's own classifier written out without choices, for tests: [`super::Transformer`] is held against it.
//!
//! ```text
//! tokens --embedding--> (N, C) --blocks--> (N, C) --norm--> (N, C) --mean over each record--> (B, C) --classifier--> (B, K)
//! ```

use super::Objective;
use super::block::{Block, BlockShape, Scene};
use super::embedding::Embedding;
use super::linear::Linear;
use super::lora::Adapters;
use super::names::{BlockNames, Side, Spelling};
use super::norm::Norm;
use super::parameters::{Values, Weights, size};
use crate::batch::{Batch, Spans};
use crate::capture::Tape;
use crate::ops::loss::cross_entropy;
use crate::ops::pool::mean_pool;
use candle_core::{Result, Tensor};
use protocol::plan::EncoderConfig;

/// A Transformer encoder with a classifier on the mean of its tokens.
pub struct Encoder {
    embedding: Embedding,
    layers: Vec<Block>,
    norm: Norm,
    classifier: Linear,
}

/// Names of one block.
fn names(layer: usize) -> BlockNames {
    Spelling::Own.block(Side::Encoder, layer, false)
}

fn shape(c: &EncoderConfig) -> BlockShape {
    let [width, heads, hidden, layers] = [c.width, c.heads, c.hidden, c.layers].map(size);
    BlockShape { adapter: Adapters::of_plan(c), ..BlockShape::plain(width, heads, hidden, layers) }
}

impl Encoder {
    /// Copies the weights into tensors.
    ///
    /// # Errors
    /// The tensor engine's.
    pub fn load(weights: &Weights) -> Result<Self> {
        let values = Values { trained: (weights.table(), weights.flat()), frozen: None, outside: None, site: None };
        let shape = shape(weights.config());
        let layers = (0..shape.layers).map(|i| Block::load(&names(i), &shape, values));
        Ok(Self {
            embedding: Embedding::load(values)?,
            layers: layers.collect::<Result<_>>()?,
            norm: Norm::load("encoder.norm", &shape, values)?,
            classifier: Linear::load("classifier", None, values)?,
        })
    }

    /// Scores (logits) of each record.
    ///
    /// # Shape
    /// in N tokens of B records, out `(B, K)`.
    ///
    /// # Errors
    /// The tensor engine's, for tokens outside the tables.
    pub fn forward(&self, batch: &Batch, tape: &Tape) -> Result<Tensor> {
        let spans = &batch.spans;
        let mut x = self.embedding.forward(batch, tape)?; // (N) -> (N, C)
        for layer in &self.layers {
            x = layer.forward(&x, Scene::of(spans, tape))?;
        }
        let x = self.norm.forward(&x, spans, tape)?;
        let pooled = mean_pool(&x, spans)?; // (N, C) -> (B, C)
        self.classifier.forward(&pooled, &Spans::single_rows(spans.records()), tape) // (B, C) -> (B, K)
    }
}

impl Objective for Encoder {
    fn losses(&self, batch: &Batch, tape: &Tape) -> Result<Tensor> {
        cross_entropy(&self.forward(batch, tape)?, &batch.classes) // (B, K) -> (B)
    }
}

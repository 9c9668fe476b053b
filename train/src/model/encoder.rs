//! The whole model: tokens in, one score per class out.
//!
//! ```text
//! tokens --embedding--> (N, C) --blocks--> (N, C) --norm--> (N, C) --mean over each record--> (B, C) --classifier--> (B, K)
//! ```

use super::block::{self, Block};
use super::embedding::{self, Embedding};
use super::linear::{self, Linear};
use super::norm::{self, LayerNorm};
use super::parameters::{ParameterTable, Weights, size};
use crate::batch::{Batch, Spans};
use crate::capture::Tape;
use crate::ops::pool::mean_pool;
use candle_core::{Result, Tensor};
use protocol::plan::EncoderConfig;

/// A Transformer encoder with a classifier on the mean of its tokens.
pub struct Encoder {
    embedding: Embedding,
    layers: Vec<Block>,
    norm: LayerNorm,
    classifier: Linear,
}

/// Lists all parameters, in the order of the flat vector. The embedding tables come first: a unit touches few of their rows, and
/// everything after them is one contiguous block.
pub(crate) fn declare(config: &EncoderConfig, table: &mut ParameterTable) {
    embedding::declare(config, table);
    for i in 0..config.layers {
        block::declare(&format!("encoder.layers.{i}"), config, table);
    }
    norm::declare("encoder.norm", size(config.width), table);
    linear::declare("classifier", size(config.width), config.classes.len(), 1.0, table);
}

impl Encoder {
    /// Copies the weights into tensors.
    ///
    /// # Errors
    /// The tensor engine's.
    pub fn load(weights: &Weights) -> Result<Self> {
        let layers = (0..weights.config().layers).map(|i| Block::load(&format!("encoder.layers.{i}"), weights));
        Ok(Self {
            embedding: Embedding::load(weights)?,
            layers: layers.collect::<Result<_>>()?,
            norm: LayerNorm::load("encoder.norm", weights)?,
            classifier: Linear::load("classifier", weights)?,
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
        let mut x = tape.source(self.embedding.forward(batch)?)?; // (N) -> (N, C)
        for layer in &self.layers {
            x = layer.forward(&x, spans, tape)?;
        }
        let x = self.norm.forward(&x, spans, tape)?;
        let pooled = mean_pool(&x, spans)?; // (N, C) -> (B, C)
        self.classifier.forward(&pooled, &Spans::single_rows(spans.records()), tape) // (B, C) -> (B, K)
    }
}

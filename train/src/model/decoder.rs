//! A causal language model: tokens in, a score for every possible next token out.
//!
//! ```text
//! tokens --embedding--> (N, C) --blocks, each token sees itself and what came before--> (N, C) --norm--> (N, C) --head--> (N, V)
//! ```

use super::block::{self, Block, BlockShape, Scene};
use super::config::MaskKind;
use super::embedding::{self, Embedding, TOKENS};
use super::initial;
use super::linear::{Linear, spread};
use super::lora::{Adapters, Lora};
use super::names::{BlockNames, Side, Spelling};
use super::norm::{self, Norm, NormKind};
use super::parameters::{Access, Listing, ModelError, ParameterTable, Part, Sizes, Trained, Values, size};
use super::{Objective, again};
use crate::batch::Batch;
use crate::capture::Tape;
use crate::ops::next_token::next_token_loss;
use candle_core::{Result, Tensor};
use protocol::plan::Keep;
use std::sync::Arc;

/// Name of the output head, where it is not the token table.
pub const HEAD: &str = "head.weight";

/// Where the scores of next tokens come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// The token table, read as a matrix: fewer weights, and each row learns from both uses.
    Tied,
    /// A matrix of its own.
    Own,
}

/// Names of one block.
fn names(layer: usize) -> BlockNames {
    Spelling::Own.block(Side::Decoder, layer, false)
}

/// Sizes and parts of a decoder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecoderConfig {
    /// Rows of the token table, V.
    pub vocab: u32,
    /// Longest sequence, in tokens.
    pub max_tokens: u32,
    /// Model width C.
    pub width: u32,
    /// Attention heads H; divides the width.
    pub heads: u32,
    /// Transformer blocks.
    pub layers: u32,
    /// Width of the feed-forward part.
    pub hidden: u32,
    /// Output head.
    pub head: Head,
    /// How tokens are normalised.
    pub norm: NormKind,
    /// With an adapter everything but one of its factors is frozen.
    pub adapter: Option<Lora>,
}

impl DecoderConfig {
    fn shape(&self) -> BlockShape {
        let [width, heads, hidden, layers] = [self.width, self.heads, self.hidden, self.layers].map(size);
        let adapter = self.adapter.map(Adapters::everywhere);
        BlockShape { mask: MaskKind::Causal, norm: self.norm, adapter, ..BlockShape::plain(width, heads, hidden, layers) }
    }

    fn check(&self) -> std::result::Result<(), ModelError> {
        let Self { vocab, max_tokens, width, heads, layers, hidden, .. } = *self;
        if self.adapter.is_some_and(|a| a.rank == 0) {
            return Err(ModelError::Rank);
        }
        let rank = u128::from(self.adapter.map_or(0, |a| a.rank));
        let factors = rank * (8 * u128::from(width) + 2 * u128::from(hidden)); // qkv 4C, output 2C, up and down C + F each
        let head = match self.head {
            Head::Tied => 0,
            Head::Own => u128::from(vocab) * u128::from(width),
        };
        Sizes { vocab, max_tokens, width, heads, layers, hidden }.check(factors, head)
    }

    fn list(&self) -> std::result::Result<Listing, ModelError> {
        self.check()?;
        let (shape, v) = (self.shape(), size(self.vocab));
        let base = if self.adapter.is_some() { Trained::Nothing } else { Trained::All };
        let mut listing = Listing::new(base, shape.layers);
        let tokens = match self.head {
            Head::Tied => Access::RowsAndWhole,
            Head::Own => Access::Rows,
        };
        embedding::declare((v, size(self.max_tokens), shape.width), tokens, &mut listing);
        for i in 0..shape.layers {
            listing.enter(Part::Layer(i));
            block::declare(&names(i), &shape, &mut listing);
        }
        listing.enter(Part::Top);
        norm::declare("decoder.norm", self.norm, shape.width, &mut listing);
        match self.head {
            Head::Tied => {}
            Head::Own => listing.add(HEAD.into(), &[v, shape.width], spread(shape.width, 1.0)),
        }
        Ok(listing)
    }
}

/// One version of a decoder: its configuration, its trained numbers and, under an adapter, its frozen ones.
#[derive(Clone, PartialEq)]
pub struct DecoderWeights {
    config: DecoderConfig,
    tables: Arc<(ParameterTable, ParameterTable)>,
    flat: Vec<f32>,
    frozen: Arc<[f32]>,
}

impl DecoderWeights {
    /// Flat vectors as a model.
    ///
    /// # Errors
    /// [`ModelError`] for an impossible model, a wrong length or a number that is not finite.
    pub fn new(config: &DecoderConfig, flat: Vec<f32>, frozen: Vec<f32>) -> std::result::Result<Self, ModelError> {
        let listing = config.list()?;
        listing.trained.check(&flat)?;
        listing.frozen.check(&frozen)?;
        let tables = Arc::new((listing.trained, listing.frozen));
        Ok(Self { config: config.clone(), tables, flat, frozen: frozen.into() })
    }

    /// The model's first weights. Everybody who knows the seed gets the same bits.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn initial(config: &DecoderConfig, seed: u64) -> std::result::Result<Self, ModelError> {
        let listing = config.list()?;
        // Streams of the frozen tables begin where no trained table can reach.
        let (flat, frozen) = (initial::values(&listing.trained, seed, 0), initial::values(&listing.frozen, seed, 1 << 32));
        Self::new(config, flat, frozen)
    }

    /// The model's configuration.
    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }
    /// Names and places of the trained numbers.
    pub fn table(&self) -> &ParameterTable {
        &self.tables.0
    }
    /// Names and places of the frozen numbers.
    pub fn frozen_table(&self) -> &ParameterTable {
        &self.tables.1
    }
    /// All trained numbers in the table's order.
    pub fn flat(&self) -> &[f32] {
        &self.flat
    }
    /// All frozen numbers in their table's order.
    pub fn frozen(&self) -> &[f32] {
        &self.frozen
    }

    fn values(&self) -> Values<'_> {
        Values { trained: (&self.tables.0, &self.flat), frozen: Some((&self.tables.1, &self.frozen)), outside: None, site: None }
    }
}

impl std::fmt::Debug for DecoderWeights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DecoderWeights({} numbers, {} frozen)", self.flat.len(), self.frozen.len())
    }
}

/// A Transformer decoder with a head over the vocabulary.
pub struct Decoder {
    embedding: Embedding,
    layers: Vec<Arc<Block>>,
    norm: Norm,
    head: Linear,
    keep: Keep,
}

impl Decoder {
    /// Copies the weights into tensors.
    ///
    /// # Errors
    /// The tensor engine's.
    pub fn load(weights: &DecoderWeights) -> Result<Self> {
        Self::of(&weights.config, weights.values())
    }

    /// The same from wherever the tensors are.
    pub(crate) fn of(config: &DecoderConfig, values: Values<'_>) -> Result<Self> {
        let shape = config.shape();
        let layers = (0..shape.layers).map(|i| Block::load(&names(i), &shape, values).map(Arc::new));
        let head = match config.head {
            Head::Tied => TOKENS,
            Head::Own => HEAD,
        };
        Ok(Self {
            embedding: Embedding::load(values)?,
            layers: layers.collect::<Result<_>>()?,
            norm: Norm::load("decoder.norm", &shape, values)?,
            head: Linear::bare(head, values)?,
            keep: Keep::Everything,
        })
    }

    /// Keeps this much of the blocks between the forward and the backward pass; the results are the same.
    #[must_use]
    pub fn keeping(self, keep: Keep) -> Self {
        Self { keep, ..self }
    }

    /// Scores (logits) of the token after each token.
    ///
    /// # Shape
    /// in N tokens of B records, out `(N, V)`.
    ///
    /// # Errors
    /// The tensor engine's, for tokens outside the tables.
    pub fn forward(&self, batch: &Batch, tape: &Tape) -> Result<Tensor> {
        let spans = &batch.spans;
        let x = self.embedding.forward(batch, tape)?; // (N) -> (N, C)
        let mut x = tape.begin(x, true, spans)?; // under an adapter the tables are frozen
        for layer in &self.layers {
            x = match self.keep {
                Keep::Everything => layer.forward(&x, Scene::of(spans, tape))?,
                Keep::Inputs => again::forward(layer, &x, Scene::of(spans, tape))?,
            };
        }
        let x = self.norm.forward(&x, spans, tape)?;
        self.head.forward(&x, spans, tape) // (N, C) -> (N, V)
    }
}

impl Objective for Decoder {
    fn losses(&self, batch: &Batch, tape: &Tape) -> Result<Tensor> {
        next_token_loss(&self.forward(batch, tape)?, &batch.spans, &batch.tokens) // (N, V) -> (B)
    }
}

#[cfg(test)]
#[path = "decoder_tests.rs"]
mod tests;

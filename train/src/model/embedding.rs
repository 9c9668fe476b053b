//! Embeddings: token number t becomes row t of one table; its place in the record becomes a row of another; the two are added.

use super::parameters::{ParameterTable, Start, Weights, size};
use crate::batch::Batch;
use candle_core::{Device, Result, Tensor, bail};
use protocol::plan::EncoderConfig;
use std::ops::Range;

/// Name of the token table.
pub const TOKENS: &str = "embeddings.tokens.weight";
/// Name of the position table.
pub const POSITIONS: &str = "embeddings.positions.weight";

/// Both tables, read straight from the flat vector.
pub struct Embedding {
    tokens: Vec<f32>,    // (V, C)
    positions: Vec<f32>, // (T, C)
    width: usize,
}

pub(crate) fn declare(config: &EncoderConfig, table: &mut ParameterTable) {
    table.add(TOKENS.into(), &[size(config.vocab), size(config.width)], Start::Spread(0.1));
    // Smaller than the tokens: at first it matters more which character it is than where it stands.
    table.add(POSITIONS.into(), &[size(config.max_tokens), size(config.width)], Start::Spread(0.02));
}

/// Row `i` of a table of width `c`.
fn row(i: usize, c: usize) -> Range<usize> {
    i * c..(i + 1) * c
}

impl Embedding {
    pub(crate) fn load(weights: &Weights) -> Result<Self> {
        let copy = |name: &str| match weights.table().find(name) {
            Some(p) => Ok(weights.flat()[p.range()].to_vec()),
            None => bail!("the model has no parameter {name}"),
        };
        Ok(Self { tokens: copy(TOKENS)?, positions: copy(POSITIONS)?, width: size(weights.config().width) })
    }

    /// # Shape
    /// in N token numbers, out `(N, C)`.
    ///
    /// # Errors
    /// The tensor engine's, for a token outside the vocabulary or a record longer than the position table.
    pub fn forward(&self, batch: &Batch) -> Result<Tensor> {
        let c = self.width;
        let mut out = Vec::with_capacity(batch.tokens.len() * c);
        for rows in batch.spans.iter() {
            for (place, &token) in batch.tokens[rows].iter().enumerate() {
                let (Some(t), Some(p)) = (self.tokens.get(row(size(token), c)), self.positions.get(row(place, c))) else {
                    bail!("token or place outside its table")
                };
                out.extend(t.iter().zip(p).map(|(t, p)| t + p));
            }
        }
        Tensor::from_vec(out, (batch.tokens.len(), c), &Device::Cpu) // (N) -> (N, C)
    }
}

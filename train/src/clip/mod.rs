//! From captures to one unit's gradient, coordinate by coordinate (privacy.md D33). Knows neither the clip bound nor the noise: the
//! blocks it makes go to `privacy::bound`, which shortens, rounds and adds them.
//!
//! Models on the exact path are small, so every layer is instantiated: one product per record gives the record's own weight gradient.
//! All trainable coordinates are in it, so one norm covers all of them (D35).

pub(crate) mod embedding;
pub(crate) mod linear;
pub(crate) mod norm;

use crate::batch::Batch;
use crate::capture::{Capture, Captures};
use crate::model::parameters::{ParameterTable, size};
use candle_core::Result;
use privacy::bound::Block;
use protocol::plan::EncoderConfig;
use std::collections::BTreeMap;
use zeroize::Zeroize;

/// The gradient of one unit's objective, the mean of its records' losses (privacy.md D31). Wiped when dropped.
pub(crate) struct UnitGradient {
    /// Rows of the token table that the unit touches. Ordered, so that the unit's numbers come in the same order every time.
    tokens: BTreeMap<usize, Vec<f32>>,
    /// The first rows of the position table, as many as the longest record has tokens.
    positions: Vec<f32>,
    /// Everything after the embedding tables.
    rest: Vec<f32>,
    width: usize,
    positions_at: usize,
    rest_at: usize,
}

impl UnitGradient {
    /// Zero.
    pub(crate) fn new(config: &EncoderConfig, table: &ParameterTable) -> Self {
        let width = size(config.width);
        let positions_at = size(config.vocab) * width;
        let rest_at = positions_at + size(config.max_tokens) * width;
        let rest = vec![0.0; table.len() - rest_at];
        Self { tokens: BTreeMap::new(), positions: Vec::new(), rest, width, positions_at, rest_at }
    }

    /// Adds `share` times the gradient of one record of the batch.
    pub(crate) fn add_record(&mut self, captures: &Captures, batch: &Batch, record: usize, share: f32) -> Result<()> {
        embedding::add(self, &captures.embedded, batch, record, share)?;
        for layer in &captures.layers {
            match layer {
                Capture::Linear { offsets, spans, input, grad } => {
                    let (w, b) = (offsets.0 - self.rest_at, offsets.1 - self.rest_at);
                    linear::add(&mut self.rest, (w, b), input, grad, spans.of_record(record), share)?;
                }
                Capture::Norm { offsets, spans, input, grad } => {
                    let (g, s) = (offsets.0 - self.rest_at, offsets.1 - self.rest_at);
                    norm::add(&mut self.rest, (g, s), input, grad, spans.of_record(record), share)?;
                }
            }
        }
        Ok(())
    }

    /// The unit's vector as disjoint pieces in ascending order; coordinates in none of them are 0.
    pub(crate) fn blocks(&self) -> Vec<Block<'_>> {
        let tokens = self.tokens.iter().map(|(&token, row)| Block { offset: token * self.width, values: row });
        let tables = [Block { offset: self.positions_at, values: &self.positions }, Block { offset: self.rest_at, values: &self.rest }];
        tokens.chain(tables).collect()
    }

    /// Back to zero, keeping the memory of the dense part for the next unit.
    pub(crate) fn clear(&mut self) {
        self.wipe();
        self.tokens.clear();
        self.positions.clear();
    }

    fn wipe(&mut self) {
        self.tokens.values_mut().for_each(|row| row.as_mut_slice().fill(0.0));
        self.positions.as_mut_slice().fill(0.0);
        self.rest.as_mut_slice().fill(0.0);
    }
}

impl Drop for UnitGradient {
    fn drop(&mut self) {
        self.tokens.values_mut().for_each(Zeroize::zeroize);
        self.positions.zeroize();
        self.rest.zeroize();
    }
}

/// `out += share * values`.
pub(crate) fn add_scaled(out: &mut [f32], values: &[f32], share: f32) {
    out.iter_mut().zip(values).for_each(|(o, v)| *o += share * v);
}

#[cfg(test)]
mod tests;

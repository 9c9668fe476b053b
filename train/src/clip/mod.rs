//! From captures to clipped sums (privacy.md D33). Knows neither the noise nor the ledger.
//!
//! Two ways. *Exact* ([`UnitGradient`], D17): one unit's gradient is instantiated coordinate by coordinate and handed to `privacy::bound`,
//! which shortens, rounds and adds it: for small models, heads and adapters. *Book-Keeping* ([`book_keeping`], D36): all norms first, from
//! Gram matrices where that is cheaper ([`cost`]), then one weighted product per layer. Either way one norm covers all trainable
//! coordinates (D35).

pub(crate) mod book_keeping;
pub(crate) mod cost;
pub(crate) mod embedding;
pub(crate) mod gram;
pub(crate) mod guard;
pub(crate) mod linear;
pub(crate) mod norms;
pub(crate) mod tied;
pub(crate) mod total;
pub(crate) mod weighted;

use crate::capture::{Capture, Captures};
use crate::model::parameters::ParameterTable;
use candle_core::Result;
use privacy::bound::Block;
use std::collections::BTreeMap;
use std::ops::Range;
use zeroize::Zeroize;

/// The gradient of one unit's objective, mean or sum of its records' losses (privacy.md D31). Wiped when dropped.
pub(crate) struct UnitGradient {
    /// Rows that the unit touches in tables that are only looked up, by first coordinate. Ordered, so that the unit's numbers come in the
    /// same order every time.
    rows: BTreeMap<usize, Vec<f32>>,
    /// Everything after those tables.
    dense: Vec<f32>,
    dense_at: usize,
}

impl UnitGradient {
    /// Zero.
    pub(crate) fn new(table: &ParameterTable) -> Self {
        let dense_at = table.dense_from();
        Self { rows: BTreeMap::new(), dense: vec![0.0; table.len() - dense_at], dense_at }
    }

    /// Adds `share` times the gradient of one record of the batch.
    pub(crate) fn add_record(&mut self, captures: &Captures, record: usize, share: f32) -> Result<()> {
        for layer in &captures.layers {
            match layer {
                Capture::Product { at, spans, input, grad } => {
                    let out = &mut self.dense[at - self.dense_at..];
                    linear::add(out, input, grad, spans.of_record(record), share)?;
                }
                Capture::Vector { at, width, values } => {
                    add_scaled(self.place(*at, *width), &values[record * width..(record + 1) * width], share);
                }
                Capture::Rows { lookup, spans, grad } => embedding::add(self, lookup, grad, spans.of_record(record), share)?,
            }
        }
        Ok(())
    }

    /// The unit's coordinates `at..at + width`: a whole row of a table, or part of what is dense.
    fn place(&mut self, at: usize, width: usize) -> &mut [f32] {
        match at.checked_sub(self.dense_at) {
            Some(start) => &mut self.dense[start..start + width],
            None => self.rows.entry(at).or_insert_with(|| vec![0.0; width]),
        }
    }

    /// The unit's vector as disjoint pieces in ascending order; coordinates in none of them are 0.
    pub(crate) fn blocks(&self) -> Vec<Block<'_>> {
        let rows = self.rows.iter().map(|(&offset, values)| Block { offset, values });
        rows.chain([Block { offset: self.dense_at, values: &self.dense }]).collect()
    }

    /// Back to zero, keeping the memory of the dense part for the next unit.
    pub(crate) fn clear(&mut self) {
        self.rows.values_mut().for_each(Zeroize::zeroize);
        self.rows.clear();
        self.dense.as_mut_slice().fill(0.0);
    }
}

impl Drop for UnitGradient {
    fn drop(&mut self) {
        self.rows.values_mut().for_each(Zeroize::zeroize);
        self.dense.zeroize();
    }
}

/// `out += share * values`.
pub(crate) fn add_scaled(out: &mut [f32], values: &[f32], share: f32) {
    out.iter_mut().zip(values).for_each(|(o, v)| *o += share * v);
}

/// Numbers of these rows in a matrix of this width.
pub(crate) fn numbers(rows: &Range<usize>, width: usize) -> Range<usize> {
    rows.start * width..rows.end * width
}

#[cfg(test)]
mod family_tests;
#[cfg(test)]
mod layer_tests;
#[cfg(test)]
mod naive;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod whole;

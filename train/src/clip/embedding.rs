//! Token and position gradients of one record: row t of G goes to the row of its token and to the row of its place. A token that
//! occurs twice gets both rows in one (privacy.md D33).

use super::{UnitGradient, add_scaled};
use crate::batch::Batch;
use crate::model::parameters::size;
use crate::ops::with_floats;
use candle_core::{Result, Tensor};

/// Adds `share` times the record's rows of the embedded gradient `(N, C)`.
pub(crate) fn add(unit: &mut UnitGradient, embedded: &Tensor, batch: &Batch, record: usize, share: f32) -> Result<()> {
    let (rows, c) = (batch.spans.of_record(record), unit.width);
    if unit.positions.len() < rows.len() * c {
        unit.positions.resize(rows.len() * c, 0.0);
    }
    with_floats(embedded, |g| {
        let gradients = g[rows.start * c..rows.end * c].chunks_exact(c);
        for ((place, &token), g) in batch.tokens[rows.clone()].iter().enumerate().zip(gradients) {
            add_scaled(unit.tokens.entry(size(token)).or_insert_with(|| vec![0.0; c]), g, share);
            add_scaled(&mut unit.positions[place * c..(place + 1) * c], g, share);
        }
        Ok(())
    })
}

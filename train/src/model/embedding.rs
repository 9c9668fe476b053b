//! Embeddings: token number t becomes row t of one table; its place in the record becomes a row of another; the two are added.

use super::parameters::{Access, Listing, Loaded, Start, Values, size};
use crate::batch::Batch;
use crate::capture::{Lookup, Tape};
use crate::ops::with_floats;
use candle_core::{Device, Result, Tensor, bail};
use std::ops::Range;

/// Name of the token table.
pub const TOKENS: &str = "embeddings.tokens.weight";
/// Name of the position table.
pub const POSITIONS: &str = "embeddings.positions.weight";

/// Both tables.
pub struct Embedding {
    tokens: Loaded,    // (V, C)
    positions: Loaded, // (T, C)
}

/// Lists both tables. `tokens` says whether the token table is the output head too; tables that are not come first.
pub(crate) fn declare((vocab, max_tokens, width): (usize, usize, usize), tokens: Access, listing: &mut Listing) {
    let positions = |listing: &mut Listing| {
        // Smaller than the tokens: at first it matters more which token it is than where it stands.
        listing.add_read(POSITIONS.into(), &[max_tokens, width], Start::Spread(0.02), Access::Rows);
    };
    let table = |listing: &mut Listing| listing.add_read(TOKENS.into(), &[vocab, width], Start::Spread(0.1), tokens);
    match tokens {
        Access::Rows => {
            table(listing);
            positions(listing);
        }
        Access::Whole | Access::RowsAndWhole => {
            positions(listing);
            table(listing);
        }
    }
}

/// Row `i` of a table of width `c`.
fn row(i: usize, c: usize) -> Range<usize> {
    i * c..(i + 1) * c
}

impl Embedding {
    pub(crate) fn load(values: Values<'_>) -> Result<Self> {
        Ok(Self { tokens: values.load(TOKENS)?, positions: values.load(POSITIONS)? })
    }

    /// The root of what `tape` records: gradients end here.
    ///
    /// # Shape
    /// in N token numbers, out `(N, C)`.
    ///
    /// # Errors
    /// The tensor engine's, for a token outside the vocabulary or a record longer than the position table.
    pub fn forward(&self, batch: &Batch, tape: &Tape) -> Result<Tensor> {
        let (vocab, c) = self.tokens.tensor.dims2()?;
        let mut out = Vec::with_capacity(batch.tokens.len() * c);
        with_floats(&self.tokens.tensor, |tokens| {
            with_floats(&self.positions.tensor, |positions| {
                for rows in batch.spans.iter() {
                    for (place, &token) in batch.tokens[rows].iter().enumerate() {
                        let (Some(t), Some(p)) = (tokens.get(row(size(token), c)), positions.get(row(place, c))) else {
                            bail!("token or place outside its table")
                        };
                        out.extend(t.iter().zip(p).map(|(t, p)| t + p));
                    }
                }
                Ok(())
            })
        })?;
        let x = Tensor::from_vec(out, (batch.tokens.len(), c), &Device::Cpu)?; // (N) -> (N, C)
        let places: Vec<usize> = batch.spans.iter().flat_map(|rows| 0..rows.len()).collect();
        let lookup = |loaded: &Loaded, rows, ids: Vec<usize>| loaded.place.map(|at| Lookup { at, rows, ids: ids.into() });
        let tokens = lookup(&self.tokens, vocab, batch.tokens.iter().map(|&t| size(t)).collect());
        let positions = lookup(&self.positions, self.positions.tensor.dims2()?.0, places);
        tape.source(x, &batch.spans, tokens.into_iter().chain(positions).collect())
    }
}

//! Gain and shift gradient of one record in a layer normalisation: sums of x̂ ∘ g and of g.

use super::add_scaled;
use crate::ops::with_floats;
use candle_core::{Result, Tensor};
use std::ops::Range;

/// Adds `share` times them at `at` = (gain, shift). Normalised input and gradient `(N, C)`; the record's rows are `rows`.
pub(crate) fn add(out: &mut [f32], at: (usize, usize), input: &Tensor, grad: &Tensor, rows: Range<usize>, share: f32) -> Result<()> {
    let c = input.dims2()?.1;
    let range = rows.start * c..rows.end * c;
    with_floats(input, |x| {
        with_floats(grad, |g| {
            for (x, g) in x[range.clone()].chunks_exact(c).zip(g[range].chunks_exact(c)) {
                out[at.0..at.0 + c].iter_mut().zip(x.iter().zip(g)).for_each(|(o, (x, g))| *o += share * x * g);
                add_scaled(&mut out[at.1..at.1 + c], g, share);
            }
            Ok(())
        })
    })
}

//! Weight and bias gradient of one record in a linear layer: Gᵀ A, and the column sums of G.

use super::add_scaled;
use crate::ops::{View, product, with_floats};
use candle_core::{Result, Tensor};
use std::ops::Range;

/// Adds `share` times them at `at` = (weight, bias). Input A `(N, D)`, gradient G `(N, P)`; the record's rows are `rows`.
pub(crate) fn add(out: &mut [f32], at: (usize, usize), input: &Tensor, grad: &Tensor, rows: Range<usize>, share: f32) -> Result<()> {
    let (d, p) = (input.dims2()?.1, grad.dims2()?.1);
    with_floats(grad, |g| {
        let g_view = View::matrix(rows.start * p, rows.len(), p);
        let a_view = View::matrix(rows.start * d, rows.len(), d);
        let weight = with_floats(input, |a| product(g, g_view.t(), a, a_view))?; // (P, n) · (n, D) -> (P, D)
        add_scaled(&mut out[at.0..at.0 + p * d], &weight, share);
        for row in g[rows.start * p..rows.end * p].chunks_exact(p) {
            add_scaled(&mut out[at.1..at.1 + p], row, share);
        }
        Ok(())
    })
}

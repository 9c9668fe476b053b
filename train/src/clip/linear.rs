//! The matrix of a linear layer: a unit's gradient is Gᵀ A over its rows. With [`Touched`] it is a token table that is also the output
//! head, whose gradient is the sum of both uses (privacy.md D33, D34).

use super::cost::{Way, way};
use super::embedding::Touched;
use super::gram::{self, Pair, widen};
use super::guard::{self, Guarded};
use super::{add_scaled, tied};
use crate::ops::{View, product, with_floats};
use candle_core::{Result, Tensor};
use std::ops::Range;

/// Adds `share` times one record's Gᵀ A. Input A `(N, D)`, gradient G `(N, P)`; the record's rows are `rows`.
pub(crate) fn add(out: &mut [f32], input: &Tensor, grad: &Tensor, rows: Range<usize>, share: f32) -> Result<()> {
    let (d, p) = (input.dims2()?.1, grad.dims2()?.1);
    with_floats(grad, |g| {
        let g_view = View::matrix(rows.start * p, rows.len(), p);
        let a_view = View::matrix(rows.start * d, rows.len(), d);
        let weight = with_floats(input, |a| product(g, g_view.t(), a, a_view))?; // (P, n) · (n, D) -> (P, D)
        add_scaled(out, &weight, share);
        Ok(())
    })
}

/// Squared norm of one unit, the cheaper way, in 32-bit floats where they can carry it.
pub(crate) fn square(pair: Pair<'_, f32>, touched: Option<&Touched>) -> Result<Guarded> {
    match way(pair.rows(), pair.d, pair.p) {
        Way::Instance => instance(pair, touched),
        Way::Gram => from_gram(pair, touched),
    }
}

pub(crate) fn from_gram(pair: Pair<'_, f32>, touched: Option<&Touched>) -> Result<Guarded> {
    let sums = gram::sums(pair)?;
    let tied = touched.map(|t| tied::part(pair, t)).transpose()?.unwrap_or_default();
    if !(sums.in_range && tied.in_range) {
        return in_doubles(pair, touched);
    }
    Ok(Guarded { square: sums.square + tied.square, guard: guard::of_floats(pair.d, pair.p, sums.s + tied.s) })
}

/// The same from Gram matrices in 64 bits: several times slower, and with a guard that never matters.
pub(crate) fn in_doubles(pair: Pair<'_, f32>, touched: Option<&Touched>) -> Result<Guarded> {
    let (a, g) = (widen(pair.a), widen(pair.g));
    let pair = Pair { a: a.as_slice(), d: pair.d, g: g.as_slice(), p: pair.p };
    let sums = gram::sums(pair)?;
    let tied = touched.map(|t| tied::part(pair, t)).transpose()?.unwrap_or_default();
    Ok(Guarded { square: sums.square + tied.square, guard: guard::of_doubles(sums.s + tied.s) })
}

/// Makes the gradient `(P, D)` and measures it.
pub(crate) fn instance(pair: Pair<'_, f32>, touched: Option<&Touched>) -> Result<Guarded> {
    let Pair { a, d, g, p } = pair;
    let n = pair.rows();
    let mut gradient = product(g, View::matrix(0, n, p).t(), a, View::matrix(0, n, d))?; // (p, n) · (n, d) -> (p, d)
    let mut s: f64 = a.chunks_exact(d).zip(g.chunks_exact(p)).map(|(a, g)| (guard::square_sum(a) * guard::square_sum(g)).sqrt()).sum();
    if let Some(touched) = touched {
        tied::add(&mut gradient, touched, d);
        s += touched.weight;
    }
    let square = guard::square_sum(&gradient);
    Ok(Guarded { square, guard: guard::of_instance(n, square.sqrt(), s) })
}

//! Rows of fixed size: LayerNorm and RMSNorm, forward and backward.

use super::sums::{dot, sum};
use super::{count, wide};

/// Added to the variance, so that a constant row does not divide by zero.
pub(crate) const EPSILON: f32 = 1e-5;

/// What is made the same for all tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormKind {
    /// LayerNorm: mean 0 and variance 1, then gain and shift.
    Layer,
    /// RMSNorm: mean square 1, then gain.
    RootMeanSquare,
}

/// Mean of a row under a normalisation that takes it off, else 0.
#[inline(always)]
fn mean(row: &[f32], kind: NormKind) -> f32 {
    match kind {
        NormKind::Layer => sum(row, |x| x) / count(row),
        NormKind::RootMeanSquare => 0.0,
    }
}

/// Normalises one row in place and returns 1 / deviation.
#[inline(always)]
fn standardise_row(row: &mut [f32], kind: NormKind, epsilon: f32) -> f32 {
    let mean = mean(row, kind);
    row.iter_mut().for_each(|v| *v -= mean);
    let scale = (sum(row, |v| v * v) / count(row) + epsilon).sqrt().recip();
    row.iter_mut().for_each(|v| *v *= scale);
    scale
}

#[inline(always)]
fn standardise_rows((rows, width, scales, (kind, epsilon)): (&mut [f32], usize, &mut [f32], (NormKind, f32))) {
    for (row, scale) in rows.chunks_exact_mut(width).zip(scales) {
        *scale = standardise_row(row, kind, epsilon);
    }
}

/// Normalises each row of `(N, C)` in place, with this added to the variance; `scales` `(N)` gets 1 / deviation of each.
pub(crate) fn standardise(rows: &mut [f32], width: usize, scales: &mut [f32], kind: (NormKind, f32)) {
    wide(standardise_rows, (rows, width, scales, kind));
}

/// What [`scale`] reads and writes.
type Scaling<'a> = (&'a [f32], &'a [f32], Option<&'a [f32]>, &'a mut [f32]);

#[inline(always)]
fn scale_rows((normal, gain, shift, out): Scaling<'_>) {
    let c = gain.len();
    for (x, y) in normal.chunks_exact(c).zip(out.chunks_exact_mut(c)) {
        match shift {
            Some(shift) => y.iter_mut().zip(x).zip(gain.iter().zip(shift)).for_each(|((y, x), (g, s))| *y = x * g + s),
            None => y.iter_mut().zip(x).zip(gain).for_each(|((y, x), g)| *y = x * g),
        }
    }
}

/// `out = x̂ ∘ gain + shift`, row by row.
pub(crate) fn scale(normal: &[f32], gain: &[f32], shift: Option<&[f32]>, out: &mut [f32]) {
    wide(scale_rows, (normal, gain, shift, out));
}

/// One backward pass over rows.
pub(crate) struct Back<'a> {
    pub(crate) kind: NormKind,
    /// x̂ `(N, C)`.
    pub(crate) normal: &'a [f32],
    /// 1 / deviation `(N)`.
    pub(crate) scales: &'a [f32],
    /// Gain `(C)`.
    pub(crate) gain: &'a [f32],
}

/// With u = g ∘ gain: dx = (u − mean(u) − x̂ · mean(u ∘ x̂)) / deviation; where no mean is taken off x, none is of u.
#[inline(always)]
fn back_rows((op, grad): (Back<'_>, &mut [f32])) {
    let c = op.gain.len();
    for ((u, x), scale) in grad.chunks_exact_mut(c).zip(op.normal.chunks_exact(c)).zip(op.scales) {
        u.iter_mut().zip(op.gain).for_each(|(u, g)| *u *= g);
        let mean = mean(u, op.kind);
        let along = dot(u, x) / count(u);
        u.iter_mut().zip(x).for_each(|(u, x)| *u = (*u - mean - x * along) * scale);
    }
}

/// Turns the gradient of the output `(N, C)` into that of the input, in place.
pub(crate) fn back(op: Back<'_>, grad: &mut [f32]) {
    wide(back_rows, (op, grad));
}

#[inline(always)]
fn add_gain((out, normal, grad): (&mut [f32], &[f32], &[f32])) {
    let c = out.len();
    for (x, g) in normal.chunks_exact(c).zip(grad.chunks_exact(c)) {
        out.iter_mut().zip(x.iter().zip(g)).for_each(|(o, (x, g))| *o += x * g);
    }
}

/// Adds Σ x̂ ∘ g over rows to the gradient of the gain `(C)`.
pub(crate) fn gain_gradient(out: &mut [f32], normal: &[f32], grad: &[f32]) {
    wide(add_gain, (out, normal, grad));
}

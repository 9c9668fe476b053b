//! The norm of every unit of a batch over all trainable coordinates (privacy.md D33, D35, D37), without keeping a gradient.

use super::embedding::Touched;
use super::gram::Pair;
use super::guard::{self, Guarded};
use super::{linear, numbers};
use crate::batch::Spans;
use crate::capture::{Capture, Captures, Lookup};
use crate::ops::with_floats;
use candle_core::{Result, Tensor};
use std::ops::Range;

/// A matrix's captures, and those of looking its rows up where it is a token table too.
struct Matrix<'a> {
    spans: &'a Spans,
    input: &'a Tensor,
    grad: &'a Tensor,
    /// Of rows of their own: in a model of two stacks both parts of a record are looked up and only one is scored.
    tied: Option<(&'a Spans, &'a Lookup, &'a Tensor)>,
}

/// A batch's captures by kind, each coordinate in exactly one place.
struct Layers<'a> {
    matrices: Vec<Matrix<'a>>,
    vectors: Vec<(usize, &'a [f32])>,
    tables: Vec<(&'a Spans, &'a Lookup, &'a Tensor)>,
}

impl<'a> Layers<'a> {
    fn new(captures: &'a Captures) -> Self {
        let mut out = Self { matrices: Vec::new(), vectors: Vec::new(), tables: Vec::new() };
        let mut at = Vec::new();
        for layer in &captures.layers {
            if let Capture::Product { at: place, spans, input, grad } = layer {
                at.push(*place);
                out.matrices.push(Matrix { spans, input, grad, tied: None });
            }
        }
        for layer in &captures.layers {
            match layer {
                Capture::Product { .. } => {}
                Capture::Vector { width, values, .. } => out.vectors.push((*width, values)),
                Capture::Rows { lookup, spans, grad } => match at.iter().position(|&place| place == lookup.at) {
                    Some(head) => out.matrices[head].tied = Some((spans, lookup, grad)),
                    None => out.tables.push((spans, lookup, grad)),
                },
            }
        }
        out
    }
}

/// Rows of one unit in a table, added up.
fn touched(lookup: &Lookup, grad: &Tensor, rows: Range<usize>) -> Result<Touched> {
    let c = grad.dims2()?.1;
    with_floats(grad, |g| Ok(Touched::new(&lookup.ids[rows.clone()], &g[numbers(&rows, c)], c)))
}

impl Matrix<'_> {
    /// The unit's squared norm by this function.
    fn square(&self, records: &Range<usize>, by: impl Fn(Pair<'_, f32>, Option<&Touched>) -> Result<Guarded>) -> Result<Guarded> {
        let rows = self.spans.of_records(records);
        let (d, p) = (self.input.dims2()?.1, self.grad.dims2()?.1);
        let tied = self.tied.map(|(spans, lookup, grad)| touched(lookup, grad, spans.of_records(records))).transpose()?;
        with_floats(self.input, |a| {
            with_floats(self.grad, |g| by(Pair { a: &a[numbers(&rows, d)], d, g: &g[numbers(&rows, p)], p }, tied.as_ref()))
        })
    }
}

/// Square of one unit's bias, gain or shift gradient: the sum of its records'.
fn vector_square(width: usize, values: &[f32], records: &Range<usize>) -> f64 {
    let mut sum = vec![0.0f64; width];
    for values in values[numbers(records, width)].chunks_exact(width) {
        sum.iter_mut().zip(values).for_each(|(s, &v)| *s += f64::from(v));
    }
    sum.iter().map(|s| s * s).sum()
}

/// One unit's squared norm. Where the guards together come to more than 2 % of the norm, the largest are replaced by 64-bit sums.
fn unit_square(layers: &Layers<'_>, records: &Range<usize>) -> Result<Guarded> {
    let mut rest: f64 = layers.vectors.iter().map(|(width, values)| vector_square(*width, values, records)).sum();
    let mut guards = 0.0;
    for (spans, lookup, grad) in &layers.tables {
        let part = touched(lookup, grad, spans.of_records(records))?.square();
        rest += part.square;
        guards += part.guard;
    }
    let mut parts: Vec<(usize, Guarded)> = Vec::with_capacity(layers.matrices.len());
    for (i, matrix) in layers.matrices.iter().enumerate() {
        parts.push((i, matrix.square(records, linear::square)?));
    }
    parts.sort_by(|x, y| y.1.guard.total_cmp(&x.1.guard));
    let total = |parts: &[(usize, Guarded)]| {
        let sum = parts.iter().fold(Guarded { square: rest, guard: guards }, |sum, (_, part)| Guarded {
            // A NaN anywhere must show in the sum, so it is not swallowed by a maximum.
            square: sum.square + if part.square < 0.0 { 0.0 } else { part.square },
            guard: sum.guard + part.guard,
        });
        (sum, guard::bearable(sum.guard, sum.square))
    };
    for next in 0..parts.len() {
        let (sum, bearable) = total(&parts);
        if bearable || !sum.upper().is_finite() {
            break;
        }
        parts[next].1 = layers.matrices[parts[next].0].square(records, linear::in_doubles)?;
    }
    Ok(total(&parts).0)
}

/// Squared norm of every unit; `units` says which records are whose. Infinite or NaN where a gradient is not finite.
pub(crate) fn squares(captures: &Captures, units: &Spans) -> Result<Vec<Guarded>> {
    let layers = Layers::new(captures);
    units.iter().map(|records| unit_square(&layers, &records)).collect()
}

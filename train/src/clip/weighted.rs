//! Σ c_i · gradient_i over the units of a batch, layer by layer: one product with weighted rows (privacy.md D33, D36).

use super::gram::{Pair, widen};
use super::numbers;
use crate::batch::Spans;
use crate::capture::{Capture, Captures, Lookup};
use crate::ops::{View, product, with_floats};
use candle_core::{Result, Tensor};
use privacy::bound::ClippedSum;
use privacy::mechanism::Accumulate;
use std::ops::Range;

/// Adds the batch to the sum, and lets each layer's captures go as soon as it is done.
///
/// A unit with factor 0 is left out of every product: zero times infinity would be NaN (D38).
pub(crate) fn add(sum: &mut ClippedSum, captures: Captures, units: &Spans, factors: &[f64]) -> Result<()> {
    for layer in captures.layers {
        match &layer {
            Capture::Product { at, spans, input, grad } => {
                for run in runs(spans, units, factors) {
                    add_product(sum, *at, input, grad, run)?;
                }
            }
            Capture::Vector { at, width, values } => {
                for (records, &c) in units.iter().zip(factors).filter(|(_, c)| **c > 0.0) {
                    values[numbers(&records, *width)].chunks_exact(*width).for_each(|v| sum.add_scaled(*at, v, c));
                }
            }
            Capture::Rows { lookup, spans, grad } => add_rows(sum, lookup, spans, grad, units, factors)?,
        }
    }
    Ok(())
}

fn add_rows(sum: &mut ClippedSum, lookup: &Lookup, spans: &Spans, grad: &Tensor, units: &Spans, factors: &[f64]) -> Result<()> {
    let width = grad.dims2()?.1;
    with_floats(grad, |g| {
        for (records, &factor) in units.iter().zip(factors).filter(|(_, c)| **c > 0.0) {
            let rows = spans.of_records(&records);
            for (id, g) in lookup.ids[rows.clone()].iter().zip(g[numbers(&rows, width)].chunks_exact(width)) {
                sum.add_scaled(lookup.at + id * width, g, factor);
            }
        }
        Ok(())
    })
}

/// Neighbouring rows whose units all contribute, and the factor of each row.
struct Run {
    rows: Range<usize>,
    factors: Vec<f64>,
}

fn runs(spans: &Spans, units: &Spans, factors: &[f64]) -> Vec<Run> {
    let mut out: Vec<Run> = Vec::new();
    for (records, &c) in units.iter().zip(factors).filter(|(_, c)| **c > 0.0) {
        let rows = spans.of_records(&records);
        match out.last_mut().filter(|last| last.rows.end == rows.start) {
            Some(last) => {
                last.rows.end = rows.end;
                last.factors.resize(last.rows.len(), c);
            }
            None => out.push(Run { factors: vec![c; rows.len()], rows }),
        }
    }
    out
}

/// Rows that are widened to 64 bits at once: few enough that the copies are small beside the layer.
const WIDE_ROWS: usize = 512;

/// (diag(c) G)ᵀ A over neighbouring rows.
fn add_product(sum: &mut ClippedSum, at: usize, input: &Tensor, grad: &Tensor, run: Run) -> Result<()> {
    let (d, p) = (input.dims2()?.1, grad.dims2()?.1);
    with_floats(input, |a| {
        with_floats(grad, |g| {
            let pair = Pair { a: &a[numbers(&run.rows, d)], d, g: &g[numbers(&run.rows, p)], p };
            match sum.accumulate() {
                Accumulate::F32 => sum.add(at, &in_floats(pair, &run.factors)?),
                Accumulate::F64 => {
                    let rows = pair.a.chunks(WIDE_ROWS * d).zip(pair.g.chunks(WIDE_ROWS * p));
                    for ((a, g), factors) in rows.zip(run.factors.chunks(WIDE_ROWS)) {
                        sum.add(at, &in_doubles(Pair { a, d, g, p }, factors)?);
                    }
                }
            }
            Ok(())
        })
    })
}

/// In 32-bit floats, with the factors on whichever of the two is narrower.
fn in_floats(pair: Pair<'_, f32>, factors: &[f64]) -> Result<Vec<f32>> {
    let Pair { a, d, g, p } = pair;
    let (av, gv) = (View::matrix(0, pair.rows(), d), View::matrix(0, pair.rows(), p).t());
    if d <= p { product(g, gv, &weigh(a, d, factors, narrow), av) } else { product(&weigh(g, p, factors, narrow), gv, a, av) }
}

/// In 64-bit floats.
fn in_doubles(pair: Pair<'_, f32>, factors: &[f64]) -> Result<Vec<f64>> {
    let Pair { a, d, g, p } = pair;
    let (av, gv) = (View::matrix(0, pair.rows(), d), View::matrix(0, pair.rows(), p).t());
    product(&weigh(g, p, factors, |x| x), gv, &widen(a), av)
}

/// Row t times factor t, multiplied in 64 bits and then brought to the kind of float that is summed in.
fn weigh<T>(x: &[f32], width: usize, factors: &[f64], to: impl Fn(f64) -> T) -> Vec<T> {
    let mut out = Vec::with_capacity(x.len());
    for (row, c) in x.chunks_exact(width).zip(factors) {
        out.extend(row.iter().map(|&x| to(f64::from(x) * c)));
    }
    out
}

#[expect(clippy::cast_possible_truncation, reason = "rounds once, as the mechanism's allowance says")]
fn narrow(x: f64) -> f32 {
    x as f32
}

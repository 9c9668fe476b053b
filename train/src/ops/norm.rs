//! Layer normalisation over the last dimension, recording what its gain and shift need.

use super::{contiguous, like, with_floats};
use crate::batch::{Spans, expect_rows};
use crate::capture::{Capture, Tape};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

/// Added to the variance, so that a constant row does not divide by zero.
const EPSILON: f32 = 1e-5;

/// The operation `y = x̂ ∘ gain + shift`. Gain and shift `(C)`; in `(N, C)`, out `(N, C)`.
pub(crate) struct Norm {
    pub(crate) gain: Tensor,
    pub(crate) shift: Tensor,
    /// Where gain and shift begin in the flat vector.
    pub(crate) offsets: (usize, usize),
    pub(crate) spans: Spans,
    pub(crate) tape: Tape,
}

/// Applies it; recorded only if `x` is tracked.
pub(crate) fn norm(x: &Tensor, op: Norm) -> Result<Tensor> {
    expect_rows(x, &op.spans)?;
    x.contiguous()?.apply_op1(op)
}

#[expect(clippy::cast_precision_loss, reason = "a width is far below 2^24")]
fn width(row: &[f32]) -> f32 {
    row.len() as f32
}

/// Normalises one row in place and returns 1 / standard deviation.
fn standardise(row: &mut [f32]) -> f32 {
    let mean = row.iter().sum::<f32>() / width(row);
    row.iter_mut().for_each(|v| *v -= mean);
    let scale = (row.iter().map(|v| v * v).sum::<f32>() / width(row) + EPSILON).sqrt().recip();
    row.iter_mut().for_each(|v| *v *= scale);
    scale
}

impl CustomOp1 for Norm {
    fn name(&self) -> &'static str {
        "recording-norm"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let mut y = contiguous(x, layout)?.to_vec();
        let c = self.gain.dims1()?;
        with_floats(&self.gain, |gain| {
            with_floats(&self.shift, |shift| {
                for row in y.chunks_exact_mut(c) {
                    standardise(row);
                    row.iter_mut().zip(gain).zip(shift).for_each(|((y, g), s)| *y = *y * g + s);
                }
                Ok(())
            })
        })?;
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    /// With u = g ∘ gain: dx = (u − mean(u) − x̂ · mean(u ∘ x̂)) / deviation.
    fn bwd(&self, x: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let c = self.gain.dims1()?;
        let grad = grad.contiguous()?.detach();
        let mut normal = with_floats(x, |x| Ok(x.to_vec()))?;
        let mut dx = with_floats(&grad, |g| Ok(g.to_vec()))?;
        with_floats(&self.gain, |gain| {
            for (row, u) in normal.chunks_exact_mut(c).zip(dx.chunks_exact_mut(c)) {
                let scale = standardise(row);
                u.iter_mut().zip(gain).for_each(|(u, g)| *u *= g);
                let mean = u.iter().sum::<f32>() / width(u);
                let along = u.iter().zip(&*row).map(|(u, x)| u * x).sum::<f32>() / width(u);
                u.iter_mut().zip(&*row).for_each(|(u, x)| *u = (*u - mean - x * along) * scale);
            }
            Ok(())
        })?;
        let input = like(normal, x)?;
        self.tape.push(Capture::Norm { offsets: self.offsets, spans: self.spans.clone(), input, grad });
        like(dx, x).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{agrees_with_differences, wave};
    use super::*;

    #[test]
    fn norm_agrees_with_finite_differences() {
        let (gain, shift) = (wave(&[6], 0.4), wave(&[6], 0.9));
        agrees_with_differences(&wave(&[4, 6], 1.0), |x| {
            let op = Norm { gain: gain.clone(), shift: shift.clone(), offsets: (0, 6), spans: Spans::of([1, 3]), tape: Tape::off() };
            norm(x, op)
        });
    }
}

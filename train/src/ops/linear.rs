//! `y = x Wᵀ + b`, recording what per-unit gradients need instead of computing a summed weight gradient (privacy.md D39).

use super::{View, contiguous, product, with_floats};
use crate::batch::{Spans, expect_rows};
use crate::capture::{Capture, Tape};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

/// The operation. Weight `(P, D)`, bias `(P)`; in `(N, D)`, out `(N, P)`.
pub(crate) struct Linear {
    pub(crate) weight: Tensor,
    pub(crate) bias: Tensor,
    /// Where weight and bias begin in the flat vector.
    pub(crate) offsets: (usize, usize),
    pub(crate) spans: Spans,
    pub(crate) tape: Tape,
}

/// Applies it; recorded only if `x` is tracked.
pub(crate) fn linear(x: &Tensor, op: Linear) -> Result<Tensor> {
    expect_rows(x, &op.spans)?;
    x.contiguous()?.apply_op1(op)
}

impl Linear {
    /// One product per record: the kernel sees only this record's shape (privacy.md D19).
    fn rows_times(&self, x: &[f32], weight: View) -> Result<Vec<f32>> {
        let d = weight.rows;
        let mut out = Vec::with_capacity(self.spans.rows() * weight.cols);
        with_floats(&self.weight, |w| {
            for rows in self.spans.iter() {
                out.extend_from_slice(&product(x, View::matrix(rows.start * d, rows.len(), d), w, weight)?);
            }
            Ok(())
        })?;
        Ok(out)
    }
}

impl CustomOp1 for Linear {
    fn name(&self) -> &'static str {
        "recording-linear"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (p, d) = self.weight.dims2()?;
        let mut y = self.rows_times(contiguous(x, layout)?, View::matrix(0, p, d).t())?; // (N, D) -> (N, P)
        with_floats(&self.bias, |b| {
            for row in y.chunks_exact_mut(p) {
                row.iter_mut().zip(b).for_each(|(y, b)| *y += b);
            }
            Ok(())
        })?;
        Ok((CpuStorage::F32(y), (self.spans.rows(), p).into()))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let (p, d) = self.weight.dims2()?;
        let grad = grad.contiguous()?.detach();
        let dx = with_floats(&grad, |g| self.rows_times(g, View::matrix(0, p, d)))?; // (N, P) -> (N, D)
        self.tape.push(Capture::Linear { offsets: self.offsets, spans: self.spans.clone(), input: x.detach(), grad });
        super::like(dx, x).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{agrees_with_differences, wave};
    use super::*;

    #[test]
    fn linear_agrees_with_finite_differences() {
        let (weight, bias) = (wave(&[3, 4], 0.1), wave(&[3], 0.2));
        agrees_with_differences(&wave(&[5, 4], 1.0), |x| {
            let op =
                Linear { weight: weight.clone(), bias: bias.clone(), offsets: (0, 12), spans: Spans::of([2, 0, 3]), tape: Tape::off() };
            linear(x, op)
        });
    }
}

//! The mean of a record's tokens: one vector per record.

use super::composed::{self, Way, way};
use super::{contiguous, like, with_floats};
use crate::batch::{Spans, expect_rows};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

/// In `(N, C)`, out `(B, C)`. A record without tokens has the zero vector.
struct MeanPool(Spans);

/// Applies it; recorded only if `x` is tracked.
pub(crate) fn mean_pool(x: &Tensor, spans: &Spans) -> Result<Tensor> {
    expect_rows(x, spans)?;
    match way(x) {
        Way::Fused => x.contiguous()?.apply_op1(MeanPool(spans.clone())),
        Way::Composed => {
            let shares = spans.iter().map(|rows| share(rows.len())).collect();
            composed::sums(x, spans)?.broadcast_mul(&composed::constant(shares, &[spans.records(), 1], x)?)
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a record has at most 8192 tokens")]
fn share(rows: usize) -> f32 {
    (rows.max(1) as f32).recip()
}

impl CustomOp1 for MeanPool {
    fn name(&self) -> &'static str {
        "mean-pool"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = contiguous(x, layout)?;
        let c = layout.shape().dims2()?.1;
        let mut y = vec![0.0f32; self.0.records() * c];
        for (rows, y) in self.0.iter().zip(y.chunks_exact_mut(c)) {
            for x in x[rows.start * c..rows.end * c].chunks_exact(c) {
                y.iter_mut().zip(x).for_each(|(y, x)| *y += x);
            }
            y.iter_mut().for_each(|y| *y *= share(rows.len()));
        }
        Ok((CpuStorage::F32(y), (self.0.records(), c).into()))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let c = x.dims2()?.1;
        let mut dx = Vec::with_capacity(self.0.rows() * c);
        with_floats(&grad.contiguous()?, |g| {
            for (rows, g) in self.0.iter().zip(g.chunks_exact(c)) {
                for _ in rows.clone() {
                    dx.extend(g.iter().map(|g| g * share(rows.len())));
                }
            }
            Ok(())
        })?;
        like(dx, x).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{agrees_with_differences, wave};
    use super::*;

    #[test]
    fn mean_pool_agrees_with_finite_differences() {
        agrees_with_differences(&wave(&[5, 3], 0.3), |x| mean_pool(x, &Spans::of([2, 0, 3])));
    }
}

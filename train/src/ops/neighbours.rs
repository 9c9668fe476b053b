//! Each token's vector beside those of its neighbours in the record: with a linear layer behind it, a convolution over the text.

use super::composed::{self, Way, way};
use super::{contiguous, like, with_floats};
use crate::batch::{Spans, expect_rows};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

/// In `(N, C)`, out `(N, K·C)`; what lies beyond the record is zero.
struct Neighbours {
    kernel: usize,
    /// How many of the K come before the token itself.
    before: usize,
    spans: Spans,
}

/// Lays K neighbouring rows side by side, `before` of them earlier ones.
pub(crate) fn neighbours(x: &Tensor, (kernel, before): (usize, usize), spans: &Spans) -> Result<Tensor> {
    expect_rows(x, spans)?;
    let op = Neighbours { kernel, before, spans: spans.clone() };
    match way(x) {
        Way::Fused => x.contiguous()?.apply_op1(op),
        Way::Composed => op.composed(x),
    }
}

impl Neighbours {
    fn composed(&self, x: &Tensor) -> Result<Tensor> {
        let (n, c) = x.dims2()?;
        let mut ids = vec![None; n * self.kernel];
        self.walk(|row, slot, other| ids[row * self.kernel + slot] = Some(other));
        composed::rows(x, &ids)?.reshape((n, self.kernel * c)) // (N, C) -> (N·K, C) -> (N, K·C)
    }

    /// Calls `each` with (row, slot, neighbour) for all neighbours that exist.
    fn walk(&self, mut each: impl FnMut(usize, usize, usize)) {
        for rows in self.spans.iter() {
            for row in rows.clone() {
                for slot in 0..self.kernel {
                    if let Some(other) = (row + slot).checked_sub(self.before).filter(|other| rows.contains(other)) {
                        each(row, slot, other);
                    }
                }
            }
        }
    }
}

impl CustomOp1 for Neighbours {
    fn name(&self) -> &'static str {
        "neighbours"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, (n, c)) = (contiguous(x, layout)?, layout.shape().dims2()?);
        let mut y = vec![0.0; n * self.kernel * c];
        self.walk(|row, slot, other| y[(row * self.kernel + slot) * c..][..c].copy_from_slice(&x[other * c..][..c]));
        Ok((CpuStorage::F32(y), (n, self.kernel * c).into()))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let c = x.dims2()?.1;
        let mut dx = vec![0.0; x.elem_count()];
        with_floats(&grad.contiguous()?, |g| {
            self.walk(|row, slot, other| {
                let g = &g[(row * self.kernel + slot) * c..][..c];
                dx[other * c..][..c].iter_mut().zip(g).for_each(|(d, g)| *d += g);
            });
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
    fn neighbours_agree_with_finite_differences() {
        for shape in [(3, 1), (3, 2), (5, 2)] {
            agrees_with_differences(&wave(&[6, 2], 0.3), |x| neighbours(x, shape, &Spans::of([2, 0, 4])));
        }
    }

    #[test]
    fn beyond_the_record_there_is_nothing() {
        let x = Tensor::from_vec(vec![1f32, 2.0, 3.0], (3, 1), &candle_core::Device::Cpu).unwrap();
        let rows = neighbours(&x, (3, 1), &Spans::of([2, 1])).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(rows, [[0.0, 1.0, 2.0], [1.0, 2.0, 0.0], [0.0, 3.0, 0.0]]);
    }
}

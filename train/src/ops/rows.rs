//! Some rows of a matrix, in a given order: the first token of each record, or one of the two parts of a record. A record without a row
//! gets zeros, never a row of another record.

use super::composed::{self, Way, way};
use super::{contiguous, like, with_floats};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use std::sync::Arc;

/// In `(N, C)`, out `(rows, C)`.
struct Pick(Arc<[Option<usize>]>);

/// Row i of the result is row `rows[i]` of `x`, or zero.
pub(crate) fn pick(x: &Tensor, rows: impl IntoIterator<Item = Option<usize>>) -> Result<Tensor> {
    let rows: Arc<[Option<usize>]> = rows.into_iter().collect();
    let n = x.dims2()?.0;
    if let Some(row) = rows.iter().flatten().find(|&&row| row >= n) {
        bail!("row {row} of {n}")
    }
    match way(x) {
        Way::Fused => x.contiguous()?.apply_op1(Pick(rows)),
        Way::Composed => composed::rows(x, &rows),
    }
}

impl CustomOp1 for Pick {
    fn name(&self) -> &'static str {
        "pick-rows"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, c) = (contiguous(x, layout)?, layout.shape().dims2()?.1);
        let mut y = vec![0.0; self.0.len() * c];
        for (y, row) in y.chunks_exact_mut(c).zip(self.0.iter()).filter_map(|(y, row)| row.map(|row| (y, row))) {
            y.copy_from_slice(&x[row * c..(row + 1) * c]);
        }
        Ok((CpuStorage::F32(y), (self.0.len(), c).into()))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let c = x.dims2()?.1;
        let mut dx = vec![0.0; x.elem_count()];
        with_floats(&grad.contiguous()?, |g| {
            for (row, g) in self.0.iter().zip(g.chunks_exact(c)).filter_map(|(row, g)| row.map(|row| (row, g))) {
                dx[row * c..(row + 1) * c].iter_mut().zip(g).for_each(|(d, g)| *d += g);
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
    fn picking_rows_agrees_with_finite_differences() {
        agrees_with_differences(&wave(&[5, 3], 0.3), |x| pick(x, [Some(4), Some(0), None, Some(4), Some(1)]));
        assert!(pick(&wave(&[5, 3], 0.3), [Some(5)]).is_err());
    }
}

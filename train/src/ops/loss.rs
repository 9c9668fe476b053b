//! Cross-entropy of each record: minus the log-probability, in nats, that the model gives to the true class.

use super::composed::{self, Way, way};
use super::{contiguous, like, with_floats};
use crate::batch::Spans;
use crate::kernels::softmax::{log_normaliser, surprise};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};

/// In `(B, K)`, out `(B)`.
struct CrossEntropy(Vec<usize>);

/// One loss per record. Never a mean over the batch: a unit's loss must not depend on how many others there are (privacy.md D32).
pub(crate) fn cross_entropy(logits: &Tensor, classes: &[u32]) -> Result<Tensor> {
    let (records, width) = logits.dims2()?;
    let classes: Vec<usize> = classes.iter().filter_map(|&c| usize::try_from(c).ok().filter(|&c| c < width)).collect();
    if classes.len() != records {
        bail!("got {} usable classes for {records} records", classes.len())
    }
    match way(logits) {
        Way::Fused => logits.contiguous()?.apply_op1(CrossEntropy(classes)),
        Way::Composed => {
            let answers: Vec<Option<usize>> = classes.into_iter().map(Some).collect();
            composed::surprises(logits, &Spans::single_rows(records), &answers, vec![1.0; records])
        }
    }
}

impl CustomOp1 for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross-entropy"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let k = layout.shape().dims2()?.1;
        let rows = contiguous(x, layout)?.chunks_exact(k);
        let losses: Vec<f32> = rows.zip(&self.0).map(|(row, &class)| log_normaliser(row) - row[class]).collect();
        let records = losses.len();
        Ok((CpuStorage::F32(losses), records.into()))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let k = x.dims2()?.1;
        let mut dx = with_floats(x, |x| Ok(x.to_vec()))?;
        with_floats(&grad.contiguous()?, |g| {
            for ((row, &class), &g) in dx.chunks_exact_mut(k).zip(&self.0).zip(g) {
                surprise(row, class, g);
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
    fn cross_entropy_agrees_with_finite_differences() {
        agrees_with_differences(&wave(&[4, 3], 0.3), |x| cross_entropy(x, &[0, 2, 1, 1]));
    }

    #[test]
    fn a_class_outside_the_list_is_an_error() {
        assert!(cross_entropy(&wave(&[2, 3], 0.3), &[0, 3]).is_err());
    }
}

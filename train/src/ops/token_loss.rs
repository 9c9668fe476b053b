//! How surprised a model is by the answers that it was asked for: minus the log-probability, in nats, averaged over a record's answers.

use super::composed::{self, Way, way};
use super::{contiguous, like, with_floats};
use crate::batch::{Spans, expect_rows};
use crate::kernels::softmax::{log_normaliser, probabilities};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use std::ops::Range;

/// In `(N, K)`, out `(B)`.
struct TokenLoss {
    spans: Spans,
    /// What each row should have said, if it was asked.
    answers: Vec<Option<usize>>,
}

/// One loss per record. A record that is asked for nothing has loss 0.
pub(crate) fn token_loss(scores: &Tensor, spans: &Spans, answers: Vec<Option<usize>>) -> Result<Tensor> {
    expect_rows(scores, spans)?;
    let k = scores.dims2()?.1;
    if answers.len() != spans.rows() || answers.iter().flatten().any(|&a| a >= k) {
        bail!("got {} answers for {} rows, or one outside the {k} that there are", answers.len(), spans.rows())
    }
    let op = TokenLoss { spans: spans.clone(), answers };
    match way(scores) {
        Way::Fused => scores.contiguous()?.apply_op1(op),
        Way::Composed => {
            let shares = spans.iter().map(|rows| op.share(rows)).collect();
            composed::surprises(scores, spans, &op.answers, shares)
        }
    }
}

impl TokenLoss {
    /// 1 over the number of answers among these rows.
    #[expect(clippy::cast_precision_loss, reason = "a record has at most 8192 tokens")]
    fn share(&self, rows: Range<usize>) -> f32 {
        (self.answers[rows].iter().flatten().count().max(1) as f32).recip()
    }
}

impl CustomOp1 for TokenLoss {
    fn name(&self) -> &'static str {
        "token-loss"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, k) = (contiguous(x, layout)?, layout.shape().dims2()?.1);
        let surprise = |row: usize| self.answers[row].map(|a| log_normaliser(&x[row * k..][..k]) - x[row * k + a]);
        let loss = |rows: Range<usize>| rows.clone().filter_map(surprise).sum::<f32>() * self.share(rows);
        let losses: Vec<f32> = self.spans.iter().map(loss).collect();
        Ok((CpuStorage::F32(losses), self.spans.records().into()))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let k = x.dims2()?.1;
        let mut dx = vec![0.0; x.elem_count()];
        with_floats(&grad.contiguous()?, |g| {
            with_floats(x, |x| {
                for (rows, g) in self.spans.iter().zip(g) {
                    let share = g * self.share(rows.clone());
                    for (row, answer) in rows.filter_map(|row| self.answers[row].map(|a| (row, a))) {
                        let mut p = x[row * k..][..k].to_vec();
                        probabilities(&mut p);
                        p[answer] -= 1.0;
                        dx[row * k..][..k].iter_mut().zip(p).for_each(|(d, p)| *d = p * share);
                    }
                }
                Ok(())
            })
        })?;
        like(dx, x).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{agrees_with_differences, wave};
    use super::*;

    #[test]
    fn token_loss_agrees_with_finite_differences() {
        let answers = vec![None, Some(2), Some(0), None, Some(1), None];
        agrees_with_differences(&wave(&[6, 3], 0.3), |x| token_loss(x, &Spans::of([3, 0, 1, 2]), answers.clone()));
    }

    #[test]
    fn an_even_guess_costs_the_logarithm_and_no_question_costs_nothing() {
        let scores = Tensor::zeros((3, 5), candle_core::DType::F32, &candle_core::Device::Cpu).unwrap();
        let losses = token_loss(&scores, &Spans::of([1, 2]), vec![None, Some(1), Some(4)]).unwrap().to_vec1::<f32>().unwrap();
        assert!(losses[0] == 0.0 && (losses[1] - 5f32.ln()).abs() < 1e-6, "{losses:?}");
        assert!(token_loss(&scores, &Spans::of([3]), vec![None, None, Some(5)]).is_err());
        assert!(token_loss(&scores, &Spans::of([3]), vec![None]).is_err());
    }
}

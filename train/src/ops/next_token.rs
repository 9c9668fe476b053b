//! How surprised a causal model is by a record: minus the log-probability, in nats, that it gives to each token after the first, on average.

use super::composed::{self, Way, way};
use super::{contiguous, like, release, with_floats};
use crate::batch::{Spans, expect_rows};
use crate::kernels::softmax::{log_normaliser, surprise};
use crate::model::parameters::size;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};

/// In `(N, V)`, out `(B)`.
struct NextToken {
    spans: Spans,
    /// All tokens of the batch, below V.
    tokens: Vec<usize>,
}

/// One loss per record, the mean over its predicted tokens. A record of fewer than two tokens predicts nothing: its loss is 0.
pub(crate) fn next_token_loss(logits: &Tensor, spans: &Spans, tokens: &[u32]) -> Result<Tensor> {
    expect_rows(logits, spans)?;
    let vocab = logits.dims2()?.1;
    let tokens: Vec<usize> = tokens.iter().map(|&t| size(t)).filter(|&t| t < vocab).collect();
    if tokens.len() != spans.rows() {
        bail!("got {} usable tokens for {} rows", tokens.len(), spans.rows())
    }
    let op = NextToken { spans: spans.clone(), tokens };
    match way(logits) {
        Way::Fused => logits.contiguous()?.apply_op1(op),
        Way::Composed => op.composed(logits),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a record has at most 8192 tokens")]
fn share(tokens: usize) -> f32 {
    (tokens.saturating_sub(1).max(1) as f32).recip()
}

impl NextToken {
    fn composed(&self, logits: &Tensor) -> Result<Tensor> {
        let mut answers = vec![None; self.tokens.len()];
        for rows in self.spans.iter() {
            (rows.start..rows.end.saturating_sub(1)).for_each(|t| answers[t] = Some(self.tokens[t + 1]));
        }
        let shares = self.spans.iter().map(|rows| share(rows.len())).collect();
        composed::surprises(logits, &self.spans, &answers, shares)
    }
}

impl CustomOp1 for NextToken {
    fn name(&self) -> &'static str {
        "next-token-loss"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, v) = (contiguous(x, layout)?, layout.shape().dims2()?.1);
        let surprise = |t: usize| {
            let row = &x[t * v..(t + 1) * v];
            log_normaliser(row) - row[self.tokens[t + 1]]
        };
        let loss = |rows: std::ops::Range<usize>| (rows.start..rows.end.saturating_sub(1)).map(surprise).sum::<f32>() * share(rows.len());
        let losses: Vec<f32> = self.spans.iter().map(loss).collect();
        Ok((CpuStorage::F32(losses), self.spans.records().into()))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let v = x.dims2()?.1;
        let mut dx = with_floats(x, |x| Ok(x.to_vec()))?;
        with_floats(&grad.contiguous()?, |g| {
            for (rows, g) in self.spans.iter().zip(g).filter(|(rows, _)| !rows.is_empty()) {
                let (share, last) = (g * share(rows.len()), rows.end - 1);
                for t in rows.start..last {
                    surprise(&mut dx[t * v..(t + 1) * v], self.tokens[t + 1], share);
                }
                dx[last * v..rows.end * v].fill(0.0); // the last token of a record predicts nothing
            }
            Ok(())
        })?;
        release(x)?;
        like(dx, x).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{agrees_with_differences, wave};
    use super::*;

    #[test]
    fn next_token_loss_agrees_with_finite_differences() {
        let tokens = [0, 2, 1, 1, 0, 2, 2];
        agrees_with_differences(&wave(&[7, 3], 0.3), |x| next_token_loss(x, &Spans::of([3, 0, 1, 3]), &tokens));
    }

    #[test]
    fn a_record_of_one_token_has_no_loss_and_an_even_guess_costs_the_logarithm_of_the_vocabulary() {
        let logits = Tensor::zeros((4, 5), candle_core::DType::F32, &candle_core::Device::Cpu).unwrap();
        let losses = next_token_loss(&logits, &Spans::of([1, 3]), &[4, 0, 1, 2]).unwrap().to_vec1::<f32>().unwrap();
        assert!(losses[0] == 0.0 && (losses[1] - 5f32.ln()).abs() < 1e-6, "{losses:?}");
    }

    #[test]
    fn a_token_outside_the_vocabulary_is_an_error() {
        assert!(next_token_loss(&wave(&[2, 3], 0.3), &Spans::of([2]), &[0, 3]).is_err());
    }
}

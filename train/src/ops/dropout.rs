//! Dropout: in training, each number is left out with a small chance, so that no part of the model relies on a single other one.
//!
//! What is left out is drawn from a seed, the place in the model, and the record's own tokens: neither the clock nor the other records of
//! the batch have a say (privacy.md D19, training.md M13). Not for anything secret.

use super::composed::{Way, constant, way};
use super::{contiguous, like, with_floats};
use crate::batch::{Spans, expect_rows};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use std::sync::Arc;

/// One key for each record of a batch.
pub(crate) type Keys = Arc<[[u8; 32]]>;

/// In and out `(N, C)`.
struct Dropout {
    /// Of 2^32.
    threshold: u32,
    keep: f32,
    site: u64,
    keys: Keys,
    spans: Spans,
}

/// Leaves numbers out with chance `rate`, and raises the others so that the mean stays. `site` numbers the place in the model.
pub(crate) fn dropout(x: &Tensor, rate: f32, site: u64, keys: &Keys, spans: &Spans) -> Result<Tensor> {
    expect_rows(x, spans)?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a checked rate is in [0, 1)")]
    let threshold = (f64::from(rate) * 4_294_967_296.0) as u32;
    let op = Dropout { threshold, keep: (1.0 - rate).recip(), site, keys: keys.clone(), spans: spans.clone() };
    match way(x) {
        Way::Fused => x.contiguous()?.apply_op1(op),
        Way::Composed => op.composed(&x.contiguous()?),
    }
}

impl Dropout {
    /// The same draws on the processor, brought to where `x` is as a mask.
    fn composed(&self, x: &Tensor) -> Result<Tensor> {
        let kept = self.masked(&vec![1.0; x.elem_count()], x.dims2()?.1).into_iter().map(|v| u8::from(v > 0.0)).collect();
        constant(kept, x.dims(), x)?.where_cond(&(x * f64::from(self.keep))?, &x.zeros_like()?)
    }

    fn masked(&self, x: &[f32], width: usize) -> Vec<f32> {
        let mut out = x.to_vec();
        for (rows, key) in self.spans.iter().zip(self.keys.iter()) {
            let mut rng = ChaCha8Rng::from_seed(*key);
            rng.set_stream(self.site);
            for v in &mut out[rows.start * width..rows.end * width] {
                *v = if rng.next_u32() < self.threshold { 0.0 } else { *v * self.keep };
            }
        }
        out
    }
}

impl CustomOp1 for Dropout {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok((CpuStorage::F32(self.masked(contiguous(x, layout)?, layout.shape().dims2()?.1)), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let width = x.dims2()?.1;
        like(with_floats(&grad.contiguous()?, |g| Ok(self.masked(g, width)))?, x).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{agrees_with_differences, wave};
    use super::*;

    fn keys(of: &[u8]) -> Keys {
        of.iter().map(|&k| [k; 32]).collect()
    }

    #[test]
    fn dropout_agrees_with_finite_differences() {
        agrees_with_differences(&wave(&[5, 4], 0.3), |x| dropout(x, 0.4, 3, &keys(&[1, 2]), &Spans::of([2, 3])));
    }

    /// 20,000 draws at 0.3: the share left out is off by less than 0.02, over 6 deviations (false alarm below 1e-8); the seed is fixed.
    #[test]
    fn the_share_is_right_and_a_record_is_masked_alike_whoever_stands_beside_it() {
        let x = Tensor::ones((4, 5000), candle_core::DType::F32, &candle_core::Device::Cpu).unwrap();
        let run = |of: &[u8], spans: Spans| dropout(&x, 0.3, 7, &keys(of), &spans).unwrap().to_vec2::<f32>().unwrap();
        let one = run(&[9], Spans::of([4]));
        let dropped = one.iter().flatten().filter(|&&v| v == 0.0).count();
        assert!((5600..=6400).contains(&dropped), "{dropped}");
        assert!(one.iter().flatten().all(|&v| v == 0.0 || (v - 1.0 / 0.7).abs() < 1e-6));
        assert_eq!(run(&[3, 9], Spans::of([2, 2]))[2..], one[..2]);
        assert_ne!(run(&[3, 9], Spans::of([2, 2]))[..2], one[..2]);
    }
}

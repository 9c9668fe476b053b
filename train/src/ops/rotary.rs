//! Rotary positions (Su et al. 2021, arXiv 2104.09864): queries and keys are turned by an angle that grows with their place, so that
//! their product depends on how far apart they are. Coordinate i of a head is paired with i + D/2.

use super::composed::{Way, constant, way};
use super::{contiguous, like, with_floats};
use crate::batch::{Spans, expect_rows};
use candle_core::{CpuStorage, CustomOp1, D, Layout, Result, Shape, Tensor, bail};

/// Slower turns than a model was first trained with: what lies between two places then looks as if they were nearer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stretch {
    /// All pairs turn slower (Chen et al. 2023, arXiv 2306.15595).
    Even {
        /// So many times.
        factor: f64,
    },
    /// Only slow pairs do (Llama 3.1, arXiv 2407.21783): those that turn less than `low` times within `tokens`. Those that turn more than `high`
    /// times stay, and between the bounds the share of both grows evenly.
    Slow {
        /// So many times.
        factor: f64,
        /// Turns of a slow pair, at most.
        low: f64,
        /// Turns of a fast pair, at least.
        high: f64,
        /// Longest text of the first training.
        tokens: f64,
    },
}

impl Stretch {
    /// Whether all numbers are finite and in order.
    pub(crate) fn is_usable(self) -> bool {
        match self {
            Self::Even { factor } => factor.is_finite() && factor >= 1.0,
            Self::Slow { factor, low, high, tokens } => {
                let finite = [factor, low, high, tokens].iter().all(|x| x.is_finite());
                finite && factor >= 1.0 && low > 0.0 && high > low && tokens >= 1.0
            }
        }
    }

    /// Places in which a pair turns by one radian, of one that took `period`.
    fn slowed(self, period: f64) -> f64 {
        match self {
            Self::Even { factor } => period * factor,
            Self::Slow { factor, low, high, tokens } => {
                let turns = tokens / (2.0 * std::f64::consts::PI * period);
                let fast = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                period / (fast + (1.0 - fast) / factor)
            }
        }
    }
}

/// In and out `(N, H·D)`, D even.
struct Rotary {
    width: usize,
    turns: (f64, Option<Stretch>),
    spans: Spans,
}

/// Turns every head of `width` coordinates by place / theta^(2i/D), or slower.
pub(crate) fn rotary(x: &Tensor, width: usize, turns: (f64, Option<Stretch>), spans: &Spans) -> Result<Tensor> {
    expect_rows(x, spans)?;
    if width == 0 || !width.is_multiple_of(2) || !x.dims2()?.1.is_multiple_of(width) {
        bail!("heads of {width} coordinates cannot be turned in {:?}", x.shape())
    }
    let op = Rotary { width, turns, spans: spans.clone() };
    match way(x) {
        Way::Fused => x.contiguous()?.apply_op1(op),
        Way::Composed => op.composed(x),
    }
}

impl Rotary {
    fn composed(&self, x: &Tensor) -> Result<Tensor> {
        let ((n, row), half, angles) = (x.dims2()?, self.width / 2, self.angles());
        let of_rows = |part: fn(&(f32, f32)) -> f32| -> Result<Tensor> {
            let values = self.spans.iter().flat_map(|rows| &angles[..rows.len()]).flatten().map(part).collect();
            constant(values, &[n, 1, half], x)
        };
        let (cos, sin) = (of_rows(|a| a.0)?, of_rows(|a| a.1)?);
        let heads = x.reshape((n, row / self.width, self.width))?; // (N, H·D) -> (N, H, D)
        let (first, second) = (heads.narrow(D::Minus1, 0, half)?, heads.narrow(D::Minus1, half, half)?);
        let turned = (first.broadcast_mul(&cos)? - second.broadcast_mul(&sin)?)?;
        let other = (second.broadcast_mul(&cos)? + first.broadcast_mul(&sin)?)?;
        Tensor::cat(&[turned, other], D::Minus1)?.reshape((n, row)) // (N, H, D) -> (N, H·D)
    }

    /// Cosine and sine of each pair, at every place of the longest record.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "places and widths are far below 2^53, and angles are rounded once to the precision of the model"
    )]
    fn angles(&self) -> Vec<Vec<(f32, f32)>> {
        let (theta, stretch) = self.turns;
        let period = |i: usize| {
            let period = theta.powf(2.0 * i as f64 / self.width as f64);
            stretch.map_or(period, |stretch| stretch.slowed(period))
        };
        let periods: Vec<f64> = (0..self.width / 2).map(period).collect();
        let turned = |place: usize, period: f64| {
            let angle = place as f64 / period;
            (angle.cos() as f32, angle.sin() as f32)
        };
        let longest = self.spans.iter().map(|rows| rows.len()).max().unwrap_or(0);
        (0..longest).map(|place| periods.iter().map(|&period| turned(place, period)).collect()).collect()
    }

    /// `turn` is 1 forward and -1 backward: the transpose of a rotation is the rotation back.
    fn turned(&self, x: &[f32], turn: f32) -> Vec<f32> {
        let (mut out, half, angles) = (x.to_vec(), self.width / 2, self.angles());
        let row = if self.spans.rows() == 0 { 1 } else { x.len() / self.spans.rows() };
        for rows in self.spans.iter() {
            for (row, angles) in out[rows.start * row..rows.end * row].chunks_exact_mut(row).zip(&angles) {
                for head in row.chunks_exact_mut(self.width) {
                    let (first, second) = head.split_at_mut(half);
                    for ((a, b), (cos, sin)) in first.iter_mut().zip(second).zip(angles) {
                        (*a, *b) = (*a * cos - turn * *b * sin, *b * cos + turn * *a * sin);
                    }
                }
            }
        }
        out
    }
}

impl CustomOp1 for Rotary {
    fn name(&self) -> &'static str {
        "rotary"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok((CpuStorage::F32(self.turned(contiguous(x, layout)?, 1.0)), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        like(with_floats(&grad.contiguous()?, |g| Ok(self.turned(g, -1.0)))?, x).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{agrees_with_differences, wave};
    use super::*;

    #[test]
    fn rotary_agrees_with_finite_differences() {
        agrees_with_differences(&wave(&[6, 8], 0.3), |x| rotary(x, 4, (100.0, None), &Spans::of([2, 0, 4])));
    }

    #[test]
    fn products_depend_on_the_distance_alone() {
        let row = wave(&[1, 4], 0.7);
        let rows = Tensor::cat(&[&row; 6], 0).unwrap();
        let turned = rotary(&rows, 4, (50.0, None), &Spans::of([6])).unwrap().to_vec2::<f32>().unwrap();
        let dot = |i: usize, j: usize| turned[i].iter().zip(&turned[j]).map(|(a, b)| a * b).sum::<f32>();
        assert!((dot(0, 2) - dot(3, 5)).abs() < 1e-5 && (dot(0, 2) - dot(0, 3)).abs() > 1e-3);
    }

    #[test]
    fn slow_pairs_turn_slower_and_fast_ones_stay() {
        let turn = 2.0 * std::f64::consts::PI;
        let stretch = Stretch::Slow { factor: 8.0, low: 1.0, high: 4.0, tokens: 64.0 };
        let period = |turns: f64| 64.0 / (turns * turn); // of a pair that turns so often within 64 tokens
        let slower = |turns: f64| stretch.slowed(period(turns)) / period(turns);
        assert!([4.0, 5.0, 100.0].iter().all(|&turns| (slower(turns) - 1.0).abs() < 1e-12));
        assert!([1.0, 0.5, 0.01].iter().all(|&turns| (slower(turns) - 8.0).abs() < 1e-9));
        // Half way between the bounds, half of it goes on at the old speed.
        assert!((slower(2.5) - 1.0 / (0.5 + 0.5 / 8.0)).abs() < 1e-9);
        assert!((Stretch::Even { factor: 3.0 }.slowed(5.0) - 15.0).abs() < 1e-12);
        assert!(stretch.is_usable() && Stretch::Even { factor: 1.0 }.is_usable());
        for bad in [
            Stretch::Even { factor: 0.5 },
            Stretch::Even { factor: f64::INFINITY },
            Stretch::Slow { factor: 8.0, low: 4.0, high: 4.0, tokens: 64.0 },
            Stretch::Slow { factor: 8.0, low: 0.0, high: 4.0, tokens: 64.0 },
            Stretch::Slow { factor: f64::NAN, low: 1.0, high: 4.0, tokens: 64.0 },
            Stretch::Slow { factor: 8.0, low: 1.0, high: 4.0, tokens: 0.0 },
        ] {
            assert!(!bad.is_usable(), "{bad:?}");
        }
    }
}

//! The sum path: clipped micro-batch sums in 64-bit floats, brought to the grid once per step (privacy.md D18, D19).
//!
//! Used where no unit's gradient ever exists by itself. That each unit was shortened by its [`ClippedSum::factor`] is the training room's
//! part; what floats can do to that is the allowance ν of the mechanism.

use super::{NoiseError, UnitSum, length};
use crate::ledger::PaidStep;
use crate::mechanism::{Accumulate, Executed, Mechanism, Rounding, SumPath};
use crate::noise::{Dither, Stream};
use protocol::plan::ClipFunction;
use zeroize::Zeroize;

/// Sum of clipped unit gradients, in units of the gradient. Zeroised when dropped; cannot be read, only rounded.
///
/// ```compile_fail,E0599
/// # use privacy::{bound::ClippedSum, ledger::PaidStep, mechanism::Mechanism, noise::{Noise, Stream}};
/// // Noise comes after the grid, never before it.
/// fn hurried(sum: ClippedSum, paid: PaidStep, m: &Mechanism, n: &mut Stream<Noise>) { let _ = sum.noised(paid, m, n); }
/// ```
///
/// ```compile_fail,E0616
/// // Nothing reads a sum that carries no noise.
/// fn peek(sum: &privacy::bound::ClippedSum) -> f64 { sum.sum[0] }
/// ```
pub struct ClippedSum {
    sum: Vec<f64>,
    executed: Executed,
    path: SumPath,
    clip: f64,
    inner_bound: f64,
    steps_per_unit: f64,
}

impl ClippedSum {
    /// An empty sum over the mechanism's coordinates.
    ///
    /// # Errors
    /// [`NoiseError::ExactPath`] if the mechanism's sensitivity was not counted for a float sum.
    pub fn new(m: &Mechanism) -> Result<Self, NoiseError> {
        let path = m.executed().path.ok_or(NoiseError::ExactPath)?;
        Ok(Self {
            sum: vec![0.0; length(m)],
            executed: m.executed().clone(),
            path,
            clip: m.clip(),
            inner_bound: m.inner_bound_grid(),
            steps_per_unit: m.grid_step().recip(),
        })
    }

    /// In which floats weighted products are to be computed.
    pub fn accumulate(&self) -> Accumulate {
        self.path.accumulate
    }

    /// What a unit's gradient is to be multiplied by, given an upper bound on its squared norm. 0 if that is not finite: the unit then
    /// contributes nothing and still counts as present.
    ///
    /// # Source
    /// privacy.md D38.
    pub fn factor(&self, square: f64) -> f64 {
        if !(square.is_finite() && square >= 0.0) {
            return 0.0;
        }
        match self.executed.clip_function {
            ClipFunction::AutoS => self.clip / (square.sqrt() + 0.01),
            ClipFunction::Flat => (self.clip / square.sqrt()).min(1.0),
        }
    }

    /// Adds numbers that are already clipped to the coordinates from `at` on.
    pub fn add<T: Copy + Into<f64>>(&mut self, at: usize, values: &[T]) {
        self.sum[at..at + values.len()].iter_mut().zip(values).for_each(|(sum, &v)| *sum += v.into());
    }

    /// Adds `factor` times a part of one unit's gradient to the coordinates from `at` on.
    pub fn add_scaled(&mut self, at: usize, values: &[f32], factor: f64) {
        self.sum[at..at + values.len()].iter_mut().zip(values).for_each(|(sum, &v)| *sum += factor * f64::from(v));
    }

    /// Adds what another worker summed with the same mechanism.
    ///
    /// # Errors
    /// [`NoiseError::MechanismDiffers`]; this sum is unchanged.
    pub fn merge(&mut self, other: &Self) -> Result<(), NoiseError> {
        if self.executed != other.executed {
            return Err(NoiseError::MechanismDiffers);
        }
        self.sum.iter_mut().zip(&other.sum).for_each(|(a, b)| *a += b);
        Ok(())
    }

    /// The sum as it stands. Tests only.
    #[cfg(any(test, feature = "test-doors"))]
    pub fn for_test(&self) -> &[f64] {
        &self.sum
    }

    /// Brings the sum to the grid, once per step.
    ///
    /// # Privacy
    /// unit: one · sensitivity: with float sums that differ by at most C(1 + ν) in L2 when a unit comes or goes, the integers differ by at
    /// most the mechanism's Δ_grid, but for probability β over the dither, which is charged to δ · the dither does not depend on data.
    ///
    /// # Errors
    /// [`NoiseError::WrongStream`] for a dither of another step, [`NoiseError::OutOfRange`]. The sum is dropped unread.
    ///
    /// # Source
    /// privacy.md D18; Kairouz, Liu, Steinke 2021, arXiv 2102.06387.
    pub fn rounded(mut self, paid: &PaidStep, dither: &mut Stream<Dither>) -> Result<UnitSum, NoiseError> {
        if *dither.context() != paid.context() {
            return Err(NoiseError::WrongStream { stream: *dither.context(), paid: paid.context() });
        }
        let rounding = self.path.rounding;
        let mut round = |x: f64| match rounding {
            Rounding::Nearest => x.round(),
            Rounding::Dithered => dithered(x, dither.next_u64()),
        };
        let sum: Option<Vec<i64>> = self.sum.iter().map(|&x| whole(round(x * self.steps_per_unit))).collect();
        self.sum.zeroize();
        let sum = sum.ok_or(NoiseError::OutOfRange)?;
        Ok(UnitSum { sum, executed: self.executed.clone(), inner_bound: self.inner_bound, clip: self.clip })
    }
}

/// ⌊x + u⌋ with u uniform in [0, 1): the fraction is exact, and its 53 bits are compared with 53 random ones.
#[expect(clippy::cast_precision_loss, reason = "53 bits are exact in f64")]
fn dithered(x: f64, draw: u64) -> f64 {
    let low = x.floor();
    let u = (draw >> 11) as f64 * 2f64.powi(-53);
    if u < x - low { low + 1.0 } else { low }
}

/// A whole number of at most 62 bits.
#[expect(clippy::cast_possible_truncation, reason = "checked to lie within 62 bits")]
fn whole(x: f64) -> Option<i64> {
    (x.abs() < 2f64.powi(62)).then_some(x as i64)
}

impl Drop for ClippedSum {
    fn drop(&mut self) {
        self.sum.zeroize();
    }
}

#[cfg(test)]
#[path = "sum_path_tests.rs"]
mod tests;

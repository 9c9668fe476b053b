//! The exact path: clip one unit's gradient, put it on the grid, sum in integers, add the paid noise (privacy.md D15, D17, D21).
//! The sum path, where only the clipped sum exists, is in [`ClippedSum`] and ends in the same integers (D18).
//! Knows no tensor and no ledger file; from the grid on there is no float until after the noise.

mod counts;
mod share;
mod sum_path;

pub use share::{ClampedSum, NoisedShare};
pub use sum_path::ClippedSum;

use crate::ledger::PaidStep;
use crate::mechanism::{Executed, Mechanism};
use crate::noise::{Noise, StepContext, Stream};
use protocol::plan::ClipFunction;
use zeroize::Zeroize;

/// Coordinates `offset..offset + values.len()` of the flat trained vector. Blocks of one unit are disjoint; missing coordinates are 0.
#[derive(Clone, Copy)]
pub struct Block<'a> {
    /// First coordinate.
    pub offset: usize,
    /// Its gradient and the following ones.
    pub values: &'a [f32],
}

/// What became of a unit's gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnitOutcome {
    /// Clipped and added.
    Added,
    /// It holds a NaN or an infinity: it contributes 0, the unit still counts as present (D38).
    NonFinite,
    /// Blocks overlap or reach beyond the dimension: a mistake of the caller. It contributes 0.
    Misplaced,
    /// No factor that was tried brought it within the bound in integers: it contributes 0, the unit still counts as present. The first factor
    /// does by D17, so nobody is expected to see this.
    TooLong,
}

/// Sum of clipped unit gradients in grid steps. No unit moves it by more than the mechanism's Δ_grid in L2. Zeroised when dropped; cannot
/// be read.
pub struct UnitSum {
    sum: Vec<i64>,
    executed: Executed,
    inner_bound: f64,
    clip: f64,
}

/// Why a sum was not noised. Nothing was released; the step is lost and stays paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoiseError {
    /// The sum was made by another mechanism than the one that was paid for (bug class B25).
    #[error("the executed mechanism is not the one that was paid for")]
    MechanismDiffers,
    /// The noise stream belongs to another step: its noise may already be in use elsewhere.
    #[error("the noise stream is of {stream:?}, the payment of {paid:?}")]
    WrongStream {
        /// Of the stream.
        stream: StepContext,
        /// Of the payment.
        paid: StepContext,
    },
    /// A float sum for a mechanism whose sensitivity was counted for the exact path.
    #[error("the mechanism is of the exact path")]
    ExactPath,
    /// The sum of a mechanism whose noise others add too: its coordinates must be clamped first, and it goes to no local optimiser (D20).
    #[error("the mechanism's noise is added together with others': the sum must be clamped")]
    Unclamped,
    /// A mechanism of mode `local`, which clamps nothing.
    #[error("the mechanism adds all its noise alone")]
    Alone,
    /// A coordinate of a float sum is not finite or beyond 62 bits of grid steps: its units were not clipped.
    #[error("a coordinate of the sum is not a number that clipped units can add up to")]
    OutOfRange,
}

impl UnitSum {
    /// An empty sum over the mechanism's coordinates.
    ///
    /// # Panics
    /// Only where a vector of that length could not exist: the dimension is at most 2^32.
    pub fn new(m: &Mechanism) -> Self {
        Self { sum: vec![0; length(m)], executed: m.executed().clone(), inner_bound: m.inner_bound_grid(), clip: m.clip() }
    }

    /// Clips one unit's gradient, rounds it to the grid and adds it.
    ///
    /// # Privacy
    /// unit: one · sensitivity: Σz² <= 4^g is checked in integers for whatever floats come in, so the sum moves by at most 2^g grid steps
    /// in L2 when a unit comes or goes · no randomness here.
    ///
    /// # Source
    /// privacy.md D17, D38. With at most 2^24 per coordinate and unit, 64 bits hold 2^39 units.
    pub fn add_unit(&mut self, blocks: &[Block<'_>]) -> UnitOutcome {
        if !well_placed(blocks, self.sum.len()) {
            return UnitOutcome::Misplaced;
        }
        let square: f64 = blocks.iter().flat_map(|b| b.values).map(|&x| f64::from(x) * f64::from(x)).sum();
        // A NaN or an infinity anywhere shows in the sum of squares: squares of finite f32 cannot overflow f64.
        if !square.is_finite() {
            return UnitOutcome::NonFinite;
        }
        match shrinking(self.factor(square.sqrt())).find(|&factor| self.fits(blocks, factor)) {
            Some(factor) => {
                self.add_scaled(blocks, factor);
                UnitOutcome::Added
            }
            None => UnitOutcome::TooLong,
        }
    }

    /// Grid steps per unit of gradient for a unit of this norm.
    fn factor(&self, norm: f64) -> f64 {
        match self.executed.clip_function {
            // C' / (norm + 0.01): the norm after clipping stays below C' whatever C is.
            ClipFunction::AutoS => self.inner_bound / (norm + 0.01),
            ClipFunction::Flat => self.inner_bound / norm.max(self.clip),
        }
    }

    /// Σz² <= 4^g, in integers, for what `add_scaled` would add.
    fn fits(&self, blocks: &[Block<'_>], factor: f64) -> bool {
        let most = 1u128 << (2 * u32::from(self.executed.grid_bits));
        let square = blocks.iter().flat_map(|b| b.values).try_fold(0u128, |sum, &x| {
            let z = on_grid(x, factor).unsigned_abs();
            sum.checked_add(u128::from(z) * u128::from(z)).filter(|&s| s <= most)
        });
        square.is_some()
    }

    fn add_scaled(&mut self, blocks: &[Block<'_>], factor: f64) {
        for b in blocks {
            for (sum, &x) in self.sum[b.offset..].iter_mut().zip(b.values) {
                *sum += on_grid(x, factor);
            }
        }
    }

    /// Adds what another worker summed with the same mechanism. Integer sums do not depend on the order.
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

    /// Adds independent rounded Gaussian noise to every coordinate and uses up the payment.
    ///
    /// # Privacy
    /// unit: the plan's · neighbours: add or remove one unit · sensitivity: Δ_grid steps in L2 · measure: subsampled Gaussian with noise
    /// multiplier sigma_grid / Δ_grid, of which x + round(N) = round(x + N) is post-processing · distance of the sampler: below 2^-110 per value.
    /// All values are drawn before the sum is read, by a function that takes no data (D26).
    ///
    /// # Errors
    /// [`NoiseError`]; the sum is dropped unread.
    ///
    /// # Source
    /// privacy.md D21, D24, D26.
    pub fn noised(mut self, paid: PaidStep, m: &Mechanism, noise: &mut Stream<Noise>) -> Result<NoisedSum, NoiseError> {
        if self.executed.joint.is_some() {
            return Err(NoiseError::Unclamped);
        }
        self.add_noise(paid, m, noise, None)?;
        Ok(NoisedSum { values: std::mem::take(&mut self.sum) })
    }

    /// Draws first, then clamps if asked and adds: the draw knows nothing of the sum (D26).
    fn add_noise(&mut self, paid: PaidStep, m: &Mechanism, noise: &mut Stream<Noise>, clamp: Option<i64>) -> Result<(), NoiseError> {
        if self.executed != *m.executed() || !paid.pays_for(m) {
            return Err(NoiseError::MechanismDiffers);
        }
        if *noise.context() != paid.context() {
            return Err(NoiseError::WrongStream { stream: *noise.context(), paid: paid.context() });
        }
        let mut drawn = m.sampler().draw(noise, self.sum.len());
        let bound = clamp.unwrap_or(i64::MAX);
        self.sum.iter_mut().zip(&drawn).for_each(|(sum, noise)| *sum = (*sum).clamp(-bound, bound) + noise);
        drawn.zeroize();
        paid.use_up();
        Ok(())
    }
}

impl Drop for UnitSum {
    fn drop(&mut self) {
        self.sum.zeroize();
    }
}

/// A factor and seven smaller ones. One shrink undoes the rounding errors of a float norm; the further ones are for the theorem, not for
/// practice.
fn shrinking(factor: f64) -> impl Iterator<Item = f64> {
    std::iter::successors(Some(factor), |f| Some(f * (1.0 - 2f64.powi(-16)))).take(8)
}

/// Coordinates of the mechanism.
fn length(m: &Mechanism) -> usize {
    usize::try_from(m.dimension()).expect("a vector of the model's size is held in memory")
}

/// Nearest grid point. Saturates for absurd products, which [`UnitSum::fits`] then refuses.
#[expect(clippy::cast_possible_truncation, reason = "float to integer casts saturate, and the norm check refuses what is too large")]
fn on_grid(x: f32, factor: f64) -> i64 {
    (f64::from(x) * factor).round() as i64
}

/// Blocks lie inside the vector and no coordinate is named twice.
fn well_placed(blocks: &[Block<'_>], dimension: usize) -> bool {
    let mut spans: Vec<(usize, usize)> = blocks.iter().filter(|b| !b.values.is_empty()).map(|b| (b.offset, b.values.len())).collect();
    spans.sort_unstable();
    let mut end = 0usize;
    spans.into_iter().all(|(offset, len)| {
        let fits = offset >= end && offset.checked_add(len).is_some_and(|e| e <= dimension);
        end = offset.saturating_add(len);
        fits
    })
}

/// A sum that carries its noise. Everything made from it is post-processing.
pub struct NoisedSum {
    values: Vec<i64>,
}

impl NoisedSum {
    /// The noised mean gradient: integer · γ / B̄, with B̄ = q·N̂ public and the same whatever the sample (D15).
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "post-processing of private integers; f32 is the model's type"
    )]
    pub fn mean_gradient(self, m: &Mechanism) -> Vec<f32> {
        let scale = m.grid_step() / m.divisor();
        self.values.iter().map(|&v| (v as f64 * scale) as f32).collect()
    }

    /// The noised integers, in grid steps.
    pub fn values(&self) -> &[i64] {
        &self.values
    }
}

#[cfg(test)]
#[path = "bound_tests.rs"]
mod tests;

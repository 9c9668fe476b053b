//! Noise that institutions add together: who is guaranteed to have added a share, what each adds, and how far the sum of rounded shares
//! may be from rounded Gaussian noise (privacy.md D7, D20, D22). Pure numbers: knows no plan, no data and no sampler.

mod figure;

pub use figure::{Coalition, Standing, Target, calibrate_share, check_statement};

use crate::accountant::task::TaskError;
use libm::{exp, expm1, log1p, sqrt};
use protocol::decimal::Decimal;
use protocol::plan::guaranteed_shares;
use std::f64::consts::PI;
use std::num::NonZeroU16;

/// Largest distance of a sum of rounded shares from what is accounted: 2^-100 (D22).
pub const MAX_DISTANCE: f64 = 1.0 / (1u128 << 100) as f64;
/// Where noise is cut off, in deviations times ten (D24).
const TAIL_TENTHS: u128 = 133;

/// Numbers for which institutions cannot noise a sum together.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CoalitionError {
    /// Nobody's share is guaranteed but the colluding ones'.
    #[error("a cohort of {cohort_min} with {colluding} colluding beside the one that looks leaves no guaranteed share")]
    NobodyLeft {
        /// Fewest institutions of an opened sum.
        cohort_min: u16,
        /// Institutions that the looking one may collude with.
        colluding: u16,
    },
    /// Shares so small that their rounding shows (D22).
    #[error("shares of {sigma_grid} grid steps are too coarse for a sum of {shares}: use a finer grid")]
    Coarse {
        /// Deviation of one share, in grid steps.
        sigma_grid: f64,
        /// Guaranteed shares.
        shares: u16,
    },
    /// The packing has no room for one unit beside the noise (D20).
    #[error("{bits} bits have no room for one unit's gradient beside noise of {sigma_grid} grid steps: use a coarser grid or more bits")]
    NoRoom {
        /// Of a value.
        bits: u8,
        /// Deviation of one share, in grid steps.
        sigma_grid: f64,
    },
    /// The guaranteed shares are worth less than the plan says.
    #[error("against a coalition the plan states epsilon {stated}, its noise gives {computed}")]
    Overstated {
        /// By the plan.
        stated: Decimal,
        /// Recomputed.
        computed: f64,
    },
    /// No figure against a coalition.
    #[error("there is no figure against a coalition")]
    Figure(#[from] TaskError),
}

/// Shares of noise that are in every opened sum whatever a coalition does: the victim's own is one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GuaranteedShares(NonZeroU16);

impl GuaranteedShares {
    /// h = n_min − 1 − c: one institution that sees the sum is always assumed curious, and c more may tell it their noise.
    ///
    /// # Errors
    /// [`CoalitionError::NobodyLeft`] where h would be below 1.
    ///
    /// # Source
    /// privacy.md D7.
    pub fn new(cohort_min: u16, colluding: u16) -> Result<Self, CoalitionError> {
        guaranteed_shares(cohort_min, colluding).map(Self).ok_or(CoalitionError::NobodyLeft { cohort_min, colluding })
    }

    /// h.
    pub fn get(self) -> u16 {
        self.0.get()
    }

    /// The noise multiplier of each share, such that the guaranteed shares alone have `target` together, and never below `floor`.
    pub fn own_noise_multiplier(self, target: f64, floor: f64) -> f64 {
        (target / sqrt(f64::from(self.get()))).max(floor)
    }

    /// The noise multiplier of the guaranteed shares together.
    pub fn joint_noise_multiplier(self, own: f64) -> f64 {
        own * sqrt(f64::from(self.get()))
    }

    /// τ_S: upper bound on the distance in total variation of a sum of h rounded normal shares from the rounding of their unrounded sum plus
    /// independent uniforms, which is post-processing of Gaussian noise of deviation √h · `sigma_grid`.
    ///
    /// # Source
    /// privacy.md D22, Lemma S, whose proof is pending review; with 2 ÷ (1 − e^(−3x)) for its 2.02, which is an upper bound for every x.
    pub fn distance(self, sigma_grid: f64) -> f64 {
        let h = f64::from(self.get());
        let x = 2.0 * PI * PI * sigma_grid * sigma_grid / h;
        // Σ over k ≠ 0 of e^(−k²x), since k² >= 1 + 3(k − 1). The lemma's covariance has no eigenvalue below sigma_grid²/h.
        let one_dimension = 2.0 * exp(-x) / -expm1(-3.0 * x);
        0.5 * expm1((h - 1.0) * log1p(one_dimension))
    }

    /// Checks that the distance is below [`MAX_DISTANCE`]; met for a deviation of at least 2.3·√h grid steps.
    ///
    /// # Errors
    /// [`CoalitionError::Coarse`].
    pub fn check(self, sigma_grid: f64) -> Result<(), CoalitionError> {
        let fine = self.distance(sigma_grid) <= MAX_DISTANCE;
        if fine { Ok(()) } else { Err(CoalitionError::Coarse { sigma_grid, shares: self.get() }) }
    }
}

/// R: coordinates of a sum are clamped to −R..=R before noise, so that value and noise together always fit a packed value of `bits` bits.
/// No accountant covers saturation or a carry between values, so neither can happen.
///
/// `sigma_1024` is the deviation of the noise in 2^-10 grid steps, `unit` the largest gradient of one unit in grid steps.
///
/// # Errors
/// [`CoalitionError::NoRoom`] where R would be below `unit`.
///
/// # Source
/// privacy.md D20: R + ⌈13.3·sigma_grid⌉ <= 2^(b−1) − 1.
pub fn coordinate_bound(bits: u8, sigma_1024: u64, unit: i64) -> Result<i64, CoalitionError> {
    let none = || CoalitionError::NoRoom { bits, sigma_grid: to_f64(sigma_1024) / 1024.0 };
    let most = 1i64.checked_shl(u32::from(bits).saturating_sub(1)).filter(|_| bits <= 62).ok_or_else(none)? - 1;
    let tail = i64::try_from((u128::from(sigma_1024) * TAIL_TENTHS).div_ceil(10_240)).map_err(|_| none())?;
    let room = most.checked_sub(tail).filter(|r| *r >= unit.max(1));
    room.ok_or_else(none)
}

/// Deviations end at 2^50, so exact.
#[expect(clippy::cast_precision_loss, reason = "deviations are far below 2^53")]
fn to_f64(x: u64) -> f64 {
    x as f64
}

#[cfg(test)]
#[path = "coalition_tests.rs"]
mod tests;

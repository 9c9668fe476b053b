//! What a claim comes to on the grid, worked out again from the plan's numbers and the account alone (privacy.md D16 to D18, D21, D70).
//! Asks no mechanism for its noise or sensitivity: one that is wrong about itself must not be measured by its own words.

use protocol::decimal::Decimal;
use protocol::plan::{Accumulate, ClipPath, NoiseKind, Plan, Rounding};

/// Probability per step of D18.
const BETA: f64 = 1e-12;

/// What must be seen on the grid if the account is true.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Expected {
    noise: NoiseKind,
    noise_multiplier: f64,
    clip_grid: f64,
    half_root: f64,
    delta_grid: f64,
}

impl Expected {
    /// For the noise multiplier that ε rests on, in a plan at an institution of `declared_units`.
    ///
    /// # Source
    /// privacy.md D17 to D19. Written down a second time on purpose.
    pub fn of_plan(plan: &Plan, declared_units: u64, accounted: Decimal) -> Self {
        let p = &plan.privacy;
        let (clip_grid, half_root) = (2f64.powi(i32::from(p.grid_bits)), real(plan.dimension()).sqrt() / 2.0);
        let allowance = |accumulate| match accumulate {
            Accumulate::F32 => {
                let sums = p.sampling_rate.to_f64() * real(declared_units) * f64::from(plan.local.micro_batch);
                f64::max(2f64.powi(-9), sums * 2f64.powi(-23))
            }
            Accumulate::F64 => 2f64.powi(-12),
        };
        let delta_grid = match p.path {
            ClipPath::Exact => clip_grid,
            ClipPath::BookKeeping { accumulate, rounding } => {
                let l = clip_grid * (1.0 + allowance(accumulate));
                match rounding {
                    Rounding::Nearest => l + 2.0 * half_root,
                    Rounding::Dithered => (l.powi(2) + half_root.powi(2) + f64::sqrt(2.0 * f64::ln(1.0 / BETA)) * (l + half_root)).sqrt(),
                }
            }
        };
        Self { noise: p.noise, noise_multiplier: accounted.to_f64(), clip_grid, half_root, delta_grid }
    }

    /// Law of the noise.
    pub fn noise(&self) -> NoiseKind {
        self.noise
    }

    /// What ε rests on.
    pub fn noise_multiplier(&self) -> f64 {
        self.noise_multiplier
    }

    /// Δ_grid, in grid steps.
    pub fn delta_grid(&self) -> f64 {
        self.delta_grid
    }

    /// Parameter of the noise, in grid steps.
    pub fn sigma_grid(&self) -> f64 {
        self.noise_multiplier * self.delta_grid
    }

    /// Deviation of one noised coordinate, in grid steps: rounding a Gaussian adds a twelfth to its variance.
    pub fn deviation(&self) -> f64 {
        let rounding = match self.noise {
            NoiseKind::RoundedGaussian => 1.0 / 12.0,
            // Its variance is s² but for e^(−2π²s²).
            NoiseKind::DiscreteGaussian => 0.0,
        };
        (self.sigma_grid().powi(2) + rounding).sqrt()
    }

    /// What a unit that must be clipped has left when it is put on the grid by itself, in grid steps: 2^g − √d/2 (D17).
    pub fn left_by_itself(&self) -> f64 {
        self.clip_grid - self.half_root
    }

    /// The same where nothing is set aside for rounding: in sums of floats and for counts.
    pub fn left_whole(&self) -> f64 {
        self.clip_grid
    }
}

#[expect(clippy::cast_precision_loss, reason = "dimensions are at most 2^32 and declared units at most 2^36")]
fn real(x: u64) -> f64 {
    x as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mechanism::Mechanism;

    /// Two ways to the same numbers: what is executed, and what is expected of it. Only one of them may be touched without this test.
    #[test]
    fn a_right_mechanism_has_what_is_expected_of_it() {
        for path in [
            ClipPath::Exact,
            ClipPath::BookKeeping { accumulate: Accumulate::F32, rounding: Rounding::Dithered },
            ClipPath::BookKeeping { accumulate: Accumulate::F64, rounding: Rounding::Nearest },
        ] {
            for (grid_bits, units) in [(10, 1000), (16, 1000), (20, 36_000_000)] {
                let mut plan = crate::ledger::machine_tests::plan(1, "1.3");
                (plan.privacy.path, plan.privacy.grid_bits) = (path, grid_bits);
                plan.privacy.delta = "0.000000001".parse().unwrap();
                let Ok(m) = Mechanism::of_plan(&plan, units) else {
                    assert!(units > 1000, "{path:?} {grid_bits}: many rows are refused, few are not");
                    continue;
                };
                let expected = Expected::of_plan(&plan, units, m.noise_multiplier_accounted());
                // Both are rounded up to a multiple of 2^-10 grid steps in the mechanism.
                assert!((0.0..2f64.powi(-9)).contains(&(m.delta_grid() - expected.delta_grid())), "{path:?} {grid_bits}");
                assert!((0.0..2f64.powi(-8)).contains(&(m.sigma_grid() - expected.sigma_grid())), "{path:?} {grid_bits}");
                let halved = m.with_half_its_noise_for_test();
                assert_eq!(halved.noise_multiplier_accounted().to_f64(), expected.noise_multiplier());
                assert!((halved.sigma_grid() / expected.sigma_grid() - 0.5).abs() < 1e-4);
            }
        }
    }
}

//! What a promise per unit is worth to a group of k units (privacy.md D56): one person with k records, or in k institutions of a sum.
//! Knows no grid and no composition.

use super::pair::{Pair, Pairing, far};
use super::special::{ln_upper, upper};
use super::{AccountantError, Phase, pld};
use libm::{exp, expm1, log, log1p};

/// Largest group: each grid point costs a sum over it.
const MOST_UNITS: u32 = 64;

/// Upper bound on ε at δ by the privacy loss distribution, for neighbours that differ by `units` units.
///
/// # Privacy
/// Never `units` times the ε of one unit: each of the group is sampled by itself, so the mixture of 0 to k of them is what is told apart.
///
/// # Errors
/// [`AccountantError`] for arguments outside their domains; no group, or one of more than 64.
///
/// # Source
/// privacy.md D56; Ganesh 2024, arXiv 2401.10294.
pub fn epsilon_group(phases: &[Phase], units: u32, delta: f64) -> Result<f64, AccountantError> {
    if !(1..=MOST_UNITS).contains(&units) {
        return Err(AccountantError::Group(units));
    }
    pld::epsilon(phases, &[Pairing::RemoveGroup(units), Pairing::AddGroup(units)], delta)
}

/// P = Σ_j Binom(j; k, q)·N(j, σ²), Q = N(0, σ²), for q < 1; or the two exchanged.
pub(super) struct Group {
    sigma: f64,
    /// ln Binom(j; k, q) for j = 0 to k.
    ln_weights: Vec<f64>,
    reversed: bool,
}

impl Group {
    pub(super) fn new(sigma: f64, q: f64, units: u32) -> Self {
        let (k, mut ln_binomial) = (f64::from(units), 0.0);
        let weight = |j: u32| {
            let j = f64::from(j);
            let weight = ln_binomial + j * log(q) + (k - j) * log1p(-q);
            ln_binomial += log((k - j) / (j + 1.0));
            weight
        };
        Self { sigma, ln_weights: (0..=units).map(weight).collect(), reversed: false }
    }

    pub(super) fn reversed(self) -> Self {
        Self { reversed: !self.reversed, ..self }
    }

    /// ln Σ_j w_j·e^((2jz−j²)/2σ²) over j >= `from`, and its slope in z.
    fn ratio(&self, from: u32, z: f64) -> (f64, f64) {
        let square = self.sigma * self.sigma;
        let term = |(w, j): (&f64, u32)| (w + f64::from(j) * (z - 0.5 * f64::from(j)) / square, f64::from(j) / square);
        let terms = || self.ln_weights.iter().zip(0u32..).skip(from as usize).map(term);
        let most = terms().map(|(t, _)| t).fold(f64::NEG_INFINITY, f64::max);
        let (sum, slope) = terms().fold((0.0, 0.0), |(sum, slope), (t, s)| (sum + exp(t - most), slope + s * exp(t - most)));
        (most + log(sum), slope / sum)
    }

    /// The output with cost e, for e above k·ln(1−q).
    ///
    /// What is left when the term without any unit is taken out is convex in z with slope between 1/σ² and k/σ². Newton's steps from a
    /// point that is too large stay too large and converge.
    fn output(&self, e: f64) -> f64 {
        let least = self.ln_weights[0];
        let want = e + log(-expm1(least - e));
        let square = self.sigma * self.sigma;
        // Where the j-th term alone would reach what is wanted.
        let alone = |(w, j): (&f64, u32)| (want - w) * square / f64::from(j) + 0.5 * f64::from(j);
        let mut z = self.ln_weights.iter().zip(0u32..).skip(1).map(alone).fold(f64::INFINITY, f64::min);
        for _ in 0..60 {
            let (value, slope) = self.ratio(1, z);
            let step = (value - want) / slope;
            z -= step;
            if step.abs() <= 1e-13 * (z.abs() + self.sigma) {
                break;
            }
        }
        z
    }

    /// Probability under the mixture of lying above z, or below it.
    fn mixture(&self, z: f64, tail: impl Fn(f64) -> f64) -> f64 {
        self.ln_weights.iter().zip(0u32..).map(|(w, j)| exp(*w) * tail((z - f64::from(j)) / self.sigma)).sum()
    }
}

impl Pair for Group {
    fn delta(&self, e: f64) -> f64 {
        let (s, least) = (self.sigma, self.ln_weights[0]);
        if self.reversed {
            if e >= -least {
                return 0.0;
            }
            let z = self.output(-e);
            let below = |x: f64| upper(-x);
            return below(z / s) - exp(e) * self.mixture(z, below);
        }
        if e <= least {
            return -expm1(e);
        }
        let z = self.output(e);
        self.mixture(z, upper) - exp(e + ln_upper(z / s))
    }

    fn range(&self) -> (f64, f64) {
        let (zeta, k) = (far(self.sigma), f64::from(u32::try_from(self.ln_weights.len() - 1).unwrap_or(u32::MAX)));
        let (low, high) = (self.ratio(0, -zeta).0, self.ratio(0, zeta + k).0);
        if self.reversed { (-high, -low) } else { (low, high) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accountant::epsilon_pld;

    fn phase(sigma: f64, q: f64, steps: u64) -> [Phase; 1] {
        [Phase { noise_multiplier: sigma, sampling_rate: q, steps }]
    }

    /// privacy.md D56.
    #[test]
    fn groups_cost_what_the_clause_says() {
        for (phase, delta, want) in [
            (phase(1.0, 0.01, 1000), 1e-5, [(1, 1.828), (2, 3.979), (4, 8.899), (8, 20.90)]),
            (phase(2.0, 0.02, 500), 1e-6, [(1, 1.063), (2, 2.262), (4, 4.909), (8, 11.05)]),
        ] {
            for (units, epsilon) in want {
                let got = epsilon_group(&phase, units, delta).unwrap();
                assert!((got / epsilon - 1.0).abs() < 6e-4, "{units}: {got} for {epsilon}");
            }
        }
    }

    #[test]
    fn a_group_of_one_is_one_unit() {
        for phase in [phase(0.8, 0.05, 30), phase(3.0, 1.0, 4)] {
            let (group, one) = (epsilon_group(&phase, 1, 1e-5).unwrap(), epsilon_pld(&phase, 1e-5).unwrap());
            assert!((group / one - 1.0).abs() < 1e-9, "{group} {one}");
        }
        // Without sampling k units shift k times as far.
        let (group, wide) = (epsilon_group(&phase(6.0, 1.0, 4), 3, 1e-5).unwrap(), epsilon_pld(&phase(2.0, 1.0, 4), 1e-5).unwrap());
        assert!((group / wide - 1.0).abs() < 1e-9, "{group} {wide}");
    }

    #[test]
    fn outputs_invert_costs() {
        let group = Group::new(0.7, 0.03, 5);
        for e in [-0.15, -0.1, 0.0, 1e-3, 2.0, 30.0] {
            assert!((group.ratio(0, group.output(e)).0 - e).abs() < 1e-9, "{e}");
        }
    }

    #[test]
    fn no_group_and_a_crowd_are_refused() {
        assert_eq!(epsilon_group(&phase(1.0, 0.1, 1), 0, 1e-5), Err(AccountantError::Group(0)));
        assert_eq!(epsilon_group(&phase(1.0, 0.1, 1), 65, 1e-5), Err(AccountantError::Group(65)));
    }
}

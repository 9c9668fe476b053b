//! Rényi accounting of an institution's own noise by its law, with and without sampling (privacy.md D23, D48, D55). Knows no PLD and no ledger.

use super::discrete_sum::{NoiseShares, ShareNoise};
use super::rdp::{RdpAnswer, convert, orders, step_rdp};
use super::{AccountantError, Phase, checked, count};
use protocol::plan::NoiseKind;

/// RDP at order `alpha` > 1 of one step of noise of this law, or `None` where no formula converges.
///
/// The rounded Gaussian is post-processing of the Gaussian and costs what that costs. One discrete Gaussian without sampling is α/2σ² as well;
/// with sampling only the bound for any mechanism holds, since its profile exceeds the Gaussian's (D21).
///
/// # Source
/// arXiv 1908.10530 for the Gaussian; Canonne, Kamath, Steinke 2020, arXiv 2004.00010, Theorem 4, and Zhu & Wang 2019, Theorem 5, for the
/// discrete one.
pub fn noise_rdp(noise: NoiseKind, noise_multiplier: f64, q: f64, alpha: f64) -> Option<f64> {
    match noise {
        NoiseKind::RoundedGaussian => step_rdp(noise_multiplier, q, alpha),
        NoiseKind::DiscreteGaussian => {
            // Deviation and sensitivity enter by their ratio only; a single share has no distance from itself, in any dimension.
            let one = NoiseShares::new(ShareNoise::DiscreteGaussian, 1, noise_multiplier, 1.0, 1);
            Some(one.map_or(f64::INFINITY, |share| share.step_rdp(q, alpha)))
        }
    }
}

/// Upper bound on ε at δ of phases that each have a law of their noise. No steps cost 0; no noise costs ∞.
///
/// # Errors
/// [`AccountantError`] for arguments outside their domains.
///
/// # Source
/// privacy.md D23, D48.
pub fn epsilon_noise_rdp(phases: &[(NoiseKind, Phase)], delta: f64) -> Result<RdpAnswer, AccountantError> {
    let bare: Vec<Phase> = phases.iter().map(|(_, p)| *p).collect();
    if checked(&bare, delta)?.is_empty() {
        return Ok(RdpAnswer { epsilon: 0.0, order: f64::NAN });
    }
    let composed = orders().filter_map(|alpha| {
        let cost = |(noise, p): &(NoiseKind, Phase)| Some(noise_rdp(*noise, p.noise_multiplier, p.sampling_rate, alpha)? * count(p.steps));
        Some((alpha, phases.iter().filter(|(_, p)| p.steps > 0).map(cost).sum::<Option<f64>>()?))
    });
    Ok(convert(composed, delta))
}

/// Upper bound on ε at δ of whatever has this RDP at each order of D48; an order without a figure is left out.
///
/// # Errors
/// [`AccountantError::Delta`].
///
/// # Source
/// privacy.md D48.
pub fn epsilon_of_rdp(cost: impl Fn(f64) -> Option<f64>, delta: f64) -> Result<RdpAnswer, AccountantError> {
    checked(&[], delta)?;
    Ok(convert(orders().filter_map(|alpha| Some((alpha, cost(alpha)?))), delta))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accountant::{epsilon_pld, epsilon_rdp};

    const BOTH: [NoiseKind; 2] = [NoiseKind::RoundedGaussian, NoiseKind::DiscreteGaussian];

    /// The Rényi divergences of one value that is shifted with probability q, in both directions, summed over all integers that matter.
    fn true_divergence(s: f64, shift: i32, q: f64, alpha: f64) -> f64 {
        let most = 400 + shift;
        let mass = |k: i32| libm::exp(-(f64::from(k) / s).powi(2) / 2.0);
        let all: f64 = (-most..=most).map(mass).sum();
        both_directions((-most..=most).map(|k| (((1.0 - q) * mass(k) + q * mass(k - shift)) / all, mass(k) / all)), alpha)
    }

    /// The larger of the two divergences of such pairs of masses. Masses that are as good as none are left out, which makes it no larger.
    fn both_directions(pairs: impl Iterator<Item = (f64, f64)>, alpha: f64) -> f64 {
        let pairs: Vec<(f64, f64)> = pairs.filter(|(p, r)| *p > 1e-290 && *r > 1e-290).collect();
        let moment = |f: &dyn Fn(f64, f64) -> f64| pairs.iter().map(|&(p, r)| f(p, r)).sum::<f64>().ln() / (alpha - 1.0);
        let term = |a: f64, b: f64| (alpha * a.ln() + (1.0 - alpha) * b.ln()).exp();
        moment(&|p, r| term(p, r)).max(moment(&|p, r| term(r, p)))
    }

    /// Masses of a sum of so many discrete Gaussians, from the smallest value that matters to the largest.
    fn sum_of(shares: u32, s: f64) -> Vec<f64> {
        let weights: Vec<f64> = (-60..=60).map(|k: i32| libm::exp(-(f64::from(k) / s).powi(2) / 2.0)).collect();
        let all: f64 = weights.iter().sum();
        let one: Vec<f64> = weights.iter().map(|w| w / all).collect();
        (1..shares).fold(one.clone(), |sum, _| {
            let mut more = vec![0.0; sum.len() + one.len() - 1];
            for (i, a) in sum.iter().enumerate() {
                one.iter().zip(&mut more[i..]).for_each(|(b, out)| *out += a * b);
            }
            more
        })
    }

    /// D23, D55: the same of sums of shares, whose law is not quite the discrete Gaussian's.
    #[test]
    fn sampled_sums_of_discrete_shares_are_never_charged_less_than_they_cost() {
        for (s, shares, shift) in [(0.5, 2, 1i32), (0.7, 3, 1), (1.0, 2, 2), (2.0, 4, 3), (0.4, 4, 1)] {
            let masses = sum_of(shares, s);
            let at = |k: usize, by: usize| k.checked_sub(by).and_then(|k| masses.get(k)).copied().unwrap_or(0.0);
            let share = NoiseShares::new(ShareNoise::DiscreteGaussian, shares, s, f64::from(shift), 1).unwrap();
            let by = usize::try_from(shift).unwrap();
            for q in [0.01, 0.1, 0.5, 1.0] {
                for alpha in [1.1, 1.5, 2.0, 2.5, 6.3, 12.0] {
                    let shifted = |k: usize| ((1.0 - q) * at(k, by) + q * at(k, 2 * by), at(k, by));
                    let cost = both_directions((0..masses.len() + 2 * by).map(shifted), alpha);
                    let charged = share.step_rdp(q, alpha);
                    assert!(charged >= cost * (1.0 - 1e-9) - 1e-12, "s {s} shares {shares} q {q} alpha {alpha}: {charged} for {cost}");
                }
            }
        }
    }

    /// D23: what is charged covers what a sampled step truly costs, also on grids so coarse that the Gaussian's figure does not, and at orders
    /// between whole ones.
    #[test]
    fn sampled_discrete_noise_is_never_charged_less_than_it_costs() {
        for (s, shift) in [(0.5, 1), (1.0, 1), (2.0, 1), (2.0, 4), (4.0, 4)] {
            for q in [0.01, 0.1, 0.5, 0.9] {
                for alpha in [1.1, 1.5, 2.0, 2.5, 3.0, 6.3, 12.0] {
                    let charged = noise_rdp(NoiseKind::DiscreteGaussian, s / f64::from(shift), q, alpha).unwrap();
                    let cost = true_divergence(s, shift, q, alpha);
                    assert!(charged >= cost * (1.0 - 1e-9) - 1e-12, "s {s} shift {shift} q {q} alpha {alpha}: {charged} for {cost}");
                    assert!(charged <= alpha * f64::from(shift * shift) / (2.0 * s * s) * (1.0 + 1e-12), "never above no sampling at all");
                }
            }
        }
    }

    /// Values of another program with sixty digits: Zhu & Wang 2019, Theorem 5, at whole orders, chords of (α − 1)·RDP(α) between them, and never
    /// more than without sampling. Of sums of shares too (D55).
    #[test]
    fn sampled_steps_meet_values_that_were_computed_elsewhere() {
        // Deviation, sensitivity, shares, coordinates, q, order, cost.
        for (s, l2, h, d, q, alpha, want) in [
            (1.0, 1.0, 1, 1, 0.02, 1.5, 6.87076640161e-4),
            (1.0, 1.0, 1, 1, 0.02, 2.0, 6.87076640161e-4),
            (1.0, 1.0, 1, 1, 0.02, 2.5, 1.05957407599e-3),
            (0.7, 1.0, 1, 1, 0.1, 7.0, 4.63966045957),
            (3.0, 1.0, 1, 1, 0.25, 10.9, 0.138778945782),
            (2.0, 1.0, 1, 1, 0.01, 63.0, 3.21329109606),
            (1.0, 1.0, 1, 1, 0.5, 1.1, 0.357374019509),
            (2.0, 4.0, 2, 10, 0.1, 2.5, 0.309928403695),
            (2.0, 4.0, 3, 10, 0.1, 6.0, 1.47177041982),
            (0.5, 2.0, 4, 100, 0.3, 3.2, 152.053630101),
            (1.0, 4.0, 8, 1000, 0.05, 8.0, 4.75902517822),
        ] {
            let got = NoiseShares::new(ShareNoise::DiscreteGaussian, h, s, l2, d).unwrap().step_rdp(q, alpha);
            assert!((got - want).abs() < 1e-9 * want, "s {s} shares {h} q {q} alpha {alpha}: {got} for {want}");
            if h == 1 {
                assert!((noise_rdp(NoiseKind::DiscreteGaussian, s / l2, q, alpha).unwrap() - want).abs() < 1e-9 * want);
            }
        }
        for (noise_multiplier, sampling_rate, steps, delta, want, order) in [
            (1.0, 0.02, 300, 1e-5, 3.13162757265, 6.0),
            (2.0, 0.1, 4, 1e-5, 0.899790615807, 16.0),
            (0.8, 0.01, 1000, 1e-6, 5.13861407643, 4.0),
        ] {
            let phase = Phase { noise_multiplier, sampling_rate, steps };
            let got = epsilon_noise_rdp(&[(NoiseKind::DiscreteGaussian, phase)], delta).unwrap();
            assert!((got.epsilon - want).abs() < 1e-9 * want && (got.order - order).abs() < 1e-9, "{phase:?}: {got:?}");
        }
    }

    #[test]
    fn without_sampling_both_laws_cost_the_same() {
        for alpha in [1.1, 2.0, 7.5, 64.0, 1024.0] {
            let [rounded, discrete] = BOTH.map(|noise| noise_rdp(noise, 1.7, 1.0, alpha).unwrap());
            assert!((rounded - discrete).abs() <= 1e-12 * rounded, "{alpha}");
        }
        let phase = Phase { noise_multiplier: 1.7, sampling_rate: 1.0, steps: 9 };
        let plain = epsilon_rdp(&[phase], 1e-5).unwrap().epsilon;
        assert!(BOTH.iter().all(|&noise| (epsilon_noise_rdp(&[(noise, phase)], 1e-5).unwrap().epsilon - plain).abs() < 1e-9));
    }

    /// Sampling helps the discrete Gaussian, if less than the Gaussian; nonsense, no steps and no noise are answered as everywhere.
    #[test]
    fn sampling_lowers_the_figure_and_edges_are_as_everywhere() {
        let phase = |sampling_rate, steps| Phase { noise_multiplier: 1.0, sampling_rate, steps };
        let epsilon = |noise, q, steps| epsilon_noise_rdp(&[(noise, phase(q, steps))], 1e-5).unwrap().epsilon;
        let [rounded, discrete] = BOTH.map(|noise| epsilon(noise, 0.02, 300));
        assert!((rounded - epsilon_rdp(&[phase(0.02, 300)], 1e-5).unwrap().epsilon).abs() < 1e-12);
        assert!(discrete > rounded && discrete < epsilon(NoiseKind::DiscreteGaussian, 0.2, 300));
        assert!(discrete > epsilon_pld(&[phase(0.02, 300)], 1e-5).unwrap());
        assert!(discrete < 0.1 * epsilon(NoiseKind::DiscreteGaussian, 1.0, 300), "amplified");
        assert!(epsilon(NoiseKind::DiscreteGaussian, 0.02, 0).abs() < 1e-300);
        let silent = Phase { noise_multiplier: 0.0, ..phase(0.5, 1) };
        assert_eq!(epsilon_noise_rdp(&[(NoiseKind::DiscreteGaussian, silent)], 1e-5).unwrap().epsilon, f64::INFINITY);
        assert_eq!(epsilon_noise_rdp(&[(NoiseKind::DiscreteGaussian, phase(0.0, 1))], 1e-5), Err(AccountantError::SamplingRate(0.0)));
    }

    /// What two tasks of different laws cost together is what each costs, added at one order.
    #[test]
    fn laws_compose_in_one_account() {
        let phase = Phase { noise_multiplier: 2.0, sampling_rate: 0.05, steps: 100 };
        let both = epsilon_noise_rdp(&BOTH.map(|noise| (noise, phase)), 1e-5).unwrap().epsilon;
        let alone = BOTH.map(|noise| epsilon_noise_rdp(&[(noise, phase)], 1e-5).unwrap().epsilon);
        assert!(both > alone[0].max(alone[1]) && both < alone[0] + alone[1], "{both} {alone:?}");
    }
}

//! ε of a task after some of its steps, exactly as headers state it and auditors recompute it. Knows no ledger.

use super::{AccountantError, Phase, count, epsilon_noise_rdp, epsilon_pld};
use crate::mechanism::slack_per_step;
use protocol::decimal::Decimal;
use protocol::plan::{ClipPath, NoiseKind};

/// Name and version of the accountant behind [`TaskTerms::epsilon`] for rounded Gaussian noise, as headers carry it.
pub const ACCOUNTANT: &str = "pld-1";
/// The same for discrete Gaussian noise.
pub const DISCRETE_ACCOUNTANT: &str = "rdp-1";
/// −log2 of the sampler's distance per value (privacy.md D24).
const DISTANCE_BITS: i32 = crate::noise::DISTANCE_BITS;

/// What the figure depends on. All of it stands in the signed plan and the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskTerms {
    /// The accounted noise multiplier, twelve places.
    pub noise_multiplier: Decimal,
    /// q.
    pub sampling_rate: Decimal,
    /// δ of the promise, before slack.
    pub delta: Decimal,
    /// Noised coordinates per step.
    pub dimension: u64,
    /// The plan's cap on ε: bounds what the sampler's distance can cost.
    pub epsilon_cap: Decimal,
    /// Law of the noise.
    pub noise: NoiseKind,
    /// From gradients to integers: what may fail there is charged to δ.
    pub path: ClipPath,
}

/// Why there is no figure.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TaskError {
    /// The arguments are outside the accountant's domain.
    #[error("the accountant refuses the plan's numbers")]
    Accountant(#[from] AccountantError),
    /// What the sampler's distance from the ideal noise and the dither of sums may fail by would take more than a hundredth of δ (D44).
    #[error("the slack {slack:e} is above a hundredth of delta")]
    Slack {
        /// What would have to be charged.
        slack: f64,
    },
    /// ε is infinite or too large to be written.
    #[error("the task has no finite epsilon")]
    Unbounded,
}

impl TaskTerms {
    /// Name and version of the accountant behind [`Self::epsilon`], as headers carry it.
    pub fn accountant(&self) -> &'static str {
        match self.noise {
            NoiseKind::RoundedGaussian => ACCOUNTANT,
            NoiseKind::DiscreteGaussian => DISCRETE_ACCOUNTANT,
        }
    }

    /// δ charged for what is not as accounted: the distance of drawn noise from its law, (1 + e^ε)·2^-110·d·T at the plan's cap (D24), and
    /// T·β for dithered sums whose difference is longer than their sensitivity says (D18).
    pub fn slack(&self, steps: u64) -> f64 {
        let sampler = (1.0 + libm::exp(self.epsilon_cap.to_f64())) * 2f64.powi(-DISTANCE_BITS) * count(self.dimension);
        (sampler + slack_per_step(self.path)) * count(steps)
    }

    /// Upper bound on ε after `steps` steps, six places, rounded up.
    ///
    /// # Privacy
    /// unit: the plan's · neighbours: add or remove one unit · measure: (ε, δ) with the slack inside δ.
    ///
    /// # Errors
    /// [`TaskError`].
    ///
    /// # Source
    /// privacy.md D44, D57: inside a task the schedule is fixed, so the PLD of the reserved steps is the figure. For discrete Gaussian noise
    /// D23: each step is 1/2σ²-zCDP (Canonne, Kamath, Steinke 2020, arXiv 2004.00010, Theorem 4), the RDP curve α/2σ² of the Gaussian
    /// without sampling, and with sampling what any mechanism of that curve gains (Zhu & Wang 2019, Theorem 5); the Gaussian's PLD would be
    /// too small.
    pub fn epsilon(&self, steps: u64) -> Result<Decimal, TaskError> {
        let (delta, slack) = (self.delta.to_f64(), self.slack(steps));
        if slack > delta / 100.0 {
            return Err(TaskError::Slack { slack });
        }
        let phase = Phase { noise_multiplier: self.noise_multiplier.to_f64(), sampling_rate: self.sampling_rate.to_f64(), steps };
        let epsilon = match self.noise {
            NoiseKind::RoundedGaussian => epsilon_pld(&[phase], delta - slack)?,
            NoiseKind::DiscreteGaussian => epsilon_noise_rdp(&[(self.noise, phase)], delta - slack)?.epsilon,
        };
        Decimal::ceil(epsilon, 6).map_err(|_| TaskError::Unbounded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accountant::{epsilon_exact, epsilon_rdp};
    use protocol::plan::{Accumulate, Rounding};

    fn terms(noise: NoiseKind, sigma: &str, rate: &str) -> TaskTerms {
        let dec = |text: &str| text.parse().unwrap();
        let (noise_multiplier, sampling_rate, delta) = (dec(sigma), dec(rate), dec("0.00001"));
        TaskTerms { noise_multiplier, sampling_rate, delta, dimension: 1, epsilon_cap: dec("50"), noise, path: ClipPath::Exact }
    }

    /// δ(ε) of one discrete Gaussian value of deviation s <= 16 against a shift of `shift` grid steps, summed over all integers that matter.
    fn true_delta(s: f64, shift: i64, epsilon: f64) -> f64 {
        let most = 40 * 16 + shift;
        let mass = |k: i64| libm::exp(-(k as f64 / s).powi(2) / 2.0);
        let all: f64 = (-most..=most).map(mass).sum();
        (-most..=most).map(|k| (mass(k - shift) - epsilon.exp() * mass(k)).max(0.0) / all).sum()
    }

    /// D21, D23: on a coarse grid the discrete Gaussian exceeds the Gaussian's profile; the figure for it covers what it truly costs.
    #[test]
    fn discrete_gaussian_noise_is_charged_what_it_costs() {
        for (sigma, shift) in [("1", 1i64), ("2", 1), ("0.5", 4), ("1", 16), ("3", 2)] {
            let t = terms(NoiseKind::DiscreteGaussian, sigma, "1");
            let s = t.noise_multiplier.to_f64() * shift as f64;
            let epsilon = t.epsilon(1).unwrap().to_f64();
            assert!(true_delta(s, shift, epsilon) <= 1e-5, "sigma {sigma}, {shift} steps");
        }
        let phase = Phase { noise_multiplier: 1.0, sampling_rate: 1.0, steps: 1 };
        let gaussian = epsilon_exact(&[phase], 1e-5).unwrap().unwrap();
        assert!(true_delta(1.0, 1, gaussian) > 1e-5, "the Gaussian's figure would be too small");
    }

    #[test]
    fn discrete_gaussian_noise_has_its_own_accountant_with_and_without_sampling() {
        let t = terms(NoiseKind::DiscreteGaussian, "2", "1");
        assert_eq!((t.accountant(), terms(NoiseKind::RoundedGaussian, "2", "1").accountant()), ("rdp-1", "pld-1"));
        let phase = Phase { noise_multiplier: 2.0, sampling_rate: 1.0, steps: 5 };
        let rdp = epsilon_rdp(&[phase], 1e-5).unwrap().epsilon;
        assert!((t.epsilon(5).unwrap().to_f64() - rdp).abs() < 2e-6);
        assert!(t.epsilon(5).unwrap().to_f64() > terms(NoiseKind::RoundedGaussian, "2", "1").epsilon(5).unwrap().to_f64());
        let sampled = terms(NoiseKind::DiscreteGaussian, "2", "0.5");
        let (own, gaussian) = (sampled.epsilon(5).unwrap().to_f64(), terms(NoiseKind::RoundedGaussian, "2", "0.5").epsilon(5).unwrap());
        assert!(sampled.accountant() == "rdp-1" && own < rdp && own > gaussian.to_f64(), "{own}");
    }

    /// D18: T·β comes off δ before ε is looked up, and more than a hundredth of δ is refused.
    #[test]
    fn what_each_step_may_fail_by_is_charged_to_delta() {
        let decimal = |text: &str| text.parse::<Decimal>().unwrap();
        let path = |rounding| ClipPath::BookKeeping { accumulate: Accumulate::F32, rounding };
        let exact = TaskTerms { dimension: 1000, epsilon_cap: decimal("8"), ..terms(NoiseKind::RoundedGaussian, "1", "0.001") };
        let (nearest, dithered) =
            (TaskTerms { path: path(Rounding::Nearest), ..exact }, TaskTerms { path: path(Rounding::Dithered), ..exact });
        let smaller = TaskTerms { delta: decimal("0.00000992"), ..exact };
        assert_eq!(nearest.epsilon(80_000), exact.epsilon(80_000));
        assert_eq!(dithered.epsilon(80_000), smaller.epsilon(80_000));
        assert!(dithered.epsilon(80_000).unwrap().to_f64() > exact.epsilon(80_000).unwrap().to_f64());
        assert!(matches!(dithered.epsilon(110_000), Err(TaskError::Slack { .. })));
    }
}

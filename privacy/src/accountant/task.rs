//! ε of a task after some of its steps, exactly as headers state it and auditors recompute it. Knows no ledger.

use super::{AccountantError, Phase, count, epsilon_pld};
use protocol::decimal::Decimal;

/// Name and version of the accountant behind [`TaskTerms::epsilon`], as headers carry it.
pub const ACCOUNTANT: &str = "pld-1";
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
    /// δ charged for the distance of drawn noise from the rounded Gaussian: (1 + e^ε)·2^-110·d·T at the plan's cap (D24).
    pub fn slack(&self, steps: u64) -> f64 {
        (1.0 + libm::exp(self.epsilon_cap.to_f64())) * 2f64.powi(-DISTANCE_BITS) * count(self.dimension) * count(steps)
    }

    /// Upper bound on ε after `steps` steps, six places, rounded up.
    ///
    /// # Privacy
    /// unit: the plan's · neighbours: add or remove one unit · measure: (ε, δ) with the sampler's slack inside δ.
    ///
    /// # Errors
    /// [`TaskError`].
    ///
    /// # Source
    /// privacy.md D44, D57: inside a task the schedule is fixed, so the PLD of the reserved steps is the figure.
    pub fn epsilon(&self, steps: u64) -> Result<Decimal, TaskError> {
        self.epsilon_beside(steps, 0.0)
    }

    /// The same where each step fails with this probability besides: a dithered sum whose difference is longer than its sensitivity says
    /// ([`crate::mechanism::Mechanism::slack_per_step`]).
    ///
    /// # Errors
    /// [`TaskError`].
    ///
    /// # Source
    /// privacy.md D18, D44: T·β is charged to δ.
    pub fn epsilon_beside(&self, steps: u64, slack_per_step: f64) -> Result<Decimal, TaskError> {
        let (delta, slack) = (self.delta.to_f64(), self.slack(steps) + slack_per_step * count(steps));
        if slack > delta / 100.0 {
            return Err(TaskError::Slack { slack });
        }
        let phase = Phase { noise_multiplier: self.noise_multiplier.to_f64(), sampling_rate: self.sampling_rate.to_f64(), steps };
        Decimal::ceil(epsilon_pld(&[phase], delta - slack)?, 6).map_err(|_| TaskError::Unbounded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// D18: T·β comes off δ before ε is looked up, and more than a hundredth of δ is refused.
    #[test]
    fn what_each_step_may_fail_by_is_charged_to_delta() {
        let decimal = |text: &str| text.parse::<Decimal>().unwrap();
        let (noise_multiplier, sampling_rate) = (decimal("1"), decimal("0.01"));
        let terms = TaskTerms { noise_multiplier, sampling_rate, delta: decimal("0.00001"), dimension: 1000, epsilon_cap: decimal("8") };
        let smaller = TaskTerms { delta: decimal("0.00000992"), ..terms };
        assert_eq!(terms.epsilon_beside(1000, 0.0), terms.epsilon(1000));
        assert_eq!(terms.epsilon_beside(1000, 8e-11), smaller.epsilon(1000));
        assert!(terms.epsilon_beside(1000, 8e-11).unwrap().to_f64() > terms.epsilon(1000).unwrap().to_f64());
        assert!(matches!(terms.epsilon_beside(1000, 1.1e-10), Err(TaskError::Slack { .. })));
    }
}

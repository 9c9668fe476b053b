//! What the guaranteed shares are worth together, and how large each must be (privacy.md D7, D22, D23). Knows no ledger.

use super::{CoalitionError, GuaranteedShares};
use crate::accountant::discrete_sum::{NoiseShares, ShareNoise};
use crate::accountant::rdp::step_rdp;
use crate::accountant::task::TaskError;
use crate::accountant::{AccountantError, Phase, calibrate, calibrate_noise_rdp, epsilon_pld};
use crate::mechanism::{Executed, slack_per_step};
use crate::noise::DISTANCE_BITS;
use protocol::plan::{NoiseKind, Plan};

/// How far a figure against a coalition may be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It rests on Lemma S: shown with these words, in no promise, never charged (D22).
    PendingReview,
    /// It rests on a published theorem about sums of discrete Gaussians (D23).
    Published,
}

/// The guaranteed shares of a mechanism.
#[derive(Clone, Debug, PartialEq)]
pub struct Coalition {
    executed: Executed,
    shares: GuaranteedShares,
}

impl Coalition {
    /// Of a mechanism; nothing in mode `local`, which has no such figure (D6, D9).
    pub fn of(executed: &Executed) -> Option<Self> {
        let shares = executed.joint?.shares().ok()?;
        Some(Self { executed: executed.clone(), shares })
    }

    /// h.
    pub fn shares(&self) -> GuaranteedShares {
        self.shares
    }

    /// Whether its figures are promises.
    pub fn standing(&self) -> Standing {
        match self.executed.noise {
            NoiseKind::RoundedGaussian => Standing::PendingReview,
            NoiseKind::DiscreteGaussian => Standing::Published,
        }
    }

    /// Noise multiplier of the guaranteed shares together, rounded down.
    pub fn noise_multiplier(&self) -> f64 {
        self.shares.joint_noise_multiplier(self.executed.noise_multiplier.to_f64()) * (1.0 - 1e-15)
    }

    /// δ charged for what is not as accounted, over `steps` sums: h samplers, Lemma S per coordinate, dithered sums. `cap` is not below ε.
    pub fn slack(&self, cap: f64, steps: u64) -> f64 {
        let (e, steps) = (&self.executed, super::to_f64(steps));
        let lemma = match e.noise {
            NoiseKind::RoundedGaussian => self.shares.distance(e.sigma_grid()),
            NoiseKind::DiscreteGaussian => 0.0,
        };
        let per_value = f64::from(self.shares.get()) * 2f64.powi(-DISTANCE_BITS) + lemma;
        ((1.0 + libm::exp(cap)) * per_value * super::to_f64(e.dimension) + slack_per_step(e.clip_path())) * steps
    }

    /// Upper bound on ε after `steps` opened sums, against whoever misses the guaranteed shares. `cap` is the plan's cap on the own ε, which
    /// is never below this figure.
    ///
    /// # Privacy
    /// unit: the plan's · neighbours: add or remove one unit · measure: (ε, δ); for rounded Gaussian noise by Lemma S, pending review.
    ///
    /// # Errors
    /// [`TaskError`].
    ///
    /// # Source
    /// privacy.md D22, D23, D55.
    pub fn epsilon(&self, cap: f64, steps: u64) -> Result<f64, TaskError> {
        let e = &self.executed;
        let (delta, q) = (e.delta.to_f64(), e.sampling_rate.to_f64());
        let slack = self.slack(cap, steps);
        if slack > delta / 100.0 {
            return Err(TaskError::Slack { slack });
        }
        match e.noise {
            NoiseKind::RoundedGaussian => {
                let phase = Phase { noise_multiplier: self.noise_multiplier(), sampling_rate: q, steps };
                Ok(epsilon_pld(&[phase], delta - slack)?)
            }
            NoiseKind::DiscreteGaussian => Ok(self.discrete()?.epsilon(q, steps, delta - slack)?.epsilon),
        }
    }

    fn discrete(&self) -> Result<NoiseShares, AccountantError> {
        let e = &self.executed;
        let shares = u32::from(self.shares.get());
        NoiseShares::new(ShareNoise::DiscreteGaussian, shares, e.sigma_grid(), e.delta_grid(), e.dimension)
    }

    /// RDP of one opened sum at order `alpha`; nothing where the series does not converge.
    pub fn step_rdp(&self, alpha: f64) -> Option<f64> {
        let e = &self.executed;
        match e.noise {
            NoiseKind::RoundedGaussian => step_rdp(self.noise_multiplier(), e.sampling_rate.to_f64(), alpha),
            NoiseKind::DiscreteGaussian => Some(self.discrete().ok()?.step_rdp(e.sampling_rate.to_f64(), alpha)),
        }
    }
}

/// Whether what a plan states against coalitions is not below what its noise is worth, over all its rounds. Nothing to check in `local`.
///
/// # Errors
/// [`CoalitionError::Overstated`] or [`CoalitionError::Figure`].
pub fn check_statement(plan: &Plan, executed: &Executed) -> Result<(), CoalitionError> {
    let (Some(joint), Some(coalition)) = (plan.privacy.mode.joint(), Coalition::of(executed)) else { return Ok(()) };
    let computed = coalition.epsilon(plan.privacy.epsilon_cap.to_f64(), plan.total_steps())?;
    let stated = joint.coalition_epsilon;
    if computed <= stated.to_f64() * (1.0 + 1e-12) { Ok(()) } else { Err(CoalitionError::Overstated { stated, computed }) }
}

/// What shares are calibrated for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Target {
    /// ε against a coalition.
    pub coalition: f64,
    /// ε that own noise alone keeps; nothing in mode `distributed`.
    pub floor: Option<f64>,
    /// q.
    pub sampling_rate: f64,
    /// Rounds.
    pub steps: u64,
    /// δ, less what is charged for other things.
    pub delta: f64,
    /// Δ_grid in grid steps.
    pub delta_grid: f64,
    /// d.
    pub dimension: u64,
}

/// The smallest noise multiplier of one share such that the guaranteed shares together keep the target, and each alone the floor.
///
/// # Errors
/// [`AccountantError`] for arguments outside their domains, or if no noise up to 1e6 will do.
///
/// # Source
/// privacy.md D7: σ_i = max(σ ÷ √h, σ_floor).
pub fn calibrate_share(noise: NoiseKind, shares: GuaranteedShares, t: Target) -> Result<f64, AccountantError> {
    let alone = |target: f64| match noise {
        NoiseKind::RoundedGaussian => calibrate(target, t.sampling_rate, t.steps, t.delta),
        NoiseKind::DiscreteGaussian => calibrate_noise_rdp(noise, target, t.sampling_rate, t.steps, t.delta),
    };
    let floor = t.floor.map_or(Ok(0.0), alone)?;
    let own = shares.own_noise_multiplier(alone(t.coalition)?, floor);
    match noise {
        NoiseKind::RoundedGaussian => Ok(own),
        NoiseKind::DiscreteGaussian => discrete_share(shares, t, own),
    }
}

/// A sum of discrete Gaussians is a little away from one: from the share that would do if it were not, upwards until the bound of the sum
/// keeps the target.
fn discrete_share(shares: GuaranteedShares, t: Target, start: f64) -> Result<f64, AccountantError> {
    let enough = |own: f64| {
        let sum = NoiseShares::new(ShareNoise::DiscreteGaussian, shares.get().into(), own * t.delta_grid, t.delta_grid, t.dimension)?;
        Ok::<_, AccountantError>(sum.epsilon(t.sampling_rate, t.steps, t.delta)?.epsilon <= t.coalition)
    };
    let (mut low, mut high) = (start, start);
    while !enough(high)? {
        (low, high) = (high, 2.0 * high);
        if high > 1e6 {
            return Err(AccountantError::OutOfReach);
        }
    }
    while high - low > 1e-7 * high {
        let middle = 0.5 * (low + high);
        if enough(middle)? { high = middle } else { low = middle }
    }
    Ok(high)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::machine_tests::joint_plan;
    use crate::mechanism::Mechanism;
    use protocol::decimal::Decimal;

    fn target(floor: Option<f64>) -> Target {
        let (sampling_rate, steps, delta) = (0.0256, 400, 1e-5);
        Target { coalition: 3.0, floor, sampling_rate, steps, delta, delta_grid: 65_536.0, dimension: 100 }
    }

    fn own_epsilon(sigma: f64) -> f64 {
        epsilon_pld(&[Phase { noise_multiplier: sigma, sampling_rate: 0.0256, steps: 400 }], 1e-5).unwrap()
    }

    /// The worked values of D10: shares for a coalition's ε of 3, and what each is worth alone.
    #[test]
    fn shares_are_calibrated_as_the_design_has_worked_out() {
        for (cohort, colluding, share, alone) in [(4, 0, 0.601, 11.6), (4, 1, 0.736, 6.7), (8, 1, 0.425, 31.0), (8, 3, 0.520, 17.0)] {
            let shares = GuaranteedShares::new(cohort, colluding).unwrap();
            let own = calibrate_share(NoiseKind::RoundedGaussian, shares, target(None)).unwrap();
            assert!((own - share).abs() < 1e-3, "{cohort} {colluding}: {own}");
            let epsilon = own_epsilon(own);
            assert!((epsilon - alone).abs() < 0.03 * alone, "{cohort} {colluding}: {epsilon}");
        }
        // A floor of 5 asks for more noise than 3 shares of a coalition's 3 need.
        let shares = GuaranteedShares::new(4, 0).unwrap();
        let floored = calibrate_share(NoiseKind::RoundedGaussian, shares, target(Some(5.0))).unwrap();
        assert!(floored > 0.7 && own_epsilon(floored) <= 5.0 && own_epsilon(floored) > 4.99);
        let idle = calibrate_share(NoiseKind::RoundedGaussian, shares, target(Some(20.0))).unwrap();
        assert!((idle - 0.601).abs() < 1e-3, "a floor that the share keeps anyway changes nothing");
    }

    fn dec(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    /// D22: by Lemma S the shares are as good as one Gaussian of their joint deviation; and a plan may not say more.
    #[test]
    fn a_plan_that_states_less_than_its_noise_gives_is_refused() {
        let plan = joint_plan(1, "2");
        let m = Mechanism::of_plan(&plan, 1000).unwrap();
        let coalition = Coalition::of(m.executed()).unwrap();
        assert_eq!((coalition.standing(), coalition.shares().get()), (Standing::PendingReview, 2));
        let epsilon = coalition.epsilon(8.0, plan.rounds).unwrap();
        let phase = Phase { noise_multiplier: 2.0 * 2f64.sqrt(), sampling_rate: 0.1, steps: plan.rounds };
        assert!((epsilon - epsilon_pld(&[phase], 1e-5).unwrap()).abs() < 1e-4 * epsilon);
        let stating = |stated: &str| {
            let mut plan = plan.clone();
            let protocol::plan::Mode::Hybrid(joint) = &mut plan.privacy.mode else { panic!("hybrid") };
            joint.coalition_epsilon = dec(stated);
            check_statement(&plan, m.executed())
        };
        assert_eq!(stating(&Decimal::ceil(epsilon, 6).unwrap().to_string()), Ok(()));
        let less = Decimal::ceil(epsilon * 0.99, 6).unwrap();
        assert!(matches!(stating(&less.to_string()), Err(CoalitionError::Overstated { stated, .. }) if stated == less));
        let mut local = plan.clone();
        local.privacy.mode = protocol::plan::Mode::Local;
        assert_eq!(Coalition::of(Mechanism::of_plan(&local, 1000).unwrap().executed()), None, "mode local has no such figure");
    }

    /// D23: sums of discrete Gaussians have a published bound, with sampling and without, by which they are calibrated and stated.
    #[test]
    fn sums_of_discrete_gaussians_are_stated_by_their_published_bound() {
        for rate in ["1", "0.1"] {
            stated_by_its_published_bound(dec(rate));
        }
    }

    fn stated_by_its_published_bound(rate: Decimal) {
        let mut plan = joint_plan(1, "2");
        (plan.privacy.noise, plan.privacy.sampling_rate) = (NoiseKind::DiscreteGaussian, rate);
        let shares = GuaranteedShares::new(4, 1).unwrap();
        let t = Target { sampling_rate: rate.to_f64(), steps: plan.rounds, ..target(None) };
        let own = calibrate_share(NoiseKind::DiscreteGaussian, shares, t).unwrap();
        plan.privacy.noise_multiplier = Decimal::ceil(own, 6).unwrap();
        let m = Mechanism::of_plan(&plan, 1000).unwrap();
        let coalition = Coalition::of(m.executed()).unwrap();
        assert_eq!(coalition.standing(), Standing::Published);
        let epsilon = coalition.epsilon(8.0, plan.rounds).unwrap();
        assert!(epsilon <= 3.0 + 1e-6 && epsilon > 2.9, "{rate}: {epsilon}");
        let phase = Phase { noise_multiplier: coalition.noise_multiplier(), sampling_rate: rate.to_f64(), steps: plan.rounds };
        assert!(epsilon >= crate::accountant::epsilon_rdp(&[phase], 1e-5).unwrap().epsilon - 0.05, "{rate}");
        // What the ledger writes down is no lower at any order than for the Gaussian of the joint deviation, and no higher than without sampling.
        for alpha in [1.5, 2.0, 8.0, 20.5] {
            let (cost, gaussian) = (coalition.step_rdp(alpha).unwrap(), step_rdp(coalition.noise_multiplier(), rate.to_f64(), alpha));
            assert!(cost >= gaussian.unwrap() * (1.0 - 1e-9), "{rate} {alpha}");
            assert!(cost <= step_rdp(coalition.noise_multiplier(), 1.0, alpha).unwrap() * 1.01, "{rate} {alpha}");
        }
    }
}

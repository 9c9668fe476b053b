//! The loop inside each institution: how noised gradients move its weights, and what is kept meanwhile (training.md M8 to M10). Knows no
//! tensor.

use super::{PlanError, range};
use crate::decimal::Decimal;
use minicbor::{CborLen, Decode, Encode};
use serde::{Deserialize, Serialize};

/// How the learning rate goes on after the warm-up, as a function of the task's step (training.md M8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode, CborLen, Serialize, Deserialize)]
#[cbor(index_only)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// It stays.
    #[n(0)]
    Constant,
    /// Half a cosine down to a tenth of the peak.
    #[default]
    #[n(1)]
    Cosine,
    /// A straight line down to a tenth of the peak.
    #[n(2)]
    Linear,
    /// Warm-up, stable, decay: the peak until four fifths of the steps, then a straight line to zero.
    #[n(3)]
    Wsd,
}

/// Which way a step with momentum goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode, CborLen, Serialize, Deserialize)]
#[cbor(index_only)]
#[serde(rename_all = "kebab-case")]
pub enum Look {
    /// Along the velocity (Polyak).
    #[default]
    #[n(0)]
    Here,
    /// Along the velocity as the next step will have it (Nesterov, in the form of Sutskever et al. 2013).
    #[n(1)]
    Ahead,
}

/// What is kept of a block between its forward and its backward pass. The gradient is the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode, CborLen, Serialize, Deserialize)]
#[cbor(index_only)]
#[serde(rename_all = "kebab-case")]
pub enum Keep {
    /// Everything that its backward pass reads.
    #[default]
    #[n(0)]
    Everything,
    /// Its input; the rest is computed again (training.md M10).
    #[n(1)]
    Inputs,
}

/// How weights move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, CborLen, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum LocalOptimiser {
    /// AdamW.
    #[n(0)]
    AdamW {
        /// Share of the running mean that a step keeps; none: 0.9.
        #[n(0)]
        #[serde(default, skip_serializing_if = "Option::is_none")]
        beta_mean: Option<Decimal>,
        /// Share of the running mean of squares that a step keeps; none: 0.999.
        #[n(1)]
        #[serde(default, skip_serializing_if = "Option::is_none")]
        beta_square: Option<Decimal>,
    },
    /// Gradient descent, with momentum above 0.
    #[n(1)]
    Sgd {
        /// Share of the velocity that a step keeps; 0 for plain descent.
        #[n(0)]
        momentum: Decimal,
        /// Which way a step goes.
        #[n(1)]
        #[serde(default)]
        look: Look,
    },
}

impl LocalOptimiser {
    /// AdamW with the usual running means: what a plan that says nothing has.
    pub const USUAL: Self = Self::AdamW { beta_mean: None, beta_square: None };

    /// A mean that keeps everything would never see a gradient.
    fn check(self) -> Result<(), PlanError> {
        let forgets = |field, share: Option<Decimal>| {
            let share = share.unwrap_or(Decimal::ZERO);
            range(share < Decimal::ONE, field, share.to_string(), "below 1")
        };
        match self {
            Self::AdamW { beta_mean, beta_square } => {
                forgets("local.optimiser.adam-w.beta_mean", beta_mean)?;
                forgets("local.optimiser.adam-w.beta_square", beta_square)
            }
            Self::Sgd { momentum, .. } => forgets("local.optimiser.sgd.momentum", Some(momentum)),
        }
    }
}

/// The optimiser of local steps; post-processing of noised gradients (privacy.md D6).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, CborLen, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocalTraining {
    /// Noised steps H per round.
    #[n(0)]
    pub steps: u32,
    /// Units per micro-batch; memory only, no effect on the result beyond float order.
    #[n(1)]
    pub micro_batch: u32,
    /// Learning rate at its peak.
    #[n(2)]
    pub learning_rate: Decimal,
    /// Steps of linear warm-up, counted over the whole task.
    #[n(3)]
    pub warmup_steps: u32,
    /// Weight decay per unit of learning rate, on matrices.
    #[n(4)]
    pub weight_decay: Decimal,
    /// How weights move; none: [`LocalOptimiser::USUAL`].
    #[n(5)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optimiser: Option<LocalOptimiser>,
    /// What comes after the warm-up; none: a cosine.
    #[n(6)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// What is kept between the passes; none: everything. Memory and time only.
    #[n(7)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<Keep>,
    /// μ of FedProx (Li et al. 2018, arXiv 1812.06127): each step also pulls the weights towards the round's snapshot, by μ times how far away
    /// they are. None: no pull.
    #[n(8)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proximal: Option<Decimal>,
}

impl LocalTraining {
    /// The local loop of a plan that trains nothing: one step, one unit at a time, the rest 0 or left out.
    pub fn none() -> Self {
        Self {
            steps: 1,
            micro_batch: 1,
            learning_rate: Decimal::ZERO,
            warmup_steps: 0,
            weight_decay: Decimal::ZERO,
            optimiser: None,
            schedule: None,
            keep: None,
            proximal: None,
        }
    }

    /// How weights move.
    pub fn optimiser(&self) -> LocalOptimiser {
        self.optimiser.unwrap_or(LocalOptimiser::USUAL)
    }

    /// Whether an optimiser of its own would run: where only the server takes steps, none may.
    pub(super) fn is_idle(&self) -> bool {
        (self.learning_rate, self.warmup_steps, self.weight_decay) == (Decimal::ZERO, 0, Decimal::ZERO)
            && self.optimiser.is_none()
            && self.schedule.is_none()
            && self.proximal.is_none()
    }

    /// # Errors
    /// [`PlanError`], the first rule broken.
    pub(super) fn check(&self) -> Result<(), PlanError> {
        range((1..=100_000).contains(&self.steps), "local.steps", self.steps.to_string(), "1 to 100000")?;
        range((1..=4096).contains(&self.micro_batch), "local.micro_batch", self.micro_batch.to_string(), "1 to 4096")?;
        if let Some(pull) = self.proximal {
            range(pull > Decimal::ZERO && pull.to_f64() <= 10.0, "local.proximal", pull.to_string(), "above 0, at most 10")?;
        }
        self.optimiser().check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;

    fn decimal(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    fn all() -> Vec<LocalTraining> {
        let adam = |mean: Option<&str>, square: Option<&str>| LocalOptimiser::AdamW {
            beta_mean: mean.map(decimal),
            beta_square: square.map(decimal),
        };
        let sgd = |look| LocalOptimiser::Sgd { momentum: decimal("0.9"), look };
        let optimisers = [None, Some(adam(None, None)), Some(adam(None, Some("0.99"))), Some(sgd(Look::Here)), Some(sgd(Look::Ahead))];
        let with = |optimiser| LocalTraining { optimiser, ..LocalTraining::none() };
        let schedules = [Schedule::Constant, Schedule::Cosine, Schedule::Linear, Schedule::Wsd].map(Some);
        let others = schedules.map(|schedule| LocalTraining { schedule, ..LocalTraining::none() });
        let keeps = [Keep::Everything, Keep::Inputs].map(|keep| LocalTraining { keep: Some(keep), ..LocalTraining::none() });
        let pull = LocalTraining { proximal: Some(decimal("0.01")), ..LocalTraining::none() };
        optimisers.into_iter().map(with).chain(others).chain(keeps).chain([pull]).collect()
    }

    #[test]
    fn what_a_plan_says_about_local_steps_comes_back() {
        for local in all() {
            let bytes = codec::encode(&local);
            assert_eq!(codec::decode::<LocalTraining>(&bytes, 64).as_ref(), Ok(&local));
            assert_eq!(bytes.len(), CborLen::<()>::cbor_len(&local, &mut ()));
            let text = serde_json::to_string(&local).unwrap();
            assert_eq!(serde_json::from_str::<LocalTraining>(&text).unwrap(), local);
            assert_eq!(local.check(), Ok(()));
        }
        assert_eq!(codec::encode(&LocalTraining::none())[0], 0x85, "five fields where nothing more is said");
    }

    #[test]
    fn a_running_mean_that_forgets_nothing_is_refused_by_its_name() {
        let refused = |optimiser| LocalTraining { optimiser: Some(optimiser), ..LocalTraining::none() }.check();
        let field = |result: Result<(), PlanError>| {
            let Err(PlanError::OutOfRange { field, .. }) = result else { panic!("{result:?}") };
            field
        };
        let adam = |beta_mean, beta_square| LocalOptimiser::AdamW { beta_mean, beta_square };
        assert_eq!(field(refused(adam(Some(Decimal::ONE), None))), "local.optimiser.adam-w.beta_mean");
        assert_eq!(field(refused(adam(None, Some(Decimal::ONE)))), "local.optimiser.adam-w.beta_square");
        for pull in ["0", "10.5"] {
            let pulled = LocalTraining { proximal: Some(decimal(pull)), ..LocalTraining::none() };
            assert_eq!(field(pulled.check()), "local.proximal");
        }
        let sgd = LocalOptimiser::Sgd { momentum: decimal("1.5"), look: Look::Here };
        assert_eq!(field(refused(sgd)), "local.optimiser.sgd.momentum");
    }

    #[test]
    fn a_loop_with_anything_to_say_is_not_idle() {
        let idle: Vec<bool> = all().iter().map(LocalTraining::is_idle).collect();
        // Without an optimiser, and with nothing but what is kept, nothing runs.
        assert_eq!(idle, [true, false, false, false, false, false, false, false, false, true, true, false]);
        assert!(!LocalTraining { warmup_steps: 1, ..LocalTraining::none() }.is_idle());
    }
}

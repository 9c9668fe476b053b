//! Empirical audits of whole training runs (privacy.md D70): L2 with canaries, L3 with shadow models. The runs go the way of every round, step by
//! step; what is trained here is looked at and dropped. Knows no file and no ledger file.
//!
//! # Privacy
//! Nothing trained here leaves this room, only figures do. Those of L2 are about the noise; those of L3 are computed from records without noise
//! and are for the institution's own eyes. Payments come from a ledger in memory: it protects nobody, because nobody outside is shown anything.

mod canaries;
mod membership;
mod payment;

pub(crate) use canaries::Canaries;
pub use canaries::{CanaryRun, one_run};
pub use membership::{Exposed, Membership, MembershipRun, membership};

use crate::batch::Dataset;
use crate::eval::EvalError;
use crate::model::{ModelError, Weights, initial};
use crate::round::TrainError;
use crate::workers::Workers;
use privacy::accountant::task::{TaskError, TaskTerms};
use privacy::accountant::{AccountantError, Phase, epsilon_noise_rdp};
use privacy::audit::AuditError;
use privacy::mechanism::{Mechanism, MechanismError};
use protocol::decimal::{BadDecimal, Decimal};
use protocol::ids::Sha256;
use protocol::plan::{Mode, Plan};

/// Largest ε that is paid in an audit.
const PAYABLE: f64 = 40.0;
/// Seed of the first weights: the same for all models of an audit, public, and without influence on what canaries show.
const WEIGHTS: u64 = 1;

/// What is audited.
#[derive(Clone, Copy)]
pub struct Audited<'a> {
    /// The task: model, schedule, clipping, local loop. Its rounds are run as one.
    pub plan: &'a Plan,
    /// Noise multiplier that is executed.
    pub executed: Decimal,
    /// Noise multiplier that the account is made for: the same, unless the audit itself is tested.
    pub claimed: Decimal,
    /// Units that train.
    pub data: &'a Dataset,
    /// Threads.
    pub workers: &'a Workers,
    /// What training begins from; weights from a public seed where there are none.
    pub start: Option<&'a Weights>,
}

/// How far an audit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The coins were tossed; nothing was trained yet.
    Committed(Sha256),
    /// So many of all noised steps of all models were taken.
    Steps {
        /// Taken.
        done: u64,
        /// In all.
        all: u64,
    },
}

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditRunError {
    /// The plan's numbers are no mechanism.
    #[error("the plan gives no mechanism")]
    Mechanism(#[from] MechanismError),
    /// The plan has more steps than one run takes.
    #[error("{0} noised steps, expected 1 to 4294967295")]
    Steps(u64),
    /// Hardly any noise: no ledger pays for it, because what the sampler is off by would cost too much of δ (privacy.md D44).
    #[error("noise multiplier {0} costs an epsilon above {PAYABLE} over all steps, which is not paid: audit more noise, or fewer steps")]
    TooLittle(Decimal),
    /// The accountant has no figure for the claim.
    #[error("the accountant refuses the claim")]
    Claim(#[from] TaskError),
    /// The accountant has no figure for what is executed.
    #[error("the accountant refuses what is executed")]
    Executed(#[from] AccountantError),
    /// A number that no decimal holds.
    #[error("a number of the audited plan is no decimal")]
    Decimal(#[from] BadDecimal),
    /// The model cannot be made.
    #[error("the plan's model cannot be made")]
    Model(#[from] ModelError),
    /// Training failed.
    #[error("the audited run gave no model")]
    Train(#[from] TrainError),
    /// The models could not be asked.
    #[error("a model could not be evaluated")]
    Eval(#[from] EvalError),
    /// What came out gives no figures.
    #[error("there is nothing to judge")]
    Audit(#[from] AuditError),
    /// The records leave too few directions in which only canaries move.
    #[error("{wanted} canaries, but only {there} directions that no record moves: fewer canaries or records, or a larger vocabulary")]
    Directions {
        /// Canaries asked for.
        wanted: usize,
        /// Directions that there are.
        there: usize,
    },
}

impl Audited<'_> {
    /// What every model of the audit begins from.
    fn first(&self) -> Result<Weights, ModelError> {
        self.start.map_or_else(|| initial(&self.plan.model, WEIGHTS), |start| Ok(start.clone()))
    }

    /// The same task as one round of all its steps, with the executed noise and room in its cap for what that costs.
    fn executed_plan(&self) -> Result<Plan, AuditRunError> {
        let (steps, mut plan) = (self.plan.total_steps(), self.plan.clone());
        plan.local.steps = u32::try_from(steps).ok().filter(|s| *s > 0).ok_or(AuditRunError::Steps(steps))?;
        plan.rounds = 1;
        // One institution that trains every shard in every step: the most that a record can move.
        plan.tiers = None;
        // Own noise is audited, whoever else adds some.
        (plan.privacy.noise_multiplier, plan.privacy.mode) = (self.executed, Mode::Local);
        let needed = self.payable(self.executed)?;
        plan.privacy.epsilon_cap = Decimal::ceil(needed.max(plan.privacy.epsilon_cap.to_f64()) + 1.0, 0)?;
        Ok(plan)
    }

    /// At least ε of all steps with this noise, looked up quickly; the exact figure for hardly any noise would take hours.
    fn payable(&self, noise_multiplier: Decimal) -> Result<f64, AuditRunError> {
        let (privacy, steps) = (&self.plan.privacy, self.plan.total_steps());
        let phase = Phase { noise_multiplier: noise_multiplier.to_f64(), sampling_rate: privacy.sampling_rate.to_f64(), steps };
        let needed = epsilon_noise_rdp(&[(privacy.noise, phase)], privacy.delta.to_f64() / 2.0)?.epsilon;
        if needed > PAYABLE { Err(AuditRunError::TooLittle(noise_multiplier)) } else { Ok(needed) }
    }

    /// The mechanism that the account is made for, and ε of all steps as a header would state it.
    fn claim(&self, make: payment::Make, declared_units: u64) -> Result<(Mechanism, f64), AuditRunError> {
        let mut plan = self.plan.clone();
        self.payable(self.claimed)?;
        (plan.privacy.noise_multiplier, plan.privacy.mode) = (self.claimed, Mode::Local);
        let m = make(&plan, declared_units)?;
        let terms = TaskTerms {
            noise_multiplier: m.noise_multiplier_accounted(),
            sampling_rate: m.sampling_rate_decimal(),
            delta: m.delta(),
            dimension: m.dimension(),
            epsilon_cap: plan.privacy.epsilon_cap,
            noise: m.noise(),
            path: m.executed().clip_path(),
        };
        let epsilon = terms.epsilon(self.plan.total_steps())?.to_f64();
        Ok((m, epsilon))
    }
}

#[cfg(test)]
mod tests;

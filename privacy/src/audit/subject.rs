//! What L0 and L1 look at: the privacy section of a plan, or a built-in one, around which they make data up (privacy.md D70). Knows no records
//! and no file.

use super::AuditError;
use super::expected::Expected;
use crate::mechanism::Mechanism;
use protocol::decimal::Decimal;
use protocol::ids::{GroupId, ShardId, SnapshotDigest, TaskId};
use protocol::params::CommitteeSize;
use protocol::plan::{
    ClipFunction, ClipPath, Deadlines, EncoderConfig, GroupPlan, LocalTraining, Mode, NoiseKind, Plan, PrivacyPlan, ShardSpec, Strategy,
    TensorSpec, TokenizerKind, Unit, UnitObjective, Weighting,
};

/// Units that every audited plan declares.
const DECLARED_UNITS: u64 = 1000;

/// From what a unit has to integers on the grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Each unit's gradient by itself (D17).
    Gradients,
    /// Sums of clipped gradients in floats (D18).
    FloatSums,
    /// Integers that a unit counts, for plans that count.
    Counts,
}

/// What is drawn, and what is said about it: equal for a right program.
#[derive(Clone, Debug, PartialEq)]
pub struct Subject {
    /// Noise multiplier that is executed.
    pub noise_multiplier: Decimal,
    /// Noise multiplier that the account is made for.
    pub claimed: Decimal,
    /// Grid, clipping, noise, path and δ that both are executed with. Mode and rate are those of the audit.
    privacy: PrivacyPlan,
    /// Units in one micro-batch: they are in the allowance of float sums (D19).
    micro_batch: u32,
    /// Longest sequence; with the records of a unit it bounds the rows of float sums.
    max_tokens: u32,
    counts: bool,
}

impl Subject {
    /// Default grid, AUTO-S clipping at 1, rounded Gaussian noise on the exact path, δ = 1e-5.
    ///
    /// # Errors
    /// [`AuditError::Decimal`], never for these numbers.
    pub fn built_in(noise_multiplier: Decimal, claimed: Decimal) -> Result<Self, AuditError> {
        let privacy = PrivacyPlan {
            unit: Unit::Record,
            mode: Mode::Local,
            path: ClipPath::Exact,
            clip_function: ClipFunction::AutoS,
            clip: Decimal::ONE,
            grid_bits: 16,
            noise_multiplier,
            sampling_rate: Decimal::ONE,
            delta: Decimal::new(1, 5)?,
            epsilon_cap: Decimal::ONE,
            max_records_per_unit: 1,
            noise: NoiseKind::RoundedGaussian,
            unit_objective: UnitObjective::Mean,
        };
        Ok(Self { noise_multiplier, claimed, privacy, micro_batch: 1, max_tokens: 1, counts: false })
    }

    /// The privacy section of a plan: its grid, clip bound and function, noise, path, δ and unit. The audit's own are the rate (1 where the
    /// mechanism is attacked), the mode (own noise is audited, whoever else adds some: D22) and the number of coordinates.
    pub fn of_plan(plan: &Plan, noise_multiplier: Decimal, claimed: Decimal) -> Self {
        Self {
            noise_multiplier,
            claimed,
            privacy: PrivacyPlan { mode: Mode::Local, ..plan.privacy.clone() },
            micro_batch: plan.local.micro_batch,
            max_tokens: plan.model.max_tokens,
            counts: plan.count.is_some(),
        }
    }

    /// The same section with other noise.
    #[must_use]
    pub fn with_noise(self, noise_multiplier: Decimal, claimed: Decimal) -> Self {
        Self { noise_multiplier, claimed, ..self }
    }

    /// C.
    pub(super) fn clip(&self) -> f64 {
        self.privacy.clip.to_f64()
    }

    pub(super) fn delta(&self) -> Decimal {
        self.privacy.delta
    }

    pub(super) fn way(&self) -> Way {
        match self.privacy.path {
            ClipPath::BookKeeping { .. } => Way::FloatSums,
            ClipPath::Exact if self.counts => Way::Counts,
            ClipPath::Exact => Way::Gradients,
        }
    }

    /// A plan of one step of everybody, whose noise multiplier is `noise_multiplier`. Nobody trains it.
    pub(super) fn plan(&self, noise_multiplier: Decimal, epsilon_cap: Decimal, dimension: usize) -> Plan {
        let tensor = TensorSpec { name: "made-up".to_owned(), shape: vec![u32::try_from(dimension).unwrap_or(u32::MAX)] };
        Plan {
            federation: "audit".to_owned(),
            task: TaskId([0; 16]),
            model: EncoderConfig {
                vocab: 1,
                max_tokens: self.max_tokens,
                width: 1,
                heads: 1,
                layers: 1,
                hidden: 1,
                classes: vec!["made-up".to_owned()],
                adapter: None,
                base: None,
                ..EncoderConfig::none()
            },
            tokenizer: TokenizerKind::HashedCharacters,
            base: SnapshotDigest([0; 32]),
            rounds: 1,
            shards: vec![ShardSpec { id: ShardId(0), tensors: vec![tensor], step_exponent: -14 }],
            groups: vec![GroupPlan { id: GroupId(0), shards: vec![ShardId(0)], bits: 16 }],
            cohort_min: 2,
            n_max: 2,
            committee: CommitteeSize { decryptors: 3, corrupt: 1 },
            privacy: PrivacyPlan { noise_multiplier, sampling_rate: Decimal::ONE, epsilon_cap, ..self.privacy.clone() },
            local: LocalTraining { steps: 1, micro_batch: self.micro_batch, learning_rate: Decimal::ONE, ..LocalTraining::none() },
            weighting: Weighting::Uniform,
            strategy: Strategy::FedAvg { rate: Decimal::ONE },
            deadlines: Deadlines { selecting_ms: 1, reporting_ms: 1, certifying_ms: 1, opening_ms: 1 },
            robustness: None,
            tiers: None,
            count: None,
            gates: None,
        }
    }

    /// The mechanism that the account is made for, and what it comes to.
    ///
    /// # Errors
    /// [`AuditError::Mechanism`].
    pub(super) fn claim(&self, make: Make, dimension: usize) -> Result<(Mechanism, Expected), AuditError> {
        let plan = self.plan(self.claimed, Decimal::ONE, dimension);
        let claimed = make(&plan, DECLARED_UNITS)?;
        let expected = Expected::of_plan(&plan, DECLARED_UNITS, claimed.noise_multiplier_accounted());
        Ok((claimed, expected))
    }

    /// The mechanism that is executed, and the plan that it is of.
    ///
    /// # Errors
    /// [`AuditError::Mechanism`].
    pub(super) fn executed(&self, make: Make, epsilon_cap: Decimal, dimension: usize) -> Result<(Plan, Mechanism), AuditError> {
        let plan = self.plan(self.noise_multiplier, epsilon_cap, dimension);
        let mechanism = make(&plan, DECLARED_UNITS)?;
        Ok((plan, mechanism))
    }
}

/// How a plan becomes a mechanism. Tests put a wrong way here.
pub(super) type Make = fn(&Plan, u64) -> Result<Mechanism, crate::mechanism::MechanismError>;

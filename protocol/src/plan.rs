//! The signed plan of a task: what is trained, how it is bounded, noised and sealed, and who may take part.
//! Privacy and cipher numbers live here and nowhere else (house.md invariant 8).

mod averaging;
mod count;
mod gates;
mod groups;
mod local;
mod masking;
mod mode;
mod model;
pub mod own;
mod strategy;
mod tiers;

pub use crate::decimal::Signed;
pub use averaging::{Combine, Robustness, Weighting};
pub use count::{Count, Counted, Query, WordRule};
pub use gates::{BadGate, Gate, GateCode, GateResult};
pub use local::{Keep, LocalOptimiser, LocalTraining, Look, Schedule};
pub use masking::{Masking, MaskingShares};
pub use mode::{Accumulate, ClipPath, Joint, Mode, Rounding, UnitObjective, guaranteed_shares};
pub use model::{AdapterConfig, Asks, BaseModel, EncoderConfig};
pub use strategy::Strategy;
pub use tiers::{Assigned, Tier, TierError, Turn};

use crate::decimal::Decimal;
use crate::hash::sha256;
use crate::ids::{GroupId, PlanDigest, ShardId, SnapshotDigest, TaskId};
use crate::params::{self, CommitteeSize, MAX_POLYNOMIALS, MAX_WEIGHT, Packing, Tally};
use minicbor::{CborLen, Decode, Encode};
use serde::{Deserialize, Serialize};

/// How text becomes tokens. Nothing here is learnt from data (a vocabulary would itself be data).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, CborLen, Serialize, Deserialize)]
#[cbor(index_only)]
#[serde(rename_all = "kebab-case")]
pub enum TokenizerKind {
    /// NFKC, then one token per character (or per ASCII word), hashed into the vocabulary.
    #[n(0)]
    HashedCharacters,
    /// The `tokenizer.json` of the checkpoint that the model begins from.
    #[n(1)]
    Checkpoint,
    /// NFKC, then one token per byte of UTF-8 behind a mark at the head. Nothing is unknown, and tokens can be turned back into text.
    #[n(2)]
    Bytes,
}

impl TokenizerKind {
    /// Tokens of [`Self::Bytes`]: all bytes, and four that are not of a text.
    pub const BYTES: u32 = 260;
}

/// One tensor inside a shard.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, CborLen, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TensorSpec {
    /// Module path, for example `encoder.layers.0.attention.qkv.weight`.
    #[n(0)]
    pub name: String,
    /// Dimensions.
    #[n(1)]
    pub shape: Vec<u32>,
}

impl TensorSpec {
    /// Number of coordinates; the largest number where there are more.
    pub fn len(&self) -> u64 {
        self.shape.iter().fold(1, |n: u64, &d| n.saturating_mul(u64::from(d)))
    }
    /// Whether a dimension is 0.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One shard: named tensors in order, flattened row-major, one after the other.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, CborLen, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShardSpec {
    /// Number in the shard table.
    #[n(0)]
    pub id: ShardId,
    /// Tensors in order.
    #[n(1)]
    pub tensors: Vec<TensorSpec>,
    /// The quantiser's step is 2^step_exponent (crypto.md C21).
    #[n(2)]
    pub step_exponent: i8,
}

impl ShardSpec {
    /// Coordinates of the shard; the largest number where there are more.
    pub fn len(&self) -> u64 {
        self.tensors.iter().fold(0, |n: u64, t| n.saturating_add(t.len()))
    }
    /// Whether the shard has no coordinate.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One sum: which shards, and how many bits a value has.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, CborLen, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupPlan {
    /// Number of the group.
    #[n(0)]
    pub id: GroupId,
    /// Its shards, in table order.
    #[n(1)]
    pub shards: Vec<ShardId>,
    /// Bits b of one quantised value (crypto.md C20).
    #[n(2)]
    pub bits: u8,
}

/// Whose data one unit is (privacy.md D1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, CborLen, Serialize, Deserialize)]
#[cbor(index_only)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// One record.
    #[n(0)]
    Record,
    /// All records of one person in one dataset.
    #[n(1)]
    User,
}

/// How a unit's gradient is shortened (privacy.md D38).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, CborLen, Serialize, Deserialize)]
#[cbor(index_only)]
#[serde(rename_all = "kebab-case")]
pub enum ClipFunction {
    /// C / (norm + 0.01).
    #[n(0)]
    AutoS,
    /// min(1, C / norm).
    #[n(1)]
    Flat,
}

/// Which law the integer noise follows (privacy.md D21, D23).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode, CborLen, Serialize, Deserialize)]
#[cbor(index_only)]
#[serde(rename_all = "kebab-case")]
pub enum NoiseKind {
    /// round(N(0, sigma_grid²)): post-processing of the Gaussian mechanism, accounted as that.
    #[n(0)]
    #[default]
    RoundedGaussian,
    /// N_Z(0, sigma_grid²), accounted by its own published bound.
    #[n(1)]
    DiscreteGaussian,
}

impl NoiseKind {
    /// As plans spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::RoundedGaussian => "rounded-gaussian",
            Self::DiscreteGaussian => "discrete-gaussian",
        }
    }
}

/// The privacy section: everything that the accountant and the mechanism read.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, CborLen, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrivacyPlan {
    /// Whose data is protected.
    #[n(0)]
    pub unit: Unit,
    /// Where noise is added.
    #[n(1)]
    pub mode: Mode,
    /// How gradients are shortened.
    #[n(2)]
    pub clip_function: ClipFunction,
    /// Clip bound C on the L2 norm of one unit's gradient over all trained coordinates.
    #[n(3)]
    pub clip: Decimal,
    /// g: one grid step is C / 2^g (privacy.md D16).
    #[n(4)]
    pub grid_bits: u8,
    /// Noise deviation divided by sensitivity.
    #[n(5)]
    pub noise_multiplier: Decimal,
    /// Probability q with which each unit enters each step.
    #[n(6)]
    pub sampling_rate: Decimal,
    /// δ of the promise.
    #[n(7)]
    pub delta: Decimal,
    /// ε that an institution's own noise keeps per dataset, whoever looks: what is charged and promised. In `hybrid` the floor (D7).
    #[n(8)]
    pub epsilon_cap: Decimal,
    /// Most records that one unit may contribute (privacy.md D31).
    #[n(9)]
    pub max_records_per_unit: u32,
    /// Law of the noise.
    #[n(10)]
    #[serde(default)]
    pub noise: NoiseKind,
    /// From gradients to integers.
    #[n(11)]
    #[serde(default)]
    pub path: ClipPath,
    /// What one unit's records are asked for together.
    #[n(12)]
    #[serde(default)]
    pub unit_objective: UnitObjective,
}

/// How long each state of a round may last, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, CborLen, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deadlines {
    /// Selecting: from the round's opening to the endorsed manifest.
    #[n(0)]
    pub selecting_ms: u64,
    /// Reporting: training, sealing and upload.
    #[n(1)]
    pub reporting_ms: u64,
    /// Certifying: signatures over one set.
    #[n(2)]
    pub certifying_ms: u64,
    /// Opening: summed key shares.
    #[n(3)]
    pub opening_ms: u64,
}

impl Deadlines {
    /// The longest from the call for a round to the end of its opening: members get ready, decryptors reveal numbers, then endorse, each
    /// within the time for selecting.
    pub fn longest_ms(&self) -> u64 {
        let selecting = self.selecting_ms.saturating_mul(3);
        selecting.saturating_add(self.reporting_ms).saturating_add(self.certifying_ms).saturating_add(self.opening_ms)
    }
}

/// The plan.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, CborLen, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Name of the federation.
    #[n(0)]
    pub federation: String,
    /// The task this plan defines.
    #[n(1)]
    pub task: TaskId,
    /// The model.
    #[n(2)]
    pub model: EncoderConfig,
    /// Text to tokens.
    #[n(3)]
    pub tokenizer: TokenizerKind,
    /// Weights that round 1 starts from.
    #[n(4)]
    pub base: SnapshotDigest,
    /// Rounds of the task; with the local steps this fixes the privacy schedule before round 1.
    #[n(5)]
    pub rounds: u64,
    /// Shard table.
    #[n(6)]
    pub shards: Vec<ShardSpec>,
    /// Sums.
    #[n(7)]
    pub groups: Vec<GroupPlan>,
    /// Fewest institutions in one opened sum; at least 2.
    #[n(8)]
    pub cohort_min: u16,
    /// Most institutions in one sum; fixes the packing.
    #[n(9)]
    pub n_max: u16,
    /// Size and threshold of the committee.
    #[n(10)]
    pub committee: CommitteeSize,
    /// Privacy section.
    #[n(11)]
    pub privacy: PrivacyPlan,
    /// Local loop.
    #[n(12)]
    pub local: LocalTraining,
    /// Averaging weights.
    #[n(13)]
    pub weighting: Weighting,
    /// Server step.
    #[n(14)]
    pub strategy: Strategy,
    /// Time limits.
    #[n(15)]
    pub deadlines: Deadlines,
    /// What is done against hostile institutions; none: one group per sum, a plain mean, no bound.
    #[n(16)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub robustness: Option<Robustness>,
    /// Who trains which shards; none: everybody trains all of them.
    #[n(17)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tiers: Option<Vec<Tier>>,
    /// What is counted; none: the plan trains.
    #[n(18)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<Count>,
    /// What a model must have reached to be released; none: the administrators' approval is all that it takes.
    #[n(19)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gates: Option<Vec<Gate>>,
}

/// An administrator approves a plan; the plan itself is an artefact named by its digest (audit.md A17).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, CborLen)]
pub struct PlanApproval {
    /// The task.
    #[n(0)]
    pub task: TaskId,
    /// The plan.
    #[n(1)]
    pub plan: PlanDigest,
}

impl crate::statement::Payload for PlanApproval {
    const KIND: crate::statement::StatementKind = crate::statement::StatementKind::Plan;
}

/// Why a plan cannot be run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// A number outside its range.
    #[error("{field} is {got}, expected {expected}")]
    OutOfRange {
        /// Name of the field as the plan file spells it.
        field: &'static str,
        /// What it is.
        got: String,
        /// What it may be.
        expected: &'static str,
    },
    /// A shard is in no group, in two groups, or unknown.
    #[error("shard {0} must be in exactly one group")]
    ShardNotInOneGroup(ShardId),
    /// Sealing limits of crypto.md C16 or C26.
    #[error("sealing parameters of group {0} are not possible")]
    Sealing(GroupId, #[source] params::BadParameters),
    /// Committee numbers of crypto.md C46.
    #[error("committee numbers are not possible")]
    Committee(#[source] params::BadParameters),
    /// Nobody's share of the noise is certain (privacy.md D7).
    #[error(
        "cohort_min = {cohort_min} with colluding = {colluding} leaves no guaranteed share of noise: cohort_min - 1 - colluding must be at least 1"
    )]
    NoGuaranteedShare {
        /// n_min.
        cohort_min: u16,
        /// c.
        colluding: u16,
    },
    /// Local steps beside noise that is added together (privacy.md D7).
    #[error("local.steps is {0}: modes distributed and hybrid give exactly one noised sum per round")]
    JointSteps(u32),
    /// A weight would scale one institution's sensitivity against the others' noise (privacy.md D7).
    #[error("weighting must be \"uniform\": modes distributed and hybrid divide by what the institutions are expected to sample")]
    JointWeights,
    /// Numbers of an optimiser that does not run.
    #[error(
        "local.learning_rate, warmup_steps and weight_decay must be 0, optimiser, schedule and proximal left out: in modes distributed and hybrid only the server takes steps"
    )]
    JointOptimiser,
    /// Integers that are worth something else than a grid step.
    #[error("step_exponent of shard {shard} is {got}, expected {expected}: integers of modes distributed and hybrid are grid steps")]
    JointStep {
        /// Which.
        shard: ShardId,
        /// Its exponent.
        got: i8,
        /// −g.
        expected: i16,
    },
    /// Tiers that do not fit the shard table, or each other.
    #[error("the tiers are not possible")]
    Tiers(#[from] TierError),
}

/// Nothing if `ok`, else which field is what and what it may be.
fn range(ok: bool, field: &'static str, got: String, expected: &'static str) -> Result<(), PlanError> {
    if ok { Ok(()) } else { Err(PlanError::OutOfRange { field, got, expected }) }
}

impl Plan {
    /// Longest encoding of a plan: 64 shards with a few hundred tensors each fit many times over.
    pub const MAX_BYTES: usize = 1 << 20;

    /// SHA-256 of the plan's canonical bytes.
    pub fn digest(payload: &[u8]) -> PlanDigest {
        PlanDigest(sha256(&[payload]))
    }

    /// The shard with this number.
    pub fn shard(&self, id: ShardId) -> Option<&ShardSpec> {
        self.shards.iter().find(|s| s.id == id)
    }

    /// The group with this number.
    pub fn group(&self, id: GroupId) -> Option<&GroupPlan> {
        self.groups.iter().find(|g| g.id == id)
    }

    /// Shards of a group with their lengths, in order.
    pub fn shard_lengths(&self, group: &GroupPlan) -> Vec<(ShardId, u64)> {
        group.shards.iter().filter_map(|&id| self.shard(id).map(|s| (id, s.len()))).collect()
    }

    /// What a model must have reached to be released.
    pub fn gates(&self) -> &[Gate] {
        self.gates.as_deref().unwrap_or(&[])
    }

    /// What is done against hostile institutions.
    pub fn robust(&self) -> Robustness {
        self.robustness.unwrap_or(Robustness::NONE)
    }

    /// Fewest institutions that a round can begin with: the minimum of each part.
    pub fn fewest(&self) -> usize {
        usize::from(self.cohort_min) * usize::from(self.robust().random_groups)
    }

    /// The number that part `part` of a planned sum has in the manifest: plan group · random groups + part. With one random group it is
    /// the plan's own number.
    pub fn part_id(&self, group: GroupId, part: u16) -> GroupId {
        GroupId(group.0.saturating_mul(u32::from(self.robust().random_groups)).saturating_add(u32::from(part)))
    }

    /// The planned sum that a group of the manifest is a part of.
    pub fn sum_of_part(&self, part: GroupId) -> Option<&GroupPlan> {
        self.group(GroupId(part.0.checked_div(u32::from(self.robust().random_groups))?))
    }

    /// Of the opened groups those that count: parts of a planned sum of which enough were opened for the plan's way of combining them.
    pub fn counting(&self, opened: &[GroupId]) -> Vec<GroupId> {
        let sum_of = |id: GroupId| self.sum_of_part(id).map(|g| g.id);
        let parts = |id: GroupId| opened.iter().filter(|&&other| sum_of(other) == sum_of(id)).count();
        opened.iter().copied().filter(|&id| sum_of(id).is_some() && parts(id) >= self.robust().combine.minimum()).collect()
    }

    /// Most institutions in one part: everybody in equal parts, at least 2 because no packing is for fewer.
    pub fn part_n_max(&self) -> u16 {
        self.n_max.div_ceil(self.robust().random_groups.max(1)).max(2)
    }

    /// The weight that travels with every update of a group, where the plan weighs institutions (crypto.md C24).
    ///
    /// # Errors
    /// [`params::BadParameters::Weight`] for a bound that no tally carries.
    pub fn tally(&self, group: &GroupPlan) -> Result<Option<Tally>, params::BadParameters> {
        match self.weighting {
            Weighting::Uniform => Ok(None),
            Weighting::Declared { max_weight } => Tally::derive(max_weight, group.bits).map(Some),
        }
    }

    /// All trained coordinates; the largest number where there are more.
    pub fn dimension(&self) -> u64 {
        self.shards.iter().fold(0, |n: u64, s| n.saturating_add(s.len()))
    }

    /// Most rows of one unit that an operation reads: those of its records together.
    pub fn max_rows(&self) -> u32 {
        self.model.rows().saturating_mul(self.privacy.max_records_per_unit)
    }

    /// Noised steps of the whole task: rounds times local steps.
    pub fn total_steps(&self) -> u64 {
        self.rounds.saturating_mul(u64::from(self.local.steps))
    }

    /// Checks everything that can be checked without data.
    ///
    /// # Errors
    /// [`PlanError`], the first rule broken.
    pub fn check(&self) -> Result<(), PlanError> {
        range((1..=100_000).contains(&self.rounds), "rounds", self.rounds.to_string(), "1 to 100000")?;
        match &self.count {
            Some(count) => count::check(self, count)?,
            None => self.check_model()?,
        }
        range(self.cohort_min >= 2, "cohort_min", self.cohort_min.to_string(), "at least 2")?;
        range(self.n_max >= self.cohort_min && self.n_max <= 1000, "n_max", self.n_max.to_string(), "cohort_min to 1000")?;
        self.local.check()?;
        if let Weighting::Declared { max_weight } = self.weighting {
            range((1..=MAX_WEIGHT).contains(&max_weight), "weighting.declared.max_weight", max_weight.to_string(), "1 to 2^40")?;
        }
        self.strategy.check()?;
        self.privacy.check()?;
        self.committee.check().map_err(PlanError::Committee)?;
        self.robust().check(self)?;
        mode::check(self)?;
        if let Some(gates) = &self.gates {
            gates::check(gates, self.rounds, self.count.is_some())?;
        }
        self.check_groups()?;
        Ok(tiers::check(self)?)
    }

    /// A checkpoint brings its own tokenizer, and nothing else does.
    fn check_model(&self) -> Result<(), PlanError> {
        self.model.check()?;
        let (own, expected) = match self.tokenizer {
            TokenizerKind::HashedCharacters | TokenizerKind::Bytes => (self.model.base.is_none(), "checkpoint in a plan with a base model"),
            TokenizerKind::Checkpoint => (self.model.base.is_some(), "hashed-characters or bytes in a plan without a base model"),
        };
        range(own, "tokenizer", format!("{:?}", self.tokenizer), expected)?;
        let rows = self.tokenizer != TokenizerKind::Bytes || self.model.vocab >= TokenizerKind::BYTES;
        range(rows, "model.vocab", self.model.vocab.to_string(), "260 or more where tokens are bytes")
    }

    fn check_groups(&self) -> Result<(), PlanError> {
        groups::check(&self.shards, &self.groups, self.robust().random_groups)?;
        for g in &self.groups {
            let packing = Packing::derive(self.part_n_max(), g.bits).map_err(|e| PlanError::Sealing(g.id, e))?;
            let tally = self.tally(g).map_err(|e| PlanError::Sealing(g.id, e))?;
            let polynomials = packing.polynomials(&self.shard_lengths(g)).map_err(|e| PlanError::Sealing(g.id, e))?;
            let polynomials = polynomials + tally.map_or(0, |t| packing.shard_polynomials(t.limbs()));
            if polynomials > MAX_POLYNOMIALS {
                return Err(PlanError::Sealing(g.id, params::BadParameters::Size(polynomials)));
            }
        }
        Ok(())
    }
}

impl PrivacyPlan {
    fn check(&self) -> Result<(), PlanError> {
        let (q, delta) = (self.sampling_rate.to_f64(), self.delta.to_f64());
        range(q > 0.0 && q <= 1.0, "privacy.sampling_rate", self.sampling_rate.to_string(), "above 0, at most 1")?;
        range(delta > 0.0 && delta <= 1e-5, "privacy.delta", self.delta.to_string(), "above 0, at most 0.00001")?;
        range(self.epsilon_cap.to_f64() > 0.0, "privacy.epsilon_cap", self.epsilon_cap.to_string(), "above 0")?;
        range(self.clip.to_f64() > 0.0, "privacy.clip", self.clip.to_string(), "above 0")?;
        range(self.noise_multiplier.to_f64() > 0.0, "privacy.noise_multiplier", self.noise_multiplier.to_string(), "above 0")?;
        range((8..=24).contains(&self.grid_bits), "privacy.grid_bits", self.grid_bits.to_string(), "8 to 24")?;
        range(self.max_records_per_unit >= 1, "privacy.max_records_per_unit", self.max_records_per_unit.to_string(), "at least 1")
    }
}

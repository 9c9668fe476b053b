//! `plan.toml`: what an administrator writes, and how it becomes the one signed [`Plan`]. Everything that is not chosen is derived.

use protocol::decimal::Decimal;
use protocol::ids::{GroupId, SnapshotDigest, TaskId};
use protocol::params::CommitteeSize;
use protocol::plan::{
    ClipFunction, Deadlines, EncoderConfig, GroupPlan, LocalTraining, Mode, NoiseKind, Plan, PlanError, PrivacyPlan, Robustness, Strategy,
    TokenizerKind, Unit, Weighting,
};
use serde::Deserialize;

/// The file, word for word.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanFile {
    /// Federation.
    pub federation: String,
    /// Rounds of the task.
    pub rounds: u64,
    /// Contiguous shards that the model is cut into; each gets a sum of its own.
    #[serde(default = "one")]
    pub shards: u32,
    /// Bits of a quantised value.
    #[serde(default = "sixteen")]
    pub bits: u8,
    /// Fewest institutions in one opened sum.
    pub cohort_min: u16,
    /// Most institutions in one sum.
    pub n_max: u16,
    /// Committee.
    pub committee: CommitteeSize,
    /// Seed of the initial weights: public, touches no key, noise or mask.
    pub initial_seed: u64,
    /// Model.
    pub model: EncoderConfig,
    /// Privacy.
    pub privacy: PrivacyFile,
    /// Local loop.
    pub local: LocalTraining,
    /// Averaging weights.
    #[serde(default = "uniform")]
    pub weighting: Weighting,
    /// Server step.
    pub strategy: Strategy,
    /// Time limits.
    pub deadlines: Deadlines,
    /// What is done against hostile institutions.
    #[serde(default)]
    pub robustness: Option<Robustness>,
}

fn one() -> u32 {
    1
}
fn uniform() -> Weighting {
    Weighting::Uniform
}
fn sixteen() -> u8 {
    16
}

/// The privacy section: a target instead of a noise multiplier, which calibration gives.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrivacyFile {
    /// Whose data one unit is.
    pub unit: Unit,
    /// ε that no institution's data may exceed over the whole task.
    pub epsilon: Decimal,
    /// δ.
    pub delta: Decimal,
    /// Probability with which each unit enters each step.
    pub sampling_rate: Decimal,
    /// Clip bound C.
    #[serde(default = "unit_clip")]
    pub clip: Decimal,
    /// How gradients are shortened.
    #[serde(default = "auto_s")]
    pub clip_function: ClipFunction,
    /// g: a grid step is C / 2^g.
    #[serde(default = "sixteen")]
    pub grid_bits: u8,
    /// Most records that one unit may contribute.
    #[serde(default = "few_records")]
    pub max_records_per_unit: u32,
    /// Law of the noise.
    #[serde(default)]
    pub noise: NoiseKind,
}

fn unit_clip() -> Decimal {
    Decimal::new(1, 0).unwrap_or_else(|_| unreachable!("1 is a decimal"))
}
fn auto_s() -> ClipFunction {
    ClipFunction::AutoS
}
fn few_records() -> u32 {
    4
}

/// Why a file gives no plan. The administrator's to mend.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanFileError {
    /// Not TOML of the expected keys.
    #[error("the plan file is not valid")]
    Parse(#[source] Box<toml::de::Error>),
    /// ε is not above 0, or another number that no calibration can meet.
    #[error("no noise multiplier gives epsilon {epsilon} at delta {delta}: the target must be a number above 0, and reachable")]
    Calibration {
        /// Target.
        epsilon: Decimal,
        /// δ.
        delta: Decimal,
    },
    /// Noise that nobody can account for at this rate.
    #[error("the noise cannot be accounted for")]
    Noise(#[from] privacy::mechanism::MechanismError),
    /// The model or its shards are not possible.
    #[error("the model cannot be made")]
    Model(#[from] train::model::ModelError),
    /// The shard table.
    #[error("the model cannot be cut into so many shards")]
    Shards(#[from] train::shard::ShardError),
    /// The snapshot.
    #[error("the base snapshot cannot be written")]
    Snapshot(#[from] train::snapshot::SnapshotError),
    /// The plan is not possible.
    #[error("the plan is not valid")]
    Plan(#[from] PlanError),
}

/// A plan with its base snapshot.
pub struct Prepared {
    /// The plan; checked.
    pub plan: Plan,
    /// Its canonical bytes.
    pub bytes: Vec<u8>,
    /// Safetensors bytes of the base.
    pub base: Vec<u8>,
}

impl PlanFile {
    /// Parses a file's text.
    ///
    /// # Errors
    /// [`PlanFileError::Parse`].
    pub fn parse(text: &str) -> Result<Self, PlanFileError> {
        toml::from_str(text).map_err(|e| PlanFileError::Parse(Box::new(e)))
    }

    /// Makes the plan: initial weights from the public seed, shard table, noise calibrated by the accountant.
    ///
    /// # Errors
    /// [`PlanFileError`].
    pub fn prepare(&self, task: TaskId) -> Result<Prepared, PlanFileError> {
        let weights = train::model::initial::initial(&self.model, self.initial_seed)?;
        let base = train::snapshot::to_bytes(&weights)?;
        let shards = train::shard::shard_table(&self.model, self.shards, train::shard::STEP_EXPONENT)?;
        let groups = (0u32..).zip(&shards).map(|(i, s)| GroupPlan { id: GroupId(i), shards: vec![s.id], bits: self.bits }).collect();
        let plan = Plan {
            federation: self.federation.clone(),
            task,
            model: self.model.clone(),
            tokenizer: TokenizerKind::HashedCharacters,
            base: base_digest(&base),
            rounds: self.rounds,
            shards,
            groups,
            cohort_min: self.cohort_min,
            n_max: self.n_max,
            committee: self.committee,
            privacy: self.privacy_plan()?,
            local: self.local.clone(),
            weighting: self.weighting,
            strategy: self.strategy.clone(),
            deadlines: self.deadlines,
            robustness: self.robustness,
        };
        plan.check()?;
        let bytes = protocol::codec::encode(&plan);
        Ok(Prepared { plan, bytes, base })
    }

    /// The smallest noise multiplier whose ε over all steps is not above the target, rounded up at the sixth place.
    fn privacy_plan(&self) -> Result<PrivacyPlan, PlanFileError> {
        let p = &self.privacy;
        let none = || PlanFileError::Calibration { epsilon: p.epsilon, delta: p.delta };
        let steps = self.rounds.saturating_mul(u64::from(self.local.steps));
        privacy::mechanism::accounted(p.noise, p.sampling_rate)?;
        let noise_multiplier = calibrated(p, steps).ok_or_else(none)?;
        Ok(PrivacyPlan {
            unit: p.unit,
            mode: Mode::Local,
            clip_function: p.clip_function,
            clip: p.clip,
            grid_bits: p.grid_bits,
            noise_multiplier,
            sampling_rate: p.sampling_rate,
            delta: p.delta,
            epsilon_cap: p.epsilon,
            max_records_per_unit: p.max_records_per_unit,
            noise: p.noise,
        })
    }
}

fn base_digest(bytes: &[u8]) -> SnapshotDigest {
    train::snapshot::digest(bytes)
}

/// Calibration by the accountant that the ledger charges with.
fn calibrated(p: &PrivacyFile, steps: u64) -> Option<Decimal> {
    // A ten-thousandth below the target: the figure that is signed is rounded up and carries the sampler's slack.
    let target = p.epsilon.to_f64() * 0.9999;
    let calibrate = match p.noise {
        NoiseKind::RoundedGaussian => privacy::accountant::calibrate,
        NoiseKind::DiscreteGaussian => privacy::accountant::calibrate_rdp,
    };
    let sigma = calibrate(target, p.sampling_rate.to_f64(), steps, p.delta.to_f64()).ok()?;
    Decimal::ceil(sigma, 6).ok()
}

//! `plan.toml`: what an administrator writes, and how it becomes the one signed [`Plan`]. Everything that is not chosen is derived.

use privacy::accountant::task::{TaskError, TaskTerms};
use privacy::coalition::{GuaranteedShares, Target};
use privacy::mechanism::{Mechanism, MechanismError};
use protocol::decimal::Decimal;
use protocol::ids::{ClientId, GroupId, Sha256, SnapshotDigest, TaskId};
use protocol::params::CommitteeSize;
use protocol::plan::own::Family;
use protocol::plan::{
    Asks, Assigned, ClipFunction, ClipPath, Deadlines, EncoderConfig, Gate, GroupPlan, Joint, LocalTraining, Mode, NoiseKind, Plan,
    PlanError, PrivacyPlan, Robustness, ShardSpec, Strategy, Tier, Unit, UnitObjective, Weighting,
};
use serde::Deserialize;
use train::hf::base::{Base, BaseError};
use train::shard::tiers::Part;

mod count;
mod model;

pub use count::{CountFile, CountPrivacy, CountedFile};
pub use model::{BaseFile, MaskingFile, ModelFile};

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
    pub model: ModelFile,
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
    /// Who trains what; none: everybody trains everything.
    #[serde(default)]
    pub tiers: Option<Vec<TierFile>>,
    /// What a model must have reached to be released.
    #[serde(default)]
    pub gates: Option<Vec<Gate>>,
}

/// Institutions of one capability.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TierFile {
    /// What the plan calls it.
    pub name: String,
    /// What it trains: all of these parts together.
    pub trains: Vec<Part>,
    /// Its institutions by their ids; none: all that no other tier names.
    #[serde(default)]
    pub institutions: Vec<ClientId>,
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
    /// Where noise is added.
    #[serde(default)]
    pub mode: ModeFile,
    /// ε over the whole task: in `local` what no institution's data may exceed, in the other modes what the guaranteed shares of noise are
    /// calibrated for.
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
    /// What one unit's records are asked for together.
    #[serde(default)]
    pub unit_objective: UnitObjective,
    /// Law of the noise.
    #[serde(default)]
    pub noise: NoiseKind,
    /// From gradients to integers.
    #[serde(default)]
    pub path: ClipPath,
}

/// The mode as an administrator asks for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum ModeFile {
    /// Full noise at every local step of every institution.
    #[default]
    Local,
    /// Shares of noise that are worth little alone.
    Distributed {
        /// c: institutions with which the one that looks may collude.
        colluding: u16,
    },
    /// Shares of noise that alone keep a floor.
    Hybrid {
        /// c: institutions with which the one that looks may collude.
        colluding: u16,
        /// ε that each institution's own noise keeps, whoever looks.
        epsilon_floor: Decimal,
    },
}

impl ModeFile {
    fn colluding(self) -> Option<u16> {
        match self {
            Self::Local => None,
            Self::Distributed { colluding } | Self::Hybrid { colluding, .. } => Some(colluding),
        }
    }
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
    /// Noise that nobody can account for, or that the institutions cannot add together.
    #[error("the mechanism cannot be executed")]
    Mechanism(#[from] MechanismError),
    /// Own noise that is worth nothing that could be stated.
    #[error("what own noise alone is worth cannot be stated: use mode hybrid, or fewer guaranteed shares")]
    OwnEpsilon(#[from] TaskError),
    /// A size that a model from random weights needs.
    #[error("model.{0} is missing: a model without [model.base] needs its sizes")]
    Size(&'static str),
    /// A size beside a checkpoint that has its own.
    #[error("model.{0} is stated beside [model.base]: leave it out, the checkpoint's config.json states it")]
    SizeOfBase(&'static str),
    /// A part beside a checkpoint that is built of its own.
    #[error(
        "model.{0} is stated beside [model.base]: leave it out, the checkpoint's config.json says it; what is asked for stands in base"
    )]
    PartOfBase(&'static str),
    /// A question that another family answers.
    #[error(
        "model.asks is \"{}\", which family \"{}\" answers, and model.family is \"{}\": expected asks = \"{}\", or the other family",
        .asks.name(), .of.name(), .stated.name(), .stated.usual().name()
    )]
    Family {
        /// What is asked for.
        asks: Asks,
        /// Whom that is asked of.
        of: Family,
        /// What the file says.
        stated: Family,
    },
    /// A checkpoint that is named and not given.
    #[error("the model begins from a published checkpoint: give its directory with --base (weights with SHA-256 {0})")]
    NoBase(Sha256),
    /// A checkpoint that is given and not named.
    #[error(
        "the plan file names no checkpoint: add\n[model.base]\nconfig = \"{config}\"\nweights = \"{weights}\"\ntokenizer = \"{tokenizer}\"\nor leave --base out"
    )]
    UnnamedBase {
        /// SHA-256 of its `config.json`.
        config: Sha256,
        /// Of its weights.
        weights: Sha256,
        /// Of its `tokenizer.json`.
        tokenizer: Sha256,
    },
    /// A checkpoint for a plan that counts.
    #[error("a plan that counts has no model: leave --base out")]
    CountOnBase,
    /// The checkpoint.
    #[error("the base checkpoint cannot be what the plan's model begins from")]
    Base(#[from] BaseError),
    /// The model or its shards are not possible.
    #[error("the model cannot be made")]
    Model(#[from] train::model::ModelError),
    /// The shard table.
    #[error("the model cannot be cut into so many shards")]
    Shards(#[from] train::shard::ShardError),
    /// What the tiers train.
    #[error("the tiers give no shard table")]
    Tiers(#[from] train::shard::tiers::TiersError),
    /// Two ways of cutting the model.
    #[error("shards is {0}, expected 1 in a plan with tiers: there the tiers say where the model is cut")]
    ShardsAndTiers(u32),
    /// The snapshot.
    #[error("the base snapshot cannot be written")]
    Snapshot(#[from] train::snapshot::SnapshotError),
    /// What is counted.
    #[error("what the plan counts is not possible")]
    Count(#[from] train::count::CountError),
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
    /// Bytes of the base: safetensors, or the document of a task that counts.
    pub base: Vec<u8>,
}

/// A plan file of either kind.
#[derive(Clone, Debug)]
pub enum AnyPlanFile {
    /// Trains a model.
    Train(Box<PlanFile>),
    /// Counts: has a section `count` instead of a model.
    Count(Box<CountFile>),
}

impl AnyPlanFile {
    /// Parses a file's text; the section `count` decides.
    ///
    /// # Errors
    /// [`PlanFileError::Parse`].
    pub fn parse(text: &str) -> Result<Self, PlanFileError> {
        let sections: toml::Table = toml::from_str(text).map_err(|e| PlanFileError::Parse(Box::new(e)))?;
        if sections.contains_key("count") {
            return CountFile::parse(text).map(|file| Self::Count(Box::new(file)));
        }
        PlanFile::parse(text).map(|file| Self::Train(Box::new(file)))
    }

    /// Makes the plan with its base.
    ///
    /// # Errors
    /// [`PlanFileError`].
    pub fn prepare(&self, task: TaskId) -> Result<Prepared, PlanFileError> {
        self.prepare_on(task, None)
    }

    /// The same on the published checkpoint that the file names, if it does.
    ///
    /// # Errors
    /// [`PlanFileError`], also for a checkpoint that the file does not name.
    pub fn prepare_on(&self, task: TaskId, base: Option<&Base>) -> Result<Prepared, PlanFileError> {
        match (self, base) {
            (Self::Train(file), base) => file.prepare_on(task, base),
            (Self::Count(file), None) => file.prepare(task),
            (Self::Count(_), Some(_)) => Err(PlanFileError::CountOnBase),
        }
    }
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
        self.prepare_on(task, None)
    }

    /// The same on the published checkpoint that the file names.
    ///
    /// # Errors
    /// [`PlanFileError`].
    pub fn prepare_on(&self, task: TaskId, base: Option<&Base>) -> Result<Prepared, PlanFileError> {
        let model::Start { weights, tokenizer, shards, tiers } = self.start(base)?;
        let base = train::snapshot::to_bytes(&weights)?;
        let groups = (0u32..).zip(&shards).map(|(i, s)| GroupPlan { id: GroupId(i), shards: vec![s.id], bits: self.bits }).collect();
        let mut plan = Plan {
            federation: self.federation.clone(),
            task,
            model: weights.config().clone(),
            tokenizer,
            base: base_digest(&base),
            rounds: self.rounds,
            shards,
            groups,
            cohort_min: self.cohort_min,
            n_max: self.n_max,
            committee: self.committee,
            privacy: self.privacy.uncalibrated(),
            local: self.local.clone(),
            weighting: self.weighting,
            strategy: self.strategy.clone(),
            deadlines: self.deadlines,
            robustness: self.robustness,
            tiers,
            count: None,
            gates: self.gates.clone(),
        };
        // Whatever needs no noise first: a plan that cannot run is refused by its own rule, not by a calibration that fails.
        plan.check()?;
        self.privacy.calibrate(&mut plan)?;
        plan.check()?;
        let bytes = protocol::codec::encode(&plan);
        Ok(Prepared { plan, bytes, base })
    }

    /// Contiguous shards for everybody, or those of the tiers with who trains them.
    fn shard_table(&self, model: &EncoderConfig) -> Result<(Vec<ShardSpec>, Option<Vec<Tier>>), PlanFileError> {
        let step_exponent = self.step_exponent()?;
        let Some(tiers) = &self.tiers else {
            return Ok((train::shard::shard_table(model, self.shards, step_exponent)?, None));
        };
        if self.shards != 1 {
            return Err(PlanFileError::ShardsAndTiers(self.shards));
        }
        let parts: Vec<_> = tiers.iter().map(|t| (t.name.clone(), t.trains.clone())).collect();
        let (shards, assigned) = train::shard::tiers::tier_table(model, &parts, step_exponent)?;
        let tier = |(t, shards): (&TierFile, Vec<Assigned>)| {
            let mut institutions = t.institutions.clone();
            institutions.sort_unstable();
            Tier { name: t.name.clone(), shards, institutions }
        };
        Ok((shards, Some(tiers.iter().zip(assigned).map(tier).collect())))
    }

    /// In `local` a step that fits a round of an optimiser; in the other modes the grid's own.
    fn step_exponent(&self) -> Result<i8, PlanFileError> {
        let grid_bits = self.privacy.grid_bits;
        match self.privacy.mode {
            ModeFile::Local => Ok(train::shard::STEP_EXPONENT),
            ModeFile::Distributed { .. } | ModeFile::Hybrid { .. } => {
                i8::try_from(grid_bits).map(|g| -g).map_err(|_| MechanismError::GridBits(grid_bits).into())
            }
        }
    }
}

impl PrivacyFile {
    /// The privacy section with a noise multiplier that stands for one until it is calibrated.
    fn uncalibrated(&self) -> PrivacyPlan {
        let joint = |colluding| Joint { colluding, coalition_epsilon: self.epsilon };
        let (mode, epsilon_cap) = match self.mode {
            ModeFile::Local => (Mode::Local, self.epsilon),
            ModeFile::Distributed { colluding } => (Mode::Distributed(joint(colluding)), self.epsilon),
            ModeFile::Hybrid { colluding, epsilon_floor } => (Mode::Hybrid(joint(colluding)), epsilon_floor),
        };
        PrivacyPlan {
            unit: self.unit,
            mode,
            path: self.path,
            clip_function: self.clip_function,
            clip: self.clip,
            grid_bits: self.grid_bits,
            noise_multiplier: Decimal::ONE,
            sampling_rate: self.sampling_rate,
            delta: self.delta,
            epsilon_cap,
            max_records_per_unit: self.max_records_per_unit,
            unit_objective: self.unit_objective,
            noise: self.noise,
        }
    }

    /// The smallest noise that keeps the plan's figures over all steps, rounded up at the sixth place; and the mechanism that it makes, for an
    /// institution of any size.
    fn calibrate(&self, plan: &mut Plan) -> Result<(), PlanFileError> {
        let multiplier = match self.mode.colluding() {
            None => alone(self, plan.total_steps()),
            Some(colluding) => self.share(plan, colluding)?,
        };
        plan.privacy.noise_multiplier = multiplier.ok_or(PlanFileError::Calibration { epsilon: self.epsilon, delta: self.delta })?;
        let mechanism = Mechanism::of_plan(plan, SMALLEST)?;
        if let ModeFile::Distributed { .. } = self.mode {
            plan.privacy.epsilon_cap = own_epsilon(plan, &mechanism)?;
        }
        privacy::coalition::check_statement(plan, mechanism.executed()).map_err(MechanismError::from)?;
        Ok(())
    }

    /// Noise multiplier of one share (privacy.md D7).
    fn share(&self, plan: &Plan, colluding: u16) -> Result<Option<Decimal>, PlanFileError> {
        let shares = GuaranteedShares::new(plan.cohort_min, colluding).map_err(MechanismError::from)?;
        // The sensitivity does not depend on the noise, nor on who else adds some.
        let mut local = plan.clone();
        local.privacy.mode = Mode::Local;
        let floor = match self.mode {
            ModeFile::Local | ModeFile::Distributed { .. } => None,
            ModeFile::Hybrid { epsilon_floor, .. } => Some(epsilon_floor.to_f64() * BELOW),
        };
        let target = Target {
            coalition: self.epsilon.to_f64() * BELOW,
            floor,
            sampling_rate: self.sampling_rate.to_f64(),
            steps: plan.total_steps(),
            delta: inner_delta(self, plan.total_steps()),
            delta_grid: Mechanism::of_plan(&local, SMALLEST)?.delta_grid(),
            dimension: plan.dimension(),
        };
        let share = privacy::coalition::calibrate_share(self.noise, shares, target).ok();
        Ok(share.and_then(|sigma| Decimal::ceil(sigma, 6).ok()))
    }
}

/// A ten-thousandth below the target: the figure that is signed is rounded up and carries the sampler's slack.
const BELOW: f64 = 0.9999;
/// N̂ of the smallest institution: rules that depend on it are checked again by each institution for its own.
const SMALLEST: u64 = 1;

/// δ less what dithered sums are charged (privacy.md D18).
fn inner_delta(p: &PrivacyFile, steps: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "schedules are far below 2^53 steps")]
    let steps = steps as f64;
    p.delta.to_f64() - privacy::mechanism::slack_per_step(p.path) * steps
}

/// What own noise alone is worth over the whole task, with a hundredth to spare for slack and for institutions of other sizes.
fn own_epsilon(plan: &Plan, mechanism: &Mechanism) -> Result<Decimal, PlanFileError> {
    let e = mechanism.executed();
    let terms = |epsilon_cap| TaskTerms {
        noise_multiplier: e.noise_multiplier,
        sampling_rate: e.sampling_rate,
        delta: e.delta,
        dimension: e.dimension,
        epsilon_cap,
        noise: e.noise,
        path: e.clip_path(),
    };
    let steps = plan.total_steps();
    let epsilon = terms(Decimal::ZERO).epsilon(steps)?;
    let cap = Decimal::ceil(epsilon.to_f64() * 1.01, 2).map_err(|_| TaskError::Unbounded)?;
    // At a very large ε not even the sampler's distance is small any more; then there is nothing to state.
    terms(cap).epsilon(steps)?;
    Ok(cap)
}

fn base_digest(bytes: &[u8]) -> SnapshotDigest {
    train::snapshot::digest(bytes)
}

/// Calibration of mode `local` by the accountant that the ledger charges with.
fn alone(p: &PrivacyFile, steps: u64) -> Option<Decimal> {
    let (target, q, delta) = (p.epsilon.to_f64() * BELOW, p.sampling_rate.to_f64(), inner_delta(p, steps));
    let sigma = match p.noise {
        NoiseKind::RoundedGaussian => privacy::accountant::calibrate(target, q, steps, delta),
        NoiseKind::DiscreteGaussian => privacy::accountant::calibrate_noise_rdp(p.noise, target, q, steps, delta),
    };
    let sigma = sigma.ok()?;
    Decimal::ceil(sigma, 6).ok()
}

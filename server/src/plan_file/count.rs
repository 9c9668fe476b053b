//! A plan file that counts: what is asked, and how private it is. Everything about training is derived: there is none.

use super::{ModeFile, PlanFileError, Prepared, PrivacyFile, base_digest, few_records};
use protocol::decimal::Decimal;
use protocol::ids::{GroupId, ShardId, SnapshotDigest, TaskId};
use protocol::params::CommitteeSize;
use protocol::plan::{
    ClipFunction, ClipPath, Count, Counted, Deadlines, EncoderConfig, GroupPlan, LocalTraining, NoiseKind, Plan, Query, ShardSpec,
    Strategy, TensorSpec, TokenizerKind, Unit, UnitObjective, Weighting, WordRule,
};
use serde::Deserialize;
use train::count::Known;

/// The file, word for word.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CountFile {
    /// Federation.
    pub federation: String,
    /// Bits of a slot. Default 16; 24 in modes `distributed` and `hybrid`.
    #[serde(default)]
    pub bits: Option<u8>,
    /// Slots of a summed integer. Default 3, and 1 in modes `distributed` and `hybrid`.
    #[serde(default)]
    pub limbs: Option<u8>,
    /// Fewest institutions in one opened sum.
    pub cohort_min: u16,
    /// Most institutions in one sum.
    pub n_max: u16,
    /// Committee.
    pub committee: CommitteeSize,
    /// Privacy.
    pub privacy: CountPrivacy,
    /// Time limits.
    pub deadlines: Deadlines,
    /// What is counted.
    pub count: CountedFile,
}

/// The privacy section: every unit is counted once, so there is no rate to choose, and the bound follows from what is counted.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CountPrivacy {
    /// Whose data one unit is.
    pub unit: Unit,
    /// Where noise is added.
    #[serde(default)]
    pub mode: ModeFile,
    /// ε over the whole task.
    pub epsilon: Decimal,
    /// δ.
    pub delta: Decimal,
    /// g: a grid step is the bound / 2^g.
    #[serde(default = "fourteen")]
    pub grid_bits: u8,
    /// Most records that one unit may contribute.
    #[serde(default = "few_records")]
    pub max_records_per_unit: u32,
    /// Law of the noise.
    #[serde(default)]
    pub noise: NoiseKind,
}

/// What is counted.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum CountedFile {
    /// Columns.
    Statistics {
        /// Questions, each about one column.
        queries: Vec<Query>,
    },
    /// Words.
    Words {
        /// How texts are cut.
        rule: WordRule,
        /// Coordinates of every round's vector.
        coordinates: u32,
        /// Rounds; a word of k characters needs at most k + 1.
        rounds: u64,
        /// Bound on a unit's L2 norm, in words: b² different ones count whole.
        bound: u32,
        /// In deviations of the summed noise.
        threshold: Decimal,
    },
}

fn fourteen() -> u8 {
    14
}

impl CountFile {
    /// Parses a file's text.
    ///
    /// # Errors
    /// [`PlanFileError::Parse`].
    pub fn parse(text: &str) -> Result<Self, PlanFileError> {
        toml::from_str(text).map_err(|e| PlanFileError::Parse(Box::new(e)))
    }

    /// Makes the plan: the vector from what is asked, the bound from what one unit can add, noise calibrated by the accountant.
    ///
    /// # Errors
    /// [`PlanFileError`].
    pub fn prepare(&self, task: TaskId) -> Result<Prepared, PlanFileError> {
        let shape = self.shape()?;
        let joint = self.privacy.mode.colluding().is_some();
        let limbs = self.limbs.unwrap_or(if joint { 1 } else { 3 });
        let bits = self.bits.unwrap_or(if joint { 24 } else { 16 });
        let privacy = self.privacy_file(shape.bound)?;
        let tensor = TensorSpec { name: "counts".into(), shape: vec![shape.values.saturating_mul(u32::from(limbs))] };
        let grid = i8::try_from(self.privacy.grid_bits).unwrap_or(i8::MAX);
        let mut plan = Plan {
            federation: self.federation.clone(),
            task,
            model: EncoderConfig::none(),
            tokenizer: TokenizerKind::HashedCharacters,
            base: SnapshotDigest([0; 32]),
            rounds: shape.rounds,
            shards: vec![ShardSpec { id: ShardId(0), tensors: vec![tensor], step_exponent: -grid }],
            groups: vec![GroupPlan { id: GroupId(0), shards: vec![ShardId(0)], bits }],
            cohort_min: self.cohort_min,
            n_max: self.n_max,
            committee: self.committee,
            privacy: privacy.uncalibrated(),
            local: LocalTraining::none(),
            weighting: Weighting::Uniform,
            strategy: Strategy::FedAvg { rate: Decimal::ONE },
            deadlines: self.deadlines,
            robustness: None,
            tiers: None,
            count: Some(Count { limbs, what: shape.what }),
            gates: None,
        };
        plan.check()?;
        privacy.calibrate(&mut plan)?;
        let base = Known::nothing(&plan)?.to_bytes()?;
        plan.base = base_digest(&base);
        plan.check()?;
        let bytes = protocol::codec::encode(&plan);
        Ok(Prepared { plan, bytes, base })
    }

    fn shape(&self) -> Result<Shape, PlanFileError> {
        match &self.count {
            CountedFile::Statistics { queries } => {
                let layout = train::count::layout(queries, self.privacy.max_records_per_unit).map_err(train::count::CountError::from)?;
                let values = u32::try_from(layout.coordinates()).unwrap_or(u32::MAX);
                Ok(Shape { values, rounds: 1, bound: layout.bound(), what: Counted::Statistics { queries: queries.clone() } })
            }
            CountedFile::Words { rule, coordinates, rounds, bound, threshold } => {
                let what = Counted::Words { rule: *rule, threshold: *threshold };
                Ok(Shape { values: *coordinates, rounds: *rounds, bound: u64::from(*bound), what })
            }
        }
    }

    fn privacy_file(&self, bound: u64) -> Result<PrivacyFile, PlanFileError> {
        let p = &self.privacy;
        let clip = Decimal::new(bound, 0).map_err(|_| train::count::CountError::Misplaced)?;
        Ok(PrivacyFile {
            unit: p.unit,
            mode: p.mode,
            epsilon: p.epsilon,
            delta: p.delta,
            sampling_rate: Decimal::ONE,
            clip,
            clip_function: ClipFunction::Flat,
            grid_bits: p.grid_bits,
            max_records_per_unit: p.max_records_per_unit,
            unit_objective: UnitObjective::Mean,
            noise: p.noise,
            path: ClipPath::Exact,
        })
    }
}

/// What is asked, in numbers of the plan.
struct Shape {
    values: u32,
    rounds: u64,
    bound: u64,
    what: Counted,
}

//! A small world for this room's tests.

use crate::batch::{Dataset, Record, UnitExamples};
use crate::shard::{STEP_EXPONENT, shard_table};
use protocol::decimal::Decimal;
use protocol::ids::{GroupId, SnapshotDigest, TaskId};
use protocol::params::CommitteeSize;
use protocol::plan::{
    ClipFunction, ClipPath, Deadlines, EncoderConfig, GroupPlan, LocalTraining, Mode, NoiseKind, Plan, PrivacyPlan, Strategy,
    TokenizerKind, Unit, Weighting,
};

pub(crate) fn small_config() -> EncoderConfig {
    let classes = ["quiet", "loud", "odd"].map(str::to_owned).to_vec();
    EncoderConfig { vocab: 24, max_tokens: 10, width: 8, heads: 2, layers: 2, hidden: 12, classes }
}

pub(crate) fn decimal(text: &str) -> Decimal {
    text.parse().unwrap()
}

/// A task of one round of `steps` steps.
pub(crate) fn plan(config: EncoderConfig, steps: u32, noise_multiplier: &str, sampling_rate: &str) -> Plan {
    let shards = shard_table(&config, 3, STEP_EXPONENT).unwrap();
    Plan {
        federation: "test".into(),
        task: TaskId([7; 16]),
        model: config,
        tokenizer: TokenizerKind::HashedCharacters,
        base: SnapshotDigest([0; 32]),
        rounds: 1,
        groups: vec![GroupPlan { id: GroupId(0), shards: shards.iter().map(|s| s.id).collect(), bits: 16 }],
        shards,
        cohort_min: 2,
        n_max: 4,
        committee: CommitteeSize { decryptors: 3, corrupt: 1 },
        privacy: PrivacyPlan {
            unit: Unit::User,
            mode: Mode::Local,
            path: ClipPath::Exact,
            clip_function: ClipFunction::AutoS,
            clip: decimal("1"),
            grid_bits: 16,
            noise_multiplier: decimal(noise_multiplier),
            sampling_rate: decimal(sampling_rate),
            delta: decimal("0.00001"),
            epsilon_cap: decimal("1000"),
            max_records_per_unit: 4,
            noise: NoiseKind::RoundedGaussian,
        },
        local: LocalTraining { steps, micro_batch: 4, learning_rate: decimal("0.01"), warmup_steps: 2, weight_decay: decimal("0.01") },
        weighting: Weighting::Uniform,
        strategy: Strategy::FedAvg { rate: decimal("1") },
        deadlines: Deadlines { selecting_ms: 1, reporting_ms: 1, certifying_ms: 1, opening_ms: 1 },
        robustness: None,
    }
}

/// Records of many lengths, some units with several, one without any; each class has tokens of its own.
pub(crate) fn data(units: usize) -> Dataset {
    let record = |n: usize| {
        let class = u32::try_from(n % 3).unwrap();
        let tokens = (0..n % 7 + 1).map(|i| u32::try_from((n * 5 + i * i) % 7).unwrap() + 8 * class).collect();
        Record { tokens, class }
    };
    let unit = |u: usize| UnitExamples { records: (0..u % 4).map(|r| record(3 * u + r)).collect() };
    Dataset { units: (1..=units).map(unit).collect() }
}

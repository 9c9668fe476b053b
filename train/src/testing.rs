//! A small world for this room's tests.

use crate::batch::{Dataset, Record, UNASKED, UnitExamples};
use crate::direct::{Keep, Precision};
use crate::fit::{OptimiserKind, Recipe};
use crate::model::config::{
    Activation, Family, FeedForwardKind, Inputs, MaskKind, NormPlace, Outputs, Positions, Scores, Shifts, Stretch, Task, Window,
};
use crate::model::decoder::Head;
use crate::model::lora::{Adapters, Factor, Lora};
use crate::model::names::Spelling;
use crate::model::norm::NormKind;
use crate::model::{Choices, Config, Trained, TransformerWeights};
use crate::optim::USUAL_BETAS;
use crate::schedule::{Rates, Schedule};
use crate::shard::{STEP_EXPONENT, shard_table};
use protocol::decimal::Decimal;
use protocol::ids::{GroupId, SnapshotDigest, TaskId};
use protocol::params::CommitteeSize;
use protocol::plan::own::{self, OwnModel};
use protocol::plan::{
    Asks, ClipFunction, ClipPath, Deadlines, EncoderConfig, GroupPlan, LocalTraining, Masking, Mode, NoiseKind, Plan, PrivacyPlan,
    Strategy, TokenizerKind, Unit, UnitObjective, Weighting,
};

pub(crate) fn small_config() -> EncoderConfig {
    let classes = ["quiet", "loud", "odd"].map(str::to_owned).to_vec();
    EncoderConfig { vocab: 24, max_tokens: 10, width: 8, heads: 2, layers: 2, hidden: 12, classes, ..EncoderConfig::none() }
}

/// The same sizes for a model that is built otherwise and asked for tokens, of which there are fewer.
pub(crate) fn built(own: OwnModel) -> EncoderConfig {
    EncoderConfig { vocab: 20, max_tokens: 12, heads: 4, classes: Vec::new(), own: Some(own), ..small_config() }
}

/// Of training in one place, in so many steps.
pub(crate) fn recipe(steps: u64) -> Recipe {
    Recipe {
        batch: 6,
        micro_batch: None,
        rates: Rates { peak: 1e-2, warmup_steps: 3, total_steps: steps, schedule: Schedule::Cosine },
        weight_decay: 0.01,
        max_gradient_norm: Some(1.0),
        optimiser: OptimiserKind::AdamW { betas: USUAL_BETAS },
        seed: 4,
        precision: Precision::F32,
        keep: Keep::Everything,
        bucket: 1,
        drop_tokens: 0.0,
        average: 0.0,
    }
}

pub(crate) fn decimal(text: &str) -> Decimal {
    text.parse().unwrap()
}

/// An encoder that is asked for hidden tokens.
pub(crate) fn small_masked() -> EncoderConfig {
    let own = Some(OwnModel { asks: Asks::MaskedTokens, ..OwnModel::default() });
    EncoderConfig { classes: Vec::new(), own, masking: Some(Masking::usual(0)), ..small_config() }
}

/// An encoder that is asked for tags of two kinds.
pub(crate) fn small_tagged() -> EncoderConfig {
    let classes = ["drug", "dose"].map(str::to_owned).to_vec();
    EncoderConfig { classes, own: Some(OwnModel { asks: Asks::Tags, ..OwnModel::default() }), ..small_config() }
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
            unit_objective: UnitObjective::Mean,
        },
        local: LocalTraining {
            steps,
            micro_batch: 4,
            learning_rate: decimal("0.01"),
            warmup_steps: 2,
            weight_decay: decimal("0.01"),
            ..LocalTraining::none()
        },
        weighting: Weighting::Uniform,
        strategy: Strategy::FedAvg { rate: decimal("1") },
        deadlines: Deadlines { selecting_ms: 1, reporting_ms: 1, certifying_ms: 1, opening_ms: 1 },
        robustness: None,
        tiers: None,
        count: None,
        gates: None,
    }
}

/// Records of many lengths, some units with several, one without any; each class has tokens of its own.
pub(crate) fn data(units: usize) -> Dataset {
    let record = |n: usize| {
        let class = u32::try_from(n % 3).unwrap();
        let tokens = (0..n % 7 + 1).map(|i| u32::try_from((n * 5 + i * i) % 7).unwrap() + 8 * class).collect();
        Record { tokens, class, labels: Vec::new() }
    };
    let unit = |u: usize| UnitExamples { records: (0..u % 4).map(|r| record(3 * u + r)).collect() };
    Dataset { units: (1..=units).map(unit).collect() }
}

/// Small choices that every family can start from.
pub(crate) fn choices(family: Family) -> Choices {
    Choices {
        family,
        vocab: 20,
        max_tokens: 12,
        width: 8,
        heads: 2,
        groups: 2,
        head_width: 4,
        hidden: 12,
        layers: 2,
        positions: Positions::Learned,
        segments: 0,
        stem: None,
        norm: NormKind::Layer,
        epsilon: 1e-5,
        place: NormPlace::Before,
        feed_forward: FeedForwardKind::Plain(Activation::GeluTanh),
        shifts: Shifts::All,
        scores: Scores::Scaled,
        mask: if family == Family::Decoder { MaskKind::Causal } else { MaskKind::Full },
        window: None,
        dropout: 0.0,
        inputs: Inputs::Plain,
        head: Head::Own,
        outputs: Outputs::Plain,
        spelling: Spelling::Own,
        adapter: None,
        trained: Trained::All,
        outside: None,
    }
}

const TRANSLATE: Family = Family::EncoderDecoder { decoder_layers: 2, start: 0, end: 1 };

/// What plans can ask for from random weights, as many parts as go together in one model.
fn planned() -> [OwnModel; 2] {
    let window = Some(own::Window { reach: 2, global: 1 });
    let decoder = OwnModel {
        asks: Asks::NextToken,
        positions: own::Positions::Rotary { theta: 100 },
        norm: own::Norm::RootMeanSquare,
        feed_forward: own::FeedForward::Swiglu,
        groups: Some(2),
        window,
        stem: Some(4),
        ..OwnModel::default()
    };
    let pair = OwnModel {
        asks: Asks::Translate,
        positions: own::Positions::Sinusoidal,
        norm_place: own::NormPlace::After,
        decoder_layers: Some(1),
        window,
        stem: Some(3),
        ..OwnModel::default()
    };
    [decoder, pair]
}

/// Encoder-decoders as T5's and BART's publishers have them.
fn published_pairs(translate: &Choices) -> [Choices; 2] {
    let t5 = Choices {
        positions: Positions::Distances { buckets: 8, farthest: 10 },
        norm: NormKind::RootMeanSquare,
        shifts: Shifts::None,
        scores: Scores::Plain,
        head: Head::Tied,
        outputs: Outputs::Shrunk,
        spelling: Spelling::T5,
        feed_forward: FeedForwardKind::Plain(Activation::Gelu), // T5's own relu has a kink that differences cannot follow
        ..translate.clone()
    };
    let bart = Choices {
        spelling: Spelling::Bart,
        place: NormPlace::After,
        feed_forward: FeedForwardKind::Plain(Activation::Gelu),
        inputs: Inputs::Grown,
        head: Head::Tied,
        ..translate.clone()
    };
    [t5, bart]
}

/// One model for each kind of part that there is.
pub(crate) fn families() -> Vec<(&'static str, Config)> {
    let classify = choices(Family::Encoder(Task::Classify { classes: 3 }));
    let tag = choices(Family::Encoder(Task::Tag { labels: 4 }));
    let masked = choices(Family::Encoder(Task::MaskedTokens));
    let (decoder, translate) = (choices(Family::Decoder), choices(TRANSLATE));
    let [swiglu, gated] = [Activation::Silu, Activation::GeluTanh].map(FeedForwardKind::Gated);
    let bert = |from: &Choices| Choices {
        spelling: Spelling::Bert,
        place: NormPlace::After,
        segments: 2,
        feed_forward: FeedForwardKind::Plain(Activation::Gelu),
        head: Head::Tied,
        ..from.clone()
    };
    let llama = Choices {
        heads: 4,
        groups: 2,
        head_width: 2,
        positions: Positions::Rotary { theta: 100.0 },
        norm: NormKind::RootMeanSquare,
        feed_forward: swiglu,
        shifts: Shifts::Queries,
        spelling: Spelling::Llama,
        ..decoder.clone()
    };
    // Of four pairs one is fast, one slow, two between.
    let stretch = Stretch::Slow { factor: 4.0, low: 0.25, high: 2.0, tokens: 16.0 };
    let stretched = Choices { positions: Positions::Stretched { theta: 100.0, stretch }, head_width: 8, ..llama.clone() };
    let [t5, bart] = published_pairs(&translate);
    let targets = Some(["q_proj", "down_proj"].map(str::to_owned).to_vec().into());
    let adapter = |trains| Some(Adapters { targets: targets.clone(), ..Adapters::everywhere(Lora { rank: 2, alpha: 6, trains }) });
    let nested = adapter(Factor::B).map(|whole| Adapters { nested: [1].into(), ..whole });
    let window = Some(Window { reach: 2, global: 1 });
    let [decoder_of_a_plan, pair_of_a_plan] = planned().map(|own| Choices::own(&built(own), 0).unwrap());
    let all = [
        ("classifier", classify.clone()),
        ("tagger with a window and a stem", Choices { window, stem: Some(5), positions: Positions::Sinusoidal, ..tag }),
        ("masked tokens, tied", Choices { head: Head::Tied, feed_forward: swiglu, ..masked.clone() }),
        ("bert classifier", bert(&classify)),
        ("bert masked", bert(&masked)),
        ("gpt2", Choices { spelling: Spelling::Gpt2, head: Head::Tied, ..decoder.clone() }),
        ("prefix decoder", Choices { mask: MaskKind::Prefix, groups: 1, stem: Some(3), window, ..decoder.clone() }),
        ("llama", llama.clone()),
        ("llama stretched", stretched),
        ("translator", Choices { place: NormPlace::After, ..translate.clone() }),
        ("t5", t5.clone()),
        // Heads that do not share the width out.
        ("t5 gated", Choices { feed_forward: gated, head: Head::Own, heads: 3, groups: 3, head_width: 3, ..t5.clone() }),
        ("llama lora-b", Choices { adapter: adapter(Factor::B), trained: Trained::Nothing, ..llama.clone() }),
        ("llama nested lora-b", Choices { adapter: nested, trained: Trained::Nothing, ..llama.clone() }),
        ("llama lora-a", Choices { adapter: adapter(Factor::A), trained: Trained::Nothing, ..llama.clone() }),
        ("llama top", Choices { trained: Trained::Layers(1..2), ..llama }),
        ("t5 top of both", Choices { trained: Trained::Layers(1..4), ..t5.clone() }),
        ("t5 top", Choices { trained: Trained::Layers(3..4), head: Head::Own, ..t5.clone() }),
        ("t5 middle", Choices { trained: Trained::Layers(1..2), ..t5 }),
        ("bart", bart.clone()),
        ("bart heads and biases", Choices { inputs: Inputs::Plain, trained: Trained::HeadsAndBiases, ..bart.clone() }),
        ("bart lora-b", Choices { adapter: adapter(Factor::B), trained: Trained::Nothing, ..bart }),
        ("bert heads and biases", Choices { trained: Trained::HeadsAndBiases, ..bert(&classify) }),
        ("classifier head", Choices { trained: Trained::Head, ..classify }),
        ("decoder of a plan", decoder_of_a_plan),
        ("encoder-decoder of a plan", pair_of_a_plan),
    ];
    all.map(|(name, choices)| (name, Config::new(choices).unwrap())).to_vec()
}

/// Weights with every number away from its first value, so that no term of a gradient is zero by chance.
pub(crate) fn moved(config: &Config) -> TransformerWeights {
    let start = TransformerWeights::initial(config, 11).unwrap();
    let moved = |flat: &[f32]| flat.iter().enumerate().map(|(i, w)| w + 0.1 * (i as f32 * 0.37).sin()).collect::<Vec<_>>();
    TransformerWeights::new(config, moved(start.flat()), moved(start.frozen())).unwrap()
}

/// A record of `n` tokens that every family can be asked about.
pub(crate) fn record(config: &Config, n: usize) -> Record {
    let number = |i: usize, most: u32| u32::try_from((n * 3 + i * i) % 9).unwrap() % most;
    let tokens: Vec<u32> = (0..n).map(|i| number(i, config.vocab)).collect();
    let labels = match config.family {
        Family::Encoder(Task::Classify { .. }) => Vec::new(),
        Family::Encoder(Task::Tag { .. } | Task::MaskedTokens) => {
            (0..n).map(|i| if i % 3 == 1 { UNASKED } else { number(i + 1, config.answers()) }).collect()
        }
        Family::Decoder if config.mask == MaskKind::Causal => Vec::new(),
        Family::Decoder | Family::EncoderDecoder { .. } => (0..n % 5 + 1).map(|i| number(i + 2, config.vocab)).collect(),
    };
    Record { tokens, class: u32::try_from(n % 3).unwrap(), labels }
}

//! Files that come to an institution's own machine from its server or from others: snapshots, tokenizers, lines of a site log; and what
//! training remembers on a disk between its rounds and runs.

use corpus::tokenizer::{Published, Subword, TextTokenizer as _, WordRule};
use protocol::decimal::Decimal;
use protocol::ids::ShardId;
use protocol::plan::{AdapterConfig, EncoderConfig, ShardSpec, Strategy};
use protocol::sidecar::Sidecar;
use protocol::site::SiteEntry;
use std::sync::LazyLock;
use train::direct::{Keep, Precision};
use train::fit::{Fit, OptimiserKind, Recipe};
use train::model::{Weights, initial};
use train::optim::{OptimiserState, StepSize, USUAL_BETAS};
use train::schedule::{Rates, Schedule};
use train::shard::{STEP_EXPONENT, shard_table, split};
use train::snapshot;
use train::strategy::{StrategyState, advance};

/// The model that snapshots are of.
pub fn model() -> EncoderConfig {
    let (classes, adapter) =
        (vec!["no".to_owned(), "yes".to_owned()], Some(AdapterConfig { rank: 1, alpha: 2, targets: None, nested: None }));
    EncoderConfig { vocab: 16, max_tokens: 3, width: 4, heads: 2, layers: 1, hidden: 4, classes, adapter, ..EncoderConfig::none() }
}

/// Snapshots have one spelling, and no number that is none.
pub fn snapshots(bytes: &[u8]) {
    if let Ok(weights) = snapshot::from_bytes(&model(), bytes) {
        assert!(weights.flat().iter().all(|w| w.is_finite()));
        assert!(snapshot::to_bytes(&weights).is_ok_and(|again| again == bytes));
    }
}

/// Lines of a site log and sidecars have one spelling.
pub fn sites(bytes: &[u8]) {
    if let Ok(sidecar) = Sidecar::parse(bytes) {
        assert_eq!(sidecar.to_bytes(), bytes);
    }
    if let Ok(entry) = SiteEntry::parse(bytes) {
        assert_eq!(entry.to_bytes(), bytes);
    }
}

/// A tokenizer gives ids of its own vocabulary for every text, and is read again as it is written; a published one is taken or refused.
pub fn tokenizers(bytes: &[u8]) {
    drop(Published::load(bytes, 16));
    let Ok(tokenizer) = Subword::load(bytes, WordRule::Pattern) else { return };
    for text in ["", "hello 你好 1", "\u{0}\u{10ffff} a\nb"] {
        assert!(tokenizer.encode(text).iter().all(|id| *id < tokenizer.vocab()));
    }
    assert!(Subword::load(tokenizer.to_json().as_bytes(), WordRule::Pattern).is_ok());
}

/// First weights of a model, their shards, and a mean change of them.
type Start = (Weights, Vec<ShardSpec>, Vec<(ShardId, Vec<f32>)>);

/// Of the model without its adapters.
static START: LazyLock<Start> = LazyLock::new(|| {
    let config = EncoderConfig { adapter: None, ..model() };
    let weights = initial(&config, 1).expect("the model above has first weights");
    let shards = shard_table(&config, 1, STEP_EXPONENT).expect("and tensors for one shard");
    let mean = split(&shards, weights.flat()).expect("of which they are all");
    (weights, shards, mean)
});

/// What the run below is called.
pub const RUN: &str = "fuzz";

/// A run at its start.
pub fn run() -> Fit {
    let rates = Rates { peak: 0.01, warmup_steps: 1, total_steps: 9, schedule: Schedule::Constant };
    let recipe = Recipe {
        batch: 2,
        micro_batch: None,
        rates,
        weight_decay: 0.0,
        max_gradient_norm: None,
        optimiser: OptimiserKind::AdamW { betas: USUAL_BETAS },
        seed: 1,
        precision: Precision::F32,
        keep: Keep::Everything,
        bucket: 1,
        drop_tokens: 0.0,
        average: 0.5,
    };
    Fit::encoder(&START.0, recipe).expect("every encoder can be trained in one place")
}

fn strategies() -> [Strategy; 5] {
    let (rate, half) = (Decimal::ONE, Decimal::new(5, 1).expect("a half is a decimal"));
    [
        Strategy::FedAvg { rate },
        Strategy::FedAvgM { rate, momentum: half },
        Strategy::FedNesterov { rate, momentum: half },
        Strategy::FedAdam { rate, momentum: half, decay: half, floor: half },
        Strategy::FedYogi { rate, momentum: half, decay: half, floor: half },
    ]
}

/// Memories of optimisers, strategies and runs, whatever they hold: a step is taken or refused, and a run comes back as it is written.
pub fn memories(bytes: &[u8]) {
    if let Ok(mut state) = serde_json::from_slice::<OptimiserState>(bytes) {
        let n = state.dimension();
        let places = [0..1, 3..n.max(3)];
        let part = state.part(&places);
        state.put(&places, part);
        let (mut weights, gradient) = (vec![0.5; n], vec![0.25; n]);
        let size = StepSize { rate: 0.01, decay: 0.1, decays: &[] };
        assert!(state.step(&mut weights, &gradient, &size).is_ok() && state.dimension() == n);
    }
    let (weights, shards, mean) = &*START;
    if let Ok(state) = serde_json::from_slice::<StrategyState>(bytes) {
        for strategy in strategies() {
            let Ok((_, next)) = advance(&strategy, shards, &state, weights, mean) else { continue };
            assert!(next.flat().len() == weights.flat().len() && next.flat().iter().all(|w| w.is_finite()));
        }
    }
    let mut fit = run();
    let Ok(best) = fit.resume(bytes, RUN) else { return };
    assert!(best.is_none_or(f64::is_finite) && fit.weights().iter().all(|w| w.is_finite()));
    let (Ok(written), mut again) = (fit.to_bytes(RUN, best), run()) else { unreachable!("every run can be written down") };
    assert!(again.resume(&written, RUN).is_ok_and(|b| b == best));
    assert_eq!((again.steps(), again.weights()), (fit.steps(), fit.weights()));
}

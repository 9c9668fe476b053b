//! Published encoders that a plan asks for tags or hidden tokens: what they begin with, that they compute what was published, and how they go
//! out again.

use super::base::tests::checkpoint;
use super::base::{Base, BaseError};
use super::export::{Exported, export};
use super::{CONFIG, HfError, TOKENIZER, load};
use crate::batch::{Batch, Record, UNASKED};
use crate::capture::Tape;
use crate::model::{Transformer, TransformerWeights, Weights};
use crate::shard;
use crate::shard::tiers::{Part, tier_table};
use protocol::plan::{AdapterConfig, Asks, ShardSpec};
use std::sync::Arc;

/// A published encoder whose tokenizer has a mask.
fn encoder(name: &str) -> (tempfile::TempDir, Base) {
    let dir = checkpoint(name);
    let tokenizer = br#"{"model":{"vocab":{"a":0,"b":59}},"added_tokens":[{"id":4,"content":"[MASK]"}]}"#;
    std::fs::write(dir.path().join(TOKENIZER), tokenizer).unwrap();
    let base = Base::open(dir.path()).unwrap();
    (dir, base)
}

fn kinds() -> Vec<String> {
    ["drug", "dose"].map(str::to_owned).to_vec()
}

/// The model on the checkpoint, with one tier that trains these parts.
fn begun(base: &Base, asks: Asks, low: bool, parts: &[Part]) -> Result<(Weights, Vec<ShardSpec>), BaseError> {
    let classes = if asks == Asks::Tags { kinds() } else { Vec::new() };
    let adapter = low.then(|| AdapterConfig { rank: 2, alpha: 4, targets: Some(vec!["query".into(), "value".into()]), nested: None });
    let model = base.model(asks, classes, Some(10), adapter)?;
    let shards = tier_table(&model, &[("all".to_owned(), parts.to_vec())], -16).unwrap().0;
    Ok((base.begin(&model, &shards, 7)?, shards))
}

/// Texts between marks, of which every second token is asked for.
fn batch(choices: u32) -> Batch {
    let record = |seed: u32| {
        let tokens: Vec<u32> = (0..seed + 4).map(|i| (i * 7 + seed * 5) % 60).collect();
        let labels = (0..seed + 4).map(|i| if i % 2 == 0 { UNASKED } else { (i * 11 + seed) % choices }).collect();
        Record { tokens, class: 0, labels }
    };
    Batch::pack(&[0, 1, 4].map(record), 10)
}

fn scores(weights: &TransformerWeights) -> Vec<f32> {
    Transformer::load(weights).unwrap().forward(&batch(5), &Tape::off()).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn part(base: &Base, weights: &Weights, shards: &[ShardSpec]) -> TransformerWeights {
    let beside = weights.clone().beside(Arc::new(base.outside(weights.config()).unwrap()));
    TransformerWeights::part_of(&beside, shard::names(shards)).unwrap()
}

/// The published head over tokens, tied to the table, is what a plan begins with.
#[test]
fn hidden_tokens_are_told_by_the_head_that_was_published() {
    let (dir, base) = encoder("bert-masked");
    let published = load(dir.path()).unwrap().weights;
    let (losses, full) = published.gradient(&batch(60), None).unwrap();
    for parts in [vec![Part::Head], vec![Part::Layers { from: 1, to: 2 }], vec![Part::HeadsAndBiases], vec![Part::Full]] {
        let (weights, shards) = begun(&base, Asks::MaskedTokens, false, &parts).unwrap();
        assert_eq!(weights.config().masking.map(|m| m.token), Some(4));
        let part = part(&base, &weights, &shards);
        assert_eq!(scores(&part), scores(&published), "{parts:?}");
        let (same, gradient) = part.gradient(&batch(60), None).unwrap();
        assert_eq!(same, losses, "{parts:?}");
        for p in part.table().iter() {
            let there = published.table().find(&p.name).unwrap();
            let close = gradient[p.range()].iter().zip(&full[there.range()]).all(|(a, b)| (a - b).abs() <= 1e-6 * (1.0 + b.abs()));
            assert!(close, "{parts:?}: {}", p.name);
        }
    }
    let head = begun(&base, Asks::MaskedTokens, false, &[Part::Head]).unwrap().0;
    let names: Vec<_> = head.table().iter().map(|p| p.name.as_str()).collect();
    assert!(names.iter().all(|name| name.starts_with("cls.predictions.")) && names.contains(&"cls.predictions.bias"), "{names:?}");
    assert!(!names.contains(&"cls.predictions.decoder.weight"), "the table of tokens is the head");
}

#[test]
fn a_tokenizer_without_a_mask_is_refused() {
    let dir = checkpoint("bert-masked");
    let refused = Base::open(dir.path()).unwrap().model(Asks::MaskedTokens, Vec::new(), None, None);
    assert!(matches!(refused, Err(BaseError::Checkpoint(HfError::Tokenizer(super::tokenizer::TokenizerError::NoMask)))));
    let decoder = encoder("gpt2").1.model(Asks::Tags, kinds(), None, None);
    assert!(matches!(decoder, Err(BaseError::Checkpoint(HfError::Config(_)))), "a decoder tags nothing");
}

#[test]
fn an_encoder_that_was_published_for_something_else_gets_a_new_head_over_tags_or_tokens() {
    let (_dir, base) = encoder("bert-classify");
    for asks in [Asks::Tags, Asks::MaskedTokens] {
        let (weights, _) = begun(&base, asks, true, &[Part::LoraB, Part::Head]).unwrap();
        assert_eq!(begun(&base, asks, true, &[Part::LoraB, Part::Head]).unwrap().0, weights, "the seed is public");
        assert!(matches!(begun(&base, asks, true, &[Part::LoraB]), Err(BaseError::Untrained(_))), "{asks:?}");
    }
    // Four published labels are none of two kinds' five.
    let (_dir, base) = encoder("bert-tag");
    assert!(matches!(begun(&base, Asks::Tags, true, &[Part::LoraB]), Err(BaseError::Untrained(name)) if name == "classifier.weight"));
}

/// What a federation would have after some rounds goes out as the architecture that its task has in the ecosystem, with the plan's names.
#[test]
fn a_tagger_and_a_model_of_hidden_tokens_go_out_as_other_programs_read_them() {
    for (asks, low, parts, expected) in [
        (Asks::Tags, true, vec![Part::LoraB, Part::Head], Exported::ModelAndAdapter),
        (Asks::Tags, false, vec![Part::Full], Exported::Model),
        (Asks::MaskedTokens, true, vec![Part::LoraB], Exported::ModelAndAdapter),
        (Asks::MaskedTokens, true, vec![Part::LoraB, Part::Head], Exported::Model),
        (Asks::MaskedTokens, false, vec![Part::Full], Exported::Model),
    ] {
        let (_dir, base) = encoder("bert-masked");
        let (first, shards) = begun(&base, asks, low, &parts).unwrap();
        let moved = first.flat().iter().enumerate().map(|(i, w)| w + 0.05 * (i as f32 * 0.37).sin()).collect();
        let weights = Weights::new(first.config(), moved).unwrap();
        let ours = scores(&part(&base, &weights, &shards));
        let out = tempfile::tempdir().unwrap();
        let adapter = out.path().join("adapter");
        let into = || std::fs::create_dir(&adapter).map(|()| adapter.clone());
        assert_eq!(export(&base, &weights, out.path(), into).unwrap(), expected, "{asks:?} {parts:?}");
        let again = load(out.path()).unwrap();
        let theirs = scores(&again.weights);
        assert!(ours.len() == theirs.len() && ours.iter().zip(&theirs).all(|(a, b)| (a - b).abs() < 1e-4), "{asks:?} {parts:?}");
        let config = std::fs::read_to_string(out.path().join(CONFIG)).unwrap();
        let (architecture, names) = match asks {
            Asks::Tags => ("BertForTokenClassification", ["\"0\": \"O\"", "\"I-dose\": 4"]),
            Asks::Class | Asks::NextToken | Asks::Answer | Asks::Translate | Asks::MaskedTokens => {
                ("BertForMaskedLM", ["\"vocab_size\": 60"; 2])
            }
        };
        assert!(config.contains(architecture) && names.iter().all(|name| config.contains(name)), "{config}");
    }
}

//! A plan's model on a tiny published checkpoint: what its snapshots hold, what stays in the checkpoint, and that the two together are the
//! model that was published.

use super::super::{WEIGHTS, load};
use super::*;
use crate::batch::{Batch, Dataset, Record, UnitExamples};
use crate::capture::Tape;
use crate::eval::{EvalError, evaluate, evaluate_texts};
use crate::model::Transformer;
use crate::rehearsal::{Rehearsal, Tried};
use crate::shard::tiers::{Part, tier_table};
use crate::slots::slots_agree_on;
use crate::snapshot;
use crate::workers::Workers;
use privacy::mechanism::Mechanism;
use protocol::ids::GroupId;
use protocol::plan::{GroupPlan, Plan};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

/// A checkpoint of the test vectors with a tokenizer beside it.
pub(in crate::hf) fn checkpoint(name: &str) -> tempfile::TempDir {
    let (from, to) = (PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/hf").join(name), tempfile::tempdir().unwrap());
    for file in [CONFIG, WEIGHTS] {
        std::fs::copy(from.join(file), to.path().join(file)).unwrap();
    }
    std::fs::write(to.path().join(TOKENIZER), br#"{"model":{"vocab":{"a":0,"b":59}}}"#).unwrap();
    to
}

fn classes(count: usize) -> Vec<String> {
    (0..count).map(|i| format!("class {i}")).collect()
}

pub(in crate::hf) fn adapter() -> Option<AdapterConfig> {
    Some(AdapterConfig { rank: 2, alpha: 4, targets: Some(vec!["query".into(), "value".into()]), nested: None })
}

/// The model on the checkpoint, with one tier that trains these parts.
pub(in crate::hf) fn begun(
    base: &Base,
    count: usize,
    adapter: Option<AdapterConfig>,
    parts: &[Part],
) -> Result<(Weights, Vec<ShardSpec>), BaseError> {
    let model = base.model(Asks::Class, classes(count), Some(10), adapter)?;
    let shards = tier_table(&model, &[("all".to_owned(), parts.to_vec())], -16).unwrap().0;
    Ok((base.begin(&model, &shards, 7)?, shards))
}

/// The same of a decoder.
pub(in crate::hf) fn begun_decoder(base: &Base, target: Option<&str>, parts: &[Part]) -> (Weights, Vec<ShardSpec>) {
    begun_writer((base, Asks::NextToken, 10), target, parts)
}

/// The same of a model that writes tokens.
pub(in crate::hf) fn begun_writer(
    (base, asks, most): (&Base, Asks, u32),
    target: Option<&str>,
    parts: &[Part],
) -> (Weights, Vec<ShardSpec>) {
    let adapter = target.map(|t| AdapterConfig { rank: 2, alpha: 4, targets: Some(vec![t.into()]), nested: None });
    let model = base.model(asks, Vec::new(), Some(most), adapter).unwrap();
    let shards = tier_table(&model, &[("all".to_owned(), parts.to_vec())], -16).unwrap().0;
    (base.begin(&model, &shards, 7).unwrap(), shards)
}

fn records() -> [Record; 3] {
    let tokens = |seed: u32| (0..seed + 3).map(|i| (i * 7 + seed * 5) % 60).collect();
    [0, 1, 4].map(|seed| Record { tokens: tokens(seed), class: seed % 3, labels: Vec::new() })
}

fn batch() -> Batch {
    Batch::pack(&records(), 10)
}

pub(in crate::hf) fn scores(weights: &TransformerWeights) -> Vec<f32> {
    Transformer::load(weights).unwrap().forward(&batch(), &Tape::off()).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn names(weights: &Weights) -> Vec<&str> {
    weights.table().iter().map(|p| p.name.as_str()).collect()
}

#[test]
fn a_snapshot_holds_what_is_trained_and_with_its_checkpoint_it_is_the_published_model() {
    let dir = checkpoint("bert-classify");
    let (base, published) = (Base::open(dir.path()).unwrap(), load(dir.path()).unwrap().weights);
    for (adapter, parts) in [
        (None, vec![Part::Head]),
        (adapter(), vec![Part::LoraB, Part::Head]),
        (None, vec![Part::Layers { from: 1, to: 2 }]),
        (None, vec![Part::HeadsAndBiases]),
        (None, vec![Part::Full]),
    ] {
        let (weights, shards) = begun(&base, 3, adapter, &parts).unwrap();
        let trained = shard::names(&shards);
        for p in weights.table().iter() {
            assert!(trained.contains(&p.name) || is_factor(&p.name), "{parts:?}: {}", p.name);
        }
        shard::check(weights.table(), &shards).unwrap();
        let bytes = snapshot::to_bytes(&weights).unwrap();
        let again = snapshot::from_bytes(weights.config(), &bytes).unwrap();
        let again = again.beside(Arc::new(base.outside(weights.config()).unwrap()));
        let part = TransformerWeights::part_of(&again, trained).unwrap();
        assert_eq!(scores(&part), scores(&published), "{parts:?}");
        let whole = base.whole(&weights).unwrap();
        assert_eq!(scores(&whole), scores(&published), "{parts:?}");
    }
    let (head, _) = begun(&base, 3, None, &[Part::Head]).unwrap();
    assert_eq!(names(&head), ["bert.pooler.dense.weight", "bert.pooler.dense.bias", "classifier.weight", "classifier.bias"]);
    let (full, _) = begun(&base, 3, None, &[Part::Full]).unwrap();
    assert_eq!(full.config().base.as_ref().unwrap().frozen, Vec::<String>::new());
}

#[test]
fn what_is_trained_on_a_checkpoint_has_the_gradient_that_it_has_in_the_whole_model() {
    let dir = checkpoint("bert-classify");
    let (base, published) = (Base::open(dir.path()).unwrap(), load(dir.path()).unwrap().weights);
    let (losses, full) = published.gradient(&batch(), None).unwrap();
    for parts in [vec![Part::Head], vec![Part::Layers { from: 0, to: 1 }], vec![Part::HeadsAndBiases], vec![Part::Full]] {
        let (weights, shards) = begun(&base, 3, None, &parts).unwrap();
        let weights = weights.clone().beside(Arc::new(base.outside(weights.config()).unwrap()));
        let part = TransformerWeights::part_of(&weights, shard::names(&shards)).unwrap();
        let (same, gradient) = part.gradient(&batch(), None).unwrap();
        assert_eq!(same, losses, "{parts:?}");
        for p in part.table().iter() {
            let there = published.table().find(&p.name).unwrap();
            let close = gradient[p.range()].iter().zip(&full[there.range()]).all(|(a, b)| (a - b).abs() <= 1e-6 * (1.0 + b.abs()));
            assert!(close, "{parts:?}: {}", p.name);
        }
    }
}

#[test]
fn a_published_decoder_is_trained_in_parts() {
    for (name, target) in [("gpt2", "c_attn"), ("llama", "v_proj"), ("qwen2", "q_proj")] {
        let dir = checkpoint(name);
        let (base, published) = (Base::open(dir.path()).unwrap(), load(dir.path()).unwrap().weights);
        let (losses, full) = published.gradient(&batch(), None).unwrap();
        for (target, parts) in [
            (Some(target), vec![Part::LoraB]),
            (None, vec![Part::Layers { from: 1, to: 2 }]),
            (None, vec![Part::HeadsAndBiases]),
            (None, vec![Part::Full]),
        ] {
            let (weights, shards) = begun_decoder(&base, target, &parts);
            let weights = weights.clone().beside(Arc::new(base.outside(weights.config()).unwrap()));
            let part = TransformerWeights::part_of(&weights, shard::names(&shards)).unwrap();
            let (same, gradient) = part.gradient(&batch(), None).unwrap();
            assert_eq!(same, losses, "{name} {parts:?}");
            for p in part.table().iter() {
                let Some(there) = published.table().find(&p.name) else { continue };
                let close = gradient[p.range()].iter().zip(&full[there.range()]).all(|(a, b)| (a - b).abs() <= 1e-6 * (1.0 + b.abs()));
                assert!(close, "{name} {parts:?}: {}", p.name);
            }
        }
    }
}

/// Every token but a record's first counts the same, whatever record it is in.
#[test]
fn a_decoders_loss_is_per_token() {
    let dir = checkpoint("llama");
    let (base, published) = (Base::open(dir.path()).unwrap(), load(dir.path()).unwrap().weights);
    let (weights, _) = begun_decoder(&base, None, &[Part::Layers { from: 1, to: 2 }]);
    let weights = weights.clone().beside(Arc::new(base.outside(weights.config()).unwrap()));
    let data = Dataset { units: records().map(|r| UnitExamples { records: vec![r] }).to_vec() };
    let workers = Workers::start(std::num::NonZeroUsize::MIN).unwrap();
    let found = evaluate_texts(&weights, &data, &workers).unwrap();
    let asked = records().map(|r| r.tokens.len() - 1);
    let losses = published.gradient(&batch(), None).unwrap().0;
    let sum: f64 = losses.iter().zip(asked).map(|(&loss, n)| f64::from(loss) * n as f64).sum();
    assert_eq!((found.records, found.tokens), (3, asked.iter().sum::<usize>() as u64));
    assert!((found.loss_sum - sum).abs() < 1e-4 && (found.perplexity() - found.loss().exp()).abs() < 1e-12);
    assert!(matches!(evaluate(&weights, &data, &workers), Err(EvalError::Asks { got: "next-token", expected: "class" })));
}

/// A published tokenizer without marks leaves nothing of some texts.
#[test]
fn a_record_without_tokens_is_not_judged() {
    let dir = checkpoint("bert-classify");
    let base = Base::open(dir.path()).unwrap();
    let (weights, _) = begun(&base, 3, None, &[Part::Head]).unwrap();
    let weights = weights.clone().beside(Arc::new(base.outside(weights.config()).unwrap()));
    let judged = |records: Vec<Record>| {
        let data = Dataset { units: vec![UnitExamples { records }] };
        evaluate(&weights, &data, &Workers::start(std::num::NonZeroUsize::MIN).unwrap()).unwrap()
    };
    let silent = Record { tokens: Vec::new(), class: 1, labels: Vec::new() };
    let with = records().into_iter().chain([silent.clone()]).collect();
    assert_eq!(judged(with), judged(records().to_vec()));
    assert_eq!(judged(vec![silent]).records, 0);
}

/// Records with answers of other lengths than their texts, and their number of asked tokens.
fn answered() -> [Record; 3] {
    let answer = |n: u32| (0..n).map(|i| (i * 11 + n) % 60).collect();
    let [a, b, c] = records();
    [Record { labels: answer(2), ..a }, Record { labels: answer(6), ..b }, Record { labels: answer(1), ..c }]
}

#[test]
fn models_that_write_answers_are_asked_for_the_answers_only() {
    for (name, asks, target, more) in [
        ("t5", Asks::Translate, "q", 1),
        ("t5-gated", Asks::Translate, "wo", 1),
        ("bart", Asks::Translate, "v_proj", 1),
        ("llama", Asks::Answer, "q_proj", 0),
    ] {
        let dir = checkpoint(name);
        let (base, published) = (Base::open(dir.path()).unwrap(), load(dir.path()).unwrap().weights);
        let batch = Batch::pack(&answered(), 6);
        let (losses, full) = published.gradient(&batch, None).unwrap();
        for (target, parts) in [(Some(target), vec![Part::LoraB]), (None, vec![Part::Layers { from: 1, to: 2 }]), (None, vec![Part::Full])]
        {
            let (weights, shards) = begun_writer((&base, asks, 6), target, &parts);
            let weights = weights.clone().beside(Arc::new(base.outside(weights.config()).unwrap()));
            let part = TransformerWeights::part_of(&weights, shard::names(&shards)).unwrap();
            let (same, gradient) = part.gradient(&batch, None).unwrap();
            assert_eq!(same, losses, "{name} {parts:?}");
            for p in part.table().iter() {
                let Some(there) = published.table().find(&p.name) else { continue };
                let close = gradient[p.range()].iter().zip(&full[there.range()]).all(|(a, b)| (a - b).abs() <= 1e-6 * (1.0 + b.abs()));
                assert!(close, "{name} {parts:?}: {}", p.name);
            }
            let data = Dataset { units: answered().map(|r| UnitExamples { records: vec![r] }).to_vec() };
            data.check(weights.config()).unwrap();
            let found = evaluate_texts(&weights, &data, &Workers::start(std::num::NonZeroUsize::MIN).unwrap()).unwrap();
            assert_eq!(found.tokens, 2 + 6 + 1 + 3 * more, "{name}");
            let sum: f64 = losses.iter().zip([2, 6, 1]).map(|(&loss, n)| f64::from(loss) * (n + more) as f64).sum();
            assert!((found.loss_sum - sum).abs() < 1e-4, "{name}");
        }
        // There must be room for text and answer.
        let most = base.model(asks, Vec::new(), None, None).unwrap().max_tokens;
        assert!(matches!(
            base.model(asks, Vec::new(), Some(most + 1), None),
            Err(BaseError::Model(ModelError::Part { part: "model.max_tokens", .. }))
        ));
    }
    let dir = checkpoint("t5");
    let refused = Base::open(dir.path()).unwrap().model(Asks::Answer, Vec::new(), None, None);
    assert!(matches!(refused, Err(BaseError::Checkpoint(HfError::Config(_)))), "a decoder is asked for answers");
}

#[test]
fn a_checkpoint_for_something_else_gets_a_new_head_that_somebody_must_train() {
    let dir = checkpoint("bert-masked");
    let base = Base::open(dir.path()).unwrap();
    let (weights, _) = begun(&base, 2, adapter(), &[Part::LoraB, Part::Head]).unwrap();
    let head: Vec<_> = names(&weights).into_iter().filter(|n| !is_factor(n)).collect();
    assert_eq!(head, ["bert.pooler.dense.weight", "bert.pooler.dense.bias", "classifier.weight", "classifier.bias"]);
    assert_eq!(begun(&base, 2, adapter(), &[Part::LoraB, Part::Head]).unwrap().0, weights, "the seed is public");
    let refused = begun(&base, 2, adapter(), &[Part::LoraB]);
    assert!(matches!(refused, Err(BaseError::Untrained(name)) if name == "bert.pooler.dense.weight" || name == "classifier.weight"));
    // Another number of classes than the published head has.
    let dir = checkpoint("bert-classify");
    let base = Base::open(dir.path()).unwrap();
    assert!(matches!(begun(&base, 2, adapter(), &[Part::LoraB]), Err(BaseError::Untrained(name)) if name == "classifier.weight"));
    assert!(begun(&base, 3, adapter(), &[Part::LoraB]).is_ok());
}

#[test]
fn another_checkpoint_is_refused_by_the_file_that_differs() {
    let dir = checkpoint("bert-classify");
    let (weights, _) = begun(&Base::open(dir.path()).unwrap(), 3, None, &[Part::Head]).unwrap();
    for file in [CONFIG, WEIGHTS, TOKENIZER] {
        let other = checkpoint("bert-classify");
        let mut bytes = std::fs::read(other.path().join(file)).unwrap();
        let end = bytes.len() - 2;
        bytes[end] ^= 1;
        std::fs::write(other.path().join(file), bytes).unwrap();
        let error = Base::open(other.path()).unwrap().outside(weights.config()).unwrap_err();
        assert!(matches!(error, BaseError::Differs { file: differs, .. } if differs == file), "{file}: {error}");
    }
    assert!(matches!(Base::open(&dir.path().join("nowhere")), Err(BaseError::Checkpoint(HfError::File { .. }))));
    // Without its checkpoint a model can be stored, but not computed with.
    assert!(matches!(TransformerWeights::part_of(&weights, std::collections::BTreeSet::new()), Err(ModelError::NoBase(_))));
    let mut stranger = weights.config().clone();
    stranger.base.as_mut().unwrap().frozen.push("no.such.tensor".into());
    let base = Base::open(dir.path()).unwrap();
    assert!(matches!(base.outside(&stranger), Err(BaseError::Frozen { .. })));
    stranger.base = None;
    assert!(matches!(base.outside(&stranger), Err(BaseError::NoBase)));
}

/// The digest is that of what is read, not of what lay there when the file was opened.
#[test]
fn a_checkpoint_that_changes_after_it_was_hashed_is_refused() {
    let dir = checkpoint("bert-classify");
    let base = Base::open(dir.path()).unwrap();
    let (weights, shards) = begun(&base, 3, None, &[Part::Head]).unwrap();
    let mut bytes = std::fs::read(dir.path().join(WEIGHTS)).unwrap();
    let end = bytes.len() - 2;
    bytes[end] ^= 1; // a digit of the last number
    // In place: a new file under the old name would not be what is mapped.
    let mut file = std::fs::OpenOptions::new().write(true).open(dir.path().join(WEIGHTS)).unwrap();
    file.write_all(&bytes).unwrap();
    assert!(matches!(base.outside(weights.config()), Err(BaseError::Changed)));
    assert!(matches!(base.whole(&weights), Err(BaseError::Changed)));
    assert!(matches!(base.begin(weights.config(), &shards, 7), Err(BaseError::Changed)));
}

/// A copy that only this program has.
fn own_copy(mut file: std::fs::File) -> std::io::Result<std::fs::File> {
    let mut own = tempfile::tempfile()?;
    std::io::copy(&mut file, &mut own)?;
    Ok(own)
}

/// The checkpoint with its numbers as 16-bit floats.
fn halved(name: &str) -> tempfile::TempDir {
    use safetensors::tensor::{Dtype, SafeTensors, TensorView};
    let dir = checkpoint(name);
    let bytes = std::fs::read(dir.path().join(WEIGHTS)).unwrap();
    let all = SafeTensors::deserialize(&bytes).unwrap();
    let narrow = |data: &[u8]| -> Vec<u8> {
        let numbers = data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        numbers.flat_map(|x| half::bf16::from_f32(x).to_le_bytes()).collect()
    };
    let tensors: Vec<_> = all.tensors().into_iter().map(|(name, t)| (name, t.shape().to_vec(), narrow(t.data()))).collect();
    let views = tensors.iter().map(|(name, shape, data)| (name, TensorView::new(Dtype::BF16, shape.clone(), data).unwrap()));
    std::fs::write(dir.path().join(WEIGHTS), safetensors::serialize(views, None).unwrap()).unwrap();
    dir
}

#[test]
fn what_nobody_trains_is_read_where_it_lies_and_computes_the_same() {
    let count = |outside: &Outside| (outside.len(), outside.in_place());
    for (name, dir, lies) in [("llama", checkpoint("llama"), true), ("qwen2", checkpoint("qwen2"), true), ("llama", halved("llama"), false)]
    {
        let (copied, held) = (Base::open(dir.path()).unwrap(), Base::hold(dir.path(), &mut own_copy).unwrap());
        assert_eq!(copied.digests(), held.digests());
        for (target, parts) in [(Some("q_proj"), vec![Part::LoraB]), (None, vec![Part::Layers { from: 1, to: 2 }])] {
            let (weights, shards) = begun_decoder(&held, target, &parts);
            assert_eq!(weights, begun_decoder(&copied, target, &parts).0, "{name} {parts:?}");
            let [there, here] = [&copied, &held].map(|base| Arc::new(base.outside(weights.config()).unwrap()));
            let all = there.len();
            assert_eq!((count(&there), count(&here)), ((all, 0), (all, if lies { all } else { 0 })), "{name} {parts:?}");
            let [there, here] = [there, here].map(|outside| {
                let weights = weights.clone().beside(outside);
                let part = TransformerWeights::part_of(&weights, shard::names(&shards)).unwrap();
                (scores(&part), part.gradient(&batch(), None).unwrap())
            });
            assert_eq!(there, here, "{name} {parts:?}");
        }
    }
    // A matrix that lies transposed is made; everything else is read in place.
    let dir = checkpoint("gpt2");
    let held = Base::hold(dir.path(), &mut own_copy).unwrap();
    let (weights, _) = begun_decoder(&held, Some("c_attn"), &[Part::LoraB]);
    let outside = held.outside(weights.config()).unwrap();
    let turned = ["c_attn", "c_proj", "c_fc"].map(|layer| format!("{layer}.weight"));
    let frozen = &weights.config().base.as_ref().unwrap().frozen;
    let made = frozen.iter().filter(|name| turned.iter().any(|end| name.ends_with(end.as_str()))).count();
    assert!(made > 0 && count(&outside) == (frozen.len(), frozen.len() - made), "{outside:?}");
}

/// A plan that trains adapters on a Llama checkpoint, and what it leaves to that.
fn plan_on(base: &Base) -> (Plan, Arc<Outside>) {
    let (weights, shards) = begun_decoder(base, Some("q_proj"), &[Part::LoraB]);
    let outside = Arc::new(base.outside(weights.config()).unwrap());
    let groups = vec![GroupPlan { id: GroupId(0), shards: shards.iter().map(|s| s.id).collect(), bits: 16 }];
    (Plan { groups, shards, ..crate::testing::plan(weights.config().clone(), 1, "1", "0.5") }, outside)
}

/// Whether units' gradients depend on each other is asked of the very weights, without a copy of them.
#[test]
fn the_exact_path_is_asked_about_on_the_checkpoint_itself() {
    let dir = checkpoint("llama");
    let held = Base::hold(dir.path(), &mut own_copy).unwrap();
    let (plan, outside) = plan_on(&held);
    let (mechanism, workers) = (Mechanism::of_plan(&plan, 100).unwrap(), Workers::start(std::num::NonZeroUsize::MIN).unwrap());
    assert!(slots_agree_on((&plan, Some(&outside)), &mechanism, &workers).unwrap());
    // Where the checkpoint is not at hand its numbers are made up.
    assert!(slots_agree_on((&plan, None), &mechanism, &workers).unwrap());
}

/// A plan is tried for its memory with the checkpoint where it lies.
#[test]
fn a_rehearsal_holds_the_checkpoint_as_rounds_do() {
    let dir = checkpoint("llama");
    let held = Base::hold(dir.path(), &mut Ok::<std::fs::File, std::io::Error>).unwrap();
    let (plan, outside) = plan_on(&held);
    let (mechanism, workers) = (Mechanism::of_plan(&plan, 100).unwrap(), Workers::start(std::num::NonZeroUsize::MIN).unwrap());
    assert_eq!((outside.in_place(), Arc::strong_count(&outside)), (outside.len(), 1));
    let rehearsal = Rehearsal::of((&plan, Some(&outside)), &mechanism).unwrap();
    assert!(Arc::strong_count(&outside) > 1, "read in place");
    assert_eq!(rehearsal.pass(std::num::NonZeroU32::MIN, &workers).unwrap(), Tried::Passed);
}

/// Whoever writes to the directory, or cuts a file in it off, does not reach what is held.
#[test]
fn what_is_held_does_not_change_with_the_directory() {
    let dir = checkpoint("llama");
    let held = Base::hold(dir.path(), &mut own_copy).unwrap();
    let (weights, shards) = begun_decoder(&held, Some("q_proj"), &[Part::LoraB]);
    let weights = weights.clone().beside(Arc::new(held.outside(weights.config()).unwrap()));
    let part = TransformerWeights::part_of(&weights, shard::names(&shards)).unwrap();
    let before = scores(&part);
    let file = std::fs::OpenOptions::new().write(true).open(dir.path().join(WEIGHTS)).unwrap();
    file.set_len(9).unwrap();
    drop(held);
    assert_eq!(scores(&part), before);
    // What cannot be held is refused, and the reason is kept.
    let mut full = |_: std::fs::File| -> std::io::Result<std::fs::File> { Err(std::io::ErrorKind::StorageFull.into()) };
    let refused = Base::hold(checkpoint("llama").path(), &mut full);
    assert!(matches!(refused, Err(BaseError::Checkpoint(HfError::File { file, source }))
        if file == WEIGHTS && source.kind() == std::io::ErrorKind::StorageFull));
    // What is held is what has the name: a copy of something else is another checkpoint.
    let mut other = |_: std::fs::File| own_copy(std::fs::File::open(checkpoint("qwen2").path().join(WEIGHTS))?);
    let base = Base::hold(checkpoint("llama").path(), &mut other).unwrap();
    assert!(matches!(base.outside(weights.config()), Err(BaseError::Differs { file: WEIGHTS, .. })));
}

#[test]
fn numbers_that_are_not_the_checkpoints_are_refused_by_name() {
    let dir = checkpoint("bert-classify");
    let base = Base::open(dir.path()).unwrap();
    let model = base.model(Asks::Class, classes(3), Some(10), None).unwrap();
    let wider = EncoderConfig { hidden: model.hidden + 1, ..model.clone() };
    assert!(matches!(ParameterTable::new(&wider), Err(ModelError::Part { part: "model.hidden", .. })));
    assert!(matches!(
        base.model(Asks::Class, classes(3), Some(13), None),
        Err(BaseError::Model(ModelError::Part { part: "model.max_tokens", .. }))
    ));
    assert_eq!(base.model(Asks::Class, classes(3), None, None).unwrap().max_tokens, 12);
    let decoder = checkpoint("gpt2");
    assert!(matches!(
        Base::open(decoder.path()).unwrap().model(Asks::Class, classes(3), None, None),
        Err(BaseError::Checkpoint(HfError::Config(_)))
    ));
}

/// Small published T5s have heads that do not share the width out evenly.
#[test]
fn heads_of_a_published_model_need_not_divide_its_width() {
    let dir = checkpoint("t5");
    let path = dir.path().join(CONFIG);
    let text = std::fs::read_to_string(&path).unwrap();
    let uneven = text.replace("\"num_heads\": 2", "\"num_heads\": 3").replace("\"d_kv\": 6", "\"d_kv\": 4");
    std::fs::write(&path, uneven).unwrap();
    let model = Base::open(dir.path()).unwrap().model(Asks::Translate, Vec::new(), Some(6), None).unwrap();
    assert_eq!((model.width, model.heads), (16, 3));
    assert!(ParameterTable::new(&model).is_ok());
    let own = EncoderConfig { base: None, classes: classes(2), ..model };
    assert!(matches!(ParameterTable::new(&own), Err(ModelError::Sizes { width: 16, heads: 3 })));
}

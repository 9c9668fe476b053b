//! Every kind of layer of a decoder, both ways of clipping, against the naive loop in 64 bits (privacy.md D33, D42).

use super::book_keeping::{self, Passed};
use super::naive::{Naive, agree};
use super::norms;
use crate::batch::{Record, UnitExamples};
use crate::model::decoder::Head;
use crate::model::lora::{Factor, Lora};
use crate::model::norm::NormKind;
use crate::model::{Decoder, DecoderConfig, DecoderWeights};
use crate::testing::{plan, small_config};
use crate::workers::{Work, unit_gradients};
use candle_core::{Device, Result, Tensor};
use privacy::bound::{ClippedSum, UnitOutcome};
use privacy::mechanism::{Accumulate, FloatSums, Mechanism, Rounding};

pub(super) const MAX_TOKENS: u32 = 12;

pub(super) fn config(head: Head, norm: NormKind, trains: Option<Factor>) -> DecoderConfig {
    let adapter = trains.map(|trains| Lora { rank: 2, alpha: 6, trains });
    DecoderConfig { vocab: 20, max_tokens: MAX_TOKENS, width: 8, heads: 2, layers: 2, hidden: 12, head, norm, adapter }
}

/// Every family of layers: tied and untied, both norms, no adapter and each factor of one.
pub(super) fn configs() -> Vec<DecoderConfig> {
    vec![
        config(Head::Tied, NormKind::Layer, None),
        config(Head::Own, NormKind::Layer, None),
        config(Head::Tied, NormKind::RootMeanSquare, None),
        config(Head::Own, NormKind::RootMeanSquare, None),
        config(Head::Tied, NormKind::Layer, Some(Factor::A)),
        config(Head::Own, NormKind::RootMeanSquare, Some(Factor::B)),
    ]
}

/// Weights with every gain, shift, bias and factor away from its first value, so that no term of a gradient is zero by chance.
pub(super) fn weights(config: &DecoderConfig) -> DecoderWeights {
    let start = DecoderWeights::initial(config, 11).unwrap();
    let moved = |flat: &[f32]| flat.iter().enumerate().map(|(i, w)| w + 0.1 * (i as f32 * 0.37).sin()).collect();
    DecoderWeights::new(config, moved(start.flat()), moved(start.frozen())).unwrap()
}

/// Units with one, several and no records of one to eleven tokens; the same tokens occur again and again.
pub(super) fn units() -> Vec<UnitExamples> {
    let record =
        |n: usize| Record { tokens: (0..n).map(|i| u32::try_from((n * 3 + i * i) % 9).unwrap()).collect(), class: 0, labels: Vec::new() };
    let unit = |lengths: &[usize]| UnitExamples { records: lengths.iter().map(|&n| record(n)).collect() };
    vec![unit(&[11]), unit(&[3, 8, 5]), unit(&[]), unit(&[1]), unit(&[2, 1, 11, 7]), unit(&[6])]
}

pub(super) fn mechanism(dimension: usize, accumulate: Accumulate) -> Mechanism {
    let sums = FloatSums { accumulate, rounding: Rounding::Dithered, micro_batch: 8, max_rows: 48 };
    Mechanism::of_float_sums(&plan(small_config(), 1, "1", "0.5").privacy, dimension as u64, 10, sums).unwrap()
}

pub(super) struct World {
    pub(super) weights: DecoderWeights,
    pub(super) decoder: Decoder,
    pub(super) mechanism: Mechanism,
}

impl World {
    pub(super) fn new(weights: DecoderWeights, accumulate: Accumulate) -> Self {
        let (decoder, mechanism) = (Decoder::load(&weights).unwrap(), mechanism(weights.flat().len(), accumulate));
        Self { weights, decoder, mechanism }
    }
    pub(super) fn work(&self) -> Work<'_> {
        let (objective, table, mechanism) = (&self.decoder, self.weights.table(), &self.mechanism);
        Work {
            objective,
            table,
            mechanism,
            max_tokens: MAX_TOKENS as usize,
            micro_batch: 3,
            max_records: 4,
            of_unit: protocol::plan::UnitObjective::Mean,
        }
    }
    pub(super) fn naive(&self) -> Naive {
        let w = &self.weights;
        let scale = w.config().adapter.map_or(1.0, |a| f64::from(a.alpha) / f64::from(a.rank));
        Naive::new(w.config().heads, scale, &[(w.table(), w.flat()), (w.frozen_table(), w.frozen())])
    }
    pub(super) fn pass(&self, units: &[&UnitExamples]) -> Passed {
        book_keeping::pass(self.work(), units).unwrap()
    }
    pub(super) fn sum(&self, units: &[&UnitExamples]) -> (Vec<f64>, Vec<UnitOutcome>) {
        let mut sum = ClippedSum::new(&self.mechanism).unwrap();
        let outcomes = book_keeping::add(self.work(), units, &mut sum).unwrap().outcomes;
        (sum.for_test().to_vec(), outcomes)
    }
}

/// Mean surprise at the tokens of one record, padded to the longest length; the mask forbids what comes later.
fn loss(config: &DecoderConfig, naive: &Naive, record: &Record) -> Result<Tensor> {
    let (n, t) = (record.tokens.len(), config.max_tokens as usize);
    let mask: Vec<f64> = (0..t * t).map(|i| if i % t > i / t { -1e9 } else { 0.0 }).collect();
    let mask = Tensor::from_vec(mask, (1, t, t), &Device::Cpu)?;
    let mut x = naive.embed(record, n, t)?;
    for i in 0..config.layers {
        x = naive.block(&format!("decoder.layers.{i}"), &x, &mask)?;
    }
    let x = naive.norm("decoder.norm", &x)?;
    let head = match config.head {
        Head::Tied => "embeddings.tokens.weight",
        Head::Own => "head.weight",
    };
    let logits = x.matmul(&naive.var(head).t()?)?; // (T, V)
    let mut loss = (logits.sum_all()? * 0.0)?; // a record of one token has a gradient too: zero
    for at in 1..n {
        let row = logits.get(at - 1)?;
        loss = (loss + ((row.exp()?.sum_all()?.log()? - row.get(record.tokens[at] as usize)?)? / (n - 1) as f64)?)?;
    }
    Ok(loss)
}

fn oracle(world: &World, unit: &UnitExamples) -> Vec<f64> {
    let w = &world.weights;
    world.naive().gradient(w.table(), &unit.records, |naive, record| loss(w.config(), naive, record))
}

#[test]
fn exact_unit_gradients_of_every_layer_agree_with_the_naive_loop() {
    for config in configs() {
        let (world, units) = (World::new(weights(&config), Accumulate::F32), units());
        let all: Vec<&UnitExamples> = units.iter().collect();
        let mut ours = Vec::new();
        unit_gradients(world.work(), &all, &mut |blocks, _| {
            let mut flat = vec![0.0f32; world.weights.flat().len()];
            blocks.iter().for_each(|b| flat[b.offset..b.offset + b.values.len()].copy_from_slice(b.values));
            ours.push(flat);
            Ok(())
        })
        .unwrap();
        for (unit, ours) in units.iter().zip(&ours) {
            agree(world.weights.table(), |i| f64::from(ours[i]), &oracle(&world, unit));
        }
    }
}

/// B10: a parameter that is trained but missing in the norm would show here, the tied cross term too.
#[test]
fn norms_of_every_layer_agree_with_the_naive_loop_and_guarded_ones_are_not_below() {
    for config in configs() {
        let (world, units) = (World::new(weights(&config), Accumulate::F32), units());
        let passed = world.pass(&units.iter().collect::<Vec<_>>());
        let squares = norms::squares(&passed.captures.unwrap(), &passed.units).unwrap();
        for (unit, ours) in units.iter().zip(squares) {
            let theirs = oracle(&world, unit).iter().map(|g| g * g).sum::<f64>().sqrt();
            assert!((ours.square.sqrt() - theirs).abs() <= 1e-4 * theirs, "{config:?}: {} against {theirs}", ours.square.sqrt());
            assert!(ours.upper().sqrt() >= theirs * (1.0 - 1e-6), "{config:?}: {} below {theirs}", ours.upper().sqrt());
            assert!(ours.upper().sqrt() <= theirs * 1.021, "{config:?}: {} far above {theirs}", ours.upper().sqrt());
        }
    }
}

#[test]
fn clipped_sums_of_every_layer_agree_with_the_naive_loop() {
    for config in configs() {
        for accumulate in [Accumulate::F32, Accumulate::F64] {
            let (world, units) = (World::new(weights(&config), accumulate), units());
            let all: Vec<&UnitExamples> = units.iter().collect();
            let passed = world.pass(&all);
            let squares = norms::squares(&passed.captures.unwrap(), &passed.units).unwrap();
            let mut theirs = vec![0.0; world.weights.flat().len()];
            let clipped = ClippedSum::new(&world.mechanism).unwrap();
            for (unit, square) in units.iter().zip(squares) {
                let factor = clipped.factor(square.upper());
                theirs.iter_mut().zip(oracle(&world, unit)).for_each(|(sum, g)| *sum += factor * g);
            }
            let (ours, outcomes) = world.sum(&all);
            agree(world.weights.table(), |i| ours[i], &theirs);
            assert!(outcomes.iter().all(|&o| o == UnitOutcome::Added));
        }
    }
}

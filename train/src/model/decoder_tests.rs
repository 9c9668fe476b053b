//! A decoder sees no future, starts as its parts say, and learns.

use super::*;
use crate::batch::Record;
use crate::model::lora::Factor;
use crate::optim::{OptimiserState, StepSize};

fn config(adapter: Option<Lora>) -> DecoderConfig {
    let (head, norm) = (Head::Tied, NormKind::Layer);
    DecoderConfig { vocab: 11, max_tokens: 16, width: 16, heads: 2, layers: 2, hidden: 32, head, norm, adapter }
}

fn batch(records: &[Vec<u32>]) -> Batch {
    let records: Vec<Record> = records.iter().map(|tokens| Record { tokens: tokens.clone(), class: 0, labels: Vec::new() }).collect();
    Batch::pack(&records, 16)
}

fn logits(weights: &DecoderWeights, tokens: &[u32]) -> Vec<Vec<f32>> {
    Decoder::load(weights).unwrap().forward(&batch(&[tokens.to_vec()]), &Tape::off()).unwrap().to_vec2::<f32>().unwrap()
}

#[test]
fn scores_depend_on_the_past_alone() {
    let weights = DecoderWeights::initial(&config(None), 3).unwrap();
    let (one, other) = (logits(&weights, &[1, 2, 3, 4, 5]), logits(&weights, &[1, 2, 3, 9, 0]));
    assert_eq!(one[..3], other[..3]);
    assert_ne!(one[3], other[3]);
    assert_ne!(logits(&weights, &[2, 2, 3])[2], one[2]);
}

#[test]
fn the_table_lists_every_tensor_once_and_a_tied_head_has_none() {
    let own = DecoderConfig { head: Head::Own, norm: NormKind::RootMeanSquare, ..config(None) };
    let (tied, own) = (DecoderWeights::initial(&config(None), 1).unwrap(), DecoderWeights::initial(&own, 1).unwrap());
    assert!(tied.table().find(HEAD).is_none() && own.table().find(HEAD).is_some());
    assert!(tied.table().find("decoder.norm.bias").is_some() && own.table().find("decoder.norm.bias").is_none());
    // Per block: two norms, qkv, output, up, down; then the last norm; tables in front.
    let (v, t, c, f) = (11, 16, 16, 32);
    assert_eq!(tied.flat().len(), (v + t) * c + 2 * (4 * c * c + 2 * c * f + 9 * c + f) + 2 * c);
    assert_eq!(own.flat().len(), (2 * v + t) * c + 2 * (4 * c * c + 2 * c * f + 7 * c + f) + c);
    assert_eq!(tied.frozen().len(), 0);
}

#[test]
fn an_adapter_starts_as_the_frozen_model_and_trains_one_factor() {
    let plain = DecoderWeights::initial(&config(None), 3).unwrap();
    for (trains, widths) in [(Factor::A, 16 + 16 + 16 + 32), (Factor::B, 48 + 16 + 32 + 16)] {
        let adapted = config(Some(Lora { rank: 3, alpha: 6, trains }));
        let start = DecoderWeights::initial(&adapted, 3).unwrap();
        assert_eq!(start.flat().len(), 2 * 3 * widths);
        assert_eq!(start.flat().len() + start.frozen().len(), plain.flat().len() + 2 * 3 * (80 + 112));
        // The frozen model's own weights, whatever their stream, with factors that add nothing yet.
        let base: Vec<f32> =
            start.frozen_table().iter().filter(|p| !p.name.contains("lora")).flat_map(|p| &start.frozen()[p.range()]).copied().collect();
        let base = DecoderWeights::new(plain.config(), base, Vec::new()).unwrap();
        assert_eq!(logits(&start, &[1, 2, 3]), logits(&base, &[1, 2, 3]));
    }
    let rankless = config(Some(Lora { rank: 0, alpha: 1, trains: Factor::B }));
    assert_eq!(DecoderWeights::initial(&rankless, 1).err(), Some(ModelError::Rank));
}

#[test]
fn sizes_that_are_no_model_are_refused() {
    let refused = |change: &dyn Fn(&mut DecoderConfig)| {
        let mut c = config(None);
        change(&mut c);
        DecoderWeights::initial(&c, 1).err()
    };
    assert!(matches!(refused(&|c| c.vocab = 0), Some(ModelError::Sizes { .. })));
    assert!(matches!(refused(&|c| c.heads = 3), Some(ModelError::Sizes { .. })));
    assert_eq!(refused(&|c| c.layers = u32::MAX), Some(ModelError::TooLarge));
    assert_eq!(refused(&|c| c.adapter = Some(Lora { rank: u32::MAX, alpha: 1, trains: Factor::A })), Some(ModelError::TooLarge));
    let weights = DecoderWeights::initial(&config(None), 1).unwrap();
    assert!(matches!(DecoderWeights::new(&config(None), weights.flat()[1..].to_vec(), Vec::new()), Err(ModelError::Length { .. })));
}

/// Counting upwards modulo 7 is learnt by the whole model and by either factor of an adapter.
#[test]
fn a_pattern_is_learnt() {
    let lora = |trains| Some(Lora { rank: 4, alpha: 8, trains });
    for (adapter, share) in [(None, 0.2), (lora(Factor::B), 0.8)] {
        let mut weights = DecoderWeights::initial(&config(adapter), 5).unwrap();
        let batch = batch(&(0..7).map(|start| (0..10).map(|i| (start + i) % 7).collect()).collect::<Vec<_>>());
        let mut optimiser = OptimiserState::adam_w(weights.flat().len());
        let mut losses = Vec::new();
        for _ in 0..60 {
            let tape = Tape::total(weights.flat().len());
            let loss = (Decoder::load(&weights).unwrap().losses(&batch, &tape).unwrap().sum_all().unwrap() / 7.0).unwrap();
            let gradient = tape.finish_total(&loss.backward().unwrap(), weights.table()).unwrap();
            losses.push(loss.to_scalar::<f32>().unwrap());
            optimiser.step(&mut weights.flat, &gradient, &StepSize { rate: 0.02, decay: 0.0, decays: &[] }).unwrap();
        }
        assert!((losses[0] - 11f32.ln()).abs() < 0.5, "an untrained model guesses: {}", losses[0]);
        assert!(losses[59] < share * losses[0], "{adapter:?}: {} to {}", losses[0], losses[59]);
    }
}

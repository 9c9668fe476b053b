//! The direct passes and the graph's give the same numbers.

use super::*;
use crate::batch::{Batch, Record};
use crate::capture::Tape;
use crate::kernels::norm::NormKind;
use crate::model::decoder::Head;
use crate::model::{Decoder, DecoderConfig, DecoderWeights, Objective, ParameterTable, Transformer, TransformerWeights, initial};
use crate::testing::small_config;

fn decoder(head: Head, norm: NormKind) -> DecoderWeights {
    let config = DecoderConfig { vocab: 19, max_tokens: 80, width: 24, heads: 3, layers: 2, hidden: 20, head, norm, adapter: None };
    moved(&DecoderWeights::initial(&config, 5).unwrap())
}

/// Weights without the symmetries of a start: gains are not 1 and shifts not 0.
fn moved(weights: &DecoderWeights) -> DecoderWeights {
    let flat = weights.flat().iter().enumerate().map(|(i, w)| w + ((i % 13) as f32 - 6.0) * 0.01).collect();
    DecoderWeights::new(weights.config(), flat, Vec::new()).unwrap()
}

/// Lengths with several blocks of queries, a lone token and none.
fn pieces() -> Vec<Vec<u32>> {
    [5usize, 71, 2, 1, 30].iter().map(|&n| (0..n).map(|i| u32::try_from((i * i + n) % 19).unwrap()).collect()).collect()
}

fn by_graph(objective: &dyn Objective, batch: &Batch, table: &ParameterTable, share: f32) -> (Vec<f32>, Vec<f32>) {
    let tape = Tape::total(table.len());
    let losses = objective.losses(batch, &tape).unwrap();
    let grads = (losses.sum_all().unwrap() * f64::from(share)).unwrap().backward().unwrap();
    (losses.to_vec1().unwrap(), tape.finish_total(&grads, table).unwrap())
}

/// Largest difference relative to the largest number.
fn difference(a: &[f32], b: &[f32]) -> f32 {
    let top = b.iter().fold(0.0f32, |top, v| top.max(v.abs()));
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / top
}

fn gradient(direct: &Direct, weights: &[f32], reading: &Reading, share: f32) -> (Vec<f64>, Vec<f32>) {
    let (mut grad, mut scratch, mut copy) = (vec![0.0; weights.len()], Scratch::new(), Vec::new());
    let shown = direct.shown(weights, &mut copy);
    // Memory of an earlier, larger batch must not show.
    let warm: Vec<Vec<u32>> = vec![vec![1; 60]; 6];
    let warm = match &reading.aims {
        Aims::Next(_) => Reading::of_pieces(warm.iter().map(Vec::as_slice)),
        Aims::Classes(_) => Reading { tokens: vec![1; 60], spans: crate::batch::Spans::of([10; 6]), aims: Aims::Classes(vec![0; 6]) },
    };
    direct.gradient(shown, (&warm, 1.0), &mut scratch, &mut grad).unwrap();
    grad.fill(0.0);
    let losses = direct.gradient(shown, (reading, share), &mut scratch, &mut grad).unwrap();
    let again = direct.losses(shown, reading, &mut scratch).unwrap();
    assert!(losses.iter().zip(&again).all(|(a, b)| (a - b).abs() < 1e-5));
    (losses, grad)
}

#[test]
fn a_decoder_has_the_same_losses_and_gradients_as_its_graph() {
    for (head, norm) in [(Head::Tied, NormKind::Layer), (Head::Own, NormKind::RootMeanSquare)] {
        let (weights, pieces) = (decoder(head, norm), pieces());
        let records: Vec<Record> = pieces.iter().map(|p| Record { tokens: p.clone(), class: 0, labels: Vec::new() }).collect();
        let graph = Decoder::load(&weights).unwrap();
        // The graph's mean is over all rows but the last, as ours is over all that are read.
        let (losses, expected) = by_graph(&graph, &Batch::pack(&records, 80), weights.table(), 0.2);
        let direct = Direct::of_decoder(&weights).unwrap();
        let (got, grad) = gradient(&direct, weights.flat(), &Reading::of_pieces(pieces.iter().map(Vec::as_slice)), 0.2);
        assert!(got.iter().zip(&losses).all(|(a, b)| (a - f64::from(*b)).abs() < 1e-5), "{got:?} {losses:?}");
        assert!(difference(&grad, &expected) < 1e-5, "{}", difference(&grad, &expected));
    }
}

#[test]
fn an_encoder_has_the_same_losses_and_gradients_as_its_graph() {
    let weights = initial(&small_config(), 3).unwrap();
    let batch = Batch::pack(crate::testing::data(9).records(), 10);
    let all = weights.table().iter().map(|p| p.name.clone()).collect();
    let graph = Transformer::load(&TransformerWeights::part_of(&weights, all).unwrap()).unwrap();
    let (losses, expected) = by_graph(&graph, &batch, weights.table(), 0.5);
    let direct = Direct::of_encoder(&weights).unwrap();
    let (got, grad) = gradient(&direct, weights.flat(), &Reading::of_batch(&batch), 0.5);
    assert!(got.iter().zip(&losses).all(|(a, b)| (a - f64::from(*b)).abs() < 1e-5));
    assert!(difference(&grad, &expected) < 1e-5, "{}", difference(&grad, &expected));
}

/// training.md M10: the result equals the plain step to 1e-5; here it is the same arithmetic, so the same bits.
#[test]
fn blocks_computed_again_give_the_plain_gradient() {
    let (weights, pieces) = (decoder(Head::Tied, NormKind::Layer), pieces());
    let reading = Reading::of_pieces(pieces.iter().map(Vec::as_slice));
    let plain = gradient(&Direct::of_decoder(&weights).unwrap(), weights.flat(), &reading, 0.2);
    let again = gradient(&Direct::of_decoder(&weights).unwrap().keeping(Keep::Inputs), weights.flat(), &reading, 0.2);
    assert_eq!(plain, again);
}

/// bfloat16 has 8 bits: a factor is off by at most 2^-9 of itself, and a gradient of this small model by a few such steps.
#[test]
fn bfloat16_factors_give_nearly_the_same_gradient() {
    let (weights, pieces) = (decoder(Head::Own, NormKind::Layer), pieces());
    let reading = Reading::of_pieces(pieces.iter().map(Vec::as_slice));
    let plain = gradient(&Direct::of_decoder(&weights).unwrap(), weights.flat(), &reading, 0.2);
    let rounded = gradient(&Direct::of_decoder(&weights).unwrap().with_precision(Precision::Bf16), weights.flat(), &reading, 0.2);
    let off = difference(&rounded.1, &plain.1);
    assert!((1e-4..3e-2).contains(&off), "{off}");
}

#[test]
fn rounding_to_bfloat16_is_to_nearest_even() {
    let mut values = [1.0, 1.0 + 1.0 / 256.0, 1.0 + 3.0 / 256.0, -3.140_625, f32::INFINITY, 1e-3];
    to_bfloat((&mut values,));
    assert_eq!(values[..5], [1.0, 1.0, 1.0 + 4.0 / 256.0, -3.140_625, f32::INFINITY]);
    assert!((values[5] / 1e-3 - 1.0).abs() < 1.0 / 256.0);
    let mut nan = [f32::NAN];
    to_bfloat((&mut nan,));
    assert!(nan[0].is_nan());
}

#[test]
fn what_does_not_fit_the_model_is_a_typed_error() {
    let weights = decoder(Head::Tied, NormKind::Layer);
    let direct = Direct::of_decoder(&weights).unwrap();
    let mut scratch = Scratch::new();
    let mut losses = |reading: &Reading| direct.losses(weights.flat(), reading, &mut scratch);
    assert!(matches!(losses(&Reading::of_pieces([[19u32, 0].as_slice()])), Err(DirectError::Token { vocab: 19 })));
    assert!(matches!(losses(&Reading::of_pieces([[0u32, 19].as_slice()])), Err(DirectError::Aims { known: 19 })));
    assert!(matches!(losses(&Reading::of_pieces([[0u32; 82].as_slice()])), Err(DirectError::Long { got: 81, most: 80 })));
    let classes = Reading::of_batch(&Batch::pack([&Record { tokens: vec![1], class: 0, labels: Vec::new() }], 10));
    assert!(matches!(losses(&classes), Err(DirectError::OtherFamily)));
    let short = &weights.flat()[1..];
    let piece = Reading::of_pieces([[0u32, 1].as_slice()]);
    assert!(matches!(direct.losses(short, &piece, &mut scratch), Err(DirectError::Length { .. })));
}

#[test]
fn an_adapter_is_left_to_the_graph() {
    use crate::model::lora::{Factor, Lora};
    let plain = decoder(Head::Tied, NormKind::Layer);
    let config = DecoderConfig { adapter: Some(Lora { rank: 2, alpha: 4, trains: Factor::B }), ..plain.config().clone() };
    assert!(Direct::of_decoder(&DecoderWeights::initial(&config, 1).unwrap()).is_none());
}

//! Every family sees what it may see, has a gradient for whatever is trained, and treats each record by itself.

use super::*;
use crate::batch::Record;
use crate::model::config::{Inputs, Positions, Window};
use crate::model::names::Spelling;
use crate::model::parameters::Trained;
use crate::testing::{choices, families, moved, record};

fn batch(records: &[Record]) -> Batch {
    Batch::pack(records, 12)
}

fn some_records(config: &Config) -> Vec<Record> {
    [7, 2, 11, 4].map(|n| record(config, n)).to_vec()
}

/// Adding the same number to all keys of a head moves all scores of a query alike, and softmax takes no notice.
fn has_no_slope(name: &str) -> bool {
    name.ends_with("key.bias") || name.ends_with("k_proj.bias")
}

#[test]
fn after_one_backward_pass_every_trained_tensor_has_a_gradient_and_no_other_has_a_place() {
    for (name, config) in families() {
        let weights = moved(&config);
        let (_, gradient) = weights.gradient(&batch(&some_records(&config)), None).unwrap_or_else(|e| panic!("{name}: {e}"));
        for p in weights.table().iter() {
            assert!(has_no_slope(&p.name) || gradient[p.range()].iter().any(|&g| g != 0.0), "{name}: {} has no gradient", p.name);
        }
        let (all, _) = TransformerWeights::tables(&config.training(config.adapter.clone(), Trained::All).unwrap());
        let base = |p: &&crate::model::parameters::Parameter| !p.name.contains(".lora_");
        let parts = weights.table().iter().filter(base).count() + weights.frozen_table().iter().filter(base).count();
        assert_eq!(parts, all.iter().filter(base).count(), "{name}");
    }
}

/// Along one direction in each tensor; the loss is computed in 32 bits, so differences of 1e-6 over steps of 1/128 are noise.
#[test]
fn gradients_of_whole_models_agree_with_finite_differences() {
    for (name, config) in families() {
        let (weights, batch) = (moved(&config), batch(&some_records(&config)));
        let (_, gradient) = weights.gradient(&batch, None).unwrap();
        let loss = |flat: Vec<f32>| -> f64 {
            let moved = TransformerWeights::new(&config, flat, weights.frozen()).unwrap();
            let losses = Transformer::load(&moved).unwrap().losses(&batch, &Tape::off()).unwrap().to_vec1::<f32>().unwrap();
            losses.iter().map(|&l| f64::from(l)).sum()
        };
        for p in weights.table().iter() {
            let direction: Vec<f32> = (0..p.len()).map(|i| (i as f32 * 1.3 + 0.4).sin() / (p.len() as f32).sqrt()).collect();
            let step = |h: f32| {
                let mut flat = weights.flat().to_vec();
                flat[p.range()].iter_mut().zip(&direction).for_each(|(w, d)| *w += h * d);
                loss(flat)
            };
            let difference = |h: f32| (step(h) - step(-h)) / f64::from(2.0 * h);
            let slope = (4.0 * difference(1.0 / 128.0) - difference(1.0 / 64.0)) / 3.0; // without the cubic term
            let ours: f64 = gradient[p.range()].iter().zip(&direction).map(|(g, d)| f64::from(g * d)).sum();
            assert!((slope - ours).abs() < 3e-3 * (1.0 + slope.abs()), "{name}: {}: {slope} against {ours}", p.name);
        }
    }
}

/// D32: a record's loss and scores are bitwise the same whoever stands beside it, dropout included.
#[test]
fn no_record_is_read_by_another_ones_tokens() {
    for (name, config) in families() {
        let config = Config::new(Choices { dropout: 0.2, ..config.choices().clone() }).unwrap();
        let (weights, records) = (moved(&config), some_records(&config));
        let model = Transformer::load(&weights).unwrap();
        let losses = |records: &[Record], tape: Tape| model.losses(&batch(records), &tape).unwrap().to_vec1::<f32>().unwrap();
        for tape in [Tape::off(), Tape::off().dropping(5)] {
            let together = losses(&records, tape.clone());
            let alone: Vec<f32> = records.iter().flat_map(|r| losses(std::slice::from_ref(r), tape.clone())).collect();
            assert_eq!(together, alone, "{name}");
        }
        assert_ne!(losses(&records, Tape::off()), losses(&records, Tape::off().dropping(5)), "{name}");
        assert_eq!(losses(&records, Tape::off().dropping(5)), losses(&records, Tape::off().dropping(5)), "{name}");
        assert_ne!(losses(&records, Tape::off().dropping(6)), losses(&records, Tape::off().dropping(5)), "{name}");
    }
}

fn scores(config: &Config, tokens: &[u32], labels: &[u32]) -> Vec<Vec<f32>> {
    let record = Record { tokens: tokens.to_vec(), class: 0, labels: labels.to_vec() };
    Transformer::load(&moved(config)).unwrap().forward(&batch(&[record]), &Tape::off()).unwrap().to_vec2().unwrap()
}

#[test]
fn no_token_of_a_decoder_sees_a_later_one_whatever_its_parts() {
    for (name, config) in families().into_iter().filter(|(_, c)| c.family == Family::Decoder && c.mask == MaskKind::Causal) {
        let (one, other) = (scores(&config, &[1, 2, 3, 4, 5], &[]), scores(&config, &[1, 2, 3, 9, 0], &[]));
        assert_eq!(one[..3], other[..3], "{name}");
        assert_ne!(one[3], other[3], "{name}");
    }
}

#[test]
fn a_prefix_hears_itself_both_ways_and_nothing_of_the_answer() {
    // Without the stem, which looks at the past only but would be one more thing to think of.
    let config = families().into_iter().find(|(name, _)| *name == "prefix decoder").unwrap().1;
    let config = Config::new(Choices { stem: None, window: None, ..config.choices().clone() }).unwrap();
    let base = scores(&config, &[1, 2, 3], &[4, 5, 6]);
    let (question, answer) = (scores(&config, &[1, 2, 7], &[4, 5, 6]), scores(&config, &[1, 2, 3], &[4, 5, 9]));
    assert_ne!(base[0], question[0]);
    assert_eq!(base[..5], answer[..5]);
    assert_ne!(base[5], answer[5]);
}

#[test]
fn an_encoder_hears_both_ways_and_a_window_cuts_far_tokens_off() {
    let choices = Choices { positions: Positions::Sinusoidal, layers: 1, ..choices(Family::Encoder(Task::Tag { labels: 4 })) };
    let near = Config::new(Choices { window: Some(Window { reach: 1, global: 0 }), ..choices.clone() }).unwrap();
    let all = Config::new(choices).unwrap();
    let differ = |config: &Config| -> Vec<bool> {
        let (one, other) = (scores(config, &[1, 2, 3, 4, 5], &[]), scores(config, &[1, 2, 3, 4, 6], &[]));
        one.iter().zip(&other).map(|(a, b)| a != b).collect()
    };
    assert_eq!(differ(&all), [true; 5]);
    assert_eq!(differ(&near), [false, false, false, true, true]);
}

#[test]
fn a_decoder_reads_the_source_and_the_past_of_its_answer() {
    for (name, config) in families().into_iter().filter(|(_, c)| matches!(c.family, Family::EncoderDecoder { .. })) {
        let base = scores(&config, &[4, 5, 6], &[7, 8, 9]);
        assert_eq!(base.len(), 4, "{name}: the start and three labels");
        let (source, later) = (scores(&config, &[4, 5, 2], &[7, 8, 9]), scores(&config, &[4, 5, 6], &[7, 8, 2]));
        assert_ne!(base[0], source[0], "{name}");
        assert_eq!(base[..3], later[..3], "{name}");
        assert_ne!(base[3], later[3], "{name}");
    }
}

#[test]
fn labels_that_do_not_fit_are_errors() {
    let tagger = families().into_iter().find(|(name, _)| name.starts_with("tagger")).unwrap().1;
    let model = Transformer::load(&moved(&tagger)).unwrap();
    let loss = |labels: Vec<u32>| model.losses(&batch(&[Record { tokens: vec![1, 2, 3], class: 0, labels }]), &Tape::off());
    assert!(loss(vec![0, 1]).is_err() && loss(vec![0, 1, 4]).is_err() && loss(vec![0, UNASKED, 3]).is_ok());
}

#[test]
fn choices_that_are_no_model_are_refused_by_name() {
    let refused = |change: &dyn Fn(&mut Choices)| {
        let mut choices = choices(Family::Decoder);
        change(&mut choices);
        match Config::new(choices) {
            Err(ModelError::Part { part, .. }) => part,
            Err(ModelError::Sizes { .. }) => "sizes",
            Err(ModelError::TooLarge) => "too large",
            Err(_) => "another",
            Ok(_) => "nothing",
        }
    };
    assert_eq!(refused(&|_| ()), "nothing");
    assert_eq!(refused(&|c| c.vocab = 0), "sizes");
    assert_eq!(refused(&|c| (c.heads, c.groups) = (4, 3)), "groups");
    assert_eq!(refused(&|c| c.dropout = 1.0), "dropout");
    assert_eq!(refused(&|c| c.dropout = f32::NAN), "dropout");
    assert_eq!(refused(&|c| c.epsilon = 0.0), "epsilon");
    assert_eq!(refused(&|c| c.stem = Some(2)), "stem");
    assert_eq!(refused(&|c| c.window = Some(Window { reach: 0, global: 1 })), "window");
    assert_eq!(refused(&|c| c.positions = Positions::Rotary { theta: f64::NAN }), "theta");
    assert_eq!(refused(&|c| (c.positions, c.head_width) = (Positions::Rotary { theta: 10.0 }, 3)), "head_width");
    assert_eq!(refused(&|c| c.positions = Positions::Distances { buckets: 2, farthest: 8 }), "buckets");
    assert_eq!(refused(&|c| c.mask = MaskKind::Full), "mask");
    assert_eq!(refused(&|c| c.spelling = Spelling::T5), "spelling");
    assert_eq!(refused(&|c| c.inputs = Inputs::Grown), "inputs");
    assert_eq!(refused(&|c| c.trained = Trained::Layers(1..3)), "layers");
    assert_eq!(refused(&|c| c.family = Family::EncoderDecoder { decoder_layers: 1, start: 20, end: 1 }), "mask");
    assert_eq!(refused(&|c| c.layers = u32::MAX), "layers");
    assert_eq!(refused(&|c| (c.vocab, c.width) = (u32::MAX, u32::MAX)), "too large");
}

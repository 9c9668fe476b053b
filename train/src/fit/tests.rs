//! A run learns, is a function of its seed, goes on after a kill as if nothing had been, and drops what is not finite.

use super::*;
use crate::batch::Record;
use crate::device::{Engine as Accelerator, Multiply};
use crate::model::decoder::Head;
use crate::model::norm::NormKind;
use crate::model::{DecoderConfig, initial};
use crate::testing::small_config;
use std::num::NonZeroUsize;
use std::sync::Arc;

pub(super) use crate::testing::recipe;

pub(super) fn workers(n: usize) -> Workers {
    Workers::start(NonZeroUsize::new(n).unwrap()).unwrap()
}

/// The processor twice, as if it were two devices that hold models.
pub(super) fn devices(precision: Precision) -> Workers {
    let both = [(); 2].map(|()| -> Arc<dyn Multiply> { Arc::new(Accelerator::holding_models(precision)) });
    Workers::start_on(both.to_vec()).unwrap()
}

fn decoder(recipe: Recipe) -> Fit {
    let (head, norm) = (Head::Tied, NormKind::Layer);
    let config = DecoderConfig { vocab: 9, max_tokens: 8, width: 16, heads: 2, layers: 1, hidden: 32, head, norm, adapter: None };
    Fit::decoder(&DecoderWeights::initial(&config, 1).unwrap(), recipe).unwrap()
}

/// 0 1 2 … 8 0 1 …: what comes next follows from what was.
fn counting(tokens: u32) -> Material {
    Material::Text((0..tokens).map(|i| i % 9).collect())
}

/// Each class has tokens of its own.
fn records(n: usize) -> Vec<Record> {
    crate::testing::data(n).records().cloned().collect()
}

fn encoder(recipe: Recipe) -> Fit {
    Fit::encoder(&initial(&small_config(), 1).unwrap(), recipe).unwrap()
}

pub(super) fn train(fit: &mut Fit, material: &Material, workers: &Workers) -> Vec<Step> {
    let mut steps = Vec::new();
    while !fit.is_done() {
        steps.push(fit.step(material, workers).unwrap());
    }
    steps
}

#[test]
fn a_language_model_learns_to_count() {
    let (mut fit, workers) = (decoder(recipe(60)), workers(2));
    let before = fit.judge(&counting(50), &workers).unwrap();
    train(&mut fit, &counting(300), &workers);
    let after = fit.judge(&counting(50), &workers).unwrap();
    assert_eq!((before.foretold, after.foretold), (49, 49));
    assert!(before.loss > 1.9 && after.loss < 0.3, "{} {}", before.loss, after.loss);
    assert!(after.evaluation.is_none());
}

#[test]
fn a_classifier_learns_its_classes_with_every_optimiser() {
    let momentum = |look| OptimiserKind::Sgd { momentum: 0.9, look };
    for (optimiser, peak) in
        [(OptimiserKind::AdamW { betas: [0.9, 0.99] }, 1e-2), (momentum(Look::Here), 5e-2), (momentum(Look::Ahead), 5e-2)]
    {
        let rates = Rates { peak, ..recipe(80).rates };
        let (mut fit, workers) = (encoder(Recipe { optimiser, rates, bucket: 4, ..recipe(80) }), workers(2));
        train(&mut fit, &Material::Records(records(40)), &workers);
        let found = fit.judge(&Material::Records(records(60)), &workers).unwrap();
        assert!(found.evaluation.as_ref().unwrap().macro_f1() > 0.95, "{optimiser:?} {found:?}");
    }
}

/// M15: devices that hold models, here the processor twice, take the same steps and judge alike, whatever is kept between the passes.
#[test]
fn on_devices_that_hold_models_the_same_steps_are_taken() {
    let text = (counting(300), counting(50));
    let labelled = (Material::Records(records(40)), Material::Records(records(60)));
    for keep in [Keep::Everything, Keep::Inputs] {
        for (start, (material, held_out)) in [(decoder as fn(Recipe) -> Fit, &text), (encoder as fn(Recipe) -> Fit, &labelled)] {
            let recipe = Recipe { keep, ..recipe(6) };
            let run = |workers: &Workers| {
                let mut fit = start(recipe.clone());
                let steps = train(&mut fit, material, workers);
                (steps, fit.judge(held_out, workers).unwrap())
            };
            let ((steps, judged), (other, other_judged)) = (run(&workers(2)), run(&devices(Precision::F32)));
            for (a, b) in steps.iter().zip(&other) {
                assert_eq!((a.tokens, a.non_finite), (b.tokens, b.non_finite));
                assert!((a.loss.unwrap() - b.loss.unwrap()).abs() < 1e-3, "{a:?} {b:?}");
            }
            assert!((judged.loss - other_judged.loss).abs() < 1e-3 && judged.foretold == other_judged.foretold);
            assert_eq!(judged.evaluation.is_some(), other_judged.evaluation.is_some());
        }
    }
    let mut fit = decoder(recipe(60));
    train(&mut fit, &text.0, &devices(Precision::Bf16));
    assert!(fit.judge(&text.1, &devices(Precision::Bf16)).unwrap().loss < 0.5);
}

#[test]
fn every_record_is_read_once_in_a_pass() {
    let all: Vec<Record> = (0..23).map(|i| Record { tokens: vec![i % 7; 1 + i as usize % 5], class: i, labels: Vec::new() }).collect();
    for bucket in [1, 2, 100] {
        let recipe = Recipe { batch: 5, bucket, ..recipe(1) };
        let material = Material::Records(all.clone());
        for pass in 0..3 {
            let mut seen = Vec::new();
            for step in pass * 5..(pass + 1) * 5 {
                for item in order::batch(&material, &recipe, step, 10).unwrap() {
                    let order::Item::Record(record) = item else { panic!("records stay records") };
                    seen.push(record.class);
                }
            }
            seen.sort_unstable();
            assert_eq!(seen, (0..23).collect::<Vec<_>>(), "{bucket}");
        }
    }
}

/// 4,000 tokens of which 30 % are dropped: 1,200 expected with a deviation of 29; the seed is fixed.
#[test]
fn a_thinned_record_keeps_its_head_and_the_order_of_the_rest() {
    let recipe = Recipe { drop_tokens: 0.3, ..recipe(1) };
    let record = Record { tokens: (0..4001).collect(), class: 2, labels: Vec::new() };
    let items = [order::Item::Record(&record)];
    let thinned = order::thinned(&items, &recipe, 7);
    let tokens = &thinned[0].tokens;
    assert_eq!((tokens[0], thinned[0].class), (0, 2));
    assert!(tokens.windows(2).all(|w| w[0] < w[1]) && (2650..2950).contains(&tokens.len()), "{}", tokens.len());
    assert!(thinned == order::thinned(&items, &recipe, 7) && thinned != order::thinned(&items, &recipe, 8));
    assert!(order::thinned(&items, &Recipe { drop_tokens: 0.0, ..recipe }, 7).is_empty());
}

/// training.md M13: the same seed, the same bits; accumulation over passes is the same sum but for float order.
#[test]
fn a_run_is_a_function_of_its_seed_and_passes_only_bound_memory() {
    let run = |recipe: Recipe| {
        let (mut fit, workers) = (decoder(recipe), workers(2));
        train(&mut fit, &counting(300), &workers);
        fit.weights().to_vec()
    };
    let plain = run(recipe(8));
    assert_eq!(plain, run(recipe(8)));
    assert_ne!(plain, run(Recipe { seed: 5, ..recipe(8) }));
    assert_eq!(plain, run(Recipe { keep: Keep::Inputs, ..recipe(8) }));
    // Momentum, because Adam makes a step of full size of a gradient that is nothing but rounding.
    let momentum = Recipe { optimiser: OptimiserKind::Sgd { momentum: 0.9, look: Look::Here }, ..recipe(8) };
    let whole = run(momentum.clone());
    for micro_batch in [Some(1), Some(2), Some(100)] {
        let parts = run(Recipe { micro_batch, ..momentum.clone() });
        assert!(whole.iter().zip(parts).all(|(a, b)| (a - b).abs() < 1e-5));
    }
}

#[test]
fn bfloat16_factors_learn_as_well_and_weights_stay_fine() {
    let (mut fit, workers) = (decoder(Recipe { precision: Precision::Bf16, ..recipe(60) }), workers(2));
    train(&mut fit, &counting(300), &workers);
    assert!(fit.judge(&counting(50), &workers).unwrap().loss < 0.35);
    // Master weights have bits that bfloat16 has not.
    assert!(fit.weights().iter().any(|w| w.to_bits() & 0xffff != 0));
}

#[test]
fn a_killed_run_goes_on_as_if_nothing_had_been() {
    for optimiser in [recipe(0).optimiser, OptimiserKind::Sgd { momentum: 0.9, look: Look::Ahead }] {
        let (recipe, workers) = (Recipe { optimiser, average: 0.9, ..recipe(9) }, workers(2));
        let mut whole = decoder(recipe.clone());
        train(&mut whole, &counting(300), &workers);
        let mut killed = decoder(recipe.clone());
        for _ in 0..4 {
            killed.step(&counting(300), &workers).unwrap();
        }
        let state = killed.to_bytes("a run", Some(1.5)).unwrap();
        let mut again = decoder(recipe);
        assert_eq!(again.resume(&state, "a run").unwrap(), Some(1.5));
        assert_eq!(again.steps(), 4);
        train(&mut again, &counting(300), &workers);
        assert_eq!(again.weights(), whole.weights());
        assert_eq!(again.average, whole.average);
    }
}

/// The mean is over the weights of the same run without one, and is what is judged.
#[test]
fn the_running_mean_follows_the_weights_and_is_what_is_judged() {
    let (mut plain, mut mean, workers) = (decoder(recipe(12)), decoder(Recipe { average: 0.5, ..recipe(12) }), workers(1));
    let (mut expected, text) = (plain.weights().iter().map(|&w| f64::from(w)).collect::<Vec<_>>(), counting(300));
    for step in 0..12u32 {
        plain.step(&text, &workers).unwrap();
        mean.step(&text, &workers).unwrap();
        let kept = f64::min(0.5, f64::from(1 + step) / f64::from(10 + step));
        expected.iter_mut().zip(plain.weights()).for_each(|(e, &w)| *e = kept * *e + (1.0 - kept) * f64::from(w));
        assert_eq!(mean.weights, plain.weights, "the mean is only looked at");
    }
    assert!(mean.weights().iter().zip(&expected).all(|(&got, e)| (f64::from(got) - e).abs() < 1e-5));
    assert_ne!(mean.weights(), plain.weights());
    let judged = mean.judge(&text, &workers).unwrap();
    mean.weights = mean.average.clone();
    mean.average = Vec::new();
    assert_eq!(judged, mean.judge(&text, &workers).unwrap());
    // A state without a mean is none of a run with one.
    let state = plain.to_bytes("a run", None).unwrap();
    assert!(matches!(decoder(Recipe { average: 0.5, ..recipe(12) }).resume(&state, "a run"), Err(StateError::Vector("average"))));
}

#[test]
fn a_state_of_another_run_or_damaged_is_refused_and_changes_nothing() {
    let mut fit = decoder(recipe(9));
    let state = fit.to_bytes("a run", None).unwrap();
    assert_eq!(fit.resume(&state, "a run").unwrap(), None);
    assert!(matches!(fit.resume(&state, "another"), Err(StateError::OtherRun { field: "run", .. })));
    let sgd = Recipe { optimiser: OptimiserKind::Sgd { momentum: 0.5, look: Look::Here }, ..recipe(9) };
    assert!(matches!(decoder(sgd).resume(&state, "a run"), Err(StateError::Vector("velocity"))));
    assert!(matches!(encoder(recipe(9)).resume(&state, "a run"), Err(StateError::Vector("weights"))));
    let before = fit.weights().to_vec();
    for at in (0..state.len()).step_by(97) {
        let mut damaged = state.clone();
        damaged[at] ^= 0x55;
        let _ = fit.resume(&damaged, "a run");
        assert!(fit.resume(&state[..at], "a run").is_err());
    }
    fit.resume(&state, "a run").unwrap();
    assert_eq!(fit.weights(), before);
    // Numbers that no run leaves behind.
    fit.in_a_row = crate::workers::NON_FINITE_LIMIT;
    let diverged = fit.to_bytes("a run", None).unwrap();
    assert!(matches!(decoder(recipe(9)).resume(&diverged, "a run"), Err(StateError::Number("in_a_row"))));
    fit.in_a_row = 0;
    let OptimiserState::AdamW { steps, .. } = &mut fit.optimiser else { panic!("the recipe is of AdamW") };
    *steps = u64::MAX;
    let many = fit.to_bytes("a run", None).unwrap();
    fit.resume(&many, "a run").unwrap();
    assert!(fit.step(&counting(300), &workers(1)).is_ok());
}

/// training.md M14. A weight that is NaN in the row of one token spoils exactly the records that have it, whoever computes.
#[test]
fn records_without_a_finite_gradient_are_dropped_counted_and_stop_a_run() {
    let mut config = small_config();
    config.vocab = 25;
    let weights = initial(&config, 1).unwrap();
    let workers = workers(2);
    let record = |token: u32| Record { tokens: vec![token, 2, 3], class: 1, labels: Vec::new() };
    let mut all: Vec<Record> = (0..5).map(record).collect();
    all.push(record(24));
    let (all, bad) = (Material::Records(all), Material::Records(vec![record(24); 6]));
    for start in [Fit::encoder as fn(&Weights, Recipe) -> Result<Fit, FitError>, Fit::asked] {
        let mut fit = start(&weights, recipe(100)).unwrap();
        let row = fit.table().find(crate::model::embedding::TOKENS).unwrap().offset + 24 * 8;
        fit.weights[row] = f32::NAN;
        let step = fit.step(&all, &workers).unwrap();
        assert_eq!(step.non_finite, 1);
        assert!(step.loss.is_some_and(f64::is_finite) && step.gradient_norm.is_finite());
        assert!(fit.weights.iter().enumerate().all(|(i, w)| w.is_finite() || i == row));

        fit.in_a_row = 0;
        let step = fit.step(&bad, &workers).unwrap();
        assert_eq!((step.non_finite, step.loss, fit.in_a_row), (6, None, 6));
        let before = fit.weights.iter().map(|w| w.to_bits()).collect::<Vec<_>>();
        assert!(matches!(fit.step(&bad, &workers), Err(FitError::Diverged)));
        assert_eq!(before, fit.weights.iter().map(|w| w.to_bits()).collect::<Vec<_>>());
    }
}

#[test]
fn data_that_does_not_fit_is_a_typed_error() {
    let workers = workers(1);
    assert!(matches!(decoder(recipe(9)).step(&counting(8), &workers), Err(FitError::Nothing)));
    assert!(decoder(recipe(9)).step(&counting(9), &workers).is_ok());
    assert!(matches!(encoder(recipe(9)).step(&Material::Records(Vec::new()), &workers), Err(FitError::Nothing)));
    assert!(matches!(decoder(recipe(9)).step(&Material::Records(records(4)), &workers), Err(FitError::Data(DirectError::OtherFamily))));
    let far = Material::Text(vec![9; 40]);
    assert!(matches!(decoder(recipe(9)).step(&far, &workers), Err(FitError::Data(DirectError::Token { vocab: 9 }))));
}

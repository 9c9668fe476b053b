//! Encoders that are asked for tags, hidden tokens or classes learn in one place, are functions of their seed, and go on after a kill.

use super::tests::{devices, recipe, train, workers};
use super::*;
use crate::batch::{Record, UNASKED};
use crate::model::initial;
use crate::tags;
use crate::testing::{small_config, small_masked, small_tagged};
use protocol::plan::EncoderConfig;

fn word(n: usize) -> u32 {
    u32::try_from(3 + n % 9).unwrap()
}

/// Each token says itself what it is.
fn tagged() -> Material {
    let record = |n: usize| Record {
        tokens: vec![1, word(n), 20, 21, word(n + 3), 22],
        class: 0,
        labels: vec![UNASKED, tags::OUTSIDE, tags::begins(0), tags::goes_on(0), tags::OUTSIDE, tags::begins(1)],
    };
    Material::Records((0..24).map(record).collect())
}

/// Each token follows from its neighbours.
pub(super) fn counting() -> Material {
    let record = |n: usize| {
        let tokens: Vec<u32> = std::iter::once(1).chain((n..n + 9).map(word)).collect();
        Record { labels: crate::mask::askable(&tokens, |at| at > 0), class: 0, tokens }
    };
    Material::Records((0..24).map(record).collect())
}

fn fit(model: &EncoderConfig, steps: u64) -> Fit {
    let mut recipe = recipe(steps);
    recipe.rates.peak = 3e-2;
    Fit::asked(&initial(model, 1).unwrap(), recipe).unwrap()
}

#[test]
fn a_tagger_learns_and_is_judged_by_token_and_by_whole_parts() {
    let (mut fit, workers, data) = (fit(&small_tagged(), 60), workers(2), tagged());
    let before = fit.judge(&data, &workers).unwrap();
    train(&mut fit, &data, &workers);
    let after = fit.judge(&data, &workers).unwrap();
    assert_eq!((before.foretold, after.foretold), (120, 120), "marks are not asked for");
    let f1 = |judgement: &Judgement| judgement.evaluation.as_ref().unwrap().macro_f1();
    assert!(after.loss < 0.5 * before.loss && f1(&after) > f1(&before), "{before:?} to {after:?}");
    let parts = after.parts.unwrap();
    assert_eq!(parts.iter().map(|found| found.there).collect::<Vec<_>>(), [24, 24]);
}

#[test]
fn a_model_of_hidden_tokens_learns_and_is_judged_by_the_same_ones() {
    let (mut fit, workers, data) = (fit(&small_masked(), 60), workers(2), counting());
    let before = fit.judge(&data, &workers).unwrap();
    assert_eq!(before, fit.judge(&data, &workers).unwrap());
    train(&mut fit, &data, &workers);
    let after = fit.judge(&data, &workers).unwrap();
    assert_eq!((after.foretold, after.evaluation.is_none(), after.parts.is_none()), (24, true, true), "one of nine tokens");
    assert!(after.loss < 0.9 * before.loss, "{} to {}", before.loss, after.loss);
}

/// What a step hides follows from seed and number, so that a run goes on from its state as if nothing had been.
#[test]
fn a_killed_run_that_hides_tokens_goes_on_to_the_same_end() {
    let (workers, data) = (workers(2), counting());
    let mut whole = fit(&small_masked(), 8);
    let steps = train(&mut whole, &data, &workers);
    let mut half = fit(&small_masked(), 8);
    for _ in 0..3 {
        half.step(&data, &workers).unwrap();
    }
    let state = half.to_bytes("run", None).unwrap();
    let mut again = fit(&small_masked(), 8);
    again.resume(&state, "run").unwrap();
    assert_eq!(train(&mut again, &data, &workers), steps[3..]);
    assert_eq!(again.weights(), whole.weights());
    let mut other = recipe(8);
    (other.seed, other.rates.peak) = (5, 3e-2);
    let mut other = Fit::asked(&initial(&small_masked(), 1).unwrap(), other).unwrap();
    assert_ne!(train(&mut other, &data, &workers), steps);
}

/// The graph and the passes that are written out are one model.
#[test]
fn a_classifier_by_the_graph_is_the_one_that_is_computed_directly() {
    let (weights, workers) = (initial(&small_config(), 1).unwrap(), workers(1));
    let data = Material::Records(crate::testing::data(20).records().filter(|r| !r.tokens.is_empty()).cloned().collect());
    let (mut graph, mut direct) = (Fit::asked(&weights, recipe(5)).unwrap(), Fit::encoder(&weights, recipe(5)).unwrap());
    let losses = |fit: &mut Fit| train(fit, &data, &workers).iter().map(|step| step.loss.unwrap()).collect::<Vec<_>>();
    for (a, b) in losses(&mut graph).iter().zip(losses(&mut direct)) {
        assert!((a - b).abs() < 1e-3, "{a} {b}");
    }
    let [a, b] = [&mut graph, &mut direct].map(|fit| fit.judge(&data, &workers).unwrap());
    assert!((a.loss - b.loss).abs() < 1e-3 && a.foretold == b.foretold, "{a:?} {b:?}");
}

/// M15: what is asked for has no say in where it is computed.
#[test]
fn on_devices_that_hold_models_the_same_steps_are_taken() {
    for (model, data) in [(small_tagged(), tagged()), (small_masked(), counting())] {
        let run = |workers: &Workers| {
            let mut fit = fit(&model, 5);
            let steps = train(&mut fit, &data, workers);
            (steps, fit.judge(&data, workers).unwrap())
        };
        let ((steps, judged), (other, other_judged)) = (run(&workers(2)), run(&devices(Precision::F32)));
        for (a, b) in steps.iter().zip(&other) {
            assert_eq!((a.tokens, a.non_finite), (b.tokens, b.non_finite));
            assert!((a.loss.unwrap() - b.loss.unwrap()).abs() < 5e-3, "{a:?} {b:?}");
        }
        assert!((judged.loss - other_judged.loss).abs() < 5e-3 && judged.foretold == other_judged.foretold);
        let told = |judgement: &Judgement| (judgement.evaluation.is_some(), judgement.parts.is_some());
        assert_eq!(told(&judged), told(&other_judged));
    }
}

#[test]
fn blocks_that_are_computed_again_give_the_same_steps() {
    let run = |keep| {
        let mut recipe = recipe(3);
        (recipe.keep, recipe.optimiser) = (keep, OptimiserKind::AdamW { betas: crate::optim::USUAL_BETAS });
        let mut fit = Fit::asked(&initial(&small_tagged(), 1).unwrap(), recipe).unwrap();
        train(&mut fit, &tagged(), &workers(1)).iter().map(|step| step.loss.unwrap()).collect::<Vec<_>>()
    };
    for (a, b) in run(Keep::Everything).iter().zip(run(Keep::Inputs)) {
        assert!((a - b).abs() < 1e-5, "{a} {b}");
    }
}

/// A small set looks different every time, and labels go with their tokens.
#[test]
fn tokens_that_are_not_read_take_their_tags_along() {
    let mut recipe = recipe(2);
    recipe.drop_tokens = 0.5;
    let mut fit = Fit::asked(&initial(&small_tagged(), 1).unwrap(), recipe).unwrap();
    let step = fit.step(&tagged(), &workers(1)).unwrap();
    assert!(step.loss.is_some() && step.non_finite == 0 && step.tokens < 36, "{step:?}");
}

#[test]
fn what_this_loop_cannot_compute_is_refused() {
    let mut rounded = recipe(1);
    rounded.precision = Precision::Bf16;
    assert!(matches!(Fit::asked(&initial(&small_tagged(), 1).unwrap(), rounded), Err(FitError::Model)));
    let mut fit = fit(&small_tagged(), 1);
    assert!(matches!(fit.judge(&Material::Text(vec![1, 2, 3]), &workers(1)), Err(FitError::Model)));
    assert!(matches!(fit.judge(&Material::Records(Vec::new()), &workers(1)), Err(FitError::Nothing)));
}

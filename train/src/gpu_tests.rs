//! The same questions on a GPU, by the feature `cuda`: `cargo test -p concordat-train --features cuda gpu_tests -- --nocapture`. Where there is
//! none every test says so and asks nothing.

use crate::batch::Batch;
use crate::capture::Tape;
use crate::device::{Engine, Multiply, is_out_of_memory};
use crate::direct::Precision;
use crate::fit::{Fit, Material, Recipe};
use crate::model::config::Choices;
use crate::model::decoder::Head;
use crate::model::norm::NormKind;
use crate::model::{Config, DecoderConfig, DecoderWeights, Objective, Replicas, TransformerWeights};
use crate::ops::way_tests::{agree, cases};
use crate::slots::slots_agree;
use crate::testing::{families, moved, plan, recipe, record, small_config};
use crate::workers::Workers;
use candle_core::{DType, Device, Tensor};
use privacy::mechanism::Mechanism;
use protocol::plan::Keep;
use std::num::NonZeroUsize;
use std::sync::Arc;

/// One worker with the first GPU, or none and a line that says so.
fn gpu(precision: Precision) -> Option<Workers> {
    match Engine::gpu(0, precision) {
        Ok(gpu) => Some(Workers::start_on(vec![Arc::new(gpu) as Arc<dyn Multiply>]).unwrap()),
        Err(error) => {
            eprintln!("SKIPPED: no GPU can be used here: {error}");
            None
        }
    }
}

fn losses_and_gradient(weights: &TransformerWeights, batch: &Batch, seed: Option<u64>, keep: Keep, on: &Workers) -> (Vec<f32>, Vec<f32>) {
    let model = Replicas::load(weights, on, keep).unwrap();
    on.run(|| {
        let tape = seed.into_iter().fold(Tape::total(weights.flat().len()), Tape::dropping);
        let losses = model.losses(batch, &tape).unwrap();
        let gradient = tape.finish_total(&losses.sum_all().unwrap().backward().unwrap(), weights.table()).unwrap();
        (losses.to_vec1().unwrap(), gradient)
    })
}

fn apart(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs() / (1.0 + a.abs())).fold(0.0, f32::max)
}

#[test]
fn every_operation_has_the_processors_values_and_gradients() {
    let Some(workers) = gpu(Precision::F32) else { return };
    let device = workers.sites()[0].device().clone();
    for case in cases() {
        agree(&case.name, &case.on(&Device::Cpu), &case.on(&device));
    }
}

#[test]
fn every_model_has_the_processors_losses_and_gradients() {
    let Some(workers) = gpu(Precision::F32) else { return };
    for (name, config) in families() {
        let weights = moved(&Config::new(Choices { dropout: 0.2, ..config.choices().clone() }).unwrap());
        let batch = Batch::pack(&[7, 2, 11, 7, 7, 1].map(|n| record(&config, n)), 12);
        for (seed, keep) in [(None, Keep::Everything), (Some(5), Keep::Inputs)] {
            let (losses, gradient) = weights.gradient_keeping(&batch, seed, keep).unwrap();
            let (there, other) = losses_and_gradient(&weights, &batch, seed, keep, &workers);
            assert!(apart(&losses, &there) < 1e-4, "{name}: {losses:?} {there:?}");
            assert!(apart(&gradient, &other) < 1e-3, "{name} {keep:?}: {}", apart(&gradient, &other));
        }
    }
}

#[test]
fn with_rounded_factors_losses_stay_close() {
    let Some(workers) = gpu(Precision::Bf16) else { return };
    for (name, config) in families() {
        let (weights, batch) = (moved(&config), Batch::pack(&[7, 2, 11].map(|n| record(&config, n)), 12));
        let (losses, _) = weights.gradient(&batch, None).unwrap();
        let (there, gradient) = losses_and_gradient(&weights, &batch, None, Keep::Everything, &workers);
        assert!(apart(&losses, &there) < 0.1 && gradient.iter().all(|g| g.is_finite()), "{name}: {losses:?} {there:?}");
    }
}

/// Privacy.md D19: else plans with exact clipping are declined on this machine.
#[test]
fn a_unit_has_the_same_gradient_in_every_place_of_a_batch() {
    for precision in [Precision::F32, Precision::Bf16] {
        let Some(workers) = gpu(precision) else { return };
        let plan = plan(small_config(), 1, "1", "0.5");
        let mechanism = Mechanism::of_plan(&plan, 100).unwrap();
        assert!(slots_agree(&plan, &mechanism, &workers).unwrap(), "{precision:?}");
    }
}

/// Four TiB are nowhere.
#[test]
fn a_full_memory_is_known_for_what_it_is() {
    let Some(workers) = gpu(Precision::F32) else { return };
    let error = Tensor::zeros(1usize << 40, DType::F32, workers.sites()[0].device()).unwrap_err();
    assert!(is_out_of_memory(&error), "{error:?}");
    assert!(Tensor::zeros(8, DType::F32, workers.sites()[0].device()).is_ok(), "and nothing else is lost by it");
}

#[test]
fn central_training_takes_the_processors_steps() {
    let Some(workers) = gpu(Precision::F32) else { return };
    let (head, norm) = (Head::Tied, NormKind::Layer);
    let config = DecoderConfig { vocab: 9, max_tokens: 8, width: 16, heads: 2, layers: 2, hidden: 32, head, norm, adapter: None };
    let recipe = Recipe { micro_batch: Some(4), ..recipe(6) };
    let text = Material::Text((0..300).map(|i| i % 9).collect());
    let run = |workers: &Workers| -> Vec<f64> {
        let mut fit = Fit::decoder(&DecoderWeights::initial(&config, 1).unwrap(), recipe.clone()).unwrap();
        let mut losses: Vec<f64> = (0..6).map(|_| fit.step(&text, workers).unwrap().loss.unwrap()).collect();
        losses.push(fit.judge(&text, workers).unwrap().loss);
        losses
    };
    let (here, there) = (run(&Workers::start(NonZeroUsize::MIN).unwrap()), run(&workers));
    for (a, b) in here.iter().zip(&there) {
        assert!((a - b).abs() < 1e-3, "{here:?} {there:?}");
    }
}

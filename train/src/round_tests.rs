//! Rounds through the real mechanism, with payments that no ledger made.

use super::*;
use crate::batch::{Record, UNASKED, UnitExamples};
use crate::device::testing::Counting;
use crate::device::{Engine, Multiply};
use crate::direct::Precision;
use crate::eval::{evaluate, evaluate_tags, evaluate_texts};
use crate::model::initial;
use crate::schedule::{Rates, Schedule};
use crate::testing::{built, data, decimal, plan, small_config, small_masked, small_tagged};
use privacy::noise::SeededEntropy;
use protocol::ids::ManifestDigest;
use protocol::plan::own::OwnModel;
use protocol::plan::{Asks, ClipFunction, EncoderConfig, Keep, LocalOptimiser, Look, UnitObjective};
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

struct Institution {
    plan: Plan,
    start: Weights,
    data: Dataset,
    mechanism: Mechanism,
}

fn institution(steps: u32, noise_multiplier: &str, sampling_rate: &str, units: usize) -> Institution {
    let plan = plan(small_config(), steps, noise_multiplier, sampling_rate);
    let mechanism = Mechanism::new(&plan.privacy, plan.dimension(), units as u64).unwrap();
    Institution { start: initial(&plan.model, 5).unwrap(), data: data(units), plan, mechanism }
}

fn workers(threads: usize) -> Workers {
    Workers::start(NonZeroUsize::new(threads).unwrap()).unwrap()
}

/// The weights after a round, and what was reported.
fn train(world: &Institution, threads: usize, seed: u64) -> Result<(Weights, Vec<Progress>), TrainError> {
    train_by(world, &workers(threads), seed)
}

fn train_by(world: &Institution, workers: &Workers, seed: u64) -> Result<(Weights, Vec<Progress>), TrainError> {
    let Institution { plan, start, data, mechanism } = world;
    let paid = Paid::for_test(mechanism, ManifestDigest([1; 32]), 1, u64::from(plan.local.steps));
    let mut optimiser = OptimiserState::of_plan(&plan.local, start.flat().len());
    let mut reports = Vec::new();
    let round = Round { plan, start, data, mechanism, global_step: 0 };
    let delta = local_round(&round, paid, &mut optimiser, workers, &mut SeededEntropy::new(seed), &mut |p| {
        reports.push(p);
        ControlFlow::Continue(())
    })?;
    let quantiser = privacy::delta::Quantiser::of_plan(plan).unwrap();
    let context = privacy::noise::StepContext { manifest: ManifestDigest([1; 32]), ledger_counter: 1, step: 0 };
    let mut stream = privacy::noise::Stream::open(&mut SeededEntropy::new(9), &context).unwrap();
    let private = delta.bound(&quantiser, &mut stream).unwrap().privatize_local();
    let scale = 2f32.powi(i32::from(crate::shard::STEP_EXPONENT));
    let change = private.shards().flat_map(|(_, v)| v.iter().map(|&v| v as f32 * scale).collect::<Vec<_>>());
    let flat = start.flat().iter().zip(change).map(|(w, c)| w + c).collect();
    Ok((Weights::new(&plan.model, flat).unwrap(), reports))
}

#[test]
fn a_separable_task_is_learnt_when_the_noise_is_tiny() {
    let world = institution(60, "0.01", "0.5", 60);
    let before = evaluate(&world.start, &world.data, &workers(1)).unwrap();
    let (after, reports) = train(&world, 1, 3).unwrap();
    let after = evaluate(&after, &world.data, &workers(1)).unwrap();
    assert!(after.accuracy() > 0.97 && after.macro_f1() > 0.95, "{} to {}", before.accuracy(), after.accuracy());
    assert!(after.loss() < 0.5 * before.loss());
    assert_eq!(reports.len(), 60);
    assert!(reports[59].mean_loss().unwrap() < reports[0].mean_loss().unwrap());
}

/// Units of two records that count upwards, with how they go on as the answer where one is asked for.
fn counting(asks: Asks, units: usize) -> Dataset {
    let record = |n: usize| {
        let token = |i: usize| u32::try_from(3 + (n + i) % 9).unwrap();
        let labels = if asks == Asks::NextToken { Vec::new() } else { (6..9).map(token).collect() };
        Record { tokens: (0..6).map(token).collect(), class: 0, labels }
    };
    Dataset { units: (0..units).map(|u| UnitExamples { records: vec![record(u), record(u + 4)] }).collect() }
}

/// An institution whose plan asks this of a model from random weights.
fn asked(asks: Asks, dropout: Option<&str>) -> Institution {
    let decoder_layers = (asks == Asks::Translate).then_some(1);
    let own = OwnModel { asks, decoder_layers, dropout: dropout.map(decimal), ..OwnModel::default() };
    learning(built(own), counting(asks, 40))
}

/// An institution of forty units whose plan takes many steps with little noise.
fn learning(model: EncoderConfig, data: Dataset) -> Institution {
    let mut plan = plan(model, 60, "0.01", "0.5");
    plan.local.learning_rate = decimal("0.03");
    let mechanism = Mechanism::new(&plan.privacy, plan.dimension(), 40).unwrap();
    Institution { start: initial(&plan.model, 5).unwrap(), data, plan, mechanism }
}

/// From a plan's words through clipped and noised steps to the integers that are sealed and the next snapshot, for each family.
#[test]
fn models_that_write_tokens_learn_from_random_weights() {
    for asks in [Asks::NextToken, Asks::Answer, Asks::Translate] {
        let world = asked(asks, None);
        let loss = |weights: &Weights| evaluate_texts(weights, &world.data, &workers(1)).unwrap().loss();
        let (after, reports) = train(&world, 1, 3).unwrap();
        let [before, after] = [&world.start, &after].map(loss);
        assert!(after < 0.9 * before, "{asks:?}: {before} to {after}");
        assert_eq!((reports.len(), reports.iter().map(|p| p.tally.non_finite).sum::<usize>()), (60, 0));
    }
}

/// Texts behind a mark: of tagged ones each token says itself what it is, of others each token follows from its neighbours.
fn per_token(model: EncoderConfig) -> Institution {
    let tags = model.asks() == Asks::Tags;
    let text = |n: usize| -> Vec<u32> {
        let word = |i: usize| u32::try_from(3 + (n + i) % 9).unwrap();
        if tags { vec![1, word(0), 20, 21, word(3), 22, word(1)] } else { std::iter::once(1).chain((0..9).map(word)).collect() }
    };
    let record = |n: usize| {
        let tokens = text(n);
        let tag = |&token: &u32| token.checked_sub(19).unwrap_or(crate::tags::OUTSIDE);
        let tagged = || std::iter::once(UNASKED).chain(tokens[1..].iter().map(tag)).collect();
        let labels = if tags { tagged() } else { crate::mask::askable(&tokens, |at| at > 0) };
        Record { tokens, class: 0, labels }
    };
    let data = Dataset { units: (0..40).map(|u| UnitExamples { records: vec![record(u), record(u + 4)] }).collect() };
    data.check(&model).unwrap();
    learning(model, data)
}

#[test]
fn a_tagger_and_a_model_of_hidden_tokens_learn_from_random_weights() {
    let (tagger, masked) = (per_token(small_tagged()), per_token(small_masked()));
    let tags = |weights: &Weights| evaluate_tags(weights, &tagger.data, &workers(1)).unwrap();
    let [before, after] = [&tagger.start, &train(&tagger, 1, 3).unwrap().0].map(tags);
    assert_eq!((before.records, before.tokens.records, before.parts[0].there, before.parts[1].there), (80, 480, 80, 80));
    assert!(after.tokens.loss() < 0.5 * before.tokens.loss() && after.tokens.accuracy() > 0.9, "{before:?} to {after:?}");
    assert!(after.macro_f1() > before.macro_f1());
    let (hidden, reports) = train(&masked, 1, 3).unwrap();
    let [before, after] = [&masked.start, &hidden].map(|weights| evaluate_texts(weights, &masked.data, &workers(1)).unwrap());
    assert_eq!((before.records, before.tokens, after.tokens), (80, 80, 80), "one of nine tokens is hidden");
    assert!(after.loss() < 0.9 * before.loss(), "{before:?} to {after:?}");
    assert_eq!(reports.iter().map(|p| p.tally.non_finite).sum::<usize>(), 0);
}

/// training.md M13, privacy.md D19: what is hidden follows from the task and the step, whoever computes it and whoever else is in the batch.
#[test]
fn a_step_that_hides_tokens_is_the_same_when_it_is_taken_again() {
    let mut world = per_token(small_masked());
    world.plan.local.steps = 2;
    let (once, _) = train(&world, 1, 3).unwrap();
    assert_eq!(once, train(&world, 3, 3).unwrap().0);
    assert!(crate::slots::slots_agree(&world.plan, &world.mechanism, &workers(1)).unwrap());
    world.plan.task = protocol::ids::TaskId([8; 16]);
    assert_ne!(once.flat(), train(&world, 1, 3).unwrap().0.flat(), "another task hides other tokens");
    let tagger = per_token(small_tagged());
    assert!(crate::slots::slots_agree(&tagger.plan, &tagger.mechanism, &workers(1)).unwrap());
}

/// training.md M13: what is left out is drawn from the task and the step, whoever computes it, so a round can be taken again.
#[test]
fn a_private_step_with_dropout_is_the_same_when_it_is_taken_again() {
    for asks in [Asks::NextToken, Asks::Translate] {
        let (mut dropping, plain) = (asked(asks, Some("0.3")), asked(asks, None));
        dropping.plan.local.steps = 2;
        let (once, _) = train(&dropping, 1, 3).unwrap();
        assert_eq!(once, train(&dropping, 3, 3).unwrap().0, "{asks:?}");
        assert_eq!(dropping.start.flat(), plain.start.flat(), "the first weights are the same");
        let mut short = plain;
        short.plan.local.steps = 2;
        assert_ne!(once.flat(), train(&short, 1, 3).unwrap().0.flat(), "{asks:?}");
        // What is judged is the whole model: an evaluation leaves nothing out.
        let loss = |weights: &Weights| evaluate_texts(weights, &dropping.data, &workers(1)).unwrap();
        assert_eq!(loss(&dropping.start), loss(&dropping.start));
        assert!(crate::slots::slots_agree(&dropping.plan, &dropping.mechanism, &workers(1)).unwrap());
    }
}

/// D31: whether a unit's records are asked for their mean or their sum is the plan's choice; a unit of one record does not notice.
#[test]
fn a_units_objective_is_the_plans_mean_or_sum() {
    let mut world = institution(1, "0.01", "1", 24);
    // Nobody is shortened, and a step is as long as its gradient: else a sum shows by its direction only, which is the mean's.
    (world.plan.privacy.clip, world.plan.privacy.clip_function) = (decimal("50"), ClipFunction::Flat);
    world.plan.local.optimiser = Some(LocalOptimiser::Sgd { momentum: decimal("0"), look: Look::Here });
    world.plan.local.learning_rate = decimal("0.5");
    world.mechanism = Mechanism::new(&world.plan.privacy, world.plan.dimension(), 24).unwrap();
    let trained = |world: &mut Institution, objective| {
        world.plan.privacy.unit_objective = objective;
        let (after, reports) = train(world, 2, 3).unwrap();
        (after.flat().to_vec(), reports[0].mean_loss().unwrap())
    };
    assert!(world.data.units.iter().any(|u| u.records.len() > 1));
    let (mean, sum) = (trained(&mut world, UnitObjective::Mean), trained(&mut world, UnitObjective::Sum));
    assert!(mean.0 != sum.0 && sum.1 > mean.1, "{} {}", mean.1, sum.1);
    world.data.units.iter_mut().for_each(|u| u.records.truncate(1));
    assert_eq!(trained(&mut world, UnitObjective::Mean), trained(&mut world, UnitObjective::Sum));
}

/// Noise and samples are the same; what becomes of them is the plan's choice.
#[test]
fn the_plans_optimiser_moves_the_weights() {
    let mut world = institution(60, "0.01", "0.5", 60);
    let before = evaluate(&world.start, &world.data, &workers(1)).unwrap();
    let (adam, _) = train(&world, 1, 3).unwrap();
    let sgd = |look| LocalOptimiser::Sgd { momentum: decimal("0.9"), look };
    (world.plan.local.learning_rate, world.plan.local.weight_decay) = (decimal("0.02"), decimal("0"));
    for look in [Look::Here, Look::Ahead] {
        world.plan.local.optimiser = Some(sgd(look));
        let (after, _) = train(&world, 1, 3).unwrap();
        assert_ne!(after, adam);
        let after = evaluate(&after, &world.data, &workers(1)).unwrap();
        assert!(after.loss() < 0.9 * before.loss(), "{look:?}: {} to {}", before.loss(), after.loss());
    }
}

/// FedProx: the harder the pull, the nearer the weights stay to the snapshot; samples and noise are the same.
#[test]
fn a_pull_keeps_weights_near_the_snapshot() {
    let mut world = institution(30, "0.01", "0.5", 60);
    (world.plan.local.optimiser, world.plan.local.weight_decay) =
        (Some(LocalOptimiser::Sgd { momentum: decimal("0"), look: Look::Here }), decimal("0"));
    world.plan.local.learning_rate = decimal("0.05");
    let mut distance = |proximal: Option<&str>| {
        world.plan.local.proximal = proximal.map(decimal);
        let (after, reports) = train(&world, 1, 3).unwrap();
        let apart = after.flat().iter().zip(world.start.flat()).map(|(a, s)| f64::from(a - s).powi(2)).sum::<f64>().sqrt();
        (apart, reports[0].tally)
    };
    let [(free, told), (near, told_near), (nearer, _)] = [None, Some("1"), Some("10")].map(&mut distance);
    assert_eq!(told, told_near, "the first step begins where all begin");
    assert!(nearer < 0.8 * near && near < 0.95 * free && nearer > 0.0, "{free}, {near}, {nearer}");
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let world = institution(3, "1", "0.7", 30);
    let (one, one_reports) = train(&world, 1, 3).unwrap();
    let (three, three_reports) = train(&world, 3, 3).unwrap();
    assert_eq!(one, three);
    assert_eq!(
        one_reports.iter().map(|r| r.tally.units).collect::<Vec<_>>(),
        three_reports.iter().map(|r| r.tally.units).collect::<Vec<_>>()
    );
}

/// M10: what is kept between the passes is a matter of memory.
#[test]
fn blocks_that_are_computed_again_change_no_bit() {
    let mut world = institution(3, "1", "0.7", 30);
    let (kept, reports) = train(&world, 2, 3).unwrap();
    world.plan.local.keep = Some(Keep::Inputs);
    assert_eq!(train(&world, 2, 3).unwrap(), (kept, reports));
}

/// B4.
#[test]
fn an_empty_sample_is_a_step_of_pure_noise() {
    let world = institution(2, "1", "0.000000001", 5);
    let (after, reports) = train(&world, 1, 3).unwrap();
    assert!(reports.iter().all(|r| r.tally == Tally::default() && r.mean_loss().is_none()));
    assert_ne!(after, world.start);
}

#[test]
fn data_or_weights_of_another_model_are_refused_before_anything_is_drawn() {
    let mut world = institution(1, "1", "0.5", 5);
    world.data.units[0].records[0].tokens[0] = 24;
    assert!(matches!(train(&world, 1, 3), Err(TrainError::Data(DataError::Token { unit: 0, vocab: 24 }))));
    world.data = data(5);
    world.data.units[1].records[0].class = 3;
    assert!(matches!(train(&world, 1, 3), Err(TrainError::Data(DataError::Class { unit: 1, classes: 3 }))));
    let mut world = institution(1, "1", "0.5", 5);
    world.mechanism = Mechanism::new(&world.plan.privacy, 100, 5).unwrap();
    assert!(matches!(train(&world, 1, 3), Err(TrainError::Dimension { mechanism: 100, .. })));
}

#[test]
fn ten_units_in_a_row_without_a_finite_gradient_stop_the_task() {
    let mut world = institution(1, "1", "1", 30);
    world.data.units.retain(|u| !u.records.is_empty());
    let mut flat = world.start.flat().to_vec();
    let classifier = world.start.table().find("classifier.weight").unwrap().range();
    flat[classifier].iter_mut().enumerate().for_each(|(i, w)| *w = if i % 2 == 0 { f32::MAX } else { -f32::MAX });
    world.start = Weights::new(&world.plan.model, flat).unwrap();
    assert!(matches!(train(&world, 2, 3), Err(TrainError::Work(WorkError::Diverged))));
}

#[test]
fn a_schedule_is_a_function_of_the_global_step() {
    let mut world = institution(4, "1", "0.5", 5);
    world.plan.rounds = 3;
    world.plan.local.learning_rate = decimal("0.5");
    let mut of = |schedule| {
        world.plan.local.schedule = schedule;
        let paid = Paid::for_test(&world.mechanism, ManifestDigest([1; 32]), 1, 4);
        let round = Round { plan: &world.plan, start: &world.start, data: &world.data, mechanism: &world.mechanism, global_step: 8 };
        let mut rates = Vec::new();
        let mut optimiser = OptimiserState::adam_w(world.start.flat().len());
        local_round(&round, paid, &mut optimiser, &workers(1), &mut SeededEntropy::new(1), &mut |p| {
            rates.push((p.global_step, p.learning_rate));
            ControlFlow::Continue(())
        })
        .unwrap();
        rates
    };
    let expected = |schedule| {
        let rates = Rates { peak: 0.5, warmup_steps: 2, total_steps: 12, schedule };
        (8..12).map(|s| (s, rates.at(s))).collect::<Vec<_>>()
    };
    assert_eq!(of(None), expected(Schedule::Cosine));
    assert_eq!(of(Some(Schedule::Wsd)), expected(Schedule::Wsd));
    assert_ne!(of(Some(Schedule::Constant)), of(Some(Schedule::Linear)));
}

#[test]
fn a_round_that_nobody_waits_for_ends_after_its_step() {
    let world = institution(4, "1", "0.5", 5);
    let paid = Paid::for_test(&world.mechanism, ManifestDigest([1; 32]), 1, 4);
    let round = Round { plan: &world.plan, start: &world.start, data: &world.data, mechanism: &world.mechanism, global_step: 0 };
    let mut optimiser = OptimiserState::adam_w(world.start.flat().len());
    let mut steps = 0;
    let ended = local_round(&round, paid, &mut optimiser, &workers(1), &mut SeededEntropy::new(1), &mut |_| {
        steps += 1;
        if steps == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(matches!(ended, Err(TrainError::Stopped)));
    assert_eq!(steps, 2);
}

/// B8: micro-batches decide about memory, not about noise, which is one draw per step: with noise per micro-batch every coordinate would
/// differ. What float sums of other shapes differ by is far below one step of the quantiser.
#[test]
fn the_size_of_a_micro_batch_changes_neither_noise_nor_data() {
    let mut world = institution(1, "1", "0.7", 30);
    let mut trained = |micro_batch: u32| {
        world.plan.local.micro_batch = micro_batch;
        let (after, reports) = train(&world, 1, 3).unwrap();
        (after.flat().iter().map(|&w| f64::from(w)).collect::<Vec<_>>(), reports[0].tally.units)
    };
    let ((whole, units), step) = (trained(64), 2f64.powi(i32::from(crate::shard::STEP_EXPONENT)));
    for micro_batch in [1, 3, 4, 16] {
        let (after, same_units) = trained(micro_batch);
        assert_eq!(units, same_units);
        let apart: Vec<f64> = after.iter().zip(&whole).map(|(a, b)| (a - b).abs()).filter(|d| *d > 0.0).collect();
        assert!(apart.iter().all(|d| *d < 1.01 * step), "micro-batches of {micro_batch}: {apart:?}");
        assert!(apart.len() * 100 < whole.len(), "micro-batches of {micro_batch}: {} of {} differ", apart.len(), whole.len());
    }
}

/// M9: a machine that reads fewer records at once than the plan says trains what the others train.
#[test]
fn reading_fewer_records_at_once_changes_neither_noise_nor_data() {
    let (world, step) = (institution(1, "1", "0.7", 30), 2f64.powi(i32::from(crate::shard::STEP_EXPONENT)));
    let (whole, told) = train(&world, 2, 3).unwrap();
    let (after, told_again) = train_by(&world, &workers(2).reading_at_most(NonZeroUsize::MIN), 3).unwrap();
    assert_eq!(told[0].tally.units, told_again[0].tally.units);
    let apart = after.flat().iter().zip(whole.flat()).map(|(a, b)| (f64::from(*a) - f64::from(*b)).abs());
    assert!(apart.fold(0.0, f64::max) < 1.01 * step);
}

/// M15: two accelerators share a step, and only sums of clipped gradients meet. Here both are the processor, asked through the tensor engine;
/// what its other kernels lose is far below one step of the quantiser.
#[test]
fn two_accelerators_train_as_one_processor_does() {
    let (world, step) = (institution(1, "1", "0.7", 30), 2f64.powi(i32::from(crate::shard::STEP_EXPONENT)));
    let (alone, told) = train(&world, 1, 3).unwrap();
    let accelerators = [(); 2].map(|()| Arc::new(Counting(Engine::processor(Precision::F32), AtomicUsize::new(0))));
    let both: Vec<Arc<dyn Multiply>> = accelerators.iter().cloned().map(|a| -> Arc<dyn Multiply> { a }).collect();
    let (helped, told_again) = train_by(&world, &Workers::start_on(both).unwrap(), 3).unwrap();
    assert_eq!(told[0].tally.units, told_again[0].tally.units);
    assert!((told[0].tally.loss_sum - told_again[0].tally.loss_sum).abs() < 1e-4);
    let apart = helped.flat().iter().zip(alone.flat()).map(|(a, b)| (f64::from(*a) - f64::from(*b)).abs());
    assert!(apart.fold(0.0, f64::max) < 1.01 * step);
    assert!(accelerators.iter().map(|a| a.1.load(Ordering::Relaxed)).sum::<usize>() > 0, "nothing went there");
}

/// The same where each of the two holds the whole model, and the layers' graph is made of stock operations.
#[test]
fn two_devices_that_hold_models_train_as_one_processor_does() {
    let step = 2f64.powi(i32::from(crate::shard::STEP_EXPONENT));
    for keep in [Keep::Everything, Keep::Inputs] {
        let mut world = institution(1, "1", "0.7", 30);
        world.plan.local.keep = Some(keep);
        let (alone, told) = train(&world, 1, 3).unwrap();
        let both = [(); 2].map(|()| -> Arc<dyn Multiply> { Arc::new(Engine::holding_models(Precision::F32)) });
        let (there, told_again) = train_by(&world, &Workers::start_on(both.to_vec()).unwrap(), 3).unwrap();
        assert_eq!((told[0].tally.units, told[0].tally.tokens), (told_again[0].tally.units, told_again[0].tally.tokens));
        assert!((told[0].tally.loss_sum - told_again[0].tally.loss_sum).abs() < 1e-4);
        let apart = there.flat().iter().zip(alone.flat()).map(|(a, b)| (f64::from(*a) - f64::from(*b)).abs());
        assert!(apart.fold(0.0, f64::max) < 1.01 * step, "{keep:?}");
    }
}

/// B2: a unit more or less changes neither the divisor nor the rate nor the steps nor the noise. At such a rate nobody enters, and the weights are bit
/// by bit the same.
#[test]
fn one_unit_more_changes_nothing_but_its_own_gradient() {
    let [(few, told), (more, told_more)] = [30, 31].map(|units| {
        let mut world = institution(3, "1", "0.000000001", 30);
        world.data = data(units);
        train(&world, 1, 3).unwrap()
    });
    assert_eq!(few, more);
    let rates = |told: &[Progress]| told.iter().map(|p| (p.step, p.steps, p.learning_rate)).collect::<Vec<_>>();
    assert_eq!(rates(&told), rates(&told_more));
}

//! Rounds of institutions that noise a sum together, from gradients to the next snapshot: through the real mechanism, without sealing, with
//! payments that no ledger made (privacy.md D7, D15).

use super::*;
use crate::combine::{GroupSum, Mass, combine, descent};
use crate::eval::evaluate;
use crate::model::initial;
use crate::strategy::{StrategyState, advance};
use crate::testing::{data, decimal, plan, small_config};
use privacy::noise::SeededEntropy;
use protocol::ids::{ManifestDigest, ShardId};
use protocol::plan::{ClipPath, Combine, Joint, Mode, Strategy};
use std::num::NonZeroUsize;

/// A plan of mode hybrid for three institutions.
fn hybrid(noise_multiplier: &str, sampling_rate: &str) -> Plan {
    let mut plan = plan(small_config(), 1, noise_multiplier, sampling_rate);
    plan.privacy.mode = Mode::Hybrid(Joint { colluding: 0, coalition_epsilon: decimal("1000") });
    plan.cohort_min = 3;
    (plan.local.learning_rate, plan.local.warmup_steps, plan.local.weight_decay) = (decimal("0"), 0, decimal("0"));
    plan.groups[0].bits = 24;
    plan.shards.iter_mut().for_each(|s| s.step_exponent = -16);
    plan.check().unwrap();
    plan
}

fn workers() -> Workers {
    Workers::start(NonZeroUsize::new(2).unwrap()).unwrap()
}

/// What one institution would seal.
fn share(plan: &Plan, start: &Weights, data: &Dataset, seed: u64) -> PrivateDelta {
    let mechanism = Mechanism::of_plan(plan, data.units.len() as u64).unwrap();
    let paid = Paid::for_test(&mechanism, ManifestDigest([1; 32]), 1, 1);
    let round = Round { plan, start, data, mechanism: &mechanism, global_step: 0 };
    joint_round(&round, paid, &workers(), &mut SeededEntropy::new(seed), &mut |_| ControlFlow::Continue(())).unwrap()
}

/// What the decryptors open: the integers added up.
fn opened(shares: &[PrivateDelta]) -> Vec<(ShardId, Vec<i64>)> {
    let wide = |p: &PrivateDelta| p.shards().map(|(id, v)| (id, v.iter().map(|&v| i64::from(v)).collect())).collect::<Vec<_>>();
    let mut sum: Vec<(ShardId, Vec<i64>)> = wide(&shares[0]);
    for other in &shares[1..] {
        for ((_, sum), (_, v)) in sum.iter_mut().zip(wide(other)) {
            sum.iter_mut().zip(v).for_each(|(s, v)| *s += v);
        }
    }
    sum
}

/// The change that a sum asks for, as the server makes it.
fn change(plan: &Plan, sum: &[(ShardId, Vec<i64>)], units: u64) -> Vec<(ShardId, Vec<f32>)> {
    let mass = Mass::Gradient { units, rate: plan.privacy.sampling_rate, clip: plan.privacy.clip };
    descent(combine(&plan.shards, Combine::Mean, &[GroupSum { shards: sum, mass }]).unwrap())
}

/// One institution, the same seeds: a step of SGD with rate 1 inside it, and the sum that it would have sealed taken as one step by the
/// server, move the weights alike. The difference is the quantiser's of mode `local`.
#[test]
fn a_shared_sum_moves_the_weights_as_a_local_step_does() {
    for clip in ["1", "0.5"] {
        let mut joint = hybrid("1", "0.7");
        joint.privacy.clip = decimal(clip);
        let mut local = joint.clone();
        local.privacy.mode = Mode::Local;
        local.local.learning_rate = decimal("1");
        let (start, data) = (initial(&joint.model, 5).unwrap(), data(30));
        let sum = opened(&[share(&joint, &start, &data, 3)]);
        let by_server: Vec<f32> = change(&joint, &sum, 30).into_iter().flat_map(|(_, v)| v).collect();
        let mechanism = Mechanism::of_plan(&local, 30).unwrap();
        let paid = Paid::for_test(&mechanism, ManifestDigest([1; 32]), 1, 1);
        let round = Round { plan: &local, start: &start, data: &data, mechanism: &mechanism, global_step: 0 };
        let mut sgd = OptimiserState::sgd(start.flat().len(), 0.0);
        let delta =
            local_round(&round, paid, &mut sgd, &workers(), &mut SeededEntropy::new(3), &mut |_| ControlFlow::Continue(())).unwrap();
        let context = privacy::noise::StepContext { manifest: ManifestDigest([1; 32]), ledger_counter: 1, step: 0 };
        let mut stream = privacy::noise::Stream::open(&mut SeededEntropy::new(9), &context).unwrap();
        let private = delta.bound(&Quantiser::of_plan(&local).unwrap(), &mut stream).unwrap().privatize_local();
        let by_itself = private.shards().flat_map(|(_, v)| v.iter().map(|&v| v as f32 * 2f32.powi(-16)).collect::<Vec<_>>());
        let apart = by_server.iter().zip(by_itself).map(|(a, b)| (a - b).abs()).fold(0.0f32, f32::max);
        assert!(apart < 1.1 * 2f32.powi(-16), "clip {clip}: {apart}");
        assert!(by_server.iter().any(|x| x.abs() > 0.01));
    }
}

/// D15: the divisor is what the members of the set are expected to sample, whatever they did sample.
#[test]
fn a_sum_is_divided_by_the_declared_sizes_of_its_members() {
    let plan = hybrid("1", "0.5");
    let sum = vec![(ShardId(0), vec![65_536i64 * 30]), (ShardId(1), vec![0]), (ShardId(2), vec![-65_536])];
    let table: Vec<_> = plan.shards.clone();
    let mass = Mass::Gradient { units: 60, rate: plan.privacy.sampling_rate, clip: decimal("2") };
    let mean = combine(&table, Combine::Mean, &[GroupSum { shards: &sum, mass }]).unwrap();
    // 30 grid units of 2/2^16·2^16 = 2 each over 0.5·60 expected units.
    assert_eq!(mean[0].1, [2.0]);
    assert_eq!(mean[2].1, [-2.0 / 30.0]);
    assert_eq!(descent(mean)[0].1, [-2.0]);
    // Two groups count by their sizes; other kinds of mass do not mix with this one.
    let half = [(ShardId(0), vec![65_536i64 * 30])];
    let group = |units| GroupSum { shards: &half, mass: Mass::Gradient { units, rate: decimal("0.5"), clip: decimal("2") } };
    assert_eq!(combine(&table, Combine::Mean, &[group(40), group(80)]).unwrap()[0].1, [2.0]);
    assert!(combine(&table, Combine::Mean, &[group(40), GroupSum { shards: &half, mass: Mass::Members(2) }]).is_err());
}

/// Three institutions, forty rounds of one sum each, a server that takes the steps; on either clip path.
#[test]
fn institutions_that_only_share_sums_learn_together() {
    for path in [ClipPath::Exact, ClipPath::BookKeeping { accumulate: Default::default(), rounding: Default::default() }] {
        let mut plan = hybrid("0.01", "0.5");
        plan.privacy.path = path;
        plan.strategy =
            Strategy::FedAdam { rate: decimal("0.05"), momentum: decimal("0.9"), decay: decimal("0.99"), floor: decimal("0.0001") };
        let (mut weights, mut state) = (initial(&plan.model, 5).unwrap(), StrategyState::default());
        let all = data(60);
        let sites: Vec<Dataset> = (0..3).map(|i| Dataset { units: all.units[i * 20..(i + 1) * 20].to_vec() }).collect();
        let before = evaluate(&weights, &all, &workers()).unwrap();
        for round in 0..40u64 {
            let shares: Vec<_> = (0u64..).zip(&sites).map(|(i, d)| share(&plan, &weights, d, 100 * round + i)).collect();
            (state, weights) = advance(&plan.strategy, &plan.shards, &state, &weights, &change(&plan, &opened(&shares), 60)).unwrap();
        }
        let after = evaluate(&weights, &all, &workers()).unwrap();
        assert!(after.accuracy() > 0.9 && after.loss() < 0.5 * before.loss(), "{path:?}: {} to {}", before.loss(), after.accuracy());
    }
}

/// Book-Keeping in mode `local`: the same sample, clipped on either path, gives the same sum but for rounding and what floats lose.
#[test]
fn both_clip_paths_give_the_same_sum() {
    let mut plan = hybrid("0.001", "0.7");
    let (start, data) = (initial(&plan.model, 5).unwrap(), data(40));
    let exact = opened(&[share(&plan, &start, &data, 3)]);
    plan.privacy.path = ClipPath::BookKeeping { accumulate: Default::default(), rounding: Default::default() };
    let summed = opened(&[share(&plan, &start, &data, 3)]);
    assert_eq!(summed, opened(&[share(&plan, &start, &data, 3)]), "the same seeds and threads give the same integers");
    // Noise of 66 grid steps on each; a unit of 40 is a part in 2^16 of the bound off in its norm, and AUTO-S clips to slightly less than C.
    let apart = exact.iter().zip(&summed).flat_map(|((_, a), (_, b))| a.iter().zip(b)).map(|(a, b)| (a - b).abs()).max().unwrap();
    let longest = exact.iter().flat_map(|(_, v)| v).map(|v| v.abs()).max().unwrap();
    assert!(apart < 1500 && longest > 50_000, "{apart} of {longest}");
}

/// D7: a round of more than one step has no share, and a mechanism of mode `local` none either.
#[test]
fn there_is_one_sum_per_round() {
    let plan = hybrid("1", "0.7");
    let (start, data) = (initial(&plan.model, 5).unwrap(), data(10));
    let mechanism = Mechanism::of_plan(&plan, 10).unwrap();
    let try_with = |mechanism: &Mechanism, steps| {
        let paid = Paid::for_test(mechanism, ManifestDigest([1; 32]), 1, steps);
        let round = Round { plan: &plan, start: &start, data: &data, mechanism, global_step: 0 };
        joint_round(&round, paid, &workers(), &mut SeededEntropy::new(1), &mut |_| ControlFlow::Continue(())).err()
    };
    assert!(matches!(try_with(&mechanism, 2), Some(TrainError::Unused(UnusedSteps { used: 1, paid: 2 }))));
    assert!(matches!(try_with(&mechanism, 0), Some(TrainError::Unused(_))));
    let mut local = plan.clone();
    local.privacy.mode = Mode::Local;
    assert!(matches!(try_with(&Mechanism::of_plan(&local, 10).unwrap(), 1), Some(TrainError::Noise(NoiseError::Alone))));
}

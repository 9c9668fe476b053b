//! From tiers to shards, and rounds in which institutions train different parts of one model.

use super::*;
use crate::batch::{Batch, Dataset};
use crate::capture::Tape;
use crate::combine::{GroupSum, Mass, combine};
use crate::model::{Encoder, ModelError, Transformer, TransformerWeights, Weights, initial};
use crate::optim::OptimiserState;
use crate::round::{Round, TrainError, local_round};
use crate::strategy::{StrategyState, advance};
use crate::testing::{built, data, plan, small_config};
use crate::workers::Workers;
use privacy::delta::{PrivateDelta, Quantiser};
use privacy::ledger::Paid;
use privacy::mechanism::Mechanism;
use privacy::noise::{SeededEntropy, StepContext, Stream};
use protocol::ids::{ClientId, GroupId, ManifestDigest, RoundId};
use protocol::plan::own::OwnModel;
use protocol::plan::{AdapterConfig, Asks, Combine, GroupPlan, Plan, Tier};
use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;

fn adapted() -> EncoderConfig {
    EncoderConfig { adapter: Some(AdapterConfig { rank: 2, alpha: 4, targets: None, nested: None }), ..small_config() }
}

fn tiers(all: &[(&str, &[Part])]) -> Vec<(String, Vec<Part>)> {
    all.iter().map(|(name, parts)| ((*name).to_owned(), parts.to_vec())).collect()
}

fn names(shard: &ShardSpec) -> BTreeSet<&str> {
    shard.tensors.iter().map(|t| t.name.as_str()).collect()
}

/// Full, top layers, adapters by turns: institutions 1 and 2, 3 and 4, and all others.
fn mixed(config: EncoderConfig, parts: &[(&str, &[Part])], steps: u32) -> Plan {
    let (shards, assigned) = tier_table(&config, &tiers(parts), -16).unwrap();
    let ids = |n: usize| match n {
        0 => Vec::new(),
        n => [2 * n - 1, 2 * n].iter().map(|&n| ClientId([u8::try_from(n).unwrap(); 32])).collect(),
    };
    let tier = |n: usize, shards, name: &str| Tier { name: name.to_owned(), shards, institutions: ids(n) };
    let tiers = assigned.into_iter().zip(parts).enumerate().map(|(n, (shards, (name, _)))| tier(n, shards, name)).collect();
    let groups = (0u32..).zip(&shards).map(|(i, s)| GroupPlan { id: GroupId(i), shards: vec![s.id], bits: 16 }).collect();
    let plan = Plan { shards, groups, tiers: Some(tiers), rounds: 10, n_max: 8, ..plan(config, steps, "0.01", "0.5") };
    plan.check().unwrap();
    plan
}

/// What an institution would seal in a round, and its optimiser afterwards.
fn trained(plan: &Plan, start: &Weights, data: &Dataset, (who, round): (u8, u64), state: &mut OptimiserState) -> PrivateDelta {
    let view = plan.seen_by(ClientId([who; 32])).unwrap();
    let mechanism = Mechanism::of_plan(&view, data.units.len() as u64).unwrap();
    let (manifest, counter) = (ManifestDigest([who; 32]), round);
    let paid = Paid::for_test(&mechanism, manifest, counter, u64::from(plan.local.steps));
    let global_step = (round - 1) * u64::from(plan.local.steps);
    let here = Round { plan: &view, start, data, mechanism: &mechanism, global_step };
    let workers = Workers::start(NonZeroUsize::MIN).unwrap();
    let seed = 100 * round + u64::from(who);
    let delta = local_round(&here, paid, state, &workers, &mut SeededEntropy::new(seed), &mut |_| ControlFlow::Continue(())).unwrap();
    let context = StepContext { manifest, ledger_counter: counter, step: 0 };
    let mut stream = Stream::open(&mut SeededEntropy::new(9), &context).unwrap();
    delta.bound(&Quantiser::of_plan(&view).unwrap(), &mut stream).unwrap().privatize_local()
}

fn state(plan: &Plan, who: u8) -> OptimiserState {
    OptimiserState::adam_w(usize::try_from(plan.seen_by(ClientId([who; 32])).unwrap().dimension()).unwrap())
}

#[test]
fn the_plans_classifier_is_the_same_model_in_both_rooms() {
    for config in [small_config(), adapted()] {
        let weights = initial(&config, 5).unwrap();
        let moved = weights.flat().iter().enumerate().map(|(i, w)| w + 0.1 * (i as f32 * 0.37).sin()).collect();
        let weights = Weights::new(&config, moved).unwrap();
        let all: BTreeSet<_> = weights.table().iter().map(|p| p.name.clone()).collect();
        let whole = TransformerWeights::part_of(&weights, all).unwrap();
        assert_eq!(whole.table(), weights.table());
        assert_eq!((whole.flat(), whole.frozen().len()), (weights.flat(), 0));
        let records = data(12).units.into_iter().flat_map(|u| u.records).collect::<Vec<_>>();
        let batch = Batch::pack(&records, 10);
        let scores = |scores: candle_core::Tensor| scores.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let (one, other) = (Encoder::load(&weights).unwrap(), Transformer::load(&whole).unwrap());
        assert_eq!(scores(one.forward(&batch, &Tape::off()).unwrap()), scores(other.forward(&batch, &Tape::off()).unwrap()));
    }
}

/// A plan is judged by its table before anything is paid for a round: what the round would refuse has no table.
#[test]
fn a_model_that_no_round_could_train_has_no_table() {
    let long = EncoderConfig { max_tokens: (1 << 20) + 1, ..small_config() };
    assert!(matches!(ParameterTable::new(&long), Err(ModelError::Part { part: "max_tokens", .. })));
    let deep = EncoderConfig { layers: 1025, ..small_config() };
    assert!(matches!(ParameterTable::new(&deep), Err(ModelError::Part { part: "layers", .. })));
    let wide = EncoderConfig { width: 8192, hidden: 8192, ..small_config() };
    assert_eq!(ParameterTable::new(&wide), Err(ModelError::TooLarge));
}

#[test]
fn a_shard_is_what_the_same_tiers_train_in_the_same_rounds() {
    let both = tiers(&[("full", &[Part::Full]), ("top", &[Part::Layers { from: 1, to: 2 }])]);
    let (shards, assigned) = tier_table(&small_config(), &both, -16).unwrap();
    assert_eq!(assigned.iter().map(|a| a.iter().map(|x| x.shard.0).collect::<Vec<_>>()).collect::<Vec<_>>(), [vec![0, 1], vec![1]]);
    assert!(
        names(&shards[1]).iter().all(|n| n.starts_with("encoder.layers.1.") || n.starts_with("encoder.norm") || n.starts_with("class"))
    );
    assert!(names(&shards[0]).iter().all(|n| n.starts_with("embeddings") || n.starts_with("encoder.layers.0.")));
    let table = ParameterTable::new(&small_config()).unwrap();
    super::super::check(&table, &shards).unwrap();
    assert_eq!(shards.iter().map(ShardSpec::len).sum::<u64>(), table.len() as u64);

    let turns = tiers(&[("b", &[Part::LoraAlternating, Part::HeadsAndBiases]), ("w", &[Part::Rolling { window: 1 }])]);
    let (shards, assigned) = tier_table(&adapted(), &turns, -16).unwrap();
    super::super::check(&ParameterTable::new(&adapted()).unwrap(), &shards).unwrap();
    for a in &assigned[0] {
        let all = names(&shards[usize::try_from(a.shard.0).unwrap()]);
        let factor = |f: &str| all.iter().all(|n| n.contains(&format!("lora_{f}")));
        assert_eq!(
            a.turn,
            if factor("B") {
                Turn { every: 2, at: 0 }
            } else if factor("A") {
                Turn { every: 2, at: 1 }
            } else {
                Turn::ALWAYS
            }
        );
    }
    // Shifts are trained by both, in all rounds here and by turns there: a shard of their own.
    let shifts = shards.iter().find(|s| names(s).contains("encoder.layers.0.attention.qkv.bias")).unwrap();
    assert!(!names(shifts).contains("encoder.layers.0.attention.qkv.weight") && !names(shifts).contains("classifier.weight"));
}

#[test]
fn a_part_that_does_not_exist_is_named_with_what_was_expected() {
    let refused = |part: Part| tier_table(&small_config(), &tiers(&[("t", &[part])]), -16).unwrap_err();
    let chain = |e: &TiersError| format!("{e}: {}", std::error::Error::source(e).map_or(String::new(), ToString::to_string));
    let layers = refused(Part::Layers { from: 1, to: 3 });
    assert_eq!(
        chain(&layers),
        "tier \"t\" trains Layers { from: 1, to: 3 }, which this model does not have: layers: got 1..3, expected a range of the model's blocks"
    );
    assert!(matches!(refused(Part::LoraB), TiersError::NoAdapter { .. }));
    assert!(matches!(refused(Part::Rolling { window: 3 }), TiersError::Window { got: 3, most: 2, .. }));
    assert!(matches!(refused(Part::Rolling { window: 0 }), TiersError::Window { got: 0, .. }));
    assert_eq!(tier_table(&small_config(), &tiers(&[("t", &[])]), -16), Err(TiersError::Nothing("t".into())));
}

/// M5: every round is linear in what is trained, whoever trains it.
#[test]
fn no_round_trains_both_factors_of_an_adapter() {
    let of = |parts: &[(&str, &[Part])]| tier_table(&nested(), &tiers(parts), -16).err();
    let refused = |b: &str, a: &str| Some(TiersError::BothFactors { b: b.into(), a: a.into() });
    assert_eq!(of(&[("turns", &[Part::LoraAlternating]), ("low", &[Part::LoraB])]), refused("low", "turns"));
    assert_eq!(of(&[("low", &[Part::LoraBFirst { rank: 1 }]), ("turns", &[Part::LoraAlternating])]), refused("low", "turns"));
    assert_eq!(of(&[("one", &[Part::LoraAlternating, Part::LoraB])]), refused("one", "one"));
    assert_eq!(of(&[("one", &[Part::LoraAlternating]), ("other", &[Part::LoraAlternating, Part::Head])]), None);
    assert_eq!(of(&[("large", &[Part::LoraB]), ("small", &[Part::LoraBFirst { rank: 1 }])]), None);
}

/// Only its own coordinates are clipped, noised and sent; what does not have its turn is zero and its optimiser rests.
#[test]
fn an_institution_moves_its_own_shards_in_their_turn_and_nothing_else() {
    let parts: &[(&str, &[Part])] = &[("full", &[Part::Full]), ("turns", &[Part::LoraAlternating])];
    let plan = mixed(adapted(), parts, 3);
    let (start, data) = (initial(&plan.model, 5).unwrap(), data(20));
    let mut memory = state(&plan, 1);
    let before = memory.clone();
    let odd = trained(&plan, &start, &data, (1, 1), &mut memory);
    let view = plan.seen_by(ClientId([1; 32])).unwrap();
    let [b, a] = [RoundId(1), RoundId(2)].map(|r| view.active(r).iter().map(|s| s.id).collect::<Vec<_>>());
    assert_eq!((a.len(), b.len(), view.shards.len()), (1, 1, 2));
    for (id, values) in odd.shards() {
        assert_eq!(values.iter().any(|&v| v != 0), b.contains(&id), "{id}");
    }
    let (OptimiserState::AdamW { mean, steps, .. }, OptimiserState::AdamW { mean: rest, .. }) = (&memory, &before) else { panic!() };
    assert_eq!((mean.len(), *steps), (usize::try_from(view.dimension()).unwrap(), 3));
    let first = usize::try_from(view.shards[0].len()).unwrap();
    let (of_first, of_second) = (mean[..first] != rest[..first], mean[first..] != rest[first..]);
    assert_eq!([of_first, of_second], [view.shards[0].id == b[0], view.shards[1].id == b[0]]);
    let even = trained(&plan, &start, &data, (1, 2), &mut memory);
    for (id, values) in even.shards() {
        assert_eq!(values.iter().any(|&v| v != 0), a.contains(&id), "{id}");
    }
    // An institution of the full tier never touches an adapter.
    let full = trained(&plan, &start, &data, (9, 1), &mut state(&plan, 9));
    assert!(full.shards().all(|(id, _)| !a.contains(&id) && !b.contains(&id)));
}

#[test]
fn a_round_without_a_turn_and_a_mechanism_of_another_part_are_refused() {
    let parts: &[(&str, &[Part])] = &[("full", &[Part::Full]), ("window", &[Part::Rolling { window: 1 }])];
    let mut plan = mixed(small_config(), parts, 1);
    let (start, data, workers) = (initial(&plan.model, 5).unwrap(), data(8), Workers::start(NonZeroUsize::MIN).unwrap());
    let run = |plan: &Plan, mechanism: &Mechanism| {
        let paid = Paid::for_test(mechanism, ManifestDigest([1; 32]), 1, 1);
        let round = Round { plan, start: &start, data: &data, mechanism, global_step: 0 };
        let mut memory = OptimiserState::adam_w(usize::try_from(plan.dimension()).unwrap());
        local_round(&round, paid, &mut memory, &workers, &mut SeededEntropy::new(1), &mut |_| ControlFlow::Continue(())).err()
    };
    let whole = Mechanism::of_plan(&plan, 8).unwrap();
    let view = plan.seen_by(ClientId([1; 32])).unwrap().into_owned();
    assert!(matches!(run(&view, &whole), Some(TrainError::Dimension { .. })));
    plan.tiers.as_mut().unwrap()[1].shards.retain(|a| a.turn.at == 1);
    let late = plan.seen_by(ClientId([1; 32])).unwrap().into_owned();
    assert!(matches!(run(&late, &Mechanism::of_plan(&late, 8).unwrap()), Some(TrainError::NoTurn(1))));
}

/// Blocks are counted over both stacks, those that read first; what ends the first stack belongs to its last block.
#[test]
fn an_encoder_decoder_from_random_weights_is_cut_by_its_tiers() {
    let own = OwnModel { asks: Asks::Translate, decoder_layers: Some(1), ..OwnModel::default() };
    let config = EncoderConfig { adapter: adapted().adapter, ..built(own) };
    let parts: &[(&str, &[Part])] = &[("full", &[Part::Full]), ("top", &[Part::Layers { from: 2, to: 3 }]), ("low", &[Part::LoraB])];
    let plan = mixed(config, parts, 1);
    let all: Vec<BTreeSet<&str>> = plan.shards.iter().map(names).collect();
    let of = |name: &str| all.iter().find(|shard| shard.contains(name)).unwrap();
    let writes = of("decoder.norm.weight");
    assert!(writes.contains("decoder.layers.0.cross.query.weight") && writes.iter().all(|name| name.starts_with("decoder.")));
    assert!(
        of("encoder.norm.weight").contains("embeddings.tokens.weight"),
        "the head is the token table, which only a full institution trains"
    );
    let adapters = of("encoder.layers.0.attention.qkv.lora_B.weight");
    assert!(adapters.contains("decoder.layers.0.cross.output.lora_B.weight") && adapters.iter().all(|name| name.contains("lora_B")));
    assert_eq!(all.len(), 3);
}

#[test]
fn institutions_that_train_different_parts_teach_one_model() {
    let parts: &[(&str, &[Part])] =
        &[("full", &[Part::Full]), ("top", &[Part::Layers { from: 1, to: 2 }]), ("low", &[Part::LoraB, Part::HeadsAndBiases])];
    teach_one_model(&mixed(adapted(), parts, 10));
}

/// Adapters of rank 3, of which some institutions train the first column only.
fn nested() -> EncoderConfig {
    let adapter = AdapterConfig { rank: 3, alpha: 6, targets: None, nested: Some(vec![1]) };
    EncoderConfig { adapter: Some(adapter), ..small_config() }
}

#[test]
fn tiers_of_several_ranks_share_the_first_columns() {
    let parts: &[(&str, &[Part])] = &[("large", &[Part::LoraB]), ("small", &[Part::LoraBFirst { rank: 1 }])];
    let (shards, assigned) = tier_table(&nested(), &tiers(parts), -16).unwrap();
    super::super::check(&ParameterTable::new(&nested()).unwrap(), &shards).unwrap();
    let of = |tier: &Vec<Assigned>| tier.iter().map(|a| a.shard.0).collect::<Vec<_>>();
    assert_eq!(assigned.iter().map(of).collect::<Vec<_>>(), [vec![0, 1], vec![0]], "the common columns, and the rest");
    assert!(names(&shards[0]).iter().all(|n| n.ends_with(".lora_B.weight")));
    assert!(names(&shards[1]).iter().all(|n| n.ends_with(".lora_B.from_1.weight")));
    assert_eq!(shards[1].len(), 2 * shards[0].len());
    let one = |part: Part| tier_table(&nested(), &tiers(&[("t", &[part])]), -16);
    assert_eq!(one(Part::LoraBFirst { rank: 3 }).unwrap(), one(Part::LoraB).unwrap());
    assert!(matches!(one(Part::LoraBFirst { rank: 2 }), Err(TiersError::Rank { got: 2, expected, .. }) if expected == [1, 3]));
    let whole = tier_table(&adapted(), &tiers(&[("t", &[Part::LoraBFirst { rank: 1 }])]), -16);
    assert!(matches!(whole, Err(TiersError::Rank { got: 1, expected, .. }) if expected == [2]));
    let none = tier_table(&small_config(), &tiers(&[("t", &[Part::LoraBFirst { rank: 1 }])]), -16);
    assert!(matches!(none, Err(TiersError::NoAdapter { .. })));
    assert!(serde_json::from_str::<Part>(r#"{"lora-b-first":{"rank":1}}"#).is_ok_and(|part| part == Part::LoraBFirst { rank: 1 }));
    let unsorted = AdapterConfig { nested: Some(vec![2, 1]), ..nested().adapter.unwrap() };
    let unsorted = ParameterTable::new(&EncoderConfig { adapter: Some(unsorted), ..small_config() });
    assert!(matches!(unsorted, Err(ModelError::Part { part: "model.adapter.nested", .. })));
}

/// Whatever else is trained, a band's gradient is the one that it has in the whole model.
#[test]
fn a_band_has_the_gradient_that_it_has_beside_all_others() {
    let first = initial(&nested(), 5).unwrap();
    let moved = first.flat().iter().enumerate().map(|(i, w)| w + 0.1 * (i as f32 * 0.37).sin()).collect();
    let weights = Weights::new(&nested(), moved).unwrap();
    let batch = Batch::pack(&data(6).units.into_iter().flat_map(|u| u.records).collect::<Vec<_>>(), 10);
    let gradient = |part: Part| {
        let shards = tier_table(&nested(), &tiers(&[("t", &[part])]), -16).unwrap().0;
        let part = TransformerWeights::part_of(&weights, super::super::names(&shards)).unwrap();
        let (losses, gradient) = part.gradient(&batch, None).unwrap();
        (losses, part, gradient)
    };
    let ((losses, small, of_small), (same, large, of_large)) = (gradient(Part::LoraBFirst { rank: 1 }), gradient(Part::LoraB));
    assert_eq!(losses, same);
    assert_eq!(3 * of_small.len(), of_large.len());
    for p in small.table().iter() {
        let there = large.table().find(&p.name).unwrap().range();
        let close = of_small[p.range()].iter().zip(&of_large[there]).all(|(a, b)| (a - b).abs() <= 1e-6 * (1.0 + b.abs()));
        assert!(close, "{}", p.name);
    }
    assert!(of_small.iter().any(|g| g.abs() > 1e-3));
}

#[test]
fn institutions_of_several_ranks_teach_one_model() {
    let small = [Part::LoraBFirst { rank: 1 }, Part::HeadsAndBiases];
    let parts: &[(&str, &[Part])] = &[("full", &[Part::Full]), ("large", &[Part::LoraB, Part::HeadsAndBiases]), ("small", &small)];
    teach_one_model(&mixed(nested(), parts, 10));
}

/// The whole of a mixed federation: every shard's sum is divided by its own members, and the model learns from all of them.
fn teach_one_model(plan: &Plan) {
    let start = initial(&plan.model, 5).unwrap();
    let members = [1u8, 2, 3, 4, 9, 10];
    let mut states: Vec<_> = members.iter().map(|&m| state(plan, m)).collect();
    let (mut weights, mut strategy, all) = (start.clone(), StrategyState::default(), data(36));
    let share = |n: usize| Dataset { units: all.units.iter().skip(n).step_by(members.len()).cloned().collect() };
    for round in 1..=3 {
        let deltas: Vec<_> =
            members.iter().enumerate().map(|(n, &who)| trained(plan, &weights, &share(n), (who, round), &mut states[n])).collect();
        let mut mean = Vec::new();
        for group in &plan.groups {
            let mine: Vec<&PrivateDelta> = members
                .iter()
                .zip(&deltas)
                .filter(|(m, _)| plan.trains(ClientId([**m; 32]), group, RoundId(round)))
                .map(|(_, d)| d)
                .collect();
            let sum = |id: ShardId| {
                let parts = mine.iter().flat_map(|d| d.shards().filter(move |(s, _)| *s == id).map(|(_, v)| v));
                parts.fold(Vec::new(), |mut sum: Vec<i64>, v| {
                    sum.resize(v.len(), 0);
                    sum.iter_mut().zip(v).for_each(|(s, &v)| *s += i64::from(v));
                    sum
                })
            };
            let sums: Vec<_> = group.shards.iter().map(|&id| (id, sum(id))).collect();
            let mass = Mass::Members(u32::try_from(mine.len()).unwrap());
            mean.extend(combine(&plan.shards, Combine::Mean, &[GroupSum { shards: &sums, mass }]).unwrap());
        }
        (strategy, weights) = advance(&plan.strategy, &plan.shards, &strategy, &weights, &mean).unwrap();
    }
    let workers = Workers::start(NonZeroUsize::MIN).unwrap();
    let loss = |w: &Weights| crate::eval::evaluate(w, &all, &workers).unwrap().loss();
    assert!(loss(&weights) < 0.8 * loss(&start), "{} from {}", loss(&weights), loss(&start));
    // A is frozen for all; B and the tables have moved.
    for p in weights.table().iter() {
        let moved = weights.flat()[p.range()] != start.flat()[p.range()];
        assert_eq!(moved, !p.name.contains("lora_A"), "{}", p.name);
    }
}

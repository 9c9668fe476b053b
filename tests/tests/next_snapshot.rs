//! The auditor's step against the federation's own: two programs that share no line make the same bytes of the next snapshot, for every
//! strategy, way of combining, weighting, mode and shard table, over several rounds (crypto.md C63, audit.md A53).

use auditor::step::{self, Mass as Counted, Memory, Opened};
use proptest::prelude::*;
use proptest::strategy::Strategy as Making;
use protocol::decimal::Decimal;
use protocol::ids::{GroupId, ShardId};
use protocol::plan::own::OwnModel;
use protocol::plan::{
    AdapterConfig, Asks, Combine, EncoderConfig, GroupPlan, Joint, Masking, Mode, Plan, Robustness, ShardSpec, Strategy, Weighting,
};
use tests::fixture::{Shape, federation};
use train::combine::{self, GroupSum, Mass};
use train::shard::shard_table;
use train::shard::tiers::{Part, tier_table};
use train::snapshot;
use train::strategy::StrategyState;

/// Rounds of one case: enough for a memory to matter.
const ROUNDS: usize = 3;

fn decimal(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn model(adapted: bool) -> EncoderConfig {
    let adapter = adapted.then_some(AdapterConfig { rank: 2, alpha: 4, targets: None, nested: None });
    let classes = vec!["no".to_owned(), "yes".to_owned()];
    EncoderConfig { vocab: 20, max_tokens: 6, width: 8, heads: 2, layers: 2, hidden: 12, classes, adapter, ..EncoderConfig::none() }
}

/// A model that is asked for tokens, or for something about each of them, of Concordat's own.
fn writer(asks: Asks) -> EncoderConfig {
    let decoder_layers = (asks == Asks::Translate).then_some(1);
    let own = OwnModel { asks, decoder_layers, stem: Some(3), ..OwnModel::default() };
    let classes = if asks == Asks::Tags { vec!["drug".to_owned()] } else { Vec::new() };
    let masking = (asks == Asks::MaskedTokens).then(|| Masking::usual(0));
    EncoderConfig { classes, own: Some(own), masking, ..model(false) }
}

/// Shard tables of one, of several, of tiers in which some tensors are frozen for everybody, and of models that are asked token by token.
fn shards(kind: u8) -> (EncoderConfig, Vec<ShardSpec>) {
    let tiers = |parts: Vec<Vec<Part>>| {
        let named: Vec<(String, Vec<Part>)> = parts.into_iter().enumerate().map(|(i, p)| (format!("tier-{i}"), p)).collect();
        (model(true), tier_table(&model(true), &named, -14).unwrap().0)
    };
    match kind {
        0 => (model(false), shard_table(&model(false), 1, -16).unwrap()),
        1 => {
            let mut shards = shard_table(&model(false), 4, -12).unwrap();
            // Steps of their own, and an order that is not the model's.
            (0i8..).zip(&mut shards).for_each(|(i, s)| s.step_exponent -= 3 * i);
            shards.reverse();
            (model(false), shards)
        }
        2 => tiers(vec![vec![Part::Full], vec![Part::Layers { from: 1, to: 2 }], vec![Part::LoraAlternating, Part::HeadsAndBiases]]),
        3 => tiers(vec![vec![Part::LoraB], vec![Part::HeadsAndBiases]]),
        4 => (writer(Asks::NextToken), shard_table(&writer(Asks::NextToken), 2, -16).unwrap()),
        5 => (writer(Asks::Translate), shard_table(&writer(Asks::Translate), 3, -14).unwrap()),
        6 => (writer(Asks::Tags), shard_table(&writer(Asks::Tags), 2, -14).unwrap()),
        _ => (writer(Asks::MaskedTokens), shard_table(&writer(Asks::MaskedTokens), 2, -14).unwrap()),
    }
}

fn strategy() -> impl Making<Value = Strategy> {
    let rate = prop::sample::select(vec!["1", "0.1", "0.0037", "2.5"]);
    let kept = prop::sample::select(vec!["0", "0.9", "0.33"]);
    (0u8..5, rate, kept).prop_map(|(kind, rate, kept)| {
        let (rate, momentum) = (decimal(rate), decimal(kept));
        match kind {
            0 => Strategy::FedAvg { rate },
            1 => Strategy::FedAvgM { rate, momentum },
            2 => Strategy::FedNesterov { rate, momentum },
            3 => Strategy::FedAdam { rate, momentum, decay: decimal("0.99"), floor: decimal("0.001") },
            _ => Strategy::FedYogi { rate, momentum, decay: decimal("0.99"), floor: decimal("0.001") },
        }
    })
}

/// How sums are counted, combined and cut.
#[derive(Clone, Debug)]
struct Case {
    strategy: Strategy,
    weighting: Weighting,
    joint: bool,
    robustness: Robustness,
    shards: u8,
    /// One group for each shard, or one for all of them.
    apart: bool,
    seed: u64,
}

fn robustness() -> impl Making<Value = Robustness> {
    let combined = prop::sample::select(vec![
        (1, Combine::Mean),
        (3, Combine::Mean),
        (3, Combine::Median),
        (4, Combine::Median),
        (3, Combine::TrimmedMean { trim: 1 }),
        (6, Combine::TrimmedMean { trim: 2 }),
    ]);
    combined.prop_map(|(random_groups, combine)| Robustness { random_groups, combine, max_group_norm: None })
}

fn case() -> impl Making<Value = Case> {
    let weighting = prop::sample::select(vec![Weighting::Uniform, Weighting::Declared { max_weight: 7_321 }]);
    (strategy(), weighting, any::<bool>(), robustness(), 0u8..8, any::<bool>(), any::<u64>()).prop_map(
        |(strategy, weighting, joint, robustness, shards, apart, seed)| {
            // Gradients weigh nobody (privacy.md D7).
            let weighting = if joint { Weighting::Uniform } else { weighting };
            Case { strategy, weighting, joint, robustness, shards, apart, seed }
        },
    )
}

fn plan(case: &Case) -> Plan {
    let (model, shards) = shards(case.shards);
    let mut plan = federation(Shape::plain(3, 2)).plan.clone();
    let ids: Vec<ShardId> = shards.iter().map(|s| s.id).collect();
    let sums = if case.apart { ids.iter().map(|id| vec![*id]).collect() } else { vec![ids] };
    plan.groups = (0u32..).zip(sums).map(|(i, shards)| GroupPlan { id: GroupId(i), shards, bits: 16 }).collect();
    if case.joint {
        plan.privacy.mode = Mode::Hybrid(Joint { colluding: 0, coalition_epsilon: decimal("3") });
        (plan.privacy.sampling_rate, plan.privacy.clip) = (decimal("0.013"), decimal("0.7"));
    }
    (plan.model, plan.shards, plan.tiers) = (model, shards, None);
    (plan.strategy, plan.weighting, plan.robustness) = (case.strategy.clone(), case.weighting, Some(case.robustness));
    plan
}

/// Not random, and need not be.
struct Pseudo(u64);

impl Pseudo {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 20) % most
    }

    /// Small, large, zero and extreme sums, of both signs.
    fn sum(&mut self) -> i64 {
        let size = [1, 1 << 9, 1 << 16, 1 << 27][usize::try_from(self.below(4)).unwrap()];
        i64::try_from(self.below(2 * size + 1)).unwrap() - i64::try_from(size).unwrap()
    }
}

/// What is opened in one round: every part of every sum, or all but one of them.
fn opened(plan: &Plan, random: &mut Pseudo) -> Vec<Opened> {
    let parts = plan.robust().random_groups;
    let each = plan.groups.iter().flat_map(|g| (0..parts).map(move |part| (g, part)));
    let mut all: Vec<Opened> = each
        .map(|(group, part)| {
            let values = group.shards.iter().map(|id| {
                let length = plan.shard(*id).unwrap().len();
                (*id, (0..length).map(|_| random.sum()).collect())
            });
            let values = values.collect();
            let members = u16::try_from(2 + random.below(5)).unwrap();
            let (weight, units) = (Some(1 + random.below(20_000)), Some(1 + random.below(90_000)));
            Opened { group: plan.part_id(group.id, part), values, mass: Counted { members, weight, units } }
        })
        .collect();
    if random.below(2) == 0 && all.len() > 1 {
        let at = usize::try_from(random.below(all.len() as u64)).unwrap();
        all.remove(at);
    }
    all
}

fn mass(plan: &Plan, counted: Counted) -> Mass {
    match (plan.privacy.mode.joint(), plan.weighting) {
        (Some(_), _) => Mass::Gradient { units: counted.units.unwrap(), rate: plan.privacy.sampling_rate, clip: plan.privacy.clip },
        (None, Weighting::Declared { max_weight }) => Mass::Weights { sum: counted.weight.unwrap(), most: max_weight },
        (None, Weighting::Uniform) => Mass::Members(counted.members.into()),
    }
}

/// The step as the server takes it, from the training room's functions.
fn taken(plan: &Plan, before: &[u8], state: &StrategyState, opened: &[Opened]) -> Option<(Vec<u8>, StrategyState)> {
    let counting = plan.counting(&opened.iter().map(|o| o.group).collect::<Vec<_>>());
    let mut mean = Vec::new();
    for planned in &plan.groups {
        let part = |o: &&Opened| counting.contains(&o.group) && plan.sum_of_part(o.group).map(|g| g.id) == Some(planned.id);
        let sums: Vec<GroupSum<'_>> =
            opened.iter().filter(part).map(|o| GroupSum { shards: &o.values, mass: mass(plan, o.mass) }).collect();
        if !sums.is_empty() {
            mean.extend(combine::combine(&plan.shards, plan.robust().combine, &sums).unwrap());
        }
    }
    if counting.is_empty() {
        return None;
    }
    let mean = if plan.privacy.mode.joint().is_some() { combine::descent(mean) } else { mean };
    let weights = snapshot::from_bytes(&plan.model, before).unwrap();
    let (state, next) = train::strategy::advance(&plan.strategy, &plan.shards, state, &weights, &mean).unwrap();
    Some((snapshot::to_bytes(&next).unwrap(), state))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_auditors_step_is_the_servers_bit_for_bit(case in case()) {
        let (plan, mut random) = (plan(&case), Pseudo(case.seed));
        let first = train::model::initial(&plan.model, case.seed).unwrap();
        let mut bytes = snapshot::to_bytes(&first).unwrap();
        let (mut state, mut memory) = (StrategyState::default(), Memory::default());
        for round in 0..ROUNDS {
            let mut opened = opened(&plan, &mut random);
            let theirs = taken(&plan, &bytes, &state, &opened);
            opened.reverse();
            let ours = step::advance(&plan, bytes.clone(), memory.clone(), &opened);
            match (theirs, ours) {
                (Some((theirs, next)), Ok((ours, kept))) => {
                    prop_assert!(theirs == ours, "round {}: other bytes", round);
                    prop_assert!(theirs != bytes, "round {}: nothing moved", round);
                    prop_assert_eq!(next.momentum.len(), kept.momentum.len());
                    (bytes, state, memory) = (theirs, next, kept);
                }
                (None, Err(step::StepError::TooFew { .. })) => {}
                (theirs, ours) => prop_assert!(false, "round {}: {:?} and {:?}", round, theirs.is_some(), ours.err()),
            }
        }
    }

    /// What the auditor holds against the plan's bound is the norm that the server computes, within the stated margin.
    #[test]
    fn the_auditors_norm_is_the_servers(case in case()) {
        let (plan, mut random) = (plan(&case), Pseudo(case.seed));
        for one in opened(&plan, &mut random) {
            let theirs = combine::norm(&plan.shards, &GroupSum { shards: &one.values, mass: mass(&plan, one.mass) }).unwrap();
            let squares: Vec<_> = one.values.iter().map(|(id, v)| (*id, v.iter().map(|v| u128::from(v.unsigned_abs()).pow(2)).sum())).collect();
            let values = one.values.iter().map(|(_, v)| v.len() as u64).sum();
            let ours = step::norm(&plan, one.mass, &squares).unwrap();
            prop_assert!(!step::is_beyond(ours, theirs, values) && !step::is_beyond(theirs, ours, values), "{} {}", ours, theirs);
            prop_assert!(step::is_beyond(ours, theirs * 0.999_999, values));
        }
    }
}

/// Every strategy moves a frozen tensor of no shard not at all, and an unopened shard neither.
#[test]
fn what_was_not_opened_stays() {
    let robustness = Robustness::NONE;
    let case = Case {
        strategy: Strategy::FedAvg { rate: decimal("1") },
        weighting: Weighting::Uniform,
        joint: false,
        robustness,
        shards: 3,
        apart: true,
        seed: 5,
    };
    let (plan, mut random) = (plan(&case), Pseudo(9));
    let first = train::model::initial(&plan.model, 5).unwrap();
    let bytes = snapshot::to_bytes(&first).unwrap();
    let all = opened(&plan, &mut random);
    let (next, _) = step::advance(&plan, bytes, Memory::default(), &all[..1]).unwrap();
    let next = snapshot::from_bytes(&plan.model, &next).unwrap();
    let trained: Vec<&str> = plan.shard(all[0].values[0].0).unwrap().tensors.iter().map(|t| t.name.as_str()).collect();
    for p in next.table().iter() {
        let moved = next.flat()[p.range()] != first.flat()[p.range()];
        assert_eq!(moved, trained.contains(&p.name.as_str()), "{}", p.name);
    }
}

//! Tiers: whom they let train what, and what makes them impossible.

use super::*;
use crate::codec;
use crate::manifest::Manifest;
use crate::plan::PlanError;

fn id(n: u8) -> ClientId {
    ClientId([n; 32])
}

fn shard(n: u32) -> ShardId {
    ShardId(n)
}

/// Four shards with a sum each: the lower part, the top, a factor of two turns.
fn plan() -> Plan {
    let shard = |i: u32| serde_json::json!({"id": i, "tensors": [{"name": format!("t{i}"), "shape": [8 + i]}], "step_exponent": -12});
    let group = |i: u32| serde_json::json!({"id": i, "shards": [i], "bits": 16});
    let json = serde_json::json!({
        "federation": "demo", "task": crate::ids::TaskId([1; 16]),
        "model": {"vocab": 64, "max_tokens": 16, "width": 8, "heads": 2, "layers": 1, "hidden": 16, "classes": ["no", "yes"]},
        "tokenizer": "hashed-characters", "base": crate::ids::SnapshotDigest([5; 32]), "rounds": 4,
        "shards": (0..4).map(shard).collect::<Vec<_>>(), "groups": (0..4).map(group).collect::<Vec<_>>(), "cohort_min": 2, "n_max": 10,
        "committee": {"decryptors": 3, "corrupt": 1},
        "privacy": {"unit": "record", "mode": "local", "clip_function": "auto-s", "clip": "1", "grid_bits": 16, "noise_multiplier": "2",
            "sampling_rate": "0.01", "delta": "0.000001", "epsilon_cap": "6", "max_records_per_unit": 1},
        "local": {"steps": 3, "micro_batch": 4, "learning_rate": "0.001", "warmup_steps": 1, "weight_decay": "0.01"},
        "weighting": "uniform", "strategy": {"fed-avg": {"rate": "1"}},
        "deadlines": {"selecting_ms": 1000, "reporting_ms": 1000, "certifying_ms": 1000, "opening_ms": 1000}
    });
    serde_json::from_value(json).unwrap()
}

fn tier(name: &str, shards: &[(u32, Turn)], institutions: &[u8]) -> Tier {
    let shards = shards.iter().map(|&(s, turn)| Assigned { shard: shard(s), turn }).collect();
    Tier { name: name.into(), shards, institutions: institutions.iter().map(|&n| id(n)).collect() }
}

/// Everybody else trains 0 and 1; institutions 7, 8 and 9 only 1, and 2 and 3 in turn.
fn mixed() -> Plan {
    let [odd, even] = [0, 1].map(|at| Turn { every: 2, at });
    let tiers = vec![
        tier("full", &[(0, Turn::ALWAYS), (1, Turn::ALWAYS)], &[]),
        tier("small", &[(1, Turn::ALWAYS), (2, odd), (3, even)], &[7, 8, 9]),
    ];
    Plan { tiers: Some(tiers), ..plan() }
}

fn groups(plan: &Plan, round: u64, ready: &[u8]) -> Vec<(u32, Vec<ClientId>)> {
    let parts = [ready.iter().map(|&n| id(n)).collect::<Vec<_>>()];
    Manifest::groups_of(plan, RoundId(round), &parts).unwrap().into_iter().map(|g| (g.id.0, g.eligible)).collect()
}

#[test]
fn a_plan_without_tiers_is_the_bytes_it_always_was_and_tiers_come_back() {
    let (old, new) = (plan(), mixed());
    assert_eq!((old.check(), new.check()), (Ok(()), Ok(())));
    let bytes = codec::encode(&old);
    assert!(!String::from_utf8(serde_json::to_vec(&old).unwrap()).unwrap().contains("tiers"));
    // The head of an array of sixteen fields: those before the optional ones.
    assert_eq!(bytes[0], 0x90, "what is not there takes no byte");
    for plan in [old, new] {
        assert_eq!(codec::decode::<Plan>(&codec::encode(&plan), 1 << 20), Ok(plan.clone()));
        assert_eq!(serde_json::from_value::<Plan>(serde_json::to_value(&plan).unwrap()).unwrap(), plan);
    }
}

/// Each shard has its own members: those that train it in this round, and nobody else.
#[test]
fn a_group_has_those_who_train_it_this_round_and_is_left_out_below_its_minimum() {
    let plan = mixed();
    let ids = |all: &[u8]| all.iter().map(|&n| id(n)).collect::<Vec<_>>();
    let all = [1, 2, 7, 8, 9];
    assert_eq!(groups(&plan, 1, &all), [(0, ids(&[1, 2])), (1, ids(&all)), (2, ids(&[7, 8, 9]))]);
    assert_eq!(groups(&plan, 2, &all), [(0, ids(&[1, 2])), (1, ids(&all)), (3, ids(&[7, 8, 9]))]);
    assert_eq!(groups(&plan, 3, &all), groups(&plan, 1, &all));
    // One full institution alone has no sum of its own to hide in: what only it trains waits.
    assert_eq!(groups(&plan, 1, &[1, 7, 8]), [(1, ids(&[1, 7, 8])), (2, ids(&[7, 8]))]);
    assert_eq!(groups(&plan, 1, &[1, 7]), [(1, ids(&[1, 7]))]);
    assert_eq!(groups(&plan, 1, &[7]), []);
    // A plan without tiers keeps all groups, as ever.
    assert_eq!(groups(&super::tests::plan(), 1, &[1]).len(), 4);
}

#[test]
fn an_institution_sees_its_own_coordinates_and_no_others() {
    let plan = mixed();
    let (full, small) = (plan.seen_by(id(1)).unwrap(), plan.seen_by(id(8)).unwrap());
    let table = |p: &Plan| p.shards.iter().map(|s| s.id.0).collect::<Vec<_>>();
    assert_eq!((table(&full), table(&small)), (vec![0, 1], vec![1, 2, 3]));
    assert_eq!((full.dimension(), small.dimension(), plan.dimension()), (17, 30, 38));
    assert_eq!((full.check(), small.check()), (Ok(()), Ok(())));
    let active = |round| small.active(RoundId(round)).iter().map(|s| s.id.0).collect::<Vec<_>>();
    assert_eq!([active(1), active(2), active(3)], [vec![1, 2], vec![1, 3], vec![1, 2]]);
    assert_eq!(plan.seen_by_tier("small").as_ref(), Some(&*small));
    assert_eq!((plan.seen_by_tier("full").as_ref(), plan.seen_by_tier("large")), (Some(&*full), None));
    assert_eq!(super::tests::plan().seen_by_tier("full"), None);
    let closed = Plan { tiers: Some(vec![tier("named", &[(0, Turn::ALWAYS)], &[1, 2])]), ..plan };
    assert!(closed.seen_by(id(3)).is_none() && closed.tier_of(id(3)).is_none());
    assert_eq!(super::tests::plan().seen_by(id(3)).unwrap().dimension(), 38);
}

#[test]
fn impossible_tiers_are_refused_by_what_was_expected_and_found() {
    let refused = |change: &dyn Fn(&mut Plan)| {
        let mut plan = mixed();
        change(&mut plan);
        match plan.check() {
            Err(PlanError::Tiers(e)) => e,
            other => panic!("{other:?}"),
        }
    };
    let tiers = |f: fn(&mut Vec<Tier>)| refused(&|p| f(p.tiers.as_mut().unwrap()));
    let missing = tiers(|t| t[1].shards[2].shard = ShardId(17));
    assert_eq!(missing.to_string(), "tier \"small\" trains shard 17, the plan's table has [0, 1, 2, 3]");
    assert!(matches!(tiers(|t| t.clear()), TierError::Count(0)));
    assert!(matches!(tiers(|t| t[0].name.clear()), TierError::Name(_)));
    assert!(matches!(tiers(|t| t[1].name = t[0].name.clone()), TierError::Name(_)));
    assert!(matches!(tiers(|t| t[1].shards.swap(0, 1)), TierError::Order(_)));
    assert!(matches!(tiers(|t| t[1].shards.clear()), TierError::Order(_)));
    assert!(matches!(tiers(|t| t[1].shards[1].turn.at = 2), TierError::Turn { every: 2, at: 2, .. }));
    assert!(matches!(tiers(|t| t[1].shards[1].turn.every = 0), TierError::Turn { every: 0, .. }));
    assert_eq!(tiers(|t| t[1].shards.truncate(2)), TierError::Untrained(shard(3)));
    assert_eq!(tiers(|t| t[1].institutions.swap(0, 1)), TierError::Institution(id(7)));
    assert_eq!(tiers(|t| t[0].institutions = vec![id(8)]), TierError::Institution(id(8)));
    assert!(matches!(tiers(|t| t[1].institutions.clear()), TierError::TwoOpen(..)));
    assert_eq!(tiers(|t| t[1].institutions.truncate(1)), TierError::Cohort { shard: shard(2), got: 1, cohort_min: 2 });
    assert!(matches!(
        refused(&|p| p.groups = vec![GroupPlan { id: GroupId(0), shards: (0..4).map(ShardId).collect(), bits: 16 }]),
        TierError::SplitGroup { .. }
    ));
    // Every part of a round of random groups would need every shard's minimum; shares of noise are calibrated for sums that all are in.
    let robustness = crate::plan::Robustness { random_groups: 3, combine: crate::plan::Combine::Mean, max_group_norm: None };
    assert_eq!(refused(&|p| p.robustness = Some(robustness)), TierError::RandomGroups(3));
    let joint = |p: &mut Plan| {
        p.privacy.mode = crate::plan::Mode::Distributed(crate::plan::Joint { colluding: 0, coalition_epsilon: "3".parse().unwrap() });
        (p.cohort_min, p.local.steps, p.local.warmup_steps) = (3, 1, 0);
        (p.local.learning_rate, p.local.weight_decay) = (crate::decimal::Decimal::ZERO, crate::decimal::Decimal::ZERO);
        p.shards.iter_mut().for_each(|s| s.step_exponent = -16);
    };
    assert_eq!(refused(&joint), TierError::Mode("distributed"));
}

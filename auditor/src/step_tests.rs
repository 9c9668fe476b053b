//! The step's edges; its arithmetic is compared with the federation's own in `tests/`.

use super::*;
use protocol::ids::SnapshotDigest;
use serde_json::json;

fn plan(changes: impl FnOnce(&mut serde_json::Value)) -> Plan {
    let mut json = json!({
        "federation": "demo", "task": "07".repeat(16),
        "model": {"vocab": 64, "max_tokens": 16, "width": 8, "heads": 2, "layers": 1, "hidden": 16, "classes": ["no", "yes"]},
        "tokenizer": "hashed-characters", "base": SnapshotDigest([5; 32]), "rounds": 2,
        "shards": [{"id": 0, "tensors": [{"name": "a", "shape": [2]}], "step_exponent": -4}],
        "groups": [{"id": 0, "shards": [0], "bits": 16}], "cohort_min": 2, "n_max": 10, "committee": {"decryptors": 3, "corrupt": 1},
        "privacy": {"unit": "record", "mode": "local", "clip_function": "auto-s", "clip": "1", "grid_bits": 16, "noise_multiplier": "2",
            "sampling_rate": "0.01", "delta": "0.000001", "epsilon_cap": "6", "max_records_per_unit": 1},
        "local": {"steps": 3, "micro_batch": 4, "learning_rate": "0.001", "warmup_steps": 1, "weight_decay": "0.01"},
        "weighting": "uniform", "strategy": {"fed-avg": {"rate": "1"}},
        "deadlines": {"selecting_ms": 1000, "reporting_ms": 1000, "certifying_ms": 1000, "opening_ms": 1000}
    });
    changes(&mut json);
    let plan: Plan = serde_json::from_value(json).unwrap();
    plan.check().unwrap();
    plan
}

fn file(numbers: [f32; 2]) -> Vec<u8> {
    let header = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
    let length = (header.len() as u64).to_le_bytes();
    [&length[..], header.as_bytes(), &numbers.map(f32::to_le_bytes).concat()].concat()
}

fn opened(group: u32, values: [i64; 2], members: u16) -> Opened {
    Opened { group: GroupId(group), values: vec![(ShardId(0), values.to_vec())], mass: Mass { members, weight: None, units: None } }
}

fn step(plan: &Plan, before: &[u8], opened: &[Opened]) -> Result<Vec<u8>, StepError> {
    advance(plan, before.to_vec(), Memory::default(), opened).map(|(bytes, _)| bytes)
}

#[test]
fn a_sum_is_divided_by_its_members_and_added() {
    let plan = plan(|_| ());
    // 16 steps of 1/16 over 2 members, and -8 of them.
    assert_eq!(step(&plan, &file([1.0, 2.0]), &[opened(0, [16, -8], 2)]), Ok(file([1.5, 1.75])));
    assert_eq!(step(&plan, &file([1.0, 2.0]), &[opened(0, [16, -8], 0)]), Err(StepError::Mass(GroupId(0))));
    assert_eq!(step(&plan, &file([1.0, 2.0]), &[]), Err(StepError::TooFew { got: 0, needed: 1 }));
    let short = Opened { values: vec![(ShardId(0), vec![1])], ..opened(0, [0, 0], 2) };
    assert_eq!(step(&plan, &file([1.0, 2.0]), &[short]), Err(StepError::Shards(GroupId(0))));
    assert_eq!(step(&plan, &file([f32::MAX, 2.0]), &[opened(0, [i64::MAX, 0], 2)]), Ok(file([f32::MAX, 2.0])), "rounded away");
    assert_eq!(step(&plan, &file([f32::INFINITY, 2.0]), &[opened(0, [1, 0], 2)]), Err(StepError::NotFinite("a".into())));
    assert!(matches!(step(&plan, b"", &[opened(0, [1, 0], 2)]), Err(StepError::Snapshot(Malformed::Format))));
}

/// Three random groups, of which one is hostile: the median of the means of all, whatever their order.
#[test]
fn a_hostile_group_is_outvoted_and_order_has_no_effect() {
    let robust = |combine: serde_json::Value| plan(|json| json["robustness"] = json!({ "random_groups": 3, "combine": combine }));
    let groups = [opened(0, [32, 0], 2), opened(1, [i64::MAX >> 16, 0], 3), opened(2, [96, 0], 3)];
    let mut turned = groups.clone();
    turned.reverse();
    for combine in [json!("median"), json!({ "trimmed-mean": { "trim": 1 } })] {
        let plan = robust(combine);
        // 1, 2 and something huge: 2 is in the middle.
        assert_eq!(step(&plan, &file([0.0, 0.0]), &groups), Ok(file([2.0, 0.0])));
        assert_eq!(step(&plan, &file([0.0, 0.0]), &turned), Ok(file([2.0, 0.0])));
        assert_eq!(step(&plan, &file([0.0, 0.0]), &groups[..2]), Err(StepError::TooFew { got: 0, needed: 3 }));
    }
}

#[test]
fn memory_of_another_model_is_refused() {
    let plan = plan(|json| json["strategy"] = json!({ "fed-avg-m": { "rate": "1", "momentum": "0.5" } }));
    let short = Memory { momentum: vec![0.0], square: Vec::new() };
    assert_eq!(advance(&plan, file([0.0, 0.0]), short, &[opened(0, [1, 1], 2)]).err(), Some(StepError::Memory));
}

#[test]
fn powers_of_two_are_exact() {
    assert!((i8::MIN..=i8::MAX).all(|e| power_of_two(e) == 2f64.powi(i32::from(e))));
}

/// The sum of squares is exact; a server's own rounding is forgiven, a thousandth is not.
#[test]
fn a_norm_is_beyond_its_bound_only_for_certain() {
    let plan = plan(|_| ());
    let mass = Mass { members: 2, weight: None, units: None };
    // 3-4-5: sums of 48 and 64 sixteenths over two members.
    let norm = norm(&plan, mass, &[(ShardId(0), 48 * 48 + 64 * 64)]).unwrap();
    assert_eq!(norm, 2.5);
    assert!(!is_beyond(norm, 2.5, 2) && !is_beyond(norm, 2.5 * (1.0 - 1e-13), 2) && is_beyond(norm, 2.5 * (1.0 - 1e-12), 2));
    assert!(!is_beyond(norm, 2.5 * (1.0 - 1e-7), 1 << 30) && is_beyond(norm, 2.4975, 1 << 30));
    assert!(is_beyond(f64::NAN, 1.0, 1));
    let unknown = [(ShardId(1), 1u128)];
    assert_eq!(super::norm(&plan, mass, &unknown), None);
    assert_eq!(super::norm(&plan, Mass { members: 0, ..mass }, &[]), None);
}

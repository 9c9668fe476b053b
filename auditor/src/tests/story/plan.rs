//! The plan of a story, with what the story wants of it.

use super::super::twist::Twist;
use super::TASK;
use super::counting;
use super::model::{base_snapshot, snapshot_digest};
use protocol::plan::Plan;

pub(crate) fn plan(twist: Twist) -> Plan {
    let mut json = serde_json::json!({
        "federation": "demo", "task": TASK,
        "model": {"vocab": 64, "max_tokens": 16, "width": 8, "heads": 2, "layers": 1, "hidden": 16, "classes": ["no", "yes"]},
        "tokenizer": "hashed-characters", "base": snapshot_digest(&base_snapshot()), "rounds": 2,
        "shards": [{"id": 0, "tensors": [{"name": "embedding", "shape": [64, 8]}], "step_exponent": -12}],
        "groups": [{"id": 0, "shards": [0], "bits": 16}], "cohort_min": 2, "n_max": 10,
        "committee": {"decryptors": 3, "corrupt": 1},
        "privacy": {"unit": "record", "mode": "local", "clip_function": "auto-s", "clip": "1", "grid_bits": 16, "noise_multiplier": "2",
            "sampling_rate": "0.01", "delta": "0.000001", "epsilon_cap": "6", "max_records_per_unit": 1},
        "local": {"steps": 3, "micro_batch": 4, "learning_rate": "0.001", "warmup_steps": 1, "weight_decay": "0.01"},
        "weighting": "uniform", "strategy": {"fed-avg": {"rate": "1"}},
        "deadlines": {"selecting_ms": 1000, "reporting_ms": 1000, "certifying_ms": 1000, "opening_ms": 1000}
    });
    if [Twist::Hybrid, Twist::HybridOverstated, Twist::HybridBelowMinimum].contains(&twist) {
        let epsilon = if twist == Twist::HybridOverstated { "0.01" } else { "3" };
        json["privacy"]["mode"] = serde_json::json!({ "hybrid": { "colluding": 0, "coalition_epsilon": epsilon } });
        json["local"] = serde_json::json!({
            "steps": 1, "micro_batch": 4, "learning_rate": "0", "warmup_steps": 0, "weight_decay": "0"
        });
        (json["cohort_min"], json["groups"][0]["bits"], json["shards"][0]["step_exponent"]) = (3.into(), 24.into(), (-16).into());
    }
    if twist.has_gates() {
        json["gates"] = serde_json::json!([
            {"code": "epsilon", "threshold": "6"}, {"code": "cohort", "threshold": "3"}, {"code": "accuracy", "threshold": "0.9"}
        ]);
    }
    if [Twist::Weighted, Twist::OtherWeight, Twist::WeightedByTally].contains(&twist) {
        json["weighting"] = serde_json::json!({ "declared": { "max_weight": 20_000 } });
    }
    if [Twist::Weighted, Twist::LongMean].contains(&twist) {
        // The values cover their whole range: a mean of 512 numbers up to 8.
        let most = if twist == Twist::LongMean { "50" } else { "400" };
        json["robustness"] = serde_json::json!({ "random_groups": 1, "combine": "mean", "max_group_norm": most });
    }
    if twist == Twist::Momentum {
        json["strategy"] = serde_json::json!({ "fed-avg-m": { "rate": "0.5", "momentum": "0.75" } });
    }
    if twist == Twist::Adam {
        json["strategy"] = serde_json::json!({ "fed-adam": { "rate": "0.1", "momentum": "0.9", "decay": "0.99", "floor": "0.001" } });
    }
    let plan: Plan = serde_json::from_value(json).unwrap();
    let plan = if twist.counts() { counting::turned(plan, twist) } else { plan };
    plan.check().unwrap();
    plan
}

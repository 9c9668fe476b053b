//! Sums as the server keeps them after a round: what was opened is what was sealed, and gives the next weights.

use super::*;
use protocol::ids::SnapshotDigest;
use protocol::plan::Plan;
use std::collections::{BTreeMap, BTreeSet};

/// What the server opened in a round: the integers of each group, by shard.
pub(super) fn opened(f: &Federation, plan: &Plan, round: u64) -> BTreeMap<u32, BTreeMap<u32, Vec<i64>>> {
    let file = f.server_dir().join("sums").join(plan.task.to_hex()).join(format!("{round:08}.json"));
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

/// Each round opened so many groups, exactly those that somebody sealed for, and each to the sum of what its members sealed.
pub(super) fn opened_sums_are_exact(f: &Federation, plan: &Plan, groups: usize, members: &[usize]) {
    let integers = f.integers.lock().unwrap();
    for round in 1..=plan.rounds {
        let sums = opened(f, plan, round);
        assert_eq!(sums.len(), groups, "round {round}");
        let sealed: BTreeSet<u32> = integers.keys().filter(|(r, ..)| *r == round).map(|(_, group, _)| *group).collect();
        assert_eq!(sealed, sums.keys().copied().collect::<BTreeSet<_>>(), "round {round}");
        for (group, shards) in sums {
            let opened: Vec<i64> = shards.into_values().flatten().collect();
            let mut plain = vec![0i64; opened.len()];
            let here: Vec<_> = members.iter().filter_map(|m| integers.get(&(round, group, *m))).collect();
            here.iter().for_each(|v| plain.iter_mut().zip(v.iter()).for_each(|(p, x)| *p += i64::from(*x)));
            assert_eq!(opened, plain, "round {round}, group {group}");
        }
    }
}

/// The weights that `rate 1` gives from the opened integers of round 1, by the definition of crypto.md C24 alone.
#[expect(clippy::cast_possible_truncation, reason = "weights of a model are 32-bit floats")]
pub(super) fn stepped(f: &Federation, plan: &Plan, divisor: f64) -> SnapshotDigest {
    let base = std::fs::read(f.dir.path().join("base.safetensors")).unwrap();
    let mut flat = train::snapshot::from_bytes(&plan.model, &base).unwrap().flat().to_vec();
    let sums = opened(f, plan, 1);
    let step = 2f64.powi(i32::from(plan.shards[0].step_exponent));
    flat.iter_mut().zip(&sums[&0][&0]).for_each(|(w, &v)| *w += (v as f64 * (step / divisor)) as f32);
    let next = train::model::Weights::new(&plan.model, flat).unwrap();
    train::snapshot::digest(&train::snapshot::to_bytes(&next).unwrap())
}

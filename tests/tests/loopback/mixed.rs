//! Several sums in one round: institutions that train different parts of one model, and random groups. Each sum has its own cohort and its own
//! divisor.

use super::sums::opened;
use super::*;
use protocol::ids::{ClientId, ShardId};
use protocol::plan::Plan;
use std::collections::{BTreeMap, BTreeSet};

fn id_of(f: &Federation, index: usize) -> ClientId {
    let bytes = std::fs::read(f.dir.path().join(name(index)).join("identity.json")).unwrap();
    serde_json::from_slice::<client::identity::Identity>(&bytes).unwrap().client
}

/// Two blocks with adapters; the institutions `small` train the upper one, `low` the factors of adapters by turns and the shifts, all others
/// everything.
fn mixed_toml(f: &Federation, rounds: u64, (small, low): (&[usize], &[usize])) -> String {
    let ids = |all: &[usize]| all.iter().map(|&i| format!("\"{}\"", id_of(f, i))).collect::<Vec<_>>().join(", ");
    let plan = plan_toml(rounds, 120_000, 1).replace("n_max = 4", "n_max = 6");
    let plan = plan.replace("layers = 1", "layers = 2\nadapter = { rank = 2, alpha = 4, targets = [\"qkv\"] }");
    let tier = |name: &str, trains: &str, who: &str| format!("[[tiers]]\nname = \"{name}\"\ntrains = [{trains}]\n{who}\n");
    let full = tier("full", "\"full\"", "");
    let top = tier("top", "{ layers = { from = 1, to = 2 } }", &format!("institutions = [{}]", ids(small)));
    let turns = tier("turns", "\"lora-alternating\"", &format!("institutions = [{}]", ids(low)));
    [plan, full, top, turns].concat()
}

/// The weights that `rate 1` gives from the opened integers of a round: every shard divided by its own cohort, by names alone.
#[expect(clippy::cast_possible_truncation, reason = "weights of a model are 32-bit floats")]
pub(super) fn stepped_by_shard(f: &Federation, plan: &Plan, round: u64, from: &[u8], cohorts: &BTreeMap<u32, usize>) -> Vec<u8> {
    let start = train::snapshot::from_bytes(&plan.model, from).unwrap();
    let mut flat = start.flat().to_vec();
    for (group, shards) in opened(f, plan, round) {
        for (shard, values) in shards {
            let spec = plan.shard(ShardId(shard)).unwrap();
            let scale = 2f64.powi(i32::from(spec.step_exponent)) / cohorts[&group] as f64;
            let mut values = values.into_iter();
            for tensor in &spec.tensors {
                let place = start.table().find(&tensor.name).unwrap().range();
                flat[place].iter_mut().zip(&mut values).for_each(|(w, v)| *w += (v as f64 * scale) as f32);
            }
        }
    }
    train::snapshot::to_bytes(&train::model::Weights::new(&plan.model, flat).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn full_and_small_institutions_train_one_model_and_each_shard_has_its_own_cohort() {
    let mut f = Federation::start(6).await;
    let (small, low) = (&[2usize, 3][..], &[4usize, 5][..]);
    let plan = f.propose(&mixed_toml(&f, 2, (small, low))).await;
    let status = f.ended().await;
    assert_eq!(status.round, Some(RoundId(2)));
    let verdict = f.verify(&f.log());
    assert!(verdict.verified && verdict.findings.is_empty(), "{:?}", verdict.findings);

    let [below, upper, factor_b, factor_a] = ["embeddings.tokens", "classifier", "lora_B", "lora_A"].map(|part| {
        let has = |s: &&protocol::plan::ShardSpec| s.tensors.iter().any(|t| t.name.contains(part));
        plan.shards.iter().find(has).unwrap().id.0
    });
    let mut weights = std::fs::read(f.dir.path().join("base.safetensors")).unwrap();
    for (round, turn) in [(1, factor_b), (2, factor_a)] {
        let cohorts: BTreeMap<u32, usize> =
            verdict.tasks[0].rounds[usize::try_from(round - 1).unwrap()].groups.iter().map(|g| (g.group, g.cohort)).collect();
        assert_eq!(cohorts, BTreeMap::from([(below, 2), (upper, 4), (turn, 2)]), "round {round}");
        weights = stepped_by_shard(&f, &plan, round, &weights, &cohorts);
        let published = f.has_published(train::snapshot::digest(&weights));
        assert!(published, "round {round}: the next weights are not each shard's sum over its own cohort");
    }
    // Nobody sealed a coordinate that is not its own, and what was opened is what was sealed.
    opened_sums_are_exact(&f, &plan, 3, &[0, 1, 2, 3, 4, 5]);
    let integers = f.integers.lock().unwrap();
    let who = |group: u32| integers.keys().filter(|(_, g, _)| *g == group).map(|(.., i)| *i).collect::<BTreeSet<_>>();
    assert_eq!([below, upper, factor_a].map(who), [vec![0, 1], vec![0, 1, 2, 3], vec![4, 5]].map(|w| w.into_iter().collect()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn random_groups_are_dealt_by_the_committee_and_each_is_opened_by_itself() {
    let mut f = Federation::start(6).await;
    let plan = plan_toml(1, 120_000, 1).replace("n_max = 4", "n_max = 6");
    let plan = f.propose(&format!("{plan}[robustness]\nrandom_groups = 3\ncombine = \"median\"\nmax_group_norm = \"1000\"\n")).await;
    f.ended().await;
    opened_sums_are_exact(&f, &plan, 3, &[0, 1, 2, 3, 4, 5]);
    let verdict = f.verify(&f.log());
    assert!(verdict.verified, "{:?}", verdict.findings);
    let round = &verdict.tasks[0].rounds[0];
    assert_eq!((round.state, round.groups.iter().map(|g| g.cohort).collect::<Vec<_>>()), ("closed", vec![2, 2, 2]));
}

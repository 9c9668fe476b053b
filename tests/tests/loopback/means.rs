//! What a sum is divided by, and who gives a share to it: declared weights, and modes in which institutions noise one sum together.

use super::sums::stepped;
use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn institutions_of_different_sizes_are_averaged_by_their_declared_weight() {
    let mut f = Federation::of_sizes(&[40, 90]).await;
    let plan = plan_toml(1, 120_000, 1).replace("decryptors = 4", "decryptors = 2");
    // 90 units count as 80, so the mean is divided by (40 + 80) ÷ 80.
    let plan = format!("weighting = {{ declared = {{ max_weight = 80 }} }}\n{plan}");
    let plan = f.propose(&plan).await;
    f.ended().await;
    opened_sums_are_exact(&f, &plan, plan.groups.len(), &[0, 1]);
    let verdict = f.verify(&f.log());
    assert!(verdict.verified, "{:?}", verdict.findings);
    let there = |divisor| f.has_published(stepped(&f, &plan, divisor));
    assert!(there(120.0 / 80.0) && !there(2.0), "the next weights are not the weighted mean");
}

/// A plan in which institutions noise one sum per round together.
fn joint_toml(mode: &str, rounds: u64) -> String {
    let plan = plan_toml(rounds, 120_000, 1).replace("steps = 2", "steps = 1").replace("bits = 16", "bits = 24");
    let plan = plan.replace("cohort_min = 2", "cohort_min = 3").replace("decryptors = 4", "decryptors = 3");
    let plan = plan.replace("epsilon = \"8\"", "epsilon = \"4\"");
    let plan = plan.replace("learning_rate = \"0.01\"", "learning_rate = \"0\"").replace("warmup_steps = 1", "warmup_steps = 0");
    plan.replace("[privacy]\n", &format!("[privacy]\nmode = {mode}\ngrid_bits = 14\n"))
}

/// privacy.md D7, D15: the opened integers over what the set was expected to sample are a gradient, and the server steps against it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn institutions_that_share_noise_open_a_sum_of_gradients_that_the_server_steps_against() {
    let mut f = Federation::of_sizes(&[40, 60, 90]).await;
    let plan = f.propose(&joint_toml("{ hybrid = { colluding = 0, epsilon_floor = \"8\" } }", 2)).await;
    f.ended().await;
    opened_sums_are_exact(&f, &plan, plan.groups.len(), &[0, 1, 2]);
    let verdict = f.verify(&f.log());
    assert!(verdict.verified && verdict.findings.is_empty(), "{:?}", verdict.findings);
    // Descent: minus the sum over q·(40 + 60 + 90) expected units, in steps of C·2^-14.
    let there = |divisor| f.has_published(stepped(&f, &plan, divisor));
    assert!(there(-0.25 * 190.0) && !there(0.25 * 190.0) && !there(3.0), "the next weights are not one step of descent");
}

/// D10: a share that is worth little alone is not given unless the site policy says "none".
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn institutions_decline_to_rely_on_others_unless_they_said_so() {
    let mut f = Federation::start(3).await;
    f.propose(&joint_toml("{ distributed = { colluding = 0 } }", 1)).await;
    let status = f.ended().await;
    assert_eq!(status.round, Some(RoundId(1)));
    let verdict = f.verify(&f.log());
    assert_eq!(verdict.tasks[0].rounds[0].state, "abandoned");
    assert!(f.integers.lock().unwrap().is_empty(), "somebody trained");
}

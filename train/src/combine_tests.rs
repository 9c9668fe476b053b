//! A weighted mean is the mean that its definition says, whatever order and groups it is made in.

use super::*;
use proptest::prelude::*;

const STEP: i8 = -8;

fn table(shards: u32) -> Vec<ShardSpec> {
    (0..shards).map(|i| ShardSpec { id: ShardId(i), tensors: Vec::new(), step_exponent: STEP }).collect()
}

fn step() -> f64 {
    2f64.powi(i32::from(STEP))
}

fn clients() -> impl Strategy<Value = Vec<(u64, Vec<f64>)>> {
    proptest::collection::vec((1u64..=5000, proptest::collection::vec(-100.0f64..100.0, 3)), 1..9)
}

proptest! {
    /// C24: Σ W_i·x_i ÷ Σ W_i, up to the rounding of each client to one step of the weighted delta.
    #[test]
    fn the_weighted_mean_is_its_definition_within_one_step(clients in clients(), most in 5000u64..1_000_000) {
        let quantised = |w: u64, x: f64| (x * (w as f64 / most as f64) / step()).round() as i64;
        let sums: Vec<i64> = (0..3).map(|j| clients.iter().map(|(w, x)| quantised(*w, x[j])).sum()).collect();
        let total: u64 = clients.iter().map(|(w, _)| *w).sum();
        let shards = [(ShardId(0), sums)];
        let mass = Mass::Weights { sum: total, most };
        let mean = group_mean(&table(1), &GroupSum { shards: &shards, mass }).unwrap();
        for j in 0..3 {
            let exact = clients.iter().map(|(w, x)| *w as f64 * x[j]).sum::<f64>() / total as f64;
            // Each client is off by at most half a step; the divisor may be far below 1 where weights are small.
            let slack = step() * clients.len() as f64 / 2.0 / mass.divisor() + 1e-4;
            prop_assert!((f64::from(mean[0].1[j]) - exact).abs() <= slack, "{} {exact}", mean[0].1[j]);
        }
    }

    /// Institutions of the largest weight are averaged as if nobody were weighed.
    #[test]
    fn equal_weights_of_the_maximum_are_the_uniform_mean(values in proptest::collection::vec(-1_000_000i64..1_000_000, 1..20), members in 1u16..50, most in 1u64..1 << 40) {
        let shards = [(ShardId(0), values)];
        let weighed = Mass::Weights { sum: u64::from(members) * most, most };
        let a = group_mean(&table(1), &GroupSum { shards: &shards, mass: weighed }).unwrap();
        let b = group_mean(&table(1), &GroupSum { shards: &shards, mass: Mass::Members(members) }).unwrap();
        prop_assert_eq!(a, b);
    }
}

#[test]
fn a_sum_over_nobody_or_of_an_unknown_shard_has_no_mean() {
    let shards = [(ShardId(0), vec![1])];
    let of = |mass, count| group_mean(&table(count), &GroupSum { shards: &shards, mass });
    assert_eq!(of(Mass::Members(0), 1), Err(CombineError::Nobody));
    assert_eq!(of(Mass::Members(1), 0), Err(CombineError::UnknownShard(ShardId(0))));
}

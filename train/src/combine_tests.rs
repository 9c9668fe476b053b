//! A weighted mean is the mean that its definition says, whatever order and groups it is made in.
#![expect(clippy::cast_possible_truncation, reason = "made-up deltas are small")]

use super::*;
use proptest::prelude::*;

fn group_mean(table: &[ShardSpec], group: &GroupSum<'_>) -> Result<Vec<(ShardId, Vec<f32>)>, CombineError> {
    combine(table, Combine::Mean, &[*group])
}

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
    fn equal_weights_of_the_maximum_are_the_uniform_mean(values in proptest::collection::vec(-1_000_000i64..1_000_000, 1..20), members in 1u32..50, most in 1u64..1 << 40) {
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

/// Groups of one shard with three coordinates: (members, sums).
fn groups(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<(u32, Vec<i64>)>> {
    proptest::collection::vec((2u32..20, proptest::collection::vec(-1_000_000i64..1_000_000, 3)), count)
}

fn combined(how: Combine, groups: &[(u32, Vec<i64>)]) -> Result<Vec<f32>, CombineError> {
    let shards: Vec<_> = groups.iter().map(|(_, sums)| [(ShardId(0), sums.clone())]).collect();
    let sums: Vec<_> = groups.iter().zip(&shards).map(|((n, _), s)| GroupSum { shards: s, mass: Mass::Members(*n) }).collect();
    combine(&table(1), how, &sums).map(|mut c| c.remove(0).1)
}

fn ways() -> impl Strategy<Value = Combine> {
    prop_oneof![Just(Combine::Mean), Just(Combine::Median), (1u16..=2).prop_map(|trim| Combine::TrimmedMean { trim })]
}

proptest! {
    /// The mean of groups is the mean over everybody, bit for bit.
    #[test]
    fn the_mean_of_groups_is_the_mean_over_everybody(groups in groups(1..8)) {
        let sums = (0..3).map(|j| groups.iter().map(|(_, s)| s[j]).sum()).collect();
        let everybody = (groups.iter().map(|(n, _)| n).sum(), sums);
        prop_assert_eq!(combined(Combine::Mean, &groups), combined(Combine::Mean, &[everybody]));
    }

    #[test]
    fn the_order_of_groups_does_not_matter(groups in groups(5..9), how in ways(), turn in 1usize..5) {
        let mut turned = groups.clone();
        turned.rotate_left(turn);
        turned.swap(0, 1);
        prop_assert_eq!(combined(how, &groups), combined(how, &turned));
    }

    /// Median and trimmed mean stay within the honest means, whatever one group (or as many as are trimmed) holds.
    #[test]
    fn hostile_groups_cannot_leave_the_range_of_the_honest(honest in groups(4..8), lies in groups(1..3), values in proptest::collection::vec(any::<i32>(), 3)) {
        for (how, hostile) in [(Combine::Median, 1), (Combine::TrimmedMean { trim: 1 }, 1), (Combine::TrimmedMean { trim: 2 }, lies.len())] {
            let hostile: Vec<_> = lies.iter().take(hostile).map(|(n, _)| (*n, values.iter().map(|&v| i64::from(v) * 1000).collect())).collect();
            let all: Vec<_> = hostile.into_iter().chain(honest.clone()).collect();
            let Ok(result) = combined(how, &all) else { continue };
            for j in 0..3 {
                let means: Vec<f64> = honest.iter().map(|(n, s)| s[j] as f64 * step() / f64::from(*n)).collect();
                let (low, high) = (means.iter().copied().fold(f64::MAX, f64::min), means.iter().copied().fold(f64::MIN, f64::max));
                let slack = 1e-6 * (low.abs() + high.abs()) + 1e-9;
                prop_assert!((low - slack..=high + slack).contains(&f64::from(result[j])), "{how:?} {low} {} {high}", result[j]);
            }
        }
    }
}

#[test]
fn known_medians_and_trimmed_means() {
    let of = |values: &[i64]| values.iter().map(|&v| (1, vec![v * 256])).collect::<Vec<_>>();
    assert_eq!(combined(Combine::Median, &of(&[9, -500, 1])), Ok(vec![1.0]));
    assert_eq!(combined(Combine::Median, &of(&[4, 1, 900, 2])), Ok(vec![3.0]));
    assert_eq!(combined(Combine::TrimmedMean { trim: 1 }, &of(&[1, 2, 6, 900])), Ok(vec![4.0]));
    assert_eq!(combined(Combine::TrimmedMean { trim: 2 }, &of(&[1, 2, 6, 900])), Err(CombineError::TooFew { got: 4, needed: 5 }));
    assert_eq!(combined(Combine::Median, &of(&[1, 2])), Err(CombineError::TooFew { got: 2, needed: 3 }));
    assert_eq!(combined(Combine::Mean, &[]), Err(CombineError::TooFew { got: 0, needed: 1 }));
    assert_eq!(combined(Combine::Mean, &[(1, vec![1]), (1, vec![1, 2])]), Err(CombineError::Unlike));
}

#[test]
fn the_norm_is_of_the_mean_over_all_shards() {
    let shards = [(ShardId(0), vec![3 * 512]), (ShardId(1), vec![0, 4 * 512])];
    assert_eq!(norm(&table(2), &GroupSum { shards: &shards, mass: Mass::Members(2) }), Ok(5.0));
    assert_eq!(norm(&table(2), &GroupSum { shards: &shards, mass: Mass::Weights { sum: 1, most: 2 } }), Ok(20.0));
}

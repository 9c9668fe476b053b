//! Shares of a sum: exact integers, the clamp, the variance of what is opened, and what cannot be done with them.

use super::*;
use crate::bound::Block;
use crate::delta::{BoundError, PrivateDelta, Quantiser};
use crate::ledger::Paid;
use crate::ledger::machine_tests::joint_plan;
use crate::mechanism::tests::mechanism as local;
use crate::noise::SeededEntropy;
use protocol::ids::{ManifestDigest, ShardId};
use protocol::plan::Plan;

const MANIFEST: ManifestDigest = ManifestDigest([3; 32]);

fn plan(dimension: u32, sigma: &str) -> Plan {
    let mut plan = joint_plan(1, sigma);
    plan.shards[0].tensors[0].shape = vec![dimension];
    plan
}

fn joint(plan: &Plan) -> Mechanism {
    Mechanism::of_plan(plan, 1000).unwrap()
}

/// One institution's share, from noise that this seed gives, and its proof.
fn share(m: &Mechanism, seed: u64, sum: UnitSum) -> (NoisedShare, crate::ledger::NoisedLocally) {
    let mut paid = Paid::for_test(m, MANIFEST, 1, 1);
    let step = paid.next_step().unwrap();
    let mut noise = Stream::open(&mut SeededEntropy::new(seed), &step.context()).unwrap();
    (sum.clamped().unwrap().noised(step, m, &mut noise).unwrap(), paid.finish().unwrap())
}

fn sum_of(m: &Mechanism, units: usize, at: usize) -> UnitSum {
    let mut sum = UnitSum::new(m);
    for _ in 0..units {
        sum.add_unit(&[Block { offset: at, values: &[1000.0] }]);
    }
    sum
}

/// The opened sum is the institutions' clipped sums and their noise, to the last integer: nothing is rounded after the noise.
#[test]
fn the_sum_of_shares_is_the_data_plus_everybodys_noise_exactly() {
    let m = joint(&plan(50, "2"));
    let opened = |with_data: bool| {
        let units = |i: usize| if with_data { i } else { 0 };
        (0..4usize).map(|i| share(&m, i as u64, sum_of(&m, units(i), 7)).0).fold(vec![0i64; 50], |mut all, s| {
            all.iter_mut().zip(&s.values).for_each(|(a, v)| *a += v);
            all
        })
    };
    let (noise, both) = (opened(false), opened(true));
    let data: Vec<i64> = both.iter().zip(&noise).map(|(b, n)| b - n).collect();
    // Six units, each shortened to just below 2^16 steps: 65536 - sqrt(50)/2, times 1000/(1000 + 0.01).
    assert!((393_000..=6 * 65_536).contains(&data[7]) && data[7] % 6 == 0, "{}", data[7]);
    assert!(data.iter().enumerate().all(|(i, &d)| i == 7 || d == 0));
    assert!(noise.iter().any(|&n| n != 0));
}

/// Σ over n institutions has variance n·σ_i². The estimate over 20,000 values has a relative deviation of sqrt(2/20000) = 0.01; a right
/// program is outside five of them once in 1.7 million choices of the seeds.
#[test]
fn the_opened_sum_has_n_times_the_variance_of_one_share() {
    let m = joint(&plan(20_000, "2"));
    let n = 5u64;
    let mut opened = vec![0i64; 20_000];
    for seed in 0..n {
        let (share, _) = share(&m, 100 + seed, UnitSum::new(&m));
        opened.iter_mut().zip(&share.values).for_each(|(sum, v)| *sum += v);
    }
    let variance = opened.iter().map(|&v| (v as f64).powi(2)).sum::<f64>() / 20_000.0;
    let ratio = variance / (n as f64 * m.sigma_grid().powi(2));
    assert!((ratio - 1.0).abs() < 5.0 * 0.01, "{ratio}");
}

/// D20: beyond R a coordinate stays at R, and with any noise that can be drawn it fits the slot.
#[test]
fn coordinates_are_clamped_so_that_everything_fits() {
    let plan = plan(50, "2");
    let m = joint(&plan);
    let bound = m.executed().joint.unwrap().bound;
    let tail = i64::try_from((u128::from(m.executed().sigma_grid_1024) * 133).div_ceil(10_240)).unwrap();
    assert_eq!(bound + tail, (1 << 23) - 1);
    let units = usize::try_from(bound / 65_536).unwrap() + 20;
    let (noise, proof) = share(&m, 9, UnitSum::new(&m));
    let (full, _) = share(&m, 9, sum_of(&m, units, 3));
    assert_eq!(full.values[3] - noise.values[3], bound, "clamped, though {units} units would be more");
    let quantiser = Quantiser::of_plan(&plan).unwrap();
    let private = PrivateDelta::of_share(&full, &quantiser, &proof).unwrap();
    let sealed: Vec<i64> = private.shards().flat_map(|(_, v)| v.iter().map(|&v| i64::from(v))).collect();
    assert_eq!(sealed, full.values, "not one integer is another");
}

#[test]
fn a_value_that_no_slot_carries_refuses_the_seal() {
    let plan = plan(50, "2");
    let m = joint(&plan);
    let (wide, proof) = share(&m, 9, sum_of(&m, 10, 3));
    let of = |bits, len| Quantiser::new(&[(ShardId(4), len, -16, bits)]).unwrap();
    assert_eq!(PrivateDelta::of_share(&wide, &of(16, 50), &proof).err(), Some(BoundError::TooWide(ShardId(4))));
    let short = Some(BoundError::Dimension { noised: 50, shards: 49 });
    assert_eq!(PrivateDelta::of_share(&wide, &of(24, 49), &proof).err(), short);
    assert!(PrivateDelta::of_share(&wide, &of(24, 50), &proof).is_ok());
}

#[test]
fn a_share_belongs_to_one_reservation_of_one_step() {
    let plan = plan(50, "2");
    let (m, q) = (joint(&plan), Quantiser::of_plan(&plan).unwrap());
    let (noised, _) = share(&m, 9, UnitSum::new(&m));
    let other = crate::ledger::NoisedLocally::for_test(&m, MANIFEST, 2);
    assert_eq!(PrivateDelta::of_share(&noised, &q, &other).err(), Some(BoundError::WrongStream));
    let mut paid = Paid::for_test(&m, MANIFEST, 1, 2);
    let mut shares = Vec::new();
    while let Some(step) = paid.next_step() {
        let mut noise = Stream::open(&mut SeededEntropy::new(step.index()), &step.context()).unwrap();
        shares.push(UnitSum::new(&m).clamped().unwrap().noised(step, &m, &mut noise).unwrap());
    }
    let proof = paid.finish().unwrap();
    assert_eq!(PrivateDelta::of_share(&shares[0], &q, &proof).err(), Some(BoundError::Steps(2)));
}

/// D7: the modes' sums cannot be taken for each other: a share without its clamp, a gradient from somebody else's mode.
#[test]
fn a_share_is_never_noised_unclamped_and_a_local_sum_never_clamped() {
    let m = joint(&plan(50, "2"));
    let step = Paid::for_test(&m, MANIFEST, 1, 1).next_step().unwrap();
    let mut noise = Stream::open(&mut SeededEntropy::new(1), &step.context()).unwrap();
    assert_eq!(UnitSum::new(&m).noised(step, &m, &mut noise).err(), Some(NoiseError::Unclamped));
    assert_eq!(UnitSum::new(&local("1", "0.1", 16, 50)).clamped().err(), Some(NoiseError::Alone));
}

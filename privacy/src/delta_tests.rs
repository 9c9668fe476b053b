//! Quantising is in range, unbiased, and refuses what is not finite.

use super::*;
use crate::mechanism::tests::mechanism;
use crate::noise::{SeededEntropy, StepContext};
use proptest::prelude::*;
use protocol::ids::ManifestDigest;

const MANIFEST: ManifestDigest = ManifestDigest([3; 32]);

fn stream(ledger_counter: u64) -> Stream<QuantiserPurpose> {
    Stream::open(&mut SeededEntropy::new(2), &StepContext { manifest: MANIFEST, ledger_counter, step: 0 }).unwrap()
}

fn delta(values: Vec<f32>) -> Delta {
    let m = mechanism("1", "0.1", 16, values.len() as u64);
    Delta::new(vec![(ShardId(0), values)], NoisedLocally::for_test(&m, MANIFEST, 1))
}

fn quantiser(len: usize, step_exponent: i8, bits: u8) -> Quantiser {
    Quantiser::new(&[(ShardId(0), len as u64, step_exponent, bits)]).unwrap()
}

fn values(p: &PrivateDelta) -> Vec<i32> {
    p.shards().flat_map(|(_, v)| v.to_vec()).collect()
}

proptest! {
    /// B21: extremes saturate to the range of C20 and never wrap; inside it the result is one of the two neighbours.
    #[test]
    fn every_finite_float_becomes_a_neighbouring_integer_in_range(
        floats in proptest::collection::vec(any::<u32>().prop_map(f32::from_bits), 1..40), e in -40i8..=8, bits in 4u8..=32,
    ) {
        let floats: Vec<f32> = floats.into_iter().map(|x| if x.is_finite() { x } else { 0.0 }).collect();
        let out = delta(floats.clone()).bound(&quantiser(floats.len(), e, bits), &mut stream(1)).unwrap().privatize_local();
        let most = (1i64 << (bits - 1)) - 1;
        for (x, v) in floats.iter().zip(values(&out)) {
            prop_assert!(i64::from(v).abs() <= most);
            let y = f64::from(*x) * 2f64.powi(-i32::from(e));
            prop_assert!((y.clamp(-most as f64, most as f64) - f64::from(v)).abs() <= 1.0);
        }
    }
}

/// The mean of 40,000 roundings of 0.3 steps lies within five standard deviations: false alarm 6e-7.
#[test]
fn rounding_is_unbiased() {
    let x = 0.3 * 2f32.powi(-10);
    let out = delta(vec![-x; 40_000]).bound(&quantiser(40_000, -10, 16), &mut stream(1)).unwrap().privatize_local();
    let mean = values(&out).iter().map(|&v| f64::from(v)).sum::<f64>() / 40_000.0;
    assert!((mean + 0.3).abs() < 5.0 * (0.21f64 / 40_000.0).sqrt(), "{mean}");
}

/// C24: the delta is weighed before it is clamped, so a large value of a small institution does not saturate.
#[test]
fn a_weight_scales_before_the_clamp() {
    let step = 2f32.powi(-14);
    let quarter = quantiser(3, -14, 8).weighted(25, 100).unwrap();
    let out = delta(vec![4.0 * step, -400.0 * step, 4000.0 * step]).bound(&quarter, &mut stream(1)).unwrap().privatize_local();
    assert_eq!(values(&out), vec![1, -100, 127]);
    for (weight, most) in [(0, 100), (101, 100), (1, u64::MAX)] {
        assert_eq!(quantiser(1, -14, 8).weighted(weight, most), Err(QuantiserError::Weight { weight, most }));
    }
}

#[test]
fn exact_multiples_are_kept() {
    let step = 2f32.powi(-14);
    let out = delta(vec![0.0, step, -step, 100.0 * step]).bound(&quantiser(4, -14, 16), &mut stream(1)).unwrap().privatize_local();
    assert_eq!(values(&out), vec![0, 1, -1, 100]);
}

#[test]
fn what_does_not_fit_the_plan_is_refused() {
    let error = |d: Delta, q: &Quantiser| d.bound(q, &mut stream(1)).unwrap_err();
    assert_eq!(error(delta(vec![1.0, f32::NAN]), &quantiser(2, -14, 16)), BoundError::NonFinite { shard: ShardId(0) });
    assert_eq!(error(delta(vec![1.0]), &quantiser(2, -14, 16)), BoundError::Length { shard: ShardId(0), got: 1, expected: 2 });
    let two = Quantiser::new(&[(ShardId(0), 1, -14, 16), (ShardId(1), 1, -14, 16)]).unwrap();
    assert_eq!(error(delta(vec![1.0]), &two), BoundError::ShardCount { got: 1, expected: 2 });
    let other = Quantiser::new(&[(ShardId(4), 1, -14, 16)]).unwrap();
    assert_eq!(error(delta(vec![1.0]), &other), BoundError::UnknownShard(ShardId(0)));
    assert!(Quantiser::new(&[(ShardId(0), 1, 9, 16)]).is_err() && Quantiser::new(&[(ShardId(0), 1, 0, 33)]).is_err());
}

/// B9: coordinates that were not noised cannot ride along.
#[test]
fn shards_must_have_exactly_the_noised_coordinates() {
    let m = mechanism("1", "0.1", 16, 3);
    let d = Delta::new(vec![(ShardId(0), vec![0.0; 4])], NoisedLocally::for_test(&m, MANIFEST, 1));
    assert_eq!(d.bound(&quantiser(4, -14, 16), &mut stream(1)).unwrap_err(), BoundError::Dimension { noised: 3, shards: 4 });
    assert_eq!(delta(vec![0.0]).bound(&quantiser(1, -14, 16), &mut stream(2)).unwrap_err(), BoundError::WrongStream);
}

#[test]
fn text_forms_tell_lengths_only() {
    assert_eq!(format!("{:?}", delta(vec![0.125; 3])), "Delta{ShardId(0): 3}");
}

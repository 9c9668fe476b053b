//! No float vector gets past the bound, and noise comes with its payment or not at all.

use super::*;
use crate::ledger::Paid;
use crate::mechanism::tests::{mechanism, plan};
use crate::noise::{EntropySource, SeededEntropy};
use proptest::prelude::*;
use protocol::ids::ManifestDigest;

const MANIFEST: ManifestDigest = ManifestDigest([7; 32]);

fn square(sum: &UnitSum) -> u128 {
    sum.sum.iter().map(|&z| u128::from(z.unsigned_abs()).pow(2)).sum()
}

fn whole(values: &[f32]) -> [Block<'_>; 1] {
    [Block { offset: 0, values }]
}

pub(super) fn paid(m: &Mechanism, counter: u64) -> (PaidStep, Stream<Noise>) {
    let step = Paid::for_test(m, MANIFEST, counter, 1).next_step().unwrap();
    let stream = Stream::open(&mut SeededEntropy::new(counter), &step.context()).unwrap();
    (step, stream)
}

/// From f64: ranges of f32 are sampled so coarsely that a value just beyond the range, which the sampler asserts against, comes up now and then.
#[expect(clippy::cast_possible_truncation, reason = "rounding is what it is for")]
fn floats(range: std::ops::Range<f64>) -> impl Strategy<Value = f32> {
    range.prop_map(|x| x as f32)
}

fn any_float() -> impl Strategy<Value = f32> {
    prop_oneof![
        any::<f32>(),
        any::<u32>().prop_map(f32::from_bits),
        Just(f32::MAX),
        Just(f32::MIN_POSITIVE),
        Just(f32::from_bits(1)),
        Just(f32::NAN),
        Just(f32::INFINITY),
        floats(-1.0..1.0),
    ]
}

proptest! {
    /// B13: whatever floats come in, Σz² <= 4^g in integers.
    #[test]
    fn no_vector_moves_the_sum_by_more_than_the_sensitivity(
        values in proptest::collection::vec(any_float(), 1..80), g in 8u8..=24, flat in any::<bool>(), clip in 1u32..5000,
    ) {
        let mut p = plan("1", "0.1", g);
        p.clip_function = if flat { ClipFunction::Flat } else { ClipFunction::AutoS };
        p.clip = protocol::decimal::Decimal::new(u64::from(clip), 3).unwrap();
        let m = Mechanism::new(&p, values.len() as u64, 100).unwrap();
        let mut sum = UnitSum::new(&m);
        let outcome = sum.add_unit(&whole(&values));
        prop_assert_eq!(outcome == UnitOutcome::NonFinite, values.iter().any(|x| !x.is_finite()));
        prop_assert!(square(&sum) <= 1 << (2 * u32::from(g)));
    }

    /// Vectors just at the bound are where rounding errors could carry one over it.
    #[test]
    fn vectors_at_the_bound_stay_within_it(values in proptest::collection::vec(floats(-1.0..1.0), 2..200), scale in floats(0.999..1.001)) {
        let norm = values.iter().map(|x| x * x).sum::<f32>().sqrt().max(1e-6);
        let near: Vec<f32> = values.iter().map(|x| x / norm * scale).collect();
        let mut p = plan("1", "0.1", 12);
        p.clip_function = ClipFunction::Flat;
        let m = Mechanism::new(&p, near.len() as u64, 100).unwrap();
        let mut sum = UnitSum::new(&m);
        sum.add_unit(&whole(&near));
        prop_assert!(square(&sum) <= 1 << 24);
        // And not much is lost: C' is at least 1 − √d/2^13 of C, less half a grid step per coordinate.
        prop_assert!((square(&sum) as f64).sqrt() > 4096.0 * 0.98);
    }

    #[test]
    fn the_order_and_the_split_of_units_do_not_matter(vectors in proptest::collection::vec(proptest::collection::vec(floats(-9.0..9.0), 8), 1..9), at in 0usize..9) {
        let m = mechanism("1", "0.1", 16, 8);
        let (mut all, mut left, mut right) = (UnitSum::new(&m), UnitSum::new(&m), UnitSum::new(&m));
        vectors.iter().for_each(|v| { all.add_unit(&whole(v)); });
        vectors.iter().rev().enumerate().for_each(|(i, v)| { if i < at { left.add_unit(&whole(v)) } else { right.add_unit(&whole(v)) }; });
        left.merge(&right).unwrap();
        prop_assert_eq!(&all.sum, &left.sum);
    }
}

/// B6, B11.
#[test]
fn one_huge_unit_among_many_moves_the_sum_by_the_sensitivity_at_most() {
    let m = mechanism("1", "0.1", 16, 32);
    let mut sum = UnitSum::new(&m);
    for unit in 0..63u8 {
        sum.add_unit(&whole(&[f32::from(unit) * 0.01; 32]));
    }
    let before = sum.sum.clone();
    sum.add_unit(&whole(&[f32::MAX; 32]));
    let moved: u128 = sum.sum.iter().zip(&before).map(|(a, b)| u128::from((a - b).unsigned_abs()).pow(2)).sum();
    assert!(moved <= 1 << 32 && moved > (1 << 32) * 99 / 100);
}

/// B5.
#[test]
fn a_unit_with_nan_or_infinity_contributes_nothing_and_the_rest_stays() {
    let m = mechanism("1", "0.1", 16, 3);
    let mut sum = UnitSum::new(&m);
    sum.add_unit(&whole(&[1.0, 2.0, 3.0]));
    let before = sum.sum.clone();
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        assert_eq!(sum.add_unit(&whole(&[1.0, bad, 0.0])), UnitOutcome::NonFinite);
    }
    assert_eq!(sum.sum, before);
}

/// No float leads there, so the bound itself is spoiled: what fits with no factor is not added, and that is said.
#[test]
fn a_unit_that_nothing_shortens_is_not_added_and_not_called_added() {
    let m = mechanism("1", "0.1", 16, 3);
    let mut sum = UnitSum::new(&m);
    sum.add_unit(&whole(&[1.0, 2.0, 3.0]));
    let before = sum.sum.clone();
    sum.inner_bound *= 2.0;
    assert_eq!(sum.add_unit(&whole(&[3.0, 4.0, 0.0])), UnitOutcome::TooLong);
    assert_eq!(sum.sum, before);
    assert!(shrinking(1.0).count() == 8 && shrinking(1.0).all(|f| f > 0.9998 && f <= 1.0));
}

#[test]
fn blocks_that_overlap_or_reach_out_are_refused() {
    let m = mechanism("1", "0.1", 16, 10);
    let mut sum = UnitSum::new(&m);
    let v = [1.0f32; 4];
    let block = |offset| Block { offset, values: &v };
    for bad in [vec![block(7)], vec![block(0), block(3)], vec![block(6), block(6)], vec![block(usize::MAX)]] {
        assert_eq!(sum.add_unit(&bad), UnitOutcome::Misplaced);
    }
    assert_eq!(sum.add_unit(&[block(6), block(1)]), UnitOutcome::Added);
    assert!(sum.sum[0] == 0 && sum.sum[1] != 0 && sum.sum[5] == 0 && sum.sum[9] != 0);
}

#[test]
fn the_norm_runs_over_all_blocks() {
    let m = mechanism("1", "0.1", 16, 4);
    let (mut split, mut joint) = (UnitSum::new(&m), UnitSum::new(&m));
    split.add_unit(&[Block { offset: 2, values: &[3.0, 4.0] }, Block { offset: 0, values: &[1.0, 2.0] }]);
    joint.add_unit(&whole(&[1.0, 2.0, 3.0, 4.0]));
    assert_eq!(square(&split), square(&joint));
}

/// B4, B2: an empty sample is pure noise with the same divisor.
#[test]
fn an_empty_step_is_pure_noise() {
    let m = mechanism("1", "0.000000000001", 16, 4000);
    let (step, mut stream) = paid(&m, 1);
    let noised = UnitSum::new(&m).noised(step, &m, &mut stream).unwrap();
    let variance = noised.values().iter().map(|&z| (z as f64 / m.sigma_grid()).powi(2)).sum::<f64>() / 4000.0;
    // Five standard deviations of a χ² mean: false alarm below 1e-6.
    assert!((variance - 1.0).abs() < 5.0 * (2.0f64 / 4000.0).sqrt(), "{variance}");
    assert!(noised.mean_gradient(&m).iter().all(|g| g.is_finite()));
}

/// B7, B9: the deviation on the sum is sigma_grid, on every coordinate, and the signal is where it was.
#[test]
fn noise_is_added_to_the_sum_with_the_executed_deviation() {
    let m = mechanism("0.5", "0.5", 10, 1000);
    let gradient: Vec<f32> = (0..1000u16).map(|i| f32::from(i % 7) - 3.0).collect();
    let mut clean = UnitSum::new(&m);
    (0..50).for_each(|_| {
        clean.add_unit(&whole(&gradient));
    });
    let kept = clean.sum.clone();
    let (step, mut stream) = paid(&m, 2);
    let noised = clean.noised(step, &m, &mut stream).unwrap();
    let noise: Vec<i64> = noised.values().iter().zip(&kept).map(|(a, b)| a - b).collect();
    assert!(noise.iter().filter(|z| **z == 0).count() < 20, "every coordinate is noised");
    let variance = noise.iter().map(|&z| (z as f64).powi(2)).sum::<f64>() / 1000.0 / m.sigma_grid().powi(2);
    // 1/(12 s²) is the variance of rounding; five standard deviations.
    assert!((variance - 1.0).abs() < 5.0 * (2.0f64 / 1000.0).sqrt() + 1e-4, "{variance}");
    let mean = noised.mean_gradient(&m);
    assert!((f64::from(mean[3]) - noised_at(&kept, &noise, 3) * m.grid_step() / m.divisor()).abs() < 1e-6);
}

/// B22, D26: all values are drawn before the sum is touched. A stream that ends in the middle of the draw shows the order: noise that is drawn
/// value by value while it is added, or after the clamp, leaves a sum that has changed.
#[test]
fn all_noise_is_drawn_before_the_sum_is_read() {
    let m = mechanism("1", "0.1", 16, 4000);
    let mut sum = UnitSum::new(&m);
    sum.add_unit(&whole(&[5.0; 4000]));
    let before = sum.sum.clone();
    assert!(before.iter().all(|z| *z > 1), "a clamp to 1 would show in every coordinate");
    let (_, stream) = paid(&m, 1);
    let mut words = stream.at_its_end_for_test();
    assert!((0..1000).any(|_| words.next_u64() != 0), "a thousand values are there before the end");
    for clamp in [None, Some(1)] {
        let (payment, stream) = paid(&m, 1);
        let mut stream = stream.at_its_end_for_test();
        let draw = std::panic::AssertUnwindSafe(|| sum.add_noise(payment, &m, &mut stream, clamp));
        assert!(std::panic::catch_unwind(draw).is_err(), "the stream ends in the middle of the draw");
        assert_eq!(sum.sum, before, "{clamp:?}");
    }
}

fn noised_at(kept: &[i64], noise: &[i64], i: usize) -> f64 {
    (kept[i] + noise[i]) as f64
}

/// B25, B18: payment, sum and stream must be of one mechanism and one step.
#[test]
fn a_payment_for_another_mechanism_or_a_stream_of_another_step_draws_nothing() {
    let (m, weaker) = (mechanism("1", "0.1", 16, 4), mechanism("0.9", "0.1", 16, 4));
    let (step, mut stream) = paid(&weaker, 1);
    assert_eq!(UnitSum::new(&m).noised(step, &m, &mut stream).err(), Some(NoiseError::MechanismDiffers));
    let (step, mut stream) = paid(&m, 1);
    assert_eq!(UnitSum::new(&weaker).noised(step, &m, &mut stream).err(), Some(NoiseError::MechanismDiffers));
    let (step, _) = paid(&m, 1);
    let (_, mut other) = paid(&m, 2);
    assert!(matches!(UnitSum::new(&m).noised(step, &m, &mut other), Err(NoiseError::WrongStream { .. })));
    assert_eq!(UnitSum::new(&m).merge(&UnitSum::new(&weaker)), Err(NoiseError::MechanismDiffers));
}

#[test]
fn a_round_is_proven_only_when_every_paid_step_was_noised() {
    let m = mechanism("1", "0.1", 16, 4);
    let mut payment = Paid::for_test(&m, MANIFEST, 5, 2);
    let first = payment.next_step().unwrap();
    let mut stream = Stream::open(&mut SeededEntropy::new(1), &first.context()).unwrap();
    UnitSum::new(&m).noised(first, &m, &mut stream).unwrap();
    drop(payment.next_step().unwrap());
    assert!(payment.next_step().is_none());
    assert_eq!(payment.finish().err(), Some(crate::ledger::UnusedSteps { used: 1, paid: 2 }));
}

/// B17, B18: equal entropy in two steps or two reservations gives unrelated noise, and a failing source gives none.
#[test]
fn the_step_and_the_counter_enter_the_key() {
    let context = |ledger_counter, step| StepContext { manifest: MANIFEST, ledger_counter, step };
    let first = |c: StepContext| Stream::<Noise>::open(&mut SeededEntropy::new(9), &c).unwrap().next_u64();
    let words = [first(context(1, 0)), first(context(1, 1)), first(context(2, 0))];
    assert!(words[0] != words[1] && words[0] != words[2] && words[1] != words[2]);
    let sample = Stream::<crate::noise::Sample>::open(&mut SeededEntropy::new(9), &context(1, 0)).unwrap().next_u64();
    assert_ne!(sample, words[0]);

    struct Empty;
    impl EntropySource for Empty {
        fn fill(&mut self, _: &mut [u8]) -> Result<(), crate::noise::EntropyError> {
            Err(crate::noise::EntropyError)
        }
    }
    assert!(Stream::<Noise>::open(&mut Empty, &context(1, 0)).is_err());
}

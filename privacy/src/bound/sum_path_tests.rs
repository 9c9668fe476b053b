//! Float sums reach the grid once, by chance that is right on average, and nothing else.

use super::*;
use crate::bound::tests::paid;
use crate::mechanism::tests::{mechanism, plan};
use crate::mechanism::{FloatSums, Mechanism};
use crate::noise::{SeededEntropy, StepContext};
use protocol::ids::ManifestDigest;

fn of_sums(dimension: u64, rounding: Rounding) -> Mechanism {
    let sums = FloatSums { accumulate: Accumulate::F32, rounding, micro_batch: 4, max_rows: 16 };
    Mechanism::of_float_sums(&plan("1", "0.1", 10), dimension, 100, sums).unwrap()
}

fn integers(m: &Mechanism, seed: u64, add: impl FnOnce(&mut ClippedSum)) -> Vec<i64> {
    let (step, _) = paid(m, 3);
    let mut sum = ClippedSum::new(m).unwrap();
    add(&mut sum);
    let mut dither = Stream::open(&mut SeededEntropy::new(seed), &step.context()).unwrap();
    sum.rounded(&step, &mut dither).unwrap().sum.clone()
}

#[test]
fn whole_grid_points_stay_and_what_lies_between_goes_to_a_neighbour() {
    let m = of_sums(4, Rounding::Dithered);
    let values = [3.0, -7.0, 2.25, -2.25].map(|z| z * m.grid_step());
    for seed in 0..50 {
        let z = integers(&m, seed, |sum| sum.add(0, &values));
        assert!(z[0] == 3 && z[1] == -7 && (2..=3).contains(&z[2]) && (-3..=-2).contains(&z[3]), "{z:?}");
    }
    let nearest = of_sums(4, Rounding::Nearest);
    assert_eq!(integers(&nearest, 1, |sum| sum.add(0, &values)), [3, -7, 2, -2]);
}

/// 20,000 coordinates at 0.3 of a step: the mean of the rounded ones is within 5 deviations of 0.3 (false alarm below 1e-6).
#[test]
fn dithering_is_right_on_average() {
    let m = of_sums(20_000, Rounding::Dithered);
    let z = integers(&m, 5, |sum| sum.add(0, &vec![0.3 * m.grid_step(); 20_000]));
    let mean = z.iter().sum::<i64>() as f64 / 20_000.0;
    assert!((mean - 0.3).abs() < 5.0 * (0.21f64 / 20_000.0).sqrt(), "{mean}");
}

/// B13 on the grid: sums that differ by C differ by at most Δ_grid in integers, with the same dither.
#[test]
fn with_one_dither_neighbouring_sums_differ_by_at_most_the_sensitivity() {
    for rounding in [Rounding::Nearest, Rounding::Dithered] {
        let (m, d) = (of_sums(5000, rounding), 5000usize);
        let base: Vec<f64> = (0..d).map(|i| (i as f64 * 0.37).sin()).collect();
        let unit: Vec<f64> = (0..d).map(|i| (i as f64 * 1.7).cos()).collect();
        let norm = unit.iter().map(|x| x * x).sum::<f64>().sqrt();
        let without = integers(&m, 8, |sum| sum.add(0, &base));
        let with = integers(&m, 8, |sum| {
            sum.add(0, &base);
            sum.add(0, &unit.iter().map(|x| x / norm).collect::<Vec<_>>());
        });
        let moved: i64 = with.iter().zip(&without).map(|(a, b)| (a - b).pow(2)).sum();
        assert!((moved as f64).sqrt() <= m.delta_grid() && (moved as f64).sqrt() > 0.9 * 1024.0, "{moved}");
    }
}

/// D38.
#[test]
fn factors_shorten_to_the_clip_bound_and_are_zero_for_what_is_not_finite() {
    let m = of_sums(4, Rounding::Dithered);
    let auto = ClippedSum::new(&m).unwrap();
    assert!((auto.factor(9.0) - 1.0 / 3.01).abs() < 1e-15 && (auto.factor(0.0) - 100.0).abs() < 1e-12);
    let mut flat = plan("1", "0.1", 10);
    flat.clip_function = ClipFunction::Flat;
    let sums = FloatSums { accumulate: Accumulate::F32, rounding: Rounding::Dithered, micro_batch: 4, max_rows: 16 };
    let m = Mechanism::of_float_sums(&flat, 4, 100, sums).unwrap();
    let flat = ClippedSum::new(&m).unwrap();
    assert!(flat.factor(0.25) == 1.0 && flat.factor(0.0) == 1.0 && (flat.factor(4.0) - 0.5).abs() < 1e-15);
    for sum in [&auto, &flat] {
        assert!([f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0].iter().all(|&square| sum.factor(square) == 0.0));
    }
}

#[test]
fn a_sum_that_no_clipped_units_can_have_is_not_released() {
    let m = of_sums(2, Rounding::Dithered);
    for bad in [f64::NAN, f64::INFINITY, 1e30] {
        let (step, _) = paid(&m, 3);
        let mut sum = ClippedSum::new(&m).unwrap();
        sum.add(1, &[bad]);
        let mut dither = Stream::open(&mut SeededEntropy::new(1), &step.context()).unwrap();
        assert_eq!(sum.rounded(&step, &mut dither).err(), Some(NoiseError::OutOfRange));
    }
}

/// B25, B18.
#[test]
fn mechanism_and_step_must_be_those_that_were_paid_for() {
    let (m, exact) = (of_sums(4, Rounding::Dithered), mechanism("1", "0.1", 10, 4));
    assert_eq!(ClippedSum::new(&exact).err(), Some(NoiseError::ExactPath));
    let other = StepContext { manifest: ManifestDigest([9; 32]), ledger_counter: 0, step: 0 };
    let mut dither = Stream::open(&mut SeededEntropy::new(1), &other).unwrap();
    let (step, mut noise) = paid(&m, 3);
    assert!(matches!(ClippedSum::new(&m).unwrap().rounded(&step, &mut dither), Err(NoiseError::WrongStream { .. })));
    // The integers of a float sum are never noised as if they were exact ones.
    let mut dither = Stream::open(&mut SeededEntropy::new(1), &step.context()).unwrap();
    let sum = ClippedSum::new(&m).unwrap().rounded(&step, &mut dither).unwrap();
    assert_eq!(sum.noised(step, &exact, &mut noise).err(), Some(NoiseError::MechanismDiffers));
}

/// B7: the noise on a float sum has the deviation of the path's own sensitivity. False alarm below 1e-6.
#[test]
fn the_noise_on_a_rounded_sum_has_the_executed_deviation() {
    let m = of_sums(4000, Rounding::Dithered);
    let (step, mut noise) = paid(&m, 3);
    let mut dither = Stream::open(&mut SeededEntropy::new(1), &step.context()).unwrap();
    let noised = ClippedSum::new(&m).unwrap().rounded(&step, &mut dither).unwrap().noised(step, &m, &mut noise).unwrap();
    let variance = noised.values().iter().map(|&z| (z as f64 / m.sigma_grid()).powi(2)).sum::<f64>() / 4000.0;
    assert!((variance - 1.0).abs() < 5.0 * (2.0f64 / 4000.0).sqrt(), "{variance}");
}

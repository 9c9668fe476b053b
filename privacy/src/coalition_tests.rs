//! Guaranteed shares, the clamp, and Lemma S against exact convolutions.

use super::*;
use libm::erfc;
use std::f64::consts::SQRT_2;

fn shares(h: u16) -> GuaranteedShares {
    GuaranteedShares::new(h + 1, 0).unwrap()
}

/// Φ(x).
fn below(x: f64) -> f64 {
    0.5 * erfc(-x / SQRT_2)
}

/// P(round(N(0, s²) + shift) = k).
fn rounded(k: f64, s: f64, shift: f64) -> f64 {
    // From the nearer tail, where differences keep their digits.
    let (a, b) = ((k - 0.5 - shift) / s, (k + 0.5 - shift) / s);
    if a > 0.0 { below(-a) - below(-b) } else { below(b) - below(a) }
}

const REACH: i32 = 40;

/// Masses of the sum of `h` independent rounded normal variables of deviation `s`, at −REACH..=REACH.
fn sum_of_rounded(h: u16, s: f64) -> Vec<f64> {
    let one: Vec<f64> = (-REACH..=REACH).map(|k| rounded(f64::from(k), s, 0.0)).collect();
    let mut sum = vec![0.0; one.len()];
    sum[usize::try_from(REACH).unwrap()] = 1.0;
    for _ in 0..h {
        let convolve = |k: i32| {
            let terms = (-REACH..=REACH).filter(|j| (-REACH..=REACH).contains(&(k - j)));
            terms.map(|j| sum[usize::try_from(j + REACH).unwrap()] * one[usize::try_from(k - j + REACH).unwrap()]).sum()
        };
        sum = (-REACH..=REACH).map(convolve).collect();
    }
    sum
}

/// Density at `u` of the sum of `n` independent uniforms on [−½, ½), n = 1, 2, 3.
fn uniforms(n: u16, u: f64) -> f64 {
    let u = u.abs();
    match n {
        1 => f64::from(u8::from(u <= 0.5)),
        2 => (1.0 - u).max(0.0),
        3 if u <= 0.5 => 0.75 - u * u,
        3 => 0.5 * (1.5 - u).max(0.0).powi(2),
        more => panic!("{more} uniforms"),
    }
}

/// Masses of round(N(0, h·s²) + U), U the sum of h − 1 uniforms: Simpson's rule on pieces that end where the density bends.
fn rounded_with_uniforms(h: u16, s: f64) -> Vec<f64> {
    const STEPS: u32 = 400;
    let (n, deviation) = (h - 1, s * f64::from(h).sqrt());
    let half = f64::from(n) / 2.0;
    let mass = |k: i32| {
        let piece = |p: u16| {
            let (from, width) = (f64::from(p) - half, 1.0 / f64::from(STEPS));
            // Points just inside a piece: the density of one uniform jumps at its ends.
            let inside = |i: u32| (from + f64::from(i) * width).clamp(from + 1e-15, from + 1.0 - 1e-15);
            let f = |i: u32| uniforms(n, inside(i)) * rounded(f64::from(k), deviation, inside(i));
            let weight = |i: u32| if i == 0 || i == STEPS { 1.0 } else { f64::from(2 + 2 * (i % 2)) };
            (0..=STEPS).map(|i| weight(i) * f(i)).sum::<f64>() * width / 3.0
        };
        (0..n).map(piece).sum()
    };
    (-REACH..=REACH).map(mass).collect()
}

/// The lemma's own series, ½ Σ exp(−2π² mᵀΣm) over m ≠ 0 with Σ = s²(I − 11ᵀ/h), of which the code's closed form is an upper bound.
fn series(h: u16, s: f64) -> f64 {
    let dimension = u32::from(h) - 1;
    let term = |code: i32| {
        let m = (0..dimension).map(|i| f64::from(code / 13i32.pow(i) % 13 - 6));
        let (squares, sum) = m.fold((0.0, 0.0), |(squares, sum), x| (squares + x * x, sum + x));
        let exponent = s * s * (squares - sum * sum / f64::from(h));
        if squares == 0.0 { 0.0 } else { (-2.0 * PI * PI * exponent).exp() }
    };
    0.5 * (0..13i32.pow(dimension)).map(term).sum::<f64>()
}

/// D22 asks for this check: eighteen cases in which the distance is large enough to be seen in f64, or at least is not above the bound.
#[test]
fn the_exact_distance_of_a_sum_of_rounded_shares_is_below_the_bound_of_lemma_s() {
    for h in [2u16, 3, 4] {
        for s in [0.3, 0.4, 0.5, 0.6, 0.8, 1.0] {
            let (w, reference) = (sum_of_rounded(h, s), rounded_with_uniforms(h, s));
            let total = |p: &[f64]| (p.iter().sum::<f64>() - 1.0).abs();
            assert!(total(&w) < 1e-12 && total(&reference) < 1e-9, "h {h} s {s}: {:e} {:e}", total(&w), total(&reference));
            let distance = 0.5 * w.iter().zip(&reference).map(|(a, b)| (a - b).abs()).sum::<f64>();
            let (series, bound) = (series(h, s), shares(h).distance(s));
            assert!(distance <= series && series <= bound, "h {h} s {s}: {distance:e} <= {series:e} <= {bound:e}");
            assert!(s > 0.6 || distance > series / 20.0, "h {h} s {s}: the check must be able to see a difference: {distance:e}");
        }
    }
    // The design's figures for h = 3, s = 1: 1.1e-6 against 5.8e-6.
    let distance = 0.5 * sum_of_rounded(3, 1.0).iter().zip(&rounded_with_uniforms(3, 1.0)).map(|(a, b)| (a - b).abs()).sum::<f64>();
    assert!((1.0e-6..1.2e-6).contains(&distance), "{distance:e}");
    assert!((5.7e-6..5.9e-6).contains(&series(3, 1.0)), "{:e}", series(3, 1.0));
}

#[test]
fn shares_of_two_and_a_third_deviations_per_root_are_fine_enough() {
    for h in [1u16, 2, 3, 10, 100, 998] {
        let edge = 2.3 * f64::from(h).sqrt();
        assert_eq!(shares(h).check(edge), Ok(()), "h {h}");
        // One share is rounded Gaussian noise itself.
        assert_eq!(shares(h).check(edge / 2.0).is_ok(), h == 1, "h {h}");
    }
}

#[test]
fn worked_values_of_the_design() {
    // n_min, c -> h, own noise for a joint multiplier of 1.040 (D10).
    for (cohort, colluding, h, own) in [(4, 0, 3, 0.601), (4, 1, 2, 0.736), (8, 1, 6, 0.425), (8, 3, 4, 0.520), (16, 3, 12, 0.300)] {
        let shares = GuaranteedShares::new(cohort, colluding).unwrap();
        assert_eq!(shares.get(), h);
        assert!((shares.own_noise_multiplier(1.040, 0.0) - own).abs() < 1e-3, "{cohort} {colluding}");
        assert!((shares.joint_noise_multiplier(shares.own_noise_multiplier(1.040, 0.0)) - 1.040).abs() < 1e-12);
        assert!((shares.own_noise_multiplier(1.040, 0.9) - 0.9).abs() < 1e-15, "the floor stands");
    }
    assert_eq!(GuaranteedShares::new(4, 3), Err(CoalitionError::NobodyLeft { cohort_min: 4, colluding: 3 }));
    assert_eq!(GuaranteedShares::new(0, 0), Err(CoalitionError::NobodyLeft { cohort_min: 0, colluding: 0 }));
    assert_eq!(GuaranteedShares::new(2, u16::MAX), Err(CoalitionError::NobodyLeft { cohort_min: 2, colluding: u16::MAX }));
}

#[test]
fn the_clamp_leaves_room_for_every_noise_value_that_can_be_drawn() {
    // (b, g, own noise multiplier) -> R in units of C (D20).
    for (bits, grid, own, want) in [(16u8, 10u32, 0.5, 25), (24, 16, 1.0, 115), (32, 20, 1.0, 2035)] {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small positive numbers")]
        let sigma = (own * f64::from(1u32 << grid) * 1024.0) as u64;
        let bound = coordinate_bound(bits, sigma, 1 << grid).unwrap();
        assert_eq!((bound + (1 << (grid - 1))) >> grid, want, "b {bits}");
        let tail = i64::try_from((u128::from(sigma) * 133).div_ceil(10_240)).unwrap();
        assert_eq!(bound + tail, (1i64 << (bits - 1)) - 1);
    }
    assert!(matches!(coordinate_bound(16, 1 << 40, 1), Err(CoalitionError::NoRoom { .. })));
    assert!(matches!(coordinate_bound(8, 1024, 1 << 16), Err(CoalitionError::NoRoom { .. })));
    for bits in [0, 1, 63, 255] {
        assert!(coordinate_bound(bits, 1024, 1).is_err(), "{bits}");
    }
}

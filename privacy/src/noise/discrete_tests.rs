//! Coins with rational and exponential chances, narrow and in big integers. Fixed seeds.

use super::*;
use crate::noise::{SeededEntropy, StepContext};
use protocol::ids::ManifestDigest;

const DRAWS: u32 = 200_000;

fn stream(seed: u64) -> Stream<Noise> {
    Stream::open(&mut SeededEntropy::new(seed), &StepContext { manifest: ManifestDigest([0; 32]), ledger_counter: 0, step: 0 }).unwrap()
}

/// The coin shows true as often as it should, within five standard deviations: false alarm 6e-7.
fn has_chance(name: &str, chance: f64, mut coin: impl FnMut(&mut Stream<Noise>) -> bool) {
    let mut s = stream(77);
    let hits = f64::from((0..DRAWS).map(|_| u32::from(coin(&mut s))).sum::<u32>());
    let (mean, deviation) = (f64::from(DRAWS) * chance, (f64::from(DRAWS) * chance * (1.0 - chance)).sqrt());
    assert!((hits - mean).abs() <= 5.0 * deviation, "{name}: {hits} for {mean}");
}

#[test]
fn rational_coins_have_their_chances() {
    for (a, b) in
        [(0u64, 3u64), (1, 3), (1, 2), (2, 3), (5, 5), (u64::MAX - 7, u64::MAX), (1 << 40, (1 << 42) + 1), (u64::MAX / 3, u64::MAX)]
    {
        has_chance("less", a as f64 / b as f64, |s| less(a, b, s));
        let (wide, over) = (BigUint::from(a) * BigUint::from(u64::MAX), BigUint::from(b) * BigUint::from(u64::MAX));
        has_chance("below_wide", a as f64 / b as f64, |s| below_wide(&wide, &over, s));
    }
    for (a, b, e) in [(5u128, 3u64, 1u32), (7, 9, 3), (u128::MAX / 3, u64::MAX, 64), (1 << 100, 1 << 60, 41)] {
        has_chance("below", a as f64 / (b as f64 * 2f64.powi(e.cast_signed())), |s| below(a, b, e, s));
    }
}

/// The digits after the first, which ordinary draws never reach: a/b that agrees with the first digit of the stream is settled by the next.
#[test]
fn a_tie_of_the_first_digit_is_settled_by_the_second() {
    for seed in 0..200 {
        let mut twin = stream(seed);
        let (first, second) = (twin.next_u64(), twin.next_u64());
        // U starts with first·2^-64 + second·2^-128. Against (first·2^64 + x)/2^128, wide, only the second digit tells.
        let over = BigUint::from(1u8) << 128u32;
        let against = |x: u64| (BigUint::from(first) << 64u32) + x;
        assert!(!below_wide(&against(second), &over, &mut stream(seed)));
        assert!(below_wide(&against(second + 1), &over, &mut stream(seed)));
        // And in 64 bits: with b odd, a/b = ⌈first·b/2^64⌉/b leaves a rest below b for the second digit.
        let b = u64::MAX;
        let rest = ((u128::from(first) + 1) << 64) - u128::from(first) * u128::from(b);
        let expected = rest >= u128::from(b) || u128::from(second) * u128::from(b) < rest << 64;
        assert_eq!(less(first.saturating_add(1), b, &mut stream(seed)), expected);
    }
}

#[test]
fn exponential_coins_have_their_chances() {
    has_chance("1/e", (-1f64).exp(), exp_one);
    has_chance("e^-2", (-2f64).exp(), |s| ones(2, s));
    has_chance("e^-0", 1.0, |s| ones(0, s));
    for (a, b) in [(0u64, 7u64), (1, 7), (1, 2), (6, 7), (7, 7)] {
        has_chance("e^-a/b", (-(a as f64) / b as f64).exp(), |s| exp_part(s, |s| less(a, b, s)));
    }
}

/// e^(-(y − s²/t)²/2s²), narrow and wide, with and without fraction, from the centre to where hardly anything is accepted.
#[test]
fn acceptance_is_the_ratio_of_the_two_laws_narrow_and_wide() {
    for sigma_1024 in [1024u64, 2355, 1000 << 10, (1 << 30) - 1, (1 << 50) - 1] {
        let (d, s) = (Discrete::new(sigma_1024), sigma_1024 as f64 / 1024.0);
        let t = 2f64.powi(d.scale.cast_signed());
        assert!(s * s / 2.0 < t * t && t * t <= 2.0 * s * s);
        assert_eq!(d.narrow.is_some(), sigma_1024 <= 1 << 30, "128 bits serve up to 2^20 and more");
        for halves in [0, 1, 2, 4, 7] {
            let y = u128::from(sigma_1024) * halves / 2048;
            let chance = (-(y as f64 - s * s / t).powi(2) / (2.0 * s * s)).exp();
            has_chance("accepts", chance, |s| d.accepts(y, s));
            has_chance("accepts_wide", chance, |s| d.accepts_wide(y, s));
        }
    }
}

/// The proposal alone: P(y) = (1 − e^(-1/t))/(1 + e^(-1/t))·e^(-|y|/t). Mean of |y| and the chance of zero, five standard deviations.
#[test]
fn proposals_are_discrete_laplace() {
    for k in [0u32, 3, 40] {
        let (mut s, t) = (stream(5), 2f64.powi(k.cast_signed()));
        let drawn: Vec<(bool, u128)> = (0..DRAWS).map(|_| laplace(k, &mut s)).collect();
        assert!(!drawn.contains(&(true, 0)));
        let (n, x) = (f64::from(DRAWS), (-1.0 / t).exp());
        let (zero, mean) = ((1.0 - x) / (1.0 + x), 2.0 * x / (1.0 - x * x));
        let square = 2.0 * x / (1.0 - x).powi(2);
        let zeros = drawn.iter().filter(|d| d.1 == 0).count() as f64;
        assert!((zeros - n * zero).abs() <= 5.0 * (n * zero).sqrt() + 0.5, "k {k}: {zeros} zeros");
        let sum: f64 = drawn.iter().map(|d| d.1 as f64).sum();
        assert!((sum - n * mean).abs() < 5.0 * (n * (square - mean * mean)).sqrt(), "k {k}: mean {}", sum / n);
        let minus = drawn.iter().filter(|d| d.0).count() as f64;
        let chance = (1.0 - zero) / 2.0;
        assert!((minus - n * chance).abs() < 5.0 * (n * chance * (1.0 - chance)).sqrt(), "k {k}: {minus} negative");
    }
}

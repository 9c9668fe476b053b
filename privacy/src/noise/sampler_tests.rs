//! Is the noise that noise? Fixed seeds; every test states how often a right sampler would fail it.

use super::*;
use crate::noise::{SeededEntropy, StepContext};
use protocol::ids::ManifestDigest;

fn stream(seed: u64) -> Stream<Noise> {
    Stream::open(&mut SeededEntropy::new(seed), &StepContext { manifest: ManifestDigest([0; 32]), ledger_counter: 0, step: 0 }).unwrap()
}

/// Probability of each cell between ascending `edges` (cell i is edges[i]..edges[i+1]) under round(N(0, s²)), by the error function.
fn cells(s: f64, edges: &[i64]) -> Vec<f64> {
    let below = |k: i64| 0.5 * libm::erfc(-(k as f64 - 0.5) / s / std::f64::consts::SQRT_2);
    edges.windows(2).map(|w| below(w[1]) - below(w[0])).collect()
}

/// χ² of draws against cell probabilities.
fn chi_square(draws: &[i64], edges: &[i64], chances: &[f64]) -> f64 {
    let mut counts = vec![0.0; chances.len()];
    draws.iter().for_each(|d| counts[edges.partition_point(|e| e <= d) - 1] += 1.0);
    let n = draws.len() as f64;
    counts.iter().zip(chances).map(|(c, p)| (c - n * p).powi(2) / (n * p)).sum()
}

/// Upper limit of χ² with k degrees of freedom at six sigma of the Wilson–Hilferty normal: false alarm about 1e-9.
fn limit(k: f64) -> f64 {
    k * (1.0 - 2.0 / (9.0 * k) + 6.0 * (2.0 / (9.0 * k)).sqrt()).powi(3)
}

#[expect(clippy::cast_possible_truncation, reason = "deviations of the tests are below 2^41")]
fn edges(s: f64, count: i64) -> Vec<i64> {
    let inner = (-count..=count).map(|i| (s * 3.5 * i as f64 / count as f64).round() as i64);
    let mut all: Vec<i64> = std::iter::once(i64::MIN / 2).chain(inner).chain([i64::MAX / 2]).collect();
    all.dedup();
    all
}

/// Table and buckets, deviations with and without fraction, 1e6 draws each at the default grid. False alarm 1e-9 per deviation.
#[test]
fn draws_fit_the_exact_masses() {
    for (sigma_1024, count) in [
        (1024u64, 200_000usize),
        (1536, 200_000),
        (16_000, 200_000),
        (200 << 10, 300_000),
        (4097 << 10, 300_000),
        ((65_536 << 10) + 77, 1_000_000),
        (1 << 50, 200_000),
    ] {
        let s = sigma_1024 as f64 / 1024.0;
        let draws = RoundedGaussian::new(sigma_1024).draw(&mut stream(sigma_1024), count);
        let edges = edges(s, 60);
        let chances = cells(s, &edges);
        let (got, k) = (chi_square(&draws, &edges, &chances), (chances.len() - 1) as f64);
        assert!(got < limit(k), "sigma {s}: {got} for {k} degrees");
    }
}

/// Fine structure at the edges of the buckets, where a wrong peak or width would show. False alarm 1e-9.
#[test]
fn low_bits_and_bucket_edges_show_no_pattern() {
    let s = 65_536i64;
    let draws = RoundedGaussian::new(65_536 << 10).draw(&mut stream(11), 1_000_000);
    let mut counts = [0.0f64; 64];
    draws.iter().for_each(|d| counts[usize::try_from(d.rem_euclid(64)).unwrap()] += 1.0);
    let even: f64 = counts.iter().map(|c| (c - 15_625.0).powi(2) / 15_625.0).sum();
    assert!(even < limit(63.0), "{even}");
    // 40 narrow cells around the boundaries b·2048, b·1024 of whichever width was chosen.
    let narrow: Vec<i64> = (-20..=20).map(|i| i * 1024).collect();
    let inside: Vec<i64> = draws.iter().copied().filter(|d| (-20 * 1024..20 * 1024).contains(d)).collect();
    let chances = cells(s as f64, &narrow);
    let total: f64 = chances.iter().sum();
    let conditional: Vec<f64> = chances.iter().map(|p| p / total).collect();
    assert!(chi_square(&inside, &narrow, &conditional) < limit(39.0));
}

/// Mean, variance and kurtosis within five standard deviations. False alarm 2e-6 in all.
#[test]
fn moments_are_those_of_a_gaussian() {
    let (n, s) = (1_000_000usize, 65_536.0);
    let draws: Vec<f64> = RoundedGaussian::new(65_536 << 10).draw(&mut stream(5), n).iter().map(|&d| d as f64 / s).collect();
    let moment = |k: i32| draws.iter().map(|x| x.powi(k)).sum::<f64>() / n as f64;
    let root = (n as f64).sqrt();
    assert!(moment(1).abs() < 5.0 / root);
    assert!((moment(2) - 1.0).abs() < 5.0 * 2f64.sqrt() / root);
    assert!((moment(4) - 3.0).abs() < 5.0 * 96f64.sqrt() / root);
}

/// Neighbouring draws and draws of two steps are uncorrelated. False alarm 1.2e-6.
#[test]
fn draws_are_independent() {
    let sampler = RoundedGaussian::new(5000 << 10);
    let (a, b) = (sampler.draw(&mut stream(1), 100_000), sampler.draw(&mut stream(2), 100_000));
    let product = |x: &[i64], y: &[i64]| x.iter().zip(y).map(|(p, q)| (*p as f64 / 5000.0) * (*q as f64 / 5000.0)).sum::<f64>();
    let bound = 5.0 * (100_000f64).sqrt();
    assert!(product(&a, &b).abs() < bound && product(&a, &a[1..]).abs() < bound);
}

/// B22: the count alone decides how many values there are, and one stream gives one sequence.
#[test]
fn a_fixed_count_is_drawn() {
    let sampler = RoundedGaussian::new(65_536 << 10);
    let (whole, mut s) = (sampler.draw(&mut stream(3), 1000), stream(3));
    let parts = [sampler.draw(&mut s, 300), sampler.draw(&mut s, 700)].concat();
    assert_eq!(whole, parts);
    assert!(sampler.draw(&mut stream(3), 0).is_empty());
}

/// B30: OpenDP's discrete Gaussian and our rounded Gaussian at deviation 64 differ by 4e-6 (D21), far below what 20,000 draws can show.
/// Two-sample χ², false alarm 1e-9; OpenDP's draws are not seeded.
#[cfg(feature = "opendp")]
#[test]
fn opendp_draws_the_same_histogram() {
    let n = 20_000usize;
    let ours = RoundedGaussian::new(64 << 10).draw(&mut stream(8), n);
    let theirs: Vec<i64> = (0..n).map(|_| crate::noise::giant::discrete_gaussian(64).unwrap()).collect();
    let edges = edges(64.0, 15);
    let count = |draws: &[i64], w: &[i64]| draws.iter().filter(|d| (w[0]..w[1]).contains(*d)).count() as f64;
    let pairs: Vec<(f64, f64)> = edges.windows(2).map(|w| (count(&ours, w), count(&theirs, w))).filter(|(a, b)| a + b > 0.0).collect();
    let distance: f64 = pairs.iter().map(|(a, b)| (a - b).powi(2) / (a + b)).sum();
    assert!(distance < limit((pairs.len() - 1) as f64), "{distance}");
}

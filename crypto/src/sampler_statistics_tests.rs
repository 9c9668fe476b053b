//! Item 3 of the required tests (crypto.md section 9, C8, C15): what the sampler draws is a centred sum of 180 fair coins, draws do not
//! hang together, and the same test tells apart what is almost that. All seeds are fixed: what passes once always passes.

use crate::sampler::RoundSecret;
use crate::statistics_tests::{FALSE_ALARM, SplitMix, binomial_mass, cbd_mass, chi_square_p, goodness_of_fit, normal_cdf};
use protocol::params::RING_DIMENSION;
use rayon::prelude::*;

const LAGS: usize = 16;
/// 10^8 draws.
const POLYNOMIALS: u64 = 24_415;

/// Counts and moments of many polynomials.
#[derive(Clone)]
struct Survey {
    counts: Vec<u64>,
    products: [i64; LAGS],
    polynomials: u64,
}

impl Survey {
    fn empty() -> Self {
        Self { counts: vec![0; 181], products: [0; LAGS], polynomials: 0 }
    }

    fn with(mut self, draws: &[i8; RING_DIMENSION]) -> Self {
        for &v in draws {
            self.counts[usize::try_from(i32::from(v) + 90).unwrap()] += 1;
        }
        for (lag, product) in (1..).zip(&mut self.products) {
            *product += i64::from(draws.iter().zip(&draws[lag..]).map(|(&a, &b)| i32::from(a) * i32::from(b)).sum::<i32>());
        }
        self.polynomials += 1;
        self
    }

    fn join(mut self, other: Self) -> Self {
        self.counts.iter_mut().zip(other.counts).for_each(|(a, b)| *a += b);
        self.products.iter_mut().zip(other.products).for_each(|(a, b)| *a += b);
        self.polynomials += other.polynomials;
        self
    }

    fn of(polynomials: u64, draw: impl Fn(u64) -> crate::sampler::SmallPolynomial + Sync) -> Self {
        (0..polynomials).into_par_iter().fold(Self::empty, |s, j| s.with(&draw(j))).reduce(Self::empty, Self::join)
    }

    fn check(&self) {
        let n = (self.polynomials * RING_DIMENSION as u64) as f64;
        let moment = |power| (-90i32..).zip(&self.counts).map(|(v, &c)| f64::from(v).powi(power) * c as f64).sum::<f64>() / n;
        let p = goodness_of_fit(&self.counts, &cbd_mass());
        assert!(p > FALSE_ALARM, "p of χ²: {p}");
        let z = moment(1) * (n / 45.0).sqrt();
        assert!(z.abs() < 5.0, "mean: z = {z}");
        // Fourth central moment of Bin(180, 1/2): 3·45² - 45/2.
        let z = (moment(2) - 45.0) * (n / (3.0 * 2025.0 - 22.5 - 2025.0)).sqrt();
        assert!(z.abs() < 5.0, "variance: z = {z}");
        for (lag, &product) in (1..).zip(&self.products) {
            let pairs = (self.polynomials * (RING_DIMENSION - lag) as u64) as f64;
            let z = product as f64 / (45.0 * pairs.sqrt());
            assert!(z.abs() < 5.5, "lag {lag}: z = {z}");
        }
    }
}

/// 10^8 coefficients of noise and as many of secrets. False alarms, twice: χ² 1e-6; mean and variance within five deviations, 6e-7 each;
/// sixteen lags within 5.5, 6e-7 together.
#[test]
fn hundred_million_draws_are_centred_sums_of_180_coins() {
    let round = RoundSecret::for_vector([0x32; 32]);
    Survey::of(POLYNOMIALS, |j| round.noise(j)).check();
    Survey::of(POLYNOMIALS, |z| numbered(z).secret()).check();
}

fn numbered(z: u64) -> RoundSecret {
    let mut bytes = [0x33; 32];
    bytes[..8].copy_from_slice(&z.to_le_bytes());
    RoundSecret::for_vector(bytes)
}

/// Upper ends of eight classes of about equal mass; the last is open.
const CLASSES: [i8; 7] = [-8, -5, -3, 0, 2, 5, 8];

fn class(v: i8) -> usize {
    CLASSES.iter().filter(|&&end| v > end).count()
}

/// Joint law of two streams coefficient by coefficient: correlation in deviations, and p of χ² over the 64 pairs of classes.
fn dependence<'a>(pairs: impl Iterator<Item = (&'a [i8; RING_DIMENSION], &'a [i8; RING_DIMENSION])>) -> (f64, f64) {
    let mut mass = [0.0; 8];
    (-90i8..=90).zip(cbd_mass()).for_each(|(v, m)| mass[class(v)] += m);
    let (mut cells, mut product, mut n) = ([[0u64; 8]; 8], 0i64, 0.0);
    for (a, b) in pairs {
        for (&x, &y) in a.iter().zip(b) {
            cells[class(x)][class(y)] += 1;
            product += i64::from(x) * i64::from(y);
            n += 1.0;
        }
    }
    let expected = |i: usize, j: usize| n * mass[i] * mass[j];
    let statistic = (0..64).map(|c| (cells[c / 8][c % 8] as f64 - expected(c / 8, c % 8)).powi(2) / expected(c / 8, c % 8)).sum();
    (product as f64 / (45.0 * f64::sqrt(n)), chi_square_p(statistic, 63))
}

/// Accepts correlations within 5.5 deviations (4e-8) and p above 1e-6.
fn check_independent<'a>(pairs: impl Iterator<Item = (&'a [i8; RING_DIMENSION], &'a [i8; RING_DIMENSION])>) {
    let (z, p) = dependence(pairs);
    assert!(z.abs() < 5.5 && p > FALSE_ALARM, "correlation {z} deviations, p of the pairs {p}");
}

/// C15: secret and noise come from one z under two keys. 256 of each. False alarm 1e-6.
#[test]
fn secret_and_noise_of_one_round_are_independent() {
    let drawn: Vec<_> = (0..256).map(|z| (numbered(z).secret(), numbered(z).noise(0))).collect();
    check_independent(drawn.iter().map(|(s, e)| (&**s, &**e)));
}

/// Neighbouring polynomials, and the same polynomial of neighbouring secrets. False alarms 1e-6 each.
#[test]
fn neighbouring_polynomials_and_rounds_are_independent() {
    let round = RoundSecret::for_vector([0x34; 32]);
    let noise: Vec<_> = (0..257).map(|j| round.noise(j)).collect();
    check_independent(noise.iter().zip(&noise[1..]).map(|(a, b)| (&**a, &**b)));
    let rounds: Vec<_> = (0..257).map(|z| numbered(z).noise(5)).collect();
    check_independent(rounds.iter().zip(&rounds[1..]).map(|(a, b)| (&**a, &**b)));
}

/// The independence test can fail: one coefficient in 64 is repeated.
#[test]
fn streams_that_share_a_few_coefficients_are_told_apart() {
    let round = RoundSecret::for_vector([0x35; 32]);
    let noise: Vec<_> = (0..256).map(|j| round.noise(j)).collect();
    let mut other: Vec<_> = (256..512).map(|j| round.noise(j)).collect();
    for (a, b) in noise.iter().zip(&mut other) {
        (0..RING_DIMENSION).step_by(64).for_each(|i| b[i] = a[i]);
    }
    let (z, p) = dependence(noise.iter().zip(&other).map(|(a, b)| (&**a, &**b)));
    assert!(z > 10.0 && p < FALSE_ALARM, "correlation {z} deviations, p of the pairs {p}");
}

/// Counts of `n` draws from a law on -90..=90.
fn draw_counts(mass: &[f64], n: u64, seed: u64) -> Vec<u64> {
    let mut sum = 0.0;
    // Cumulated masses on 53 bits.
    let ends: Vec<f64> = mass.iter().map(|m| (sum += m, sum).1).collect();
    let first: Vec<usize> = (0..4096).map(|top| ends.partition_point(|&end| end <= f64::from(top) / 4096.0)).collect();
    let mut counts = vec![0; mass.len()];
    let mut random = SplitMix(seed);
    for _ in 0..n {
        let word = random.next() >> 11;
        let at = word as f64 / (1u64 << 53) as f64;
        let mut value = first[usize::try_from(word >> 41).unwrap()];
        while value + 1 < mass.len() && ends[value] <= at {
            value += 1;
        }
        counts[value] += 1;
    }
    counts
}

/// The χ² of these tests rejects near misses in 6·10^7 draws: one coin pair less, a rounded normal law of variance 45 (what a textbook
/// sampler would draw), coins biased by one in ten thousand. Drawn by the same program, the true law passes (false alarm 1e-6).
#[test]
fn almost_the_right_law_is_rejected() {
    let p = |mass: &[f64]| goodness_of_fit(&draw_counts(mass, 60_000_000, 9), &cbd_mass());
    let right = p(&cbd_mass());
    assert!(right > FALSE_ALARM, "the true law: {right}");
    let fewer: Vec<f64> = std::iter::once(0.0).chain(binomial_mass(178, 0.5)).chain([0.0]).collect();
    let deviation = (45.0f64 - 1.0 / 12.0).sqrt();
    let cell = |v: i32| normal_cdf((f64::from(v) + 0.5) / deviation) - normal_cdf((f64::from(v) - 0.5) / deviation);
    let normal: Vec<f64> = (-90..=90).map(cell).collect();
    for (name, mutant) in [("CBD(89)", fewer), ("rounded normal", normal), ("biased coins", binomial_mass(180, 0.5001))] {
        let p = p(&mutant);
        assert!(p < FALSE_ALARM / 100.0, "{name} passes with p = {p}");
    }
}

//! Distributions and tail probabilities for the statistical tests of this crate, themselves checked against published figures.
//! Knows no key and no stream.

use std::f64::consts::SQRT_2;

/// What every two-sided test of a fixed seed asks for: a right program fails it with this probability, once, when a seed is chosen.
pub(crate) const FALSE_ALARM: f64 = 1e-6;

/// A small generator for what the tests make up themselves (masks, mutants). Nothing secret.
pub(crate) struct SplitMix(pub(crate) u64);

impl SplitMix {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Masses of 0..=coins heads, each with probability `heads`.
pub(crate) fn binomial_mass(coins: u32, heads: f64) -> Vec<f64> {
    (0..=coins).map(|k| log_binomial_mass(f64::from(k), f64::from(coins), heads).exp()).collect()
}

fn log_binomial_mass(k: f64, n: f64, p: f64) -> f64 {
    libm::lgamma(n + 1.0) - libm::lgamma(k + 1.0) - libm::lgamma(n - k + 1.0) + k * p.ln() + (n - k) * (1.0 - p).ln()
}

/// Masses of -90..=90 under the sampler's law.
pub(crate) fn cbd_mass() -> Vec<f64> {
    binomial_mass(180, 0.5)
}

pub(crate) fn normal_cdf(x: f64) -> f64 {
    0.5 * libm::erfc(-x / SQRT_2)
}

/// Both tails of the regularised incomplete gamma function: P(a, x) and Q(a, x).
fn gamma_tails(a: f64, x: f64) -> (f64, f64) {
    let front = (a * x.ln() - x - libm::lgamma(a)).exp();
    if x < a + 1.0 {
        let (mut term, mut sum) = (1.0 / a, 1.0 / a);
        for n in 1..10_000 {
            term *= x / (a + f64::from(n));
            sum += term;
        }
        return (front * sum, 1.0 - front * sum);
    }
    // Lentz's continued fraction.
    let mut b = x + 1.0 - a;
    let (mut c, mut d) = (1e300, 1.0 / b);
    let mut h = d;
    for n in 1..10_000 {
        let n = f64::from(n);
        let an = -n * (n - a);
        b += 2.0;
        d = 1.0 / (an * d + b);
        c = b + an / c;
        h *= d * c;
    }
    (1.0 - front * h, front * h)
}

/// Two-sided p of a χ² statistic: too far off and too good both count.
pub(crate) fn chi_square_p(statistic: f64, degrees: usize) -> f64 {
    let (low, high) = gamma_tails(degrees as f64 / 2.0, statistic / 2.0);
    2.0 * low.min(high).max(0.0)
}

/// χ² of counts against masses, neighbouring cells pooled until ten draws are expected in each; two-sided p.
pub(crate) fn goodness_of_fit(counts: &[u64], mass: &[f64]) -> f64 {
    assert_eq!(counts.len(), mass.len());
    let n = counts.iter().sum::<u64>() as f64;
    let mut cells: Vec<(f64, f64)> = vec![(0.0, 0.0)];
    for (&count, &p) in counts.iter().zip(mass) {
        if cells.last().is_some_and(|c| c.1 >= 10.0) {
            cells.push((0.0, 0.0));
        }
        let cell = cells.last_mut().unwrap();
        *cell = (cell.0 + count as f64, cell.1 + n * p);
    }
    // What is left over at the upper end is too small for a cell of its own.
    if cells.len() > 1 && cells.last().is_some_and(|c| c.1 < 10.0) {
        let rest = cells.pop().unwrap();
        let cell = cells.last_mut().unwrap();
        *cell = (cell.0 + rest.0, cell.1 + rest.1);
    }
    let statistic = cells.iter().map(|(got, expected)| (got - expected).powi(2) / expected).sum();
    chi_square_p(statistic, cells.len() - 1)
}

/// Two-sided p of `k` hits among `n` of probability `p`: twice the smaller exact tail, each with `k` itself.
pub(crate) fn binomial_p(k: u64, n: u64, p: f64) -> f64 {
    let mass = |i: u64| log_binomial_mass(i as f64, n as f64, p).exp();
    let low: f64 = (0..=k).map(mass).sum();
    2.0 * low.min(1.0 - low + mass(k))
}

/// Kolmogorov's p of the largest distance between the distribution of `sample` and `cdf`, which gives P(X <= x). On a lattice the true p is
/// larger: the test is on the careful side. Sorts the sample.
pub(crate) fn kolmogorov_p(sample: &mut [i64], cdf: impl Fn(i64) -> f64) -> f64 {
    sample.sort_unstable();
    let n = sample.len() as f64;
    let mut below = 0.0;
    let mut distance = 0f64;
    for run in sample.chunk_by(|a, b| a == b) {
        distance = distance.max((cdf(run[0] - 1) - below).abs());
        below += run.len() as f64 / n;
        distance = distance.max((cdf(run[0]) - below).abs());
    }
    let lambda = (n.sqrt() + 0.12 + 0.11 / n.sqrt()) * distance;
    let term = |k: f64| (if k % 2.0 == 1.0 { 2.0 } else { -2.0 }) * (-2.0 * (k * lambda).powi(2)).exp();
    let sum: f64 = (1..=100).map(f64::from).map(term).sum();
    // The series does not converge for tiny distances, where p is 1.
    if lambda < 0.2 { 1.0 } else { sum }
}

/// A law on consecutive integers, and its exact sums.
#[derive(Clone)]
pub(crate) struct Lattice {
    low: i64,
    mass: Vec<f64>,
}

impl Lattice {
    pub(crate) fn at(value: i64) -> Self {
        Self { low: value, mass: vec![1.0] }
    }

    /// The law of the sum with an independent draw from `mass`, which starts at `low`.
    pub(crate) fn plus(&self, low: i64, mass: &[f64]) -> Self {
        let mut out = vec![0.0; self.mass.len() + mass.len() - 1];
        for (i, a) in self.mass.iter().enumerate() {
            out[i..].iter_mut().zip(mass).for_each(|(o, b)| *o += a * b);
        }
        Self { low: self.low + low, mass: out }
    }

    /// The law of the sum with an independent uniform one of `low..low + count`.
    pub(crate) fn plus_uniform(&self, low: i64, count: usize) -> Self {
        let mut window = 0.0;
        let at = |i: usize| self.mass.get(i).copied().unwrap_or(0.0);
        let mass = (0..self.mass.len() + count - 1).map(|i| {
            window += at(i) - if i >= count { at(i - count) } else { 0.0 };
            window / count as f64
        });
        Self { low: self.low + low, mass: mass.collect() }
    }

    /// P(X <= x) for every x, as a table lookup.
    pub(crate) fn cdf(&self) -> impl Fn(i64) -> f64 + use<> {
        let mut sum = 0.0;
        let table: Vec<f64> = self.mass.iter().map(|m| (sum += m, sum).1).collect();
        let low = self.low;
        move |x| usize::try_from(x - low).map_or(0.0, |i| table.get(i).copied().unwrap_or(1.0))
    }

    /// P(X outside `range`), summed from the outside so that small tails keep their digits.
    pub(crate) fn outside(&self, range: std::ops::Range<i64>) -> f64 {
        (self.low..).zip(&self.mass).filter(|(x, _)| !range.contains(x)).map(|(_, m)| m).sum()
    }
}

/// Figures from tables: χ² 0.95 quantiles, normal and Kolmogorov critical values, small exact laws.
#[test]
fn tails_are_those_of_the_tables() {
    let close = |a: f64, b: f64, by: f64| assert!((a - b).abs() < by, "{a} is not {b}");
    for (degrees, quantile) in [(1, 3.841_459), (10, 18.307_038), (100, 124.342_113)] {
        close(chi_square_p(quantile, degrees), 0.1, 1e-6);
    }
    close(chi_square_p(3.940_299, 10), 0.1, 1e-6);
    close(normal_cdf(1.959_964), 0.975, 1e-7);
    close(binomial_p(2, 10, 0.5), 2.0 * 56.0 / 1024.0, 1e-12);
    close(binomial_p(8, 10, 0.5), 2.0 * 56.0 / 1024.0, 1e-12);
    close(cbd_mass().iter().sum(), 1.0, 1e-9);
    let dice = Lattice::at(0).plus_uniform(1, 6).plus_uniform(1, 6);
    close(dice.cdf()(4), 6.0 / 36.0, 1e-12);
    close(dice.outside(3..12), 2.0 / 36.0, 1e-12);
    let other = Lattice::at(0).plus(1, &[1.0 / 6.0; 6]).plus(1, &[1.0 / 6.0; 6]);
    close(other.cdf()(9), dice.cdf()(9), 1e-12);
    // 1.3581 is Kolmogorov's 0.95 quantile: a sample of ten thousand, shifted so that its distance is 1.3581 / 100 (less the correction).
    let mut sample: Vec<i64> = (0..10_000).collect();
    let distance = 1.358_1 / (100.0 + 0.12 + 0.001_1);
    close(kolmogorov_p(&mut sample, |x| ((x + 1) as f64 / 10_000.0 + distance).clamp(0.0, 1.0)), 0.05, 1e-3);
}

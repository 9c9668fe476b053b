//! Distributions of costs on a grid: from a curve δ(ε), composed by FFT, and back (privacy.md D45, D47). Knows no noise and no sampling.
//!
//! Connect-the-dots discretisation (Doroshenko et al. 2022, arXiv 2207.04380): the grid distribution dominates the true one.

use super::pair::Pair;
use super::{count, fft};
use libm::{ceil, exp, expm1, floor, log, log1p};

/// Mass that the Chernoff window may leave out of one composition; added to the infinite mass.
const TAIL: f64 = 1e-15;

/// Cells whose factors follow from each other before one is computed afresh.
const ANCHOR: usize = 256;

/// Probabilities of costs (first + i)·width, and of an infinite cost. Probabilities are multiplied by e^(tilt·cost − scale), so that those
/// which decide about a small δ stand out of the round-off of transforms.
pub(super) struct Losses {
    width: f64,
    first: i64,
    mass: Vec<f64>,
    infinite: f64,
    tilt: f64,
    scale: f64,
}

/// ln Σ p·e^(order·cost) over finite costs.
pub(super) fn ln_moment(ln_masses: &[(f64, f64)], order: f64) -> f64 {
    let most = ln_masses.iter().map(|(cost, p)| p + order * cost).fold(f64::NEG_INFINITY, f64::max);
    most + log(ln_masses.iter().map(|(cost, p)| exp(p + order * cost - most)).sum::<f64>())
}

/// Masses that give exactly δ(e_i) at every grid point and a chord of it in e^ε between (D45).
fn connect_the_dots(deltas: &[f64], width: f64) -> Vec<f64> {
    let (n, grow, shrink) = (deltas.len() - 1, expm1(width), expm1(-width));
    let mass = |i: usize| {
        if i == 0 {
            1.0 - deltas[0] + (deltas[1] - deltas[0]) / grow
        } else if i == n {
            (deltas[n] - deltas[n - 1]) / shrink
        } else {
            ((deltas[i + 1] - deltas[i]) - (1.0 + grow) * (deltas[i] - deltas[i - 1])) / grow
        }
    };
    (0..=n).map(|i| mass(i).max(0.0)).collect()
}

#[expect(clippy::cast_possible_truncation, reason = "grid indices stay below 2^53 by the choice of the width")]
fn whole(x: f64) -> i64 {
    x as i64
}
#[expect(clippy::cast_precision_loss, reason = "grid indices are far below 2^53")]
pub(super) fn float(i: i64) -> f64 {
    i as f64
}
fn index(i: i64) -> usize {
    usize::try_from(i.max(0)).unwrap_or(usize::MAX)
}
fn length(n: usize) -> i64 {
    i64::try_from(n).expect("a vector is shorter than 2^63")
}

impl Losses {
    /// The costs of one step.
    pub(super) fn of(pair: &dyn Pair, width: f64) -> Self {
        let (low, high) = pair.range();
        let first = whole(floor(low / width));
        let last = whole(ceil(high / width)).max(first + 1);
        let mut least = f64::INFINITY;
        let deltas: Vec<f64> = (first..=last)
            .map(|i| {
                // δ falls in e; round-off must not make it rise.
                least = pair.delta(float(i) * width).min(least);
                least
            })
            .collect();
        let infinite = deltas[deltas.len() - 1].max(0.0);
        Self { width, first, mass: connect_the_dots(&deltas, width), infinite, tilt: 0.0, scale: 0.0 }
    }

    fn cost(&self, i: i64) -> f64 {
        float(self.first + i) * self.width
    }

    /// Finite costs and the logarithms of their probabilities, of an untilted distribution.
    pub(super) fn ln_masses(&self) -> Vec<(f64, f64)> {
        self.mass.iter().zip(0i64..).filter(|(p, _)| **p > 0.0).map(|(p, i)| (self.cost(i), log(*p))).collect()
    }

    /// ln of the probability of a finite cost.
    pub(super) fn ln_finite(&self) -> f64 {
        log1p(-self.infinite)
    }

    /// Length of the window that the `times`-fold sum needs, in costs.
    pub(super) fn span_of(&self, times: u64) -> f64 {
        let (low, high) = window(&self.mass, count(times));
        float(high - low) * self.width
    }

    /// The same costs, tilted.
    fn tilted(self, tilt: f64) -> Self {
        if tilt == 0.0 {
            return self;
        }
        let scale = ln_moment(&self.ln_masses(), tilt);
        let mass = self.mass.iter().zip(0i64..).map(|(p, i)| p * exp(tilt * self.cost(i) - scale)).collect();
        Self { mass, tilt, scale, ..self }
    }

    /// `times` independent costs added, tilted.
    pub(super) fn composed(self, times: u64, tilt: f64) -> Self {
        if times == 1 {
            return self.tilted(tilt);
        }
        let t = count(times);
        let infinite = TAIL - expm1(t * log1p(-self.infinite));
        let (low, high) = window(&self.mass, t);
        let one = self.tilted(tilt);
        // Under the tilt the mass sits higher; its window must not fold back onto the part that is read.
        let high = if tilt > 0.0 { window(&one.mass, t).1.max(high) } else { high };
        let n = index(high - low + 1).max(one.mass.len()).next_power_of_two().max(4);
        let folded = fft::power(&one.mass, times, n);
        let shift = index(low.rem_euclid(length(n)));
        let mass = (0..=high - low).map(|j| folded[(index(j) + shift) % n]).collect();
        let first = one.first * i64::try_from(times).expect("at most 1e9 steps") + low;
        Self { first, mass, infinite, scale: t * one.scale, ..one }
    }

    /// Costs of two phases added. Both have the same width and tilt.
    pub(super) fn convolved(self, other: &Self) -> Self {
        Self {
            width: self.width,
            first: self.first + other.first,
            mass: fft::convolve(&self.mass, &other.mass),
            infinite: self.infinite + other.infinite - self.infinite * other.infinite,
            tilt: self.tilt,
            scale: self.scale + other.scale,
        }
    }

    /// Costs, their probabilities without the tilt, and e^−cost, from the top.
    ///
    /// Factors grow from cell to cell by a fixed one; each [`ANCHOR`]-th is computed afresh, so that rounding does not add up.
    fn downwards(&self) -> impl Iterator<Item = (f64, f64, f64)> {
        let (tilt, grow, step) = (self.tilt, exp(self.tilt * self.width), exp(self.width));
        let (mut untilt, mut shrunk) = (1.0, 1.0);
        self.mass.iter().rev().enumerate().zip((0..length(self.mass.len())).rev()).map(move |((n, p), i)| {
            let cost = self.cost(i);
            (untilt, shrunk) = if n % ANCHOR == 0 { (exp(self.scale - tilt * cost), exp(-cost)) } else { (untilt * grow, shrunk * step) };
            (cost, p * untilt, shrunk)
        })
    }

    /// The smallest ε >= 0 with δ(ε) <= δ.
    pub(super) fn epsilon(&self, delta: f64) -> f64 {
        if self.infinite > delta {
            return f64::INFINITY;
        }
        let (mut above, mut weighted, step) = (self.infinite, 0.0, exp(self.width));
        for (cost, p, shrunk) in self.downwards().take_while(|(cost, ..)| *cost > 0.0) {
            above += p;
            weighted += p * shrunk;
            // e^ε at the lower end of the cell, or at 0.
            let edge = if cost > self.width { 1.0 / (shrunk * step) } else { 1.0 };
            if above - edge * weighted > delta {
                return log((above - delta) / weighted).max(0.0);
            }
        }
        0.0
    }

    /// δ(ε).
    pub(super) fn delta(&self, epsilon: f64) -> f64 {
        let above = self.downwards().take_while(|(cost, ..)| *cost > epsilon);
        self.infinite + above.map(|(cost, p, _)| -p * expm1(epsilon - cost)).sum::<f64>()
    }
}

/// Orders on each side at which Chernoff's bound is tried.
const ORDERS: usize = 20;

/// Indices outside which the `times`-fold sum has mass below [`TAIL`], by Chernoff's bound at orders ±1..20/len.
fn window(mass: &[f64], times: f64) -> (i64, i64) {
    let len = length(mass.len());
    let order = |k: usize| {
        let step = float(length(k % ORDERS) + 1) / float(len);
        if k < ORDERS { step } else { -step }
    };
    let moments = moments(mass, std::array::from_fn(|k| exp(order(k))));
    let (mut low, mut high) = (0.0f64, float(len - 1) * times);
    for (k, moment) in moments.into_iter().enumerate() {
        let bound = (times * log(moment) + log(2.0 / TAIL)) / order(k);
        if k < ORDERS { high = high.min(ceil(bound)) } else { low = low.max(floor(bound)) }
    }
    (whole(low), whole(high.max(low)))
}

/// Σ p_i·x^i at several x, in one pass.
fn moments(mass: &[f64], x: [f64; 2 * ORDERS]) -> [f64; 2 * ORDERS] {
    let mut sums = [0.0; 2 * ORDERS];
    for p in mass.iter().rev() {
        for (sum, x) in sums.iter_mut().zip(&x) {
            *sum = *sum * x + p;
        }
    }
    sums
}

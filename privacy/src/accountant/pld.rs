//! The privacy loss distribution on a grid, composed by FFT: the reported number (privacy.md D44, D45, D47). Knows no Rényi order.
//!
//! Connect-the-dots discretisation (Doroshenko et al. 2022, arXiv 2207.04380): the grid distribution dominates the true one.

use super::special::{ln_add, ln_upper, upper};
use super::{AccountantError, Phase, checked, count, fft, rdp};
use libm::{ceil, exp, expm1, floor, log, log1p, sqrt};

/// Mass that the Chernoff window may leave out of one composition; added to the infinite mass.
const TAIL: f64 = 1e-15;
/// Longest grid before it is made coarser: 64 MiB per transform row.
const MOST_CELLS: f64 = 4_194_304.0;

/// Which neighbour has the additional unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Remove,
    Add,
}

/// Probabilities of costs (first + i)·width, and of an infinite cost.
struct Losses {
    width: f64,
    first: i64,
    mass: Vec<f64>,
    infinite: f64,
}

/// One step of the subsampled Gaussian.
struct Step {
    sigma: f64,
    q: f64,
}

impl Step {
    /// ln((1−q) + q·e^((2z−1)/2σ²)): the cost of output z.
    fn cost(&self, z: f64) -> f64 {
        ln_add(log1p(-self.q), log(self.q) + (2.0 * z - 1.0) / (2.0 * self.sigma * self.sigma))
    }

    /// The output with cost e, for e above ln(1−q).
    fn output(&self, e: f64) -> f64 {
        let inner = if self.q >= 1.0 { e } else { log1p(expm1(e) / self.q) };
        self.sigma * self.sigma * inner + 0.5
    }

    /// δ(e) of one step.
    fn delta(&self, e: f64, direction: Direction) -> f64 {
        let (q, s, least) = (self.q, self.sigma, log1p(-self.q));
        match direction {
            Direction::Remove if e <= least => -expm1(e),
            Direction::Remove => {
                let z = self.output(e);
                (1.0 - q) * upper(z / s) + q * upper((z - 1.0) / s) - exp(e + ln_upper(z / s))
            }
            Direction::Add if e >= -least => 0.0,
            Direction::Add => {
                let z = self.output(-e);
                let mixture = ln_add(log1p(-q) + ln_upper(-z / s), log(q) + ln_upper((1.0 - z) / s));
                upper(-z / s) - exp(e + mixture)
            }
        }
    }

    /// Smallest and largest cost of the grid: N(0, σ²) has mass ½e^-50 beyond ζ.
    fn range(&self, direction: Direction) -> (f64, f64) {
        let zeta = self.sigma * quantile_of_half_e_minus_50();
        let (low, high) = (self.cost(-zeta), self.cost(zeta + 1.0));
        match direction {
            Direction::Remove => (low, high),
            Direction::Add => (-high, -low),
        }
    }

    fn losses(&self, direction: Direction, width: f64) -> Losses {
        let (low, high) = self.range(direction);
        let (first, last) = (whole(floor(low / width)), whole(ceil(high / width)).max(whole(floor(low / width)) + 1));
        let mut least = f64::INFINITY;
        let deltas: Vec<f64> = (first..=last)
            .map(|i| {
                // δ falls in e; round-off must not make it rise.
                least = self.delta(float(i) * width, direction).min(least);
                least
            })
            .collect();
        Losses { width, first, mass: connect_the_dots(&deltas, width), infinite: deltas[deltas.len() - 1].max(0.0) }
    }
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

/// x with Φ̄(x) = ½e^-50, by bisection.
fn quantile_of_half_e_minus_50() -> f64 {
    let (mut low, mut high) = (9.0, 11.0);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if ln_upper(middle) > -50.0 - std::f64::consts::LN_2 { low = middle } else { high = middle }
    }
    high
}

#[expect(clippy::cast_possible_truncation, reason = "grid indices are checked to stay below 2^40 by the choice of the width")]
fn whole(x: f64) -> i64 {
    x as i64
}
#[expect(clippy::cast_precision_loss, reason = "grid indices are far below 2^53")]
fn float(i: i64) -> f64 {
    i as f64
}
fn index(i: i64) -> usize {
    usize::try_from(i.max(0)).unwrap_or(usize::MAX)
}
fn length(n: usize) -> i64 {
    i64::try_from(n).expect("a vector is shorter than 2^63")
}

impl Losses {
    /// Tilts the masses by e^(λ·i·w) and divides by their sum; returns ln of the sum.
    fn tilted(&self, tilt: f64) -> (Vec<f64>, f64) {
        let ln_masses: Vec<f64> = self.mass.iter().zip(0i64..).map(|(p, i)| log(*p) + tilt * float(i) * self.width).collect();
        let most = ln_masses.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let ln_sum = most + log(ln_masses.iter().map(|l| exp(l - most)).sum::<f64>());
        (ln_masses.iter().map(|l| exp(l - ln_sum)).collect(), ln_sum)
    }

    /// `times` independent costs added, the masses tilted by λ during the transform (D47).
    fn composed(self, times: u64, tilt: f64) -> Self {
        if times == 1 {
            return self;
        }
        let t = count(times);
        let (low, high) = window(&self.mass, t);
        let infinite = TAIL - expm1(t * log1p(-self.infinite));
        let (tilted, ln_sum) = if tilt > 0.0 { self.tilted(tilt) } else { (self.mass.clone(), 0.0) };
        // Under the tilt the mass sits higher; its window must not fold back onto the part that is read.
        let reach = if tilt > 0.0 { window(&tilted, t).1.max(high) } else { high };
        let n = index(reach - low + 1).max(self.mass.len()).next_power_of_two();
        let folded = fft::power(&tilted, t, n);
        let shift = index(low.rem_euclid(length(n)));
        let mass = (0..=reach - low)
            .map(|j| {
                let value = folded[(index(j) + shift) % n];
                if tilt > 0.0 { value * exp(t * ln_sum - tilt * float(low + j) * self.width) } else { value }
            })
            .collect();
        let first = self.first * i64::try_from(times).expect("at most 1e9 steps") + low;
        Self { width: self.width, first, mass, infinite }
    }

    fn convolved(self, other: &Self) -> Self {
        Self {
            width: self.width,
            first: self.first + other.first,
            mass: fft::convolve(&self.mass, &other.mass),
            infinite: self.infinite + other.infinite - self.infinite * other.infinite,
        }
    }

    /// The smallest ε >= 0 with δ(ε) <= δ.
    fn epsilon(&self, delta: f64) -> f64 {
        if self.infinite > delta {
            return f64::INFINITY;
        }
        let (mut above, mut weighted) = (self.infinite, 0.0);
        let last = self.first + i64::try_from(self.mass.len()).unwrap_or(i64::MAX) - 1;
        for (p, cell) in self.mass.iter().rev().zip((self.first..=last).rev()) {
            let cost = float(cell) * self.width;
            if cost <= 0.0 {
                break;
            }
            above += p;
            weighted += p * exp(-cost);
            let edge = (cost - self.width).max(0.0);
            if above - exp(edge) * weighted > delta {
                return log((above - delta) / weighted).max(0.0);
            }
        }
        0.0
    }

    /// δ(ε).
    #[cfg(test)]
    fn delta(&self, epsilon: f64) -> f64 {
        let part = |(p, i): (&f64, i64)| {
            let cost = float(self.first + i) * self.width;
            if cost > epsilon { -p * expm1(epsilon - cost) } else { 0.0 }
        };
        self.infinite + self.mass.iter().zip(0i64..).map(part).sum::<f64>()
    }
}

/// Indices outside which the `times`-fold sum has mass below [`TAIL`], by Chernoff's bound at orders ±1..20/len.
fn window(mass: &[f64], times: f64) -> (i64, i64) {
    let len = length(mass.len());
    let (mut low, mut high) = (0.0f64, float(len - 1) * times);
    for k in 1..=20i64 {
        for order in [float(k) / float(len), -float(k) / float(len)] {
            let moment: f64 = mass.iter().zip(0i64..).map(|(p, i)| p * exp(float(i) * order)).sum();
            let bound = (times * log(moment) + log(2.0 / TAIL)) / order;
            if order > 0.0 { high = high.min(ceil(bound)) } else { low = low.max(floor(bound)) }
        }
    }
    (whole(low), whole(high.max(low)))
}

/// Phases without sampling are one Gaussian step with μ² = Σ T/σ².
fn merged(phases: &[Phase]) -> Vec<Phase> {
    let square: f64 = phases.iter().filter(|p| p.sampling_rate >= 1.0).map(|p| count(p.steps) / p.noise_multiplier.powi(2)).sum();
    let mut merged: Vec<Phase> = phases.iter().copied().filter(|p| p.sampling_rate < 1.0).collect();
    if square > 0.0 {
        merged.push(Phase { noise_multiplier: 1.0 / sqrt(square), sampling_rate: 1.0, steps: 1 });
    }
    merged
}

fn composed(phases: &[Phase], direction: Direction, width: f64, tilt: f64) -> Option<Losses> {
    let one = |p: &Phase| Step { sigma: p.noise_multiplier, q: p.sampling_rate }.losses(direction, width).composed(p.steps, tilt);
    phases.iter().map(one).reduce(|a, b| a.convolved(&b))
}

/// Coarsest of: the asked width, and what keeps one step's grid below [`MOST_CELLS`].
fn affordable(phases: &[Phase], width: f64) -> f64 {
    let spans = phases.iter().map(|p| {
        let (low, high) = Step { sigma: p.noise_multiplier, q: p.sampling_rate }.range(Direction::Remove);
        high - low
    });
    spans.fold(width, |w, span| w.max(span / MOST_CELLS))
}

/// ε on a grid of a given width: the larger of both directions.
pub(super) fn epsilon_at_width(phases: &[Phase], delta: f64, width: f64, tilt: f64) -> f64 {
    let width = affordable(phases, width);
    let one = |direction| composed(phases, direction, width, tilt).map_or(0.0, |l| l.epsilon(delta));
    one(Direction::Remove).max(one(Direction::Add))
}

/// Upper bound on ε at δ by the privacy loss distribution: the reported number. No steps cost 0; no noise costs ∞.
///
/// # Errors
/// [`AccountantError`] for arguments outside their domains, δ below 1e-12 among them.
///
/// # Source
/// privacy.md D45, D47.
pub fn epsilon_pld(phases: &[Phase], delta: f64) -> Result<f64, AccountantError> {
    let phases = merged(&checked(phases, delta)?);
    if delta < 1e-12 {
        return Err(AccountantError::DeltaTooSmall(delta));
    }
    if phases.iter().any(|p| p.noise_multiplier == 0.0) {
        return Ok(f64::INFINITY);
    }
    let cross = rdp::epsilon_rdp(&phases, delta)?;
    let total: u64 = phases.iter().fold(0, |sum, p| sum.saturating_add(p.steps));
    // The order that RDP finds best puts the tilted mass where ε lies.
    let tilt = if (delta <= 1e-8 || total >= 50_000) && cross.order > 1.0 { cross.order - 1.0 } else { 0.0 };
    let epsilon = epsilon_at_width(&phases, delta, if cross.epsilon > 33.0 { 1e-3 } else { 1e-4 }, tilt);
    if epsilon < 0.02 && epsilon > 0.0 { Ok(epsilon_at_width(&phases, delta, 1e-5, tilt)) } else { Ok(epsilon) }
}

/// δ at ε of the larger direction.
#[cfg(test)]
pub(super) fn delta_pld(phases: &[Phase], epsilon: f64) -> f64 {
    let phases = merged(phases);
    let one = |direction| composed(&phases, direction, 1e-4, 0.0).map_or(0.0, |l| l.delta(epsilon));
    one(Direction::Remove).max(one(Direction::Add))
}

/// ε of (remove, add) apart.
#[cfg(test)]
pub(super) fn both_directions(phases: &[Phase], delta: f64) -> (f64, f64) {
    let phases = merged(phases);
    let one = |direction| composed(&phases, direction, 1e-4, 0.0).map_or(0.0, |l| l.epsilon(delta));
    (one(Direction::Remove), one(Direction::Add))
}

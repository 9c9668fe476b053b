//! The two outputs of one step that neighbours are told apart by (privacy.md D45, D46, D56). Knows no grid and no composition.

use super::Phase;
use super::groups::Group;
use super::replace::Replacement;
use super::special::{ln_add, ln_upper, upper, weighed};
use libm::{expm1, log, log1p};

/// Outputs P and Q of one step, by the curve that composition needs.
pub(super) trait Pair {
    /// The smallest δ with P(S) <= e^ε·Q(S) + δ for every set S.
    fn delta(&self, epsilon: f64) -> f64;
    /// Smallest and largest cost of the grid.
    fn range(&self) -> (f64, f64);
}

/// Which neighbour gives P and which gives Q.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pairing {
    /// P with one unit more than Q.
    Remove,
    /// Q with one unit more than P.
    Add,
    /// One unit has other data in Q than in P.
    Replace,
    /// P with this many units more than Q.
    RemoveGroup(u32),
    /// Q with this many units more than P.
    AddGroup(u32),
}

impl Pairing {
    /// The pair of one step of `phase`.
    pub(super) fn pair(self, phase: &Phase) -> Box<dyn Pair> {
        let (sigma, q) = (phase.noise_multiplier, phase.sampling_rate);
        if q >= 1.0 {
            // One Gaussian against its shift, the same from both sides.
            return Box::new(Removal(Step::new(sigma / self.shift(), 1.0)));
        }
        match self {
            Self::Remove => Box::new(Removal(Step::new(sigma, q))),
            Self::Add => Box::new(Addition(Step::new(sigma, q))),
            Self::Replace => Box::new(Replacement::new(sigma, q)),
            Self::RemoveGroup(k) => Box::new(Group::new(sigma, q, k)),
            Self::AddGroup(k) => Box::new(Group::new(sigma, q, k).reversed()),
        }
    }

    /// How far the pair is apart without sampling, in sensitivities.
    fn shift(self) -> f64 {
        match self {
            Self::Remove | Self::Add => 1.0,
            Self::Replace => 2.0,
            Self::RemoveGroup(k) | Self::AddGroup(k) => f64::from(k),
        }
    }
}

/// N(0, σ²) has mass ½e^-50 beyond the answer.
pub(super) fn far(sigma: f64) -> f64 {
    let (mut low, mut high) = (9.0, 11.0);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if ln_upper(middle) > -50.0 - std::f64::consts::LN_2 { low = middle } else { high = middle }
    }
    sigma * high
}

/// One step of the subsampled Gaussian, for one unit.
struct Step {
    sigma: f64,
    q: f64,
    /// ln q.
    ln_in: f64,
    /// ln(1−q).
    ln_out: f64,
}

impl Step {
    fn new(sigma: f64, q: f64) -> Self {
        Self { sigma, q, ln_in: log(q), ln_out: log1p(-q) }
    }

    /// ln((1−q) + q·e^((2z−1)/2σ²)): the cost of output z.
    fn cost(&self, z: f64) -> f64 {
        ln_add(self.ln_out, self.ln_in + (2.0 * z - 1.0) / (2.0 * self.sigma * self.sigma))
    }

    /// The output with cost e, for e above ln(1−q).
    fn output(&self, e: f64) -> f64 {
        let inner = if self.q >= 1.0 { e } else { log1p(expm1(e) / self.q) };
        self.sigma * self.sigma * inner + 0.5
    }

    fn range(&self) -> (f64, f64) {
        let zeta = far(self.sigma);
        (self.cost(-zeta), self.cost(zeta + 1.0))
    }
}

/// P = (1−q)N(0, σ²) + qN(1, σ²), Q = N(0, σ²).
struct Removal(Step);

impl Pair for Removal {
    fn delta(&self, e: f64) -> f64 {
        let Step { q, sigma: s, ln_out, .. } = self.0;
        if e <= ln_out {
            return -expm1(e);
        }
        let z = self.0.output(e);
        let none = upper(z / s);
        (1.0 - q) * none + q * upper((z - 1.0) / s) - weighed(e, none, || ln_upper(z / s))
    }

    fn range(&self) -> (f64, f64) {
        self.0.range()
    }
}

/// P = N(0, σ²), Q = (1−q)N(0, σ²) + qN(1, σ²).
struct Addition(Step);

impl Pair for Addition {
    fn delta(&self, e: f64) -> f64 {
        let Step { q, sigma: s, ln_in, ln_out } = self.0;
        if e >= -ln_out {
            return 0.0;
        }
        let z = self.0.output(-e);
        let (none, one) = (upper(-z / s), upper((1.0 - z) / s));
        let ln_mixture = || ln_add(ln_out + ln_upper(-z / s), ln_in + ln_upper((1.0 - z) / s));
        none - weighed(e, (1.0 - q) * none + q * one, ln_mixture)
    }

    fn range(&self) -> (f64, f64) {
        let (low, high) = self.0.range();
        (-high, -low)
    }
}

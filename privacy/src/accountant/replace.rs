//! Neighbours by replacing one unit's data (privacy.md D46). Knows no grid and no composition.

use super::pair::{Pair, far};
use super::special::{ln_add, ln_upper, upper, weighed};
use libm::{asinh, exp, expm1, fabs, log, log1p};
use std::f64::consts::LN_2;

/// P = (1−q)N(0, σ²) + qN(1, σ²), Q = (1−q)N(0, σ²) + qN(−1, σ²) with q < 1: each is the other's mirror image, so one direction says all.
pub(super) struct Replacement {
    sigma: f64,
    q: f64,
    /// ln q.
    ln_in: f64,
    /// ln(1−q).
    ln_out: f64,
}

impl Replacement {
    pub(super) fn new(sigma: f64, q: f64) -> Self {
        Self { sigma, q, ln_in: log(q), ln_out: log1p(-q) }
    }

    /// ln of the ratio of densities at z, up to the factor that both share.
    fn cost(&self, z: f64) -> f64 {
        let square = 2.0 * self.sigma * self.sigma;
        let side = |z: f64| ln_add(self.ln_out, self.ln_in + (2.0 * z - 1.0) / square);
        side(z) - side(-z)
    }

    /// The output with cost e: σ²·(e/2 + asinh(sinh(e/2)·(1−q)·e^(1/2σ²)/q)), mirrored for negative e.
    fn output(&self, e: f64) -> f64 {
        let (half, square) = (fabs(e) / 2.0, self.sigma * self.sigma);
        if half == 0.0 {
            return 0.0;
        }
        // In logs, since both sinh and the exponential leave f64 for little noise: sinh(x) = e^x·(1 − e^(−2x))/2.
        let ln_sinh = half + log(-expm1(-2.0 * half)) - LN_2;
        let ln_inner = ln_sinh + self.ln_out + 0.5 / square - self.ln_in;
        // asinh(x) = ln 2x + 1/4x² - ..., below f64 from x = e^20 on.
        let inner = if ln_inner > 20.0 { ln_inner + LN_2 } else { asinh(exp(ln_inner)) };
        let z = square * (half + inner);
        if e < 0.0 { -z } else { z }
    }
}

impl Pair for Replacement {
    fn delta(&self, e: f64) -> f64 {
        let (q, s, z) = (self.q, self.sigma, self.output(e));
        let none = (1.0 - q) * upper(z / s);
        let ln_above = || ln_add(self.ln_out + ln_upper(z / s), self.ln_in + ln_upper((z + 1.0) / s));
        none + q * upper((z - 1.0) / s) - weighed(e, none + q * upper((z + 1.0) / s), ln_above)
    }

    fn range(&self) -> (f64, f64) {
        let most = self.cost(far(self.sigma) + 1.0);
        (-most, most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_invert_costs() {
        for (sigma, q) in [(1.0, 0.1), (0.3, 0.001), (5.0, 0.9), (0.05, 0.5)] {
            let pair = Replacement::new(sigma, q);
            for e in [-3.0, -0.2, 0.0, 1e-6, 0.7, 4.0] {
                assert!((pair.cost(pair.output(e)) - e).abs() < 1e-9, "{sigma} {q} {e}");
            }
        }
    }
}

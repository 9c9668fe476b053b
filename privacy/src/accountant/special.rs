//! Normal tails and sums in the log domain. Knows no privacy.

use libm::{erfc, exp, log, log1p};
use std::f64::consts::{LN_2, PI, SQRT_2};

/// Φ̄(x) = P(N(0,1) > x), to a few ulp.
pub(super) fn upper(x: f64) -> f64 {
    0.5 * erfc(x / SQRT_2)
}

/// ln Φ̄(x), without underflow.
pub(super) fn ln_upper(x: f64) -> f64 {
    if x < -5.0 {
        log1p(-upper(-x))
    } else if x < 30.0 {
        log(upper(x))
    } else {
        // Φ̄(x) = φ(x)/x·(1 − 1/x² + 3/x⁴ − 15/x⁶ ± 105/x⁸): the error is below 945/x^10 < 2e-12 relative, and shrinks.
        let y = 1.0 / (x * x);
        -0.5 * x * x - log(x) - 0.5 * log(2.0 * PI) + log1p(-y * (1.0 - y * (3.0 - y * (15.0 - 105.0 * y))))
    }
}

/// e^e·x for a tail x whose logarithm is also known: directly where neither factor leaves f64.
pub(super) fn weighed(e: f64, x: f64, ln_x: impl FnOnce() -> f64) -> f64 {
    if e < 600.0 && x > 1e-280 { exp(e) * x } else { exp(e + ln_x()) }
}

/// ln erfc(x).
pub(super) fn ln_erfc(x: f64) -> f64 {
    LN_2 + ln_upper(x * SQRT_2)
}

/// ln(e^a + e^b).
pub(super) fn ln_add(a: f64, b: f64) -> f64 {
    let (low, high) = if a < b { (a, b) } else { (b, a) };
    if low == f64::NEG_INFINITY { high } else { high + log1p(exp(low - high)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails_agree_across_their_branches() {
        for x in [-40.0, -9.0, -5.0, -1.0, 0.0, 1.0, 8.0] {
            assert!((exp(ln_upper(x)) - upper(x)).abs() <= 4e-16);
        }
        // Mills' ratio from a table: ln Φ̄(10) and ln Φ̄(40).
        assert!((ln_upper(10.0) + 53.231_285_150_512_47).abs() < 1e-11);
        assert!((ln_upper(40.0) + 804.608_442_013_754).abs() < 1e-9);
        assert!((ln_upper(29.999_999_999) - ln_upper(30.000_000_001)).abs() < 1e-6);
    }

    #[test]
    fn weighed_tails_do_not_overflow() {
        assert!((weighed(2.0, 0.25, || log(0.25)) - exp(2.0) / 4.0).abs() < 1e-15);
        assert!((weighed(800.0, upper(40.0), || ln_upper(40.0)) / exp(800.0 + ln_upper(40.0)) - 1.0).abs() < 1e-12);
        assert!((weighed(700.0, 1e-300, || log(1e-300)) / (exp(350.0) * 1e-300 * exp(350.0)) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn sums_in_the_log_domain_are_sums() {
        assert!((ln_add(log(2.0), log(3.0)) - log(5.0)).abs() < 1e-15);
        assert!((ln_add(f64::NEG_INFINITY, 3.0) - 3.0).abs() < 1e-15);
        assert_eq!(ln_add(f64::NEG_INFINITY, f64::NEG_INFINITY), f64::NEG_INFINITY);
    }
}

//! Masses of the rounded Gaussian in fixed-point big integers, with error bounds (privacy.md D21, D24). Knows no random bit and no float.

use num_bigint::{BigInt, Sign};

/// Fractional bits of every fixed-point number here.
const F: u32 = 320;
/// Terms of the Hermite series. With h = 1/s <= 1/16 and |c| <= 13.4, Cramér's |He_n(c)| <= e^(c²/4)·√n! bounds the
/// n-th term by 2^65·2^(-5n)/√n!, which is below 2^-300 from n = 52 on.
const HERMITE_ORDER: u32 = 52;
/// Below this deviation (in 2^-10 grid steps) masses come from the error function's series instead.
const SERIES_BELOW: u64 = 16 << 10;

/// Unnormalised masses of round(N(0, s²)), s a multiple of 2^-10.
///
/// Relative error of a mass below 2^-150 for |k| <= 13.4·s: truncations cost a few hundred units of 2^-320, the squarings inside the
/// exponential multiply them by at most 2^16, and the smallest exponential is 2^-152.
pub(super) struct Masses {
    sigma_1024: u64,
    double_square: BigInt,
}

impl Masses {
    pub(super) fn new(sigma_1024: u64) -> Self {
        Self { sigma_1024, double_square: BigInt::from(sigma_1024).pow(2) * 2u8 }
    }

    /// The largest magnitude that is drawn.
    pub(super) fn tail(&self) -> i64 {
        i64::try_from(tail(self.sigma_1024)).expect("a deviation of at most 2^40 has a tail below 2^44")
    }

    /// a/(2s²), fixed point.
    fn over_double_square(&self, a: BigInt) -> BigInt {
        ((a << 20u32) << F) / &self.double_square
    }

    /// A number proportional to the mass of k, the same factor for all k.
    pub(super) fn mass(&self, k: i64) -> BigInt {
        if self.sigma_1024 >= SERIES_BELOW {
            let density = exp_neg(&self.over_double_square(BigInt::from(k).pow(2)));
            return (density * self.hermite(k)) >> F;
        }
        let k = k.unsigned_abs();
        if k == 0 { self.integral(1) * 2u8 } else { self.integral(2 * k + 1) - self.integral(2 * k - 1) }
    }

    /// 1 + κ(k): the mass of k over density times width, Σ_j He_2j(c)·(h/2)^2j/(2j+1)! with c = k/s and h = 1/s.
    fn hermite(&self, k: i64) -> BigInt {
        let (u, v) = (self.over_double_square(BigInt::from(k)), self.over_double_square(BigInt::from(1)) >> 1u32);
        // a_n = He_n(c)·(h/2)^n/(n+1)!, by He_{n+1} = c·He_n − n·He_{n−1}; u = c·h/2, v = (h/2)².
        let (mut before, mut now) = (one(), &u >> 1u32);
        let mut sum = one();
        for n in 1..HERMITE_ORDER {
            let next = ((&u * &now) >> F) / (n + 2) - ((&v * &before) >> F) * n / ((n + 2) * (n + 1));
            if (n + 1) % 2 == 0 {
                sum += &next;
            }
            (before, now) = (now, next);
            // What follows is made of rounding alone: floors keep −1 at −1.
            if before.bits() <= 1 && now.bits() <= 1 {
                break;
            }
        }
        sum
    }

    /// ∫ from 0 to x = a/(2s) of e^(-t²/2) dt = e^(-x²/2)·Σ x^(2n+1)/(2n+1)!!; every term is positive.
    fn integral(&self, a: u64) -> BigInt {
        let x = (BigInt::from(a) << (F + 9)) / self.sigma_1024;
        let square = (&x * &x) >> F;
        let (mut term, mut sum, mut odd) = (x, BigInt::ZERO, 1u64);
        while term.sign() == Sign::Plus {
            sum += &term;
            odd += 2;
            term = ((term * &square) >> F) / odd;
        }
        (sum * exp_neg(&(square >> 1u32))) >> F
    }

    /// ⌊2^128 · mass(x)/mass(m)⌋ for |x| >= |m|, exact to 2^-150 before the floor. Needs s >= 16.
    pub(super) fn ratio(&self, x: i64, m: i64) -> BigInt {
        let distance = BigInt::from(x).pow(2) - BigInt::from(m).pow(2);
        let density = exp_neg(&self.over_double_square(distance));
        (density * self.hermite(x) / self.hermite(m)) >> (F - 128)
    }
}

/// ⌈13.3·s⌉: beyond lies a mass below 2^-127, of the rounded and of the discrete Gaussian (D24).
pub(super) fn tail(sigma_1024: u64) -> u64 {
    u64::try_from((u128::from(sigma_1024) * 133).div_ceil(10_240)).expect("13.3 times a deviation of at most 2^40")
}

fn one() -> BigInt {
    BigInt::from(1) << F
}

/// e^-x for x >= 0: halve until small, Taylor, square back.
fn exp_neg(x: &BigInt) -> BigInt {
    let halvings = u32::try_from((x >> (F - 8)).bits()).expect("exponents here are far below 2^32");
    let small = x >> halvings;
    let (mut term, mut sum, mut n) = (one(), one(), 1u32);
    while term.sign() != Sign::NoSign {
        // The quotient is rounded towards zero, so the loop ends.
        term = -((term * &small) >> F) / n;
        sum += &term;
        n += 1;
    }
    for _ in 0..halvings {
        sum = (&sum * &sum) >> F;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As f64, for comparison only.
    fn float(x: &BigInt) -> f64 {
        let shift = x.bits().saturating_sub(60);
        let top: i64 = (x >> shift).try_into().unwrap();
        top as f64 * 2f64.powf(shift as f64 - f64::from(F))
    }

    #[test]
    fn exponential_agrees_with_floats_and_with_its_own_square() {
        for thousandths in [0i32, 1, 300, 1000, 7500, 88_000] {
            let x = f64::from(thousandths) / 1000.0;
            let fixed = (BigInt::from(thousandths) << F) / 1000;
            let want = (-x).exp();
            assert!((float(&exp_neg(&fixed)) / want - 1.0).abs() < 1e-13, "{x}");
        }
        let (half, whole) = (exp_neg(&((one() * 3u8) >> 1u32)), exp_neg(&(one() * 3u8)));
        assert!((((&half * &half) >> F) - whole).bits() < F as u64 - 290);
    }

    /// The two series are independent ways to the same masses: ratios to the mass of 0 agree to 2^-140.
    #[test]
    fn both_series_give_the_same_masses() {
        let masses = Masses::new(20 << 10);
        let zero = (masses.mass(0), masses.integral(1) * 2u8);
        for k in [1i64, 5, 20, 77, 150, 260] {
            let by_hermite = (masses.mass(k) << 160u32) / &zero.0;
            let a = u64::try_from(2 * k).unwrap();
            let by_integral = ((masses.integral(a + 1) - masses.integral(a - 1)) << 160u32) / &zero.1;
            assert!((by_hermite - by_integral).bits() <= 12, "k = {k}");
        }
    }

    #[test]
    fn masses_sum_to_the_whole_line() {
        // Σ mass = ∫ e^(-t²/2) = √(2π) when every mass is an integral of the density.
        let masses = Masses::new(3 << 10);
        let sum: BigInt = (-masses.tail()..=masses.tail()).map(|k| masses.mass(k)).sum();
        assert!((float(&sum) - (2.0 * std::f64::consts::PI).sqrt()).abs() < 1e-14);
    }

    #[test]
    fn ratio_is_the_quotient_of_masses() {
        let masses = Masses::new(5000 << 10);
        for (x, m) in [(5123i64, 5120i64), (-70, -1), (40_000, 39_936)] {
            let quotient = (masses.mass(x) << 128u32) / masses.mass(m);
            assert!((masses.ratio(x, m) - quotient).bits() <= 2);
        }
    }
}

//! The discrete Gaussian from rationals alone, exact but for the cut of its tail (privacy.md D23, D24). Knows no float and no data.
//!
//! Source: Canonne, Kamath, Steinke 2020, arXiv 2004.00010, Algorithms 1 to 3. Their Algorithm 3 is right for every scale t of the Laplace
//! distribution that proposes; with a power of two, t = 2^k next to s, all of its rationals have denominators of few factors.

use super::exact::tail;
use super::{Noise, Stream};
use num_bigint::BigUint;

/// The sampler of N_Z(0, s²), s a multiple of 2^-10: P(y) is proportional to e^(-y²/2s²) for |y| <= ⌈13.3·s⌉.
pub(super) struct Discrete {
    /// k: proposals come from the discrete Laplace distribution of scale t = 2^k, with s²/2 < t² <= 2s².
    scale: u32,
    /// 2p + k, where s·2^p is an integer.
    shift: u32,
    /// e = 2p + 2k + 1.
    exponent: u32,
    /// S = s²·2^2p.
    square: u128,
    /// S once more, where all denominators fit into 128 bits.
    narrow: Option<u64>,
    tail: u128,
}

impl Discrete {
    /// The sampler of deviation `sigma_1024`·2^-10, between 1 and 2^40.
    pub(super) fn new(sigma_1024: u64) -> Self {
        let halvings = sigma_1024.trailing_zeros().min(10);
        let (root, fraction) = (u128::from(sigma_1024 >> halvings), 2 * (10 - halvings));
        let square = root * root;
        let scale = (square.ilog2() - fraction).div_ceil(2);
        let exponent = fraction + 2 * scale + 1;
        let narrow = u64::try_from(square).ok().filter(|_| exponent <= 64);
        Self { scale, shift: fraction + scale, exponent, square, narrow, tail: tail(sigma_1024).into() }
    }

    /// One value.
    #[inline]
    pub(super) fn draw(&self, stream: &mut Stream<Noise>) -> i64 {
        loop {
            let (sign, y) = laplace(self.scale, stream);
            if y <= self.tail && self.accepts(y, stream) {
                let y = i64::try_from(y).expect("a tail is below 2^44");
                return if sign { -y } else { y };
            }
        }
    }

    /// Bernoulli(e^-x) with x = (y − s²/t)²/2s² = (y·2^(2p+k) − S)²/(S·2^e), for y up to the tail.
    #[inline]
    fn accepts(&self, y: u128, stream: &mut Stream<Noise>) -> bool {
        let moved = (y << self.shift).abs_diff(self.square);
        let (Some(square), Ok(moved)) = (self.narrow, u64::try_from(moved)) else {
            return self.accepts_wide(y, stream);
        };
        let (numerator, denominator) = (u128::from(moved) * u128::from(moved), self.square << self.exponent);
        if numerator < denominator {
            return exp_part(stream, |s| below(numerator, square, self.exponent, s));
        }
        let (whole, part) = (numerator / denominator, numerator % denominator);
        ones(whole, stream) && exp_part(stream, |s| below(part, square, self.exponent, s))
    }

    /// The same in big integers.
    fn accepts_wide(&self, y: u128, stream: &mut Stream<Noise>) -> bool {
        let moved = BigUint::from((y << self.shift).abs_diff(self.square));
        let (numerator, denominator) = (moved.pow(2), BigUint::from(self.square) << self.exponent);
        let (whole, part) = (&numerator / &denominator, numerator % &denominator);
        let whole = u128::try_from(whole).expect("the exponent is below 100 up to the tail");
        ones(whole, stream) && exp_part(stream, |s| below_wide(&part, &denominator, s))
    }
}

/// Sign and magnitude of the discrete Laplace distribution of scale 2^k, k <= 40 (Algorithm 2).
#[inline]
fn laplace(k: u32, stream: &mut Stream<Noise>) -> (bool, u128) {
    loop {
        // U uniform below t and the sign, from one word: k + 1 of its bits.
        let word = stream.next_u64();
        let (sign, low) = (word >> 63 == 1, word & ((1 << k) - 1));
        // Bernoulli(e^(-U/t)).
        if !exp_part(stream, |s| s.next_u64() & ((1 << k) - 1) < low) {
            continue;
        }
        let mut high = 0u128;
        while exp_one(stream) {
            high += 1;
        }
        let magnitude = high << k | u128::from(low);
        // Zero has one sign only.
        if !sign || magnitude != 0 {
            return (sign, magnitude);
        }
    }
}

/// Bernoulli(e^-f) for 0 <= f <= 1, given draws of Bernoulli(f) (Algorithm 1; Bernoulli(f/k) is Bernoulli(f) and Bernoulli(1/k)).
#[inline]
fn exp_part(stream: &mut Stream<Noise>, mut bernoulli: impl FnMut(&mut Stream<Noise>) -> bool) -> bool {
    let mut k = 1u64;
    while bernoulli(stream) && (k == 1 || one_in(k, stream)) {
        k += 1;
    }
    k % 2 == 1
}

/// Bernoulli(1/e).
#[inline]
fn exp_one(stream: &mut Stream<Noise>) -> bool {
    exp_part(stream, |_| true)
}

/// Bernoulli(e^-n).
#[inline]
fn ones(n: u128, stream: &mut Stream<Noise>) -> bool {
    (0..n).all(|_| exp_one(stream))
}

/// Bernoulli(1/k).
#[inline]
fn one_in(k: u64, stream: &mut Stream<Noise>) -> bool {
    less(1, k, stream)
}

/// Bernoulli(a/b) for a <= b: a uniform number with as many 64-bit digits as it takes is compared with a/b.
///
/// With the first digit w, U = (w + U')/2^64 lies below a/b if and only if U' < (a·2^64 − w·b)/b. One digit decides but for 2^-63.
#[inline]
fn less(a: u64, b: u64, stream: &mut Stream<Noise>) -> bool {
    let mut a = a;
    loop {
        let (target, reached) = (u128::from(a) << 64, u128::from(stream.next_u64()) * u128::from(b));
        match target.checked_sub(reached) {
            None | Some(0) => return false,
            Some(rest) => match u64::try_from(rest) {
                Ok(rest) if rest < b => a = rest,
                Ok(_) | Err(_) => return true,
            },
        }
    }
}

/// Bernoulli(a/(b·2^e)) for a < b·2^e and 1 <= e <= 64: the first e bits of U are one digit, the rest decides a fraction over b.
#[inline]
fn below(a: u128, b: u64, e: u32, stream: &mut Stream<Noise>) -> bool {
    let digit = stream.next_u64() >> (64 - e);
    match a.checked_sub(u128::from(digit) * u128::from(b)) {
        None | Some(0) => false,
        Some(rest) => match u64::try_from(rest) {
            Ok(rest) if rest < b => less(rest, b, stream),
            Ok(_) | Err(_) => true,
        },
    }
}

/// Bernoulli(a/b) in big integers, digit by digit.
fn below_wide(a: &BigUint, b: &BigUint, stream: &mut Stream<Noise>) -> bool {
    let mut a = a.clone();
    loop {
        let (target, reached) = (a << 64u32, b * stream.next_u64());
        if target <= reached {
            return false;
        }
        a = target - reached;
        if a >= *b {
            return true;
        }
    }
}

#[cfg(test)]
#[path = "discrete_tests.rs"]
mod tests;

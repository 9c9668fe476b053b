//! Rounded Gaussian for wide deviations: a bucket by its bound, uniform low bits, certified acceptance (privacy.md D24). Knows no data.

use super::cumulative::Cumulative;
use super::exact::Masses;
use super::{Noise, Stream};
use num_bigint::BigInt;

/// Most buckets of the table.
const MOST_BUCKETS: i64 = 2048;
/// Certified error of the acceptance probability in f64 (see [`Buckets::acceptance`]).
const MARGIN: f64 = 1.0 / (1u64 << 40) as f64;

/// The sampler for 4096 < s <= 2^40.
pub(super) struct Buckets {
    masses: Masses,
    table: Cumulative,
    /// Half of the buckets; bucket b covers b·2^bits .. (b+1)·2^bits for −half <= b < half.
    half: i64,
    bits: u32,
    tail: i64,
    /// 1/(2s²).
    inverse: f64,
    /// s².
    square: f64,
}

/// The point of bucket `b` nearest to zero, where its mass is largest.
fn peak(b: i64, bits: u32) -> i64 {
    if b >= 0 { b << bits } else { ((b + 1) << bits) - 1 }
}

impl Buckets {
    pub(super) fn new(sigma_1024: u64) -> Self {
        let masses = Masses::new(sigma_1024);
        let tail = masses.tail();
        let bits = (0..63).find(|&b| 2 * ((tail >> b) + 1) <= MOST_BUCKETS).expect("a tail below 2^44 fits for some width");
        let half = (tail >> bits) + 1;
        let bounds: Vec<BigInt> = (-half..half).map(|b| masses.mass(peak(b, bits))).collect();
        let sigma = exact(i64::try_from(sigma_1024).expect("at most 2^50")) / 1024.0;
        Self { table: Cumulative::new(&bounds), masses, half, bits, tail, inverse: 0.5 / (sigma * sigma), square: sigma * sigma }
    }

    /// One value.
    #[inline]
    pub(super) fn draw(&self, stream: &mut Stream<Noise>) -> i64 {
        loop {
            let b = i64::try_from(self.table.draw(stream)).expect("at most 2048 buckets") - self.half;
            let low = i64::try_from(stream.next_u64() & ((1 << self.bits) - 1)).expect("fewer than 63 bits");
            let (x, m) = ((b << self.bits) + low, peak(b, self.bits));
            // The draw comes before the tail is looked at, so that every attempt takes the same number of bits.
            let draw = stream.next_u64();
            if x.abs() <= self.tail && self.accepts(x, m, draw, stream) {
                return x;
            }
        }
    }

    #[inline]
    fn accepts(&self, x: i64, m: i64, draw: u64, stream: &mut Stream<Noise>) -> bool {
        let uniform = unit(draw);
        if uniform < self.surely(x, m) {
            return true;
        }
        let chance = self.acceptance(x, m);
        if uniform < chance - MARGIN {
            return true;
        }
        if uniform > chance + MARGIN {
            return false;
        }
        self.settle(x, m, draw, stream)
    }

    /// Below [`Self::acceptance`] less its margin, without an exponential: e^-t >= 1 − t, and (1+κ(x))/(1+κ(m)) >= 1 because |x| >= |m|.
    /// The slack of 2^-38 is four times the margin; roundings of t are below 2^-50.
    #[inline]
    fn surely(&self, x: i64, m: i64) -> f64 {
        let (fx, fm) = (exact(x), exact(m));
        1.0 - (fx - fm) * (fx + fm) * self.inverse - 4.0 * MARGIN
    }

    /// The exact comparison, for about one attempt in 2^39.
    fn settle(&self, x: i64, m: i64, draw: u64, stream: &mut Stream<Noise>) -> bool {
        let full = u128::from(draw) << 64 | u128::from(stream.next_u64());
        BigInt::from(full) < self.masses.ratio(x, m)
    }

    /// mass(x)/mass(m) = e^(-(x−m)(x+m)/2s²)·(1+κ(x))/(1+κ(m)), within 2^-41.
    ///
    /// Errors: κ is cut after He_2, and for s > 4096, |c| <= 13.4 the next term He_4(c)·(h/2)^4/120 is below 2^-43.9, for x and for m; the
    /// exponent is below 0.36 and carries six roundings; the polynomial below adds 2^-49; unit() adds 2^-53. Together below 2^-42.
    fn acceptance(&self, x: i64, m: i64) -> f64 {
        let (fx, fm) = (exact(x), exact(m));
        let density = exp_neg((fx - fm) * (fx + fm) * self.inverse);
        density * self.correction(fx) / self.correction(fm)
    }

    /// 1 + κ up to its first term, ((x/s)² − 1)/24s².
    fn correction(&self, x: f64) -> f64 {
        1.0 + (x * x / self.square - 1.0) / (24.0 * self.square)
    }
}

/// Values here are below 2^45.
#[expect(clippy::cast_precision_loss, reason = "callers pass integers below 2^53")]
fn exact(x: i64) -> f64 {
    x as f64
}

/// The top 53 bits as a number in [0, 1).
#[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
fn unit(draw: u64) -> f64 {
    (draw >> 11) as f64 / (1u64 << 53) as f64
}

/// (−1)^n/n! for n = 0 to 14.
const TAYLOR: [f64; 15] = {
    let (mut terms, mut n) = ([1.0; 15], 1);
    while n < 15 {
        terms[n] = -terms[n - 1] / n as f64;
        n += 1;
    }
    terms
};

/// e^-t for 0 <= t < 0.4 by Taylor's polynomial: the remainder is below 0.4^15/15! < 2^-59, roundings stay below 2^-49.
/// Written out because the standard library certifies no error for `exp`.
fn exp_neg(t: f64) -> f64 {
    TAYLOR.iter().rev().fold(0.0, |sum, term| sum * t + term)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::{SeededEntropy, StepContext};
    use protocol::ids::ManifestDigest;

    /// The certificate of the float path: 2^-41 is never exceeded on a grid of buckets and offsets, at the narrowest and wide deviations.
    #[test]
    fn float_acceptance_is_within_its_certificate() {
        for sigma_1024 in [(4096u64 << 10) + 1, 65_537 << 10, 1 << 50] {
            let buckets = Buckets::new(sigma_1024);
            for step in 0..40 {
                let b = -buckets.half + step * (2 * buckets.half - 1) / 39;
                for low in [0, 1, (1i64 << buckets.bits) / 2, (1i64 << buckets.bits) - 1] {
                    let (x, m) = ((b << buckets.bits) + low, peak(b, buckets.bits));
                    let exact = buckets.masses.ratio(x, m) >> 64u32;
                    let exact = u128::try_from(exact).unwrap() as f64 / 2f64.powi(64);
                    let error = (buckets.acceptance(x, m) - exact).abs();
                    assert!(error < MARGIN / 2.0, "s {sigma_1024} b {b} low {low}: {error:e}");
                    assert!((0.6..=1.0 + 1e-12).contains(&exact), "acceptance {exact}");
                    assert!(buckets.surely(x, m) < buckets.acceptance(x, m) - MARGIN, "s {sigma_1024} b {b} low {low}");
                }
            }
        }
    }

    #[test]
    fn settling_agrees_with_the_float_path_where_that_is_certain() {
        let buckets = Buckets::new(65_536 << 10);
        let context = StepContext { manifest: ManifestDigest([0; 32]), ledger_counter: 0, step: 0 };
        let mut stream = Stream::open(&mut SeededEntropy::new(1), &context).unwrap();
        for _ in 0..200 {
            let (word, draw) = (stream.next_u64(), stream.next_u64());
            let b = i64::try_from(word % 2000).unwrap() % (2 * buckets.half) - buckets.half;
            let (x, m) = ((b << buckets.bits) + i64::from(word >> 63 == 1) * 3, peak(b, buckets.bits));
            let certain = unit(draw) < buckets.acceptance(x, m);
            assert_eq!(buckets.settle(x, m, draw, &mut stream), certain);
        }
    }
    /// Inside a bucket the density falls off as well: outer halves hold 0.498 of the draws, not one half as they would if nothing were
    /// refused, which 2^24 draws put 12 deviations apart. Six deviations of the binomial: false alarm 2e-9 each.
    #[test]
    fn the_density_falls_off_inside_buckets_too() {
        for sigma_1024 in [4097u64 << 10, 65_536 << 10] {
            let (buckets, s) = (Buckets::new(sigma_1024), sigma_1024 as f64 / 1024.0);
            let (half_width, beyond) = (1i64 << (buckets.bits - 1), |k: i64| libm::erfc((k as f64 - 0.5) / s / std::f64::consts::SQRT_2));
            // Of positive values: bucket b covers 2b to 2b + 2 halves, so odd halves are the outer ones; negative values mirror that from −1.
            let halves = (0..2 * buckets.half).map(|h| (h, beyond(h * half_width) - beyond((h + 1) * half_width)));
            let outer = halves.filter(|(h, _)| h % 2 == 1).map(|(_, p)| p).sum::<f64>() / beyond(0);
            let context = StepContext { manifest: ManifestDigest([0; 32]), ledger_counter: 0, step: 0 };
            let (mut stream, mut hits, mut all) = (Stream::open(&mut SeededEntropy::new(41), &context).unwrap(), 0.0f64, 0.0f64);
            for _ in 0..1 << 24 {
                let x = buckets.draw(&mut stream);
                if x >= 0 {
                    all += 1.0;
                    hits += f64::from(u8::from((x / half_width) % 2 == 1));
                }
            }
            let deviation = (all * outer * (1.0 - outer)).sqrt();
            assert!((hits - all * outer).abs() < 6.0 * deviation, "s {s}: {hits} of {all}, {outer} expected");
            assert!((hits - all * 0.5).abs() > 6.0 * deviation, "s {s}: the test would not see buckets that are flat");
        }
    }
}

//! Residues modulo three 30-bit primes and back to modulo 2^64 (crypto.md C68). Every step takes the same time for every value.
#![expect(clippy::cast_possible_truncation, reason = "residues are below 30-bit primes, and where the low word is taken it is meant")]

use protocol::params::RING_DIMENSION;
use zeroize::Zeroizing;

/// P0, P1, P2: prime, below 2^30 and 1 modulo 8192, so that each has a negacyclic transform of 4096 points.
pub(super) const PRIMES: [u32; 3] = [1_073_692_673, 1_073_668_097, 1_073_651_713];
const P: [u64; 3] = [PRIMES[0] as u64, PRIMES[1] as u64, PRIMES[2] as u64];

/// P0·P1·P2.
const PRODUCT: u128 = P[0] as u128 * P[1] as u128 * P[2] as u128;

/// Sums of absolute coefficients up to here keep a product with a mask centred to [-2^63, 2^63) within half of P0·P1·P2 (C68).
const HALF_PRODUCT_NORM: u64 = (PRODUCT >> 64) as u64;

/// Largest sum of absolute coefficients that the fast path takes: one part in 2048 less than C68 allows, for the quotient of the recombination is
/// rounded from an estimate.
pub const MAX_L1_NORM: u64 = HALF_PRODUCT_NORM - HALF_PRODUCT_NORM.div_ceil(2048);

/// One polynomial modulo each prime.
pub(super) type Residues = [[u32; RING_DIMENSION]; 3];

/// Room for one product; wiped when dropped, since products with a secret pass through it.
pub(super) fn room() -> Box<Zeroizing<Residues>> {
    Box::new(Zeroizing::new([[0; RING_DIMENSION]; 3]))
}

const fn power(base: u64, mut exponent: u64, p: u64) -> u64 {
    let (mut result, mut square) = (1, base % p);
    while exponent > 0 {
        if exponent & 1 == 1 {
            result = result * square % p;
        }
        square = square * square % p;
        exponent >>= 1;
    }
    result
}

const fn inverse(a: u64, p: u64) -> u64 {
    power(a, p - 2, p)
}

/// p^-1 modulo 2^32, by Newton's iteration.
const fn inverse_word(p: u32) -> u32 {
    let mut x = p;
    let mut i = 0;
    while i < 5 {
        x = x.wrapping_mul(2u32.wrapping_sub(p.wrapping_mul(x)));
        i += 1;
    }
    x
}

/// A constant factor modulo a prime with the quotient that makes its products cheap (Shoup).
#[derive(Clone, Copy)]
struct Factor {
    factor: u64,
    quotient: u64,
    prime: u32,
}

impl Factor {
    const fn new(factor: u64, p: u64) -> Self {
        Self { factor, quotient: (factor << 32) / p, prime: p as u32 }
    }

    /// factor·a modulo the prime, for any 32-bit a.
    #[inline(always)]
    fn times(self, a: u32) -> u32 {
        let q = (u64::from(a) * self.quotient) >> 32;
        // Below 2p, and so exact in 32 bits.
        let r = word(u64::from(a) * self.factor).wrapping_sub(word(q).wrapping_mul(self.prime));
        below(r, self.prime)
    }
}

/// The low 32 bits, by intent.
#[inline(always)]
const fn word(x: u64) -> u32 {
    x as u32
}

/// The bits of a low word.
const LOW: u64 = 0xffff_ffff;

/// x modulo `m` for x < 2m, without a branch: x - m wraps to something larger than x exactly if x < m.
#[inline(always)]
fn below(x: u32, m: u32) -> u32 {
    x.min(x.wrapping_sub(m))
}

/// What numbers are reduced with modulo one prime (Montgomery). Every result carries a factor of 2^-32; [`SCALES`] has put its inverse into
/// the key.
pub(super) struct Reduction {
    p: u32,
    inverse: u32,
    /// 2^31 mod p = 2^63·2^-32: the mask's centre.
    centre: u32,
}

const fn reduction(p: u32) -> Reduction {
    Reduction { p, inverse: inverse_word(p), centre: ((1u64 << 31) % p as u64) as u32 }
}

pub(super) const REDUCTIONS: [Reduction; 3] = [reduction(PRIMES[0]), reduction(PRIMES[1]), reduction(PRIMES[2])];

impl Reduction {
    /// Of x, the high word h and t < p such that x = (h - t)·2^32 modulo p.
    #[inline(always)]
    fn halves(&self, x: u64) -> (u32, u32) {
        // m·p has the same low word as x, so x - m·p = (h - t)·2^32. Products of low words in 64 bits are one instruction each.
        let m = (x & LOW) * u64::from(self.inverse);
        (word(x >> 32), word(((m & LOW) * u64::from(self.p)) >> 32))
    }

    /// a·2^-32 modulo p, a centred to [-2^63, 2^63).
    #[inline(always)]
    fn reduce(&self, a: u64) -> u32 {
        // The centred a is x - 2^63.
        let (high, t) = self.halves(a ^ (1 << 63));
        let high = below(below(high, 4 * self.p), 2 * self.p);
        // The centre is below 2^17: the sum lies in (p - 2^17, 4p).
        let y = high.wrapping_add(2 * self.p - self.centre).wrapping_sub(t);
        below(below(y, 2 * self.p), self.p)
    }

    /// a·b·2^-32 modulo p for a, b < p.
    #[inline(always)]
    fn product(&self, a: u32, b: u32) -> u32 {
        // The high word of a·b is below p / 4.
        let (high, t) = self.halves(u64::from(a) * u64::from(b));
        let y = high.wrapping_sub(t);
        // Of y and y + p, the one that did not wrap.
        y.min(y.wrapping_add(self.p))
    }

    /// Multiplies a transformed mask by a transformed key, point by point.
    #[inline(always)]
    pub(super) fn multiply(&self, mask: &mut [u32; RING_DIMENSION], key: &[u32; RING_DIMENSION]) {
        mask.iter_mut().zip(key).for_each(|(a, &b)| *a = self.product(*a, b));
    }
}

/// What the key's residues are multiplied with before their transform: 2^64 to undo [`Reduction::reduce`] and [`Reduction::product`], 1/4096
/// for the inverse transform, and the inverse of the other two primes' product, with which recombination begins.
const SCALES: [u64; 3] = [scale(P[0], P[1], P[2]), scale(P[1], P[0], P[2]), scale(P[2], P[0], P[1])];

/// 2^64 / (4096·q·r) modulo p.
const fn scale(p: u64, q: u64, r: u64) -> u64 {
    let others = (q % p) * (r % p) % p;
    power(2, 64, p) * inverse(RING_DIMENSION as u64, p) % p * inverse(others, p) % p
}

/// Residues of a mask, ready for their transforms.
#[inline(always)]
pub(super) fn split_mask(mask: &[u64; RING_DIMENSION], out: &mut Residues) {
    let [r0, r1, r2] = out;
    for (((&a, r0), r1), r2) in mask.iter().zip(r0).zip(r1).zip(r2) {
        *r0 = REDUCTIONS[0].reduce(a);
        *r1 = REDUCTIONS[1].reduce(a);
        *r2 = REDUCTIONS[2].reduce(a);
    }
}

/// Scaled residues of a small key, ready for their transforms. `small` is in two's complement with absolute values below every prime, as
/// [`MAX_L1_NORM`] makes them.
///
/// # Security
/// No division: how long one takes may depend on the key.
pub(super) fn split_key(small: &[u64; RING_DIMENSION], out: &mut Residues) {
    for ((row, p), scale) in out.iter_mut().zip(PRIMES).zip(SCALES) {
        let scale = Factor::new(scale, u64::from(p));
        for (r, &s) in row.iter_mut().zip(small) {
            // s + p lies between 0 and 2p.
            *r = scale.times(below(word(s).wrapping_add(p), p));
        }
    }
}

/// Products modulo 2^64 from the residues of products with a [`split_key`] key: with those residues r0, r1, r2 the product is
/// r0·P1·P2 + r1·P0·P2 + r2·P0·P1 - k·P0·P1·P2 for the k that brings it nearest to 0 (Chinese remainders).
///
/// That k is r0/P0 + r1/P1 + r2/P2 rounded. The estimate divides by 2^30 instead: it is at most [`ESTIMATE`] too small, and a product within
/// [`MAX_L1_NORM`] is farther than that from half of P0·P1·P2, where rounding turns.
#[inline(always)]
pub(super) fn join(residues: &Residues, out: &mut [u64; RING_DIMENSION]) {
    const OTHERS: [u64; 3] = [P[1] * P[2], P[0] * P[2], P[0] * P[1]];
    const ALL: u64 = PRODUCT as u64;
    let [r0, r1, r2] = residues;
    for (((x, &r0), &r1), &r2) in out.iter_mut().zip(r0).zip(r1).zip(r2) {
        // Below 3·2^30 + 2^29.
        let k = r0.wrapping_add(r1).wrapping_add(r2).wrapping_add(1 << 29) >> 30;
        let times = |r: u32, other: u64| u64::from(r).wrapping_mul(other);
        let sum = times(r0, OTHERS[0]).wrapping_add(times(r1, OTHERS[1])).wrapping_add(times(r2, OTHERS[2]));
        *x = sum.wrapping_sub(times(k, ALL));
    }
}

/// Σ (1 - P_i/2^30), in parts of 2^30.
const ESTIMATE: u64 = 3 * (1 << 30) - P[0] - P[1] - P[2];
// A product of norm·2^63 is at most norm / (2·HALF_PRODUCT_NORM) of P0·P1·P2: what that leaves of a half is more than the estimate misses.
const _: () = assert!((HALF_PRODUCT_NORM - MAX_L1_NORM) as u128 * (1 << 30) > 2 * ESTIMATE as u128 * (HALF_PRODUCT_NORM as u128 + 1));

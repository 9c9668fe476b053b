//! The public mask and products with it, in plain arithmetic (crypto.md C6, C13, C63). A second implementation on purpose: AES-128 block
//! by block, and Karatsuba over wrapping integers. Knows neither bodies nor messages.

use aes::Aes128;
use aes::cipher::{BlockCipherEncrypt as _, KeyInit as _};
use protocol::hash::{Domain, expand};
use protocol::ids::{GroupId, ManifestDigest};
use protocol::params::RING_DIMENSION;

/// AES blocks of one polynomial: two coefficients each.
const BLOCKS: u128 = (RING_DIMENSION / 2) as u128;
/// Below this length the definition is as fast as Karatsuba.
const SHORT: usize = 32;

/// The mask of one group.
pub struct Mask(Aes128);

impl Mask {
    /// The mask that a manifest gives to a group: K = X(`mask`, 16; manifest digest ‖ group).
    pub fn of(manifest: ManifestDigest, group: GroupId) -> Self {
        let mut key = [0u8; 16];
        expand(Domain::Mask, &[&manifest.0, &group.0.to_le_bytes()], &mut key);
        Self::from_key(key)
    }

    /// The mask of a key: for vectors.
    pub fn from_key(key: [u8; 16]) -> Self {
        Self(Aes128::new(&key.into()))
    }

    /// Coefficients of polynomial j: the encrypted counters from 2048·j on, each counter and each word little-endian.
    pub fn polynomial(&self, j: u64) -> Vec<u64> {
        let first = u128::from(j).wrapping_mul(BLOCKS);
        let mut blocks: Vec<aes::Block> = (0..BLOCKS).map(|i| first.wrapping_add(i).to_le_bytes().into()).collect();
        self.0.encrypt_blocks(&mut blocks);
        let words = |block: &aes::Block| {
            let both = u128::from_le_bytes((*block).into());
            [low_half(both), low_half(both >> 64)]
        };
        blocks.iter().flat_map(words).collect()
    }
}

fn low_half(both: u128) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = both.to_le_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

/// a·b in `Z[X]/(X^n + 1)` modulo 2^64, n the common length; wrapping by intent (C29).
///
/// # Shape
/// Both factors have the same length, a power of two.
pub fn product(a: &[u64], b: &[u64]) -> Vec<u64> {
    let n = a.len();
    let (mut flat, mut scratch) = (vec![0u64; 2 * n], vec![0u64; 4 * n]);
    karatsuba(a, b, &mut flat, &mut scratch);
    let (low, high) = flat.split_at(n);
    // X^n = -1.
    low.iter().zip(high).map(|(l, h)| l.wrapping_sub(*h)).collect()
}

/// The product of two polynomials of n coefficients into 2n, the last of them 0.
fn karatsuba(a: &[u64], b: &[u64], out: &mut [u64], scratch: &mut [u64]) {
    let n = a.len();
    if n <= SHORT {
        return schoolbook(a, b, out);
    }
    let half = n / 2;
    let ((a0, a1), (b0, b1)) = (a.split_at(half), b.split_at(half));
    karatsuba(a0, b0, &mut out[..n], scratch);
    karatsuba(a1, b1, &mut out[n..], scratch);
    let (sums, rest) = scratch.split_at_mut(n);
    let (middle, rest) = rest.split_at_mut(n);
    for i in 0..half {
        sums[i] = a0[i].wrapping_add(a1[i]);
        sums[half + i] = b0[i].wrapping_add(b1[i]);
    }
    karatsuba(&sums[..half], &sums[half..], middle, rest);
    for i in 0..n {
        middle[i] = middle[i].wrapping_sub(out[i]).wrapping_sub(out[n + i]);
    }
    for (o, m) in out[half..].iter_mut().zip(middle.iter()) {
        *o = o.wrapping_add(*m);
    }
}

fn schoolbook(a: &[u64], b: &[u64], out: &mut [u64]) {
    out.fill(0);
    for (i, x) in a.iter().enumerate() {
        for (o, y) in out[i..].iter_mut().zip(b) {
            *o = o.wrapping_add(x.wrapping_mul(*y));
        }
    }
}

/// Small signed coefficients as residues modulo 2^64: two's complement.
pub fn lift(small: &[i32]) -> Vec<u64> {
    small.iter().map(|&c| i64::from(c).cast_unsigned()).collect()
}

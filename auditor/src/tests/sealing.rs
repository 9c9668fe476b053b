//! Updates sealed in the plainest way, and what their sum is, computed in the clear: never by the code under test. Not random, and need not be.

use super::secrets::Pseudo;
use crate::ring::{Mask, lift, product};
use protocol::hash::{Domain, tagged};
use protocol::ids::{Address, ManifestDigest, SumRoot, ValueDigest};
use protocol::manifest::GroupSpec;
use protocol::params::{CHUNK_POLYNOMIALS, RING_DIMENSION};

/// One sealed update with all that an institution never tells.
pub(super) struct Bodies {
    /// Values of each shard, then the limbs of the tally.
    pub(super) values: Vec<Vec<i64>>,
    /// Body << r of every polynomial.
    shifted: Vec<Vec<u64>>,
    /// What is left of it without mask and message.
    noise: Vec<Vec<i64>>,
    /// Packed chunks.
    pub(super) chunks: Vec<Vec<u8>>,
}

/// What a server should state about a sum.
pub(super) struct Stated {
    pub(super) sum_root: SumRoot,
    pub(super) values: ValueDigest,
    pub(super) ratio: f64,
}

pub(super) fn address(bytes: &[u8]) -> Address {
    Address(blake3::hash(bytes).into())
}

/// Values that cover the whole range of a slot, other ones for every seed.
pub(super) fn values(spec: &GroupSpec, seed: i64) -> Vec<Vec<i64>> {
    let most = *spec.packing.value_range().end();
    let value = |i: i64| (37 * i + 101 * seed + 11).rem_euclid(2 * most + 1) - most;
    spec.shards.iter().map(|s| (0..i64::try_from(s.length).unwrap()).map(value).collect()).collect()
}

/// The message polynomials (C18, C25).
fn messages(spec: &GroupSpec, values: &[Vec<i64>]) -> Vec<Vec<u64>> {
    let p = &spec.packing;
    let slots = usize::from(p.slots);
    let mut out = Vec::new();
    for part in values.iter().flat_map(|shard| shard.chunks(slots * RING_DIMENSION)) {
        let mut m = vec![0u64; RING_DIMENSION];
        for (t, v) in part.iter().enumerate() {
            let u = u64::try_from(v + (1i64 << (p.bits - 1))).unwrap();
            m[t / slots] |= u << (usize::from(p.noise_bits) + usize::from(p.slot_bits) * (t % slots));
        }
        out.push(m);
    }
    out
}

/// The bit string of k-bit words (C30), one bit at a time.
pub(super) fn pack(words: &[u64], k: u8) -> Vec<u8> {
    let mut out = vec![0u8; words.len() * usize::from(k) / 8];
    for (i, word) in words.iter().enumerate() {
        for bit in 0..usize::from(k) {
            let at = i * usize::from(k) + bit;
            out[at / 8] |= u8::try_from(word >> bit & 1).unwrap() << (at % 8);
        }
    }
    out
}

/// b = A·s + e + m, rounded to k bits (C6, C30).
pub(super) fn seal(spec: &GroupSpec, manifest: ManifestDigest, secret: &[i32], values: Vec<Vec<i64>>, seed: u64) -> Bodies {
    let (mask, key, p) = (Mask::of(manifest, spec.id), lift(secret), &spec.packing);
    let mut random = Pseudo(seed);
    let mut coins = || (0..6).map(|_| i64::from((random.next() & 0x3fff_ffff).count_ones())).sum::<i64>() - 90;
    let (mut bodies, mut shifted, mut noise) = (Vec::new(), Vec::new(), Vec::new());
    for (m, j) in messages(spec, &values).iter().zip(0u64..) {
        let masked: Vec<u64> = product(&mask.polynomial(j), &key).iter().zip(m).map(|(a, m)| a.wrapping_add(*m)).collect();
        let half = if p.dropped_bits == 0 { 0 } else { 1u64 << (p.dropped_bits - 1) };
        let body = masked.iter().map(|x| x.wrapping_add(coins().cast_unsigned()).wrapping_add(half) >> p.dropped_bits);
        let body: Vec<u64> = body.collect();
        let up: Vec<u64> = body.iter().map(|b| b << p.dropped_bits).collect();
        noise.push(up.iter().zip(&masked).map(|(b, x)| b.wrapping_sub(*x).cast_signed()).collect());
        shifted.push(up);
        bodies.push(body);
    }
    let per_chunk = usize::try_from(CHUNK_POLYNOMIALS).unwrap();
    let chunks = bodies.chunks(per_chunk).map(|c| c.iter().flat_map(|b| pack(b, p.body_bits)).collect()).collect();
    Bodies { values, shifted, noise, chunks }
}

fn le(words: impl IntoIterator<Item = i64>) -> Vec<u8> {
    words.into_iter().flat_map(i64::to_le_bytes).collect()
}

/// What the sum of these updates is (C31, C32, C36, C60).
pub(super) fn stated(spec: &GroupSpec, manifest: ManifestDigest, updates: &[&Bodies]) -> Stated {
    let polynomials = 0..updates[0].shifted.len();
    let column = |j: usize, i: usize| updates.iter().fold(0u64, |sum, u| sum.wrapping_add(u.shifted[j][i])).cast_signed();
    let acc: Vec<Vec<u8>> = polynomials.clone().map(|j| le((0..RING_DIMENSION).map(|i| column(j, i)))).collect();
    let blocks: Vec<u8> = acc.chunks(usize::try_from(CHUNK_POLYNOMIALS).unwrap()).flat_map(|b| address(&b.concat()).0).collect();
    let count = u32::try_from(blocks.len() / 32).unwrap().to_le_bytes();
    let sum = |part: usize| {
        let len = updates[0].values[part].len();
        (0..len).map(move |t| updates.iter().map(|u| u.values[part][t]).sum::<i64>())
    };
    let hashes: Vec<u8> = (0..updates[0].values.len()).flat_map(|part| address(&le(sum(part))).0).collect();
    let members = u16::try_from(updates.len()).unwrap();
    let bias = if spec.packing.dropped_bits == 0 { 0 } else { i64::from(members / 2) };
    let residual = |j: usize, i: usize| updates.iter().map(|u| u.noise[j][i]).sum::<i64>() - bias;
    let square = |j: usize| (0..RING_DIMENSION).map(|i| (residual(j, i) as f64).powi(2)).sum::<f64>() / RING_DIMENSION as f64;
    let worst = polynomials.map(square).fold(0.0, f64::max);
    let group = spec.id.0.to_le_bytes();
    Stated {
        sum_root: SumRoot(tagged(Domain::Sum, &[&manifest.0, &group, &count, &blocks])),
        values: ValueDigest(tagged(Domain::Values, &[&manifest.0, &group, &hashes])),
        ratio: worst / spec.packing.residual_variance(members),
    }
}

//! SHA-256 of many messages side by side, one in each lane of the machine's vectors (A5, A40). Gives what `sha2` gives; knows no tree.
//!
//! A log is hashed entry by entry, and vectors hash many entries at once.

use crate::hash::Hash;
use pulp::{Simd, WithSimd};

/// Most messages that are hashed together: as many 32-bit words as the widest vectors hold (AVX-512).
const MAX_LANES: usize = 16;
/// Bytes of a block.
const BLOCK: usize = 64;

/// First 32 bits of the fractional parts of the square roots of the first 8 primes (FIPS 180-4, 5.3.3).
const INITIAL: [u32; 8] = [0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19];

/// First 32 bits of the fractional parts of the cube roots of the first 64 primes (FIPS 180-4, 4.2.2).
#[rustfmt::skip]
const ROUND: [u32; 64] = [
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
];

/// SHA-256 of every message, each with `prefix` before it, in the order given.
pub(crate) fn sha256_all(prefix: u8, messages: &[&[u8]]) -> Vec<Hash> {
    pulp::Arch::new().dispatch(All { prefix, messages })
}

struct All<'a> {
    prefix: u8,
    messages: &'a [&'a [u8]],
}

impl WithSimd for All<'_> {
    type Output = Vec<Hash>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Vec<Hash> {
        let Self { prefix, messages } = self;
        let mut order: Vec<usize> = (0..messages.len()).collect();
        // Neighbours of the same number of blocks share a run.
        order.sort_by_key(|&i| messages.get(i).map_or(0, |m| blocks(m.len() + 1)));
        let mut out = vec![Hash([0; 32]); messages.len()];
        let mut padded: Vec<Vec<u8>> = vec![Vec::new(); S::U32_LANES.min(MAX_LANES)];
        for run in order.chunks(padded.len()) {
            for (lane, bytes) in padded.iter_mut().enumerate() {
                bytes.clear();
                if let Some(message) = run.get(lane).and_then(|&i| messages.get(i)) {
                    pad(prefix, message, bytes);
                }
            }
            let hashes = hash_lanes(simd, &padded);
            for (&i, hash) in run.iter().zip(hashes) {
                if let Some(place) = out.get_mut(i) {
                    *place = hash;
                }
            }
        }
        out
    }
}

/// Blocks of a message of `len` bytes: a one bit and 64 bits of length follow it.
fn blocks(len: usize) -> usize {
    (len + 9).div_ceil(BLOCK)
}

fn pad(prefix: u8, message: &[u8], out: &mut Vec<u8>) {
    let len = message.len() + 1;
    out.push(prefix);
    out.extend_from_slice(message);
    out.push(0x80);
    out.resize(blocks(len) * BLOCK - 8, 0);
    out.extend_from_slice(&(len as u64 * 8).to_be_bytes());
}

/// SHA-256 of padded messages; a lane that is done keeps its hash while the others go on.
#[inline(always)]
fn hash_lanes<S: Simd>(simd: S, padded: &[Vec<u8>]) -> [Hash; MAX_LANES] {
    let most = padded.iter().map(Vec::len).max().unwrap_or(0) / BLOCK;
    let mut state = INITIAL.map(|word| simd.splat_u32s(word));
    let mut out = [Hash([0; 32]); MAX_LANES];
    for block in 0..most {
        let mut words = [[0; MAX_LANES]; 16];
        for (lane, bytes) in padded.iter().enumerate() {
            let Some(bytes) = bytes.get(block * BLOCK..(block + 1) * BLOCK) else { continue };
            for (word, four) in words.iter_mut().zip(bytes.chunks_exact(4)) {
                word[lane] = u32::from_be_bytes([four[0], four[1], four[2], four[3]]);
            }
        }
        let words = words.map(|word| S::as_simd_u32s(&word).0.first().copied().unwrap_or_else(|| simd.splat_u32s(0)));
        state = compress(simd, state, words);
        if padded.iter().any(|b| b.len() == (block + 1) * BLOCK) {
            keep::<S>(&state, padded, block, &mut out);
        }
    }
    out
}

/// Copies the state of every lane that ends with this block.
#[inline(always)]
fn keep<S: Simd>(state: &[S::u32s; 8], padded: &[Vec<u8>], block: usize, out: &mut [Hash; MAX_LANES]) {
    for (at, vector) in state.iter().enumerate() {
        let mut word = [0; MAX_LANES];
        if let Some(first) = S::as_mut_simd_u32s(&mut word).0.first_mut() {
            *first = *vector;
        }
        for (lane, _) in padded.iter().enumerate().filter(|(_, b)| b.len() == (block + 1) * BLOCK) {
            out[lane].0[4 * at..4 * at + 4].copy_from_slice(&word[lane].to_be_bytes());
        }
    }
}

/// Operations on a word in every lane.
#[derive(Clone, Copy)]
struct Lanes<S>(S);

impl<S: Simd> Lanes<S> {
    #[inline(always)]
    fn shr(self, x: S::u32s, by: u32) -> S::u32s {
        self.0.wrapping_dyn_shr_u32s(x, self.0.splat_u32s(by))
    }
    #[inline(always)]
    fn rotr(self, x: S::u32s, by: u32) -> S::u32s {
        self.0.or_u32s(self.shr(x, by), self.0.wrapping_dyn_shl_u32s(x, self.0.splat_u32s(32 - by)))
    }
    #[inline(always)]
    fn xor3(self, a: S::u32s, b: S::u32s, c: S::u32s) -> S::u32s {
        self.0.xor_u32s(self.0.xor_u32s(a, b), c)
    }
    #[inline(always)]
    fn add(self, a: S::u32s, b: S::u32s) -> S::u32s {
        self.0.add_u32s(a, b)
    }

    /// One round: the new state, from `w` + constant in `now`.
    #[inline(always)]
    fn round(self, [a, b, c, d, e, f, g, h]: [S::u32s; 8], now: S::u32s) -> [S::u32s; 8] {
        let s = self.0;
        let s1 = self.xor3(self.rotr(e, 6), self.rotr(e, 11), self.rotr(e, 25));
        let choice = s.xor_u32s(g, s.and_u32s(e, s.xor_u32s(f, g)));
        let first = self.add(self.add(h, s1), self.add(choice, now));
        let s0 = self.xor3(self.rotr(a, 2), self.rotr(a, 13), self.rotr(a, 22));
        let majority = s.or_u32s(s.and_u32s(a, b), s.and_u32s(c, s.or_u32s(a, b)));
        [self.add(first, self.add(s0, majority)), a, b, c, self.add(d, first), e, f, g]
    }

    /// The next word of the schedule, which takes the place of the one 16 before it.
    #[inline(always)]
    fn schedule(self, w: &[S::u32s; 16], t: usize) -> S::u32s {
        let (w0, w1, w9, w14) = (w[t], w[(t + 1) % 16], w[(t + 9) % 16], w[(t + 14) % 16]);
        let s0 = self.xor3(self.rotr(w1, 7), self.rotr(w1, 18), self.shr(w1, 3));
        let s1 = self.xor3(self.rotr(w14, 17), self.rotr(w14, 19), self.shr(w14, 10));
        self.add(self.add(w0, s0), self.add(w9, s1))
    }
}

/// The compression function (FIPS 180-4, 6.2.2), in every lane.
#[inline(always)]
fn compress<S: Simd>(simd: S, before: [S::u32s; 8], mut w: [S::u32s; 16]) -> [S::u32s; 8] {
    let lanes = Lanes(simd);
    let mut state = before;
    for (turn, constants) in ROUND.chunks_exact(16).enumerate() {
        // Sixteen rounds with fixed indices: unrolled, the words stay in registers.
        for t in 0..16 {
            if turn > 0 {
                w[t] = lanes.schedule(&w, t);
            }
            state = lanes.round(state, lanes.add(w[t], simd.splat_u32s(constants[t])));
        }
    }
    for (new, old) in state.iter_mut().zip(before) {
        *new = lanes.add(*new, old);
    }
    state
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sha2::{Digest, Sha256};

    fn one(prefix: u8, message: &[u8]) -> Hash {
        Hash(Sha256::new_with_prefix([prefix]).chain_update(message).finalize().into())
    }

    /// Every set of instructions that this machine can run.
    fn everywhere(prefix: u8, messages: &[&[u8]]) -> Vec<Vec<Hash>> {
        let mut all = vec![pulp::Arch::Scalar];
        #[cfg(target_arch = "x86_64")]
        {
            all.extend(pulp::x86::V3::try_new().map(pulp::Arch::V3));
            all.extend(pulp::x86::V4::try_new().map(pulp::Arch::V4));
        }
        all.into_iter().map(|arch| arch.dispatch(All { prefix, messages })).collect()
    }

    #[test]
    fn every_length_around_a_block_hashes_as_elsewhere() {
        let messages: Vec<Vec<u8>> = (0..200_u8).map(|n| vec![n; usize::from(n)]).collect();
        let messages: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
        let expected: Vec<Hash> = messages.iter().map(|m| one(0, m)).collect();
        everywhere(0, &messages).into_iter().for_each(|got| assert_eq!(got, expected));
        assert_eq!(sha256_all(1, &[]), vec![]);
    }

    proptest! {
        #[test]
        fn lanes_of_any_lengths_keep_apart(messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..700), 0..40), prefix: u8) {
            let messages: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
            let expected: Vec<Hash> = messages.iter().map(|m| one(prefix, m)).collect();
            for got in everywhere(prefix, &messages) { prop_assert_eq!(&got, &expected); }
        }
    }
}

//! Sealing numbers that everybody recomputes and nobody chooses: parameter set PS-A, packing, committee (crypto.md C8, C16, C25, C26, C46).

use crate::ids::ShardId;
use minicbor::{CborLen, Decode, Encode};
use serde::{Deserialize, Serialize};

/// Ring dimension N of PS-A.
pub const RING_DIMENSION: usize = 4096;
/// Number of parameter set PS-A, the only one.
pub const PS_A: u8 = 1;
/// Prime p = 2^31 - 1 of the share field.
pub const SHARE_PRIME: u32 = 0x7fff_ffff;
/// Values in one share: 4096 coefficients of s and four blinds (C33).
pub const SHARE_LEN: usize = RING_DIMENSION + 4;
/// Largest |coefficient| of CBD(90).
pub const CBD_BOUND: i64 = 90;
/// Most polynomials of one group (C16).
pub const MAX_POLYNOMIALS: u64 = 1 << 20;
/// Most groups of one round (C16).
pub const MAX_GROUPS: usize = 256;
/// Most shards of one group (C16).
pub const MAX_GROUP_SHARDS: usize = 64;
/// Polynomials in one chunk (T30).
pub const CHUNK_POLYNOMIALS: u64 = 256;
/// Wire bytes of one share blob: encapsulated key and ciphertext (C34).
pub const BLOB_BYTES: usize = 1120 + 4 * SHARE_LEN + 16;

/// Numbers outside the limits of crypto.md C16 or without an admissible packing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadParameters {
    /// n_max or b outside C16, or no (l, r) that C26 admits.
    #[error("no packing for n_max {n_max} and {bits} bits")]
    Packing {
        /// Largest cohort.
        n_max: u16,
        /// Bits of a value.
        bits: u8,
    },
    /// More polynomials or shards than C16 allows, or none.
    #[error("{0} polynomials or shards are outside the limits of a group")]
    Size(u64),
    /// A bound on weights outside 1..=[`MAX_WEIGHT`].
    #[error("weights up to {0}: expected a bound from 1 to {MAX_WEIGHT}")]
    Weight(u64),
    /// Random groups that nobody has dealt the institutions into (C37).
    #[error("institutions were not dealt into the plan's {0} random groups")]
    Undealt(u16),
    /// c outside 2..=16 or d outside 1..c.
    #[error("committee of {c} with d = {d}: expected 2 <= c <= 16 and 1 <= d < c")]
    Committee {
        /// Decryptors.
        c: u8,
        /// Corrupt decryptors tolerated.
        d: u8,
    },
}

/// How values share a coefficient (crypto.md C25, C26). Derived, never chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, CborLen, Serialize, Deserialize)]
pub struct Packing {
    /// Largest cohort that never overflows a slot.
    #[n(0)]
    pub n_max: u16,
    /// b: bits of one value.
    #[n(1)]
    pub bits: u8,
    /// w: bits of one slot.
    #[n(2)]
    pub slot_bits: u8,
    /// l: slots per coefficient.
    #[n(3)]
    pub slots: u8,
    /// f: noise field below the slots, in bits.
    #[n(4)]
    pub noise_bits: u8,
    /// r: low bits that are rounded away on the wire.
    #[n(5)]
    pub dropped_bits: u8,
    /// k = 64 - r: bits of one coefficient on the wire.
    #[n(6)]
    pub body_bits: u8,
}

impl Packing {
    /// The packing that C26's rule gives for cohorts of at most `n_max` and values of `bits` bits.
    ///
    /// # Errors
    /// [`BadParameters::Packing`] outside C16 or where nothing is admissible.
    pub fn derive(n_max: u16, bits: u8) -> Result<Self, BadParameters> {
        let bad = BadParameters::Packing { n_max, bits };
        if !(2..=1000).contains(&n_max) || !(4..=32).contains(&bits) {
            return Err(bad);
        }
        let most = u64::from(n_max) * ((1u64 << bits) - 1);
        // w = ceil(log2(most + 1)): the bit length of the largest slot sum.
        let slot_bits = u8::try_from(64 - most.leading_zeros()).map_err(|_| bad)?;
        // The one exception of C26: its exact binomial tail is 2^-42.0, which the bound of the rule cannot show.
        if (n_max, bits) == (1000, 16) {
            return Ok(Self::of(n_max, bits, slot_bits, 2, 0));
        }
        let mut best: Option<Self> = None;
        for slots in 1..=64 / slot_bits {
            let Some(noise_bits) = 64u8.checked_sub(slots * slot_bits).filter(|&f| f >= 2) else { continue };
            let Some(dropped) = (0..=noise_bits - 2).rev().find(|&r| admissible(n_max, slots, noise_bits, r)) else { continue };
            let candidate = Self::of(n_max, bits, slot_bits, slots, dropped);
            // Smallest k / l wins, on a tie the larger l; compared as exact fractions.
            let better =
                best.is_none_or(|b| u16::from(candidate.body_bits) * u16::from(b.slots) <= u16::from(b.body_bits) * u16::from(slots));
            if better {
                best = Some(candidate);
            }
        }
        best.ok_or(bad)
    }

    fn of(n_max: u16, bits: u8, slot_bits: u8, slots: u8, dropped_bits: u8) -> Self {
        Self { n_max, bits, slot_bits, slots, noise_bits: 64 - slots * slot_bits, dropped_bits, body_bits: 64 - dropped_bits }
    }

    /// Polynomials of one shard of `len` values: each shard starts at a fresh one (C18).
    pub fn shard_polynomials(&self, len: u64) -> u64 {
        len.div_ceil(u64::from(self.slots)).div_ceil(RING_DIMENSION as u64)
    }

    /// Polynomials of a group with these shards.
    ///
    /// # Errors
    /// [`BadParameters::Size`] outside C16: no or more than 64 shards, an empty shard, more than 2^20 polynomials;
    /// [`BadParameters::Packing`] for one without a slot, which no rule gives.
    pub fn polynomials(&self, shards: &[(ShardId, u64)]) -> Result<u64, BadParameters> {
        if self.slots == 0 {
            return Err(BadParameters::Packing { n_max: self.n_max, bits: self.bits });
        }
        if shards.is_empty() || shards.len() > MAX_GROUP_SHARDS || shards.iter().any(|&(_, len)| len == 0) {
            return Err(BadParameters::Size(shards.len() as u64));
        }
        let total = shards.iter().fold(0u64, |sum, &(_, len)| sum.saturating_add(self.shard_polynomials(len)));
        if total > MAX_POLYNOMIALS { Err(BadParameters::Size(total)) } else { Ok(total) }
    }

    /// Chunks of a group with this many polynomials.
    pub fn chunks(polynomials: u64) -> u64 {
        polynomials.div_ceil(CHUNK_POLYNOMIALS)
    }

    /// Wire bytes of one polynomial: 4096 values of k bits.
    pub fn polynomial_bytes(&self) -> u64 {
        512 * u64::from(self.body_bits)
    }

    /// Smallest and largest value that a slot carries (C20).
    pub fn value_range(&self) -> std::ops::RangeInclusive<i64> {
        let most = (1i64 << (self.bits - 1)) - 1;
        -most..=most
    }

    /// Variance of a residual when `members` updates are summed (C60).
    pub fn residual_variance(&self, members: u16) -> f64 {
        f64::from(members) * (45.0 + (4f64.powi(i32::from(self.dropped_bits)) - 1.0) / 12.0)
    }

    /// Wire bits per parameter when all slots are used.
    pub fn bits_per_parameter(&self) -> f64 {
        f64::from(self.body_bits) / f64::from(self.slots)
    }
}

/// Most that a declared weight may be: 2^40 units of privacy are more than any institution has.
pub const MAX_WEIGHT: u64 = 1 << 40;

/// A weight that travels inside the sealed vector, packed as one more shard after the last (C24): a non-negative integer in limbs of
/// b - 1 bits, lowest first. Limb sums recombine exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, CborLen)]
pub struct Tally {
    /// W_max: the most that one institution's weight may be.
    #[n(0)]
    pub max_weight: u64,
    /// Bits b of one slot's value in the group.
    #[n(1)]
    pub bits: u8,
}

impl Tally {
    /// A tally for weights up to `max_weight` in a group of `bits`-bit values.
    ///
    /// # Errors
    /// [`BadParameters::Weight`] for a bound of 0 or above [`MAX_WEIGHT`].
    pub fn derive(max_weight: u64, bits: u8) -> Result<Self, BadParameters> {
        let possible = (1..=MAX_WEIGHT).contains(&max_weight) && (4..=32).contains(&bits);
        if possible { Ok(Self { max_weight, bits }) } else { Err(BadParameters::Weight(max_weight)) }
    }

    /// Whether this is the tally of its bound in a group of `bits`-bit values; one that was read from a message may be anything.
    ///
    /// # Errors
    /// [`BadParameters::Weight`].
    pub fn check(&self, bits: u8) -> Result<(), BadParameters> {
        if Self::derive(self.max_weight, bits)? == *self { Ok(()) } else { Err(BadParameters::Weight(self.max_weight)) }
    }

    /// Limbs, and so slots, that a weight takes. Only of a tally that was derived or checked.
    pub fn limbs(&self) -> u64 {
        u64::from((64 - self.max_weight.leading_zeros()).div_ceil(u32::from(self.bits) - 1))
    }

    /// The limbs of one weight, or nothing for 0 or a weight above the bound.
    pub fn split(&self, weight: u64) -> Option<Vec<i32>> {
        if weight == 0 || weight > self.max_weight {
            return None;
        }
        let width = u32::from(self.bits) - 1;
        let limb = |t: u64| i32::try_from((weight >> (t * u64::from(width))) & ((1 << width) - 1)).ok();
        (0..self.limbs()).map(limb).collect()
    }

    /// The sum of all weights from the limb sums of `members` institutions. Nothing if no weights in 1..=W_max have these limb sums.
    pub fn join(&self, limb_sums: &[i64], members: u16) -> Option<u64> {
        let width = u32::from(self.bits) - 1;
        let most = i64::from(members) * ((1i64 << width) - 1);
        if limb_sums.len() as u64 != self.limbs() || limb_sums.iter().any(|v| !(0..=most).contains(v)) {
            return None;
        }
        let sum = limb_sums.iter().rev().try_fold(0u64, |sum, &v| (sum << width).checked_add(v.cast_unsigned()))?;
        let range = u64::from(members)..=u64::from(members) * self.max_weight;
        range.contains(&sum).then_some(sum)
    }
}

/// log2(2e9 / l) - T^2 / 2V * log2(e) <= -40: a sum of 1e9 parameters decodes wrongly with probability below 2^-40 (C26).
fn admissible(n_max: u16, slots: u8, noise_bits: u8, dropped: u8) -> bool {
    let threshold = 2f64.powi(i32::from(noise_bits) - 1) - 0.5;
    let variance = f64::from(n_max) * (45.0 + (4f64.powi(i32::from(dropped)) - 1.0) / 12.0);
    (2e9 / f64::from(slots)).log2() - threshold * threshold / (2.0 * variance) * std::f64::consts::LOG2_E <= -40.0
}

/// Decryptors c and corrupt decryptors tolerated d (crypto.md C46). d + 1 shares open; Q signatures certify.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, CborLen, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommitteeSize {
    /// c: decryptors.
    #[n(0)]
    pub decryptors: u8,
    /// d: how many of them may be hostile.
    #[n(1)]
    pub corrupt: u8,
}

impl CommitteeSize {
    /// Checks C46; d = 0 and a committee of one do not exist (C48).
    ///
    /// # Errors
    /// [`BadParameters::Committee`].
    pub fn check(self) -> Result<(), BadParameters> {
        let ok = (2..=16).contains(&self.decryptors) && self.corrupt >= 1 && self.corrupt < self.decryptors;
        if ok { Ok(()) } else { Err(BadParameters::Committee { c: self.decryptors, d: self.corrupt }) }
    }

    /// Q = ceil((c + d + 1) / 2): two quorums share at least d + 1 decryptors (C47).
    pub fn quorum(self) -> usize {
        (usize::from(self.decryptors) + usize::from(self.corrupt) + 1).div_ceil(2)
    }

    /// d + 1: openings that determine the key sum.
    pub fn threshold(self) -> usize {
        usize::from(self.corrupt) + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn committees(most: u8) -> impl Iterator<Item = CommitteeSize> {
        (2..=most).flat_map(|decryptors| (1..decryptors).map(move |corrupt| CommitteeSize { decryptors, corrupt }))
    }

    /// Weights split and join back exactly, for one institution and for sums at both ends of the range (C24).
    #[test]
    fn tallies_join_to_the_sum_of_the_weights() {
        for bits in [4u8, 8, 16, 32] {
            for max in [1u64, 7, 8, 1000, 123_456_789, MAX_WEIGHT] {
                let tally = Tally::derive(max, bits).unwrap();
                let weights = [1, max, max / 2 + 1, max];
                let mut sums = vec![0i64; usize::try_from(tally.limbs()).unwrap()];
                for w in weights {
                    let limbs = tally.split(w).unwrap();
                    assert!(limbs.iter().all(|&l| (0..1i64 << (bits - 1)).contains(&i64::from(l))));
                    sums.iter_mut().zip(limbs).for_each(|(s, l)| *s += i64::from(l));
                }
                assert_eq!(tally.join(&sums, 4), Some(weights.iter().sum()), "{bits} {max}");
            }
        }
        let tally = Tally::derive(1000, 8).unwrap();
        assert_eq!((tally.limbs(), tally.split(0), tally.split(1001)), (2, None, None));
        // 2 institutions cannot weigh 1 or 2001 together; a limb cannot be negative; a limb cannot be missing.
        assert_eq!([tally.join(&[1, 0], 2), tally.join(&[209, 14], 2), tally.join(&[-1, 1], 2), tally.join(&[2], 2)], [None; 4]);
        assert_eq!(tally.join(&[208, 14], 2), Some(2000));
        assert!(Tally::derive(0, 8).is_err() && Tally::derive(MAX_WEIGHT + 1, 8).is_err());
    }

    /// C47 by enumeration: all pairs of quorums of all committees up to nine.
    #[test]
    fn two_quorums_share_more_decryptors_than_may_be_hostile() {
        for size in committees(9) {
            let quorums = || (0u32..1 << size.decryptors).filter(|s| s.count_ones() as usize == size.quorum());
            let least = quorums().flat_map(|a| quorums().map(move |b| (a & b).count_ones() as usize)).min();
            assert!(least.is_some_and(|shared| shared >= size.threshold()), "{size:?}: {least:?}");
            assert!(size.quorum() <= usize::from(size.decryptors) && size.quorum() >= size.threshold());
            if size.decryptors > 3 * size.corrupt {
                let absent = usize::from(size.decryptors - size.corrupt);
                assert!(size.quorum() <= absent && size.quorum() >= 2 * size.threshold() - 1, "{size:?}");
            }
        }
    }

    /// Whether some choice certifies two sets when every hostile decryptor signs both and every honest one at most one.
    fn two_certificates(size: CommitteeSize, quorum: usize) -> bool {
        let (honest, hostile) = (u32::from(size.decryptors - size.corrupt), usize::from(size.corrupt));
        // Each honest decryptor signs the first set, the second, or none: a digit in base three.
        (0..3u32.pow(honest)).any(|choice| {
            let signed = |set: u32| (0..honest).filter(|&i| choice / 3u32.pow(i) % 3 == set).count();
            hostile + signed(0) >= quorum && hostile + signed(1) >= quorum
        })
    }

    #[test]
    fn who_signs_once_certifies_once_and_a_smaller_quorum_would_not_do() {
        for size in committees(9) {
            assert!(!two_certificates(size, size.quorum()), "{size:?}");
            assert!(two_certificates(size, size.quorum() - 1), "{size:?}: quorum is not the smallest");
        }
    }
}

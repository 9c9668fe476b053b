//! Values into slots, slots into coefficients, coefficients into k-bit strings, and back (crypto.md C18, C20, C25, C30).
//! Knows no key; the numbers come from [`Packing::derive`] and are never chosen here.

mod bits;
pub(crate) mod slots;

use crate::Polynomial;
pub use bits::{add_bits, write_bits, write_rounded};
use protocol::manifest::GroupSpec;
use protocol::params::{BadParameters, Packing, RING_DIMENSION};
use zeroize::Zeroizing;

/// A value that a slot cannot carry. The seal is refused, nothing is saturated (C23).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a value is outside the range of a slot")]
pub struct OutOfRange;

/// A packed string of another length than its polynomials have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("packed bodies have {got} bytes, expected {expected}")]
pub struct WrongLength {
    /// Bytes given.
    pub got: usize,
    /// Bytes of the polynomials.
    pub expected: usize,
}

/// Which values one polynomial of a group carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Place of the shard in the group's list; behind the last one for the tally.
    pub shard: usize,
    /// First value of the shard in this polynomial.
    pub start: usize,
    /// Values in this polynomial; the other slots are padding.
    pub len: usize,
}

/// Where every value of a group sits: shards in table order, each at a fresh polynomial (C18).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    packing: Packing,
    /// First polynomial and length in values of each shard; the tally, where there is one, is the last.
    shards: Vec<(u64, usize)>,
    polynomials: u64,
}

impl Layout {
    /// The layout of a group whose packing is the derived one.
    ///
    /// # Errors
    /// [`BadParameters`] if the packing is not the one that C26 gives or the sizes are outside C16.
    pub fn new(group: &GroupSpec) -> Result<Self, BadParameters> {
        let packing = Packing::derive(group.packing.n_max, group.packing.bits)?;
        if packing != group.packing {
            return Err(BadParameters::Packing { n_max: group.packing.n_max, bits: group.packing.bits });
        }
        let polynomials = group.polynomials()?;
        let mut next = 0u64;
        let mut shards = Vec::with_capacity(group.shards.len());
        for shard in &group.shards {
            let len = usize::try_from(shard.length).map_err(|_| BadParameters::Size(shard.length))?;
            shards.push((next, len));
            next += packing.shard_polynomials(shard.length);
        }
        if let Some(tally) = &group.tally {
            shards.push((next, usize::try_from(tally.limbs()).map_err(|_| BadParameters::Weight(tally.max_weight))?));
        }
        Ok(Self { packing, shards, polynomials })
    }

    /// The packing.
    pub fn packing(&self) -> &Packing {
        &self.packing
    }

    /// Polynomials of the group.
    pub fn polynomials(&self) -> u64 {
        self.polynomials
    }

    /// Values of each shard, then of the tally.
    pub fn shard_lengths(&self) -> impl Iterator<Item = usize> {
        self.shards.iter().map(|&(_, len)| len)
    }

    /// What polynomial j carries, or nothing behind the last one.
    pub fn span(&self, j: u64) -> Option<Span> {
        if j >= self.polynomials {
            return None;
        }
        let shard = self.shards.partition_point(|&(first, _)| first <= j).checked_sub(1)?;
        let (first, len) = *self.shards.get(shard)?;
        let full = usize::from(self.packing.slots) * RING_DIMENSION;
        let start = usize::try_from(j - first).ok()?.checked_mul(full)?;
        Some(Span { shard, start, len: len.checked_sub(start)?.min(full) })
    }
}

/// One polynomial of values: value t in coefficient t div l at bit f + w·(t mod l), as v + 2^(b-1); padding is 0.
///
/// # Shape
/// At most l·4096 values.
///
/// # Errors
/// [`OutOfRange`] for a value outside -(2^(b-1) - 1)..=2^(b-1) - 1.
///
/// # Security
/// No branch or index depends on a value; the range is judged once for the whole polynomial.
pub fn pack(packing: &Packing, values: &[i32]) -> Result<Box<Zeroizing<Polynomial>>, OutOfRange> {
    let mut out = Box::new(Zeroizing::new([0u64; RING_DIMENSION]));
    add_packed(packing, values, &mut out)?;
    Ok(out)
}

/// Adds the polynomial of [`pack`] to `onto`, modulo 2^64. On an error `onto` is of no use any more.
pub(crate) fn add_packed(packing: &Packing, values: &[i32], onto: &mut Polynomial) -> Result<(), OutOfRange> {
    if crate::vector::dispatch(slots::Add { packing, values, onto }) { Ok(()) } else { Err(OutOfRange) }
}

/// Rounds away the low r bits, half up, modulo 2^k (C30). Public post-processing.
pub fn truncate(body: &mut Polynomial, packing: &Packing) {
    let r = u32::from(packing.dropped_bits);
    if r > 0 {
        for c in body.iter_mut() {
            *c = c.wrapping_add(1 << (r - 1)) >> r;
        }
    }
}

#[cfg(test)]
mod tests;

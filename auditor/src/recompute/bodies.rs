//! Packed bodies added up (crypto.md C30, C31). Knows no address and no file.

use protocol::params::{CHUNK_POLYNOMIALS, Packing, RING_DIMENSION};

/// Coefficients of one block of the sum: 256 polynomials, the last block fewer. Nothing behind the last one.
pub(crate) fn block_len(polynomials: u64, block: u64) -> Option<usize> {
    let before = block.checked_mul(CHUNK_POLYNOMIALS)?;
    let here = polynomials.checked_sub(before).filter(|left| *left > 0)?.min(CHUNK_POLYNOMIALS);
    usize::try_from(here).ok()?.checked_mul(RING_DIMENSION)
}

/// Bytes of so many coefficients on the wire: k bits each.
pub(crate) fn packed_len(packing: &Packing, coefficients: usize) -> usize {
    coefficients / 8 * usize::from(packing.body_bits)
}

/// acc += body << r for every coefficient of one chunk, modulo 2^64 by intent (C29).
///
/// # Shape
/// `packed` has [`packed_len`] bytes for `acc`.
pub(crate) fn add(acc: &mut [u64], packed: &[u8], packing: &Packing) {
    let k = usize::from(packing.body_bits);
    for (i, word) in acc.iter_mut().enumerate() {
        *word = word.wrapping_add(bits_at(packed, i * k, k) << packing.dropped_bits);
    }
}

/// The k bits of a little-endian bit string that begin at bit `at`.
fn bits_at(bytes: &[u8], at: usize, k: usize) -> u64 {
    let mut window = [0u8; 16];
    // 64 bits at any offset lie within nine bytes.
    let here = bytes.get(at / 8..bytes.len().min(at / 8 + 9)).unwrap_or_default();
    window[..here.len()].copy_from_slice(here);
    let shifted = u128::from_le_bytes(window) >> (at % 8);
    let [a, b, c, d, e, f, g, h, ..] = shifted.to_le_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, g, h]) & (u64::MAX >> (64 - k))
}

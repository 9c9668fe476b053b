//! Coefficients as k-bit strings and back (crypto.md C30, C70): the layout of 4096 little-endian values of k bits, 512·k bytes.

use crate::Polynomial;

/// Bytes that reading or writing eight values may touch: k of their own and one load or store more.
const WINDOW: usize = 80;

/// Calls `$f::<K>` for the k at hand, so that every shift and offset of the loop is a constant.
macro_rules! with_width {
    ($k:expr, $f:ident, $args:tt) => {
        with_width!($k, $f, $args, [
            1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32
            33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63 64
        ])
    };
    ($k:expr, $f:ident, $args:tt, [$($known:literal)*]) => {
        match $k {
            $($known => $f::<$known> $args,)*
            _ => {}
        }
    };
}

/// Writes 4096 values of k bits as one little-endian bit string.
///
/// # Shape
/// `out` has 512·k bytes; values are below 2^k; k is 1 to 64.
pub fn write_bits(values: &Polynomial, k: u8, out: &mut [u8]) {
    with_width!(k, write_all, (values, out));
}

/// Writes 4096 coefficients without their low 64 - k bits, rounded half up modulo 2^k (C30): [`super::truncate`] and [`write_bits`] in one pass.
///
/// # Shape
/// `out` has 512·k bytes; k is 1 to 64.
pub fn write_rounded(values: &Polynomial, k: u8, out: &mut [u8]) {
    crate::vector::dispatch(WriteRounded { values, k, out });
}

struct WriteRounded<'a> {
    values: &'a Polynomial,
    k: u8,
    out: &'a mut [u8],
}

impl pulp::NullaryFnOnce for WriteRounded<'_> {
    type Output = ();
    #[inline(always)]
    fn call(self) {
        let Self { values, k, out } = self;
        with_width!(k, round_all, (values, out));
    }
}

#[inline(always)]
fn round_all<const K: usize>(values: &Polynomial, out: &mut [u8]) {
    let half = if K < 64 { 1u64 << (63 - K) } else { 0 };
    write_each::<K>(values, out, |v| v.wrapping_add(half) >> (64 - K));
}

fn write_all<const K: usize>(values: &Polynomial, out: &mut [u8]) {
    write_each::<K>(values, out, |v| v);
}

/// Eight values of K bits fill K whole bytes, so the offsets repeat.
#[inline(always)]
fn write_each<const K: usize>(values: &Polynomial, out: &mut [u8], make: impl Fn(u64) -> u64) {
    let eights = values.as_chunks::<8>().0;
    let inside = out.len().saturating_sub(WINDOW) / K;
    let (front, back) = eights.split_at(inside.min(eights.len()));
    for (values, at) in front.iter().zip((0..).step_by(K)) {
        if let Some(window) = out.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
            write_eight::<K>(&values.map(&make), window);
        }
    }
    // The last few would store behind the end.
    for (values, bytes) in back.iter().zip(out[front.len() * K..].chunks_exact_mut(K)) {
        let mut window = [0u8; WINDOW];
        write_eight::<K>(&values.map(&make), &mut window);
        bytes.copy_from_slice(&window[..K]);
    }
}

/// Eight values as K bytes; what lies behind them in the window is overwritten.
#[inline(always)]
fn write_eight<const K: usize>(values: &[u64; 8], window: &mut [u8; WINDOW]) {
    // What the last value left of a byte, and the next one above it: with at most 7 bits left, up to 57 more fit one word.
    let (mut narrow, mut wide) = (0u64, 0u128);
    for (t, &value) in values.iter().enumerate() {
        let (byte, bit, next) = (t * K / 8, t * K % 8, (t + 1) * K / 8);
        if K <= 57 {
            narrow |= value << bit;
            window[byte..byte + 8].copy_from_slice(&narrow.to_le_bytes());
            // Nothing is left where the value ended with the word.
            narrow = if next - byte < 8 { narrow >> (8 * (next - byte)) } else { 0 };
        } else {
            wide |= u128::from(value) << bit;
            window[byte..byte + 16].copy_from_slice(&wide.to_le_bytes());
            wide >>= 8 * (next - byte);
        }
    }
}

/// sum += value << (64 - k), modulo 2^64, for every value of a k-bit string: bodies back in place without the bits that were rounded away.
///
/// # Shape
/// `sum` has a multiple of 8 values; `packed` has as many values of k bits; k is 1 to 64.
pub fn add_bits(packed: &[u8], k: u8, sum: &mut [u64]) {
    crate::vector::dispatch(AddBits { packed, k, sum });
}

struct AddBits<'a> {
    packed: &'a [u8],
    k: u8,
    sum: &'a mut [u64],
}

impl pulp::NullaryFnOnce for AddBits<'_> {
    type Output = ();
    #[inline(always)]
    fn call(self) {
        let Self { packed, k, sum } = self;
        with_width!(k, add_all, (packed, sum));
    }
}

/// Eight values of K bits fill K whole bytes, so the offsets repeat.
#[inline(always)]
fn add_all<const K: usize>(packed: &[u8], sum: &mut [u64]) {
    let eights = sum.as_chunks_mut::<8>().0;
    let inside = packed.len().saturating_sub(WINDOW) / K;
    let (front, back) = eights.split_at_mut(inside.min(eights.len()));
    for (sum, at) in front.iter_mut().zip((0..).step_by(K)) {
        if let Some(window) = packed.get(at..).and_then(|rest| rest.first_chunk()) {
            add_eight::<K>(window, sum);
        }
    }
    // The last few would load behind the end.
    for (sum, bytes) in back.iter_mut().zip(packed[front.len() * K..].chunks_exact(K)) {
        let mut window = [0u8; WINDOW];
        window[..K].copy_from_slice(bytes);
        add_eight::<K>(&window, sum);
    }
}

#[inline(always)]
fn add_eight<const K: usize>(window: &[u8; WINDOW], sum: &mut [u64; 8]) {
    for (t, sum) in sum.iter_mut().enumerate() {
        let (byte, bit) = (t * K / 8, t * K % 8);
        // Up to 57 bits behind at most 7 fit one word.
        let value = if K <= 57 { load(window, byte) >> bit } else { low_word(wide(window, byte) >> bit) };
        // What lies above the k bits is shifted out.
        *sum = sum.wrapping_add(value << (64 - K));
    }
}

#[inline(always)]
fn load(window: &[u8; WINDOW], at: usize) -> u64 {
    let mut bytes = [0u8; 8];
    bytes.copy_from_slice(&window[at..at + 8]);
    u64::from_le_bytes(bytes)
}

#[inline(always)]
fn wide(window: &[u8; WINDOW], at: usize) -> u128 {
    let mut bytes = [0u8; 16];
    bytes.copy_from_slice(&window[at..at + 16]);
    u128::from_le_bytes(bytes)
}

#[expect(clippy::cast_possible_truncation, reason = "the low word is meant")]
#[inline(always)]
fn low_word(x: u128) -> u64 {
    x as u64
}

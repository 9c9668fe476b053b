//! Values into slots and slot sums out of them, with the number of slots known to the compiler (crypto.md C25, C32, C60).
//! No branch or index depends on a value.

use crate::Polynomial;
use protocol::params::{Packing, RING_DIMENSION};

/// Calls `$f::<L>` for the number of slots at hand. A slot has at least 5 bits and the noise field 2 (C16), so there are at most 12.
macro_rules! with_slots {
    ($slots:expr, $f:ident, $args:tt) => {
        match $slots {
            1 => $f::<1> $args,
            2 => $f::<2> $args,
            3 => $f::<3> $args,
            4 => $f::<4> $args,
            5 => $f::<5> $args,
            6 => $f::<6> $args,
            7 => $f::<7> $args,
            8 => $f::<8> $args,
            9 => $f::<9> $args,
            10 => $f::<10> $args,
            11 => $f::<11> $args,
            _ => $f::<12> $args,
        }
    };
}

/// Adds packed values to a polynomial; tells whether all were in range.
pub(crate) struct Add<'a> {
    pub(crate) packing: &'a Packing,
    pub(crate) values: &'a [i32],
    pub(crate) onto: &'a mut Polynomial,
}

impl pulp::NullaryFnOnce for Add<'_> {
    type Output = bool;
    #[inline(always)]
    fn call(self) -> bool {
        let Self { packing, values, onto } = self;
        with_slots!(packing.slots, add, (packing, values, onto))
    }
}

#[inline(always)]
fn add<const L: usize>(packing: &Packing, values: &[i32], onto: &mut Polynomial) -> bool {
    let (width, field) = (u32::from(packing.slot_bits), u32::from(packing.noise_bits));
    let offset = 1u64 << (packing.bits - 1);
    let (whole, rest) = values.as_chunks::<L>();
    // The offsets of all slots at once; values are added to them in two's complement.
    let offsets = |slots: usize| (0u32..).take(slots).fold(0u64, |sum, t| sum.wrapping_add(offset << (field + width * t)));
    let coefficient = |offsets: u64, slots: &[i32], out: &mut u64| {
        let shifted = slots.iter().zip(0u32..).map(|(&v, t)| i64::from(v).cast_unsigned().wrapping_shl(field + width * t));
        *out = shifted.fold(out.wrapping_add(offsets), u64::wrapping_add);
    };
    let (full, last) = onto.split_at_mut(whole.len().min(RING_DIMENSION));
    let all = offsets(L);
    whole.iter().zip(full).for_each(|(slots, out)| coefficient(all, slots, out));
    last.iter_mut().take(1).for_each(|out| coefficient(offsets(rest.len()), rest, out));
    in_range(packing, values)
}

/// Whether all values lie in -(2^(b-1) - 1)..=2^(b-1) - 1.
#[inline(always)]
fn in_range(packing: &Packing, values: &[i32]) -> bool {
    let (least, most) = values.iter().fold((0, 0), |(least, most): (i32, i32), &v| (least.min(v), most.max(v)));
    let bound = (1i64 << (packing.bits - 1)) - 1;
    (i64::from(least) >= -bound) & (i64::from(most) <= bound)
}

/// Takes the slot sums out of centred coefficients (C32).
pub(crate) struct Take<'a> {
    pub(crate) packing: &'a Packing,
    pub(crate) members: u16,
    pub(crate) x: &'a Polynomial,
    /// As many as the polynomial carries values.
    pub(crate) sums: &'a mut [i64],
}

/// What the slots of a polynomial say besides their values.
pub(crate) struct Taken {
    /// Every U of a value lies in [|set|, |set|·(2^b - 1)].
    pub(crate) in_range: bool,
    /// Every U of padding is 0.
    pub(crate) padding_is_empty: bool,
    /// Σ residual².
    pub(crate) squares: u128,
}

impl pulp::NullaryFnOnce for Take<'_> {
    type Output = Taken;
    #[inline(always)]
    fn call(self) -> Taken {
        let Self { packing, members, x, sums } = self;
        let squares = squares(packing, x);
        let (in_range, padding_is_empty) = with_slots!(packing.slots, take, (packing, members, x, sums));
        Taken { in_range, padding_is_empty, squares }
    }
}

/// Exact, so that every machine reports the same ratio.
#[inline(always)]
fn squares(packing: &Packing, x: &Polynomial) -> u128 {
    let half = 1i64 << (packing.noise_bits - 1);
    let field = (1u64 << packing.noise_bits) - 1;
    x.iter().fold(0u128, |sum, &x| {
        let residual = u128::from(((x & field).cast_signed() - half).unsigned_abs());
        sum.saturating_add(residual * residual)
    })
}

#[inline(always)]
fn take<const L: usize>(packing: &Packing, members: u16, x: &Polynomial, sums: &mut [i64]) -> (bool, bool) {
    let (width, field) = (u32::from(packing.slot_bits), u32::from(packing.noise_bits));
    let slot = (1u64 << width) - 1;
    let (least, most) = (u64::from(members), u64::from(members) * ((1u64 << packing.bits) - 1));
    let offset = i64::from(members) << (packing.bits - 1);
    let mut wrong = 0u64;
    let mut value = |x: u64, t: u32| {
        let u = (x >> (field + width * t)) & slot;
        wrong |= u.wrapping_sub(least) | most.wrapping_sub(u);
        u.cast_signed() - offset
    };
    let (whole, rest) = sums.as_chunks_mut::<L>();
    for (sums, &x) in whole.iter_mut().zip(x) {
        sums.iter_mut().zip(0..).for_each(|(sum, t)| *sum = value(x, t));
    }
    let behind = &x[whole.len().min(RING_DIMENSION)..];
    // The first of them holds the rest of the values below its padding, or none.
    let padding = behind.split_first().map_or(0, |(&last, empty)| {
        rest.iter_mut().zip(0..).for_each(|(sum, t)| *sum = value(last, t));
        let used = field + width * u32::try_from(rest.len()).unwrap_or(0);
        empty.iter().fold(last >> used, |all, &x| all | (x >> field))
    });
    (wrong >> 63 == 0, padding == 0)
}

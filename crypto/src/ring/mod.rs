//! Products of a public and a small polynomial in `Z[X]/(X^4096 + 1)` modulo 2^64 (crypto.md C6, C68). Knows neither keys nor messages.
//!
//! The fast path multiplies modulo three 30-bit primes and recombines; the reference path is the stock library's. Both are exact and give
//! the same bits.

mod crt;

use crate::Polynomial;
use crate::vector;
pub use crt::MAX_L1_NORM;
use crt::{PRIMES, REDUCTIONS, Reduction, Residues};
use protocol::params::RING_DIMENSION;
use std::sync::OnceLock;
use tfhe_ntt::prime32::Plan;
use zeroize::Zeroizing;

/// A small polynomial, ready for products; zeroised when dropped.
pub struct RingKey {
    /// Two's complement modulo 2^64.
    coefficients: Box<Zeroizing<Polynomial>>,
    /// Its transforms, if every product with it fits the three primes.
    transformed: Option<Box<Zeroizing<Residues>>>,
}

/// Room for products, one per thread; wiped when dropped.
pub(crate) struct Workspace(Box<Zeroizing<Residues>>);

impl Workspace {
    pub(crate) fn new() -> Self {
        Self(crt::room())
    }
}

impl RingKey {
    /// Lifts small signed coefficients. A key whose absolute values sum to more than [`MAX_L1_NORM`] takes the reference path.
    pub fn new<T: Copy + Into<i64>>(small: &[T; RING_DIMENSION]) -> Self {
        let mut key = Self::reference(small);
        let norm = small.iter().fold(0u64, |sum, &c| sum.saturating_add(c.into().unsigned_abs()));
        if let Some(plans) = plans().filter(|_| norm <= MAX_L1_NORM) {
            let mut rows = crt::room();
            crt::split_key(&key.coefficients, &mut rows);
            plans.iter().zip(rows.iter_mut()).for_each(|(plan, row)| plan.fwd(row));
            key.transformed = Some(rows);
        }
        key
    }

    /// The same key for the stock library's product.
    pub fn reference<T: Copy + Into<i64>>(small: &[T; RING_DIMENSION]) -> Self {
        let mut coefficients = Box::new(Zeroizing::new([0u64; RING_DIMENSION]));
        for (out, &value) in coefficients.iter_mut().zip(small) {
            // Two's complement is the residue modulo 2^64.
            *out = value.into().cast_unsigned();
        }
        Self { coefficients, transformed: None }
    }

    /// Whether products with this key take the fast path.
    pub fn is_fast(&self) -> bool {
        self.transformed.is_some()
    }

    /// The coefficients, two's complement.
    pub(crate) fn coefficients(&self) -> &Polynomial {
        &self.coefficients
    }

    /// `mask`·key in the ring, exact modulo 2^64 for any key.
    ///
    /// # Security
    /// Both paths take the same steps for every value. The reference path's temporaries are not wiped.
    pub fn times(&self, mask: &Polynomial) -> Box<Zeroizing<Polynomial>> {
        let mut out = Box::new(Zeroizing::new(*mask));
        self.multiply(&mut out, &mut Workspace::new());
        out
    }

    /// Replaces a mask by its product with the key.
    pub(crate) fn multiply(&self, mask: &mut Polynomial, room: &mut Workspace) {
        match (&self.transformed, plans()) {
            (Some(key), Some(plans)) => fast(mask, key, plans, &mut room.0),
            (_, _) => {
                let mut out = Zeroizing::new([0u64; RING_DIMENSION]);
                crate::reference::product(&mut out, mask, &self.coefficients);
                mask.copy_from_slice(out.as_slice());
            }
        }
    }
}

fn fast(mask: &mut Polynomial, key: &Residues, plans: &[Plan; 3], room: &mut Residues) {
    vector::dispatch(Split(mask, room));
    for (((row, plan), key), reduction) in room.iter_mut().zip(plans).zip(key).zip(&REDUCTIONS) {
        plan.fwd(row);
        vector::dispatch(Multiply(reduction, row, key));
        plan.inv(row);
    }
    vector::dispatch(Join(room, mask));
}

/// [`crt::split_mask`] with the machine's best vector instructions.
struct Split<'a>(&'a Polynomial, &'a mut Residues);

impl pulp::NullaryFnOnce for Split<'_> {
    type Output = ();
    #[inline(always)]
    fn call(self) {
        crt::split_mask(self.0, self.1);
    }
}

/// [`Reduction::multiply`], likewise. The factor that the library's own product takes out is in the key already.
struct Multiply<'a>(&'a Reduction, &'a mut [u32; RING_DIMENSION], &'a [u32; RING_DIMENSION]);

impl pulp::NullaryFnOnce for Multiply<'_> {
    type Output = ();
    #[inline(always)]
    fn call(self) {
        self.0.multiply(self.1, self.2);
    }
}

/// [`crt::join`], likewise.
struct Join<'a>(&'a Residues, &'a mut Polynomial);

impl pulp::NullaryFnOnce for Join<'_> {
    type Output = ();
    #[inline(always)]
    fn call(self) {
        crt::join(self.0, self.1);
    }
}

/// The transforms, made once. None only if the library refused our primes; then everything takes the reference path.
fn plans() -> Option<&'static [Plan; 3]> {
    static PLANS: OnceLock<Option<[Plan; 3]>> = OnceLock::new();
    let make = |p| Plan::try_new(RING_DIMENSION, p);
    PLANS.get_or_init(|| Some([make(PRIMES[0])?, make(PRIMES[1])?, make(PRIMES[2])?])).as_ref()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition: X^4096 = -1, one term at a time.
    fn schoolbook(mask: &Polynomial, small: &[i64; RING_DIMENSION], at: usize) -> u64 {
        (0..RING_DIMENSION).fold(0u64, |sum, i| {
            let (other, sign) = if i <= at { (at - i, 1) } else { (RING_DIMENSION + at - i, -1) };
            sum.wrapping_add(mask[i].wrapping_mul((sign * small[other]).cast_unsigned()))
        })
    }

    fn stock(small: &[i64; RING_DIMENSION], mask: &Polynomial) -> Box<Zeroizing<Polynomial>> {
        RingKey::reference(small).times(mask)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn product_is_the_definition(edges in proptest::collection::vec(0usize..6, 64), seed in any::<u64>(), at in 0usize..RING_DIMENSION) {
            let masks = [0, 1 << 63, u64::MAX, seed, seed.rotate_left(17), 1];
            let smalls = [0i64, 90, -90, 1, -1, 90_000];
            let mask: Polynomial = std::array::from_fn(|i| masks[edges[i % 64]].wrapping_add(if i % 3 == 0 { (i as u64).wrapping_mul(seed) } else { 0 }));
            let small: [i64; RING_DIMENSION] = std::array::from_fn(|i| smalls[edges[(i * 7 + i / 64) % 64]]);
            let product = RingKey::new(&small).times(&mask);
            prop_assert!(product.as_slice() == stock(&small, &mask).as_slice());
            for k in [0, at, RING_DIMENSION - 1] {
                prop_assert_eq!(product[k], schoolbook(&mask, &small, k));
            }
        }
    }

    /// The bound of C68 less one part in 2048: the bound itself, and one key on each side of it, against the stock product with the masks that
    /// reach farthest.
    #[test]
    fn keys_at_the_bound_are_exact_and_above_it_take_the_reference_path() {
        assert_eq!(MAX_L1_NORM, 67_095_553 - 32_762);
        let even = i64::try_from(MAX_L1_NORM).unwrap() / 4096;
        let rest = i64::try_from(MAX_L1_NORM).unwrap() % 4096;
        for sign in [1, -1] {
            // All coefficients as large as the bound allows; or one that holds it all.
            let spread: [i64; RING_DIMENSION] = std::array::from_fn(|i| sign * (even + i64::from((i as i64) < rest)));
            let single: [i64; RING_DIMENSION] =
                std::array::from_fn(|i| if i == 4095 { sign * i64::try_from(MAX_L1_NORM).unwrap() } else { 0 });
            for small in [spread, single] {
                let key = RingKey::new(&small);
                assert!(key.is_fast());
                for mask in [
                    [1 << 63; RING_DIMENSION],
                    [(1 << 63) - 1; RING_DIMENSION],
                    std::array::from_fn(|i| if i % 2 == 0 { 1 << 63 } else { (1 << 63) - 1 }),
                ] {
                    assert!(key.times(&mask).as_slice() == stock(&small, &mask).as_slice());
                }
                let mut above = small;
                above[4095] += sign;
                assert!(!RingKey::new(&above).is_fast());
            }
        }
    }
}

//! Products of a public and a small polynomial in `Z[X]/(X^4096 + 1)` modulo 2^64 (crypto.md C6, C68). Knows neither keys nor messages.

use crate::Polynomial;
use protocol::params::RING_DIMENSION;
use zeroize::Zeroizing;

/// A small polynomial as two's complement modulo 2^64, ready for products; zeroised when dropped.
pub struct RingKey(Box<Zeroizing<Polynomial>>);

impl RingKey {
    /// Lifts small signed coefficients.
    pub fn new<T: Copy + Into<i64>>(small: &[T; RING_DIMENSION]) -> Self {
        let mut lifted = Box::new(Zeroizing::new([0u64; RING_DIMENSION]));
        for (out, &value) in lifted.iter_mut().zip(small) {
            // Two's complement is the residue modulo 2^64.
            *out = value.into().cast_unsigned();
        }
        Self(lifted)
    }

    /// The coefficients, two's complement.
    pub(crate) fn coefficients(&self) -> &Polynomial {
        &self.0
    }

    /// `mask`·key in the ring, exact modulo 2^64 for any key.
    ///
    /// # Security
    /// Karatsuba's products and sums take the same steps for every value. Its temporaries are not wiped.
    pub fn times(&self, mask: &Polynomial) -> Box<Zeroizing<Polynomial>> {
        let mut out = Box::new(Zeroizing::new([0u64; RING_DIMENSION]));
        crate::reference::product(out.as_mut(), mask, &self.0);
        out
    }
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

    proptest! {
        #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn product_is_the_definition(edges in proptest::collection::vec(0usize..6, 64), seed in any::<u64>(), at in 0usize..RING_DIMENSION) {
            let masks = [0, 1 << 63, u64::MAX, seed, seed.rotate_left(17), 1];
            let smalls = [0i64, 90, -90, 1, -1, 90_000];
            let mask: Polynomial = std::array::from_fn(|i| masks[edges[i % 64]].wrapping_add(if i % 3 == 0 { (i as u64).wrapping_mul(seed) } else { 0 }));
            let small: [i64; RING_DIMENSION] = std::array::from_fn(|i| smalls[edges[(i * 7 + i / 64) % 64]]);
            let product = RingKey::new(&small).times(&mask);
            for k in [0, at, RING_DIMENSION - 1] {
                prop_assert_eq!(product[k], schoolbook(&mask, &small, k));
            }
        }
    }
}

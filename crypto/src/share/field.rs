//! Arithmetic modulo p = 2^31 - 1, without branches on values. Knows no share.

use protocol::params::SHARE_PRIME;

const P: u64 = SHARE_PRIME as u64;

/// x mod p for x < 2^62 + 2^32.
fn reduce(x: u64) -> u32 {
    // 2^31 = 1 modulo p: twice folding leaves at most p + 1, then one masked subtraction.
    let x = (x & P) + (x >> 31);
    let x = (x & P) + (x >> 31);
    let less = x.wrapping_sub(P);
    let negative = (less >> 63).wrapping_neg();
    let [a, b, c, d, ..] = less.wrapping_add(P & negative).to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// s mod p for a small signed s.
pub(super) fn embed(s: i8) -> u32 {
    reduce((i64::from(s) + i64::from(SHARE_PRIME)).cast_unsigned())
}

pub(super) fn add(a: u32, b: u32) -> u32 {
    reduce(u64::from(a) + u64::from(b))
}

pub(super) fn sub(a: u32, b: u32) -> u32 {
    reduce(u64::from(a) + P - u64::from(b))
}

pub(super) fn mul(a: u32, b: u32) -> u32 {
    reduce(u64::from(a) * u64::from(b))
}

/// a + b·c.
pub(super) fn add_mul(a: u32, b: u32, c: u32) -> u32 {
    reduce(u64::from(a) + u64::from(b) * u64::from(c))
}

/// Σ a_i·b_i.
pub(super) fn dot(a: &[u32], b: &[u32]) -> u32 {
    a.iter().zip(b).fold(0, |sum, (&x, &y)| add_mul(sum, x, y))
}

/// Value at x of the polynomial with these coefficients, lowest first.
pub(super) fn evaluate(coefficients: &[u32], x: u32) -> u32 {
    coefficients.iter().rev().fold(0, |value, &c| add_mul(c, value, x))
}

/// 1/a for a != 0, by Fermat. Public values only.
fn inverse(a: u32) -> u32 {
    let (mut out, mut square, mut exponent) = (1, a, SHARE_PRIME - 2);
    while exponent > 0 {
        if exponent & 1 == 1 {
            out = mul(out, square);
        }
        square = mul(square, square);
        exponent >>= 1;
    }
    out
}

/// Weights λ with f(t) = Σ λ_i·f(x_i) for every f of degree below the number of points. The points are distinct.
pub(super) fn lagrange(points: &[u32], t: u32) -> Vec<u32> {
    let weight = |(i, &xi): (usize, &u32)| {
        let others = points.iter().enumerate().filter(|&(j, _)| j != i);
        let (top, bottom) = others.fold((1, 1), |(top, bottom), (_, &xj)| (mul(top, sub(t, xj)), mul(bottom, sub(xi, xj))));
        mul(top, inverse(bottom))
    };
    points.iter().enumerate().map(weight).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn element() -> impl Strategy<Value = u32> {
        prop_oneof![Just(0), Just(1), Just(SHARE_PRIME - 1), 0..SHARE_PRIME]
    }

    proptest! {
        #[test]
        fn arithmetic_is_that_of_the_integers(a in element(), b in element(), c in element()) {
            let [x, y, z] = [a, b, c].map(u128::from);
            let p = u128::from(SHARE_PRIME);
            prop_assert_eq!(u128::from(add(a, b)), (x + y) % p);
            prop_assert_eq!(u128::from(sub(a, b)), (x + p - y) % p);
            prop_assert_eq!(u128::from(mul(a, b)), x * y % p);
            prop_assert_eq!(u128::from(add_mul(a, b, c)), (x + y * z) % p);
        }

        #[test]
        fn interpolation_gives_the_polynomial_back(f in proptest::collection::vec(element(), 1..9), t in 0u32..20) {
            let points: Vec<u32> = (1..).step_by(2).take(f.len()).collect();
            let values: Vec<u32> = points.iter().map(|&x| evaluate(&f, x)).collect();
            prop_assert_eq!(dot(&lagrange(&points, t), &values), evaluate(&f, t));
        }
    }

    #[test]
    fn signs_are_embedded() {
        assert_eq!((embed(0), embed(90), embed(-90)), (0, 90, SHARE_PRIME - 90));
    }
}

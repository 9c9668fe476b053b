//! The exponential function on vectors.

/// 1.5 · 2^23: adding it rounds a number below 2^22 to an integer, which then stands in the lowest bits.
const ROUND: f32 = 12_582_912.0;
/// ln 2 in two parts; products of the first with the integers that occur are exact.
const LN2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
/// Taylor coefficients 1/n! from the highest; on |r| <= ln 2 / 2 the rest is below 1e-8.
const TAYLOR: [f32; 8] = [1.984_127e-4, 1.388_888_9e-3, 8.333_334e-3, 4.166_666_8e-2, 0.166_666_67, 0.5, 1.0, 1.0];

/// e^x to 3e-7 of itself; the smallest normal number below -87.3, the largest beyond 88.3. NaN stays NaN.
///
/// x = n ln 2 + r; e^r is a polynomial, 2^n is put together from its exponent's bits.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    let x = x.clamp(-87.3, 88.3);
    let rounded = x * std::f32::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = (x - n * LN2[0]) - n * LN2[1];
    let mut power = TAYLOR[0];
    for c in &TAYLOR[1..] {
        power = power * r + c;
    }
    // The bits of `rounded` are those of ROUND plus n; shifted, only n + 127 is left, where an exponent stands.
    power * f32::from_bits(rounded.to_bits().wrapping_add(127) << 23)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_is_close_over_its_whole_range() {
        for i in -87_000i32..=88_000 {
            let x = f32::from(i16::try_from(i / 10).unwrap()) / 100.0 + f32::from(i16::try_from(i % 10).unwrap()) / 977.0;
            let (got, want) = (f64::from(exp(x)), f64::from(x).exp());
            assert!((got / want - 1.0).abs() < 4e-7, "{x}: {got} {want}");
        }
    }

    #[test]
    fn beyond_its_range_it_stays_a_number_and_nan_stays_nan() {
        assert!(exp(f32::NAN).is_nan());
        assert!(exp(f32::NEG_INFINITY) < 2e-38 && exp(-1e30) < 2e-38 && exp(1e30).is_finite() && exp(f32::INFINITY) > 1e38);
        assert_eq!(exp(0.0), 1.0);
    }
}

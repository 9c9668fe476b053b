//! GELU in its tanh form, and its slope.

use super::wide;

/// sqrt(2 / π).
const SCALE: f32 = 0.797_884_6;
/// Cubic term of the tanh form (Hendrycks and Gimpel 2016, arXiv 1606.08415).
const CUBIC: f32 = 0.044_715;

/// tanh as a rational function: 1e-6 from the true value.
///
/// # Source
/// The classical minimax fit of degree 13 over 6 on [-7.9, 7.9], beyond which tanh is 1 in 32-bit floats.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    const ODD: [f32; 7] = [4.893_525e-3, 6.372_619e-4, 1.485_722_4e-5, 5.122_297e-8, -8.604_672e-11, 2.000_188e-13, -2.760_768_5e-16];
    const EVEN: [f32; 4] = [4.893_525_3e-3, 2.268_434_7e-3, 1.185_347_1e-4, 1.198_258_4e-6];
    let x = x.clamp(-7.905_311, 7.905_311); // a NaN stays a NaN, so that its unit is counted as not finite
    let s = x * x;
    let over = ODD.iter().rev().fold(0.0, |sum, c| sum * s + c);
    let under = EVEN.iter().rev().fold(0.0, |sum, c| sum * s + c);
    x * over / under
}

#[inline(always)]
fn inner(x: f32) -> f32 {
    tanh(SCALE * (x + CUBIC * x * x * x))
}

#[inline(always)]
pub(crate) fn value(x: f32) -> f32 {
    0.5 * x * (1.0 + inner(x))
}

#[inline(always)]
pub(crate) fn slope(x: f32) -> f32 {
    let t = inner(x);
    0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * SCALE * (1.0 + 3.0 * CUBIC * x * x)
}

#[inline(always)]
fn all_values((x, out): (&[f32], &mut [f32])) {
    x.iter().zip(out).for_each(|(&x, y)| *y = value(x));
}

/// `out = gelu(x)`.
pub(crate) fn gelu(x: &[f32], out: &mut [f32]) {
    wide(all_values, (x, out));
}

#[inline(always)]
fn all_slopes((x, grad): (&[f32], &mut [f32])) {
    x.iter().zip(grad).for_each(|(&x, g)| *g *= slope(x));
}

/// Turns the gradient of the output into that of the input: `grad *= gelu'(x)`.
pub(crate) fn back(x: &[f32], grad: &mut [f32]) {
    wide(all_slopes, (x, grad));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tanh_is_close_everywhere_and_keeps_nan() {
        for i in -4000i16..=4000 {
            let x = f32::from(i) / 400.0;
            assert!((f64::from(tanh(x)) - f64::from(x).tanh()).abs() < 1e-6, "{x}");
        }
        assert!(tanh(f32::NAN).is_nan() && (tanh(f32::INFINITY) - 1.0).abs() < 1e-6);
    }

    /// Vectors and single numbers take the same way.
    #[test]
    fn a_number_has_the_same_value_wherever_it_stands() {
        let x: Vec<f32> = (0..103).map(|i| (i as f32) * 0.09 - 4.5).collect();
        let (mut y, mut g) = (vec![0.0; 103], vec![1.0; 103]);
        gelu(&x, &mut y);
        back(&x, &mut g);
        for (x, (y, g)) in x.into_iter().zip(y.into_iter().zip(g)) {
            assert_eq!((y.to_bits(), g.to_bits()), (value(x).to_bits(), slope(x).to_bits()));
        }
    }
}

//! GELU in its tanh form: a smooth gate that lets large inputs through and small ones not.

use super::{contiguous, like, release, with_floats};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

/// sqrt(2 / π).
const SCALE: f32 = 0.797_884_6;
/// Cubic term of the tanh form (Hendrycks and Gimpel 2016, arXiv 1606.08415).
const CUBIC: f32 = 0.044_715;

/// In and out of any one shape.
struct Gelu;

/// Applies it; recorded only if `x` is tracked.
pub(crate) fn gelu(x: &Tensor) -> Result<Tensor> {
    x.contiguous()?.apply_op1(Gelu)
}

/// tanh as a rational function: 1e-6 from the true value, and the compiler can run it on several lanes at once.
///
/// # Source
/// The classical minimax fit of degree 13 over 6 on [-7.9, 7.9], beyond which tanh is 1 in 32-bit floats.
fn tanh(x: f32) -> f32 {
    const ODD: [f32; 7] = [4.893_525e-3, 6.372_619e-4, 1.485_722_4e-5, 5.122_297e-8, -8.604_672e-11, 2.000_188e-13, -2.760_768_5e-16];
    const EVEN: [f32; 4] = [4.893_525_3e-3, 2.268_434_7e-3, 1.185_347_1e-4, 1.198_258_4e-6];
    let x = x.clamp(-7.905_311, 7.905_311); // a NaN stays a NaN, so that its unit is counted as not finite
    let s = x * x;
    let over = ODD.iter().rev().fold(0.0, |sum, c| sum * s + c);
    let under = EVEN.iter().rev().fold(0.0, |sum, c| sum * s + c);
    x * over / under
}

fn inner(x: f32) -> f32 {
    tanh(SCALE * (x + CUBIC * x * x * x))
}

pub(super) fn value(x: f32) -> f32 {
    0.5 * x * (1.0 + inner(x))
}

pub(super) fn slope(x: f32) -> f32 {
    let t = inner(x);
    0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * SCALE * (1.0 + 3.0 * CUBIC * x * x)
}

impl CustomOp1 for Gelu {
    fn name(&self) -> &'static str {
        "gelu"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let y = contiguous(x, layout)?.iter().map(|&x| value(x)).collect();
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let grad = grad.contiguous()?;
        let dx = with_floats(x, |x| with_floats(&grad, |g| Ok(x.iter().zip(g).map(|(&x, g)| slope(x) * g).collect())))?;
        release(x)?;
        like(dx, x).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{agrees_with_differences, wave};
    use super::*;

    #[test]
    fn gelu_agrees_with_finite_differences() {
        agrees_with_differences(&wave(&[5, 7], 0.3), gelu);
    }

    /// What a backward pass let go cannot be read by another one.
    #[test]
    fn a_graph_is_walked_once() {
        let var = candle_core::Var::from_tensor(&wave(&[3, 2], 0.1)).unwrap();
        let y = gelu(&(var.as_tensor() * 2.0).unwrap()).unwrap().sum_all().unwrap();
        assert!(y.backward().is_ok());
        assert!(y.backward().is_err());
    }

    #[test]
    fn tanh_is_close_everywhere_and_keeps_nan() {
        for i in -4000i16..=4000 {
            let x = f32::from(i) / 400.0;
            assert!((f64::from(tanh(x)) - f64::from(x).tanh()).abs() < 1e-6, "{x}");
        }
        assert!(tanh(f32::NAN).is_nan() && (tanh(f32::INFINITY) - 1.0).abs() < 1e-6);
    }
}

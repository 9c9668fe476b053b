//! Functions of one number: what lets a Transformer do more than one linear layer could.

use super::composed::{Way, way};
use super::{contiguous, like, with_floats};
use crate::kernels::gelu;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

/// Which function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// x Φ(x) in its tanh form.
    GeluTanh,
    /// x Φ(x) with the normal distribution's own Φ.
    Gelu,
    /// x / (1 + e^-x); under a gate this is SwiGLU (Shazeer 2020, arXiv 2002.05202).
    Silu,
    /// max(x, 0).
    Relu,
    /// The hyperbolic tangent: for poolers.
    Tanh,
}

/// In and out of any one shape.
struct Apply(Activation);

/// Applies it; recorded only if `x` is tracked.
pub(crate) fn activation(x: &Tensor, kind: Activation) -> Result<Tensor> {
    match (way(x), kind) {
        (_, Activation::GeluTanh) => super::gelu::gelu(x),
        (Way::Fused, _) => x.contiguous()?.apply_op1(Apply(kind)),
        (Way::Composed, Activation::Gelu) => x.gelu_erf(),
        (Way::Composed, Activation::Silu) => x.silu(),
        // Not the engine's own, which would swallow a NaN.
        (Way::Composed, Activation::Relu) => {
            let zero = x.zeros_like()?;
            x.le(&zero)?.where_cond(&zero, x)
        }
        (Way::Composed, Activation::Tanh) => x.tanh(),
    }
}

/// 1 / sqrt(2π).
const BELL: f32 = 0.398_942_3;

fn normal(x: f32) -> f32 {
    0.5 * (1.0 + libm::erff(x * std::f32::consts::FRAC_1_SQRT_2))
}

fn logistic(x: f32) -> f32 {
    (1.0 + (-x).exp()).recip()
}

impl Activation {
    fn value(self, x: f32) -> f32 {
        match self {
            Self::GeluTanh => gelu::value(x),
            Self::Gelu => x * normal(x),
            Self::Silu => x * logistic(x),
            // Not `max`: that would swallow a NaN, and the unit must be counted as not finite.
            Self::Relu => {
                if x < 0.0 {
                    0.0
                } else {
                    x
                }
            }
            Self::Tanh => x.tanh(),
        }
    }

    fn slope(self, x: f32) -> f32 {
        match self {
            Self::GeluTanh => gelu::slope(x),
            Self::Gelu => normal(x) + x * BELL * (-0.5 * x * x).exp(),
            Self::Silu => logistic(x) * (1.0 + x * (1.0 - logistic(x))),
            Self::Relu => f32::from(u8::from(x > 0.0)),
            Self::Tanh => 1.0 - x.tanh() * x.tanh(),
        }
    }
}

impl CustomOp1 for Apply {
    fn name(&self) -> &'static str {
        "activation"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let y = contiguous(x, layout)?.iter().map(|&x| self.0.value(x)).collect();
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let grad = grad.contiguous()?;
        let dx = with_floats(x, |x| with_floats(&grad, |g| Ok(x.iter().zip(g).map(|(&x, g)| self.0.slope(x) * g).collect())))?;
        like(dx, x).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{agrees_with_differences, wave};
    use super::*;

    #[test]
    fn activations_agree_with_finite_differences() {
        // The pattern keeps away from 0, where relu has no slope.
        for kind in [Activation::GeluTanh, Activation::Gelu, Activation::Silu, Activation::Relu, Activation::Tanh] {
            agrees_with_differences(&(wave(&[5, 7], 0.35) * 1.1).unwrap(), |x| activation(x, kind));
        }
    }

    #[test]
    fn values_are_the_textbooks() {
        let of = |kind: Activation, x| kind.value(x);
        assert!((of(Activation::Gelu, 1.0) - 0.841_344_7).abs() < 1e-6 && (of(Activation::Silu, 1.0) - 0.731_058_6).abs() < 1e-6);
        assert!(of(Activation::Relu, -1.0) == 0.0 && of(Activation::Relu, f32::NAN).is_nan());
    }
}

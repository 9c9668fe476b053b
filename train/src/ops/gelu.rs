//! GELU in its tanh form: a smooth gate that lets large inputs through and small ones not.

use super::composed::{Way, way};
use super::{contiguous, like, release, with_floats};
use crate::kernels::gelu as kernel;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

/// In and out of any one shape.
struct Gelu;

/// Applies it; recorded only if `x` is tracked.
pub(crate) fn gelu(x: &Tensor) -> Result<Tensor> {
    match way(x) {
        Way::Fused => x.contiguous()?.apply_op1(Gelu),
        Way::Composed => x.gelu(),
    }
}

impl CustomOp1 for Gelu {
    fn name(&self) -> &'static str {
        "gelu"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = contiguous(x, layout)?;
        let mut y = vec![0.0; x.len()];
        kernel::gelu(x, &mut y);
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let mut dx = with_floats(&grad.contiguous()?, |g| Ok(g.to_vec()))?;
        with_floats(x, |x| {
            kernel::back(x, &mut dx);
            Ok(())
        })?;
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
}

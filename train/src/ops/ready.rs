//! Results that are there before their operation is recorded, and backward passes that begin in the middle: with these an operation whose two
//! passes are made of other operations takes its place in the graph, on whatever device its numbers are.

use super::with_floats;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CudaStorage, CustomOp1, DType, Layout, Result, Shape, Storage, Tensor, bail};
use std::sync::{Mutex, PoisonError};

/// A result that the engine takes once.
#[derive(Default)]
pub(crate) struct Ready(Mutex<Option<Tensor>>);

impl Ready {
    pub(crate) fn of(result: Tensor) -> Self {
        Self(Mutex::new(Some(result)))
    }

    pub(crate) fn put(&self, result: Tensor) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
    }

    fn take(&self) -> Result<Tensor> {
        let Some(result) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() else { bail!("an operation ran twice") };
        result.contiguous()
    }

    /// As the engine wants it of an operation on the processor.
    pub(crate) fn on_processor(&self) -> Result<(CpuStorage, Shape)> {
        let result = self.take()?;
        Ok((CpuStorage::F32(with_floats(&result, |y| Ok(y.to_vec()))?), result.shape().clone()))
    }

    /// As the engine wants it of an operation on a GPU.
    pub(crate) fn on_gpu(&self) -> Result<(CudaStorage, Shape)> {
        let result = self.take()?;
        // A storage is copied whole: it must begin where the tensor does.
        let result = if result.layout().start_offset() == 0 { result } else { result.force_contiguous()? };
        let (guard, layout) = result.storage_and_layout();
        let Storage::Cuda(storage) = &*guard else { bail!("the result is not where its input is") };
        Ok((storage.try_clone(layout)?, layout.shape().clone()))
    }
}

/// A number whose gradient is 1 and whose input's gradient is given: a backward pass that begins in the middle.
struct Seed {
    grad: Tensor,
    zero: Ready,
}

/// Gradients of whatever `y` was computed from, if its own is `grad`.
pub(crate) fn backward_from(y: &Tensor, grad: &Tensor) -> Result<candle_core::backprop::GradStore> {
    let zero = Ready::of(Tensor::zeros((), DType::F32, y.device())?);
    y.apply_op1(Seed { grad: grad.contiguous()?.detach(), zero })?.backward()
}

impl CustomOp1 for Seed {
    fn name(&self) -> &'static str {
        "seed"
    }

    fn cpu_fwd(&self, _y: &CpuStorage, _layout: &Layout) -> Result<(CpuStorage, Shape)> {
        self.zero.on_processor()
    }

    fn cuda_fwd(&self, _y: &CudaStorage, _layout: &Layout) -> Result<(CudaStorage, Shape)> {
        self.zero.on_gpu()
    }

    fn bwd(&self, _y: &Tensor, _res: &Tensor, _grad: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(self.grad.clone()))
    }
}

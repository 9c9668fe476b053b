//! Operations whose two passes are made of other operations: their result is there before they are recorded, and their backward pass is a function
//! or begins in the middle. With these they take their place in the graph, on whatever device their numbers are.

use super::with_floats;
use candle_core::backend::BackendStorage;
use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, CudaStorage, CustomOp1, CustomOp2, CustomOp3, DType, Layout, Result, Shape, Storage, Tensor, Var, bail};
use std::sync::{Mutex, PoisonError};

/// Gradients of an operation's inputs; none of one that is not tracked.
pub(crate) type Gradients = Vec<Option<Tensor>>;

/// Gradients of the inputs by these and the gradient of the result.
type Back = Box<dyn Fn(&[Tensor], &Tensor) -> Result<Gradients> + Send + Sync>;

/// An operation that was computed, and its backward pass.
struct Recorded {
    name: &'static str,
    /// What came out; the engine takes it once.
    result: Mutex<Option<Tensor>>,
    back: Back,
}

/// Puts `result` into the graph behind the one to three inputs that it was computed from; recorded if one of them is tracked.
pub(crate) fn recorded(
    name: &'static str,
    inputs: &[&Tensor],
    result: Tensor,
    back: impl Fn(&[Tensor], &Tensor) -> Result<Gradients> + Send + Sync + 'static,
) -> Result<Tensor> {
    let op = Recorded { name, result: Mutex::new(Some(result)), back: Box::new(back) };
    match *inputs {
        [x] => x.apply_op1(op),
        [x, y] => x.apply_op2(y, op),
        [x, y, z] => x.apply_op3(y, z, op),
        _ => bail!("{name}: got {} inputs, expected 1 to 3", inputs.len()),
    }
}

/// Gradients of the inputs of what `run` computes, which is computed again for them.
pub(crate) fn back_again(inputs: &[Tensor], grad: &Tensor, run: impl FnOnce(&[Tensor]) -> Result<Tensor>) -> Result<Gradients> {
    // Copies with a beginning of their own: the backward pass ends at them.
    let fresh = |t: &Tensor| if t.track_op() { Var::from_tensor(&t.detach()).map(Var::into_inner) } else { Ok(t.clone()) };
    let read = inputs.iter().map(fresh).collect::<Result<Vec<Tensor>>>()?;
    let grads = backward_from(&run(&read)?, grad)?;
    let of = |t: &Tensor| -> Result<Option<Tensor>> {
        if !t.track_op() {
            return Ok(None);
        }
        // The engine wants an answer for every tracked input, also for one that was not read.
        grads.get(t).map_or_else(|| t.zeros_like(), |g| Ok(g.clone())).map(Some)
    };
    read.iter().map(of).collect()
}

/// Gradients of whatever `y` was computed from, if its own is `grad`: a backward pass that begins in the middle, at a number whose gradient is 1.
fn backward_from(y: &Tensor, grad: &Tensor) -> Result<GradStore> {
    let (zero, grad) = (Tensor::zeros((), DType::F32, y.device())?, grad.contiguous()?.detach());
    recorded("seed", &[y], zero, move |_, _| Ok(vec![Some(grad.clone())]))?.backward()
}

impl Recorded {
    fn take(&self) -> Result<Tensor> {
        let Some(result) = self.result.lock().unwrap_or_else(PoisonError::into_inner).take() else { bail!("{} ran twice", self.name) };
        result.contiguous()
    }

    /// As the engine wants it of an operation on the processor.
    fn on_processor(&self) -> Result<(CpuStorage, Shape)> {
        let result = self.take()?;
        Ok((CpuStorage::F32(with_floats(&result, |y| Ok(y.to_vec()))?), result.shape().clone()))
    }

    /// As the engine wants it of an operation on a GPU.
    fn on_gpu(&self) -> Result<(CudaStorage, Shape)> {
        let result = self.take()?;
        // A storage is copied whole: it must begin where the tensor does.
        let result = if result.layout().start_offset() == 0 { result } else { result.force_contiguous()? };
        let (guard, layout) = result.storage_and_layout();
        let Storage::Cuda(storage) = &*guard else { bail!("the result is not where its input is") };
        Ok((storage.try_clone(layout)?, layout.shape().clone()))
    }
}

impl CustomOp1 for Recorded {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, _x: &CpuStorage, _xl: &Layout) -> Result<(CpuStorage, Shape)> {
        self.on_processor()
    }

    fn cuda_fwd(&self, _x: &CudaStorage, _xl: &Layout) -> Result<(CudaStorage, Shape)> {
        self.on_gpu()
    }

    fn bwd(&self, x: &Tensor, _out: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        Ok((self.back)(std::slice::from_ref(x), grad)?.pop().flatten())
    }
}

impl CustomOp2 for Recorded {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, _x: &CpuStorage, _xl: &Layout, _y: &CpuStorage, _yl: &Layout) -> Result<(CpuStorage, Shape)> {
        self.on_processor()
    }

    fn cuda_fwd(&self, _x: &CudaStorage, _xl: &Layout, _y: &CudaStorage, _yl: &Layout) -> Result<(CudaStorage, Shape)> {
        self.on_gpu()
    }

    fn bwd(&self, x: &Tensor, y: &Tensor, _out: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let mut all = (self.back)(&[x.clone(), y.clone()], grad)?.into_iter();
        Ok((all.next().flatten(), all.next().flatten()))
    }
}

type Three = (Option<Tensor>, Option<Tensor>, Option<Tensor>);

impl CustomOp3 for Recorded {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(
        &self,
        _x: &CpuStorage,
        _xl: &Layout,
        _y: &CpuStorage,
        _yl: &Layout,
        _z: &CpuStorage,
        _zl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.on_processor()
    }

    fn cuda_fwd(
        &self,
        _x: &CudaStorage,
        _xl: &Layout,
        _y: &CudaStorage,
        _yl: &Layout,
        _z: &CudaStorage,
        _zl: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        self.on_gpu()
    }

    fn bwd(&self, x: &Tensor, y: &Tensor, z: &Tensor, _out: &Tensor, grad: &Tensor) -> Result<Three> {
        let mut all = (self.back)(&[x.clone(), y.clone(), z.clone()], grad)?.into_iter();
        Ok((all.next().flatten(), all.next().flatten(), all.next().flatten()))
    }
}

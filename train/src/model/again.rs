//! A block that is computed twice: in the forward pass nothing of its inside is kept, in the backward pass it is computed again from its
//! inputs (Chen et al. 2016, arXiv 1604.06174; training.md M10). What dropout left out is left out again, for it is drawn from a seed.
//!
//! Without it every linear layer's input stays in memory until the backward pass has reached it, also where nothing of the layer is
//! trained: under an adapter that is nearly all the memory of a step.

use super::block::{Block, Scene};
use crate::batch::Spans;
use crate::capture::Tape;
use crate::ops::ready::{Ready, backward_from};
use candle_core::{CpuStorage, CudaStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, Var};
use std::sync::Arc;

/// One block over one batch. Inputs: what enters the block `(N, C)`; then, where there is one, what the other stack has read `(M, C)`;
/// then, where there is one, what scores are raised by.
struct Again {
    block: Arc<Block>,
    spans: Spans,
    prefix: Option<Arc<[usize]>>,
    memory: Option<Spans>,
    tape: Tape,
    /// What came out the first time.
    first: Ready,
}

/// Runs the block; recorded if one of its inputs is tracked.
pub(super) fn forward(block: &Arc<Block>, x: &Tensor, scene: Scene<'_>) -> Result<Tensor> {
    let memory = scene.memory.map(|(memory, _)| memory);
    if ![Some(x), memory, scene.bias].into_iter().flatten().any(Tensor::track_op) {
        return block.forward(x, scene);
    }
    let op = Again {
        block: Arc::clone(block),
        spans: scene.spans.clone(),
        prefix: scene.prefix.cloned(),
        memory: scene.memory.map(|(_, spans)| spans.clone()),
        tape: scene.tape.clone(),
        first: Ready::default(),
    };
    let (untracked, bias) = (memory.map(Tensor::detach), scene.bias.map(Tensor::detach));
    let first = op.run(&x.detach(), untracked.as_ref(), bias.as_ref(), &scene.tape.unheard())?;
    op.first.put(first);
    match (memory, scene.bias) {
        (None, None) => x.apply_op1(op),
        (Some(one), None) | (None, Some(one)) => x.apply_op2(one, op),
        (Some(memory), Some(bias)) => x.apply_op3(memory, bias, op),
    }
}

impl Again {
    fn run(&self, x: &Tensor, memory: Option<&Tensor>, bias: Option<&Tensor>, tape: &Tape) -> Result<Tensor> {
        let memory = memory.zip(self.memory.as_ref());
        self.block.forward(x, Scene { spans: &self.spans, tape, prefix: self.prefix.as_ref(), bias, memory })
    }

    /// The inputs' gradients. What is trained inside is recorded on the tape meanwhile.
    fn back(&self, x: &Tensor, memory: Option<&Tensor>, bias: Option<&Tensor>, grad: &Tensor) -> Result<Three> {
        // Copies with a beginning of their own: the backward pass ends at them.
        let fresh = |t: &Tensor| if t.track_op() { Var::from_tensor(&t.detach()).map(Var::into_inner) } else { Ok(t.clone()) };
        let (x, memory, bias) = (fresh(x)?, memory.map(fresh).transpose()?, bias.map(fresh).transpose()?);
        let y = self.run(&x, memory.as_ref(), bias.as_ref(), &self.tape)?;
        let grads = backward_from(&y, grad)?;
        let of = |t: &Tensor| -> Result<Option<Tensor>> {
            if !t.track_op() {
                return Ok(None);
            }
            // The engine wants an answer for every tracked input, also for one that the block did not read.
            grads.get(t).map_or_else(|| t.zeros_like(), |g| Ok(g.clone())).map(Some)
        };
        let optional = |t: Option<Tensor>| -> Result<Option<Tensor>> { Ok(t.map(|t| of(&t)).transpose()?.flatten()) };
        Ok((of(&x)?, optional(memory)?, optional(bias)?))
    }
}

type Three = (Option<Tensor>, Option<Tensor>, Option<Tensor>);

impl CustomOp1 for Again {
    fn name(&self) -> &'static str {
        "block-again"
    }

    fn cpu_fwd(&self, _x: &CpuStorage, _layout: &Layout) -> Result<(CpuStorage, Shape)> {
        self.first.on_processor()
    }

    fn cuda_fwd(&self, _x: &CudaStorage, _layout: &Layout) -> Result<(CudaStorage, Shape)> {
        self.first.on_gpu()
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        Ok(self.back(x, None, None, grad)?.0)
    }
}

impl CustomOp2 for Again {
    fn name(&self) -> &'static str {
        "block-again-of-two"
    }

    fn cpu_fwd(&self, _x: &CpuStorage, _xl: &Layout, _other: &CpuStorage, _ol: &Layout) -> Result<(CpuStorage, Shape)> {
        self.first.on_processor()
    }

    fn cuda_fwd(&self, _x: &CudaStorage, _xl: &Layout, _other: &CudaStorage, _ol: &Layout) -> Result<(CudaStorage, Shape)> {
        self.first.on_gpu()
    }

    fn bwd(&self, x: &Tensor, other: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        if self.memory.is_some() {
            let (x, memory, _) = self.back(x, Some(other), None, grad)?;
            return Ok((x, memory));
        }
        let (x, _, bias) = self.back(x, None, Some(other), grad)?;
        Ok((x, bias))
    }
}

impl CustomOp3 for Again {
    fn name(&self) -> &'static str {
        "block-again-of-three"
    }

    fn cpu_fwd(
        &self,
        _x: &CpuStorage,
        _xl: &Layout,
        _memory: &CpuStorage,
        _ml: &Layout,
        _bias: &CpuStorage,
        _bl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.first.on_processor()
    }

    fn cuda_fwd(
        &self,
        _x: &CudaStorage,
        _xl: &Layout,
        _memory: &CudaStorage,
        _ml: &Layout,
        _bias: &CudaStorage,
        _bl: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        self.first.on_gpu()
    }

    fn bwd(&self, x: &Tensor, memory: &Tensor, bias: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<Three> {
        self.back(x, Some(memory), Some(bias), grad)
    }
}

#[cfg(test)]
mod tests {
    use crate::batch::Batch;
    use crate::capture::Tape;
    use crate::model::{Choices, Config, Transformer};
    use crate::testing::{families, moved, record};
    use protocol::plan::Keep;

    /// M10, in every family and part, with and without dropout. Sums over blocks of an encoder-decoder come in another order.
    #[test]
    fn blocks_that_are_computed_again_have_the_same_losses_and_gradients() {
        for (name, config) in families() {
            let weights = moved(&Config::new(Choices { dropout: 0.2, ..config.choices().clone() }).unwrap());
            let batch = Batch::pack(&[7, 2, 11, 1].map(|n| record(&config, n)), 12);
            for seed in [None, Some(5)] {
                let (losses, plain) = weights.gradient(&batch, seed).unwrap();
                let (same, again) = weights.gradient_keeping(&batch, seed, Keep::Inputs).unwrap();
                assert_eq!(losses, same, "{name}");
                for p in weights.table().iter() {
                    let apart = plain[p.range()].iter().zip(&again[p.range()]).map(|(a, b)| (a - b).abs() / (1.0 + a.abs()));
                    assert!(apart.fold(0.0, f32::max) <= 1e-5, "{name}: {}", p.name);
                }
            }
        }
    }

    #[test]
    fn without_a_backward_pass_nothing_is_computed_twice() {
        let config = families().swap_remove(0).1;
        let (weights, batch) = (moved(&config), Batch::pack(&[record(&config, 5)], 12));
        let scores = |keep| {
            let model = Transformer::load(&weights).unwrap().keeping(keep);
            let scores = model.forward(&batch, &Tape::off()).unwrap();
            assert!(!scores.track_op());
            scores.to_vec2::<f32>().unwrap()
        };
        assert_eq!(scores(Keep::Inputs), scores(Keep::Everything));
    }
}

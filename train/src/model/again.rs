//! A block that is computed twice: in the forward pass nothing of its inside is kept, in the backward pass it is computed again from its
//! inputs (Chen et al. 2016, arXiv 1604.06174; training.md M10). What dropout left out is left out again, for it is drawn from a seed.
//!
//! Without it every linear layer's input stays in memory until the backward pass has reached it, also where nothing of the layer is
//! trained: under an adapter that is nearly all the memory of a step.

use super::block::{Block, Scene};
use crate::batch::Spans;
use crate::capture::Tape;
use crate::ops::ready::{back_again, recorded};
use candle_core::{Result, Tensor, bail};
use std::sync::Arc;

/// One block over one batch. Inputs: what enters the block `(N, C)`; then, where there is one, what the other stack has read `(M, C)`;
/// then, where there is one, what scores are raised by.
struct Again {
    block: Arc<Block>,
    spans: Spans,
    prefix: Option<Arc<[usize]>>,
    memory: Option<Spans>,
    tape: Tape,
}

/// Runs the block; recorded if one of its inputs is tracked.
pub(super) fn forward(block: &Arc<Block>, x: &Tensor, scene: Scene<'_>) -> Result<Tensor> {
    let inputs: Vec<&Tensor> = [Some(x), scene.memory.map(|(memory, _)| memory), scene.bias].into_iter().flatten().collect();
    if !inputs.iter().any(|t| t.track_op()) {
        return block.forward(x, scene);
    }
    let op = Again {
        block: Arc::clone(block),
        spans: scene.spans.clone(),
        prefix: scene.prefix.cloned(),
        memory: scene.memory.map(|(_, spans)| spans.clone()),
        tape: scene.tape.clone(),
    };
    let untracked: Vec<Tensor> = inputs.iter().map(|t| t.detach()).collect();
    let first = op.run(&untracked, &scene.tape.unheard())?;
    // What is trained inside is recorded on the tape in the backward pass.
    recorded("block-again", &inputs, first, move |inputs, grad| back_again(inputs, grad, |read| op.run(read, &op.tape)))
}

impl Again {
    fn run(&self, inputs: &[Tensor], tape: &Tape) -> Result<Tensor> {
        let mut inputs = inputs.iter();
        let Some(x) = inputs.next() else { bail!("a block without an input") };
        let memory = self.memory.as_ref().and_then(|spans| Some((inputs.next()?, spans)));
        let bias = inputs.next();
        self.block.forward(x, Scene { spans: &self.spans, tape, prefix: self.prefix.as_ref(), bias, memory })
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

//! One model for each worker, where that worker's models live. Knows no unit: who reads which records is the workers' affair.

use super::{Objective, Transformer, TransformerWeights};
use crate::batch::Batch;
use crate::capture::Tape;
use crate::device;
use crate::workers::Workers;
use candle_core::{Result, Tensor, bail};
use protocol::plan::Keep;

/// The same model on every device of these workers; one for all of them where it lives on the processor.
pub(crate) struct Replicas(Vec<Transformer>);

impl Replicas {
    /// Copies the weights to where each worker's models live.
    ///
    /// # Errors
    /// The tensor engine's.
    pub(crate) fn load(weights: &TransformerWeights, workers: &Workers, keep: Keep) -> Result<Self> {
        let sites = workers.sites();
        let models = if sites.is_empty() {
            vec![Transformer::load(weights)?]
        } else {
            sites.into_iter().map(|site| Transformer::load_at(weights, site)).collect::<Result<_>>()?
        };
        Ok(Self(models.into_iter().map(|model| model.keeping(keep)).collect()))
    }

    /// Leaves numbers out at the model's rate, drawn from this seed; nothing without one.
    pub(crate) fn dropping(self, seed: Option<u64>) -> Self {
        Self(self.0.into_iter().map(|model| model.dropping(seed)).collect())
    }

    /// The one of this thread's worker.
    ///
    /// # Errors
    /// Never: there is at least one.
    pub(crate) fn mine(&self) -> Result<&Transformer> {
        let [first, rest @ ..] = &self.0[..] else { bail!("no model was loaded") };
        Ok(device::number().checked_sub(1).and_then(|others| rest.get(others)).unwrap_or(first))
    }
}

impl Objective for Replicas {
    fn losses(&self, batch: &Batch, tape: &Tape) -> Result<Tensor> {
        self.mine()?.losses(batch, tape)
    }
}

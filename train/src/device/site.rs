//! A device that holds whole models.

use crate::direct::Precision;
use crate::model::Outside;
use crate::model::outside::Frozen;
use candle_core::{DType, Device, Result, Tensor};
use protocol::ids::Sha256;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Where a worker's models live, and how factors of their products are rounded.
pub struct Site {
    device: Device,
    precision: Precision,
    /// Most records that were found to fit its memory at once.
    most: AtomicUsize,
    /// Frozen tensors of checkpoints, brought here once.
    outside: Mutex<BTreeMap<(Sha256, String), Tensor>>,
}

impl Site {
    pub(super) fn new(device: Device, precision: Precision) -> Self {
        Self { device, precision, most: AtomicUsize::new(usize::MAX), outside: Mutex::default() }
    }

    /// The tensor engine's name of it.
    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    /// A factor of a product, rounded where the precision asks for it. Sums, norms, softmax, losses and weights stay in 32 bits
    /// (training.md M11).
    pub(crate) fn factor(&self, x: &Tensor) -> Result<Tensor> {
        match self.precision {
            Precision::F32 => Ok(x.clone()),
            Precision::Bf16 => x.to_dtype(DType::BF16),
        }
    }

    /// Most records that were found to fit at once.
    pub(super) fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }

    /// From here on no more than so many are tried.
    pub(super) fn at_most(&self, records: usize) {
        self.most.fetch_min(records, Ordering::Relaxed);
    }

    /// A tensor of a checkpoint, here. It is brought once and stays as long as the site.
    pub(crate) fn bring(&self, outside: &Outside, name: &str, tensor: &Frozen) -> Result<Tensor> {
        let mut kept = self.outside.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (outside.checkpoint(), name.to_owned());
        if let Some(there) = kept.get(&key) {
            return Ok(there.clone());
        }
        let there = tensor.on(&self.device)?;
        kept.insert(key, there.clone());
        Ok(there)
    }
}

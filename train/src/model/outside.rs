//! Tensors that no snapshot holds: those of a published checkpoint that nobody trains. In memory once, shared by all steps and rounds of a task.
//! Knows no file.

use candle_core::Tensor;
use protocol::ids::Sha256;
use std::collections::BTreeMap;

/// The frozen tensors of a checkpoint, by name.
pub struct Outside {
    tensors: BTreeMap<String, Tensor>,
    checkpoint: Sha256,
}

impl Outside {
    /// Tensors of the checkpoint whose weights have this digest.
    pub(crate) fn new(checkpoint: Sha256, tensors: BTreeMap<String, Tensor>) -> Self {
        Self { tensors, checkpoint }
    }
    /// Digest of the checkpoint that the tensors are of.
    pub(crate) fn checkpoint(&self) -> Sha256 {
        self.checkpoint
    }
    pub(crate) fn find(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }
    /// How many.
    pub(crate) fn len(&self) -> usize {
        self.tensors.len()
    }
}

/// The same tensors of the same file.
impl PartialEq for Outside {
    fn eq(&self, other: &Self) -> bool {
        self.checkpoint == other.checkpoint && self.tensors.keys().eq(other.tensors.keys())
    }
}

impl std::fmt::Debug for Outside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Outside({} tensors of {})", self.tensors.len(), self.checkpoint)
    }
}

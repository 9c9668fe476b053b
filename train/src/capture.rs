//! What one backward pass leaves behind for per-unit gradients: each layer's input and output gradient. Knows no clipping and no noise.
//!
//! The tape is written by the operations' backward passes. A parameter that no operation reports would be trained on noise alone, or
//! left out of the clip norm; finishing a tape therefore counts the coordinates and refuses if one is missing (privacy.md D35).

use crate::batch::Spans;
use crate::model::parameters::ParameterTable;
use candle_core::backprop::GradStore;
use candle_core::{Tensor, Var};
use std::sync::{Arc, Mutex, PoisonError};

/// Input and output gradient of one layer that has parameters.
pub(crate) enum Capture {
    /// Input `(N, D)`, gradient `(N, P)`; the unit's weight gradient is gradientᵀ · input.
    Linear { offsets: (usize, usize), spans: Spans, input: Tensor, grad: Tensor },
    /// Normalised input `(N, C)`, gradient `(N, C)`.
    Norm { offsets: (usize, usize), spans: Spans, input: Tensor, grad: Tensor },
}

impl Capture {
    /// Coordinates of the flat vector that this layer owns, as (offset, length).
    fn covers(&self) -> candle_core::Result<[(usize, usize); 2]> {
        Ok(match self {
            Self::Linear { offsets, input, grad, .. } => {
                let (d, p) = (input.dims2()?.1, grad.dims2()?.1);
                [(offsets.0, p * d), (offsets.1, p)]
            }
            Self::Norm { offsets, input, .. } => {
                let c = input.dims2()?.1;
                [(offsets.0, c), (offsets.1, c)]
            }
        })
    }
}

/// Everything that per-unit gradients of one batch are made of.
pub(crate) struct Captures {
    pub(crate) layers: Vec<Capture>,
    /// Gradient `(N, C)` of the embedded tokens: token and position tables both get their rows from it.
    pub(crate) embedded: Tensor,
}

/// Why a backward pass cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaptureError {
    /// A trainable parameter got no gradient, or two.
    #[error("parameter at coordinate {at} has {found} gradients, expected 1")]
    NotOnce {
        /// First coordinate of the parameter.
        at: usize,
        /// Gradients found.
        found: usize,
    },
    /// Nothing reached the embeddings.
    #[error("the backward pass did not reach the embeddings")]
    NoSource,
    /// The tensor engine failed.
    #[error("the tensor engine failed")]
    Engine(#[from] candle_core::Error),
}

#[derive(Default)]
struct Recorder {
    layers: Mutex<Vec<Capture>>,
    source: Mutex<Option<Var>>,
}

/// Handed through the forward pass; off during evaluation.
#[derive(Clone, Default)]
pub struct Tape(Option<Arc<Recorder>>);

impl Tape {
    /// Records nothing, so that no graph is kept.
    pub fn off() -> Self {
        Self(None)
    }
    /// Records one forward and backward pass.
    pub(crate) fn on() -> Self {
        Self(Some(Arc::default()))
    }

    pub(crate) fn push(&self, capture: Capture) {
        if let Some(recorder) = &self.0 {
            recorder.layers.lock().unwrap_or_else(PoisonError::into_inner).push(capture);
        }
    }

    /// Marks where gradients shall end. Without a variable upstream the engine would record nothing, and say nothing.
    pub(crate) fn source(&self, x: Tensor) -> candle_core::Result<Tensor> {
        let Some(recorder) = &self.0 else { return Ok(x) };
        let var = Var::from_tensor(&x)?;
        let tracked = var.as_tensor().clone();
        *recorder.source.lock().unwrap_or_else(PoisonError::into_inner) = Some(var);
        Ok(tracked)
    }

    /// Takes the captures after the backward pass.
    ///
    /// # Errors
    /// [`CaptureError`] if any trainable parameter of `table` has no gradient, or more than one.
    pub(crate) fn finish(&self, grads: &GradStore, table: &ParameterTable) -> Result<Captures, CaptureError> {
        let recorder = self.0.as_ref().ok_or(CaptureError::NoSource)?;
        let source = recorder.source.lock().unwrap_or_else(PoisonError::into_inner).take().ok_or(CaptureError::NoSource)?;
        let embedded = grads.get(source.as_tensor()).ok_or(CaptureError::NoSource)?.contiguous()?;
        let layers = std::mem::take(&mut *recorder.layers.lock().unwrap_or_else(PoisonError::into_inner));
        let mut covered = Vec::with_capacity(2 * layers.len());
        for layer in &layers {
            covered.extend(layer.covers()?);
        }
        for parameter in table.after_embeddings() {
            let found = covered.iter().filter(|&&c| c == (parameter.offset, parameter.len())).count();
            if found != 1 {
                return Err(CaptureError::NotOnce { at: parameter.offset, found });
            }
        }
        Ok(Captures { layers, embedded })
    }
}

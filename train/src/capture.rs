//! What one backward pass leaves behind for per-unit gradients: each layer's input and output gradient. Knows no clipping and no noise.
//!
//! The tape is written by the operations' backward passes. A parameter that no operation reports would be trained on noise alone, or
//! left out of the clip norm; finishing a tape therefore counts the uses of every parameter and refuses if one is missing (privacy.md D35).

use crate::batch::{Batch, Spans};
use crate::clip::total;
use crate::model::parameters::{Access, Parameter, ParameterTable};
use crate::ops::dropout::{self, Keys};
use candle_core::backprop::GradStore;
use candle_core::{Device, Tensor, Var};
use protocol::hash::sha256;
use std::sync::{Arc, Mutex, PoisonError};

/// Rows that tokens look up in a table.
#[derive(Clone)]
pub(crate) struct Lookup {
    /// Where the table begins in the trained vector.
    pub(crate) at: usize,
    /// Its rows.
    pub(crate) rows: usize,
    /// The row that each of the N tokens reads.
    pub(crate) ids: Arc<[usize]>,
}

/// What the gradient of one parameter is made of, on the processor wherever it was computed. `at` is its first coordinate in the trained
/// vector.
pub(crate) enum Capture {
    /// A matrix `(P, D)`: input `(N, D)`, gradient `(N, P)`; a record's part is gradientᵀ · input over its rows.
    Product { at: usize, spans: Spans, input: Tensor, grad: Tensor },
    /// A bias, gain or shift: the gradient of each record `(B, width)`.
    Vector { at: usize, width: usize, values: Arc<[f32]> },
    /// A table `(rows, C)`: row t of the gradient `(N, C)` belongs to row `ids[t]`.
    Rows { lookup: Lookup, spans: Spans, grad: Tensor },
}

impl Capture {
    /// Coordinates that this is the gradient of, as (first, how many), and whether it is of looked-up rows.
    fn covers(&self) -> candle_core::Result<(usize, usize, bool)> {
        Ok(match self {
            Self::Product { at, input, grad, .. } => (*at, input.dims2()?.1 * grad.dims2()?.1, false),
            Self::Vector { at, width, .. } => (*at, *width, false),
            Self::Rows { lookup, grad, .. } => (lookup.at, lookup.rows * grad.dims2()?.1, true),
        })
    }
}

/// Everything that per-unit gradients of one batch are made of.
pub(crate) struct Captures {
    pub(crate) layers: Vec<Capture>,
}

/// Why a backward pass cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaptureError {
    /// A trainable parameter got another number of gradients than operations read it.
    #[error("parameter at coordinate {at} has {found} gradients, expected {expected}")]
    Count {
        /// First coordinate of the parameter.
        at: usize,
        /// Gradients found.
        found: usize,
        /// One, or two for a token table that is also the output head.
        expected: usize,
    },
    /// Nothing reached the embeddings.
    #[error("the backward pass did not reach the embeddings")]
    NoSource,
    /// The tensor engine failed.
    #[error("the tensor engine failed")]
    Engine(#[from] candle_core::Error),
}

/// What becomes of a layer's gradient when it is known.
enum Keep {
    /// Kept apart for each unit.
    Captures(Vec<Capture>),
    /// Added up over all records at once, as training without privacy does. Only for measuring what privacy costs.
    Total { flat: Vec<f32>, uses: Vec<(usize, usize, bool)> },
}

/// Where gradients end, and the tables whose rows were looked up there.
struct Source {
    var: Var,
    spans: Spans,
    lookups: Vec<Lookup>,
}

struct Recorder {
    keep: Mutex<Keep>,
    /// One in a plain model; an encoder-decoder whose lower layers are frozen has one on each side, a table of distances one of its own.
    sources: Mutex<Vec<Source>>,
}

/// How many records one product may take. On the processor always one; on another device it decides which kernel runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Reach {
    /// All of a batch: only their sum is asked for.
    #[default]
    Batch,
    /// One: kernels see this record's shape only, so that no other record has a say in its gradient (privacy.md D19).
    Record,
}

/// Handed through the forward pass; off during evaluation.
#[derive(Clone, Default)]
pub struct Tape {
    recorder: Option<Arc<Recorder>>,
    /// Also of passes that are not recorded themselves, but belong to one that is.
    reach: Reach,
    /// What dropout is drawn from; none in evaluation.
    dropout_seed: Option<u64>,
    /// The same for each record of the batch under way.
    dropout_keys: Option<Keys>,
}

impl Tape {
    /// Records nothing, so that no graph is kept.
    pub fn off() -> Self {
        Self::default()
    }
    /// The same for computing without a backward pass: nothing is recorded, and what is dropped is dropped.
    pub(crate) fn unheard(&self) -> Self {
        Self { recorder: None, ..self.clone() }
    }
    /// The same, with dropout drawn from this seed. Models without a dropout rate take no notice.
    #[must_use]
    pub fn dropping(self, seed: u64) -> Self {
        Self { dropout_seed: Some(seed), ..self }
    }
    /// The tape of one batch: what is dropped of a record depends on the seed and on the record alone (privacy.md D19).
    pub(crate) fn of_batch(&self, batch: &Batch) -> Self {
        let le = |numbers: &[u32]| numbers.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>();
        let key = |seed: u64, (tokens, labels): (std::ops::Range<usize>, std::ops::Range<usize>)| {
            let (tokens, labels) = (le(&batch.tokens[tokens]), le(&batch.labels[labels]));
            let length = (tokens.len() as u64).to_le_bytes();
            sha256(&[&seed.to_le_bytes(), &length, &tokens, &labels])
        };
        let records = || batch.spans.iter().zip(batch.label_spans.iter());
        Self { dropout_keys: self.dropout_seed.map(|seed| records().map(|r| key(seed, r)).collect()), ..self.clone() }
    }
    /// Leaves numbers of `(N, C)` out in training; `site` numbers the place in the model.
    pub(crate) fn drop_out(&self, x: &Tensor, rate: f32, site: u64, spans: &Spans) -> candle_core::Result<Tensor> {
        match &self.dropout_keys {
            Some(keys) if rate > 0.0 => dropout::dropout(x, rate, site, keys, spans),
            Some(_) | None => Ok(x.clone()),
        }
    }
    /// Records one forward and backward pass.
    pub(crate) fn on() -> Self {
        Self { reach: Reach::Record, ..Self::keeping(Keep::Captures(Vec::new())) }
    }
    /// How many records one product may take.
    pub(crate) fn reach(&self) -> Reach {
        self.reach
    }
    /// Records only the gradient of the whole batch, of `dimension` coordinates.
    pub(crate) fn total(dimension: usize) -> Self {
        Self::keeping(Keep::Total { flat: vec![0.0; dimension], uses: Vec::new() })
    }
    fn keeping(keep: Keep) -> Self {
        let recorder = Recorder { keep: Mutex::new(keep), sources: Mutex::new(Vec::new()) };
        Self { recorder: Some(Arc::new(recorder)), ..Self::default() }
    }

    pub(crate) fn push(&self, capture: Capture) -> candle_core::Result<()> {
        let Some(recorder) = &self.recorder else { return Ok(()) };
        match &mut *recorder.keep.lock().unwrap_or_else(PoisonError::into_inner) {
            Keep::Captures(layers) => layers.push(capture),
            Keep::Total { flat, uses } => {
                uses.push(capture.covers()?);
                total::add(flat, &capture)?;
            }
        }
        Ok(())
    }

    /// Marks where gradients shall end. Without a variable upstream the engine would record nothing, and say nothing.
    pub(crate) fn source(&self, x: Tensor, spans: &Spans, lookups: Vec<Lookup>) -> candle_core::Result<Tensor> {
        let Some(recorder) = &self.recorder else { return Ok(x) };
        let var = Var::from_tensor(&x)?;
        let tracked = var.as_tensor().clone();
        let source = Source { var, spans: spans.clone(), lookups };
        recorder.sources.lock().unwrap_or_else(PoisonError::into_inner).push(source);
        Ok(tracked)
    }

    /// Makes `x` a place where gradients end, if what comes next is trained and nothing before it was: below it there is no backward pass,
    /// and what was computed there is not kept.
    pub(crate) fn begin(&self, x: Tensor, trained: bool, spans: &Spans) -> candle_core::Result<Tensor> {
        if trained && !x.track_op() { self.source(x, spans, Vec::new()) } else { Ok(x) }
    }

    /// Brings the looked-up rows in, and takes what was kept.
    fn take(&self, grads: &GradStore) -> Result<Keep, CaptureError> {
        let recorder = self.recorder.as_ref().ok_or(CaptureError::NoSource)?;
        let sources = std::mem::take(&mut *recorder.sources.lock().unwrap_or_else(PoisonError::into_inner));
        if sources.is_empty() {
            return Err(CaptureError::NoSource);
        }
        for source in sources {
            let grad = grads.get(source.var.as_tensor()).ok_or(CaptureError::NoSource)?;
            if source.lookups.is_empty() {
                continue; // gradients only end here: nobody reads them
            }
            let grad = grad.to_device(&Device::Cpu)?.contiguous()?;
            for lookup in source.lookups {
                self.push(Capture::Rows { lookup, spans: source.spans.clone(), grad: grad.clone() })?;
            }
        }
        let mut keep = recorder.keep.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(std::mem::replace(&mut *keep, Keep::Captures(Vec::new())))
    }

    /// Takes the captures after the backward pass.
    ///
    /// # Errors
    /// [`CaptureError`] if any trainable parameter of `table` has no gradient, or more than operations read it.
    pub(crate) fn finish(&self, grads: &GradStore, table: &ParameterTable) -> Result<Captures, CaptureError> {
        match self.take(grads)? {
            Keep::Captures(layers) => {
                let uses: Vec<_> = layers.iter().map(Capture::covers).collect::<candle_core::Result<_>>()?;
                table.iter().try_for_each(|p| check(p, &uses))?;
                Ok(Captures { layers })
            }
            Keep::Total { .. } => Err(CaptureError::NoSource),
        }
    }

    /// Takes the gradient of the whole batch after the backward pass.
    ///
    /// # Errors
    /// As [`Self::finish`].
    pub(crate) fn finish_total(&self, grads: &GradStore, table: &ParameterTable) -> Result<Vec<f32>, CaptureError> {
        match self.take(grads)? {
            Keep::Total { flat, uses } => {
                table.iter().try_for_each(|p| check(p, &uses))?;
                Ok(flat)
            }
            Keep::Captures(_) => Err(CaptureError::NoSource),
        }
    }
}

/// Every parameter has exactly the gradients that its operations make.
fn check(parameter: &Parameter, uses: &[(usize, usize, bool)]) -> Result<(), CaptureError> {
    let (at, len) = (parameter.offset, parameter.len());
    let of = |rows: bool| uses.iter().filter(|&&u| u == (at, len, rows)).count();
    let (whole, rows) = match parameter.access {
        Access::Whole => (1, 0),
        Access::Rows => (0, 1),
        Access::RowsAndWhole => (1, 1),
    };
    if (of(false), of(true)) == (whole, rows) {
        return Ok(());
    }
    Err(CaptureError::Count { at, found: of(false) + of(true), expected: whole + rows })
}

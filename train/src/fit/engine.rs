//! One pass over some records: by the passes that are written out, or by the layers' graph where workers have devices that hold models and for
//! models that have no such passes. Both give the same losses and gradients up to the order of sums.

use super::FitError;
use super::order::{Item, reading, records};
use crate::batch::{Batch, Spans};
use crate::capture::{CaptureError, Tape};
use crate::direct::{Aims, Direct, DirectError, Reading, Scratch};
use crate::kernels::sums;
use crate::model::parameters::size;
use crate::model::{Decoder, ParameterTable, Transformer};
use crate::ops::token_loss::token_loss;
use candle_core::Tensor;

/// The layers' graph of one model, on one device.
pub(super) enum Graph {
    Decoder(Box<Decoder>),
    Encoder(Box<Transformer>),
}

/// Who computes, with the weights of the step.
#[derive(Clone, Copy)]
pub(super) enum Engine<'a> {
    /// Passes without a graph, and the weights as their products see them.
    Direct(&'a Direct, &'a [f32]),
    /// One graph for each worker, or one for all of them.
    Graphs(&'a [Graph], &'a ParameterTable),
}

/// Records of one pass, and how many tokens of each are read at most.
pub(super) type Read<'a> = (&'a [Item<'a>], usize);

/// What one pass found about its records.
pub(super) struct Passed {
    /// In nats: of a record, or the mean over the tokens that it is asked for.
    pub(super) losses: Vec<f64>,
    /// Where classes are told apart a row for each record, where tags are a row for each token; else none.
    pub(super) scores: Vec<Vec<f32>>,
}

impl Graph {
    /// Losses `(B)`, and the scores that they are of.
    fn pass(&self, (items, max_tokens): Read<'_>, tape: &Tape) -> Result<(Tensor, Tensor), FitError> {
        match self {
            Self::Decoder(model) => {
                let reading = reading(items, max_tokens);
                let Aims::Next(next) = reading.aims() else { return Err(DirectError::OtherFamily.into()) };
                let scores = model.forward(&rows_of(&reading), tape)?;
                let answers = next.iter().map(|&token| Some(size(token))).collect();
                Ok((token_loss(&scores, reading.spans(), answers)?, scores))
            }
            Self::Encoder(model) => Ok(model.losses_and_scores(&Batch::pack(records(items), max_tokens), tape)?),
        }
    }

    /// Losses, and the gradient of `Σ share · loss`, added to `grad`.
    fn gradient(&self, table: &ParameterTable, read: Read<'_>, share: f32, grad: &mut [f32]) -> Result<Vec<f64>, FitError> {
        let tape = Tape::total(grad.len());
        let (losses, _) = self.pass(read, &tape)?;
        let grads = (losses.sum_all()? * f64::from(share))?.backward()?;
        let flat = tape.finish_total(&grads, table)?;
        sums::add(grad, &flat);
        wide_losses(&losses)
    }
}

/// As a decoder's layers read it; what is foretold stays here.
fn rows_of(reading: &Reading) -> Batch {
    let records = reading.records();
    let label_spans = Spans::of(std::iter::repeat_n(0, records));
    Batch { tokens: reading.tokens().to_vec(), spans: reading.spans().clone(), classes: vec![0; records], labels: Vec::new(), label_spans }
}

fn wide_losses(losses: &Tensor) -> Result<Vec<f64>, FitError> {
    Ok(losses.to_vec1::<f32>()?.into_iter().map(f64::from).collect())
}

/// The graph of the worker of this number.
fn graph(graphs: &[Graph], number: usize) -> Result<&Graph, FitError> {
    graphs.get(number).or_else(|| graphs.first()).ok_or(FitError::Model)
}

impl Engine<'_> {
    /// Coordinates of the model.
    pub(super) fn dimension(self) -> usize {
        match self {
            Self::Direct(_, weights) => weights.len(),
            Self::Graphs(_, table) => table.len(),
        }
    }

    /// Losses, and the gradient of `Σ share · loss`, added to `grad`; `number` is the worker's. Graphs leave `grad` as it was after an error; passes
    /// that are written out may leave a part of the gradient behind.
    pub(super) fn gradient(
        self,
        number: usize,
        (items, max_tokens): Read<'_>,
        share: f32,
        (scratch, grad): (&mut Scratch, &mut [f32]),
    ) -> Result<Vec<f64>, FitError> {
        match self {
            Self::Direct(direct, weights) => Ok(direct.gradient(weights, (&reading(items, max_tokens), share), scratch, grad)?),
            // The engine records nothing for tensors without numbers.
            Self::Graphs(..) if items.iter().all(|item| item.rows(max_tokens) == 0) => Ok(vec![0.0; items.len()]),
            Self::Graphs(graphs, table) => graph(graphs, number)?.gradient(table, (items, max_tokens), share, grad),
        }
    }

    /// Losses, and the scores of `choices` classes or tags; no scores of a model of tokens.
    pub(super) fn passed(
        self,
        number: usize,
        (items, max_tokens): Read<'_>,
        choices: usize,
        scratch: &mut Scratch,
    ) -> Result<Passed, FitError> {
        match self {
            Self::Direct(direct, weights) => {
                let losses = direct.losses(weights, &reading(items, max_tokens), scratch)?;
                let scored = if choices > 0 { losses.len() } else { 0 };
                let scores = (0..scored).map(|i| scratch.row(i, choices).to_vec()).collect();
                Ok(Passed { losses, scores })
            }
            Self::Graphs(graphs, _) => {
                let (losses, scores) = graph(graphs, number)?.pass((items, max_tokens), &Tape::off())?;
                let scores = if choices > 0 { scores.to_vec2()? } else { Vec::new() };
                Ok(Passed { losses: wide_losses(&losses)?, scores })
            }
        }
    }
}

impl FitError {
    /// What the engine said, if it said of a graph that a device's memory is full; else the same again. What passes that are written out leave
    /// behind would be counted twice if they were tried again.
    pub(super) fn out_of_memory(self) -> Result<candle_core::Error, Self> {
        match self {
            Self::Capture(CaptureError::Engine(e)) if crate::device::is_out_of_memory(&e) => Ok(e),
            Self::Data(_) | Self::Optimiser(_) | Self::Nothing | Self::Model | Self::Diverged | Self::Capture(_) | Self::Memory(_) => {
                Err(self)
            }
        }
    }
}

impl From<candle_core::Error> for FitError {
    fn from(error: candle_core::Error) -> Self {
        Self::Capture(CaptureError::Engine(error))
    }
}

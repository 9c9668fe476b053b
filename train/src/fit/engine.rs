//! Who computes a pass: the direct passes on the processor, or, where workers have devices that hold models, the layers' graph on them. Both
//! give the same losses and gradients up to the order of sums.

use super::FitError;
use crate::batch::{Batch, Spans};
use crate::capture::{CaptureError, Tape};
use crate::direct::{Aims, Direct, DirectError, Keep, Reading, Scratch};
use crate::model::config::Config;
use crate::model::parameters::{Values, size};
use crate::model::{Decoder, DecoderConfig, ParameterTable, Trained, Transformer};
use crate::ops::loss::cross_entropy;
use crate::ops::token_loss::token_loss;
use crate::workers::Workers;
use candle_core::Tensor;
use protocol::plan::EncoderConfig;

/// Which model is trained.
#[derive(Clone, Debug)]
pub(super) enum Family {
    Decoder(Box<DecoderConfig>),
    Encoder(Box<EncoderConfig>),
}

/// The model of one device.
pub(super) enum Graph {
    Decoder(Box<Decoder>),
    Encoder(Box<Transformer>),
}

/// Who computes.
#[derive(Clone, Copy)]
pub(super) enum Engine<'a> {
    Direct(&'a Direct),
    /// One graph for each worker.
    Graphs(&'a [Graph], &'a ParameterTable),
}

/// What one pass found about its records: losses in nats, and where classes are told apart their scores, `classes` for each record.
pub(super) struct Passed {
    pub(super) losses: Vec<f64>,
    pub(super) scores: Vec<f32>,
}

impl Family {
    /// The model on every device that holds models; nothing where the processor computes.
    pub(super) fn graphs(&self, flat: (&ParameterTable, &[f32]), workers: &Workers, keep: Keep) -> Result<Vec<Graph>, FitError> {
        let load = |site| -> Result<Graph, FitError> {
            let values = Values { trained: flat, frozen: None, outside: None, site: Some(site) };
            Ok(match self {
                Self::Decoder(config) => Graph::Decoder(Box::new(Decoder::of(config, values)?.keeping(keep))),
                Self::Encoder(config) => {
                    let config = Config::of_plan(config, Trained::Kept).map_err(|_| FitError::Model)?;
                    Graph::Encoder(Box::new(Transformer::of(config, values)?.keeping(keep)))
                }
            })
        };
        workers.sites().into_iter().map(load).collect()
    }
}

impl Graph {
    fn scores(&self, reading: &Reading, tape: &Tape) -> candle_core::Result<Tensor> {
        let batch = reading.batch();
        match self {
            Self::Decoder(model) => model.forward(&batch, tape),
            Self::Encoder(model) => model.forward(&batch, tape),
        }
    }

    /// Loss of each record `(B)`.
    fn losses(scores: &Tensor, reading: &Reading) -> candle_core::Result<Tensor> {
        match reading.aims() {
            Aims::Classes(classes) => cross_entropy(scores, classes),
            Aims::Next(next) => token_loss(scores, reading.spans(), next.iter().map(|&t| Some(size(t))).collect()),
        }
    }

    /// Losses, and the gradient of `Σ share · loss`, added to `grad`.
    fn gradient(&self, table: &ParameterTable, (reading, share): (&Reading, f32), grad: &mut [f32]) -> Result<Vec<f64>, FitError> {
        let tape = Tape::total(grad.len());
        let losses = Self::losses(&self.scores(reading, &tape)?, reading)?;
        let grads = (losses.sum_all()? * f64::from(share))?.backward()?;
        let flat = tape.finish_total(&grads, table)?;
        crate::kernels::sums::add(grad, &flat);
        wide_losses(&losses)
    }
}

fn wide_losses(losses: &Tensor) -> Result<Vec<f64>, FitError> {
    Ok(losses.to_vec1::<f32>()?.into_iter().map(f64::from).collect())
}

impl Engine<'_> {
    /// Losses, and the gradient of `Σ share · loss`, added to `grad`; `number` is the worker's. After an error of memory `grad` is as it was.
    pub(super) fn gradient(
        &self,
        (number, weights): (usize, &[f32]),
        reading: (&Reading, f32),
        scratch: &mut Scratch,
        grad: &mut [f32],
    ) -> Result<Vec<f64>, FitError> {
        match self {
            Self::Direct(direct) => Ok(direct.gradient(weights, reading, scratch, grad)?),
            Self::Graphs(graphs, table) => graph(graphs, number)?.gradient(table, reading, grad),
        }
    }

    /// Losses and scores of `classes` classes.
    pub(super) fn losses(
        &self,
        (number, weights): (usize, &[f32]),
        reading: &Reading,
        scratch: &mut Scratch,
        classes: usize,
    ) -> Result<Passed, FitError> {
        match self {
            Self::Direct(direct) => {
                let losses = direct.losses(weights, reading, scratch)?;
                let scores = (0..losses.len()).flat_map(|i| scratch.row(i, classes)).copied().collect();
                Ok(Passed { losses, scores })
            }
            Self::Graphs(graphs, _) => {
                let scores = graph(graphs, number)?.scores(reading, &Tape::off())?;
                let losses = wide_losses(&Graph::losses(&scores, reading)?)?;
                let scores = if classes > 0 { scores.flatten_all()?.to_vec1()? } else { Vec::new() };
                Ok(Passed { losses, scores })
            }
        }
    }
}

fn graph(graphs: &[Graph], number: usize) -> Result<&Graph, FitError> {
    graphs.get(number).ok_or(FitError::Model)
}

impl FitError {
    /// What the engine said, if it said that a device's memory is full; else the same again.
    pub(super) fn out_of_memory(self) -> Result<candle_core::Error, Self> {
        match self {
            Self::Data(DirectError::Engine(e)) | Self::Capture(CaptureError::Engine(e)) if crate::device::is_out_of_memory(&e) => Ok(e),
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

impl Reading {
    /// As layers read it; what is foretold stays here.
    fn batch(&self) -> Batch {
        let labels = Spans::of(std::iter::repeat_n(0, self.records()));
        let classes = match self.aims() {
            Aims::Classes(classes) => classes.clone(),
            Aims::Next(_) => vec![0; self.records()],
        };
        Batch { tokens: self.tokens().to_vec(), spans: self.spans().clone(), classes, labels: Vec::new(), label_spans: labels }
    }
}

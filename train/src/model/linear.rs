//! A linear layer: every output is a weighted sum of all inputs, plus a constant. Most of a Transformer's weights live in these.

use super::lora::{self, Adapter, Lora};
use super::parameters::{Listing, Loaded, Start, Values};
use crate::batch::Spans;
use crate::capture::Tape;
use crate::ops;
use candle_core::{Result, Tensor};

/// `y = x Wᵀ + b`, plus what an adapter adds.
pub struct Linear {
    weight: Loaded,                // (out, in)
    bias: Option<Loaded>,          // (out)
    adapter: Option<Box<Adapter>>, // boxed: its factors are linear layers themselves
}

/// How far random weights spread so that the output is about as large as the input, times `gain`.
pub(crate) fn spread(inputs: usize, gain: f32) -> Start {
    #[expect(clippy::cast_precision_loss, reason = "a width is far below 2^24")]
    let deviation = gain / (inputs as f32).sqrt();
    Start::Spread(deviation)
}

/// Lists the layer's parameters.
pub(crate) fn declare(path: &str, inputs: usize, outputs: usize, gain: f32, listing: &mut Listing) {
    listing.add(format!("{path}.weight"), &[outputs, inputs], spread(inputs, gain));
    listing.add(format!("{path}.bias"), &[outputs], Start::Zero);
}

/// Lists them with those of an adapter.
pub(crate) fn declare_adapted(path: &str, size: (usize, usize), gain: f32, adapter: Option<Lora>, listing: &mut Listing) {
    declare(path, size.0, size.1, gain, listing);
    if let Some(adapter) = adapter {
        lora::declare(path, size, adapter, listing);
    }
}

impl Linear {
    pub(crate) fn load(path: &str, values: Values<'_>) -> Result<Self> {
        Self::load_adapted(path, None, values)
    }

    pub(crate) fn load_adapted(path: &str, adapter: Option<Lora>, values: Values<'_>) -> Result<Self> {
        let bias = Some(values.load(&format!("{path}.bias"))?);
        let adapter = adapter.map(|adapter| Adapter::load(path, adapter, values).map(Box::new)).transpose()?;
        Ok(Self { weight: values.load(&format!("{path}.weight"))?, bias, adapter })
    }

    /// Only a matrix: a factor of an adapter, or an output head.
    pub(crate) fn bare(name: &str, values: Values<'_>) -> Result<Self> {
        Ok(Self { weight: values.load(name)?, bias: None, adapter: None })
    }

    /// # Shape
    /// in `(N, in)`, out `(N, out)`.
    ///
    /// # Errors
    /// The tensor engine's, for a wrong shape.
    pub fn forward(&self, x: &Tensor, spans: &Spans, tape: &Tape) -> Result<Tensor> {
        let op = ops::linear::Linear { weight: self.weight.clone(), bias: self.bias.clone(), spans: spans.clone(), tape: tape.clone() };
        let y = ops::linear::linear(x, op)?; // (N, in) -> (N, out)
        match &self.adapter {
            Some(adapter) => y + adapter.forward(x, spans, tape)?,
            None => Ok(y),
        }
    }
}

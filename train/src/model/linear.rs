//! A linear layer: every output is a weighted sum of all inputs, plus a constant. Most of a Transformer's weights live in these.

use super::lora::{self, Adapter, Adapters};
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

/// Whether a linear layer adds a constant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Shift {
    /// Yes.
    #[default]
    Added,
    /// No.
    None,
}

/// What a linear layer has besides its size.
#[derive(Clone, Copy)]
pub(crate) struct LinearParts<'a> {
    /// How much larger than the input the output shall be at first.
    pub(crate) gain: f32,
    pub(crate) shift: Shift,
    pub(crate) adapter: Option<&'a Adapters>,
}

impl Default for LinearParts<'_> {
    fn default() -> Self {
        Self { gain: 1.0, shift: Shift::Added, adapter: None }
    }
}

/// How far random weights spread so that the output is about as large as the input, times `gain`.
pub(crate) fn spread(inputs: usize, gain: f32) -> Start {
    #[expect(clippy::cast_precision_loss, reason = "a width is far below 2^24")]
    let deviation = gain / (inputs as f32).sqrt();
    Start::Spread(deviation)
}

/// Lists the layer's parameters, with those of an adapter where it is one of the adapter's targets.
pub(crate) fn declare(path: &str, (inputs, outputs): (usize, usize), parts: LinearParts<'_>, listing: &mut Listing) {
    listing.add(format!("{path}.weight"), &[outputs, inputs], spread(inputs, parts.gain));
    match parts.shift {
        Shift::Added => listing.add(format!("{path}.bias"), &[outputs], Start::Zero),
        Shift::None => {}
    }
    if let Some(adapter) = parts.adapter.filter(|a| a.targets(path)) {
        lora::declare(path, (inputs, outputs), adapter, listing);
    }
}

impl Linear {
    /// With a bias and an adapter where the model has them.
    pub(crate) fn load(path: &str, adapter: Option<&Adapters>, values: Values<'_>) -> Result<Self> {
        let bias = format!("{path}.bias");
        let bias = values.has(&bias).then(|| values.load(&bias)).transpose()?;
        let adapted = adapter.filter(|_| values.has(&lora::factor_name(path, lora::Factor::A, 0)));
        let adapter = adapted.map(|adapter| Adapter::load(path, adapter, values).map(Box::new)).transpose()?;
        Ok(Self { weight: values.load(&format!("{path}.weight"))?, bias, adapter })
    }

    /// Only a matrix: a factor of an adapter, or an output head.
    pub(crate) fn bare(name: &str, values: Values<'_>) -> Result<Self> {
        Ok(Self { weight: values.load(name)?, bias: None, adapter: None })
    }

    /// The same with this shift.
    pub(crate) fn shifted(self, bias: Loaded) -> Self {
        Self { bias: Some(bias), ..self }
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

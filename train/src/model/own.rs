//! Concordat's own model: what a plan that begins from random weights asks for, as parts of a Transformer (training.md M1). Without a word more
//! than its sizes it is a classifier.

use super::config::{Activation, Choices, Family, FeedForwardKind, Inputs, MaskKind, NormPlace, Outputs, Positions, Scores, Shifts, Task};
use super::decoder::Head;
use super::names::Spelling;
use super::norm::NormKind;
use super::parameters::{ModelError, Trained};
use crate::ops::norm::EPSILON;
use protocol::plan::own::{self, OwnModel};
use protocol::plan::{Asks, EncoderConfig, Plan};

impl Choices {
    /// The parts that a plan names, and for the rest those that Concordat's classifier has.
    pub(crate) fn own(c: &EncoderConfig, classes: u32) -> Result<Self, ModelError> {
        if c.heads == 0 || !c.width.is_multiple_of(c.heads) {
            return Err(ModelError::Sizes { width: c.width, heads: c.heads });
        }
        let (own, asks) = (c.built(), c.asks());
        Ok(Self {
            family: family((asks, classes), &own),
            vocab: c.vocab,
            max_tokens: asks.places(c.max_tokens),
            width: c.width,
            heads: c.heads,
            groups: own.groups.unwrap_or(c.heads),
            head_width: c.width / c.heads,
            hidden: c.hidden,
            layers: c.layers,
            positions: positions(own.positions),
            segments: 0,
            stem: own.stem,
            norm: norm(own.norm),
            epsilon: EPSILON,
            place: place(own.norm_place),
            feed_forward: feed_forward(own.feed_forward),
            shifts: Shifts::All,
            scores: Scores::Scaled,
            mask: mask(asks, &own),
            window: own.window,
            dropout: rate(&own),
            inputs: Inputs::Plain,
            head: head(asks, &own),
            outputs: Outputs::Plain,
            spelling: Spelling::Own,
            adapter: None,
            trained: Trained::All,
            outside: None,
        })
    }
}

/// Which stacks answer what is asked.
fn family((asks, classes): (Asks, u32), own: &OwnModel) -> Family {
    match asks.family() {
        own::Family::Encoder => Family::Encoder(task(asks, classes)),
        own::Family::Decoder => Family::Decoder,
        own::Family::EncoderDecoder => {
            Family::EncoderDecoder { decoder_layers: own.decoder_layers.unwrap_or(0), start: own::START, end: own::END }
        }
    }
}

/// What an encoder answers.
fn task(asks: Asks, classes: u32) -> Task {
    match asks {
        Asks::Tags => Task::Tag { labels: asks.choices(classes) },
        Asks::MaskedTokens => Task::MaskedTokens,
        Asks::Class | Asks::NextToken | Asks::Answer | Asks::Translate => Task::Classify { classes },
    }
}

fn positions(told: own::Positions) -> Positions {
    match told {
        own::Positions::Learned => Positions::Learned,
        own::Positions::Sinusoidal => Positions::Sinusoidal,
        own::Positions::Rotary { theta } => Positions::Rotary { theta: f64::from(theta) },
    }
}

fn norm(told: own::Norm) -> NormKind {
    match told {
        own::Norm::Layer => NormKind::Layer,
        own::Norm::RootMeanSquare => NormKind::RootMeanSquare,
    }
}

fn place(told: own::NormPlace) -> NormPlace {
    match told {
        own::NormPlace::Before => NormPlace::Before,
        own::NormPlace::After => NormPlace::After,
    }
}

fn feed_forward(told: own::FeedForward) -> FeedForwardKind {
    match told {
        own::FeedForward::Gelu => FeedForwardKind::Plain(Activation::GeluTanh),
        own::FeedForward::Swiglu => FeedForwardKind::Gated(Activation::Silu),
    }
}

fn mask(asks: Asks, own: &OwnModel) -> MaskKind {
    match (asks.family(), own.mask) {
        (own::Family::Encoder | own::Family::EncoderDecoder, _) => MaskKind::Full,
        (own::Family::Decoder, own::Mask::Causal) => MaskKind::Causal,
        (own::Family::Decoder, own::Mask::Prefix) => MaskKind::Prefix,
    }
}

/// A classifier and a tagger have none over the vocabulary.
fn head(asks: Asks, own: &OwnModel) -> Head {
    match (asks, own.head) {
        (Asks::Class | Asks::Tags, _) | (_, own::OutputHead::Own) => Head::Own,
        (_, own::OutputHead::Tied) => Head::Tied,
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a chance keeps its first digits")]
fn rate(own: &OwnModel) -> f32 {
    own.dropout.map_or(0.0, |rate| rate.to_f64() as f32)
}

/// What dropout of one step is drawn from, where the plan asks for dropout: the task and the step, so that the step could be taken again.
/// Public, like the rule by which it leaves numbers out; that a gradient is computed with some numbers left out changes nothing about how it
/// is clipped and noised.
///
/// A published model's rates are its publisher's choice for another training; a plan on a checkpoint asks for none.
pub(crate) fn dropout_seed(plan: &Plan, global_step: u64) -> Option<u64> {
    plan.model.built().dropout?;
    let digest = protocol::hash::sha256(&[b"concordat/train/dropout\0", &plan.task.0, &global_step.to_le_bytes()]);
    let mut seed = [0; 8];
    seed.copy_from_slice(&digest[..8]);
    Some(u64::from_le_bytes(seed))
}

#[cfg(test)]
#[path = "own_tests.rs"]
mod tests;

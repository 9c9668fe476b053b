//! The Transformer, one page per layer. Knows no data set, no privacy and no federation.
//!
//! Families of the same blocks: encoders, decoders and both together are a [`transformer`]; [`decoder`] is the one that goes on with a text
//! in central training.
//! Read in this order: [`transformer`] (the whole), [`embedding`] (tokens become vectors), [`block`] (one step of refinement),
//! [`attention`] (tokens exchange information), [`feed_forward`] (each token thinks alone), [`norm`], [`linear`],
//! [`lora`]; then [`parameters`] for names and places of all weights, and [`initial()`] for their first values.
//!
//! Letters: N tokens of the batch (records end to end, see [`crate::batch`]), B records, V vocabulary, C width, H heads, F hidden
//! width, K classes.

mod again;
pub mod attention;
pub mod block;
pub mod config;
pub mod decoder;
pub mod embedding;
#[cfg(test)]
pub mod encoder;
mod entrance;
pub mod feed_forward;
mod heads;
pub mod initial;
pub mod linear;
pub mod lora;
pub mod names;
pub mod norm;
pub mod outside;
pub(crate) mod own;
pub mod parameters;
mod replicas;
mod stack;
pub mod transformer;

use crate::batch::Batch;
use crate::capture::Tape;
use candle_core::{Result, Tensor};

pub use config::{Choices, Config};
pub use decoder::{Decoder, DecoderConfig, DecoderWeights};
#[cfg(test)]
pub use encoder::Encoder;
pub use initial::initial;
pub use outside::Outside;
pub use parameters::{ModelError, ParameterTable, Trained, Weights};
pub(crate) use replicas::Replicas;
pub use transformer::{Transformer, TransformerWeights};

/// A model with something to get better at.
pub trait Objective: Sync {
    /// One loss per record, in nats `(B)`. Never a mean over the batch: a unit's loss must not depend on how many others there are
    /// (privacy.md D32).
    ///
    /// # Errors
    /// The tensor engine's, for records that do not fit the model.
    fn losses(&self, batch: &Batch, tape: &Tape) -> Result<Tensor>;
}

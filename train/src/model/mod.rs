//! The Transformer, one page per layer. Knows no data set, no privacy and no federation.
//!
//! Read in this order: [`encoder`] (the whole), [`embedding`] (tokens become vectors), [`block`] (one step of refinement),
//! [`attention`] (tokens exchange information), [`feed_forward`] (each token thinks alone), [`norm`], [`linear`]; then
//! [`parameters`] for names and places of all weights, and [`initial()`] for their first values.
//!
//! Letters: N tokens of the batch (records end to end, see [`crate::batch`]), B records, V vocabulary, C width, H heads, F hidden
//! width, K classes.

pub mod attention;
pub mod block;
pub mod embedding;
pub mod encoder;
pub mod feed_forward;
pub mod initial;
pub mod linear;
pub mod norm;
pub mod parameters;

pub use encoder::Encoder;
pub use initial::initial;
pub use parameters::{ModelError, ParameterTable, Weights};

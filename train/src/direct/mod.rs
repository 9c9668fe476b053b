//! Gradients of a whole batch without a graph: the blocks' forward and backward passes written out, in memory that is kept from step to
//! step. Knows the same models as [`crate::model`] and no privacy: it sums over records, so nothing here may touch a private step.
//!
//! The layers in `model/` build a graph that records what per-unit gradients need. Training without privacy needs none of that: whole
//! batches go through one product, weight gradients are added where they belong, and no memory is asked for. Tests hold both to the same
//! numbers.
//!
//! Letters: N rows (tokens) of the batch, B records, C width, F hidden width, H heads, V vocabulary, K classes.

mod attention;
mod backward;
mod forward;
mod places;
mod reading;
mod scratch;
#[cfg(test)]
mod tests;

pub use protocol::plan::Keep;
pub use reading::{Aims, Reading};
pub use scratch::Scratch;

use crate::kernels::wide;
use places::Places;

/// Floats that products are computed with. Sums, norms, softmax, losses and weights are always in 32 bits (training.md M11).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// 32-bit floats.
    #[default]
    F32,
    /// Factors of products are rounded to bfloat16, as on hardware that has it. A processor gains no speed by it.
    Bf16,
}

/// What cannot be computed. Says what was expected, never what a record says.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirectError {
    /// A token outside the table.
    #[error("a token outside the vocabulary of {vocab}")]
    Token {
        /// Rows of the table.
        vocab: usize,
    },
    /// A record longer than the position table.
    #[error("a record of {got} tokens, the model reads at most {most}")]
    Long {
        /// Its rows.
        got: usize,
        /// Rows of the position table.
        most: usize,
    },
    /// Aims that are not one for each row or record, or not among those that the model tells apart.
    #[error("an aim is missing, or outside the {known} that the model tells apart")]
    Aims {
        /// Tokens or classes.
        known: usize,
    },
    /// Text for a classifier, or classes for a language model.
    #[error("the model foretells something else than is asked for")]
    OtherFamily,
    /// A flat vector of another model.
    #[error("got {got} numbers, the model has {expected}")]
    Length {
        /// Numbers given.
        got: usize,
        /// Coordinates of the model.
        expected: usize,
    },
    /// The matrix kernel refused.
    #[error("the tensor engine failed")]
    Engine(#[from] candle_core::Error),
}

/// A model whose gradient can be computed directly.
pub struct Direct {
    places: Places,
    precision: Precision,
    keep: Keep,
}

impl Direct {
    /// Computes with these floats.
    #[must_use]
    pub fn with_precision(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// Keeps this much between the passes.
    #[must_use]
    pub fn keeping(self, keep: Keep) -> Self {
        Self { keep, ..self }
    }

    /// The weights as products see them: `out` becomes a rounded copy where they are rounded at all.
    pub fn shown<'a>(&self, weights: &'a [f32], out: &'a mut Vec<f32>) -> &'a [f32] {
        match self.precision {
            Precision::F32 => weights,
            Precision::Bf16 => {
                out.clear();
                out.extend_from_slice(weights);
                self.narrow(out);
                out
            }
        }
    }

    /// Rounds factors of a product where the precision asks for it.
    fn narrow(&self, values: &mut [f32]) {
        match self.precision {
            Precision::F32 => {}
            Precision::Bf16 => wide(to_bfloat, (values,)),
        }
    }
}

/// To the nearest number of 8 significant bits, ties to even; NaN and infinity stay what they are.
#[inline(always)]
fn to_bfloat((values,): (&mut [f32],)) {
    for v in values {
        let bits = v.to_bits();
        let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) & 0xffff_0000;
        *v = if v.is_finite() { f32::from_bits(rounded) } else { *v };
    }
}

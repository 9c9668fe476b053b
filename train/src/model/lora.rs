//! Low-rank adapters: a frozen layer learns `y = x W₀ᵀ + s · (x Aᵀ) Bᵀ` with A of r rows and B of r columns (Hu et al. 2021,
//! arXiv 2106.09685). One factor is trained at a time: only then is the mean of several institutions' updates the update of the mean
//! (training.md M4, M5; FFA-LoRA, arXiv 2403.12313).

use super::linear::Linear;
use super::parameters::{Listing, Role, Start, Values, size};
use crate::batch::Spans;
use crate::capture::Tape;
use candle_core::{Result, Tensor};

/// Which factor is trained; the other is frozen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Factor {
    /// A: odd rounds of `lora-alternating`.
    A,
    /// B: `lora-b`.
    B,
}

/// An adapter on every linear layer of the blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lora {
    /// Rank r.
    pub rank: u32,
    /// The product is scaled by alpha / r.
    pub alpha: u32,
    /// Which factor is trained.
    pub trains: Factor,
}

/// The two factors of one layer.
pub struct Adapter {
    a: Linear, // (r, in)
    b: Linear, // (out, r)
    scale: f64,
}

/// Lists both factors. A's rows are at right angles and B is zero, so that the adapted layer begins as the frozen one.
pub(crate) fn declare(path: &str, (inputs, outputs): (usize, usize), adapter: Lora, listing: &mut Listing) {
    let rank = size(adapter.rank);
    let (a, b) = match adapter.trains {
        Factor::A => (Role::Trained, Role::Frozen),
        Factor::B => (Role::Frozen, Role::Trained),
    };
    listing.add_factor(a, format!("{path}.lora_A.weight"), &[rank, inputs], Start::Orthonormal);
    listing.add_factor(b, format!("{path}.lora_B.weight"), &[outputs, rank], Start::Zero);
}

impl Adapter {
    pub(crate) fn load(path: &str, adapter: Lora, values: Values<'_>) -> Result<Self> {
        Ok(Self {
            a: Linear::bare(&format!("{path}.lora_A.weight"), values)?,
            b: Linear::bare(&format!("{path}.lora_B.weight"), values)?,
            scale: f64::from(adapter.alpha) / f64::from(adapter.rank),
        })
    }

    /// # Shape
    /// in `(N, in)`, out `(N, out)`.
    pub(crate) fn forward(&self, x: &Tensor, spans: &Spans, tape: &Tape) -> Result<Tensor> {
        let low = (self.a.forward(x, spans, tape)? * self.scale)?; // (N, in) -> (N, r)
        self.b.forward(&low, spans, tape) // (N, r) -> (N, out)
    }
}

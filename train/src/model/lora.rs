//! Low-rank adapters: a frozen layer learns `y = x W₀ᵀ + s · (x Aᵀ) Bᵀ` with A of r rows and B of r columns (Hu et al. 2021,
//! arXiv 2106.09685). One factor is trained at a time: only then is the mean of several institutions' updates the update of the mean
//! (training.md M4, M5; FFA-LoRA, arXiv 2403.12313).

use super::linear::Linear;
use super::parameters::{Listing, Role, Start, Values, size};
use crate::batch::Spans;
use crate::capture::Tape;
use candle_core::{Result, Tensor};
use protocol::plan::EncoderConfig;
use std::sync::Arc;

/// Which factor is trained; the other is frozen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Factor {
    /// A: even rounds of `lora-alternating`.
    A,
    /// B: `lora-b`, and odd rounds of `lora-alternating`.
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

/// An adapter and the layers that it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adapters {
    /// Rank, scale and the factor that is trained.
    pub lora: Lora,
    /// Ends of the names of adapted layers, for example `q_proj`; none stands for every linear layer of the blocks.
    pub targets: Option<Arc<[String]>>,
}

impl Adapters {
    /// On every linear layer of the blocks.
    pub fn everywhere(lora: Lora) -> Self {
        Self { lora, targets: None }
    }
    /// Those of a plan's model, if it has any. Which factor is trained is the shards' matter there; this says B.
    pub fn of_plan(config: &EncoderConfig) -> Option<Self> {
        let adapter = config.adapter.as_ref()?;
        let lora = Lora { rank: adapter.rank, alpha: adapter.alpha, trains: Factor::B };
        Some(Self { lora, targets: adapter.targets.clone().map(Into::into) })
    }
    /// Whether the layer at this path is adapted.
    pub(crate) fn targets(&self, path: &str) -> bool {
        let ends = |t: &String| path.strip_suffix(t.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        self.targets.as_ref().is_none_or(|targets| targets.iter().any(ends))
    }
}

/// Name of the factor A of the layer at this path.
pub(crate) fn factor_a(path: &str) -> String {
    format!("{path}.lora_A.weight")
}

/// Name of the factor B of the layer at this path.
pub(crate) fn factor_b(path: &str) -> String {
    format!("{path}.lora_B.weight")
}

/// Whether a tensor of this name is a factor of an adapter.
pub(crate) fn is_factor(name: &str) -> bool {
    name.ends_with(".lora_A.weight") || name.ends_with(".lora_B.weight")
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
    listing.add_factor(a, factor_a(path), &[rank, inputs], Start::Orthonormal);
    listing.add_factor(b, factor_b(path), &[outputs, rank], Start::Zero);
}

impl Adapter {
    pub(crate) fn load(path: &str, adapter: Lora, values: Values<'_>) -> Result<Self> {
        Ok(Self {
            a: Linear::bare(&factor_a(path), values)?,
            b: Linear::bare(&factor_b(path), values)?,
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

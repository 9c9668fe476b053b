//! Low-rank adapters: a frozen layer learns `y = x W₀ᵀ + s · (x Aᵀ) Bᵀ` with A of r rows and B of r columns (Hu et al. 2021,
//! arXiv 2106.09685). One factor is trained at a time: only then is the mean of several institutions' updates the update of the mean
//! (training.md M4, M5; FFA-LoRA, arXiv 2403.12313).

use super::linear::Linear;
use super::parameters::{Listing, Role, Start, Values, size};
use crate::batch::Spans;
use crate::capture::Tape;
use candle_core::{Result, Tensor, bail};
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
    /// Rising ranks below the adapter's at which both factors are cut into bands, tensors of their own (training.md M6); mostly none.
    pub nested: Arc<[u32]>,
}

impl Adapters {
    /// On every linear layer of the blocks.
    pub fn everywhere(lora: Lora) -> Self {
        Self { lora, targets: None, nested: Arc::default() }
    }
    /// Those of a plan's model, if it has any. Which factor is trained is the shards' matter there; this says B.
    pub fn of_plan(config: &EncoderConfig) -> Option<Self> {
        let adapter = config.adapter.as_ref()?;
        let lora = Lora { rank: adapter.rank, alpha: adapter.alpha, trains: Factor::B };
        let nested = adapter.nested.clone().unwrap_or_default().into();
        Some(Self { lora, targets: adapter.targets.clone().map(Into::into), nested })
    }
    /// Bands of the factors, as the first rank of each and how many ranks it has. They make up the adapter's rank.
    pub(crate) fn bands(&self) -> impl Iterator<Item = (u32, u32)> {
        let ends = self.nested.iter().copied().chain([self.lora.rank]);
        ends.scan(0, |first, end| Some((std::mem::replace(first, end), end))).map(|(first, end)| (first, end.saturating_sub(first)))
    }
    /// Whether the ranks at which it is cut rise from 1 on and stay below its own.
    pub(crate) fn rises(&self) -> bool {
        self.bands().all(|(_, ranks)| ranks > 0)
    }
    /// Whether the layer at this path is adapted.
    pub(crate) fn targets(&self, path: &str) -> bool {
        let ends = |t: &String| path.strip_suffix(t.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        self.targets.as_ref().is_none_or(|targets| targets.iter().any(ends))
    }
}

/// Where a factor's first band, or its only one, has no number in its name.
const LATER_BAND: &str = ".from_";

/// Name of a factor of the layer at this path, of its band that begins at this rank.
pub(crate) fn factor_name(path: &str, factor: Factor, first: u32) -> String {
    let letter = match factor {
        Factor::A => 'A',
        Factor::B => 'B',
    };
    match first {
        0 => format!("{path}.lora_{letter}.weight"),
        _ => format!("{path}.lora_{letter}{LATER_BAND}{first}.weight"),
    }
}

/// Layer, factor and first rank, if this is the name of a factor of an adapter.
pub(crate) fn factor_of(name: &str) -> Option<(&str, Factor, u32)> {
    let name = name.strip_suffix(".weight")?;
    let (name, first) = match name.rsplit_once(LATER_BAND) {
        Some((before, first)) => (before, first.parse().ok()?),
        None => (name, 0),
    };
    let of = |end: &str, factor: Factor| name.strip_suffix(end).map(|path| (path, factor, first));
    of(".lora_A", Factor::A).or_else(|| of(".lora_B", Factor::B))
}

/// Whether a tensor of this name is a factor of an adapter.
pub(crate) fn is_factor(name: &str) -> bool {
    factor_of(name).is_some()
}

/// The two factors of one layer, band by band: A `(r, in)` and B `(out, r)`.
pub struct Adapter {
    bands: Vec<[Linear; 2]>,
    scale: f64,
}

/// Lists both factors. A's rows are at right angles and B is zero, so that the adapted layer begins as the frozen one.
pub(crate) fn declare(path: &str, (inputs, outputs): (usize, usize), adapters: &Adapters, listing: &mut Listing) {
    let (a, b) = match adapters.lora.trains {
        Factor::A => (Role::Trained, Role::Frozen),
        Factor::B => (Role::Frozen, Role::Trained),
    };
    for (first, ranks) in adapters.bands() {
        listing.add_factor(a, factor_name(path, Factor::A, first), &[size(ranks), inputs], Start::Orthonormal);
        listing.add_factor(b, factor_name(path, Factor::B, first), &[outputs, size(ranks)], Start::Zero);
    }
}

impl Adapter {
    pub(crate) fn load(path: &str, adapters: &Adapters, values: Values<'_>) -> Result<Self> {
        let band = |(first, _): (u32, u32)| -> Result<[Linear; 2]> {
            let [a, b] = [Factor::A, Factor::B].map(|factor| Linear::bare(&factor_name(path, factor, first), values));
            Ok([a?, b?])
        };
        let bands = adapters.bands().map(band).collect::<Result<Vec<_>>>()?;
        Ok(Self { bands, scale: f64::from(adapters.lora.alpha) / f64::from(adapters.lora.rank) })
    }

    /// # Shape
    /// in `(N, in)`, out `(N, out)`.
    pub(crate) fn forward(&self, x: &Tensor, spans: &Spans, tape: &Tape) -> Result<Tensor> {
        let band = |[a, b]: &[Linear; 2]| -> Result<Tensor> {
            let low = (a.forward(x, spans, tape)? * self.scale)?; // (N, in) -> (N, r)
            b.forward(&low, spans, tape) // (N, r) -> (N, out)
        };
        let mut bands = self.bands.iter().map(band);
        let Some(first) = bands.next() else { bail!("an adapter without a factor") };
        bands.try_fold(first?, |sum, band| sum + band?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_have_their_published_names_and_bands_their_own() {
        assert_eq!(factor_name("a.q_proj", Factor::A, 0), "a.q_proj.lora_A.weight");
        assert_eq!(factor_name("a.q_proj", Factor::B, 4), "a.q_proj.lora_B.from_4.weight");
        for (factor, first) in [(Factor::A, 0), (Factor::B, 0), (Factor::A, 4), (Factor::B, 12)] {
            assert_eq!(factor_of(&factor_name("a.q_proj", factor, first)), Some(("a.q_proj", factor, first)));
        }
        for other in ["a.q_proj.weight", "a.lora_C.weight", "a.lora_A.bias", "a.lora_A.from_.weight", "a.from_2.weight", "lora_A.weight"] {
            assert_eq!(factor_of(other), None, "{other}");
        }
    }

    #[test]
    fn bands_make_up_the_rank() {
        let adapters =
            |nested: &[u32]| Adapters { nested: nested.into(), ..Adapters::everywhere(Lora { rank: 8, alpha: 16, trains: Factor::B }) };
        assert_eq!(adapters(&[2, 4]).bands().collect::<Vec<_>>(), [(0, 2), (2, 2), (4, 4)]);
        assert_eq!(adapters(&[]).bands().collect::<Vec<_>>(), [(0, 8)]);
        assert!(adapters(&[2, 4]).rises() && adapters(&[]).rises());
        for bad in [&[0, 4][..], &[4, 4], &[4, 2], &[8], &[9]] {
            assert!(!adapters(bad).rises(), "{bad:?}");
        }
    }
}

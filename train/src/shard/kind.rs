//! Kinds of shards: which tensors an institution trains, and which it only reads (training.md M4, M6). Every kind is linear: the mean of
//! several institutions' updates is the update of the mean.

use crate::model::lora::{Adapters, Factor, Lora};
use crate::model::{Config, ModelError, Trained, TransformerWeights};
use protocol::plan::TensorSpec;
use std::ops::Range;
use std::sync::Arc;

/// Rank, scale and targets of a low-rank shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LowRank {
    /// Rank r.
    pub rank: u32,
    /// The product is scaled by alpha / r.
    pub alpha: u32,
    /// Ends of the names of adapted layers; none stands for every linear layer of the blocks.
    pub targets: Option<Arc<[String]>>,
}

/// What is trained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShardKind {
    /// All tensors.
    Full,
    /// These blocks, counted from below (an encoder's before its decoder's). A range that reaches the last block takes the last normalisation
    /// and the head with it, and needs no backward pass below.
    Layers(Range<u32>),
    /// The factor B of each target; A is frozen, orthonormal, and known to all by its seed.
    LoraB(LowRank),
    /// One factor in turn. B begins, in odd rounds: while B is zero, A has no gradient but noise.
    LoraAlternating(LowRank),
    /// The head alone.
    Head,
    /// The head, all shifts, and the gains of normalisations.
    HeadsAndBiases,
    /// A window of so many blocks that moves up with the round, and begins again at the bottom.
    Rolling {
        /// Blocks at once.
        window: u32,
    },
}

impl ShardKind {
    /// The model of this kind in round `round`, counted from 1: what is trained and what is frozen.
    ///
    /// # Errors
    /// [`ModelError`] for a range that the model does not have, a rank of 0, or a window of 0.
    pub fn config(&self, base: &Config, round: u64) -> Result<Config, ModelError> {
        let adapted = |low: &LowRank, trains| {
            let lora = Lora { rank: low.rank, alpha: low.alpha, trains };
            base.training(Some(Adapters { targets: low.targets.clone(), ..Adapters::everywhere(lora) }), Trained::Nothing)
        };
        match self {
            Self::Full => base.training(None, Trained::All),
            Self::Layers(range) => base.training(None, Trained::Layers(range.clone())),
            Self::LoraB(low) => adapted(low, Factor::B),
            Self::LoraAlternating(low) if round.is_multiple_of(2) => adapted(low, Factor::A),
            Self::LoraAlternating(low) => adapted(low, Factor::B),
            Self::Head => base.training(None, Trained::Head),
            Self::HeadsAndBiases => base.training(None, Trained::HeadsAndBiases),
            Self::Rolling { window } => base.training(None, Trained::Layers(rolling(*window, base.all_layers(), round))),
        }
    }

    /// The tensors that are trained in this round, in the order of the flat vector. Only these are clipped, noised, sealed and sent.
    ///
    /// # Errors
    /// As [`Self::config`].
    pub fn tensors(&self, base: &Config, round: u64) -> Result<Vec<TensorSpec>, ModelError> {
        Ok(TransformerWeights::tables(&self.config(base, round)?).0.iter().map(crate::model::parameters::Parameter::spec).collect())
    }
}

/// The window of a round; the last one before a new beginning may be shorter.
fn rolling(window: u32, layers: u32, round: u64) -> Range<u32> {
    let windows = u64::from(layers.div_ceil(window.max(1)).max(1));
    let nth = u32::try_from(round.saturating_sub(1) % windows).unwrap_or(0);
    let start = nth.saturating_mul(window);
    start..start.saturating_add(window).min(layers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Batch;
    use crate::model::config::NormPlace;
    use crate::model::decoder::Head;
    use crate::testing::{families, moved, record};

    fn kinds() -> Vec<ShardKind> {
        let low = LowRank { rank: 2, alpha: 4, targets: None };
        let layers = [ShardKind::Layers(0..1), ShardKind::Layers(1..2), ShardKind::Rolling { window: 1 }];
        let others = [ShardKind::Full, ShardKind::LoraB(low.clone()), ShardKind::LoraAlternating(low), ShardKind::HeadsAndBiases];
        layers.into_iter().chain(others).chain([ShardKind::Head]).collect()
    }

    fn names(kind: &ShardKind, base: &Config, round: u64) -> Vec<String> {
        kind.tensors(base, round).unwrap().into_iter().map(|t| t.name).collect()
    }

    #[test]
    fn each_kind_trains_exactly_its_tensors() {
        let base = families().into_iter().find(|(name, _)| *name == "llama").unwrap().1;
        let layer = |i: u32| -> Vec<String> {
            let at = |part: &str| format!("model.layers.{i}.{part}");
            let attention =
                ["q_proj.weight", "q_proj.bias", "k_proj.weight", "k_proj.bias", "v_proj.weight", "v_proj.bias", "o_proj.weight"];
            let mut all = vec![at("input_layernorm.weight")];
            all.extend(attention.map(|p| at(&format!("self_attn.{p}"))));
            all.push(at("post_attention_layernorm.weight"));
            all.extend(["gate_proj", "up_proj", "down_proj"].map(|p| at(&format!("mlp.{p}.weight"))));
            all
        };
        let top = ["model.norm.weight", "lm_head.weight"].map(str::to_owned).to_vec();
        assert_eq!(names(&ShardKind::Layers(0..1), &base, 1), layer(0));
        assert_eq!(names(&ShardKind::Layers(1..2), &base, 1), [layer(1), top.clone()].concat());
        let whole = [vec!["model.embed_tokens.weight".to_owned()], layer(0), layer(1), top.clone()].concat();
        assert_eq!(names(&ShardKind::Full, &base, 1), whole);
        let small: Vec<String> =
            whole.iter().filter(|n| n.ends_with("bias") || n.contains("norm") || *n == "lm_head.weight").cloned().collect();
        assert_eq!(names(&ShardKind::HeadsAndBiases, &base, 1), small);
        assert_eq!(names(&ShardKind::Head, &base, 1), top);
        let low = LowRank { rank: 2, alpha: 4, targets: Some(vec!["v_proj".to_owned()].into()) };
        let factor = |f: &str| (0..2).map(|i| format!("model.layers.{i}.self_attn.v_proj.lora_{f}.weight")).collect::<Vec<_>>();
        assert_eq!(names(&ShardKind::LoraB(low.clone()), &base, 1), factor("B"));
        let alternating = ShardKind::LoraAlternating(low);
        assert_eq!([1, 2, 3].map(|round| names(&alternating, &base, round)), [factor("B"), factor("A"), factor("B")]);
    }

    #[test]
    fn a_rolling_window_reaches_every_block_once_before_it_begins_again() {
        let windows = |window, layers| (1..=4).map(|round| rolling(window, layers, round)).collect::<Vec<_>>();
        assert_eq!(windows(2, 6), [0..2, 2..4, 4..6, 0..2]);
        assert_eq!(windows(4, 6), [0..4, 4..6, 0..4, 4..6]);
        assert_eq!(windows(9, 6), [0..6, 0..6, 0..6, 0..6]);
        let base = &families()[0].1;
        assert!(ShardKind::Rolling { window: 0 }.config(base, 1).is_err() && ShardKind::Layers(1..3).config(base, 1).is_err());
        assert!(ShardKind::Layers(1..1).config(base, 1).is_err());
    }

    /// What is trained gets the gradient that it has in the whole model: freezing the rest changes nothing but the work.
    #[test]
    fn a_shards_gradient_is_the_whole_models_gradient_there() {
        for (name, base) in families().into_iter().filter(|(_, c)| c.adapter.is_none() && c.trained == Trained::All) {
            let whole = moved(&base);
            let batch = Batch::pack(&[7, 2, 11].map(|n| record(&base, n)), 12);
            let (losses, full) = whole.gradient(&batch, None).unwrap();
            for kind in kinds() {
                if kind.tensors(&base, 1).unwrap().is_empty() {
                    // Blocks that normalise after themselves under a head that is the token table: there is no such part.
                    assert!(kind == ShardKind::Head && base.head == Head::Tied && base.place == NormPlace::After, "{name} {kind:?}");
                    continue;
                }
                let part = whole.retraining(&kind.config(&base, 1).unwrap(), 3).unwrap();
                let (same, gradient) = part.gradient(&batch, None).unwrap();
                assert_eq!(losses, same, "{name} {kind:?}");
                for p in part.table().iter() {
                    let Some(there) = whole.table().find(&p.name) else { continue };
                    let close = gradient[p.range()].iter().zip(&full[there.range()]).all(|(a, b)| (a - b).abs() <= 1e-6 * (1.0 + b.abs()));
                    assert!(close, "{name} {kind:?}: {}", p.name);
                }
            }
        }
    }
}

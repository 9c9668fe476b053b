//! Encoders that a plan for training in one place asks about each token, or that begin from a published checkpoint: what the plan says of them,
//! and what they become. No text stands in any error here.

use super::plan::{CentralPlanError, Family, RawData, RawModel, Task, need};
use protocol::ids::Sha256;
use protocol::plan::own::{MASK, OwnModel};
use protocol::plan::{Asks, EncoderConfig, Masking, MaskingShares, PlanError};
use serde::Deserialize;
use train::hf::base::{Base, BaseError, Digests};
use train::model::{ModelError, Weights, initial};
use train::shard::{STEP_EXPONENT, ShardError, shard_table};

/// A checkpoint as a plan names it, spelled as in a federation's plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawBase {
    config: Sha256,
    weights: Sha256,
    tokenizer: Sha256,
    #[serde(default)]
    asks: Asks,
}

/// What such an encoder begins from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Begins {
    /// The plan's seed.
    Random(EncoderConfig),
    /// A checkpoint, whose sizes it has.
    Checkpoint { named: Digests, asks: Asks, classes: Vec<String>, max_tokens: Option<u32>, masking: MaskingShares },
}

/// Why there is no such model. The institution's to mend.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum BeginError {
    /// A checkpoint that is named and not given.
    #[error("the plan's model begins from a published checkpoint: give its directory with --base (weights with SHA-256 {0})")]
    NoBase(Sha256),
    /// A checkpoint that is given and not named.
    #[error(
        "the plan names no checkpoint: add to [model]\nbase = {{ config = \"{config}\", weights = \"{weights}\", tokenizer = \"{tokenizer}\", asks = \"class\" }}\nand leave out its sizes, or leave --base out"
    )]
    Unnamed {
        /// SHA-256 of its `config.json`.
        config: Sha256,
        /// Of its weights.
        weights: Sha256,
        /// Of its `tokenizer.json`.
        tokenizer: Sha256,
    },
    /// Not the plan's checkpoint, or none that can be asked so.
    #[error("the base checkpoint cannot be what the plan's model begins from")]
    Base(#[from] BaseError),
    /// A model that cannot be built.
    #[error("the plan's model cannot be built")]
    Model(#[from] ModelError),
    /// Tensors that no table holds.
    #[error("the plan's model has no table of tensors")]
    Shards(#[from] ShardError),
    /// Numbers that are no model of a plan.
    #[error("the plan's model cannot be asked so")]
    Plan(#[from] PlanError),
}

/// Whether a plan's model is one of these, or is asked for what only these can be.
pub(super) fn of(model: &RawModel) -> bool {
    let plain = match model.family {
        // What comes next is all that it is ever asked for: there is nothing to state.
        Family::Decoder => model.asks.is_none(),
        Family::Encoder => model.asks.is_none_or(|asks| asks == Asks::Class),
    };
    model.base.is_some() || model.masking.is_some() || !plain
}

fn refuse<T>(field: &'static str, got: &str, expected: &'static str) -> Result<T, CentralPlanError> {
    Err(CentralPlanError::OutOfRange { field, got: got.to_owned(), expected })
}

pub(super) fn task(model: RawModel, data: RawData) -> Result<Task, CentralPlanError> {
    if model.family != Family::Encoder {
        return refuse("model.asks, model.masking or model.base", "given", "none but for family = \"encoder\"");
    }
    if data.balance.is_some() {
        return refuse("data.balance", "given", "none but for a classifier from random weights");
    }
    let asks = model.base.map_or(model.asks.unwrap_or_default(), |base| base.asks);
    if !matches!(asks, Asks::Class | Asks::Tags | Asks::MaskedTokens) {
        return refuse("model.asks", asks.name(), "class, tags or masked-tokens of an encoder");
    }
    if model.masking.is_some() && asks != Asks::MaskedTokens {
        return refuse("model.masking", "given", "none where no masked tokens are asked for");
    }
    let begins = match model.base {
        Some(base) => on_checkpoint(model, base)?,
        None => Begins::Random(from_random(model, asks)?),
    };
    Ok(Task::Asked { begins, text_field: data.text_field, label_field: data.label_field })
}

/// The sizes are the checkpoint's, and what is asked stands beside its name.
fn on_checkpoint(model: RawModel, base: RawBase) -> Result<Begins, CentralPlanError> {
    let sizes = [model.vocab, model.width, model.heads, model.layers, model.hidden];
    if sizes.iter().any(Option::is_some) || model.asks.is_some() {
        return refuse("model.vocab, width, heads, layers, hidden or asks", "given", "none beside base, whose config.json states sizes");
    }
    let RawBase { config, weights, tokenizer, asks } = base;
    let (named, masking) = (Digests { config, weights, tokenizer }, model.masking.unwrap_or_default());
    Ok(Begins::Checkpoint { named, asks, classes: model.classes, max_tokens: model.max_tokens, masking })
}

fn from_random(model: RawModel, asks: Asks) -> Result<EncoderConfig, CentralPlanError> {
    let config = EncoderConfig {
        vocab: need("model.vocab", model.vocab)?,
        max_tokens: need("model.max_tokens", model.max_tokens)?,
        width: need("model.width", model.width)?,
        heads: need("model.heads", model.heads)?,
        layers: need("model.layers", model.layers)?,
        hidden: need("model.hidden", model.hidden)?,
        classes: model.classes,
        own: Some(OwnModel { asks, ..OwnModel::default() }),
        masking: (asks == Asks::MaskedTokens).then(|| model.masking.unwrap_or_default().over(Masking::usual(MASK))),
        ..EncoderConfig::none()
    };
    config.check().map_err(|e| CentralPlanError::Model(Box::new(e)))?;
    Ok(config)
}

impl Begins {
    /// The model at its start, all of its tensors in one place.
    pub(super) fn weights(&self, base: Option<&Base>, seed: u64) -> Result<Weights, BeginError> {
        match (self, base) {
            (Self::Random(model), None) => Ok(initial(model, seed)?),
            (Self::Random(_), Some(base)) => Err(unnamed(base)),
            (Self::Checkpoint { named, .. }, None) => Err(BeginError::NoBase(named.weights)),
            (Self::Checkpoint { named, asks, classes, max_tokens, masking }, Some(base)) => {
                base.verify(*named)?;
                let model = base.model(*asks, classes.clone(), *max_tokens, None)?;
                let model = EncoderConfig { masking: model.masking.map(|usual| masking.over(usual)), ..model };
                model.check()?;
                Ok(base.begin(&model, &shard_table(&model, 1, STEP_EXPONENT)?, seed)?)
            }
        }
    }
}

/// A checkpoint that the plan does not name: a run must be able to say what it began from.
pub(super) fn unnamed(base: &Base) -> BeginError {
    let Digests { config, weights, tokenizer } = base.digests();
    BeginError::Unnamed { config, weights, tokenizer }
}

#[cfg(test)]
#[path = "asked_tests.rs"]
mod tests;

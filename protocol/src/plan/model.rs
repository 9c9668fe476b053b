//! The model that a plan trains, in numbers. Knows no tensor and no layer.

use super::{PlanError, range};
use crate::ids::Sha256;
use minicbor::{CborLen, Decode, Encode};
use serde::{Deserialize, Serialize};

/// A model: Concordat's own Transformer encoder with a pooled classifier head, or a published one.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, CborLen, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncoderConfig {
    /// Rows of the token embedding.
    #[n(0)]
    pub vocab: u32,
    /// Longest sequence, in tokens.
    #[n(1)]
    pub max_tokens: u32,
    /// Model width C.
    #[n(2)]
    pub width: u32,
    /// Attention heads H; divides the width, but in a published model that states the width of a head itself.
    #[n(3)]
    pub heads: u32,
    /// Transformer blocks.
    #[n(4)]
    pub layers: u32,
    /// Width of the feed-forward part.
    #[n(5)]
    pub hidden: u32,
    /// Classes, named in order; none where no class is asked for. Public by being in the plan.
    #[n(6)]
    pub classes: Vec<String>,
    /// Low-rank adapters beside the linear layers of its blocks; for plans whose tiers train them.
    #[n(7)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<AdapterConfig>,
    /// The published checkpoint that the model begins from, which then says what it is built of; the sizes above must be its own, but for
    /// `max_tokens`, which may be less. None: Concordat's own encoder, from random weights.
    #[n(8)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<BaseModel>,
}

/// A published checkpoint. Everybody who needs it has it by a way of his own; the plan names its files (training.md M7).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, CborLen, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BaseModel {
    /// Text of its `config.json`, word for word.
    #[n(0)]
    pub config: String,
    /// SHA-256 of its `model.safetensors`; of weights in several files that of what `sha256sum` prints of `model.safetensors.index.json` and of
    /// each file that it names, in the order of their names' bytes.
    #[n(1)]
    pub weights: Sha256,
    /// SHA-256 of its `tokenizer.json`.
    #[n(2)]
    pub tokenizer: Sha256,
    /// Names of the tensors that nobody trains and that stay as the checkpoint has them: no snapshot of the task holds them.
    #[n(3)]
    pub frozen: Vec<String>,
    /// What it is asked for, which need not be what it was published for.
    #[n(4)]
    pub asks: Asks,
}

/// What a model is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode, CborLen, Serialize, Deserialize)]
#[cbor(index_only)]
#[serde(rename_all = "kebab-case")]
pub enum Asks {
    /// One of the plan's classes for each record: an encoder.
    #[n(0)]
    #[default]
    Class,
    /// At every token of a record the next one: a decoder. Labels of records are not read.
    #[n(1)]
    NextToken,
    /// A record's label, token by token, after its text in one sequence: a decoder.
    #[n(2)]
    Answer,
    /// A record's label, token by token, written by what has read its text: an encoder-decoder.
    #[n(3)]
    Translate,
}

impl Asks {
    /// As plans spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Class => "class",
            Self::NextToken => "next-token",
            Self::Answer => "answer",
            Self::Translate => "translate",
        }
    }

    /// Most rows that any one operation reads of a record whose text and label have so many tokens each (privacy.md D19).
    pub fn rows(self, tokens: u32) -> u32 {
        match self {
            Self::Class | Self::NextToken => tokens,
            Self::Answer => tokens.saturating_mul(2),
            // An answer has one token more than its text; a table of distances is read once for each pair of places.
            Self::Translate => tokens.saturating_add(1).saturating_mul(tokens.saturating_add(1)),
        }
    }

    /// Places that a model needs for such a record.
    pub fn places(self, tokens: u32) -> u32 {
        match self {
            Self::Class | Self::NextToken => tokens,
            Self::Answer => tokens.saturating_mul(2),
            Self::Translate => tokens.saturating_add(1),
        }
    }
}

impl BaseModel {
    /// Longest `config.json` that a plan carries; published ones have a few thousand bytes.
    pub const MAX_CONFIG_BYTES: usize = 64 << 10;
    /// Most names of frozen tensors: models of a thousand blocks have a dozen tensors in each.
    pub const MAX_FROZEN: usize = 1 << 14;

    /// What the file `config.json` is named by.
    pub fn config_digest(&self) -> Sha256 {
        Sha256(crate::hash::sha256(&[self.config.as_bytes()]))
    }

    fn check(&self) -> Result<(), PlanError> {
        let length = self.config.len();
        range(length <= Self::MAX_CONFIG_BYTES, "model.base.config", format!("{length} bytes"), "at most 65536 bytes")?;
        range(self.frozen.len() <= Self::MAX_FROZEN, "model.base.frozen", self.frozen.len().to_string(), "at most 16384 names")
    }
}

/// Adapters of a model: a linear layer W becomes W + (alpha / rank) B A. A starts with rows at right angles, from the public seed of the
/// first weights, and B at zero (training.md M4).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, CborLen, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdapterConfig {
    /// Rank r: rows of A and columns of B.
    #[n(0)]
    pub rank: u32,
    /// The product is scaled by alpha / rank.
    #[n(1)]
    pub alpha: u32,
    /// Ends of the names of adapted layers, for example `qkv`; none stands for every linear layer of the blocks.
    #[n(2)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub targets: Option<Vec<String>>,
    /// Nested ranks: rising ranks below `rank` at which both factors are cut into bands, tensors of their own. A tier may then train the first
    /// columns of B only, and every band has a cohort of its own (training.md M6). None: one band.
    #[n(3)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nested: Option<Vec<u32>>,
}

impl AdapterConfig {
    /// Most nested ranks: tiers of one plan have fewer.
    pub const MAX_NESTED: usize = 16;

    /// Ranks up to which a tier may train: the nested ones, and all.
    pub fn ranks(&self) -> impl Iterator<Item = u32> {
        self.nested.iter().flatten().copied().chain([self.rank])
    }

    fn check(&self) -> Result<(), PlanError> {
        let ranks: Vec<u32> = self.ranks().collect();
        let rising = self.nested.is_none() || (ranks[0] > 0 && ranks.is_sorted_by(|a, b| a < b));
        let fits = rising && ranks.len() <= Self::MAX_NESTED + 1;
        range(fits, "model.adapter.nested", format!("{ranks:?} with the rank"), "at most 16 rising ranks from 1, all below the adapter's")
    }
}

impl EncoderConfig {
    /// The model of a plan that trains none: no row, no layer, no class.
    pub fn none() -> Self {
        Self { vocab: 0, max_tokens: 0, width: 0, heads: 0, layers: 0, hidden: 0, classes: Vec::new(), adapter: None, base: None }
    }

    /// The same model with all its tensors in one place: none is left to the checkpoint.
    #[must_use]
    pub fn whole(&self) -> Self {
        let base = self.base.clone().map(|base| BaseModel { frozen: Vec::new(), ..base });
        Self { base, ..self.clone() }
    }

    /// What the model is asked for.
    pub fn asks(&self) -> Asks {
        self.base.as_ref().map_or(Asks::Class, |base| base.asks)
    }

    /// Checks what can be checked without the shard table.
    ///
    /// # Errors
    /// [`PlanError::OutOfRange`].
    pub(super) fn check(&self) -> Result<(), PlanError> {
        // A checkpoint says itself how wide its heads are: some of T5's kind have six of 64 in a width of 512.
        let shared_out = self.base.is_some() || self.width.is_multiple_of(self.heads);
        range(
            self.heads > 0 && shared_out,
            "model.heads",
            self.heads.to_string(),
            "1 or more; without a base model a divisor of the width",
        )?;
        let classes = self.classes.len();
        match self.asks() {
            Asks::Class => range((2..=1024).contains(&classes), "model.classes", classes.to_string(), "2 to 1024 names")?,
            Asks::NextToken | Asks::Answer | Asks::Translate => {
                range(classes == 0, "model.classes", classes.to_string(), "none where no class is asked for")?;
            }
        }
        range((1..=8192).contains(&self.max_tokens), "model.max_tokens", self.max_tokens.to_string(), "1 to 8192")?;
        range((16..=1 << 22).contains(&self.vocab), "model.vocab", self.vocab.to_string(), "16 to 4194304")?;
        range((1..=256).contains(&self.layers), "model.layers", self.layers.to_string(), "1 to 256")?;
        self.adapter.as_ref().map_or(Ok(()), AdapterConfig::check)?;
        self.base.as_ref().map_or(Ok(()), BaseModel::check)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;

    fn model(asks: Asks, classes: usize) -> EncoderConfig {
        let base =
            BaseModel { config: "{}".into(), weights: Sha256([1; 32]), tokenizer: Sha256([2; 32]), frozen: vec!["a.weight".into()], asks };
        let classes = (0..classes).map(|i| i.to_string()).collect();
        EncoderConfig { vocab: 60, max_tokens: 8, width: 8, heads: 2, layers: 1, hidden: 8, classes, adapter: None, base: Some(base) }
    }

    #[test]
    fn a_model_on_a_checkpoint_comes_back_from_both_spellings_and_one_without_has_the_bytes_of_before() {
        for asks in [Asks::Class, Asks::NextToken, Asks::Answer, Asks::Translate] {
            let model = model(asks, 2);
            let bytes = codec::encode(&model);
            assert_eq!(codec::decode::<EncoderConfig>(&bytes, 4096), Ok(model.clone()));
            let json = serde_json::to_string(&model).unwrap();
            assert!(json.contains(asks.name()), "{json}");
            assert_eq!(serde_json::from_str::<EncoderConfig>(&json).unwrap(), model);
        }
        let plain = EncoderConfig { base: None, ..model(Asks::Class, 2) };
        assert_eq!(codec::encode(&plain)[0], 0x87, "seven fields");
        assert_eq!((plain.asks(), plain.whole()), (Asks::Class, plain.clone()));
    }

    #[test]
    fn nested_ranks_rise_to_the_adapters_own_and_one_band_has_the_bytes_of_before() {
        let adapted = |rank, nested: Option<&[u32]>| {
            let adapter = AdapterConfig { rank, alpha: 8, targets: None, nested: nested.map(<[u32]>::to_vec) };
            EncoderConfig { adapter: Some(adapter), ..model(Asks::Class, 2) }
        };
        let nested = adapted(8, Some(&[2, 4]));
        assert_eq!(nested.adapter.as_ref().unwrap().ranks().collect::<Vec<_>>(), [2, 4, 8]);
        assert_eq!(codec::decode::<EncoderConfig>(&codec::encode(&nested), 4096), Ok(nested.clone()));
        assert_eq!(serde_json::from_str::<EncoderConfig>(&serde_json::to_string(&nested).unwrap()).unwrap(), nested);
        assert_eq!(codec::encode(&adapted(8, None).adapter.unwrap()), [0x82, 8, 8], "two fields");
        let many: Vec<u32> = (1..=17).collect();
        for (rank, bad) in [(8, vec![0, 4]), (8, vec![4, 4]), (8, vec![4, 2]), (8, vec![8]), (8, vec![9]), (99, many.clone())] {
            assert!(adapted(rank, Some(&bad)).check().is_err(), "{bad:?} of {rank}");
        }
        assert!(adapted(8, Some(&[])).check().is_ok() && adapted(8, None).check().is_ok() && nested.check().is_ok());
        assert!(adapted(99, Some(&many[..16])).check().is_ok());
    }

    #[test]
    fn classes_are_for_models_that_are_asked_for_one() {
        assert_eq!(model(Asks::Class, 2).check(), Ok(()));
        assert!(model(Asks::Class, 0).check().is_err());
        for asks in [Asks::NextToken, Asks::Answer, Asks::Translate] {
            assert_eq!(model(asks, 0).check(), Ok(()));
            assert!(model(asks, 2).check().is_err());
        }
        let mut long = model(Asks::Class, 2);
        long.base.as_mut().unwrap().config = "x".repeat(BaseModel::MAX_CONFIG_BYTES + 1);
        assert!(long.check().is_err());
        assert!(long.whole().base.unwrap().frozen.is_empty());
    }

    #[test]
    fn heads_share_the_width_out_unless_a_checkpoint_says_how_wide_they_are() {
        let published = |heads| EncoderConfig { heads, ..model(Asks::Class, 2) };
        let own = |heads| EncoderConfig { base: None, ..published(heads) };
        assert_eq!([published(3), published(4), own(4)].map(|m| m.check().is_ok()), [true; 3]);
        assert_eq!([published(0), own(0), own(3)].map(|m| m.check().is_ok()), [false; 3]);
    }

    /// privacy.md D19: no operation reads more rows of a record than this says.
    #[test]
    fn text_and_answer_count_together() {
        let rows = [Asks::Class, Asks::NextToken, Asks::Answer, Asks::Translate].map(|asks| (asks.rows(8), asks.places(8)));
        assert_eq!(rows, [(8, 8), (8, 8), (16, 16), (81, 9)]);
        assert_eq!(Asks::Translate.rows(u32::MAX), u32::MAX);
    }
}

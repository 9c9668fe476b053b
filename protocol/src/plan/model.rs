//! The model that a plan trains, in numbers. Knows no tensor and no layer.

use super::masking::Masking;
use super::own::{Family, OwnModel};
use super::{PlanError, range};
use crate::ids::Sha256;
use minicbor::{CborLen, Decode, Encode};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A model: Concordat's own Transformer, by default an encoder with a pooled classifier head, or a published one.
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
    /// Classes of records, or kinds of tagged parts of texts, named in order; none where neither is asked for. Public by being in the plan.
    #[n(6)]
    pub classes: Vec<String>,
    /// Low-rank adapters beside the linear layers of its blocks; for plans whose tiers train them.
    #[n(7)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<AdapterConfig>,
    /// The published checkpoint that the model begins from, which then says what it is built of; the sizes above must be its own, but for
    /// `max_tokens`, which may be less. None: Concordat's own model, from random weights.
    #[n(8)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<BaseModel>,
    /// What Concordat's own model is built of and asked for; none: the plain classifier, or a published model, which says so itself.
    #[n(9)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own: Option<OwnModel>,
    /// How tokens are hidden, where those are asked for.
    #[n(10)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub masking: Option<Masking>,
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
    /// For each token whether a tagged part of one of the plan's kinds begins there, goes on, or neither: an encoder.
    #[n(4)]
    Tags,
    /// The tokens that were hidden from it: an encoder. Labels of records are not read.
    #[n(5)]
    MaskedTokens,
}

impl Asks {
    /// As plans spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Class => "class",
            Self::NextToken => "next-token",
            Self::Answer => "answer",
            Self::Translate => "translate",
            Self::Tags => "tags",
            Self::MaskedTokens => "masked-tokens",
        }
    }

    /// Among how many answers a model of so many classes or kinds chooses: a kind begins or goes on, or there is none.
    pub fn choices(self, classes: u32) -> u32 {
        match self {
            Self::Tags => classes.saturating_mul(2).saturating_add(1),
            Self::Class | Self::NextToken | Self::Answer | Self::Translate | Self::MaskedTokens => classes,
        }
    }

    /// Which stacks of blocks answer this.
    pub fn family(self) -> Family {
        match self {
            Self::Class | Self::Tags | Self::MaskedTokens => Family::Encoder,
            Self::NextToken | Self::Answer => Family::Decoder,
            Self::Translate => Family::EncoderDecoder,
        }
    }

    /// Most rows that any one operation reads of a record whose text and label have so many tokens each (privacy.md D19).
    pub fn rows(self, tokens: u32) -> u32 {
        match self {
            Self::Class | Self::NextToken | Self::Tags | Self::MaskedTokens => tokens,
            Self::Answer => tokens.saturating_mul(2),
            // An answer has one token more than its text; a table of distances is read once for each pair of places.
            Self::Translate => tokens.saturating_add(1).saturating_mul(tokens.saturating_add(1)),
        }
    }

    /// Places that a model needs for such a record.
    pub fn places(self, tokens: u32) -> u32 {
        match self {
            Self::Class | Self::NextToken | Self::Tags | Self::MaskedTokens => tokens,
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
    /// Most kinds of tagged parts: with two answers for each, the confusion of a tagger is no larger than that of a classifier.
    pub const MAX_KINDS: usize = 127;

    /// The model of a plan that trains none: no row, no layer, no class.
    pub fn none() -> Self {
        let (classes, adapter, base, own, masking) = (Vec::new(), None, None, None, None);
        Self { vocab: 0, max_tokens: 0, width: 0, heads: 0, layers: 0, hidden: 0, classes, adapter, base, own, masking }
    }

    /// The same model with all its tensors in one place: none is left to the checkpoint.
    #[must_use]
    pub fn whole(&self) -> Self {
        let base = self.base.clone().map(|base| BaseModel { frozen: Vec::new(), ..base });
        Self { base, ..self.clone() }
    }

    /// What the model is asked for.
    pub fn asks(&self) -> Asks {
        self.base.as_ref().map_or(self.built().asks, |base| base.asks)
    }

    /// What Concordat's own model is built of and asked for.
    pub fn built(&self) -> OwnModel {
        self.own.unwrap_or_default()
    }

    /// Most rows that any one operation reads of a record (privacy.md D19).
    pub fn rows(&self) -> u32 {
        let (asks, tokens) = (self.asks(), self.max_tokens);
        // Concordat's own has no table of distances: what is read most is the table of tokens, for text, start and answer at once.
        if self.base.is_none() && asks == Asks::Translate { tokens.saturating_mul(2).saturating_add(1) } else { asks.rows(tokens) }
    }

    /// Among how many answers it chooses, where it is asked for classes or tags.
    pub fn choices(&self) -> u32 {
        self.asks().choices(u32::try_from(self.classes.len()).unwrap_or(u32::MAX))
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
            Asks::Tags => {
                let names: BTreeSet<&str> = self.classes.iter().map(|name| name.trim()).filter(|name| !name.is_empty()).collect();
                let kinds = (1..=Self::MAX_KINDS).contains(&classes) && names.len() == classes;
                range(kinds, "model.classes", classes.to_string(), "1 to 127 different names of kinds where tags are asked for")?;
            }
            Asks::NextToken | Asks::Answer | Asks::Translate | Asks::MaskedTokens => {
                range(classes == 0, "model.classes", classes.to_string(), "none where no class is asked for")?;
            }
        }
        range((1..=8192).contains(&self.max_tokens), "model.max_tokens", self.max_tokens.to_string(), "1 to 8192")?;
        range((16..=1 << 22).contains(&self.vocab), "model.vocab", self.vocab.to_string(), "16 to 4194304")?;
        range((1..=256).contains(&self.layers), "model.layers", self.layers.to_string(), "1 to 256")?;
        self.adapter.as_ref().map_or(Ok(()), AdapterConfig::check)?;
        self.check_masking()?;
        match (&self.base, &self.own) {
            (None, None) => Ok(()),
            (None, Some(own)) => own.check(self.width, self.heads, own.asks.places(self.max_tokens)),
            (Some(base), None) => base.check(),
            (Some(_), Some(_)) => {
                range(false, "model.own", "stated".to_owned(), "left out beside a base model, which says what it is built of")
            }
        }
    }

    fn check_masking(&self) -> Result<(), PlanError> {
        let given = |ok, got: &str, expected| range(ok, "model.masking", got.to_owned(), expected);
        match (self.asks() == Asks::MaskedTokens, &self.masking) {
            (true, Some(masking)) => masking.check(self.vocab),
            (true, None) => given(false, "missing", "numbers where masked tokens are asked for"),
            (false, Some(_)) => given(false, "given", "none where no masked tokens are asked for"),
            (false, None) => Ok(()),
        }
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
        let masking = (asks == Asks::MaskedTokens).then(|| Masking::usual(4));
        let sizes = EncoderConfig { vocab: 60, max_tokens: 8, width: 8, heads: 2, layers: 1, hidden: 8, ..EncoderConfig::none() };
        EncoderConfig { classes, base: Some(base), masking, ..sizes }
    }

    impl EncoderConfig {
        fn named(self, names: &[&str]) -> Self {
            Self { classes: names.iter().map(|&name| name.to_owned()).collect(), ..self }
        }
    }

    const ALL: [Asks; 6] = [Asks::Class, Asks::NextToken, Asks::Answer, Asks::Translate, Asks::Tags, Asks::MaskedTokens];

    #[test]
    fn a_model_on_a_checkpoint_comes_back_from_both_spellings_and_one_without_has_the_bytes_of_before() {
        for asks in ALL {
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
        for asks in [Asks::NextToken, Asks::Answer, Asks::Translate, Asks::MaskedTokens] {
            assert_eq!(model(asks, 0).check(), Ok(()));
            assert!(model(asks, 2).check().is_err());
        }
        let kinds = [0, 1, EncoderConfig::MAX_KINDS, EncoderConfig::MAX_KINDS + 1];
        assert_eq!(kinds.map(|n| model(Asks::Tags, n).check().is_ok()), [false, true, true, false]);
        let mut long = model(Asks::Class, 2);
        long.base.as_mut().unwrap().config = "x".repeat(BaseModel::MAX_CONFIG_BYTES + 1);
        assert!(long.check().is_err());
        assert!(long.whole().base.unwrap().frozen.is_empty());
    }

    /// Only a model that is asked for hidden tokens says how they are hidden.
    #[test]
    fn an_encoder_of_ones_own_may_be_asked_for_tags_or_masked_tokens() {
        let own = |asks, classes, masking| EncoderConfig {
            base: None,
            own: Some(OwnModel { asks, ..OwnModel::default() }),
            masking,
            ..model(Asks::Class, classes)
        };
        let usual = Some(Masking::usual(0));
        for (model, fields) in [(own(Asks::Tags, 3, None), 0x8a), (own(Asks::MaskedTokens, 0, usual), 0x8b)] {
            assert_eq!(model.check(), Ok(()), "{model:?}");
            let bytes = codec::encode(&model);
            assert_eq!((bytes[0], codec::decode::<EncoderConfig>(&bytes, 4096)), (fields, Ok(model.clone())));
            assert_eq!(serde_json::from_str::<EncoderConfig>(&serde_json::to_string(&model).unwrap()).unwrap(), model);
            assert_eq!(model.rows(), 8);
        }
        assert_eq!((own(Asks::Tags, 3, None).choices(), model(Asks::Class, 3).choices()), (7, 3));
        for refused in [
            own(Asks::MaskedTokens, 0, None),
            own(Asks::Tags, 3, usual),
            own(Asks::Tags, 3, None).named(&["a", "b", "a"]),
            own(Asks::Tags, 3, None).named(&["a", ""]),
            EncoderConfig { masking: usual, ..model(Asks::Class, 2) },
            EncoderConfig { masking: None, ..model(Asks::MaskedTokens, 0) },
        ] {
            assert!(refused.check().is_err(), "{refused:?}");
        }
    }

    #[test]
    fn heads_share_the_width_out_unless_a_checkpoint_says_how_wide_they_are() {
        let published = |heads| EncoderConfig { heads, ..model(Asks::Class, 2) };
        let own = |heads| EncoderConfig { base: None, ..published(heads) };
        assert_eq!([published(3), published(4), own(4)].map(|m| m.check().is_ok()), [true; 3]);
        assert_eq!([published(0), own(0), own(3)].map(|m| m.check().is_ok()), [false; 3]);
    }

    #[test]
    fn a_model_of_ones_own_says_what_it_is_built_of_and_a_published_one_does_not() {
        let own = |asks| {
            let decoder_layers = (asks == Asks::Translate).then_some(1);
            EncoderConfig { base: None, own: Some(OwnModel { asks, decoder_layers, ..OwnModel::default() }), ..model(asks, 0) }
        };
        for asks in [Asks::NextToken, Asks::Answer, Asks::Translate] {
            let model = own(asks);
            assert_eq!((model.asks(), model.check()), (asks, Ok(())));
            let bytes = codec::encode(&model);
            assert_eq!((bytes[0], codec::decode::<EncoderConfig>(&bytes, 4096)), (0x8a, Ok(model.clone())), "ten fields");
            assert!(EncoderConfig { classes: vec!["a".into(), "b".into()], ..model.clone() }.check().is_err());
            let both = EncoderConfig { base: super::tests::model(asks, 0).base, ..model };
            assert!(matches!(both.check(), Err(PlanError::OutOfRange { field: "model.own", .. })));
        }
        // Text, start and answer are read from one table; only a published model reads pairs of places.
        assert_eq!((own(Asks::Translate).rows(), model(Asks::Translate, 0).rows()), (17, 81));
        assert_eq!((own(Asks::Answer).rows(), own(Asks::NextToken).rows()), (16, 8));
    }

    /// privacy.md D19: no operation reads more rows of a record than this says.
    #[test]
    fn text_and_answer_count_together() {
        let rows = ALL.map(|asks| (asks.rows(8), asks.places(8)));
        assert_eq!(rows, [(8, 8), (8, 8), (16, 16), (81, 9), (8, 8), (8, 8)]);
        assert_eq!(Asks::Translate.rows(u32::MAX), u32::MAX);
    }
}

//! The model as an administrator asks for it: in numbers, or by the published checkpoint that it begins from.

use super::{PlanFile, PlanFileError};
use protocol::decimal::Decimal;
use protocol::ids::Sha256;
use protocol::plan::own::{Family, FeedForward, MASK, Mask, Norm, NormPlace, OutputHead, OwnModel, Positions, Window};
use protocol::plan::{AdapterConfig, Asks, EncoderConfig, Masking, ShardSpec, Tier, TokenizerKind};
use serde::Deserialize;
use train::hf::base::{Base, Digests};
use train::model::Weights;

/// The section, word for word.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelFile {
    /// Rows of the token embedding.
    pub vocab: Option<u32>,
    /// Longest sequence, in tokens.
    pub max_tokens: Option<u32>,
    /// Model width.
    pub width: Option<u32>,
    /// Attention heads.
    pub heads: Option<u32>,
    /// Transformer blocks.
    pub layers: Option<u32>,
    /// Width of the feed-forward part.
    pub hidden: Option<u32>,
    /// Classes in order, or kinds of tagged parts; none where tokens are asked for.
    #[serde(default)]
    pub classes: Vec<String>,
    /// Low-rank adapters.
    #[serde(default)]
    pub adapter: Option<AdapterConfig>,
    /// The checkpoint that it begins from; then the sizes are the checkpoint's.
    #[serde(default)]
    pub base: Option<BaseFile>,
    /// How texts become tokens; hashed characters unless given, and the checkpoint's own way beside one.
    pub tokenizer: Option<TokenizerKind>,
    /// Which stacks of blocks it has; an encoder unless given.
    pub family: Option<Family>,
    /// What it is asked for; what its family is usually asked for unless given.
    pub asks: Option<Asks>,
    /// Blocks of an encoder-decoder's decoder; as many as of its encoder unless given.
    pub decoder_layers: Option<u32>,
    /// How places are told.
    pub positions: Option<Positions>,
    /// How tokens are normalised.
    pub norm: Option<Norm>,
    /// Where.
    pub norm_place: Option<NormPlace>,
    /// The feed-forward part.
    pub feed_forward: Option<FeedForward>,
    /// Heads of keys and values.
    pub groups: Option<u32>,
    /// What scores tokens.
    pub head: Option<OutputHead>,
    /// Whom a decoder's token hears.
    pub mask: Option<Mask>,
    /// A sliding window.
    pub window: Option<Window>,
    /// Kernel of a convolution over the tables.
    pub stem: Option<u32>,
    /// Chance that a number is left out in training.
    pub dropout: Option<Decimal>,
    /// How tokens are hidden, where those are asked for; the usual numbers unless given.
    pub masking: Option<MaskingFile>,
}

/// How tokens are hidden.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaskingFile {
    /// Share of a record's tokens that are asked for.
    pub share: Option<Decimal>,
    /// Share of those that the mask stands for.
    pub masked: Option<Decimal>,
    /// Share of those in whose place any token stands.
    pub random: Option<Decimal>,
}

impl MaskingFile {
    /// These numbers, and the usual ones for the rest.
    fn over(self, usual: Masking) -> Masking {
        let (share, masked) = (self.share.unwrap_or(usual.share), self.masked.unwrap_or(usual.masked));
        Masking { share, masked, random: self.random.unwrap_or(usual.random), ..usual }
    }
}

/// A published checkpoint, by the SHA-256 of its files.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BaseFile {
    /// Of `config.json`.
    pub config: Sha256,
    /// Of `model.safetensors`, or of what `sha256sum` prints of the index and its files.
    pub weights: Sha256,
    /// Of `tokenizer.json`.
    pub tokenizer: Sha256,
    /// What it is asked for.
    #[serde(default)]
    pub asks: Asks,
}

impl From<BaseFile> for Digests {
    fn from(BaseFile { config, weights, tokenizer, .. }: BaseFile) -> Self {
        Self { config, weights, tokenizer }
    }
}

/// What a plan trains, and what its first round starts from.
pub(super) struct Start {
    /// Of the first weights, with what they leave to the checkpoint.
    pub(super) weights: Weights,
    pub(super) tokenizer: TokenizerKind,
    pub(super) shards: Vec<ShardSpec>,
    pub(super) tiers: Option<Vec<Tier>>,
}

impl ModelFile {
    /// Concordat's own model, whose sizes the file must state.
    fn own(&self) -> Result<EncoderConfig, PlanFileError> {
        let need = |size: Option<u32>, key| size.ok_or(PlanFileError::Size(key));
        let own = self.parts()?;
        let hides = own.is_some_and(|own| own.asks == Asks::MaskedTokens);
        let bytes = (self.tokenizer == Some(TokenizerKind::Bytes)).then_some(TokenizerKind::BYTES);
        Ok(EncoderConfig {
            vocab: need(self.vocab.or(bytes), "vocab")?,
            max_tokens: need(self.max_tokens, "max_tokens")?,
            width: need(self.width, "width")?,
            heads: need(self.heads, "heads")?,
            layers: need(self.layers, "layers")?,
            hidden: need(self.hidden, "hidden")?,
            classes: self.classes.clone(),
            adapter: self.adapter.clone(),
            base: None,
            own,
            masking: self.masking(hides.then(|| Masking::usual(MASK))),
        })
    }

    /// How tokens are hidden. Numbers for a model that is asked for something else are refused by the rule of plans.
    fn masking(&self, usual: Option<Masking>) -> Option<Masking> {
        match self.masking {
            Some(file) => Some(file.over(usual.unwrap_or(Masking::usual(MASK)))),
            None => usual,
        }
    }

    /// What the model is built of and asked for; nothing for the plain classifier, whose plan has the bytes that it always had.
    fn parts(&self) -> Result<Option<OwnModel>, PlanFileError> {
        let family = self.family.unwrap_or_default();
        let asks = self.asks.unwrap_or_else(|| family.usual());
        if asks.family() != family {
            return Err(PlanFileError::Family { asks, of: asks.family(), stated: family });
        }
        let decoder_layers = match family {
            Family::Encoder | Family::Decoder => self.decoder_layers,
            Family::EncoderDecoder => self.decoder_layers.or(self.layers),
        };
        let own = OwnModel {
            asks,
            positions: self.positions.unwrap_or_default(),
            norm: self.norm.unwrap_or_default(),
            norm_place: self.norm_place.unwrap_or_default(),
            feed_forward: self.feed_forward.unwrap_or_default(),
            head: self.head.unwrap_or_default(),
            mask: self.mask.unwrap_or_default(),
            decoder_layers,
            // As many as there are heads is what a model without the key has.
            groups: self.groups.filter(|&g| Some(g) != self.heads),
            window: self.window,
            stem: self.stem,
            dropout: self.dropout,
        };
        Ok((own != OwnModel::default()).then_some(own))
    }

    /// The first key that says what a model is built of: a checkpoint says that itself.
    fn first_part(&self) -> Option<&'static str> {
        let stated = [
            ("tokenizer", self.tokenizer.is_some()),
            ("family", self.family.is_some()),
            ("asks", self.asks.is_some()),
            ("decoder_layers", self.decoder_layers.is_some()),
            ("positions", self.positions.is_some()),
            ("norm", self.norm.is_some()),
            ("norm_place", self.norm_place.is_some()),
            ("feed_forward", self.feed_forward.is_some()),
            ("groups", self.groups.is_some()),
            ("head", self.head.is_some()),
            ("mask", self.mask.is_some()),
            ("window", self.window.is_some()),
            ("stem", self.stem.is_some()),
            ("dropout", self.dropout.is_some()),
        ];
        stated.into_iter().find(|(_, there)| *there).map(|(key, _)| key)
    }

    /// The model of a checkpoint that is the one that the file names.
    fn on(&self, named: BaseFile, base: &Base) -> Result<EncoderConfig, PlanFileError> {
        base.verify(named.into())?;
        let stated =
            [("vocab", self.vocab), ("width", self.width), ("heads", self.heads), ("layers", self.layers), ("hidden", self.hidden)];
        if let Some((key, _)) = stated.into_iter().find(|(_, size)| size.is_some()) {
            return Err(PlanFileError::SizeOfBase(key));
        }
        if let Some(key) = self.first_part() {
            return Err(PlanFileError::PartOfBase(key));
        }
        let model = base.model(named.asks, self.classes.clone(), self.max_tokens, self.adapter.clone())?;
        Ok(EncoderConfig { masking: self.masking(model.masking), ..model })
    }
}

impl PlanFile {
    /// Model, shard table and first weights: random from the public seed, or out of the checkpoint that the file names.
    pub(super) fn start(&self, base: Option<&Base>) -> Result<Start, PlanFileError> {
        match (self.model.base, base) {
            (None, None) => {
                let model = self.model.own()?;
                let weights = train::model::initial::initial(&model, self.initial_seed)?;
                let tokenizer = self.model.tokenizer.unwrap_or(TokenizerKind::HashedCharacters);
                let (shards, tiers) = self.shard_table(&model)?;
                Ok(Start { weights, tokenizer, shards, tiers })
            }
            (Some(named), Some(base)) => {
                let model = self.model.on(named, base)?;
                let (shards, tiers) = self.shard_table(&model)?;
                let (weights, tokenizer) = (base.begin(&model, &shards, self.initial_seed)?, TokenizerKind::Checkpoint);
                Ok(Start { weights, tokenizer, shards, tiers })
            }
            (Some(named), None) => Err(PlanFileError::NoBase(named.weights)),
            (None, Some(base)) => {
                let Digests { config, weights, tokenizer } = base.digests();
                Err(PlanFileError::UnnamedBase { config, weights, tokenizer })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{PLAN, checkpoint, plan_on};
    use protocol::ids::TaskId;
    use protocol::plan::Plan;

    fn tier(trains: &str) -> String {
        format!("[[tiers]]\nname = \"all\"\ntrains = [{trains}]\n")
    }

    fn prepare(text: &str, base: Option<&Base>) -> Result<Plan, PlanFileError> {
        PlanFile::parse(text)?.prepare_on(TaskId([7; 16]), base).map(|p| p.plan)
    }

    #[test]
    fn a_plan_names_its_checkpoint_and_leaves_to_it_what_nobody_trains() {
        let (_dir, base) = checkpoint();
        let head = prepare(&(plan_on(&base, "") + &tier("\"head\"")), Some(&base)).unwrap();
        let named = head.model.base.as_ref().unwrap();
        assert_eq!(Digests { config: named.config_digest(), weights: named.weights, tokenizer: named.tokenizer }, base.digests());
        assert_eq!((head.tokenizer, head.model.max_tokens, head.model.width), (TokenizerKind::Checkpoint, 12, 16));
        // Pooler (16 x 16 + 16) and classifier (2 x 16 + 2).
        assert_eq!(head.dimension(), 306);
        let bytes = protocol::codec::encode(&head);
        assert_eq!(protocol::codec::decode::<Plan>(&bytes, Plan::MAX_BYTES), Ok(head));
        let full = prepare(&plan_on(&base, "max_tokens = 8\n"), Some(&base)).unwrap();
        assert_eq!((full.model.base.as_ref().unwrap().frozen.len(), full.model.max_tokens), (0, 8));
        // A plan that forgets its tokenizer, or takes one that is not its own, is refused by the rule of plans.
        assert!(Plan { tokenizer: TokenizerKind::HashedCharacters, ..full }.check().is_err());
        assert!(Plan { tokenizer: TokenizerKind::Checkpoint, ..crate::testing::plan("") }.check().is_err());
    }

    #[test]
    fn a_decoder_is_asked_for_the_next_token_and_has_no_classes() {
        let (_dir, base) = crate::testing::published("gpt2");
        let asks = |text: String| text.replace(" }\n", ", asks = \"next-token\" }\n");
        let text = asks(plan_on(&base, ""));
        let plan = prepare(&text.replace("classes = [\"a\", \"b\"]\n", ""), Some(&base)).unwrap();
        assert_eq!((plan.model.asks(), plan.model.classes.len(), plan.check()), (Asks::NextToken, 0, Ok(())));
        let bytes = protocol::codec::encode(&plan);
        assert_eq!(protocol::codec::decode::<Plan>(&bytes, Plan::MAX_BYTES), Ok(plan));
        let named = prepare(&text, Some(&base)).err().unwrap().to_string();
        assert!(named.contains("the plan is not valid"), "classes beside it: {named}");
        assert!(matches!(prepare(&plan_on(&base, ""), Some(&base)), Err(PlanFileError::Base(_))), "a decoder is no classifier");
    }

    /// The plan file with these lines in its section `model` and no classes.
    fn built(more: &str) -> String {
        let classes = "classes = [\"a\", \"b\"]\n";
        assert!(PLAN.contains(classes));
        PLAN.replace(classes, more)
    }

    #[test]
    fn an_encoder_is_asked_for_tags_or_masked_tokens() {
        let tags = prepare(&built("asks = \"tags\"\nclasses = [\"drug\"]\n"), None).unwrap();
        assert_eq!((tags.model.asks(), tags.model.choices(), tags.model.masking), (Asks::Tags, 3, None));
        let hidden = |more: &str| prepare(&built(&format!("asks = \"masked-tokens\"\n{more}")), None);
        assert_eq!(hidden("").unwrap().model.masking, Some(Masking::usual(MASK)));
        let some = hidden("masking = { share = \"0.3\", random = \"0\" }\n").unwrap();
        let numbers = some.model.masking.map(|m| [m.share, m.masked, m.random].map(|n| n.to_string()));
        assert_eq!(numbers, Some(["0.3", "0.8", "0"].map(str::to_owned)));
        let bytes = protocol::codec::encode(&some);
        assert_eq!(protocol::codec::decode::<Plan>(&bytes, Plan::MAX_BYTES), Ok(some));
        let refused = |text: &str| matches!(prepare(text, None), Err(PlanFileError::Plan(_)));
        assert!(refused(&built("asks = \"tags\"\n")), "no kinds");
        assert!(refused(&built("asks = \"masked-tokens\"\nclasses = [\"a\", \"b\"]\n")));
        assert!(refused(&built("asks = \"masked-tokens\"\nmasking = { share = \"0\" }\n")));
        assert!(refused(&built("classes = [\"a\", \"b\"]\nmasking = { share = \"0.2\" }\n")), "a class is asked for");
    }

    #[test]
    fn a_published_encoder_is_asked_for_tags_or_masked_tokens() {
        let (dir, _) = crate::testing::published("bert-masked");
        let tokenizer = r#"{"model":{"vocab":{"a":0,"b":59}},"added_tokens":[{"id":4,"content":"[MASK]"}]}"#;
        std::fs::write(dir.path().join("tokenizer.json"), tokenizer).unwrap();
        let base = Base::open(dir.path()).unwrap();
        let on = |asks: &str, more: &str| {
            let text = plan_on(&base, more).replace(" }\n", &format!(", asks = \"{asks}\" }}\n"));
            prepare(&text.replace("classes = [\"a\", \"b\"]\n", ""), Some(&base))
        };
        let hidden = on("masked-tokens", "").unwrap().model;
        assert_eq!((hidden.asks(), hidden.masking, hidden.own), (Asks::MaskedTokens, Some(Masking::usual(4)), None));
        let tags = on("tags", "classes = [\"drug\", \"dose\"] # kinds\n").unwrap().model;
        assert_eq!((tags.asks(), tags.choices(), tags.masking), (Asks::Tags, 5, None));
    }

    #[test]
    fn each_family_begins_from_random_weights_and_its_plan_comes_back() {
        let whole = "asks = \"answer\"\nmask = \"prefix\"\npositions = { rotary = { theta = 10000 } }\nnorm = \"root-mean-square\"\n\
             norm_place = \"after\"\nfeed_forward = \"swiglu\"\nhead = \"own\"\nwindow = { reach = 2, global = 1 }\nstem = 3\ndropout = \"0.1\"\n";
        for (more, asks) in [
            ("family = \"decoder\"\n".to_owned(), Asks::NextToken),
            (format!("family = \"decoder\"\n{whole}"), Asks::Answer),
            ("family = \"encoder-decoder\"\n".to_owned(), Asks::Translate),
            ("family = \"encoder-decoder\"\ndecoder_layers = 2\n".to_owned(), Asks::Translate),
        ] {
            let prepared = PlanFile::parse(&built(&more)).unwrap().prepare(TaskId([7; 16])).unwrap();
            let plan = prepared.plan;
            assert_eq!((plan.model.asks(), plan.tokenizer, plan.check()), (asks, TokenizerKind::HashedCharacters, Ok(())), "{more}");
            assert_eq!(protocol::codec::decode::<Plan>(&prepared.bytes, Plan::MAX_BYTES).as_ref(), Ok(&plan));
            // What the first round starts from is what the plan names, and all of it is trained.
            let weights = train::snapshot::from_bytes(&plan.model, &prepared.base).unwrap();
            assert_eq!((train::snapshot::digest(&prepared.base), weights.flat().len() as u64), (plan.base, plan.dimension()));
        }
        let layers = |more: &str| prepare(&built(more), None).unwrap().model.built().decoder_layers;
        assert_eq!(layers("family = \"encoder-decoder\"\n"), Some(1), "as many as read");
        assert_eq!(layers("family = \"encoder-decoder\"\ndecoder_layers = 2\n"), Some(2));
    }

    /// As many rows as there are tokens, unless more are asked for; fewer are refused.
    #[test]
    fn a_plan_may_ask_for_bytes() {
        let text = PLAN.replace("vocab = 16\n", "tokenizer = \"bytes\"\n");
        let plan = prepare(&text, None).unwrap();
        assert_eq!((plan.tokenizer, plan.model.vocab), (TokenizerKind::Bytes, 260));
        let bytes = protocol::codec::encode(&plan);
        assert_eq!(protocol::codec::decode::<Plan>(&bytes, Plan::MAX_BYTES), Ok(plan));
        let refused = |text: &str| prepare(text, None).err().map(|e| format!("{e:?}")).unwrap_or_default();
        assert!(refused(&text.replace("tokenizer = ", "vocab = 259\ntokenizer = ")).contains("260 or more where tokens are bytes"));
        assert!(refused(&text.replace("\"bytes\"", "\"checkpoint\"")).contains("Size(\"vocab\")"));
        let foreign = PLAN.replace("vocab = 16\n", "vocab = 16\ntokenizer = \"checkpoint\"\n");
        assert!(refused(&foreign).contains("hashed-characters or bytes"));
    }

    /// A plan that says in more words what it says anyway has the bytes that such plans always had.
    #[test]
    fn defaults_that_are_spelt_out_change_no_byte() {
        let plain = crate::testing::plan("");
        let stated = "tokenizer = \"hashed-characters\"\nfamily = \"encoder\"\nasks = \"class\"\npositions = \"learned\"\nnorm = \"layer\"\nnorm_place = \"before\"\n\
             feed_forward = \"gelu\"\ngroups = 1\nhead = \"tied\"\nmask = \"causal\"\n[privacy]\n";
        let spelt = prepare(&PLAN.replacen("[privacy]\n", stated, 1), None).unwrap();
        assert_eq!(protocol::codec::encode(&plain), protocol::codec::encode(&spelt));
        assert_eq!(plain.model.own, None);
    }

    #[test]
    fn a_model_that_cannot_be_built_or_asked_so_is_refused_with_what_was_expected() {
        let refused = |text: &str| match prepare(text, None) {
            Err(PlanFileError::Plan(e)) => e.to_string(),
            Err(PlanFileError::Model(e)) => e.to_string(),
            Err(e) => e.to_string(),
            Ok(_) => panic!("{text} is taken"),
        };
        let decoder = |more: &str| built(&format!("family = \"decoder\"\n{more}"));
        for (text, words) in [
            (decoder("classes = [\"a\", \"b\"]\n"), "model.classes is 2"),
            (decoder("asks = \"translate\"\n"), "family \"encoder-decoder\" answers"),
            (built("asks = \"next-token\"\n"), "expected asks = \"class\""),
            (decoder("mask = \"prefix\"\n"), "model.mask is prefix"),
            (decoder("decoder_layers = 1\n"), "model.decoder_layers is 1"),
            (decoder("groups = 2\n"), "groups"),
            (decoder("stem = 7\n"), "stem"),
            (decoder("window = { reach = 0 }\n"), "window"),
            (decoder("dropout = \"0.95\"\n"), "model.dropout is 0.95"),
            (decoder("positions = { rotary = { theta = 0 } }\n"), "theta"),
            (decoder("").replace("vocab = 16", "vocab = 4"), "model.vocab is 4"),
        ] {
            let told = refused(&text);
            assert!(told.contains(words), "{words}: {told}");
        }
        assert!(PlanFile::parse(&decoder("head = \"none\"\n")).is_err());
    }

    #[test]
    fn what_does_not_fit_is_refused_with_its_cure() {
        let (dir, base) = checkpoint();
        let refused = |text: &str, base: Option<&Base>| prepare(text, base).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(refused(&plan_on(&base, ""), None).contains("--base"));
        let unnamed = refused(PLAN, Some(&base));
        assert!(unnamed.contains(&format!("weights = \"{}\"", base.digests().weights)) && unnamed.contains("[model.base]"), "{unnamed}");
        assert!(refused(&PLAN.replace("width = 4\n", ""), None).contains("model.width is missing"));
        assert!(refused(&plan_on(&base, "width = 16\n"), Some(&base)).contains("model.width is stated beside"));
        assert!(refused(&plan_on(&base, "norm = \"layer\"\n"), Some(&base)).contains("model.norm is stated beside"));
        let untrained = prepare(&(plan_on(&base, "") + &tier("{ layers = { from = 0, to = 1 } }")), Some(&base));
        assert!(matches!(untrained, Err(PlanFileError::Base(train::hf::base::BaseError::Untrained(_)))));
        std::fs::write(dir.path().join("tokenizer.json"), r#"{"model":{"vocab":{"a":0,"b":58}}}"#).unwrap();
        let other = prepare(&plan_on(&base, ""), Some(&Base::open(dir.path()).unwrap()));
        assert!(matches!(other, Err(PlanFileError::Base(train::hf::base::BaseError::Differs { file: "tokenizer.json", .. }))));
    }
}

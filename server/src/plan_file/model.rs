//! The model as an administrator asks for it: in numbers, or by the published checkpoint that it begins from.

use super::{PlanFile, PlanFileError};
use protocol::ids::Sha256;
use protocol::plan::{AdapterConfig, Asks, EncoderConfig, ShardSpec, Tier, TokenizerKind};
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
    /// Classes in order; none where the next token is asked for.
    #[serde(default)]
    pub classes: Vec<String>,
    /// Low-rank adapters.
    #[serde(default)]
    pub adapter: Option<AdapterConfig>,
    /// The checkpoint that it begins from; then the sizes are the checkpoint's.
    #[serde(default)]
    pub base: Option<BaseFile>,
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
    /// Concordat's own encoder, whose sizes the file must state.
    fn own(&self) -> Result<EncoderConfig, PlanFileError> {
        let need = |size: Option<u32>, key| size.ok_or(PlanFileError::Size(key));
        Ok(EncoderConfig {
            vocab: need(self.vocab, "vocab")?,
            max_tokens: need(self.max_tokens, "max_tokens")?,
            width: need(self.width, "width")?,
            heads: need(self.heads, "heads")?,
            layers: need(self.layers, "layers")?,
            hidden: need(self.hidden, "hidden")?,
            classes: self.classes.clone(),
            adapter: self.adapter.clone(),
            base: None,
        })
    }

    /// The model of a checkpoint that is the one that the file names.
    fn on(&self, named: BaseFile, base: &Base) -> Result<EncoderConfig, PlanFileError> {
        base.verify(named.into())?;
        let stated =
            [("vocab", self.vocab), ("width", self.width), ("heads", self.heads), ("layers", self.layers), ("hidden", self.hidden)];
        if let Some((key, _)) = stated.into_iter().find(|(_, size)| size.is_some()) {
            return Err(PlanFileError::SizeOfBase(key));
        }
        Ok(base.model(named.asks, self.classes.clone(), self.max_tokens, self.adapter.clone())?)
    }
}

impl PlanFile {
    /// Model, shard table and first weights: random from the public seed, or out of the checkpoint that the file names.
    pub(super) fn start(&self, base: Option<&Base>) -> Result<Start, PlanFileError> {
        match (self.model.base, base) {
            (None, None) => {
                let model = self.model.own()?;
                let (weights, tokenizer) = (train::model::initial::initial(&model, self.initial_seed)?, TokenizerKind::HashedCharacters);
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

    #[test]
    fn what_does_not_fit_is_refused_with_its_cure() {
        let (dir, base) = checkpoint();
        let refused = |text: &str, base: Option<&Base>| prepare(text, base).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(refused(&plan_on(&base, ""), None).contains("--base"));
        let unnamed = refused(PLAN, Some(&base));
        assert!(unnamed.contains(&format!("weights = \"{}\"", base.digests().weights)) && unnamed.contains("[model.base]"), "{unnamed}");
        assert!(refused(&PLAN.replace("width = 4\n", ""), None).contains("model.width is missing"));
        assert!(refused(&plan_on(&base, "width = 16\n"), Some(&base)).contains("model.width is stated beside"));
        let untrained = prepare(&(plan_on(&base, "") + &tier("{ layers = { from = 0, to = 1 } }")), Some(&base));
        assert!(matches!(untrained, Err(PlanFileError::Base(train::hf::base::BaseError::Untrained(_)))));
        std::fs::write(dir.path().join("tokenizer.json"), r#"{"model":{"vocab":{"a":0,"b":58}}}"#).unwrap();
        let other = prepare(&plan_on(&base, ""), Some(&Base::open(dir.path()).unwrap()));
        assert!(matches!(other, Err(PlanFileError::Base(train::hf::base::BaseError::Differs { file: "tokenizer.json", .. }))));
    }
}

//! Files that somebody else's program wrote: configurations, weights, tokenizers, adapters.

use protocol::ids::Sha256;
use protocol::plan::{Asks, BaseModel, EncoderConfig};
use std::sync::LazyLock;
use train::hf::file::Tensors;
use train::hf::index::Index;
use train::hf::{adapter, config, from_bytes, tokenizer};
use train::model::lora::Factor;
use train::model::{Config, Trained, TransformerWeights};

/// The model that weights and adapters are tried on.
const CONFIG: &[u8] = br#"{"model_type":"gpt2","vocab_size":5,"n_embd":4,"n_head":2,"n_layer":1,"n_positions":3,"n_inner":4}"#;

static BASE: LazyLock<TransformerWeights> = LazyLock::new(|| {
    let config = config::parse(CONFIG).expect("the configuration above is a model");
    TransformerWeights::initial(&config, 1).expect("and has first weights")
});

/// One spelling of a configuration is kept when it is read again; nothing else may do more than fail.
pub fn checkpoints(bytes: &[u8]) {
    if let Ok(config) = config::parse(bytes)
        && let Ok(text) = config::render(&config)
    {
        assert!(config::parse(text.as_bytes()).is_ok_and(|again| again == config));
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let all = [Asks::Class, Asks::NextToken, Asks::Answer, Asks::Translate, Asks::Tags, Asks::MaskedTokens];
        all.into_iter().for_each(|asks| planned(text, asks));
    }
    if let Ok(tensors) = Tensors::parse(bytes) {
        let names: Vec<&str> = tensors.names().collect();
        assert!(names.iter().all(|name| tensors.has(name)));
    }
    if let Ok(index) = Index::parse(bytes) {
        let beside = |name: &String| !name.contains(['/', '\\', ':', '\0']) && !name.starts_with('.');
        assert!(!index.files().is_empty() && index.files().iter().all(beside));
    }
    if let Ok((weights, _)) = from_bytes(BASE.config(), bytes) {
        assert!(weights.flat().iter().all(|w| w.is_finite()));
    }
    let _fits = tokenizer::fits(bytes, 10);
    let (json, tensors) = bytes.split_at(bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len()));
    let _adapter = adapter::from_bytes(json, tensors, &BASE, Factor::B);
}

/// A plan's model on such a configuration: built, or refused.
fn planned(config: &str, asks: Asks) {
    let (digest, config) = (Sha256([0; 32]), config.to_owned());
    let base = BaseModel { config, weights: digest, tokenizer: digest, frozen: Vec::new(), asks };
    let classes = vec!["no".to_owned(), "yes".to_owned()];
    let sizes = EncoderConfig {
        vocab: 5,
        max_tokens: 1,
        width: 4,
        heads: 2,
        layers: 1,
        hidden: 4,
        classes,
        base: Some(base),
        ..EncoderConfig::none()
    };
    drop(Config::of_plan(&sizes, Trained::Kept));
}

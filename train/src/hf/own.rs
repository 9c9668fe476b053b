//! Concordat's own decoders, under the names of the published architecture that has the same parts, so that other programs load them
//! (training.md M3). Knows no release and no checkpoint.
//!
//! GPT-2's kind has learned places, LayerNorm and a plain feed-forward part; Llama's has rotary places, RMSNorm and a gated one, here with a
//! constant in every layer. Other models have no published architecture: their parts are refused by name.

use super::config::{self, ConfigError};
use super::{Checkpoint, HfError, MAX_FILE_BYTES, adapter, save_as};
use crate::model::config::{Choices, Family, FeedForwardKind, MaskKind, NormPlace, Positions};
use crate::model::names::{BlockNames, Projections, Side, Spelling};
use crate::model::norm::NormKind;
use crate::model::parameters::size;
use crate::model::{Config, Trained, TransformerWeights, Weights};
use protocol::plan::own::END;
use protocol::plan::{Asks, EncoderConfig, TokenizerKind};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

/// Whether a published architecture has this model's parts.
///
/// # Errors
/// [`ConfigError::Unpublished`] names the first part that none has.
pub fn check(model: &EncoderConfig) -> Result<(), HfError> {
    kin(Config::of_plan(model, Trained::Kept)?.choices())?;
    Ok(())
}

/// Writes the model into `directory`, which must exist: adapters worked in, with the tokenizer of its plan where other programs have one that cuts
/// texts alike. Hashed tokens have none.
///
/// # Errors
/// As [`check`]; a file that cannot be written.
pub fn export(weights: &Weights, tokenizer: TokenizerKind, directory: &Path) -> Result<(), HfError> {
    let config = Config::of_plan(weights.config(), Trained::Kept)?;
    let kept = TransformerWeights::new(&config, weights.flat().to_vec(), Vec::new())?;
    let plain = match config.adapter {
        Some(_) => adapter::merge(&kept)?,
        None => kept.retraining(&super::whole(&config)?, 0)?,
    };
    let renamed = renamed(&plain)?;
    let text = marked(&config::render(renamed.config())?, weights.config().asks())?;
    let tokenizer = match tokenizer {
        TokenizerKind::Bytes => Some(corpus::tokenizer::byte_tokenizer().into_bytes()),
        TokenizerKind::HashedCharacters | TokenizerKind::Checkpoint => None,
    };
    save_as(&Checkpoint { weights: renamed, tokenizer, unused: Vec::new() }, &text, directory, MAX_FILE_BYTES)
}

/// The architecture that has these parts.
fn kin(c: &Choices) -> Result<Spelling, ConfigError> {
    let unpublished = |part| Err(ConfigError::Unpublished { part });
    if c.spelling != Spelling::Own || c.family != Family::Decoder {
        return unpublished("what this model is: expected a decoder of Concordat's own");
    }
    match (c.mask, c.place) {
        (MaskKind::Causal, NormPlace::Before) => {}
        (MaskKind::Full | MaskKind::Prefix, _) => return unpublished("its mask: expected \"causal\""),
        (MaskKind::Causal, NormPlace::After) => return unpublished("its norm_place: expected \"before\""),
    }
    if c.window.is_some() {
        return unpublished("a window with global tokens: expected none");
    }
    if c.stem.is_some() {
        return unpublished("a convolution over its table: expected no stem");
    }
    match (c.positions, c.norm, c.feed_forward) {
        (Positions::Learned, NormKind::Layer, FeedForwardKind::Plain(_)) if c.groups == c.heads => Ok(Spelling::Gpt2),
        (Positions::Rotary { .. }, NormKind::RootMeanSquare, FeedForwardKind::Gated(_)) => Ok(Spelling::Llama),
        (
            Positions::Learned
            | Positions::Sinusoidal
            | Positions::Rotary { .. }
            | Positions::Stretched { .. }
            | Positions::Distances { .. },
            _,
            _,
        ) => unpublished(
            "these parts together: expected positions \"learned\", norm \"layer\", feed_forward \"gelu\" and no groups, as GPT-2 has them, or \
             rotary positions, \"root-mean-square\" and \"swiglu\", as Llama has them",
        ),
    }
}

/// Where a tensor of the renamed model is here: its name, and its rows where it is a part of a fused one.
type Source = (String, Option<Range<usize>>);

/// Sources by the published names.
struct Sources(BTreeMap<String, Source>);

impl Sources {
    fn new(own: &Choices, published: &Choices) -> Self {
        let (mut all, [new, old]) = (Self(BTreeMap::new()), [published.spelling, own.spelling]);
        all.tensor(new.tokens(), old.tokens());
        all.tensor(new.places(), old.places());
        all.tensor(new.head(), old.head());
        all.layer((&new.last_norm(Side::Decoder), &old.last_norm(Side::Decoder)), None);
        let (q, kv) = (size(own.heads) * size(own.head_width), size(own.groups) * size(own.head_width));
        let rows = [0..q, q..q + kv, q + kv..q + 2 * kv];
        for layer in 0..own.layers {
            all.block((&published.block_names(layer), &own.block_names(layer)), &rows);
        }
        all
    }

    fn tensor(&mut self, new: &str, old: &str) {
        self.0.insert(new.to_owned(), (old.to_owned(), None));
    }

    fn layer(&mut self, (new, old): (&str, &str), rows: Option<&Range<usize>>) {
        for part in ["weight", "bias"] {
            self.0.insert(format!("{new}.{part}"), (format!("{old}.{part}"), rows.cloned()));
        }
    }

    fn block(&mut self, (new, old): (&BlockNames, &BlockNames), rows: &[Range<usize>; 3]) {
        match (&new.attention.projections, &old.attention.projections) {
            (Projections::Fused(new), Projections::Fused(old)) => self.layer((new, old), None),
            (Projections::Apart(new), Projections::Fused(old)) => {
                new.iter().zip(rows).for_each(|(new, rows)| self.layer((new, old), Some(rows)));
            }
            // Concordat's own are always fused.
            (Projections::Fused(_) | Projections::Apart(_), Projections::Apart(_)) => {}
        }
        for (new, old) in [
            (&new.attention.norm, &old.attention.norm),
            (&new.attention.output, &old.attention.output),
            (&new.feed_forward_norm, &old.feed_forward_norm),
            (&new.gate, &old.gate),
            (&new.up, &old.up),
            (&new.down, &old.down),
        ] {
            self.layer((new, old), None);
        }
    }

    /// The numbers of a tensor of the renamed model.
    fn read<'a>(&self, weights: &'a TransformerWeights, name: &str) -> Option<&'a [f32]> {
        let (name, rows) = self.0.get(name)?;
        let (shape, all) = (&weights.table().find(name)?.shape, weights.tensor(name)?);
        let Some(rows) = rows else { return Some(all) };
        let width: usize = shape.iter().skip(1).product();
        all.get(rows.start * width..rows.end * width)
    }
}

/// The same numbers under published names. What is left out in training is no part of a model at rest.
fn renamed(weights: &TransformerWeights) -> Result<TransformerWeights, HfError> {
    let own = weights.config().choices();
    let config = Config::new(Choices { spelling: kin(own)?, dropout: 0.0, ..own.clone() })?;
    let (sources, table) = (Sources::new(own, config.choices()), TransformerWeights::tables(&config).0);
    let mut flat = Vec::with_capacity(table.len());
    for p in table.iter() {
        let there = sources.read(weights, &p.name).ok_or(ConfigError::Unpublished { part: "all of its tensors" })?;
        flat.extend_from_slice(there);
    }
    Ok(TransformerWeights::new(&config, flat, Vec::new())?)
}

/// The configuration with the mark that begins every text; a model that was taught where an answer ends ends it with the same one.
fn marked(text: &str, asks: Asks) -> Result<String, HfError> {
    let mut fields: Map<String, Value> = serde_json::from_str(text).map_err(ConfigError::from)?;
    fields.insert("bos_token_id".to_owned(), json!(END));
    if asks == Asks::Answer {
        fields.insert("eos_token_id".to_owned(), json!(END));
    }
    Ok(serde_json::to_string_pretty(&fields).map_err(ConfigError::from)? + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{Batch, Record};
    use crate::capture::Tape;
    use crate::hf::{CONFIG, TOKENIZER, load};
    use crate::model::{Transformer, initial};
    use crate::testing::{built, decimal, small_config};
    use protocol::plan::AdapterConfig;
    use protocol::plan::own::{self, OwnModel};
    use std::collections::BTreeSet;

    fn scores(weights: &TransformerWeights) -> Vec<f32> {
        let record = Record { tokens: vec![1, 4, 9, 3, 17, 7], class: 0, labels: Vec::new() };
        let scores = Transformer::load(weights).unwrap().forward(&Batch::pack([&record], 12), &Tape::off()).unwrap();
        scores.flatten_all().unwrap().to_vec1().unwrap()
    }

    /// Weights as after some rounds: every number is away from its first value.
    fn trained(config: &EncoderConfig) -> Weights {
        let first = initial(config, 3).unwrap();
        let moved = first.flat().iter().enumerate().map(|(i, w)| w + 0.05 * (i as f32 * 0.37).sin()).collect();
        Weights::new(config, moved).unwrap()
    }

    fn decoder() -> OwnModel {
        OwnModel { asks: Asks::NextToken, ..OwnModel::default() }
    }

    fn llama() -> OwnModel {
        let positions = own::Positions::Rotary { theta: 500 };
        OwnModel { positions, norm: own::Norm::RootMeanSquare, feed_forward: own::FeedForward::Swiglu, ..decoder() }
    }

    #[test]
    fn other_programs_get_a_model_that_computes_the_same() {
        let adapter: Option<AdapterConfig> = serde_json::from_str(r#"{"rank": 2, "alpha": 4}"#).unwrap();
        let dropout = Some(decimal("0.1"));
        for (kind, config) in [
            ("gpt2", built(decoder())),
            ("gpt2", built(OwnModel { head: own::OutputHead::Own, asks: Asks::Answer, dropout, ..decoder() })),
            ("gpt2", EncoderConfig { adapter: adapter.clone(), ..built(decoder()) }),
            ("llama", built(llama())),
            ("llama", built(OwnModel { groups: Some(2), head: own::OutputHead::Own, asks: Asks::Answer, dropout, ..llama() })),
            ("llama", EncoderConfig { adapter, ..built(OwnModel { groups: Some(1), ..llama() }) }),
        ] {
            let (weights, out) = (trained(&config), tempfile::tempdir().unwrap());
            check(&config).unwrap();
            export(&weights, TokenizerKind::HashedCharacters, out.path()).unwrap();
            let again = load(out.path()).unwrap();
            let ours = scores(&TransformerWeights::part_of(&weights, BTreeSet::new()).unwrap());
            let theirs = scores(&again.weights);
            assert!(ours.len() == theirs.len() && ours.iter().zip(&theirs).all(|(a, b)| (a - b).abs() < 1e-4), "{kind}: {config:?}");
            assert!(again.unused.is_empty() && !out.path().join(TOKENIZER).exists());
            let text = std::fs::read_to_string(out.path().join(CONFIG)).unwrap();
            assert!(text.contains(&format!("\"model_type\": \"{kind}\"")) && text.contains("\"bos_token_id\": 1"), "{text}");
            assert_eq!(config::end(text.as_bytes()).is_some(), config.asks() == Asks::Answer, "{text}");
        }
    }

    /// Whoever loads it can cut texts and write them.
    #[test]
    fn a_model_over_bytes_goes_out_with_its_tokenizer() {
        let (config, out) = (EncoderConfig { vocab: TokenizerKind::BYTES, ..built(decoder()) }, tempfile::tempdir().unwrap());
        export(&trained(&config), TokenizerKind::Bytes, out.path()).unwrap();
        let again = load(out.path()).unwrap();
        assert_eq!(again.tokenizer.as_deref(), Some(corpus::tokenizer::byte_tokenizer().as_bytes()));
    }

    #[test]
    fn a_part_that_no_published_decoder_has_is_named() {
        let refused = |config: &EncoderConfig| match check(config) {
            Err(HfError::Config(e)) => e.to_string(),
            Err(e) => panic!("{e}"),
            Ok(()) => "nothing".to_owned(),
        };
        let pair = OwnModel { asks: Asks::Translate, decoder_layers: Some(1), ..decoder() };
        let window = Some(own::Window { reach: 2, global: 0 });
        for (own, words) in [
            (pair, "expected a decoder"),
            (OwnModel { asks: Asks::Answer, mask: own::Mask::Prefix, ..decoder() }, "mask"),
            (OwnModel { norm_place: own::NormPlace::After, ..decoder() }, "norm_place"),
            (OwnModel { window, ..decoder() }, "window"),
            (OwnModel { stem: Some(3), ..decoder() }, "convolution"),
            (OwnModel { groups: Some(2), ..decoder() }, "no groups"),
            (OwnModel { positions: own::Positions::Sinusoidal, ..decoder() }, "as Llama has them"),
            (OwnModel { norm: own::Norm::Layer, ..llama() }, "as GPT-2 has them"),
        ] {
            assert!(refused(&built(own)).contains(words), "{words}: {}", refused(&built(own)));
        }
        assert!(refused(&small_config()).contains("expected a decoder"), "a classifier");
    }
}

//! A model that a federation trained on a published checkpoint, as other programs load it: a checkpoint with everything worked in, and the
//! adapter alone where only an adapter and a head were trained (training.md M3). Knows no release and no signature.

use super::adapter;
use super::base::{Base, BaseError};
use super::{CONFIG, HfError, MAX_FILE_BYTES, TOKENIZER, config, whole, write};
use crate::model::lora::is_factor;
use crate::model::{Config, Trained, TransformerWeights, Weights};
use crate::tags;
use protocol::plan::{Asks, EncoderConfig};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exported {
    /// A checkpoint.
    Model,
    /// A checkpoint, and an adapter for the checkpoint that it began from.
    ModelAndAdapter,
}

/// Writes the checkpoint into `model`, a directory that must exist, and what `adapter_into` gives a directory for, if only that was trained.
/// Classes and tags have the plan's names, and the marks of texts are the checkpoint's.
///
/// # Errors
/// [`BaseError`]: another checkpoint than the model began from, or a file that cannot be written.
pub fn export(
    base: &Base,
    weights: &Weights,
    model: &Path,
    adapter_into: impl FnOnce() -> std::io::Result<PathBuf>,
) -> Result<Exported, BaseError> {
    let published = base.save_whole(weights, model, MAX_FILE_BYTES)?;
    let text = config::render(&whole(&published)?).map_err(|e| BaseError::Export(e.into()))?;
    let text = completed(&text, base, weights.config())?;
    write(&model.join(CONFIG), text.as_bytes()).map_err(BaseError::Export)?;
    write(&model.join(TOKENIZER), base.tokenizer()).map_err(BaseError::Export)?;
    let Some(alone) = adapter_of(&published, weights)? else { return Ok(Exported::Model) };
    let bytes = adapter::bytes_of(&alone, weights, &base.name()).map_err(BaseError::Export)?;
    let directory = adapter_into().map_err(|source| BaseError::Export(HfError::File { file: "adapter".to_owned(), source }))?;
    adapter::save_bytes(&bytes, &directory).map_err(BaseError::Export)?;
    Ok(Exported::ModelAndAdapter)
}

/// The adapter with the head that belongs to it; nothing where other tensors were trained, which no adapter's file holds.
fn adapter_of(published: &Config, weights: &Weights) -> Result<Option<Config>, BaseError> {
    let Some(adapters) = published.adapter.clone() else { return Ok(None) };
    let beside = weights.table().iter().any(|p| !is_factor(&p.name));
    let trained = match weights.config().asks() {
        Asks::Class | Asks::Tags if beside => Trained::Head,
        // Readers of adapters bring no head over tokens along: where that was trained, there is a checkpoint only.
        Asks::Class | Asks::Tags | Asks::NextToken | Asks::Answer | Asks::Translate | Asks::MaskedTokens => Trained::Nothing,
    };
    let alone = published.training(Some(adapters), trained)?;
    let table = TransformerWeights::tables(&alone).0;
    let held = |name: &str| is_factor(name) || table.find(name).is_some();
    Ok(weights.table().iter().all(|p| held(&p.name)).then_some(alone))
}

/// The configuration with what the parts of a model do not say: the marks of texts, without which nobody knows where an answer ends, and the
/// classes' names.
fn completed(text: &str, base: &Base, model: &EncoderConfig) -> Result<String, BaseError> {
    let failed = |e| BaseError::Export(HfError::Config(config::ConfigError::Json(e)));
    let mut fields: Map<String, Value> = serde_json::from_str(text).map_err(failed)?;
    fields.extend(base.marks());
    let answers = match model.asks() {
        Asks::Class => model.classes.clone(),
        Asks::Tags => tags::names(&model.classes),
        Asks::NextToken | Asks::Answer | Asks::Translate | Asks::MaskedTokens => Vec::new(),
    };
    if !answers.is_empty() {
        let classes = || answers.iter().enumerate();
        let names: Map<String, Value> = classes().map(|(i, name)| (i.to_string(), json!(name))).collect();
        let numbers: Map<String, Value> = classes().map(|(i, name)| (name.clone(), json!(i))).collect();
        fields.extend([("id2label".to_owned(), Value::Object(names)), ("label2id".to_owned(), Value::Object(numbers))]);
    }
    Ok(serde_json::to_string_pretty(&fields).map_err(failed)? + "\n")
}

#[cfg(test)]
mod tests {
    use super::super::base::tests::{adapter as low_rank, begun, begun_writer, checkpoint, scores};
    use super::super::load;
    use super::*;
    use crate::model::lora::Factor;
    use crate::shard;
    use crate::shard::tiers::Part;
    use protocol::plan::ShardSpec;
    use std::sync::Arc;

    /// What a federation would have after some rounds: every number of its snapshot has moved.
    fn trained(base: &Base, low: bool, parts: &[Part]) -> (Weights, Vec<f32>) {
        moved(base, begun(base, 3, if low { low_rank() } else { None }, parts).unwrap())
    }

    fn moved(base: &Base, (first, shards): (Weights, Vec<ShardSpec>)) -> (Weights, Vec<f32>) {
        let moved = first.flat().iter().enumerate().map(|(i, w)| w + 0.05 * (i as f32 * 0.37).sin()).collect();
        let weights = Weights::new(first.config(), moved).unwrap();
        let beside = weights.clone().beside(Arc::new(base.outside(weights.config()).unwrap()));
        let ours = scores(&TransformerWeights::part_of(&beside, shard::names(&shards)).unwrap());
        (weights, ours)
    }

    fn close(a: &[f32], b: &[f32]) -> bool {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-4)
    }

    #[test]
    fn an_exported_model_computes_what_the_federations_model_computes() {
        let dir = checkpoint("bert-classify");
        let base = Base::open(dir.path()).unwrap();
        for (low, parts, expected) in [
            (true, vec![Part::LoraB, Part::Head], Exported::ModelAndAdapter),
            (true, vec![Part::LoraB], Exported::ModelAndAdapter),
            (true, vec![Part::LoraB, Part::HeadsAndBiases], Exported::Model),
            (false, vec![Part::Layers { from: 1, to: 2 }], Exported::Model),
            (false, vec![Part::Full], Exported::Model),
        ] {
            let (weights, ours) = trained(&base, low, &parts);
            let out = tempfile::tempdir().unwrap();
            let adapter_dir = out.path().join("adapter");
            let into = || std::fs::create_dir(&adapter_dir).map(|()| adapter_dir.clone());
            assert_eq!(export(&base, &weights, out.path(), into).unwrap(), expected, "{parts:?}");
            let again = load(out.path()).unwrap();
            assert!(close(&scores(&again.weights), &ours), "{parts:?}");
            assert_eq!((again.tokenizer.as_deref(), again.unused.len()), (Some(base.tokenizer()), 0));
            let config = std::fs::read_to_string(out.path().join(CONFIG)).unwrap();
            assert!(config.contains("\"0\": \"class 0\"") && config.contains("\"class 2\": 2"), "{config}");
            assert_eq!(adapter_dir.exists(), expected == Exported::ModelAndAdapter);
            if adapter_dir.exists() {
                let on = load(dir.path()).unwrap().weights;
                let adapted = adapter::load(&adapter_dir, &on, Factor::B).unwrap();
                assert!(close(&scores(&adapted), &ours), "{parts:?}");
            }
        }
    }

    /// Other programs know one factor A and one B of a layer, whatever tiers there were.
    #[test]
    fn bands_of_nested_ranks_go_out_as_one_adapter() {
        let dir = checkpoint("bert-classify");
        let base = Base::open(dir.path()).unwrap();
        let (nested, targets) = (Some(vec![1, 2]), Some(vec!["query".into(), "value".into()]));
        let adapter = protocol::plan::AdapterConfig { rank: 4, alpha: 8, targets, nested };
        for first in [Part::LoraBFirst { rank: 2 }, Part::LoraB] {
            let (weights, ours) = moved(&base, begun(&base, 3, Some(adapter.clone()), &[first.clone(), Part::Head]).unwrap());
            let out = tempfile::tempdir().unwrap();
            let adapter_dir = out.path().join("adapter");
            let into = || std::fs::create_dir(&adapter_dir).map(|()| adapter_dir.clone());
            assert_eq!(export(&base, &weights, out.path(), into).unwrap(), Exported::ModelAndAdapter);
            assert!(close(&scores(&load(out.path()).unwrap().weights), &ours), "{first:?}");
            let adapted = adapter::load(&adapter_dir, &load(dir.path()).unwrap().weights, Factor::B).unwrap();
            assert!(close(&scores(&adapted), &ours), "{first:?}");
        }
    }

    #[test]
    fn a_model_that_writes_goes_out_as_it_came_in() {
        let kinds = [("gpt2", Asks::NextToken, "c_attn"), ("llama", Asks::NextToken, "v_proj"), ("bart", Asks::Translate, "v_proj")];
        for (name, asks, target) in kinds {
            let dir = checkpoint(name);
            let base = Base::open(dir.path()).unwrap();
            for (target, parts) in [(Some(target), vec![Part::LoraB]), (None, vec![Part::Full])] {
                let (weights, ours) = moved(&base, begun_writer((&base, asks, 10), target, &parts));
                let out = tempfile::tempdir().unwrap();
                let adapter_dir = out.path().join("adapter");
                let into = || std::fs::create_dir(&adapter_dir).map(|()| adapter_dir.clone());
                export(&base, &weights, out.path(), into).unwrap();
                assert!(close(&scores(&load(out.path()).unwrap().weights), &ours), "{name} {parts:?}");
                let end = config::end(&std::fs::read(out.path().join(CONFIG)).unwrap());
                assert_eq!((end, base.end()), (Some(1), Some(1)), "{name}: other programs end where it was taught to");
                assert_eq!(adapter_dir.exists(), target.is_some());
                if target.is_some() {
                    let adapted = adapter::load(&adapter_dir, &load(dir.path()).unwrap().weights, Factor::B).unwrap();
                    assert!(close(&scores(&adapted), &ours), "{name}");
                }
            }
        }
    }

    #[test]
    fn a_model_is_exported_on_its_own_checkpoint_only() {
        let (dir, other) = (checkpoint("bert-classify"), checkpoint("bert-masked"));
        let (weights, _) = trained(&Base::open(dir.path()).unwrap(), false, &[Part::Head]);
        let (out, base) = (tempfile::tempdir().unwrap(), Base::open(other.path()).unwrap());
        let refused = export(&base, &weights, out.path(), || Ok(out.path().to_owned()));
        assert!(matches!(refused, Err(BaseError::Differs { .. })));
        assert_eq!(std::fs::read_dir(out.path()).unwrap().count(), 0);
    }
}

//! Adapters in PEFT's layout: `adapter_config.json` and `adapter_model.safetensors`, whose keys are `base_model.model.`, the layer's path,
//! and `.lora_A.weight` (r, in) or `.lora_B.weight` (out, r). An export of LoRA-B writes the frozen A too, so that others can use it.

use super::file::{self, FileError, Tensors, Written};
use super::{HfError, MAX_CONFIG_BYTES, layout, mapped, read, write};
use crate::model::config::{Family, Task};
use crate::model::lora::{Adapters, Factor, Lora, factor_name, factor_of, is_factor};
use crate::model::names::Spelling;
use crate::model::parameters::Parameter;
use crate::model::{Config, ParameterTable, Trained, TransformerWeights, Weights};
use crate::ops::{View, product};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";
const PREFIX: &str = "base_model.model.";

/// An adapter that is not one of this model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdapterError {
    /// Not the JSON of an adapter.
    #[error("adapter_config.json is not an adapter's")]
    Json(#[from] serde_json::Error),
    /// A field whose value would make another computation.
    #[error("field {field} is {found}, expected {expected}")]
    Unsupported {
        /// Which.
        field: &'static str,
        /// As in the file.
        found: String,
        /// What is supported.
        expected: &'static str,
    },
    /// No layer of the model has one of these names.
    #[error("none of the target modules {0:?} is a layer of the model")]
    NoTarget(Vec<String>),
    /// A tensor of the file that belongs to no adapted layer.
    #[error("tensor {0} belongs to no adapted layer of the model")]
    Unknown(String),
    /// The model has no adapter.
    #[error("the model has no adapter")]
    None,
    /// A product of factors failed.
    #[error("the tensor engine failed")]
    Engine(#[from] candle_core::Error),
}

/// The fields that decide what is computed.
#[derive(Deserialize)]
struct Raw {
    peft_type: String,
    r: u32,
    lora_alpha: u32,
    target_modules: Value,
    #[serde(default)]
    use_rslora: bool,
    #[serde(default)]
    use_dora: bool,
    #[serde(default)]
    lora_bias: bool,
    #[serde(default)]
    bias: Option<String>,
    #[serde(default)]
    modules_to_save: Option<Vec<String>>,
    #[serde(default)]
    rank_pattern: Option<serde_json::Map<String, Value>>,
    #[serde(default)]
    alpha_pattern: Option<serde_json::Map<String, Value>>,
    #[serde(default)]
    layers_to_transform: Option<Value>,
}

fn need(fits: bool, field: &'static str, found: impl std::fmt::Display, expected: &'static str) -> Result<(), AdapterError> {
    if fits { Ok(()) } else { Err(AdapterError::Unsupported { field, found: found.to_string().chars().take(80).collect(), expected }) }
}

impl Raw {
    fn check(&self) -> Result<Vec<String>, AdapterError> {
        need(self.peft_type == "LORA", "peft_type", &self.peft_type, "LORA")?;
        need(!self.use_rslora, "use_rslora", "true", "false")?;
        need(!self.use_dora, "use_dora", "true", "false")?;
        need(!self.lora_bias, "lora_bias", "true", "false")?;
        let bias = self.bias.as_deref().unwrap_or("none");
        need(bias == "none", "bias", bias, "none")?;
        let empty = |map: &Option<serde_json::Map<String, Value>>| map.as_ref().is_none_or(serde_json::Map::is_empty);
        need(empty(&self.rank_pattern) && empty(&self.alpha_pattern), "rank_pattern", "set", "the same rank everywhere")?;
        need(self.layers_to_transform.is_none(), "layers_to_transform", "set", "all layers")?;
        let list = self.target_modules.as_array().and_then(|all| all.iter().map(|t| t.as_str().map(str::to_owned)).collect());
        list.ok_or_else(|| AdapterError::Unsupported { field: "target_modules", found: "no list".into(), expected: "a list of names" })
    }
}

/// An adapter of a model, from a directory. `trains` says which factor will be trained; a classifier that the adapter brings along
/// will be trained too.
///
/// # Errors
/// [`HfError`]: a missing or misshaped factor by name, a tensor without a layer, an option that would compute something else.
pub fn load(directory: &Path, base: &TransformerWeights, trains: Factor) -> Result<TransformerWeights, HfError> {
    let weights = mapped(&directory.join(WEIGHTS))?;
    from_bytes(&read(&directory.join(CONFIG), MAX_CONFIG_BYTES)?, weights.bytes(), base, trains)
}

/// The same from the bytes of both files.
///
/// # Errors
/// As [`load`].
pub fn from_bytes(config: &[u8], weights: &[u8], base: &TransformerWeights, trains: Factor) -> Result<TransformerWeights, HfError> {
    let raw: Raw = serde_json::from_slice(config).map_err(AdapterError::Json)?;
    let targets = raw.check()?;
    let lora = Lora { rank: raw.r, alpha: raw.lora_alpha, trains };
    let adapters = Adapters { targets: Some(targets.clone().into()), ..Adapters::everywhere(lora) };
    let trained = if raw.modules_to_save.is_some() { Trained::Head } else { Trained::Nothing };
    let config = base.config().training(Some(adapters), trained)?;
    let tensors = Tensors::parse(weights)?;
    let (trained, frozen) = TransformerWeights::tables(&config);
    if !trained.iter().chain(frozen.iter()).any(|p| is_factor(&p.name)) {
        return Err(AdapterError::NoTarget(targets).into());
    }
    // Before any number is copied: all that is needed is there, and all that is there is needed.
    let brought: Vec<&Parameter> = brought(&trained, &frozen).collect();
    for p in &brought {
        tensors.expect(&format!("{PREFIX}{}", p.name), &p.shape)?;
    }
    if let Some(name) = tensors.names().find(|name| !brought.iter().any(|p| name.strip_prefix(PREFIX) == Some(&p.name))) {
        return Err(AdapterError::Unknown(name.into()).into());
    }
    let model = base.retraining(&config, 0)?;
    let (mut flat, mut rest) = (model.flat().to_vec(), model.frozen().to_vec());
    for (table, flat) in [(&trained, &mut flat), (&frozen, &mut rest)] {
        for p in table.iter().filter(|p| brought.iter().any(|b| b.name == p.name)) {
            file::copy(&tensors.expect(&format!("{PREFIX}{}", p.name), &p.shape)?, &mut flat[p.range()]);
        }
    }
    Ok(TransformerWeights::new(&config, flat, rest)?)
}

/// What an adapter's file holds: both factors, and whatever of the model itself is trained beside them.
fn brought<'a>(trained: &'a ParameterTable, frozen: &'a ParameterTable) -> impl Iterator<Item = &'a Parameter> {
    trained.iter().chain(frozen.iter().filter(|p| is_factor(&p.name)))
}

/// A model's tensors by name, wherever its numbers are.
pub(super) trait HasTensors {
    fn find(&self, name: &str) -> Option<(&Parameter, &[f32])>;
}

impl HasTensors for TransformerWeights {
    fn find(&self, name: &str) -> Option<(&Parameter, &[f32])> {
        let p = self.table().find(name).or_else(|| self.frozen_table().find(name))?;
        Some((p, self.tensor(name)?))
    }
}

impl HasTensors for Weights {
    fn find(&self, name: &str) -> Option<(&Parameter, &[f32])> {
        let p = self.table().find(name)?;
        Some((p, &self.flat()[p.range()]))
    }
}

/// The bytes of `adapter_config.json` and `adapter_model.safetensors`. `base` is the name of the model that the adapter is for.
///
/// # Errors
/// [`AdapterError::None`] without an adapter; [`FileError`] if the format refuses.
pub fn to_bytes(weights: &TransformerWeights, base: &str) -> Result<(Vec<u8>, Vec<u8>), HfError> {
    bytes_of(weights.config(), weights, base)
}

/// The same of a model of this configuration, of which `weights` need have no more than the adapter and what is trained beside it.
pub(super) fn bytes_of(config: &Config, weights: &dyn HasTensors, base: &str) -> Result<(Vec<u8>, Vec<u8>), HfError> {
    let adapters = config.adapter.as_ref().ok_or(AdapterError::None)?;
    let (trained, frozen) = TransformerWeights::tables(config);
    let mut tensors = Vec::new();
    for p in brought(&trained, &frozen) {
        let missing = || FileError::Missing(p.name.clone());
        let written = match factor_of(&p.name) {
            None => layout::lay(config.spelling, p, weights.find(&p.name).ok_or_else(missing)?.1),
            Some((path, factor, 0)) => {
                let Joined { shape, values } = joined(weights, adapters, path, factor).ok_or_else(missing)?;
                Written::new(p.name.clone(), shape.to_vec(), values)
            }
            // Put together with the first band.
            Some(_) => continue,
        };
        tensors.push(Written { name: format!("{PREFIX}{}", written.name), ..written });
    }
    let text = serde_json::to_string_pretty(&render(config, adapters.lora, base, (&trained, &frozen))).map_err(AdapterError::Json)? + "\n";
    Ok((text.into_bytes(), file::serialize(tensors)?))
}

/// One factor of a layer.
struct Joined {
    shape: [usize; 2],
    values: Vec<f32>,
}

/// A factor of this layer with all its bands, as others know it: A `(r, in)`, the bands one below the other, or B `(out, r)`, side by side.
fn joined(weights: &dyn HasTensors, adapters: &Adapters, path: &str, factor: Factor) -> Option<Joined> {
    let band = |(first, _): (u32, u32)| {
        let (p, values) = weights.find(&factor_name(path, factor, first))?;
        let &[rows, columns] = &p.shape[..] else { return None };
        Some((rows, columns, values))
    };
    let bands: Vec<(usize, usize, &[f32])> = adapters.bands().map(band).collect::<Option<_>>()?;
    let sum = |of: fn(&(usize, usize, &[f32])) -> usize| bands.iter().map(of).sum::<usize>();
    let &(rows, columns, _) = bands.first()?;
    Some(match factor {
        Factor::A => {
            let values = bands.iter().flat_map(|(_, _, values)| values.iter().copied()).collect();
            Joined { shape: [sum(|band| band.0), columns], values }
        }
        Factor::B => {
            let row = |at: usize| bands.iter().flat_map(move |(_, ranks, values)| values[at * ranks..][..*ranks].iter().copied());
            Joined { shape: [rows, sum(|band| band.1)], values: (0..rows).flat_map(row).collect() }
        }
    })
}

fn render(config: &Config, lora: Lora, base: &str, (trained, frozen): (&ParameterTable, &ParameterTable)) -> Value {
    let adapted = trained.iter().chain(frozen.iter()).filter_map(|p| p.name.strip_suffix(".lora_A.weight"));
    let all: BTreeSet<&str> = adapted.filter_map(|path| path.rsplit('.').next()).collect();
    let named = config.adapter.as_ref().and_then(|a| a.targets.as_ref());
    let targets: BTreeSet<&str> = named.map_or(all, |targets| targets.iter().map(String::as_str).collect());
    let task = match config.family {
        Family::Encoder(Task::Classify { .. }) => Some("SEQ_CLS"),
        Family::Encoder(Task::Tag { .. }) => Some("TOKEN_CLS"),
        Family::Encoder(Task::MaskedTokens) => None,
        Family::Decoder => Some("CAUSAL_LM"),
        Family::EncoderDecoder { .. } => Some("SEQ_2_SEQ_LM"),
    };
    let saved = (config.trained == Trained::Head).then(|| json!(["classifier", "score"]));
    json!({
        "peft_type": "LORA", "task_type": task, "base_model_name_or_path": base, "r": lora.rank, "lora_alpha": lora.alpha,
        "target_modules": targets, "fan_in_fan_out": config.spelling == Spelling::Gpt2, "lora_dropout": 0.0, "bias": "none",
        "inference_mode": true, "modules_to_save": saved,
    })
}

/// Writes an adapter directory, which must exist.
///
/// # Errors
/// As [`to_bytes`]; [`HfError::File`].
pub fn save(weights: &TransformerWeights, base: &str, directory: &Path) -> Result<(), HfError> {
    save_bytes(&to_bytes(weights, base)?, directory)
}

pub(super) fn save_bytes((config, tensors): &(Vec<u8>, Vec<u8>), directory: &Path) -> Result<(), HfError> {
    write(&directory.join(WEIGHTS), tensors)?;
    write(&directory.join(CONFIG), config)
}

/// What an adapter adds to this tensor, `(alpha / r) B A`; nothing where the tensor's layer has no adapter.
pub(super) fn added(weights: &dyn HasTensors, adapters: &Adapters, p: &Parameter) -> Result<Option<Vec<f32>>, HfError> {
    let path = p.name.strip_suffix(".weight").unwrap_or(&p.name);
    let [a, b] = [Factor::A, Factor::B].map(|factor| joined(weights, adapters, path, factor));
    let (Some(a), Some(b), &[outputs, inputs]) = (a, b, &p.shape[..]) else { return Ok(None) };
    let (lora, rank) = (adapters.lora, crate::model::parameters::size(adapters.lora.rank));
    let (left, right) = (View::matrix(0, outputs, rank), View::matrix(0, rank, inputs));
    let mut added = product(&b.values[..], left, &a.values[..], right).map_err(AdapterError::Engine)?;
    #[expect(clippy::cast_possible_truncation, reason = "weights are 32-bit floats")]
    let scale = (f64::from(lora.alpha) / f64::from(lora.rank)) as f32;
    added.iter_mut().for_each(|x| *x *= scale);
    Ok(Some(added))
}

/// The model with its adapter worked in, `W + (alpha / r) B A`, and without it; everything is trained.
///
/// # Errors
/// [`AdapterError::None`] without an adapter.
pub fn merge(weights: &TransformerWeights) -> Result<TransformerWeights, HfError> {
    let adapters = weights.config().adapter.as_ref().ok_or(AdapterError::None)?;
    let plain = weights.retraining(&super::whole(weights.config())?, 0)?;
    let mut flat = plain.flat().to_vec();
    for p in plain.table().iter() {
        if let Some(added) = added(weights, adapters, p)? {
            flat[p.range()].iter_mut().zip(added).for_each(|(w, x)| *w += x);
        }
    }
    Ok(TransformerWeights::new(plain.config(), flat, Vec::new())?)
}

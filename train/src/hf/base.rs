//! The published checkpoint that a plan's model begins from: opened, compared with what the plan names, and read out of the mapped file. What
//! nobody trains stays there; a snapshot holds the rest. Knows no plan file, no network and no federation.

use super::file::{FileError, Tensors};
use super::weights::{WeightFiles, save_each};
use super::{CONFIG, HfError, Hold, MAX_TOKENIZER_BYTES, TOKENIZER, config, layout, read, tokenizer};
use crate::model::lora::is_factor;
use crate::model::names::Spelling;
use crate::model::outside::Frozen;
use crate::model::parameters::{MAX_COORDINATES, Parameter};
use crate::model::{Config, ModelError, Outside, ParameterTable, Trained, TransformerWeights, Weights, initial};
use crate::shard;
use candle_core::{Device, Tensor};
use protocol::hash::sha256;
use protocol::ids::Sha256;
use protocol::plan::{AdapterConfig, Asks, BaseModel, EncoderConfig, Masking, ShardSpec};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Fields of a `config.json` that number the tokens in front of, behind and between texts.
const MARKS: [&str; 6] =
    ["bos_token_id", "decoder_start_token_id", "eos_token_id", "forced_bos_token_id", "forced_eos_token_id", "pad_token_id"];

/// Why a checkpoint cannot be what a plan begins from.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BaseError {
    /// A file is missing, too large, or not what its name says.
    #[error(
        "the directory holds no checkpoint that this program reads: expected config.json, tokenizer.json, and model.safetensors or the files of model.safetensors.index.json"
    )]
    Checkpoint(#[from] HfError),
    /// Bytes that are not UTF-8.
    #[error("config.json is not text")]
    NotText,
    /// A model that cannot be written for other programs.
    #[error("the model cannot be written as a checkpoint")]
    Export(#[source] HfError),
    /// Another file than the plan's.
    #[error("{file} has the SHA-256 {found}, the plan names {expected}: get the very checkpoint that the plan was made with")]
    Differs {
        /// Which.
        file: &'static str,
        /// As the plan names it.
        expected: Sha256,
        /// Of the file.
        found: Sha256,
    },
    /// A file that somebody wrote to after its digest was taken.
    #[error("the checkpoint's weights were changed while they were read: try again when nobody writes to them")]
    Changed,
    /// The plan's model begins from random weights.
    #[error("the plan names no base checkpoint")]
    NoBase,
    /// Names that are none of the model's tensors.
    #[error("the plan leaves {named} tensors to the checkpoint, of which its model has {found}")]
    Frozen {
        /// Names in the plan.
        named: usize,
        /// Tensors of the model among them.
        found: usize,
    },
    /// A part of the head that would stay at random.
    #[error("the checkpoint has no {0} of the plan's shape, and nobody trains it: let a tier train \"head\" or \"heads-and-biases\"")]
    Untrained(String),
    /// The model.
    #[error("the checkpoint and the plan's numbers are no model")]
    Model(#[from] ModelError),
    /// The tensor engine failed.
    #[error("the tensor engine failed")]
    Engine(#[from] candle_core::Error),
}

/// SHA-256 of a checkpoint's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digests {
    /// `config.json`.
    pub config: Sha256,
    /// `model.safetensors`; of several files, that of what `sha256sum` prints of `model.safetensors.index.json` and of each file that it names,
    /// in the order of their names' bytes.
    pub weights: Sha256,
    /// `tokenizer.json`.
    pub tokenizer: Sha256,
}

/// A checkpoint on this machine, its weights mapped.
pub struct Base {
    config: String,
    end: Option<u32>,
    opening: Option<u32>,
    tokenizer: Vec<u8>,
    weights: WeightFiles,
    digests: Digests,
}

impl std::fmt::Debug for Base {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Base({:?})", self.digests)
    }
}

/// Numbers of the tensors of a checkpoint that somebody trains, and names of those that nobody does.
type Sorted = (BTreeMap<String, Vec<f32>>, Vec<String>);

fn digest(bytes: &[u8]) -> Sha256 {
    Sha256(sha256(&[bytes]))
}

/// Whether a tensor is of the head over classes, tags or hidden tokens: what a checkpoint that was published for something else does not have.
/// A decoder without its head is none.
fn of_head(spelling: Spelling, name: &str) -> bool {
    let over_tokens = spelling.transform().into_iter().flatten().chain(spelling.transform().map(|_| spelling.head()));
    let mut paths = [spelling.classifier()].into_iter().chain(spelling.pooler()).chain(over_tokens);
    paths.any(|path| name.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
}

impl Base {
    /// Opens a directory and hashes its files; the weights are mapped, not copied.
    ///
    /// # Errors
    /// [`BaseError::Checkpoint`] and [`BaseError::NotText`].
    pub fn open(directory: &Path) -> Result<Self, BaseError> {
        Self::of(directory, || WeightFiles::open(directory))
    }

    /// The same with weights that nobody else can change: `hold` makes of each opened file one that only this program has, for example a copy
    /// without a name. Frozen tensors of such files are read where they lie ([`Self::outside`]): a file that somebody else has could change
    /// under a model, or end this program by becoming shorter.
    ///
    /// # Errors
    /// As [`Self::open`]; what `hold` says is the source of an [`HfError::File`].
    pub fn hold(directory: &Path, hold: Hold<'_>) -> Result<Self, BaseError> {
        Self::of(directory, || WeightFiles::hold(directory, hold))
    }

    fn of(directory: &Path, weights: impl FnOnce() -> Result<WeightFiles, HfError>) -> Result<Self, BaseError> {
        let config = read(&directory.join(CONFIG), BaseModel::MAX_CONFIG_BYTES as u64)?;
        let tokenizer = read(&directory.join(TOKENIZER), MAX_TOKENIZER_BYTES)?;
        let weights = weights()?;
        let digests = Digests { config: digest(&config), weights: weights.digest(), tokenizer: digest(&tokenizer) };
        let (end, opening) = (config::end(&config), config::opening(&config));
        let config = String::from_utf8(config).map_err(|_| BaseError::NotText)?;
        Ok(Self { config, end, opening, tokenizer, weights, digests })
    }

    /// What its files are named by.
    pub fn digests(&self) -> Digests {
        self.digests
    }
    /// What an adapter calls it: the name in its own `config.json`, else its weights' digest.
    pub(crate) fn name(&self) -> String {
        let fields = serde_json::from_str::<Value>(&self.config).unwrap_or_default();
        let stated = fields.get("_name_or_path").and_then(Value::as_str).filter(|name| !name.is_empty());
        stated.map_or_else(|| format!("sha256:{}", self.digests.weights), str::to_owned)
    }
    /// The marks of texts that its `config.json` names.
    pub(crate) fn marks(&self) -> impl Iterator<Item = (String, Value)> {
        let fields = serde_json::from_str::<Map<String, Value>>(&self.config).unwrap_or_default();
        fields.into_iter().filter(|(name, _)| MARKS.contains(&name.as_str()))
    }
    /// Bytes of its `tokenizer.json`.
    pub fn tokenizer(&self) -> &[u8] {
        &self.tokenizer
    }

    /// The token that ends a text, where its `config.json` names one.
    pub fn end(&self) -> Option<u32> {
        self.end
    }

    /// The token that an encoder-decoder's answer begins with before its own first one, where its publishers trained it so.
    pub fn opening(&self) -> Option<u32> {
        self.opening
    }

    /// Whether it is the checkpoint with these digests.
    ///
    /// # Errors
    /// [`BaseError::Differs`], the first file that is another one.
    pub fn verify(&self, named: Digests) -> Result<(), BaseError> {
        let Digests { config, weights, tokenizer } = self.digests;
        for (file, expected, found) in
            [(CONFIG, named.config, config), (self.weights.named(), named.weights, weights), (TOKENIZER, named.tokenizer, tokenizer)]
        {
            if expected != found {
                return Err(BaseError::Differs { file, expected, found });
            }
        }
        Ok(())
    }

    /// A plan's model on this checkpoint, of which nothing is left to it yet. Without a longest sequence it is what the checkpoint has room for;
    /// where hidden tokens are asked for, the usual share is hidden.
    ///
    /// # Errors
    /// [`BaseError::Checkpoint`] for a model that cannot be asked so or a tokenizer of another vocabulary; [`BaseError::Model`].
    pub fn model(
        &self,
        asks: Asks,
        classes: Vec<String>,
        max_tokens: Option<u32>,
        adapter: Option<AdapterConfig>,
    ) -> Result<EncoderConfig, BaseError> {
        let count = u32::try_from(classes.len()).map_err(|_| ModelError::TooLarge)?;
        let found = config::asked(self.config.as_bytes(), asks, count).map_err(HfError::from)?;
        let longest = match asks {
            Asks::Class | Asks::NextToken | Asks::Tags | Asks::MaskedTokens => found.max_tokens,
            Asks::Answer => found.max_tokens / 2,
            Asks::Translate => found.max_tokens.saturating_sub(1),
        };
        tokenizer::fits(&self.tokenizer, found.vocab).map_err(HfError::from)?;
        let masking = match asks {
            Asks::MaskedTokens => Some(Masking::usual(tokenizer::mask(&self.tokenizer).map_err(HfError::from)?)),
            Asks::Class | Asks::NextToken | Asks::Answer | Asks::Translate | Asks::Tags => None,
        };
        let Digests { weights, tokenizer, .. } = self.digests;
        let model = EncoderConfig {
            vocab: found.vocab,
            max_tokens: max_tokens.unwrap_or(longest),
            width: found.width,
            heads: found.heads,
            layers: found.layers,
            hidden: found.hidden,
            classes,
            adapter,
            base: Some(BaseModel { config: self.config.clone(), weights, tokenizer, frozen: Vec::new(), asks }),
            own: None,
            masking,
        };
        Config::of_plan(&model, Trained::Kept)?;
        Ok(model)
    }

    /// What a plan's first round starts from: the tensors that its shards train, those of its adapters, and a head that the checkpoint does
    /// not have, from the public seed. Everything else is left to the checkpoint, and so the configuration of these weights says.
    ///
    /// # Errors
    /// [`BaseError`]: a tensor that the checkpoint lacks, by name; a number that is not finite.
    pub fn begin(&self, model: &EncoderConfig, shards: &[ShardSpec], seed: u64) -> Result<Weights, BaseError> {
        let (whole, trained) = (model.whole(), shard::names(shards));
        let (table, spelling) = (ParameterTable::listed(&whole)?, Config::of_plan(&whole, Trained::Kept)?.spelling);
        let (found, frozen) = self.reading(|tensors| self.sorted(&table, (spelling, &trained), tensors))?;
        let left: BTreeSet<&str> = frozen.iter().map(String::as_str).collect();
        let new = initial::some(&table, seed, |p| !found.contains_key(&p.name) && !left.contains(p.name.as_str()));
        let base = BaseModel { frozen, ..whole.base.clone().ok_or(BaseError::NoBase)? };
        let model = EncoderConfig { base: Some(base), ..whole };
        let kept = ParameterTable::new(&model)?;
        let flat = kept.iter().filter_map(|p| found.get(&p.name).or_else(|| new.get(&p.name))).flatten().copied().collect();
        Ok(Weights::new(&model, flat)?)
    }

    /// The numbers of tensors that somebody trains, and the names of those that nobody does. Only a head may be missing.
    fn sorted(
        &self,
        table: &ParameterTable,
        (spelling, trained): (Spelling, &BTreeSet<String>),
        tensors: &Tensors<'_>,
    ) -> Result<Sorted, BaseError> {
        let (mut found, mut frozen) = (BTreeMap::new(), Vec::new());
        for p in table.iter().filter(|p| !is_factor(&p.name)) {
            match (layout::find(spelling, p, tensors), trained.contains(&p.name)) {
                (Ok((name, way)), true) => {
                    let mut values = vec![0.0; p.len()];
                    layout::copy(tensors, &name, way, &p.shape, &mut values).map_err(HfError::from)?;
                    found.insert(p.name.clone(), values);
                }
                (Ok(_), false) => {
                    // Looked through, and let go again.
                    self.frozen(tensors, spelling, p)?;
                    frozen.push(p.name.clone());
                }
                (Err(FileError::Missing(_) | FileError::Shape { .. }), true) if of_head(spelling, &p.name) => {}
                (Err(FileError::Missing(_) | FileError::Shape { .. }), false) if of_head(spelling, &p.name) => {
                    return Err(BaseError::Untrained(p.name.clone()));
                }
                (Err(e), _) => return Err(HfError::from(e).into()),
            }
        }
        Ok((found, frozen))
    }

    /// The tensors that a plan's model leaves to this checkpoint, after its digests were compared with the plan's. Of weights that are held
    /// ([`Self::hold`]) they are not copied where the file has them as the model has: 32-bit floats, not transposed. All others are made one
    /// by one, once for all workers and rounds.
    ///
    /// # Errors
    /// [`BaseError`]: another checkpoint, a tensor that it lacks, a number that is not finite.
    pub fn outside(&self, model: &EncoderConfig) -> Result<Outside, BaseError> {
        let named = self.named_by(model)?;
        let config = Config::of_plan(model, Trained::Kept)?;
        let table = TransformerWeights::outside_table(&config);
        if table.iter().count() != named.frozen.len() {
            return Err(BaseError::Frozen { named: named.frozen.len(), found: table.iter().count() });
        }
        let tensor = |tensors: &Tensors<'_>, p: &Parameter| -> Result<(String, Frozen), BaseError> {
            Ok((p.name.clone(), self.frozen(tensors, config.spelling, p)?))
        };
        let all = self.reading(|tensors| table.iter().map(|p| tensor(tensors, p)).collect::<Result<BTreeMap<_, _>, _>>())?;
        Ok(Outside::new(self.digests.weights, all))
    }

    /// One tensor that nobody trains, where it lies or made.
    fn frozen(&self, tensors: &Tensors<'_>, spelling: Spelling, p: &Parameter) -> Result<Frozen, BaseError> {
        let (name, way) = layout::find(spelling, p, tensors).map_err(HfError::from)?;
        if way == layout::Way::Straight {
            let tensor = tensors.expect(&name, &p.shape).map_err(HfError::from)?;
            if let Some(lies) = self.weights.lying(&tensor) {
                finite(lies.numbers())?;
                return Ok(Frozen::Lying(lies, p.shape.clone()));
            }
        }
        let mut values = vec![0.0; p.len()];
        layout::copy(tensors, &name, way, &p.shape, &mut values).map_err(HfError::from)?;
        finite(&values)?;
        Ok(Frozen::Made(Tensor::from_vec(values, p.shape.as_slice(), &Device::Cpu)?))
    }

    /// The whole model in memory: a snapshot's tensors, and the checkpoint's for the rest. Adapters stay apart.
    ///
    /// # Errors
    /// As [`Self::outside`]; [`ModelError::TooLarge`] for one that is read in place only.
    pub fn whole(&self, weights: &Weights) -> Result<TransformerWeights, BaseError> {
        self.named_by(weights.config())?;
        let config = Config::of_plan(&weights.config().whole(), Trained::Kept)?;
        let table = TransformerWeights::tables(&config).0;
        if table.len() > MAX_COORDINATES {
            return Err(ModelError::TooLarge.into());
        }
        let flat = self.reading(|tensors| {
            let mut flat = vec![0.0; table.len()];
            for p in table.iter() {
                let out = &mut flat[p.range()];
                match weights.table().find(&p.name) {
                    Some(there) => out.copy_from_slice(&weights.flat()[there.range()]),
                    None => copy(tensors, config.spelling, p, out)?,
                }
            }
            Ok(flat)
        })?;
        Ok(TransformerWeights::new(&config, flat, Vec::new())?)
    }

    /// Writes the weights of the whole model: a snapshot's tensors, and the checkpoint's for the rest, with adapters worked in. No more is in
    /// memory than one file. Gives the model's configuration, its adapters included.
    ///
    /// # Errors
    /// As [`Self::whole`]; [`BaseError::Export`] for a file that cannot be written.
    pub(super) fn save_whole(&self, weights: &Weights, directory: &Path, most: u64) -> Result<Config, BaseError> {
        self.named_by(weights.config())?;
        let config = Config::of_plan(&weights.config().whole(), Trained::Kept)?;
        let (adapters, table) = (config.adapter.as_ref(), TransformerWeights::tables(&super::whole(&config)?).0);
        self.reading(|tensors| {
            let numbers = |p: &Parameter| -> Result<Vec<f32>, HfError> {
                let mut values = vec![0.0; p.len()];
                match weights.table().find(&p.name) {
                    Some(there) => values.copy_from_slice(&weights.flat()[there.range()]),
                    None => copy(tensors, config.spelling, p, &mut values)?,
                }
                if let Some(added) = adapters.map(|adapters| super::adapter::added(weights, adapters, p)).transpose()?.flatten() {
                    values.iter_mut().zip(added).for_each(|(w, x)| *w += x);
                }
                finite(&values)?;
                Ok(values)
            };
            let tensors: Vec<&Parameter> = table.iter().collect();
            save_each((&tensors, &numbers), config.spelling, directory, most).map_err(BaseError::Export)
        })?;
        Ok(config)
    }

    /// What a model says about its checkpoint, which is this one.
    fn named_by<'a>(&self, model: &'a EncoderConfig) -> Result<&'a BaseModel, BaseError> {
        let named = model.base.as_ref().ok_or(BaseError::NoBase)?;
        self.verify(Digests { config: named.config_digest(), weights: named.weights, tokenizer: named.tokenizer })?;
        Ok(named)
    }

    /// Reads tensors, and compares the digest once more unless nobody else has the files: whoever writes to a mapped file writes into what is
    /// read here.
    fn reading<T>(&self, read: impl FnOnce(&Tensors<'_>) -> Result<T, BaseError>) -> Result<T, BaseError> {
        let found = read(&self.weights.tensors().map_err(HfError::from)?);
        if self.weights.held() || self.weights.digest() == self.digests.weights { found } else { Err(BaseError::Changed) }
    }
}

/// One tensor of the checkpoint, as the model has it.
fn copy(tensors: &Tensors<'_>, spelling: Spelling, p: &Parameter, out: &mut [f32]) -> Result<(), HfError> {
    let (name, way) = layout::find(spelling, p, tensors)?;
    Ok(layout::copy(tensors, &name, way, &p.shape, out)?)
}

/// Refuses numbers of which one is none.
fn finite(values: &[f32]) -> Result<(), ModelError> {
    values.iter().position(|v| !v.is_finite()).map_or(Ok(()), |at| Err(ModelError::NonFinite(at)))
}

#[cfg(test)]
#[path = "base_tests.rs"]
pub(super) mod tests;

//! Checkpoints as the ecosystem writes them (training.md M3): a directory of `config.json`, `model.safetensors` (or several files and
//! their index) and `tokenizer.json`, and adapters in PEFT's layout. Reads and writes the files it is handed; knows no network, no privacy and
//! no federation.
//!
//! A model keeps the published names of its tensors ([`crate::model::names`]), so loading is looking up: [`config`] says what the model
//! is, [`mod@file`] and [`index`] find bytes, `layout` says which tensor lies transposed, [`tokenizer`] checks that words and rows belong together;
//! [`base`] is a checkpoint that a plan's model begins from, and [`own`] a model that began from none.
//!
//! Every byte is untrusted: sizes are checked before anything is copied, and no file makes this room panic.

pub mod adapter;
pub mod base;
pub mod config;
pub mod export;
pub mod file;
pub mod index;
mod layout;
pub mod own;
pub mod tokenizer;
mod weights;

use crate::model::lora::is_factor;
use crate::model::{Config, ModelError, Trained, TransformerWeights};
use config::ConfigError;
use file::{FileError, Mapped, Tensors};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use tokenizer::TokenizerError;
use weights::WeightFiles;

pub use weights::{Hold, MAX_FILE_BYTES};

/// Largest `config.json`, in bytes: published ones have a few thousand.
pub const MAX_CONFIG_BYTES: u64 = 1 << 20;
/// Largest `tokenizer.json`, in bytes: published ones have up to some 40 million, and nobody who cuts texts by one takes a larger one.
pub const MAX_TOKENIZER_BYTES: u64 = 64 << 20;

const CONFIG: &str = "config.json";
const WEIGHTS: &str = "model.safetensors";
const TOKENIZER: &str = "tokenizer.json";

/// Why a checkpoint cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HfError {
    /// A file of the directory cannot be read or written.
    #[error("cannot read or write {file}")]
    File {
        /// Its name there. Where the directory lies may say more than should leave the machine (audit.md A22).
        file: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Weights in the older form, which runs as a program when it is read.
    #[error("the weights are in {0}, which is a program and not read here: expected model.safetensors, as newer programs write it")]
    Pickled(&'static str),
    /// A file is larger than any of its kind.
    #[error("{file} is larger than {most} bytes")]
    Large {
        /// Its name in the directory.
        file: String,
        /// Limit.
        most: u64,
    },
    /// Not a model that this program knows.
    #[error("config.json is not of a known model")]
    Config(#[from] ConfigError),
    /// Not safetensors, or other tensors than the model's.
    #[error("the weights do not fit the model")]
    Weights(#[from] FileError),
    /// The tokenizer is of another model.
    #[error("tokenizer.json does not fit the model")]
    Tokenizer(#[from] TokenizerError),
    /// A number that is not finite, or a model that is too large.
    #[error("the checkpoint is not a model")]
    Model(#[from] ModelError),
    /// Not an adapter of this model.
    #[error("the adapter does not fit the model")]
    Adapter(#[from] adapter::AdapterError),
}

/// A checkpoint in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// The model with its numbers.
    pub weights: TransformerWeights,
    /// Bytes of `tokenizer.json`, as they came.
    pub tokenizer: Option<Vec<u8>>,
    /// Tensors of the file that the model has no use for, by name.
    pub unused: Vec<String>,
}

/// A file's name in its directory.
fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// What the system says about a file.
fn failed(path: &Path) -> impl Fn(std::io::Error) -> HfError {
    move |source| HfError::File { file: name(path), source }
}

/// Reads a whole file of at most `most` bytes.
fn read(path: &Path, most: u64) -> Result<Vec<u8>, HfError> {
    let mut bytes = Vec::new();
    File::open(path).map_err(failed(path))?.take(most + 1).read_to_end(&mut bytes).map_err(failed(path))?;
    if bytes.len() as u64 > most { Err(HfError::Large { file: name(path), most }) } else { Ok(bytes) }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), HfError> {
    std::fs::write(path, bytes).map_err(failed(path))
}

/// Maps a file of weights.
fn mapped(path: &Path) -> Result<Mapped, HfError> {
    Mapped::open(path).map_err(failed(path))
}

/// Reads a checkpoint directory; everything will be trained.
///
/// # Errors
/// [`HfError`]: a missing or misshaped tensor by name, an unknown architecture or option, a tokenizer of another vocabulary.
pub fn load(directory: &Path) -> Result<Checkpoint, HfError> {
    load_for(directory, Ok)
}

/// Reads a checkpoint directory with other parts trained: `choose` gets the model as published. An adapter's factors, which the checkpoint
/// does not have, get their first values from seed 0; [`adapter::load`] brings trained ones.
///
/// # Errors
/// As [`load`].
pub fn load_for(directory: &Path, choose: impl FnOnce(Config) -> Result<Config, ModelError>) -> Result<Checkpoint, HfError> {
    let config = choose(config::parse(&read(&directory.join(CONFIG), MAX_CONFIG_BYTES)?)?)?;
    let path = directory.join(TOKENIZER);
    let tokenizer = if path.exists() { Some(read(&path, MAX_TOKENIZER_BYTES)?) } else { None };
    if let Some(bytes) = &tokenizer {
        tokenizer::fits(bytes, config.vocab)?;
    }
    let files = WeightFiles::open(directory)?;
    let (weights, unused) = from_tensors(&config, &files.tensors()?)?;
    Ok(Checkpoint { weights, tokenizer, unused })
}

/// A model of this configuration from the bytes of a safetensors file; also the names of tensors that it has no use for.
///
/// # Errors
/// [`HfError::Weights`] and [`HfError::Model`].
pub fn from_bytes(config: &Config, bytes: &[u8]) -> Result<(TransformerWeights, Vec<String>), HfError> {
    from_tensors(config, &Tensors::parse(bytes)?)
}

fn from_tensors(config: &Config, tensors: &Tensors<'_>) -> Result<(TransformerWeights, Vec<String>), HfError> {
    let (trained, frozen) = TransformerWeights::tables(config);
    // Everything is found and measured before a number is copied.
    let found = |table: &crate::model::ParameterTable| -> Result<Vec<(String, layout::Way)>, FileError> {
        table.iter().filter(|p| !is_factor(&p.name)).map(|p| layout::find(config.spelling, p, tensors)).collect()
    };
    let names = (found(&trained)?, found(&frozen)?);
    let unused = tensors.names().filter(|n| !names.0.iter().chain(&names.1).any(|(used, _)| used == n)).map(str::to_owned).collect();
    let start = TransformerWeights::initial(config, 0)?;
    let (mut flat, mut rest) = (start.flat().to_vec(), start.frozen().to_vec());
    for (table, flat, names) in [(&trained, &mut flat, &names.0), (&frozen, &mut rest, &names.1)] {
        for (p, (name, way)) in table.iter().filter(|p| !is_factor(&p.name)).zip(names) {
            layout::copy(tensors, name, *way, &p.shape, &mut flat[p.range()])?;
        }
    }
    Ok((TransformerWeights::new(config, flat, rest)?, unused))
}

/// The bytes of `model.safetensors`: every tensor of the model itself under its published name. Those of an adapter are left out.
///
/// # Errors
/// [`HfError::Weights`] if the format refuses.
pub fn to_bytes(weights: &TransformerWeights) -> Result<Vec<u8>, HfError> {
    let tensors = weights::own(weights).map(|(p, values)| layout::lay(weights.config().spelling, p, values)).collect();
    Ok(file::serialize(tensors)?)
}

/// Writes a checkpoint directory that other programs of the ecosystem load. The directory must exist. A model of more than
/// [`MAX_FILE_BYTES`] goes into several files.
///
/// # Errors
/// [`HfError::File`]; [`HfError::Config`] for a model that no published architecture describes.
pub fn save(checkpoint: &Checkpoint, directory: &Path) -> Result<(), HfError> {
    save_in_files_of(checkpoint, directory, MAX_FILE_BYTES)
}

/// The same with no more than `most` bytes of numbers in a file, unless one tensor has more.
///
/// # Errors
/// As [`save`].
pub fn save_in_files_of(checkpoint: &Checkpoint, directory: &Path, most: u64) -> Result<(), HfError> {
    save_as(checkpoint, &config::render(checkpoint.weights.config())?, directory, most)
}

/// The same with this `config.json`.
fn save_as(checkpoint: &Checkpoint, config: &str, directory: &Path, most: u64) -> Result<(), HfError> {
    weights::save(&checkpoint.weights, directory, most)?;
    write(&directory.join(CONFIG), config.as_bytes())?;
    match &checkpoint.tokenizer {
        Some(bytes) => write(&directory.join(TOKENIZER), bytes),
        None => Ok(()),
    }
}

/// The model with all its tensors trained and without an adapter: what a checkpoint of it describes.
pub(crate) fn whole(config: &Config) -> Result<Config, ModelError> {
    config.training(None, Trained::All)
}

#[cfg(test)]
mod per_token_tests;
#[cfg(test)]
mod tests;

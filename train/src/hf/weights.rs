//! A checkpoint's weights as they lie in its directory: `model.safetensors`, or several files and `model.safetensors.index.json`, which says
//! which tensor is in which.

use super::file::{self, FileError, Mapped, Tensors, Written};
use super::index::{Index, MAX_INDEX_BYTES};
use super::{HfError, WEIGHTS, failed, layout, read, write};
use crate::model::TransformerWeights;
use crate::model::lora::is_factor;
use crate::model::names::Spelling;
use crate::model::outside::InPlace;
use crate::model::parameters::Parameter;
use protocol::hash::sha256;
use protocol::ids::Sha256;
use safetensors::tensor::TensorView;
use serde_json::{Map, Value, json};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// What says which of several files a tensor is in.
pub(super) const INDEX: &str = "model.safetensors.index.json";
/// What older programs wrote in their stead.
const PICKLES: [&str; 2] = ["pytorch_model.bin", "pytorch_model.bin.index.json"];
/// What a digest over several files is of.
const INDEXED: &str = "model.safetensors.index.json with its files";

/// Most bytes of numbers in one file that is written: models of more go into several, each of which a file system and a download can take.
pub const MAX_FILE_BYTES: u64 = 2_000_000_000;

/// Makes of an opened file one that nobody but this program can change, with the same bytes.
pub type Hold<'a> = &'a mut dyn FnMut(File) -> std::io::Result<File>;

/// The weights of a checkpoint, mapped. There is at least one file.
#[derive(Debug)]
pub(super) struct WeightFiles {
    files: Vec<Arc<Mapped>>,
    /// Whether nobody else can change them.
    held: bool,
    /// Bytes of the index, and what they say.
    index: Option<(Vec<u8>, Index)>,
}

impl WeightFiles {
    /// Maps the files of a directory. Where there is `model.safetensors`, it is all of them, as for other programs.
    pub(super) fn open(directory: &Path) -> Result<Self, HfError> {
        Self::mapping(directory, &mut Mapped::open)
    }

    /// The same with what `hold` makes of each file. Digests are then those of what it made, so nothing else has to be believed.
    pub(super) fn hold(directory: &Path, hold: Hold<'_>) -> Result<Self, HfError> {
        let files = Self::mapping(directory, &mut |path| Mapped::of(&hold(File::open(path)?)?))?;
        Ok(Self { held: true, ..files })
    }

    fn mapping(directory: &Path, map: &mut dyn FnMut(&Path) -> std::io::Result<Mapped>) -> Result<Self, HfError> {
        let mut mapped = |path: &Path| map(path).map(Arc::new).map_err(failed(path));
        let (only, list) = (directory.join(WEIGHTS), directory.join(INDEX));
        let older = PICKLES.into_iter().find(|name| directory.join(name).exists());
        if let (false, false, Some(name)) = (only.exists(), list.exists(), older) {
            return Err(HfError::Pickled(name));
        }
        if only.exists() || !list.exists() {
            return Ok(Self { files: vec![mapped(&only)?], held: false, index: None });
        }
        let bytes = read(&list, MAX_INDEX_BYTES)?;
        let index = Index::parse(&bytes).map_err(FileError::from)?;
        let files = index.files().iter().map(|name| mapped(&directory.join(name))).collect::<Result<_, _>>()?;
        Ok(Self { files, held: false, index: Some((bytes, index)) })
    }

    /// Whether nobody else can change them.
    pub(super) fn held(&self) -> bool {
        self.held
    }

    /// Where a tensor's numbers lie, if a model may read them there for as long as it likes.
    pub(super) fn lying(&self, tensor: &TensorView<'_>) -> Option<InPlace> {
        if self.held { file::lying(tensor, &self.files) } else { None }
    }

    /// The lists of their tensors.
    pub(super) fn tensors(&self) -> Result<Tensors<'_>, FileError> {
        let bytes: Vec<&[u8]> = self.files.iter().map(|file| file.bytes()).collect();
        match &self.index {
            Some((_, index)) => Tensors::several(&bytes, index),
            None => Tensors::parse(bytes.first().copied().unwrap_or_default()),
        }
    }

    /// What they are named by: the SHA-256 of the only file; of several, that of a text with a line for the index and one for each file in
    /// the order of their names' bytes, of which each is the SHA-256 in lower-case hexadecimal digits, two spaces, the name and a line feed:
    /// what `sha256sum` prints. No such text is a safetensors file, so neither kind of name is one of the other kind.
    pub(super) fn digest(&self) -> Sha256 {
        let of = |bytes: &[u8]| Sha256(sha256(&[bytes]));
        match &self.index {
            None => of(self.files.first().map_or(&[][..], |file| file.bytes())),
            Some((bytes, index)) => {
                let files = index.files().iter().zip(&self.files).map(|(name, file)| (name.as_str(), file.bytes()));
                let lines = std::iter::once((INDEX, bytes.as_slice())).chain(files).map(|(name, bytes)| format!("{}  {name}\n", of(bytes)));
                of(lines.collect::<String>().as_bytes())
            }
        }
    }

    /// What that digest is of, for people.
    pub(super) fn named(&self) -> &'static str {
        if self.index.is_some() { INDEXED } else { WEIGHTS }
    }
}

/// The tensors of the model itself with their numbers, those of an adapter left out.
pub(super) fn own(weights: &TransformerWeights) -> impl Iterator<Item = (&Parameter, &[f32])> {
    let tables = [(weights.table(), weights.flat()), (weights.frozen_table(), weights.frozen())];
    let all = tables.into_iter().flat_map(|(table, flat)| table.iter().map(move |p| (p, &flat[p.range()])));
    all.filter(|(p, _)| !is_factor(&p.name))
}

/// Writes the weights, with no more than `most` bytes of numbers in a file unless one tensor has more.
pub(super) fn save(weights: &TransformerWeights, directory: &Path, most: u64) -> Result<(), HfError> {
    let tensors: Vec<&Parameter> = own(weights).map(|(p, _)| p).collect();
    let numbers = |p: &Parameter| -> Result<Vec<f32>, HfError> {
        let values = weights.tensor(&p.name).ok_or_else(|| FileError::Missing(p.name.clone()))?;
        Ok(values.to_vec())
    };
    save_each((&tensors, &numbers), weights.config().spelling, directory, most)
}

/// The numbers of a tensor, when its turn has come.
pub(super) type Numbers<'a> = &'a dyn Fn(&Parameter) -> Result<Vec<f32>, HfError>;

/// The same of a model that need not be in memory: not more than one file is. The index comes last: where it is, all files are.
pub(super) fn save_each(
    (tensors, numbers): (&[&Parameter], Numbers<'_>),
    spelling: Spelling,
    directory: &Path,
    most: u64,
) -> Result<(), HfError> {
    let groups = grouped(tensors, most);
    let laid = |group: &[&Parameter]| -> Result<Vec<Written>, HfError> {
        group.iter().map(|&p| Ok(layout::lay(spelling, p, &numbers(p)?))).collect()
    };
    let only = directory.join(WEIGHTS);
    if let [group] = &groups[..] {
        return write(&only, &file::serialize(laid(group)?)?);
    }
    if only.exists() {
        // It would be read in place of the others.
        std::fs::remove_file(&only).map_err(failed(&only))?;
    }
    let mut places = Map::new();
    for (i, group) in (1..).zip(&groups) {
        let (name, tensors) = (format!("model-{i:05}-of-{:05}.safetensors", groups.len()), laid(group)?);
        places.extend(tensors.iter().map(|t| (t.name.clone(), Value::from(name.as_str()))));
        write(&directory.join(name), &file::serialize(tensors)?)?;
    }
    let total: u64 = tensors.iter().map(|p| length(p)).sum();
    let index = json!({ "metadata": { "total_size": total }, "weight_map": places });
    write(&directory.join(INDEX), format!("{index:#}\n").as_bytes())
}

/// Bytes of a tensor's numbers.
fn length(p: &Parameter) -> u64 {
    4 * p.len() as u64
}

/// Tensors in their order, a new group wherever the next one would be too many; one group at least.
fn grouped<'a>(all: &[&'a Parameter], most: u64) -> Vec<Vec<&'a Parameter>> {
    let (mut groups, mut last, mut taken) = (Vec::new(), Vec::new(), 0);
    for &p in all {
        if !last.is_empty() && taken + length(p) > most {
            groups.push(std::mem::take(&mut last));
            taken = 0;
        }
        taken += length(p);
        last.push(p);
    }
    groups.push(last);
    groups
}

#[cfg(test)]
#[path = "weights_tests.rs"]
mod tests;

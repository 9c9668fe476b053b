//! Bytes of safetensors files: where each tensor lies. Nothing is copied but what is asked for, and no length is believed.

use super::index::{Index, IndexError};
use crate::model::outside::InPlace;
use safetensors::tensor::{Dtype, SafeTensorError, SafeTensors, TensorView};
use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// Longest list of names in front of the numbers, in bytes: models of a thousand tensors need some hundred thousand.
pub const MAX_HEADER_BYTES: u64 = 16 << 20;

/// Bytes that are not the tensors that were looked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// Not safetensors: truncated, or offsets that overlap or leave the file.
    #[error("not in safetensors format, or cut off")]
    Format(#[from] SafeTensorError),
    /// The list of names is longer than any model's.
    #[error("a header of {got} bytes, at most {most} expected")]
    Header {
        /// As the file claims.
        got: u64,
        /// Limit.
        most: u64,
    },
    /// The model has a tensor that the file lacks.
    #[error("tensor {0} is missing")]
    Missing(String),
    /// A tensor of another shape.
    #[error("tensor {name} has shape {found:?}, expected {expected:?}")]
    Shape {
        /// Which.
        name: String,
        /// As the model has it.
        expected: Vec<usize>,
        /// In the file.
        found: Vec<usize>,
    },
    /// A tensor of numbers that are not floats of 16, 32 or 64 bits.
    #[error("tensor {name} is of {found}, expected F32, F16, BF16 or F64")]
    Numbers {
        /// Which.
        name: String,
        /// In the file.
        found: String,
    },
    /// Several files whose index is none, or not theirs.
    #[error("model.safetensors.index.json does not say where the tensors are")]
    Index(#[from] IndexError),
}

/// A file in the address space: only what is read is brought into memory, and the system may let it go again.
#[derive(Debug)]
pub struct Mapped(memmap2::Mmap);

impl Mapped {
    /// Maps the file of this name.
    ///
    /// # Errors
    /// The operating system's.
    pub fn open(path: &Path) -> std::io::Result<Self> {
        Self::of(&File::open(path)?)
    }

    /// Maps a file, which may be closed and lose its name afterwards.
    ///
    /// # Errors
    /// The operating system's.
    #[expect(unsafe_code, reason = "mapping a file is unsafe because somebody else could shorten it meanwhile")]
    pub fn of(file: &File) -> std::io::Result<Self> {
        // SAFETY: the map is read-only and private to this process. If another process shortens the file, reading beyond its end raises a
        // signal that ends this process: wrong numbers are never read as if they were right, and checkpoints are written once.
        let map = unsafe { memmap2::Mmap::map(file)? };
        Ok(Self(map))
    }

    /// All bytes of the file.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A tensor's numbers where they lie: 32-bit floats, lowest byte first, as this machine has them.
struct Lying {
    file: Arc<Mapped>,
    bytes: Range<usize>,
}

impl AsRef<[f32]> for Lying {
    fn as_ref(&self) -> &[f32] {
        let bytes = self.file.bytes().get(self.bytes.clone()).unwrap_or_default();
        bytemuck::try_cast_slice(bytes).unwrap_or_default()
    }
}

/// Where a tensor's numbers lie in one of these files, if a model can read them there: 32-bit floats on a boundary of such.
pub(crate) fn lying(tensor: &TensorView<'_>, files: &[Arc<Mapped>]) -> Option<InPlace> {
    let (data, numbers) = (tensor.data(), tensor.shape().iter().product::<usize>());
    if tensor.dtype() != Dtype::F32 || cfg!(target_endian = "big") {
        return None;
    }
    let within = |file: &Arc<Mapped>| {
        let first = data.as_ptr().addr().checked_sub(file.bytes().as_ptr().addr())?;
        (first + data.len() <= file.bytes().len()).then(|| Lying { file: Arc::clone(file), bytes: first..first + data.len() })
    };
    let lies = InPlace::new(Arc::new(files.iter().find_map(within)?), 0..numbers);
    (lies.numbers().len() == numbers).then_some(lies)
}

/// The tensors of a file, or of several.
#[derive(Debug)]
pub struct Tensors<'a> {
    files: Vec<SafeTensors<'a>>,
    /// Which tensor is in which of several files.
    index: Option<&'a Index>,
}

/// Reads one file's list of names. The format's own reader checks that tensors lie end to end and fill the file.
fn parsed(bytes: &[u8]) -> Result<SafeTensors<'_>, FileError> {
    if let Some(length) = bytes.first_chunk::<8>() {
        let got = u64::from_le_bytes(*length);
        if got > MAX_HEADER_BYTES {
            return Err(FileError::Header { got, most: MAX_HEADER_BYTES });
        }
    }
    Ok(SafeTensors::deserialize(bytes)?)
}

impl<'a> Tensors<'a> {
    /// Reads the list of names of one file.
    ///
    /// # Errors
    /// [`FileError::Header`] and [`FileError::Format`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, FileError> {
        Ok(Self { files: vec![parsed(bytes)?], index: None })
    }

    /// Reads the lists of names of an index's files, given in its order, each of which must hold exactly what the index says.
    ///
    /// # Errors
    /// As [`Self::parse`]; [`FileError::Index`].
    pub fn several(files: &[&'a [u8]], index: &'a Index) -> Result<Self, FileError> {
        let files = files.iter().map(|&bytes| parsed(bytes)).collect::<Result<Vec<_>, _>>()?;
        index.check(&files.iter().map(|file| file.names().into_iter().collect()).collect::<Vec<BTreeSet<&str>>>())?;
        Ok(Self { files, index: Some(index) })
    }

    /// Names of all tensors, file by file.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.files.iter().flat_map(|file| file.names())
    }

    /// Whether a file has this tensor.
    pub fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    fn find(&self, name: &str) -> Option<TensorView<'a>> {
        let at = match self.index {
            Some(index) => index.place(name)?,
            None => 0,
        };
        self.files.get(at)?.tensor(name).ok()
    }

    /// A tensor of this shape, not yet copied.
    ///
    /// # Errors
    /// [`FileError::Missing`], [`FileError::Shape`] and [`FileError::Numbers`].
    pub fn expect(&self, name: &str, shape: &[usize]) -> Result<TensorView<'a>, FileError> {
        let tensor = self.find(name).ok_or_else(|| FileError::Missing(name.into()))?;
        if tensor.shape() != shape {
            return Err(FileError::Shape { name: name.into(), expected: shape.to_vec(), found: tensor.shape().to_vec() });
        }
        let known = matches!(tensor.dtype(), Dtype::F32 | Dtype::F16 | Dtype::BF16 | Dtype::F64);
        if known { Ok(tensor) } else { Err(FileError::Numbers { name: name.into(), found: format!("{:?}", tensor.dtype()) }) }
    }
}

/// Copies a tensor's numbers as 32-bit floats.
#[expect(clippy::wildcard_enum_match_arm, reason = "`expect` lets only the kinds through that are named there")]
pub(crate) fn copy(tensor: &TensorView<'_>, out: &mut [f32]) {
    let bytes = tensor.data();
    match tensor.dtype() {
        Dtype::F16 => out.iter_mut().zip(bytes.chunks_exact(2)).for_each(|(o, b)| *o = half::f16::from_le_bytes([b[0], b[1]]).to_f32()),
        Dtype::BF16 => out.iter_mut().zip(bytes.chunks_exact(2)).for_each(|(o, b)| *o = half::bf16::from_le_bytes([b[0], b[1]]).to_f32()),
        Dtype::F64 => {
            #[expect(clippy::cast_possible_truncation, reason = "rounded once; what leaves the range is refused as not finite")]
            let number = |b: &[u8]| b.first_chunk::<8>().map_or(0.0, |b| f64::from_le_bytes(*b) as f32);
            out.iter_mut().zip(bytes.chunks_exact(8)).for_each(|(o, b)| *o = number(b));
        }
        _ => out.iter_mut().zip(bytes.chunks_exact(4)).for_each(|(o, b)| *o = f32::from_le_bytes([b[0], b[1], b[2], b[3]])),
    }
}

/// A tensor to be written.
pub(crate) struct Written {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) bytes: Vec<u8>,
}

impl Written {
    pub(crate) fn new(name: String, shape: Vec<usize>, values: impl IntoIterator<Item = f32>) -> Self {
        Self { name, shape, bytes: values.into_iter().flat_map(f32::to_le_bytes).collect() }
    }
}

/// A safetensors file of 32-bit floats, with the mark that readers of the ecosystem ask for.
pub(crate) fn serialize(tensors: Vec<Written>) -> Result<Vec<u8>, FileError> {
    let views = tensors.iter().map(|t| TensorView::new(Dtype::F32, t.shape.clone(), &t.bytes).map(|view| (t.name.as_str(), view)));
    let views = views.collect::<Result<Vec<_>, _>>()?;
    Ok(safetensors::serialize(views, Some(HashMap::from([("format".to_owned(), "pt".to_owned())])))?)
}

//! Tensors that nobody trains: those of a published checkpoint that no snapshot holds, and numbers that are read where they lie. In memory once at
//! most, shared by all workers, steps and rounds of a task. Knows no file.

use super::parameters::Loaded;
use candle_core::{Device, Result, Tensor, bail};
use protocol::ids::Sha256;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// Numbers that stay where they are: in a mapped file, or in a vector that others read too.
#[derive(Clone)]
pub(crate) struct InPlace {
    owner: Arc<dyn AsRef<[f32]> + Send + Sync>,
    range: Range<usize>,
}

impl InPlace {
    /// These of somebody's numbers.
    pub(crate) fn new(owner: Arc<dyn AsRef<[f32]> + Send + Sync>, range: Range<usize>) -> Self {
        Self { owner, range }
    }
    /// The numbers; fewer than were asked for only if the owner has fewer.
    pub(crate) fn numbers(&self) -> &[f32] {
        (*self.owner).as_ref().get(self.range.clone()).unwrap_or_default()
    }
}

/// A frozen tensor.
pub(crate) enum Frozen {
    /// Numbers that were made for the model: of another kind or another order than in the file.
    Made(Tensor),
    /// Numbers of the file, which has them as the model has.
    Lying(InPlace, Vec<usize>),
}

impl Frozen {
    /// A copy of it on a device.
    pub(crate) fn on(&self, device: &Device) -> Result<Tensor> {
        match self {
            Self::Made(tensor) => tensor.to_device(device),
            Self::Lying(lies, shape) => Tensor::from_slice(lies.numbers(), shape.as_slice(), device),
        }
    }
    /// As layers read it.
    pub(crate) fn load(&self) -> Result<Loaded> {
        match self {
            Self::Made(tensor) => Ok(Loaded { tensor: tensor.clone(), place: None, lies: None }),
            Self::Lying(lies, shape) => Loaded::in_place(lies.clone(), shape),
        }
    }
}

impl Loaded {
    /// A frozen tensor that is read where it lies. The engine has no tensors in foreign memory, so it gets one with the same shape in which
    /// every number is none: whoever read it by mistake would have no finite result.
    pub(crate) fn in_place(lies: InPlace, shape: &[usize]) -> Result<Self> {
        if lies.numbers().len() != shape.iter().product::<usize>() {
            bail!("{} numbers lie where {shape:?} was expected", lies.numbers().len())
        }
        let tensor = Tensor::new(f32::NAN, &Device::Cpu)?.broadcast_as(shape)?;
        Ok(Self { tensor, place: None, lies: Some(lies) })
    }

    /// The numbers as a tensor of the engine; of those that lie elsewhere a copy.
    pub(crate) fn whole(&self) -> Result<Tensor> {
        match &self.lies {
            Some(lies) => Tensor::from_slice(lies.numbers(), self.tensor.shape(), &Device::Cpu),
            None => Ok(self.tensor.clone()),
        }
    }

    /// Reads the numbers, wherever they are.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&[f32]) -> Result<T>) -> Result<T> {
        match &self.lies {
            Some(lies) => read(lies.numbers()),
            None => crate::ops::with_floats(&self.tensor, read),
        }
    }
}

/// The frozen tensors of a checkpoint, by name.
pub struct Outside {
    tensors: BTreeMap<String, Frozen>,
    checkpoint: Sha256,
    /// Copies on devices by where each begins in memory: they are there as long as this is.
    copies: Mutex<BTreeMap<usize, Arc<Tensor>>>,
}

impl Outside {
    /// Tensors of the checkpoint whose weights have this digest.
    pub(crate) fn new(checkpoint: Sha256, tensors: BTreeMap<String, Frozen>) -> Self {
        Self { tensors, checkpoint, copies: Mutex::default() }
    }
    /// Keeps a copy of one of the tensors on a device; once, however often it is given.
    pub(crate) fn keep(&self, copy: Arc<Tensor>) {
        self.copies.lock().unwrap_or_else(PoisonError::into_inner).insert(Arc::as_ptr(&copy).addr(), copy);
    }
    /// Digest of the checkpoint that the tensors are of.
    pub(crate) fn checkpoint(&self) -> Sha256 {
        self.checkpoint
    }
    pub(crate) fn find(&self, name: &str) -> Option<&Frozen> {
        self.tensors.get(name)
    }
    /// How many.
    pub(crate) fn len(&self) -> usize {
        self.tensors.len()
    }
    /// How many of them are read where they lie in the checkpoint's files, without a copy.
    pub fn in_place(&self) -> usize {
        self.tensors.values().filter(|tensor| matches!(tensor, Frozen::Lying(..))).count()
    }
}

/// The same tensors of the same file.
impl PartialEq for Outside {
    fn eq(&self, other: &Self) -> bool {
        self.checkpoint == other.checkpoint && self.tensors.keys().eq(other.tensors.keys())
    }
}

impl std::fmt::Debug for Outside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Outside({} tensors of {}, {} in place)", self.tensors.len(), self.checkpoint, self.in_place())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_where_they_lie() {
        let all: Arc<[f32]> = (0..12).map(|i| i as f32).collect();
        let loaded = Loaded::in_place(InPlace::new(Arc::new(Arc::clone(&all)), 2..8), &[3, 2]).unwrap();
        assert_eq!((loaded.tensor.dims2().unwrap(), loaded.place), ((3, 2), None));
        let (numbers, same) = loaded.read(|x| Ok((x.to_vec(), std::ptr::eq(x.as_ptr(), all[2..].as_ptr())))).unwrap();
        assert!(same && numbers == [2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
        // What stands in its place has no numbers of its own.
        assert!(loaded.tensor.sum_all().unwrap().to_scalar::<f32>().unwrap().is_nan());
        assert!(crate::ops::with_floats(&loaded.tensor, |_| Ok(())).is_err());
        for (range, shape) in [(2..8, [3, 3]), (8..14, [3, 2])] {
            assert!(Loaded::in_place(InPlace::new(Arc::new(Arc::clone(&all)), range), &shape).is_err());
        }
    }
}

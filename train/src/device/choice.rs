//! What an institution asks to compute with, and what there is.

use super::Engine;
use crate::direct::Precision;
use std::fmt;
use std::str::FromStr;

/// What is asked for. Written `cpu`, `auto`, `cuda` or `cuda:N`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wanted {
    /// The processor.
    #[default]
    Cpu,
    /// All GPUs where there are any, else the processor.
    Auto,
    /// All GPUs of the machine; it is an error if there is none.
    Cuda,
    /// The GPU of this number, from 0; it is an error if it is not there.
    CudaAt(usize),
}

/// What there is.
pub enum Found {
    /// The processor: asked for, or because no GPU can be used, for this reason.
    Processor(Option<DeviceError>),
    /// At least one GPU.
    Gpus(Vec<Engine>),
}

/// Why a device cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// Another word.
    #[error("got device {got:?}, expected cpu, auto, cuda or cuda:N")]
    Unknown {
        /// As written.
        got: String,
    },
    /// No GPU, no driver, or a program without the feature `cuda`.
    #[error("no GPU can be used")]
    NoGpu(#[source] Box<candle_core::Error>),
}

impl FromStr for Wanted {
    type Err = DeviceError;

    fn from_str(word: &str) -> Result<Self, DeviceError> {
        match (word, word.strip_prefix("cuda:").map(str::parse::<usize>)) {
            ("cpu", _) => Ok(Self::Cpu),
            ("auto", _) => Ok(Self::Auto),
            ("cuda", _) => Ok(Self::Cuda),
            (_, Some(Ok(number))) => Ok(Self::CudaAt(number)),
            (got, Some(Err(_)) | None) => Err(DeviceError::Unknown { got: got.to_owned() }),
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Auto => f.write_str("auto"),
            Self::Cuda => f.write_str("cuda"),
            Self::CudaAt(number) => write!(f, "cuda:{number}"),
        }
    }
}

impl Wanted {
    /// Looks for it. Only [`Self::Auto`] falls back on the processor.
    ///
    /// # Errors
    /// [`DeviceError::NoGpu`].
    pub fn find(self, precision: Precision) -> Result<Found, DeviceError> {
        let none = |e| DeviceError::NoGpu(Box::new(e));
        match self {
            Self::Cpu => Ok(Found::Processor(None)),
            Self::Auto => Ok(Engine::gpus(precision).map_or_else(|e| Found::Processor(Some(none(e))), Found::Gpus)),
            Self::Cuda => Engine::gpus(precision).map(Found::Gpus).map_err(none),
            Self::CudaAt(number) => Engine::gpu(number, precision).map(|gpu| Found::Gpus(vec![gpu])).map_err(none),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_written_as_they_are_read() {
        for word in ["cpu", "auto", "cuda", "cuda:0", "cuda:3"] {
            assert_eq!(word.parse::<Wanted>().unwrap().to_string(), word);
        }
        for word in ["", "gpu", "cuda:", "cuda:-1", "cuda:x", "CPU", "cuda0"] {
            assert!(word.parse::<Wanted>().is_err(), "{word}");
        }
    }

    /// A GPU of this number is nowhere, with the feature and without.
    #[test]
    fn only_auto_falls_back() {
        assert!(matches!(Wanted::Cpu.find(Precision::F32), Ok(Found::Processor(None))));
        assert!(matches!(Wanted::CudaAt(4096).find(Precision::F32), Err(DeviceError::NoGpu(_))));
        match Wanted::Auto.find(Precision::F32).unwrap() {
            Found::Processor(why) => assert!(why.is_some() && Wanted::Cuda.find(Precision::F32).is_err()),
            Found::Gpus(gpus) => assert!(!gpus.is_empty()),
        }
    }
}

//! Weights at rest: safetensors bytes, named by their SHA-256. Knows no file system.

use crate::model::{ModelError, ParameterTable, Weights, lora};
use protocol::hash::sha256;
use protocol::ids::SnapshotDigest;
use protocol::plan::EncoderConfig;
use safetensors::tensor::{Dtype, SafeTensorError, SafeTensors, TensorView};
use std::collections::HashMap;

/// Room for the names in front of the numbers: some hundred tensors at a hundred bytes each fit many times over.
const MAX_HEADER_BYTES: usize = 1 << 20;

/// Written by most tools of the trade, and asked for by some readers.
const FORMAT: [&str; 2] = ["format", "pt"];

/// Bytes that are not a snapshot of this model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// Longer than the model can be.
    #[error("{got} bytes, at most {most} expected")]
    TooLong {
        /// Bytes given.
        got: usize,
        /// Most that a snapshot of this model has.
        most: usize,
    },
    /// Not safetensors.
    #[error("not in safetensors format")]
    Format(#[from] SafeTensorError),
    /// A tensor is missing, has another shape, or is not of 32-bit floats.
    #[error("tensor {0} is missing or has another shape or type")]
    Tensor(String),
    /// Other tensors than the model's.
    #[error("{got} tensors, the model has {expected}")]
    Count {
        /// Tensors in the file.
        got: usize,
        /// Tensors of the model.
        expected: usize,
    },
    /// The same weights, but not in the one spelling that a digest names.
    #[error("not the canonical bytes of these weights")]
    NotCanonical,
    /// Not a model.
    #[error("the weights are not a model")]
    Model(#[from] ModelError),
}

/// Name of these bytes.
pub fn digest(bytes: &[u8]) -> SnapshotDigest {
    SnapshotDigest(sha256(&[bytes]))
}

/// The one spelling of these weights.
///
/// # Errors
/// [`SnapshotError::Format`] if the format refuses, which it does for no model that exists.
pub fn to_bytes(weights: &Weights) -> Result<Vec<u8>, SnapshotError> {
    tensors_to_bytes(weights.table(), weights.flat())
}

/// The one spelling of a flat vector under this table.
///
/// # Errors
/// As [`to_bytes`]; [`SnapshotError::Model`] for a vector of another length or a number that is not finite.
pub fn tensors_to_bytes(table: &ParameterTable, flat: &[f32]) -> Result<Vec<u8>, SnapshotError> {
    table.check(flat)?;
    let raw: Vec<u8> = flat.iter().flat_map(|w| w.to_le_bytes()).collect();
    let view = |p: &crate::model::parameters::Parameter| {
        let range = p.range();
        TensorView::new(Dtype::F32, p.shape.clone(), &raw[4 * range.start..4 * range.end]).map(|v| (p.name.clone(), v))
    };
    let tensors = table.iter().map(view).collect::<Result<Vec<_>, _>>()?;
    Ok(safetensors::serialize(tensors, Some(HashMap::from([FORMAT.map(str::to_owned).into()])))?)
}

/// The two parts of a model with adapters, each by the digest of its own tensors in the one spelling: what somebody who has only one of them
/// hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts {
    /// All tensors but the adapters'.
    pub without: SnapshotDigest,
    /// The adapters' factors A and B.
    pub adapters: SnapshotDigest,
}

/// Names the parts of a snapshot; nothing for a model without adapters.
///
/// # Errors
/// As [`from_bytes`].
pub fn parts(config: &EncoderConfig, bytes: &[u8]) -> Result<Option<Parts>, SnapshotError> {
    if config.adapter.is_none() {
        return Ok(None);
    }
    from_bytes(config, bytes)?;
    let file = SafeTensors::deserialize(bytes)?;
    let some = |adapters: bool| -> Result<SnapshotDigest, SnapshotError> {
        let tensors = file.tensors().into_iter().filter(|(name, _)| lora::is_factor(name) == adapters);
        Ok(digest(&safetensors::serialize(tensors, Some(HashMap::from([FORMAT.map(str::to_owned).into()])))?))
    };
    Ok(Some(Parts { without: some(false)?, adapters: some(true)? }))
}

/// Most bytes of a snapshot of this model, whatever part of it an institution trains.
///
/// # Errors
/// [`ModelError`] for a model that cannot be built.
pub fn most_bytes(config: &EncoderConfig) -> Result<usize, ModelError> {
    Ok(most_of(&ParameterTable::new(config)?))
}

fn most_of(table: &ParameterTable) -> usize {
    4 * table.len() + MAX_HEADER_BYTES
}

/// Reads a snapshot of a known model. Takes exactly the bytes that [`to_bytes`] writes.
///
/// # Errors
/// [`SnapshotError`].
pub fn from_bytes(config: &EncoderConfig, bytes: &[u8]) -> Result<Weights, SnapshotError> {
    let table = ParameterTable::new(config)?;
    let most = most_of(&table);
    if bytes.len() > most {
        return Err(SnapshotError::TooLong { got: bytes.len(), most });
    }
    let file = SafeTensors::deserialize(bytes)?;
    let (got, expected) = (file.len(), table.iter().count());
    if got != expected {
        return Err(SnapshotError::Count { got, expected });
    }
    let mut flat = Vec::with_capacity(table.len());
    for p in table.iter() {
        let tensor = file.tensor(&p.name).map_err(|_| SnapshotError::Tensor(p.name.clone()))?;
        if tensor.dtype() != Dtype::F32 || tensor.shape() != p.shape {
            return Err(SnapshotError::Tensor(p.name.clone()));
        }
        flat.extend(tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])));
    }
    let weights = Weights::new(config, flat)?;
    if to_bytes(&weights)? == bytes { Ok(weights) } else { Err(SnapshotError::NotCanonical) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::initial;
    use crate::testing::small_config;
    use proptest::prelude::*;

    #[test]
    fn weights_come_back_bit_by_bit_and_bytes_are_the_same_every_time() {
        let weights = initial(&small_config(), 3).unwrap();
        let bytes = to_bytes(&weights).unwrap();
        assert_eq!(bytes, to_bytes(&weights).unwrap());
        assert_eq!(from_bytes(&small_config(), &bytes).unwrap(), weights);
        assert_ne!(digest(&bytes), digest(&to_bytes(&initial(&small_config(), 4).unwrap()).unwrap()));
    }

    #[test]
    fn the_parts_of_a_model_with_adapters_are_named_by_their_own_tensors() {
        let plain = small_config();
        let adapter = Some(protocol::plan::AdapterConfig { rank: 2, alpha: 4, targets: None, nested: None });
        let config = EncoderConfig { adapter, ..plain.clone() };
        let whole = initial(&config, 3).unwrap();
        let bytes = to_bytes(&whole).unwrap();
        let named = parts(&config, &bytes).unwrap().unwrap();
        // The model without adapters, out of the same tensors.
        let table = ParameterTable::new(&plain).unwrap();
        let of = |name: &str| whole.table().iter().find(|p| p.name == name).unwrap().range();
        let flat = table.iter().flat_map(|p| whole.flat()[of(&p.name)].to_vec()).collect();
        let without = to_bytes(&Weights::new(&plain, flat).unwrap()).unwrap();
        assert_eq!(named.without, digest(&without));
        assert_eq!(parts(&plain, &without).unwrap(), None);
        // One number of an adapter changes only the adapters' name.
        let mut flat = whole.flat().to_vec();
        flat[whole.table().iter().find(|p| lora::is_factor(&p.name)).unwrap().range().start] += 1.0;
        let moved = parts(&config, &to_bytes(&Weights::new(&config, flat).unwrap()).unwrap()).unwrap().unwrap();
        assert!(moved.without == named.without && moved.adapters != named.adapters);
    }

    #[test]
    fn another_model_or_a_number_that_is_not_finite_is_refused() {
        let weights = initial(&small_config(), 3).unwrap();
        let mut bytes = to_bytes(&weights).unwrap();
        let mut other = small_config();
        other.layers += 1;
        assert!(matches!(from_bytes(&other, &bytes), Err(SnapshotError::Count { .. })));
        let end = bytes.len();
        bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
        assert!(matches!(from_bytes(&small_config(), &bytes), Err(SnapshotError::Model(ModelError::NonFinite(_)))));
    }

    #[test]
    fn a_second_spelling_of_the_same_weights_is_refused() {
        let weights = initial(&small_config(), 3).unwrap();
        let file = to_bytes(&weights).unwrap();
        let parsed = SafeTensors::deserialize(&file).unwrap();
        let respelt = safetensors::serialize(parsed.tensors(), None).unwrap();
        assert!(matches!(from_bytes(&small_config(), &respelt), Err(SnapshotError::NotCanonical)));
    }

    proptest! {
        #[test]
        fn damaged_bytes_never_panic(at in 0usize..4000, to: u8, keep in 0usize..4000) {
            let mut bytes = to_bytes(&initial(&small_config(), 3).unwrap()).unwrap();
            let at = at % bytes.len();
            bytes[at] = to;
            let _ = from_bytes(&small_config(), &bytes);
            let _ = from_bytes(&small_config(), &bytes[..keep.min(bytes.len())]);
        }
    }
}

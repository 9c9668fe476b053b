//! The model's flat vector in shards: contiguous runs of whole tensors (training.md M4). Knows no sealing.

pub mod kind;

use crate::model::{ModelError, ParameterTable};
use protocol::ids::ShardId;
use protocol::plan::{EncoderConfig, ShardSpec, TensorSpec};

/// Step exponent that fits a round of AdamW: with 16 bits a coordinate may move by 0.5 and is rounded to 2^-16.
pub const STEP_EXPONENT: i8 = -16;

/// A shard table that is not this model, or cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShardError {
    /// No shard, or more shards than tensors.
    #[error("{shards} shards for {tensors} tensors")]
    Count {
        /// Shards asked for or given.
        shards: usize,
        /// Tensors of the model.
        tensors: usize,
    },
    /// The tensor at this place of the table has another name or shape than the model's.
    #[error("tensor {place} of the shard table is not the model's {expected}")]
    Tensor {
        /// Position over all shards, from 0.
        place: usize,
        /// Name of the model's tensor there.
        expected: String,
    },
    /// Two shards share a number.
    #[error("shard {0} occurs twice")]
    Twice(ShardId),
    /// A vector of another length than the table.
    #[error("got {got} coordinates, the shard has {expected}")]
    Length {
        /// Coordinates given.
        got: usize,
        /// Coordinates in the table.
        expected: usize,
    },
    /// A shard that is not in the table.
    #[error("shard {0} is not in the table")]
    Unknown(ShardId),
    /// The model itself cannot be built.
    #[error("the model cannot be built")]
    Model(#[from] ModelError),
}

/// Coordinates of a shard as an index.
fn length(shard: &ShardSpec) -> usize {
    usize::try_from(shard.len()).unwrap_or(usize::MAX)
}

/// Splits a model into `count` contiguous shards of whole tensors, about equally long.
///
/// # Errors
/// [`ShardError::Count`] and [`ShardError::Model`].
pub fn shard_table(config: &EncoderConfig, count: u32, step_exponent: i8) -> Result<Vec<ShardSpec>, ShardError> {
    let table = ParameterTable::new(config)?;
    let (shards, tensors) = (crate::model::parameters::size(count), table.iter().count());
    if shards == 0 || shards > tensors {
        return Err(ShardError::Count { shards, tensors });
    }
    let mut out: Vec<ShardSpec> = (0..count).map(|id| ShardSpec { id: ShardId(id), tensors: Vec::new(), step_exponent }).collect();
    let (mut at, mut left, mut taken) = (0, table.len(), 0);
    for (i, parameter) in table.iter().enumerate() {
        let (shards_left, tensors_left) = (shards - at, tensors - i);
        // Close a shard when it has its share of what was left, or when every further shard needs the rest of the tensors.
        let full = taken > 0 && (taken >= left.div_ceil(shards_left) || tensors_left < shards_left);
        if full && at + 1 < shards {
            at += 1;
            left -= taken;
            taken = 0;
        }
        taken += parameter.len();
        out[at].tensors.push(parameter.spec());
    }
    Ok(out)
}

/// Checks that a plan's shards are exactly the model's tensors in the model's order.
///
/// # Errors
/// [`ShardError`], the first difference.
pub fn check(table: &ParameterTable, shards: &[ShardSpec]) -> Result<(), ShardError> {
    if let Some(twice) = shards.iter().enumerate().find(|(i, s)| shards[..*i].iter().any(|other| other.id == s.id)) {
        return Err(ShardError::Twice(twice.1.id));
    }
    let given: Vec<&TensorSpec> = shards.iter().flat_map(|s| &s.tensors).collect();
    for (place, parameter) in table.iter().enumerate() {
        if given.get(place).is_none_or(|t| **t != parameter.spec()) {
            return Err(ShardError::Tensor { place, expected: parameter.name.clone() });
        }
    }
    let tensors = table.iter().count();
    if given.len() == tensors { Ok(()) } else { Err(ShardError::Count { shards: shards.len(), tensors }) }
}

/// Cuts a flat vector at the shards' borders, in table order.
///
/// # Errors
/// [`ShardError::Length`] if the shards together have another length.
pub fn split(shards: &[ShardSpec], flat: &[f32]) -> Result<Vec<(ShardId, Vec<f32>)>, ShardError> {
    let expected = shards.iter().map(length).fold(0usize, usize::saturating_add);
    if expected != flat.len() {
        return Err(ShardError::Length { got: flat.len(), expected });
    }
    let mut rest = flat;
    let cut = |shard: &ShardSpec| {
        let (head, tail) = rest.split_at(length(shard));
        rest = tail;
        (shard.id, head.to_vec())
    };
    Ok(shards.iter().map(cut).collect())
}

/// Where each given part lies in the flat vector: its coordinates, and its position in `parts`. Shards that are not given are not named.
///
/// # Errors
/// [`ShardError::Unknown`], [`ShardError::Twice`] and [`ShardError::Length`].
pub fn places(shards: &[ShardSpec], parts: &[(ShardId, Vec<f32>)]) -> Result<Vec<(std::ops::Range<usize>, usize)>, ShardError> {
    let mut places = Vec::with_capacity(parts.len());
    for (i, (id, values)) in parts.iter().enumerate() {
        if parts[..i].iter().any(|(other, _)| other == id) {
            return Err(ShardError::Twice(*id));
        }
        let at = shards.iter().position(|s| s.id == *id).ok_or(ShardError::Unknown(*id))?;
        let (start, expected) = (shards[..at].iter().map(length).sum::<usize>(), length(&shards[at]));
        if values.len() != expected {
            return Err(ShardError::Length { got: values.len(), expected });
        }
        places.push((start..start + expected, i));
    }
    Ok(places)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::small_config;

    #[test]
    fn every_count_gives_the_whole_model_in_order() {
        let config = small_config();
        let table = ParameterTable::new(&config).unwrap();
        for count in 1..=u32::try_from(table.iter().count()).unwrap() {
            let shards = shard_table(&config, count, STEP_EXPONENT).unwrap();
            assert_eq!(shards.len(), usize::try_from(count).unwrap());
            assert!(shards.iter().all(|s| !s.is_empty()));
            check(&table, &shards).unwrap();
        }
        assert!(shard_table(&config, 0, STEP_EXPONENT).is_err() && shard_table(&config, 1000, STEP_EXPONENT).is_err());
    }

    #[test]
    fn split_then_placed_is_the_same_vector() {
        let config = small_config();
        let shards = shard_table(&config, 3, STEP_EXPONENT).unwrap();
        let flat: Vec<f32> = (0..ParameterTable::new(&config).unwrap().len()).map(|i| i as f32).collect();
        let mut parts = split(&shards, &flat).unwrap();
        parts.reverse();
        let mut back = vec![0.0; flat.len()];
        for (range, part) in places(&shards, &parts).unwrap() {
            back[range].copy_from_slice(&parts[part].1);
        }
        assert_eq!(back, flat);
    }

    #[test]
    fn a_table_of_another_model_is_refused() {
        let (config, mut other) = (small_config(), small_config());
        other.hidden += 1;
        let table = ParameterTable::new(&config).unwrap();
        assert!(matches!(check(&table, &shard_table(&other, 2, -16).unwrap()), Err(ShardError::Tensor { .. })));
        let mut twice = shard_table(&config, 2, -16).unwrap();
        twice[1].id = twice[0].id;
        assert_eq!(check(&table, &twice), Err(ShardError::Twice(twice[0].id)));
        let mut longer = shard_table(&config, 2, -16).unwrap();
        longer[1].tensors.push(TensorSpec { name: "more".into(), shape: vec![1] });
        assert!(matches!(check(&table, &longer), Err(ShardError::Count { .. })));
    }
}

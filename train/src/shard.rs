//! The model's flat vector in shards: contiguous runs of whole tensors (training.md M4). Knows no sealing.

pub mod kind;
pub mod tiers;

use crate::model::{ModelError, ParameterTable};
use protocol::ids::ShardId;
use protocol::plan::{EncoderConfig, ShardSpec, TensorSpec};
use std::collections::BTreeSet;
use std::ops::Range;

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
    /// A tensor that the model does not have.
    #[error("shard {shard} has the tensor {name}, which is none of the model's: expected one of {expected}")]
    NoTensor {
        /// Which shard.
        shard: ShardId,
        /// What it names.
        name: String,
        /// Tensors of the model.
        expected: String,
    },
    /// A tensor of another shape than the model's.
    #[error("shard {shard} has {name} of shape {got:?}, the model's has {expected:?}")]
    Shape {
        /// Which shard.
        shard: ShardId,
        /// Which tensor.
        name: String,
        /// In the plan.
        got: Vec<u32>,
        /// In the model.
        expected: Vec<u32>,
    },
    /// A tensor that two shards have.
    #[error("the tensor {0} is in the shard table twice")]
    TensorTwice(String),
    /// Tensors that must stand in the model's order, one noised sum being cut at the shards' borders.
    #[error("the trained tensors are not in the model's order at {0}")]
    Order(String),
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

/// Checks that a plan's shards are tensors of the model, each once. What is in no shard is frozen for everybody.
///
/// # Errors
/// [`ShardError`], the first difference: what was expected and what was found.
pub fn check(table: &ParameterTable, shards: &[ShardSpec]) -> Result<(), ShardError> {
    if let Some(twice) = shards.iter().enumerate().find(|(i, s)| shards[..*i].iter().any(|other| other.id == s.id)) {
        return Err(ShardError::Twice(twice.1.id));
    }
    let mut seen = BTreeSet::new();
    for (shard, tensor) in tensors(shards) {
        let Some(parameter) = table.find(&tensor.name) else {
            let expected = table.iter().map(|p| p.name.as_str()).collect::<Vec<_>>().join(", ");
            return Err(ShardError::NoTensor { shard, name: tensor.name.clone(), expected });
        };
        let expected = parameter.spec().shape;
        if tensor.shape != expected {
            return Err(ShardError::Shape { shard, name: tensor.name.clone(), got: tensor.shape.clone(), expected });
        }
        if !seen.insert(&tensor.name) {
            return Err(ShardError::TensorTwice(tensor.name.clone()));
        }
    }
    if seen.is_empty() { Err(ShardError::Count { shards: shards.len(), tensors: table.iter().count() }) } else { Ok(()) }
}

/// Checks that the shards' tensors are all of the table, in its order: then their flat vector and the table's are the same.
///
/// # Errors
/// [`ShardError::Order`], the first that differs.
pub(crate) fn check_order(table: &ParameterTable, shards: &[ShardSpec]) -> Result<(), ShardError> {
    let mut given = tensors(shards).map(|(_, t)| t.name.as_str());
    let wrong = table.iter().find(|p| given.next() != Some(p.name.as_str()));
    match wrong.map(|p| p.name.clone()).or_else(|| given.next().map(str::to_owned)) {
        Some(name) => Err(ShardError::Order(name)),
        None => Ok(()),
    }
}

/// All tensors of the table with their shard.
fn tensors(shards: &[ShardSpec]) -> impl Iterator<Item = (ShardId, &TensorSpec)> {
    shards.iter().flat_map(|s| s.tensors.iter().map(|t| (s.id, t)))
}

/// Names of the shards' tensors.
pub fn names<'a>(shards: impl IntoIterator<Item = &'a ShardSpec>) -> BTreeSet<String> {
    shards.into_iter().flat_map(|s| &s.tensors).map(|t| t.name.clone()).collect()
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

/// A tensor of a shard: where it lies in the model's flat vector and where in its shard's part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Coordinates in the model's vector.
    pub model: Range<usize>,
    /// Position in the given parts.
    pub part: usize,
    /// Coordinates in that part.
    pub within: Range<usize>,
}

/// Where each tensor of the given parts lies. Shards that are not given are not named.
///
/// # Errors
/// [`ShardError::Unknown`], [`ShardError::Twice`], [`ShardError::Length`], and [`check`]'s.
pub fn places(table: &ParameterTable, shards: &[ShardSpec], parts: &[(ShardId, Vec<f32>)]) -> Result<Vec<Place>, ShardError> {
    check(table, shards)?;
    let mut places = Vec::with_capacity(parts.len());
    for (i, (id, values)) in parts.iter().enumerate() {
        if parts[..i].iter().any(|(other, _)| other == id) {
            return Err(ShardError::Twice(*id));
        }
        let shard = shards.iter().find(|s| s.id == *id).ok_or(ShardError::Unknown(*id))?;
        let expected = length(shard);
        if values.len() != expected {
            return Err(ShardError::Length { got: values.len(), expected });
        }
        let mut at = 0;
        for model in shard.tensors.iter().filter_map(|t| table.find(&t.name)).map(crate::model::parameters::Parameter::range) {
            let within = at..at + model.len();
            at = within.end;
            places.push(Place { model, part: i, within });
        }
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
        for place in places(&ParameterTable::new(&config).unwrap(), &shards, &parts).unwrap() {
            back[place.model].copy_from_slice(&parts[place.part].1[place.within]);
        }
        assert_eq!(back, flat);
    }

    #[test]
    fn a_table_of_another_model_is_refused() {
        let (config, mut other) = (small_config(), small_config());
        other.hidden += 1;
        let table = ParameterTable::new(&config).unwrap();
        let misshaped = check(&table, &shard_table(&other, 2, -16).unwrap());
        assert!(matches!(misshaped, Err(ShardError::Shape { got, expected, .. }) if got == [13, 8] && expected == [12, 8]));
        let mut twice = shard_table(&config, 2, -16).unwrap();
        twice[1].id = twice[0].id;
        assert_eq!(check(&table, &twice), Err(ShardError::Twice(twice[0].id)));
        let mut longer = shard_table(&config, 2, -16).unwrap();
        longer[1].tensors.push(TensorSpec { name: "more".into(), shape: vec![1] });
        let Err(ShardError::NoTensor { name, expected, .. }) = check(&table, &longer) else { panic!("a tensor that nobody has") };
        assert!(name == "more" && expected.contains("encoder.layers.0.attention.qkv.weight") && expected.contains("classifier.bias"));
        longer[1].tensors.pop();
        assert!(check(&table, &longer).is_ok() && check_order(&table, &longer).is_ok());
        longer[1].tensors.swap(0, 1);
        assert!(check(&table, &longer).is_ok() && matches!(check_order(&table, &longer), Err(ShardError::Order(_))));
        let moved = longer[1].tensors[0].clone();
        longer[0].tensors.push(moved.clone());
        assert_eq!(check(&table, &longer), Err(ShardError::TensorTwice(moved.name)));
        longer.truncate(1);
        longer[0].tensors.pop();
        assert!(check(&table, &longer).is_ok() && check_order(&table, &longer).is_err(), "the rest is frozen");
        assert!(matches!(check(&table, &[]), Err(ShardError::Count { .. })));
    }
}

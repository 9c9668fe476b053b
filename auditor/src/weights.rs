//! A snapshot's bytes as numbers by name: the safetensors format, read as strictly as the federation writes it. Knows no model.
//!
//! 8 bytes of length, a header in JSON with name, type, shape and place of every tensor, then the numbers. What names a snapshot is the hash of
//! all of it; so a step changes numbers only, and the header stays byte for byte what it was.

use serde::Deserialize;
use std::collections::BTreeMap;
use std::ops::Range;

/// Longest header: some thousand names fit many times over.
const MAX_HEADER: usize = 1 << 20;
/// The one name that is no tensor's.
const METADATA: &str = "__metadata__";

/// Bytes that are no snapshot, or not of this plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// Shorter than its header says, or a header that is none.
    #[error("not in safetensors format")]
    Format,
    /// Tensors that overlap, leave a gap, or are not of 32-bit floats.
    #[error("tensor {0} is not of 32-bit floats right behind the one before it")]
    Tensor(String),
    /// A tensor of the plan.
    #[error("the plan's tensor {0} is missing or has another shape")]
    Missing(String),
}

/// One tensor as the header tells.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Told {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

/// A snapshot.
pub struct Weights {
    bytes: Vec<u8>,
    /// Where the numbers begin.
    data: usize,
    /// Shape and places, in numbers.
    tensors: BTreeMap<String, (Vec<u64>, Range<usize>)>,
}

impl Weights {
    /// Reads a snapshot.
    ///
    /// # Errors
    /// [`Malformed`].
    ///
    /// # Security
    /// The bytes may be anybody's.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, Malformed> {
        let (length, rest) = bytes.split_first_chunk::<8>().ok_or(Malformed::Format)?;
        let length = usize::try_from(u64::from_le_bytes(*length)).ok().filter(|n| *n <= MAX_HEADER).ok_or(Malformed::Format)?;
        let (header, numbers) = rest.split_at_checked(length).ok_or(Malformed::Format)?;
        let told: BTreeMap<String, serde_json::Value> = serde_json::from_slice(header).map_err(|_| Malformed::Format)?;
        let mut told = told.into_iter().filter(|(name, _)| name != METADATA).map(read).collect::<Result<Vec<_>, _>>()?;
        told.sort_by_key(|(_, t)| t.data_offsets);
        let mut end = 0u64;
        let mut tensors = BTreeMap::new();
        for (name, Told { dtype, shape, data_offsets: [from, to] }) in told {
            let product = shape.iter().try_fold(4u64, |n, d| n.checked_mul(*d));
            let range = place(from, to).filter(|_| dtype == "F32" && from == end && product == to.checked_sub(from));
            let Some(range) = range else { return Err(Malformed::Tensor(name)) };
            end = to;
            tensors.insert(name, (shape, range));
        }
        if end != numbers.len() as u64 {
            return Err(Malformed::Format);
        }
        Ok(Self { data: 8 + length, bytes, tensors })
    }

    /// All numbers.
    pub fn numbers(&self) -> usize {
        (self.bytes.len() - self.data) / 4
    }

    /// The places of a tensor's numbers.
    ///
    /// # Errors
    /// [`Malformed::Missing`].
    pub fn find(&self, name: &str, shape: &[u32]) -> Result<Range<usize>, Malformed> {
        let same = |told: &[u64]| told.iter().copied().eq(shape.iter().map(|d| u64::from(*d)));
        let found = self.tensors.get(name).filter(|(told, _)| same(told));
        found.map(|(_, range)| range.clone()).ok_or_else(|| Malformed::Missing(name.to_owned()))
    }

    /// The number at a place that [`Self::find`] gave.
    pub fn get(&self, at: usize) -> f32 {
        let from = self.data + 4 * at;
        self.bytes.get(from..).and_then(<[u8]>::first_chunk::<4>).map_or(f32::NAN, |b| f32::from_le_bytes(*b))
    }

    /// Changes the number at a place that [`Self::find`] gave.
    pub fn set(&mut self, at: usize, number: f32) {
        let from = self.data + 4 * at;
        if let Some(b) = self.bytes.get_mut(from..).and_then(<[u8]>::first_chunk_mut::<4>) {
            *b = number.to_le_bytes();
        }
    }

    /// The snapshot.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

fn read((name, value): (String, serde_json::Value)) -> Result<(String, Told), Malformed> {
    Told::deserialize(value).map(|told| (name.clone(), told)).map_err(|_| Malformed::Tensor(name))
}

/// Offsets in bytes as places of numbers.
fn place(from: u64, to: u64) -> Option<Range<usize>> {
    let number = |n: u64| n.is_multiple_of(4).then(|| usize::try_from(n / 4).ok()).flatten();
    Some(number(from)?..number(to)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, numbers: &[f32]) -> Vec<u8> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.extend(numbers.iter().flat_map(|n| n.to_le_bytes()));
        bytes
    }

    const HEADER: &str = r#"{"__metadata__":{"format":"pt"},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]},"a":{"dtype":"F32","shape":[1,1],"data_offsets":[0,4]}}   "#;

    #[test]
    fn numbers_are_found_by_name_and_nothing_else_changes() {
        let before = file(HEADER, &[1.5, 2.5, -0.0]);
        let mut weights = Weights::parse(before).unwrap();
        assert_eq!((weights.numbers(), weights.find("b", &[2]), weights.get(2).to_bits()), (3, Ok(1..3), (-0.0f32).to_bits()));
        assert_eq!(weights.find("b", &[1, 2]), Err(Malformed::Missing("b".into())));
        weights.set(1, 7.0);
        assert_eq!(weights.into_bytes(), file(HEADER, &[1.5, 7.0, -0.0]));
    }

    #[test]
    fn files_of_another_form_are_refused() {
        let good = file(HEADER, &[0.0; 3]);
        for cut in [0, 7, 8, 40, good.len() - 1] {
            assert!(Weights::parse(good[..cut].to_vec()).is_err(), "{cut}");
        }
        assert!(Weights::parse([good.clone(), vec![0; 4]].concat()).is_err());
        let mut long = good;
        long[..8].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(Weights::parse(long).is_err());
        let swapped = [("F32", "F16"), ("[4,12]", "[0,8]"), ("[4,12]", "[8,12]"), ("\"shape\":[2]", "\"shape\":[3]"), ("[0,4]", "[4,0]")];
        for (from, to) in swapped {
            assert!(Weights::parse(file(&HEADER.replacen(from, to, 1), &[0.0; 3])).is_err(), "{from} {to}");
        }
        // Whose product does not fit any number.
        let wide = HEADER.replacen("[2]", "[4294967296,4294967296,4294967296]", 1);
        assert!(Weights::parse(file(&wide, &[0.0; 3])).is_err());
    }
}

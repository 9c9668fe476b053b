//! Vectors and values for the tests of this crate.

pub(crate) use crate::doors::*;
use protocol::params::Packing;

pub(crate) const VECTORS: &str = include_str!("../tests/testdata/vectors/crypto-vectors.json");

pub(crate) fn vectors() -> serde_json::Value {
    serde_json::from_str(VECTORS).unwrap()
}

/// Integers of a JSON array.
pub(crate) fn numbers(value: &serde_json::Value) -> Vec<i64> {
    value.as_array().unwrap().iter().map(|v| v.as_i64().unwrap()).collect()
}

pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(protocol::hash::sha256(&[bytes]))
}

pub(crate) fn le_bytes(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|w| w.to_le_bytes()).collect()
}

/// Values of client `id` that cover the whole range of `packing`.
pub(crate) fn values(packing: &Packing, id: i64, len: usize) -> Vec<i32> {
    let most = *packing.value_range().end();
    (0..len).zip(0i64..).map(|(_, i)| i32::try_from((37 * i + 101 * id + 11).rem_euclid(2 * most + 1) - most).unwrap()).collect()
}

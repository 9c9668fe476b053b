//! Doors for tests and fuzz bodies: what stands behind a signature, which no fuzzer can make, and a sum made again without a log around it.
//! Behind the feature `test-doors`, which release builds refuse. Open no file.

#[cfg(not(debug_assertions))]
compile_error!("the feature `test-doors` is for tests only and must not be part of a release build");

use crate::model_sig::{self, Signed};
use crate::recompute::chunks::ChunkFault;
use crate::recompute::extract::Places;
use crate::recompute::group::Job;
use crate::recompute::integers::Keep;
use protocol::ids::{Address, ManifestDigest, Sha256, ShardId, SumRoot, ValueDigest};
use protocol::manifest::GroupSpec;
use std::collections::BTreeMap;

/// The statement of a bundle whose signature holds.
pub fn model_statement(payload: &[u8]) -> Option<Signed> {
    model_sig::read(payload, Sha256([0; 32])).ok()
}

/// A group's sum as an outsider makes it again.
pub struct Again {
    /// Over the summed bodies.
    pub sum_root: SumRoot,
    /// Over the values.
    pub value_digest: ValueDigest,
    /// Shard by shard.
    pub values: Vec<(ShardId, Vec<i64>)>,
}

/// The sum of the members' chunks under a key sum; nothing where they do not open.
pub fn opened(manifest: ManifestDigest, spec: &GroupSpec, members: &[Vec<Vec<u8>>], key_sum: &[i32]) -> Option<Again> {
    let places = Places::of(spec).ok()?;
    let address = |chunk: &Vec<u8>| Address(blake3::hash(chunk).into());
    let chunks: BTreeMap<Address, &Vec<u8>> = members.iter().flatten().map(|chunk| (address(chunk), chunk)).collect();
    let members: Vec<Vec<Address>> = members.iter().map(|chunks| chunks.iter().map(address).collect()).collect();
    let read = |at: Address, len: usize| match chunks.get(&at) {
        Some(chunk) if chunk.len() == len => Ok((*chunk).clone()),
        Some(_) | None => Err(ChunkFault::Missing(at.to_hex())),
    };
    let job = Job { manifest, spec, places: &places, members: &members, key_sum, keep: Keep::Values };
    let sum = job.run(read, |_, _| ()).ok()?;
    let integers = sum.opened.ok()?.integers;
    Some(Again { sum_root: sum.sum_root, value_digest: integers.digest, values: integers.values? })
}

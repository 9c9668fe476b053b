//! The integers of one opened sum as they come in: hashed, weighed and measured, and kept where somebody asks for them (crypto.md C24, C36).
//! Knows no body and no file.

use super::extract::Fault;
use protocol::hash::{Domain, tagged};
use protocol::ids::{ManifestDigest, ShardId, ValueDigest};
use protocol::manifest::GroupSpec;

/// V of each shard, in the group's order.
pub(crate) type Values = Vec<(ShardId, Vec<i64>)>;

/// What the integers of a group say.
pub(crate) struct Integers {
    /// H(`values`; …) of C36.
    pub(crate) digest: ValueDigest,
    /// Σ W, where a tally travels with the updates.
    pub(crate) weight: Option<u64>,
    /// Σ V² of each shard, exactly.
    pub(crate) squares: Vec<u128>,
    /// The integers, where they were to be kept.
    pub(crate) values: Option<Values>,
}

/// Whether integers stay in memory once they are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// For the server's step.
    Values,
    /// One block at a time is enough.
    Nothing,
}

/// One shard so far.
struct Shard {
    hash: blake3::Hasher,
    square: u128,
    values: Vec<i64>,
}

/// A group's integers so far.
pub(crate) struct Reading<'a> {
    manifest: ManifestDigest,
    spec: &'a GroupSpec,
    keep: Keep,
    shards: Vec<Shard>,
    tally: Vec<i64>,
}

impl<'a> Reading<'a> {
    pub(crate) fn new(manifest: ManifestDigest, spec: &'a GroupSpec, keep: Keep) -> Self {
        let shards = spec.shards.iter().map(|_| Shard { hash: blake3::Hasher::new(), square: 0, values: Vec::new() }).collect();
        Self { manifest, spec, keep, shards, tally: Vec::new() }
    }

    /// The next integers of a part: a shard, or behind the last one the tally.
    pub(crate) fn take(&mut self, part: usize, values: Vec<i64>) {
        let Some(shard) = self.shards.get_mut(part) else { return self.tally.extend(values) };
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        shard.hash.update(&bytes);
        // At most 2^41 each and 2^35 of them (C16): never near 2^128.
        let square = |v: &i64| u128::from(v.unsigned_abs()).pow(2);
        shard.square = values.iter().map(square).fold(shard.square, u128::saturating_add);
        if self.keep == Keep::Values {
            shard.values.extend(values);
        }
    }

    /// What a set of so many members had.
    pub(crate) fn finish(self, members: u16) -> Result<Integers, Fault> {
        let weight = self.spec.tally.map(|t| t.join(&self.tally, members).ok_or(Fault::Tally)).transpose()?;
        let limbs: Vec<u8> = self.tally.iter().flat_map(|v| v.to_le_bytes()).collect();
        let tally = (!limbs.is_empty()).then(|| blake3::hash(&limbs));
        let flat: Vec<u8> = self.shards.iter().map(|s| s.hash.finalize()).chain(tally).flat_map(|h| *h.as_bytes()).collect();
        let digest = ValueDigest(tagged(Domain::Values, &[&self.manifest.0, &self.spec.id.0.to_le_bytes(), &flat]));
        let squares = self.shards.iter().map(|s| s.square).collect();
        let named = |(spec, shard): (&protocol::manifest::GroupShard, Shard)| (spec.id, shard.values);
        let values = (self.keep == Keep::Values).then(|| self.spec.shards.iter().zip(self.shards).map(named).collect());
        Ok(Integers { digest, weight, squares, values })
    }
}

//! Sealed updates on disk (crypto.md C39, C40): whole or not at all, and every sending reads the same bytes. Holds no secret.
//!
//! `<task>-<round>/parts/<blake3>` are chunks and share blobs; `index` names them and is written last, so its presence means all of it.

use crate::files::{self, Item, StoreError};
use crate::home::{Home, parse_round_name};
use crypto::seal::{ChunkSink, SealedUpdate};
use minicbor::{CborLen, Decode, Encode};
use protocol::codec;
use protocol::hash::sha256;
use protocol::ids::{Address, GroupId, ManifestDigest, RoundId, Sha256, TaskId};
use protocol::manifest::Header;
use protocol::messages::MAX_CHUNK;
use protocol::statement::Statement;
use std::path::{Path, PathBuf};

/// Longest index: 256 groups of 4,096 chunks.
const MAX_INDEX: usize = 64 << 20;

/// One group's update, without its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, CborLen)]
pub(crate) struct SpooledGroup {
    /// The group.
    #[n(0)]
    pub(crate) group: GroupId,
    /// Signed header.
    #[n(1)]
    pub(crate) header: Statement,
    /// Chunk addresses in order.
    #[n(2)]
    pub(crate) chunks: Vec<Address>,
    /// Share blobs by position.
    #[n(3)]
    pub(crate) blobs: Vec<Address>,
}

/// What a spool holds.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, CborLen)]
pub(crate) struct SpoolIndex {
    /// The manifest sealed under.
    #[n(0)]
    pub(crate) manifest: ManifestDigest,
    /// Counter of the ledger's reservation.
    #[n(1)]
    pub(crate) reservation: u64,
    /// The groups.
    #[n(2)]
    pub(crate) groups: Vec<SpooledGroup>,
}

impl SpoolIndex {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, StoreError> {
        codec::decode(bytes, MAX_INDEX).map_err(|_| StoreError::Damaged(Item::Spool))
    }

    /// What the ledger names the update by: SHA-256 over the header digests in order of groups.
    pub(crate) fn digest(&self) -> Sha256 {
        let headers: Vec<u8> = self.groups.iter().flat_map(|g| Header::digest(&g.header.payload).0).collect();
        Sha256(sha256(&[&headers]))
    }
}

/// A spool being written.
pub(crate) struct SpoolWriter {
    dir: PathBuf,
}

impl ChunkSink for SpoolWriter {
    type Error = StoreError;

    fn put(&mut self, address: Address, bytes: &[u8]) -> Result<(), StoreError> {
        files::write_once(&part(&self.dir, address), bytes, Item::Spool)
    }
}

impl SpoolWriter {
    /// Begins anew: what an earlier attempt left was never sent.
    pub(crate) fn begin(home: &Home, task: TaskId, round: RoundId) -> Result<Self, StoreError> {
        let dir = home.spool(task, round);
        files::remove_dir(&dir, Item::Spool)?;
        files::make_dir(&dir.join("parts"), Item::Spool)?;
        Ok(Self { dir })
    }

    /// Adds a group whose chunks the sink already has.
    pub(crate) fn add(&mut self, group: GroupId, update: SealedUpdate, header: Statement) -> Result<SpooledGroup, StoreError> {
        for (blob, address) in update.blobs.iter().zip(&update.header.blobs) {
            self.put(*address, blob)?;
        }
        Ok(SpooledGroup { group, header, chunks: update.chunks, blobs: update.header.blobs })
    }

    /// Every part is durable; now the index says so.
    pub(crate) fn complete(self, index: SpoolIndex) -> Result<Spool, StoreError> {
        files::replace(&self.dir.join("index"), &codec::encode(&index), Item::Spool)?;
        Ok(Spool { dir: self.dir, index })
    }
}

/// A whole spool.
#[derive(Clone, Debug)]
pub(crate) struct Spool {
    dir: PathBuf,
    index: SpoolIndex,
}

impl Spool {
    /// The spool of a round, if it is whole.
    pub(crate) fn open(home: &Home, task: TaskId, round: RoundId) -> Result<Option<Self>, StoreError> {
        let dir = home.spool(task, round);
        let Some(bytes) = files::read_if_there(&dir.join("index"), MAX_INDEX, Item::Spool)? else { return Ok(None) };
        Ok(Some(Self { dir, index: SpoolIndex::parse(&bytes)? }))
    }

    /// What it holds.
    pub(crate) fn index(&self) -> &SpoolIndex {
        &self.index
    }

    /// A group's update.
    pub(crate) fn group(&self, id: GroupId) -> Option<&SpooledGroup> {
        self.index.groups.iter().find(|g| g.group == id)
    }

    /// A part's bytes, checked against their address.
    pub(crate) fn part(&self, address: Address) -> Result<Vec<u8>, StoreError> {
        let bytes = files::read(&part(&self.dir, address), MAX_CHUNK, Item::Spool)?;
        if blake3::hash(&bytes).as_bytes() == &address.0 { Ok(bytes) } else { Err(StoreError::Damaged(Item::Spool)) }
    }
}

fn part(dir: &Path, address: Address) -> PathBuf {
    dir.join("parts").join(address.to_hex())
}

/// Rounds that have a spool, whole or not.
pub(crate) fn rounds(home: &Home) -> Result<Vec<(TaskId, RoundId)>, StoreError> {
    Ok(files::names(&home.spools(), Item::Spool)?.iter().filter_map(|n| parse_round_name(n)).collect())
}

/// Deletes a round's spool.
pub(crate) fn clear(home: &Home, task: TaskId, round: RoundId) -> Result<(), StoreError> {
    files::remove_dir(&home.spool(task, round), Item::Spool)
}

#[cfg(test)]
#[path = "spool_tests.rs"]
mod tests;

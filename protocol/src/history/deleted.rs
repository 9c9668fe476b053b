//! Sealed parts that are deleted on record (audit.md A19, A20, I7): of a round that is over, once, everything that it accepted. How much that is
//! follows from the signed headers, so that nobody has to believe whoever deletes. Knows no file.

use super::RoundHistory;
use super::rules::{Clause, Report};
use crate::entry::{Facts, LogEntry};
use crate::hash::sha256;
use crate::ids::{HeaderDigest, LeafIndex, Sha256};
use crate::params::BLOB_BYTES;
use std::collections::BTreeSet;

/// The sealed parts of a round's accepted updates, in the sum or not: chunks of bodies and share blobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealedParts {
    /// SHA-256 over the digests of the headers, ascending.
    pub root: Sha256,
    /// Headers.
    pub updates: u64,
    /// Chunks and blobs.
    pub parts: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl SealedParts {
    /// What the entry says that deletes them.
    pub fn facts(&self) -> Facts {
        let Self { root, updates, parts, bytes } = *self;
        Facts::RoundChunksDeleted { root, updates, parts, bytes }
    }
}

impl RoundHistory {
    /// What goes if the sealed parts of this round are deleted, as its headers state it.
    pub fn sealed_parts(&self) -> SealedParts {
        let mut headers: BTreeSet<HeaderDigest> = BTreeSet::new();
        let (mut parts, mut bytes) = (0u64, 0u64);
        for (digest, (_, _, header)) in self.groups.values().flat_map(|g| &g.accepted) {
            let blobs = header.blobs.len() as u64;
            headers.insert(*digest);
            parts = parts.saturating_add(header.core.chunks).saturating_add(blobs);
            bytes = bytes.saturating_add(header.core.body_bytes).saturating_add(blobs.saturating_mul(BLOB_BYTES as u64));
        }
        let flat: Vec<u8> = headers.iter().flat_map(|h| h.0).collect();
        let root = Sha256(sha256(&[b"concordat/deleted-updates\0", &flat]));
        SealedParts { root, updates: headers.len() as u64, parts, bytes }
    }

    /// Whether its sealed parts may go now: it is over, accepted something, and has not been emptied.
    pub fn can_be_emptied(&self) -> bool {
        self.is_over() && self.deleted.is_none() && self.groups.values().any(|g| !g.accepted.is_empty())
    }

    pub(super) fn chunks_deleted(&mut self, index: LeafIndex, entry: &LogEntry, out: &mut Report) {
        out.require(self.can_be_emptied() && entry.facts == self.sealed_parts().facts(), Clause::ChunksDeleted);
        self.deleted.get_or_insert(index);
    }
}

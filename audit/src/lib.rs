//! The log, as maths: Merkle tree, tiles, signed notes, witnesses, proofs of forks and the check of a whole directory. An entry is bytes here.
//! Knows no meaning of an entry, no file, socket, clock or task.
//!
//! The formats are C2SP's signed-note, tlog-checkpoint, tlog-tiles, tlog-cosignature, tlog-witness, tlog-policy and tlog-proof;
//! the tree is RFC 6962 with SHA-256. Clauses `A1` and on are those of `audit.md`.

pub mod checkpoint;
pub mod cosign;
#[cfg(test)]
mod differential;
pub mod fork;
pub mod fsck;
pub mod hash;
pub mod key;
pub mod keys;
mod lanes;
mod layers;
pub mod merkle;
pub mod note;
pub mod policy;
pub mod proof;
pub mod reader;
pub mod strict;
mod text;
pub mod tile;
pub mod tree;
pub mod witness;
pub mod writer;

/// Largest tree size that any parser here accepts: at a million entries a second it lasts two thousand years, and every index
/// computation below it stays inside 64 bits.
pub const MAX_SIZE: u64 = 1 << 56;

/// Largest entry, in bytes (A15). It fits the 16-bit length of a bundle with room to spare.
pub const MAX_ENTRY_BYTES: usize = 60 * 1024;

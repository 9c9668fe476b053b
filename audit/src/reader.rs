//! How a log directory is read, without knowing where it lies; and hashes of any subtree out of its tiles.
//! Knows no signature: what it returns is checked by whoever asked.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use crate::hash::Hash;
use crate::merkle::HashReader;
use crate::tile::{MAX_BUNDLE_BYTES, TILE_BYTES, TileKind, TilePath, WIDTH, decode_tile};
use crate::tree::root_over;

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DirEntry {
    /// A file (anything that is not a directory).
    File(String),
    /// A directory.
    Directory(String),
}

/// A log directory (A2). Paths are relative, with `/`, and never contain `..`.
pub trait LogReader {
    /// Why reading failed, apart from absence.
    type Error;

    /// The first `limit + 1` bytes of a file, or nothing if there is no such file.
    ///
    /// The extra byte lets the caller see that a file is too long without ever holding more of it.
    ///
    /// # Errors
    /// Whatever the storage reports, absence excepted.
    fn read(&self, path: &str, limit: usize) -> Result<Option<Vec<u8>>, Self::Error>;

    /// The names in a directory in any order; empty if there is no such directory.
    ///
    /// # Errors
    /// Whatever the storage reports, absence excepted.
    fn list(&self, dir: &str) -> Result<Vec<DirEntry>, Self::Error>;
}

/// Path of the latest published note.
pub const CHECKPOINT_PATH: &str = "checkpoint";

/// Path under which the note of this size is kept for ever (A2).
pub fn note_path(size: u64) -> String {
    format!("checkpoints/{size:020}.note")
}

/// Directory of the notes by which one key of the log handed over to the next (A14).
pub const HANDOVERS: &str = "handovers";

/// Path of the note of this size that carries the signatures of the key that hands over and of the one that takes over (A14).
pub fn handover_path(size: u64) -> String {
    format!("{HANDOVERS}/{size:020}.note")
}

/// Path of the policy in force from this size on (A12).
pub fn policy_path(size: u64) -> String {
    format!("policy/{size:020}.txt")
}

/// Largest file of this kind and width.
pub(crate) fn byte_limit(kind: TileKind) -> usize {
    match kind {
        TileKind::Hashes(_) => TILE_BYTES,
        TileKind::Entries => MAX_BUNDLE_BYTES,
    }
}

/// Reads the tile that a tree needs: the partial one, or, where it gave way to it, the full one (A3).
pub(crate) fn read_tile<R: LogReader>(reader: &R, path: TilePath) -> Result<Option<(TilePath, Vec<u8>)>, R::Error> {
    for candidate in [path, path.full()] {
        if let Some(bytes) = reader.read(&candidate.to_string(), byte_limit(path.kind()))? {
            return Ok(Some((candidate, bytes)));
        }
    }
    Ok(None)
}

/// Hashes of complete subtrees, read from the tiles of a directory.
///
/// # Security
/// Nothing is verified here: a proof made from these hashes is checked against a head like any other.
pub struct TileHashes<'a, R> {
    reader: &'a R,
    size: u64,
}

/// Why a hash could not be had from the tiles.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TileReadError<E> {
    /// The directory could not be read.
    #[error("{path} could not be read")]
    Read {
        /// Path of the tile.
        path: String,
        /// What the storage reported.
        #[source]
        source: E,
    },
    /// The tile is not there, or not as long as its name says.
    #[error("{path} is missing or has the wrong length")]
    Missing {
        /// Path of the tile.
        path: String,
    },
    /// The subtree lies beyond the tree.
    #[error("subtree {index} at level {level} lies beyond size {size}")]
    Beyond {
        /// Height of the subtree.
        level: u32,
        /// Number of the subtree at its level.
        index: u64,
        /// Size of the tree.
        size: u64,
    },
}

impl<'a, R: LogReader> TileHashes<'a, R> {
    /// Hashes of the tree of `size` whose tiles `reader` holds.
    pub fn new(reader: &'a R, size: u64) -> Self {
        Self { reader, size }
    }

    fn tile(&self, path: TilePath) -> Result<Vec<Hash>, TileReadError<R::Error>> {
        let name = path.to_string();
        let found = read_tile(self.reader, path).map_err(|source| TileReadError::Read { path: name.clone(), source })?;
        found.and_then(|(at, bytes)| decode_tile(&bytes, at.width())).ok_or(TileReadError::Missing { path: name })
    }
}

impl<R: LogReader> HashReader for TileHashes<'_, R> {
    type Error = TileReadError<R::Error>;

    fn node(&self, level: u32, index: u64) -> Result<Hash, Self::Error> {
        let beyond = TileReadError::Beyond { level, index, size: self.size };
        // A subtree of height `level` is 2^(level mod 8) neighbouring hashes of one tile.
        let (Ok(tile_level), count) = (u8::try_from(level / 8), 1_u64 << (level % 8)) else { return Err(beyond) };
        let Some(first) = index.checked_mul(count) else { return Err(beyond) };
        let kind = TileKind::Hashes(tile_level);
        let Some(path) = TilePath::in_tree(kind, first / u64::from(WIDTH), self.size) else { return Err(beyond) };
        let offset = usize::try_from(first % u64::from(WIDTH)).unwrap_or(usize::MAX);
        let hashes = self.tile(path)?;
        let own = hashes.get(..usize::from(path.width())).unwrap_or(&hashes);
        let subtree = own.get(offset..).and_then(|h| h.get(..usize::try_from(count).ok()?));
        subtree.map(root_over).ok_or(beyond)
    }
}

/// A log directory in memory, for small logs and pretend disks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryLog {
    /// Contents by path.
    pub files: BTreeMap<String, Vec<u8>>,
}

impl LogReader for MemoryLog {
    type Error = Infallible;

    fn read(&self, path: &str, limit: usize) -> Result<Option<Vec<u8>>, Infallible> {
        Ok(self.files.get(path).map(|bytes| bytes.iter().copied().take(limit.saturating_add(1)).collect()))
    }

    fn list(&self, dir: &str) -> Result<Vec<DirEntry>, Infallible> {
        let prefix = format!("{dir}/");
        let below = self.files.keys().filter_map(|path| path.strip_prefix(&prefix));
        let names: BTreeSet<DirEntry> = below
            .map(|rest| match rest.split_once('/') {
                Some((name, _)) => DirEntry::Directory(name.to_owned()),
                None => DirEntry::File(rest.to_owned()),
            })
            .collect();
        Ok(names.into_iter().collect())
    }
}

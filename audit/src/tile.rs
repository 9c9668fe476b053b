//! Names and contents of tiles and entry bundles (A3, tlog-tiles). Knows no directory and no signature.

use std::fmt;
use std::str::FromStr;

use crate::hash::Hash;
use crate::lanes::sha256_all;
use crate::{MAX_ENTRY_BYTES, MAX_SIZE, text};

/// Hashes in a full tile, entries in a full bundle.
pub const WIDTH: u16 = 256;

/// Bytes of a full tile.
pub const TILE_BYTES: usize = WIDTH as usize * Hash::LEN;

/// Largest bundle: 256 entries of the largest size, each behind a 16-bit length.
pub const MAX_BUNDLE_BYTES: usize = WIDTH as usize * (2 + MAX_ENTRY_BYTES);

/// Highest tile level that a tree of [`MAX_SIZE`] has.
pub const MAX_LEVEL: u8 = 7;

/// Largest index of a tile that a tree of [`MAX_SIZE`] has.
pub const MAX_INDEX: u64 = MAX_SIZE / WIDTH as u64;

/// What a tile file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TileKind {
    /// Hashes of complete subtrees of `256^level` leaves.
    Hashes(u8),
    /// The entries below a level-0 tile.
    Entries,
}

/// The place of one tile or bundle, `tile/<L>/<N>[.p/<W>]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TilePath {
    kind: TileKind,
    index: u64,
    width: u16,
}

/// A text that is not the canonical name of a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the canonical path of a tile")]
pub struct BadTilePath;

impl TilePath {
    /// The tile `index` of this kind, `width` wide.
    ///
    /// # Errors
    /// [`BadTilePath`] if the width is not 1 to 256, the level above [`MAX_LEVEL`], or the index above [`MAX_INDEX`].
    pub fn new(kind: TileKind, index: u64, width: u16) -> Result<Self, BadTilePath> {
        let level_fits = match kind {
            TileKind::Hashes(level) => level <= MAX_LEVEL,
            TileKind::Entries => true,
        };
        let fits = level_fits && (1..=WIDTH).contains(&width) && index <= MAX_INDEX;
        if fits { Ok(Self { kind, index, width }) } else { Err(BadTilePath) }
    }

    /// The tile of this kind and index as a tree of `size` needs it, or nothing if the tree does not reach it.
    pub fn in_tree(kind: TileKind, index: u64, size: u64) -> Option<Self> {
        let hashes = level_size(kind, size);
        let left = hashes.checked_sub(index.checked_mul(u64::from(WIDTH))?)?;
        let width = u16::try_from(left).unwrap_or(WIDTH).min(WIDTH);
        Self::new(kind, index, width).ok()
    }

    /// What the file holds.
    pub fn kind(&self) -> TileKind {
        self.kind
    }

    /// Number of the tile within its level.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Hashes or entries in the file, 1 to 256.
    pub fn width(&self) -> u16 {
        self.width
    }

    /// Whether the file will never change its name again.
    pub fn is_full(&self) -> bool {
        self.width == WIDTH
    }

    /// The full tile at this place.
    pub fn full(self) -> Self {
        Self { width: WIDTH, ..self }
    }

    /// The directory that holds the partial tiles of this place, `tile/<L>/<N>.p`.
    pub fn partials_dir(&self) -> String {
        format!("{}.p", self.full())
    }

    /// Whether a tree of `size` covers every hash or entry of the file.
    pub fn is_covered_by(&self, size: u64) -> bool {
        // Cannot overflow: the product is at most MAX_SIZE.
        self.index * u64::from(WIDTH) + u64::from(self.width) <= level_size(self.kind, size)
    }
}

/// Number of hashes (or entries) that a tree of `size` has at this kind's level.
pub fn level_size(kind: TileKind, size: u64) -> u64 {
    match kind {
        TileKind::Hashes(level) => size.checked_shr(8 * u32::from(level)).unwrap_or(0),
        TileKind::Entries => size,
    }
}

impl fmt::Display for TilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            TileKind::Hashes(level) => write!(f, "tile/{level}/")?,
            TileKind::Entries => f.write_str("tile/entries/")?,
        }
        write_index(f, self.index / 1000)?;
        write!(f, "{:03}", self.index % 1000)?;
        if self.is_full() { Ok(()) } else { write!(f, ".p/{}", self.width) }
    }
}

/// The leading groups of three digits, each with its `x`.
fn write_index(f: &mut fmt::Formatter<'_>, rest: u64) -> fmt::Result {
    if rest == 0 {
        return Ok(());
    }
    write_index(f, rest / 1000)?;
    write!(f, "x{:03}/", rest % 1000)
}

impl FromStr for TilePath {
    type Err = BadTilePath;

    fn from_str(path: &str) -> Result<Self, BadTilePath> {
        let (kind, rest) = path.strip_prefix("tile/").and_then(|p| p.split_once('/')).ok_or(BadTilePath)?;
        let kind = if kind == "entries" { TileKind::Entries } else { TileKind::Hashes(small(kind)?) };
        let (index, width) = match rest.split_once(".p/") {
            Some((index, width)) => (index, small::<u16>(width)?),
            None => (rest, WIDTH),
        };
        let index = index.split('/').try_fold(0_u64, |n, group| {
            let digits = group.strip_prefix('x').unwrap_or(group);
            let three = digits.len() == 3 && digits.bytes().all(|b| b.is_ascii_digit());
            let group: u64 = if three { digits.parse().map_err(|_| BadTilePath)? } else { return Err(BadTilePath) };
            n.checked_mul(1000).and_then(|n| n.checked_add(group)).ok_or(BadTilePath)
        })?;
        let parsed = Self::new(kind, index, width)?;
        // Writing it again settles every question of leading groups and missing x at once (A6).
        if parsed.to_string() == path { Ok(parsed) } else { Err(BadTilePath) }
    }
}

fn small<T: TryFrom<u64>>(text: &str) -> Result<T, BadTilePath> {
    text::decimal(text).and_then(|n| T::try_from(n).ok()).ok_or(BadTilePath)
}

/// The bytes of a tile.
pub fn encode_tile(hashes: &[Hash]) -> Vec<u8> {
    hashes.iter().flat_map(|h| h.0).collect()
}

/// The hashes of a tile, if the bytes are exactly `width` of them.
pub fn decode_tile(bytes: &[u8], width: u16) -> Option<Vec<Hash>> {
    let exact = bytes.len() == usize::from(width) * Hash::LEN;
    exact.then(|| bytes.chunks_exact(Hash::LEN).filter_map(Hash::from_slice).collect())
}

/// An entry above [`MAX_ENTRY_BYTES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("entry of {got} bytes; the limit is {MAX_ENTRY_BYTES}")]
pub struct EntryTooLong {
    /// Length of the entry.
    pub got: usize,
}

/// Appends one entry to the bytes of a bundle: 16-bit big-endian length, then the entry.
///
/// # Errors
/// [`EntryTooLong`]; the bundle is unchanged.
pub fn push_entry(bundle: &mut Vec<u8>, entry: &[u8]) -> Result<(), EntryTooLong> {
    let length = u16::try_from(entry.len()).ok().filter(|_| entry.len() <= MAX_ENTRY_BYTES);
    bundle.extend_from_slice(&length.ok_or(EntryTooLong { got: entry.len() })?.to_be_bytes());
    bundle.extend_from_slice(entry);
    Ok(())
}

/// Bytes that are not a bundle of the expected number of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// The bytes end inside an entry or its length, or before the last entry.
    #[error("the bundle ends inside entry {entry}")]
    Truncated {
        /// Position in the bundle.
        entry: u16,
    },
    /// Bytes follow the last entry.
    #[error("{extra} bytes follow the last entry")]
    TrailingBytes {
        /// How many.
        extra: usize,
    },
    /// An entry is longer than any writer may write.
    #[error("entry {entry} has {got} bytes; the limit is {MAX_ENTRY_BYTES}")]
    TooLong {
        /// Position in the bundle.
        entry: u16,
        /// Its length.
        got: usize,
    },
}

/// The entries of a bundle that must hold exactly `width` of them.
///
/// # Errors
/// [`BundleError`] if the bytes are anything else.
pub fn decode_bundle(bytes: &[u8], width: u16) -> Result<Vec<&[u8]>, BundleError> {
    let (mut rest, mut entries) = (bytes, Vec::new());
    for entry in 0..width {
        let truncated = BundleError::Truncated { entry };
        let (length, after) = rest.split_first_chunk::<2>().ok_or(truncated)?;
        let got = usize::from(u16::from_be_bytes(*length));
        if got > MAX_ENTRY_BYTES {
            return Err(BundleError::TooLong { entry, got });
        }
        let (body, after) = after.split_at_checked(got).ok_or(truncated)?;
        entries.push(body);
        rest = after;
    }
    if rest.is_empty() { Ok(entries) } else { Err(BundleError::TrailingBytes { extra: rest.len() }) }
}

/// The leaf hashes of entries.
pub fn leaf_hashes(entries: &[&[u8]]) -> Vec<Hash> {
    sha256_all(0, entries)
}

#[cfg(test)]
#[path = "tile_tests.rs"]
mod tests;

//! Which files a batch of entries adds to a log (A3, A29). Writes nothing itself: it returns paths and bytes.

use crate::MAX_SIZE;
use crate::hash::{Hash, leaf_hash};
use crate::reader::{LogReader, read_tile};
use crate::tile::{
    BundleError, EntryTooLong, MAX_LEVEL, TileKind, TilePath, WIDTH, decode_bundle, decode_tile, encode_tile, leaf_hashes, push_entry,
};
use crate::tree::{CompactRange, TreeHead, root_over};

/// One file to write. A file that exists already must be byte-equal (A29).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TileFile {
    /// Where.
    pub path: TilePath,
    /// What.
    pub bytes: Vec<u8>,
}

/// The partial tiles of every level, and nothing else: enough to build all tiles from leaves in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct TileStack {
    size: u64,
    levels: Vec<Vec<Hash>>, // at level L, the (size >> 8L) mod 256 hashes that no full tile holds yet
}

impl TileStack {
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// The hashes of the partial tile at this level; empty if there is none.
    pub(crate) fn partial(&self, level: u8) -> &[Hash] {
        self.levels.get(usize::from(level)).map_or(&[], Vec::as_slice)
    }

    /// Appends a leaf hash and hands every tile that it completes to `full`, lowest level first.
    pub(crate) fn push(&mut self, leaf: Hash, mut full: impl FnMut(TilePath, &[Hash])) {
        self.size += 1;
        self.push_at(0, leaf, &mut full);
    }

    /// Appends a whole level-0 tile of which the root is known; the size must be a multiple of a tile's width.
    pub(crate) fn push_tile(&mut self, hashes: &[Hash], root: Hash, mut full: impl FnMut(TilePath, &[Hash])) {
        let index = self.size / u64::from(WIDTH);
        self.size += u64::from(WIDTH);
        if self.levels.is_empty() {
            self.levels.push(Vec::new());
        }
        if let Ok(path) = TilePath::new(TileKind::Hashes(0), index, WIDTH) {
            full(path, hashes);
        }
        self.push_at(1, root, &mut full);
    }

    fn push_at(&mut self, first: u8, hash: Hash, full: &mut impl FnMut(TilePath, &[Hash])) {
        let mut hash = hash;
        for level in first..=MAX_LEVEL {
            let slot = usize::from(level);
            if self.levels.len() == slot {
                self.levels.push(Vec::with_capacity(usize::from(WIDTH)));
            }
            let Some(hashes) = self.levels.get_mut(slot) else { return };
            hashes.push(hash);
            if hashes.len() < usize::from(WIDTH) {
                return;
            }
            let index = (self.size >> (8 * (u32::from(level) + 1))).saturating_sub(1);
            if let Ok(path) = TilePath::new(TileKind::Hashes(level), index, WIDTH) {
                full(path, hashes);
            }
            hash = root_over(hashes);
            hashes.clear();
        }
    }

    /// The right edge: subtrees inside each partial tile, from the highest level down.
    fn edge(&self) -> CompactRange {
        let mut edge = Vec::new();
        for hashes in self.levels.iter().rev() {
            let mut rest = hashes.as_slice();
            while !rest.is_empty() {
                let (subtree, after) = rest.split_at(1 << rest.len().ilog2());
                edge.push(root_over(subtree));
                rest = after;
            }
        }
        CompactRange::from_parts(self.size, edge)
    }
}

/// The growing end of a log: takes entries, gives files.
#[derive(Clone, Debug, Default)]
pub struct LogWriter {
    stack: TileStack,
    edge: CompactRange,
    bundle: Vec<u8>,
}

/// Why entries were not taken; the writer is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// One entry is above the limit.
    #[error("an entry of the batch is too long")]
    TooLong(#[from] EntryTooLong),
    /// The log would pass [`MAX_SIZE`].
    #[error("the log is full")]
    Full,
}

/// Why the growing end could not be rebuilt from a directory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResumeError<E> {
    /// The directory could not be read.
    #[error("{path} could not be read")]
    Read {
        /// Path of the file.
        path: String,
        /// What the storage reported.
        #[source]
        source: E,
    },
    /// A file of the right edge is missing or has the wrong length.
    #[error("{path} is missing or has the wrong length")]
    Missing {
        /// Path of the file.
        path: String,
    },
    /// The last bundle cannot be decoded.
    #[error("{path} is not a bundle")]
    Bundle {
        /// Path of the file.
        path: String,
        /// Why.
        #[source]
        source: BundleError,
    },
    /// The last bundle's entries are not those of the last level-0 tile.
    #[error("{path} does not hash to its level-0 tile")]
    Differs {
        /// Path of the bundle.
        path: String,
    },
    /// The size is above [`MAX_SIZE`].
    #[error("tree size {size} is above the limit")]
    TooLarge {
        /// Size asked for.
        size: u64,
    },
}

impl LogWriter {
    /// The end of an empty log.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of entries.
    pub fn size(&self) -> u64 {
        self.edge.size()
    }

    /// Size and root.
    pub fn head(&self) -> TreeHead {
        self.edge.head()
    }

    /// The right edge.
    pub fn edge(&self) -> &CompactRange {
        &self.edge
    }

    /// Appends entries and returns every file of the new tree that the old one did not have: full and partial tiles of all
    /// levels, full and partial bundles. Any batching of the same entries ends in the same tree.
    ///
    /// # Errors
    /// [`AppendError`]; nothing is appended.
    pub fn append<E: AsRef<[u8]>>(&mut self, entries: &[E]) -> Result<Vec<TileFile>, AppendError> {
        if let Some(got) = entries.iter().map(|e| e.as_ref().len()).find(|n| *n > crate::MAX_ENTRY_BYTES) {
            return Err(AppendError::TooLong(EntryTooLong { got }));
        }
        let new_size = u64::try_from(entries.len()).ok().and_then(|n| self.size().checked_add(n));
        new_size.filter(|n| *n <= MAX_SIZE).ok_or(AppendError::Full)?;
        let (old_size, mut files) = (self.size(), Vec::new());
        for entry in entries {
            push_entry(&mut self.bundle, entry.as_ref())?;
            self.push_leaf(leaf_hash(entry.as_ref()), &mut files);
        }
        self.push_partials(old_size, &mut files);
        Ok(files)
    }

    fn push_leaf(&mut self, leaf: Hash, files: &mut Vec<TileFile>) {
        self.edge.push(leaf);
        let bundle = &mut self.bundle;
        self.stack.push(leaf, |path, hashes| {
            if let (TileKind::Hashes(0), Ok(path)) = (path.kind(), TilePath::new(TileKind::Entries, path.index(), WIDTH)) {
                files.push(TileFile { path, bytes: std::mem::take(bundle) });
            }
            files.push(TileFile { path, bytes: encode_tile(hashes) });
        });
    }

    fn push_partials(&self, old_size: u64, files: &mut Vec<TileFile>) {
        for (kind, level) in (0..=MAX_LEVEL).map(|l| (TileKind::Hashes(l), l)).chain([(TileKind::Entries, 0)]) {
            let shift = 8 * u32::from(level);
            let (now, before) = (self.size() >> shift, old_size >> shift);
            let hashes = self.stack.partial(level);
            let Some(path) = TilePath::in_tree(kind, now / u64::from(WIDTH), self.size()) else { continue };
            if now == before || path.is_full() {
                continue;
            }
            let bytes = match kind {
                TileKind::Hashes(_) => encode_tile(hashes),
                TileKind::Entries => self.bundle.clone(),
            };
            files.push(TileFile { path, bytes });
        }
    }

    /// Rebuilds the end of the log of `size` from the partial tiles and bundle of a directory (A31).
    ///
    /// The caller compares [`Self::head`] with the head it has stored: the tiles alone prove nothing.
    ///
    /// # Errors
    /// [`ResumeError`] if a file of the right edge is missing, malformed, or bundle and tile differ.
    pub fn resume<R: LogReader>(size: u64, reader: &R) -> Result<Self, ResumeError<R::Error>> {
        if size > MAX_SIZE {
            return Err(ResumeError::TooLarge { size });
        }
        let mut stack = TileStack { size, levels: Vec::new() };
        for level in 0..=MAX_LEVEL {
            stack.levels.push(resume_tile(reader, TileKind::Hashes(level), size)?);
        }
        let bundle = resume_bundle(reader, size, stack.partial(0))?;
        Ok(Self { edge: stack.edge(), stack, bundle })
    }
}

/// The partial tile or bundle that a tree of `size` ends with, if it ends within one.
fn last_partial(kind: TileKind, size: u64) -> Option<TilePath> {
    let hashes = crate::tile::level_size(kind, size);
    TilePath::in_tree(kind, hashes / u64::from(WIDTH), size)
}

fn read_last<R: LogReader>(reader: &R, path: TilePath) -> Result<(TilePath, Vec<u8>), ResumeError<R::Error>> {
    let name = path.to_string();
    let found = read_tile(reader, path).map_err(|source| ResumeError::Read { path: name.clone(), source })?;
    found.ok_or(ResumeError::Missing { path: name })
}

fn resume_tile<R: LogReader>(reader: &R, kind: TileKind, size: u64) -> Result<Vec<Hash>, ResumeError<R::Error>> {
    let Some(path) = last_partial(kind, size) else { return Ok(Vec::new()) };
    let (found, bytes) = read_last(reader, path)?;
    let mut hashes = decode_tile(&bytes, found.width()).ok_or_else(|| ResumeError::Missing { path: found.to_string() })?;
    hashes.truncate(usize::from(path.width()));
    Ok(hashes)
}

fn resume_bundle<R: LogReader>(reader: &R, size: u64, leaves: &[Hash]) -> Result<Vec<u8>, ResumeError<R::Error>> {
    let Some(path) = last_partial(TileKind::Entries, size) else { return Ok(Vec::new()) };
    let (found, bytes) = read_last(reader, path)?;
    let entries = decode_bundle(&bytes, found.width()).map_err(|source| ResumeError::Bundle { path: found.to_string(), source })?;
    let own = entries.get(..usize::from(path.width())).unwrap_or(&entries);
    if leaf_hashes(own) != leaves {
        return Err(ResumeError::Differs { path: found.to_string() });
    }
    let mut bundle = Vec::new();
    for entry in own {
        // Decoding has already refused longer entries.
        push_entry(&mut bundle, entry).map_err(|_| ResumeError::Differs { path: found.to_string() })?;
    }
    Ok(bundle)
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;

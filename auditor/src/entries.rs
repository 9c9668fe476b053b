//! The entries of a log once more, in order, bundle by bundle. Verifies nothing but that they are still what a verdict spoke about.

use crate::dir::{Directory, ReadError};
use audit::hash::leaf_hash;
use audit::reader::LogReader;
use audit::tile::{MAX_BUNDLE_BYTES, TileKind, TilePath, WIDTH, decode_bundle};
use audit::tree::CompactRange;

/// Why entries could not be walked over to the end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WalkError {
    /// The directory cannot be read.
    #[error("the log cannot be read")]
    Read(#[from] ReadError),
    /// A bundle is missing or cannot be decoded.
    #[error("the bundle of entry {0} is missing or cannot be decoded")]
    NoBundle(u64),
    /// The entries are no longer those that were verified.
    #[error("the log changed while it was read: verify it again")]
    Changed,
    /// The caller could not go on.
    #[error("what was read could not be written")]
    Write(#[from] std::io::Error),
}

/// The bytes of the bundle that holds entry `index` of a tree of `size`, and its width.
///
/// # Errors
/// [`ReadError`].
pub(crate) fn bundle(log: &Directory, index: u64, size: u64) -> Result<Option<(Vec<u8>, u16)>, ReadError> {
    let Some(path) = TilePath::in_tree(TileKind::Entries, index / u64::from(WIDTH), size) else { return Ok(None) };
    for candidate in [path, path.full()] {
        if let Some(bytes) = log.read(&candidate.to_string(), MAX_BUNDLE_BYTES)? {
            return Ok(Some((bytes, candidate.width())));
        }
    }
    Ok(None)
}

/// Hands every entry below `size` to `each`. With `root`, the hexadecimal root of a verdict, the walk fails at its end if the entries are
/// others than those that were verified.
///
/// # Errors
/// [`WalkError`].
pub(crate) fn walk(
    log: &Directory,
    size: u64,
    root: Option<&str>,
    mut each: impl FnMut(u64, &[u8]) -> std::io::Result<()>,
) -> Result<(), WalkError> {
    let mut range = CompactRange::new();
    while range.size() < size {
        let first = range.size();
        let (bytes, width) = bundle(log, first, size)?.ok_or(WalkError::NoBundle(first))?;
        let entries = decode_bundle(&bytes, width).map_err(|_| WalkError::NoBundle(first))?;
        for entry in entries.into_iter().take(usize::try_from(size - first).unwrap_or(usize::MAX)) {
            each(range.size(), entry)?;
            range.push(leaf_hash(entry));
        }
        if range.size() == first {
            return Err(WalkError::NoBundle(first));
        }
    }
    match root {
        Some(root) if range.root().to_string() != root => Err(WalkError::Changed),
        Some(_) | None => Ok(()),
    }
}

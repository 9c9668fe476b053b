//! Files besides those that the tree needs: older partial tiles must be prefixes, others have no place. Knows no signature.

use super::finding::{Check, Fault, Findings};
use super::tiles::compare;
use crate::hash::Hash;
use crate::reader::{DirEntry, LogReader, byte_limit};
use crate::text;
use crate::tile::{TileKind, TilePath, decode_bundle, decode_tile, leaf_hashes};

/// Deepest directory that a log has below its root: `tile`, a level, six groups of digits, `.p`.
const MAX_DEPTH: usize = 9;

/// Compares every older partial form of a tile or bundle with its hashes as recomputed.
pub(super) fn check_partials<R: LogReader>(reader: &R, path: TilePath, hashes: &[Hash], findings: &mut Findings) -> Result<(), R::Error> {
    for entry in reader.list(&path.partials_dir())? {
        let name = match &entry {
            DirEntry::File(name) => name,
            DirEntry::Directory(_) => continue, // reported as unexpected
        };
        let width = text::decimal(name).and_then(|w| u16::try_from(w).ok());
        let partial = width.and_then(|w| TilePath::new(path.kind(), path.index(), w).ok());
        let older = |p: &TilePath| *p != path && !p.is_full() && usize::from(p.width()) <= hashes.len();
        let Some(partial) = partial.filter(older) else { continue };
        if let Some(bytes) = reader.read(&partial.to_string(), byte_limit(partial.kind()))? {
            check_partial(partial, &bytes, hashes, findings);
        }
    }
    Ok(())
}

fn check_partial(path: TilePath, bytes: &[u8], hashes: &[Hash], findings: &mut Findings) {
    let found = match path.kind() {
        TileKind::Hashes(_) => {
            decode_tile(bytes, path.width()).ok_or(Fault::WrongLength { expected: usize::from(path.width()) * Hash::LEN, got: bytes.len() })
        }
        TileKind::Entries => decode_bundle(bytes, path.width()).map(|e| leaf_hashes(&e)).map_err(Fault::Bundle),
    };
    match found {
        Ok(found) => compare(path, hashes, &found, findings),
        Err(fault) => findings.at_path(Check::Tiles, path, fault),
    }
}

/// Reports every file below `tile/` that is no tile of the tree of `size`.
pub(super) fn find_unexpected<R: LogReader>(reader: &R, size: u64, findings: &mut Findings) -> Result<(), R::Error> {
    walk(reader, "tile", 1, size, findings)
}

fn walk<R: LogReader>(reader: &R, dir: &str, depth: usize, size: u64, findings: &mut Findings) -> Result<(), R::Error> {
    for entry in reader.list(dir)? {
        match entry {
            DirEntry::File(name) => {
                let path = format!("{dir}/{name}");
                match path.parse::<TilePath>() {
                    Ok(tile) if tile.is_covered_by(size) => {}
                    Ok(tile) => findings.at_path(Check::Tiles, tile, Fault::Beyond { size }),
                    Err(_) => findings.at_path(Check::Tiles, path, Fault::Unexpected),
                }
            }
            DirEntry::Directory(name) if depth < MAX_DEPTH => walk(reader, &format!("{dir}/{name}"), depth + 1, size, findings)?,
            DirEntry::Directory(name) => findings.at_path(Check::Tiles, format!("{dir}/{name}"), Fault::Unexpected),
        }
    }
    Ok(())
}

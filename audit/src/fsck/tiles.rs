//! Checks 3 and 4: entries against tiles, tiles against tiles, stated roots against both. Knows no signature.

use super::finding::{Check, Fault, Findings, Place};
use super::notes::Claim;
use super::strays::check_partials;
use crate::hash::Hash;
use crate::layers::Layers;
use crate::reader::{LogReader, read_tile};
use crate::tile::{MAX_LEVEL, TileKind, TilePath, WIDTH, decode_bundle, decode_tile, leaf_hashes, level_size};
use crate::tree::{CompactRange, root_over};
use crate::writer::TileStack;

/// One pass over the leaves.
pub(super) struct Run<'a, R, F> {
    reader: &'a R,
    size: u64,
    claims: &'a [Claim],
    findings: &'a mut Findings,
    on_entry: F,
    stack: TileStack,
    range: CompactRange,
    entries: u64,
}

impl<'a, R: LogReader, F: FnMut(u64, &[u8])> Run<'a, R, F> {
    /// A pass over `size` leaves; `claims` ascend in size.
    pub(super) fn new(reader: &'a R, size: u64, claims: &'a [Claim], findings: &'a mut Findings, on_entry: F) -> Self {
        Self { reader, size, claims, findings, on_entry, stack: TileStack::default(), range: CompactRange::new(), entries: 0 }
    }

    /// The tree recomputed and the number of entries handed out.
    pub(super) fn finish(self) -> (CompactRange, u64) {
        (self.range, self.entries)
    }

    /// Reads bundle after bundle. It ends at the first hole, beyond which nothing can be recomputed.
    pub(super) fn stream(&mut self) -> Result<(), R::Error> {
        self.compare_claims(&CompactRange::new());
        for index in 0..level_size(TileKind::Entries, self.size).div_ceil(u64::from(WIDTH)) {
            let Some(leaves) = self.leaves(index)? else { break };
            for (path, hashes) in self.take_in(&leaves) {
                self.check_tile(path, &hashes)?;
            }
        }
        if self.range.size() == self.size {
            self.check_right_edge()?;
        }
        for claim in self.claims {
            let fault = Fault::Unreachable { size: claim.head.size, got: self.range.size() };
            self.findings.add(Check::Roots, claim.place.clone(), fault);
        }
        Ok(())
    }

    /// Grows the tree by the leaves of one bundle, compares what is stated for the sizes passed, and returns the tiles completed.
    fn take_in(&mut self, leaves: &Layers) -> Vec<(TilePath, Vec<Hash>)> {
        let before = self.range.size();
        // Which sizes inside the bundle somebody signed.
        while let Some(count) = self.claims.first().and_then(|c| usize::try_from(c.head.size.checked_sub(before)?).ok()) {
            if count > leaves.leaves().len() {
                break;
            }
            let mut range = self.range.clone();
            leaves.append_to(&mut range, count);
            self.compare_claims(&range);
        }
        leaves.append_to(&mut self.range, leaves.leaves().len());
        let mut full = Vec::new();
        let mut keep = |path: TilePath, hashes: &[Hash]| full.push((path, hashes.to_vec()));
        if leaves.leaves().len() == usize::from(WIDTH) {
            self.stack.push_tile(leaves.leaves(), leaves.root(), &mut keep);
        } else {
            leaves.leaves().iter().for_each(|leaf| self.stack.push(*leaf, &mut keep));
        }
        full
    }

    /// Compares every head that is stated for the size of this tree.
    fn compare_claims(&mut self, range: &CompactRange) {
        while let Some((claim, rest)) = self.claims.split_first() {
            let size = range.size();
            if claim.head.size != size {
                return;
            }
            self.claims = rest;
            let (expected, got) = (claim.head.root, range.root());
            if expected != got {
                self.findings.add(Check::Roots, claim.place.clone(), Fault::Root { size, expected, got });
            }
        }
    }

    /// The leaf hashes of one bundle, as entries and tile agree on them; nothing if neither can be had.
    fn leaves(&mut self, index: u64) -> Result<Option<Layers>, R::Error> {
        let from_tile = match TilePath::in_tree(TileKind::Hashes(0), index, self.size) {
            Some(path) => self.read_hashes(path)?,
            None => None,
        };
        let from_entries = match TilePath::in_tree(TileKind::Entries, index, self.size) {
            Some(path) => self.read_entries(path)?,
            None => None,
        };
        let (tile, entries) = match (from_tile, from_entries) {
            (Some(tile), Some(entries)) => (tile, entries),
            (one, other) => return Ok(one.or(other).map(Layers::over)),
        };
        let first = index * u64::from(WIDTH);
        for (at, (expected, got)) in (first..).zip(tile.iter().copied().zip(entries.iter().copied())) {
            if expected != got {
                self.findings.add(Check::Tiles, Place::Entry(at), Fault::Leaf { expected, got });
            }
        }
        // Where they differ, the tile above knows better which one was altered; going on from that one keeps one fault one finding.
        let believe_entries = tile != entries && self.hash_above(index)? == Some(root_over(&entries));
        Ok(Some(Layers::over(if believe_entries { entries } else { tile })))
    }

    /// The hash of level-0 tile `index` in the level-1 tile, if the tree is large enough to have one.
    fn hash_above(&self, index: u64) -> Result<Option<Hash>, R::Error> {
        let Some(path) = TilePath::in_tree(TileKind::Hashes(1), index / u64::from(WIDTH), self.size) else { return Ok(None) };
        let Some((found, bytes)) = read_tile(self.reader, path)? else { return Ok(None) };
        let hashes = decode_tile(&bytes, found.width()).unwrap_or_default();
        let position = usize::try_from(index % u64::from(WIDTH)).unwrap_or(usize::MAX);
        Ok(hashes.get(position).copied())
    }

    /// The hashes that the tree has of a tile file.
    fn read_hashes(&mut self, path: TilePath) -> Result<Option<Vec<Hash>>, R::Error> {
        let Some((found, bytes)) = read_tile(self.reader, path)? else {
            self.findings.at_path(Check::Tiles, path, Fault::Missing);
            return Ok(None);
        };
        let Some(mut hashes) = decode_tile(&bytes, found.width()) else {
            let expected = usize::from(found.width()) * Hash::LEN;
            self.findings.at_path(Check::Tiles, found, Fault::WrongLength { expected, got: bytes.len() });
            return Ok(None);
        };
        hashes.truncate(usize::from(path.width()));
        Ok(Some(hashes))
    }

    /// The leaf hashes of the entries that the tree has of a bundle; each entry goes to the caller.
    fn read_entries(&mut self, path: TilePath) -> Result<Option<Vec<Hash>>, R::Error> {
        let Some((found, bytes)) = read_tile(self.reader, path)? else {
            self.findings.at_path(Check::Tiles, path, Fault::Missing);
            return Ok(None);
        };
        let entries = match decode_bundle(&bytes, found.width()) {
            Ok(entries) => entries,
            Err(e) => {
                self.findings.at_path(Check::Tiles, found, Fault::Bundle(e));
                return Ok(None);
            }
        };
        let own = entries.get(..usize::from(path.width())).unwrap_or(&entries);
        for (at, entry) in (path.index() * u64::from(WIDTH)..).zip(own) {
            (self.on_entry)(at, entry);
            self.entries += 1;
        }
        Ok(Some(leaf_hashes(own)))
    }

    /// Compares a tile that is complete for this tree, and what is left of its partial forms, with the hashes recomputed.
    fn check_tile(&mut self, path: TilePath, hashes: &[Hash]) -> Result<(), R::Error> {
        if path.kind() == TileKind::Hashes(0) {
            // The file itself has been compared entry by entry.
            if let Ok(entries) = TilePath::new(TileKind::Entries, path.index(), path.width()) {
                check_partials(self.reader, entries, hashes, self.findings)?;
            }
        } else if let Some(found) = self.read_hashes(path)? {
            compare(path, hashes, &found, self.findings);
        }
        check_partials(self.reader, path, hashes, self.findings)
    }

    /// The partial tiles that the tree ends with.
    fn check_right_edge(&mut self) -> Result<(), R::Error> {
        for level in 0..=MAX_LEVEL {
            let hashes = self.stack.partial(level).to_vec();
            let kind = TileKind::Hashes(level);
            let last = level_size(kind, self.stack.size()) / u64::from(WIDTH);
            if let Some(path) = TilePath::in_tree(kind, last, self.stack.size()) {
                self.check_tile(path, &hashes)?;
            }
        }
        Ok(())
    }
}

/// Reports the first hash of a tile that is not the one recomputed.
pub(super) fn compare(path: TilePath, expected: &[Hash], got: &[Hash], findings: &mut Findings) {
    let differs = expected.iter().zip(got).enumerate().find(|(_, (e, g))| e != g);
    if let Some((position, (expected, got))) = differs {
        findings.at_path(Check::Tiles, path, Fault::Tile { position, expected: *expected, got: *got });
    }
}

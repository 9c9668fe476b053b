//! The mirror's directory: audit.md A2's layout, read and written under A29's rules. Knows no signature and no meaning of an entry.

use crate::files::{self, Item, StoreError};
use audit::hash::Hash;
use audit::merkle::range_root;
use audit::reader::{DirEntry, LogReader, TileHashes, handover_path, note_path, policy_path};
use audit::tile::{MAX_BUNDLE_BYTES, TileKind, TilePath, WIDTH, decode_bundle};
use audit::writer::TileFile;
use protocol::ids::Sha256;
use std::io;
use std::path::{Path, PathBuf};

/// A mirror's directory.
pub(crate) struct Disk {
    root: PathBuf,
}

impl LogReader for Disk {
    type Error = io::Error;

    fn read(&self, path: &str, limit: usize) -> Result<Option<Vec<u8>>, io::Error> {
        match files::read_prefix(&self.root.join(path), limit) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn list(&self, dir: &str) -> Result<Vec<DirEntry>, io::Error> {
        let entries = match std::fs::read_dir(self.root.join(dir)) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(e),
        };
        let mut out = Vec::new();
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            out.push(if entry.file_type()?.is_dir() { DirEntry::Directory(name) } else { DirEntry::File(name) });
        }
        Ok(out)
    }
}

impl Disk {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Stores new tiles and bundles. What is there already must be byte-equal: a log never changes.
    pub(crate) fn store_tiles(&self, tiles: &[TileFile]) -> Result<(), StoreError> {
        tiles.iter().try_for_each(|t| files::write_once(&self.root.join(t.path.to_string()), &t.bytes, Item::Tile))
    }

    /// Lays tiles down where they wait for their root. Nothing relies on them after a crash, so nothing is synced.
    pub(crate) fn lay(&self, tiles: &[TileFile]) -> Result<(), StoreError> {
        for tile in tiles {
            let path = self.root.join(tile.path.to_string());
            let parent = path.parent().unwrap_or(&self.root);
            std::fs::create_dir_all(parent)
                .and_then(|()| std::fs::write(&path, &tile.bytes))
                .map_err(|e| StoreError::Write(Item::Tile, e))?;
        }
        Ok(())
    }

    /// Takes over tiles that waited at another place, durably.
    pub(crate) fn adopt(&self, from: &Self, tiles: &[TilePath]) -> Result<(), StoreError> {
        for path in tiles.iter().map(ToString::to_string) {
            let bytes = files::read(&from.root.join(&path), MAX_BUNDLE_BYTES, Item::Tile)?;
            files::write_once(&self.root.join(&path), &bytes, Item::Tile)?;
        }
        Ok(())
    }

    /// Makes a published note the latest and keeps it for ever, in this order (A30): the other one would, half done, look like a
    /// checkpoint that was put back.
    pub(crate) fn store_note(&self, size: u64, note: &[u8]) -> Result<(), StoreError> {
        files::replace(&self.root.join(audit::reader::CHECKPOINT_PATH), note, Item::Note)?;
        files::replace(&self.root.join(note_path(size)), note, Item::Note)
    }

    /// The latest published note.
    pub(crate) fn published(&self) -> Result<Option<Vec<u8>>, StoreError> {
        files::read_if_there(&self.root.join(audit::reader::CHECKPOINT_PATH), audit::note::MAX_NOTE_BYTES, Item::Note)
    }

    /// Keeps a note by which one key handed over to the next; one that is there has the same two signatures.
    pub(crate) fn store_handover(&self, size: u64, note: &[u8]) -> Result<(), StoreError> {
        let path = self.root.join(handover_path(size));
        match files::read_if_there(&path, audit::note::MAX_NOTE_BYTES, Item::Note)? {
            Some(_) => Ok(()),
            None => files::replace(&path, note, Item::Note),
        }
    }

    pub(crate) fn store_policy(&self, from_size: u64, text: &[u8]) -> Result<(), StoreError> {
        files::write_once(&self.root.join(policy_path(from_size)), text, Item::WitnessPolicy)
    }

    pub(crate) fn policy(&self, from_size: u64) -> Result<Option<Vec<u8>>, StoreError> {
        files::read_if_there(&self.root.join(policy_path(from_size)), audit::policy::MAX_POLICY_BYTES, Item::WitnessPolicy)
    }

    fn artefact_path(&self, hash: Sha256) -> PathBuf {
        let hex = hash.to_hex();
        self.root.join("artefacts").join(&hex[..2]).join(hex)
    }

    pub(crate) fn store_artefact(&self, hash: Sha256, bytes: &[u8]) -> Result<(), StoreError> {
        files::write_once(&self.artefact_path(hash), bytes, Item::Artefact)
    }

    pub(crate) fn artefact(&self, hash: Sha256, limit: usize) -> Result<Option<Vec<u8>>, StoreError> {
        files::read_if_there(&self.artefact_path(hash), limit, Item::Artefact)
    }

    /// The entries of the bundle that holds `index`, in a tree of `size`; the first one's index is a multiple of 256.
    pub(crate) fn bundle(&self, index: u64, size: u64) -> Result<Vec<Vec<u8>>, StoreError> {
        let damaged = || StoreError::Damaged(Item::Tile);
        let path = TilePath::in_tree(TileKind::Entries, index / u64::from(WIDTH), size).ok_or_else(damaged)?;
        for candidate in [path, path.full()] {
            let file = self.root.join(candidate.to_string());
            if let Some(bytes) = files::read_if_there(&file, MAX_BUNDLE_BYTES, Item::Tile)? {
                let entries = decode_bundle(&bytes, candidate.width()).map_err(|_| damaged())?;
                return Ok(entries.into_iter().take(usize::from(path.width())).map(<[u8]>::to_vec).collect());
            }
        }
        Err(damaged())
    }

    /// The root that the first `size` entries of our tree of `whole` entries have, out of its tiles.
    pub(crate) fn root_at(&self, size: u64, whole: u64) -> Result<Hash, StoreError> {
        range_root(&TileHashes::new(self, whole), 0, size).map_err(|_| StoreError::Damaged(Item::Tile))
    }
}

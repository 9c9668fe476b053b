//! The entries of a mirror: read once to know every root that was signed and every rule kept, and once more to be written. Believes no tile.

use super::{RecoverError, policies};
use crate::durable;
use crate::log::{Directory, fold, keys_of, learn};
use audit::hash::{Hash, leaf_hash};
use audit::keys::LogKeys;
use audit::policy::Policy;
use audit::reader::{DirEntry, LogReader as _, policy_path};
use audit::tile::{MAX_BUNDLE_BYTES, TileKind, TilePath, WIDTH, decode_bundle};
use audit::tree::CompactRange;
use audit::writer::{LogWriter, TileFile};
use protocol::history::History;
use protocol::trust::TrustDocument;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

/// What a mirror's entries give.
pub(super) struct Copied {
    /// Entries, at most as many as were asked for.
    pub(super) size: u64,
    /// Root over them.
    pub(super) root: Hash,
    /// Roots at the sizes asked for, as far as the entries reach.
    pub(super) roots: BTreeMap<u64, Hash>,
    /// The keys that the entries put in force.
    pub(super) keys: LogKeys,
    policies: BTreeMap<u64, Policy>,
}

impl Copied {
    /// Reads the mirror's entries up to `until`, and the roots at `sizes`.
    ///
    /// # Errors
    /// [`RecoverError::Rule`] where an entry breaks a rule of the log: a server would not open such a log again.
    pub(super) fn read(mirror: &Directory, trust: &TrustDocument, until: u64, sizes: &BTreeSet<u64>) -> Result<Self, RecoverError> {
        let mut history = History::new(trust.clone());
        // Only roots are wanted here; the files are made when they are written.
        let mut range = CompactRange::new();
        let mut roots: BTreeMap<u64, Hash> = sizes.contains(&0).then(|| (0, range.root())).into_iter().collect();
        let (mut in_force, mut keys) = (BTreeMap::new(), keys_of(&history).map_err(RecoverError::Log)?);
        let all = policies(mirror)?;
        while range.size() < until {
            let entries = bundle(mirror, range.size() / u64::from(WIDTH), until)?;
            for bytes in &entries {
                range.push(leaf_hash(bytes));
                if sizes.contains(&range.size()) {
                    roots.insert(range.size(), range.root());
                }
                let entry = fold(&mut history, bytes).map_err(|v| RecoverError::Rule { index: v.index.0, rule: v.clause.text() })?;
                if let Some(entry) = entry {
                    learn(&mut history, &mirror.0, &entry.facts)?;
                }
                // A policy's file counts where an entry activates exactly its text.
                if let Some((hash, at)) = history.policy()
                    && at.0 + 1 == range.size()
                    && let Some(policy) = all.get(&range.size())
                    && protocol::hash::sha256(&[policy.text().as_bytes()]) == hash.0
                {
                    in_force.insert(range.size(), policy.clone());
                }
                if history.log_vkeys().count() > keys.all().count() {
                    keys = keys_of(&history).map_err(RecoverError::Log)?;
                    roots.insert(range.size(), range.root());
                    let next = goes_on(&history, &in_force, &keys);
                    in_force.extend(next.map(|policy| (range.size(), policy)));
                }
            }
            if entries.len() < usize::from(WIDTH) {
                break;
            }
        }
        Ok(Self { size: range.size(), root: range.root(), roots, keys, policies: in_force })
    }

    /// The policy that judges a tree of this size.
    pub(super) fn policy_at(&self, size: u64) -> Option<&Policy> {
        self.policies.range(..=size).next_back().map(|(_, p)| p)
    }

    /// Writes tiles, bundles and policies into a new directory.
    ///
    /// # Errors
    /// [`RecoverError::Storage`], also if the mirror is no longer what was read.
    pub(super) fn write(&self, mirror: &Directory, to: &Path) -> Result<(), RecoverError> {
        let mut writer = LogWriter::new();
        // The newest partial tile of each place: older ones give way to it, and it to the full one (A3).
        let mut partial: BTreeMap<String, TileFile> = BTreeMap::new();
        while writer.size() < self.size {
            let entries = bundle(mirror, writer.size() / u64::from(WIDTH), self.size)?;
            let files = writer.append(&entries).map_err(|_| changed())?;
            if entries.is_empty() {
                return Err(changed().into());
            }
            for file in files {
                let place = file.path.full().to_string();
                if file.path.is_full() {
                    partial.remove(&place);
                    durable::write_new(&to.join(place), &file.bytes)?;
                } else {
                    partial.insert(place, file);
                }
            }
        }
        if (writer.size(), writer.head().root) != (self.size, self.root) {
            return Err(changed().into());
        }
        for file in partial.values() {
            durable::write_new(&to.join(file.path.to_string()), &file.bytes)?;
        }
        for (size, policy) in &self.policies {
            durable::write_new(&to.join(policy_path(*size)), policy.text().as_bytes())?;
        }
        Ok(())
    }
}

/// The policy in force, where its file was there, with the log's newest key in it.
fn goes_on(history: &History, in_force: &BTreeMap<u64, Policy>, keys: &LogKeys) -> Option<Policy> {
    let ((_, at), (from, policy)) = history.policy().zip(in_force.last_key_value())?;
    policy.with_log(keys.newest()).ok().filter(|_| *from > at.0)
}

/// The keys that a log's entries put in force, as far as they can be read and keep the rules.
pub(super) fn keys(dir: &Directory, trust: &TrustDocument) -> Result<LogKeys, RecoverError> {
    let mut history = History::new(trust.clone());
    loop {
        let entries = bundle(dir, history.size() / u64::from(WIDTH), audit::MAX_SIZE)?;
        for bytes in &entries {
            // An entry that breaks a rule is refused where entries are read to be kept.
            let Ok(entry) = fold(&mut history, bytes) else { return keys_of(&history).map_err(RecoverError::Log) };
            if let Some(entry) = entry {
                learn(&mut history, &dir.0, &entry.facts)?;
            }
        }
        if entries.len() < usize::from(WIDTH) {
            return keys_of(&history).map_err(RecoverError::Log);
        }
    }
}

fn changed() -> io::Error {
    io::Error::other("the mirror changed while it was read")
}

/// The entries of bundle `index` below `until`: from the file that a tree of that size has, or the widest that is there.
fn bundle(mirror: &Directory, index: u64, until: u64) -> Result<Vec<Vec<u8>>, RecoverError> {
    let Some(path) = TilePath::in_tree(TileKind::Entries, index, until) else { return Ok(Vec::new()) };
    let mut candidates = vec![path, path.full()];
    let mut widths: Vec<u16> = mirror.list(&path.partials_dir())?.iter().filter_map(width).collect();
    widths.sort_unstable_by(|a, b| b.cmp(a));
    candidates.extend(widths.into_iter().filter_map(|w| TilePath::new(TileKind::Entries, index, w).ok()));
    for candidate in candidates {
        let Some(bytes) = mirror.read(&candidate.to_string(), MAX_BUNDLE_BYTES)? else { continue };
        if let Ok(entries) = decode_bundle(&bytes, candidate.width()) {
            return Ok(entries.into_iter().take(usize::from(path.width())).map(<[u8]>::to_vec).collect());
        }
    }
    Ok(Vec::new())
}

fn width(entry: &DirEntry) -> Option<u16> {
    match entry {
        DirEntry::File(name) => name.parse().ok(),
        DirEntry::Directory(_) => None,
    }
}

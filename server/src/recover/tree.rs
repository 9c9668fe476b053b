//! The entries of a mirror: read once to know every root that was signed and every rule kept, and once more to be written. Believes no tile.

use super::{RecoverError, policies};
use crate::durable;
use crate::log::Directory;
use audit::hash::Hash;
use audit::policy::Policy;
use audit::reader::{DirEntry, LogReader as _, policy_path};
use audit::tile::{MAX_BUNDLE_BYTES, TileKind, TilePath, WIDTH, decode_bundle};
use audit::writer::{LogWriter, TileFile};
use protocol::entry::{Facts, LogEntry};
use protocol::history::{Clause, History};
use protocol::ids::Sha256;
use protocol::plan::Plan;
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
    policies: BTreeMap<u64, Policy>,
}

impl Copied {
    /// Reads the mirror's entries up to `until`, and the roots at `sizes`.
    ///
    /// # Errors
    /// [`RecoverError::Rule`] where an entry breaks a rule of the log: a server would not open such a log again.
    pub(super) fn read(mirror: &Directory, trust: &TrustDocument, until: u64, sizes: &BTreeSet<u64>) -> Result<Self, RecoverError> {
        let mut history = History::new(trust.clone());
        let mut writer = LogWriter::new();
        let mut roots: BTreeMap<u64, Hash> = sizes.contains(&0).then(|| (0, writer.head().root)).into_iter().collect();
        let mut in_force = BTreeMap::new();
        let all = policies(mirror)?;
        while writer.size() < until {
            let entries = bundle(mirror, writer.size() / u64::from(WIDTH), until)?;
            let first = writer.size();
            for bytes in &entries {
                // Only the root is wanted here; the files are made when they are written.
                writer.append(&[bytes]).map_err(|_| RecoverError::Rule { index: writer.size(), rule: "an entry is too long" })?;
                if sizes.contains(&writer.size()) {
                    roots.insert(writer.size(), writer.head().root);
                }
                if let Some(v) = history.apply(bytes).into_iter().find(|v| v.clause != Clause::UnknownEntry) {
                    return Err(RecoverError::Rule { index: v.index.0, rule: v.clause.text() });
                }
                learn(&mut history, mirror, bytes)?;
                // A policy's file counts where an entry activates exactly its text.
                if let Some((hash, at)) = history.policy()
                    && let Some(policy) = all.get(&(at.0 + 1))
                    && protocol::hash::sha256(&[policy.text().as_bytes()]) == hash.0
                {
                    in_force.insert(at.0 + 1, policy.clone());
                }
            }
            if writer.size() == first || entries.len() < usize::from(WIDTH) {
                break;
            }
        }
        Ok(Self { size: writer.size(), root: writer.head().root, roots, policies: in_force })
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

/// Shows the history a plan as soon as it is approved.
fn learn(history: &mut History, mirror: &Directory, bytes: &[u8]) -> Result<(), RecoverError> {
    let Ok(LogEntry { facts: Facts::TaskApproved { plan: digest }, .. }) = LogEntry::parse(bytes) else { return Ok(()) };
    let hex = Sha256(digest.0).to_hex();
    let Some(bytes) = mirror.read(&format!("artefacts/{}/{hex}", &hex[..2]), Plan::MAX_BYTES)? else { return Ok(()) };
    if let Some(plan) = protocol::codec::decode::<Plan>(&bytes, Plan::MAX_BYTES).ok().filter(|_| Plan::digest(&bytes) == digest) {
        history.learn_plan(&bytes, &plan);
    }
    Ok(())
}

//! The rollback guard (audit.md A32): notes that a key of this log signed while it was its turn and that the log on this disk contradicts. They are kept for ever,
//! and while one of them contradicts the log nothing is appended. Knows no connection.

use crate::durable;
use crate::edges::reached;
use crate::layout::Layout;
use crate::log::{Log, LogError};
use audit::note::{MAX_NOTE_BYTES, Note};
use audit::tree::TreeHead;
use protocol::ids::Sha256;
use std::io;
use std::path::PathBuf;

/// Most notes that are read again at a start: one is enough to refuse, and each ends the process that kept it.
const MAX_EVIDENCE: usize = 1024;

/// What a note says about this log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// Nothing, or a tree that ours begins with.
    Agrees,
    /// It is no note that our key signed. The sender's fault, and nothing about us.
    Foreign,
    /// Our key signed a tree that ours does not begin with.
    Contradicts(TreeHead),
}

/// Our key has signed more, or something else, than the log on this disk holds. The process ends, and no other begins before a recovery.
#[derive(Debug, thiserror::Error)]
#[error(
    "this log lost history: its key signed a tree of {size} entries that the {have} entries here do not begin with; nothing is appended any \
     more. The signed note is kept as {}; run `concordat-server log recover --give-up-own --from` a copy of the mirror of an institution that \
     followed it", .kept.display()
)]
pub(crate) struct RolledBack {
    /// Entries of the tree that was signed.
    size: u64,
    /// Entries here.
    have: u64,
    /// The note.
    kept: PathBuf,
}

/// Compares what a member shows with our log. Every byte may be an attacker's: only what our own key signed counts.
///
/// # Errors
/// [`LogError`] if our own tiles cannot be read.
pub(crate) fn judge(log: &Log, note: &[u8]) -> Result<Shown, LogError> {
    if note.is_empty() {
        return Ok(Shown::Agrees);
    }
    let Some(head) = Note::parse(note).ok().and_then(|n| log.keys().signed(&n)) else { return Ok(Shown::Foreign) };
    let same = log.root_at(head.size)? == Some(head.root);
    Ok(if same { Shown::Agrees } else { Shown::Contradicts(head) })
}

/// Makes the evidence durable, and says what it is evidence of.
pub(crate) fn keep(layout: &Layout, log: &Log, note: &[u8], head: TreeHead) -> io::Result<RolledBack> {
    let kept = layout.evidence().join(format!("{}.note", hash(note)));
    durable::write_new(&kept, note)?;
    Ok(RolledBack { size: head.size, have: log.size(), kept })
}

fn hash(note: &[u8]) -> Sha256 {
    Sha256(protocol::hash::sha256(&[note]))
}

/// The notes that were kept and not settled by a recovery, with their SHA-256.
pub(crate) fn kept(layout: &Layout) -> io::Result<Vec<(PathBuf, Sha256, Vec<u8>)>> {
    let entries = match std::fs::read_dir(layout.evidence()) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let paths = entries.map(|e| e.map(|e| e.path())).collect::<io::Result<Vec<_>>>()?;
    let notes = paths.into_iter().filter(|p| p.extension().is_some_and(|e| e == "note")).take(MAX_EVIDENCE);
    notes
        .map(|path| {
            let bytes = durable::read_limited(&path, MAX_NOTE_BYTES as u64)?;
            Ok((path, hash(&bytes), bytes))
        })
        .collect()
}

/// A recovered log holds what these notes say: they stay, under another name, and are no reason to refuse any more.
pub(crate) fn settle(layout: &Layout, notes: &[(PathBuf, Sha256, Vec<u8>)]) -> io::Result<()> {
    for (path, ..) in notes {
        std::fs::rename(path, path.with_extension("settled"))?;
        reached("settled", path);
    }
    if notes.is_empty() { Ok(()) } else { durable::sync_dir(&layout.evidence()) }
}

/// Refuses to go on with a log that kept evidence contradicts: asked before a server's first entry, for that entry would fork the log.
///
/// # Errors
/// What was found, or why it could not be looked for.
pub(crate) fn check(layout: &Layout, log: &Log) -> Result<(), crate::driver::DriverError> {
    for (path, _, bytes) in kept(layout)? {
        if let Shown::Contradicts(head) = judge(log, &bytes)? {
            return Err(RolledBack { size: head.size, have: log.size(), kept: path }.into());
        }
    }
    Ok(())
}

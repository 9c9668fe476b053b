//! Check 7: notes from elsewhere against this directory; an inconsistent pair is a proof of equivocation (A35.7). Knows no entry's meaning.

use crate::dir::{Directory, ReadError, read_file};
use crate::finding::{Check, Findings, Place, Rule, Severity};
use crate::fold::Fold;
use crate::policies::Policies;
use audit::checkpoint::Checkpoint;
use audit::note::{MAX_NOTE_BYTES, Note};
use audit::reader::{CHECKPOINT_PATH, DirEntry, LogReader};
use audit::tree::TreeHead;
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const NOTE: Rule = Rule::new(Check::Others, Severity::Integrity, "A35.7: a note from elsewhere is signed by this log");
const AGREE: Rule = Rule::new(Check::Others, Severity::Integrity, "A35.7: the log never signs two inconsistent notes");
const SHORT: Rule = Rule::new(Check::Others, Severity::Integrity, "A35.7: the log holds every entry that it signed");
const QUORUM: Rule = Rule::new(Check::Others, Severity::Notice, "A35.7: a note from elsewhere meets the quorum of its size");
const NOTHING: Rule = Rule::new(Check::Others, Severity::Incomplete, "A35.7: a place given with --with holds notes");

/// A note given by the auditor.
pub(crate) struct OtherNote {
    path: PathBuf,
    bytes: Vec<u8>,
}

/// Two signed notes that cannot both be true. Anyone with the log's key can check that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Equivocation {
    /// Size at which they part at the latest.
    pub size: u64,
    /// This directory's checkpoint.
    pub ours: String,
    /// The note from elsewhere.
    pub theirs: String,
}

/// Why what was given to compare with could not be read.
#[derive(Debug, thiserror::Error)]
#[error("{} to compare with is not there", .0.display())]
pub struct NoSuchNote(pub PathBuf);

/// Reads notes: a path is a note, or a directory whose `checkpoint` and `checkpoints/` are taken.
pub(crate) fn read(paths: &[PathBuf]) -> Result<Result<Vec<OtherNote>, NoSuchNote>, ReadError> {
    let mut notes = Vec::new();
    for path in paths {
        if path.is_dir() {
            read_dir(path, &mut notes)?;
        } else {
            let Some(bytes) = read_file(path, MAX_NOTE_BYTES)? else { return Ok(Err(NoSuchNote(path.clone()))) };
            notes.push(OtherNote { path: path.clone(), bytes });
        }
    }
    Ok(Ok(notes))
}

fn read_dir(path: &Path, notes: &mut Vec<OtherNote>) -> Result<(), ReadError> {
    let other = Directory::open(path)?;
    let mut names = vec![CHECKPOINT_PATH.to_owned()];
    names.extend(other.list("checkpoints")?.into_iter().filter_map(|e| match e {
        DirEntry::File(name) => Some(format!("checkpoints/{name}")),
        DirEntry::Directory(_) => None,
    }));
    for name in names {
        // A directory without any note is reported as such by `check`.
        let bytes = other.read(&name, MAX_NOTE_BYTES)?.unwrap_or_default();
        notes.push(OtherNote { path: path.join(name), bytes });
    }
    Ok(())
}

fn head_of(note: &OtherNote) -> Option<TreeHead> {
    let note = Note::parse(&note.bytes).ok()?;
    note.text().parse::<Checkpoint>().ok().map(|c| c.head)
}

/// The sizes whose roots must be known.
pub(crate) fn sizes(notes: &[OtherNote]) -> BTreeSet<u64> {
    notes.iter().filter_map(head_of).map(|h| h.size).collect()
}

/// Compares every note with the entries of this directory.
pub(crate) fn check(notes: &[OtherNote], fold: &Fold<'_>, policies: &Policies, ours: &str, findings: &mut Findings) -> Vec<Equivocation> {
    let mut proofs = Vec::new();
    for note in notes {
        let place = || Place::Path(note.path.display().to_string());
        if note.bytes.is_empty() {
            findings.add(NOTHING, place(), "a note", "nothing");
            continue;
        }
        let size = head_of(note).map_or(0, |h| h.size);
        let Some((_, policy)) = policies.at(size) else { continue };
        let opened = match policy.open(&note.bytes) {
            Ok(opened) => opened,
            Err(e) => {
                findings.add(NOTE, place(), "a checkpoint of this log", e.to_string());
                continue;
            }
        };
        if !opened.has_quorum() {
            findings.add(QUORUM, place(), "a quorum", format!("{} cosigners", opened.cosigners().len()));
        }
        let head = opened.checkpoint().head;
        match fold.root_at(head.size) {
            Some(root) if root == head.root => {}
            Some(root) => {
                findings.add(AGREE, place(), head.root.to_string(), format!("{root} at size {}", head.size));
                let theirs = String::from_utf8_lossy(&note.bytes).into_owned();
                proofs.push(Equivocation { size: head.size, ours: ours.to_owned(), theirs });
            }
            None => findings.add(SHORT, place(), format!("{} entries", head.size), format!("{}", fold.history().size())),
        }
    }
    proofs
}

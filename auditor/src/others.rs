//! Check 7: notes from elsewhere against this directory; an inconsistent pair is a proof of equivocation (A35.7). Knows no entry's meaning.

use crate::dir::{Directory, ReadError, read_file};
use crate::finding::{Check, Findings, Place, Rule, Severity};
use crate::fold::Fold;
use crate::notes;
use crate::policies::Policies;
use audit::fork::ForkProof;
use audit::keys::LogKeys;
use audit::merkle::{ConsistencyProof, prove_consistency, range_root};
use audit::note::{MAX_NOTE_BYTES, Note};
use audit::policy::{OpenError, Opened, Policy};
use audit::reader::{HANDOVERS, LogReader, TileHashes};
use audit::tree::TreeHead;
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const NOTE: Rule = Rule::new(Check::Others, Severity::Integrity, "A35.7: a note from elsewhere is signed by this log");
const TURN: Rule = Rule::new(Check::Others, Severity::Integrity, "A14: a note is signed by the key whose turn it is at its size");
const AGREE: Rule = Rule::new(Check::Others, Severity::Integrity, "A35.7: the log never signs two inconsistent notes");
const SHORT: Rule = Rule::new(Check::Others, Severity::Integrity, "A35.7: the log holds every entry that it signed");
const QUORUM: Rule = Rule::new(Check::Others, Severity::Notice, "A35.7: a note from elsewhere meets the quorum of its size");
const NOTHING: Rule = Rule::new(Check::Others, Severity::Incomplete, "A35.7: a place given with --with holds notes");

/// A note given by the auditor.
pub(crate) struct OtherNote {
    path: PathBuf,
    bytes: Vec<u8>,
    /// The directory that it was found in: its tiles may prove what the note alone does not.
    dir: Option<Directory>,
}

/// Two signed notes that cannot both be true of one log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Equivocation {
    /// Size at which they part at the latest.
    pub size: u64,
    /// This directory's checkpoint.
    pub ours: String,
    /// The note from elsewhere.
    pub theirs: String,
    /// What anyone with the log's key can check; nothing where the files at hand do not give it.
    pub proof: Option<ForkProof>,
}

/// One tree in a directory: a note that the log signed, and the tiles that are said to be its.
struct Tree<'a> {
    note: &'a Note,
    head: TreeHead,
    tiles: &'a Directory,
}

impl Tree<'_> {
    /// A proof that this tree does not begin with the one of `small`; nothing where it does, or the tiles do not give it.
    fn contradicts(&self, small: (&Note, TreeHead), keys: &LogKeys) -> Option<ForkProof> {
        let (size, hashes) = (small.1.size, TileHashes::new(self.tiles, self.head.size));
        let (root, proof) = if size == self.head.size {
            (self.head.root, ConsistencyProof(Vec::new()))
        } else {
            (range_root(&hashes, 0, size).ok()?, prove_consistency(&hashes, size, self.head.size).ok()?)
        };
        let proof = ForkProof::new(keys, (small.0, size), self.note, root, &proof);
        // Made from files that anybody may have altered: only what holds is shown to anybody.
        proof.check_by(keys.all(), None).is_ok().then_some(proof)
    }
}

/// Why what was given to compare with could not be read.
#[derive(Debug, thiserror::Error)]
#[error("{} to compare with is not there", .0.display())]
pub struct NoSuchNote(pub PathBuf);

/// Reads notes: a path is a note, or a directory whose `checkpoint`, `checkpoints/` and `handovers/` are taken.
pub(crate) fn read(paths: &[PathBuf]) -> Result<Result<Vec<OtherNote>, NoSuchNote>, ReadError> {
    let mut notes = Vec::new();
    for path in paths {
        if path.is_dir() {
            read_dir(path, &mut notes)?;
        } else {
            let Some(bytes) = read_file(path, MAX_NOTE_BYTES)? else { return Ok(Err(NoSuchNote(path.clone()))) };
            notes.push(OtherNote { path: path.clone(), bytes, dir: None });
        }
    }
    Ok(Ok(notes))
}

fn read_dir(path: &Path, notes: &mut Vec<OtherNote>) -> Result<(), ReadError> {
    let other = Directory::open(path)?;
    for name in notes::all(&other)? {
        // A directory without any note is reported as such by `check`.
        let bytes = other.read(&name, MAX_NOTE_BYTES)?.unwrap_or_default();
        notes.push(OtherNote { path: path.join(name), bytes, dir: Some(other.clone()) });
    }
    Ok(())
}

fn head_of(note: &OtherNote) -> Option<TreeHead> {
    notes::stated(&note.bytes).map(|(_, head)| head)
}

/// The sizes whose roots must be known.
pub(crate) fn sizes(notes: &[OtherNote]) -> BTreeSet<u64> {
    notes.iter().filter_map(head_of).map(|h| h.size).collect()
}

/// A note that one of the log's keys signed, with its tree.
fn tree_of(bytes: &[u8], keys: &LogKeys) -> Option<(Note, TreeHead)> {
    let note = Note::parse(bytes).ok()?;
    let (head, _) = keys.signed_by_any(&note)?;
    Some((note, head))
}

/// Opens a note under the witnesses of its size and whichever key of the log signed it.
fn open(policy: &Policy, keys: &LogKeys, bytes: &[u8]) -> Result<Opened, OpenError> {
    let note = Note::parse(bytes)?;
    let by = keys.signed_by_any(&note).and_then(|(_, key)| policy.with_log(key).ok());
    by.as_ref().unwrap_or(policy).open_note(note)
}

/// Compares every note with the entries of this directory, and proves what contradicts them as far as the files at hand go.
pub(crate) fn check(
    notes: &[OtherNote],
    fold: &Fold<'_>,
    (policies, keys): (&Policies, &LogKeys),
    ours: &str,
    findings: &mut Findings,
) -> Vec<Equivocation> {
    let own = tree_of(ours.as_bytes(), keys);
    let mut conflicts = Vec::new();
    for note in notes {
        let place = || Place::Path(note.path.display().to_string());
        if note.bytes.is_empty() {
            findings.add(NOTHING, place(), "a note", "nothing");
            continue;
        }
        let size = head_of(note).map_or(0, |h| h.size);
        let Some((_, policy)) = policies.at(size) else { continue };
        let opened = match open(policy, keys, &note.bytes) {
            Ok(opened) => opened,
            Err(e) => {
                let later = if size > fold.history().size() { "; a key that took over after these entries is not known here" } else { "" };
                findings.add(NOTE, place(), "a checkpoint of this log", format!("{e}{later}"));
                continue;
            }
        };
        // What a key signed that it was not its turn to sign is compared all the same: it tells a story.
        if keys.signed(opened.note()).is_none() {
            findings.add(TURN, place(), format!("size {size} signed by {}", keys.at(size)), "another key of this log");
        }
        // A handover is by two keys of the log; its witnesses are those of a note above it.
        let hands_over = note.path.parent().is_some_and(|p| p.ends_with(HANDOVERS));
        if !opened.has_quorum() && !hands_over {
            findings.add(QUORUM, place(), "a quorum", format!("{} cosigners", opened.cosigners().len()));
        }
        let head = opened.checkpoint().head;
        let root = fold.root_at(head.size);
        if root == Some(head.root) {
            continue;
        }
        let theirs = || String::from_utf8_lossy(&note.bytes).into_owned();
        match root {
            Some(root) => {
                findings.add(AGREE, place(), head.root.to_string(), format!("{root} at size {}", head.size));
                let whole = own.as_ref().filter(|(_, h)| h.size >= head.size);
                let proof = whole.and_then(|(note, head_of_ours)| {
                    let tree = Tree { note, head: *head_of_ours, tiles: fold.log() };
                    tree.contradicts((opened.note(), head), keys)
                });
                conflicts.push(Equivocation { size: head.size, ours: ours.to_owned(), theirs: theirs(), proof });
            }
            None => {
                // Larger than ours: whether it goes on from ours, only its own tiles can tell.
                let tree = note.dir.as_ref().map(|tiles| Tree { note: opened.note(), head, tiles });
                let small = own.as_ref().filter(|(_, h)| h.size <= head.size);
                let proof = tree.zip(small).and_then(|(tree, (note, head))| tree.contradicts((note, *head), keys));
                let got = format!("{} entries", fold.history().size());
                match proof {
                    Some(proof) => {
                        findings.add(AGREE, place(), "a tree that begins with ours", format!("another root at size {}", proof.size));
                        conflicts.push(Equivocation { size: proof.size, ours: ours.to_owned(), theirs: theirs(), proof: Some(proof) });
                    }
                    None if note.dir.is_some() => findings.add(SHORT, place(), format!("{} entries", head.size), got),
                    None => {
                        let advice = "to learn whether its tree begins with these, give the directory of the note with --with";
                        findings.add(SHORT, place(), format!("{} entries", head.size), format!("{got}; {advice}"));
                    }
                }
            }
        }
    }
    conflicts
}

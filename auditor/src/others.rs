//! Check 7: notes from elsewhere against this directory; an inconsistent pair is a proof of equivocation (A35.7). Knows no entry's meaning.

use crate::dir::{Directory, ReadError, read_file};
use crate::finding::{Check, Findings, Place, Rule, Severity};
use crate::fold::Fold;
use crate::policies::Policies;
use audit::checkpoint::Checkpoint;
use audit::fork::{ForkProof, signed};
use audit::key::VerifierKey;
use audit::merkle::{ConsistencyProof, prove_consistency, range_root};
use audit::note::{MAX_NOTE_BYTES, Note};
use audit::reader::{CHECKPOINT_PATH, DirEntry, LogReader, TileHashes};
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
    fn contradicts(&self, small: (&Note, TreeHead), key: &VerifierKey) -> Option<ForkProof> {
        let (size, hashes) = (small.1.size, TileHashes::new(self.tiles, self.head.size));
        let (root, proof) = if size == self.head.size {
            (self.head.root, ConsistencyProof(Vec::new()))
        } else {
            (range_root(&hashes, 0, size).ok()?, prove_consistency(&hashes, size, self.head.size).ok()?)
        };
        let proof = ForkProof::new(key, (small.0, size), self.note, root, &proof);
        // Made from files that anybody may have altered: only what holds is shown to anybody.
        proof.check(key, None).is_ok().then_some(proof)
    }
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
            notes.push(OtherNote { path: path.clone(), bytes, dir: None });
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
        notes.push(OtherNote { path: path.join(name), bytes, dir: Some(other.clone()) });
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

/// Compares every note with the entries of this directory, and proves what contradicts them as far as the files at hand go.
pub(crate) fn check(notes: &[OtherNote], fold: &Fold<'_>, policies: &Policies, ours: &str, findings: &mut Findings) -> Vec<Equivocation> {
    let mut conflicts = Vec::new();
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
        let (head, key) = (opened.checkpoint().head, policy.log());
        let root = fold.root_at(head.size);
        if root == Some(head.root) {
            continue;
        }
        let own = signed(ours.as_bytes(), key);
        let theirs = || String::from_utf8_lossy(&note.bytes).into_owned();
        match root {
            Some(root) => {
                findings.add(AGREE, place(), head.root.to_string(), format!("{root} at size {}", head.size));
                let whole = own.as_ref().filter(|(_, h)| h.size >= head.size);
                let proof = whole.and_then(|(note, head_of_ours)| {
                    let tree = Tree { note, head: *head_of_ours, tiles: fold.log() };
                    tree.contradicts((opened.note(), head), key)
                });
                conflicts.push(Equivocation { size: head.size, ours: ours.to_owned(), theirs: theirs(), proof });
            }
            None => {
                // Larger than ours: whether it goes on from ours, only its own tiles can tell.
                let tree = note.dir.as_ref().map(|tiles| Tree { note: opened.note(), head, tiles });
                let small = own.as_ref().filter(|(_, h)| h.size <= head.size);
                let proof = tree.zip(small).and_then(|(tree, (note, head))| tree.contradicts((note, *head), key));
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

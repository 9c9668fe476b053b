//! Check 2: every retained note under the policy of its size. Knows no tile.

use std::collections::BTreeMap;

use super::Trust;
use super::finding::{Check, Fault, Findings, Place};
use crate::MAX_SIZE;
use crate::checkpoint::Checkpoint;
use crate::note::{Claimed, MAX_NOTE_BYTES, Note};
use crate::policy::{OpenError, Opened, Policy};
use crate::reader::{CHECKPOINT_PATH, DirEntry, LogReader, note_path};
use crate::strict::{Judge, Signed};
use crate::text;
use crate::tree::TreeHead;

const NOTES_DIR: &str = "checkpoints";

/// A head that something signed states, to be recomputed.
pub(super) struct Claim {
    pub(super) place: Place,
    pub(super) head: TreeHead,
}

/// The notes that the log signed.
pub(super) struct OpenedNotes {
    pub(super) claims: Vec<Claim>,
    pub(super) checkpoint: Option<TreeHead>,
    pub(super) notes: u64,
}

/// Notes that are read and judged together: enough for a judge to share work, few enough to hold.
const TOGETHER: usize = 64;

/// Opens `checkpoints/*.note` in order of size, then `checkpoint`.
pub(super) fn open_all<R: LogReader>(
    reader: &R,
    trust: &Trust,
    judge: &mut dyn Judge,
    findings: &mut Findings,
) -> Result<OpenedNotes, R::Error> {
    let mut opened = OpenedNotes { claims: Vec::new(), checkpoint: None, notes: 0 };
    let mut times = Times::default();
    for sizes in sizes(reader, findings)?.chunks(TOGETHER) {
        let paths: Vec<String> = sizes.iter().map(|size| note_path(*size)).collect();
        for ((size, path), note) in sizes.iter().zip(&paths).zip(open(reader, &paths, trust, judge)?) {
            let Some(note) = accept(path, note, trust, findings) else { continue };
            let head = note.checkpoint().head;
            if head.size != *size {
                findings.at_path(Check::Notes, path, Fault::WrongSize { expected: *size, got: head.size });
            }
            times.follow(path, &note, findings);
            opened.claims.push(Claim { place: Place::Path(path.clone()), head });
            opened.notes += 1;
        }
    }
    let newest = opened.claims.iter().map(|c| c.head.size).max();
    for note in open(reader, &[CHECKPOINT_PATH.to_owned()], trust, judge)? {
        let Some(note) = accept(CHECKPOINT_PATH, note, trust, findings) else { continue };
        let head = note.checkpoint().head;
        if let Some(newest) = newest.filter(|n| *n > head.size) {
            findings.at_path(Check::Notes, CHECKPOINT_PATH, Fault::Behind { newest, got: head.size });
        } else {
            times.follow(CHECKPOINT_PATH, &note, findings);
        }
        opened.checkpoint = Some(head);
        opened.claims.push(Claim { place: Place::Path(CHECKPOINT_PATH.to_owned()), head });
    }
    Ok(opened)
}

/// The sizes named in the notes directory, ascending.
fn sizes<R: LogReader>(reader: &R, findings: &mut Findings) -> Result<Vec<u64>, R::Error> {
    let mut sizes = Vec::new();
    for entry in reader.list(NOTES_DIR)? {
        let size = match &entry {
            DirEntry::File(name) => size_in_name(name),
            DirEntry::Directory(_) => None,
        };
        let (DirEntry::File(name) | DirEntry::Directory(name)) = entry;
        match size {
            Some(size) => sizes.push(size),
            None => findings.at_path(Check::Notes, format!("{NOTES_DIR}/{name}"), Fault::Unexpected),
        }
    }
    sizes.sort_unstable();
    Ok(sizes)
}

fn size_in_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".note")?;
    let canonical = digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit());
    let size = if canonical { digits.parse().ok()? } else { return None };
    (size <= MAX_SIZE).then_some(size)
}

/// Opens notes, each under the policy of the size that it states; their signatures are judged together.
fn open<R: LogReader>(reader: &R, paths: &[String], trust: &Trust, judge: &mut dyn Judge) -> Result<Vec<Result<Opened, Fault>>, R::Error> {
    let read = |path: &String| reader.read(path, MAX_NOTE_BYTES);
    let read: Vec<_> = paths.iter().map(read).collect::<Result<_, _>>()?;
    let notes: Vec<_> = read.into_iter().map(|bytes| bytes.ok_or(Fault::Missing).and_then(|b| Claiming::of(&b, trust))).collect();
    let signed: Vec<Signed> = notes.iter().flatten().flat_map(|note| &note.claims).filter_map(|c| c.signed().cloned()).collect();
    let mut verdicts = judge.judge(&signed).into_iter();
    let mut conclude = |Claiming { note, policy, claims }: Claiming<'_>| {
        // The verdicts come in the order of the claims: all of a note's are taken, also behind one that fails.
        let judged: Vec<bool> = claims.iter().map(|c| c.signed().is_some() && verdicts.next().unwrap_or(false)).collect();
        let verified = claims.iter().zip(judged).map(|(claim, holds)| claim.verified(holds)).collect();
        policy.open_verified(note, verified).map_err(Fault::Note)
    };
    Ok(notes.into_iter().map(|note| note.and_then(&mut conclude)).collect())
}

/// Reports what is wrong with a note; returns it if the log signed it.
fn accept(path: &str, note: Result<Opened, Fault>, trust: &Trust, findings: &mut Findings) -> Option<Opened> {
    let opened = note.map_err(|fault| findings.at_path(Check::Notes, path, fault)).ok()?;
    let cosigners = opened.cosigners().len();
    if !opened.has_quorum() || cosigners < trust.min_cosigners {
        findings.at_path(Check::Notes, path, Fault::BelowQuorum { cosigners });
    }
    Some(opened)
}

/// A note with the policy of the size that it states, and its signatures that claim keys of that policy.
struct Claiming<'a> {
    note: Note,
    policy: &'a Policy,
    claims: Vec<Claimed<'a>>,
}

impl<'a> Claiming<'a> {
    fn of(bytes: &[u8], trust: &'a Trust) -> Result<Self, Fault> {
        let refuse = |e: OpenError| Fault::Note(e);
        let note = Note::parse(bytes).map_err(|e| refuse(e.into()))?;
        let stated: Checkpoint = note.text().parse().map_err(|e: crate::checkpoint::CheckpointError| refuse(e.into()))?;
        let size = stated.head.size;
        let (_, policy) = trust.policies.range(..=size).next_back().ok_or(Fault::NoPolicy { size })?;
        let claims = policy.claims(&note);
        Ok(Self { note, policy, claims })
    }
}

/// The last time of each witness, by public key (A10).
#[derive(Default)]
struct Times(BTreeMap<[u8; 32], u64>);

impl Times {
    fn follow(&mut self, path: &str, note: &Opened, findings: &mut Findings) {
        for (key, &after) in note.cosigners() {
            let before = self.0.insert(*key, after).unwrap_or(0);
            if after < before {
                let witness = text::to_base64(key);
                findings.at_path(Check::Notes, path, Fault::TimeFell { witness, before, after });
            }
        }
    }
}

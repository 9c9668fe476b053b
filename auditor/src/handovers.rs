//! Which key signed which note (audit.md A14): a log that handed over to another key holds the note of that tree with both signatures, and every
//! other note is by the key whose turn it was. Which keys those are, the entries say. Believes no file.

use crate::dir::{Directory, ReadError};
use crate::finding::{Check, Findings, Place, Rule, Severity};
use crate::fold::Fold;
use crate::notes;
use audit::key::VerifierKey;
use audit::keys::{BadHandover, LogKeys};
use audit::note::{MAX_NOTE_BYTES, Note};
use audit::reader::{CHECKPOINT_PATH, DirEntry, HANDOVERS, LogReader, handover_path};
use std::collections::BTreeSet;

const MISSING: Rule = Rule::new(Check::Notes, Severity::Incomplete, "A14: the note by which a key of the log handed over is there");
const BOTH: Rule = Rule::new(Check::Notes, Severity::Integrity, "A14: the note of a handover carries both keys' signatures");
const ROOT: Rule = Rule::new(Check::Prefixes, Severity::Integrity, "A35.4: the tree of a handover is a prefix");
const TURN: Rule = Rule::new(Check::Notes, Severity::Integrity, "A14: a note is signed by the key whose turn it is at its size");
const STRAY: Rule =
    Rule::new(Check::Notes, Severity::Integrity, "A2: a handover's note is named by a size at which an entry changed the key");
const KEYS: Rule = Rule::new(Check::Trust, Severity::Integrity, "A14: a trust document names a key that can sign this log");

/// Sizes that files of handovers are named by, and how many other names there are.
fn names(log: &Directory) -> Result<(BTreeSet<u64>, Vec<String>), ReadError> {
    let (mut sizes, mut others) = (BTreeSet::new(), Vec::new());
    for entry in log.list(HANDOVERS)? {
        let (DirEntry::File(name) | DirEntry::Directory(name)) = &entry;
        let digits = name.strip_suffix(".note").filter(|d| d.len() == 20 && d.bytes().all(|b| b.is_ascii_digit()));
        match digits.and_then(|d| d.parse().ok()).filter(|_| matches!(entry, DirEntry::File(_))) {
            Some(size) => {
                sizes.insert(size);
            }
            None => others.push(name.clone()),
        }
    }
    Ok((sizes, others))
}

/// The sizes whose roots must be known.
pub(crate) fn sizes(log: &Directory) -> Result<BTreeSet<u64>, ReadError> {
    Ok(names(log)?.0)
}

/// The log's keys, by what its entries say: as many of them as can follow one another.
pub(crate) fn keys(fold: &Fold<'_>, trusted: &LogKeys, findings: &mut Findings) -> LogKeys {
    let mut keys = trusted.clone();
    for (size, vkey) in fold.history().log_vkeys().skip(1) {
        let taken = vkey.parse::<VerifierKey>().map_err(|_| BadHandover::NoKey).and_then(|key| keys.hand_over(size, key));
        if let Err(e) = taken {
            findings.add(KEYS, Place::Index(size.saturating_sub(1)), "a key of this log that has not signed it before", e.to_string());
        }
    }
    keys
}

/// Judges the notes of handovers and, in a log that has any, whose turn it was at every other note.
pub(crate) fn check(log: &Directory, fold: &Fold<'_>, keys: &LogKeys, findings: &mut Findings) -> Result<(), ReadError> {
    let (mut sizes, others) = names(log)?;
    for (size, key) in keys.handovers() {
        let path = handover_path(size);
        let place = || Place::Path(path.clone());
        sizes.remove(&size);
        let Some(bytes) = log.read(&path, MAX_NOTE_BYTES)? else {
            findings.add(MISSING, place(), format!("the signatures of {} and {key}", keys.at(size.saturating_sub(1))), "nothing");
            continue;
        };
        let head = Note::parse(&bytes).ok().and_then(|note| keys.signed(&note)).filter(|head| head.size == size);
        match (head, fold.root_at(size)) {
            (None, _) => {
                let got = Note::parse(&bytes).ok().map_or_else(|| "no note".to_owned(), |note| signers(keys, &note));
                findings.add(BOTH, place(), format!("the signatures of {} and {key}", keys.at(size.saturating_sub(1))), got);
            }
            (Some(head), Some(root)) if head.root != root => findings.add(ROOT, place(), root.to_string(), head.root.to_string()),
            (Some(_), _) => {}
        }
    }
    let unknown = sizes.into_iter().map(|size| format!("{size:020}.note")).chain(others);
    unknown.for_each(|name| findings.add(STRAY, Place::Path(format!("{HANDOVERS}/{name}")), "no such file", "a file"));
    if keys.handovers().next().is_some() { turns(log, keys, findings) } else { Ok(()) }
}

/// Every retained note and the newest one.
fn turns(log: &Directory, keys: &LogKeys, findings: &mut Findings) -> Result<(), ReadError> {
    for path in notes::retained(log)?.into_iter().chain([CHECKPOINT_PATH.to_owned()]) {
        let Some(note) = log.read(&path, MAX_NOTE_BYTES)?.and_then(|bytes| Note::parse(&bytes).ok()) else { continue };
        // What no key of the log signed is a finding already.
        let Some((head, _)) = keys.signed_by_any(&note).filter(|_| keys.signed(&note).is_none()) else { continue };
        let expected = keys.signers(head.size).map(ToString::to_string).collect::<Vec<_>>().join(" and ");
        findings.add(TURN, Place::Path(path), format!("size {} signed by {expected}", head.size), signers(keys, &note));
    }
    Ok(())
}

/// Which of the log's keys signed a note, in words.
fn signers(keys: &LogKeys, note: &Note) -> String {
    let by: Vec<String> = keys.signers_of(note).map(ToString::to_string).collect();
    if by.is_empty() { "no key of this log".to_owned() } else { by.join(" and ") }
}

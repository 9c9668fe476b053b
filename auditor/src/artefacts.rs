//! Objects that entries name by hash, and files that have no place in a log (audit.md A2, A35.8). Knows no tile and no note.

use crate::dir::{Directory, ReadError};
use crate::finding::{Check, Findings, Place, Rule, Severity};
use audit::reader::{DirEntry, LogReader};
use protocol::hash::sha256;
use protocol::ids::Sha256;
use std::collections::BTreeSet;

/// Largest artefact (A2).
pub(crate) const MAX_ARTEFACT_BYTES: usize = 1 << 20;
const DIR: &str = "artefacts";
/// What A2 places at the root of a log. `.state` is the server's own; `sidecar` openings may be erased at any time.
const KNOWN: [&str; 9] = [".state", "artefacts", "checkpoint", "checkpoints", "handovers", "policy", "sidecar", "tile", "trust.json"];

const HASH: Rule = Rule::new(Check::Artefacts, Severity::Integrity, "A2: an artefact hashes to its name");
const STRAY: Rule = Rule::new(Check::Artefacts, Severity::Incomplete, "A2: every file has a place in a log");
const ORPHAN: Rule = Rule::new(Check::Artefacts, Severity::Notice, "A2: an artefact is named by an entry");

/// Where the artefact with this hash lies.
pub(crate) fn path(hash: &Sha256) -> String {
    let hex = hash.to_hex();
    format!("{DIR}/{}/{hex}", &hex[..2])
}

/// Hashes every artefact, one at a time, and reports strangers at the root.
pub(crate) fn sweep(log: &Directory, named: &BTreeSet<Sha256>, findings: &mut Findings) -> Result<(), ReadError> {
    for entry in log.list("")? {
        let (DirEntry::File(name) | DirEntry::Directory(name)) = entry;
        if !KNOWN.contains(&name.as_str()) {
            findings.add(STRAY, Place::Path(name), "a name of A2", "another name");
        }
    }
    for entry in log.list(DIR)? {
        match entry {
            DirEntry::Directory(name) => sweep_below(log, &name, named, findings)?,
            DirEntry::File(name) => findings.add(STRAY, Place::Path(format!("{DIR}/{name}")), "a directory", "a file"),
        }
    }
    Ok(())
}

fn sweep_below(log: &Directory, dir: &str, named: &BTreeSet<Sha256>, findings: &mut Findings) -> Result<(), ReadError> {
    for entry in log.list(&format!("{DIR}/{dir}"))? {
        let (DirEntry::File(name) | DirEntry::Directory(name)) = entry;
        let full = format!("{DIR}/{dir}/{name}");
        let hash = name.parse::<Sha256>().ok().filter(|h| path(h) == full);
        let bytes = match hash {
            Some(_) => log.read(&full, MAX_ARTEFACT_BYTES)?,
            None => None,
        };
        let (Some(hash), Some(bytes)) = (hash, bytes) else {
            findings.add(STRAY, Place::Path(full), "a file named by its SHA-256", name);
            continue;
        };
        let got = Sha256(sha256(&[&bytes]));
        if got != hash {
            findings.add(HASH, Place::Path(full), hash.to_hex(), got.to_hex());
        } else if !named.contains(&hash) {
            findings.add(ORPHAN, Place::Path(full), "an entry that names it", "none");
        }
    }
    Ok(())
}

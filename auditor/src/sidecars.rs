//! Sidecars of a log or a pack (audit.md A18, A35.8): where one is, its nonce and value give the hash that its entry states; where none is, nothing
//! is missing. Knows no tile and no signature.

use crate::dir::{Directory, ReadError};
use crate::finding::{Check, Findings, Place, Rule, Severity};
use audit::reader::{DirEntry, LogReader};
use protocol::ids::Sha256;
use protocol::sidecar::{self, Sidecar};
use serde::Serialize;
use std::collections::BTreeMap;

const GIVES: Rule = Rule::new(Check::Artefacts, Severity::Integrity, "A18: a sidecar's nonce and value give the hash in its entry");
const NAMED: Rule = Rule::new(Check::Artefacts, Severity::Incomplete, "A2: a sidecar is named by the index of an entry that hides a value");

/// A value behind a hash in the log, as a sidecar tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Told {
    /// The entry.
    pub entry: u64,
    /// The hash in it.
    pub hash: String,
    /// The value.
    pub value: String,
}

/// Compares every sidecar with the hash that its entry states.
pub(crate) fn sweep(dir: &Directory, hidden: &BTreeMap<u64, Sha256>, findings: &mut Findings) -> Result<Vec<Told>, ReadError> {
    let mut told = Vec::new();
    for entry in dir.list(sidecar::DIR)? {
        let (DirEntry::File(name) | DirEntry::Directory(name)) = entry;
        let path = format!("{}/{name}", sidecar::DIR);
        let hash = sidecar::index_of(&name).and_then(|index| Some((index.0, *hidden.get(&index.0)?)));
        let Some((index, hash)) = hash else {
            findings.add(NAMED, Place::Path(path), "an entry that hides a value", "none");
            continue;
        };
        // A directory of that name is no file, and tells nothing.
        let bytes = dir.read(&path, sidecar::MAX_BYTES)?.unwrap_or_default();
        match Sidecar::parse(&bytes) {
            Ok(sidecar) if sidecar.committed() == hash => {
                told.push(Told { entry: index, hash: hash.to_hex(), value: sidecar.value().to_owned() });
            }
            Ok(sidecar) => findings.add(GIVES, Place::Index(index), hash.to_hex(), sidecar.committed().to_hex()),
            Err(e) => findings.add(GIVES, Place::Index(index), hash.to_hex(), e.to_string()),
        }
    }
    told.sort_by_key(|t| t.entry);
    Ok(told)
}

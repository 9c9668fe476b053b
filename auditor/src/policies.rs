//! Witness policies: files, their hashes in the log, and which was in force when (audit.md A12). Knows no note.

use crate::dir::{Directory, ReadError};
use crate::finding::{Check, Findings, Place, Rule, Severity};
use audit::key::VerifierKey;
use audit::keys::LogKeys;
use audit::policy::{MAX_POLICY_BYTES, Policy};
use audit::reader::{DirEntry, LogReader, policy_path};
use protocol::hash::sha256;
use protocol::ids::Sha256;
use std::collections::{BTreeMap, BTreeSet};

const DIR: &str = "policy";
const NAME: Rule = Rule::new(Check::Trust, Severity::Incomplete, "A2: a policy is named by the size from which it holds");
const PARSES: Rule = Rule::new(Check::Trust, Severity::Integrity, "A12: a policy parses and names the federation's log");
const HASH: Rule = Rule::new(Check::Trust, Severity::Integrity, "A12: a policy is the one that administrators activated");
const KEY: Rule = Rule::new(Check::Trust, Severity::Integrity, "A14: a policy names the key of the log whose turn it is from its size on");
const GOES_ON: Rule = Rule::new(
    Check::Trust,
    Severity::Integrity,
    "A14: where the log hands over to another key, its policy goes on with that key and nothing else",
);
const MISSING: Rule = Rule::new(Check::Trust, Severity::Incomplete, "A2: every activated policy is there");

/// The policies of a directory.
pub(crate) struct Policies {
    by_size: BTreeMap<u64, Policy>,
    hashes: BTreeMap<u64, Sha256>,
}

impl Policies {
    /// Reads all policy files. Before the first one the log's own signature must do (`quorum none`). Which key of the log each may name is known
    /// once the entries are read: [`Self::reconcile`] says so.
    pub(crate) fn load(log: &Directory, key: &VerifierKey, findings: &mut Findings) -> Result<Self, ReadError> {
        let mut policies = Self { by_size: BTreeMap::new(), hashes: BTreeMap::new() };
        if let Ok(first) = Policy::compose(key, &[], None) {
            policies.by_size.insert(0, first);
        }
        for entry in log.list(DIR)? {
            let (DirEntry::File(name) | DirEntry::Directory(name)) = &entry;
            match size_in(name).filter(|_| matches!(entry, DirEntry::File(_))) {
                Some(size) => policies.read(log, size, key, findings)?,
                None => findings.add(NAME, Place::Path(format!("{DIR}/{name}")), "a size of 20 digits and .txt", name.clone()),
            }
        }
        Ok(policies)
    }

    fn read(&mut self, log: &Directory, size: u64, key: &VerifierKey, findings: &mut Findings) -> Result<(), ReadError> {
        let path = policy_path(size);
        let Some(bytes) = log.read(&path, MAX_POLICY_BYTES)? else { return Ok(()) };
        self.hashes.insert(size, Sha256(sha256(&[&bytes])));
        let parsed = std::str::from_utf8(&bytes).ok().map(Policy::parse);
        let place = Place::Path(path);
        match parsed {
            Some(Ok(policy)) if policy.log().name() == key.name() => {
                self.by_size.insert(size, policy);
            }
            Some(Ok(policy)) => findings.add(PARSES, place, key.to_string(), policy.log().to_string()),
            Some(Err(e)) => findings.add(PARSES, place, "a policy", e.to_string()),
            None => findings.add(PARSES, place, "a policy", "bytes that are no text"),
        }
        Ok(())
    }

    /// Each policy by the size from which it holds.
    pub(crate) fn by_size(&self) -> &BTreeMap<u64, Policy> {
        &self.by_size
    }

    /// The policy that judges a tree of `size`, and the size from which it holds.
    pub(crate) fn at(&self, size: u64) -> Option<(u64, &Policy)> {
        self.by_size.range(..=size).next_back().map(|(s, p)| (*s, p))
    }

    /// Compares the files with what the log activated and with the keys that sign it; `read` entries of it could be read.
    pub(crate) fn reconcile(&self, activated: &[(u64, Sha256)], keys: &LogKeys, read: u64, findings: &mut Findings) {
        // Beyond the entries that could be read nobody can say whose turn it was, or what was activated.
        let sure = |size: u64, rule: Rule| if size <= read { rule } else { Rule { severity: Severity::Incomplete, ..rule } };
        for (size, policy) in &self.by_size {
            if policy.log() != keys.at(*size) {
                findings.add(sure(*size, KEY), Place::Path(policy_path(*size)), keys.at(*size).to_string(), policy.log().to_string());
            }
        }
        let goes_on = self.go_on(activated, keys, findings);
        for (index, hash) in activated {
            let size = index + 1;
            match self.hashes.get(&size) {
                Some(got) if got == hash => {}
                Some(got) => findings.add(HASH, Place::Path(policy_path(size)), hash.to_hex(), got.to_hex()),
                None => findings.add(MISSING, Place::Path(policy_path(size)), hash.to_hex(), "nothing"),
            }
        }
        let unknown = self.hashes.keys().filter(|size| !goes_on.contains(size) && !activated.iter().any(|(i, _)| i + 1 == **size));
        for size in unknown {
            findings.add(sure(*size, HASH), Place::Path(policy_path(*size)), "an entry policy.activated just below this size", "none");
        }
    }
}

impl Policies {
    /// Where a key of the log took over under a policy: the file of that size is the policy before it, with the new key in its `log` line. The
    /// sizes at which that is so.
    fn go_on(&self, activated: &[(u64, Sha256)], keys: &LogKeys, findings: &mut Findings) -> BTreeSet<u64> {
        let mut sizes = BTreeSet::new();
        for (size, key) in keys.handovers() {
            let Some((last, _)) = activated.iter().rev().find(|(index, _)| index + 1 < size) else { continue };
            sizes.insert(size);
            // Where the one before it is not there, that is what is missing.
            let Some((_, before)) = self.by_size.range(..size).next_back().filter(|(from, _)| **from > *last) else { continue };
            let expected = before.with_log(key).map_or_else(|e| e.to_string(), |policy| policy.text().to_owned());
            let place = Place::Path(policy_path(size));
            match self.by_size.get(&size) {
                Some(got) if got.text() == expected => {}
                Some(got) => findings.add(GOES_ON, place, expected, got.text()),
                // Notes of this size and above are judged by it: without it nobody's are.
                None => findings.add(GOES_ON, place, expected, "nothing"),
            }
        }
        sizes
    }
}

fn size_in(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".txt")?;
    let canonical = digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit());
    if canonical { digits.parse().ok() } else { None }
}

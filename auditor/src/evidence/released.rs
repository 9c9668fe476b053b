//! The evidence that a release leaves beside the model, read without the log (audit.md A14, A44): entries under one policy, the trust documents
//! that they lead to, and what enough administrators of those released. Believes nothing that is not signed or proved.

use super::judge::{PINNED, Proved};
use super::trusts::Trusts;
use crate::dir::{Directory, ReadError};
use crate::finding::{Check, Findings, Place, Rule, Severity};
use audit::MAX_ENTRY_BYTES;
use audit::policy::{MAX_POLICY_BYTES, Policy};
use audit::proof::{MAX_PROOF_BYTES, TlogProof, Unproved};
use audit::reader::{DirEntry, LogReader as _};
use protocol::entry::{Facts, LogEntry};
use protocol::ids::Sha256;
use protocol::release::Release;
use protocol::trust::TrustDocument;
use std::collections::BTreeSet;
use std::path::Path;

/// More proofs than a release has: one for each administrator's word.
const MAX_PROOFS: usize = 4096;

const FORM: Rule = Rule::new(Check::Artefacts, Severity::Integrity, "A44: evidence beside a model has its policy and its trust document");
const PROVED: Rule =
    Rule::new(Check::Notes, Severity::Integrity, "A13: an entry of the evidence is in the tree of a checkpoint that the policy believes");
const QUORUM: Rule = Rule::new(Check::Notes, Severity::Incomplete, "A13: the checkpoint of the evidence has its quorum");
const ENTRY: Rule = Rule::new(Check::Entries, Severity::Integrity, "A15: an entry is of the schema in its one spelling");

/// What the evidence shows.
pub(crate) struct Evidence {
    trusts: Trusts,
    first: Sha256,
    releases: Vec<Release>,
}

impl Evidence {
    /// Reads the directory `evidence` of a release; nothing where it proves no entry at all.
    ///
    /// # Errors
    /// [`ReadError`]. Whatever is wrong inside is a finding.
    pub(crate) fn read(dir: &Path, findings: &mut Findings) -> Result<Option<Self>, ReadError> {
        let dir = Directory::open(dir)?;
        let names = proofs(&dir)?;
        if names.is_empty() {
            return Ok(None);
        }
        let (policy, trust) = (policy(&dir)?, trust(&dir)?);
        let (Some(policy), Some((trust, first))) = (policy, trust) else {
            findings.add(FORM, Place::Path("evidence".to_owned()), "policy.txt and trust.json", "none, or something else");
            return Ok(None);
        };
        let (mut proved, mut sizes) = (Proved::new(), BTreeSet::new());
        for name in names {
            if let Some((size, entry)) = one(&dir, &name, &policy, &trust.federation, findings)? {
                sizes.insert(size);
                proved.insert(entry.stamp.seq, entry);
            }
        }
        let trusts = Trusts::of(&trust, first, &proved);
        // Who administers says which key signs a tree of this size. Evidence that leads to no such document shows nothing.
        let log = policy.log().to_string();
        let signed = sizes.iter().all(|size| trusts.log_vkey_at(*size) == log);
        let said = proved.values().filter(|e| signed && matches!(e.facts, Facts::ModelReleased { .. }));
        let releases = trusts.by_enough(said, |e| trusts.administrator::<Release>(e));
        Ok(Some(Self { trusts, first, releases }))
    }

    /// SHA-256 of the trust document that it begins with.
    pub(crate) fn first(&self) -> Sha256 {
        self.first
    }

    /// Whether one of its trust documents is the one that was pinned.
    pub(crate) fn is_of(&self, pinned: Sha256, findings: &mut Findings) -> bool {
        let known = self.trusts.knows(pinned);
        if !known {
            findings.add(PINNED, Place::Path("evidence/trust.json".to_owned()), pinned.to_hex(), self.first.to_hex());
        }
        known
    }

    /// What as many administrators released as the trust document in force asks for.
    pub(crate) fn releases(&self) -> &[Release] {
        &self.releases
    }
}

/// Names of the proofs, without their ending.
fn proofs(dir: &Directory) -> Result<Vec<String>, ReadError> {
    let name = |e: DirEntry| match e {
        DirEntry::File(name) => name.strip_suffix(".tlog-proof").map(str::to_owned),
        DirEntry::Directory(_) => None,
    };
    Ok(dir.list("")?.into_iter().filter_map(name).take(MAX_PROOFS).collect())
}

fn policy(dir: &Directory) -> Result<Option<Policy>, ReadError> {
    let text = dir.read("policy.txt", MAX_POLICY_BYTES)?.unwrap_or_default();
    Ok(std::str::from_utf8(&text).ok().and_then(|t| Policy::parse(t).ok()))
}

fn trust(dir: &Directory) -> Result<Option<(TrustDocument, Sha256)>, ReadError> {
    let bytes = dir.read("trust.json", TrustDocument::MAX_BYTES)?.unwrap_or_default();
    Ok(TrustDocument::parse(&bytes).ok().map(|document| (document, TrustDocument::hash(&bytes))))
}

/// An entry that is proved, with the size of the tree that it is in.
fn one(
    dir: &Directory,
    name: &str,
    policy: &Policy,
    federation: &str,
    findings: &mut Findings,
) -> Result<Option<(u64, LogEntry)>, ReadError> {
    let place = || Place::Path(format!("evidence/{name}.tlog-proof"));
    let proof = dir.read(&format!("{name}.tlog-proof"), MAX_PROOF_BYTES)?.unwrap_or_default();
    let entry = dir.read(&format!("{name}.entry"), MAX_ENTRY_BYTES)?.unwrap_or_default();
    let proof = match TlogProof::parse(&proof) {
        Ok(proof) => proof,
        Err(e) => {
            findings.add(PROVED, place(), "a proof", e.to_string());
            return Ok(None);
        }
    };
    let size = match proof.verify(policy, &entry) {
        Ok(opened) => opened.checkpoint().head.size,
        Err(e) => {
            let rule = if matches!(e, Unproved::BelowQuorum { .. }) { QUORUM } else { PROVED };
            findings.add(rule, place(), "an entry of the tree", e.to_string());
            return Ok(None);
        }
    };
    match LogEntry::parse(&entry) {
        Ok(entry) if entry.stamp.seq == proof.index && entry.stamp.federation == federation => Ok(Some((size, entry))),
        Ok(entry) => {
            findings.add(
                ENTRY,
                place(),
                format!("{}, {federation}", proof.index),
                format!("{}, {}", entry.stamp.seq, entry.stamp.federation),
            );
            Ok(None)
        }
        Err(e) => {
            findings.add(ENTRY, place(), "an entry", e.to_string());
            Ok(None)
        }
    }
}

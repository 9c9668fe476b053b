//! A released model as somebody received it: its signature, its files, and its release in the log (audit.md A44). Knows no server.

use crate::dir::{ReadError, read_file};
use crate::evidence::released::Evidence;
use crate::finding::{Check, Finding, Findings, Place, Rule, Severity};
use crate::model_sig::{MAX_BUNDLE_BYTES, MAX_KEY_BYTES, MAX_RESOURCES, Signed, open};
use crate::releases;
use crate::table::{listed, not_verified, table};
use crate::verdict::{ReleaseSummary, SCHEMA_VERSION};
use crate::verify::{Options, VerifyError, verify_with};
use protocol::history::History;
use protocol::ids::{Sha256, SnapshotDigest};
use protocol::release::Release;
use serde::Serialize;
use sha2::{Digest as _, Sha256 as Hasher};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Name of the signature beside the model.
const SIGNATURE: &str = "model.sig";
/// The file that the log names.
const WEIGHTS: &str = "model.safetensors";
/// Deepest directory of a model.
const MAX_DEPTH: usize = 16;

const SIGNED: Rule =
    Rule::new(Check::Artefacts, Severity::Integrity, "A44: the model's signature is whole and holds under the release key");
const FILES: Rule = Rule::new(Check::Artefacts, Severity::Integrity, "A44: the model's files are exactly those that were signed");
const WHOLE: Rule = Rule::new(Check::Artefacts, Severity::Incomplete, "A44: every file that was signed is there");
const RELEASED: Rule = Rule::new(
    Check::Artefacts,
    Severity::Integrity,
    "A44: the log records the release of exactly these weights, under this signature and this key",
);
const BESIDE: Rule = Rule::new(
    Check::Artefacts,
    Severity::Integrity,
    "A44: the evidence beside the model is of the release of exactly these weights, under this signature and this key",
);
const PINNED: Rule =
    Rule::new(Check::Trust, Severity::Incomplete, "A35.1: a trust document is there to compare with the one that was pinned (--log)");
const WAITS: Rule = Rule::new(
    Check::Artefacts,
    Severity::Incomplete,
    "A14: a release has effect where as many administrators signed it as the trust document asks for",
);
const WITHDRAWN: Rule = Rule::new(Check::Invariants, Severity::Invariant, "A19: a model in use is not withdrawn");
const LOG: &str = "A34: the log that the release stands in verifies";

/// What whoever received a model brings.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// File with the release key's public half in PEM; otherwise the one of the evidence beside the model.
    pub public_key: Option<PathBuf>,
    /// A copy of the log.
    pub log: Option<PathBuf>,
    /// How the log is verified.
    pub options: Options,
}

/// Why there is no verdict. Whatever is wrong with the model itself is a finding, not an error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// Something cannot be read.
    #[error("the model cannot be read")]
    Read(#[from] ReadError),
    /// No signature.
    #[error("{} holds no {SIGNATURE}: give the directory that the release made, or its `model`", .0.display())]
    NoSignature(PathBuf),
    /// No key.
    #[error("the release key is not there: give its public half with --public-key FILE, best one that you have from elsewhere")]
    NoKey,
    /// The log.
    #[error("the log cannot be verified")]
    Log(#[from] VerifyError),
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ModelVerdict {
    /// Version of this form.
    pub schema_version: u32,
    /// Whether everything that was checked holds.
    pub verified: bool,
    /// Exit code of A38.
    pub exit_code: u8,
    /// The model's name, as it was signed.
    pub model: Option<String>,
    /// SHA-256 of the release key's PEM.
    pub key: String,
    /// Whether the key came from elsewhere than the model.
    pub key_given: bool,
    /// Whether a log that verifies names this key: the administrators signed a release of these weights under it.
    pub key_in_log: bool,
    /// Without a log: whether the evidence beside the model proves that enough administrators released exactly this model under this key.
    pub in_evidence: bool,
    /// SHA-256 of the signature's file.
    pub signature: String,
    /// Files that were signed.
    pub files: usize,
    /// SHA-256 of the weights, as they are.
    pub snapshot: Option<String>,
    /// The release in the log.
    pub release: Option<ReleaseSummary>,
    /// SHA-256 of the log's trust document, or of the evidence's.
    pub trust_hash: Option<String>,
    /// Whether it was compared with a hash that was given.
    pub trust_pinned: bool,
    /// Everything found.
    pub findings: Vec<Finding>,
    /// What was not looked at.
    pub not_verified: Vec<&'static str>,
}

/// Verifies the released model in `dir`, which is what `concordat-server release` made, or its directory `model` alone.
///
/// # Errors
/// [`ModelError`] if there is no model, no key, or no log where one was named.
///
/// # Security
/// Every byte below `dir` may be an attacker's: links are refused, sizes limited, nothing is believed that is not signed.
pub fn verify_model(dir: &Path, given: &Given) -> Result<ModelVerdict, ModelError> {
    let below = dir.join("model");
    let model = if below.join(SIGNATURE).exists() { below } else { dir.to_owned() };
    let bundle = read_file(&model.join(SIGNATURE), MAX_BUNDLE_BYTES)?.ok_or_else(|| ModelError::NoSignature(dir.to_owned()))?;
    let key = read_key(dir, given)?;
    let mut findings = Findings::default();
    let signed = match open(&bundle, &key) {
        Ok(signed) => Some(signed),
        Err(e) => {
            findings.add(SIGNED, Place::Path(SIGNATURE.to_owned()), "a signature that holds", e.to_string());
            None
        }
    };
    let found = files(&model, &mut findings)?;
    if let Some(signed) = &signed {
        compare(signed, &found, &mut findings);
    }
    let mut verdict = ModelVerdict {
        schema_version: SCHEMA_VERSION,
        verified: false,
        exit_code: 0,
        files: signed.as_ref().map_or(0, |s| s.resources.len()),
        model: signed.map(|s| s.model),
        key: Sha256(protocol::hash::sha256(&[&key])).to_hex(),
        key_given: given.public_key.is_some(),
        key_in_log: false,
        in_evidence: false,
        signature: Sha256(protocol::hash::sha256(&[&bundle])).to_hex(),
        snapshot: found.get(WEIGHTS).map(|d| d.to_hex()),
        release: None,
        trust_hash: None,
        trust_pinned: false,
        findings: Vec::new(),
        not_verified: Vec::new(),
    };
    verdict.look_up(given, &mut findings)?;
    if given.log.is_none() {
        verdict.look_beside(dir, given, &mut findings)?;
    }
    verdict.limits(given);
    verdict.exit_code = findings.worst().map_or(0, Severity::exit_code);
    verdict.verified = verdict.exit_code == 0;
    verdict.findings = findings.list().to_vec();
    Ok(verdict)
}

fn read_key(dir: &Path, given: &Given) -> Result<Vec<u8>, ModelError> {
    let beside = [dir.join("evidence/release-key.pub"), dir.join("../evidence/release-key.pub")];
    let paths = given.public_key.as_ref().map_or(beside.to_vec(), |path| vec![path.clone()]);
    for path in paths {
        if let Some(key) = read_file(&path, MAX_KEY_BYTES)? {
            return Ok(key);
        }
    }
    Err(ModelError::NoKey)
}

/// What was signed against what is there.
fn compare(signed: &Signed, found: &BTreeMap<String, Sha256>, findings: &mut Findings) {
    for (name, digest) in &signed.resources {
        match found.get(name) {
            Some(got) if got == digest => {}
            Some(got) => findings.add(FILES, Place::Path(name.clone()), digest.to_hex(), got.to_hex()),
            None => findings.add(WHOLE, Place::Path(name.clone()), digest.to_hex(), "no file"),
        }
    }
    let listed: BTreeSet<&String> = signed.resources.iter().map(|(name, _)| name).collect();
    for name in found.keys().filter(|n| *n != SIGNATURE && !listed.contains(n) && !signed.ignored.contains(*n)) {
        findings.add(FILES, Place::Path(name.clone()), "only files that were signed", "another file");
    }
}

/// Every file below `dir` with its SHA-256, by its name from there.
fn files(dir: &Path, findings: &mut Findings) -> Result<BTreeMap<String, Sha256>, ModelError> {
    let mut out = BTreeMap::new();
    let mut waiting = vec![(dir.to_owned(), String::new(), 0)];
    while let Some((path, prefix, depth)) = waiting.pop() {
        let io = |source| ReadError::Io { path: path.clone(), source };
        for entry in std::fs::read_dir(&path).map_err(io)? {
            let entry = entry.map_err(io)?;
            let (kind, name) = (entry.file_type().map_err(io)?, format!("{prefix}{}", entry.file_name().to_string_lossy()));
            if kind.is_dir() && depth < MAX_DEPTH {
                waiting.push((entry.path(), format!("{name}/"), depth + 1));
            } else if kind.is_file() && out.len() <= MAX_RESOURCES {
                out.insert(name, digest(&entry.path()).map_err(|source| ReadError::Io { path: entry.path(), source })?);
            } else {
                findings.add(FILES, Place::Path(name), "a plain file, not too deep and not too many", "something else");
            }
        }
    }
    Ok(out)
}

fn digest(path: &Path) -> std::io::Result<Sha256> {
    let (mut file, mut hasher, mut buffer) = (std::fs::File::open(path)?, Hasher::new(), vec![0u8; 1 << 16]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(Sha256(hasher.finalize().into())),
            n => hasher.update(&buffer[..n]),
        }
    }
}

impl ModelVerdict {
    /// The release in the log, if a log was given.
    fn look_up(&mut self, given: &Given, findings: &mut Findings) -> Result<(), ModelError> {
        let Some(log) = &given.log else { return Ok(()) };
        let (verdict, release) = verify_with(log, &given.options, |fold, _| self.released(fold.history(), findings))?;
        let worst = verdict.findings.iter().map(|f| f.severity).max().filter(|s| *s > Severity::Notice);
        if let Some(worst) = worst {
            let rule = Rule::new(Check::Entries, worst, LOG);
            findings.add(rule, Place::Path(log.display().to_string()), "a log that verifies", verdict.sentence());
        }
        (self.release, self.trust_hash, self.trust_pinned) = (release.flatten(), verdict.trust_hash, verdict.trust_pinned);
        // Found by the key's hash, in a statement of the administrators that the trust document names.
        self.key_in_log = self.release.is_some() && worst.is_none();
        Ok(())
    }

    /// The release in the evidence beside the model, if there is any.
    fn look_beside(&mut self, dir: &Path, given: &Given, findings: &mut Findings) -> Result<(), ModelError> {
        let beside = [dir.join("evidence"), dir.join("../evidence")];
        let beside = beside.iter().find(|d| d.is_dir());
        let Some(evidence) = beside.map(|d| Evidence::read(d, findings)).transpose()?.flatten() else {
            if let Some(pinned) = given.options.trust_hash {
                findings.add(PINNED, Place::Path("evidence".to_owned()), pinned.to_hex(), "nothing to compare");
            }
            return Ok(());
        };
        self.trust_hash = Some(evidence.first().to_hex());
        self.trust_pinned = given.options.trust_hash.is_some_and(|pinned| evidence.is_of(pinned, findings));
        self.in_evidence = evidence.releases().iter().any(|r| self.is_released_by(r));
        if let (false, Some(other)) = (self.in_evidence, evidence.releases().first()) {
            let got = format!("weights {}, signature {}, key {}", other.snapshot, other.signature, other.key);
            findings.add(BESIDE, Place::Path("evidence".to_owned()), format!("signature {}, key {}", self.signature, self.key), got);
        }
        Ok(())
    }

    fn is_released_by(&self, r: &Release) -> bool {
        let snapshot = r.snapshot.to_hex();
        self.snapshot.as_ref() == Some(&snapshot) && r.signature.to_hex() == self.signature && r.key.to_hex() == self.key
    }

    fn released(&self, history: &History, findings: &mut Findings) -> Option<ReleaseSummary> {
        let place = || Place::Path(SIGNATURE.to_owned());
        let snapshot = self.snapshot.as_ref().and_then(|s| s.parse::<SnapshotDigest>().ok());
        let of_model = |r: &Release| Some(r.snapshot) == snapshot;
        let exact = |r: &Release| of_model(r) && r.signature.to_hex() == self.signature && r.key.to_hex() == self.key;
        // One that was withdrawn may have been released again: the last one counts.
        let Some((index, _)) = history.releases().iter().rfind(|(_, r)| exact(r)) else {
            if let Some((at, waits)) = history.proposed_releases().iter().find(|(_, r)| exact(r)) {
                let have = history.approval(waits).map_or(0, protocol::history::Approval::have);
                findings.add(WAITS, Place::Index(at.0), format!("{} administrators", history.trust().threshold), have.to_string());
                return None;
            }
            let other = history.releases().iter().rfind(|(_, r)| of_model(r)).map_or_else(
                || "no release of these weights".to_owned(),
                |(index, r)| format!("entry {index} releases them with signature {} and key {}", r.signature, r.key),
            );
            findings.add(RELEASED, place(), format!("signature {}, key {}", self.signature, self.key), other);
            return None;
        };
        let summary = releases::summary(history).into_iter().find(|r| r.entry == index.0)?;
        if let Some(at) = summary.withdrawn {
            findings.add(WITHDRAWN, Place::Index(at), "a model in use", "withdrawn");
        }
        Some(summary)
    }

    /// Whether administrators whom the reader has reason to believe signed a release under this key.
    fn key_is_vouched_for(&self) -> bool {
        self.key_in_log || (self.in_evidence && self.trust_pinned)
    }

    /// What a reader must not take for checked.
    fn limits(&mut self, given: &Given) {
        if given.public_key.is_none() && !self.key_is_vouched_for() {
            self.not_verified.push(
                "that the release key is the federation's: it lay beside the model (give it with --public-key, or a log that names it with \
                 --log)",
            );
        }
        if given.log.is_none() {
            self.not_verified.push(if self.in_evidence {
                "that the witnesses of the evidence are the federation's, that the log keeps its rules, and that the model was not withdrawn \
                 since: no log was given (--log)"
            } else {
                "that the release stands in the federation's log: no log was given (--log), and no evidence beside the model leads to the \
                 words of its administrators"
            });
        }
        if given.log.is_none() && self.in_evidence && !self.trust_pinned {
            self.not_verified.push("that the evidence is of the federation you mean: compare its trust document (--trust-hash)");
        } else if given.log.is_some() && !self.trust_pinned {
            self.not_verified.push("that the log is that of the federation you mean: compare its trust document (--trust-hash)");
        }
        self.not_verified.push("what the weights do: a signature says who released them, not how good they are");
    }

    /// One sentence for people.
    pub fn sentence(&self) -> &'static str {
        match self.exit_code {
            0 => "The model is whole, and everything that was checked holds.",
            1 => "INTEGRITY FAILURE: the model is not what was signed, or not what the log records. Do not use it.",
            3 => "INVARIANT FAILURE: the model is what was signed, and the log says that it shall not be used, or breaks a rule.",
            _ => "INCOMPLETE: nothing contradicts anything, but something is missing or below its quorum.",
        }
    }
}

/// The verdict as text.
pub fn render(v: &ModelVerdict) -> String {
    let mut t = table(&["what", "value"]);
    let source = match (v.key_given, v.key_is_vouched_for()) {
        (true, true) => "given, and the log names it",
        (true, false) => "given",
        (false, true) => "the log names it",
        (false, false) => "COMPARE: it lay beside the model",
    };
    t.add_row(["model", v.model.as_deref().unwrap_or("unknown")]);
    t.add_row(["files signed", &v.files.to_string()]);
    t.add_row(["weights", v.snapshot.as_deref().unwrap_or("none")]);
    t.add_row(["signature", &v.signature]);
    t.add_row(["release key", &format!("{} ({source})", v.key)]);
    if v.in_evidence {
        t.add_row(["released by", "as many administrators as it takes, as the evidence beside it proves"]);
    }
    if let Some(r) = &v.release {
        t.add_row(["released by", &format!("entry {}, {} of {} administrators", r.entry, r.approvals, r.needed)]);
        t.add_row(["rounds", &format!("{} to {} of task {}", r.first_round, r.last_round, r.task)]);
        let gates: Vec<&str> = r.gates.iter().map(|g| g.text.as_str()).collect();
        t.add_row(["gates", &if gates.is_empty() { "none".to_owned() } else { gates.join("\n") }]);
        if let Some(reason) = r.overridden {
            t.add_row(["overridden", reason]);
        }
    }
    let mut out = format!("{}\n\n{t}\n", v.sentence());
    if !v.findings.is_empty() {
        out.push_str(&format!("Findings: {}\n{}\n", v.findings.len(), listed(&v.findings)));
    }
    out.push_str(&not_verified(&v.not_verified));
    out.push('\n');
    out
}

#[cfg(test)]
#[path = "model_tests.rs"]
mod tests;

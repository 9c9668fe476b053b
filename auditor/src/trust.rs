//! Check 1: the trust document against what the auditor was told, and the log's key in it. Knows no entry.

use crate::dir::{Directory, ReadError};
use crate::finding::{Check, Findings, Place, Rule, Severity};
use audit::checkpoint::Checkpoint;
use audit::key::{KeyType, VerifierKey};
use audit::reader::LogReader;
use protocol::ids::Sha256;
use protocol::trust::TrustDocument;

/// Path of the trust document (A2).
pub(crate) const TRUST_PATH: &str = "trust.json";

const MISSING: Rule = Rule::new(Check::Trust, Severity::Incomplete, "A2: the trust document is there");
const PARSES: Rule = Rule::new(Check::Trust, Severity::Integrity, "A14: the trust document has one spelling");
const PINNED: Rule = Rule::new(Check::Trust, Severity::Integrity, "A35.1: the trust document is the one that was pinned");
const LOG_KEY: Rule = Rule::new(Check::Trust, Severity::Integrity, "A14: the trust document names a log key");

/// A trust document that parses, with the key of its log.
pub(crate) struct Trusted {
    pub(crate) document: TrustDocument,
    pub(crate) hash: Sha256,
    pub(crate) log: VerifierKey,
}

/// Reads and judges the trust document; nothing else can be believed without it.
pub(crate) fn check(log: &Directory, pinned: Option<Sha256>, findings: &mut Findings) -> Result<Option<Trusted>, ReadError> {
    let place = || Place::Path(TRUST_PATH.to_owned());
    let Some(bytes) = log.read(TRUST_PATH, TrustDocument::MAX_BYTES)? else {
        findings.add(MISSING, place(), "a file", "nothing");
        return Ok(None);
    };
    let hash = TrustDocument::hash(&bytes);
    if let Some(pinned) = pinned.filter(|p| *p != hash) {
        findings.add(PINNED, place(), pinned.to_hex(), hash.to_hex());
    }
    let Ok(document) = TrustDocument::parse(&bytes) else {
        findings.add(PARSES, place(), "a trust document", format!("{} bytes that are none", bytes.len()));
        return Ok(None);
    };
    let key = document.log_vkey.parse::<VerifierKey>().ok();
    let origin = Checkpoint::origin_of(&document.federation);
    let Some(key) = key.filter(|k| k.kind() == KeyType::Note && k.name() == origin) else {
        findings.add(LOG_KEY, place(), format!("a note key named {origin}"), document.log_vkey.clone());
        return Ok(None);
    };
    Ok(Some(Trusted { document, hash, log: key }))
}
